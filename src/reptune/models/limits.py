"""How many tokens a model takes."""

from __future__ import annotations

import numpy as np
from torch import nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
)


def model_limit(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int:
    """How many word pieces a model takes, special tokens included.

    The smaller of what its positions allow and what its tokenizer says; a tokenizer that names
    no limit says 10^30.
    """
    return int(min(tokenizer.model_max_length, position_limit(model) or np.inf))


def position_limit(model: PreTrainedModel) -> int | None:
    """How many positions a model has for word pieces; `None` where it learns none.

    RoBERTa-like models, MPNet among them, count positions from after their padding index, so
    that two of 514 are never used.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    if positions is None or not isinstance(table, nn.Embedding) or table.padding_idx is None:
        return positions
    return positions - table.padding_idx - 1
