"""What training costs, and how not to pay for it twice: the fast options of every fine-tuning.

Each option can be switched off; with all of them off, a fine-tuning is plain library code. Chapter
1's section "Where the seconds go" measures what each one brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import Sampler
from tqdm import tqdm
from transformers import (
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from reptune.training.blocks import layer_rates
from reptune.training.sampler import LengthBucketSampler
from reptune.training.states import FrozenStates

# --- the trainer ---------------------------------------------------------------------------------


class FastTrainer(Trainer):
    """`Trainer` with length buckets, frozen states, and evaluation that leaves no trace.

    A process trains on one device: several GPUs take several processes, as `torchrun` starts them.
    `DataParallel`, which the library would use, copies the model without what the fast options
    change in it.

    Every pass over a `DataLoader` draws a seed from the global generator, so that merely looking
    at the validation loss would change the dropout of the next epoch, and with it the model.

    Args:
        lengths: Tokens of each training text, for `LengthBucketSampler`; `None` for the library's
            order.
        frozen_states: States that the collator put into each batch as `"frozen_states"`.
        layer_decay: Share of the next block's learning rate that a block gets; see `layer_rates`.
    """

    def __init__(
        self,
        *args: Any,
        lengths: Sequence[int] | None = None,
        frozen_states: FrozenStates | None = None,
        layer_decay: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self._text_lengths, self._frozen_states = lengths, frozen_states
        self._layer_decay = layer_decay
        if (arguments := kwargs.get("args") or (args[1] if len(args) > 1 else None)) is not None:
            _prepare(arguments)
        super().__init__(*args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The library's optimizer, with a rate for each block."""
        optimizer = super().create_optimizer(model)
        if self._layer_decay != 1:
            shares = layer_rates(self.model, self._layer_decay)
            optimizer.param_groups[:] = [
                {
                    **group,
                    "params": [weight for weight in group["params"] if shares[weight] == share],
                    "lr": group["lr"] * share,
                }
                for group in optimizer.param_groups
                for share in sorted({shares[weight] for weight in group["params"]})
            ]
        return optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        if self._text_lengths is None:
            return super()._get_train_sampler(train_dataset)
        seed = _shared(self.args.seed) if self.args.world_size > 1 else None
        return LengthBucketSampler(self._text_lengths, self.args.train_batch_size, seed)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any):
        """The library's loss, started after the frozen blocks where there are states."""
        if self._frozen_states is not None:
            self._frozen_states.give(inputs.pop("frozen_states"))
        return super().compute_loss(model, inputs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The library's evaluation; the random generators stay as they were."""
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            return super().evaluate(*args, **kwargs)


def _prepare(arguments: TrainingArguments) -> None:
    """Settle what the number of processes and devices would otherwise change."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    # The library multiplies a loss by the number of processes, on the understanding that it was
    # divided by the items of all of them; the losses of this package are means of their own batch.
    if arguments.world_size > 1:
        arguments.average_tokens_across_devices = False


def _shared(seed: int) -> int:
    """The first process's seed: without one of the caller's, each process has made up another."""
    values = [int(seed)]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


class ProgressBar(TrainerCallback):
    """One bar over all steps that disappears when training ends."""

    def on_train_begin(self, args, state, control, **kwargs):
        """Open the bar; of several processes, the first one shows it."""
        self.bar = tqdm(
            total=state.max_steps, desc="fine-tuning", unit="step", leave=False,
            disable=not state.is_world_process_zero,
        )  # fmt: skip

    def on_step_end(self, args, state, control, **kwargs):
        """Move it."""
        self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, args, state, control, **kwargs):
        """Close it."""
        self.bar.close()
