"""Settings chosen on the few labels alone: held-out hits, the rule, the journal, clear errors."""

import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from reptune.fewshot import SetFitClassifier, search
from reptune.fewshot.search import Trial, concluded, held_out_hits, parameters, search_settings
from tests.tiny import LABELS, TEXTS

SPACE = {"num_steps": (1, 2), "C": (1.0, 10.0)}


@pytest.fixture
def quick(tiny_encoder):
    return {"model": tiny_encoder, "space": SPACE, "num_folds": 2, "learning_rate": 5e-3}


def hits(*right):
    return np.isin(np.arange(16), right)


def test_held_out_hits_are_those_of_cross_validation(tiny_encoder):
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    made = SetFitClassifier(tiny_encoder, num_steps=2, learning_rate=5e-3, random_state=0)
    expected = cross_val_predict(made, TEXTS, LABELS, cv=folds) == np.array(LABELS)
    assert (held_out_hits(made, TEXTS, np.array(LABELS), folds) == expected).all()


def test_the_best_is_taken_only_if_its_lead_is_more_than_noise():
    default = Trial({}, hits(0, 1, 2, 3))
    # Ten texts more and none fewer: the differences are 10 ones and 6 zeros.
    found = concluded([default, Trial({"num_steps": 9}, hits(*range(14)))])
    assert found.settings == {"num_steps": 9} and found.lead == 10 / 16
    assert found.standard_error == pytest.approx(np.std([1] * 10 + [0] * 6, ddof=1) / 4)
    # One more on the whole, but six of nine changed for the worse or the better.
    noisy = concluded([default, Trial({"num_steps": 9}, hits(0, 4, 5, 6, 7))])
    assert noisy.settings == {} and noisy.best.settings == {"num_steps": 9}
    # Of equal ones the first; against itself there is no lead.
    assert concluded([default, Trial({"num_steps": 9}, default.correct)]).best is default


def test_a_penalty_becomes_a_head():
    head = parameters({"C": 3.0, "num_steps": 2})["head"]
    assert isinstance(head, LogisticRegression) and head.C == 3.0


def test_optuna_is_named_with_the_extra_that_brings_it(monkeypatch, quick):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r'needs Optuna .*pip install "reptune\[search\]"'):
        search_settings(TEXTS, LABELS, **quick)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_folds": 9}, "label 'negative' has 8 texts, fewer than num_folds=9"),
        ({"num_folds": 1}, "num_folds"),
        ({"num_trials": 0}, "num_trials"),
        ({"random_state": None}, "random_state"),
        ({"space": {"steps": (1,)}}, "no parameter 'steps'"),
        ({"space": {}}, "name parameters"),
        ({"space": {"C": ()}}, "name parameters"),
        ({"num_step": 3}, "no parameter 'num_step'; did you mean 'num_steps'|num_step"),
        ({"num_steps": 3}, "'num_steps' is in space, and fixed too"),
        ({"head": LogisticRegression()}, "'C' is in space, and fixed too"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_trained(monkeypatch, quick, changes, message):
    monkeypatch.setattr(SetFitClassifier, "fit", pytest.fail)
    with pytest.raises(ValueError, match=message):
        search_settings(TEXTS, LABELS, **(quick | changes))


def test_a_search_that_goes_on_is_not_given_the_same_suggestions_again(tmp_path, quick):
    pytest.importorskip("optuna")
    wide = {"space": {"C": tuple(float(power) for power in range(1, 60))}, "trainable": "head"}
    for trials in (3, 5):
        found = search_settings(
            TEXTS, LABELS, num_trials=trials, journal=tmp_path / "journal.log", **(quick | wide)
        )
    tried = [trial.settings["C"] for trial in found.trials[1:]]
    assert len(tried) == 4 and tried[2:] != tried[:2]


def test_settings_that_were_tried_are_not_tried_again(monkeypatch, quick):
    pytest.importorskip("optuna")
    asked = []

    def hits_of(classifier, *rest):
        asked.append(classifier.head)
        return hits(0, 1)

    monkeypatch.setattr(search, "held_out_hits", hits_of)
    found = search_settings(TEXTS, LABELS, num_trials=4, **(quick | {"space": {"C": (3.0,)}}))
    assert len(found.trials) == 4
    assert len(asked) == 2 and asked[0] is None and asked[1].C == 3.0


def test_a_search_goes_on_where_it_stopped(tmp_path, quick):
    pytest.importorskip("optuna")
    seen, journal = [], tmp_path / "journal.log"
    first = search_settings(
        TEXTS, LABELS, num_trials=2, journal=journal, callbacks=[seen.append], **quick
    )
    assert len(first.trials) == len(seen) == 2 and first.trials[0].settings == {}
    again = search_settings(
        TEXTS, LABELS, num_trials=3, journal=journal, callbacks=[seen.append], **quick
    )
    assert len(seen) == 3
    assert [trial.settings for trial in again.trials[:2]] == [t.settings for t in first.trials]
    assert (again.trials[1].correct == first.trials[1].correct).all()
    assert set(again.trials[2].settings) == set(SPACE)
    # Another table in the same journal is another search.
    other = search_settings(TEXTS[:-2], LABELS[:-2], num_trials=1, journal=journal, **quick)
    assert len(other.trials) == 1
    assert again.classifier(model=quick["model"]).get_params()["model"] == quick["model"]
