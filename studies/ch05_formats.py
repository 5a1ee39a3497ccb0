"""Should a prompt look like what a model has read?

Question. The advice is to write prompts that resemble text of the training data. Do three formats
that look like such text do better than three that do not?

Formats, fixed before any record (`shared.asking`), with the same words, separators, draws and
orders. Natural: N1 `Review: … / Sentiment:`, N2 `A critic wrote: "…" That review is`, N3 `… / Is
this review negative or positive? It is`. Unnatural: U1, N1 with the names Blicket and Dax, which
nobody uses (the closest pair); U2, N1 with its two names swapped, so the same tokens; U3
`x = "…" ; y =`. For headlines the same with Headline and Section. N3 names the labels, so it
carries a description: N1 and N2 against U1 to U3 is the second row.

Naturalness is measured, not asserted: "likelihood", the mean log-likelihood per token of the
template's own tokens (those that overlap the text's characters, and the prompt's first token, left
out), without examples, over 100 training texts. Printed beside accuracy; six points, no test.

Runs. 0 and 4 examples per class. SmolLM2-135M-Instruct on 400 reviews, ten draws, and on 308
headlines, five; Qwen2.5-Coder-0.5B-Instruct on the first 200 of the reviews, 4 per class, three
draws. Raw and batch-calibrated, with AUC. N1 is not scored again: it is in `ch05_scoring`, on the
same items and draws (of Qwen's, take the first 200). One more arm, N1 with 4 per class and ten
draws: the texts written normally (`normal`: a capital to begin, no space before punctuation)
instead of in Rotten Tomatoes' lower-case tokens; the same advice, applied to the text.

Primary comparison (P2). SmolLM2, reviews, 4 per class, batch calibration, ten draws x 400 items:
mean accuracy of N1 to N3 minus that of U1 to U3, paired over draws and items. "The advice holds
here" if the 95% interval lies above 0, "refuted here" if below, else undecided, with its half
width. N1 - U1 and N1 - U2 are secondary, at 97.5% each. The others are described: the same
direction, not distinguishable, or reversed.

Chosen. Nothing: no format is chosen on test, and N1 stays the default whatever wins. Known in
advance: accuracy of N1 on these items and draws 42 to 46. The formats were written knowing that.

Smallest detectable difference of P2 (four tries of five): with a deviation over draws of 0.03 to
0.05 (a guess) and 0.012 for the items, standard error 0.015 to 0.020, so 4 to 5.5 points.

Hours. SmolLM2, reviews: 5 formats x 10 draws x 18 s, 5 x 17 s, normal texts 180 s, likelihood 35 s
= 1,200 s; headlines 300 s. Qwen 15 x 44 s = 660 s. With loading 2,340 s, 0.65 core-hours.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from shared.asking import (
    BATCH,
    DRAWS,
    ITEMS,
    LARGE,
    NATURAL,
    NEWS,
    RAW,
    REVIEWS,
    SMALL,
    TASKS,
    TEN_DRAWS,
    UNNATURAL,
    cell_fields,
    examples,
    log_likelihoods,
    mean_auc,
    only,
    packed,
    prompts,
    some,
    unlabeled,
    word_scores,
)
from shared.common import Job, fit_fields, main

from reptune import meter
from reptune.incontext import calibrated
from reptune.models.causal import CausalLM, load_causal_lm

FORMATS = (*NATURAL, *UNNATURAL)
NORMAL = "N1, written normally"
LIKELIHOOD = "likelihood"
PER_CLASS = 4
MOST_ITEMS = {SMALL: ITEMS, LARGE: ITEMS // 2}

JOBS = [
    {"model": model, "task": task, "random_state": draw}
    for model, task, draws in (
        (SMALL, REVIEWS, TEN_DRAWS),
        (SMALL, NEWS, DRAWS),
        (LARGE, REVIEWS, DRAWS[:3]),
    )
    for draw in draws
]


def cells(job: Job) -> list[tuple[str, int]]:
    """The formats that a job scores, each with how many examples per class; N1 is elsewhere."""
    found = [(form, PER_CLASS) for form in FORMATS[1:]]
    if job["model"] == SMALL and job["random_state"] == DRAWS[0]:
        found = [*((form, 0) for form in FORMATS[1:]), *found]
    if (job["model"], job["task"]) == (SMALL, REVIEWS):
        found.append((NORMAL, PER_CLASS))
    return found


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Load the model once, and score each format with a draw's examples."""
    lm = load_causal_lm(job["model"])
    if job["random_state"] == DRAWS[0]:
        for form in FORMATS:
            yield naturalness(lm, job["task"], form)
    for form, per_class in cells(job):
        yield from _cell(lm, job, form, per_class)


def _cell(lm: CausalLM, job: Job, form: str, per_class: int) -> Iterator[dict[str, Any]]:
    """The records of one format's answers: raw, and calibrated."""
    task = job["task"]
    texts, labels = some(task)
    most = MOST_ITEMS[job["model"]] if task == REVIEWS else None
    texts, labels = texts[:most], labels[:most]
    shown, others = examples(task, per_class, job["random_state"]), unlabeled(task)
    rewrite = normal if form == NORMAL else str
    asked = prompts(
        lm, task, [rewrite(text) for text in [*others, *texts]],
        [(rewrite(text), label) for text, label in shown],
        form=NATURAL[0] if form == NORMAL else form,
    )  # fmt: skip
    with meter.Meter() as cost:
        anyway, scores = np.split(word_scores(lm, asked, TASKS[task].words), [len(others)])
    common = {**cell_fields(lm, shown, asked[len(others)], cost), "format": form}
    for way, chances in ((RAW, scores), (BATCH, calibrated(scores, anyway))):
        fields = packed(chances.argmax(axis=1), labels)
        fields["metrics"]["auc"] = mean_auc(scores, labels)
        yield {**common, **fields, "method": way}


def normal(text: str) -> str:
    """A text of lower-case tokens, written as people write; names stay without capitals."""
    text = re.sub(r"\s+([.,;:!?%)\]])", r"\1", text)
    text = re.sub(r"([(\[])\s+", r"\1", text)
    text = re.sub(r'"\s*([^"]*?)\s*"', r'"\1"', text)
    text = re.sub(r"\bi\b(?!\.)", "I", text)
    # Not after three dots, where a sentence often goes on.
    begins = r'(^\W*|(?<!\.)[.!?]["\')]*\s+["\'(]*)([a-z])'
    return re.sub(begins, lambda found: found[1] + found[2].upper(), text)


def naturalness(lm: CausalLM, task: str, form: str) -> dict[str, Any]:
    """How likely the model finds a template's own tokens around training texts."""
    template = TASKS[task].formats[form]
    found = []
    with meter.Meter() as cost:
        for text in unlabeled(task):
            values, places = log_likelihoods(lm, prompts(lm, task, [text], form=form)[0])
            found += own(values, places, template, text)
    return {
        "method": LIKELIHOOD,
        "format": form,
        "split": "train",
        "labels": 0,
        "per_class": 0,
        "items": len(unlabeled(task)),
        **fit_fields(cost),
        "metrics": {"log_likelihood": float(np.mean(found)), "tokens": len(found)},
    }


def own(values: np.ndarray, places: np.ndarray, template: str, text: str) -> list[float]:
    """The values of those tokens that overlap no character of the text."""
    start = template.index("{text}")
    end = start + len(text)
    outside = (places[:, 1] <= start) | (places[:, 0] >= end)
    return values[outside].tolist()


if __name__ == "__main__":
    main(__file__, only(JOBS), run)
