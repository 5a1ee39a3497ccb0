"""Calibration: how far probabilities can be believed."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from reptune.checks import (
    check_whole_number,
)
from reptune.metrics.inputs import finite_numbers, fitting_labels, probabilities_and_labels

MAX_BINS = 10_000
LARGEST_LOGIT = 1e100  # divided by any temperature it is finite, and its exponential 0
# The search for a temperature goes over its logarithm: e^-4 to e^4 is 0.02 to 55.
LOG_TEMPERATURES = (-4.0, 4.0)


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
    probabilities, labels = probabilities_and_labels(probabilities, labels)
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
    logits = finite_numbers("logits", logits, least=-LARGEST_LOGIT)
    if np.abs(logits).max(initial=0) > LARGEST_LOGIT:
        raise ValueError("logits go beyond 1e100; look at the model that gave them.")
    labels = fitting_labels("logits", logits, labels)
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
