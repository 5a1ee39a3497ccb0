"""What the book's estimators share: save, load, parameter checks; predict from probabilities.

Each method's module adds `fit` and `predict_proba`, and says how its model is written and read.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from safetensors import safe_open
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from reptune import assets, runtime
from reptune.checks import (
    check_finite_weights,
    check_labels,
    check_model_folder,
    check_multilabels,
    check_texts,
    did_you_mean,
    holds_label_lists,
    label_lists,
    listed,
)
from reptune.folders import (
    MANIFEST,
    check_hashes,
    file_hashes,
    find_folder,
    read_manifest,
    saved_class,
    write_folder,
)
from reptune.metrics import fit_temperature
from reptune.version import __version__

PREDICTION_BATCH_SIZE = 64

CHUNK_TEXTS = 10_000  # texts that are tokenized and scored together, whatever the number given

# Of the manifest. 1 had no hashes and turned tuples into lists, 2 had other names for some
# parameters, 3 had one word for each label of a prompt; all still load.
FORMAT = 4
_ATTEMPTS = 3  # to read a folder that another process replaces meanwhile


class SavedEstimator(BaseEstimator):
    """An estimator in scikit-learn's manner that is saved as safetensors and JSON only.

    A subclass defines `fit`, `_write`, `_read`, and `_FILES`: what a saved folder must hold
    besides the manifest. `fit` sets `classes_` and calls `_forget`.

    Attributes:
        card_: What is known of the model beyond its parameters, such as what it was trained on and
            how well it does, as JSON takes it; saved with the model. `None` after `fit`.
    """

    card_: dict[str, Any] | None = None

    _FILES: tuple[str, ...] = ()
    # Parameters that belong to a machine or a process, not to a model.
    _NOT_SAVED: tuple[str, ...] = ("callbacks", "device")
    # Parameters by the names they had before format 3, and the names they have.
    _RENAMED: Mapping[str, str] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the constructor name the nearest parameter where one is misspelled."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _with_named_parameters(cls.__init__)

    def save(self, folder: str | Path) -> Path:
        """Write the model to a folder, as safetensors and JSON only.

        The folder is written under a temporary name and moved into place, so that a model saved
        there before can be loaded until the new one is whole, whatever interrupts this. Of
        several processes that train together, the first one writes.

        Raises:
            ValueError: If `folder` holds something else, which is left alone.
            OSError: If the disk is full or the folder cannot be written.
        """
        check_is_fitted(self, "classes_")
        manifest = self._manifest()  # before anything is written: it may refuse
        if runtime.rank() != 0:
            return Path(folder)
        return write_folder(folder, lambda written: self._write_all(written, manifest))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a model that `save` wrote; nothing in the folder is run.

        Raises:
            FileNotFoundError: If there is no such folder.
            ValueError: If it is not a folder of ours, was written by a later version, names code
                to run, or a file of it is missing or damaged.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            current = find_folder(folder)  # anew: a save of another process moves it
            before = _stamp_of(current / MANIFEST)
            try:
                return cls._read_folder(current)
            except Exception:
                # Another process may have saved meanwhile, so that old and new files were mixed.
                if attempt == _ATTEMPTS or _stamp_of(current / MANIFEST) == before:
                    raise
        raise AssertionError("the last attempt returns or raises")

    @classmethod
    def _read_folder(cls, folder: Path) -> Self:
        manifest = _read_manifest(folder, cls)
        if manifest["files"] is not None:
            check_hashes(folder, manifest["files"])
        check_model_folder(folder)
        loaded = cls(**manifest["params"])
        loaded.classes_ = manifest["classes"]
        if manifest["thresholds"] is not None:
            loaded.thresholds_ = manifest["thresholds"]
        if manifest["temperature"] is not None:
            loaded.temperature_ = manifest["temperature"]
        loaded.card_ = manifest.get("card")
        try:
            with runtime.quiet():
                loaded._read(folder, manifest)
        except (assets.AssetError, MemoryError):
            _check_seal(folder, manifest)
            raise
        except BaseException as error:
            # A tokenizer's Rust code panics with an exception that is no `Exception`.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise ValueError(
                f"{folder} holds a damaged model ({error}); save it again or restore the folder."
            ) from error
        _check_seal(folder, manifest)  # last, because everything else says better what is wrong
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
        manifest = sealed({**manifest, "files": file_hashes(folder)})
        text = json.dumps(manifest, indent=2, default=runtime.as_json)
        (folder / MANIFEST).write_text(text, encoding="utf-8")

    def _manifest(self) -> dict[str, Any]:
        params = self.get_params(deep=False)
        params = {name: value for name, value in params.items() if name not in self._NOT_SAVED}
        if "model" in params:
            params["model"] = str(params["model"])
        manifest = {
            "format": FORMAT,
            "class": type(self).__name__,
            "params": {name: pack(value) for name, value in params.items()},
            "classes": self.classes_.tolist(),
            "versions": {"reptune": __version__, **runtime.versions()},
        }
        return manifest if self.card_ is None else manifest | {"card": self.card_}

    def _forget(self) -> None:
        """Drop what was known of an earlier fit; `fit` calls this when it has succeeded."""
        self.card_ = None


class TextEstimator(SavedEstimator):
    """An estimator that reads texts: any iterable of them, a generator too, chunk by chunk.

    A subclass defines `fit` and `_logits`. Memory grows with what is returned alone.
    """

    def logits(self, texts: Iterable[Any]) -> np.ndarray:
        """Return scores before the softmax, shape `(n, num_classes)`.

        A classifier's `predict_proba` is their softmax, once divided by `temperature_`; with
        several labels per text it is their sigmoid.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If a text is not a string or there are none.
        """
        return np.concatenate([self._logits(chunk) for chunk in self._chunks(texts)])

    def _chunks(self, texts: Iterable[Any]) -> Iterator[list[Any]]:
        """Yield checked texts, at most `CHUNK_TEXTS` at a time."""
        check_is_fitted(self, "classes_")
        yield from in_chunks(texts, self._checked_texts)

    def _checked_texts(self, texts: Iterable[Any], first: int = 0) -> list[Any]:
        """Return the texts in a list, or raise a `ValueError`; `first` is the first one's index."""
        return check_texts(texts, first=first)

    def _logits(self, texts: list[Any]) -> np.ndarray:
        """Return scores of checked texts, shape `(n, num_classes)`."""
        raise NotImplementedError

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


class TextClassifier(ClassifierMixin, TextEstimator):
    """A classifier of texts that follows scikit-learn; a subclass defines `fit` and `_logits`.

    Attributes:
        thresholds_: Where texts have several labels each, the probability from which on a text
            gets a label, shape `(num_classes,)`; `None` where they have one.
        temperature_: What the logarithms of probabilities are divided by, so that they are as
            confident as they are right; 1 until `calibrate` sets it, and after `fit`.
    """

    thresholds_: np.ndarray | None = None
    temperature_: float = 1.0

    def calibrate(self, probabilities: ArrayLike, labels: Iterable[Any]) -> Self:
        """Fit the temperature on texts that the model was not fitted on.

        It changes no predicted label, and is saved with the model. Probabilities of several labels
        per text have thresholds instead, so there it is refused.

        Args:
            probabilities: What `predict_proba` gives for held-out texts before any `calibrate`, or
                what clones give for the texts that they were not fitted on, shape
                `(n, num_classes)`.
            labels: Their true labels.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If there are several labels per text, a label is not in `classes_`, or the
                shapes do not fit.

        Source: Guo et al., *On Calibration of Modern Neural Networks* (2017); chapter 1.
        """
        check_is_fitted(self, "classes_")
        if self.thresholds_ is not None:
            raise ValueError("several labels per text have thresholds; there is no temperature.")
        shares = np.asarray(probabilities, dtype=float)
        names = check_labels(labels, len(shares))
        unknown = np.setdiff1d(names, self.classes_)
        if len(unknown) or names.dtype.kind != self.classes_.dtype.kind:
            raise ValueError(
                f"label {(unknown if len(unknown) else names)[0].item()!r} is not one of "
                f"{self.classes_.tolist()}; pass labels as fit got them."
            )
        self.temperature_ = fit_temperature(_logarithms(shares), self.classes_.searchsorted(names))
        return self

    def predict(self, texts: Iterable[Any]) -> np.ndarray | list[list[Any]]:
        """Return the most probable label of each text, or all labels above their thresholds.

        Args:
            texts: Strings in any iterable; a generator is read in chunks.

        Returns:
            Shape `(n,)`. After a `fit` on several labels per text, a list of labels for each
            text, in the order of `classes_`; it may be empty.
        """
        if self.thresholds_ is None:
            return np.concatenate([self._labels(chunk) for chunk in self._chunks(texts)])
        chosen = [self._probabilities(chunk) >= self.thresholds_ for chunk in self._chunks(texts)]
        return label_lists(np.concatenate(chosen), self.classes_)

    def predict_proba(self, texts: Iterable[Any]) -> np.ndarray:
        """Return probabilities in the order of `classes_`, shape `(n, num_classes)`.

        Those of one label per text sum to 1; those of several labels are independent.
        """
        shares = np.concatenate([self._probabilities(chunk) for chunk in self._chunks(texts)])
        if self.temperature_ == 1 or self.thresholds_ is not None:
            return shares
        return tempered(shares, self.temperature_)

    def score(
        self, texts: Iterable[Any], labels: Iterable[Any], sample_weight: Any = None
    ) -> float:
        """Return the share of texts whose label is right; of several, all of them and no others.

        Args:
            texts: Strings in any iterable.
            labels: The true labels: one per text, or a list of them per text.
            sample_weight: A weight per text; `None` weighs all alike.

        Raises:
            ValueError: If texts or labels are bad, or the labels are one per text where `fit` had
                several, or the other way round.
        """
        check_is_fitted(self, "classes_")
        labels = listed(labels, "labels", "labels")
        several = holds_label_lists(labels)
        if several != (self.thresholds_ is not None):
            raise ValueError(
                f"labels hold {'lists of labels' if several else 'one label'} per text, and this "
                f"model was fitted on {'one label' if several else 'lists of labels'} per text; "
                "pass labels as fit got them."
            )
        if not several:
            return super().score(texts, labels, sample_weight)
        predicted = self.predict(texts)
        check_multilabels(labels, len(predicted), num_classes=0)
        right = [set(ours) == set(true) for ours, true in zip(predicted, labels, strict=True)]
        return float(np.average(right, weights=sample_weight))

    def _labels(self, texts: list[Any]) -> np.ndarray:
        return self.classes_[self._probabilities(texts).argmax(axis=1)]

    def _probabilities(self, texts: list[Any]) -> np.ndarray:
        logits = self._logits(texts)
        return softmax(logits, axis=1) if self.thresholds_ is None else expit(logits)

    def _manifest(self) -> dict[str, Any]:
        manifest = super()._manifest()
        if self.thresholds_ is not None:
            manifest["thresholds"] = self.thresholds_.tolist()
        if self.temperature_ != 1:
            manifest["temperature"] = self.temperature_
        return manifest

    def _forget(self) -> None:
        super()._forget()
        self.temperature_ = 1.0


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities at another temperature, shape `(n, num_classes)`.

    >>> tempered(np.array([[0.8, 0.2]]), 2.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    return softmax(_logarithms(probabilities) / temperature, axis=1)


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    """Return logarithms; a probability too small for a float is not impossible."""
    return np.log(np.maximum(probabilities, np.finfo(float).tiny))


# Where each class is that a folder may hold; a module is imported when a folder names its class.
SAVED = {
    "EntityTagger": "reptune.ner",
    "FineTunedClassifier": "reptune.classification",
    "FrozenClassifier": "reptune.fewshot",
    "InContextClassifier": "reptune.incontext",
    "PromptTunedClassifier": "reptune.cloze",
    "PromptTunedRegressor": "reptune.cloze",
    "SetFitClassifier": "reptune.fewshot",
    "SpanExtractor": "reptune.extraction",
    "StaticClassifier": "reptune.fewshot",
    "TextGenerator": "reptune.generation",
    "TfidfClassifier": "reptune.baselines",
}


def load(folder: str | Path) -> SavedEstimator:
    """Open a model that any of the estimators saved.

    Args:
        folder: What `save` returned.

    Returns:
        A fitted estimator of the class that was saved. Nothing in the folder is run.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If no estimator of this package saved it, a later version did, or a file of it
            is missing or damaged.
    """
    name = saved_class(folder)
    if name not in SAVED:
        raise ValueError(
            f"{folder} holds a {name}, which is no estimator of reptune {__version__}; load it "
            f"with {name}.load where that class is defined, or upgrade reptune."
        )
    return getattr(importlib.import_module(SAVED[name]), name).load(folder)


def in_chunks(
    inputs: Iterable[Any], check: Callable[[Iterable[Any], int], list[Any]]
) -> Iterator[list[Any]]:
    """Yield inputs in lists of at most `CHUNK_TEXTS`; an iterator is never read further ahead.

    Args:
        inputs: Texts, or whatever an estimator reads, in any iterable.
        check: Returns some inputs in a list, or raises; its second argument is the index of the
            first of them among all.
    """
    if not isinstance(inputs, Iterator):
        checked = check(inputs, 0)
        for start in range(0, len(checked), CHUNK_TEXTS):
            yield checked[start : start + CHUNK_TEXTS]
        return
    first = 0
    while chunk := list(itertools.islice(inputs, CHUNK_TEXTS)):
        yield check(chunk, first)
        first += len(chunk)
    if not first:
        check([], 0)  # which raises


def check_weights(folder: Path, model: Any) -> None:
    """Raise a `ValueError` unless a saved model's weights are those that it was built for.

    Weights that a file lacks are drawn at random by the library, those that the configuration
    does not know are left out, both without a warning.

    Args:
        folder: Where its safetensors files lie.
        model: The model that was loaded from them.
    """
    saved: set[str] = set()
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, "pt") as file:
            saved |= set(file.keys())
    wanted, tied = set(model.state_dict()), set(getattr(model, "all_tied_weights_keys", None) or ())
    for names, what in ((wanted - saved - tied, "lack"), (saved - wanted, "hold, unused,")):
        if names:
            raise ValueError(f"the weights {what} {', '.join(sorted(names)[:3])}")
    check_finite_weights(model, trained=False)


def check_vocabulary(tokenizer: Any, num_embeddings: int) -> None:
    """Raise a `ValueError` if a saved tokenizer has token ids that the model has no vector for.

    A tokenizer whose template names a token that it lacks fails here too, on a first text.
    """
    tokenizer("a text")
    highest = max([*tokenizer.get_vocab().values(), *tokenizer.all_special_ids])
    if highest >= num_embeddings:
        raise ValueError(f"the tokenizer has the token id {highest}, the model {num_embeddings}")


def pack(value: Any) -> Any:
    """Turn a parameter into what JSON keeps: dictionaries into pairs, tuples and sets by name.

    JSON would turn a dictionary's integer keys, which may be labels, into strings.
    """
    if isinstance(value, dict):
        return {"pairs": [[pack(key), pack(inner)] for key, inner in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [pack(inner) for inner in value]}
    if isinstance(value, set | frozenset):
        return {"set": sorted(value)}
    if isinstance(value, list):
        return [pack(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def unpack(value: Any) -> Any:
    """Return what `pack` was given, for one parameter of a manifest.

    Raises:
        ValueError: If `pack` cannot have written it.
    """
    if isinstance(value, list):
        return [unpack(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()), (None, None))
    if len(value) != 1 or kind not in ("pairs", "tuple", "set") or not isinstance(content, list):
        raise ValueError(f"{value!r} is no parameter")
    if kind != "pairs":
        return {"tuple": tuple, "set": set}[kind](unpack(inner) for inner in content)
    return {unpack(key): unpack(inner) for key, inner in content}


def _with_named_parameters(init: Callable[..., None]) -> Callable[..., None]:
    """Return a constructor that says which parameter an unknown one may have been meant for."""
    parameters = inspect.signature(init).parameters
    known = [name for name in parameters if name != "self"]

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in kwargs:
            if name not in known:
                raise TypeError(
                    f"{type(self).__name__} has no parameter {name!r}{did_you_mean(name, known)}; "
                    f"it takes {', '.join(known)}."
                )
        init(self, *args, **kwargs)

    return checked


def _stamp_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from its successor, which may hold the same bytes."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _read_manifest(folder: Path, kind: type[SavedEstimator]) -> dict[str, Any]:
    """Return the manifest, with `params` and `classes` as saved and `files` in every format."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; pass the one that save() returned.")
    missing = [name for name in (MANIFEST, *kind._FILES) if not (folder / name).is_file()]
    # A folder of another class lacks other files; its manifest says so better.
    manifest = read_manifest(folder) if MANIFEST not in missing else {"class": kind.__name__}
    name = manifest.get("class")
    if not isinstance(name, str):
        raise ValueError(f"{folder / MANIFEST} is damaged (class {name!r}); save the model again.")
    if name != kind.__name__:
        raise ValueError(
            f"{folder} holds a {name}, not a {kind.__name__}; load it with {name}.load."
        )
    if missing:
        raise ValueError(
            f"{folder} is not a saved {kind.__name__}: it lacks {', '.join(missing)}; "
            "pass the folder that save() returned."
        )
    _check_format(folder, manifest)
    manifest["sealed"] = _is_sealed(manifest)
    manifest["params"] = _params_of(folder, manifest, kind)
    manifest["classes"] = _classes_of(folder, manifest)
    manifest["thresholds"] = _thresholds_of(folder, manifest)
    manifest["temperature"] = _temperature_of(folder, manifest)
    manifest["files"] = _files_of(folder, manifest, kind)
    return manifest


def _check_format(folder: Path, manifest: dict[str, Any]) -> None:
    number = manifest.get("format")
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{folder / MANIFEST} is damaged (format {number!r}); save it again.")
    if number > FORMAT:
        versions = manifest.get("versions")
        writer = versions.get("reptune", "a later version") if isinstance(versions, dict) else "?"
        raise ValueError(
            f"{folder} was saved in format {number} by reptune {writer}; this is "
            f"{__version__}, which reads up to format {FORMAT}. Upgrade reptune."
        )


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with the SHA-256 of everything else in it, as `seal`.

    A parameter or a label that was changed or lost would otherwise load as another model.
    """
    content = {name: value for name, value in manifest.items() if name != "seal"}
    text = json.dumps(content, default=runtime.as_json, sort_keys=True)
    return {**content, "seal": hashlib.sha256(text.encode()).hexdigest()}


def _is_sealed(manifest: dict[str, Any]) -> bool:
    """Return whether a manifest, as it was read, is as it was written; format 1 had no seal."""
    return manifest["format"] == 1 or manifest.get("seal") == sealed(manifest)["seal"]


def _check_seal(folder: Path, manifest: dict[str, Any]) -> None:
    if not manifest["sealed"]:
        raise ValueError(
            f"{folder / MANIFEST} is damaged or was changed: its seal is not the one that save "
            "wrote. Save the model again or restore the file."
        )


def _params_of(
    folder: Path, manifest: dict[str, Any], kind: type[SavedEstimator]
) -> dict[str, Any]:
    params, known = manifest.get("params"), kind._get_param_names()
    try:
        params = {name: unpack(value) for name, value in params.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder / MANIFEST} is damaged (params: {error}); save the model again."
        ) from error
    if manifest["format"] < 3:
        params = {kind._RENAMED.get(name, name): value for name, value in params.items()}
    for name in params:
        if name not in known:
            raise ValueError(
                f"{folder / MANIFEST} has the parameter {name!r}, which {kind.__name__} of reptune "
                f"{__version__} does not know{did_you_mean(name, known)}. Load it with the "
                "version that saved it, or train the model again."
            )
    if manifest["format"] == 1 and isinstance(params.get("fast"), list):  # it was a tuple
        params["fast"] = tuple(params["fast"])
    return params


def _classes_of(folder: Path, manifest: dict[str, Any]) -> np.ndarray:
    classes = manifest.get("classes")
    try:
        if not len(classes):
            raise ValueError("there are none")
        array = check_labels(classes, len(classes))
        if len(np.unique(array)) < len(array):
            raise ValueError("they are not all different")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{folder / MANIFEST} is damaged (classes: {error}); save the model again."
        ) from error
    return array


def _thresholds_of(folder: Path, manifest: dict[str, Any]) -> np.ndarray | None:
    """Return one threshold per class, where texts had several labels each."""
    thresholds = manifest.get("thresholds")
    if thresholds is None:
        return None
    numbers = isinstance(thresholds, list) and len(thresholds) == len(manifest["classes"])
    if not numbers or not all(type(each) in (int, float) and 0 <= each <= 1 for each in thresholds):
        raise ValueError(
            f"{folder / MANIFEST} is damaged (thresholds {thresholds!r}); save the model again."
        )
    return np.array(thresholds, dtype=float)


def _temperature_of(folder: Path, manifest: dict[str, Any]) -> float | None:
    temperature = manifest.get("temperature")
    if temperature is None:
        return None
    if type(temperature) not in (int, float) or not 0 < temperature < np.inf:
        raise ValueError(
            f"{folder / MANIFEST} is damaged (temperature {temperature!r}); save the model again."
        )
    return float(temperature)


def _files_of(
    folder: Path, manifest: dict[str, Any], kind: type[SavedEstimator]
) -> dict[str, str] | None:
    if manifest["format"] == 1:  # had no hashes
        return None
    files = manifest.get("files")
    named = isinstance(files, dict) and all(isinstance(value, str) for value in files.values())
    named = named and set(kind._FILES) <= set(files)
    if not named or any(".." in Path(name).parts or Path(name).is_absolute() for name in files):
        raise ValueError(f"{folder / MANIFEST} is damaged (files); save the model again.")
    return files
