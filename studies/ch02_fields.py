"""What to feed of an article: headline, body or both, and how much, to SetFit and frozen."""

from collections.abc import Iterator
from typing import Any

from shared.articles import FED, fed
from shared.common import Job, few_shot, fit_fields, main, score_fields, splits

from reptune import meter
from reptune.fewshot import SetFitClassifier

DRAWS = (0, 1, 2)
TASK, MODEL, PER_CLASS = "bbc_news", "all-MiniLM-L6-v2", 8
METHODS: dict[str, dict[str, Any]] = {"SetFit": {}, "frozen": {"trainable": "head"}}

JOBS = [
    {
        "method": method,
        "fields": part,
        "model": MODEL,
        "task": TASK,
        "labels": PER_CLASS * 5,
        "random_state": seed,
    }
    for part in FED
    for method in METHODS
    for seed in DRAWS
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Train on one draw of the chosen part, and score the same part of validation."""
    way = job["fields"]
    texts, labels = few_shot(TASK, PER_CLASS, job["random_state"])
    classifier = SetFitClassifier(
        MODEL, max_length=FED[way][1], random_state=job["random_state"], **METHODS[job["method"]]
    )
    with meter.Meter() as cost:
        classifier.fit(fed(way, texts), labels)
    held_texts, held_labels = splits(TASK)["validation"]
    correct = classifier.predict(fed(way, held_texts)) == held_labels
    yield {"split": "validation", **fit_fields(cost), **score_fields(correct)}


if __name__ == "__main__":
    main(__file__, JOBS, run)
