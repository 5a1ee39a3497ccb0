"""Label words at the mask: all logits, as plain code has them, and this package, in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ch06_choices import BASE, GREAT, IT_WAS, MINILM, PER_CLASS
from shared import plain_cloze, rounds
from shared.common import TASK, few_shot
from shared.prompts import some

from reptune import meter, runtime
from reptune.cloze import PromptTunedClassifier
from reptune.cloze.prompt_models import collate, label_logits, load_prompt_model
from reptune.cloze.templates import Template, encode, word_ids
from reptune.models.lowrank import REVIEW_START

PLAIN, ROWS, HALF = "plain code", "label rows", "label rows, half precision"
ALL = "all fast options"
FAST = {ROWS: ("label_rows",), HALF: ("label_rows", "half_precision"), ALL: True}
TRAINING, SCORING = "training, 20 steps of 16", "scoring 400 sentences"
NUM_STEPS, BATCH_SIZE, ITEMS = 20, 16, 400


@dataclass(frozen=True)
class Setting:
    """What is timed; scoring has no half precision in the package."""

    arms: tuple[str, ...]
    rounds: int = 3


SETTINGS = {
    TRAINING: Setting((PLAIN, ROWS, HALF, ALL)),
    SCORING: Setting((PLAIN, ROWS)),
}


def measure(setting: str, arm: str, seed: int) -> dict[str, Any]:
    """One arm of a setting, in this process; the model is loaded before the clock starts."""
    seconds, peak = (trained if setting == TRAINING else scored)(arm, seed)
    return {
        "method": arm,
        "setting": setting,
        "task": TASK,
        "model": MINILM,
        "labels": 2 * PER_CLASS,
        "random_state": seed,
        "split": "validation",
        "metrics": {"largest_difference": largest_difference(arm)},
        "seconds": {"fit": round(seconds, 3)},
        "peak_memory_mb": round(peak),
        "items": NUM_STEPS * BATCH_SIZE if setting == TRAINING else ITEMS,
        "matmul_peak_gflops": rounds.peaks(),
    }


def trained(arm: str, seed: int) -> tuple[float, float]:
    """Seconds and memory of the steps."""
    texts, labels = few_shot(TASK, PER_CLASS, seed)
    settings = {"num_steps": NUM_STEPS, "batch_size": BATCH_SIZE}
    settings["learning_rate"] = BASE["learning_rate"]
    if arm != PLAIN:
        tuned = PromptTunedClassifier(
            MINILM, IT_WAS, GREAT, fast=FAST[arm], random_state=seed, **settings
        )
        warm = tuned.set_params(num_steps=1).fit(texts, labels)  # kernels are built
        tuned = warm.set_params(num_steps=NUM_STEPS).fit(texts, labels)
        return tuned.cost_.seconds, tuned.cost_.peak_memory_mb
    loaded = load_prompt_model(MINILM, REVIEW_START)
    parts = (loaded.model, loaded.tokenizer, prompts(texts), labels.tolist(), [*GREAT.values()])
    plain_cloze.train(*parts, **settings | {"num_steps": 1}, seed=seed)
    with meter.Meter() as cost:
        plain_cloze.train(*parts, **settings, seed=seed)
    return cost.seconds, cost.peak_memory_mb


def scored(arm: str, seed: int) -> tuple[float, float]:
    """Seconds and memory of scoring, from strings to logits."""
    texts, labels = few_shot(TASK, PER_CLASS, seed)
    held_out = some("validation", ITEMS)[0]
    tuned = PromptTunedClassifier(MINILM, IT_WAS, GREAT, num_steps=0, fast=FAST.get(arm, False))
    tuned.fit(texts, labels)
    tuned.logits(held_out[:20])  # kernels are built
    with meter.Meter() as cost:
        if arm == PLAIN:
            parts = (tuned.model_, tuned.tokenizer_, prompts(held_out), [*GREAT.values()])
            plain_cloze.score(*parts)
        else:
            tuned.logits(held_out)
    return cost.seconds, cost.peak_memory_mb


def prompts(texts: list[str]) -> list[str]:
    """As strings with the mask token."""
    return [Template(IT_WAS).render(text, mask_token="[MASK]") for text in texts]


def largest_difference(arm: str, items: int = 64) -> float:
    """Of the arm's logits from the plain ones, untrained, on some sentences."""
    loaded = load_prompt_model(MINILM, REVIEW_START)
    texts, template = some("validation", items)[0], Template(IT_WAS)
    words = [*GREAT.values()]
    plain = plain_cloze.score(loaded.model, loaded.tokenizer, prompts(texts), words)
    encoded = [encode(template, loaded.tokenizer, text, limit=loaded.limit) for text in texts]
    ids = word_ids(GREAT, [*GREAT], loaded.tokenizer, causal=False, template=template)
    half = arm in (HALF, ALL)
    with torch.inference_mode(), runtime.half_precision(loaded.model.device, half):
        ours = label_logits(loaded, collate(loaded, encoded), ids, fast=arm != PLAIN)
    return float(np.abs(ours.float().cpu().numpy() - plain).max())


if __name__ == "__main__":
    rounds.main(__file__, __doc__, SETTINGS, measure)
