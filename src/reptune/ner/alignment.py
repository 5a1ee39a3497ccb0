"""From words to tokens and back: labels, windows over long sentences, case marks (chapter 4)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import (
    PreTrainedTokenizerBase,
)

IGNORED = -100  # PyTorch's cross-entropy leaves these labels out
OVERLAP = 0.25  # of a window that the next one sees again


class Window(NamedTuple):
    """Neighboring words of a sentence that go through the model together.

    Attributes:
        start: First word; `end`: one past the last.
        own_start: First word whose tag this window decides; `own_end`: one past the last. Every
            word has one such window, the one that shows most of what stands around it.
    """

    start: int
    end: int
    own_start: int
    own_end: int


def every_token_alike(features: Sequence[dict[str, list[int]]], batch_size: int) -> Any:
    """A loss under which a labeled piece weighs the same in every batch.

    The library takes each batch's mean. With sentences of one length to a batch, a piece of a short
    sentence would weigh several times as much as one of a long sentence; chapter 4 measures that.
    """
    labeled = sum(label != IGNORED for feature in features for label in feature["labels"])
    usual = max(1.0, batch_size * labeled / len(features))

    def loss(outputs: Any, labels: torch.Tensor, **_: Any) -> torch.Tensor:
        logits = outputs["logits"].float().flatten(0, 1)
        total = torch.nn.functional.cross_entropy(
            logits, labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return total / usual

    return loss


# --- words and pieces ----------------------------------------------------------------------------


def align(
    tokenizer: PreTrainedTokenizerBase, tokens: Sequence[Sequence[str]]
) -> list[list[list[int]]]:
    """The word pieces of each word, without special ones.

    Returns:
        For each sentence and word a list of piece ids; an empty one where the tokenizer leaves
        nothing of a word, such as a lone accent.

    Source: chapter 4.
    """
    encoded = tokenizer(
        [list(sentence) for sentence in tokens],
        is_split_into_words=True,
        add_special_tokens=False,
        truncation=False,
        verbose=False,
    )
    found = []
    for row, sentence in enumerate(tokens):
        pieces: list[list[int]] = [[] for _ in sentence]
        for piece, word in zip(encoded["input_ids"][row], encoded.word_ids(row), strict=True):
            pieces[word].append(piece)
        found.append(pieces)
    return found


def windows(sizes: Sequence[int], room: int, overlap: float = OVERLAP) -> list[Window]:
    """Cut a sentence into overlapping runs of words that fit into the model.

    Args:
        sizes: How many pieces each word has, none more than `room`.
        room: Pieces that fit besides the special ones.
        overlap: Share of the room that two neighbors may share.

    Returns:
        From left to right; one window where the sentence fits. What two windows share is decided
        half by one, half by the other, so that every word is decided once and near no edge.

    Raises:
        ValueError: If a word alone does not fit.
    """
    ends = np.concatenate([[0], np.cumsum(sizes)])
    if len(sizes) and max(sizes) > room:
        raise ValueError(f"a word has {max(sizes)} pieces, but only {room} fit.")
    places, start = [], 0
    while True:
        end = int(np.searchsorted(ends, ends[start] + room, side="right")) - 1
        places.append((start, end))
        if end == len(sizes):
            break
        back = int(np.searchsorted(ends, ends[end] - overlap * room))
        start = max(start + 1, min(back, end))
    cuts = [
        0,
        *((end + after) // 2 for (_, end), (after, _) in itertools.pairwise(places)),
        len(sizes),
    ]
    return [
        Window(start, end, own, until)
        for (start, end), own, until in zip(places, cuts[:-1], cuts[1:], strict=True)
    ]


def special_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special pieces that the tokenizer puts before and after a sentence."""
    probe = tokenizer(["a"], is_split_into_words=True)
    ids, words = probe["input_ids"], probe.word_ids()
    inner = [place for place, word in enumerate(words) if word is not None]
    return ids[: inner[0]], ids[inner[-1] + 1 :]


def case_marks(
    words: Sequence[str], shown: list[list[int]], before: list[int], after: list[int]
) -> list[int]:
    """1 for each piece of a word that begins with a capital, else 0."""
    marks = [0] * len(before)
    for word, pieces in zip(words, shown, strict=True):
        marks += [int(word[:1].isupper())] * len(pieces)
    return marks + [0] * len(after)
