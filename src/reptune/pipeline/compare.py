"""The book's decision table on a table of your own: which method, and how good it will be.

Every method is scored by cross-validation on the same folds. The number that stands behind the
advice is another one: within each outer fold, the method and its settings are chosen on inner folds
of the other rows, so that the rows it is scored on had no part in the choice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import reptune.needs_torch  # noqa: F401

import numpy as np
from sklearn.metrics import f1_score

from reptune.assets import resolve_model
from reptune.checks import check_number, check_whole_number
from reptune.metrics import Interval
from reptune.pipeline.examples import Examples
from reptune.pipeline.fits import MAJORITY, Candidate, Folds, Journal, Runs, TooSlowError
from reptune.pipeline.intervals import (
    detectable_difference,
    difference_interval,
    rows_to_detect,
    share_interval,
)
from reptune.pipeline.methods import COMPARED, METHODS, Method

LOGGER = logging.getLogger(__name__)

LEAST_ROWS = 8
MAX_ROWS = 5_000  # more would tell methods apart that differ by less than matters


@dataclass
class Row:
    """What the table says of one method.

    Attributes:
        name: As `train` takes it.
        title: As a table shows it.
        settings: Those chosen on all rows.
        correct: Whether each scored row was right, shape `(n,)`.
        score: Accuracy with its interval.
        macro_f1: The mean of the labels' F1.
        difference: Accuracy minus the reference's, with its interval; `None` for the reference.
        detectable: The smallest difference from the reference that these rows would show.
        fit_seconds: Of one fit, on the mean.
        texts_per_second: In prediction.
        memory_mb: The process's peak.
        dollars: Of a million predictions, where a price per hour was given.
    """

    name: str
    title: str
    settings: dict[str, Any]
    correct: np.ndarray
    score: Interval
    macro_f1: float
    fit_seconds: float = 0.0
    texts_per_second: float = float("inf")
    memory_mb: float = 0.0
    difference: Interval | None = None
    detectable: float | None = None
    dollars: float | None = None


@dataclass
class Comparison:
    """What `compare` found.

    Attributes:
        recommended: The simplest method within one standard error of the best, which cannot be
            told from it, if it beats the majority class; else `None`.
        choice: The simplest method within one standard error of the best, whether or not it beats
            the majority class.
        settings: Its settings.
        score: Accuracy of choosing in this way, on rows that had no part in the choice.
        advice: What to do, in a sentence or two.
        table: A `Row` per method, the majority class first.
        reference: The method that differences are taken from.
        not_run: Why each method that is missing was not run.
        rows: How many rows were used.
        notes: What was left out, and how rows were shared out.
        seconds: In all.
        choices: The method chosen within each outer fold.
    """

    recommended: str | None
    choice: str
    settings: dict[str, Any]
    score: Interval
    advice: str
    table: list[Row]
    reference: str
    not_run: dict[str, str]
    rows: int
    notes: list[str]
    seconds: float
    choices: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "recommended": self.recommended,
            "settings": self.settings,
            "score": self.score.estimate,
            "interval": [self.score.low, self.score.high],
            "rows": self.rows,
            "advice": self.advice,
            "reference": self.reference,
            "methods": [_row_as_json(row) for row in self.table],
            "chosen_in_outer_folds": self.choices,
            "not_run": self.not_run,
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
        }


def compare(
    examples: Examples,
    *,
    methods: Iterable[str] = COMPARED,
    minutes: float = 10.0,
    max_rows: int = MAX_ROWS,
    model: str | Path | None = None,
    dollars_per_hour: float | None = None,
    journal: str | Path | None = None,
    embeddings: np.ndarray | None = None,
    random_state: int = 42,
    progress: Callable[[str], Any] = LOGGER.info,
) -> Comparison:
    """Run the book's methods on labeled texts and say which to take.

    Args:
        examples: Texts with one label each.
        methods: Which to run; the simplest goes first whatever the order.
        minutes: Time for all. A method that would take longer than what is left is not run.
        max_rows: Use so many rows, drawn at random, where there are more.
        model: An encoder for all methods that take one; `None` for each method's own.
        dollars_per_hour: The machine's price, for the price of a million predictions.
        journal: A file that keeps every fit's predictions, so that a killed run continues.
        embeddings: What `FrozenClassifier.embed` gives for the texts, where that is known already.
        random_state: Seed of folds and of training.
        progress: Called with a line for each method.

    Raises:
        ValueError: If there are too few rows, other than one label per text, or a parameter is bad.
        reptune.assets.AssetError: If `model` cannot be had. A method whose own encoder cannot be
            had is one that was not run.
    """
    budget = 60 * check_number("minutes", minutes, above=0)
    if dollars_per_hour is not None:
        check_number("dollars_per_hour", dollars_per_hour, least=0)
    started = time.monotonic()
    chosen = _wanted(methods)
    if model is not None:
        resolve_model(model)  # or raise: a misspelled name is no reason to do without
    check_whole_number("max_rows", max_rows, least=LEAST_ROWS)
    examples, notes = _usable(examples, max_rows, random_state)
    folds = Folds.of(examples, random_state)
    notes += folds.notes
    kept = Journal.of(journal, examples, folds, model, random_state)
    runs = Runs(examples, folds, model, random_state, kept)
    if embeddings is not None:
        runs.embeddings = {"vectors": _fitting(embeddings, examples), "seconds": 0.0}
    found, not_run = {MAJORITY: [Candidate.majority(examples, folds)]}, {}
    for method in chosen:
        progress(f"{method.title} …")
        try:
            runs.deadline = started + budget
            found[method.name] = runs.candidates(method)
        except TooSlowError as slow:
            not_run[method.name] = _why_not(slow.seconds, started, budget)
        except (ValueError, RuntimeError, MemoryError) as error:  # an asset's too
            not_run[method.name] = " ".join(str(error).split())[:300] or type(error).__name__
    result = _conclude(found, folds, examples)
    for row in result.table:
        if dollars_per_hour is not None:
            row.dollars = dollars_per_hour / 3600 * 1e6 / row.texts_per_second
    result.not_run, result.notes, result.rows = not_run, notes, len(examples)
    result.seconds = time.monotonic() - started
    return result


def _fitting(embeddings: np.ndarray, examples: Examples) -> np.ndarray:
    if len(embeddings) != len(examples):
        raise ValueError(
            f"{len(embeddings)} embeddings for {len(examples)} rows; pass one for each, and no "
            "more rows than max_rows."
        )
    return embeddings


def _why_not(seconds: float, started: float, budget: float) -> str:
    """Say why a method was not run: what it would take, where that is known, and what was left."""
    spent = time.monotonic() - started
    left = max(0.0, budget - spent) / 60
    if not seconds:
        return f"no time was left of {budget / 60:g} minutes; give more with --minutes"
    return (
        f"would take about {seconds / 60:.1f} minutes more, and {left:.1f} were left; "
        f"--minutes {int((spent + seconds) / 60) + 1} has room for it"
    )


def _wanted(methods: Iterable[str]) -> list[Method]:
    names = [name.strip() for name in methods]
    if not names:
        raise ValueError(f"methods is empty; name some of {', '.join(COMPARED)}.")
    for name in names:
        if name not in COMPARED:
            raise ValueError(f"methods holds {name!r}; compare runs {', '.join(COMPARED)}.")
    return [METHODS[name] for name in COMPARED if name in names]


def _usable(examples: Examples, max_rows: int, random_state: int) -> tuple[Examples, list[str]]:
    """Return the rows to use, and what was left out."""
    if examples.kind != "label":
        raise ValueError(
            "compare takes texts with one label each; train a method by name for other data."
        )
    if len(examples) < LEAST_ROWS:
        raise ValueError(f"{len(examples)} rows are too few to compare methods; label more.")
    notes = list(examples.notes)
    if len(examples) > max_rows:
        notes.append(f"{max_rows:,} of {len(examples):,} rows were used; see --max-rows.")
        order = np.random.default_rng(random_state).permutation(len(examples))
        examples = examples.select(sorted(order[:max_rows].tolist()))
    if len(examples.labels) < 2:
        raise ValueError(f"all rows used have the label {examples.labels[0]!r}; add others.")
    return examples, notes


# --- conclusions ---------------------------------------------------------------------------------


def _conclude(found: Mapping[str, list[Candidate]], folds: Folds, examples: Examples) -> Comparison:
    """Choose on inner folds within each outer one; then choose once more, for good, on all rows."""
    _, ids = np.unique(np.asarray(examples.targets), return_inverse=True)
    candidates = [candidate for group in found.values() for candidate in group]
    nested, choices = np.zeros(len(ids), dtype=bool), []
    for outer, inner, _, held in folds.cuts:
        if inner < 0:
            best = _choose(candidates, _right(candidates, folds, ids, within=outer))
            nested[held] = candidates[best].predicted[outer, -1] == ids[held]
            choices.append(candidates[best].name)
    outer_right = _right(candidates, folds, ids)
    final = _choose(candidates, outer_right)
    rows = _table(candidates, outer_right, folds, ids)
    honest = nested[folds.scored]
    majority = rows[0].correct
    weight = folds.weight
    beats = candidates[final].name != MAJORITY and all(
        difference_interval(right, majority, weight=weight).low > 0
        for right in (honest, outer_right[final])
    )
    recommended = candidates[final].name if beats else None
    reference = _against_reference(rows, candidates[final].name, weight)
    return Comparison(
        recommended, candidates[final].name, candidates[final].settings,
        share_interval(honest, weight=weight),
        _advice(rows, recommended, honest, majority, weight), rows, reference, {}, len(examples),
        [], 0.0, choices,
    )  # fmt: skip


def _right(
    candidates: list[Candidate], folds: Folds, ids: np.ndarray, within: int | None = None
) -> np.ndarray:
    """Return whether each candidate is right, shape `(candidates, rows)`.

    Args:
        candidates: With what they predicted.
        folds: The folds.
        ids: The true label ids.
        within: The outer fold whose inner folds are meant; `None` for the outer folds themselves.
    """
    cuts = [
        (outer, inner, held)
        for outer, inner, _, held in folds.cuts
        if (inner < 0 if within is None else outer == within and inner >= 0)
    ]
    order = np.argsort(np.concatenate([held for _, _, held in cuts]), kind="stable")
    return np.array(
        [
            np.concatenate([each.predicted[o, i] == ids[held] for o, i, held in cuts])[order]
            for each in candidates
        ]
    )


def _choose(candidates: list[Candidate], right: np.ndarray) -> int:
    """Return the simplest method that is within one standard error of the best.

    Each method is taken with its best settings; the majority class, which comes first, is the
    simplest. Whatever is within one standard error of the best cannot be told from it.

    Source: Breiman et al., *Classification and Regression Trees* (1984), section 3.4.3.
    """
    means, indices = right.mean(axis=1), _best_settings(candidates, right)
    best = max(indices, key=lambda index: means[index])  # the simplest of equals
    for index in indices:
        behind = right[best].astype(float) - right[index]
        if behind.mean() <= behind.std() / np.sqrt(len(behind)):
            return index
    return best


def _best_settings(candidates: list[Candidate], right: np.ndarray) -> list[int]:
    """Return the index of each method's best candidate, the first of equals."""
    means = right.mean(axis=1)
    by_method: dict[str, int] = {}
    for index, candidate in enumerate(candidates):
        best_yet = by_method.setdefault(candidate.name, index)
        if means[index] > means[best_yet]:
            by_method[candidate.name] = index
    return list(by_method.values())


def _table(
    candidates: list[Candidate], right: np.ndarray, folds: Folds, ids: np.ndarray
) -> list[Row]:
    """Return a row per method, with its best settings."""
    rows = []
    cuts = [(outer, held) for outer, inner, _, held in folds.cuts if inner < 0]
    order = np.argsort(np.concatenate([held for _, held in cuts]), kind="stable")
    for best in _best_settings(candidates, right):
        each = candidates[best]
        predicted = np.concatenate([each.predicted[outer, -1] for outer, _ in cuts])[order]
        rows.append(
            Row(
                each.name, each.title, each.settings, right[best],
                share_interval(right[best], weight=folds.weight),
                float(f1_score(ids[folds.scored], predicted, average="macro", zero_division=0)),
                float(np.mean(each.fit_seconds)) if each.fit_seconds else 0.0,
                each.predicted_texts / each.predict_seconds if each.predict_seconds else np.inf,
                each.memory_mb,
            )
        )  # fmt: skip
    return rows


def _against_reference(rows: list[Row], name: str, weight: float) -> str:
    """Fill in each row's difference from the method of that name."""
    reference = next(row for row in rows if row.name == name)
    for row in rows:
        if row is not reference:
            row.difference = difference_interval(row.correct, reference.correct, weight=weight)
            disagreement = float(np.mean(row.correct != reference.correct))
            row.detectable = detectable_difference(disagreement, weight * len(row.correct))
    return name


def _advice(
    rows: list[Row], recommended: str | None, honest: np.ndarray, majority: np.ndarray,
    weight: float,
) -> str:  # fmt: skip
    if recommended is None:
        return _advice_against(rows[1:], honest, majority, weight)
    row = next(row for row in rows if row.name == recommended)
    best = max(rows, key=lambda other: other.score.estimate)
    lead = difference_interval(honest, majority, weight=weight)
    said = f"Take {row.title} (`train {row.name}`): it is right for {honest.mean():.1%} of the rows"
    said += (
        f", {100 * lead.estimate:.0f} points more than the majority class (95% interval "
        f"{100 * lead.low:.0f} to {100 * lead.high:.0f})"
    )
    if best is not row:
        gap = difference_interval(best.correct, row.correct, weight=weight)
        return (
            f"{said}, and simpler than {best.title}, which cannot be told from it (a difference of "
            f"{gap.estimate:+.3f}, interval {gap.low:+.3f} to {gap.high:+.3f})."
        )
    return f"{said}, and no method that ran does better."


def _advice_against(
    rows: list[Row], honest: np.ndarray, majority: np.ndarray, weight: float
) -> str:
    if not rows:
        return "No method was run, so that nothing is known: see why, and give more --minutes."
    best = max(rows, key=lambda row: row.score.estimate)
    gain = best.score.estimate - majority.mean()
    if gain <= 0:
        return "Nothing beats the majority class here: look at whether the texts tell the labels."
    more = 1  # or as many as it takes, for the best or for what is left of it when chosen fairly
    for right in (best.correct, honest):
        if (lead := right.mean() - majority.mean()) > 0:
            needed = rows_to_detect(float(lead), float(np.mean(right != majority)))
            more = max(more, int(needed / weight) - len(majority))
    return (
        f"Nothing beats the majority class here that could be told from luck: the best, "
        f"{best.title}, is {100 * gain:.1f} points ahead. Label at least {more:,} more rows to see "
        "whether that is real."
    )


def _row_as_json(row: Row) -> dict[str, Any]:
    difference, speed = row.difference, row.texts_per_second
    return {
        "name": row.name,
        "title": row.title,
        "settings": row.settings,
        "score": row.score.estimate,
        "interval": [row.score.low, row.score.high],
        "macro_f1": row.macro_f1,
        "difference": difference and difference.estimate,
        "difference_interval": difference and [difference.low, difference.high],
        "detectable_difference": row.detectable,
        "fit_seconds": round(row.fit_seconds, 3),
        "texts_per_second": round(speed, 1) if np.isfinite(speed) else None,
        "memory_mb": round(row.memory_mb),
        "dollars_per_million": row.dollars,
    }
