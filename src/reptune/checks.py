"""Checks of what a caller passes: texts, labels, numbers, names, and folders that hold a model.

Each raises before any work starts, with a message that names the bad value and the cure.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

# A model folder's JSON files that name classes or modules; none is ever near this size.
_CONFIGURATIONS = ("*config*.json", "modules.json")
_CONFIGURATION_BYTES = 5_000_000
_MOST_LAYERS = 512  # more than any encoder has; loading a million of them would never end

# What holds the labels of one text where it may have several.
_CONTAINERS = (list, tuple, set, frozenset, np.ndarray)

# Below this many rows, labels that are all different are a few-shot task, not swapped arguments.
_ROWS_TO_SUSPECT = 20


# --- texts and labels ----------------------------------------------------------------------------


def check_texts(texts: Iterable[Any], what: str = "texts", first: int = 0) -> list[str]:
    """Return `texts` as a list of strings, or raise before anything else happens.

    Args:
        texts: Any sequence of strings: a list, a generator, a pandas Series, a NumPy or Arrow
            array, a data set's column.
        what: What to call them in the message.
        first: The number of the first of them, in messages.

    Raises:
        ValueError: If there are none, if `texts` is one string, a table or a mapping, or if an
            element is not a string of valid Unicode.
    """
    if isinstance(texts, str | bytes):
        raise ValueError(f"{what} is a single string; pass a list of strings: [{texts[:40]!r}].")
    values = listed(texts, what, "strings")
    if not values:
        raise ValueError(f"{what}: there are none; pass at least one string.")
    for position, value in enumerate(values, first):
        if not isinstance(value, str):
            missing = " (a missing value)" if is_missing(value) else ""
            raise ValueError(
                f"{what}[{position}] is {_shown(value)}{missing}, a {type(value).__name__}; every "
                "text must be a string. Drop such rows or convert them with str()."
            )
        check_unicode(value, f"{what}[{position}]")
    return [str(value) for value in values]


def check_unicode(text: str, what: str) -> None:
    """Raise a `ValueError` if `text` holds half of a surrogate pair, which no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} is not valid Unicode: a lone surrogate, {text[error.start]!r}, at character "
            f"{error.start}; read the file as UTF-8, or clean the text with "
            "text.encode('utf-8', 'replace').decode()."
        ) from None


def check_labels(labels: Iterable[Any], num_texts: int, num_classes: int = 1) -> np.ndarray:
    """Return `labels` as an array of str or int, or raise before anything else happens.

    Args:
        labels: One label per text, all strings or all integers.
        num_texts: How many texts they belong to.
        num_classes: The least number of different labels; a classifier needs 2.

    Returns:
        Array of shape `(num_texts,)`.

    Raises:
        ValueError: If the count differs, a label is missing, types are mixed or not str or int,
            or there are fewer than `num_classes` different labels.
    """
    if isinstance(labels, str | bytes):
        raise ValueError(f"labels is a single string, {labels[:40]!r}; pass one label per text.")
    values = [
        value.item() if isinstance(value, np.generic) else value
        for value in listed(labels, "labels", "labels")
    ]
    if len(values) != num_texts:
        raise ValueError(f"{num_texts} texts but {len(values)} labels; pass one label per text.")
    _check_each_label(values)
    array = _label_array(values)
    _check_num_classes(np.unique(array), num_classes)
    return array


def _check_each_label(values: Iterable[Any], what: str = "labels") -> None:
    # Missing labels first: one of them turns a column of whole numbers into floats.
    values = list(values)
    for position, value in enumerate(values):
        if is_missing(value):
            raise ValueError(f"{what}[{position}] is {value!r}; drop rows without a label.")
    for position, value in enumerate(values):
        if not isinstance(value, str | int):
            raise ValueError(
                f"{what}[{position}] is {_shown(value)}, a {type(value).__name__}; labels must be "
                "strings or integers. Convert them with str() or int()."
            )
        if isinstance(value, str):
            check_unicode(value, f"{what}[{position}]")
            if value.endswith("\0"):  # NumPy's strings end before it: two labels would become one
                raise ValueError(f"{what}[{position}] is {value!r}; remove the NUL at its end.")


def _label_array(values: Sequence[Any]) -> np.ndarray:
    """Return checked labels as an array of one type, or raise."""
    kinds = {"strings": str, "integers": int, "booleans": bool}
    mixed = [name for name, kind in kinds.items() if any(_is_a(value, kind) for value in values)]
    if len(mixed) > 1:
        raise ValueError(f"labels mix {' and '.join(mixed)}; convert all of them to strings.")
    array = np.asarray(values)
    if array.dtype.kind not in "Uib":
        raise ValueError("labels hold integers beyond 64 bits; convert them with str().")
    return array


def _check_num_classes(classes: np.ndarray, least: int) -> None:
    if len(classes) < least:
        raise ValueError(
            f"labels hold {len(classes)} class ({', '.join(map(repr, classes.tolist()))}); "
            f"training needs at least {least}."
        )


def _is_a(value: Any, kind: type) -> bool:
    """Return whether a label is of a kind; to Python a boolean is an integer too."""
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


# --- several labels per text ---------------------------------------------------------------------


def holds_label_lists(labels: Sequence[Any]) -> bool:
    """Return whether the texts have several labels each: whether any element is a container.

    >>> holds_label_lists(["a", "b"]), holds_label_lists([["a", "b"], []])
    (False, True)
    """
    return any(isinstance(value, _CONTAINERS) for value in labels)


def check_multilabels(
    labels: Iterable[Any], num_texts: int, num_classes: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes of texts with several labels and who has which, or raise.

    Args:
        labels: For each text a list, tuple or set of labels, which may be empty; the labels are
            all strings or all integers.
        num_texts: How many texts they belong to.
        num_classes: The least number of different labels; a classifier needs 2.

    Returns:
        The classes, sorted, shape `(num_classes,)`, and whether each text has each of them,
        booleans of shape `(num_texts, num_classes)`.

    Raises:
        ValueError: If the count differs, a text has a single label instead of a list or a label
            twice, a label is missing, types are mixed or not str or int, or there are fewer than
            `num_classes` different labels.

    >>> classes, indicator = check_multilabels([["b", "a"], [], ["a"]], 3)
    >>> classes.tolist(), indicator.astype(int).tolist()
    (['a', 'b'], [[1, 1], [0, 0], [1, 0]])
    """
    rows = _label_rows(labels, num_texts)
    flat = [label for row in rows for label in row]
    if not flat and num_classes:
        raise ValueError(
            f"none of the {num_texts} texts has a label; training needs at least {num_classes} "
            "different ones."
        )
    classes = np.unique(_label_array(flat)) if flat else np.array([], dtype=str)
    _check_num_classes(classes, num_classes)
    return classes, indicator_of(rows, classes)


def check_known_multilabels(
    labels: Iterable[Any], num_texts: int, classes: np.ndarray, what: str = "labels"
) -> np.ndarray:
    """Return which of the known classes each text has, booleans of shape `(num_texts, classes)`.

    Raises:
        ValueError: As `check_multilabels`, and for a label that `classes` lacks.
    """
    rows = _label_rows(labels, num_texts, what)
    unseen = sorted({label for row in rows for label in row} - set(classes.tolist()), key=str)
    if unseen:
        raise ValueError(
            f"{what} has labels that are no classes: {_shown(unseen)}; the classes are "
            f"{_shown(classes.tolist())}. Drop such labels, or train with examples of them."
        )
    return indicator_of(rows, classes)


def indicator_of(rows: Sequence[Sequence[Any]], classes: np.ndarray) -> np.ndarray:
    """Return whether each row of labels holds each class, booleans `(rows, num_classes)`."""
    index = {label: column for column, label in enumerate(classes.tolist())}
    indicator = np.zeros((len(rows), len(classes)), dtype=bool)
    for position, row in enumerate(rows):
        indicator[position, [index[label] for label in row]] = True
    return indicator


def label_lists(indicator: np.ndarray, classes: np.ndarray) -> list[list[Any]]:
    """Return the labels of each text, in the order of `classes`, from booleans `(n, classes)`.

    >>> label_lists(np.array([[True, True], [False, False]]), np.array(["a", "b"]))
    [['a', 'b'], []]
    """
    names = classes.tolist()
    return [[names[column] for column in np.flatnonzero(row)] for row in indicator]


def _label_rows(labels: Iterable[Any], num_texts: int, what: str = "labels") -> list[list[Any]]:
    """Return a checked list of plain labels per text."""
    if isinstance(labels, str | bytes):
        raise ValueError(f"{what} is a single string, {labels[:40]!r}; pass a list per text.")
    values = listed(labels, what, "lists of labels")
    if len(values) != num_texts:
        raise ValueError(
            f"{num_texts} texts but {len(values)} lists of labels in {what}; pass one per text."
        )
    rows = [_label_row(value, f"{what}[{position}]") for position, value in enumerate(values)]
    for position, row in enumerate(rows):
        _check_each_label(row, f"{what}[{position}]")
        twice = [label for index, label in enumerate(row) if label in row[:index]]
        if twice:
            raise ValueError(
                f"{what}[{position}] holds {twice[0]!r} twice; name each of a text's labels once "
                "(a row of zeros and ones is not taken)."
            )
    return rows


def _label_row(value: Any, what: str) -> list[Any]:
    if not isinstance(value, _CONTAINERS):
        raise ValueError(
            f"{what} is {_shown(value)}, which is no list of labels; give every text a list where "
            "texts have several labels, [] where one has none."
        )
    plain = value.tolist() if isinstance(value, np.ndarray) else list(value)
    return [label.item() if isinstance(label, np.generic) else label for label in plain]


# --- sets to train and to validate on ------------------------------------------------------------


def check_training_set(texts: Iterable[Any], labels: Iterable[Any]) -> tuple[list[str], np.ndarray]:
    """Return texts and labels to train a classifier on, or raise; warn where they seem swapped.

    Raises:
        ValueError: As `check_texts` and `check_labels`, and for fewer than two classes.
    """
    checked = check_texts(texts)
    array = check_labels(labels, len(checked), num_classes=2)
    _warn_if_swapped(checked, array)
    return checked, array


def check_labeled_texts(
    texts: Iterable[Any], labels: Iterable[Any]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return texts, classes and targets to train on, with one or several labels per text.

    Returns:
        The texts, the classes, sorted, of shape `(num_classes,)`, and the targets: indices into
        the classes, shape `(n,)`, or for several labels per text booleans of shape
        `(n, num_classes)`.

    Raises:
        ValueError: As `check_texts` and `check_labels` or `check_multilabels`, and for fewer than
            two classes.
    """
    checked = check_texts(texts)
    if not isinstance(labels, str | bytes):
        labels = listed(labels, "labels", "labels")
        if holds_label_lists(labels):
            return checked, *check_multilabels(labels, len(checked))
    array = check_labels(labels, len(checked), num_classes=2)
    _warn_if_swapped(checked, array)
    return checked, *np.unique(array, return_inverse=True)


def _warn_if_swapped(texts: list[str], labels: np.ndarray) -> None:
    num_texts, num_labels = len(set(texts)), len(np.unique(labels))
    mostly_unique = num_labels > len(texts) / 2
    if mostly_unique and (num_texts < num_labels or len(texts) >= _ROWS_TO_SUSPECT):
        warnings.warn(
            f"{num_labels} different labels for {len(texts)} texts, {num_texts} of them "
            "different: are the arguments swapped? fit takes (texts, labels).",
            stacklevel=4,
        )


def check_validation(
    validation: tuple[Iterable[Any], Iterable[Any]] | None,
    classes: np.ndarray,
    multilabel: bool = False,
) -> tuple[list[str], np.ndarray] | None:
    """Return held-out texts and their targets, as `check_labeled_texts` gives them, or raise.

    Args:
        validation: Texts and labels, or `None`.
        classes: The labels of the training texts, sorted.
        multilabel: Whether the training texts have several labels each.

    Raises:
        ValueError: As `check_texts` and `check_labels`, and for a label that `classes` lacks.
    """
    if validation is None:
        return None
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise ValueError(f"validation is {_shown(validation)}; pass a pair, (texts, labels).")
    texts = check_texts(validation[0], what="validation texts")
    if multilabel:
        return texts, check_known_multilabels(
            validation[1], len(texts), classes, "validation labels"
        )
    labels = check_labels(validation[1], len(texts))
    unseen = sorted(set(labels.tolist()) - set(classes.tolist()), key=str)
    if unseen:
        raise ValueError(
            f"validation has labels that training has not: {unseen}; "
            "add examples of them to the training texts, or drop them."
        )
    return texts, np.searchsorted(classes, labels)


def class_weights(
    class_weight: str | dict[Any, float] | None,
    classes: np.ndarray,
    counts: np.ndarray,
    num_texts: int | None = None,
) -> np.ndarray | None:
    """Return a weight per class, or raise.

    With several labels per text, each label is a question of its own, and its weight is that of
    the texts that have it, against 1 for those that do not.

    Args:
        class_weight: `None`, `"balanced"`, or a weight for each label. Balanced is n / (number of
            classes x count), as in scikit-learn; with several labels per text it is how many
            texts lack the label for each one that has it.
        classes: The labels, sorted, shape `(num_classes,)`.
        counts: How many texts each has, shape `(num_classes,)`.
        num_texts: The number of texts where they have several labels; `None` where they have one.

    Returns:
        Shape `(num_classes,)`, or `None` for `None`.

    Raises:
        ValueError: If `class_weight` is something else, lacks a label, or a weight is not a
            positive number.
    """
    if isinstance(class_weight, dict):
        missing = [label for label in classes.tolist() if label not in class_weight]
        if missing:
            raise ValueError(f"class_weight lacks {missing}; give every label a weight.")
        for label, weight in class_weight.items():
            check_number(f"class_weight[{label!r}]", weight, above=0)
        return np.array([float(class_weight[label]) for label in classes.tolist()])
    if class_weight is not None and not _is(class_weight, "balanced"):
        raise ValueError(f"class_weight={class_weight!r}; use None, 'balanced' or a dict by label.")
    if class_weight is None:
        return None
    if num_texts is None:
        return counts.sum() / (len(counts) * counts)
    # A label that every text has leaves nothing to balance.
    return np.where(counts < num_texts, (num_texts - counts) / counts, 1.0)


def listed(values: Any, what: str, of: str) -> list[Any]:
    """Return the elements of a one-dimensional sequence, or raise: a table or mapping has none.

    Args:
        values: What the caller passed.
        what: What to call it in the message.
        of: What it should hold, such as `"strings"`.

    Raises:
        ValueError: If it is a table, a mapping, a set, no sequence, or has several dimensions.
    """
    columns = _columns(values)
    if columns is not None:
        name = columns[0] if columns else "a column"
        raise ValueError(
            f"{what} is a {type(values).__name__} with the columns {columns}; pass one of its "
            f"columns, such as table[{name!r}]: a table read as a list gives column names."
        )
    if isinstance(values, Mapping):
        raise ValueError(
            f"{what} is a {type(values).__name__}, whose elements are its keys; pass a list of "
            f"{of}, such as list(mapping.values())."
        )
    if isinstance(values, set | frozenset):
        raise ValueError(f"{what} is a set, which has no order; pass a list of {of}.")
    if len(getattr(values, "shape", "1")) != 1:  # a NumPy array or a tensor
        raise ValueError(
            f"{what} has the shape {tuple(values.shape)}; pass one dimension, such as "
            "array.ravel()."
        )
    if hasattr(values, "to_pylist"):  # an Arrow array, whose elements are scalars of its own
        return values.to_pylist()
    if hasattr(values, "shape") and hasattr(values, "tolist"):  # so that a tensor's are numbers
        return values.tolist()
    if not isinstance(values, Iterable):
        raise ValueError(f"{what} is {_shown(values)}; pass a list of {of}.")
    return list(values)


def _columns(values: Any) -> list[Any] | None:
    """Return the column names of a pandas, Polars or Arrow table or data set, else `None`."""
    for attribute in ("column_names", "columns"):  # an Arrow table has both
        names = getattr(values, attribute, None)
        if names is not None and not callable(names):
            return list(names)
    return None


def is_missing(value: Any) -> bool:
    """Return whether a value is a missing one: `None`, a NaN, or the missing value of pandas."""
    # By name: importing pandas for two singletons would cost `reptune assets list` half a second.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _shown(value: Any) -> str:
    """Return a value as a message shows it: not the whole of a large one."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _is(value: Any, word: str) -> bool:
    """Return whether a value is this string; comparing an array with one would give an array."""
    return isinstance(value, str) and value == word


# --- numbers -------------------------------------------------------------------------------------


def check_whole_number(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number as a plain `int`, or raise a `ValueError` that names the parameter."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(f"{name}={_shown(value)}; use a whole number from {least} on.")
    return int(value)


def check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """Return a finite number as a plain `float`, or raise a `ValueError` that names it.

    Args:
        name: The parameter's name.
        value: What the caller passed.
        least: The smallest value allowed.
        above: A value that it must exceed.
        below: A value that it must stay under.
        most: The largest value allowed.
    """
    bounds = [f"{word} {bound:g}" for word, bound in
              (("from", least), ("above", above), ("below", below), ("up to", most))
              if bound is not None]  # fmt: skip
    wanted = " ".join(["a number", *bounds]) if bounds else "a finite number"
    fits = (
        isinstance(value, Real)
        and not isinstance(value, bool | np.bool_)
        and _is_finite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (below is None or value < below)
        and (most is None or value <= most)
    )
    if not fits:
        hint = f" ({float(value):g}, without the quotes)" if _reads_as_number(value) else ""
        raise ValueError(f"{name}={_shown(value)}; use {wanted}{hint}.")
    return float(value)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def check_flag(name: str, value: Any) -> None:
    """Raise a `ValueError` unless a switch is `True` or `False`: a string is always true."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={_shown(value)}; use True or False.")


def check_shared_parameters(estimator: Any) -> None:
    """Raise a `ValueError` unless the parameters that many estimators have are what they may be.

    They are `prediction_batch_size`, `patience`, `thresholds`, `callbacks`, `show_progress` and
    `prefix`; those that an estimator lacks are skipped.
    """
    for name in ("prediction_batch_size", "patience"):
        if getattr(estimator, name, None) is not None:
            check_whole_number(name, getattr(estimator, name))
    if getattr(estimator, "thresholds", None) is not None:
        check_number("thresholds", estimator.thresholds, above=0, below=1)
    callbacks = getattr(estimator, "callbacks", ())
    if not isinstance(callbacks, list | tuple) or not all(map(callable, callbacks)):
        raise ValueError(
            f"callbacks={_shown(callbacks)}; use a list of functions that take a record, such as "
            "[print]."
        )
    if getattr(estimator, "show_progress", None) is not None:
        check_flag("show_progress", estimator.show_progress)
    prefix = getattr(estimator, "prefix", None)
    if prefix is not None and not isinstance(prefix, str):
        raise ValueError(f"prefix={_shown(prefix)}; use a string, or None for the model's own.")


def check_patience(patience: int | None, held_out: Any) -> None:
    """Raise a `ValueError` if there is patience, but no validation that could run out of it."""
    if patience is not None and held_out is None:
        raise ValueError(f"patience={patience} needs validation=(texts, labels) in fit.")


def check_optimizer(learning_rate: float | None, warmup: float, weight_decay: float = 0.0) -> None:
    """Raise a `ValueError` unless AdamW and the schedule can work with these.

    Args:
        learning_rate: A positive number, or `None` for the default.
        warmup: A share of the steps, 0 to below 1.
        weight_decay: A number from 0 on.
    """
    if learning_rate is not None:
        check_number("learning_rate", learning_rate, above=0)
    check_number("warmup", warmup, least=0, below=1)
    check_number("weight_decay", weight_decay, least=0)


def check_random_state(random_state: Any) -> None:
    """Raise a `ValueError` unless `random_state` is `None` or a whole number from 0 to 2^32 - 1."""
    if random_state is None:
        return
    if check_whole_number("random_state", random_state, least=0) >= 2**32:
        raise ValueError(f"random_state={random_state}; use a whole number below 2^32, or None.")


def seed_of(random_state: int | None) -> int:
    """Return the caller's seed, or a fresh one for `None`."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    return int(random_state)


def _reads_as_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def check_finite_weights(model: Any, trained: bool = True) -> None:
    """Raise a `ValueError` if a PyTorch model holds a weight that is not finite.

    Such a model predicts the first class for every text, and saves and loads without a word.

    Args:
        model: The model.
        trained: Whether it was trained just now, rather than loaded.
    """
    for name, weight in model.named_parameters():
        if not bool(weight.detach().isfinite().all()):
            if not trained:
                raise ValueError(f"{name} holds weights that are not finite")
            raise ValueError(
                f"training diverged: {name} holds weights that are not finite. Lower "
                "learning_rate or the class weights; the estimator is as it was before fit."
            )


# --- names ---------------------------------------------------------------------------------------


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelled or shortened one most likely means, or `None`."""
    word = str(name).lower()
    by_lower = {str(candidate).lower(): str(candidate) for candidate in known}
    longer = [lower for lower in by_lower if word and word in lower]
    close = longer or difflib.get_close_matches(word, by_lower, n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """Return a hint such as `", did you mean 'label'?"`, empty where no known name is near."""
    near = nearest(value, known)
    return f", did you mean {near!r}?" if near else ""


# --- folders that hold a model -------------------------------------------------------------------


def check_model_folder(folder: str | Path) -> None:
    """Raise a `ValueError` if loading a folder's model would run code that lies in it.

    A configuration may name classes of its own (`auto_map`, or a type in `modules.json`), which
    the libraries would import from the folder. Nothing in this package asks them to, and this
    says so before a library does, with a prompt that waits for an answer. A folder that names an
    absurd number of layers is refused too.

    Raises:
        ValueError: If a configuration names code, is no JSON, or cannot be meant.
    """
    folder = Path(folder)
    for pattern in _CONFIGURATIONS:
        depths = (pattern, f"*/{pattern}", f"*/*/{pattern}")
        for path in sorted(path for depth in depths for path in folder.glob(depth)):
            if path.is_file():
                _check_configuration(folder, path, _read_json(path))


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > _CONFIGURATION_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes are no configuration")
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, a number without end
        raise ValueError(f"{path} is damaged ({error}); restore the folder.") from error


def _check_configuration(folder: Path, path: Path, content: Any) -> None:
    if path.name == "modules.json":
        _check_modules(path, content)
        return
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object; restore the folder.")
    # A transformer's configuration names its activation by a word, a dense layer's by a class.
    activation = content.get("activation_function", "torch.")
    is_layer = "model_type" not in content and path.parent != folder
    types = content.get("types")
    for name in types.values() if isinstance(types, dict) else ():  # of a router's modules
        _check_module_type(path, name)
    if content.get("auto_map") or content.get("custom_pipelines"):
        raise ValueError(
            f"{path} names code of its own to run (auto_map); this package never runs code from a "
            "model folder. Use a model whose classes come with transformers, or remove the entry."
        )
    if is_layer and not str(activation).startswith("torch."):
        raise ValueError(f"{path} names the activation {activation!r}; use one of torch.nn's.")
    for name in ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers"):
        layers = content.get(name)
        if isinstance(layers, int | float) and layers > _MOST_LAYERS:
            raise ValueError(
                f"{path} says {name}={layers:,}; more than {_MOST_LAYERS} cannot be meant. "
                "Restore the folder."
            )


def _check_modules(path: Path, content: Any) -> None:
    parts = content if isinstance(content, list) else [None]
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise ValueError(f"{path} is damaged: it lists no modules; restore the folder.")
        _check_module_type(path, part["type"])
        inner = Path(str(part.get("path", "")))
        if inner.is_absolute() or ".." in inner.parts:
            raise ValueError(f"{path} names the folder {str(inner)!r} outside of it.")


def _check_module_type(path: Path, name: Any) -> None:
    if not re.match(r"sentence_transformers\.[\w.]+$", str(name)):
        raise ValueError(
            f"{path} names the class {name!r} to run; this package takes only those of "
            "sentence_transformers. Use another model."
        )
