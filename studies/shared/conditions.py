"""Arms compared in conditions: what a study trains, chooses on validation and compares."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from reptune import meter
from reptune.book import results
from reptune.pretraining.run import HISTORY
from shared.common import MODEL, Job, fit_fields
from shared.encoders import ARMS, SHIPPED, encoder, folder_of

LEAST_STEPS = 300
FIRST_SEED = 42
DETECTABLE = 1.43  # times half an interval's width: found in four of five tries
FINE_TUNED, PROBE = "fine-tuned", "probe"
MADE, CHOICE, FINAL, FROZEN, COMPARISON = "made", "choice", "final", "frozen", "comparison"


@dataclass(frozen=True)
class Condition:
    """What some arms are compared in.

    Attributes:
        arms: Names of encoders.
        task: A data set's name.
        trained: `FINE_TUNED`, or `PROBE` of the frozen vectors.
        readout: From what the labels are read.
        labels: How many, in all.
        draws: How often these labels are drawn, and the arms trained.
        chosen_on: How many of these draws choose the rate.
    """

    arms: tuple[str, ...]
    task: str
    trained: str
    readout: str
    labels: int
    draws: int
    chosen_on: int = 1

    def fields(self, arm: str) -> Job:
        """Return what every record of an arm in this condition holds."""
        return {
            "method": arm, "task": self.task, "trained": self.trained, "readout": self.readout,
            "labels": self.labels,
        }  # fmt: skip

    def seeds(self) -> list[int]:
        """Return the seeds of the draws, and of the training on each."""
        return list(range(FIRST_SEED, FIRST_SEED + self.draws))

    def choice_jobs(self) -> Iterator[Job]:
        """Yield what chooses each arm's rate."""
        for arm in self.arms:
            yield {**self.fields(arm), "model": MODEL, "step": CHOICE}

    def final_jobs(self) -> Iterator[Job]:
        """Yield the draws that choose nothing, seed by seed."""
        for seed in self.seeds()[self.chosen_on :]:
            for arm in self.arms:
                fields = {**self.fields(arm), "model": MODEL, "step": FINAL}
                yield {**fields, "random_state": seed, "split": "test"}


def making_job(arm: str, task: str) -> Job:
    """Return the job that makes an encoder of a task's texts."""
    return {
        "method": arm, "model": MODEL, "task": task, "labels": 0, "random_state": FIRST_SEED,
        "split": "validation", "step": MADE,
    }  # fmt: skip


def finals_of(conditions: Iterable[Condition]) -> Iterator[Job]:
    """Yield the jobs of all conditions whose draws choose nothing."""
    for condition in conditions:
        yield from condition.final_jobs()


def minus_shipped(conditions: Iterable[Condition]) -> Iterator[Job]:
    """Yield the comparisons of each condition's other arms with the encoder as shipped."""
    for condition in conditions:
        for arm in condition.arms:
            if arm != SHIPPED:
                yield comparison(condition.fields(arm), condition.fields(SHIPPED))


def comparison(first: Job, second: Job) -> Job:
    """Return the job that takes the scores of one side from those of another.

    The sides stand apart, so that nobody who asks for a side's scores gets this record too.
    """
    return {
        "method": COMPARISON, "model": MODEL, "task": first["task"], "labels": first["labels"],
        "random_state": FIRST_SEED, "split": "test", "step": COMPARISON, "first": first,
        "minus": {name: value for name, value in second.items() if value != first[name]},
    }  # fmt: skip


def ready(arm: str) -> str:
    """Return where an arm's encoder is, made by the first job that wants it; others wait."""
    start = ARMS[arm].start
    if start in ARMS:
        ready(start)
    folder_of(arm).parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{folder_of(arm)}.lock"):
        return str(encoder(arm))


def made(arm: str, ready: Callable[[str], str]) -> dict[str, Any]:
    """Make an encoder; return what it took, and how well it fills masks in held-out text."""
    with meter.Meter() as cost:
        folder = Path(ready(arm))
    rows = json.loads((folder / HISTORY).read_text("utf-8"))
    last = next(row for row in reversed(rows) if "eval_loss" in row)
    metrics = {"loss": last["eval_loss"], "accuracy": last["eval_accuracy"]}
    return {**fit_fields(cost), "metrics": metrics}


def passes(items: int, batch_size: int) -> int:
    """Return how many passes over so many texts take `LEAST_STEPS` steps or a few more."""
    return math.ceil(LEAST_STEPS / math.ceil(items / batch_size))


def ending_loss(history: Sequence[Mapping[str, float]]) -> float:
    """Return the mean training loss over the last tenth of a history's records of it."""
    losses = [row["loss"] for row in history if "loss" in row]
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))


@dataclass(frozen=True)
class Choice:
    """What `search` has found.

    Attributes:
        best: The value with the best score; of equal ones the lowest.
        at_edge: Whether it is the lowest or the highest of those that were tried.
        scores: The score of each value that was tried.
    """

    best: float
    at_edge: bool
    scores: dict[float, float]


def search(grid: Sequence[float], factor: float, score: Callable[[float], float]) -> Choice:
    """Try the values of a grid, and one more where the best of them lies at an edge.

    Args:
        grid: The values.
        factor: How far beyond an edge the further value lies.
        score: From a value to its score; higher is better.
    """
    scores = {value: score(value) for value in grid}
    low, high, best = min(grid), max(grid), _best(scores)
    if best in (low, high):
        beyond = float(f"{best / factor if best == low else best * factor:.3g}")
        scores[beyond] = score(beyond)
        best = _best(scores)
    return Choice(best, best in (min(scores), max(scores)), scores)


def _best(scores: dict[float, float]) -> float:
    return max(sorted(scores), key=lambda value: scores[value])


def chosen(
    fit: Callable[[float, int], Any],
    seeds: Sequence[int],
    rates: Sequence[float],
    factor: float,
    metric: str,
) -> Iterator[dict[str, Any]]:
    """Choose a rate; yield the validation records of all rates and the test records of the best.

    The fits that have chosen are draws like the others: they are scored, not made again. Test is
    scored with the chosen rate alone.

    Args:
        fit: From a rate and a seed to what has `fields` and `score`, such as `Fitted`.
        seeds: Of the draws that choose.
        rates: The grid.
        factor: How far beyond an edge a further rate lies.
        metric: What the mean over draws is taken of.
    """
    fitted: dict[float, list[Any]] = {}
    records: list[dict[str, Any]] = []

    def score(rate: float) -> float:
        fitted[rate] = [fit(rate, seed) for seed in seeds]
        new = [{**one.fields, "learning_rate": rate, **one.score("validation")}
               for one in fitted[rate]]  # fmt: skip
        records.extend(new)
        return float(np.mean([record["metrics"][metric] for record in new]))

    found = search(rates, factor, score)
    yield from records
    for one in fitted[found.best]:
        setting = {"learning_rate": found.best, "at_edge": found.at_edge}
        yield {**one.fields, **setting, **one.score("test")}


def chosen_rate(study: str, fields: Job) -> float:
    """Return the rate that a study's records say validation has chosen for an arm's condition.

    Raises:
        ValueError: If nothing is recorded of that choice.
    """
    table = results.read(study)
    for name, value in {**fields, "step": CHOICE, "split": "test"}.items():
        table = table[table[name] == value] if name in table else table[:0]
    if table.empty:
        raise ValueError(f"no rate is chosen for {fields}; run the study's first jobs.")
    return float(table["learning_rate"].iloc[0])


def condition_of(job: Job, conditions: Iterable[Condition]) -> Condition:
    """Return which of the conditions a job or a side of a comparison belongs to."""
    return next(
        condition
        for condition in conditions
        if job["method"] in condition.arms
        and condition.fields(job["method"]).items() <= job.items()
    )


def compared(
    study: str,
    job: Job,
    conditions: Sequence[Condition],
    scored: Callable[..., np.ndarray],
    interval: Callable[[np.ndarray, np.ndarray], Any],
) -> dict[str, Any]:
    """Return the difference of two sides of a comparison on the draws that both have.

    Args:
        study: Whose records.
        job: As `comparison` makes it.
        conditions: Those of the study.
        scored: `results.correct` or `results.counts`.
        interval: From what that returns for both sides to the interval of their difference.
    """
    first, second = job["first"], {**job["first"], **job["minus"]}
    seeds, others = (condition_of(side, conditions).seeds() for side in (first, second))
    seeds = [seed for seed in seeds if seed in others]
    with meter.Meter() as cost:
        sides = [
            np.concatenate(
                [scored(study, **side, split="test", random_state=seed) for seed in seeds]
            )
            for side in (first, second)
        ]
        found = interval(*sides)
    return {**fit_fields(cost), "draws": len(seeds), "metrics": interval_fields(found)}


def interval_fields(found: Any) -> dict[str, float]:
    """Return a difference, its interval, and what such an interval can detect."""
    return {
        "difference": found.estimate, "low": found.low, "high": found.high,
        "detectable": DETECTABLE * (found.high - found.low) / 2,
    }  # fmt: skip
