"""What training costs, and how not to pay for it twice: the fast options of every fine-tuning."""

import reptune.needs_torch  # noqa: F401

from reptune.training.blocks import (
    Trainable,
    block_of,
    check_trainable,
    freeze,
    layer_rates,
    num_frozen_blocks,
    parameter_counts,
)
from reptune.training.loop import EarlyStopping, Loop, adamw, evaluation_steps, rate_share
from reptune.training.memory import kept_memory
from reptune.training.options import (
    FAST_OPTIONS,
    fast_options,
    options_on,
    padding_multiple,
    warmup_steps,
)
from reptune.training.sampler import LengthBucketSampler
from reptune.training.shortcuts import CheapDropout, cheap_dropout, first_token
from reptune.training.states import FrozenStates, FrozenStatesCollator
from reptune.training.trainer import (
    FastTrainer,
    ProgressBar,
    Watch,
    fine_tune,
    training_arguments,
)

__all__ = [
    "FAST_OPTIONS",
    "CheapDropout",
    "EarlyStopping",
    "FastTrainer",
    "FrozenStates",
    "FrozenStatesCollator",
    "LengthBucketSampler",
    "Loop",
    "ProgressBar",
    "Trainable",
    "Watch",
    "adamw",
    "block_of",
    "cheap_dropout",
    "check_trainable",
    "evaluation_steps",
    "fast_options",
    "fine_tune",
    "first_token",
    "freeze",
    "kept_memory",
    "layer_rates",
    "num_frozen_blocks",
    "options_on",
    "padding_multiple",
    "parameter_counts",
    "rate_share",
    "training_arguments",
    "warmup_steps",
]
