"""Should a tagger whose tokenizer lowercases see a mark at capitals unless one says otherwise?

Written before any record. On newswire marks gained 2.1 points [1.5, 2.8] over sentences
(`ch04_final`); on 345 test tweets 0.5 [-3.1, 4.1] with ten types, and more where types are
forgotten. So few tweets cannot tell; here all 1,940 of training and validation are tagged in turn.

**Arms**: `mark_case` on and off, on tweets, five folds of train and validation together (one cut of
them for all), each tagged by a tagger that has learned from the other four; five passes, the rate
of newswire, seeds 42 to 44. Test plays no part.

**Rule, before the records**: the marks become the default if the interval of marked minus plain
lies above zero on both sets: newswire's test, four types, over stories and seeds (`ch04_final`'s
records), and these tweets, ten types, over tweets and seeds. Otherwise they stay an option.

**Secondary**: the tweets' spans, types forgotten; and what marks cost where a text has no capitals:
`ch04_final`'s taggers on newswire's validation sentences in lower case, over stories and seeds. A
tagger that has learned to trust the mark should lose there, and the one without should not change.

**Smallest detectable difference**: the interval of 345 tweets had a half width of 3.6 points; 1,940
should have 1.5, so about 2.2 points in four of five tries. What holds is recorded.

**Planned**: 6 jobs of 5 fits of 85 s and 3 of 60 s, 2,730 core-seconds, 23 minutes on two cores.
Needs what `ch04_final` leaves in `_build/taggers`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from shared.common import MODEL, SEEDS, Job, fit_fields, in_stages
from shared.entities import (
    NEWSWIRE,
    TAGGERS,
    TWEETS,
    Tagged,
    chosen,
    documents,
    score_fields,
    splits,
)

from reptune import meter, metrics
from reptune.book import results
from reptune.ner import EntityTagger
from reptune.tags import OUTSIDE

STUDY = Path(__file__).stem
PLAIN, MARKED = "plain", "capitals marked"
FINAL = {PLAIN: "fine-tuned", MARKED: "fine-tuned, capitals marked"}  # in `ch04_final`
FOLDS, PASSES = 5, 5
TEN, SPANS, LOWER = "ten types", "spans", "lower case"
FOUR = "four types"
DETECTABLE = 1.43  # times half an interval's width: found in four of five tries


def tweets() -> Iterator[Job]:
    """Each arm and seed, all folds in one job."""
    for seed in SEEDS:
        for method in (PLAIN, MARKED):
            yield job(method, TWEETS, seed, "validation")


def lowered() -> Iterator[Job]:
    """Newswire without capitals."""
    for seed in SEEDS:
        for method in (PLAIN, MARKED):
            yield {**job(method, NEWSWIRE, seed, "validation"), "scoring": LOWER}


def comparisons() -> Iterator[Job]:
    """The two that the rule needs first."""
    for task, scoring in ((NEWSWIRE, FOUR), (TWEETS, TEN), (TWEETS, SPANS), (NEWSWIRE, LOWER)):
        split = "test" if scoring == FOUR else "validation"
        yield {**job(f"{MARKED} - {PLAIN}", task, SEEDS[0], split), "scoring": scoring}


def job(method: str, task: str, seed: int, split: str) -> Job:
    """What tells a job from the others."""
    return {"method": method, "model": MODEL, "task": task, "random_state": seed, "split": split}


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Do a job."""
    if " - " in job["method"]:
        yield compared(job["task"], job["scoring"])
    elif job["task"] == TWEETS:
        yield from in_turn(job["method"] == MARKED, job["random_state"])
    else:
        yield in_lower_case(job["method"], job["random_state"])


def pool() -> Tagged:
    """All tweets but those of test."""
    parts = [splits(TWEETS)[split] for split in ("train", "validation")]
    return [row for words, _ in parts for row in words], [row for _, gold in parts for row in gold]


def folds(items: int) -> np.ndarray:
    """The fold of each item; they differ in size by one at most."""
    return np.random.default_rng(0).permutation(items) % FOLDS


def in_turn(marked: bool, seed: int) -> Iterator[dict[str, Any]]:
    """Tag each fold by a tagger that has learned from the others."""
    tokens, gold = pool()
    fold_of = folds(len(tokens))
    predicted: list[list[str]] = [[] for _ in tokens]
    with meter.Meter() as cost:
        for fold in range(FOLDS):
            rest, held = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            model = EntityTagger(
                MODEL, random_state=seed, **{**chosen(), "num_epochs": PASSES}, mark_case=marked
            )
            model.fit([tokens[row] for row in rest], [gold[row] for row in rest])
            for row, tags in zip(held, model.predict([tokens[row] for row in held]), strict=True):
                predicted[row] = tags
    fields = {"labels": len(tokens) * (FOLDS - 1) // FOLDS, "num_epochs": PASSES}
    for scoring, sides in ((TEN, (gold, predicted)), (SPANS, map(untyped, (gold, predicted)))):
        yield {"scoring": scoring, **fields, **fit_fields(cost), **score_fields(*sides)}


def untyped(rows: list[list[str]]) -> list[list[str]]:
    """Tags that say that an entity stands there, and not which."""
    return [[tag if tag == OUTSIDE else f"{tag[:2]}X" for tag in row] for row in rows]


def in_lower_case(method: str, seed: int) -> dict[str, Any]:
    """Tag newswire's validation sentences without capitals."""
    folder = TAGGERS / f"{FINAL[method].replace(', ', '-').replace(' ', '-')}-{seed}"
    model = EntityTagger.load(folder)
    tokens, gold = splits(NEWSWIRE)["validation"]
    with meter.Meter() as cost:
        predicted = model.predict([[word.lower() for word in words] for words in tokens])
    return {"labels": 0, **fit_fields(cost), **score_fields(gold, predicted)}


def compared(task: str, scoring: str) -> dict[str, Any]:
    """Marked minus plain, with the interval that the rule asks for."""
    with meter.Meter() as cost:
        sides = []
        for method in (MARKED, PLAIN):
            if scoring == FOUR:
                counts = results.counts("ch04_final", method=FINAL[method], split="test")
            else:
                counts = results.counts(STUDY, method=method, task=task, scoring=scoring)
            if task == NEWSWIRE:
                split = "test" if scoring == FOUR else "validation"
                counts = metrics.counts_by_document(counts, documents(NEWSWIRE, split))
            sides.append(counts)
        found = metrics.paired_f1_interval(*sides)
    difference = {
        "difference": found.estimate, "low": found.low, "high": found.high,
        "detectable": DETECTABLE * (found.high - found.low) / 2,
    }  # fmt: skip
    return {"labels": 0, **fit_fields(cost), "metrics": difference}


if __name__ == "__main__":
    in_stages(__file__, (tweets, lowered, comparisons), run)
