"""Settings of the tagger, chosen on validation: 2,000 sentences, one change at a time.

The other studies take the best learning rate of the runs marked as settings.
"""

from collections.abc import Iterator
from typing import Any

from shared.common import MODEL, SEEDS, Job, main
from shared.entities import NEWSWIRE, UNMARKED, measure, some

from reptune.ner import EntityTagger

SENTENCES = 2000
CHOICE_SEEDS = SEEDS[:2]
BASE = {"learning_rate": 2e-4, "batch_size": 16, "num_epochs": 3}
BUCKETS_OFF = ["half_precision", "cheap_dropout"]  # a list, as JSON gives it back
# What is changed, by the name of the choice; "setting" is what `entities.chosen` picks from.
NEWSWIRE_CHOICES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("setting", {}),
    ("setting", {"learning_rate": 1e-4}),
    ("setting", {"learning_rate": 4e-4}),
    ("capitals marked", {"mark_case": True}),
    ("all pieces labeled", {"label_pieces": "all"}),
    ("random order", {"fast": BUCKETS_OFF}),
)


def run(job: Job) -> Iterator[dict]:
    """One setting, one seed."""
    fields = ("learning_rate", "batch_size", "num_epochs", "mark_case", "label_pieces", "fast")
    knobs = {name: job[name] for name in fields if name in job}
    train = some(job["task"], job["labels"], job["random_state"])
    tagger = EntityTagger(MODEL, random_state=job["random_state"], **{**UNMARKED, **knobs})
    yield from measure(tagger, train, job["task"], "validation")


def all_jobs() -> Iterator[Job]:
    """Seed by seed, so that a study that is cut short has whole comparisons."""
    for seed in CHOICE_SEEDS:
        common = {"method": "fine-tuned", "model": MODEL, "random_state": seed}
        common |= {"split": "validation"}
        newswire = {**common, "task": NEWSWIRE, "labels": SENTENCES, **BASE}
        for name, change in NEWSWIRE_CHOICES:
            yield {**newswire, "choice": name, **change}


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
