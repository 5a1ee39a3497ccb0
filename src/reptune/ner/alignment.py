"""From words to tokens: which tokens each word has, and windows over long sentences (chapter 4)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

OVERLAP = 0.25  # of a window that the next one sees again


class Window(NamedTuple):
    """Neighboring words of a sentence that go through the model together.

    Attributes:
        start: Index of the first word.
        end: Index after the last word.
        own_start: Index of the first word whose tag this window decides. Every word has one such
            window, the one that shows most of its context.
        own_end: Index after the last of them.
    """

    start: int
    end: int
    own_start: int
    own_end: int


def align(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]]
) -> list[list[list[int]]]:
    """Return the token ids of each word, without special tokens.

    Returns:
        For each sentence and word a list of ids; an empty one where the tokenizer leaves nothing
        of a word, such as a lone accent.

    Source: chapter 4.
    """
    encoded = tokenizer(
        [list(sentence) for sentence in sentences],
        is_split_into_words=True,
        add_special_tokens=False,
        truncation=False,
        verbose=False,
    )
    aligned = []
    for row, sentence in enumerate(sentences):
        ids: list[list[int]] = [[] for _ in sentence]
        for token_id, word in zip(encoded["input_ids"][row], encoded.word_ids(row), strict=True):
            ids[word].append(token_id)
        aligned.append(ids)
    return aligned


def windows(sizes: Sequence[int], room: int, overlap: float = OVERLAP) -> list[Window]:
    """Cut a sentence into overlapping runs of words that fit into the model.

    Args:
        sizes: How many tokens each word has, none more than `room`.
        room: Tokens that fit besides the special ones.
        overlap: Share of the room that two neighbors may share.

    Returns:
        From left to right; one window where the sentence fits. What two windows share is decided
        half by one, half by the other, so that every word is decided once and near no edge.

    Raises:
        ValueError: If a word alone does not fit.

    >>> windows([1, 1, 1, 1, 1, 1], room=4)
    [Window(start=0, end=4, own_start=0, own_end=3), Window(start=3, end=6, own_start=3, own_end=6)]
    """
    ends = np.concatenate([[0], np.cumsum(sizes)])
    if len(sizes) and max(sizes) > room:
        raise ValueError(f"a word has {max(sizes)} tokens, but only {room} fit.")
    runs, start = [], 0
    while True:
        end = int(np.searchsorted(ends, ends[start] + room, side="right")) - 1
        runs.append((start, end))
        if end == len(sizes):
            break
        back = int(np.searchsorted(ends, ends[end] - overlap * room))
        start = max(start + 1, min(back, end))
    middles = [(end + after) // 2 for (_, end), (after, _) in itertools.pairwise(runs)]
    cuts = [0, *middles, len(sizes)]
    return [
        Window(start, end, own_start, own_end)
        for (start, end), own_start, own_end in zip(runs, cuts[:-1], cuts[1:], strict=True)
    ]
