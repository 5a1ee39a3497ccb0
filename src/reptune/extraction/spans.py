"""The likeliest span of each window, and the share of right ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reptune.extraction.inputs import Pair, Span
from reptune.extraction.windows import Window, padded_batch
from reptune.tokens import batches_by_length

PREDICTION_TOKENS = 4096  # per batch, padding included, where no number of windows is asked for


@torch.inference_mode()
def log_probabilities(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    windows: Sequence[Window],
    batch_size: int | None,
) -> list[np.ndarray]:
    """Return for each window where the answer may begin and end, over `[CLS]` and the passage.

    `[CLS]`, the first, stands for no answer in this window; neither question nor padding may hold
    one. Logarithms, each of shape `(2, 1 + tokens)`.
    """
    found: list[Any] = [None] * len(windows)
    lengths = [len(window.inputs["input_ids"]) for window in windows]
    for chosen in batches_by_length(lengths, batch_size, PREDICTION_TOKENS):
        output = model(**padded_batch(tokenizer, [windows[index] for index in chosen], model))
        logits = torch.stack([output.start_logits, output.end_logits], dim=1)
        for index, scores in zip(chosen, logits.float().cpu().numpy(), strict=True):
            window = windows[index]
            kept = [0, *range(window.first, window.first + len(window.offsets))]
            found[index] = log_softmax(scores[:, kept].astype(float), axis=1)
    return found


def best_span(
    starts: np.ndarray, ends: np.ndarray, own: range, most: int
) -> tuple[float, int, int]:
    """Return the best sum of a start's and an end's score, and the two tokens.

    Args:
        starts: Score of each token as the first of an answer, shape `(tokens,)`.
        ends: As the last.
        own: Tokens at which an answer may begin.
        most: Tokens that it may have.

    Returns:
        Minus infinity and two zeros where no answer is possible.

    >>> starts, ends = np.array([0.0, 3.0, 1.0]), np.array([5.0, 0.0, 2.0])
    >>> best_span(starts, ends, range(3), most=2)  # 3 + 5 would end before it begins
    (5.0, 0, 0)
    >>> best_span(starts, ends, range(1, 3), most=2)
    (5.0, 1, 2)
    """
    if not len(own):
        return -np.inf, 0, 0
    beyond = np.pad(ends, (0, most - 1), constant_values=-np.inf)
    # Row i holds the sums of a start at i with an end at i, i + 1 and so on.
    sums = starts[:, None] + np.lib.stride_tricks.sliding_window_view(beyond, most)
    sums = sums[own.start : own.stop]
    row, further = np.unravel_index(sums.argmax(), sums.shape)
    first = own.start + int(row)
    return float(sums[row, further]), first, first + int(further)


def with_probability(
    score: float, start: int, end: int, absent: float, no_answer: bool
) -> tuple[int, int, float]:
    """Return a span with its probability, or none with that of there being none."""
    if score == -np.inf or (no_answer and absent >= score):
        return 0, 0, float(np.exp(absent))
    return int(start), int(end), float(np.exp(score))


def exact_match(
    pairs: Sequence[Pair], spans: Sequence[Span | None], found: Sequence[tuple[int, int, float]]
) -> float:
    """Return the share of found spans that are the answer, white space around it aside."""
    right = []
    for (_, passage), span, (start, end, _) in zip(pairs, spans, found, strict=True):
        wanted = "" if span is None else passage[span[0] : span[1]]
        right.append(passage[start:end].strip() == wanted.strip())
    return float(np.mean(right))
