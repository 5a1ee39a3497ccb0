"""A model's blocks: counted, frozen, with learning rates of their own."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import (
    PreTrainedModel,
)

Trainable = Literal["all", "head"] | int

_BLOCK = re.compile(r"(?:^|\.)(?:block|layer|layers)\.(\d+)\.")


# --- blocks --------------------------------------------------------------------------------------


def block_of(parameter_name: str, base_prefix: str) -> str:
    """Return the block that a parameter belongs to, by its name.

    Args:
        parameter_name: As in `model.named_parameters()`.
        base_prefix: The encoder's attribute, `model.base_model_prefix`, such as `"bert"`.

    Returns:
        `"embeddings"`, `"block 1"` … `"block n"`, `"pooler"`, `"classifier"` (everything outside
        the encoder), or `"shared"` (parts of the encoder that belong to no one block, such as
        MPNet's relative positions).
    """
    if not parameter_name.startswith(f"{base_prefix}."):
        return "classifier"
    inner = parameter_name.removeprefix(f"{base_prefix}.")
    if match := _BLOCK.search(inner):
        return f"block {int(match.group(1)) + 1}"
    if inner.startswith("pooler."):
        return "pooler"
    return "embeddings" if inner.startswith("embeddings.") else "shared"


def parameter_counts(model: PreTrainedModel) -> dict[str, dict[str, int]]:
    """Count the parameters of each named block, from input to output.

    Returns:
        `{block: {"parameters": int, "trainable": int}}`.
    """
    counts: dict[str, dict[str, int]] = {}
    for name, parameter in model.named_parameters():
        block = counts.setdefault(
            block_of(name, model.base_model_prefix), {"parameters": 0, "trainable": 0}
        )
        block["parameters"] += parameter.numel()
        block["trainable"] += parameter.numel() if parameter.requires_grad else 0
    return counts


def freeze(model: PreTrainedModel, trainable: Trainable) -> PreTrainedModel:
    """Let only part of a model train, choosing blocks by name.

    The head is everything after the last block: the pooler, where there is one, and the
    classifier. RoBERTa-like models keep the pooler's dense layer inside their classifier, so
    counting it as head makes `"head"` mean the same for all of them.

    Args:
        model: A sequence-classification model.
        trainable: `"all"`, `"head"`, or how many of the last blocks train besides the head.

    Returns:
        The same model, with `requires_grad` set.

    Raises:
        ValueError: If `trainable` is none of these or exceeds the number of blocks.

    Source: chapter 1.
    """
    names = {block_of(name, model.base_model_prefix) for name, _ in model.named_parameters()}
    num_blocks = sum(name.startswith("block ") for name in names)
    check_trainable(trainable, num_blocks)
    open_blocks = {"pooler", "classifier"}
    everything = isinstance(trainable, str) and trainable == "all"
    if not isinstance(trainable, str):
        open_blocks |= {f"block {num_blocks - i}" for i in range(trainable)}
    for name, parameter in model.named_parameters():
        block = block_of(name, model.base_model_prefix)
        parameter.requires_grad = everything or block in open_blocks
    return model


def layer_rates(model: PreTrainedModel, decay: float) -> dict[nn.Parameter, float]:
    """Return which share of the head's learning rate each parameter gets.

    Early blocks hold what every task needs, so they may move less: the last block gets `decay`,
    the one before it `decay` squared, and so on down to the embeddings, which count as one more.

    Source: Howard and Ruder, *ULMFiT* (2018), section 3.2; chapter 3.
    """
    blocks = {name: block_of(name, model.base_model_prefix) for name, _ in model.named_parameters()}
    count = sum(name.startswith("block ") for name in set(blocks.values()))
    below = {f"block {i + 1}": count - i for i in range(count)}
    # What all blocks share moves with the lowest of them.
    below |= {"embeddings": count + 1, "shared": count + 1}
    return {
        weight: decay ** below.get(blocks[name], 0) for name, weight in model.named_parameters()
    }


def check_trainable(trainable: Any, num_blocks: int | None = None) -> None:
    """Raise a `ValueError` unless `freeze` takes this value, for a model of `num_blocks` blocks."""
    if isinstance(trainable, str) and trainable in ("all", "head"):
        return
    whole = isinstance(trainable, int | np.integer) and not isinstance(trainable, bool)
    if not whole or trainable < 1:
        raise ValueError(
            f"trainable={trainable!r}; use 'all', 'head', or a number of last blocks from 1 on."
        )
    if num_blocks is not None and trainable > num_blocks:
        raise ValueError(
            f"trainable={trainable}, but the model has {num_blocks} blocks; "
            f"use 1 to {num_blocks}, or 'all'."
        )


def num_frozen_blocks(model: PreTrainedModel) -> int:
    """Count the frozen blocks from the input on, with all below and beside them frozen too.

    Their outputs are the same in every epoch. 0 where the embeddings train, or where a part
    that all blocks share does.
    """
    frozen: dict[str, bool] = {}
    for name, parameter in model.named_parameters():
        block = block_of(name, model.base_model_prefix)
        frozen[block] = frozen.get(block, True) and not parameter.requires_grad
    if not frozen.get("embeddings", False) or not frozen.get("shared", True):
        return 0
    count = 0
    while frozen.get(f"block {count + 1}", False):
        count += 1
    return count


def block_list(model: PreTrainedModel) -> tuple[nn.Module, str] | None:
    """Return where the encoder keeps its blocks, the owner and the attribute's name, or `None`."""
    for owner in model.base_model.modules():
        for name in ("block", "layer", "layers"):
            if isinstance(getattr(owner, name, None), nn.ModuleList):
                return owner, name
    return None


@contextlib.contextmanager
def blocks_replaced(model: PreTrainedModel, blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Let the encoder run these blocks instead of its own, inside the `with` statement."""
    owner, name = block_list(model)
    original = getattr(owner, name)
    setattr(owner, name, nn.ModuleList(blocks))
    try:
        yield
    finally:
        setattr(owner, name, original)


@torch.inference_mode()
def eval_logits(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return a batch's logits in evaluation mode, in float32; the model keeps its mode."""
    mode = model.training
    logits = model.eval()(**batch).logits.float()
    model.train(mode)
    return logits


def nearly_equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors have the same shape and, to 1e-4, the same values."""
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-4)
