"""The library's `Trainer`, as supervised and token fine-tuning use it: set up, run, watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Sampler
from tqdm import tqdm
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from reptune import runtime
from reptune.checks import seed_of
from reptune.training.blocks import layer_rates
from reptune.training.loop import EarlyStopping, Record, tell
from reptune.training.options import warmup_steps
from reptune.training.sampler import LengthBucketSampler
from reptune.training.states import FrozenStates

LOSSES = 50  # records of the training loss, spread over the steps

# --- one training --------------------------------------------------------------------------------


def training_arguments(
    folder: str | Path,
    num_items: int,
    *,
    num_epochs: int,
    learning_rate: float,
    batch_size: int,
    weight_decay: float,
    warmup: float,
    random_state: int | None,
    device: torch.device,
    half_precision: bool,
    evaluation_batch_size: int | None = None,
) -> TrainingArguments:
    """Return the library's settings for a fine-tuning that keeps no checkpoints.

    Args:
        folder: Where the library may write; nothing is kept there.
        num_items: Training texts, or windows of them.
        num_epochs: Passes over them.
        learning_rate: Peak rate of AdamW.
        batch_size: Items per step and process.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises from 0; it then falls to 0.
        random_state: Seed of the order of items and of dropout.
        device: Where the model trains.
        half_precision: Use bfloat16 or float16 matrix products, where the device has them.
        evaluation_batch_size: Items per batch where the library evaluates after each epoch;
            `None` where it does not.
    """
    num_steps = num_epochs * -(-num_items // (batch_size * runtime.world_size()))
    evaluation = {"eval_strategy": "no"}
    if evaluation_batch_size is not None:
        evaluation = {
            "eval_strategy": "epoch", "per_device_eval_batch_size": evaluation_batch_size
        }  # fmt: skip
    precision = {"use_cpu": device.type == "cpu"} | (runtime.precision() if half_precision else {})
    arguments = TrainingArguments(
        str(folder),
        num_train_epochs=num_epochs,
        learning_rate=learning_rate,
        per_device_train_batch_size=batch_size,
        weight_decay=weight_decay,
        warmup_steps=warmup_steps(warmup, num_steps),
        save_strategy="no",
        logging_steps=max(1, num_steps // LOSSES),
        remove_unused_columns=False,
        report_to="none",
        seed=seed_of(random_state),
        disable_tqdm=True,
        dataloader_pin_memory=device.type == "cuda",
        **evaluation,
        **precision,
    )
    if arguments.world_size == 1:
        # The library takes the first accelerator, whichever was asked for.
        arguments.distributed_state.device = device
        vars(arguments)["_setup_devices"] = device
    return arguments


def fine_tune(
    model: PreTrainedModel,
    arguments: TrainingArguments,
    watch: Watch,
    *,
    show_progress: bool = False,
    **options: Any,
) -> list[Record]:
    """Train a model in place with `FastTrainer`; return what `watch` has recorded.

    Args:
        model: On its device.
        arguments: As `training_arguments` makes them.
        watch: Records losses and evaluations, and may stop early.
        show_progress: Show a progress bar.
        **options: Of `FastTrainer`: data, collator, loss, lengths and so on.
    """
    callbacks = [watch, ProgressBar()] if show_progress else [watch]
    trainer = FastTrainer(model=model, args=arguments, callbacks=callbacks, **options)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    watch.restore()
    # Mixed precision leaves an autocast wrapper around `forward`; without it gone, the fitted
    # model would predict in half precision and the saved one in float32.
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    return watch.records


class Watch(TrainerCallback):
    """Record losses and evaluations as they come, tell them, and stop when patience runs out.

    Args:
        model: Whose best weights are kept where there is patience to run out.
        callbacks: Called with each new record, in the order given.
        patience: Evaluations without a better score before training stops; `None` never stops.
        criterion: Which of the scores decides, higher being better.
        evaluate: Gives the scores after each epoch, drawing no random numbers; `None` takes those
            of the library's own evaluation.

    Attributes:
        records: A list of `{"step", "epoch", "loss"}` and of `{"step", "epoch"}` with the scores.

    >>> from transformers import TrainerControl, TrainerState
    >>> watch = Watch(nn.Linear(1, 1), evaluate=lambda: {"eval_accuracy": 0.5}, patience=1)
    >>> state, control = TrainerState(global_step=10, epoch=1.0), TrainerControl()
    >>> watch.on_log(None, state, control, logs={"loss": 0.7})
    >>> watch.on_epoch_end(None, state, control)
    >>> watch.on_epoch_end(None, state, control)  # no better: patience has run out
    >>> watch.records[0]
    {'step': 10, 'epoch': 1.0, 'loss': 0.7}
    >>> control.should_training_stop
    True
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        callbacks: Sequence[Callable[[Record], Any]] = (),
        patience: int | None = None,
        criterion: str = "eval_accuracy",
        evaluate: Callable[[], Record] | None = None,
    ) -> None:
        self.records: list[Record] = []
        self._callbacks, self._evaluate = tuple(callbacks), evaluate
        self._stopper, self._criterion = EarlyStopping(model, patience), criterion

    def restore(self) -> None:
        """Give the model the weights of the best score, where there was patience to run out."""
        self._stopper.restore()

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Record a loss, or what the library's evaluation gave."""
        if "loss" in logs:
            self._record(state, {"loss": logs["loss"]})
        elif "eval_loss" in logs:
            scores = {name: logs[name] for name in ("eval_loss", self._criterion)}
            self._look(self._record(state, scores), control)

    def on_epoch_end(self, args, state, control, **kwargs):
        """Evaluate, where the library does not."""
        if self._evaluate is not None:
            self._look(self._record(state, self._evaluate()), control)

    def _record(self, state: Any, scores: Record) -> Record:
        record = {"step": state.global_step, "epoch": state.epoch, **scores}
        self.records.append(record)
        tell(self._callbacks, record)
        return record

    def _look(self, record: Record, control: Any) -> None:
        if self._stopper.should_stop(record[self._criterion]):
            control.should_training_stop = True


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

    >>> import tempfile
    >>> from transformers import BertConfig, BertForSequenceClassification
    >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
    ...                     num_attention_heads=1, intermediate_size=8)
    >>> rows = [{"input_ids": torch.tensor([1, 2, 3]), "labels": 1}] * 4
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     settings = TrainingArguments(folder, max_steps=3, use_cpu=True, report_to="none",
    ...                                  disable_tqdm=True, save_strategy="no")
    ...     trainer = FastTrainer(BertForSequenceClassification(config), settings,
    ...                           train_dataset=rows, lengths=[3] * 4)
    ...     trainer.remove_callback(PrinterCallback)
    ...     trainer.train().global_step
    3
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
        """Create the library's optimizer, with a rate for each block."""
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
        """Compute the library's loss, starting after the frozen blocks where there are states."""
        if self._frozen_states is not None:
            self._frozen_states.give(inputs.pop("frozen_states"))
        return super().compute_loss(model, inputs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Run the library's evaluation; the random generators stay as they were."""
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
    """Return the first process's seed; without a given one, each process makes up its own."""
    values = [int(seed)]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


class ProgressBar(TrainerCallback):
    """One bar over all steps that disappears when training ends.

    >>> from transformers import TrainerControl, TrainerState
    >>> state, bar = TrainerState(max_steps=10), ProgressBar()
    >>> bar.on_train_begin(None, state, TrainerControl())
    >>> state.global_step = 4
    >>> bar.on_step_end(None, state, TrainerControl())
    >>> bar.bar.n
    4
    >>> bar.on_train_end(None, state, TrainerControl())
    """

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
