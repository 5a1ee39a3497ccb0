"""Several labels per text: scores, folds, thresholds, and what a classifier gives back."""

import json
import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from reptune.checks import label_lists
from reptune.estimator import TextClassifier
from reptune.folders import MANIFEST
from reptune.multilabel import (
    best_thresholds,
    choose_thresholds,
    multilabel_scores,
    out_of_fold,
    stratified_folds,
)

cheap = settings(max_examples=60, deadline=None, database=None)


class Counting(TextClassifier):
    """Says of each label how often the text names it, and of which texts it was fitted on."""

    fitted_on: ClassVar[list] = []

    def __init__(self, model="none", *, thresholds=None, callbacks=(), random_state=0):
        self.model, self.thresholds = model, thresholds
        self.callbacks, self.random_state = callbacks, random_state

    def fit(self, texts, labels):
        Counting.fitted_on.append((list(texts), self.thresholds, self.callbacks))
        self.classes_ = np.unique([label for row in labels for label in row])
        self.thresholds_ = np.full(len(self.classes_), self.thresholds or 0.5)
        return self

    def _logits(self, texts):
        return np.array([[text.count(label) - 1.0 for label in self.classes_] for text in texts])

    def _write(self, folder):
        (folder / "nothing").write_text("", encoding="utf-8")

    def _read(self, folder, manifest):
        pass


def problem(num_texts=30):
    texts = ["a" * (n % 3) + "b" * (n % 2) for n in range(num_texts)]
    indicator = np.array([["a" in text, "b" in text] for text in texts])
    return texts, np.array(["a", "b"]), indicator


# --- scores and thresholds -----------------------------------------------------------------------


def test_multilabel_scores_by_hand():
    gold = [["a"], ["a", "b"], [], ["c"]]
    predicted = [["a"], ["b"], ["a"], ["c", "a"]]
    scores = multilabel_scores(gold, predicted, ["a", "b", "c"])
    assert scores["subset_accuracy"] == 0.25, "the first text alone"
    # a: 1 right of 3 predicted, 2 true: 2/5. b and c: 1. Together 3 right, 5 predicted, 4 true.
    assert scores["micro_f1"] == pytest.approx(6 / 9)
    assert scores["macro_f1"] == pytest.approx((2 / 5 + 1 + 1) / 3)


indicators = st.integers(1, 8).flatmap(
    lambda n: st.lists(
        st.tuples(*[st.tuples(st.booleans(), st.booleans())] * 3), min_size=n, max_size=n
    )
)


@given(indicators)
@cheap
def test_multilabel_scores_are_scikit_learn_s(rows):
    array = np.array(rows)
    gold, predicted = array[..., 0], array[..., 1]
    classes = np.array([4, 5, 6])
    lists = [[classes[row].tolist() for row in side] for side in (gold, predicted)]
    scores = multilabel_scores(*lists, classes)
    assert scores["subset_accuracy"] == pytest.approx(accuracy_score(gold, predicted))
    for average in ("micro", "macro"):
        theirs = f1_score(gold, predicted, average=average, zero_division=0)
        assert scores[f"{average}_f1"] == pytest.approx(theirs)


@pytest.mark.parametrize(("gold", "predicted", "message"), [
    ([["a"]], [["d"]], r"predicted has labels that are no classes: \['d'\]"),
    ([["a"]], [["a"], ["b"]], "1 gold and 2 predicted"),
    ([], [], "0 gold and 0 predicted"),
    (["a"], [["a"]], r"gold\[0\] is 'a', which is no list"),
])  # fmt: skip
def test_what_multilabel_scores_refuses(gold, predicted, message):
    with pytest.raises(ValueError, match=message):
        multilabel_scores(gold, predicted, ["a", "b", "c"])


@pytest.mark.parametrize(("gold", "probabilities", "threshold"), [
    ([1, 1, 0], [0.9, 0.3, 0.2], 0.25),  # midway between the lowest right and the highest wrong
    ([1, 0, 1], [0.9, 0.8, 0.1], 0.05),  # all: 2 right of 3, F1 0.8, beats the first alone, 2/3
    ([0, 0], [0.9, 0.1], 0.5),  # no text has it
    ([1, 1], [0.9, 0.8], 0.4),
    ([1, 0, 0, 0], [0.9, 0.8, 0.6, 0.5], 0.85),
    ([1, 0, 1, 0, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.1, 0.05], 0.65),  # as good as 0.025, nearer to 0.5
    ([1, 0], [0.5, 0.5], 0.25),  # equal probabilities are predicted together
    ([1, 0, 0], [float("nan"), 0.7, 0.2], 0.5),  # nothing is known of the one text that has it
])  # fmt: skip
def test_best_thresholds_by_hand(gold, probabilities, threshold):
    found = best_thresholds(np.array(gold)[:, None], np.array(probabilities)[:, None])
    assert found == pytest.approx([threshold])


shares = st.sampled_from([0, 0.1, 0.1 + 1e-16, 0.5, 0.75, 1]) | st.floats(0, 1)
scored = st.lists(st.tuples(st.booleans(), shares), min_size=1, max_size=12)


@given(scored)
@cheap
def test_no_threshold_has_a_higher_f1(rows):
    gold = np.array([has for has, _ in rows])
    probabilities = np.array([share for _, share in rows], dtype=float)
    threshold = best_thresholds(gold[:, None], probabilities[:, None])[0]
    assert 0 <= threshold <= 1

    def f1(at):
        return f1_score(gold, probabilities >= at, zero_division=0)

    if gold.any():
        best = max(f1(at) for at in probabilities)
        assert f1(threshold) == pytest.approx(best)


def test_each_label_has_its_own_threshold():
    gold = [[1, 0], [0, 1], [0, 1]]
    found = best_thresholds(gold, [[0.9, 0.2], [0.7, 0.4], [0.1, 0.3]])
    assert found == pytest.approx([0.8, 0.25])


@pytest.mark.parametrize(("gold", "probabilities", "message"), [
    ([[1, 0]], [[0.5]], r"gold has shape \(1, 2\) and probabilities \(1, 1\)"),
    ([1], [0.5], r"shape \(1,\)"),
    ([[1]], [[1.5]], "probabilities hold 1.5"),
])  # fmt: skip
def test_what_best_thresholds_refuses(gold, probabilities, message):
    with pytest.raises(ValueError, match=message):
        best_thresholds(gold, probabilities)


# --- folds ---------------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.integers(3, 40), st.integers(1, 5))
@cheap
def test_every_text_is_in_one_fold_of_fair_size(seed, num_texts, num_labels):
    indicator = np.random.default_rng(seed).random((num_texts, num_labels)) < 0.3
    folds = stratified_folds(indicator, 3, seed)
    assert set(folds) <= {0, 1, 2} and (folds == stratified_folds(indicator, 3, seed)).all()


def test_each_fold_has_its_share_of_each_label():
    indicator = np.random.default_rng(0).random((300, 5)) < [0.5, 0.2, 0.1, 0.05, 0.02]
    folds = stratified_folds(indicator, 3, 0)
    shares = np.array([indicator[folds == fold].sum(axis=0) for fold in range(3)])
    assert (shares.max(axis=0) - shares.min(axis=0)).max() <= 3
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 9


def test_two_texts_of_a_label_part():
    indicator = np.zeros((9, 3), dtype=bool)
    indicator[[0, 1], 0] = indicator[[2, 3, 4], 1] = indicator[[5, 6], 2] = True
    for seed in range(20):
        folds = stratified_folds(indicator, 3, seed)
        assert folds[0] != folds[1] and folds[5] != folds[6]
        assert len(set(folds[[2, 3, 4]])) == 3


# --- out of fold ---------------------------------------------------------------------------------


def test_no_text_is_predicted_by_a_model_that_was_fitted_on_it(monkeypatch):
    texts, classes, indicator = problem()
    texts = [f"{text}{number}" for number, text in enumerate(texts)]
    Counting.fitted_on = []
    seen = []
    original = Counting._logits
    monkeypatch.setattr(
        Counting, "_logits", lambda self, some: seen.append(list(some)) or original(self, some)
    )
    estimator = Counting(callbacks=(print,))
    probabilities = out_of_fold(estimator, texts, classes, indicator, 0)
    assert sorted(text for some in seen for text in some) == sorted(texts)
    for (fitted, thresholds, callbacks), held in zip(Counting.fitted_on, seen, strict=True):
        assert set(fitted) | set(held) == set(texts) and not set(fitted) & set(held)
        assert thresholds == 0.5 and callbacks == ()
    expected = 1 / (1 + np.exp(1 - np.array([[t.count("a"), t.count("b")] for t in texts])))
    np.testing.assert_allclose(probabilities, expected)
    assert not hasattr(estimator, "classes_")


def test_a_label_of_one_text_has_no_probability_there_and_half_as_threshold():
    texts, classes, indicator = problem()
    texts, indicator = [*texts, "c"], np.pad(indicator, ((0, 1), (0, 1)))
    indicator[-1, 2] = True
    classes = np.array(["a", "b", "c"])
    probabilities = out_of_fold(Counting(), texts, classes, indicator, 0)
    assert np.isnan(probabilities[-1, 2]) and not np.isnan(probabilities[:, :2]).any()
    with pytest.warns(UserWarning, match="too few texts have the labels 'c' to choose"):
        thresholds = choose_thresholds(Counting(), texts, classes, indicator)
    assert thresholds[2] == 0.5
    # Of a, texts without it have 1/(1 + e), those with it 0.5 or more.
    assert thresholds[0] == pytest.approx((0.5 + 1 / (1 + np.e)) / 2)


def test_two_texts_are_too_few_for_any_threshold():
    indicator = np.eye(2, dtype=bool)
    with pytest.warns(UserWarning, match="too few texts"):
        thresholds = choose_thresholds(Counting(), ["a", "b"], np.array(["a", "b"]), indicator)
    assert thresholds.tolist() == [0.5, 0.5]


def test_a_number_or_validation_saves_the_extra_fits():
    texts, classes, indicator = problem()
    Counting.fitted_on = []
    fixed = choose_thresholds(Counting(thresholds=0.3), texts, classes, indicator)
    assert fixed.tolist() == [0.3, 0.3]
    held_out = (["x", "y"], np.array([[True, False], [False, True]]))
    chosen = choose_thresholds(
        Counting(), texts, classes, indicator, held_out,
        lambda texts: np.array([[0.8, 0.2], [0.4, 0.9]]),
    )  # fmt: skip
    # Alone the second would be 0.55; both together are best at 0.6.
    assert chosen == pytest.approx([0.6, 0.6])
    assert Counting.fitted_on == []


# --- what a classifier gives back ----------------------------------------------------------------


@pytest.fixture
def fitted():
    return Counting(thresholds=0.5).fit(["a", "b"], [["a"], ["b"]])


def test_lists_of_labels_come_back_in_the_order_of_the_classes(fitted):
    predicted = fitted.predict(["ba", "x", "b"])
    assert predicted == [["a", "b"], [], ["b"]] and type(predicted[0][0]) is str
    assert fitted.predict(iter(["b"])) == [["b"]]
    assert label_lists(np.array([[True, True]]), np.array([2, 7])) == [[2, 7]]


def test_probabilities_are_independent(fitted):
    np.testing.assert_allclose(fitted.predict_proba(["ab", ""]), [[0.5] * 2, [1 / (1 + np.e)] * 2])


def test_the_score_is_subset_accuracy(fitted):
    texts = ["ab", "a", "b", "x"]
    assert fitted.score(texts, [("b", "a"), {"a"}, ["a"], []]) == 0.75
    assert fitted.score(texts, [["b"], ["a"], ["a"], ["z"]], sample_weight=[1, 3, 0, 0]) == 0.75
    assert fitted.score(["x"], [[]]) == 1.0
    with pytest.raises(ValueError, match="fitted on lists of labels per text"):
        fitted.score(texts, ["a", "b", "a", "b"])


def test_thresholds_are_saved(fitted, tmp_path):
    fitted.thresholds_ = np.array([0.25, 0.7])
    loaded = Counting.load(fitted.save(tmp_path / "model"))
    assert loaded.thresholds_.tolist() == [0.25, 0.7] and loaded.thresholds == 0.5
    assert loaded.predict(["ab", ""]) == [["a"], ["a"]]


@pytest.mark.parametrize("damaged", [[0.5], [0.5, 2.0], [0.5, "0.5"], 0.5, [0.5, None], {}])
def test_damaged_thresholds_are_said(fitted, tmp_path, damaged):
    folder = fitted.save(tmp_path / "model")
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "thresholds": damaged}))
    with pytest.raises(ValueError, match=r"is damaged \(thresholds"):
        Counting.load(folder)


def test_lost_thresholds_break_the_seal(fitted, tmp_path):
    folder = Path(fitted.save(tmp_path / "model"))
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["thresholds"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="its seal is not the one"):
        Counting.load(folder)


def test_a_fold_s_warnings_are_kept_back():
    class Warns(Counting):
        def fit(self, texts, labels):
            warnings.warn("from a fold", stacklevel=2)
            return super().fit(texts, labels)

    texts, classes, indicator = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out_of_fold(Warns(), texts, classes, indicator, 0)


@given(st.integers(0, 1000), st.sampled_from([1.0, 10.0]))
@settings(max_examples=30, deadline=None)
def test_pooled_thresholds_by_brute_force(seed, pooled):
    rng = np.random.default_rng(seed)
    gold = rng.random((12, 3)) < [0.1, 0.3, 0.6]
    shares = rng.integers(0, 20, (12, 3)) / 20

    def f1(threshold, label):
        here, everywhere = shares[:, label] >= threshold, shares >= threshold
        scale = pooled / max(1, gold.sum())
        right = (here & gold[:, label]).sum() + scale * (everywhere & gold).sum()
        both = here.sum() + gold[:, label].sum() + scale * (everywhere.sum() + gold.sum())
        return 2 * right / both

    found = best_thresholds(gold, shares, pooled)
    for label in np.flatnonzero(gold.any(axis=0)):
        best = max(f1(threshold, label) for threshold in np.linspace(0, 1, 201))
        assert f1(found[label], label) == pytest.approx(best)


def test_a_rare_label_is_held_near_the_common_threshold():
    rng = np.random.default_rng(0)
    gold = np.column_stack([np.arange(200) < 100, np.arange(200) < 3])
    shares = np.column_stack([np.where(gold[:, 0], 0.8, 0.2), rng.random(200) * 0.1])
    alone, held = best_thresholds(gold, shares), best_thresholds(gold, shares, 1000.0)
    assert alone[1] < 0.1 < 0.2 < held[1] <= 0.8
    assert alone[0] == held[0]
