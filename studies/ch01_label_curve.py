"""What more labels buy: three methods, 50 labels to all, validation accuracy, three seeds.

The column for all labels is `ch01_final`'s.
"""

from collections.abc import Iterator

from shared.common import MODEL, SEEDS, TASK, FrozenEmbeddings, Job, chosen, main, measure, tfidf

from reptune import data
from reptune.classification import FineTunedClassifier

LABELS = (50, 100, 250, 500, 1000, 2500)
# With few labels an epoch is a handful of steps; give small sets about a hundred steps of 16.
TEXTS_SEEN, MAX_EPOCHS = 1600, 20


def run(job: Job) -> Iterator[dict]:
    """One method on draws of labels; a smaller draw is part of the larger ones."""
    if job["method"] == "full fine-tuning":
        classifier = FineTunedClassifier(
            MODEL,
            num_epochs=job["num_epochs"],
            learning_rate=job["learning_rate"],
            random_state=job["random_state"],
        )
        yield from measure(classifier, draw(job["labels"], job["random_state"]), "validation")
        return
    classifier = tfidf() if job["model"] == "none" else FrozenEmbeddings(MODEL)
    for count in LABELS:
        for record in measure(classifier, draw(count, job["random_state"]), "validation"):
            yield {**record, "labels": count}


def draw(count: int, random_state: int) -> tuple[list[str], list[int]]:
    """Balanced training texts and their labels."""
    drawn = data.few_shot(data.load(TASK)["train"], count // 2, random_state)
    return list(drawn["text"]), list(drawn["label"])


def all_jobs() -> Iterator[Job]:
    """The baselines take one job for all their draws: loading would cost more than fitting."""
    setting = chosen()
    for seed in SEEDS:
        common = {"task": TASK, "random_state": seed, "split": "validation"}
        for count in reversed(LABELS):
            epochs = min(MAX_EPOCHS, max(setting["num_epochs"], round(TEXTS_SEEN / count)))
            yield {
                "method": "full fine-tuning",
                "model": MODEL,
                "labels": count,
                **common,
                "learning_rate": setting["learning_rate"],
                "num_epochs": epochs,
            }
        yield {"method": "frozen embeddings + logistic regression", "model": MODEL, **common}
        yield {"method": "TF-IDF + logistic regression", "model": "none", **common}


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
