"""Heads on embeddings that are already there: what one tuned encoder gives with each penalty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from shared.common import score_fields

STRENGTHS = (1.0, 10.0, 100.0)


def head(C: float) -> LogisticRegression:
    """A logistic regression as the chapters fit it, with this penalty."""
    return LogisticRegression(C=C, max_iter=1000)


def scored_heads(
    train: np.ndarray,
    labels: np.ndarray,
    held: np.ndarray,
    held_labels: np.ndarray,
    strengths: Iterable[float] = STRENGTHS,
) -> Iterator[dict[str, Any]]:
    """Yield the record fields of a head for each strength, on the same embeddings."""
    for C in strengths:
        predicted = head(C).fit(train, labels).predict(held)
        yield {"C": C, **score_fields(predicted == held_labels)}
