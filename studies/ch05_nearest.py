"""Examples nearest to each input against a random few, out of 16 a class or out of all of train."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from shared.common import TASK, Job, few_shot, main, score_fields, splits
from shared.prompts import CAUSAL, WORDS, some

from reptune import meter
from reptune.incontext import InContextClassifier
from reptune.models.neighbors import Neighbors

DRAWS = (42, 43, 44)
PER_CLASS, POOL = 2, 16
ALL = 6398
ITEMS = 200  # each input has a prompt of its own: nothing is shared

JOBS = [
    *(
        {"method": method, "labels": 2 * POOL, "random_state": draw, "model": CAUSAL, "task": TASK}
        for method in ("random", "nearest")
        for draw in DRAWS
    ),
    {"method": "nearest", "labels": ALL, "random_state": 42, "model": CAUSAL, "task": TASK},
    {"method": "neighbors vote", "labels": ALL, "random_state": 42, "model": "all-MiniLM-L6-v2",
     "task": TASK},
]  # fmt: skip


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Score a way of selecting, with contextual calibration, on test."""
    if job["labels"] == ALL:
        texts, labels = splits(TASK)["train"]
    else:
        texts, labels = few_shot(TASK, POOL, job["random_state"])
    held_texts, held_labels = some("test", ITEMS)
    with meter.Meter() as cost:
        predicted = _predict(job, texts, labels, held_texts)
    yield {
        "split": "test",
        "seconds": {"predict": round(cost.seconds, 2)},
        "peak_memory_mb": round(cost.peak_memory_mb),
        **score_fields(predicted == held_labels),
    }


def _predict(job: Job, texts: list[str], labels: np.ndarray, held: list[str]) -> np.ndarray:
    if job["method"] == "neighbors vote":  # the same neighbors, without a language model
        nearest = Neighbors(texts).order(held)[:, : 2 * PER_CLASS + 1]
        return (labels[nearest].mean(axis=1) > 0.5).astype(int)
    classifier = InContextClassifier(
        CAUSAL,
        words=WORDS,
        per_class=PER_CLASS,
        selection=job["method"],
        random_state=job["random_state"],
    )
    return classifier.fit(texts, labels).predict(held)


if __name__ == "__main__":
    main(__file__, JOBS, run)
