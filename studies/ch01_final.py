"""Every finished method of chapter 1 on validation and, once, on test; five seeds."""

from collections.abc import Iterator
from typing import Any

from shared.common import MODEL, TASK, FrozenEmbeddings, Job, chosen, main, measure, splits, tfidf
from sklearn.dummy import DummyClassifier

from reptune.classification import DEFAULT_LEARNING_RATES, FineTunedClassifier

MPNET = "all-mpnet-base-v2"
FINAL_SEEDS = (42, 43, 44, 45, 46)
# A larger encoder wants a smaller rate (Devlin et al. search 2e-5 to 5e-5); one epoch and one seed
# is what a long run on two cores allows.
MPNET_SETTING = {"learning_rate": 3e-5, "num_epochs": 1}


def build(job: Job) -> Any:
    """The method of a job."""
    if job["method"] == "majority label":
        return DummyClassifier(strategy="most_frequent")
    if job["method"] == "TF-IDF + logistic regression":
        return tfidf()
    if job["method"] == "frozen embeddings + logistic regression":
        return FrozenEmbeddings(job["model"])
    trainable = {"head only": "head", "everything": "all"}[job["method"]]
    return FineTunedClassifier(
        job["model"],
        trainable,
        num_epochs=job["num_epochs"],
        learning_rate=job["learning_rate"],
        random_state=job["random_state"],
    )


def run(job: Job) -> Iterator[dict]:
    """One method, one seed, both splits."""
    yield from measure(build(job), splits()["train"], "validation", "test")


def all_jobs() -> Iterator[Job]:
    """The longest first, so that no core waits at the end."""
    common = {"task": TASK, "labels": len(splits()["train"][0])}
    yield {"method": "everything", "model": MPNET, "random_state": 42, **MPNET_SETTING, **common}
    setting = chosen()
    head = {**setting, "learning_rate": DEFAULT_LEARNING_RATES["head"]}
    for method, knobs in (("everything", setting), ("head only", head)):
        for seed in FINAL_SEEDS:
            yield {"method": method, "model": MODEL, "random_state": seed, **knobs, **common}
    # No seed changes these.
    frozen = "frozen embeddings + logistic regression"
    yield {"method": frozen, "model": MODEL, "random_state": 42, **common}
    for method in ("TF-IDF + logistic regression", "majority label"):
        yield {"method": method, "model": "none", "random_state": 42, **common}


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
