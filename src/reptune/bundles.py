"""Bundles: cached assets in one file, for a machine without a package index.

`reptune.assets` offers both functions under its own name.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from reptune import assets

__all__ = ["export_bundle", "import_bundle"]

_BUNDLE_MANIFEST = "reptune-bundle.json"
_BUNDLE_FORMAT = 1


def export_bundle(file: str | os.PathLike[str], names: Iterable[str] | None = None) -> Path:
    """Writes cached assets into one file, for a machine without an index.

    Args:
        file: The bundle to write, a zip; an existing one is replaced once the new one is whole.
        names: The assets; None for all that are cached.

    Returns:
        The bundle's path.

    Raises:
        AssetUnavailable: If an asset is not cached (or, with None, if none is).
        AssetCorrupt: If a cached asset is corrupt.
        ValueError: If a name is unknown or the bundle's folder does not exist.
    """
    file = Path(file).expanduser()
    if not file.absolute().parent.is_dir():
        raise ValueError(f"There is no folder {str(file.absolute().parent)!r} for the bundle.")
    chosen = _cached() if names is None else list(dict.fromkeys(names))
    if not chosen:
        raise assets.AssetUnavailable("No asset is cached: `reptune assets fetch` first.")
    for name in chosen:
        assets.verify(name)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        _write_bundle(temporary, [assets.info(name) for name in chosen])
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return file


def _cached() -> list[str]:
    return [name for name, asset in assets._registry().items() if assets._folder(asset).is_dir()]


def _write_bundle(path: Path, chosen: Sequence[assets.Asset]) -> None:
    manifest = {
        "format": _BUNDLE_FORMAT,
        "assets": {asset.name: asset.pin for asset in chosen},
    }
    # Stored, not compressed: weights hardly shrink, and a small archive cannot then unpack to
    # a huge one.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_BUNDLE_MANIFEST, json.dumps(manifest, indent=2))
        for asset in chosen:
            folder = assets._folder(asset)
            sums = [] if asset.files else [assets._SUMS]
            for name in [*sums, *assets._expected(asset, folder)]:
                archive.write(folder / name, f"{asset.name}/{name}")


def import_bundle(file: str | os.PathLike[str]) -> list[str]:
    """Puts a bundle's assets into the cache, each verified against the registry's hashes.

    Args:
        file: What `export_bundle` wrote, with the same version of reptune.

    Returns:
        The names of the assets in the bundle; those that were ready already are left alone.

    Raises:
        AssetCorrupt: If the bundle is truncated, holds other bytes than the pinned ones, or
            has a member that would leave the folder.
        AssetUnavailable: If the disk is full.
        ValueError: If there is no such file or the bundle holds an unknown asset.
    """
    file = Path(file).expanduser()
    if not file.is_file():
        raise ValueError(f"There is no bundle {str(file)!r}.")
    try:
        with assets._open_zip(file) as archive:
            held = _read_manifest(archive)
            for asset in held:
                _import_asset(archive, asset)
    except assets._RoadFailed as error:
        raise assets.AssetCorrupt(
            f"The bundle cannot be used: {error}. Copy it again, or make it again with "
            "`reptune assets export BUNDLE`."
        ) from error
    return [asset.name for asset in held]


def _read_manifest(archive: zipfile.ZipFile) -> list[assets.Asset]:
    """Reads which assets a bundle holds, and refuses what this registry does not know."""
    try:
        manifest = json.loads(archive.read(_BUNDLE_MANIFEST))
        version, pins = manifest["format"], dict(manifest["assets"])
    except (KeyError, TypeError, ValueError) as error:
        raise assets._RoadFailed("it has no readable manifest", corrupt=True) from error
    if version != _BUNDLE_FORMAT:
        raise assets._RoadFailed(f"its format is {version!r}, not {_BUNDLE_FORMAT}")
    held = [assets.info(name) for name in pins]
    for asset in held:
        if asset.pin != pins[asset.name]:
            raise assets._RoadFailed(
                f"it holds another version of {asset.name!r}, {pins[asset.name]}"
            )
    for member in archive.infolist():
        top = member.filename.split("/")[0]
        if member.filename != _BUNDLE_MANIFEST and top not in pins:
            raise assets._RoadFailed(f"{member.filename!r} is not in its manifest", corrupt=True)
        if member.compress_type != zipfile.ZIP_STORED:
            raise assets._RoadFailed(f"{member.filename!r} is compressed", corrupt=True)
    return held


def _import_asset(archive: zipfile.ZipFile, asset: assets.Asset) -> None:
    prefix = f"{asset.name}/"
    stored = [m for m in archive.infolist() if m.filename.startswith(prefix)]
    needed = sum(member.file_size for member in stored)
    with assets._disk_errors(asset, needed), assets._locked(asset):
        if assets.state(asset.name) == "ready":
            return
        assets._require_space(asset, needed)
        with assets._staging(asset) as staging:
            target = staging / "asset"
            if not asset.files:
                assets._extract(archive, prefix, [assets._SUMS], target)
            try:
                assets._extract(archive, prefix, assets._expected(asset, target), target)
                assets._move_into_place(asset, target, staging)
            except assets.AssetCorrupt as error:
                raise assets._RoadFailed(assets._reason(error), corrupt=True) from error
