"""What a model writes after a prompt: is it a label, and is it right?

Question. What does generating an answer lose against scoring the label words after the same
prompt, and what gives an answer its form: a description, examples, or the chat format?

Arms. Plain prompts with 0, 1, 2 and 4 examples per class, without and with a description of the
task (one sentence, fixed in `shared.asking`); chat prompts with 0 and 4 per class, without and
with it: the same prompt, unchanged, as one user's message in the tokenizer's template, which
brings the model's own system line with it. Greedy, bfloat16, at most 24 tokens; a plain answer ends
at a line break, a chat answer at its end token. Temperatures 0.1, 0.5 and 1.0, one answer per item,
only for SmolLM2 on reviews without description, at 0 and 4 per class.

Models, items, draws. SmolLM2-135M-Instruct: 400 test sentences of Rotten Tomatoes, all 308 test
headlines, draws 42 to 46, and 42 to 51 for the primary comparison. Qwen2.5-Coder-0.5B-Instruct: the
first 200 of the 400, the headlines, draws 42 to 44. Without examples nothing is drawn: recorded
under draw 42 alone.

Measured, each a record with its `correct`: "exact", the answer is a label word, case and
punctuation around it aside; "label", `parse_answer` reads a label in it; "accuracy", that label is
the right one, and no label counts as wrong. For headlines "accuracy, aliases" also takes "sport"
and "tech". Beside them: accuracy among the answers with a label (a selected subset: printed, never
compared), accuracy with the training set's most frequent label where there is none, the share that
was cut at 24 tokens, the share with a label after 1, 2, 4 and 8 tokens, twenty answers that were
lost, and what was read in each (`predicted`, -: none).

Primary comparison (P1). SmolLM2, reviews, plain, 4 per class, no description, ten draws x 400
items: batch-calibrated scoring (`ch05_scoring`) minus "accuracy" of greedy answers, paired over
draws and items. "Scoring is ahead" if the 95% interval lies above 0; "generation costs nothing that
we could see" if it holds 0, with its half width beside it. The same sentence must say that scoring
read 100 unlabeled texts and the model's probabilities.

What part of P1 is built in. Every label word is one token, with the space before it. A greedy
answer that begins with that token names the word that raw scoring puts first, so up to rounding
generation's accuracy is raw scoring's less the lost items that raw scoring has right (plus what is
read later in an answer, or without the space). And batch calibration was ahead of raw scoring
before, by 0.080 [0.024, 0.136], on these 400 items and draws 42 to 46. A positive result is thus
expected from what was known, and P1 is mainly the size of a cost. New in it are draws 47 to 51 and
the share of answers that are lost. Raw scoring stands between the two: raw minus generation is what
parsing costs, batch minus raw what calibration brings; both are printed beside P1. Secondary, with
its sign not known: the share of labels with 1 per class and no description minus that with a
description alone.

Checked. Agreement with raw scoring among labels, over all items of plain prompts without
description, follows from `predicted` here and in `ch05_scoring`; under 0.98 it is an error or
bfloat16's rounding. "float32 check" tells which: 100 reviews, 4 per class, in float32 and bfloat16,
recorded once for each model. Bfloat16 answers depend on what is decoded beside them.

Chosen. Nothing. Known in advance, beside the above: the 400 sentences have been looked at since an
earlier study, and the description was written then; headlines are fresh for prompts.

Smallest detectable difference of P1 (four tries of five): standard error sqrt(0.065^2 / 10 +
0.011^2) = 0.023, so 6.5 points.

Hours. SmolLM2 decodes about 300 tokens per core and second with 48 beside each other: reviews 45 x
19 s, 4 x 35 s, temperatures 3 x 33 s and 15 x 18 s = 1,360 s; headlines 400 s. Qwen 150: reviews 24
x 34 s and 4 x 50 s, headlines 24 x 27 s and 4 x 50 s = 1,870 s. Checks 150 s. With loading 4,000 s,
1.1 core-hours.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from shared.asking import (
    DRAWS,
    ITEMS,
    LARGE,
    NEWS,
    REVIEWS,
    SMALL,
    TASKS,
    TEN_DRAWS,
    Asked,
    cell_fields,
    examples,
    only,
    packed,
    prompts,
    rows,
    some,
    word_scores,
)
from shared.common import Job, fit_fields, main, score_fields

from reptune import meter, runtime
from reptune.incontext import parse_answer
from reptune.models.causal import CausalLM, load_causal_lm
from reptune.models.decoding import Continuation, generate_many

GENERATION, CHECK = "generation", "float32 check"
TOKENS = 24
CUTS = (1, 2, 4, 8)  # tokens after which an answer is also read
TEMPERATURES = (0.1, 0.5, 1.0)
LOST = 20  # answers that are kept as text
CHECKED = 100
MOST_ITEMS = {SMALL: ITEMS, LARGE: ITEMS // 2}
PRIMARY = 4  # per class


class Cell(NamedTuple):
    """One prompt's form, and how it is answered."""

    per_class: int
    description: bool = False
    chat: bool = False
    temperature: float = 0.0


JOBS = [
    {"model": model, "task": task, "random_state": draw, "method": method}
    for model, task, draws, method in (
        (SMALL, REVIEWS, TEN_DRAWS, GENERATION),
        (SMALL, REVIEWS, DRAWS[:1], CHECK),
        (SMALL, NEWS, DRAWS, GENERATION),
        (LARGE, REVIEWS, DRAWS[:3], GENERATION),
        (LARGE, REVIEWS, DRAWS[:1], CHECK),
        (LARGE, NEWS, DRAWS[:3], GENERATION),
    )
    for draw in draws
]


def cells(job: Job) -> list[Cell]:
    """The cells of a job."""
    if job["random_state"] not in DRAWS:
        return [Cell(PRIMARY)]
    found = [Cell(*each) for each in product((0, 1, 2, 4), (False, True))]
    found += [Cell(*each, chat=True) for each in product((0, 4), (False, True))]
    if (job["model"], job["task"]) == (SMALL, REVIEWS):
        found += [Cell(each, temperature=heat) for each in (0, 4) for heat in TEMPERATURES]
    return [cell for cell in found if cell.per_class or job["random_state"] == DRAWS[0]]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Load the model once, and let it answer each prompt of a draw."""
    lm = load_causal_lm(job["model"])
    if job["method"] == CHECK:
        yield check(lm, job)
        return
    halve(lm)
    for cell in cells(job):
        yield from _cell(lm, job, cell)


def halve(lm: CausalLM) -> None:
    """Hold the weights in bfloat16, where the machine computes in it."""
    if runtime.precision()["bf16"]:
        lm.model.to(torch.bfloat16)


def _cell(lm: CausalLM, job: Job, cell: Cell) -> Iterator[dict[str, Any]]:
    """The records of one prompt's answers: one for each measure."""
    task, draw = job["task"], job["random_state"]
    texts, labels = items_of(job)
    shown = examples(task, cell.per_class, draw)
    asked = prompts(lm, task, texts, shown, description=cell.description, chat=cell.chat)
    with meter.Meter() as cost:
        answers = answered(lm, asked, cell, draw)
    common = {**cell_fields(lm, shown, asked[0], cost), **cell._asdict()}
    majority = int(np.bincount(rows(task)["train"]["label"]).argmax())
    for measure, fields in measures(lm, TASKS[task], answers, labels, majority).items():
        yield {**common, "measure": measure, **fields}


def items_of(job: Job) -> tuple[list[str], np.ndarray]:
    """The first test items, as many as the model has time for."""
    texts, labels = some(job["task"])
    most = MOST_ITEMS[job["model"]] if job["task"] == REVIEWS else None
    return texts[:most], labels[:most]


def answered(lm: CausalLM, asked: list[str], cell: Cell, draw: int) -> list[Continuation]:
    """What the model writes after each prompt."""
    return generate_many(
        lm, asked, max_new_tokens=TOKENS, temperature=cell.temperature,
        stop=() if cell.chat else ("\n",), random_state=draw,
    )  # fmt: skip


def read(answers: Sequence[str], asked: Asked, aliases: bool = False) -> np.ndarray:
    """The label id that each answer means; -1 for none."""
    words = [*asked.words, *(asked.aliases if aliases else ())]
    meant = [parse_answer(answer, words) for answer in answers]
    full = [asked.aliases.get(word, word) for word in meant]
    return np.array([-1 if word is None else asked.words.index(word) for word in full])


def measures(
    lm: CausalLM, asked: Asked, answers: list[Continuation], labels: np.ndarray, majority: int
) -> dict[str, dict[str, Any]]:
    """Record fields of each measure of the same answers."""
    found = read(answers, asked)
    has = found >= 0
    exact = [re.sub(r"^\W+|\W+$", "", text.casefold()) in asked.words for text in answers]
    lost = [str(text) for text, label in zip(answers, has, strict=True) if not label]
    right = packed(found, labels)
    right["metrics"] |= {
        "with_majority": float((np.where(has, found, majority) == labels).mean()),
        "is_cut": float(np.mean([bool(text.is_cut) for text in answers])),
        **{f"label_after_{most}": float((early(lm, asked, answers, most) >= 0).mean())
           for most in CUTS},
    }  # fmt: skip
    if has.any():
        right["metrics"]["among_labels"] = float((found == labels)[has].mean())
    fields = {
        "exact": score_fields(np.array(exact)),
        "label": {**score_fields(has), "lost": lost[:LOST]},
        "accuracy": right,
    }
    if asked.aliases:
        fields["accuracy, aliases"] = packed(read(answers, asked, aliases=True), labels)
    return fields


def early(lm: CausalLM, asked: Asked, answers: Sequence[str], most: int) -> np.ndarray:
    """What answers mean if they are cut after so many tokens, as the tokenizer cuts the text."""
    ids = [lm.encode(answer, special=False)[:most] for answer in answers]
    return read([lm.tokenizer.decode(each) for each in ids], asked)


def check(lm: CausalLM, job: Job) -> dict[str, Any]:
    """Answers in float32 and bfloat16, and both against raw scores in float32."""
    task, draw, cell = job["task"], job["random_state"], Cell(PRIMARY)
    shown = examples(task, PRIMARY, draw)
    asked = prompts(lm, task, items_of(job)[0][:CHECKED], shown)
    with meter.Meter() as cost:
        best = word_scores(lm, asked, TASKS[task].words, half_precision=False).argmax(axis=1)
        full = answered(lm, asked, cell, draw)
        halve(lm)
        half = answered(lm, asked, cell, draw)
    found = [read(answers, TASKS[task]) for answers in (full, half)]
    metrics = {
        "same_text": float(np.mean([a == b for a, b in zip(full, half, strict=True)])),
        "same_label": float((found[0] == found[1]).mean()),
    }
    for name, labels in zip(("float32", "bfloat16"), found, strict=True):
        if (labels >= 0).any():
            metrics[f"agreement_{name}"] = float((labels == best)[labels >= 0].mean())
    common = {**cell_fields(lm, shown, asked[0], cost), **cell._asdict(), **fit_fields(cost)}
    return {**common, "measure": CHECK, "metrics": metrics, "items": len(asked)}


if __name__ == "__main__":
    main(__file__, only(JOBS), run)
