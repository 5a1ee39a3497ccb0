"""Intervals for shares of right answers that hold for few rows too, where a bootstrap's do not.

Sixteen right answers of sixteen have a bootstrap interval of [1, 1]. The two formulas here cover
as often as they say from about ten rows on.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from reptune.metrics import Interval

# What a row of cross-validation counts for. Fits that share most rows err together, so that
# plain intervals hold too rarely; study pipeline_compare measures how often these do.
CROSS_VALIDATED = 2 / 3
POWER = 0.8  # how often a difference of the size that is called detectable would be detected


def share_interval(correct: ArrayLike, level: float = 0.95, weight: float = 1.0) -> Interval:
    """Return Wilson's interval of a share of right answers.

    Args:
        correct: Whether each row was right, shape `(n,)`.
        level: Coverage.
        weight: What a row counts for, such as `CROSS_VALIDATED`.

    Source: Wilson, *Probable Inference* (1927).

    >>> print(share_interval([True] * 16))
    1.000 [0.806, 1.000]
    """
    right = np.asarray(correct, dtype=float)
    n, share, z = weight * len(right), float(right.mean()), _z(level)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # It always holds the share, at 0 and 1 too, where rounding would leave it just outside.
    low, high = max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
    return Interval(share, low, high, level)


def difference_interval(
    correct_a: ArrayLike, correct_b: ArrayLike, level: float = 0.95, weight: float = 1.0
) -> Interval:
    """Return the interval of the difference in accuracy, A minus B, on the same rows.

    Args:
        correct_a: Whether A was right, shape `(n,)`.
        correct_b: The same for B.
        level: Coverage.
        weight: What a row counts for, such as `CROSS_VALIDATED`.

    Source: Agresti and Min, *Simple Improved Confidence Intervals for Comparing Matched
    Proportions* (2005): half a row more for each of the four outcomes, then Wald's interval.

    >>> print(difference_interval([1, 1, 1, 1, 0, 1, 1, 1], [1, 0, 0, 1, 0, 1, 0, 0]))
    0.500 [0.039, 0.761]
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    only_a, only_b = weight * (a & ~b).sum() + 0.5, weight * (b & ~a).sum() + 0.5
    n = weight * len(a) + 2
    middle = (only_a - only_b) / n
    half = _z(level) * math.sqrt((only_a + only_b) / n - middle**2) / math.sqrt(n)
    low, high = max(-1.0, float(middle - half)), min(1.0, float(middle + half))
    return Interval(float(a.mean() - b.mean()), low, high, level)


def detectable_difference(disagreement: float, num_rows: float, level: float = 0.95) -> float:
    """Return the smallest difference in accuracy that these rows show in four of five tries.

    Args:
        disagreement: Share of rows on which one of the two is right and the other wrong.
        num_rows: Rows that both are scored on.
        level: Coverage of the interval that has to exclude 0.

    >>> round(detectable_difference(0.2, 1000), 3)
    0.04
    """
    both = float(_z(level) + norm.ppf(POWER))
    return min(1.0, both * math.sqrt(disagreement / num_rows))


def rows_to_detect(difference: float, disagreement: float, level: float = 0.95) -> int:
    """Return how many rows would show a difference in accuracy in four of five tries.

    >>> rows_to_detect(0.04, 0.2)
    982
    """
    both = (_z(level) + norm.ppf(POWER)) ** 2
    return math.ceil(both * disagreement / difference**2)


def _z(level: float) -> float:
    return float(norm.ppf((1 + level) / 2))
