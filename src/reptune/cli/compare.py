"""`reptune compare`."""


def compare() -> None:
    """Not written yet."""
    raise ValueError("reptune compare is not written yet.")
