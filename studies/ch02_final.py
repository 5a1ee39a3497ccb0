"""SetFit on test: two sentence transformers, two tasks, five draws, beside the stock library."""

from collections.abc import Iterator
from typing import Any

from shared.common import FrozenEmbeddings, Job, few_shot, main, measure, tfidf
from shared.stock import StockSetFit

from reptune.fewshot import SetFitClassifier

DRAWS = (42, 43, 44, 45, 46)
MINILM, MPNET = "all-MiniLM-L6-v2", "all-mpnet-base-v2"
REVIEWS, NEWS = "rotten_tomatoes", "bbc_news"
PER_CLASS = {REVIEWS: 16, NEWS: 8}
MAX_LENGTH = {REVIEWS: None, NEWS: 128}  # sentences are short; of an article, the beginning
TFIDF, FROZEN, OURS, STOCK = "TF-IDF", "frozen", "SetFit", "stock setfit"


def all_jobs() -> Iterator[Job]:
    """The baselines take one job for all draws: reading test would cost more than fitting."""
    for task, model, methods in (
        (NEWS, "none", (TFIDF,)),
        (NEWS, MINILM, (FROZEN, OURS)),
        (NEWS, MPNET, (FROZEN, OURS)),
        (REVIEWS, "none", (TFIDF,)),
        (REVIEWS, MINILM, (FROZEN, OURS, STOCK)),
        (REVIEWS, MPNET, (FROZEN, OURS, STOCK)),
    ):
        labels = PER_CLASS[task] * (2 if task == REVIEWS else 5)
        for method in methods:
            job = {"method": method, "model": model, "task": task, "labels": labels}
            if method in (TFIDF, FROZEN):
                yield job
            else:
                yield from ({**job, "random_state": seed} for seed in DRAWS)


def build(job: Job) -> Any:
    """The method of a job."""
    model, length = job["model"], MAX_LENGTH[job["task"]]
    if job["method"] == TFIDF:
        return tfidf()
    if job["method"] == FROZEN:
        return FrozenEmbeddings(model, length, C=1)  # the head that SetFitClassifier puts on top
    if job["method"] == STOCK:
        return StockSetFit(model, job["random_state"], length)
    return SetFitClassifier(model, max_length=length, random_state=job["random_state"])


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Train on the job's draw, or on each in turn, and score test."""
    task, classifier = job["task"], build(job)
    for seed in [job["random_state"]] if "random_state" in job else DRAWS:
        train = few_shot(task, PER_CLASS[task], seed)
        for record in measure(classifier, train, "test", task=task):
            yield {**record, "random_state": seed}


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
