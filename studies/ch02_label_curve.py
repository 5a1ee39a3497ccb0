"""SetFit and its rivals by the number of labels, 2 to 64 a class, five draws, validation."""

from collections.abc import Iterator
from typing import Any

from _common import Job, few_shot, main, measure, tfidf

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

JOBS = [
    {
        "method": method,
        "model": "none" if method == TFIDF else MODEL[task],
        "task": task,
        "labels": per_class * CLASSES[task],
        "random_state": seed,
    }
    for task in (NEWS, REVIEWS)
    for method in (TFIDF, FROZEN, SETFIT, TUNED)
    for per_class in PER_CLASS
    for seed in DRAWS
]


def build(job: Job) -> Any:
    """The method of a job."""
    model, seed, length = job["model"], job["random_state"], MAX_LENGTH[job["task"]]
    if job["method"] == TFIDF:
        return tfidf()
    if job["method"] == TUNED:
        # Chapter 1's rates: 1e-4 for MiniLM, 3e-5 for mpnet; epochs that give 60 steps or more.
        rate = 3e-5 if "mpnet" in model else 1e-4
        steps_an_epoch = -(-job["labels"] // 16)
        return FineTunedClassifier(
            model, num_epochs=max(3, -(-60 // steps_an_epoch)), learning_rate=rate,
            max_length=length, random_state=seed,
        )  # fmt: skip
    trainable = "head" if job["method"] == FROZEN else "all"
    return SetFitClassifier(model, trainable=trainable, max_length=length, random_state=seed)


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Train on one draw and score validation."""
    task = job["task"]
    train = few_shot(task, job["labels"] // CLASSES[task], job["random_state"])
    yield from measure(build(job), train, "validation", task=task, items=SCORED)


if __name__ == "__main__":
    main(__file__, JOBS, run)
