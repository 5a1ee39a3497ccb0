"""Several labels per text, for every estimator that takes them."""

import inspect
import pickle

import numpy as np
import pytest
from scipy.special import expit
from sklearn.model_selection import KFold, cross_validate

from tests import tiny

NAMES = {"film": ("film", "movie"), "actor": ("actor",), "good": tiny.GOOD}
LISTS = [
    [name for name, words in NAMES.items() if {text, *text.split()} & set(words)]
    for text in tiny.TEXTS
]
assert [] in LISTS and any(len(row) == 2 for row in LISTS)
NUMBERS = {"film": 3, "actor": -1, "good": 12}
several = pytest.mark.only(lambda case: "thresholds" in inspect.signature(case.kind).parameters)


@pytest.fixture(scope="module")
def fits(models):
    """Fit each case once, with thresholds out of fold."""
    found = {}

    def fit(case):
        if case.name not in found:
            found[case.name] = case.new(models).fit(tiny.TEXTS, LISTS)
        return found[case.name]

    return fit


@several
def test_each_label_is_decided_by_its_own_threshold(case, fits):
    fitted = fits(case)
    probabilities = fitted.predict_proba(case.new_inputs)
    assert fitted.classes_.tolist() == ["actor", "film", "good"]
    assert probabilities.shape == (len(case.new_inputs), 3) and fitted.thresholds_.shape == (3,)
    np.testing.assert_allclose(expit(fitted.logits(case.new_inputs)), probabilities, atol=1e-6)
    expected = [
        [label for label, share, least in zip(fitted.classes_, row, fitted.thresholds_, strict=True)
         if share >= least]
        for row in probabilities
    ]  # fmt: skip
    assert fitted.predict(case.new_inputs) == expected
    assert fitted.predict(iter(case.new_inputs)) == expected
    assert fitted.score(case.new_inputs, expected) == 1.0


@several
def test_what_is_saved_or_pickled_predicts_the_same(case, fits, tmp_path):
    fitted = fits(case)
    saved = case.kind.load(fitted.save(tmp_path / "model"))
    for twin in (saved, pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(case.output(twin), case.output(fitted))
        assert twin.thresholds_.tolist() == fitted.thresholds_.tolist()
        assert twin.predict(case.new_inputs) == fitted.predict(case.new_inputs)


@several
def test_the_same_seed_gives_the_same_thresholds(case, models, fits):
    fitted, again = fits(case), case.new(models).fit(tiny.TEXTS, [set(row) for row in LISTS])
    assert again.thresholds_.tolist() == fitted.thresholds_.tolist()
    np.testing.assert_array_equal(case.output(again), case.output(fitted))


@several
def test_a_number_is_the_threshold_of_every_label_and_costs_no_fit(case, models, fits, monkeypatch):
    expected = case.output(fits(case))

    def refuse(*args):
        raise AssertionError("a fold was fitted")

    monkeypatch.setattr("reptune.multilabel.out_of_fold", refuse)
    fixed = case.new(models, thresholds=0.4).fit(tiny.TEXTS, LISTS)
    assert fixed.thresholds_.tolist() == [0.4, 0.4, 0.4]
    np.testing.assert_array_equal(case.output(fixed), expected)


@several
def test_integers_come_back_as_integers(case, models):
    rows = [tuple(NUMBERS[name] for name in row) for row in LISTS]
    fitted = case.new(models, thresholds=0.01).fit(tiny.TEXTS, rows)
    assert fitted.classes_.tolist() == [-1, 3, 12]
    given = [label for row in fitted.predict(tiny.TEXTS) for label in row]
    assert given and {type(label) for label in given} == {int}


@several
def test_cross_validation_without_stratifying(case, models):
    estimator = case.new(models, thresholds=0.5)
    found = cross_validate(estimator, tiny.TEXTS, LISTS, cv=KFold(2), error_score="raise")
    assert ((found["test_score"] >= 0) & (found["test_score"] <= 1)).all()


@several
def test_one_label_per_text_afterwards(case, models, fits):
    again = pickle.loads(pickle.dumps(fits(case))).fit(tiny.TEXTS, tiny.LABELS)
    assert again.thresholds_ is None
    assert set(again.predict(tiny.TEXTS).tolist()) <= set(tiny.LABELS)
    np.testing.assert_allclose(again.predict_proba(tiny.TEXTS).sum(axis=1), 1, rtol=1e-5)


@several
def test_an_interrupt_between_the_folds_leaves_the_object(case, fits, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    own = pickle.loads(pickle.dumps(fits(case)))
    before = dict(vars(own))
    monkeypatch.setattr("reptune.multilabel.out_of_fold", interrupt)
    with pytest.raises(KeyboardInterrupt):
        own.fit(tiny.TEXTS[2:], LISTS[2:])
    assert all(vars(own)[name] is value for name, value in before.items())
    assert vars(own).keys() == before.keys()


@several
@pytest.mark.parametrize(("labels", "message"), [
    ([["x", "y"], "x"], r"labels\[1\] is 'x', which is no list of labels"),
    ([["x", "y"], ["y", "y"]], r"labels\[1\] holds 'y' twice"),
    ([["x"], ["x"]], "1 class"),
    ([[], []], "none of the 2 texts has a label"),
    ([["x", "y"]], "2 texts but 1 lists"),
    ([["x", 1], ["y"]], "mix"),
])  # fmt: skip
def test_bad_lists_are_refused_before_anything_is_loaded(case, models, no_model, labels, message):
    with pytest.raises(ValueError, match=message):
        case.new(models).fit(["a film", "a movie"], labels)


@pytest.mark.only(
    lambda case: case.classifies and "thresholds" not in inspect.signature(case.kind).parameters
)
def test_where_a_text_has_one_label_lists_are_refused(case, models, no_model):
    with pytest.raises(ValueError, match="labels must be"):
        case.new(models).fit(["a film", "a movie"], [["x"], ["y"]])
