"""`reptune train`."""


def train() -> None:
    """Not written yet."""
    raise ValueError("reptune train is not written yet.")
