"""`reptune export`."""


def export() -> None:
    """Not written yet."""
    raise ValueError("reptune export is not written yet.")
