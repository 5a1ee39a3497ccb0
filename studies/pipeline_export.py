"""A fine-tuned classifier and its exports, in turn: speed, size, and how far int8 changes labels.

The primary comparison: texts per second of the int8 export and of reptune's own `predict` under
PyTorch, on the test sentences, with two threads, by the median of the rounds' ratios. Secondary:
the float32 export, the latency of one text at a time, and, with intervals, the share of test
sentences that keep their label and the paired difference in accuracy. How int8 is computed was
chosen on validation sentences before.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shared.common import MODEL, TASK, Job, main, some, splits

from reptune import FineTunedClassifier, runtime
from reptune.book import results
from reptune.meter import Meter
from reptune.metrics import Interval
from reptune.pipeline.export import export_model
from reptune.pipeline.intervals import difference_interval, share_interval
from reptune.pipeline.onnx_runner import Runner

LABELED, EPOCHS = 3000, 2
ROUNDS = 5
SINGLES = 200  # texts one by one, per round
PYTORCH, FLOAT32, INT8 = "PyTorch", "onnx", "onnx-int8"

JOBS: list[Job] = [
    {"setting": "in turn", "task": TASK, "model": MODEL, "random_state": 42, "labels": LABELED}
]


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Fit and export once; then score the test sentences with each, round by round."""
    texts, labels = splits(TASK)["test"]
    with runtime.scratch_folder() as folder, Meter() as cost:
        model = FineTunedClassifier(MODEL, num_epochs=EPOCHS, random_state=job["random_state"])
        model.fit(*some("train", TASK, LABELED))
        arms: dict[str, Any] = {PYTORCH: model}
        for to in (FLOAT32, INT8):
            export_model(model, folder / to, to=to, check=some("validation", TASK, None),
                         min_agreement=0)  # fmt: skip
            arms[to] = Runner(folder / to, threads=torch.get_num_threads())
        sizes = {to: _megabytes(folder / to / "model.onnx") for to in (FLOAT32, INT8)}
        sizes[PYTORCH] = sum(each.numel() for each in model.model_.parameters()) * 4 / 1e6
        rounds = _in_turn({name: arm.predict for name, arm in arms.items()}, list(texts))
    logits = {name: arm.logits(texts) for name, arm in arms.items()}
    guesses = {name: rows.argmax(axis=1) for name, rows in logits.items()}
    for name in arms:
        yield {
            "method": name,
            "split": "test",
            "items": len(texts),
            "threads": torch.get_num_threads(),
            "load": os.getloadavg()[0],
            "peak_memory_mb": round(cost.peak_memory_mb),
            **_speed(rounds, name, len(texts)),
            **_quality(logits, guesses, name, model.classes_, labels),
            "megabytes": sizes[name],
        }


def _in_turn(
    arms: dict[str, Callable[[list[str]], Any]], texts: list[str]
) -> dict[str, list[tuple[float, list[float]]]]:
    """Return per arm and round the seconds for all texts, and those of single texts."""
    found: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in arms}
    for number in range(ROUNDS + 1):
        for name, predict in arms.items():
            whole = _seconds(predict, texts)
            singles = [_seconds(predict, [text]) for text in texts[:SINGLES]]
            if number:  # the first round warms up
                found[name].append((whole, singles))
    return found


def _seconds(predict: Callable[[list[str]], Any], texts: list[str]) -> float:
    start = time.perf_counter()
    predict(texts)
    return time.perf_counter() - start


def _speed(rounds: dict[str, Any], name: str, items: int) -> dict[str, Any]:
    whole = [seconds for seconds, _ in rounds[name]]
    ratios = [
        ours / theirs for (ours, _), (theirs, _) in zip(rounds[PYTORCH], rounds[name], strict=True)
    ]
    singles = 1000 * np.concatenate([each for _, each in rounds[name]])
    return {
        "seconds": {"predict": statistics.median(whole)},
        "rounds": [round(each, 4) for each in whole],
        "texts_per_second": items / statistics.median(whole),
        "times_as_fast": {
            "median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)
        },
        "milliseconds": dict(zip(("p50", "p95"), np.percentile(singles, [50, 95]), strict=True)),
    }  # fmt: skip


def _quality(
    logits: dict[str, np.ndarray],
    guesses: dict[str, np.ndarray],
    name: str,
    classes: np.ndarray,
    labels: np.ndarray,
) -> dict[str, Any]:
    right = {arm: classes[rows] == labels for arm, rows in guesses.items()}
    difference = np.abs(logits[name] - logits[PYTORCH])
    same = guesses[name] == guesses[PYTORCH]
    return {
        "metrics": {
            "accuracy": float(right[name].mean()),
            "agreement": float(same.mean()),
            "largest_logit_difference": float(difference.max()),
            "mean_logit_difference": float(difference.mean()),
        },
        "correct": results.pack(right[name]),
        "intervals": {
            "accuracy": _limits(share_interval(right[name])),
            "agreement": _limits(share_interval(same)),
            "difference": _limits(difference_interval(right[name], right[PYTORCH])),
        },
    }


def _limits(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6


if __name__ == "__main__":
    main(__file__, JOBS, run, side_by_side=False)
