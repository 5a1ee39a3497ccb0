"""Several labels per text: from which probability on a text gets a label, chosen out of fold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from reptune.checks import seed_of
from reptune.metrics import best_thresholds

THRESHOLD_FOLDS = 3


def label_lists(indicator: np.ndarray, classes: np.ndarray) -> list[list[Any]]:
    """Return the labels of each text, in the order of `classes`, from booleans `(n, classes)`.

    >>> label_lists(np.array([[True, True], [False, False]]), np.array(["a", "b"]))
    [['a', 'b'], []]
    """
    names = classes.tolist()
    return [[names[column] for column in np.flatnonzero(row)] for row in indicator]


def choose_thresholds(
    estimator: Any,
    texts: list[str],
    classes: np.ndarray,
    indicator: np.ndarray,
    held_out: tuple[list[str], np.ndarray] | None = None,
    predict_proba: Callable[[list[str]], np.ndarray] | None = None,
) -> np.ndarray:
    """Return the probability from which on a text gets each label, shape `(num_classes,)`.

    Args:
        estimator: Its parameter `thresholds` is taken for every label. Where it is `None`, each
            label's threshold is the best on `held_out`, or else on `THRESHOLD_FOLDS` parts of the
            texts, each predicted by a clone that is fitted on the others.
        texts: The training texts.
        classes: The labels, sorted.
        indicator: Which text has which label, booleans of shape `(n, num_classes)`.
        held_out: Texts and indicator that the new model was not fitted on.
        predict_proba: Gives the new model's probabilities of the held-out texts.
    """
    if estimator.thresholds is not None:
        return np.full(len(classes), float(estimator.thresholds))
    if held_out is not None:
        return best_thresholds(held_out[1], predict_proba(held_out[0]))
    random_state = estimator.get_params()["random_state"]
    probabilities = out_of_fold(estimator, texts, classes, indicator, random_state)
    unknown = ~(indicator & ~np.isnan(probabilities)).any(axis=0)
    if unknown.any():
        names = classes[unknown].tolist()
        warnings.warn(
            f"too few texts have the labels {', '.join(map(repr, names[:5]))}"
            f"{', …' if len(names) > 5 else ''} to choose their thresholds; 0.5 is taken. Add "
            "examples of them, or pass validation.",
            stacklevel=3,
        )
    return best_thresholds(indicator, probabilities)


def out_of_fold(
    estimator: Any,
    texts: Sequence[str],
    classes: np.ndarray,
    indicator: np.ndarray,
    random_state: int | None,
) -> np.ndarray:
    """Return each text's probabilities by a clone that was not fitted on it.

    Args:
        estimator: A classifier with `thresholds` among its parameters; it is cloned, not fitted.
        texts: The training texts.
        classes: The labels, sorted.
        indicator: Which text has which label, booleans of shape `(n, num_classes)`.
        random_state: Seed of the folds.

    Returns:
        Shape `(n, num_classes)`, NaN for a label that no text outside of the fold has.
    """
    probabilities = np.full(indicator.shape, np.nan)
    labels = label_lists(indicator, classes)
    for held, known in _folds(indicator, random_state):
        fold = clone(estimator).set_params(thresholds=0.5)
        if "callbacks" in fold.get_params(deep=False):
            fold.set_params(callbacks=())  # they are the caller's, for the fit that is kept
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fit that is kept says the same
            fold.fit([texts[row] for row in known], [labels[row] for row in known])
            found = fold.predict_proba([texts[row] for row in held])
        probabilities[np.ix_(held, np.searchsorted(classes, fold.classes_))] = found
    return probabilities


def _folds(
    indicator: np.ndarray, random_state: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows held out and rows to fit on, where the latter have at least two labels."""
    fold_of = stratified_folds(indicator, THRESHOLD_FOLDS, random_state)
    for number in range(THRESHOLD_FOLDS):
        held, known = np.flatnonzero(fold_of == number), np.flatnonzero(fold_of != number)
        if len(held) and indicator[known].any(axis=0).sum() >= 2:
            yield held, known


def stratified_folds(
    indicator: np.ndarray, num_folds: int, random_state: int | None = None
) -> np.ndarray:
    """Share texts with several labels out among folds, so that each fold has its share of each.

    The texts of the rarest label that is left go first, each to the fold that lacks most texts of
    that label, then to the one that lacks most texts; texts without a label come last.

    Args:
        indicator: Which text has which label, booleans of shape `(n, num_classes)`.
        num_folds: How many folds.
        random_state: Seed of the texts' order.

    Returns:
        The fold of each text, shape `(n,)`.

    Source: Sechidis, Tsoumakas and Vlahavas, *On the Stratification of Multi-Label Data* (2011).
    """
    order = np.random.default_rng(seed_of(random_state)).permutation(len(indicator))
    fold_of = np.full(len(indicator), -1)
    lacking = np.tile(indicator.sum(axis=0) / num_folds, (num_folds, 1))
    room = np.full(num_folds, len(indicator) / num_folds)

    def give(row: int, wanting: np.ndarray) -> None:
        fold = max(range(num_folds), key=lambda fold: (wanting[fold], room[fold], -fold))
        fold_of[row] = fold
        lacking[fold] -= indicator[row]
        room[fold] -= 1

    while (left := indicator[fold_of < 0].sum(axis=0)).any():
        rarest = int(np.where(left > 0, left, len(indicator) + 1).argmin())
        for row in order[(fold_of[order] < 0) & indicator[order, rarest]]:
            give(row, lacking[:, rarest])
    for row in order[fold_of[order] < 0]:
        give(row, room)
    return fold_of
