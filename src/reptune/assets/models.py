"""A model by any name: an asset, a folder or an id on the Hugging Face Hub."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from reptune import network
from reptune.assets.errors import AssetUnavailable, shortened
from reptune.assets.fetching import get
from reptune.assets.registry import known_assets, unknown_name

_HUB_ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")
# What a missing value becomes when it is turned into a string on its way here.
_NO_NAMES = {"none", "nan", "null", "true", "false"}


def resolve_model(model: str | os.PathLike[str]) -> Path | str:
    """Turn a model argument into what `from_pretrained` takes.

    Args:
        model: An asset's name, a local folder, or a Hub id.

    Returns:
        The local folder of the (fetched, verified) asset; the folder given; or the Hub id as it
        is. An asset's name wins over a folder of the same name. Where the Hub cannot be reached,
        the folder of the Hub's own cache in place of the id.

    Raises:
        ValueError: If the name is near an asset's but is none, names a data set, is a path
            at which there is no folder, or a folder that would run code of its own.
        AssetUnavailable: If the asset cannot be had, or the Hub's model is not in its cache and
            the Hub cannot be reached.
        AssetCorrupt: If only bytes other than the pinned ones are to be had.
    """
    from reptune.checks import check_model_folder  # it needs NumPy, which listing does not

    registry = known_assets()
    if isinstance(model, str) and model in registry:
        if registry[model].kind != "model":
            raise ValueError(f"{model!r} is a data set, not a model.")
        found: Path | str = get(model)
    else:
        found = _model_folder(model) or _hub_model(model)
    if isinstance(found, Path):
        check_model_folder(found)
    return found


def _model_folder(model: object) -> Path | None:
    """Return the folder that a model argument names, or None; raise a ValueError for no name."""
    named = isinstance(model, str | os.PathLike)
    name = str(model).strip() if named else ""
    if not name or name.lower() in _NO_NAMES or "\0" in name:
        raise ValueError(f"A model is an asset, a folder or a Hub id, not {shortened(model)}.")
    try:
        folder = Path(str(model)).expanduser()
        is_folder = folder.is_dir()
    except (OSError, RuntimeError) as error:  # a name too long, a home of nobody
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ValueError(f"There is no model folder {shortened(str(model))} ({reason}).") from error
    slip = is_folder and not folder.name.strip(".")  # ".", "..", "/"
    if slip and not _holds_model(folder):
        raise ValueError(f"The folder {str(model)!r} ({folder.resolve()}) holds no model.")
    return folder if is_folder else None


def _hub_model(model: str | os.PathLike[str]) -> Path | str:
    """Return the Hub id, or the Hub's cached copy if the Hub cannot be reached."""
    name = str(model)
    lettered = re.search(r"[^\W\d_]", name)
    if not isinstance(model, str) or not _HUB_ID.fullmatch(name) or not lettered or ".." in name:
        raise ValueError(
            f"There is no model folder {shortened(name)}, and it names no model: "
            "pass an asset's name, a folder or a Hub id, 'owner/name'."
        )
    models = [asset.name for asset in known_assets().values() if asset.kind == "model"]
    if "/" not in name and _looks_meant(name, models):
        hint = " For a model on the Hub, write its owner too: 'owner/name'."
        raise ValueError(unknown_name("model", name, models) + hint)
    problem = network.hub_problem()
    if problem is None:
        return name
    if (cached := _hub_snapshot(name)) is not None:
        return cached
    raise AssetUnavailable(
        f"Model {name!r} is neither an asset, nor a folder, nor in the Hub's cache, and "
        f"{problem}. What to do: see whether the network, the proxy and HF_ENDPOINT are right, "
        "copy the model's folder here and pass its path, or use one of the assets: "
        f"{', '.join(models)}."
    )


def _hub_snapshot(model: str) -> Path | None:
    """Return the folder of a model in the Hub library's own cache, or None."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, local_files_only=True))
    except Exception:  # not cached, or no valid id: the caller says what to do
        return None
    return folder if _holds_model(folder) else None


def _holds_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", "modules.json"))


def _looks_meant(word: str, models: Sequence[str]) -> bool:
    """Tell whether a bare word is a part or a misspelling of an asset's name.

    Stricter than `nearest`: some models on the Hub have no owner ("albert-base-v2").
    """
    word = word.lower()
    lowered = [name.lower() for name in models]
    part = len(word) >= 5 and any(word in name for name in lowered)
    return part or bool(difflib.get_close_matches(word, lowered, n=1, cutoff=0.8))
