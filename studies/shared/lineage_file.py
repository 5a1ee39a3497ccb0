"""What half precision changes of a model of the lineage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from reptune.models.masked import load_masked_lm
from reptune.pretraining import pack
from shared import lineage

LOGIT_TOLERANCE = 0.05  # that halving the weights may change a logit by


@torch.inference_mode()
def largest_change(before: Path, after: Path, texts: Sequence[str]) -> float:
    """The largest change of any logit over the vocabulary between two models, on blocks of texts.

    Both run in float32, so that the weights alone differ.
    """
    old, new = (load_masked_lm(folder, device="cpu") for folder in (before, after))
    blocks = pack(texts, old.tokenizer, lineage.BLOCK)
    ids = torch.from_numpy(blocks[: min(8, len(blocks))]["input_ids"]).long()
    change = old.model.eval()(input_ids=ids).logits - new.model.eval()(input_ids=ids).logits
    return float(change.abs().max())
