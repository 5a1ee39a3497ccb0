"""The fits behind a comparison: the rows each trains on and predicts, what it says and costs.

Every fit's predictions are kept in a journal, so that a comparison that was killed continues.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import reptune.needs_torch  # noqa: F401

import numpy as np

from reptune import runtime
from reptune.folders import file_hashes
from reptune.meter import Meter
from reptune.pipeline.examples import Examples
from reptune.pipeline.intervals import CROSS_VALIDATED
from reptune.pipeline.methods import METHODS, NUMBERS, Method, say_something
from reptune.pipeline.splits import duplicate_groups, grouped_folds, repeated
from reptune.version import __version__

MAJORITY = "majority"
# Outer folds, inner folds, and up to how many rows. Where rows abound, one cut is enough.
PLANS = ((4, 3, 1_000), (3, 1, 2_500), (1, 1, 10**9))
HELD_OUT = 3  # one cut holds out one row in three
ON_EMBEDDINGS = ("label-names", "frozen")
EMBEDDED_TOGETHER = 128  # texts between two looks at the clock


class TooSlowError(Exception):
    """A fit that would not end within the time that is left."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


# --- rows and folds ------------------------------------------------------------------------------


@dataclass
class Folds:
    """Which rows each fit trains on and predicts: outer folds, and inner ones within each.

    Attributes:
        cuts: `(outer, inner, training rows, predicted rows)`; inner is -1 for an outer fold itself.
        scored: The rows that outer folds predict, in order.
    """

    cuts: list[tuple[int, int, np.ndarray, np.ndarray]]
    scored: np.ndarray
    outer: int
    inner: int
    notes: list[str]

    @property
    def weight(self) -> float:
        """What a scored row counts for in an interval."""
        return CROSS_VALIDATED if self.outer > 1 else 1.0

    @classmethod
    def of(cls, examples: Examples, random_state: int) -> Folds:
        """Share the rows out, by as many folds as their number calls for."""
        strata = [str(label) for label in examples.targets]
        groups = duplicate_groups(examples.inputs)
        outer, inner, _ = next(plan for plan in PLANS if len(examples) <= plan[2])
        cuts = []
        for number, (known, held) in enumerate(_cuts(strata, groups, outer, random_state)):
            cuts.append((number, -1, known, held))
            within = _cuts([strata[row] for row in known], groups[known], inner, random_state + 1)
            for part, (fit_on, look_at) in enumerate(within):
                cuts.append((number, part, known[fit_on], known[look_at]))
        scored = np.sort(np.concatenate([held for _, part, _, held in cuts if part < 0]))
        notes = [f"{len(scored):,} of {len(strata):,} rows are scored, by fits on the others."]
        if count := repeated(groups):
            notes.append(f"{count} rows repeat or nearly repeat another; each stays on one side.")
        return cls(cuts, scored, outer, inner, notes)


def _cuts(
    strata: list[str], groups: np.ndarray, num_folds: int, random_state: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    fold_of = grouped_folds(strata, groups, num_folds if num_folds > 1 else HELD_OUT, random_state)
    for fold in range(num_folds):
        yield np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)


# --- fits ----------------------------------------------------------------------------------------


@dataclass
class Candidate:
    """A method with settings, and what it predicts in each fold.

    Attributes:
        predicted: Label ids by `(outer, inner)`.
    """

    name: str
    title: str
    settings: dict[str, Any]
    predicted: dict[tuple[int, int], np.ndarray]
    fit_seconds: list[float] = field(default_factory=list)
    predict_seconds: float = 0.0
    predicted_texts: int = 0
    memory_mb: float = 0.0

    @classmethod
    def majority(cls, examples: Examples, folds: Folds) -> Candidate:
        """Return what the most frequent label of each fit's rows would predict."""
        _, ids = np.unique(np.asarray(examples.targets), return_inverse=True)
        predicted = {
            (outer, inner): np.full(len(held), np.bincount(ids[known]).argmax())
            for outer, inner, known, held in folds.cuts
        }
        return cls(MAJORITY, "majority class", {}, predicted)


@dataclass
class Runs:
    """Fits and predicts, or reads from the journal what an earlier run predicted."""

    examples: Examples
    folds: Folds
    model: str | Path | None
    random_state: int
    journal: Journal
    deadline: float = float("inf")
    embeddings: dict[str, Any] = field(default_factory=dict)

    def candidates(self, method: Method) -> list[Candidate]:
        """Return the method with each of its settings, or raise `TooSlowError`."""
        found = []
        if method.name in ON_EMBEDDINGS and not self.journal.holds(method.name):
            self._prepare(method)  # once, and not part of what one fit takes
        for settings in method.settings:
            candidate = Candidate(method.name, method.title, dict(settings), {})
            for done, cut in enumerate(self.folds.cuts):
                self._run(method, candidate, cut, len(self.folds.cuts) - done)
            found.append(candidate)
        return found

    def _run(self, method: Method, candidate: Candidate, cut: Any, left: int) -> None:
        outer, inner, known, held = cut
        key = [method.name, candidate.settings, outer, inner]
        record = self.journal.get(key)
        if record is None:
            started = time.monotonic()
            self._needs(0.0)
            record = self._fit(method, candidate.settings, known, held, left)
            self.journal.add(key, record)  # before looking at the clock: no fit is done twice
            if left > 1:
                self._needs((left - 1) * (time.monotonic() - started))
        candidate.predicted[outer, inner] = np.array(record["predicted"])
        candidate.fit_seconds.append(record["fit_seconds"])
        candidate.predict_seconds += record["predict_seconds"]
        candidate.predicted_texts += len(held)
        candidate.memory_mb = max(candidate.memory_mb, record["memory_mb"])

    def _fit(
        self, method: Method, settings: Mapping[str, Any], known: np.ndarray, held: np.ndarray,
        left: int,
    ) -> dict[str, Any]:  # fmt: skip
        now = time.monotonic()
        classes, ids = np.unique(np.asarray(self.examples.targets), return_inverse=True)
        if len(np.unique(ids[known])) < 2:  # nothing to learn, and one thing to say
            costs = {"fit_seconds": 0.0, "predict_seconds": 0.0, "memory_mb": 0.0}
            return {"predicted": [int(ids[known[0]])] * len(held)} | costs
        with warnings.catch_warnings(), Meter() as cost:
            warnings.simplefilter("ignore")  # each fit would say the same
            estimator, inputs = self._fitted(method, settings, known, held, left)
            middle = time.monotonic()
            predicted = estimator.predict(inputs)
        fit_seconds, predict_seconds = middle - now, time.monotonic() - middle
        if method.name in ON_EMBEDDINGS:  # which were computed beforehand
            per_text = self.embeddings["seconds"] / len(self.examples)
            predict_seconds += per_text * len(held)
            fit_seconds += per_text * len(known) * (method.name == "frozen")
        return {
            "predicted": classes.searchsorted(predicted).tolist(),
            "fit_seconds": fit_seconds, "predict_seconds": predict_seconds,
            "memory_mb": cost.peak_memory_mb,
        }  # fmt: skip

    def _fitted(
        self, method: Method, settings: Mapping[str, Any], known: np.ndarray, held: np.ndarray,
        left: int,
    ) -> tuple[Any, Any]:  # fmt: skip
        """Return something that predicts, and what it predicts for the rows held out."""
        texts, labels = self.examples.inputs, np.asarray(self.examples.targets)
        if method.name in ON_EMBEDDINGS:
            vectors = self.embeddings["vectors"]
            head = self.embeddings.get(method.name)
            if head is None:
                head = method.make(**settings)._logistic_regression()
                head.fit(vectors[known], labels[known])
            return head, vectors[held]
        options = dict(settings)
        if self.model is not None and method.name != "tfidf":
            options["model"] = self.model
        estimator = method.make(**options, random_state=self.random_state)
        if "callbacks" in estimator.get_params():
            estimator.set_params(callbacks=(self._watch(estimator, len(known), left),))
        if "show_progress" in estimator.get_params():
            estimator.set_params(show_progress=False)
        estimator.fit([texts[row] for row in known], labels[known])
        return estimator, [texts[row] for row in held]

    def _needs(self, seconds: float) -> None:
        """Raise `TooSlowError` if so many seconds are more than are left."""
        if time.monotonic() + seconds > self.deadline:
            raise TooSlowError(seconds)

    def _watch(self, estimator: Any, num_texts: int, left: int) -> Callable[[Any], None]:
        """Stop a training as soon as it shows that all of them would not end in time."""
        epochs = getattr(estimator, "_epochs", None)
        total = None if epochs is None else epochs(num_texts)
        started = time.monotonic()

        def look(record: dict[str, float]) -> None:
            self._needs(0.0)
            if total is None or "epoch" not in record:
                return
            spent = time.monotonic() - started
            self._needs(spent / max(record["epoch"] / total, 1e-9) * left - spent)

        return look

    def _prepare(self, method: Method) -> None:
        """Embed every text, as `FrozenClassifier` does, and the labels where their names are used.

        What it fits then is a head on embeddings, which is computed in milliseconds.
        """
        self._needs(0.0)
        names = np.unique(np.asarray(self.examples.targets))
        speaking = say_something(names.tolist())
        if method.name == "label-names" and not speaking:
            raise ValueError(NUMBERS)
        classifier = method.make(**({} if self.model is None else {"model": self.model}))
        classifier.fit_label_names(names.tolist() if speaking else ["any", "two"])
        self.embeddings["label-names"] = classifier.head_
        if "vectors" in self.embeddings:
            return
        started, texts, parts = time.monotonic(), self.examples.inputs, []
        for start in range(0, len(texts), EMBEDDED_TOGETHER):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of long texts, said for each part
                parts.append(classifier.embed(texts[start : start + EMBEDDED_TOGETHER]))
            spent = time.monotonic() - started
            self._needs(spent / (start + len(parts[-1])) * len(texts) - spent)
        self.embeddings["vectors"] = np.concatenate(parts)
        self.embeddings["seconds"] = time.monotonic() - started


# --- the journal ---------------------------------------------------------------------------------


class Journal:
    """Predictions of earlier fits by what was fitted, one JSON object per line.

    Raises:
        ValueError: If the file holds something else, which is left alone.
    """

    def __init__(self, path: Path | None, key: str, fits: int) -> None:
        self._path, self._key, self._fits = path, key, fits
        self._records: dict[str, dict[str, Any]] = {}
        self._torn = False
        if path is None or not path.is_file():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        self._torn = bool(text) and not text.endswith("\n")  # by a kill
        for number, line in enumerate(text.split("\n"), start=1):
            if not line:
                continue
            if not (line.startswith('{"key": ') or '{"key": '.startswith(line)):
                raise ValueError(
                    f"{path}, line {number} is not from a journal of compare; name another file."
                )
            try:
                entry = json.loads(line)
            except ValueError:  # torn
                continue
            if entry["key"] == key:
                self._records[json.dumps(entry["what"])] = entry["record"]

    @classmethod
    def of(
        cls, path: str | Path | None, examples: Examples, folds: Folds, model: Any,
        random_state: int,
    ) -> Journal:  # fmt: skip
        """Open a journal for these rows in these folds; entries of others are left alone."""
        parts: list[Any] = [examples.inputs, [str(label) for label in examples.targets]]
        parts += [[held.tolist() for _, _, _, held in folds.cuts], random_state, str(model)]
        if model is not None and Path(model).is_dir():  # whose files may have changed
            parts.append(file_hashes(Path(model)))
        parts.append({"reptune": __version__, **runtime.versions()})
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return cls(None if path is None else Path(path), digest, len(folds.cuts))

    def holds(self, name: str) -> bool:
        """Return whether every fit of a method is there."""
        kept = sum(json.loads(what)[0] == name for what in self._records)
        return kept == self._fits * len(METHODS[name].settings)

    def get(self, what: Any) -> dict[str, Any] | None:
        """Return a record, or `None`."""
        return self._records.get(json.dumps(what))

    def add(self, what: Any, record: dict[str, Any]) -> None:
        """Keep a record, on the disk too."""
        self._records[json.dumps(what)] = record
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps({"key": self._key, "what": what, "record": record})
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n" * self._torn + f"{line}\n")
            self._torn = False
