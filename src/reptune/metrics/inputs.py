"""What every score checks of its input."""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from reptune.checks import (
    check_number,
    check_random_state,
    seed_of,
)


def finite_numbers(name: str, values: ArrayLike, least: float | None = None) -> np.ndarray:
    """Return an array of finite floats; refuse strings, missing values and what is not a list.

    Where `least` is given, it replaces minus infinity.
    """
    array = as_array(name, values)
    if array.dtype.kind == "O":  # such as pandas' nullable columns
        for value in array.flat:
            if not isinstance(value, Real):
                raise ValueError(f"{name} hold {value!r}, a {type(value).__name__}; pass numbers.")
    elif array.dtype.kind not in "biuf":
        raise ValueError(f"{name} hold {_example(array)}; pass numbers.")
    try:
        array = array.astype(np.float64)
    except OverflowError:
        raise ValueError(f"{name} hold a number beyond what a float can say.") from None
    if least is not None:
        array[np.isneginf(array)] = least
    if not np.isfinite(array).all():
        index = tuple(int(number) for number in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}{list(index)} is {array[index]}; every number must be finite.")
    return array


def as_array(name: str, values: ArrayLike) -> np.ndarray:
    """Return values as an array of numbers, or raise a `ValueError` that shows one that is none."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # the last for tensors with gradients
        raise ValueError(f"{name} make no array ({error}); pass lists of equal lengths.") from None
    if array.dtype.kind == "O" and array.ndim == 0:
        raise ValueError(f"{name} is a {type(values).__name__}; pass a list or an array.")
    return array


def _example(array: np.ndarray) -> str:
    return repr(array.ravel().tolist()[0]) if array.size else "nothing"


def class_values(name: str, values: ArrayLike) -> np.ndarray:
    """Return labels as an array of str or whole numbers, never of both, which NumPy would merge."""
    array = as_array(name, values)
    items = array.ravel().tolist() if array.dtype.kind == "O" else None
    if array.dtype.kind == "U" and not isinstance(values, np.ndarray):
        items = list(values) if array.ndim == 1 else None
    if items is not None:
        kinds = {str if isinstance(v, str) else type(v) for v in items}
        if not all(issubclass(kind, str | int | np.integer) for kind in kinds) or (
            str in kinds and len(kinds) > 1
        ):
            shown = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise ValueError(
                f"{name} hold values of the types {shown}; pass strings or whole numbers."
            )
        array = np.asarray(items) if items else array
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.trunc(array)).all():
        array = array.astype(np.int64)
    if array.size and array.dtype.kind not in "Ubiu":
        raise ValueError(f"{name} hold {_example(array)}; pass strings or whole numbers.")
    return array


def right_or_wrong(name: str, values: ArrayLike) -> np.ndarray:
    """Return an array of 0 and 1, or raise a `ValueError`."""
    array = finite_numbers(name, values)
    if not np.isin(array, (0, 1)).all():
        odd = array[~np.isin(array, (0, 1))][0]
        raise ValueError(f"{name} holds {odd:g}; pass whether each item was right: True or False.")
    return array.astype(bool)


def paired_arrays(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return two arrays of the same length, or raise a `ValueError`."""
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(
            f"shapes {a.shape} and {b.shape} do not pair; pass two arrays of the same length, "
            "at least 1."
        )
    return a, b


def probabilities_and_labels(
    probabilities: ArrayLike, labels: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Return checked probabilities `(items, classes)` and the labels that fit them."""
    probabilities = finite_numbers("probabilities", probabilities)
    labels = fitting_labels("probabilities", probabilities, labels)
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):
        raise ValueError("rows of probabilities must be at least 0 and sum to 1; pass a softmax.")
    return probabilities, labels


def fitting_labels(name: str, scores: np.ndarray, labels: ArrayLike) -> np.ndarray:
    """Return labels as columns of the scores, or raise: others would count as plain mistakes."""
    classes = class_values("labels", labels)
    if scores.ndim != 2 or classes.shape != scores.shape[:1] or len(classes) == 0:
        raise ValueError(
            f"{name} have shape {scores.shape} and labels {classes.shape}; "
            "pass (n, classes) and (n,), n at least 1."
        )
    if classes.dtype.kind == "U":
        raise ValueError(
            f"labels are strings such as {classes[0].item()!r}; pass class indices: "
            "np.searchsorted(classifier.classes_, labels)."
        )
    num_classes = scores.shape[1]
    outside = (classes < 0) | (classes >= num_classes)
    if outside.any():
        raise ValueError(
            f"label {classes[outside][0].item()} is no column of {num_classes}; class indices "
            f"count from 0 to {num_classes - 1}: np.searchsorted(classifier.classes_, labels)."
        )
    return classes.astype(np.intp)


def seeds_by_items(values: ArrayLike, name: str) -> np.ndarray:
    """Return values as `(seeds, items)`; one row becomes one seed."""
    array = finite_numbers(name, values)
    if array.ndim == 0:
        raise ValueError(
            f"{name} is one value, {array.item():g}; pass one per item. Two lists compare as a "
            "whole: make them arrays first, np.asarray(labels) == np.asarray(predictions)."
        )
    matrix = np.atleast_2d(array)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"shape {matrix.shape}; pass (items,) or (seeds, items), not empty.")
    if matrix.shape[1] == 1 and len(matrix) > 1:
        raise ValueError(
            f"{name} have shape {matrix.shape}: {len(matrix)} seeds of 1 item. For items pass one "
            "dimension, such as values.ravel()."
        )
    return matrix


def level_and_seed(level: float, random_state: int | None) -> tuple[float, int]:
    """Return a checked coverage and a whole seed."""
    level = check_number("level", level, above=0, below=1)
    check_random_state(random_state)
    return level, seed_of(random_state)
