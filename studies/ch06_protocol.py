"""Choosing on 32 development examples: a small grid, five draws, and what the choice costs."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from ch06_choices import A_FILM, GREAT, IT_WAS, MINILM, PER_CLASS
from shared.common import TASK, Job, main, score_fields, splits
from shared.prompts import ITEMS, some

from reptune import data, meter
from reptune.cloze import PromptTunedClassifier

DRAWS = (42, 43, 44, 45, 46)
NUM_STEPS = 40
WORDS = {"terrible, great": GREAT, "bad, good": {0: "bad", 1: "good"}}
GRID = [
    {"template": template, "words": words, "learning_rate": rate}
    for template, words, rate in product((IT_WAS, A_FILM), WORDS, (5e-5, 2e-4))
]
CHOSEN = "chosen on development"

JOBS = [
    {"model": MINILM, "task": TASK, "labels": 2 * PER_CLASS, "random_state": draw} for draw in DRAWS
]


def train_and_development(draw: int) -> list[tuple[list[str], np.ndarray]]:
    """A draw of 16 a class, and the next 16 a class of the same draw."""
    rows = data.load(TASK)["train"]
    small, large = (data.few_shot(rows, count, draw) for count in (PER_CLASS, 2 * PER_CLASS))
    seen = set(small["text"])
    # Draws are nested, and no text occurs twice in a split.
    rest = large.select([row for row, text in enumerate(large["text"]) if text not in seen])
    return [(list(part["text"]), np.array(part["label"])) for part in (small, rest)]


def name_of(setting: dict[str, Any]) -> str:
    """What the records call a setting of the grid."""
    return f"{setting['template']} | {setting['words']} | {setting['learning_rate']:.0e}"


def fields(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Accuracy, and the mean log probability of the right label, as record fields."""
    found = score_fields(logits.argmax(axis=1) == labels)
    right = logits[np.arange(len(labels)), labels] - np.logaddexp.reduce(logits, axis=1)
    found["metrics"]["log_likelihood"] = float(right.mean())
    return found


def run(
    job: Job, num_steps: int = NUM_STEPS, items: int = ITEMS, test_items: int | None = None
) -> Iterator[dict[str, Any]]:
    """Train every setting of the grid on a draw; then score the one that development prefers."""
    train, development = train_and_development(job["random_state"])
    held_out = {"development": development, "validation": some("validation", items)}
    best, best_score, kept = None, (0.0, 0.0), {}
    for setting in GRID:
        classifier = PromptTunedClassifier(
            MINILM,
            **setting | {"words": WORDS[setting["words"]]},
            num_steps=num_steps,
            random_state=job["random_state"],
        )
        with meter.Meter() as cost:
            classifier.fit(*train)
        common = {
            **setting,
            "seconds": {"fit": round(cost.seconds, 2)},
            "peak_memory_mb": round(cost.peak_memory_mb),
        }
        scored = {
            split: fields(classifier.logits(texts), labels)
            for split, (texts, labels) in held_out.items()
        }
        for split, found in scored.items():
            yield {**common, "method": name_of(setting), "split": split, **found}
        found = scored["development"]["metrics"]
        score = (found["accuracy"], found["log_likelihood"])  # the second decides ties
        if best is None or score > best_score:
            best, best_score, kept = classifier, score, common
    texts, labels = (part[:test_items] for part in splits()["test"])
    yield {**kept, "method": CHOSEN, "split": "test", **fields(best.logits(texts), labels)}


if __name__ == "__main__":
    main(__file__, JOBS, run)
