"""What chapter 7 chose on validation: how much a head doubts, and how the teacher is asked.

Both choices were made when `ch07_students` had been scored on test once, by this computation,
which was recorded only afterwards. Nothing here reads a test split.

- *Penalty*: frozen students of generated, confirmed, retrieved rows and mixtures, with C from 0.01
  to 10, on 400 validation texts; five seeds. Chosen: C = 0.3, the best mean over all of them. Also
  the first 100 generated rows alone, which want a larger one: C times rows = 300 is the rule.
- *Teacher*: with no and with two examples per label, without calibration, with contextual and with
  batch calibration, on 300 validation sentences and 120 articles. Chosen: two examples, batch.

Planned: 10 minutes, after `ch07_generate`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ch07_students import AGREED, BOTH, BOTH_AGREED, FOUND, GENERATED, beginnings, rows_of
from shared.common import Job, main, score_fields
from shared.prompted import (
    MAX_LENGTH,
    MINILM,
    MPNET,
    QWEN,
    SEEDS,
    SENTIMENT,
    TOPICS,
    KeptEmbeddings,
    named,
    task_of,
)
from sklearn.linear_model import LogisticRegression

from reptune import meter
from reptune.prompt2model.labelers import TeacherLabeler

PENALTY, TEACHER = "penalty", "teacher"
PENALTIES, SCORED, FEW, FEW_ROWS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0), 400, "100 generated", 100
KINDS = {
    SENTIMENT: (FEW, GENERATED, AGREED, FOUND, BOTH, BOTH_AGREED),
    TOPICS: (FEW, GENERATED, AGREED),
}
ASKED = {SENTIMENT: 300, TOPICS: 120}  # the teacher is slow
CALIBRATIONS = (None, "contextual", "batch")

JOBS = [
    *(
        {"method": PENALTY, "task": task, "model": model}
        for task in (SENTIMENT, TOPICS)
        for model in (MPNET, MINILM)
    ),
    *({"method": TEACHER, "task": task, "model": QWEN} for task in (SENTIMENT, TOPICS)),
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Score the settings of one kind."""
    yield from (penalties if job["method"] == PENALTY else asked)(job)


def penalties(job: Job) -> Iterator[dict[str, Any]]:
    """The mean of five seeds for each kind of rows and each penalty."""
    texts, gold = _validation(job["task"], SCORED)
    encoder = KeptEmbeddings(job["model"], MAX_LENGTH)
    vectors = encoder.encode(texts)
    for rows in KINDS[job["task"]]:
        source = {**job, "rows": GENERATED if rows == FEW else rows}
        drawn = [rows_of(source, seed) for seed in SEEDS]
        known = [(encoder.encode(given), told) for given, told in drawn]
        if rows == FEW:
            known = [(given[:FEW_ROWS], told[:FEW_ROWS]) for given, told in known]
        for penalty in PENALTIES:
            with meter.Meter() as cost:
                heads = [_head(penalty).fit(*one) for one in known]
            shares = [float((head.predict(vectors) == gold).mean()) for head in heads]
            yield {
                "setting": penalty, "rows": rows, "random_state": SEEDS[0],
                "labels": len(known[0][1]), "split": "validation", "items": len(texts),
                "by_seed": shares, "metrics": {"accuracy": float(np.mean(shares))},
                "seconds": {"fit": round(cost.seconds, 2)},
                "peak_memory_mb": round(cost.peak_memory_mb),
            }  # fmt: skip


def _head(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, max_iter=1000)


def asked(job: Job) -> Iterator[dict[str, Any]]:
    """The teacher's accuracy for each number of examples and each calibration."""
    texts, gold = _validation(job["task"], ASKED[job["task"]])
    task = task_of(job["task"])
    for per_class in (0, 2):
        for calibration in CALIBRATIONS:
            with meter.Meter() as cost:
                labeler = TeacherLabeler(
                    task, job["model"], per_class=per_class, calibrate=calibration
                )
                shares = labeler.probabilities(texts)
            chosen = np.array(task.labels)[shares.argmax(axis=1)]
            yield {
                "setting": calibration or "none", "random_state": SEEDS[0],
                "labels": per_class * len(task.labels), "split": "validation",
                "seconds": {"ask": round(cost.seconds, 2)},
                "peak_memory_mb": round(cost.peak_memory_mb), **score_fields(chosen == gold),
            }  # fmt: skip


def _validation(task: str, count: int) -> tuple[list[str], np.ndarray]:
    texts, gold = beginnings(*named(task, "validation"))
    return texts[:count], gold[:count]


if __name__ == "__main__":
    main(__file__, JOBS, run)
