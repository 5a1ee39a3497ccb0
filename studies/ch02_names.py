"""No label at all: label names in a template, centered by unlabeled texts, against SetFit.

Written down before the first record:

- Three pairs of task and encoder: reviews (`rotten_tomatoes`, two labels) with all-MiniLM-L6-v2
  and with all-mpnet-base-v2, news (`bbc_news`, five labels) with MiniLM; test, 400 of the reviews'
  sentences. Of an article 128 tokens are read. mpnet on news would take as long as all the rest.
- Label names: the bare name; the name in a template, "It was a {} movie." and "News about {}.",
  written before any score was seen; and both again, centered by 500 training texts whose labels
  nobody reads (ten draws of them). What is not centered is recorded under each of these draws,
  always the same, so that the two can be paired.
- SetFit, and frozen embeddings, with 2, 4, 8 and 16 labels per class (mpnet: 2 and 8), ten draws;
  the head's C is 10 for both.
- Primary comparisons, on each of the three pairs of task and encoder: (1) centered minus not, with
  the template; (2) SetFit with each number of labels minus the template, centered. By the paired
  bootstrap over draws and texts. The number of labels from which on SetFit is ahead is read off
  (2): the first from which on all larger numbers have intervals above zero.
- Everything else is description.

Arithmetic, one thread. Untrained: reviews with MiniLM 1 min, with mpnet 6 min (5,000 sentences at
17 a second), news 3 min (3,200 articles at 20). SetFit, all sizes of one draw: reviews with MiniLM
25 s, with mpnet 110 s, news 130 s; ten draws 44 min. In all 54 core minutes; the longest job takes
6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from shared.common import Job, few_shot, fit_fields, main, score_fields, some
from shared.heads import head

from reptune import data, meter
from reptune.fewshot import FrozenClassifier, SetFitClassifier, centered

STUDY = "ch02_names"
MINILM, MPNET = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
REVIEWS, NEWS = "rotten_tomatoes", "bbc_news"
NAMES = {
    REVIEWS: ("negative", "positive"),
    NEWS: ("business", "entertainment", "politics", "sports", "tech"),
}
TEMPLATES = {REVIEWS: "It was a {} movie.", NEWS: "News about {}."}
MAX_LENGTH = {REVIEWS: None, NEWS: 128}
ITEMS = 400  # of a test split, always the same ones; all 308 articles
UNLABELED = 500
PAIRS = ((REVIEWS, MINILM), (REVIEWS, MPNET), (NEWS, MINILM))
DRAWS = tuple(range(42, 52))
C = 10.0
SETFIT, FROZEN, UNTRAINED = "SetFit", "frozen", "untrained"
NAME, TEMPLATE = "label names", "label names, template"
CENTERED = ", centered"


def per_classes(model: str) -> tuple[int, ...]:
    """How many labels of each class SetFit gets."""
    return (2, 8) if model == MPNET else (2, 4, 8, 16)


def all_jobs() -> Iterator[Job]:
    """What needs no training takes one job per pair."""
    for task, model in PAIRS:
        common = {"model": model, "task": task, "split": "test"}
        yield {**common, "step": UNTRAINED}
        for seed in DRAWS:
            yield {**common, "step": SETFIT, "random_state": seed}


def unlabeled(task: str, seed: int) -> list[str]:
    """Training texts whose labels nobody reads."""
    train = data.load(task)["train"]
    rows = np.random.default_rng(seed).permutation(len(train))[:UNLABELED]
    return train.select(rows)["text"][:]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Score what needs no training, or all sizes of one draw."""
    yield from untrained(job) if job["step"] == UNTRAINED else trained(job)


def untrained(job: Job) -> Iterator[dict[str, Any]]:
    """Label names in each way, and frozen embeddings with each number of labels."""
    task, model = job["task"], job["model"]
    texts, gold = some("test", task, ITEMS)
    made = FrozenClassifier(model, C=C, max_length=MAX_LENGTH[task])
    with meter.Meter() as cost:
        held = made.fit_label_names(NAMES[task]).embed(texts)
    spent = fit_fields(cost)
    drawn = {seed: unlabeled(task, seed) for seed in DRAWS}
    pool = list(dict.fromkeys(text for draw in drawn.values() for text in draw))
    known = dict(zip(pool, made.embed(pool), strict=True))  # each text is read once for all draws
    for method, template in ((NAME, "{}"), (TEMPLATE, TEMPLATES[task])):
        plain = made.fit_label_names(NAMES[task], template=template).head_
        for seed, draw in drawn.items():
            corrected = centered(plain, np.stack([known[text] for text in draw]))
            yield {**spent, **named(plain, held, gold, task, method, seed)}
            yield {**spent, **named(corrected, held, gold, task, method + CENTERED, seed)}
    for seed in DRAWS:
        for per_class in per_classes(model):
            train, labels = few_shot(task, per_class, seed)
            scored = head(C).fit(made.embed(train), labels).predict(held) == gold
            fields = {"method": FROZEN, "labels": len(labels), "per_class": per_class}
            yield {**spent, **fields, "random_state": seed, **score_fields(scored)}


def named(
    names_head: Any, held: np.ndarray, gold: np.ndarray, task: str, method: str, seed: int
) -> dict[str, Any]:
    """The fields of a record of label names; `seed` drew the unlabeled texts."""
    predicted = np.array([NAMES[task].index(name) for name in names_head.predict(held)])
    fields = {"method": method, "labels": 0, "per_class": 0, "random_state": seed}
    return {**fields, **score_fields(predicted == gold)}


def trained(job: Job) -> Iterator[dict[str, Any]]:
    """SetFit with each number of labels of one draw."""
    task, model, seed = job["task"], job["model"], job["random_state"]
    texts, gold = some("test", task, ITEMS)
    for per_class in per_classes(model):
        train, labels = few_shot(task, per_class, seed)
        made = SetFitClassifier(model, max_length=MAX_LENGTH[task], head=head(C), random_state=seed)
        with meter.Meter() as cost:
            made.fit(train, labels)
        yield {
            "method": SETFIT, "labels": len(labels), "per_class": per_class,
            **fit_fields(cost), **score_fields(made.predict(texts) == gold),
        }  # fmt: skip


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
