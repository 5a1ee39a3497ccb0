"""The state of a cached asset, and what a check of it compared."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reptune.assets.cache import asset_folder
from reptune.assets.errors import AssetCorrupt, AssetUnavailable, megabytes
from reptune.assets.hashes import check_files, expected_hashes, forget_hashes
from reptune.assets.registry import Asset, info

State = Literal["ready", "missing", "corrupt"]


def verify(name: str) -> str:
    """Read every file of a cached asset again and check its sha256.

    Returns:
        What the files were compared with, as a phrase: pinned hashes, or, for a converted
        asset, those that were recorded at its conversion.

    Raises:
        AssetUnavailable: If the asset is not cached.
        AssetCorrupt: If a file differs; the message names the file.
        ValueError: If there is no such asset.
    """
    asset = info(name)
    folder = asset_folder(asset)
    if not folder.is_dir():
        raise AssetUnavailable(
            f"Asset {name!r} is not cached. `reptune assets fetch {name}` fetches it "
            f"({megabytes(asset.size)})."
        )
    forget_hashes(folder)
    check_files(asset, folder)
    return _what_was_verified(asset, folder)


def _what_was_verified(asset: Asset, folder: Path) -> str:
    expected = expected_hashes(asset, folder)
    count = len(expected)
    files = f"{count:,} {'file' if count == 1 else 'files'}"
    if not asset.is_converted:
        return f"every sha256 is right ({files}, as pinned by reptune)"
    recorded = f"unchanged since its conversion ({files}, as recorded then)"
    odd = [name for name, digest in asset.converted.items() if expected.get(name) != digest]
    if odd:
        return (
            f"{recorded}, but {odd[0]} is not what reptune's own conversions gave. Other "
            "versions of the libraries that convert it may explain that; if none does, delete "
            f"{folder} and run `reptune assets fetch {asset.name}`"
        )
    pinned = ", ".join(asset.converted)
    return f"{recorded}; {pinned} has the pinned sha256" if pinned else recorded


def state(name: str) -> State:
    """Tell whether an asset is "ready", "missing" or "corrupt", by its full sha256s.

    Raises:
        ValueError: If there is no such asset.
    """
    asset = info(name)
    folder = asset_folder(asset)
    if not folder.is_dir():
        return "missing"
    try:
        check_files(asset, folder)
    except FileNotFoundError:  # another process is just replacing a corrupt folder
        return "missing"
    except AssetCorrupt:
        return "corrupt"
    return "ready"
