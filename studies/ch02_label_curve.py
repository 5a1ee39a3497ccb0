"""SetFit and its rivals by the number of labels, 2 to 64 a class, five draws, validation."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from shared.common import FrozenEmbeddings, Job, few_shot, main, measure, tfidf

from reptune.classification import FineTunedClassifier
from reptune.fewshot import SetFitClassifier

DRAWS = (42, 43, 44, 45, 46)
PER_CLASS = (2, 4, 8, 16, 32, 64)
REVIEWS, NEWS = "rotten_tomatoes", "bbc_news"
CLASSES = {REVIEWS: 2, NEWS: 5}
# Each task with the sentence transformer that suits it (ch02_final), and what is scored: a fixed
# part of validation, because the larger model reads 30 sentences a second.
MODEL = {REVIEWS: "all-mpnet-base-v2", NEWS: "all-MiniLM-L6-v2"}
MAX_LENGTH = {REVIEWS: None, NEWS: 128}
SCORED = 400
SETFIT, FROZEN, TFIDF, TUNED = "SetFit", "frozen", "TF-IDF", "full fine-tuning"


def all_jobs() -> Iterator[Job]:
    """The baselines take one job for all draws: loading would cost more than fitting."""
    for method in (TFIDF, FROZEN):
        for task in CLASSES:
            yield {"method": method, "model": _model(method, task), "task": task}
    for method in (SETFIT, TUNED):
        for task in CLASSES:
            for seed in DRAWS:
                for per_class in PER_CLASS:
                    yield {
                        "method": method,
                        "model": _model(method, task),
                        "task": task,
                        "labels": per_class * CLASSES[task],
                        "random_state": seed,
                    }


def _model(method: str, task: str) -> str:
    return "none" if method == TFIDF else MODEL[task]


def build(job: Job) -> Any:
    """The method of a job."""
    model, length = job["model"], MAX_LENGTH[job["task"]]
    if job["method"] == TFIDF:
        return tfidf()
    if job["method"] == FROZEN:
        return FrozenEmbeddings(model, length, C=1)  # the head that SetFitClassifier puts on top
    if job["method"] == SETFIT:
        return SetFitClassifier(model, max_length=length, random_state=job["random_state"])
    # Chapter 1's rates: 1e-4 for MiniLM, 3e-5 for mpnet; epochs that give 60 steps or more.
    steps_an_epoch = -(-job["labels"] // 16)
    return FineTunedClassifier(
        model,
        num_epochs=max(3, -(-60 // steps_an_epoch)),
        learning_rate=3e-5 if "mpnet" in model else 1e-4,
        max_length=length,
        random_state=job["random_state"],
    )


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Train on the job's draw, or on each of each size in turn, and score validation."""
    task, classifier = job["task"], build(job)
    draws = [(job["labels"], job["random_state"])] if "labels" in job else None
    for labels, seed in draws or product((size * CLASSES[task] for size in PER_CLASS), DRAWS):
        train = few_shot(task, labels // CLASSES[task], seed)
        for record in measure(classifier, train, "validation", task=task, items=SCORED):
            yield {**record, "labels": labels, "random_state": seed}


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
