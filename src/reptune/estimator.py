"""What the book's estimators share: save, load, parameter checks; predict from probabilities.

Each method's module adds `fit` and `predict_proba`, and says how its model is written and read.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from reptune import runtime

MANIFEST = "reptune.json"
PREDICTION_BATCH_SIZE = 64


class SavedEstimator(BaseEstimator):
    """An estimator in scikit-learn's manner that is saved as safetensors and JSON only.

    A subclass defines `fit`, `_write`, `_read`, and `_FILES`: what a saved folder must hold
    besides the manifest. `fit` sets `classes_`.
    """

    _FILES: tuple[str, ...] = ()

    def save(self, folder: str | Path) -> Path:
        """Write the model to a folder, as safetensors and JSON only.

        The folder is written under a temporary name and moved into place.

        Raises:
            ValueError: If `folder` holds something else, which is left alone.
        """
        check_is_fitted(self, "classes_")
        manifest = self._manifest()  # before anything is written: it may refuse
        return write_folder(Path(folder), lambda written: self._write_all(written, manifest))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a model that `save` wrote.

        Raises:
            FileNotFoundError: If there is no such folder.
            ValueError: If it is not a folder of ours, or a file of it is missing or damaged.
        """
        folder = Path(folder)
        manifest = _read_manifest(folder, cls)
        loaded = cls(**unpack(manifest["params"]))
        loaded.classes_ = np.asarray(manifest["classes"])
        try:
            with runtime.quiet():
                loaded._read(folder, manifest)
        except Exception as error:
            raise ValueError(
                f"{folder} holds a damaged model ({error}); save it again or restore the folder."
            ) from error
        return loaded

    def _write(self, folder: Path) -> None:
        """Write the fitted model's files."""
        raise NotImplementedError

    def _read(self, folder: Path, manifest: dict[str, Any]) -> None:
        """Set the fitted attributes from the files."""
        raise NotImplementedError

    def _write_all(self, folder: Path, manifest: dict[str, Any]) -> None:
        with runtime.quiet():
            self._write(folder)
        text = json.dumps(manifest, indent=2, default=runtime.as_json)
        (folder / MANIFEST).write_text(text, encoding="utf-8")

    def _manifest(self) -> dict[str, Any]:
        params = self.get_params(deep=False)
        params["model"] = str(params["model"])
        return {
            "format": 1,
            "class": type(self).__name__,
            "params": {name: pack(value) for name, value in params.items()},
            "classes": self.classes_.tolist(),
            "versions": runtime.versions(),
        }


class TextClassifier(ClassifierMixin, SavedEstimator):
    """A classifier of texts that follows scikit-learn; a subclass also defines `predict_proba`."""

    def predict(self, texts: Iterable[str]) -> np.ndarray:
        """The most probable label of each text, shape `(n,)`."""
        best = self.predict_proba(texts).argmax(axis=1)
        return self.classes_[best]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def check_replaceable(folder: Path, marker: str = MANIFEST) -> None:
    """Raise a `ValueError` unless `folder` is absent, empty, or known by its `marker` file."""
    if folder.exists() and not (folder / marker).is_file() and not _is_empty(folder):
        raise ValueError(
            f"{folder} exists and holds something that is not a saved model; "
            "choose another folder, or remove it first."
        )


def write_folder(folder: Path, write: Callable[[Path], None], marker: str = MANIFEST) -> Path:
    """Let `write` fill a temporary folder, then move that into the place of `folder`.

    Args:
        folder: Where the files shall lie.
        write: A function of the folder to fill.
        marker: A file by which a folder written earlier is known; only such a one is replaced.

    Raises:
        ValueError: If `folder` holds something that `save` did not write, which is left alone.
    """
    check_replaceable(folder, marker)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging:
        written = Path(staging) / "model"
        written.mkdir()
        write(written)
        _swap_in(written, folder, aside=Path(staging) / "replaced")
    return folder


def pack(value: Any) -> Any:
    """Turn a parameter into what JSON keeps: dictionaries into pairs, sets into sorted lists.

    JSON would turn a dictionary's integer keys, which may be labels, into strings.
    """
    if isinstance(value, dict):
        return {"pairs": [[key, pack(inner)] for key, inner in value.items()]}
    return sorted(value) if isinstance(value, set | frozenset) else value


def unpack(value: Any) -> Any:
    """What `pack` was given, for the parameters of a manifest."""
    if isinstance(value, dict):
        if set(value) == {"pairs"}:
            return {key: unpack(inner) for key, inner in value["pairs"]}
        return {name: unpack(inner) for name, inner in value.items()}
    return value


def _swap_in(written: Path, folder: Path, aside: Path) -> None:
    """Move `written` to `folder`; what was there before comes back if that fails."""
    if folder.exists():
        folder.replace(aside)
    try:
        written.replace(folder)
    except BaseException:
        if aside.exists():
            aside.replace(folder)
        raise


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _read_manifest(folder: Path, kind: type[SavedEstimator]) -> dict[str, Any]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; pass the one that save() returned.")
    missing = [name for name in (MANIFEST, *kind._FILES) if not (folder / name).is_file()]
    # A folder of another class lacks other files; its manifest says so better.
    manifest = _manifest_of(folder) if MANIFEST not in missing else {"class": kind.__name__}
    if manifest.get("class") != kind.__name__:
        raise ValueError(
            f"{folder} holds a {manifest.get('class')}, not a {kind.__name__}; "
            f"load it with {manifest.get('class')}.load."
        )
    if missing:
        raise ValueError(
            f"{folder} is not a saved {kind.__name__}: it lacks {', '.join(missing)}; "
            "pass the folder that save() returned."
        )
    return manifest


def _manifest_of(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{folder / MANIFEST} is damaged ({error}); save the model again."
        ) from error
