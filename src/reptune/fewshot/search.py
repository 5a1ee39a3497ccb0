"""A search over SetFit's settings on the few labels alone, by cross-validation (chapter 2).

Nobody with forty labels has a validation set. So each setting is judged by predictions for texts
that were held out in turn, and a setting is preferred to the default only if it is right more often
by more than the noise. Trials are kept in Optuna's journal, so that a search that was killed
continues.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from reptune.checks import (
    check_training_set,
    check_whole_number,
    did_you_mean,
)
from reptune.fewshot.classifier import SetFitClassifier

# What each parameter may be; `C` is the penalty of the logistic regression on top.
SPACE: Mapping[str, tuple[Any, ...]] = {
    "num_steps": (3, 5, 10, 20),
    "learning_rate": (2e-5, 5e-5, 1e-4, 2e-4),
    "trainable": ("head", 2, "all"),
    "C": (0.1, 1.0, 10.0, 100.0),
}


@dataclass(frozen=True)
class Trial:
    """A setting that was tried.

    Attributes:
        settings: Of `SetFitClassifier`, and `C`; `{}` for the defaults.
        correct: Whether each text was right when it was held out, shape `(n,)`.
    """

    settings: dict[str, Any]
    correct: np.ndarray

    @property
    def accuracy(self) -> float:
        """The share of the texts that were right."""
        return float(self.correct.mean())


@dataclass(frozen=True)
class Search:
    """What a search has found.

    Attributes:
        settings: What to take: those of the best trial, or `{}` where the defaults are as good
            within one standard error.
        trials: In the order in which they were run, the defaults first.
        best: The trial with the highest accuracy; of equal ones the first. Its accuracy flatters,
            because it is the luckiest of several.
        lead: The best trial's accuracy minus the defaults'.
        standard_error: Of that difference, over the texts.
    """

    settings: dict[str, Any]
    trials: list[Trial]
    best: Trial
    lead: float
    standard_error: float

    def classifier(self, **more: Any) -> SetFitClassifier:
        """Return a classifier with the settings, not fitted; `more` are further parameters."""
        return SetFitClassifier(**parameters(self.settings), **more)


def search_settings(
    texts: Iterable[str],
    labels: Iterable[Any],
    *,
    space: Mapping[str, Sequence[Any]] = SPACE,
    num_trials: int = 20,
    num_folds: int = 4,
    journal: str | Path | None = None,
    random_state: int = 42,
    callbacks: Sequence[Callable[[Trial], Any]] = (),
    **fixed: Any,
) -> Search:
    """Try settings of `SetFitClassifier` on a few labeled texts, by cross-validation on them.

    The first trial has the default settings; Optuna's TPE sampler suggests the others.

    Args:
        texts: The labeled texts, all of them.
        labels: One label per text.
        space: What each parameter may be; see `SPACE`.
        num_trials: How many settings to try, those in the journal included.
        num_folds: Each label needs as many texts.
        journal: A file that keeps the trials; another table or space in the same file is a search
            of its own. `None` keeps them in memory.
        random_state: Seed of the folds, of every fit and of the suggestions.
        callbacks: Called with each new trial, such as `[print]`.
        fixed: Further parameters of every classifier, such as `model` and `max_length`.

    Raises:
        ValueError: If Optuna is missing, the texts are too few, or a parameter is bad.

    Source: Akiba et al., *Optuna* (2019); the standard error's rule is Breiman's (1984).
    """
    texts, labels = check_training_set(texts, labels)
    check_whole_number("num_trials", num_trials)
    check_whole_number("random_state", random_state, least=0)
    _check_folds(labels, num_folds)
    _check_space(space, fixed)
    optuna = _optuna()
    name = _name_of(texts, labels, space, num_folds, random_state, fixed)
    study = optuna.create_study(
        study_name=name, storage=_storage(optuna, journal), direction="maximize",
        load_if_exists=True,
    )  # fmt: skip
    choices = {
        name: optuna.distributions.CategoricalDistribution(list(values))
        for name, values in space.items()
    }
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=random_state)
    trials = [_kept(each) for each in _complete(study)]
    # With the first seed again, a search that goes on would be given the same suggestions again.
    study.sampler = optuna.samplers.TPESampler(seed=random_state + len(trials))
    while len(trials) < num_trials:
        asked = study.ask(choices if trials else {})
        settings = dict(asked.params)
        tried = next((each.correct for each in trials if each.settings == settings), None)
        if tried is None:  # the same settings would give the same again
            made = SetFitClassifier(random_state=random_state, **parameters(settings), **fixed)
            tried = held_out_hits(made, texts, labels, folds)
        trial = Trial(settings, tried)
        asked.set_user_attr("correct", "".join(str(int(hit)) for hit in trial.correct))
        study.tell(asked, trial.accuracy)
        trials.append(trial)
        for callback in callbacks:
            callback(trial)
    return concluded(trials)


def parameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings as `SetFitClassifier` takes them: `C` becomes the head.

    >>> parameters({"num_steps": 5, "C": 10.0})
    {'num_steps': 5, 'head': LogisticRegression(C=10.0, max_iter=1000)}
    """
    found = {name: value for name, value in settings.items() if name != "C"}
    if "C" in settings:
        found["head"] = LogisticRegression(C=settings["C"], max_iter=1000)
    return found


def held_out_hits(
    classifier: SetFitClassifier, texts: list[str], labels: np.ndarray, folds: StratifiedKFold
) -> np.ndarray:
    """Return whether each text is right when it is held out, shape `(n,)`.

    Args:
        classifier: With its settings; fitted anew for each fold.
        texts: All texts.
        labels: Theirs.
        folds: How texts are held out.
    """
    correct = np.zeros(len(texts), dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each fit would say the same
        for known, held in folds.split(texts, labels):
            classifier.fit([texts[row] for row in known], labels[known])
            correct[held] = classifier.predict([texts[row] for row in held]) == labels[held]
    return correct


def concluded(trials: list[Trial]) -> Search:
    """Choose among trials, of which the first has the default settings.

    >>> default = Trial({}, np.array([True, False, True, False]))
    >>> other = Trial({"num_steps": 20}, np.array([True, True, True, False]))
    >>> concluded([default, other]).settings  # a lead of one text in four is noise
    {}
    """
    best = max(trials, key=lambda trial: trial.correct.sum())
    differences = best.correct.astype(float) - trials[0].correct
    error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
    lead = float(differences.mean())
    return Search(best.settings if lead > error else {}, trials, best, lead, error)


# What follows is plumbing.


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ValueError(
            f'a search needs Optuna ({error}); pip install "reptune[search]"'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _storage(optuna: Any, journal: str | Path | None) -> Any:
    if journal is None:
        return optuna.storages.InMemoryStorage()
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    return optuna.storages.JournalStorage(backend)


def _complete(study: Any) -> list[Any]:
    """Return the trials that ended; one that was killed has no value, and is left behind."""
    return [each for each in study.trials if each.value is not None]


def _kept(trial: Any) -> Trial:
    bits = trial.user_attrs["correct"]
    return Trial(dict(trial.params), np.array([bit == "1" for bit in bits]))


def _check_folds(labels: np.ndarray, num_folds: int) -> None:
    check_whole_number("num_folds", num_folds, least=2)
    names, counts = np.unique(labels, return_counts=True)
    if counts.min() < num_folds:
        raise ValueError(
            f"label {names[counts.argmin()].item()!r} has {counts.min()} texts, fewer than "
            f"num_folds={num_folds}; lower num_folds, or label more."
        )


def _check_space(space: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any]) -> None:
    known = {*SetFitClassifier().get_params(), "C"}
    for name in [*space, *fixed]:
        if name not in known:
            raise ValueError(f"there is no parameter {name!r}{did_you_mean(name, known)}.")
    empty = [name for name, values in space.items() if not len(values)]
    if empty or not space:
        raise ValueError(f"space={dict(space)}; name parameters with one value or more each.")
    twice = (set(space) & set(fixed)) | ({"C"} if "C" in space and "head" in fixed else set())
    if twice:
        raise ValueError(f"{min(twice)!r} is in space, and fixed too; take it out of one.")


def _name_of(
    texts: list[str],
    labels: np.ndarray,
    space: Mapping[str, Sequence[Any]],
    num_folds: int,
    random_state: int,
    fixed: Mapping[str, Any],
) -> str:
    """Return a name that only the same search has, so that a journal can hold several."""
    parts = [texts, labels.tolist(), {name: list(values) for name, values in space.items()}]
    parts += [num_folds, random_state, {name: str(value) for name, value in fixed.items()}]
    return f"setfit-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"
