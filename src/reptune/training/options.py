"""The fast options of every fine-tuning, and the schedule's warm-up."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import torch

from reptune import runtime
from reptune.checks import nearest

FAST_OPTIONS = (
    "length_buckets",  # texts of similar length share a batch
    "half_precision",  # bfloat16 or float16 matrix products, where the device has them
    "first_token",  # the last block computes [CLS] alone, all that the head reads
    "cheap_dropout",  # dropout masks from 16 random bits per value (CPU)
    "kept_memory",  # what a step frees waits for the next one (CPU, glibc)
    "frozen_cache",  # the frozen blocks' outputs are computed once, in eval mode
)
HALF_PRECISION_MULTIPLE = 8  # lengths that matrix units like; few shapes also mean few kernels


def fast_options(
    fast: bool | Collection[str], known: Sequence[str] = FAST_OPTIONS
) -> frozenset[str]:
    """Return the options that `fast` switches on: all for `True`, none for `False`, or the named.

    Args:
        fast: As an estimator's user gave it.
        known: The options that the estimator has.

    Raises:
        ValueError: If a name is unknown.

    >>> sorted(fast_options(("cheap_dropout",)))
    ['cheap_dropout']
    """
    if isinstance(fast, bool | np.bool_):
        return frozenset(known if fast else ())
    named = not isinstance(fast, str) and isinstance(fast, Collection)
    if not named or not all(isinstance(name, str) for name in fast):
        raise ValueError(
            f"fast={fast!r}; use True, False, or some of {', '.join(known)} in a tuple."
        )
    for name in fast:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"use {', '.join(known)}."
            raise ValueError(f"fast holds the unknown option {name!r}; {hint}")
    return frozenset(fast)


def options_on(device: torch.device, fast: bool | Collection[str]) -> frozenset[str]:
    """Return the options in force on a device: half precision is for the machine's accelerator.

    Args:
        device: Where the model trains.
        fast: As an estimator's user gave it.
    """
    options = fast_options(fast)
    return options if device.type == runtime.device().type else options - {"half_precision"}


def padding_multiple(fast: Collection[str], limit: int) -> int | None:
    """Return the multiple of tokens to pad batches to; `None` pads to the longest text.

    Half-precision kernels are built anew for each shape and kept, so that on a CPU many different
    lengths cost memory; on a GPU, lengths that 8 divides are the fast ones.

    Args:
        fast: The options in force.
        limit: Tokens the model takes; padding must not exceed it.
    """
    has = runtime.precision()
    wanted = "half_precision" in fast and (has["bf16"] or has["fp16"])
    return HALF_PRECISION_MULTIPLE if wanted and limit % HALF_PRECISION_MULTIPLE == 0 else None


def warmup_steps(share: float, num_steps: int) -> float:
    """Return what `TrainingArguments(warmup_steps=…)` takes for a share of the steps.

    That is the share itself, or a number of steps where the share would leave none after the
    warm-up.

    The library's rate is 0 at the first step. A warm-up of every step would never reach the peak,
    and where there is but one step, nothing would be learned.
    """
    return share if math.ceil(share * num_steps) < num_steps else float(num_steps - 1)
