"""Tables of the appendix to chapter 6: the suite of tasks with 16 labels per class, in full."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score
from table_parts import NOT_RUN, in_points, mean_and_sd, measured

from reptune import data, metrics
from reptune.book import results

STUDY = "ch06_suite"
MODELS = {
    "all-MiniLM-L6-v2": "MiniLM", "SmolLM2-135M-Instruct": "SmolLM2",
    "bert-mini-reviews": "small BERT",
}  # fmt: skip
TASKS = {
    "rotten_tomatoes": "reviews", "bbc_headlines": "headlines",
    "title and opening": "title, opening", "two reviews": "two reviews",
}  # fmt: skip
HEADLINES = "bbc_headlines"
GRADES = "title and opening, three grades"
CLAIMS = ("P1", "P2", "P3", "P4")
WIDE = "_wide"  # of the fields of an interval for four comparisons


def _rows(**of: str) -> pd.DataFrame:
    """Return the study's records that hold these fields; without columns where there are none."""
    found = results.read(STUDY)
    for name, value in of.items():
        found = found[found[name] == value] if name in found else found.iloc[:0]
    return found


def _table(heads: str, lines: Sequence[str]) -> str:
    """Return a table; a line of dashes where nothing was measured yet."""
    columns = heads.count("|") - 1
    lines = lines or [f"|{f' {NOT_RUN} |' * columns}"]
    return "\n".join([heads, f"|{'---|' * columns}", *lines]) + "\n"


def _tested() -> pd.DataFrame:
    found = _rows(split="test")
    if found.empty:
        return found
    return found[found["task"].isin(TASKS) & ~found["kind"].isin(("comparison", "regression"))]


def _interval(row: pd.Series, ends: str = "", wide: str = "") -> str:
    names = (f"difference{wide}", f"{ends}low{wide}", f"{ends}high{wide}")
    return in_points(metrics.Interval(*(row[f"metrics.{name}"] for name in names)))


# --- the pilot -----------------------------------------------------------------------------------


@measured(STUDY)
def ch06_pilot() -> str:
    """Mean accuracy and likelihood on development by rate, model and way; the pilot draws."""
    lines = []
    found = _rows(kind="rate")
    if not found.empty:
        for (model, method, rate), runs in found.groupby(["model", "method", "learning_rate"]):
            accuracy, likelihood = (
                f"{runs[f'metrics.{name}'].mean():.3f}" for name in ("accuracy", "log_likelihood")
            )
            head = f"{MODELS[model]} | {method} | {rate:g} | {len(runs)}"
            lines.append(f"| {head} | {accuracy} | {likelihood} | {runs['last_loss'].mean():.3f} |")
    return _table("| Model | Way | Rate | Runs | Accuracy | Log-likelihood | Last loss |", lines)


# --- accuracy and F1 -----------------------------------------------------------------------------


@measured(STUDY)
def ch06_suite_accuracy() -> str:
    """Test accuracy by model, method and task, over draws."""
    return _by_task(lambda runs: mean_and_sd(runs["metrics.accuracy"]))


@measured(STUDY)
def ch06_suite_f1() -> str:
    """Test macro F1 by model, method and task, over draws."""
    return _by_task(lambda runs: mean_and_sd(pd.Series([_macro_f1(r) for _, r in runs.iterrows()])))


def _by_task(shown: Callable[[pd.DataFrame], str]) -> str:
    lines, found = [], _tested()
    if not found.empty:
        found = found[~found["method"].str.contains(", one of ")]
        for (model, method), arm in found.groupby(["model", "method"]):
            cells = []
            for task in TASKS:
                runs = arm[arm["task"] == task]
                cells.append(shown(runs) if len(runs) else NOT_RUN)
            lines.append(f"| {MODELS[model]} | {method} | {' | '.join(cells)} |")
    return _table(f"| Model | Method | {' | '.join(TASKS.values())} |", lines)


def _macro_f1(row: pd.Series) -> float:
    """Return the macro F1 of a record: true labels follow from what was predicted and was right."""
    predicted = np.array([int(digit) for digit in row["predicted"]])
    if row["task"] == HEADLINES:
        labels = _headline_labels()
    else:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(row["correct"]), dtype=np.uint8))
        right = bits[: int(row["items"])].astype(bool)
        labels = np.where(right, predicted, 1 - predicted)
    return float(f1_score(labels, predicted, average="macro", zero_division=0))


@functools.cache
def _headline_labels() -> np.ndarray:
    """Return the labels of the headlines that are scored: those of validation, then of test."""
    loaded = data.headlines()
    return np.array([*loaded["validation"]["label"], *loaded["test"]["label"]])


# --- comparisons ---------------------------------------------------------------------------------


@measured(STUDY)
def ch06_claims() -> str:
    """The planned comparisons: mean over tasks, both kinds of interval, at 95% and at 98.75%."""
    lines, found = [], _rows(kind="comparison")
    for name in CLAIMS if not found.empty else ():
        for _, row in found[(found["method"] == name) & (found["task"] == "mean")].iterrows():
            sides = f"{MODELS[row['model']]}: {row['first']} minus {row['minus']}"
            intervals = " | ".join(
                _interval(row, ends, wide) for wide in ("", WIDE) for ends in ("", "t_")
            )
            detectable = f"{100 * row['metrics.detectable']:.1f}"
            lines.append(f"| {name} | {sides} | {intervals} | {detectable} | {row['verdict']} |")
    heads = "| | Compared | 95% | 95%, t | 98.75% | 98.75%, t | Detectable | Verdict |"
    return _table(heads, lines)


@measured(STUDY)
def ch06_compared() -> str:
    """All comparisons by task, and their means over tasks and over those above chance."""
    lines, found = [], _rows(kind="comparison")
    if not found.empty:
        keys = ["model", "first", "minus"]
        for (model, first, minus), rows in found.groupby(keys, sort=False):
            by_task = rows.drop_duplicates("task").set_index("task")
            cells = [
                _interval(by_task.loc[task]) if task in by_task.index else NOT_RUN
                for task in ("mean", "mean above chance", *TASKS)
            ]
            lines.append(f"| {MODELS[model]}: {first} minus {minus} | {' | '.join(cells)} |")
    heads = f"| Compared | Mean | Mean above chance | {' | '.join(TASKS.values())} |"
    return _table(heads, lines)


# --- what a search finds -------------------------------------------------------------------------


@measured(STUDY)
def ch06_found() -> str:
    """Words and templates that development chose, by task and draw."""
    lines, found = [], _tested()
    methods = {"prompt, automatic words": "words", "prompt, automatic templates": "template"}
    for method, field in methods.items() if "template" in found else ():
        for _, row in found[found["method"] == method].iterrows():
            given = ", ".join(row["words"]) if field == "words" else f"`{row['template']}`"
            given = given.replace("|", "\\|")
            scores = f"{row['development.accuracy']:.3f} | {row['metrics.accuracy']:.3f}"
            head = f"{TASKS[row['task']]} | {field} | {row['random_state']}"
            lines.append(f"| {head} | {given} | {scores} |")
    return _table("| Task | Found | Draw | | Development | Test |", lines)


# --- grades --------------------------------------------------------------------------------------


@measured(STUDY)
def ch06_grades() -> str:
    """Grades of titles and openings: correlation and mean absolute error, over draws."""
    lines, found = [], _rows(task=GRADES, split="test")
    if not found.empty:
        for method, runs in found.groupby("method", sort=False):
            cells = [mean_and_sd(runs[f"metrics.{name}"]) for name in ("pearson", "mae")]
            lines.append(f"| {method} | {len(runs)} | {' | '.join(cells)} |")
    return _table("| Method | Draws | Pearson | Mean absolute error |", lines)


TABLES = (
    *(ch06_pilot, ch06_claims, ch06_suite_accuracy, ch06_suite_f1, ch06_compared, ch06_found),
    ch06_grades,
)
