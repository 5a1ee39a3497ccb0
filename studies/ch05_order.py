"""Which examples, and in which order: four draws in four orders, 4 a class, validation."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from shared.common import TASK, Job, few_shot, main
from shared.prompts import CAUSAL, WORDS, calibrations, some

from reptune import meter
from reptune.incontext import InContextClassifier

DRAWS = (42, 43, 44, 45)
ORDERS = (0, 1, 2, 3)
PER_CLASS = 4

JOBS = [
    {"order": order, "model": CAUSAL, "task": TASK, "labels": 2 * PER_CLASS, "random_state": draw}
    for draw in DRAWS
    for order in ORDERS
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Score one draw in one order."""
    texts, labels = few_shot(TASK, PER_CLASS, job["random_state"])
    order = np.random.default_rng(job["order"]).permutation(len(texts))
    classifier = InContextClassifier(CAUSAL, words=WORDS, per_class=PER_CLASS, selection="given")
    classifier.fit([texts[row] for row in order], labels[order])
    held_texts, held_labels = some("validation")
    with meter.Meter() as cost:
        scored = list(calibrations(classifier, held_texts, held_labels))
    for method, fields in scored:
        yield {
            "method": method,
            "split": "validation",
            "last_label": int(labels[order[-1]]),
            "seconds": {"predict": round(cost.seconds, 2)},
            "peak_memory_mb": round(cost.peak_memory_mb),
            **fields,
        }


if __name__ == "__main__":
    main(__file__, JOBS, run)
