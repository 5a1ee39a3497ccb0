"""One training run of prompt-based fine-tuning: batches, steps, what did not fit (chapter 6)."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from reptune import runtime, training
from reptune.checks import check_finite_weights
from reptune.cloze.demonstrations import Prompts
from reptune.cloze.prompt_models import PromptModel, collate, label_logits
from reptune.cloze.templates import Encoded
from reptune.training.loop import Record

MASKED_RATE, CAUSAL_RATE = 1e-4, 2e-5
MASKED_STEPS, CAUSAL_STEPS = 60, 60
EVALUATIONS, PATIENT_EVALUATIONS = 5, 10  # per training; with patience, to stop it in time
FAST_OPTIONS = ("label_rows", "half_precision", "cheap_dropout")


class Truncation:
    """Counts the prompts of which not everything fit, and says so once."""

    def __init__(self) -> None:
        self.prompts = self.cut = self.short = self.dropped = 0

    def add(self, encoded: Sequence[Encoded]) -> Sequence[Encoded]:
        """Count what these prompts lost, and return them."""
        self.prompts += len(encoded)
        self.cut += sum(prompt.cut > 0 for prompt in encoded)
        self.short += sum(prompt.dropped > 0 for prompt in encoded)
        self.dropped += sum(prompt.dropped for prompt in encoded)
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
                f"of {self.prompts} prompts, {' and '.join(said)} to fit into {limit} tokens; "
                "use fewer demonstrations or shorter texts; a max_length accepts cut inputs.",
                stacklevel=5,
            )


def train(
    settings: Any,
    prompts: Prompts,
    word_ids: np.ndarray,
    targets: torch.Tensor,
    evaluate: Callable[[], Record] | None = None,
    criterion: str = "eval_accuracy",
    greater_is_better: bool = True,
) -> list[Record]:
    """Train a model in place; return the history.

    Args:
        settings: The estimator, whose parameters and `PATIENT_EVALUATIONS` say how.
        prompts: Makes the prompts of the training inputs.
        word_ids: Token ids of the labels' words; see `reptune.cloze.templates.word_ids`.
        targets: Of each training input, what `cross_entropy` takes: a label id, or shares of the
            labels.
        evaluate: Gives the scores on validation.
        criterion: Which of them decides, with `patience`.
        greater_is_better: Whether more of it is better.
    """
    prompt_model, truncation = prompts.prompt_model, Truncation()
    fast = training.fast_options(settings.fast, FAST_OPTIONS)
    prompts.prepare()
    if not prompts.per_class:  # each prompt stays the same; count it once
        truncation.add(prompts.alone)
    loop = _loop(settings, prompt_model)
    batches = random_batches(
        len(prompts.examples), settings.batch_size, loop.num_steps, prompts.seed
    )

    def loss_of(step: int) -> torch.Tensor:
        rows = next(batches)
        encoded = prompts.training(rows, step)
        if prompts.per_class:
            truncation.add(encoded)
        return word_loss(prompt_model, encoded, word_ids, targets[rows], fast)

    with _dropout(prompt_model, fast):
        history = loop.run(
            loss_of,
            evaluate=evaluate,
            looks=_looks(loop.num_steps, settings.patience, settings.PATIENT_EVALUATIONS),
            patience=settings.patience,
            criterion=criterion,
            greater_is_better=greater_is_better,
        )
    check_finite_weights(prompt_model.model)
    truncation.warn(prompts.limit, settings.max_length is not None)
    prompt_model.model.eval()
    return history


def _loop(settings: Any, prompt_model: PromptModel) -> training.Loop:
    causal = prompt_model.causal
    num_steps, rate = (CAUSAL_STEPS, CAUSAL_RATE) if causal else (MASKED_STEPS, MASKED_RATE)
    return training.Loop(
        prompt_model.model,
        num_steps=num_steps if settings.num_steps is None else settings.num_steps,
        learning_rate=settings.learning_rate or rate,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
        schedule="held",
        callbacks=settings.callbacks,
        description="prompt-based fine-tuning",
        show_progress=runtime.shows_progress(settings.show_progress),
    )


def _looks(
    num_steps: int, patience: int | None, patient_evaluations: int = PATIENT_EVALUATIONS
) -> set[int]:
    """Return the steps after which to evaluate."""
    if patience is not None:
        return training.evaluation_steps(num_steps, patient_evaluations)
    # Rounded down, where `evaluation_steps` rounds up: histories have been so from the start.
    return {number * num_steps // EVALUATIONS for number in range(1, EVALUATIONS + 1)}


def _dropout(
    prompt_model: PromptModel, fast: Collection[str]
) -> contextlib.AbstractContextManager[Any]:
    if "cheap_dropout" in fast:
        return training.cheap_dropout(prompt_model.model)
    return contextlib.nullcontext()


def word_loss(
    prompt_model: PromptModel,
    encoded: Sequence[Encoded],
    word_ids: np.ndarray,
    targets: torch.Tensor,
    fast: Collection[str],
) -> torch.Tensor:
    """Return a batch's loss: cross-entropy over the label words' logits alone, in nats.

    Args:
        prompt_model: The model, which is put in training mode.
        encoded: The batch's prompts.
        word_ids: Token ids of the labels' words; see `reptune.cloze.templates.word_ids`.
        targets: Label ids of shape `(n,)`, or shares of the labels, `(n, num_labels)`.
        fast: The fast options in force.
    """
    model = prompt_model.model.train()
    # float16 would need its losses scaled; bfloat16 has the range of float32.
    half = "half_precision" in fast and bool(runtime.precision()["bf16"])
    multiple = training.padding_multiple(fast if half else (), prompt_model.limit)
    batch = collate(prompt_model, encoded, multiple)
    with runtime.half_precision(model.device, half):
        logits = label_logits(prompt_model, batch, word_ids, "label_rows" in fast)
    return nn.functional.cross_entropy(logits.float(), targets.to(model.device))


def random_batches(count: int, size: int, num_steps: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the rows of each step: shuffled epochs, one after the other, in full batches."""
    size = min(size, count)
    order, epoch = np.empty(0, dtype=int), 0
    for _ in range(num_steps):
        if len(order) < size:
            new = np.random.default_rng([seed, 0, epoch]).permutation(count)
            order, epoch = np.concatenate([order, new]), epoch + 1
        yield order[:size]
        order = order[size:]
