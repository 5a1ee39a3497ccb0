"""Does it help a tagger to read the story around a sentence, and what do sentence ends do?

Written before any record. BERT's authors and most published scores on CoNLL-2003 show a tagger the
document around each sentence; `ch04_final` shows it one sentence at a time. Both arms mark
capitals.

**Arms.** *Sentences*: `ch04_final`'s "fine-tuned, capitals marked" (its records). *Stories*: the
same encoder, but the sentences of a news story are joined to one list of words, which
`EntityTagger` reads in windows that overlap by a quarter; each word is trained and tagged once, in
the window that shows most around it. Tags are decoded sentence by sentence in both arms, three
passes over the same sentences, seeds 42 to 44.

**Chosen on validation** after training on stories of 2,000 sentences together, seeds 42 and 43, by
mean F1: windows of 128 tokens in batches of 4 or of 256 in batches of 2 (about as many tokens per
step as 16 sentences have, and half as many more), each at 1e-4, 2e-4 and 4e-4. Sentences on the
same stories, at `ch04_choices`' setting, stand beside them. Of equal means the first is taken.

**Primary comparison**: stories minus sentences, entity F1 on test, all 946 stories of training,
three seeds; `paired_f1_interval` over test stories and seeds. Above zero: context helps. Holds
zero: nothing that this can see, and 1.43 times half of the interval's width is the gain that it
would have found in four of five tries. By sentences the interval of capitals against none had a
half width of 0.65 points; stories may widen it, so about 1 to 1.5 points can be seen.

**Sentence ends** (secondary): a raw text does not say where its sentences end. The words of each
story, joined by spaces, are cut at the ends that `reptune.data.sentences` finds, or not at all and
read in windows, by the taggers of `ch04_final` that mark capitals; beside them the corpus's own
cuts, and not at all by the taggers of stories. Found minus not cut, by stories.

**Planned**, on one thread beside another: choices, 14 fits of about 130 s with scoring; finals, 3
of 1.3 times the 560 s of `ch04_final`, and 60 s to score; sentence ends, 3 of 250 s. Together 4,950
core-seconds, 41 minutes on two cores. Needs what `ch04_final` leaves in `_build/taggers`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.common import MODEL, SEEDS, Job, fit_fields, in_stages
from shared.conditions import interval_fields
from shared.entities import (
    NEWSWIRE,
    TAGGERS,
    DocumentTagger,
    chosen,
    documents,
    joined,
    score_fields,
    splits,
    stories,
    tagger,
)

from reptune import meter, metrics
from reptune.book import results
from reptune.data.sentences import sentence_ends
from reptune.ner import EntityTagger

STUDY = Path(__file__).stem
SENTENCES, STORIES = "sentences", "stories"
CHOICE_SENTENCES, CHOICE_SEEDS = 2000, SEEDS[:2]
WINDOWS = ({"max_length": 128, "batch_size": 4}, {"max_length": 256, "batch_size": 2})
RATES = (2e-4, 1e-4, 4e-4)
SHARED = {"num_epochs": 3, "mark_case": True}
GIVEN, FOUND, UNCUT = "the corpus's", "found", "none"
CHOICE, FINAL, ENDS, COMPARISON = "choice", "final", "sentence ends", "comparison"


# --- jobs ----------------------------------------------------------------------------------------


def choices() -> Iterator[Job]:
    """Seed by seed: the windows and rates, and sentences on the same stories."""
    for seed in CHOICE_SEEDS:
        common = {"model": MODEL, "task": NEWSWIRE, "random_state": seed, "step": CHOICE}
        for window in WINDOWS:
            for rate in RATES:
                yield {"method": STORIES, **common, **window, "learning_rate": rate}
        yield {"method": SENTENCES, **common}


def finals() -> Iterator[Job]:
    """All stories."""
    for seed in SEEDS:
        yield job(FINAL, STORIES, seed)


def ends() -> Iterator[Job]:
    """Raw text."""
    for seed in SEEDS:
        yield job(ENDS, "raw text", seed)


def comparisons() -> Iterator[Job]:
    """The primary one first."""
    yield job(COMPARISON, f"{STORIES} - {SENTENCES}", SEEDS[0])
    for a, b in ((FOUND, UNCUT), (FOUND, GIVEN)):
        yield {**job(COMPARISON, f"{a} - {b}", SEEDS[0]), "cuts": [a, b]}


def job(step: str, method: str, seed: int) -> Job:
    """What tells a job from the others."""
    return {
        "method": method, "model": MODEL, "task": NEWSWIRE, "random_state": seed, "step": step,
    }  # fmt: skip


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Do a job."""
    yield from {CHOICE: choose, FINAL: fit_all, ENDS: cut, COMPARISON: compare}[job["step"]](job)


# --- training ------------------------------------------------------------------------------------


def choose(job: Job) -> Iterator[dict[str, Any]]:
    """Score a setting on validation."""
    train, numbers = stories(NEWSWIRE, CHOICE_SENTENCES, job["random_state"])
    tokens, gold = splits(NEWSWIRE)["validation"]
    if job["method"] == SENTENCES:
        model: Any = tagger(job["random_state"], mark_case=True)
        fitting, reading = train, (tokens,)
    else:
        model = of_stories(job, job["random_state"])
        fitting, reading = (*train, numbers), (tokens, documents(NEWSWIRE, "validation"))
    with meter.Meter() as cost:
        model.fit(*fitting)
    predicted = model.predict(*reading)
    yield {
        "split": "validation", "labels": len(numbers), **fit_fields(cost),
        **score_fields(gold, predicted),
    }  # fmt: skip


def of_stories(setting: Job, seed: int) -> DocumentTagger:
    """The tagger of stories with a setting."""
    knobs = {name: setting[name] for name in ("max_length", "batch_size", "learning_rate")}
    return DocumentTagger(**SHARED, **knobs, random_state=seed)


def best() -> Job:
    """The setting with the highest mean F1 on validation.

    Raises:
        SystemExit: If nothing is recorded.
    """
    table = results.read(STUDY)
    if table.empty:
        raise SystemExit(f"{STUDY} has no choices; run it from its start.")
    table = table[(table["step"] == CHOICE) & (table["method"] == STORIES)]
    means = table.groupby(["max_length", "batch_size", "learning_rate"], sort=False)
    window, batch, rate = means["metrics.f1"].mean().idxmax()
    return {"max_length": int(window), "batch_size": int(batch), "learning_rate": float(rate)}


def fit_all(job: Job) -> Iterator[dict[str, Any]]:
    """Train on all stories, score validation and test, and keep the tagger."""
    setting, (tokens, gold) = best(), splits(NEWSWIRE)["train"]
    model = of_stories(setting, job["random_state"])
    with meter.Meter() as cost:
        model.fit(tokens, gold, documents(NEWSWIRE, "train"))
    model.tagger.save(TAGGERS / f"stories-{job['random_state']}")
    for split in ("validation", "test"):
        words, true = splits(NEWSWIRE)[split]
        predicted = model.predict(words, documents(NEWSWIRE, split))
        yield {
            "split": split, "labels": len(tokens), **setting, **fit_fields(cost),
            **score_fields(true, predicted),
        }  # fmt: skip


# --- raw text ------------------------------------------------------------------------------------


def cut(job: Job) -> Iterator[dict[str, Any]]:
    """Tag the test stories with other ends of sentences than the corpus's."""
    seed = job["random_state"]
    words, true = splits(NEWSWIRE)["test"]
    numbers = documents(NEWSWIRE, "test")
    whole, gold = joined(words, numbers), joined(true, numbers)
    given = [[len(row) for row, at in zip(words, numbers, strict=True) if at == story]
             for story in range(len(whole))]  # fmt: skip
    arms = {
        GIVEN: given,
        FOUND: [found_sizes(story) for story in whole],
        UNCUT: [[len(story)] for story in whole],
    }
    loaded = {
        SENTENCES: EntityTagger.load(TAGGERS / f"fine-tuned-capitals-marked-{seed}"),
        STORIES: EntityTagger.load(TAGGERS / f"stories-{seed}"),
    }
    for trained_on, arm in [*((SENTENCES, arm) for arm in arms), (STORIES, UNCUT)]:
        parts = [part for story, sizes in zip(whole, arms[arm], strict=True)
                 for part in cut_up(story, sizes)]  # fmt: skip
        numbers_of_parts = [n for n, sizes in enumerate(arms[arm]) for _ in sizes]
        with meter.Meter() as cost:
            tagged = loaded[trained_on].predict(parts)
        predicted = joined(tagged, numbers_of_parts)
        yield {
            "split": "test", "labels": 0, "trained_on": trained_on, "cut": arm,
            "sentences": len(parts), "same_ends": shared_ends(given, arms[arm]),
            **fit_fields(cost), **score_fields(gold, predicted),
        }  # fmt: skip


def found_sizes(words: list[str]) -> list[int]:
    """How many words each sentence has that is found in words joined by spaces."""
    placed, start = [], 0
    for word in words:
        placed.append((word, start, start + len(word)))
        start += len(word) + 1
    ends = sentence_ends(" ".join(words), placed)
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def cut_up(row: list[str], sizes: list[int]) -> list[list[str]]:
    """A row in parts of so many words each."""
    ends = [sum(sizes[: count + 1]) for count in range(len(sizes))]
    return [row[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def shared_ends(given: list[list[int]], found: list[list[int]]) -> dict[str, int]:
    """How many ends within stories are given, found, and both."""
    count = {"given": 0, "found": 0, "both": 0}
    for a, b in zip(given, found, strict=True):
        of_a, of_b = ({sum(sizes[: n + 1]) for n in range(len(sizes) - 1)} for sizes in (a, b))
        count["given"] += len(of_a)
        count["found"] += len(of_b)
        count["both"] += len(of_a & of_b)
    return count


# --- comparisons ---------------------------------------------------------------------------------


def compare(job: Job) -> Iterator[dict[str, Any]]:
    """The difference of two arms, over stories and seeds."""
    with meter.Meter() as cost:
        if "cuts" in job:  # scored story by story
            sides = [
                results.counts(STUDY, step=ENDS, trained_on=SENTENCES, cut=arm)
                for arm in job["cuts"]
            ]
        else:
            marked = {"method": "fine-tuned, capitals marked", "split": "test"}
            sides = [
                metrics.counts_by_document(counts, documents(NEWSWIRE, "test"))
                for counts in (
                    results.counts(STUDY, step=FINAL, split="test"),
                    results.counts("ch04_final", **marked),
                )
            ]
        found = metrics.paired_f1_interval(*sides)
    yield {
        "split": "test", "labels": len(splits(NEWSWIRE)["train"][0]), **fit_fields(cost),
        "metrics": interval_fields(found),
    }  # fmt: skip


if __name__ == "__main__":
    chosen()  # what `ch04_choices` left, before any hour is spent
    in_stages(__file__, (choices, finals, ends, comparisons), run)
