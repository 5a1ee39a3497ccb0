"""What more labels buy: three methods, 50 labels to all, validation accuracy, three seeds.

The column for all labels is `ch01_final`'s.
"""

from collections.abc import Iterator

from _common import MODEL, SEEDS, TASK, FrozenEmbeddings, Job, chosen, main, measure, tfidf

from reptune import data
from reptune.classification import FineTunedClassifier

LABELS = (50, 100, 250, 500, 1000, 2500)
# With few labels an epoch is a handful of steps; give small sets about a hundred steps of 16.
TEXTS_SEEN, MAX_EPOCHS = 1600, 20


def run(job: Job) -> Iterator[dict]:
    """One method on one draw of labels; a smaller draw is part of the larger ones."""
    drawn = data.few_shot(data.load(TASK)["train"], job["labels"] // 2, job["random_state"])
    if job["method"] == "TF-IDF + logistic regression":
        classifier = tfidf()
    elif job["method"] == "frozen embeddings + logistic regression":
        classifier = FrozenEmbeddings(MODEL)
    else:
        classifier = FineTunedClassifier(
            MODEL,
            num_epochs=job["num_epochs"],
            learning_rate=job["learning_rate"],
            random_state=job["random_state"],
        )
    yield from measure(classifier, (list(drawn["text"]), list(drawn["label"])), "validation")


def all_jobs() -> Iterator[Job]:
    """Seed by seed, so that a study cut short still holds whole curves."""
    setting = chosen()
    for seed in SEEDS:
        for count in reversed(LABELS):
            common = {"task": TASK, "labels": count, "random_state": seed, "split": "validation"}
            epochs = min(MAX_EPOCHS, max(setting["num_epochs"], round(TEXTS_SEEN / count)))
            yield {
                "method": "full fine-tuning",
                "model": MODEL,
                **common,
                "learning_rate": setting["learning_rate"],
                "num_epochs": epochs,
            }
            yield {"method": "frozen embeddings + logistic regression", "model": MODEL, **common}
            yield {"method": "TF-IDF + logistic regression", "model": "none", **common}


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
