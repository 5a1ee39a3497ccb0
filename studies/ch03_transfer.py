"""Does continued pretraining help the task? Arms fine-tuned on the same labels, scored on test."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from _common import MODEL, Job, few_shot, main, measure, splits
from _encoders import BOTH, DOMAIN, GENERAL, SHIPPED, TASK, encoder

from reptune.classification import FineTunedClassifier

REVIEWS, NEWS = "rotten_tomatoes", "bbc_news"
CLASSES = {REVIEWS: 2, NEWS: 5}
MAX_LENGTH = {REVIEWS: 64, NEWS: 128}
EVERYTHING = 0  # labels: all there are
# Labels in all, and how many draws or, with all labels, seeds.
SEEDS = {
    REVIEWS: {100: 10, 500: 10, 1000: 10, EVERYTHING: 3},
    NEWS: {100: 5},
}
# Passes that give each number of labels about as many steps as it can use; chosen on validation.
EPOCHS = {100: 8, 500: 4, 1000: 3, EVERYTHING: 2}
ARMS = {REVIEWS: (SHIPPED, GENERAL, DOMAIN, TASK, BOTH), NEWS: (SHIPPED, GENERAL, DOMAIN)}

JOBS = [
    {"method": arm, "model": MODEL, "task": task, "asked": labels, "random_state": 42 + seed}
    for task, sizes in SEEDS.items()
    for labels, count in sizes.items()
    for seed in range(count)
    for arm in ARMS[task]
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Fine-tune one arm on one draw of labels, with the same settings for every arm."""
    task, seed = job["task"], job["random_state"]
    train = _train(task, job["asked"], seed)
    classifier = FineTunedClassifier(
        str(encoder(job["method"])),
        num_epochs=EPOCHS[job["asked"]],
        learning_rate=1e-4,
        max_length=MAX_LENGTH[task],
        random_state=seed,
    )
    for record in measure(classifier, train, "test", task=task):
        yield {**record, "labels": len(train[0])}


def _train(task: str, labels: int, seed: int) -> tuple[list[str], np.ndarray]:
    if labels == EVERYTHING:
        return splits(task)["train"]
    return few_shot(task, labels // CLASSES[task], seed)


if __name__ == "__main__":
    main(__file__, JOBS, run)
