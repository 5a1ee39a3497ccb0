"""Masked-LM training side by side: library code and this package, a step and end to end."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shared import rounds
from shared.common import MODEL
from shared.plain_mlm import pretrain

from reptune import data, meter, runtime, training
from reptune.models.masked import IGNORED, load_masked_lm, mask_tokens, masked_logits
from reptune.pretraining import continue_pretraining
from reptune.pretraining.packing import pack

# Plain is, for a step, the library's loss with logits everywhere; end to end, the recipe that
# pads a text a row.
PLAIN, MASKED, OURS = "plain", "logits at masked positions", "reptune"
STEP, LONG, SHORT = (
    "one step, 16 × 128 pieces",
    "a million pieces of reviews",
    ("a million pieces of sentences"),
)
STEPS = 12  # of each arm; the first two, in which memory is first taken, do not count
CORPUS = {LONG: "imdb", SHORT: "rotten_tomatoes"}


@dataclass(frozen=True)
class Setting:
    """What is compared. End to end, an arm reads `num_steps` batches of 16 rows."""

    arms: tuple[str, ...]
    rounds: int = 3
    num_steps: int = 0


SETTINGS = {
    STEP: Setting((PLAIN, MASKED, OURS)),
    LONG: Setting((PLAIN, OURS), 2, num_steps=10),
    SHORT: Setting((PLAIN, OURS), 2, num_steps=60),
}


def measure(setting: str, arm: str, seed: int) -> dict[str, Any]:
    """One arm of a setting, in this process; `fit` is a step's seconds, or a million tokens'."""
    found = _one_step(arm, seed) if setting == STEP else _end_to_end(setting, arm, seed)
    return {
        "method": arm,
        "setting": setting,
        "task": CORPUS.get(setting, "imdb"),
        "model": MODEL,
        "labels": 0,
        "random_state": seed,
        "split": "train",
        "matmul_peak_gflops": rounds.peaks(),
        **found,
    }


def _one_step(arm: str, seed: int) -> dict[str, Any]:
    """The median step, and the first step's loss without dropout, which is to be the same."""
    torch.manual_seed(seed)
    loaded = load_masked_lm(MODEL)
    model = loaded.model
    texts = list(data.load("imdb")["train"].shuffle(seed=seed).select(range(40))["text"])
    rows = pack(texts, loaded.tokenizer, 128)[:16]
    masked = mask_tokens(
        rows["input_ids"], rows["starts_word"], loaded.tokenizer, np.random.default_rng(seed)
    )
    inputs, labels = (torch.from_numpy(part).to(model.device) for part in masked)
    loss_of = _everywhere if arm == PLAIN else _masked
    exact = loss_of(model.eval(), inputs, labels).item()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4, fused=True)
    options = arm == OURS
    with (
        training.cheap_dropout(model) if options else contextlib.nullcontext(),
        meter.Meter() as cost,
    ):
        seconds = _times(model.train(), loss_of, inputs, labels, optimizer, options)
    return {
        "seconds": {"fit": statistics.median(seconds[2:])},
        "peak_memory_mb": round(cost.peak_memory_mb),
        "metrics": {"loss": exact},
    }


def _times(
    model: Any,
    loss_of: Callable,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    half: bool,
) -> list[float]:
    half = half and bool(runtime.precision()["bf16"])
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        with runtime.half_precision(model.device, half):
            loss = loss_of(model, inputs, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        seconds.append(time.perf_counter() - start)
    return seconds


def _everywhere(model: Any, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return model(input_ids=inputs, labels=labels).loss


def _masked(model: Any, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = masked_logits(model, inputs, labels)
    return torch.nn.functional.cross_entropy(logits.float(), labels[labels != IGNORED])


def _end_to_end(setting: str, arm: str, seed: int) -> dict[str, Any]:
    """Time tokenizing, batching and training; tokens without padding are what counts."""
    num_steps = SETTINGS[setting].num_steps
    rows = data.load(CORPUS[setting])["train"].shuffle(seed=seed)
    texts = list(rows.select(range(16 * num_steps))["text"])
    with meter.Meter() as cost, tempfile.TemporaryDirectory() as folder:
        if arm == PLAIN:
            tokens = pretrain(MODEL, texts, num_steps, seed)
        else:
            continue_pretraining(
                MODEL, texts, Path(folder) / "model", num_steps=num_steps,
                checkpoint_steps=10_000, random_state=seed, mask_probability=0.15,
            )  # fmt: skip
            tokens = num_steps * 16 * 126  # a block's [CLS] and [SEP] are not text
    return {
        "seconds": {"fit": cost.seconds / tokens * 1e6, "whole": round(cost.seconds, 1)},
        "peak_memory_mb": round(cost.peak_memory_mb),
        "metrics": {"pieces": tokens},
    }


if __name__ == "__main__":
    rounds.main(__file__, __doc__, SETTINGS, measure)
