"""What the tagger's model reads: windows of token ids and, in training, label ids and a loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from reptune.ner.alignment import Window, align, windows
from reptune.tokens import special_ids

IGNORED = -100  # PyTorch's cross-entropy leaves these labels out
LONGEST_WORD = 0.25  # of a window that the tokens of one word may fill; a URL can have hundreds


class WindowInputs(NamedTuple):
    """A window of a sentence as the model reads it.

    Attributes:
        sentence: Index of the sentence.
        window: Which of its words.
        sizes: How many tokens each word of the window has.
        first: Index of each word's first token in the window; it means nothing for a word of
            size 0.
        inputs: The model's arguments, one number per token: `input_ids`; with marked case
            `token_type_ids`; in training `labels`.
    """

    sentence: int
    window: Window
    sizes: list[int]
    first: list[int]
    inputs: dict[str, list[int]]


def window_inputs(
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[Sequence[str]],
    max_length: int,
    mark_case: bool = False,
) -> list[WindowInputs]:
    """Return what the model reads, window by window.

    Args:
        tokenizer: A fast one, which knows the tokens of each word.
        sentences: Lists of words; one without words has no window.
        max_length: Tokens of a window, special ones included. In a sentence that is longer, no
            word has more than `LONGEST_WORD` of them; the rest of its tokens is left out.
        mark_case: Give the tokens of capitalized words the second segment embedding.
    """
    before, after = special_ids(tokenizer)
    room = max_length - len(before) - len(after)
    longest = max(1, int(LONGEST_WORD * room))
    features = []
    for number, words in enumerate(align(tokenizer, sentences)):
        if not words:
            continue
        if sum(map(len, words)) > room:
            words = [ids[:longest] for ids in words]
        for window in windows([len(ids) for ids in words], room):
            shown = words[window.start : window.end]
            sizes = [len(ids) for ids in shown]
            first = np.cumsum([len(before), *sizes])[:-1].tolist()
            inputs = {"input_ids": [*before, *(token for ids in shown for token in ids), *after]}
            if mark_case:
                marks = case_marks(sentences[number][window.start : window.end], sizes)
                inputs["token_type_ids"] = [*[0] * len(before), *marks, *[0] * len(after)]
            features.append(WindowInputs(number, window, sizes, first, inputs))
    return features


def case_marks(words: Sequence[str], sizes: Sequence[int]) -> list[int]:
    """Return 1 for each token of a word that begins with a capital, else 0.

    >>> case_marks(["The", "film"], sizes=[1, 2])
    [1, 0, 0]
    """
    return [
        int(word[:1].isupper())
        for word, size in zip(words, sizes, strict=True)
        for _ in range(size)
    ]


def drop_marks(features: Sequence[WindowInputs], share: float, random_state: int) -> None:
    """Take the marks of capitals from all windows of some sentences, in place.

    Args:
        features: Windows with `token_type_ids`.
        share: Probability of each sentence to lose them.
        random_state: Seed of the draw.
    """
    count = 1 + max((part.sentence for part in features), default=-1)
    lost = np.random.default_rng([random_state, count]).random(count) < share
    for part in features:
        if lost[part.sentence]:
            part.inputs["token_type_ids"] = [0] * len(part.inputs["input_ids"])


def add_labels(
    features: Sequence[WindowInputs],
    label_ids: Sequence[Sequence[int]],
    further: Sequence[int] | None = None,
) -> None:
    """Give each window's inputs one label id per token, as `labels`.

    Special tokens and the words that another window decides are ignored.

    Args:
        features: Windows of some sentences.
        label_ids: For each sentence the label id of each word; its first token gets it.
        further: For each label id the one that a word's other tokens get; `None` ignores them.
    """
    for sentence, window, sizes, first, inputs in features:
        labels = [IGNORED] * len(inputs["input_ids"])
        for word in range(window.own_start, window.own_end):
            size, start = sizes[word - window.start], first[word - window.start]
            if not size:
                continue
            label = label_ids[sentence][word]
            rest = IGNORED if further is None else further[label]
            labels[start : start + size] = [label, *[rest] * (size - 1)]
        inputs["labels"] = labels


def every_token_alike(inputs: Sequence[dict[str, list[int]]], batch_size: int) -> Any:
    """Return a loss under which a labeled token weighs the same in every batch.

    The library takes each batch's mean. With sentences of one length per batch, a token of a short
    sentence would weigh several times as much as one of a long sentence; chapter 4 measures that.

    Args:
        inputs: What the model reads in an epoch, with `labels`.
        batch_size: Windows per batch.
    """
    labeled = sum(label != IGNORED for window in inputs for label in window["labels"])
    usual = max(1.0, batch_size * labeled / len(inputs))

    def loss(outputs: Any, labels: torch.Tensor, **_: Any) -> torch.Tensor:
        logits = outputs["logits"].float().flatten(0, 1)
        total = torch.nn.functional.cross_entropy(
            logits, labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return total / usual

    return loss
