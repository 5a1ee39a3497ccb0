"""Scores, intervals, paired comparisons and calibration; entity scores for taggers.

Every function takes plain arrays or lists, so that it serves any model, ours or not.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score

from reptune.checks import (
    check_number,
    check_random_state,
    check_whole_number,
    listed,
    seed_of,
)
from reptune.tags import Span, check_rows, spans

NUM_RESAMPLES = 10_000
MAX_BINS = 10_000
LARGEST_LOGIT = 1e100  # divided by any temperature it is finite, and its exponential 0
# The search for a temperature goes over its logarithm: e^-4 to e^4 is 0.02 to 55.
LOG_TEMPERATURES = (-4.0, 4.0)
# With more different items than this, drawing how often each occurs is slower than drawing items.
MANY = 10_000
CHUNK = 5_000_000  # numbers that a resampling holds at once


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    Attributes:
        estimate: The score on the data at hand.
        low: Lower end.
        high: Upper end.
        level: Coverage the interval aims at, such as 0.95.
    """

    estimate: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def excludes(self, value: float) -> bool:
        """Return whether `value` lies outside the interval."""
        return not self.low <= value <= self.high


def classification_scores(labels: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """Return accuracy and macro-averaged F1.

    Args:
        labels: True classes, shape `(n,)`.
        predictions: Predicted classes, shape `(n,)`.

    Raises:
        ValueError: If the lengths differ, there are no items, or the classes are not all strings
            or all whole numbers.
    """
    labels, predictions = _classes("labels", labels), _classes("predictions", predictions)
    labels, predictions = _paired_arrays(labels, predictions)
    if (labels.dtype.kind == "U") != (predictions.dtype.kind == "U"):
        raise ValueError(
            f"labels such as {labels[0].item()!r} and predictions such as "
            f"{predictions[0].item()!r} are never equal; pass strings twice or integers twice."
        )
    return {
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_f1": float(f1_score(labels, predictions, average="macro", zero_division=0)),
    }


def f1_of_counts(counts: np.ndarray) -> np.ndarray:
    """Return the F1 of right, predicted and true counts along the last axis, 0 where none exist.

    Args:
        counts: Shape `(..., 3)`.

    Returns:
        Shape `(...,)`.

    >>> f1_of_counts(np.array([[1, 1, 2], [0, 0, 0]])).round(3)
    array([0.667, 0.   ])
    """
    total = counts[..., 1] + counts[..., 2]
    return np.divide(2 * counts[..., 0], total, out=np.zeros(total.shape), where=total > 0)


def mean_interval(values: ArrayLike, level: float = 0.95, random_state: int = 0) -> Interval:
    """Return the percentile bootstrap interval of a mean, over items and, where given, seeds.

    With `values = labels == predictions` this is an interval for the accuracy. Over several
    seeds it resamples seeds and items, because a new run would draw both anew.

    Args:
        values: Shape `(items,)`, or `(seeds, items)` with the same items for every seed.
        level: Coverage.
        random_state: Seed of the resampling.

    Raises:
        ValueError: If `values` is a single number, empty, not finite or of another shape.

    Source: Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 13, for one
    seed; resampling seeds too is this book's own extension. Taught in chapter 1.
    """
    level, seed = _level_and_seed(level, random_state)
    matrix = _seeds_by_items(values, "values")
    return _interval_of(matrix.mean(), _bootstrap_means(matrix, seed), level)


def paired_interval(
    correct_a: ArrayLike, correct_b: ArrayLike, level: float = 0.95, random_state: int = 0
) -> Interval:
    """Return the bootstrap interval of the difference in accuracy, A minus B, on the same items.

    Both methods are scored on the same resampled items, so what makes an item hard for both
    cancels. The difference is "not distinguishable from zero" where the interval holds zero.

    Args:
        correct_a: Whether A was right, shape `(items,)` or `(seeds, items)`.
        correct_b: The same for B, same shape.
        level: Coverage.
        random_state: Seed of the resampling.

    Raises:
        ValueError: If the shapes differ, or as `mean_interval`.

    Source: Berg-Kirkpatrick, Burkett and Klein (2012); taught in chapter 1.
    """
    a, b = _seeds_by_items(correct_a, "correct_a"), _seeds_by_items(correct_b, "correct_b")
    if a.shape != b.shape:
        raise ValueError(
            f"A has shape {a.shape} and B {b.shape}; a paired comparison needs the same items "
            "(and as many seeds) for both."
        )
    return mean_interval(a - b, level=level, random_state=random_state)


def mcnemar_p(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Return the p-value of the exact McNemar test of whether A and B are equally accurate.

    Args:
        correct_a: Whether A was right, booleans or 0 and 1, shape `(items,)`.
        correct_b: The same for B.

    Returns:
        Two-sided p-value; 1.0 where the two never disagree.

    Raises:
        ValueError: If the lengths differ, there are no items, or a value is not 0 or 1.
    """
    a, b = _paired_arrays(_right_or_wrong("A", correct_a), _right_or_wrong("B", correct_b))
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, num_bins: int = 10
) -> float:
    """Return the gap between confidence and accuracy, averaged over bins of confidence.

    Args:
        probabilities: Shape `(n, classes)`, rows sum to 1.
        labels: Class indices from 0 on, shape `(n,)`; see `reliability` for what is refused.
        num_bins: Equally wide bins between 0 and 1.

    Returns:
        A value between 0 (confidence equals accuracy in every bin) and 1.

    Raises:
        ValueError: As `reliability`.

    Source: Guo et al., *On Calibration of Modern Neural Networks* (2017); taught in chapter 1.
    """
    bins = reliability(probabilities, labels, num_bins)
    total = sum(count for _, _, count in bins)
    return float(sum(abs(conf - acc) * count for conf, acc, count in bins) / total)


def reliability(
    probabilities: ArrayLike, labels: ArrayLike, num_bins: int = 10
) -> list[tuple[float, float, int]]:
    """Return mean confidence, accuracy and count of each bin of confidence that holds any item.

    Args:
        probabilities: Shape `(n, classes)`, rows sum to 1.
        labels: Class indices from 0 on, shape `(n,)`: columns of `probabilities`.
        num_bins: Equally wide bins between 0 and 1, at most 10,000.

    Raises:
        ValueError: If the shapes do not fit, rows are not probabilities, or a label is no column.
    """
    num_bins = check_whole_number("num_bins", num_bins)
    if num_bins > MAX_BINS:
        raise ValueError(f"num_bins={num_bins}; use {MAX_BINS:,} at most.")
    probabilities, labels = _probabilities_and_labels(probabilities, labels)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    # A confidence of exactly 1 belongs to the last bin.
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    return [
        (float(confidence[bins == b].mean()), float(correct[bins == b].mean()), int(n))
        for b, n in enumerate(np.bincount(bins, minlength=num_bins))
        if n
    ]


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the temperature that minimizes the negative log-likelihood of held-out labels.

    Divide logits by it before the softmax: above 1 it lowers confidence, below 1 it raises it;
    it never changes which class is largest.

    Args:
        logits: Shape `(n, classes)`, from rows the model was not trained on; logarithms of
            probabilities serve too, also of a probability of 0.
        labels: Class indices from 0 on, shape `(n,)`.

    Returns:
        A temperature between 0.02 and 55. Where the best one lies beyond, a warning says so: of
        predictions that are all right it is 0, of predictions that are hardly ever right it is
        infinite. Where no row prefers a class, 1.0.

    Raises:
        ValueError: If the shapes do not fit, a logit is NaN or infinite, a label is no column, or
            a true class has the probability 0, which no temperature changes.

    Source: Guo et al. (2017), section 4.2; taught in chapter 1.
    """
    logits = _numbers("logits", logits, least=-LARGEST_LOGIT)
    if np.abs(logits).max(initial=0) > LARGEST_LOGIT:
        raise ValueError("logits go beyond 1e100; look at the model that gave them.")
    labels = _fitting_labels("logits", logits, labels)
    impossible = np.flatnonzero(logits[np.arange(len(labels)), labels] == -LARGEST_LOGIT)
    if len(impossible):
        raise ValueError(
            f"logits[{impossible[0]}] give the true class, {labels[impossible[0]]}, the "
            "probability 0, which no temperature changes; keep probabilities above 0."
        )
    if (logits == logits[:, :1]).all():
        return 1.0  # every temperature is as good
    rows = np.arange(len(labels))

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[rows, labels].mean())

    # A search over the logarithm keeps the temperature positive.
    best = minimize_scalar(negative_log_likelihood, bounds=LOG_TEMPERATURES, method="bounded")
    end = min(LOG_TEMPERATURES, key=negative_log_likelihood)
    if negative_log_likelihood(end) <= best.fun:
        warnings.warn(
            f"the best temperature lies beyond {np.exp(end):.3g}, where the search ends: with "
            "these labels the model is right, or wrong, nearly everywhere. Use more held-out rows, "
            "or look at the labels.",
            stacklevel=2,
        )
    return float(np.exp(best.x))


def mean_and_deviation(values: Sequence[float]) -> str:
    """Return `mean ± standard deviation` over seeds, as tables print it (n - 1 in the divisor).

    Raises:
        ValueError: If there are none, one is not finite, or they are not in one dimension.
    """
    array = _numbers("values", values)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"values have shape {array.shape}; pass a list of numbers, at least 1.")
    if len(array) < 2:
        return f"{array.mean():.3f} (1 seed)"
    return f"{array.mean():.3f} ± {array.std(ddof=1):.3f} ({len(array)} seeds)"


def _numbers(name: str, values: ArrayLike, least: float | None = None) -> np.ndarray:
    """Return an array of finite floats; refuse strings, missing values and what is not a list.

    Where `least` is given, it replaces minus infinity.
    """
    array = _array(name, values)
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


def _array(name: str, values: ArrayLike) -> np.ndarray:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # the last for tensors with gradients
        raise ValueError(f"{name} make no array ({error}); pass lists of equal lengths.") from None
    if array.dtype.kind == "O" and array.ndim == 0:
        raise ValueError(f"{name} is a {type(values).__name__}; pass a list or an array.")
    return array


def _example(array: np.ndarray) -> str:
    return repr(array.ravel().tolist()[0]) if array.size else "nothing"


def _classes(name: str, values: ArrayLike) -> np.ndarray:
    """Return labels as an array of str or whole numbers, never of both, which NumPy would merge."""
    array = _array(name, values)
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


def _right_or_wrong(name: str, values: ArrayLike) -> np.ndarray:
    array = _numbers(name, values)
    if not np.isin(array, (0, 1)).all():
        odd = array[~np.isin(array, (0, 1))][0]
        raise ValueError(f"{name} holds {odd:g}; pass whether each item was right: True or False.")
    return array.astype(bool)


def _paired_arrays(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(
            f"shapes {a.shape} and {b.shape} do not pair; pass two arrays of the same length, "
            "at least 1."
        )
    return a, b


def _probabilities_and_labels(
    probabilities: ArrayLike, labels: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    probabilities = _numbers("probabilities", probabilities)
    labels = _fitting_labels("probabilities", probabilities, labels)
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):
        raise ValueError("rows of probabilities must be at least 0 and sum to 1; pass a softmax.")
    return probabilities, labels


def _fitting_labels(name: str, scores: np.ndarray, labels: ArrayLike) -> np.ndarray:
    """Return labels as columns of the scores, or raise: others would count as plain mistakes."""
    classes = _classes("labels", labels)
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


def _seeds_by_items(values: ArrayLike, name: str) -> np.ndarray:
    array = _numbers(name, values)
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


def _level_and_seed(level: float, random_state: int | None) -> tuple[float, int]:
    level = check_number("level", level, above=0, below=1)
    check_random_state(random_state)
    return level, seed_of(random_state)


def _bootstrap_means(matrix: np.ndarray, random_state: int) -> np.ndarray:
    """Return means of resampled seeds and items, shape `(NUM_RESAMPLES,)`.

    Items with the same values under every seed are interchangeable, so a resample is a draw of
    how often each distinct column occurs. For right-or-wrong values under a few seeds that is a
    handful of columns instead of a thousand items.
    """
    generator = np.random.default_rng(random_state)
    num_seeds, num_items = matrix.shape
    columns, counts = np.unique(matrix, axis=1, return_counts=True)
    if len(counts) > MANY:
        columns, counts = matrix, np.ones(num_items, dtype=int)
    means = []
    for size in _chunks(NUM_RESAMPLES, 1000 if len(counts) <= MANY else CHUNK // num_items):
        items = _times(generator, counts, size) / num_items
        seeds = generator.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=size)
        means.append(((items @ columns.T) * seeds).sum(axis=1) / num_seeds)
    return np.concatenate(means)


def _times(generator: np.random.Generator, counts: np.ndarray, size: int) -> np.ndarray:
    """Return how often each kind of item is drawn in a resample, shape `(size, len(counts))`.

    Of many kinds there must be one item each; those are drawn one by one.
    """
    total = int(counts.sum())
    if len(counts) <= MANY:
        return generator.multinomial(total, counts / total, size=size)
    times = np.empty((size, total), dtype=np.int64)
    for row in times:
        row[:] = np.bincount(generator.integers(total, size=total), minlength=total)
    return times


def _chunks(total: int, size: int) -> list[int]:
    size = max(1, size)
    return [min(size, total - start) for start in range(0, total, size)]


# --- entities ------------------------------------------------------------------------------------


def entity_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Return precision, recall and F1 over whole entities: type and both ends must be right.

    Args:
        gold: For each sentence its true tags (`O`, `B-TYPE`, `I-TYPE`).
        predicted: The predicted tags. An `I-` that BIO2 does not allow begins an entity.

    Returns:
        `precision`, `recall`, `f1` over all entities, and `by_type`: for each type the same three
        and its `support`, the number of true entities. A score that would divide by zero is 0.

    Raises:
        ValueError: If the two do not fit together, or are flat lists of tags, or all of several
            sentences have one word: then every entity would be cut into words, and swapped `B-`
            and `I-` would score 1.

    Source: Tjong Kim Sang and De Meulder (2003), section 3; chapter 4.
    """
    gold, predicted = _tag_rows(gold, predicted)
    by_type: dict[str, np.ndarray] = {}
    for true, guess in zip(gold, predicted, strict=True):
        true_spans, guessed = set(spans(true)), set(spans(guess))
        for index, counted in enumerate((true_spans & guessed, guessed, true_spans)):
            for span in counted:
                by_type.setdefault(span.type, np.zeros(3, int))[index] += 1
    total = sum(by_type.values(), np.zeros(3, int))
    return {
        **_precision_recall_f1(total),
        "by_type": {
            kind: {**_precision_recall_f1(counts), "support": int(counts[2])}
            for kind, counts in sorted(by_type.items())
        },
    }


def entity_counts(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> np.ndarray:
    """Return counts of right, predicted and true entities per sentence, for an F1's interval.

    Returns:
        Whole numbers of shape `(sentences, 3)`.

    Raises:
        ValueError: As `entity_scores`.
    """
    gold, predicted = _tag_rows(gold, predicted)
    rows = []
    for true, guess in zip(gold, predicted, strict=True):
        true_spans, guessed = set(spans(true)), set(spans(guess))
        rows.append((len(true_spans & guessed), len(guessed), len(true_spans)))
    return np.array(rows, dtype=int)


def f1_interval(counts: ArrayLike, level: float = 0.95, random_state: int = 0) -> Interval:
    """Return the percentile bootstrap interval of an entity-level F1, over sentences and seeds.

    F1 is no mean of sentences, so each resample of sentences is counted anew. Over several seeds
    the estimate is the mean of the seeds' F1.

    Args:
        counts: What `entity_counts` returns, `(sentences, 3)`, or `(seeds, sentences, 3)`.
        level: Coverage.
        random_state: Seed of the resampling.

    Raises:
        ValueError: If `counts` is not what `entity_counts` returns.

    Source: as `mean_interval`; chapter 4.
    """
    level, seed = _level_and_seed(level, random_state)
    checked = _seeds_sentences_counts(counts)
    estimate = f1_of_counts(checked.sum(axis=1)).mean()
    return _interval_of(estimate, _bootstrap_f1(checked, seed, 1), level)


def paired_f1_interval(
    counts_a: ArrayLike, counts_b: ArrayLike, level: float = 0.95, random_state: int = 0
) -> Interval:
    """Return the bootstrap interval of the difference in entity-level F1, A minus B.

    Args:
        counts_a: `entity_counts` of A, `(sentences, 3)` or `(seeds, sentences, 3)`.
        counts_b: The same of B, on the same sentences; the number of seeds may differ, and seeds
            are resampled apart from each other.
        level: Coverage.
        random_state: Seed of the resampling.

    Raises:
        ValueError: If the sentences differ in number, or in their true entities.

    Source: as `paired_interval`; chapter 4.
    """
    level, seed = _level_and_seed(level, random_state)
    a, b = _seeds_sentences_counts(counts_a), _seeds_sentences_counts(counts_b)
    if a.shape[1] != b.shape[1] or (a[:1, :, 2] != b[..., 2]).any():
        raise ValueError(
            f"A has shape {a.shape} and B {b.shape}; a paired comparison needs the same sentences, "
            "with the same true entities, for both."
        )
    difference = _bootstrap_f1(a, seed, 1) - _bootstrap_f1(b, seed, 2)
    estimate = f1_of_counts(a.sum(axis=1)).mean() - f1_of_counts(b.sum(axis=1)).mean()
    return _interval_of(estimate, difference, level)


class EntityError(NamedTuple):
    """One thing a tagger got wrong.

    Attributes:
        kind: `boundary` (right type, wrong ends), `type` (right ends), `boundary and type`,
            `missed` (nothing predicted there), or `invented` (nothing true there).
        sentence: Which sentence.
        gold: The true entity, `None` where it is invented.
        predicted: The predicted one, `None` where it is missed.
    """

    kind: Literal["boundary", "type", "boundary and type", "missed", "invented"]
    sentence: int
    gold: Span | None
    predicted: Span | None


def entity_errors(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> list[EntityError]:
    """Return every error of a tagger, one per true or predicted entity that has no equal.

    A true entity is matched with the wrong prediction that shares most words with it, each at most
    once; those of the same type come first among equals.

    Raises:
        ValueError: As `entity_scores`.
    """
    gold, predicted = _tag_rows(gold, predicted)
    errors: list[EntityError] = []
    for number, (true, guess) in enumerate(zip(gold, predicted, strict=True)):
        missed, invented = spans(true), spans(guess)
        right = set(missed) & set(invented)
        missed = [span for span in missed if span not in right]
        invented = [span for span in invented if span not in right]
        pairs = sorted(
            ((_shared(a, b), a.type == b.type, a, b) for a in missed for b in invented),
            key=lambda pair: (-pair[0], not pair[1], pair[2].start, pair[3].start),
        )
        for shared, _, a, b in pairs:
            if shared and a in missed and b in invented:
                missed.remove(a)
                invented.remove(b)
                errors.append(EntityError(_kind(a, b), number, a, b))
        errors += [EntityError("missed", number, span, None) for span in missed]
        errors += [EntityError("invented", number, None, span) for span in invented]
    return errors


def _kind(gold: Span, predicted: Span) -> Any:
    if gold.type == predicted.type:
        return "boundary"
    return "type" if gold[1:] == predicted[1:] else "boundary and type"


def _shared(a: Span, b: Span) -> int:
    return max(0, min(a.end, b.end) - max(a.start, b.start))


def _tag_rows(gold: Any, predicted: Any) -> tuple[list[list[str]], list[list[str]]]:
    both = []
    for name, rows in (("gold", gold), ("predicted", predicted)):
        table = isinstance(rows, np.ndarray) and rows.ndim == 2
        if not table and not isinstance(rows, str | list | tuple):
            rows = listed(rows, name, "lists of tags")
        flat = next((row for row in rows if isinstance(row, str)), None)
        if flat is not None:
            raise ValueError(
                f"{name} holds the tag {flat!r} where a sentence should be; pass a list of tags "
                "for each sentence, or entities cannot be told from words."
            )
        both.append((name, check_rows(rows, name)))
    (_, gold), (_, predicted) = both
    if len(gold) != len(predicted) or not gold:
        raise ValueError(
            f"{len(gold)} gold and {len(predicted)} predicted sentences; pass as many of both, "
            "at least 1."
        )
    for number, (true, guess) in enumerate(zip(gold, predicted, strict=True)):
        if len(true) != len(guess):
            raise ValueError(
                f"sentence {number} has {len(true)} gold and {len(guess)} predicted tags; "
                "pass one per word."
            )
    if len(gold) > 1 and all(len(row) == 1 for row in gold):
        raise ValueError(
            f"all {len(gold)} sentences have one word. If these are the words of longer "
            "sentences, pass the sentences: entities would be cut into words, and swapped B- and "
            "I- would score 1."
        )
    return [list(row) for row in gold], [list(row) for row in predicted]


def _precision_recall_f1(counts: np.ndarray) -> dict[str, float]:
    right, predicted, true = (int(count) for count in counts)
    return {
        "precision": right / predicted if predicted else 0.0,
        "recall": right / true if true else 0.0,
        "f1": 2 * right / (predicted + true) if predicted + true else 0.0,
    }


def _seeds_sentences_counts(counts: ArrayLike) -> np.ndarray:
    array = _numbers("counts", counts)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[-1] != 3 or array.size == 0:
        raise ValueError(
            f"counts have shape {np.shape(counts)}; pass (sentences, 3) or (seeds, sentences, 3), "
            "as entity_counts returns them."
        )
    whole = (array >= 0).all() and (array == np.trunc(array)).all()
    if not whole or (array[..., 0] > array[..., 1:].min(axis=-1)).any():
        raise ValueError(
            "counts must be whole numbers from 0 on: right, predicted and true entities, of which "
            "right is the smallest. Pass what entity_counts returns."
        )
    return array


def _bootstrap_f1(counts: np.ndarray, random_state: int, method: int) -> np.ndarray:
    """Return mean F1 over resampled seeds and sentences, shape `(NUM_RESAMPLES,)`.

    The same `random_state` draws the same sentences for every method, and its own seeds for each.
    """
    num_seeds, num_sentences, _ = counts.shape
    sentences, draws = (np.random.default_rng([random_state, which]) for which in (0, method))
    flat = counts.transpose(1, 0, 2).reshape(num_sentences, -1)
    means, once = [], np.ones(num_sentences, dtype=int)
    for size in _chunks(NUM_RESAMPLES, 500 if num_sentences <= MANY else CHUNK // num_sentences):
        times = _times(sentences, once, size)
        f1 = f1_of_counts((times @ flat).reshape(size, num_seeds, 3))
        seeds = draws.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=size)
        means.append((f1 * seeds).sum(axis=1) / num_seeds)
    return np.concatenate(means)


def _interval_of(estimate: float, resampled: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(estimate), float(low), float(high), level)
