"""SetFit's first phase: a sentence encoder tuned on pairs (chapter 2)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from reptune import runtime, training
from reptune.checks import (
    seed_of,
)
from reptune.fewshot.contrastive import (
    PairSampler,
    SentenceBatches,
    all_pairs_cosine_loss,
    cosine_pair_loss,
    supervised_contrastive_loss,
)
from reptune.fewshot.encoder import Body, Encoder

Loss = Literal["cosine", "supcon"]

LOSSES = ("cosine", "supcon")

# Steps of the efficient mode where none are asked for; more where the texts need more batches.
# As good as ten on both tasks of the study ch02_choices.
DEFAULT_STEPS = 5
EVALUATIONS = 10  # how often, over a whole training, early stopping looks


class Contrast:
    """The contrastive phase of one `fit`."""

    def __init__(
        self,
        settings: Any,
        transformer: SentenceTransformer,
        encoded: list[list[int]],
        labels: np.ndarray,
    ) -> None:
        self._settings, self._transformer = settings, transformer
        self._encoded, self._labels = encoded, torch.from_numpy(labels)
        self._fast = training.fast_options(settings.fast)
        self._batch_size = settings.batch_size or (32 if settings.efficient else 16)
        self._seed = seed_of(settings.random_state)
        if settings.efficient:
            passes = -(-len(encoded) // self._batch_size)
            self.num_steps = settings.num_steps or max(DEFAULT_STEPS, passes)
        else:
            self._pairs = PairSampler(labels, settings.sampling, settings.num_pairs, self._seed)
            epoch = -(-len(self._pairs) // self._batch_size)
            self.num_steps = settings.num_steps or settings.num_epochs * epoch

    def run(self, score: Callable[[], float] | None = None) -> list[dict[str, float]]:
        """Train in place; return the history. `score()` gives the accuracy on held-out texts."""
        transformer = self._transformer
        with runtime.scratch_folder() as folder, contextlib.ExitStack() as stack:
            body = Body(transformer)
            states = self._frozen_states(body, folder)
            if states is not None:
                stack.callback(states.close)
            if "cheap_dropout" in self._fast:
                stack.enter_context(training.cheap_dropout(body))
            encode = Encoder(transformer, self._encoded, states, self._fast)
            return self._train(encode, states, score)

    def _train(
        self, encode: Encoder, states: training.FrozenStates | None, score: Any
    ) -> list[dict[str, float]]:
        settings, body = self._settings, encode.body
        optimizer = adamw(body, settings.learning_rate, settings.weight_decay)
        schedule = LambdaLR(optimizer, self._rate)
        half = "half_precision" in self._fast
        scaler = torch.amp.GradScaler(
            body.device.type, enabled=half and runtime.precision()["fp16"]
        )
        history, stopper = [], EarlyStopping(body, settings.patience)
        looks = {-(-k * self.num_steps // EVALUATIONS) for k in range(1, EVALUATIONS + 1)}
        bar = tqdm(
            total=self.num_steps, desc="contrastive fine-tuning", unit="step", leave=False,
            disable=not settings.show_progress,
        )  # fmt: skip
        batches = self._batches()
        with bar:
            for step in range(1, self.num_steps + 1):
                body.train(settings.dropout)
                with states.in_place() if states is not None else contextlib.nullcontext():
                    loss = self._loss(encode, next(batches))
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(body.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
                optimizer.zero_grad()
                history.append({"step": step, "loss": loss.item()})
                bar.update()
                if score is not None and step in looks:
                    history.append({"step": step, "eval_accuracy": score()})
                    if stopper.should_stop(history[-1]["eval_accuracy"]):
                        break
        stopper.restore()
        return history

    def _rate(self, step: int) -> float:
        """Share of the peak rate: linearly up over the warm-up, then down to 0 after the end.

        `transformers`' schedule starts at 0, so that the first of ten steps would train nothing;
        this one is a step ahead of it. Pair by pair, where steps are many, the library's is kept.
        """
        ahead = 1 if self._settings.efficient else 0
        # A step ahead, the first step has the full rate where there is no warm-up.
        warmup = max(ahead, int(np.ceil(self._settings.warmup * self.num_steps)))
        step, end = step + ahead, self.num_steps + ahead
        if step < warmup:
            return step / warmup
        return max(0.0, (end - step) / max(1, end - warmup))

    def _batches(self) -> Iterator[np.ndarray]:
        if self._settings.efficient:
            yield from SentenceBatches(self._labels.numpy(), self._batch_size, self._seed)
        while True:
            yield from self._pairs.batches(self._batch_size)

    def _loss(self, encode: Encoder, batch: np.ndarray) -> torch.Tensor:
        if not self._settings.efficient:
            one, other = encode(batch[:, 0]), encode(batch[:, 1])
            same = torch.from_numpy(batch[:, 2]).to(one.device)
            return cosine_pair_loss(torch.cosine_similarity(one, other), same)
        embeddings = encode(batch)
        labels = self._labels[batch].to(embeddings.device)
        if self._settings.loss == "supcon":
            return supervised_contrastive_loss(embeddings, labels)
        return all_pairs_cosine_loss(embeddings, labels, self._settings.sampling != "unique")

    def _frozen_states(self, body: Body, folder: Path) -> training.FrozenStates | None:
        wanted = "frozen_cache" in self._fast
        if not wanted or not training.FrozenStates.fits(body, self._encoded, folder):
            return None
        return training.FrozenStates(
            body,
            self._transformer.tokenizer,
            self._encoded,
            folder,
            half_precision="half_precision" in self._fast,
        )


class EarlyStopping:
    """Keeps the weights of the best accuracy so far, where there is patience to run out."""

    def __init__(self, model: nn.Module, patience: int | None) -> None:
        self._model, self._patience = model, patience
        self._best, self._weights, self._waited = -1.0, None, 0

    def should_stop(self, accuracy: float) -> bool:
        """Take note of an accuracy; true once it has not risen `patience` times in a row."""
        if self._patience is None:
            return False
        if accuracy > self._best:
            self._best, self._waited = accuracy, 0
            self._weights = {
                name: parameter.detach().clone()
                for name, parameter in self._model.named_parameters()
                if parameter.requires_grad
            }
        else:
            self._waited += 1
        return self._waited >= self._patience

    def restore(self) -> None:
        """Give the model the weights of the best accuracy seen."""
        if self._weights is not None:
            self._model.load_state_dict(self._weights, strict=False)


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW as `Trainer` sets it up: no decay for biases and layer norms."""
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
