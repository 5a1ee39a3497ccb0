"""What chapter 5's and chapter 6's studies share: the model, the label words, calibrations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from reptune import data
from reptune.incontext import CONTENT_FREE, InContextClassifier, calibrated
from shared.common import TASK, score_fields

CAUSAL = "SmolLM2-135M-Instruct"
WORDS = {0: "negative", 1: "positive"}
ITEMS = 400  # sentences of a split that prompts are scored on
UNLABELED = 100  # training sentences, labels unread, for batch calibration
RAW, CONTEXTUAL, BATCH = "raw", "contextual", "batch"


def some(split: str, items: int = ITEMS) -> tuple[list[str], np.ndarray]:
    """The published subset of a split, as texts and labels."""
    rows = data.fixed_subset(data.load(TASK)[split], items)
    return list(rows["text"]), np.array(rows["label"])


def unlabeled() -> list[str]:
    """Training sentences whose labels nobody reads."""
    return list(data.fixed_subset(data.load(TASK)["train"], UNLABELED)["text"])


def calibrations(
    classifier: InContextClassifier, texts: list[str], labels: np.ndarray
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Record fields of one prompt's answers: raw, and calibrated in two ways.

    `share_positive` and `auc` tell a lopsided prompt from one that does not know: the area under
    the ROC curve does not depend on where the border between the answers lies.
    """
    free, others = list(CONTENT_FREE), unlabeled()
    found = classifier.logits([*free, *others, *texts])
    free, others, scores = np.split(found, [len(free), len(free) + len(others)])
    ways = {
        RAW: softmax(scores, axis=1),
        CONTEXTUAL: calibrated(scores, free),
        BATCH: calibrated(scores, others),
    }
    for way, probabilities in ways.items():
        predicted = probabilities.argmax(axis=1)
        fields = score_fields(predicted == labels)
        fields["metrics"] |= {
            "share_positive": float(predicted.mean()),
            "auc": float(roc_auc_score(labels, scores[:, 1] - scores[:, 0])),
        }
        yield way, fields
