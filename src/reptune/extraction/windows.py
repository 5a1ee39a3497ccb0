"""Windows over a passage, each with the whole question, and where in them an answer stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reptune.extraction.inputs import Pair, Span, shown

LEAST_ROOM = 8  # tokens of a passage that must fit beside a question
ABOUT_WINDOWS = ("offset_mapping", "overflow_to_sample_mapping")  # the model does not read these


class Window(NamedTuple):
    """A question and neighboring tokens of its passage that go through the model together.

    Attributes:
        pair: Index of the pair.
        inputs: The model's arguments, one number per token.
        first: Index of the passage's first token in them.
        offsets: Of each token of the passage, where it begins and ends in the passage.
        own: Indices, among these, of the tokens at which a predicted answer may begin. Every token
            of a passage has one such window, the one that shows most of its context.
    """

    pair: int
    inputs: dict[str, list[int]]
    first: int
    offsets: list[Span]
    own: range


def passage_windows(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], max_length: int, stride: int
) -> list[Window]:
    """Return what the model reads, window by window.

    Args:
        tokenizer: A fast one, which knows the characters of each token.
        pairs: Questions and passages.
        max_length: Tokens of a window, special ones included.
        stride: Tokens of a passage that two neighbors share, if its question leaves room for it.

    Raises:
        ValueError: If a question leaves no room for its passage.
    """
    special, windows = tokenizer.num_special_tokens_to_add(pair=True), []
    for number, (question, passage) in enumerate(pairs):
        asked = len(tokenizer(question, add_special_tokens=False, verbose=False)["input_ids"])
        room = max_length - special - asked
        if room < LEAST_ROOM:
            raise ValueError(
                f"the question {shown(question)} has {asked} tokens, which leaves no room for its "
                f"passage in max_length={max_length}; shorten it, or raise max_length."
            )
        overlap = min(stride, room // 2)
        encoded = tokenizer(
            question,
            passage,
            truncation="only_second",
            max_length=max_length,
            stride=overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        windows += _of_passage(encoded, number, room - overlap)
    return windows


def _of_passage(encoded: Any, number: int, step: int) -> Iterator[Window]:
    """Yield the windows of one pair, each of which begins `step` tokens after the one before."""
    names = [name for name in encoded if name not in ABOUT_WINDOWS]
    count = len(encoded["input_ids"])
    begun = 0
    for index in range(count):
        inside = [at for at, part in enumerate(encoded.sequence_ids(index)) if part == 1]
        offsets = [tuple(encoded["offset_mapping"][index][at]) for at in inside]
        # Half of what two windows share is the one's, half the other's.
        end = len(inside) if index == count - 1 else (step + len(inside)) // 2
        inputs = {name: encoded[name][index] for name in names}
        first = inside[0] if inside else 0
        yield Window(number, inputs, first, offsets, range(begun, end))
        begun = end - step


def window_targets(windows: Sequence[Window], spans: Sequence[Span | None]) -> list[Span]:
    """Return the first and last token of the answer in each window's inputs.

    Both are 0, that of `[CLS]`, in a window that does not hold the whole answer.

    Raises:
        ValueError: If a passage has an answer and no window holds it.
    """
    targets, placed = [], set()
    for window in windows:
        span = spans[window.pair]
        found = None if span is None else tokens_of(window.offsets, span)
        targets.append((0, 0) if found is None else tuple(window.first + at for at in found))
        if found is not None:
            placed.add(window.pair)
    for index, span in enumerate(spans):
        if span is not None and index not in placed:
            raise ValueError(
                f"answers[{index}], the characters {span} of its passage, has no token, or more "
                "than a window holds beside its question; shorten it, raise max_length or stride, "
                "or drop the pair."
            )
    return targets


def tokens_of(offsets: Sequence[Span], span: Span) -> Span | None:
    """Return the first and the last token that have characters of a span.

    Args:
        offsets: Where each token begins and ends.
        span: Where the answer begins and ends.

    Returns:
        Two indices, or `None` where the tokens do not hold the whole span.

    >>> tokens_of([(0, 3), (4, 9), (9, 10)], (4, 10))
    (1, 2)
    >>> tokens_of([(4, 9), (9, 10)], (0, 9)) is None
    True
    """
    if not offsets or span[0] < offsets[0][0] or span[1] > offsets[-1][1]:
        return None
    starts, ends = np.array(offsets).T
    first = int(np.searchsorted(ends, span[0], side="right"))
    last = int(np.searchsorted(starts, span[1], side="left")) - 1
    return (first, last) if first <= last else None


def padded_batch(
    tokenizer: PreTrainedTokenizerBase,
    windows: Sequence[Window],
    model: PreTrainedModel,
    multiple: int | None = None,
) -> Any:
    """Return the model's arguments for windows side by side, padded, on its device."""
    inputs = [window.inputs for window in windows]
    padded = tokenizer.pad(
        inputs, padding_side="right", pad_to_multiple_of=multiple, return_tensors="pt"
    )
    return padded.to(model.device)
