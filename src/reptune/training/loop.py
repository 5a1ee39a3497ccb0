"""The loop that SetFit, prompt tuning and continued pretraining share: steps, rates, looks, stops.

Supervised and token training use the library's `Trainer`, which chapters 1 and 4 teach. These three
methods build their batches anew at each step, which `Trainer` has no place for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn
from tqdm import tqdm

from reptune import runtime
from reptune.checks import check_number

Schedule = Literal["linear", "held", "from_zero"]
Record = dict[str, float]


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Make AdamW as `Trainer` sets it up: no weight decay for biases and layer norms.

    Args:
        model: Its parameters that require gradients are trained.
        learning_rate: Of all of them.
        weight_decay: Of those that are neither a bias nor part of a norm.
    """
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = name.endswith("bias") or "norm" in name.lower()
            (others if plain else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def rate_share(step: int, num_steps: int, warmup: float, schedule: Schedule = "linear") -> float:
    """Return the share of the peak learning rate at a step: linearly up, then linearly down.

    Args:
        step: From 1 to `num_steps`.
        num_steps: Of the whole training.
        warmup: Share of the steps during which the rate rises, from 0 to 1.
        schedule: `"linear"` has the peak at one step and falls at once; `"held"` has it at two,
            the last of the warm-up and the first after it; `"from_zero"` is the library's, whose
            first step has a rate of 0 and trains nothing. Chapter 2 uses the first, chapters 3 and
            6 the second, and the pair-by-pair mode of chapter 2 the third.

    Raises:
        ValueError: If there is no such step, or `warmup` is no share from 0 to 1.

    >>> [rate_share(step, 5, 0.4) for step in range(1, 6)]
    [0.5, 1.0, 0.75, 0.5, 0.25]
    >>> [rate_share(step, 5, 0.2, "held") for step in range(1, 6)]
    [1.0, 1.0, 0.75, 0.5, 0.25]
    >>> [rate_share(step, 5, 0.2, "from_zero") for step in range(1, 6)]
    [0.0, 1.0, 0.75, 0.5, 0.25]
    """
    if not 1 <= step <= num_steps:
        raise ValueError(f"step={step} of {num_steps}; use 1 to {num_steps}.")
    check_number("warmup", warmup, least=0, most=1)
    warm = math.ceil(warmup * num_steps)
    if schedule == "held":
        return step / warm if step <= warm else (num_steps + 1 - step) / (num_steps - warm)
    # The library counts its steps from 0, and at step 0 its rate is 0.
    ahead = 0 if schedule == "from_zero" else 1
    warm, step, end = max(ahead, warm), step - 1 + ahead, num_steps + ahead
    if step < warm:
        return step / warm
    return max(0.0, (end - step) / max(1, end - warm))


def evaluation_steps(num_steps: int, evaluations: int) -> set[int]:
    """Return the steps after which to look at validation, evenly spread, the last among them."""
    return {-(-k * num_steps // evaluations) for k in range(1, evaluations + 1)}


def tell(callbacks: Sequence[Callable[[Record], Any]], record: Record) -> None:
    """Call each callback with a new record; random numbers that they draw change no training."""
    for callback in callbacks:
        with runtime.generators_restored():
            callback(record)


class EarlyStopping:
    """Keeps the weights of the best score so far, where there is patience to run out.

    Args:
        model: Its parameters that require gradients are kept.
        patience: Evaluations without a better score before training stops; `None` never stops and
            keeps nothing.

    >>> stopper = EarlyStopping(nn.Linear(1, 1), patience=2)
    >>> [stopper.should_stop(accuracy) for accuracy in (0.5, 0.7, 0.6, 0.65)]
    [False, False, False, True]
    >>> stopper.restore()  # the weights as they were at 0.7
    """

    def __init__(self, model: nn.Module, patience: int | None) -> None:
        self._model, self._patience = model, patience
        self._best, self._weights, self._waited = -math.inf, None, 0

    def should_stop(self, score: float) -> bool:
        """Take note of a score, higher being better; true once patience has run out."""
        if self._patience is None:
            return False
        if score > self._best:
            self._best, self._waited = score, 0
            self._weights = {
                name: parameter.detach().clone()
                for name, parameter in self._model.named_parameters()
                if parameter.requires_grad
            }
        else:
            self._waited += 1
        return self._waited >= self._patience

    def restore(self) -> None:
        """Give the model the weights of the best score seen."""
        if self._weights is not None:
            self._model.load_state_dict(self._weights, strict=False)


class Loop:
    """Optimizer steps on losses that the caller computes, with looks at validation between them.

    Args:
        model: What is trained, and where it lies.
        num_steps: Optimizer steps.
        learning_rate: Peak rate of AdamW.
        weight_decay: AdamW's weight decay; see `adamw`.
        warmup: Share of the steps during which the rate rises; see `rate_share`.
        schedule: The warm-up's shape; see `rate_share`.
        scale_losses: Scale losses, so that float16 gradients do not vanish.
        callbacks: Called with each new record of `history`, in the order given.
        description: What a progress bar says.
        show_progress: Show one.

    Attributes:
        step: Steps taken so far.
        history: A list of `{"step", "loss"}` and of what evaluations gave.
        optimizer: AdamW.

    >>> layer, inputs = nn.Linear(1, 1), torch.tensor([[0.0], [1.0], [2.0]])
    >>> loop = Loop(layer, num_steps=300, learning_rate=0.1, weight_decay=0, warmup=0.1)
    >>> history = loop.run(lambda step: ((layer(inputs) - 3 * inputs) ** 2).mean())
    >>> len(history), history[-1]["loss"] < 0.01
    (300, True)
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        num_steps: int,
        learning_rate: float,
        weight_decay: float,
        warmup: float,
        schedule: Schedule = "linear",
        scale_losses: bool = False,
        callbacks: Sequence[Callable[[Record], Any]] = (),
        description: str = "training",
        show_progress: bool = False,
    ) -> None:
        self.model, self.num_steps, self.step = model, num_steps, 0
        self.history: list[Record] = []
        self.optimizer = adamw(model, learning_rate, weight_decay)
        self._rate, self._warmup, self._schedule = learning_rate, warmup, schedule
        device = next(model.parameters()).device
        self._scaler = torch.amp.GradScaler(device.type, enabled=scale_losses)
        self._callbacks = tuple(callbacks)
        self._description, self._show_progress = description, show_progress

    def run(
        self,
        loss_of: Callable[[int], torch.Tensor],
        *,
        evaluate: Callable[[], Record] | None = None,
        looks: set[int] = frozenset(),
        patience: int | None = None,
        criterion: str = "eval_accuracy",
        greater_is_better: bool = True,
        after_step: Callable[[float], Any] | None = None,
    ) -> list[Record]:
        """Take the steps that are left; return the history.

        Args:
            loss_of: Gives the loss of a step, numbered from 1, with its graph.
            evaluate: Gives the scores on validation; called after the steps in `looks`.
            looks: See `evaluation_steps`.
            patience: Stop after so many evaluations without a better score, and go back to the
                weights of the best; `None` never stops.
            criterion: Which of the scores decides.
            greater_is_better: Whether more of it is better; not so of an error.
            after_step: Called with each step's loss, when it is part of the history.
        """
        stopper = EarlyStopping(self.model, patience)
        bar = tqdm(
            total=self.num_steps, initial=self.step, desc=self._description, unit="step",
            leave=False, disable=not self._show_progress,
        )  # fmt: skip
        with bar:
            while self.step < self.num_steps:
                loss = self._take_step(loss_of)
                self._record({"step": self.step, "loss": loss})
                bar.update()
                if evaluate is not None and self.step in looks:
                    self._record({"step": self.step, **evaluate()})
                    score = self.history[-1].get(criterion, math.nan)
                    if stopper.should_stop(score if greater_is_better else -score):
                        break
                if after_step is not None:
                    after_step(loss)
        stopper.restore()
        return self.history

    def _take_step(self, loss_of: Callable[[int], torch.Tensor]) -> float:
        rate = self._rate * rate_share(self.step + 1, self.num_steps, self._warmup, self._schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(self.step + 1)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad()
        self.step += 1
        return loss.item()

    def _record(self, record: Record) -> None:
        self.history.append(record)
        tell(self._callbacks, record)
