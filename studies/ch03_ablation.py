"""What decides whether continued pretraining helps: 1,000 labels of reviews, validation."""

from collections.abc import Iterator
from typing import Any

from shared.common import MODEL, SEEDS, TASK, FrozenEmbeddings, Job, few_shot, main, measure
from shared.encoders import BOTH, DOMAIN, GENERAL, HALF_LONGER, LONGER, SHIPPED, VARIANTS, encoder
from shared.encoders import TASK as TASK_ADAPTIVE

from reptune.classification import FineTunedClassifier

LABELS, FEWER = 1000, 500
USUAL = {"learning_rate": 1e-4, "num_epochs": 3, "layer_decay": 1.0}
# Fine-tuning settings, for the two arms that the question is about ...
SETTINGS = [
    USUAL,
    {**USUAL, "learning_rate": 5e-5},
    {**USUAL, "learning_rate": 2e-4},
    {**USUAL, "num_epochs": 6},
    {**USUAL, "layer_decay": 0.7},
]
# ... and encoders, under the usual setting.
ENCODERS = (GENERAL, TASK_ADAPTIVE, BOTH, *VARIANTS)

# A logistic regression on the mean of the frozen vectors asks what the encoder already knows.
FROZEN = {"learning_rate": 0.0, "num_epochs": 0, "layer_decay": 0.0}

RUNS = [(arm, setting) for setting in SETTINGS for arm in (SHIPPED, DOMAIN)]
RUNS += [(arm, USUAL) for arm in ENCODERS]
# The arms that look best get the rate that suits domain-adaptive, too.
RUNS += [(arm, {**USUAL, "learning_rate": 5e-5}) for arm in (LONGER, HALF_LONGER)]
RUNS += [(arm, FROZEN) for arm in (SHIPPED, GENERAL, DOMAIN, TASK_ADAPTIVE, BOTH)]
# With fewer labels there are fewer steps: does the best setting for many do there?
FEWER_RUNS = [
    (SHIPPED, USUAL),
    (DOMAIN, USUAL),
    (DOMAIN, {**USUAL, "learning_rate": 5e-5}),
    (DOMAIN, {**USUAL, "num_epochs": 6}),
]
JOBS = [
    {"method": arm, "model": MODEL, "task": TASK, "labels": labels, "random_state": seed, **setting}
    for labels, runs in ((LABELS, RUNS), (FEWER, FEWER_RUNS))
    for arm, setting in runs
    for seed in SEEDS
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Fine-tune one encoder under one setting on one draw of labels."""
    settings = {name: job[name] for name in USUAL}
    source = str(encoder(job["method"]))
    if settings == FROZEN:
        classifier = FrozenEmbeddings(source, max_length=64)
    else:
        classifier = FineTunedClassifier(
            source, max_length=64, random_state=job["random_state"], **settings
        )
    train = few_shot(TASK, job["labels"] // 2, job["random_state"])
    yield from measure(classifier, train, "validation")


if __name__ == "__main__":
    main(__file__, JOBS, run)
