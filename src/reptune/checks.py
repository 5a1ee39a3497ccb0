"""Checks of what a caller passes: texts, labels, numbers and names.

Each raises before any work starts, with a message that names the bad value and the cure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np


def check_texts(texts: Iterable[Any], what: str = "texts") -> list[str]:
    """Return `texts` as a list of strings, or raise before anything else happens.

    Args:
        texts: Any sequence of strings: list, pandas Series, NumPy array, a data set's column.
        what: What to call them in the message.

    Raises:
        ValueError: If there are none, if `texts` is one string, or if an element is not a string.
    """
    if isinstance(texts, str):
        raise ValueError(f"{what} is a single string; pass a list of strings: [{texts[:40]!r}].")
    if not isinstance(texts, Iterable):
        raise ValueError(f"{what} is {texts!r}; pass a list of strings.")
    values = list(texts)
    if not values:
        raise ValueError(f"{what}: there are none; pass at least one string.")
    for position, value in enumerate(values):
        if not isinstance(value, str):
            missing = " (a missing value)" if is_missing(value) else ""
            raise ValueError(
                f"{what}[{position}] is {value!r}{missing}, a {type(value).__name__}; every text "
                "must be a string. Drop such rows or convert them with str()."
            )
    return [str(value) for value in values]


def check_labels(labels: Iterable[Any], num_texts: int, num_classes: int = 1) -> np.ndarray:
    """Return `labels` as an array of str or int, or raise before anything else happens.

    Args:
        labels: One label a text, all strings or all integers.
        num_texts: How many texts they belong to.
        num_classes: The least number of different labels; a classifier needs 2.

    Returns:
        Array of shape `(num_texts,)`.

    Raises:
        ValueError: If the count differs, a label is missing, types are mixed or not str or int,
            or there are fewer than `num_classes` different labels.
    """
    values = [value.item() if isinstance(value, np.generic) else value for value in labels]
    if len(values) != num_texts:
        raise ValueError(f"{num_texts} texts but {len(values)} labels; pass one label a text.")
    for position, value in enumerate(values):
        if is_missing(value):
            raise ValueError(f"labels[{position}] is {value!r}; drop rows without a label.")
        if not isinstance(value, str | int):
            raise ValueError(
                f"labels[{position}] is {value!r}, a {type(value).__name__}; labels must be "
                "strings or integers. Convert them with str() or int()."
            )
    kinds = {str if isinstance(value, str) else int for value in values}
    if len(kinds) > 1:
        raise ValueError("labels mix strings and integers; convert all of them to strings.")
    array = np.asarray(values)
    found = np.unique(array)
    if len(found) < num_classes:
        raise ValueError(
            f"labels hold {len(found)} class ({', '.join(map(repr, found.tolist()))}); "
            f"training needs at least {num_classes}."
        )
    return array


def check_validation(
    validation: tuple[Iterable[Any], Iterable[Any]] | None, classes: np.ndarray
) -> tuple[list[str], np.ndarray] | None:
    """Return held-out texts and their labels as places in `classes`, or raise.

    Raises:
        ValueError: As `check_texts` and `check_labels`, and for a label that `classes` lacks.
    """
    if validation is None:
        return None
    texts = check_texts(validation[0], what="validation texts")
    labels = check_labels(validation[1], len(texts))
    unseen = sorted(set(labels.tolist()) - set(classes.tolist()), key=str)
    if unseen:
        raise ValueError(
            f"validation has labels that training has not: {unseen}; "
            "add examples of them to the training texts, or drop them."
        )
    return texts, np.searchsorted(classes, labels)


def class_weights(
    class_weight: str | dict[Any, float] | None, classes: np.ndarray, counts: np.ndarray
) -> np.ndarray | None:
    """A weight for each class, or raise.

    Args:
        class_weight: `None`, `"balanced"` (n / (number of classes x count), as in scikit-learn),
            or a weight for each label.
        classes: The labels, sorted, shape `(num_classes,)`.
        counts: How many texts each has, shape `(num_classes,)`.

    Returns:
        Shape `(num_classes,)`, or `None` for `None`.

    Raises:
        ValueError: If `class_weight` is something else, or lacks a label.
    """
    if isinstance(class_weight, dict):
        missing = [label for label in classes.tolist() if label not in class_weight]
        if missing:
            raise ValueError(f"class_weight lacks {missing}; give every label a weight.")
        return np.array([float(class_weight[label]) for label in classes.tolist()])
    if class_weight not in (None, "balanced"):
        raise ValueError(f"class_weight={class_weight!r}; use None, 'balanced' or a dict by label.")
    return None if class_weight is None else counts.sum() / (len(counts) * counts)


def check_whole_number(name: str, value: Any, least: int = 1) -> None:
    """Raise a `ValueError` that names the parameter unless `value` is a whole number >= `least`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(f"{name}={value!r}; use a whole number from {least} on.")


def check_optimizer(learning_rate: float | None, warmup: float) -> None:
    """Raise a `ValueError` unless the rate is positive (or `None`) and warmup a share below 1."""
    if learning_rate is not None and not learning_rate > 0:
        raise ValueError(f"learning_rate={learning_rate!r}; use a positive number.")
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup={warmup!r}; use a share of the steps, 0 to below 1.")


def seed_of(random_state: int | None) -> int:
    """The seed itself; without one of the caller's, a fresh one."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    return int(random_state)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelled or shortened one most likely means, or `None`."""
    word = str(name).lower()
    by_lower = {str(candidate).lower(): str(candidate) for candidate in known}
    longer = [lower for lower in by_lower if word and word in lower]
    close = longer or difflib.get_close_matches(word, by_lower, n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """A hint for a message, such as `", did you mean 'label'?"`; empty where nothing is near."""
    near = nearest(value, known)
    return f", did you mean {near!r}?" if near else ""


def is_missing(value: Any) -> bool:
    """Whether a value stands for "nothing here": `None`, a NaN, or the missing value of pandas."""
    # By name: importing pandas for two singletons would cost `reptune assets list` half a second.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))
