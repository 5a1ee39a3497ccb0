"""The steps of prompt-based fine-tuning: batches, losses, learning rate (chapter 6)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from reptune.checks import (
    check_number,
)
from reptune.cloze.templates import Encoded


class Losses:
    """Counts what prompts lost for want of room, and says so once."""

    def __init__(self) -> None:
        self.prompts = self.cut = self.short = self.dropped = 0

    def add(self, encoded: Sequence[Encoded]) -> Sequence[Encoded]:
        """Count what was lost in these prompts, and return them."""
        self.prompts += len(encoded)
        self.cut += sum(one.cut > 0 for one in encoded)
        self.short += sum(one.dropped > 0 for one in encoded)
        self.dropped += sum(one.dropped for one in encoded)
        return encoded

    def warn(self, limit: int, accepted: bool) -> None:
        """Warn; of texts that were cut only where the caller did not set the limit."""
        said = []
        if self.short:
            said.append(f"{self.short} lost {self.dropped} demonstrations")
        if self.cut and not accepted:
            said.append(f"the input of {self.cut} was cut")
        if said:
            warnings.warn(
                f"of {self.prompts} prompts, {' and '.join(said)} to fit into {limit} pieces; "
                "use fewer demonstrations or shorter texts; a max_length accepts cut inputs.",
                stacklevel=4,
            )


# --- training's small parts ----------------------------------------------------------------------


def share_of_rate(step: int, num_steps: int, warmup: float) -> float:
    """Share of the peak rate at a step, from 1 on: linearly up, then down to 0 after the last.

    Without a warm-up the first step has the peak rate; with one of every step, the last one has.

    Raises:
        ValueError: If there is no such step, or `warmup` is no share from 0 to 1.
    """
    if not 1 <= step <= num_steps:
        raise ValueError(f"step={step} of {num_steps}; use 1 to {num_steps}.")
    check_number("warmup", warmup, least=0, most=1)
    warm = math.ceil(warmup * num_steps)
    return step / warm if step <= warm else (num_steps + 1 - step) / (num_steps - warm)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group of parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def random_batches(count: int, size: int, num_steps: int, seed: int) -> Iterator[np.ndarray]:
    """Rows of each step: shuffled epochs, one after the other, in batches that are all full."""
    size = min(size, count)
    order, epoch = np.empty(0, dtype=int), 0
    for _ in range(num_steps):
        if len(order) < size:
            new = np.random.default_rng([seed, 0, epoch]).permutation(count)
            order, epoch = np.concatenate([order, new]), epoch + 1
        yield order[:size]
        order = order[size:]


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW as `Trainer` sets it up: no decay for biases and layer norms."""
    named = dict(model.named_parameters())
    plain = {name for name in named if name.endswith("bias") or "norm" in name.lower()}
    groups = [
        {
            "params": [weight for name, weight in named.items() if (name in plain) == bare],
            "weight_decay": 0.0 if bare else weight_decay,
        }
        for bare in (False, True)
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)
