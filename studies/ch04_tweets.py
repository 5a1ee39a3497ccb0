"""Tweets: the newswire taggers as they are, taggers trained on tweets, and both in turn.

Newswire knows four types and WNUT-16 ten, so `mapped` scores lay the ten over the four, `spans`
scores forget the types, and `persons and places` scores leave out all types that the two corpora
define apart: what is lost there is owed to the text more than to the rules of tagging. Needs what
`ch04_final` leaves in `_build/taggers`.

Test is scored by each of the fixed settings once. **Primary comparison**: persons and places, the
taggers of tweets minus those of newswire, both without marks, three seeds. Every other pair is a
secondary reading, without a correction for their number.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from shared.common import MODEL, SEEDS, Job, fit_fields, main
from shared.entities import (
    BASELINES,
    TAGGERS,
    TWEETS,
    UNMARKED,
    chosen,
    encoder_of,
    score_fields,
    splits,
)

from reptune import meter
from reptune.ner import EntityTagger
from reptune.tags import OUTSIDE

NEWSWIRE_ONLY, TWEETS_ONLY, BOTH = "newswire", "tweets", "newswire, then tweets"
MARKED, NEWSWIRE_MARKED = "tweets, capitals marked", "newswire, capitals marked"
# Taggers of newswire, and their names in `_build/taggers`.
LOADED = {NEWSWIRE_ONLY: "fine-tuned", NEWSWIRE_MARKED: "fine-tuned-capitals-marked"}
PASSES = 5  # 1,595 short texts; the rate is newswire's, and neither was tuned on tweets
# CoNLL's annotators put stadiums under LOC and clubs under ORG; bands and singers, one type in
# WNUT-16, could be PER or ORG and count as ORG here.
MAPPED = {
    "person": "PER", "geo-loc": "LOC", "facility": "LOC", "company": "ORG", "sportsteam": "ORG",
    "musicartist": "ORG", "movie": "MISC", "tvshow": "MISC", "product": "MISC", "other": "MISC",
}  # fmt: skip
# By scoring, what the types are called; those without a name are left out.
KEPT = {"person": "PER", "geo-loc": "LOC", "facility": "LOC", "PER": "PER", "LOC": "LOC"}
SCORINGS: dict[str, dict[str, str]] = {
    "mapped": {**MAPPED, **{name: name for name in MAPPED.values()}},
    "spans": dict.fromkeys([*MAPPED, *MAPPED.values()], "X"),
    "persons and places": KEPT,
    "ten types": {name: name for name in MAPPED},
}


def run(job: Job) -> Iterator[dict]:
    """One way to come by a tagger, scored on validation and test in all ways that fit it."""
    with meter.Meter() as cost:
        model = build(job)
    for split in ("validation", "test"):
        tokens, gold = splits(TWEETS)[split]
        predicted = model.predict(tokens)
        for scoring, names in SCORINGS.items():
            if scoring == "ten types" and job["method"] in LOADED:
                continue
            fields = score_fields(renamed(gold, names), renamed(predicted, names))
            yield {"split": split, "scoring": scoring, **fit_fields(cost), **fields}


def build(job: Job) -> Any:
    """A fitted tagger."""
    seed = job["random_state"]
    if job["method"] in LOADED:
        return EntityTagger.load(TAGGERS / f"{LOADED[job['method']]}-{seed}")
    train = splits(TWEETS)["train"]
    if job["method"] in BASELINES:
        model = BASELINES[job["method"]]()
        model.fit(*train)
        return model
    start = encoder_of(TAGGERS / f"fine-tuned-{seed}") if job["method"] == BOTH else MODEL
    marked = job["method"] == MARKED
    knobs = {**UNMARKED, **chosen(), "num_epochs": PASSES, "mark_case": marked}
    return EntityTagger(start, random_state=seed, **knobs).fit(*train)


def renamed(rows: Sequence[Sequence[str]], names: dict[str, str]) -> list[list[str]]:
    """Tags with other names for their types; a type without one is outside."""
    return [
        [tag[:2] + names[tag[2:]] if tag[2:] in names else OUTSIDE for tag in row] for row in rows
    ]


def all_jobs() -> Iterator[Job]:
    """The longest first."""
    common = {"task": TWEETS, "labels": len(splits(TWEETS)["train"][0])}
    for seed in SEEDS:
        for method in (TWEETS_ONLY, BOTH, MARKED):
            fields = {"num_epochs": PASSES, "random_state": seed, **common}
            yield {"method": method, "model": MODEL, **fields}
    for seed in SEEDS:
        for method in LOADED:
            yield {"method": method, "model": MODEL, "random_state": seed, **common}
    for method in reversed(BASELINES):
        model = MODEL if "frozen" in method else "none"
        yield {"method": method, "model": model, "random_state": SEEDS[0], **common}


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
