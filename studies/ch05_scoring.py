"""Two models, raw, calibrated, and with the best thresholds: ranking, or only the threshold?

Question. Does the model of 0.5 billion parameters rank or answer better than the one of 0.135
billion, does it make more of examples, and how much of what raw scores lose is the threshold?

Arms. SmolLM2-135M-Instruct and Qwen2.5-Coder-0.5B-Instruct; Rotten Tomatoes with 0, 1, 2, 4 and 8
examples per class, headlines in five sections with 0, 1, 2 and 4. Five ways from the same scores to
labels: raw; contextual calibration; batch calibration (100 training texts); an oracle, whose
threshold (for headlines four offsets, by coordinate ascent) is fitted on the very items, so a
ceiling, optimistic by about a point; and cross-fitted, fitted on one half of the items and applied
to the other, which is what 200 labels (154 for headlines) for the threshold alone would buy. AUC
for reviews, for headlines the mean of one class against the rest. `chat` repeats 0 and 4 per class
on reviews as one user's message; there the words begin a message, and count with a capital and
without.

Items. 400 test sentences of Rotten Tomatoes (the fixed subset that earlier studies used, too), all
308 test headlines. Draws 42 to 46, nested, so that curves are paired; reviews with 4 per class and
SmolLM2 have ten (42 to 51), for the primary comparisons of `ch05_generation` and `ch05_formats`,
and Qwen with 8 per class three. Without examples nothing is drawn: recorded under 42 alone.

Comparisons. None here is primary. Differences come with paired intervals over draws and items;
"higher" and "lower" only where one excludes 0, else "not distinguishable", with its half width.
Oracle minus raw cannot be below 0, so it is printed as a size and tests nothing; batch calibration
minus cross-fitted is the honest comparison. Two models differ in family, data, code, quantization
and tuning, so "because it is larger" cannot follow.

Chosen. Nothing: all settings are reported. Known in advance: the five draws of SmolLM2 on reviews
with 0 to 8 per class were scored by an earlier study, raw, contextual and batch, on these items;
on 200 validation sentences Qwen had 0.760 without examples where SmolLM2 had 0.770, so that no
difference, or a reversed one, is likely there. Batch calibration takes classes to be equally
frequent, which headlines (0.16 to 0.24) are not quite.

Smallest detectable difference (four tries of five): for two ways on the same prompts about 6.5
points with ten draws (deviation over draws 0.065, share of items that differ 0.14), 9 with five.

Hours. SmolLM2, about 900 tokens per core and second: reviews 21 prompts x 17 s and 5 x 60 s = 660
s, headlines 160 s. Qwen, about 200: reviews 16 x 73 s and 3 x 180 s, headlines 16 x 32 s = 2,220 s.
Chat 600 s. With loading 3,900 s, 1.1 core-hours.

A record's `predicted` holds each item's label id as one character.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from shared.asking import (
    BATCH,
    CROSS_FITTED,
    DRAWS,
    LARGE,
    NEWS,
    ORACLE,
    REVIEWS,
    SMALL,
    TASKS,
    TEN_DRAWS,
    cell_fields,
    chat_scores,
    examples,
    mean_auc,
    only,
    packed,
    prompts,
    some,
    unlabeled,
    ways,
    word_scores,
)
from shared.common import Job, main

from reptune import meter
from reptune.incontext import CONTENT_FREE
from reptune.models.causal import load_causal_lm

PER_CLASS = {REVIEWS: (0, 1, 2, 4, 8), NEWS: (0, 1, 2, 4)}
PRIMARY, MOST = 4, 8  # per class
DRAWS_OF_MOST = {SMALL: DRAWS, LARGE: DRAWS[:3]}
CHAT = (0, PRIMARY)

JOBS = [
    {"model": model, "task": task, "random_state": draw, "chat": chat}
    for model, task, draws, chat in (
        (SMALL, REVIEWS, TEN_DRAWS, False),
        (SMALL, NEWS, DRAWS, False),
        (LARGE, REVIEWS, DRAWS, False),
        (LARGE, NEWS, DRAWS, False),
        (SMALL, REVIEWS, DRAWS, True),
        (LARGE, REVIEWS, DRAWS, True),
    )
    for draw in draws
]


def cells(job: Job) -> list[int]:
    """How many examples per class the prompts of a job show."""
    draw = job["random_state"]
    if draw not in DRAWS:
        return [PRIMARY]
    numbers = CHAT if job["chat"] else PER_CLASS[job["task"]]
    return [
        number
        for number in numbers
        if (number or draw == DRAWS[0]) and (number < MOST or draw in DRAWS_OF_MOST[job["model"]])
    ]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Load the model once, and score each prompt of a draw."""
    lm = load_causal_lm(job["model"])
    for per_class in cells(job):
        yield from _cell(lm, job, per_class)


def _cell(lm: Any, job: Job, per_class: int) -> Iterator[dict[str, Any]]:
    """The records of one prompt: one for each way from scores to labels."""
    task = job["task"]
    texts, labels = some(task)
    shown, others = examples(task, per_class, job["random_state"]), unlabeled(task)
    asked = prompts(lm, task, [*CONTENT_FREE, *others, *texts], shown, chat=job["chat"])
    with meter.Meter() as cost:
        found = (chat_scores if job["chat"] else word_scores)(lm, asked, TASKS[task].words)
    ends = [len(CONTENT_FREE), len(CONTENT_FREE) + len(others)]
    free, others, scores = np.split(found, ends)
    common = cell_fields(lm, shown, asked[ends[1]], cost)
    # Labels that a way reads beside those in the prompt.
    read = {ORACLE: len(labels), CROSS_FITTED: len(labels) // 2}
    for way, predicted in ways(scores, labels, free, others).items():
        fields = packed(predicted, labels)
        fields["metrics"]["auc"] = mean_auc(scores, labels)
        if task == REVIEWS:
            fields["metrics"]["share_positive"] = float(predicted.mean())
        yield {
            **common,
            **fields,
            "method": way,
            "labels": len(shown) + read.get(way, 0),
            "unlabeled": len(others) if way == BATCH else 0,
        }


if __name__ == "__main__":
    main(__file__, only(JOBS), run)
