"""A teacher's tokens per second: one prompt after the other, and many side by side, in turn.

Each round lets the teacher go on with the same kind of prompt, the beginning of which all share:
`CausalLM.generate` on three of them, and `generate_many` on 48, in bfloat16 and in float32. The
primary comparison is that of 48 side by side with one by one, both in bfloat16, by the median of
the rounds' ratios; the goal is six times. Greedy texts are compared in float32.
"""

from __future__ import annotations

import copy
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from shared.common import Job, main

from reptune.models.causal import CausalLM, load_causal_lm
from reptune.models.decoding import generate_many

TEACHER = "Qwen2.5-Coder-0.5B-Instruct"
ROUNDS = 3
ONE_BY_ONE = 3  # prompts of a round
NEW_TOKENS = 32
SHOWN = (
    ("positive", "a warm , funny and often touching film that never tries too hard ."),
    ("negative", "the plot is dull , the jokes are old and all of it is too long ."),
    ("positive", "one of the year's most original and beautifully acted dramas ."),
    ("negative", "a lifeless sequel that forgets what made the first worth seeing ."),
)
HEAD = "Short sentences from movie reviews, each with its label.\n\n" + "".join(
    f"Label: {label}\nSentence: {text}\n\n" for label, text in SHOWN
)
TOPICS = (
    "the acting", "the plot", "the music", "the ending", "the dialogue", "the camera", "the pace",
    "the humor", "a child actor", "the director", "special effects", "a sequel",
)  # fmt: skip
PROMPTS = [
    f"{HEAD}Label: {label}\nTopic: {topic}\nStyle: {style}\nSentence:"
    for topic in TOPICS
    for label in ("positive", "negative")
    for style in ("short", "long and winding")
]
WRITING = {"max_new_tokens": NEW_TOKENS, "temperature": 1.0, "stop": ()}

JOBS: list[Job] = [
    {
        "setting": "speed",
        "method": "in turn",
        "task": "generation",
        "model": TEACHER,
        "random_state": 42,
    }
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Measure all arms in this process, in turn; the models are loaded before."""
    full = load_causal_lm(job["model"], device="cpu")
    half = CausalLM(copy.deepcopy(full.model).to(torch.bfloat16), full.tokenizer)
    arms = {
        "one_by_one": lambda seed: _one_by_one(half, seed),
        "many": lambda seed: _many(half, seed),
        "many_float32": lambda seed: _many(full, seed),
    }
    speeds: dict[str, list[float]] = {name: [] for name in arms}
    begun = time.perf_counter()
    for number in range(ROUNDS + 1):
        for name, arm in arms.items():
            speed = _tokens_a_second(full, arm, job["random_state"] + number)
            if number:  # the first round warms up
                speeds[name].append(speed)
    yield {
        "split": "none",
        "labels": 0,
        "items": len(PROMPTS),
        "metrics": {
            **{
                f"tokens_per_second_{name}": statistics.median(each)
                for name, each in speeds.items()
            },
            **_times(speeds["many"], speeds["one_by_one"], "times_as_fast"),
            **_times(speeds["many"], speeds["many_float32"], "bfloat16_to_float32"),
            "equal_greedy_texts": _equal_greedy(full),
        },
        "seconds": {"all_rounds": round(time.perf_counter() - begun, 1)},
        "rounds": {name: [round(each, 2) for each in row] for name, row in speeds.items()},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
        "load": os.getloadavg()[0],
    }


def _one_by_one(lm: CausalLM, seed: int) -> list[str]:
    return [lm.generate(text, **WRITING, random_state=seed) for text in PROMPTS[:ONE_BY_ONE]]


def _many(lm: CausalLM, seed: int) -> list[str]:
    return generate_many(lm, PROMPTS, **WRITING, random_state=seed)


def _tokens_a_second(lm: CausalLM, arm: Callable[[int], list[str]], seed: int) -> float:
    begun = time.perf_counter()
    texts = arm(seed)
    seconds = time.perf_counter() - begun
    return sum(len(lm.encode(text, special=False)) for text in texts) / seconds


def _times(fast: list[float], slow: list[float], name: str) -> dict[str, float]:
    """Return the median of the rounds' ratios, the least and the most."""
    ratios = [one / other for one, other in zip(fast, slow, strict=True)]
    return {
        name: statistics.median(ratios),
        f"{name}_least": min(ratios),
        f"{name}_most": max(ratios),
    }


def _equal_greedy(lm: CausalLM) -> int:
    """Return how many of eight greedy texts are those of `CausalLM.generate`."""
    prompts = PROMPTS[::6]
    many = generate_many(lm, prompts, max_new_tokens=NEW_TOKENS, stop=())
    one = [lm.generate(prompt, max_new_tokens=NEW_TOKENS, stop=()) for prompt in prompts]
    return sum(a == b for a, b in zip(one, many, strict=True))


if __name__ == "__main__":
    main(__file__, JOBS, run, side_by_side=False)
