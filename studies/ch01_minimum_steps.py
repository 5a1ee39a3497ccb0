"""How many steps should a fine-tuning take at least, where nobody says how many epochs?

Two passes over 300 texts are 38 steps of 16, with which a new head barely leaves its start. So the
default of `FineTunedClassifier` is a number of epochs *and* a minimum number of steps. This study
chooses that minimum, on validation: three tasks (review sentiment, news topics, whether a tweet
names an entity), three sizes (100, 300, 1,000 texts), three seeds, which also draw the texts.

Written down before the first record:

- Candidates: no minimum, and 60, 120, 240 steps; two epochs where those are more steps already.
  Everything else is the default (learning rate 5e-5, batches of 16). News is cut at 64 tokens.
- The rule: average validation accuracy over the nine cells of task and size, then take the
  smallest minimum whose average is at most half a point below the best one.
- Primary comparison: that minimum against no minimum, paired over seeds and validation texts,
  cell by cell. Frozen embeddings under a logistic regression stand beside it for orientation.
- Cost: about 4,000 steps per task, an hour and a half on one core.

Each record also holds the accuracy on the training texts and the loss at the end over the loss of
guessing by the labels' shares, from which the warning of an underfit takes its threshold.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from scipy.stats import entropy
from shared.common import MODEL, SEEDS, FrozenEmbeddings, Job, fit_fields, main, score_fields

from reptune import data, meter
from reptune.classification import FineTunedClassifier

TASKS = ("rotten_tomatoes", "wnut16", "bbc_news")
SIZES = (100, 300, 1000)
MINIMA = (0, 60, 120, 240)
BATCH_SIZE, EPOCHS = 16, 2
MAX_LENGTH = {"bbc_news": 64}
SCORED = 500  # validation texts at most, always the same ones


def epochs_for(minimum: int, size: int) -> int:
    """Two epochs, or as many as `minimum` steps take."""
    per_epoch = -(-size // BATCH_SIZE)
    return max(EPOCHS, -(-minimum // per_epoch))


def jobs() -> Iterator[Job]:
    """One fit each, seed by seed, so that a study cut short has every cell alike."""
    for seed, size, task in product(SEEDS, SIZES, TASKS):
        shared = {"task": task, "model": MODEL, "labels": size, "random_state": seed}
        yield {"method": "frozen", "num_epochs": 0, **shared}
        for epochs in sorted({epochs_for(minimum, size) for minimum in MINIMA}):
            yield {"method": "fine-tuned", "num_epochs": epochs, **shared}


def examples(task: str, split: str) -> tuple[list[str], np.ndarray]:
    """Texts and labels; a tweet's label is whether it names an entity."""
    part = data.load(task)[split]
    if task != "wnut16":
        return list(part["text"]), np.array(part["label"])
    texts = [" ".join(tokens) for tokens in part["tokens"]]
    return texts, np.array([int(any(tag != "O" for tag in tags)) for tags in part["ner_tags"]])


def draw(task: str, size: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Training texts drawn at random, as a table of one's own would hold them."""
    texts, labels = examples(task, "train")
    rows = np.random.default_rng(seed).permutation(len(texts))[:size]
    return [texts[row] for row in rows], labels[rows]


def held_out(task: str) -> tuple[list[str], np.ndarray]:
    """The validation texts that every fit of a task is scored on."""
    texts, labels = examples(task, "validation")
    rows = np.random.default_rng(0).permutation(len(texts))[:SCORED]
    return [texts[row] for row in rows], labels[rows]


def run(job: Job) -> Iterator[dict]:
    """Fit once; score on validation and on the training texts."""
    texts, labels = draw(job["task"], job["labels"], job["random_state"])
    length = MAX_LENGTH.get(job["task"])
    if job["method"] == "frozen":
        classifier = FrozenEmbeddings(MODEL, max_length=length)
    else:
        classifier = FineTunedClassifier(
            MODEL,
            num_epochs=job["num_epochs"],
            max_length=length,
            batch_size=BATCH_SIZE,
            random_state=job["random_state"],
        )
    with meter.Meter() as cost:
        classifier.fit(texts, labels)
    scored_texts, scored_labels = held_out(job["task"])
    scores = score_fields(classifier.predict(scored_texts) == scored_labels)
    scores["metrics"]["train_accuracy"] = float((classifier.predict(texts) == labels).mean())
    if job["method"] != "frozen":
        scores["metrics"]["loss_share"] = loss_share(classifier.history_, labels)
    yield {"split": "validation", **fit_fields(cost), **scores}


def loss_share(history: list[dict[str, float]], labels: np.ndarray) -> float:
    """The mean loss of the last tenth of the steps over that of guessing by the labels' shares."""
    losses = [entry["loss"] for entry in history if "loss" in entry]
    last = losses[-max(1, len(losses) // 10) :]
    return float(np.mean(last) / entropy(np.bincount(labels) / len(labels)))


if __name__ == "__main__":
    main(__file__, jobs(), run)
