"""Students that learn from a prompt, beside what needs no student: sentiment and topics.

Written before any record. The question: is a model that learned from what a prompt can bring (rows
written by a teacher, rows retrieved from a catalog) better than what needs no training at all?

Primary comparison, for each of the two tasks, test accuracy: frozen all-mpnet-base-v2 with a
logistic regression on all that the prompt brings (sentiment: generated and retrieved rows; topics:
generated rows, since nothing that fits can be fetched) minus label names with the same encoder and
no training. Five generation seeds, 42 to 46; a paired interval over test items and seeds. "Better"
is said where it excludes 0.

Beside it, as rows of one table: the teacher asked for each test text, raw and calibrated; label
names with MiniLM; generated only, retrieved only, both, and teacher labels on real unlabeled texts
(which are more than a prompt brings), each with MiniLM frozen, mpnet frozen and MiniLM fine-tuned;
TF-IDF on both; 2,500 and all human labels. Retrieved: 1,000 reviews of IMDB, with Rotten Tomatoes
and its copies kept out. Nothing is tuned on labeled rows: frozen heads with C = 10, fine-tuning
with the package's defaults, texts cut at 128 tokens.

Planned: about two machine-hours, after `ch07_generate`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from shared.common import FrozenEmbeddings, Job, fit_fields, main, score_fields, tfidf
from shared.prompted import (
    MAX_LENGTH,
    MINILM,
    MPNET,
    QWEN,
    SEEDS,
    SENTIMENT,
    SMOLLM,
    TOPICS,
    named,
    read_generated,
    task_of,
    test_set,
    unlabeled,
)

from reptune import meter
from reptune.classification import FineTunedClassifier
from reptune.prompt2model.dataset_retriever import CatalogRetriever
from reptune.prompt2model.labelers import NameLabeler, TeacherLabeler

RETRIEVED = 1000
GENERATED, FOUND, BOTH, TAUGHT = "generated", "retrieved", "both", "teacher labels"
HUMAN, ALL = "2,500 labels", "all labels"
FROZEN, TUNED, COUNTED = "frozen", "fine-tuned", "TF-IDF"
UNTRAINED = {"rows": "none", "random_state": SEEDS[0]}
NAMES, RAW, CALIBRATED = "label names", "teacher", "teacher, calibrated"


def all_jobs() -> Iterator[Job]:
    """Frozen students take one job for all seeds: a text is then embedded once."""
    for task in (SENTIMENT, TOPICS):
        for model in (MPNET, MINILM):
            yield {"method": NAMES, "task": task, "model": model, **UNTRAINED}
        for method in (CALIBRATED, RAW):
            yield {"method": method, "task": task, "model": QWEN, **UNTRAINED}
        for rows in _rows(task):
            for model in (MPNET, MINILM):
                yield {"method": FROZEN, "task": task, "model": model, "rows": rows}
        yield {"method": COUNTED, "task": task, "model": "none", "rows": _most(task)}
        for rows in (GENERATED, FOUND, BOTH, TAUGHT):
            for seed in SEEDS if rows in _rows(task) else ():
                job = {"method": TUNED, "task": task, "model": MINILM, "rows": rows}
                yield {**job, "random_state": seed}
    yield {"method": CALIBRATED, "task": SENTIMENT, "model": SMOLLM, **UNTRAINED}
    for model in (MPNET, MINILM):
        yield {"method": FROZEN, "task": SENTIMENT, "model": model, "rows": f"{GENERATED}, small"}


def _rows(task: str) -> tuple[str, ...]:
    if task == SENTIMENT:
        return (GENERATED, FOUND, BOTH, TAUGHT, HUMAN, ALL)
    return (GENERATED, TAUGHT, ALL)


def _most(task: str) -> str:
    return BOTH if task == SENTIMENT else GENERATED


def rows_of(job: Job, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts and label names to learn from."""
    task, rows = job["task"], job["rows"]
    if rows == f"{GENERATED}, small":
        return _pairs(read_generated(task, SMOLLM, seed))
    if rows == GENERATED:
        return _pairs(read_generated(task, QWEN, seed))
    if rows == FOUND:
        return _pairs(_found(task, seed))
    if rows == BOTH:
        return _pairs([*read_generated(task, QWEN, seed), *_found(task, seed)])
    if rows == TAUGHT:
        texts = unlabeled(task, RETRIEVED, seed)
        shares = TeacherLabeler(task_of(task), QWEN).probabilities(texts)
        return texts, np.array(task_of(task).labels)[shares.argmax(axis=1)]
    texts, labels = named(task, "train")
    order = np.random.default_rng(seed).permutation(len(texts))[: 2500 if rows == HUMAN else None]
    return [texts[row] for row in order], labels[order]


def _pairs(samples: list[Any]) -> tuple[list[str], np.ndarray]:
    return [sample.input for sample in samples], np.array([sample.output for sample in samples])


def _found(task: str, seed: int) -> list[Any]:
    retrieved = CatalogRetriever().retrieve(
        task_of(task), exclude=[task], limit=RETRIEVED, random_state=seed
    )
    if len(retrieved.samples) < RETRIEVED:
        raise ValueError(f"{task}: {retrieved.reasons}")
    return list(retrieved.samples)


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Learn where there is something to learn from, and score test."""
    texts, gold = test_set(job["task"])
    if job["rows"] == "none":
        with meter.Meter() as cost:
            shares = labeler(job).probabilities(texts)
        chosen = np.array(task_of(job["task"]).labels)[shares.argmax(axis=1)]
        yield {"split": "test", "labels": 0, **fit_fields(cost), **score_fields(chosen == gold)}
        return
    # All human labels are the same rows for each seed, and a frozen encoder is not random.
    seeds = SEEDS[:1] if job["rows"] == ALL else SEEDS
    student = build(job)
    for seed in [job["random_state"]] if "random_state" in job else seeds:
        train = rows_of(job, seed)
        with meter.Meter() as cost:
            student.fit(*train)
        yield {
            "split": "test", "random_state": seed, "labels": len(train[0]), **fit_fields(cost),
            **score_fields(np.asarray(student.predict(texts)) == gold),
        }  # fmt: skip


def labeler(job: Job) -> Any:
    """What labels texts without training."""
    task = task_of(job["task"])
    if job["method"] == NAMES:
        return NameLabeler(task.labels, job["model"])
    calibrate = None if job["method"] == RAW else "contextual"
    return TeacherLabeler(task, job["model"], calibrate=calibrate)


def build(job: Job) -> Any:
    """The student of a job."""
    if job["method"] == FROZEN:
        return FrozenEmbeddings(job["model"], MAX_LENGTH)
    if job["method"] == COUNTED:
        return tfidf()
    return FineTunedClassifier(
        job["model"], max_length=MAX_LENGTH, random_state=job["random_state"], show_progress=False
    )


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
