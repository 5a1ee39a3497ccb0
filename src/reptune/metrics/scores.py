"""Scores of classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score, f1_score

from reptune.metrics.inputs import class_values, paired_arrays


def classification_scores(labels: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """Return accuracy and macro-averaged F1.

    Args:
        labels: True classes, shape `(n,)`.
        predictions: Predicted classes, shape `(n,)`.

    Raises:
        ValueError: If the lengths differ, there are no items, or the classes are not all strings
            or all whole numbers.
    """
    labels, predictions = class_values("labels", labels), class_values("predictions", predictions)
    labels, predictions = paired_arrays(labels, predictions)
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
