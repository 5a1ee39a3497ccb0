"""How many examples a prompt should show: 0 to 8 a class, five draws, 400 test sentences."""

from collections.abc import Iterator
from typing import Any

from shared.common import TASK, Job, few_shot, main
from shared.prompts import CAUSAL, WORDS, calibrations, some

from reptune import meter
from reptune.incontext import InContextClassifier

DRAWS = (42, 43, 44, 45, 46)
PER_CLASS = (0, 1, 2, 4, 8)

JOBS = [
    {"examples": per_class, "model": CAUSAL, "task": TASK, "random_state": draw}
    for per_class in PER_CLASS
    for draw in (DRAWS if per_class else DRAWS[:1])
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Score one prompt's answers, raw and calibrated in two ways."""
    texts, labels = few_shot(TASK, max(job["examples"], 1), job["random_state"])
    classifier = InContextClassifier(
        CAUSAL, words=WORDS, per_class=job["examples"], selection="given"
    )
    classifier.fit(texts, labels)
    held_texts, held_labels = some("test")
    with meter.Meter() as cost:
        scored = list(calibrations(classifier, held_texts, held_labels))
    for method, fields in scored:
        yield {
            "method": method,
            "split": "test",
            "labels": 2 * job["examples"],
            "seconds": {"predict": round(cost.seconds, 2)},
            "peak_memory_mb": round(cost.peak_memory_mb),
            "prompt_pieces": len(classifier.lm_.encode(classifier.prompt(held_texts[0]))),
            **fields,
        }


if __name__ == "__main__":
    main(__file__, JOBS, run)
