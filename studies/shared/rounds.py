"""Side by side: arms of a setting in turn, each in a fresh process, recorded round by round.

A round takes all arms of a setting one after the other and is recorded as a whole, so that the
ratios of a round compare neighbors in time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from reptune import runtime
from reptune.book import results

FIRST_SEED = 42


class Setting(Protocol):
    """What is compared: the arms' names, the first of which the others are divided by."""

    arms: tuple[str, ...]
    rounds: int


def main(
    study_file: str,
    about: str,
    settings: Mapping[str, Setting],
    measure: Callable[[str, str, int], dict[str, Any]],
) -> None:
    """Run the rounds that are not recorded yet, and print what came out.

    Args:
        study_file: The study's `__file__`; its stem names the record file.
        about: The study's docstring.
        settings: By name; each has its number of rounds at most.
        measure: From a setting's name, an arm and a seed to a record, in a process of its own.
    """
    study = Path(study_file).stem
    parser = argparse.ArgumentParser(prog=study, description=about.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="at most; each has its own seed")
    parser.add_argument("--without", default="", help="leave this setting out")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"),
        help="start no round that would end later, going by how long its setting took before",
    )  # fmt: skip
    parser.add_argument("--fresh", type=Path, help="write to this folder, forgetting what it holds")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        runtime.quiet_libraries()
        found = {"study": study, **measure(**json.loads(arguments.one))}
        print(json.dumps(found, default=runtime.as_json))
        return
    if arguments.fresh:
        os.environ["REPTUNE_RESULTS"] = str(arguments.fresh.resolve())
        (arguments.fresh / f"{study}.jsonl").unlink(missing_ok=True)
    start = time.perf_counter()
    took: dict[str, float] = {}
    for setting, seed in order(settings, arguments.rounds):
        begun = time.perf_counter()
        late = begun - start + took.get(setting, 0) > 60 * arguments.minutes
        done = results.is_done(study, setting=setting, random_state=seed)
        if late or done or setting == arguments.without:
            continue
        take_round(study_file, setting, settings[setting].arms, seed)
        took[setting] = time.perf_counter() - begun
    minutes = (time.perf_counter() - start) / 60
    print(f"{minutes:.1f} min\n{summary(results.read(study), settings)}")


def order(settings: Mapping[str, Setting], rounds: int) -> list[tuple[str, int]]:
    """Settings and seeds, round by round."""
    pairs = [
        (setting, FIRST_SEED + index)
        for setting, what in settings.items()
        for index in range(min(rounds, what.rounds))
    ]
    return sorted(pairs, key=lambda pair: pair[1])


def take_round(study_file: str, setting: str, arms: tuple[str, ...], seed: int) -> None:
    """All arms of a setting, one after the other; recorded when the last one is done."""
    records = []
    for arm in arms:
        job = json.dumps({"setting": setting, "arm": arm, "seed": seed})
        found = subprocess.run(
            [sys.executable, study_file, "--one", job],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        records.append(json.loads(found.stdout.splitlines()[-1]))
        shown = {key: records[-1][key] for key in ("seconds", "metrics", "peak_memory_mb")}
        print(f"{time.strftime('%H:%M:%S')} {setting} · {arm} · seed {seed}: {shown}", flush=True)
    results.append_all(records, Path(study_file))


def peaks() -> dict[str, float]:
    """GFLOP/s of matrix products on this device, by precision."""
    found = {"float32": matmul_peak(torch.float32)}
    if any(runtime.precision()[name] for name in ("bf16", "fp16")):
        found["half"] = matmul_peak(torch.bfloat16)
    return found


def matmul_peak(dtype: torch.dtype, size: int = 2048, repeats: int = 7) -> float:
    """GFLOP/s of the product of two square matrices, the median of some repeats."""
    one, other = (torch.randn(size, size, device=runtime.device()).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        (one @ other)[0, 0].item()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / float(np.median(seconds)) / 1e9


def summary(table: pd.DataFrame, settings: Mapping[str, Setting]) -> str:
    """Medians over the rounds, and the median of the rounds' ratios to the first arm."""
    lines = []
    for setting, runs in table.groupby("setting", sort=False):
        arms = settings[setting].arms
        rows = results.times_as_fast(runs, arms[0])
        by_arm = rows.groupby("method")
        lines.append(f"{setting} ({rows['random_state'].nunique()} rounds)")
        for arm in arms:
            times = by_arm["times_as_fast"].get_group(arm)
            scores = [
                name for name in ("metrics.accuracy", "metrics.f1", "metrics.loss") if name in rows
            ]
            shown = "  ".join(
                f"{name.removeprefix('metrics.')} {by_arm[name].mean()[arm]:.4f}" for name in scores
            )
            lines.append(
                f"  {arm:<28}{by_arm['seconds.fit'].median()[arm]:7.1f} s"
                f"  {times.median():5.2f}x [{times.min():.2f}, {times.max():.2f}]"
                f"  {shown}  {by_arm['peak_memory_mb'].median()[arm]:,.0f} MB"
            )
    return "\n".join(lines)
