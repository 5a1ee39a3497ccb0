"""Which learning rates around the chosen one are worse, and does a third epoch help? Five seeds.

Question. `ch01_choices` tried nine settings of full fine-tuning with one seed each and took the
best, a rate of 1e-4 for two epochs. One seed supports no verdict on the eight others. And
`FineTunedClassifier` takes 5e-5 where nobody says otherwise: does that cost accuracy here?

Arms. All 6,398 review sentences, everything trains. Two epochs at 2e-5, 5e-5, 1e-4 and 2e-4, three
epochs at 2e-5, 5e-5 and 1e-4: a small rate may only need more steps, and three epochs were tried at
one rate only. Seeds 43 to 47, none of which has chosen the setting. (The 1,066 validation sentences
have, so 1e-4 for two epochs may still look a little too good on them.) Test is not scored.

Primary comparison: 1e-4 minus 5e-5, both for two epochs, validation; paired bootstrap over
sentences and seeds. Above zero: the default costs accuracy on this task. Holds zero: not
distinguishable, with the smallest difference that could have been detected beside it. Secondary,
five of them, marked so and uncorrected: each other setting minus 1e-4 for two epochs, and no
"too small", "too large" or "helps" without an interval that excludes zero.

Smallest detectable difference (four tries of five): two variants of full fine-tuning on these
sentences with three seeds gave intervals of ±1.2 to ±1.5 points, so 1.7 to 2.1 points; with five
seeds about 1.5.

Hours. A fit of two epochs on one thread beside another takes 276 to 320 s (`ch01_final`,
`ch01_choices`), one of three 418 s; scoring 12 s, a job's start 8 s. Per seed 4 x 310 + 3 x 440 =
2,560 s, with five seeds 12,800 s: 3.6 core-hours, 107 minutes on two cores. Seed by seed, so that a
study cut short has every setting alike.
"""

from collections.abc import Iterator

from shared.common import MODEL, TASK, Job, main, measure, splits

from reptune.classification import FineTunedClassifier

SEEDS = (43, 44, 45, 46, 47)
CHOSEN = (1e-4, 2)  # the rate and the epochs that `ch01_choices` took with seed 42
DEFAULT = (5e-5, 2)
SETTINGS = (CHOSEN, DEFAULT, (2e-5, 2), (2e-4, 2), (2e-5, 3), (5e-5, 3), (1e-4, 3))


def jobs() -> Iterator[Job]:
    """Seed by seed, the primary comparison's two settings first."""
    for seed in SEEDS:
        for rate, epochs in SETTINGS:
            yield {
                "method": "everything",
                "task": TASK,
                "model": MODEL,
                "labels": len(splits()["train"][0]),
                "random_state": seed,
                "split": "validation",
                "learning_rate": rate,
                "num_epochs": epochs,
            }


def run(job: Job) -> Iterator[dict]:
    """One setting, one seed."""
    classifier = FineTunedClassifier(
        MODEL,
        num_epochs=job["num_epochs"],
        learning_rate=job["learning_rate"],
        random_state=job["random_state"],
    )
    yield from measure(classifier, splits()["train"], "validation")


if __name__ == "__main__":
    main(__file__, jobs(), run)
