"""Intervals by resampling, and paired comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import ArrayLike
from scipy.stats import binomtest, norm

from reptune.metrics.inputs import (
    finite_numbers,
    level_and_seed,
    paired_arrays,
    right_or_wrong,
    seeds_by_items,
)

NUM_RESAMPLES = 10_000
# With more different items than this, drawing how often each occurs is slower than drawing items.
MANY = 10_000
CHUNK = 5_000_000  # numbers that a resampling holds at once
POWER = 0.8  # of the tries that find a difference of the smallest detectable size


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    Attributes:
        estimate: The score on the data at hand.
        low: Lower end.
        high: Upper end.
        level: Coverage the interval aims at, such as 0.95.

    >>> print(Interval(0.71, low=0.65, high=0.77), Interval(0.01, -0.02, 0.04).excludes(0))
    0.710 [0.650, 0.770] False
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

    @property
    def detectable(self) -> float:
        """The smallest true difference that such an interval excludes zero for, in 4 of 5 tries.

        It takes the estimate to be normal: an interval of 95% reaches 1.96 standard errors to each
        side, and a difference of 2.80 of them is found in four of five tries, so it is 1.43 times
        half of the interval's width. "Not distinguishable" says little without it.

        >>> round(Interval(0.01, -0.02, 0.04).detectable, 3)
        0.043
        """
        reach = float(norm.ppf((1 + self.level) / 2))
        return (self.high - self.low) / 2 * (1 + float(norm.ppf(POWER)) / reach)


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
    level, seed = level_and_seed(level, random_state)
    matrix = seeds_by_items(values, "values")
    return interval_of(matrix.mean(), _bootstrap_means(matrix, seed), level)


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
    difference = _difference(correct_a, correct_b, ("correct_a", "correct_b"))
    return mean_interval(difference, level=level, random_state=random_state)


def paired_interval_over_tasks(
    pairs: Iterable[tuple[ArrayLike, ArrayLike]], level: float = 0.95, random_state: int = 0
) -> Interval:
    """Return the bootstrap interval of a difference in accuracy, A minus B, averaged over tasks.

    Every task counts the same, however many items it has. Each is resampled by itself, items and,
    where given, seeds, from a random stream of its own. The tasks are taken as they are, so the
    interval is about these tasks and not about others like them; and they are taken as
    independent, so it is slightly too narrow where they share items. Of one task alone it is
    `paired_interval`.

    Args:
        pairs: For each task whether A was right and whether B was, both of shape `(items,)` or
            `(seeds, items)`. Items and seeds may differ in number from task to task.
        level: Coverage.
        random_state: Seed of the resampling.

    Raises:
        ValueError: If there is no task, a task is no pair, or as `paired_interval`.

    Source: Berg-Kirkpatrick, Burkett and Klein (2012), within each task; chapter 6.

    >>> pairs = [([1, 1, 1, 1], [0, 0, 0, 0]), ([1, 0], [1, 0])]
    >>> print(paired_interval_over_tasks(pairs))
    0.500 [0.500, 0.500]
    """
    level, seed = level_and_seed(level, random_state)
    differences = _differences_of_tasks(pairs)
    resampled = [_bootstrap_means(matrix, [seed, task]) for task, matrix in enumerate(differences)]
    estimate = np.mean([matrix.mean() for matrix in differences])
    return interval_of(estimate, np.mean(resampled, axis=0), level)


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Return Student's interval of a mean over repeated draws, such as differences draw by draw.

    A draw here is one number: where each draw of labels is scored on texts of its own, items
    cannot be paired across draws. With few draws it is wider than a bootstrap, and rightly so.

    Args:
        values: One number per draw, shape `(draws,)`.
        level: Coverage.

    Raises:
        ValueError: If there are fewer than two, one is not finite, or the shape is another.

    Source: Student, *The Probable Error of a Mean* (1908); chapter 2.

    >>> print(t_interval([0.01, 0.02, 0.03]))  # 0.02 ± 4.303 * 0.01 / sqrt(3)
    0.020 [-0.005, 0.045]
    """
    level, _ = level_and_seed(level, 0)
    array = finite_numbers("values", values)
    if array.ndim != 1 or len(array) < 2:
        raise ValueError(f"values have shape {array.shape}; pass a list of 2 numbers or more.")
    mean, error = array.mean(), array.std(ddof=1) / np.sqrt(len(array))
    half = float(scipy.special.stdtrit(len(array) - 1, (1 + level) / 2) * error)
    return Interval(float(mean), float(mean) - half, float(mean) + half, level)


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
    a, b = paired_arrays(right_or_wrong("A", correct_a), right_or_wrong("B", correct_b))
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def mean_and_deviation(values: Sequence[float]) -> str:
    """Return `mean ± standard deviation` over seeds, as tables print it (n - 1 in the divisor).

    Raises:
        ValueError: If there are none, one is not finite, or they are not in one dimension.
    """
    array = finite_numbers("values", values)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"values have shape {array.shape}; pass a list of numbers, at least 1.")
    if len(array) < 2:
        return f"{array.mean():.3f} (1 seed)"
    return f"{array.mean():.3f} ± {array.std(ddof=1):.3f} ({len(array)} seeds)"


def _difference(correct_a: ArrayLike, correct_b: ArrayLike, names: tuple[str, str]) -> np.ndarray:
    """Return A minus B, shape `(seeds, items)`, or raise a `ValueError`."""
    a, b = seeds_by_items(correct_a, names[0]), seeds_by_items(correct_b, names[1])
    if a.shape != b.shape:
        raise ValueError(
            f"A has shape {a.shape} and B {b.shape}; a paired comparison needs the same items "
            "(and as many seeds) for both."
        )
    return a - b


def _differences_of_tasks(pairs: Iterable[tuple[ArrayLike, ArrayLike]]) -> list[np.ndarray]:
    """Return each task's A minus B, shape `(seeds, items)`, or raise a `ValueError`."""
    if isinstance(pairs, str | Mapping) or not isinstance(pairs, Iterable):
        raise ValueError(
            f"pairs is a {type(pairs).__name__}; pass a list with a pair (A, B) for each task."
        )
    differences = []
    for task, pair in enumerate(pairs):
        # An array of two rows is two seeds of a method far more often than a pair of methods.
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(
                f"pairs[{task}] is a {type(pair).__name__}; pass a pair (A, B) for each task, in a "
                "list even if it is one."
            )
        try:
            differences.append(_difference(*pair, ("A", "B")))
        except ValueError as error:
            raise ValueError(f"task {task} of pairs: {error}") from None
    if not differences:
        raise ValueError("pairs is empty; pass a pair (A, B) for at least 1 task.")
    return differences


def _bootstrap_means(matrix: np.ndarray, random_state: int | Sequence[int]) -> np.ndarray:
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
    for size in chunk_sizes(NUM_RESAMPLES, 1000 if len(counts) <= MANY else CHUNK // num_items):
        items = times_drawn(generator, counts, size) / num_items
        seeds = generator.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=size)
        means.append(((items @ columns.T) * seeds).sum(axis=1) / num_seeds)
    return np.concatenate(means)


def times_drawn(generator: np.random.Generator, counts: np.ndarray, size: int) -> np.ndarray:
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


def chunk_sizes(total: int, size: int) -> list[int]:
    """Cut a total into sizes of at most `size`."""
    size = max(1, size)
    return [min(size, total - start) for start in range(0, total, size)]


def interval_of(estimate: float, resampled: np.ndarray, level: float) -> Interval:
    """Return the percentile interval of resampled values."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(estimate), float(low), float(high), level)
