"""How many of the last blocks should train: validation accuracy and seconds, three seeds."""

from collections.abc import Iterator

from _common import MODEL, SEEDS, TASK, Job, chosen, main, measure, splits

from reptune.classification import FineTunedClassifier

HEAD_LEARNING_RATE = 1e-3
TRAINABLE = ("all", 6, 5, 4, 3, 2, 1, "head")


def run(job: Job) -> Iterator[dict]:
    """One share of the encoder, one seed."""
    classifier = FineTunedClassifier(
        MODEL,
        job["trainable"],
        num_epochs=job["num_epochs"],
        learning_rate=job["learning_rate"],
        random_state=job["random_state"],
    )
    for record in measure(classifier, splits()["train"], "validation"):
        parameters = [p for p in classifier.model_.parameters() if p.requires_grad]
        count = sum(parameter.numel() for parameter in parameters)
        yield {**record, "trainable_parameters": count, "cached": classifier.frozen_states_}


def all_jobs() -> Iterator[Job]:
    """Seed by seed, so that a study cut short still holds whole curves."""
    setting = chosen()
    for seed in SEEDS:
        for trainable in TRAINABLE:
            rate = HEAD_LEARNING_RATE if trainable == "head" else setting["learning_rate"]
            yield {
                "method": f"trainable={trainable}",
                "trainable": trainable,
                "task": TASK,
                "model": MODEL,
                "labels": len(splits()["train"][0]),
                "random_state": seed,
                "split": "validation",
                "learning_rate": rate,
                "num_epochs": setting["num_epochs"],
            }


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
