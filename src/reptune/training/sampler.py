"""Batches of texts of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler

BUCKET_BATCHES = 50  # batches' worth of texts that are sorted by length together


# --- batches of similar length -------------------------------------------------------------------


class LengthBucketSampler(Sampler[int]):
    """An order of texts in which batches hold similar lengths and come in random order.

    The texts are shuffled, cut into pools of `BUCKET_BATCHES` batches, sorted by length within a
    pool and cut into batches; then the batches are shuffled. `transformers`' `group_by_length`
    leaves out the last step, so that lengths fall through every pool. The one batch that is not
    full comes last, because a data loader cuts the order into batches by counting.

    Args:
        lengths: Tokens of each text.
        batch_size: Texts per batch.
        seed: Draw each order from this seed and the epoch's number, so that several processes that
            share the batches out draw the same one; `None` draws from PyTorch's global generator.

    Each pass draws a new order.

    >>> lengths = [9, 2, 8, 3, 30, 31]
    >>> order = list(LengthBucketSampler(lengths, batch_size=2, seed=0))
    >>> sorted([lengths[row] for row in order[start : start + 2]] for start in (0, 2, 4))
    [[2, 3], [8, 9], [30, 31]]
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int | None = None) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = int(batch_size)
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch's number, as `accelerate` does; without a seed it changes nothing."""
        self.epoch = int(epoch)

    def __iter__(self) -> Iterator[int]:
        generator = None
        if self.seed is not None:
            mixed = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(mixed >> 1))
        self.epoch += 1
        order = torch.randperm(len(self.lengths), generator=generator).numpy()
        pool_size = BUCKET_BATCHES * self.batch_size
        batches = []
        for start in range(0, len(order), pool_size):
            pool = order[start : start + pool_size]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size)]
        full = [batch for batch in batches if len(batch) == self.batch_size]
        rest = [batch for batch in batches if len(batch) < self.batch_size]
        for index in torch.randperm(len(full), generator=generator).tolist():
            yield from full[index].tolist()
        for batch in rest:
            yield from batch.tolist()
