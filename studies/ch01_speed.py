"""Side by side: plain `Trainer`, the same grouped by length, and this package, in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from shared import rounds
from shared.common import MODEL, fit_fields, score_fields
from shared.plain import PlainClassifier

from reptune import data, meter, training
from reptune.classification import DEFAULT_LEARNING_RATES, FineTunedClassifier

PLAIN, GROUPED, OURS = "plain Trainer", "Trainer, grouped by length", "reptune"
LEARNING_RATE = 1e-4

# One option after the other, each on top of those before it.
ADDED = {
    f"+ {name}": tuple(training.FAST_OPTIONS[: count + 1])
    for count, name in enumerate(training.FAST_OPTIONS[:-1])
}


@dataclass(frozen=True)
class Setting:
    """What is trained on what.

    `texts` is how many to train on and `scored` how many to score (`None`: all; where accuracy is
    not the point, a few show that nothing broke), `rounds` how often at most.
    """

    task: str
    trainable: Any
    num_epochs: int
    texts: int | None
    arms: tuple[str, ...]
    rounds: int = 2
    scored: int | None = 200


REVIEWS = "rotten_tomatoes"
OPTIONS = "one option after the other"
SETTINGS = {
    "everything, 1 epoch": Setting(REVIEWS, "all", 1, None, (PLAIN, GROUPED, OURS), 3, None),
    "head only, 3 epochs": Setting(REVIEWS, "head", 3, 1600, (PLAIN, OURS)),
    "last block, 3 epochs": Setting(REVIEWS, 1, 3, 960, (PLAIN, OURS)),
    "last 2 blocks, 3 epochs": Setting(REVIEWS, 2, 3, 960, (PLAIN, OURS)),
    "long texts, everything, 1 epoch": Setting(
        "bbc_news", "all", 1, 32, (PLAIN, GROUPED, OURS), scored=40
    ),
    OPTIONS: Setting(REVIEWS, "all", 1, 1600, (PLAIN, *ADDED)),
}


def measure(setting: str, arm: str, seed: int) -> dict[str, Any]:
    """One arm of a setting, in this process."""
    what = SETTINGS[setting]
    texts, labels, held_out = _texts(what, seed)
    classifier = build(arm, what.trainable, what.num_epochs, seed)
    with meter.Meter() as cost:
        classifier.fit(texts, labels)
    correct = classifier.predict(held_out[0]) == held_out[1]
    tokens = sum(map(len, classifier.tokenizer_(texts, truncation=True)["input_ids"]))
    blocks = sum(p.numel() for name, p in classifier.model_.named_parameters() if ".layer." in name)
    # Forward 2, backward 4 operations a weight and real token: what full fine-tuning needs.
    needed = 6 * blocks * tokens * what.num_epochs / 1e9
    return {
        "method": arm,
        "setting": setting,
        "task": what.task,
        "model": MODEL,
        "labels": len(texts),
        "random_state": seed,
        "split": "validation",
        **fit_fields(cost),
        **score_fields(correct),
        "gflops_needed": needed if what.trainable == "all" else None,
        "matmul_peak_gflops": rounds.peaks(),
    }


def build(arm: str, trainable: Any, num_epochs: int, seed: int) -> Any:
    """The classifier of an arm; batch size, weight decay and warmup are the same in all."""
    rate = DEFAULT_LEARNING_RATES["head"] if trainable == "head" else LEARNING_RATE
    if arm == OURS or arm in ADDED:
        return FineTunedClassifier(
            MODEL, trainable, num_epochs=num_epochs, learning_rate=rate,
            max_length=512, random_state=seed, fast=ADDED.get(arm, True),
        )  # fmt: skip
    strategy = "random" if arm == PLAIN else "group_by_length"
    return PlainClassifier(MODEL, trainable, strategy, num_epochs, rate, seed)


def _texts(what: Setting, seed: int) -> tuple[list[str], np.ndarray, tuple]:
    loaded = data.load(what.task)
    train, held_out = loaded["train"], loaded["validation"]
    if what.texts is not None:
        train = train.shuffle(seed=seed).select(range(what.texts))
    if what.scored is not None:
        held_out = held_out.select(range(what.scored))
    scored = (list(held_out["text"]), np.array(held_out["label"]))
    return list(train["text"]), np.array(train["label"]), scored


if __name__ == "__main__":
    rounds.main(__file__, __doc__, SETTINGS, measure)
