"""RAFT's protocol on news: 50 labels, what to feed chosen on them alone, test scored once.

Written down before the first record:

- Ten labels per topic of `bbc_news`, five draws, MiniLM. There is no validation set: whatever is
  chosen is chosen on the 50 labels.
- The choice: which fields of an article are joined, in which order, and how many tokens of them are
  read; the seven ways of `ch02_fields`. Each is scored by five-fold cross-validation of a logistic
  regression (C = 10) on frozen embeddings. The usual way, "headline. body" with 128 tokens, stays
  unless another is right more often by more than one standard error of the difference, the rule of
  `reptune.fewshot.search`.
- Then SetFit, with the way that was chosen and with the usual way, on all 50 labels; test once for
  each. Primary: chosen minus usual, paired over draws and articles; zero where the usual way stays.
- Description: how far the cross-validated accuracy of the chosen way is from the accuracy on test.

Arithmetic, one thread: a draw embeds 7 x 50 articles (20 s), trains SetFit once or twice (25 s
each) and reads test as often (15 s each): 80 s; five draws 7 core minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from shared.articles import FED, fed
from shared.common import Job, few_shot, fit_fields, main, score_fields, splits
from shared.heads import head
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from reptune import meter
from reptune.fewshot import FrozenClassifier, SetFitClassifier
from reptune.fewshot.search import Trial, concluded

TASK, MODEL, PER_CLASS = "bbc_news", "all-MiniLM-L6-v2", 10
DRAWS = (42, 43, 44, 45, 46)
USUAL = "headline. body"
FOLDS, C = 5, 10.0
CHOSEN, DEFAULT = "SetFit, fields chosen", "SetFit, usual fields"

JOBS = [
    {"model": MODEL, "task": TASK, "labels": 5 * PER_CLASS, "random_state": seed, "split": "test"}
    for seed in DRAWS
]


def trials(texts: list[str], labels: np.ndarray, seed: int) -> list[Trial]:
    """Each way, the usual one first, with which labeled texts are right when they are held out."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found = []
    for way in [USUAL, *(other for other in FED if other != USUAL)]:
        frozen = FrozenClassifier(MODEL, max_length=FED[way][1]).fit_label_names(["any", "two"])
        vectors = frozen.embed(fed(way, texts))
        predicted = cross_val_predict(head(C), vectors, labels, cv=folds)
        found.append(Trial({} if way == USUAL else {"fields": way}, predicted == labels))
    return found


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Choose on the labels of a draw, then train and score test."""
    seed = job["random_state"]
    texts, labels = few_shot(TASK, PER_CLASS, seed)
    tried = trials(texts, labels, seed)
    found = concluded(tried)
    way = found.settings.get("fields", USUAL)
    held_out = (found.best if found.settings else tried[0]).accuracy
    usual = scored(USUAL, texts, labels, seed)
    chosen = usual if way == USUAL else scored(way, texts, labels, seed)
    for method, name, record, accuracy in (
        (DEFAULT, USUAL, usual, tried[0].accuracy),
        (CHOSEN, way, chosen, held_out),
    ):
        metrics = {**record["metrics"], "cross_validated": accuracy}
        yield {**record, "method": method, "fields": name, "metrics": metrics}


def scored(way: str, texts: list[str], labels: np.ndarray, seed: int) -> dict[str, Any]:
    """SetFit on one way of feeding: what it cost, and its score on test."""
    made = SetFitClassifier(MODEL, max_length=FED[way][1], head=head(C), random_state=seed)
    with meter.Meter() as cost:
        made.fit(fed(way, texts), labels)
    held, gold = splits(TASK)["test"]
    return {**fit_fields(cost), **score_fields(made.predict(fed(way, held)) == gold)}


if __name__ == "__main__":
    main(__file__, JOBS, run)
