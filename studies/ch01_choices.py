"""Learning rate and epochs for full fine-tuning, chosen on validation."""

from collections.abc import Iterator

from shared.common import MODEL, TASK, Job, main, measure, splits

from reptune.classification import FineTunedClassifier

RANDOM_STATE = 42
GRID = [(rate, epochs) for epochs in (2, 1) for rate in (2e-5, 5e-5, 1e-4, 2e-4)]
GRID.insert(0, (1e-4, 3))


def run(job: Job) -> Iterator[dict]:
    """One setting, one seed."""
    texts, labels = splits()["train"]
    classifier = FineTunedClassifier(
        MODEL,
        num_epochs=job["num_epochs"],
        learning_rate=job["learning_rate"],
        random_state=job["random_state"],
    )
    yield from measure(classifier, (texts, labels), "validation")


if __name__ == "__main__":
    jobs = [
        {
            "method": "everything",
            "task": TASK,
            "model": MODEL,
            "labels": len(splits()["train"][0]),
            "random_state": RANDOM_STATE,
            "split": "validation",
            "learning_rate": rate,
            "num_epochs": epochs,
        }
        for rate, epochs in GRID
    ]
    main(__file__, jobs, run)
