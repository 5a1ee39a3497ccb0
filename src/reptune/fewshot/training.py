"""SetFit's first phase: a sentence encoder tuned on pairs (chapter 2)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from reptune import runtime, training
from reptune.fewshot.contrastive import (
    PairSampler,
    Sampling,
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
EVALUATIONS = 10  # how often, over a whole training, validation is scored


@dataclass(frozen=True)
class ContrastSettings:
    """What the contrastive phase needs to know of an estimator; see `SetFitClassifier`.

    Attributes:
        fast: The options in force.
        seed: Of batches and pairs.
        show_progress: Whether to show a bar.
    """

    efficient: bool
    num_steps: int | None
    num_epochs: int
    sampling: Sampling
    num_pairs: int | None
    loss: Loss
    batch_size: int | None
    learning_rate: float
    weight_decay: float
    warmup: float
    dropout: bool
    patience: int | None
    callbacks: Sequence[Callable[[dict[str, float]], Any]]
    fast: frozenset[str]
    seed: int
    show_progress: bool


class Contrast:
    """The contrastive phase of one `fit`.

    Args:
        settings: Of the estimator.
        transformer: What is tuned, in place.
        encoded: Token ids of each text.
        labels: Label ids, shape `(n,)`, or for several labels per text booleans `(n, num_classes)`.
    """

    def __init__(
        self,
        settings: ContrastSettings,
        transformer: SentenceTransformer,
        encoded: list[list[int]],
        labels: np.ndarray,
    ) -> None:
        self._settings, self._transformer = settings, transformer
        self._encoded, self._labels = encoded, torch.from_numpy(labels)
        self._batch_size = settings.batch_size or (32 if settings.efficient else 16)
        if settings.efficient:
            passes = -(-len(encoded) // self._batch_size)
            self.num_steps = settings.num_steps or max(DEFAULT_STEPS, passes)
        else:
            self._pairs = PairSampler(labels, settings.sampling, settings.num_pairs, settings.seed)
            epoch = -(-len(self._pairs) // self._batch_size)
            self.num_steps = settings.num_steps or settings.num_epochs * epoch

    def run(self, score: Callable[[], float] | None = None) -> list[dict[str, float]]:
        """Train in place; return the history. `score()` gives the accuracy on held-out texts."""
        with runtime.scratch_folder() as folder, contextlib.ExitStack() as stack:
            body = Body(self._transformer)
            states = self._frozen_states(body, folder)
            if states is not None:
                stack.callback(states.close)
            if "cheap_dropout" in self._settings.fast:
                stack.enter_context(training.cheap_dropout(body))
            if "kept_memory" in self._settings.fast:
                stack.enter_context(training.kept_memory(body))
            encode = Encoder(self._transformer, self._encoded, states, self._settings.fast)
            return self._train(encode, states, score)

    def _train(
        self,
        encode: Encoder,
        states: training.FrozenStates | None,
        score: Callable[[], float] | None,
    ) -> list[dict[str, float]]:
        batches = self._batches()

        def loss_of(_step: int) -> torch.Tensor:
            encode.body.train(self._settings.dropout)
            with states.in_place() if states is not None else contextlib.nullcontext():
                return self._loss(encode, next(batches))

        return self._loop(encode.body).run(
            loss_of,
            evaluate=None if score is None else lambda: {"eval_accuracy": score()},
            looks=training.evaluation_steps(self.num_steps, EVALUATIONS),
            patience=self._settings.patience,
        )

    def _loop(self, body: Body) -> training.Loop:
        settings = self._settings
        half = "half_precision" in settings.fast
        return training.Loop(
            body,
            num_steps=self.num_steps,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup=settings.warmup,
            # Pair by pair, where steps are many, the library's schedule is kept, whose first
            # step trains nothing.
            schedule="linear" if settings.efficient else "from_zero",
            scale_losses=half and runtime.precision()["fp16"],
            callbacks=settings.callbacks,
            description="contrastive fine-tuning",
            show_progress=settings.show_progress,
        )

    def _batches(self) -> Iterator[np.ndarray]:
        settings = self._settings
        if settings.efficient:
            yield from SentenceBatches(self._labels.numpy(), self._batch_size, settings.seed)
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
        wanted = "frozen_cache" in self._settings.fast
        if not wanted or not training.FrozenStates.fits(body, self._encoded, folder):
            return None
        return training.FrozenStates(
            body,
            self._transformer.tokenizer,
            self._encoded,
            folder,
            half_precision="half_precision" in self._settings.fast,
        )
