"""The cache: where an asset's folder lies, its lock, its staging folder and the disk's space."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock
import platformdirs

from reptune.assets.errors import AssetUnavailable, is_full, megabytes
from reptune.assets.hashes import check_files
from reptune.assets.registry import Asset

logger = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Return the cache folder: `REPTUNE_CACHE`, or the platform's folder for caches."""
    chosen = os.environ.get("REPTUNE_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_cache_dir("reptune", appauthor=False))


def asset_folder(asset: Asset) -> Path:
    """Return where an asset's folder is, or would be, in the cache."""
    return cache_dir() / "assets" / f"{asset.name}-{asset.pin}"


@contextlib.contextmanager
def locked(asset: Asset) -> Iterator[None]:
    """Hold the asset's lock: of two processes, the second waits and finds the work done."""
    path = cache_dir() / "locks" / f"{asset.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.warning("%s: another process is fetching it, waiting", asset.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def staging_folder(asset: Asset) -> Iterator[Path]:
    """Yield an empty folder on the cache's own disk, and remove it whatever happens.

    Call it with the lock held: then whatever else lies there was left by a killed run.
    """
    parent = cache_dir() / "staging" / asset.name
    shutil.rmtree(parent, ignore_errors=True)
    parent.mkdir(parents=True, exist_ok=True)
    try:
        yield Path(tempfile.mkdtemp(dir=parent))
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def move_into_place(asset: Asset, made: Path, staging: Path) -> None:
    """Check the folder `made`, then put it where the asset belongs, in one rename."""
    check_files(asset, made)
    final = asset_folder(asset)
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():  # a corrupt one: it leaves with the staging folder
        final.rename(staging / "corrupt")
    made.rename(final)


@contextlib.contextmanager
def disk_errors(asset: Asset, needed: int) -> Iterator[None]:
    """Turn a full or unwritable disk into `AssetUnavailable`."""
    try:
        yield
    except Exception as error:
        if is_full(error):
            raise AssetUnavailable(_no_space(asset, needed)) from error
        if isinstance(error, OSError):  # a source's own errors are `SourceFailed` by now
            raise AssetUnavailable(
                f"Asset {asset.name!r} cannot be written: {error}. Set REPTUNE_CACHE to a "
                "folder you may write to (on Windows, also close programs that use the asset)."
            ) from error
        raise


def _no_space(asset: Asset, needed: int) -> str:
    return (
        f"Asset {asset.name!r} needs {megabytes(needed)} of disk and {megabytes(_free_bytes())} "
        f"are free in {cache_dir()}. Free some, or set REPTUNE_CACHE to a folder on a larger disk."
    )


def _free_bytes() -> int:
    """Return the free bytes on the cache's disk; the cache itself may not be there yet."""
    folder = cache_dir()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_space(asset: Asset, needed: int) -> None:
    """Raise AssetUnavailable, with the cure, unless that many bytes are free."""
    if _free_bytes() < needed:
        raise AssetUnavailable(_no_space(asset, needed))
