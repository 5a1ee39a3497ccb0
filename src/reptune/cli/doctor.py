"""`reptune doctor`."""


def doctor() -> None:
    """Not written yet."""
    raise ValueError("reptune doctor is not written yet.")
