"""`reptune evaluate`."""


def evaluate() -> None:
    """Not written yet."""
    raise ValueError("reptune evaluate is not written yet.")
