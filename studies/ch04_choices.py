"""Settings of the tagger, chosen on validation: 2,000 sentences, one change at a time.

The other studies take the learning rate and batch size of the runs marked as settings.
"""

from collections.abc import Iterator
from typing import Any

from _common import MODEL, SEEDS, Job, main
from _entities import NEWSWIRE, TWEETS, measure, some, splits

from reptune.ner import EntityTagger

SENTENCES = 2000
BASE = {"learning_rate": 2e-4, "batch_size": 16, "num_epochs": 3}
BUCKETS_OFF = ("half_precision", "cheap_dropout")
# What is changed, by the name of the choice; "setting" is what `_entities.chosen` picks from.
NEWSWIRE_CHOICES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("setting", {}),
    ("setting", {"learning_rate": 1e-4}),
    ("setting", {"learning_rate": 4e-4}),
    ("setting", {"batch_size": 8}),
    ("capitals marked", {"mark_case": True}),
    ("all pieces labeled", {"label_pieces": "all"}),
    ("random order", {"fast": BUCKETS_OFF}),
    ("six passes", {"num_epochs": 6}),
)
TWEET_PASSES = (5, 10)


def run(job: Job) -> Iterator[dict]:
    """One setting, one seed."""
    fields = ("learning_rate", "batch_size", "num_epochs", "mark_case", "label_pieces", "fast")
    knobs = {name: job[name] for name in fields if name in job}
    train = some(job["task"], job["labels"], job["random_state"])
    tagger = EntityTagger(MODEL, random_state=job["random_state"], **knobs)
    yield from measure(tagger, train, job["task"], "validation")


def all_jobs() -> Iterator[Job]:
    """Seed by seed, so that a study that is cut short has whole comparisons."""
    for seed in SEEDS:
        common = {"method": "fine-tuned", "model": MODEL, "random_state": seed}
        common |= {"split": "validation"}
        newswire = {**common, "task": NEWSWIRE, "labels": SENTENCES, **BASE}
        for name, change in NEWSWIRE_CHOICES:
            yield {**newswire, "choice": name, **change}
        tweets = {**common, "task": TWEETS, "labels": len(splits(TWEETS)["train"][0])}
        for passes in TWEET_PASSES:
            yield {**tweets, "choice": "passes", **BASE, "num_epochs": passes}


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
