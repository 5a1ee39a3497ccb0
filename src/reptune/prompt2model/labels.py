"""Which label of a data set stands for which label of a task, or that none does (chapter 7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

# Labels whose names are less similar, or hardly more similar than another pair, are not matched.
# MiniLM gives "sport" and "sports" 0.93, "government" and "politics" 0.69, but "city" and
# "location" 0.65, "show business" and "entertainment" 0.45.
LEAST_SIMILARITY = 0.68
LEAST_MARGIN = 0.1

# What an encoder cannot tell: "bad" resembles "positive" (0.44) as much as "good" does.
_SAME: Mapping[str, tuple[str, ...]] = {
    "positive": ("pos", "+", "good", "favorable", "favourable", "fresh", "thumbs up",
                 "recommended", "satisfied", "liked", "praise"),
    "negative": ("neg", "-", "bad", "unfavorable", "unfavourable", "rotten", "thumbs down",
                 "not recommended", "dissatisfied", "disliked", "complaint", "not positive"),
    "person": ("per", "persons", "people", "person name"),
    "organization": ("org", "organisation", "organizations", "organisations"),
    "location": ("loc", "locations", "place", "places", "geo loc"),
    "miscellaneous": ("misc",),
    "sports": ("sport",),
    "tech": ("technology",),
    "business": ("finance", "economy"),
}  # fmt: skip
_MEANING = {other: word for word, others in _SAME.items() for other in others}
# Words around a label that say nothing: "positive review", "sports news".
_EMPTY = r"\b(sentiment|reviews?|texts?|news|articles?|topic|class|label|opinion|entity|name)\b"

_NUMBERS = {"1": "positive", "0": "negative"}
_NEGATED = r"\b(not|no|non|unless|except|without|neither)\b|n't"


class DeclinedError(ValueError):
    """A data set's rows do not answer a task; the message says why."""


def match_labels(
    ours: Sequence[str],
    theirs: Sequence[str],
    embed: Callable[[Sequence[str]], np.ndarray],
    instruction: str = "",
) -> dict[str, str]:
    """Return for labels of a data set the task's label that each stands for.

    Equal names and well-known others ("pos" for "positive", "PER" for "person") come first, then
    the assignment of the rest with the highest sum of cosines. Labels 1 and 0 stand for what the
    instruction says ("1 for positive"), or where it says nothing, for positive and negative.

    Args:
        ours: Labels of the task. Each must have a counterpart.
        theirs: Labels of the data set. Those without a counterpart are left out.
        embed: From names to unit vectors, shape `(num_names, dimension)`.
        instruction: What the task says about its labels.

    Raises:
        DeclinedError: If a label of the task has no clear counterpart.

    >>> from reptune.prompt2model.ranking import Embedder
    >>> embed = Embedder("all-MiniLM-L6-v2").embed
    >>> match_labels(["Sport", "Government"], ["business", "politics", "sports"], embed)
    {'politics': 'Government', 'sports': 'Sport'}
    """
    if not ours:
        raise DeclinedError("the task names no labels to compare with those of the data.")
    theirs_meant = [_meaning(label) for label in theirs]
    ours_meant = [_explained(label, instruction, theirs_meant) for label in ours]
    if len(set(ours_meant)) < len(ours_meant):
        raise DeclinedError(f"two of the labels {', '.join(map(repr, ours))} mean the same.")
    pairs = {
        theirs_meant.index(meant): row
        for row, meant in enumerate(ours_meant)
        if meant in theirs_meant
    }
    open_ours = [row for row in range(len(ours)) if row not in pairs.values()]
    open_theirs = [column for column in range(len(theirs)) if column not in pairs]
    if open_ours:
        names = [ours[row] for row in open_ours]
        if not open_theirs:
            raise DeclinedError(f"no label of the data is left for {names[0]!r}.")
        similarity = (
            embed([ours_meant[row] for row in open_ours])
            @ embed([theirs_meant[column] for column in open_theirs]).T
        )
        found = _assigned(similarity, names, [theirs[column] for column in open_theirs])
        pairs |= {open_theirs[column]: open_ours[row] for row, column in found}
    return {theirs[column]: ours[row] for column, row in sorted(pairs.items())}


def _assigned(
    similarity: np.ndarray, ours: Sequence[str], theirs: Sequence[str]
) -> list[tuple[int, int]]:
    """Return the best pairs, or raise for the first label without a clear counterpart."""
    found = dict(zip(*(side.tolist() for side in linear_sum_assignment(-similarity)), strict=True))
    for row, label in enumerate(ours):
        best = int(similarity[row].argmax())
        value = float(similarity[row, found[row]]) if row in found else -1.0
        second = max((float(v) for c, v in enumerate(similarity[row]) if c != found.get(row)),
                     default=-1.0)  # fmt: skip
        if value < LEAST_SIMILARITY or value - second < LEAST_MARGIN:
            raise DeclinedError(
                f"no label of the data clearly stands for {label!r}; the nearest is "
                f"{theirs[best]!r} (cosine {similarity[row, best]:.2f})."
            )
    return list(found.items())


def _meaning(label: str) -> str:
    text = " ".join(re.sub(r"[_/-]+", " ", label.lower()).split()) or label.strip()
    bare = " ".join(re.sub(_EMPTY, " ", text).split()) or text
    return _MEANING.get(text, _MEANING.get(bare, bare))


def _explained(label: str, instruction: str, theirs: Sequence[str]) -> str:
    """Return what a label means; of a number, what the instruction says, or the usual."""
    number = label.strip()
    if not re.fullmatch(r"\d+", number):
        return _meaning(label)
    for clause in _clauses(number, instruction):
        said = {_meaning(word) for word in re.findall(r"[^\W\d_]+", clause)} & set(theirs)
        if len(said) == 1 and not re.search(_NEGATED, clause, re.I):
            return said.pop()
        if said:
            raise DeclinedError(f"what the task says of its label {label!r} is not clear.")
    if set(theirs) == {"positive", "negative"} and number in _NUMBERS:
        return _NUMBERS[number]
    raise DeclinedError(f"the task does not say what its label {label!r} means.")


def _clauses(number: str, instruction: str) -> list[str]:
    """Return what may explain a number: "1 if it is good", then "good (1)"."""
    one = rf"(?<![\w.]){number}(?![\w]|\.\d)"
    joint = r"\s*['\"]?\s*(?:=|:|\(|(?:if|for|means?|is|when|as)\b)"
    after = re.findall(rf"{one}{joint}([^,.;\d]*)", instruction, re.I)
    before = re.findall(rf"([^\W\d_]+)['\"]?\s*(?:=|:|\(|is|as)\s*['\"]?{one}", instruction, re.I)
    return [*after, *before]
