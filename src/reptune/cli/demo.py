"""`reptune demo`."""


def demo() -> None:
    """Not written yet."""
    raise ValueError("reptune demo is not written yet.")
