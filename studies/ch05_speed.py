"""Scoring label words: plain code, a full prompt an input, and this package, in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from shared import rounds
from shared.common import TASK, few_shot
from shared.plain_prompts import word_scores
from shared.prompts import CAUSAL, WORDS, some

from reptune import meter
from reptune.incontext import build_prompt
from reptune.models.causal import load_causal_lm

PLAIN, OURS, HALF = "plain code", "shared prefix", "shared prefix, half precision"
ITEMS = 60


@dataclass(frozen=True)
class Setting:
    """How many examples of a class the prompt shows."""

    per_class: int
    arms: tuple[str, ...] = (PLAIN, OURS, HALF)
    rounds: int = 3


SETTINGS = {f"{number} a class": Setting(number) for number in (0, 4)}


def measure(setting: str, arm: str, seed: int) -> dict[str, Any]:
    """One arm of a setting, in this process; the model is loaded before the clock starts."""
    per_class = SETTINGS[setting].per_class
    texts, labels = few_shot(TASK, max(per_class, 1), seed)
    shown = [(text, WORDS[label]) for text, label in zip(texts, labels.tolist(), strict=True)]
    prompts = [
        build_prompt(text, shown if per_class else ()) for text in some("validation", ITEMS)[0]
    ]
    lm = load_causal_lm(CAUSAL)
    endings = [f" {word}" for word in WORDS.values()]
    lm.continuation_scores(prompts[:2], endings, half_precision=arm == HALF)  # kernels are built
    with meter.Meter() as cost:
        if arm == PLAIN:
            scores = word_scores(lm.model, lm.tokenizer, prompts, list(WORDS.values()))
        else:
            scores = lm.continuation_scores(prompts, endings, half_precision=arm == HALF)
    reference = word_scores(lm.model, lm.tokenizer, prompts[:20], list(WORDS.values()))
    return {
        "method": arm,
        "setting": setting,
        "task": TASK,
        "model": CAUSAL,
        "labels": 2 * per_class,
        "random_state": seed,
        "split": "validation",
        "metrics": {"largest_difference": float(np.abs(scores[:20] - reference).max())},
        "seconds": {"fit": round(cost.seconds, 3)},
        "peak_memory_mb": round(cost.peak_memory_mb),
        "items": ITEMS,
        "matmul_peak_gflops": rounds.peaks(),
    }


if __name__ == "__main__":
    rounds.main(__file__, __doc__, SETTINGS, measure)
