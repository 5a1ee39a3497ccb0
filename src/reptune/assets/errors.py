"""What can go wrong with an asset, and how a message says it."""

from __future__ import annotations

import errno
import reprlib


class AssetError(RuntimeError):
    """What `AssetUnavailable` and `AssetCorrupt` have in common.

    >>> issubclass(AssetUnavailable, AssetError) and issubclass(AssetCorrupt, AssetError)
    True
    """


class AssetUnavailable(AssetError):  # noqa: N818 (the name is part of the contract)
    """The asset is neither cached nor to be had; the message names the cure.

    >>> str(AssetUnavailable("no server answers; bring the asset in a bundle"))
    'no server answers; bring the asset in a bundle'
    """


class AssetCorrupt(AssetError):  # noqa: N818 (the name is part of the contract)
    """Bytes that are not the pinned ones; the message names the file and the cure.

    >>> str(AssetCorrupt("config.json has changed; fetch the asset again"))
    'config.json has changed; fetch the asset again'
    """


class SourceFailed(Exception):  # noqa: N818
    """One source of an asset failed; the next may do better.

    Attributes:
        corrupt: True if bytes came, but not the pinned ones.
        offline: True if no server answered.
    """

    def __init__(self, reason: str, *, corrupt: bool = False, offline: bool = False) -> None:
        super().__init__(reason)
        self.corrupt = corrupt
        self.offline = offline


def reason_without_cure(error: Exception) -> str:
    """Return the failure without the cure for a cached asset, which does not apply here."""
    return str(error).split(", in ")[0] if isinstance(error, AssetCorrupt) else str(error)


def is_full(error: BaseException) -> bool:
    """Tell a full disk, also where a library wrapped the error in one of its own."""
    codes = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
    return getattr(error, "errno", None) in codes or says_full(str(error))


def says_full(text: str) -> bool:
    """Tell whether a library's or pip's words are those of a full disk."""
    return "No space left on device" in text or "[Errno 28]" in text


def shortened(value: object) -> str:
    """Return the value as a message shows it: a caller or a bundle may bring one of megabytes."""
    text = reprlib.repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def megabytes(size: float) -> str:
    """Format bytes as decimal megabytes, as package indexes do."""
    size /= 1e6
    return f"{size:,.0f} MB" if size >= 10 else f"{size:,.1f} MB"
