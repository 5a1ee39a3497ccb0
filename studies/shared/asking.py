"""What chapter 5's studies ask with: two tasks, label words, prompts, formats, thresholds, scores.

The words, descriptions and formats were fixed before any record of the studies that use them.

`STUDY_ONLY`, a variable of the environment, makes a study do a part of its jobs, so that several
studies can take turns: with `STUDY_ONLY="model=SmolLM2-135M-Instruct task=rotten_tomatoes"`, those
with these fields.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from datasets import DatasetDict
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from reptune import data, meter, runtime
from reptune.incontext import build_prompt, calibrated
from reptune.models.causal import CausalLM
from shared.common import Job, fit_fields, score_fields

SMALL, LARGE = "SmolLM2-135M-Instruct", "Qwen2.5-Coder-0.5B-Instruct"
REVIEWS, NEWS = "rotten_tomatoes", "headlines"
DRAWS = (42, 43, 44, 45, 46)
TEN_DRAWS = tuple(range(42, 52))  # where a primary comparison needs them
ITEMS = 400  # of a test split, always the same ones; all 308 headlines
UNLABELED = 100  # training texts, labels unread, for batch calibration
RAW, CONTEXTUAL, BATCH = "raw", "contextual", "batch"
ORACLE, CROSS_FITTED = "oracle", "cross-fitted"
PASSES = 20  # of the coordinate ascent for several thresholds
NATURAL, UNNATURAL = ("N1", "N2", "N3"), ("U1", "U2", "U3")

Shown = Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Asked:
    """How a task is put to a model.

    Attributes:
        words: The word of each label id, one token each for both models.
        description: What the task is; for these prompts, "with a description" means this sentence.
        formats: How an item looks, by the format's name; the answer follows after a space.
        aliases: Further words that mean a label, for a second count of answers.
    """

    words: tuple[str, ...]
    description: str
    formats: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)


TASKS = {
    REVIEWS: Asked(
        ("negative", "positive"),
        "Decide whether each movie review is negative or positive.",
        {
            "N1": "Review: {text}\nSentiment:",
            "N2": 'A critic wrote: "{text}" That review is',
            "N3": "{text}\nIs this review negative or positive? It is",
            "U1": "Blicket: {text}\nDax:",
            "U2": "Sentiment: {text}\nReview:",
            "U3": 'x = "{text}" ; y =',
        },
    ),
    NEWS: Asked(
        ("business", "entertainment", "politics", "sports", "technology"),
        "Sort each news headline into one of these sections: business, entertainment, politics, "
        "sports, technology.",
        {
            "N1": "Headline: {text}\nSection:",
            "N2": 'An editor filed "{text}" under',
            "N3": "{text}\nWhich section is this: business, entertainment, politics, sports or "
            "technology? It is",
            "U1": "Blicket: {text}\nDax:",
            "U2": "Section: {text}\nHeadline:",
            "U3": 'x = "{text}" ; y =',
        },
        {"sport": "sports", "tech": "technology"},
    ),
}


def only(jobs: Iterable[Job]) -> list[Job]:
    """The jobs with the fields that `STUDY_ONLY` names; all of them if it is not set."""
    wanted = [pair.split("=", 1) for pair in os.environ.get("STUDY_ONLY", "").split()]
    return [job for job in jobs if all(str(job.get(name)) == value for name, value in wanted)]


# --- texts and prompts ---------------------------------------------------------------------------


@functools.cache
def rows(task: str) -> DatasetDict:
    """A task's splits."""
    return data.headlines() if task == NEWS else data.load(task)


def some(task: str, split: str = "test", most: int = ITEMS) -> tuple[list[str], np.ndarray]:
    """Texts and labels of a split: all, or always the same `most`."""
    part = data.fixed_subset(rows(task)[split], most)
    return list(part["text"]), np.array(part["label"])


def unlabeled(task: str) -> list[str]:
    """Training texts whose labels nobody reads."""
    return some(task, "train", UNLABELED)[0]


def examples(task: str, per_class: int, draw: int) -> list[tuple[str, int]]:
    """A draw of texts and labels to show; of one draw, the smaller ones are part of the larger."""
    if not per_class:
        return []
    drawn = data.few_shot(rows(task)["train"], per_class, draw)
    return list(zip(drawn["text"], drawn["label"], strict=True))


def prompts(
    lm: CausalLM,
    task: str,
    texts: Iterable[str],
    shown: Shown = (),
    *,
    description: bool = False,
    chat: bool = False,
    form: str = NATURAL[0],
) -> list[str]:
    """A prompt for each text; `chat` sends the same prompt, unchanged, as one user's message."""
    asked = TASKS[task]
    built = [
        build_prompt(
            text,
            [(known, asked.words[label]) for known, label in shown],
            description=asked.description if description else "",
            template=asked.formats[form],
        )
        for text in texts
    ]
    return [lm.chat(prompt) for prompt in built] if chat else built


def cell_fields(lm: CausalLM, shown: Shown, prompt: str, cost: meter.Meter) -> dict[str, Any]:
    """What the records of one prompt's answers have in common."""
    classes = len({label for _, label in shown})
    return {
        "split": "test",
        "labels": len(shown),
        "per_class": len(shown) // classes if shown else 0,
        "last_label": shown[-1][1] if shown else None,
        "prompt_tokens": len(lm.encode(prompt)),
        **fit_fields(cost),
        "seconds": {"predict": round(cost.seconds, 2)},
    }


# --- scores --------------------------------------------------------------------------------------


def word_scores(
    lm: CausalLM, asked: Sequence[str], words: Sequence[str], half_precision: bool = True
) -> np.ndarray:
    """The mean log-likelihood per token of each word after each prompt, `(n, words)`."""
    endings = [f" {word}" for word in words]
    lengths = [len(lm.encode(ending, special=False)) for ending in endings]
    totals = lm.continuation_scores(asked, endings, half_precision=half_precision)
    return totals / np.array(lengths)


def chat_scores(lm: CausalLM, asked: Sequence[str], words: Sequence[str]) -> np.ndarray:
    """The log-likelihood of each word at the beginning of a message, with a capital or without."""
    endings = [*words, *(word.capitalize() for word in words)]
    lower, upper = np.split(lm.continuation_scores(asked, endings, half_precision=True), 2, axis=1)
    return np.logaddexp(lower, upper)


def mean_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """How well each label is ranked, whatever the thresholds: the mean AUC, one against the rest.

    For two classes, both have the same AUC.
    """
    chances = log_softmax(scores, axis=1)
    found = [roc_auc_score(labels == label, chances[:, label]) for label in np.unique(labels)]
    return float(np.mean(found))


def packed(predicted: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Score fields, and each item's label id as one character; `-` for none, which is -1."""
    text = "".join("-" if label < 0 else str(label) for label in predicted.tolist())
    return {**score_fields(predicted == labels), "predicted": text}


@torch.inference_mode()
def log_likelihoods(lm: CausalLM, text: str) -> tuple[np.ndarray, np.ndarray]:
    """The log-likelihood of each token of a text after its first, and where they stand, `(n, 2)`.

    One plain forward pass, in bfloat16 products where the machine has them.
    """
    encoded = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = torch.tensor([encoded["input_ids"]], device=lm.model.device)
    with runtime.half_precision(lm.model.device, True):
        logits = lm.model(ids).logits[0, :-1].float()
    found = logits.gather(1, ids[0, 1:, None])[:, 0] - logits.logsumexp(dim=1)
    return found.double().cpu().numpy(), np.array(encoded["offset_mapping"])[1:]


# --- from scores to labels -----------------------------------------------------------------------


def ways(
    scores: np.ndarray, labels: np.ndarray, free: np.ndarray, others: np.ndarray
) -> dict[str, np.ndarray]:
    """Label ids, by each way of getting from scores to them.

    Args:
        scores: `(n, classes)`.
        labels: `(n,)`, which only the oracle and the cross-fitted thresholds read.
        free: Scores of inputs without content, in the same context.
        others: Scores of training texts, in the same context.
    """
    return {
        RAW: scores.argmax(axis=1),
        CONTEXTUAL: calibrated(scores, free).argmax(axis=1),
        BATCH: calibrated(scores, others).argmax(axis=1),
        ORACLE: (scores - offsets(scores, labels)).argmax(axis=1),
        CROSS_FITTED: cross_fitted(scores, labels),
    }


def best_threshold(margins: np.ndarray, above: np.ndarray, below: np.ndarray) -> float:
    """The threshold that puts most items on their side; the middle one of those that tie.

    All thresholds that differ in what they do are tried: halfway between two neighbors, and beyond
    both ends.

    Args:
        margins: `(n,)`.
        above: Which items are right above the threshold.
        below: Which are right at it or below.
    """
    ordered = np.unique(margins)
    middles = (ordered[1:] + ordered[:-1]) / 2
    tried = np.concatenate([[ordered[0] - 1], middles, [ordered[-1] + 1]])
    higher = margins > tried[:, None]
    right = (higher & above).sum(axis=1) + (~higher & below).sum(axis=1)
    ties = np.flatnonzero(right == right.max())
    return float(tried[ties[len(ties) // 2]])


def offsets(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What to take from each class's scores so that most labels come out right, `(classes,)`.

    The first class's is 0. For two classes this is the best threshold of all. For more, one offset
    after the other is set to its best while the others stay (`PASSES` times through), once from 0
    and once from the classes' mean scores; the better end counts. That is never worse than the
    scores as they are, but a lower bound of what offsets can reach.
    """
    means = scores.mean(axis=0)
    starts = [np.zeros(len(means)), means - means[0]]
    ends = [_ascended(scores, labels, start) for start in starts]
    return max(ends, key=lambda end: ((scores - end).argmax(axis=1) == labels).sum())


def _ascended(scores: np.ndarray, labels: np.ndarray, start: np.ndarray) -> np.ndarray:
    found = start.copy()
    for _ in range(PASSES if len(start) > 2 else 1):
        for label in range(1, len(start)):
            others = scores - found
            others[:, label] = -np.inf
            margins = scores[:, label] - others.max(axis=1)
            rival = others.argmax(axis=1)
            found[label] = best_threshold(margins, labels == label, labels == rival)
    return found


def cross_fitted(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Label ids by offsets that were fitted on the other half of the items.

    That is what as many labels as half of the items would buy, for the thresholds alone.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    halves = np.array_split(order, 2)
    predicted = np.empty(len(labels), dtype=int)
    for held, used in (halves, halves[::-1]):
        shifted = scores[held] - offsets(scores[used], labels[used])
        predicted[held] = shifted.argmax(axis=1)
    return predicted
