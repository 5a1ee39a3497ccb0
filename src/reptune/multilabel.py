"""Several labels per text: scores, and a threshold of probability per label."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone

from reptune.checks import check_known_multilabels, check_labels, label_lists, seed_of
from reptune.metrics import f1_of_counts

THRESHOLD_FOLDS = 3
# What all labels together count when the threshold of one is chosen: study `ch02_thresholds`. With
# 400 tweets and ten types, 0 gives a mean micro F1 of 0.31 on validation, 10 gives 0.38.
POOLED_TEXTS = 10


def multilabel_scores(
    gold: Sequence[Collection[Any]], predicted: Sequence[Collection[Any]], classes: Sequence[Any]
) -> dict[str, float]:
    """Score the labels of texts that may have several.

    Args:
        gold: The true labels of each text, in a list, tuple or set.
        predicted: The predicted ones.
        classes: Every label, such as a classifier's `classes_`.

    Returns:
        `subset_accuracy`, the share of texts whose labels are all right and none missing;
        `micro_f1`, the F1 of all decisions together; `macro_f1`, the mean of the labels' F1. A
        score that would divide by zero is 0.

    Raises:
        ValueError: If the two differ in length, or a label is not one of `classes`.

    >>> scores = multilabel_scores([["a"], ["a", "b"]], [["a"], ["b"]], ["a", "b"])
    >>> {name: round(score, 3) for name, score in scores.items()}
    {'subset_accuracy': 0.5, 'micro_f1': 0.8, 'macro_f1': 0.833}
    """
    known = np.unique(check_labels(classes, len(classes)))
    true = check_known_multilabels(gold, len(gold), known, "gold")
    guess = check_known_multilabels(predicted, len(predicted), known, "predicted")
    if len(true) != len(guess) or not len(true):
        raise ValueError(
            f"{len(true)} gold and {len(guess)} predicted lists of labels; pass as many of both, "
            "at least 1."
        )
    counts = np.stack([(true & guess).sum(axis=0), guess.sum(axis=0), true.sum(axis=0)], axis=1)
    return {
        "subset_accuracy": float((true == guess).all(axis=1).mean()),
        "micro_f1": micro_f1(true, guess),
        "macro_f1": float(f1_of_counts(counts).mean()),
    }


def micro_f1(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Return the F1 of all decisions together, from booleans of shape `(n, num_classes)`."""
    return float(f1_of_counts(np.array([(gold & predicted).sum(), predicted.sum(), gold.sum()])))


def best_thresholds(
    gold: ArrayLike, probabilities: ArrayLike, pooled_texts: float = 0.0
) -> np.ndarray:
    """Return for each label the threshold of probability that gives its highest F1.

    A text has a label where its probability is at least the threshold, which lies midway between
    two probabilities that occur. Of equally good thresholds the one nearest to 0.5 is taken, and
    0.5 for a label that no text has.

    A label that five texts have gives five chances to be right by luck, and its highest F1 may be
    that of having it nearly everywhere. `pooled_texts` keeps such a label near the threshold that
    is best for all labels together: their counts, scaled down to so many texts that have a label,
    are added to its own.

    Args:
        gold: Whether each text has each label, booleans of shape `(n, num_classes)`.
        probabilities: Of texts that the model was not trained on, shape `(n, num_classes)`; NaN
            where one is not known.
        pooled_texts: How much all labels together count, in texts that have a label.

    Returns:
        Shape `(num_classes,)`, from 0 to 1.

    Raises:
        ValueError: If the shapes differ, or a probability is not from 0 to 1.

    Source: Lipton, Elkan and Narayanaswamy, *Optimal Thresholding of Classifiers to Maximize F1
    Measure* (2014).

    >>> best_thresholds([[1], [1], [0]], [[0.9], [0.3], [0.2]])
    array([0.25])
    """
    has, shares = np.asarray(gold), np.asarray(probabilities, dtype=float)
    if has.shape != shares.shape or has.ndim != 2 or has.size == 0:
        raise ValueError(
            f"gold has shape {has.shape} and probabilities {shares.shape}; pass (n, num_classes) "
            "twice, n at least 1."
        )
    outside = shares[(shares < 0) | (shares > 1)]
    if outside.size:
        raise ValueError(f"probabilities hold {outside[0]:g}; they must be from 0 to 1.")
    known = ~np.isnan(shares)
    columns = [
        (has[rows, label].astype(bool), shares[rows, label]) for label, rows in enumerate(known.T)
    ]
    together = (has[known].astype(bool), shares[known])
    return np.array([_best_threshold(*column, together, pooled_texts) for column in columns])


def _best_threshold(
    has: np.ndarray,
    shares: np.ndarray,
    together: tuple[np.ndarray, np.ndarray],
    pooled_texts: float,
) -> float:
    """Return the threshold of one label, from arrays of shape `(n,)` and those of all labels."""
    if not has.any():
        return 0.5
    highest = np.unique(together[1] if pooled_texts else shares)[::-1]
    lower = np.append(highest[1:], 0.0)
    middle = (highest + lower) / 2
    # Between neighbors among the floats there is nothing.
    thresholds = np.where(middle > lower, middle, highest)
    right, predicted = _counts_from(has, shares, highest)
    true = has.sum()
    if pooled_texts:
        scale = pooled_texts / together[0].sum()
        more_right, more_predicted = _counts_from(*together, highest)
        right = right + scale * more_right
        predicted = predicted + scale * more_predicted
        true = true + pooled_texts
    f1 = 2 * right / (predicted + true)
    best = f1 == f1.max()
    return float(thresholds[best][np.abs(thresholds[best] - 0.5).argmin()])


def _counts_from(
    has: np.ndarray, shares: np.ndarray, limits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many texts lie at or above each limit, rightly and in all."""
    right = has.sum() - np.searchsorted(np.sort(shares[has]), limits)
    return right, len(shares) - np.searchsorted(np.sort(shares), limits)


def choose_thresholds(
    estimator: Any,
    texts: list[str],
    classes: np.ndarray,
    indicator: np.ndarray,
    held_out: tuple[list[str], np.ndarray] | None = None,
    predict_proba: Callable[[list[str]], np.ndarray] | None = None,
) -> np.ndarray:
    """Return the threshold of probability of each label, shape `(num_classes,)`.

    Args:
        estimator: Its parameter `thresholds` is taken for every label. Where it is `None`, each
            label's threshold is the best on `held_out`, or else on `THRESHOLD_FOLDS` parts of the
            texts, each predicted by a clone that is fitted on the others; all labels together
            count for `POOLED_TEXTS` more texts.
        texts: The training texts.
        classes: The labels, sorted.
        indicator: Which text has which label, booleans of shape `(n, num_classes)`.
        held_out: Texts and indicator that the new model was not fitted on.
        predict_proba: Gives the new model's probabilities of the held-out texts.
    """
    if estimator.thresholds is not None:
        return np.full(len(classes), float(estimator.thresholds))
    if held_out is not None:
        return best_thresholds(held_out[1], predict_proba(held_out[0]), POOLED_TEXTS)
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
    return best_thresholds(indicator, probabilities, POOLED_TEXTS)


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
            predicted = fold.predict_proba([texts[row] for row in held])
        probabilities[np.ix_(held, np.searchsorted(classes, fold.classes_))] = predicted
    return probabilities


def _folds(
    indicator: np.ndarray, random_state: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows held out and rows to fit on, where the latter have at least two labels."""
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
