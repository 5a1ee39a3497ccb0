"""Side by side: plain `Trainer`, the same grouped by length, and this package, in turn.

Every run is a fresh process of this one; a round takes all arms of a setting in turn, and is
recorded as a whole, so that the ratios of a round compare neighbors in time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _common import MODEL, fit_fields, score_fields
from _plain import PlainClassifier

from reptune import data, meter, results, runtime, training
from reptune.classification import DEFAULT_LEARNING_RATES, FineTunedClassifier

STUDY = "ch01_speed"
FIRST_SEED = 42
PLAIN, GROUPED, OURS = "plain Trainer", "Trainer, grouped by length", "reptune"
LEARNING_RATE = 1e-4

# One option after the other, each on top of those before it.
ADDED = {
    f"+ {name}": tuple(training.FAST_OPTIONS[: count + 1])
    for count, name in enumerate(training.FAST_OPTIONS[:-1])
}


@dataclass(frozen=True)
class Setting:
    """What is trained on what.

    `texts` is how many to train on and `scored` how many to score (`None`: all; where accuracy is
    not the point, a few show that nothing broke), `rounds` how often at most.
    """

    task: str
    trainable: Any
    num_epochs: int
    texts: int | None
    arms: tuple[str, ...]
    rounds: int = 2
    scored: int | None = 200


REVIEWS = "rotten_tomatoes"
OPTIONS = "one option after the other"
SETTINGS = {
    "everything, 1 epoch": Setting(REVIEWS, "all", 1, None, (PLAIN, GROUPED, OURS), 3, None),
    "head only, 3 epochs": Setting(REVIEWS, "head", 3, 1600, (PLAIN, OURS)),
    "last block, 3 epochs": Setting(REVIEWS, 1, 3, 960, (PLAIN, OURS)),
    "last 2 blocks, 3 epochs": Setting(REVIEWS, 2, 3, 960, (PLAIN, OURS)),
    "long texts, everything, 1 epoch": Setting(
        "bbc_news", "all", 1, 32, (PLAIN, GROUPED, OURS), scored=40
    ),
    OPTIONS: Setting(REVIEWS, "all", 1, 1600, (PLAIN, *ADDED)),
}


def main() -> None:
    """Run the rounds that are not recorded yet, and print what came out."""
    parser = argparse.ArgumentParser(prog=STUDY, description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="each with a seed of its own")
    parser.add_argument("--without", default="", help="leave this setting out")
    parser.add_argument("--fresh", type=Path, help="write to this folder, forgetting what it holds")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(**json.loads(arguments.one)), default=runtime.as_json))
        return
    if arguments.fresh:
        os.environ["REPTUNE_RESULTS"] = str(arguments.fresh.resolve())
        (arguments.fresh / f"{STUDY}.jsonl").unlink(missing_ok=True)
    start = time.perf_counter()
    for setting, seed in order(arguments.rounds):
        done = results.is_done(STUDY, setting=setting, random_state=seed)
        if setting != arguments.without and not done:
            take_round(setting, seed)
    print(f"{(time.perf_counter() - start) / 60:.1f} min\n{summary(results.read(STUDY))}")


def order(rounds: int) -> list[tuple[str, int]]:
    """Settings and seeds, round by round."""
    pairs = [
        (setting, FIRST_SEED + index)
        for setting, what in SETTINGS.items()
        for index in range(min(rounds, what.rounds))
    ]
    return sorted(pairs, key=lambda pair: pair[1])


def take_round(setting: str, seed: int) -> None:
    """All arms of a setting, one after the other; recorded when the last one is done."""
    records = []
    for arm in SETTINGS[setting].arms:
        job = json.dumps({"setting": setting, "arm": arm, "seed": seed})
        found = subprocess.run(
            [sys.executable, __file__, "--one", job], stdout=subprocess.PIPE, text=True, check=True
        )
        records.append(json.loads(found.stdout.splitlines()[-1]))
        shown = {key: records[-1][key] for key in ("seconds", "metrics", "peak_memory_mb")}
        print(f"{time.strftime('%H:%M:%S')} {setting} · {arm} · seed {seed}: {shown}", flush=True)
    for record in records:
        results.append(record, Path(__file__))


def measure(setting: str, arm: str, seed: int) -> dict[str, Any]:
    """One arm of a setting, in this process."""
    runtime.quiet_libraries()
    what = SETTINGS[setting]
    texts, labels, held_out = _texts(what, seed)
    classifier = build(arm, what.trainable, what.num_epochs, seed)
    with meter.Meter() as cost:
        classifier.fit(texts, labels)
    correct = classifier.predict(held_out[0]) == held_out[1]
    peaks = {"float32": matmul_peak(torch.float32)}
    if any(runtime.precision()[name] for name in ("bf16", "fp16")):
        peaks["half"] = matmul_peak(torch.bfloat16)
    tokens = sum(map(len, classifier.tokenizer_(texts, truncation=True)["input_ids"]))
    blocks = sum(p.numel() for name, p in classifier.model_.named_parameters() if ".layer." in name)
    # Forward 2, backward 4 operations a weight and real token: what full fine-tuning needs.
    needed = 6 * blocks * tokens * what.num_epochs / 1e9
    return {
        "study": STUDY,
        "method": arm,
        "setting": setting,
        "task": what.task,
        "model": MODEL,
        "labels": len(texts),
        "random_state": seed,
        "split": "validation",
        **fit_fields(cost),
        **score_fields(correct),
        "gflops_needed": needed if what.trainable == "all" else None,
        "matmul_peak_gflops": peaks,
    }


def build(arm: str, trainable: Any, num_epochs: int, seed: int) -> Any:
    """The classifier of an arm; batch size, weight decay and warmup are the same in all."""
    rate = DEFAULT_LEARNING_RATES["head"] if trainable == "head" else LEARNING_RATE
    if arm == OURS or arm in ADDED:
        return FineTunedClassifier(
            MODEL, trainable, num_epochs=num_epochs, learning_rate=rate,
            max_length=512, random_state=seed, fast=ADDED.get(arm, True),
        )  # fmt: skip
    strategy = "random" if arm == PLAIN else "group_by_length"
    return PlainClassifier(MODEL, trainable, strategy, num_epochs, rate, seed)


def matmul_peak(dtype: torch.dtype, size: int = 2048, repeats: int = 7) -> float:
    """GFLOP/s of the product of two square matrices, the median of some repeats."""
    one, other = (torch.randn(size, size, device=runtime.device()).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        (one @ other)[0, 0].item()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / float(np.median(seconds)) / 1e9


def summary(table: pd.DataFrame) -> str:
    """Medians over the rounds, and the median of the rounds' ratios to plain code."""
    lines = []
    compared = results.times_as_fast(table, PLAIN)
    for setting, rows in compared.groupby("setting", sort=False):
        seconds = rows.groupby("method")["seconds.fit"].median()
        ratios = rows.groupby("method")["times_as_fast"]
        accuracy = rows.groupby("method")["metrics.accuracy"].mean()
        memory = rows.groupby("method")["peak_memory_mb"].median()
        lines.append(f"{setting} ({rows['random_state'].nunique()} rounds)")
        peak = rows["matmul_peak_gflops.float32"].median()
        lines.append(f"  matrix products of 2048 x 2048 in float32: {peak:,.0f} GFLOP/s")
        for arm in SETTINGS[setting].arms:
            times = ratios.get_group(arm)
            lines.append(
                f"  {arm:<28}{seconds[arm]:7.1f} s"
                f"  {times.median():5.2f}x [{times.min():.2f}, {times.max():.2f}]"
                f"  accuracy {accuracy[arm]:.4f}  {memory[arm]:,.0f} MB"
            )
    return "\n".join(lines)


def _texts(what: Setting, seed: int) -> tuple[list[str], np.ndarray, tuple]:
    loaded = data.load(what.task)
    train, held_out = loaded["train"], loaded["validation"]
    if what.texts is not None:
        train = train.shuffle(seed=seed).select(range(what.texts))
    if what.scored is not None:
        held_out = held_out.select(range(what.scored))
    scored = (list(held_out["text"]), np.array(held_out["label"]))
    return list(train["text"]), np.array(train["label"]), scored


if __name__ == "__main__":
    main()
