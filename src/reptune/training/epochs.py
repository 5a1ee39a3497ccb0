"""Training in epochs with `Loop`: batches of rows in a new order each pass, a look after each."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from reptune import runtime
from reptune.checks import seed_of
from reptune.training.loop import Loop, Record, evaluation_steps
from reptune.training.memory import kept_memory
from reptune.training.sampler import LengthBucketSampler
from reptune.training.shortcuts import cheap_dropout


def epoch_batches(
    lengths: Sequence[int], batch_size: int, seed: int, by_length: bool
) -> Iterator[list[int]]:
    """Yield the rows of each batch, epoch after epoch without end; an epoch's last may be small.

    Args:
        lengths: Tokens of each row.
        batch_size: Rows per batch.
        seed: Of the orders.
        by_length: Put rows of similar length into one batch; see `LengthBucketSampler`.

    >>> batches = epoch_batches([5, 5, 5], batch_size=2, seed=0, by_length=False)
    >>> epoch = [next(batches), next(batches)]
    >>> [len(batch) for batch in epoch], sorted(epoch[0] + epoch[1])
    ([2, 1], [0, 1, 2])
    """
    sampler = LengthBucketSampler(lengths, batch_size, seed)
    for epoch in itertools.count():
        shuffled = np.random.default_rng([seed, epoch]).permutation(len(lengths)).tolist()
        order = list(sampler) if by_length else shuffled
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]


def train_in_epochs(
    model: nn.Module,
    lengths: Sequence[int],
    loss_of: Callable[[list[int]], torch.Tensor],
    settings: Any,
    *,
    learning_rate: float,
    fast: Collection[str],
    description: str,
    criterion: str,
    greater_is_better: bool,
    evaluate: Callable[[], Record] | None = None,
) -> list[Record]:
    """Train a model in place; return the history, and leave the model in evaluation mode.

    Args:
        model: On its device; its parameters that require gradients are trained.
        lengths: Tokens of each training row.
        loss_of: Gives the loss of a batch of rows, with its graph.
        settings: The estimator, whose parameters say the rest: `num_epochs`, `batch_size`,
            `weight_decay`, `warmup`, `patience`, `callbacks`, `random_state`, `show_progress`.
        learning_rate: Peak rate of AdamW.
        fast: The fast options in force; `length_buckets`, `half_precision`, `cheap_dropout` and
            `kept_memory` are known here.
        description: What a progress bar says.
        criterion: Which of the scores decides, with `patience`.
        greater_is_better: Whether more of it is better.
        evaluate: Gives the scores on validation after each epoch.
    """
    half, batch_size = "half_precision" in fast, int(settings.batch_size)
    num_epochs = int(settings.num_epochs)
    num_steps = num_epochs * -(-len(lengths) // batch_size)
    loop = Loop(
        model,
        num_steps=num_steps,
        learning_rate=learning_rate,
        weight_decay=float(settings.weight_decay),
        warmup=float(settings.warmup),
        scale_losses=half and runtime.precision()["fp16"],
        callbacks=settings.callbacks,
        description=description,
        show_progress=runtime.shows_progress(settings.show_progress),
    )
    batches = epoch_batches(
        lengths, batch_size, seed_of(settings.random_state), "length_buckets" in fast
    )

    def step_loss(_: int) -> torch.Tensor:
        model.train()
        with runtime.half_precision(next(model.parameters()).device, half):
            return loss_of(next(batches))

    def look() -> Record:
        model.eval()
        with runtime.generators_restored():
            return evaluate()

    with contextlib.ExitStack() as stack:
        if "cheap_dropout" in fast:
            stack.enter_context(cheap_dropout(model))
        if "kept_memory" in fast:
            stack.enter_context(kept_memory(model))
        history = loop.run(
            step_loss,
            evaluate=None if evaluate is None else look,
            looks=evaluation_steps(num_steps, num_epochs),
            patience=settings.patience,
            criterion=criterion,
            greater_is_better=greater_is_better,
        )
    model.eval()
    return history
