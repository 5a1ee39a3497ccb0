"""Are the fast ways of training as accurate as plain ones? Ten paired seeds.

Question. `ch01_speed` trained in three ways with three seeds. Grouped by length, plain `Trainer`
was 1.0 point below random order, with an interval of [−2.8, 0.9]; the package's fast options were
0.1 point above, [−1.8, 2.2]. So neither a loss of a point nor none was shown. Both sort texts by
length before they make batches; the package then shuffles the batches, `Trainer` does not.

Arms. All 6,398 review sentences, everything trains, one epoch at 1e-4 in batches of 16, the setting
of `ch01_speed`, so that old and new can be set side by side: plain `Trainer` in random order and
float32; the same with `group_by_length`; `FineTunedClassifier` with all fast options; and with all
but `length_buckets`, in random order, which parts the order from everything else. Seeds 42 to 51 in
every arm: the same first head. (The orders and dropout masks are drawn differently, so a seed's
difference still has noise in it.) Scored on validation.

Primary comparisons, two of them and therefore with intervals of 97.5%: grouped minus plain, and
fast options minus plain; paired bootstrap over sentences and seeds. Below zero: that way costs
accuracy. Within ±1 point: equal within a point. Anything else: not distinguishable, with the
smallest detectable difference beside it. Secondary, with 95% and uncorrected: fast options minus
fast options in random order (what the order of lengths costs in the package), and minus grouped.
If grouped is below plain and the fast options are not, chapter 1 trains its `Trainer` in random
order or with the package's sampler.

Smallest detectable difference (four tries of five): intervals with three seeds were ±1.8 to ±2.0
points; both their parts, sentences and seeds, shrink with ten seeds, to about ±1.1, so 1.6 points.
A loss of half a point cannot be told from none.

Hours. One epoch on one thread beside another: fast 150 s (half of `ch01_final`'s 300); by the
ratios of `ch01_speed` plain 375 s, grouped 230 s, fast in random order 240 s. With scoring and
start, 25 s each, a seed takes 1,095 s and ten 10,950 s: 3.0 core-hours, 91 minutes on two cores.
Seed by seed, so that a study cut short holds whole pairs.
"""

from collections.abc import Iterator
from typing import Any

from shared.common import MODEL, TASK, Job, main, measure, splits
from shared.plain import PlainClassifier

from reptune.classification import FineTunedClassifier
from reptune.training import FAST_OPTIONS

SEEDS = tuple(range(42, 52))
LEARNING_RATE, NUM_EPOCHS = 1e-4, 1
PLAIN, GROUPED, OURS = "plain Trainer", "Trainer, grouped by length", "reptune"
SHUFFLED = "reptune, random order"
ARMS = (PLAIN, GROUPED, OURS, SHUFFLED)
STRATEGIES = {PLAIN: "random", GROUPED: "group_by_length"}
OPTIONS = {
    OURS: True,
    SHUFFLED: tuple(option for option in FAST_OPTIONS if option != "length_buckets"),
}


def jobs() -> Iterator[Job]:
    """Seed by seed, all arms of one before those of the next."""
    for seed in SEEDS:
        for arm in ARMS:
            yield {
                "method": arm,
                "task": TASK,
                "model": MODEL,
                "labels": len(splits()["train"][0]),
                "random_state": seed,
                "split": "validation",
                "learning_rate": LEARNING_RATE,
                "num_epochs": NUM_EPOCHS,
            }


def build(arm: str, seed: int) -> Any:
    """The classifier of an arm; batch size, weight decay and warm-up are the same in all."""
    if arm in STRATEGIES:
        return PlainClassifier(MODEL, "all", STRATEGIES[arm], NUM_EPOCHS, LEARNING_RATE, seed)
    return FineTunedClassifier(
        MODEL,
        num_epochs=NUM_EPOCHS,
        learning_rate=LEARNING_RATE,
        random_state=seed,
        fast=OPTIONS[arm],
    )


def run(job: Job) -> Iterator[dict]:
    """One arm, one seed."""
    classifier = build(job["method"], job["random_state"])
    yield from measure(classifier, splits()["train"], "validation")


if __name__ == "__main__":
    main(__file__, jobs(), run)
