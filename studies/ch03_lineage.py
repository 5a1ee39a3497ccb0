"""A lineage of our own: does reading news, or the task's text, help a BERT that read reviews only?

Written before any record. Chapter 3 asks the question of MiniLM, which was never trained to fill
masks. Here the order is the literature's: random weights, then masks in movie reviews (**base**),
then masks in the texts of a domain or a task, then labels; one objective and one head throughout.

**Model.** BERT with 4 layers of width 256, 4 heads, 128 tokens per block; a lowercase WordPiece
vocabulary of 8,000 trained on the same reviews (`shared/lineage.py`). No dropout in the first
pretraining, 0.1 after it. 20% of the tokens are masked in training, 15% where loss is measured. The
first layer's heads begin by looking at neighboring tokens (`lineage.look_at_neighbors`). Trials
before this study, which are not recorded, led to that: from plain weights held-out loss stood at
6.14 after 1,350 steps, where guessing by frequency gets, and with such heads at 5.24 after 560. One
recorded short run repeats the former.

**Arms**, each for pretraining seeds 42 to 44: *random weights*; *base*, 5,600 steps of 16 blocks on
19,915 reviews; *base + news*, 800 steps on 1,435 BBC articles (domain-adaptive); *base + reviews*,
800 more steps on reviews in another order, **the control**, which differs from the former in its
text alone; *base + CoNLL text*, 280 steps on the training sentences without tags (task-adaptive);
*base + news + CoNLL text*, the latter after the former. No training text equals, nearly equals or
quotes a validation or test text of any data set, CoNLL's included. *base + CoNLL text* has no
control of its own length; against the control it has read less.

**Primary comparison**: *base + news* minus *base + reviews*, entity F1 of an `EntityTagger` that is
fine-tuned on 500 CoNLL sentences; five draws (seeds 42 to 46), whose counts are added up within
each pretraining seed, because draws from one encoder are no independent lineages. Test sentences
that also occur in training are dropped. `metrics.paired_f1_interval` over sentences and the three
seeds. **It helps** if the interval lies above 0, **it hurts** if it lies below; if it holds 0,
there is **no gain worth the hours** where it ends below 2 points, and otherwise the answer is open.
The interval draws the seeds of both arms apart, though those of one seed share their base: it is
wider than it need be, and three seeds are few. Each seed's difference is recorded beside it.

**Smallest detectable difference**: if two taggers disagree on 15% of some 5,500 entities, about 1.5
points in four of five tries by the sentences alone; what seeds add cannot be known before. In the
end 1.43 times half of the interval's width is recorded.

**Beside it** (other readings, no verdict rests on one alone): the other pairs of arms in `PAIRS`;
BBC topics with 16 labels per class and Rotten Tomatoes with 250, fine-tuned from the mean of the
states, since no arm's pretraining has trained [CLS], and frozen (the same mean, each feature
standardized, logistic regression), draws 42 and 43, five draws where frozen; masked loss on
held-out reviews, news, newswire and review sentences. News should help NER and topics and leave
sentiment alone; reading about films again should do nothing for NER.

**The check that a reader can do first**: held-out loss on an arm's own kind of text, before the
first step and 16 times on the way. By how much has it fallen after a quarter of the steps, which is
minutes, on the domain (*base + news*) and on the control (*base + reviews*)? Both curves and
falls are recorded, and the comparisons' records repeat the difference.

**Chosen on validation, per arm, never on test**: the rate of each pretraining, by held-out loss of
its own corpus after short runs (`PILOT_STEPS`) of a seed that is not reported (base) or from the
base of seed 42 (the others); the rate of each arm on each task, and the penalty of its frozen head,
by mean validation score on draws 0 and 1 (draw 0 for the fine-tuned texts), which are not among the
reported ones, with the encoder of seed 42. A choice at the end of its grid is flagged `at_edge`.
Passes are fixed: 12 over the tagged sentences in batches of 16 (384 steps), 15 over the topics'
texts in batches of 4 (300), 8 over the review sentences in batches of 8 (504).

**Time**, by arithmetic. A token costs 23.0 MFLOP forward and backward in pretraining
(`flops_per_token`: 18.9 for the layers, 1.6 for attention, 2.5 for the head at masked positions),
20.4 in fine-tuning and 6.8 to score. The trials took 0.42 to 0.48 s for a step of 2,048 tokens, a
process of one thread beside two others on two cores: about 100 GFLOP/s. Taggers and texts, in
shorter rows, may reach less, so 60 stands beside it.

| | million tokens | core-hours at 60 | at 100 |
|---|---|---|---|
| base, three seeds | 34.4 | 3.66 | 2.20 |
| short runs for four pretraining rates | 6.8 | 0.72 | 0.43 |
| continuations, four arms, three seeds | 13.3 | 1.41 | 0.85 |
| taggers: rates | 7.1 | 0.60 | 0.36 |
| taggers: test | 23.5 | 1.70 | 1.02 |
| texts: rates | 6.4 | 0.52 | 0.31 |
| texts: test | 12.9 | 1.05 | 0.63 |
| held-out loss, 18 encoders | 7.7 | 0.27 | 0.16 |
| together | | 9.93 | 5.96 |

Half of it on two cores: 5.0 to 3.0 hours, without loading and packing (`planned_core_hours`; a test
holds it below ten). The reviews are 5.6 million words and marks, so by guess 6.5 million tokens:
5,600 steps of 2,048 are not quite two passes, and three, 9,500 steps, do not fit at the low end. A
pretraining that is killed goes on at its last checkpoint; any other job takes ten minutes or less.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from shared import entities, lineage, lineage_file
from shared.common import SEEDS, FrozenEmbeddings, Job, few_shot, fit_fields, in_stages, splits
from shared.lineage import (
    ARMS,
    BASE,
    BATCH,
    BLOCK,
    BOTH,
    CONTROL,
    DOCUMENTED,
    DOMAIN,
    FINE_TUNED,
    FROZEN,
    NAME,
    PENALTIES,
    PILOT_SEED,
    RANDOM,
    STEPS,
    TASK,
    best,
    encoder,
    flops_per_token,
)

from reptune import halves, meter
from reptune.data.duplicates import normalize
from reptune.ner import EntityTagger

STUDY = lineage.LINEAGE_STUDY
NER, TOPICS, SENTIMENT = "conll2003", "bbc_news", "rotten_tomatoes"
LINEAGE = (RANDOM, *(arm for arm in ARMS if arm != DOCUMENTED))
PAIRS = (
    (DOMAIN, CONTROL), (DOMAIN, BASE), (CONTROL, BASE), (TASK, CONTROL), (BOTH, DOMAIN),
    (BASE, RANDOM),
)  # fmt: skip

TAGGED, DRAWS = 500, (42, 43, 44, 45, 46)
TEXT_DRAWS = {FINE_TUNED: (42, 43), FROZEN: DRAWS}
CHOICE_DRAWS = {NER: (0, 1), FINE_TUNED: (0,), FROZEN: (0, 1)}
CLASSES, PER_CLASS = {TOPICS: 5, SENTIMENT: 2}, {TOPICS: 16, SENTIMENT: 250}
TAGGER = {"num_epochs": 12, "batch_size": 16, **entities.UNMARKED}
SETTINGS = {
    TOPICS: {"num_epochs": 15, "batch_size": 4, "max_length": 128},
    SENTIMENT: {"num_epochs": 8, "batch_size": 8, "max_length": 64},
}
RATES = {NER: (1e-4, 4e-4, 1.6e-3), TOPICS: (5e-5, 2e-4, 8e-4), SENTIMENT: (5e-5, 2e-4, 8e-4)}
PRETRAINING_RATES = {
    BASE: (5e-4, 1e-3, 2e-3),
    DOMAIN: (1e-4, 3e-4, 1e-3), CONTROL: (1e-4, 3e-4, 1e-3), TASK: (1e-4, 3e-4, 1e-3),
}  # fmt: skip
PILOT_STEPS = {BASE: 600, DOMAIN: 200, CONTROL: 200, TASK: 100}
VALIDATION_SENTENCES = 1000


# --- jobs, in stages that read what the ones before have left -------------------------------------


def texts_first() -> Iterator[Job]:
    """The corpora and the vocabulary."""
    yield _job("corpora", "texts", "corpora", SEEDS[0])


def base_rates() -> Iterator[Job]:
    """Short runs from random weights; one of them from plain ones."""
    yield from _pilots(BASE)
    rate = PRETRAINING_RATES[BASE][1]
    job = _job("plain weights", BASE, "masks", PILOT_SEED)
    yield {**job, "learning_rate": rate}


def bases() -> Iterator[Job]:
    """Two bases, one on each core."""
    for seed in SEEDS[:2]:
        yield _job("encoder", BASE, "masks", seed)


def last_base() -> Iterator[Job]:
    """The third on one core, and on the other the short runs that go on from the first."""
    yield _job("encoder", BASE, "masks", SEEDS[2])
    for arm in (DOMAIN, CONTROL, TASK):
        yield from _pilots(arm)


def continuations() -> Iterator[Job]:
    """Every encoder that needs no other than a base, and the file."""
    for arm in (DOMAIN, CONTROL, TASK, RANDOM):
        for seed in SEEDS:
            yield _job("encoder", arm, "masks", seed)
    yield _job("file", BASE, "masks", SEEDS[0])


def second_continuations() -> Iterator[Job]:
    """Those that go on from a continuation."""
    for seed in SEEDS:
        yield _job("encoder", BOTH, "masks", seed)


def choices() -> Iterator[Job]:
    """The settings of each arm on each task, on validation."""
    for task, trained in _readings():
        for arm in LINEAGE:
            yield {**_job("choice", arm, task, SEEDS[0]), "trained": trained}


def tests() -> Iterator[Job]:
    """Each arm and seed on each task; the primary comparison's first."""
    for task, trained in _readings():
        for arm in sorted(LINEAGE, key=lambda arm: arm not in (DOMAIN, CONTROL)):
            for seed in SEEDS:
                yield {**_job("test", arm, task, seed), "trained": trained}


def comparisons() -> Iterator[Job]:
    """What the records of the tests come to."""
    for task, trained in _readings():
        for arm, other in PAIRS:
            job = _job("comparison", arm, task, SEEDS[0])
            yield {**job, "trained": trained, "minus": other}


STAGES = (
    texts_first, base_rates, bases, last_base, continuations, second_continuations, choices, tests,
    comparisons,
)  # fmt: skip


def _job(kind: str, arm: str, task: str, seed: int) -> Job:
    return {"kind": kind, "method": arm, "model": NAME, "task": task, "random_state": seed}


def _pilots(arm: str) -> Iterator[Job]:
    for rate in PRETRAINING_RATES[arm]:
        yield {**_job("pretraining rate", arm, "masks", PILOT_SEED), "learning_rate": rate}


def _readings() -> Iterator[tuple[str, str]]:
    yield NER, FINE_TUNED
    for trained in (FINE_TUNED, FROZEN):
        for task in SETTINGS:
            yield task, trained


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Do a job."""
    yield from {
        "corpora": describe_texts,
        "pretraining rate": try_rate,
        "plain weights": try_rate,
        "encoder": make_encoder,
        "file": write_file,
        "choice": choose,
        "test": score,
        "comparison": compare,
    }[job["kind"]](job)


# --- pretraining ---------------------------------------------------------------------------------


def describe_texts(job: Job) -> Iterator[dict[str, Any]]:
    """Write the corpora and the vocabulary, and say how large they are."""
    with meter.Meter() as cost:
        counts = lineage.write_corpora()
        tokenizer = lineage.tokenizer_of(lineage.vocabulary())
    for name in lineage.READ:
        texts = lineage.corpus(name)["train"]
        share = lineage.tokens_per_100_words(texts, tokenizer)
        words = sum(len(text.split()) for text in texts)
        found = {"texts": len(texts), "words": words, "tokens per 100 words": share}
        yield {
            "labels": 0, "split": "train", "corpus": name, "metrics": found,
            "left out": counts[name], **fit_fields(cost),
        }  # fmt: skip


def try_rate(job: Job) -> Iterator[dict[str, Any]]:
    """Take a short run with its own schedule; its held-out loss at the end is what counts."""
    arm, plain = job["method"], job["kind"] == "plain weights"
    yield lineage.pilot(arm, job["learning_rate"], PILOT_STEPS[arm], plain)


def make_encoder(job: Job) -> Iterator[dict[str, Any]]:
    """Make an arm's encoder; its curve, and masked loss on every corpus."""
    yield from lineage.made(job["method"], job["random_state"], lineage.SOURCES)


def write_file(job: Job) -> Iterator[dict[str, Any]]:
    """Write the base of seed 42 as one file of half precision, and read it back.

    Raises:
        ValueError: If a logit changes by more than `lineage_file.LOGIT_TOLERANCE`.
    """
    folder = encoder(job["method"], job["random_state"])
    file = lineage.FOLDER / f"{NAME}.safetensors"
    with meter.Meter() as cost:
        digest = halves.write_halves(folder, file)
        again = lineage.FOLDER / "read-back"
        halves.convert(file, again)
    held = lineage.corpus(lineage.REVIEWS)["validation"]
    change = lineage_file.largest_change(folder, again, held)
    if change > lineage_file.LOGIT_TOLERANCE:
        raise ValueError(f"a logit changes by {change:.3f} in half precision; ship float32.")
    losses = {
        name: lineage.masked_loss(where, held)["loss"]
        for name, where in (("loss before", folder), ("loss after", again))
    }
    yield {
        "labels": 0, "split": "validation", "sha256": digest, **fit_fields(cost),
        "metrics": {"bytes": file.stat().st_size, "largest change": change, **losses},
    }  # fmt: skip


# --- tasks ---------------------------------------------------------------------------------------


def choose(job: Job) -> Iterator[dict[str, Any]]:
    """Score every setting of an arm on validation, with draws that no test takes."""
    task, trained = job["task"], job["trained"]
    folder = encoder(job["method"], job["random_state"])
    knob, values = _grid(task, trained)
    for draw in CHOICE_DRAWS[NER if task == NER else trained]:
        for value, fields in _readout(folder, task, trained, values, draw, "validation"):
            yield {knob: value, "draw": draw, "split": "validation", **fields}


def score(job: Job) -> Iterator[dict[str, Any]]:
    """Score an arm's encoder with the setting that validation chose, on every draw."""
    task, trained = job["task"], job["trained"]
    folder = encoder(job["method"], job["random_state"])
    knob, values = _grid(task, trained)
    value = chosen(job["method"], task, trained)
    at_edge = value in (values[0], values[-1])
    for draw in DRAWS if task == NER else TEXT_DRAWS[trained]:
        for _, fields in _readout(folder, task, trained, (value,), draw, "test"):
            yield {knob: value, "at_edge": at_edge, "draw": draw, "split": "test", **fields}


def chosen(arm: str, task: str, trained: str) -> float:
    """The rate, or the penalty, with the best mean validation score."""
    metric, (knob, _) = "f1" if task == NER else "accuracy", _grid(task, trained)
    return best(STUDY, metric, knob, kind="choice", method=arm, task=task, trained=trained)


def _grid(task: str, trained: str) -> tuple[str, tuple[float, ...]]:
    return ("learning_rate", RATES[task]) if trained == FINE_TUNED else ("C", PENALTIES)


def _readout(
    folder: Any, task: str, trained: str, values: tuple[float, ...], draw: int, split: str
) -> Iterator[tuple[float, dict[str, Any]]]:
    """For each value of the knob, the fields of a record."""
    if task == NER:
        for value in values:
            yield value, tagged(folder, value, draw, split)
        return
    train, held = few_shot(task, PER_CLASS[task], draw), splits(task)[split]
    settings = SETTINGS[task]
    if trained == FINE_TUNED:
        for value in values:
            fields = lineage.fine_tuned(
                folder, train, held, learning_rate=value, random_state=draw, **settings
            )
            yield value, fields
        return
    frozen = _frozen(str(folder), settings["max_length"])
    for value in values:
        yield value, lineage.probed(frozen, train, held, value)


@functools.cache  # a job reads one encoder, whose vectors serve every draw
def _frozen(folder: str, max_length: int) -> FrozenEmbeddings:
    return FrozenEmbeddings(folder, max_length=max_length)


def tagged(folder: Any, rate: float, draw: int, split: str) -> dict[str, Any]:
    """Fine-tune a tagger on a draw of sentences and score it on unseen ones."""
    tokens, gold = entities.some(NER, TAGGED, draw)
    tagger = EntityTagger(
        str(folder), learning_rate=rate, random_state=draw, show_progress=False, **TAGGER
    )
    with meter.Meter() as cost:
        tagger.fit(tokens, gold)
    held, true, _ = unseen(split)
    fields = entities.score_fields(true, tagger.predict(held))
    return {"labels": len(tokens), **fit_fields(cost), **fields}


@functools.cache
def unseen(split: str) -> tuple[list[list[str]], list[list[str]], list[int]]:
    """The sentences of a split that do not occur in training, their tags and their stories.

    Of validation always the same few.
    """
    known = {normalize(words) for words in entities.splits(NER)["train"][0]}
    tokens, gold = entities.splits(NER)[split]
    rows = [row for row, words in enumerate(tokens) if normalize(words) not in known]
    if split == "validation":
        order = np.random.default_rng(0).permutation(len(rows))[:VALIDATION_SENTENCES]
        rows = [rows[index] for index in order]
    stories = entities.documents(NER, split)
    return (
        [tokens[row] for row in rows], [gold[row] for row in rows], [stories[row] for row in rows]
    )  # fmt: skip


# --- comparisons ---------------------------------------------------------------------------------


def compare(job: Job) -> Iterator[dict[str, Any]]:
    """The difference of two arms on a task, with its interval and each seed's own."""
    task, of_entities = job["task"], job["task"] == NER
    stories = unseen("test")[2] if of_entities else None
    with meter.Meter() as cost:
        found = lineage.compared(
            STUDY, job["method"], job["minus"], stories, task=task, trained=job["trained"]
        )
    labels = TAGGED if of_entities else CLASSES[task] * PER_CLASS[task]
    yield {"labels": labels, "split": "test", "metrics": found, **fit_fields(cost)}


# --- the plan ------------------------------------------------------------------------------------

# Tokens: a CoNLL sentence with padding, a text of each task.
LENGTHS = {NER: 28, TOPICS: 128, SENTIMENT: 32}
TEST_ITEMS = {NER: 3321, TOPICS: 332, SENTIMENT: 1066}
SCORED = 430_000  # 16 looks at validation and one at each corpus's test text
VALIDATION_ITEMS = {NER: VALIDATION_SENTENCES, TOPICS: 332, SENTIMENT: 1066}


def planned_core_hours(gflops: float = 60) -> dict[str, float]:
    """Hours of one core that each part takes at so many GFLOP/s, by arithmetic."""

    def pretraining(steps: float) -> float:
        return steps * BATCH * BLOCK * flops_per_token()

    def fits(task: str, count: int, held: dict[str, int]) -> float:
        shown = TAGGED * TAGGER["num_epochs"]
        if task != NER:
            shown = CLASSES[task] * PER_CLASS[task] * SETTINGS[task]["num_epochs"]
        scored = held[task] * flops_per_token(masked=0, trained=False)
        return count * LENGTHS[task] * (shown * flops_per_token(masked=0) + scored)

    arms, seeds = len(LINEAGE), len(SEEDS)
    pilots = sum(len(PRETRAINING_RATES[arm]) * steps for arm, steps in PILOT_STEPS.items())
    more = sum(STEPS[arm] for arm in (DOMAIN, CONTROL, TASK, BOTH))
    tries = {task: arms * len(RATES[task]) for task in RATES}
    flops = {
        "base": seeds * pretraining(STEPS[BASE]),
        "pretraining rates": pretraining(pilots),
        "continuations": seeds * pretraining(more),
        "taggers, rates": fits(NER, tries[NER] * len(CHOICE_DRAWS[NER]), VALIDATION_ITEMS),
        "taggers, test": fits(NER, arms * seeds * len(DRAWS), TEST_ITEMS),
        "texts, rates": sum(fits(task, tries[task], VALIDATION_ITEMS) for task in SETTINGS),
        "texts, test": sum(
            fits(task, arms * seeds * len(TEXT_DRAWS[FINE_TUNED]), TEST_ITEMS) for task in SETTINGS
        ),
        "held-out loss": arms * seeds * SCORED * flops_per_token(0.15, trained=False),
    }
    return {part: amount / (gflops * 1e9 * 3600) for part, amount in flops.items()}


if __name__ == "__main__":
    in_stages(__file__, STAGES, run)
