"""SetFit on test: two sentence transformers, two tasks, five draws, beside the stock library."""

from collections.abc import Iterator
from typing import Any

from _common import Job, few_shot, main, measure, tfidf
from _stock import StockSetFit

from reptune.fewshot import SetFitClassifier

DRAWS = (42, 43, 44, 45, 46)
MINILM, MPNET = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
REVIEWS, NEWS = "rotten_tomatoes", "bbc_news"
PER_CLASS = {REVIEWS: 16, NEWS: 8}
MAX_LENGTH = {REVIEWS: None, NEWS: 128}  # sentences are short; of an article, the beginning
TFIDF, FROZEN, OURS, STOCK = "TF-IDF", "frozen", "SetFit", "stock setfit"

JOBS = [
    {
        "method": method,
        "model": model,
        "task": task,
        "labels": PER_CLASS[task] * (2 if task == REVIEWS else 5),
        "random_state": seed,
    }
    for task, model, methods in (
        (REVIEWS, MPNET, (FROZEN, OURS, STOCK)),
        (NEWS, MINILM, (FROZEN, OURS)),
        (REVIEWS, MINILM, (FROZEN, OURS, STOCK)),
        (REVIEWS, "none", (TFIDF,)),
        (NEWS, "none", (TFIDF,)),
        (NEWS, MPNET, (FROZEN, OURS)),
    )
    for method in methods
    for seed in DRAWS
]


def build(job: Job) -> Any:
    """The method of a job."""
    model, length = job["model"], MAX_LENGTH[job["task"]]
    if job["method"] == TFIDF:
        return tfidf()
    if job["method"] == STOCK:
        return StockSetFit(model, job["random_state"], length)
    trainable = "head" if job["method"] == FROZEN else "all"
    return SetFitClassifier(
        model, trainable=trainable, max_length=length, random_state=job["random_state"]
    )


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Train on one draw and score test."""
    task = job["task"]
    train = few_shot(task, PER_CLASS[task], job["random_state"])
    yield from measure(build(job), train, "test", task=task)


if __name__ == "__main__":
    main(__file__, JOBS, run)
