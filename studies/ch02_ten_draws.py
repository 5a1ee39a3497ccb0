"""Ten draws where five were, and the head's penalty C chosen alike for every method.

Written down before the first record:

- Until now the frozen embeddings had C = 1 beside SetFit's in chapter 2, and 10 in chapter 1. Here
  each encoder is tuned, or left, once per draw, and a head is fitted with C = 1, 10 and 100.
- Three pairs of task and encoder: reviews (16 labels per class) with MiniLM and with mpnet, news
  (8 labels per class) with MiniLM. mpnet on news costs as much as all others together, and five
  draws of it are in `ch02_final`.
- Stage `choice`: draws 0, 1 and 2, validation, the three pairs. The rule, the same for both
  methods: the C with the highest accuracy, averaged over pairs and draws; of those within half a
  point of it, the one nearest to the method's present default (frozen 10, SetFit 1).
- Stage `final`: draws 42 to 51, test, with the chosen C. mpnet reads 400 of the 1,066 sentences.
  Primary: SetFit minus frozen on each of the three pairs, paired over draws and texts.
- Stage `one`: one label per class, both tasks, MiniLM, draws 42 to 51, test. Primary: SetFit minus
  frozen, on each task. Chapter 2 had one draw.
- Stage `curve`: reviews with mpnet, 2 and 4 labels per class, 400 validation sentences: SetFit and
  full fine-tuning as in `ch02_label_curve`, whose two "ahead" rested on five draws and were two of
  twelve comparisons. That study has draws 42 to 46, this one adds 47 to 51; the settings are the
  same, SetFit's own head included. Primary: SetFit minus fine-tuning at each size, over all ten.
- Stage `lopsided`: 48 articles on sports and three on each other topic, MiniLM, draws 42 to 51,
  whole validation split, macro F1, C = 1, 10 and 100. Primary: the share of draws in which SetFit
  calls every article sports, by C; whether the collapse that five draws showed comes from C = 1.

Arithmetic, one thread: both methods of a draw take 25 s on reviews with MiniLM, 80 s with mpnet
and 50 s on news. `choice` 3 draws x 155 s = 8 min; `final` 10 draws x 155 s = 26 min; `one` 10
draws x 50 s = 8 min; `curve` 5 draws x (45 + 50 s for SetFit, 105 + 150 s for fine-tuning) = 29
min; `lopsided` 10 draws x 50 s = 8 min. In all 79 core minutes; the longest job takes 3 minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from shared.common import Job, few_shot, fit_fields, in_stages, measure, score_fields, some
from shared.heads import STRENGTHS, scored_heads
from sklearn.linear_model import LogisticRegression

from reptune import meter, metrics
from reptune.book import results
from reptune.classification import FineTunedClassifier
from reptune.fewshot import SetFitClassifier

STUDY = "ch02_ten_draws"
MINILM, MPNET = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
REVIEWS, NEWS = "rotten_tomatoes", "bbc_news"
PER_CLASS = {REVIEWS: 16, NEWS: 8}
MAX_LENGTH = {REVIEWS: None, NEWS: 128}
PAIRS = ((REVIEWS, MINILM), (REVIEWS, MPNET), (NEWS, MINILM))
CHOOSING, DRAWS = (0, 1, 2), tuple(range(42, 52))
SETFIT, FROZEN, TUNED = "SetFit", "frozen", "full fine-tuning"
DEFAULT_C = {FROZEN: 10.0, SETFIT: 1.0}
NEAR = 0.005  # of the best accuracy; within it the default stays
CHOICE, FINAL, ONE, CURVE, LOPSIDED = "choice", "final", "one", "curve", "lopsided"
ITEMS = 400  # sentences that mpnet reads
FEWEST, ADDED = (4, 8), DRAWS[5:]  # of the stage `curve`: labels in all, draws
MANY, FEW, FREQUENT = 48, 3, 3  # articles on sports and on each other topic; sports


def choice_jobs() -> Iterator[Job]:
    """What chooses C."""
    yield from _encoder_jobs(CHOICE, CHOOSING, "validation")


def other_jobs() -> Iterator[Job]:
    """All that is scored with the chosen C, and what does not need one."""
    yield from _encoder_jobs(FINAL, DRAWS, "test")
    for seed in DRAWS:
        for task in (REVIEWS, NEWS):
            yield _job(ONE, MINILM, task, seed, "test")
        yield _job(LOPSIDED, MINILM, NEWS, seed, "validation")
        for labels in FEWEST if seed in ADDED else ():
            for method in (SETFIT, TUNED):
                job = _job(CURVE, MPNET, REVIEWS, seed, "validation")
                yield {**job, "method": method, "labels": labels}


def _encoder_jobs(step: str, seeds: tuple[int, ...], split: str) -> Iterator[Job]:
    for seed in seeds:
        for task, model in PAIRS:
            yield _job(step, model, task, seed, split)


def _job(step: str, model: str, task: str, seed: int, split: str) -> Job:
    return {"step": step, "model": model, "task": task, "random_state": seed, "split": split}


def chosen_penalty(method: str) -> float:
    """The C that the records of the first stage choose for a method, once they are whole.

    Raises:
        ValueError: If a job of the first stage is not recorded.
    """
    table = results.read(STUDY)
    if not all(results.is_done(STUDY, **job) for job in choice_jobs()):
        raise ValueError(f"no C is chosen; run the first stage of {STUDY}.")
    rows = table[(table["step"] == CHOICE) & (table["method"] == method)]
    return choose(rows.groupby("C")["metrics.accuracy"].mean().to_dict(), DEFAULT_C[method])


def choose(accuracy: dict[float, float], default: float) -> float:
    """The C nearest to the default, in powers of ten, among those near the best accuracy."""
    best = max(accuracy.values())
    near = [C for C, score in accuracy.items() if score >= best - NEAR]
    return min(near, key=lambda C: (abs(np.log10(C / default)), -accuracy[C]))


def run(job: Job) -> Iterator[dict[str, Any]]:
    """The records of a job, by its stage."""
    if job["step"] == CURVE:
        yield from curve(job)
    elif job["step"] == LOPSIDED:
        yield from lopsided(job)
    else:
        per_class = 1 if job["step"] == ONE else PER_CLASS[job["task"]]
        yield from both(job, per_class)


def both(job: Job, per_class: int) -> Iterator[dict[str, Any]]:
    """Frozen and tuned embeddings of one draw under heads with each penalty, or the chosen one."""
    train = few_shot(job["task"], per_class, job["random_state"])
    items = ITEMS if job["model"] == MPNET else None
    scored = some(job["split"], job["task"], items)
    for method in (FROZEN, SETFIT):
        strengths = STRENGTHS if job["step"] == CHOICE else (chosen_penalty(method),)
        yield from heads(job, method, train, scored, strengths)


def heads(
    job: Job,
    method: str,
    train: tuple[list[str], np.ndarray],
    scored: tuple[list[str], np.ndarray],
    strengths: tuple[float, ...],
) -> Iterator[dict[str, Any]]:
    """One encoder, tuned or not, under a head for each penalty."""
    made = encoder(job, method)
    with meter.Meter() as cost:
        made.fit(*train)
    vectors, held = made.embed(train[0]), made.embed(scored[0])
    for fields in scored_heads(vectors, train[1], held, scored[1], strengths):
        yield {"method": method, "labels": len(train[0]), **fit_fields(cost), **fields}


def encoder(job: Job, method: str) -> SetFitClassifier:
    """What gives the embeddings of a method."""
    return SetFitClassifier(
        job["model"],
        max_length=MAX_LENGTH[job["task"]],
        trainable="head" if method == FROZEN else "all",
        random_state=job["random_state"],
    )


def curve(job: Job) -> Iterator[dict[str, Any]]:
    """SetFit, or chapter 1's fine-tuning, on very few labels."""
    train = few_shot(job["task"], job["labels"] // 2, job["random_state"])
    if job["method"] == SETFIT:
        made: Any = SetFitClassifier(MPNET, random_state=job["random_state"])
    else:  # as in ch02_label_curve: 60 steps or more at chapter 1's rate
        steps = -(-len(train[0]) // 16)
        made = FineTunedClassifier(
            MPNET,
            num_epochs=-(-60 // steps),
            learning_rate=3e-5,
            random_state=job["random_state"],
        )
    yield from measure(made, train, job["split"], task=job["task"], items=ITEMS)


def lopsided(job: Job) -> Iterator[dict[str, Any]]:
    """One topic with most of the labels, under heads with each penalty."""
    texts, labels = few_shot(NEWS, MANY, job["random_state"])
    counts = np.full(5, FEW)
    counts[FREQUENT] = MANY
    rows = [row for label in range(5) for row in np.flatnonzero(labels == label)[: counts[label]]]
    train = ([texts[row] for row in rows], labels[rows])
    held_texts, gold = some(job["split"], NEWS, None)
    for method in (FROZEN, SETFIT):
        made = encoder(job, method)
        with meter.Meter() as cost:
            made.fit(*train)
        vectors, held = made.embed(train[0]), made.embed(held_texts)
        for C in STRENGTHS:
            for weight in (None, "balanced"):
                head = LogisticRegression(C=C, max_iter=1000, class_weight=weight)
                predicted = head.fit(vectors, train[1]).predict(held)
                fields = score_fields(predicted == gold)
                found = metrics.classification_scores(gold, predicted)
                fields["metrics"]["macro_f1"] = found["macro_f1"]
                fields["metrics"]["said_frequent"] = float((predicted == FREQUENT).mean())
                yield {
                    "method": method, "labels": len(rows), "C": C, "weights": weight or "none",
                    **fit_fields(cost), **fields,
                }  # fmt: skip


if __name__ == "__main__":
    in_stages(__file__, (choice_jobs, other_jobs), run)
