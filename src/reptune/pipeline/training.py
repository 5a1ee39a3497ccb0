"""From labeled rows to a saved model that says how good it is: split, score, calibrate, fit.

The score comes from rows that the scored fit did not see. The model that is saved is then fitted
once more, on all rows, so that no label is wasted.
"""

from __future__ import annotations

import datetime
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import reptune.needs_torch  # noqa: F401

import numpy as np

from reptune import metrics, runtime
from reptune.checks import check_number
from reptune.estimator import SavedEstimator, tempered
from reptune.folders import check_replaceable, write_folder
from reptune.multilabel import multilabel_scores
from reptune.pipeline.examples import Examples, kind_of
from reptune.pipeline.intervals import CROSS_VALIDATED, share_interval
from reptune.pipeline.methods import (
    NUMBERS,
    PAIR_TEMPLATE,
    Method,
    method_named,
    say_something,
)
from reptune.pipeline.report import write_report
from reptune.pipeline.splits import duplicate_groups, grouped_folds, repeated, strata_of, texts_of
from reptune.tags import spans
from reptune.version import __version__

FOLDS = 5  # a quick method is scored on every row, by five fits; another on one row in five
LEAST_ROWS = 10
ERRORS = 20  # that a report shows
# Kinds whose targets are texts, not labels of a known list, and what they are scored by.
TEXT_METRICS = {"text": "chrf", "span": "normalized_match"}
WRITING = tuple(TEXT_METRICS)
# Parts of a card that hold for the rows it was scored on in training, and for no others.
OF_OTHER_ROWS = ("held_out", "rivals", "scored_on", "verdict")
CONFUSED = 50  # labels that a confusion matrix has at most


@dataclass(frozen=True)
class Result:
    """A model, what is known of it, and where it is wrong.

    Attributes:
        model: The fitted estimator.
        card: What a report says of it; `train` also keeps it in the model's `card_`.
        errors: The most confident wrong predictions, of rows that the scored fit had not seen.
    """

    model: SavedEstimator
    card: dict[str, Any]
    errors: list[dict[str, Any]]

    def save(self, folder: str | Path) -> Path:
        """Write the model with `report.md` and `report.html`, as one: all of it or nothing.

        Raises:
            ValueError: If `folder` holds something else, which is left alone.
            OSError: If the disk is full or the folder cannot be written.
        """

        def write(written: Path) -> None:
            self.model.save(written)
            write_report(self.card, self.errors, written)

        return write_folder(folder, write)


def train(
    examples: Examples,
    method: str,
    *,
    settings: Mapping[str, Any] | None = None,
    test: Examples | None = None,
    columns: Mapping[str, str | None] | None = None,
    cost_wrong: float | None = None,
    cost_ask: float | None = None,
    out: str | Path | None = None,
    random_state: int = 42,
) -> Result:
    """Train a method on labeled rows and measure what came of it.

    Args:
        examples: The rows, as `read_examples` returns them.
        method: One of `reptune.pipeline.methods.METHODS` that takes such rows.
        settings: Parameters of its estimator.
        test: Rows to score the final model on; `None` holds rows out of `examples`.
        columns: The columns' names, for the card, so that later files are read in the same way.
        cost_wrong: What a wrong answer costs, in any unit.
        cost_ask: What it costs to ask a person instead, in the same unit. With both, the model
            abstains where a wrong answer is likelier than asking is dear.
        out: Where the model will be saved; looked at before training, nothing is written here.
        random_state: Seed of splits and of training.

    Raises:
        ValueError: If rows, method, a setting or a cost is bad; raised before any training.
    """
    found = method_named(method, examples.kind)
    check_costs(cost_wrong, cost_ask, examples.kind)
    if out is not None:
        check_replaceable(out)
    _check_rows(examples, test)
    if method == "label-names" and not say_something(examples.labels):
        raise ValueError(f"{examples.name}: {NUMBERS}; train another method.")
    groups = duplicate_groups(texts_of(examples))
    make = _maker(found, examples, settings, random_state)
    make()  # an unknown setting is said before any work
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")  # the final fit, on all rows, says the same
        held_out = _predict_held_out(make, found, examples, groups, random_state)
        warnings.simplefilter("always")
        model = _fit(make(), found, examples)
        warnings.simplefilter("ignore")
        held_out = _calibrate(model, held_out)
        cost = _costs(model, examples)
        scored = held_out if test is None else _predicted(model, test)
    said = [str(warning.message) for warning in caught if warning.category is UserWarning]
    data = _data(examples, groups)
    data["notes"] += dict.fromkeys(said)
    data["notes"] += _seen_before(examples, test)
    card = {
        "kind": examples.kind,
        "columns": dict(columns or {}),
        "labels": examples.labels,
        "data": data,
        "method": _method(found, model, settings),
        "splits": _splits(examples, held_out, test),
        **_measured(scored, model),
        "held_out": None if test is None else _held_out_score(held_out, model),
        "abstention": _abstention(held_out, cost_wrong, cost_ask),
        "cost": cost,
        "versions": {"reptune": __version__, **runtime.versions()},
        "date": datetime.date.today().isoformat(),
    }
    model.card_ = card
    return Result(model, card, worst_errors(scored))


def evaluate(model: SavedEstimator, examples: Examples) -> Result:
    """Score a saved model on labeled rows that it has not seen.

    Args:
        model: As `reptune.load` returns it.
        examples: The rows, of the kind that the model was trained on.

    Returns:
        The model with a new card and errors; the card that was saved with it is left alone.

    Raises:
        ValueError: If the rows are of another kind than the model's, or hold a label that it does
            not know.
    """
    old = model.card_ or {}
    kind = learned_from(model)["kind"]
    if kind != examples.kind:
        raise ValueError(f"{examples.name} holds {examples.kind}, but the model learned {kind}.")
    known = _known_labels(model, examples.kind)
    unknown = [label for label in examples.labels if label not in known]
    if unknown:
        raise ValueError(
            f"{examples.name} has the label {unknown[0]!r}, which the model does not know; it "
            f"knows {', '.join(map(repr, known[:10]))}. Remove such rows or train anew."
        )
    notes = list(examples.notes)
    if old.get("data", {}).get("sha256") == examples.sha256:
        notes.append("These are the rows that the model was trained on: its score says little.")
    started = time.monotonic()
    scored = _predicted(model, examples)
    cost = {"texts_per_second": len(examples) / (time.monotonic() - started)}
    kept = {key: part for key, part in old.items() if key not in OF_OTHER_ROWS}
    card = kept | {
        "kind": examples.kind,
        "labels": known,
        "data": _data(examples, None) | {"notes": notes},
        "splits": {"trained_on": old.get("data", {}).get("rows"), "scored_on": len(examples),
                   "how": f"{examples.name}, after training"},
        **_measured(scored, model),
        "abstention": _abstention(scored, *_costs_of(old)),
        "cost": cost | {"device": runtime.device_name()},
        "versions": {"reptune": __version__, **runtime.versions()},
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    return Result(model, card, worst_errors(scored))


# --- checks --------------------------------------------------------------------------------------


def check_costs(cost_wrong: float | None, cost_ask: float | None, kind: str) -> None:
    """Raise a `ValueError` unless both costs are given or none, and asking is the cheaper one."""
    if cost_wrong is None and cost_ask is None:
        return
    if cost_wrong is None or cost_ask is None:
        raise ValueError("give both costs, --cost-wrong and --cost-ask, or none.")
    if kind not in ("label", "pair"):
        raise ValueError("costs decide about one label per text; leave them out for this data.")
    check_number("cost_wrong", cost_wrong, above=0)
    check_number("cost_ask", cost_ask, least=0)
    if cost_ask >= cost_wrong:
        raise ValueError(
            f"cost_ask={cost_ask} is not below cost_wrong={cost_wrong}: asking would never pay. "
            "Lower it, or leave both out."
        )


def _check_rows(examples: Examples, test: Examples | None) -> None:
    if len(examples) < LEAST_ROWS:
        raise ValueError(
            f"{examples.name} has {len(examples)} rows; training and scoring needs at least "
            f"{LEAST_ROWS}. Label more."
        )
    if test is None:
        return
    if test.kind != examples.kind:
        raise ValueError(f"{test.name} holds {test.kind}, but {examples.name} {examples.kind}.")
    unknown = [label for label in test.labels if label not in examples.labels]
    if unknown:  # there are none where a model writes texts
        raise ValueError(f"{test.name} has the label {unknown[0]!r}, which {examples.name} lacks.")


def learned_from(model: SavedEstimator) -> dict[str, Any]:
    """Return a model's card, or what can be told of one that was saved without.

    Raises:
        ValueError: If the model predicts numbers.
    """
    kind = kind_of(model)
    if not hasattr(model, "predict_proba") and kind not in WRITING:
        raise ValueError(f"a {type(model).__name__} predicts numbers, which are not scored here.")
    if model.card_:
        return model.card_
    return {"kind": kind, "labels": _known_labels(model, kind)}


def _costs_of(card: Mapping[str, Any]) -> tuple[float | None, float | None]:
    known = card.get("abstention") or {}
    return known.get("cost_wrong"), known.get("cost_ask")


def _known_labels(model: SavedEstimator, kind: str) -> list[Any]:
    if kind == "tags":
        return sorted({tag[2:] for tag in model.classes_.tolist() if tag != "O"})
    return model.classes_.tolist()


# --- fits and predictions ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scored:
    """Rows, and what a model that had not seen them says of each.

    Attributes:
        rows: The rows.
        predicted: A label, a list of labels or tags for each.
        classes: The model's labels.
        probabilities: Shape `(n, num_classes)`; `None` for taggers and several labels per text.
        how: In what way the model had not seen them.
        weight: What a row counts for in an interval.
    """

    rows: Examples
    predicted: list[Any]
    classes: np.ndarray
    probabilities: np.ndarray | None
    how: str = ""
    weight: float = 1.0

    def tempered(self, temperature: float) -> _Scored:
        """Return the same with calibrated probabilities."""
        return replace(self, probabilities=tempered(self.probabilities, temperature))


def _maker(
    method: Method, examples: Examples, settings: Mapping[str, Any] | None, random_state: int
) -> Any:
    """Return a function that makes the estimator anew."""
    options: dict[str, Any] = {"random_state": random_state, **(settings or {})}
    if method.name == "prompt" and examples.kind == "pair":
        options.setdefault("template", PAIR_TEMPLATE)

    def make() -> SavedEstimator:
        try:
            return method.make(**options)
        except TypeError as error:  # an unknown parameter, with the nearest one named
            raise ValueError(str(error)) from None

    return make


def _fit(estimator: Any, method: Method, examples: Examples) -> SavedEstimator:
    if method.name == "label-names":
        return estimator.fit_label_names([str(label) for label in examples.labels])
    return estimator.fit(examples.inputs, examples.targets)


def _calibrate(model: SavedEstimator, held_out: _Scored) -> _Scored:
    """Give the model a temperature, and the held-out probabilities the same one.

    Where no held-out row is wrong, the likeliest temperature is 0, which would call everything
    certain; it then stays at 1.
    """
    shares, gold = held_out.probabilities, held_out.rows.targets
    if shares is None:
        return held_out
    columns = [held_out.classes.tolist().index(label) for label in gold]
    possible = shares[np.arange(len(gold)), columns] > 0  # a fit may have lacked a label
    known = np.flatnonzero(possible).tolist()
    if all(gold[row] == held_out.predicted[row] for row in known):
        return held_out
    # From the class: one of its methods has a parameter of this name, which hides it.
    type(model).calibrate(model, shares[known], [gold[row] for row in known])
    return held_out.tempered(model.temperature_)


def _predict_held_out(
    make: Any, method: Method, examples: Examples, groups: np.ndarray, random_state: int
) -> _Scored:
    """Return predictions for rows that the fits behind them had not seen."""
    folds = grouped_folds(strata_of(examples), groups, FOLDS, random_state)
    count = FOLDS if method.quick and examples.kind == "label" else 1
    parts, rows = [], []
    on_vectors = method.name == "frozen" and count > 1
    vectors = _vectors(make(), examples) if on_vectors else None
    for fold in range(count):
        known, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        training = examples.select(known.tolist())
        learns = method.name != "label-names" and examples.kind not in ("tags", *WRITING)
        if learns and len(training.labels) < 2:
            raise ValueError(
                f"{examples.name}: without the rows held out for scoring, one class is left, "
                f"{training.labels[0]!r}; label more texts of the others."
            )
        held_rows = examples.select(held.tolist())
        if on_vectors:
            head = _head(make(), vectors[known], training.targets)
            scores = head.predict_proba(vectors[held])
            parts.append(_scored(held_rows, head.classes_, scores, examples.labels))
        else:
            parts.append(_predicted(_fit(make(), method, training), held_rows, examples.labels))
        rows += held.tolist()
    how = "five fits, each on four fifths of the rows" if count > 1 else "a fit on the other rows"
    shares = [part.probabilities for part in parts]
    return _Scored(
        examples.select(rows),
        [label for part in parts for label in part.predicted],
        parts[0].classes,
        None if shares[0] is None else np.concatenate(shares),
        how,
        CROSS_VALIDATED if count > 1 else 1.0,
    )


def _vectors(classifier: Any, examples: Examples) -> np.ndarray:
    """Return every text's embedding, `(n, dimensions)`: the encoder is the same in each fold."""
    return classifier.fit_label_names(["any", "two"]).embed(examples.inputs)


def _head(classifier: Any, vectors: np.ndarray, labels: Sequence[Any]) -> Any:
    """Return the head that `FrozenClassifier.fit` would put on these embeddings."""
    classes, targets = np.unique(np.asarray(labels), return_inverse=True)
    return classifier._fit_head(vectors, classes, targets)


def _predicted(
    model: SavedEstimator, rows: Examples, labels: Sequence[Any] | None = None
) -> _Scored:
    """Score rows; the columns of the probabilities are `labels`, or the model's own classes."""
    classes = model.classes_
    if rows.kind not in ("label", "pair"):
        return _Scored(rows, model.predict(rows.inputs), classes, None)
    return _scored(rows, classes, model.predict_proba(rows.inputs), labels)


def _scored(
    rows: Examples, classes: np.ndarray, probabilities: np.ndarray, labels: Sequence[Any] | None
) -> _Scored:
    predicted = classes[probabilities.argmax(axis=1)].tolist()  # as `predict` does, in one pass
    if labels is not None and len(labels) > len(classes):  # a rare label that no training row had
        wide = np.zeros((len(rows), len(labels)))
        wide[:, [list(labels).index(label) for label in classes.tolist()]] = probabilities
        classes, probabilities = np.asarray(labels), wide
    return _Scored(rows, predicted, classes, probabilities)


def _costs(model: SavedEstimator, examples: Examples) -> dict[str, Any]:
    """Return what the final fit took, and how fast the model predicts."""
    sample = examples.inputs[:200]
    started = time.monotonic()
    model.predict(sample)
    return {
        "fit_seconds": round(model.cost_.seconds, 2),
        "peak_memory_mb": round(model.cost_.peak_memory_mb),
        "texts_per_second": round(len(sample) / (time.monotonic() - started), 1),
        "device": runtime.device_name(),
    }


# --- what is written down ------------------------------------------------------------------------


def _data(examples: Examples, groups: np.ndarray | None) -> dict[str, Any]:
    notes = list(examples.notes)
    if groups is not None and (count := repeated(groups)):
        notes.append(f"{count} rows repeat or nearly repeat another; each stays on one side.")
    counts = {"name": examples.name, "sha256": examples.sha256, "rows": len(examples)}
    return {**counts, "notes": notes}


def _seen_before(examples: Examples, test: Examples | None) -> list[str]:
    """Return a note where rows to test on repeat rows to train on."""
    if test is None:
        return []
    groups = duplicate_groups(texts_of(examples) + texts_of(test))
    count = int(np.isin(groups[len(examples) :], groups[: len(examples)]).sum())
    if not count:
        return []
    return [
        f"{count} of the {len(test)} rows of {test.name} repeat or nearly repeat one that was "
        "trained on: the score is too good."
    ]


def _method(
    method: Method, model: SavedEstimator, settings: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "name": method.name, "title": method.title, "class": type(model).__name__,
        "model": str(getattr(model, "model", "")) or None,
        "settings": {name: str(value) for name, value in (settings or {}).items()},
    }  # fmt: skip


def _splits(examples: Examples, held_out: _Scored, test: Examples | None) -> dict[str, Any]:
    if test is not None:
        how = f"{test.name}, which training did not see"
        return {"trained_on": len(examples), "scored_on": len(test), "how": how}
    scored = len(held_out.rows)
    trained = len(examples) - (len(examples) // FOLDS if scored == len(examples) else scored)
    return {"trained_on": trained, "scored_on": scored, "how": held_out.how}


def _held_out_score(held_out: _Scored, model: SavedEstimator) -> dict[str, Any]:
    """Return the score on rows like those that were learned from, beside that on a test."""
    return _measured(held_out, model)["score"] | {"how": held_out.how}


def _measured(scored: _Scored, model: SavedEstimator) -> dict[str, Any]:
    """Return score, scores, baseline, calibration and confusion of a card."""
    gold, predicted = scored.rows.targets, scored.predicted
    if scored.rows.kind == "tags":
        counts = metrics.entity_counts(gold, predicted)
        found = {"score": _score("entity_f1", metrics.f1_interval(counts), len(gold)),
                 "scores": metrics.entity_scores(gold, predicted), "baseline": None}  # fmt: skip
        return found | {"calibration": None, "confusion": None}
    if scored.rows.kind == "labels":
        return _measured_lists(scored, model)
    if scored.rows.kind in WRITING:
        return _measured_texts(scored)
    right = [a == b for a, b in zip(gold, predicted, strict=True)]
    share = Counter(gold).most_common(1)[0][1] / len(gold)
    return {
        "score": _score("accuracy", share_interval(right, weight=scored.weight), len(gold)),
        "scores": metrics.classification_scores(gold, predicted),
        "baseline": {"title": "majority class", "estimate": share},
        "calibration": _calibration(scored, model),
        "confusion": _confusion(gold, predicted),
    }


def _measured_lists(scored: _Scored, model: SavedEstimator) -> dict[str, Any]:
    gold, predicted = scored.rows.targets, scored.predicted
    classes = scored.classes.tolist()
    counts = np.array(
        [
            (len(set(true) & set(guess)), len(guess), len(true))
            for true, guess in zip(gold, predicted, strict=True)
        ]
    )
    return {
        "score": _score("micro_f1", metrics.f1_interval(counts), len(gold)),
        "scores": multilabel_scores(gold, predicted, classes),
        "baseline": None, "calibration": None, "confusion": None,
    }  # fmt: skip


def _measured_texts(scored: _Scored) -> dict[str, Any]:
    """Return score and scores where a model writes texts or finds answers."""
    from reptune.pipeline.text_scores import text_scores  # it needs an extra

    rows, metric = scored.rows, TEXT_METRICS[scored.rows.kind]
    found = text_scores(rows.targets, scored.predicted)
    baseline = None
    if rows.kind == "text":  # a task that changes little scores high without any learning
        copied = text_scores(rows.targets, rows.inputs)[metric].estimate
        baseline = {"title": "the input, copied", "estimate": float(copied)}
    return {
        "score": _score(metric, found[metric], len(rows)),
        "scores": {name: float(score.estimate) for name, score in found.items()},
        "baseline": baseline, "calibration": None, "confusion": None,
    }  # fmt: skip


def _score(metric: str, interval: metrics.Interval, rows: int) -> dict[str, Any]:
    return {
        "metric": metric, "estimate": float(interval.estimate), "low": float(interval.low),
        "high": float(interval.high), "level": interval.level, "rows": rows,
    }  # fmt: skip


def _calibration(scored: _Scored, model: SavedEstimator) -> dict[str, Any]:
    ids = [scored.classes.tolist().index(label) for label in scored.rows.targets]
    bins = metrics.reliability(scored.probabilities, ids)
    ece = metrics.expected_calibration_error(scored.probabilities, ids)
    return {"temperature": model.temperature_, "ece": ece, "bins": [list(each) for each in bins]}


def _confusion(gold: Sequence[Any], predicted: Sequence[Any]) -> dict[str, Any] | None:
    labels = sorted({*gold, *predicted})
    if len(labels) > CONFUSED:
        return None
    counts = Counter(zip(gold, predicted, strict=True))
    return {"labels": labels, "counts": [[counts[a, b] for b in labels] for a in labels]}


def _abstention(
    held_out: _Scored, cost_wrong: float | None, cost_ask: float | None
) -> dict[str, Any] | None:
    """Answer where the probability is at least 1 - ask / wrong: there a wrong answer is cheaper."""
    if cost_wrong is None or cost_ask is None:
        return None
    threshold = 1 - cost_ask / cost_wrong
    sure = held_out.probabilities.max(axis=1) >= threshold
    right = np.array(
        [a == b for a, b in zip(held_out.rows.targets, held_out.predicted, strict=True)]
    )
    return {
        "cost_wrong": cost_wrong, "cost_ask": cost_ask, "threshold": threshold,
        "answered": float(sure.mean()),
        "score_answered": float(right[sure].mean()) if sure.any() else None,
    }  # fmt: skip


def worst_errors(scored: _Scored) -> list[dict[str, Any]]:
    """Return the most confident wrong predictions, at most `ERRORS`."""
    rows = zip(texts_of(scored.rows), scored.rows.targets, scored.predicted, strict=True)
    wrong = [
        {"text": text, "label": _words(gold), "predicted": _words(guess), "probability": None}
        | ({} if scored.probabilities is None
           else {"probability": float(scored.probabilities[index].max())})
        for index, (text, gold, guess) in enumerate(rows)
        if _differs(gold, guess, scored.rows.kind)
    ]  # fmt: skip
    wrong.sort(key=lambda error: -(error["probability"] or 0.0))
    return wrong[:ERRORS]


def _differs(gold: Any, guess: Any, kind: str) -> bool:
    return set(gold) != set(guess) if kind == "labels" else gold != guess


def _words(value: Any) -> Any:
    """Return a label, several labels or tags as a report shows them."""
    if not isinstance(value, list):
        return value
    if value and all(isinstance(tag, str) and tag[:2] in ("O", "B-", "I-") for tag in value):
        return ", ".join(f"{span.type} {span.start}–{span.end - 1}" for span in spans(value))
    return ", ".join(map(str, value)) or "none"
