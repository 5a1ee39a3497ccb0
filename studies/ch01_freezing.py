"""How many of the last blocks should train: validation accuracy and seconds, three seeds.

The two ends of the sweep, head only and everything, are `ch01_final`'s.
"""

from collections.abc import Iterator

from shared.common import MODEL, SEEDS, TASK, Job, chosen, main, measure, splits

from reptune.classification import FineTunedClassifier

LAST_BLOCKS = (6, 5, 4, 3, 2, 1)


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
        yield {**record, "frozen_states": classifier.frozen_states_}


def all_jobs() -> Iterator[Job]:
    """Seed by seed, so that a study cut short still holds whole curves."""
    setting = chosen()
    for seed in SEEDS:
        for count in LAST_BLOCKS:
            yield {
                "method": "last blocks",
                "trainable": count,
                "task": TASK,
                "model": MODEL,
                "labels": len(splits()["train"][0]),
                "random_state": seed,
                "split": "validation",
                **setting,
            }


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
