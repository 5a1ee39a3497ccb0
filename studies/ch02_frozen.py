"""How strongly should the logistic regression on frozen embeddings be regularized by default?

`FrozenClassifier` is the first thing to try, so its default must hold on tasks and sizes that
nobody tuned. Unit vectors have small coordinates, so that scikit-learn's C = 1 penalizes much.
Written down before the first record:

- Candidates: C of 1, 10 and 100, and a choice by five-fold cross-validation among 0.1 to 1,000.
- Three tasks (review sentiment, news topics, whether a tweet names an entity), sizes 40, 100, 300
  and 1,000, five seeds, which draw the texts at random; scored on validation.
- The rule: the fixed C with the best average over the twelve cells; cross-validation only if it is
  more than half a point ahead of that, because it costs a parameter and seconds.
- Cost: a few minutes, since a text is encoded once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ch01_minimum_steps import MAX_LENGTH, TASKS, draw, held_out
from shared.common import MODEL, FrozenEmbeddings, Job, fit_fields, main, score_fields
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from reptune import meter

SIZES = (40, 100, 300, 1000)
SEEDS = (42, 43, 44, 45, 46)
STRENGTHS = (1, 10, 100)
GRID = {"C": [0.1, 1, 10, 100, 1000]}


def jobs() -> Iterator[Job]:
    """One task and one seed each."""
    for seed in SEEDS:
        for task in TASKS:
            yield {"task": task, "model": MODEL, "random_state": seed, "split": "validation"}


def heads() -> dict[str, LogisticRegression | GridSearchCV]:
    """The classifiers to compare, by method."""
    fixed = {f"C={C}": LogisticRegression(C=C, max_iter=1000) for C in STRENGTHS}
    return {**fixed, "cross-validated": GridSearchCV(LogisticRegression(max_iter=1000), GRID)}


def run(job: Job) -> Iterator[dict]:
    """Every head on every size of one draw; the texts are encoded once."""
    encoder = FrozenEmbeddings(MODEL, max_length=MAX_LENGTH.get(job["task"]))
    scored_texts, scored_labels = held_out(job["task"])
    scored = encoder.encode(scored_texts)
    texts, labels = draw(job["task"], max(SIZES), job["random_state"])
    vectors = encoder.encode(texts)
    for size in SIZES:
        for method, head in heads().items():
            with meter.Meter() as cost:
                head.fit(vectors[:size], np.asarray(labels[:size]))
            scores = score_fields(head.predict(scored) == scored_labels)
            yield {"method": method, "labels": size, **fit_fields(cost), **scores}


if __name__ == "__main__":
    main(__file__, jobs(), run)
