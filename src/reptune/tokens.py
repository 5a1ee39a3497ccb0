"""Token ids: how many a model takes, which are special, padded, in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import reptune.needs_torch  # noqa: F401

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

# --- how many a model takes ----------------------------------------------------------------------


def model_limit(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int:
    """Return how many tokens a model takes, special ones included.

    The smaller of what its positions allow and what its tokenizer says; a tokenizer that names
    no limit says 10^30.
    """
    return int(min(tokenizer.model_max_length, position_limit(model) or np.inf))


def position_limit(model: PreTrainedModel) -> int | None:
    """Return how many positions a model has for tokens; `None` where it learns none.

    RoBERTa-like models, MPNet among them, count positions from after their padding index, so
    that two of 514 are never used.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    if positions is None or not isinstance(table, nn.Embedding) or table.padding_idx is None:
        return positions
    return positions - table.padding_idx - 1


def check_max_length(
    max_length: int | None, limit: int | None, default: int | None = None
) -> int | None:
    """Return the length to cut texts at: `max_length`, or the model's own for `None`.

    Args:
        max_length: As the caller gave it, in tokens.
        limit: Tokens that the model takes; `None` where it sets no limit.
        default: What `None` stands for; the limit where the model has no setting of its own.

    Raises:
        ValueError: If the model takes fewer.
    """
    default = limit if default is None else default
    if max_length is not None and limit is not None and max_length > limit:
        raise ValueError(
            f"max_length={max_length}, but the model takes at most {limit} tokens; lower it, or "
            f"use None for {default}."
        )
    return default if max_length is None else int(max_length)


# --- special tokens ------------------------------------------------------------------------------


def special_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the special tokens' ids that a tokenizer puts before and after a text.

    Those of BERT's are `[CLS]` and `[SEP]`, those of a causal model's often none.
    """
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    starts = range(len(whole) - len(plain) + 1)
    start = next(index for index in starts if whole[index : index + len(plain)] == plain)
    return whole[:start], whole[start + len(plain) :]


# --- batches -------------------------------------------------------------------------------------


def pad(
    encoded: Sequence[Sequence[int]], device: torch.device | str = "cpu", pad_id: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad token ids on the right to the longest text's length.

    Args:
        encoded: Token ids of each text.
        device: Where the tensors go.
        pad_id: What fills the rows.

    Returns:
        The ids and the attention mask, 0 at padding, both `(texts, tokens)`.
    """
    rows = [torch.tensor(ids, dtype=torch.long) for ids in encoded]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return ids.to(device), mask.to(device)


def batches_by_length(
    lengths: Sequence[int], size: int | None = None, tokens: int | None = None
) -> Iterator[list[int]]:
    """Put texts of similar length into one batch, so that little padding is computed.

    Args:
        lengths: Tokens of each text.
        size: Texts per batch.
        tokens: Tokens per batch, padding included, where `size` is `None`; a longer text gets a
            batch of its own.

    Yields:
        The indices of a batch's texts, the longest batch first: where memory runs out, it does so
        at once.

    >>> list(batches_by_length([2, 9, 3, 8], size=2))
    [[1, 3], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True)
    start = 0
    while start < len(order):
        count = size or max(1, (tokens or 1) // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count
