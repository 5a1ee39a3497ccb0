"""Small adapters: changes to a model's weights as products of thin matrices (chapter 3)."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path

import reptune.needs_torch  # noqa: F401

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from reptune.checks import check_whole_number

# What all-MiniLM-L6-v2, which ships without a masked-LM head, needs to fill masks: a head, and
# low-rank changes to its blocks, from news text. `general_start.md` beside it says how.
GENERAL_START = Path(__file__).with_name("general_start.safetensors")
# The same after 1,200 steps on movie reviews, for chapter 6; `review_start.md` says how.
REVIEW_START = Path(__file__).with_name("review_start.safetensors")
BLOCK = re.compile(r"\.layers?\.\d+\.")  # in the name of what lies in a block: BERT's, Llama's


class LowRank(nn.Module):
    """A linear layer that stays as it is, plus a product of two thin matrices that trains (LoRA).

    Args:
        layer: The layer, from `inputs` to `outputs` numbers.
        rank: Width of the thin matrices.

    Source: Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models* (2022); chapter 3.

    >>> layer = LowRank(nn.Linear(384, 384), rank=4)
    >>> layer.down.shape, layer.up.shape
    (torch.Size([4, 384]), torch.Size([384, 4]))
    >>> torch.equal(layer(torch.ones(1, 384)), layer.layer(torch.ones(1, 384)))  # no change yet
    True
    """

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer
        outputs, inputs = layer.weight.shape
        like = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        self.down = nn.Parameter(torch.randn(rank, inputs, **like) / math.sqrt(inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank, **like))  # it starts as no change

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Map states of shape `(..., inputs)` to `(..., outputs)`."""
        # Never as one matrix: its gradient would cost as much as training the layer itself.
        thin = nn.functional.linear(nn.functional.linear(states, self.down), self.up)
        return self.layer(states) + thin

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return the plain layer, with the product made part of its weight."""
        self.layer.weight += self.up @ self.down
        return self.layer


def add_low_rank(model: PreTrainedModel, rank: int = 16) -> list[str]:
    """Put a `LowRank` on every linear layer of the blocks; of the rest, only the head trains.

    Args:
        model: A masked or causal language model; it is changed in place.
        rank: Width of the thin matrices.

    Returns:
        The names of the layers.

    Raises:
        ValueError: If `rank` is no whole number above 0.

    >>> from reptune.models.masked import load_masked_lm
    >>> model = load_masked_lm("all-MiniLM-L6-v2", device="cpu").model
    >>> len(add_low_rank(model, rank=4))  # six linear layers in each of six blocks
    36
    """
    rank = check_whole_number("rank", rank)
    for weight in model.base_model.parameters():
        weight.requires_grad = False
    prefix = f"{model.base_model_prefix}."
    names = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and name.startswith(prefix) and BLOCK.search(name)
    ]
    for name in names:
        model.set_submodule(name, LowRank(model.get_submodule(name), rank))
    return names


def merge(model: PreTrainedModel, names: Sequence[str]) -> None:
    """Make the changes of `add_low_rank` part of the weights, so that the model is a plain one."""
    for name in names:
        model.set_submodule(name, model.get_submodule(name).merged())


def save_adapter(model: PreTrainedModel, names: Sequence[str], file: Path) -> None:
    """Write the low-rank changes, and the head's own weights, in half precision.

    Args:
        model: After `add_low_rank`, before `merge`.
        names: What `add_low_rank` returned.
        file: A safetensors file; it also says which model the changes are for.
    """
    arrays = {}
    for name in names:
        addition = model.get_submodule(name)
        arrays |= {f"{name}.down": addition.down, f"{name}.up": addition.up}
    prefix = f"{model.base_model_prefix}."
    arrays |= {
        name: weight for name, weight in model.named_parameters() if not name.startswith(prefix)
    }
    halves = {name: value.detach().half().contiguous() for name, value in arrays.items()}
    save_file(halves, file, metadata={"made for": _fingerprint(model)})


@torch.no_grad()
def apply_adapter(model: PreTrainedModel, file: Path) -> None:
    """Add the changes of `save_adapter` to a model's weights and set its head.

    Args:
        model: The masked language model that they were made for.
        file: What `save_adapter` wrote.

    Raises:
        ValueError: If the file is no adapter, or was made for another model; nothing is changed.
    """
    made_for, halves = _read(file)
    if made_for != _fingerprint(model):
        raise ValueError(f"{file} was made for another model; start from that one.")
    arrays = {name: value.float() for name, value in halves.items()}
    weights = dict(model.named_parameters())
    _check_arrays(arrays, weights, file)
    for name, value in arrays.items():
        if name.endswith(".up"):
            layer = name.removesuffix(".up")
            weights[f"{layer}.weight"] += (value @ arrays[f"{layer}.down"]).to(model.device)
        elif not name.endswith(".down"):
            weights[name].copy_(value)


def _read(file: Path) -> tuple[str, dict[str, torch.Tensor]]:
    """Return which model an adapter is for, and its arrays."""
    try:
        with safe_open(file, "pt") as opened:
            made_for = opened.metadata()["made for"]
        return made_for, load_file(file)
    except Exception as error:  # safetensors' errors share no class
        raise ValueError(f"{file} is no adapter that `save_adapter` wrote: {error!r}") from error


def _check_arrays(
    arrays: dict[str, torch.Tensor], weights: dict[str, torch.Tensor], file: Path
) -> None:
    """Raise a `ValueError` unless each array is finite and fits a weight of the model."""
    for name, value in arrays.items():
        layer, _, part = name.rpartition(".")
        target = weights.get(f"{layer}.weight" if part in ("up", "down") else name)
        shape = tuple(value.shape)
        if part in ("up", "down"):
            pair = [arrays.get(f"{layer}.{half}") for half in ("up", "down")]
            thin = all(half is not None and half.ndim == 2 for half in pair)
            fits = thin and pair[0].shape[1] == pair[1].shape[0]
            shape = (pair[0].shape[0], pair[1].shape[1]) if fits else None
        if target is None or shape != tuple(target.shape) or not bool(value.isfinite().all()):
            raise ValueError(f"{file} is damaged: {name} does not fit the model; make it again.")


def join_adapters(files: Sequence[Path], file: Path) -> None:
    """Write several adapters, each made on top of the ones before it, as one.

    The thin matrices are put side by side, so that the ranks add up; the last one's head is kept.

    Raises:
        ValueError: If there are none, one is no adapter, or they are for different models or
            change different layers.
    """
    if not files:
        raise ValueError("files: there are none; pass at least one adapter.")
    read = [_read(Path(adapter)) for adapter in files]
    makers, parts = {made_for for made_for, _ in read}, [arrays for _, arrays in read]
    names = [{name for name in part if name.endswith((".up", ".down"))} for part in parts]
    if len(makers) > 1 or any(changed != names[0] for changed in names):
        raise ValueError(
            f"{', '.join(Path(path).name for path in files)} are for different models or layers; "
            "join only adapters that were made one on top of the other."
        )
    joined = dict(parts[-1])
    for name in names[0]:
        side = 1 if name.endswith(".up") else 0
        joined[name] = torch.cat([part[name] for part in parts], dim=side).contiguous()
    save_file(joined, file, metadata={"made for": makers.pop()})


def _fingerprint(model: PreTrainedModel) -> str:
    """Hash the word embeddings, which no adapter changes, and the blocks' shapes."""
    embeddings = model.get_input_embeddings().weight.detach().cpu().numpy()
    digest = hashlib.sha256(np.ascontiguousarray(embeddings).tobytes())
    config = model.config
    digest.update(f"{type(model).__name__} {config.num_hidden_layers}".encode())
    return digest.hexdigest()[:16]
