"""`reptune predict`."""


def predict() -> None:
    """Not written yet."""
    raise ValueError("reptune predict is not written yet.")
