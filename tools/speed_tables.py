"""Tables of the appendix on speed: where the seconds of chapter 1's fine-tuning go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from table_parts import in_points, measured, not_run

from reptune import metrics
from reptune.book import results

PLAIN, GROUPED, OURS = "plain Trainer", "Trainer, grouped by length", "reptune"
SHUFFLED = "reptune, random order"
WHOLE, OPTIONS = "everything, 1 epoch", "one option after the other"
PLANNED = 0.975  # the level of each of the two comparisons that ch01_fast_accuracy planned
# By study: what is compared with what, and at which level.
COMPARED = {
    "ch01_speed": ((GROUPED, PLAIN, 0.95), (OURS, PLAIN, 0.95), (OURS, GROUPED, 0.95)),
    "ch01_fast_accuracy": (
        (GROUPED, PLAIN, PLANNED),
        (OURS, PLAIN, PLANNED),
        (OURS, SHUFFLED, 0.95),
        (OURS, GROUPED, 0.95),
    ),
}


@measured("ch01_speed")
def ch01_ways() -> str:
    """Seconds and memory of all ways of each setting, and the ratios to plain code."""
    table = results.times_as_fast(results.read("ch01_speed"), PLAIN)
    lines = [
        "| What trains | How | Rounds | Seconds | Times as fast | Peak memory |",
        "|---|---|---:|---:|---|---:|",
    ]
    for (setting, method), rows in table[table.setting != OPTIONS].groupby(
        ["setting", "method"], sort=False
    ):
        peak = f"{rows['peak_memory_mb'].median():,.0f} MB"
        lines.append(f"| {setting} | {method} | {len(rows)} | {_timed(rows, method)} | {peak} |")
    return "\n".join(lines) + "\n"


@measured("ch01_speed")
def ch01_options() -> str:
    """Seconds with one fast option after the other, each on top of those before it."""
    table = results.times_as_fast(results.read("ch01_speed").query("setting == @OPTIONS"), PLAIN)
    lines = ["| Options | Rounds | Seconds | Times as fast |", "|---|---:|---:|---|"]
    for method, rows in table.groupby("method", sort=False):
        name = method if method == PLAIN else f"+ `{method.removeprefix('+ ')}`"
        lines.append(f"| {name} | {len(rows)} | {_timed(rows, method)} |")
    return "\n".join(lines) + "\n"


def _timed(rows: pd.DataFrame, method: str) -> str:
    """Two cells: median seconds, and the median, lowest and highest ratio to plain code."""
    ratios = rows["times_as_fast"]
    spread = f"{ratios.median():.1f} [{ratios.min():.1f}, {ratios.max():.1f}]"
    return f"{rows['seconds.fit'].median():.1f} | {'' if method == PLAIN else spread}"


@measured("ch01_speed")
def ch01_operations() -> str:
    """Billions of operations per second that an epoch reaches, beside those of matrix products."""
    table = results.read("ch01_speed").query("setting == @WHOLE")
    if table.empty:  # the study was stopped before it came to this setting
        return not_run("ch01_speed")
    needed = table["gflops_needed"].iloc[0]
    rates = {
        "matrix products, float32": table["matmul_peak_gflops.float32"].median(),
        "matrix products, bfloat16": table["matmul_peak_gflops.half"].median(),
    }
    reached = (table["gflops_needed"] / table["seconds.fit"]).groupby(table["method"]).median()
    rates |= {f"an epoch, {way}": reached.get(way, np.nan) for way in (PLAIN, GROUPED, OURS)}
    lines = [f"| Of {needed:,.0f} GFLOP | GFLOP per second |", "|---|---:|"]
    lines += [f"| {name} | {rate:.0f} |" for name, rate in rates.items() if np.isfinite(rate)]
    return "\n".join(lines) + "\n"


def ch01_order() -> str:
    """Differences in validation accuracy between ways of training, after one epoch."""
    lines = [
        "| Compared | Seeds | Difference, points | Level | Detectable |",
        "|---|---:|---|---:|---:|",
    ]
    for study, compared in COMPARED.items():
        for one, other, level in compared:
            lines += _difference(study, one, other, level)
    return "\n".join(lines) + "\n" if len(lines) > 2 else not_run("ch01_fast_accuracy")


def _difference(study: str, one: str, other: str, level: float) -> list[str]:
    """A table's line for a paired difference, over the seeds that both have; none if one lacks."""
    fields = {"setting": WHOLE} if study == "ch01_speed" else {}
    sides = [{**fields, "method": way} for way in (one, other)]
    if not all(results.is_done(study, **side) for side in sides):
        return []
    # A study cut short has its seeds in order, so that what both have are the first ones.
    runs = [results.correct(study, **side) for side in sides]
    seeds = min(map(len, runs))
    found = metrics.paired_interval(*(side[:seeds] for side in runs), level=level)
    detectable = f"{100 * found.detectable:.1f}"
    return [f"| {one} minus {other} | {seeds} | {in_points(found)} | {level:.1%} | {detectable} |"]


TABLES: tuple[Callable[[], str], ...] = (ch01_ways, ch01_options, ch01_operations, ch01_order)
