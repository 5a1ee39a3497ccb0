"""What the tagger's model says of each word: scores, probabilities, entities of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import log_softmax
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reptune.data.tagged import Word
from reptune.ner.features import WindowInputs
from reptune.tags import spans
from reptune.tokens import batches_by_length

PREDICTION_TOKENS = 4096  # per batch, padding included, where no number of windows is asked for


@dataclass(frozen=True)
class Entity:
    """An entity found in a text.

    Attributes:
        text: Its characters, `original[start:end]`.
        type: Such as `PER`.
        start: Index of its first character in the original text.
        end: Index after its last character.
        confidence: The probability of the least certain of its words' tags, 0 to 1.

    >>> text = "I met Ada."
    >>> entity = Entity("Ada", "PER", 6, 9, confidence=0.98)
    >>> text[entity.start : entity.end] == entity.text
    True
    """

    text: str
    type: str
    start: int
    end: int
    confidence: float


@torch.inference_mode()
def word_logits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    features: Sequence[WindowInputs],
    default: np.ndarray,
    lengths: Sequence[int],
    batch_size: int | None = None,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return each word's scores: those of its first token, in the window that decides the word.

    Args:
        model: A token classifier.
        tokenizer: Its tokenizer, which pads.
        features: All windows of some sentences, in any order.
        default: Scores of a word without a token, shape `(num_tags,)`.
        lengths: How many words each sentence has.
        batch_size: Windows per batch; `None` for as many as `PREDICTION_TOKENS` allow.

    Returns:
        For each sentence an array of shape `(words, num_tags)`, and one of shape `(words,)` that
        says which words have a token.
    """
    rows = [np.tile(default, (length, 1)) for length in lengths]
    has_token = [np.zeros(length, dtype=bool) for length in lengths]
    sizes = [len(part.inputs["input_ids"]) for part in features]
    mode = model.training
    model.eval()
    for chosen in batches_by_length(sizes, batch_size, PREDICTION_TOKENS):
        inputs = [dict(features[index].inputs) for index in chosen]
        batch = tokenizer.pad(inputs, return_tensors="pt").to(model.device)
        logits = model(**batch).logits.float().cpu().numpy()
        for index, scores in zip(chosen, logits, strict=True):
            part = features[index]
            for word in range(part.window.own_start, part.window.own_end):
                if part.sizes[word - part.window.start]:
                    rows[part.sentence][word] = scores[part.first[word - part.window.start]]
                    has_token[part.sentence][word] = True
    model.train(mode)
    return rows, has_token


def word_probabilities(
    rows: Sequence[np.ndarray], has_token: Sequence[np.ndarray], default: np.ndarray
) -> list[np.ndarray]:
    """Return the softmax of what `word_logits` returned.

    Args:
        rows: Scores.
        has_token: Which words have a token.
        default: Probabilities of a word without one, shape `(num_tags,)`.
    """
    return [
        np.where(known[:, None], np.exp(log_softmax(row, axis=1)), default)
        for row, known in zip(rows, has_token, strict=True)
    ]


def entities_of(
    text: str, words: Sequence[Word], tags: Sequence[str], confidence: Sequence[float]
) -> list[Entity]:
    """Return the entities that tags spell, in characters of the text.

    Args:
        text: The text.
        words: Its words.
        tags: The tag of each.
        confidence: The probability of each word's tag.
    """
    return [
        Entity(
            text=text[words[first].start : words[end - 1].end],
            type=kind,
            start=words[first].start,
            end=words[end - 1].end,
            confidence=min(confidence[first:end]),
        )
        for kind, first, end in spans(tags)
    ]
