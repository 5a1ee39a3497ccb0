"""The mean of two encoders' weights (chapter 3)."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from reptune.checks import check_number
from reptune.folders import check_replaceable, write_folder
from reptune.models.masked import load_masked_lm
from reptune.pretraining.checkpoint import HISTORY


@torch.no_grad()
def average_encoders(
    before: str | Path, after: str | Path, folder: str | Path, share: float = 0.5
) -> Path:
    """Write an encoder that lies part of the way from one to another: the mean of their weights.

    Pretraining on a domain also overwrites; half of the way may keep more of both.

    Args:
        before: The encoder as it was: an asset's name, a local folder or a Hub id.
        after: The same after `continue_pretraining`; its tokenizer and masked-LM head go along.
        folder: Where to write; an earlier result there is replaced.
        share: How far to go from `before`, which is 0, to `after`, which is 1.

    Returns:
        `folder`, for use wherever a model's name can stand.

    Raises:
        ValueError: If `share` is not in [0, 1], the encoders differ in their weights' names or
            shapes, or `folder` holds something else.
        reptune.assets.AssetUnavailable: If an encoder cannot be had.

    Source: Wortsman et al., *Robust fine-tuning of zero-shot models* (2022); chapter 3.

    >>> import tempfile
    >>> name = "all-MiniLM-L6-v2"
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = average_encoders(name, name, Path(parent) / "half-way")
    ...     (folder / "model.safetensors").exists()
    True
    """
    check_number("share", share, least=0, most=1)
    folder = Path(folder)
    check_replaceable(folder, HISTORY)
    # Sums of weights need no accelerator.
    old, new = (load_masked_lm(source, device="cpu") for source in (before, after))
    shapes = [
        {name: tuple(weight.shape) for name, weight in loaded.model.base_model.named_parameters()}
        for loaded in (old, new)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{before} and {after} differ in their weights; only an encoder and what "
            "continue_pretraining made of it can be averaged."
        )
    weights = dict(old.model.base_model.named_parameters())
    for name, weight in new.model.base_model.named_parameters():
        weight.lerp_(weights[name], 1 - share)

    def write(written: Path) -> None:
        new.save(written)
        averaged = {"before": str(before), "after": str(after), "share": share}
        (written / HISTORY).write_text(json.dumps([averaged]), "utf-8")

    return write_folder(folder, write, marker=HISTORY)
