"""One topic with many labels, four with few: what helps, by macro F1 on validation."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from shared.common import Job, few_shot, fit_fields, main, score_fields, splits

from reptune import meter, metrics
from reptune.fewshot import SetFitClassifier

DRAWS = (0, 1, 2)
TASK, MODEL, MAX_LENGTH = "bbc_news", "all-MiniLM-L6-v2", 128
MANY, FEW, FREQUENT = 48, 3, 3  # labels of the frequent topic and of the others; sports
VARIANTS: dict[str, dict[str, Any]] = {
    "frozen": {"trainable": "head"},
    "frozen, balanced head": {"trainable": "head", "class_weight": "balanced"},
    "SetFit": {},
    "SetFit, balanced head": {"class_weight": "balanced"},
    "SetFit, every pair counts once": {"sampling": "unique"},
    "SetFit, three labels a topic": {},
}

JOBS = [
    {
        "method": variant,
        "model": MODEL,
        "task": TASK,
        "labels": FEW * 5 if "three" in variant else MANY + FEW * 4,
        "random_state": seed,
    }
    for variant in VARIANTS
    for seed in DRAWS
]


def draw(job: Job) -> tuple[list[str], np.ndarray]:
    """Few of each topic, and the rest of the frequent one unless the job leaves it out."""
    texts, labels = few_shot(TASK, MANY, job["random_state"])
    counts = np.full(5, FEW)
    if job["labels"] > FEW * 5:
        counts[FREQUENT] = MANY
    rows = [row for label in range(5) for row in np.flatnonzero(labels == label)[: counts[label]]]
    return [texts[row] for row in rows], labels[rows]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Train on one lopsided draw and score validation."""
    classifier = SetFitClassifier(
        MODEL, max_length=MAX_LENGTH, random_state=job["random_state"], **VARIANTS[job["method"]]
    )
    with meter.Meter() as cost:
        classifier.fit(*draw(job))
    texts, labels = splits(TASK)["validation"]
    predicted = classifier.predict(texts)
    scored = score_fields(predicted == labels)
    scored["metrics"]["macro_f1"] = metrics.classification_scores(labels, predicted)["macro_f1"]
    scored["metrics"]["recall_of_rare"] = float((predicted == labels)[labels != FREQUENT].mean())
    yield {"split": "validation", **fit_fields(cost), **scored}


if __name__ == "__main__":
    main(__file__, JOBS, run)
