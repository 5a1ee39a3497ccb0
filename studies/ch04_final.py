"""Every finished method of chapter 4 on newswire: validation and, once, test; three seeds.

The fine-tuned taggers stay in `_build/taggers`, where `ch04_tweets` takes them from.
"""

from collections.abc import Iterator
from typing import Any

from shared.common import MODEL, SEEDS, Job, main
from shared.entities import BASELINES, NEWSWIRE, TAGGERS, chosen, measure, splits, tagger

MARKED = "fine-tuned, capitals marked"
TUNED = {"fine-tuned": {}, MARKED: {"mark_case": True}}


def run(job: Job) -> Iterator[dict]:
    """One method, one seed, both splits."""
    model: Any
    if job["method"] in BASELINES:
        model = BASELINES[job["method"]]()
    else:
        model = tagger(job["random_state"], **TUNED[job["method"]])
    yield from measure(model, splits(NEWSWIRE)["train"], NEWSWIRE, "validation", "test")
    if job["method"] in TUNED:
        model.save(
            TAGGERS / f"{job['method'].replace(', ', '-').replace(' ', '-')}-{job['random_state']}"
        )


def all_jobs() -> Iterator[Job]:
    """The longest first, so that no core waits at the end."""
    common = {"task": NEWSWIRE, "labels": len(splits(NEWSWIRE)["train"][0])}
    for seed in SEEDS:
        for method, knobs in TUNED.items():
            setting = {**chosen(), **knobs}
            yield {"method": method, "model": MODEL, "random_state": seed, **setting, **common}
    for method in reversed(BASELINES):  # no seed changes these
        model = MODEL if "frozen" in method else "none"
        yield {"method": method, "model": model, "random_state": SEEDS[0], **common}


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
