"""Tags as label ids: checked, encoded, counted, decoded (chapter 4)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from reptune.checks import check_unicode
from reptune.tags import OUTSIDE, check_sentences, check_tags, viterbi

_LOOKS_LIKE_A_TAG = re.compile(r"O|[BIES]-.+")
_LETTERS_TO_SUSPECT = 5  # words of one letter in a row that no sentence of an alphabet has


def check_tagged(
    tokens: Iterable[Sequence[str]], tags: Iterable[Sequence[str]], what: str = ""
) -> tuple[list[list[str]], list[list[str]]]:
    """Return sentences and their tags as lists, or raise a `ValueError` that names the fault."""
    sentences = check_sentences(tokens, f"{what}tokens")
    warn_of_letters(sentences)
    try:
        gold = check_tags(sentences, tags, f"{what}tags")
    except ValueError as error:
        if all(_LOOKS_LIKE_A_TAG.fullmatch(word) for row in sentences for word in row):
            raise ValueError(
                f"{what}tokens hold nothing but tags, such as {sentences[0][0]!r}: are the "
                "arguments swapped? Pass the words first, then their tags."
            ) from error
        raise
    for tag in sorted({tag for row in gold for tag in row}):
        check_unicode(tag, f"{what}tags: {tag!r}")
    return sentences, gold


def check_held_out(validation: Any, classes: np.ndarray) -> Any:
    """Return sentences and tags to score, checked, or `None`."""
    if validation is None:
        return None
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise ValueError(
            f"validation is a {type(validation).__name__}; pass a pair, (tokens, tags)."
        )
    held_out = check_tagged(*validation, "validation ")
    check_known(held_out[1], classes)
    return held_out


def warn_of_letters(sentences: Sequence[Sequence[str]]) -> None:
    """Warn where texts seem to have come without being cut into words, or letter by letter."""
    longest = max(map(len, sentences))
    if longest >= _LETTERS_TO_SUSPECT and all(
        len(word) == 1 and word.isascii() for row in sentences for word in row
    ):
        warnings.warn(
            "tokens hold single letters only: was a string taken for a list of words? Cut texts "
            "with reptune.data.tagged.split_words.",
            stacklevel=4,
        )
    if longest == 1 and all(" " in row[0].strip() for row in sentences):
        warnings.warn(
            "each sentence is one token with spaces in it: is it a whole text? Cut texts with "
            "reptune.data.tagged.split_words, or pass them to entities().",
            stacklevel=4,
        )


def check_shares(values: Any, num_tags: int) -> np.ndarray:
    """Return the shares of a manifest, or raise a `ValueError` that names what is wrong."""
    try:
        shares = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        shares = np.empty(0)
    if shares.shape != (num_tags,) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"shares are {values!r}, not one share for each of {num_tags} tags")
    return shares


def classes_of(gold: Iterable[Sequence[str]]) -> np.ndarray:
    """Return `O`, then `B-X` and `I-X` for each type, even where no entity has two words.

    >>> classes_of([["O", "B-PER"]]).tolist()
    ['O', 'B-PER', 'I-PER']
    """
    types = sorted({tag[2:] for row in gold for tag in row if tag != OUTSIDE})
    if not types:
        raise ValueError("tags hold no entity, only 'O'; training needs at least one.")
    return np.array([OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI")])


def check_known(gold: Iterable[Sequence[str]], classes: np.ndarray) -> None:
    """Raise a `ValueError` if validation has tags that training lacks."""
    unseen = sorted({tag for row in gold for tag in row}.difference(classes.tolist()))
    if unseen:
        raise ValueError(
            f"validation has tags that training does not have: {unseen}; "
            "add examples of them to the training sentences, or drop them."
        )


def encode_tags(gold: Iterable[Sequence[str]], classes: np.ndarray) -> list[list[int]]:
    """Return tags as label ids: their indices in `classes`."""
    label_ids = {tag: index for index, tag in enumerate(classes)}
    return [[label_ids[tag] for tag in row] for row in gold]


def further_labels(classes: Sequence[str]) -> list[int]:
    """Return for each label id that of the tag with which its entity goes on.

    >>> further_labels(["O", "B-PER", "I-PER"])
    [0, 2, 2]
    """
    label_ids = {tag: index for index, tag in enumerate(classes)}
    return [label_ids[tag if tag == OUTSIDE else f"I-{tag[2:]}"] for tag in classes]


def tag_shares(gold: Sequence[Sequence[str]], classes: np.ndarray) -> np.ndarray:
    """Return how frequent each of `classes` is, summing to 1, none of them 0."""
    counts = np.bincount(np.concatenate(encode_tags(gold, classes)), minlength=len(classes))
    # Half a count for a tag that never occurs, so that no tag is impossible.
    return (counts + 0.5) / (counts + 0.5).sum()


def decode_tags(rows: Iterable[np.ndarray], classes: np.ndarray) -> list[list[str]]:
    """Return each sentence's likeliest valid tags, given probabilities `(words, classes)`."""
    labels = classes.tolist()
    tiny = np.finfo(float).tiny  # a probability too small for a float is not impossible
    return [viterbi(np.log(np.maximum(row, tiny)), labels) for row in rows]
