"""Does continued pretraining help? Encoders fine-tuned, or frozen, on the same labels; test."""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from shared.common import (
    MODEL,
    FrozenEmbeddings,
    Job,
    few_shot,
    main,
    measure,
    score_fields,
    splits,
)
from shared.encoders import (
    BOTH,
    DIRECT,
    DOMAIN,
    GENERAL,
    HALF_DOMAIN,
    HALF_LONGER,
    LONGER,
    SHIPPED,
    TASK,
    encoder,
)

from reptune import meter
from reptune.book import results
from reptune.classification import FineTunedClassifier

REVIEWS, NEWS = "rotten_tomatoes", "bbc_news"
CLASSES = {REVIEWS: 2, NEWS: 5}
MAX_LENGTH = {REVIEWS: 64, NEWS: 128}
FINE_TUNED, FROZEN = "fine-tuned", "frozen"
EVERYTHING = 0  # labels: all there are
# Labels in all, and how many draws or, with all labels, seeds.
SEEDS = {
    REVIEWS: {100: 10, 500: 10, 1000: 10, EVERYTHING: 3},
    NEWS: {100: 5},
}
CHOSEN_WITH = 1000  # labels, in the ablation
# Of these the ablation tried several settings; the other arms take those of DOMAIN.
TUNED = (SHIPPED, DOMAIN, HALF_LONGER)
NUM_EPOCHS = 3
LEAST_STEPS = 60  # few labels need more passes; chapter 2's label curve found this many
EPOCHS_OVER_EVERYTHING = 1
ARMS = {
    REVIEWS: (SHIPPED, GENERAL, DIRECT, LONGER, HALF_LONGER, DOMAIN, HALF_DOMAIN, TASK, BOTH),
    NEWS: (SHIPPED, GENERAL, DOMAIN, HALF_DOMAIN, HALF_LONGER),
}
KNOBS = ["learning_rate", "num_epochs", "layer_decay"]

JOBS = [
    {"method": arm, "model": MODEL, "task": task, "trained": FROZEN}
    for task in SEEDS
    for arm in ARMS[task]
]
JOBS += [
    {
        "method": arm,
        "model": MODEL,
        "task": task,
        "trained": FINE_TUNED,
        "asked": labels,
        "random_state": 42 + seed,
    }
    for task, sizes in SEEDS.items()
    for labels, count in sizes.items()
    for seed in range(count)
    for arm in ARMS[task]
    # Of what shows why the others win or lose, one size is enough.
    if arm not in (GENERAL, DIRECT, HALF_LONGER) or labels == 1000 or (task, arm) == (NEWS, GENERAL)
    # On validation these two did not come near the other half (ch03_ablation).
    if arm not in (LONGER, HALF_DOMAIN)
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Fine-tune one arm on one draw of labels; or keep it frozen, for all draws at once."""
    if job["trained"] == FROZEN:
        yield from _frozen(job)
        return
    task, seed = job["task"], job["random_state"]
    train = _train(task, job["asked"], seed)
    settings = chosen(job["method"], len(train[0]))
    classifier = FineTunedClassifier(
        str(encoder(job["method"])), max_length=MAX_LENGTH[task], random_state=seed, **settings
    )
    for record in measure(classifier, train, "test", task=task):
        yield {**record, **settings, "labels": len(train[0])}


def _frozen(job: Job) -> Iterator[dict[str, Any]]:
    """A logistic regression on the mean of the vectors; each text is encoded once."""
    task = job["task"]
    classifier = FrozenEmbeddings(str(encoder(job["method"])), max_length=MAX_LENGTH[task])
    texts, labels = splits(task)["test"]
    with meter.Meter() as cost:
        for split in ("train", "test"):
            classifier.encode(splits(task)[split][0])
    for asked, count in SEEDS[task].items():
        for seed in range(1 if asked == EVERYTHING else count):
            train = _train(task, asked, 42 + seed)
            start = time.perf_counter()
            classifier.fit(*train)
            yield {
                "asked": asked,
                "random_state": 42 + seed,
                "split": "test",
                "labels": len(train[0]),
                "seconds": {
                    "fit": round(time.perf_counter() - start, 2),
                    "encode train and test": round(cost.seconds, 1),
                },
                "peak_memory_mb": round(cost.peak_memory_mb),
                **score_fields(classifier.predict(texts) == labels),
            }


def chosen(arm: str, labels: int) -> dict[str, Any]:
    """The setting with the best validation accuracy in `ch03_ablation`; passes by labels.

    Only settings with `NUM_EPOCHS` passes are looked at, so that all arms train for as long. Arms
    that are not in `TUNED` take the domain-adaptive one's.

    Raises:
        SystemExit: If that study has not been run.
    """
    table = results.read("ch03_ablation")
    if table.empty:
        raise SystemExit("run ch03_ablation first: this study takes its settings from there.")
    table = table[table["labels"] == CHOSEN_WITH]
    of_arm = table[table["method"] == (arm if arm in TUNED else DOMAIN)]
    of_arm = of_arm[of_arm["num_epochs"] == NUM_EPOCHS]
    best = of_arm.groupby(KNOBS)["metrics.accuracy"].mean().idxmax()
    settings = dict(zip(KNOBS, best, strict=True))
    least = math.ceil(LEAST_STEPS / math.ceil(labels / 16))
    settings["num_epochs"] = max(int(settings["num_epochs"]), least)
    if labels > 1000:
        settings["num_epochs"] = EPOCHS_OVER_EVERYTHING
    return settings


def _train(task: str, labels: int, seed: int) -> tuple[list[str], np.ndarray]:
    if labels == EVERYTHING:
        return splits(task)["train"]
    return few_shot(task, labels // CLASSES[task], seed)


if __name__ == "__main__":
    main(__file__, JOBS, run)
