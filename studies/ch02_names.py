"""No label at all: label names in a template, centered by unlabeled texts, against SetFit.

Written down before the first record:

- Tasks: reviews (`rotten_tomatoes`, two labels) and news (`bbc_news`, five), each with
  all-MiniLM-L6-v2 and all-mpnet-base-v2; test. Of an article 128 tokens are read.
- Label names: the bare name; the name in a template, "It was a {} movie." and "News about {}.",
  written before any score was seen; and both again, centered by 500 training texts whose labels
  nobody reads (ten draws of them).
- SetFit, and frozen embeddings, with 2, 4, 8 and 16 labels per class, ten draws; the head's C is 10
  for both.
- Primary comparisons, on each of the four pairs of task and encoder: (1) centered minus not, with
  the template; (2) SetFit with 2, 4, 8 and 16 labels per class minus the template, centered. By
  the paired bootstrap over draws and texts. The number of labels from which on SetFit is ahead is
  read off (2): the first from which on all larger numbers have intervals above zero.
- Everything else is description.

Arithmetic, one thread: test embedded once with MiniLM 20 s and mpnet 120 s per task, and again
after each SetFit. SetFit is fitted 160 times: MiniLM on reviews 8 s + 15 s, on news 25 s + 20 s;
mpnet on reviews 25 s + 50 s (400 of the 1,066 sentences), on news 100 s + 100 s. To keep within
the hour, mpnet has SetFit with 2 and 8 labels per class alone, and 5 draws on news:
MiniLM 40 x 23 s + 40 x 45 s = 45 min, mpnet 20 x 75 s + 10 x 200 s = 58 min; on two cores an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from shared.common import Job, few_shot, fit_fields, main, score_fields, some
from shared.heads import head

from reptune import data, meter
from reptune.fewshot import FrozenClassifier, SetFitClassifier

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
DRAWS = tuple(range(42, 52))
C = 10.0
SETFIT, FROZEN = "SetFit", "frozen"
NAME, TEMPLATE = "label names", "label names, template"
CENTERED = ", centered"


def per_classes(model: str) -> tuple[int, ...]:
    """How many labels of each class SetFit gets."""
    return (2, 4, 8, 16) if model == MINILM else (2, 8)


def draws(model: str, task: str) -> tuple[int, ...]:
    """The draws of labels."""
    return DRAWS[:5] if (model, task) == (MPNET, NEWS) else DRAWS


def all_jobs() -> Iterator[Job]:
    """What needs no training takes one job per encoder and task."""
    for task in (REVIEWS, NEWS):
        for model in (MINILM, MPNET):
            common = {"model": model, "task": task, "split": "test"}
            yield {**common, "step": "untrained"}
            for seed in draws(model, task):
                yield {**common, "step": SETFIT, "random_state": seed}


def unlabeled(task: str, seed: int) -> list[str]:
    """Training texts whose labels nobody reads."""
    train = data.load(task)["train"]
    rows = np.random.default_rng(seed).permutation(len(train))[:UNLABELED]
    return train.select(rows)["text"][:]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Score what needs no training, or all sizes of one draw."""
    yield from untrained(job) if job["step"] == "untrained" else trained(job)


def untrained(job: Job) -> Iterator[dict[str, Any]]:
    """Label names in each way, and frozen embeddings with each number of labels."""
    task, model = job["task"], job["model"]
    texts, gold = some("test", task, ITEMS)
    made = FrozenClassifier(model, C=C, max_length=MAX_LENGTH[task])
    with meter.Meter() as cost:
        held = made.fit_label_names(NAMES[task]).embed(texts)
    spent = {**fit_fields(cost), "seconds": {"fit": round(cost.seconds, 2)}}
    for method, template in ((NAME, "{}"), (TEMPLATE, TEMPLATES[task])):
        plain = made.fit_label_names(NAMES[task], template=template).head_
        yield {**spent, **named(plain, held, gold, task, method, 0)}
        for seed in DRAWS:
            made.fit_label_names(NAMES[task], template=template, unlabeled=unlabeled(task, seed))
            yield {**spent, **named(made.head_, held, gold, task, method + CENTERED, seed)}
    for seed in draws(model, task):
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
