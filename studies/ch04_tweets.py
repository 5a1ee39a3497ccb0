"""Tweets: the newswire taggers as they are, taggers trained on tweets, and both in turn.

Newswire knows four types and WNUT-16 ten, so `mapped` scores lay the ten over the four, and
`spans` scores forget the types. Needs what `ch04_final` leaves in `_build/taggers`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from shared.common import MODEL, SEEDS, Job, fit_fields, main
from shared.entities import BASELINES, TAGGERS, TWEETS, chosen, encoder_of, score_fields, splits

from reptune import meter
from reptune.ner import EntityTagger
from reptune.tags import OUTSIDE

NEWSWIRE_ONLY, TWEETS_ONLY, BOTH = "newswire", "tweets", "newswire, then tweets"
MARKED = "tweets, capitals marked"
PASSES = 5  # 1,595 short texts; the rate is newswire's, and neither was tuned on tweets
# CoNLL's annotators put stadiums under LOC and clubs under ORG; bands and singers, one type in
# WNUT-16, could be PER or ORG and count as ORG here.
MAPPED = {
    "person": "PER", "geo-loc": "LOC", "facility": "LOC", "company": "ORG", "sportsteam": "ORG",
    "musicartist": "ORG", "movie": "MISC", "tvshow": "MISC", "product": "MISC", "other": "MISC",
}  # fmt: skip


def run(job: Job) -> Iterator[dict]:
    """One way to come by a tagger, scored on validation and test in the three ways."""
    with meter.Meter() as cost:
        model = build(job)
    for split in ("validation", "test"):
        tokens, gold = splits(TWEETS)[split]
        predicted = model.predict(tokens)
        scored = {"mapped": MAPPED, "spans": dict.fromkeys([*MAPPED, *MAPPED.values()], "X")}
        if job["method"] != NEWSWIRE_ONLY:
            scored["ten types"] = {}
        for scoring, names in scored.items():
            fields = score_fields(renamed(gold, names), renamed(predicted, names))
            yield {"split": split, "scoring": scoring, **fit_fields(cost), **fields}


def build(job: Job) -> Any:
    """A fitted tagger."""
    seed = job["random_state"]
    if job["method"] == NEWSWIRE_ONLY:
        return EntityTagger.load(TAGGERS / f"fine-tuned-{seed}")
    train = splits(TWEETS)["train"]
    if job["method"] in BASELINES:
        model = BASELINES[job["method"]]()
        model.fit(*train)
        return model
    start = encoder_of(TAGGERS / f"fine-tuned-{seed}") if job["method"] == BOTH else MODEL
    marked = job["method"] == MARKED
    knobs = {**chosen(), "num_epochs": PASSES, "mark_case": marked}
    return EntityTagger(start, random_state=seed, **knobs).fit(*train)


def renamed(rows: Sequence[Sequence[str]], names: dict[str, str]) -> list[list[str]]:
    """Tags with other names for their types; a type without one keeps its own."""
    return [
        [tag if tag == OUTSIDE else tag[:2] + names.get(tag[2:], tag[2:]) for tag in row]
        for row in rows
    ]


def all_jobs() -> Iterator[Job]:
    """The longest first."""
    common = {"task": TWEETS, "labels": len(splits(TWEETS)["train"][0])}
    for seed in SEEDS:
        for method in (TWEETS_ONLY, BOTH, MARKED):
            fields = {"num_epochs": PASSES, "random_state": seed, **common}
            yield {"method": method, "model": MODEL, **fields}
    for seed in SEEDS:
        yield {"method": NEWSWIRE_ONLY, "model": MODEL, "random_state": seed, **common}
    for method in reversed(BASELINES):
        model = MODEL if "frozen" in method else "none"
        yield {"method": method, "model": model, "random_state": SEEDS[0], **common}


if __name__ == "__main__":
    main(__file__, all_jobs(), run)
