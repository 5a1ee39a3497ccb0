"""Labels come back as they were given, and what is no label is refused before any training."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests import tiny

KINDS = {
    "strings": ("negative", "positive"),
    "integers": (-1, 7),
    "numpy integers": (np.int64(0), np.int32(1)),
    "NA": ("NA", "positive"),
    "None as a word": ("None", "nan"),
    "a zero in front": ("1", "01"),
    "numbers as strings": ("1", "10"),
    "spaces": ("a b", "a  b"),
    "unicode": ("Größe", "日本"),
    "booleans": (False, True),
}
classifiers = pytest.mark.only(lambda case: case.classifies)


def _fit(case, models, labels, **changes):
    """Fit with words for these labels where an estimator wants some."""
    if "words" in case.kind().get_params():
        plain = sorted({label.item() if isinstance(label, np.generic) else label
                        for label in labels}, key=str)  # fmt: skip
        changes["words"] = dict(zip(plain, ("bad", "good"), strict=True))
    return case.new(models, **changes).fit(tiny.TEXTS, labels)


@classifiers
@pytest.mark.parametrize("name", KINDS)
def test_labels_come_back_as_they_were(case, models, tmp_path, name):
    negative, positive = KINDS[name]
    labels = [positive if label == "positive" else negative for label in tiny.LABELS]
    estimator = _fit(case, models, labels)
    plain = {label.item() if isinstance(label, np.generic) else label for label in labels}
    assert set(estimator.classes_.tolist()) == plain
    assert {type(label) for label in estimator.classes_.tolist()} == set(map(type, plain))
    predicted = estimator.predict(tiny.TEXTS)
    assert set(predicted.tolist()) <= plain
    loaded = case.kind.load(estimator.save(tmp_path / "model"))
    assert loaded.classes_.tolist() == estimator.classes_.tolist()
    assert loaded.classes_.dtype == estimator.classes_.dtype
    assert loaded.predict(tiny.TEXTS).tolist() == predicted.tolist()


@classifiers
def test_labels_in_other_containers(case, models, fitted):
    for container in (
        np.array, pa.array, lambda labels: pd.Series(labels, dtype="category"), iter
    ):  # fmt: skip
        again = case.new(models).fit(tiny.TEXTS, container(tiny.LABELS))
        np.testing.assert_array_equal(case.output(again), case.output(fitted))


BAD = {
    "floats": ([0.5, 1.5], r"labels\[0\] is 0.5"),
    "whole floats": ([0.0, 1.0], r"labels\[0\] is 0.0"),
    "None": (["x", None], r"labels\[1\] is None"),
    "NaN": (["x", float("nan")], r"labels\[1\] is nan"),
    "NA": (["x", pd.NA], r"labels\[1\] is <NA>"),
    "a blank among integers": ([0, float("nan")], r"labels\[1\] is nan"),
    "mixed": (["x", 1], "mix"),
    "booleans and integers": ([True, 0], "mix"),
    "bytes": ([b"x", b"y"], r"labels\[0\] is b'x'"),
    "surrogate": (["x", "\ud800"], "surrogate"),
    "lists of lists": ([[["x"]], [["y"]]], "labels must be"),
    "two-dimensional": (np.array([["x"], ["y"]]), "labels"),
    "one class": (["x", "x"], "1 class"),
    "too few": (["x"], "2 texts but 1 labels"),
    "too many": (["x", "y", "z"], "2 texts but 3 labels"),
    "a string": ("xy", "single string"),
    "DataFrame": (pd.DataFrame({"label": ["x", "y"]}), "label"),
    "dict": ({"x": 1, "y": 2}, "labels"),
    "None at all": (None, "labels"),
    "a number": (3, "labels"),
    "none": ([], "2 texts but 0 labels"),
    "beyond 64 bits": ([2**70, 1], "64 bits"),
}


@classifiers
@pytest.mark.parametrize("name", BAD)
def test_what_is_no_label_is_refused_before_anything_is_loaded(case, models, no_model, name):
    labels, message = BAD[name]
    with pytest.raises(ValueError, match=message) as caught:
        case.new(models).fit(["a film", "a movie"], labels)
    assert len(str(caught.value)) < 500


@classifiers
@pytest.mark.parametrize("name", ["floats", "None", "mixed", "too few", "DataFrame"])
def test_labels_of_validation_are_checked_the_same_way(case, models, no_model, name):
    if case.name in ("in context", "frozen", "static"):
        return
    labels, _ = BAD[name]
    with pytest.raises(ValueError, match="label"):
        case.new(models).fit(tiny.TEXTS, tiny.LABELS, validation=(["a film", "a movie"], labels))
    with pytest.raises(ValueError, match=r"validation has labels .*\['new'\]"):
        case.new(models).fit(tiny.TEXTS, tiny.LABELS, validation=(["a film"], ["new"]))


@pytest.mark.only(lambda case: case.tags_words)
@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([["O", "B-X"]], "2 sentences but 1"),
        ([["O"], ["O"]], "2 words but 1 tags"),
        ([["O", "O"], ["O", "O"]], "no entity"),
        ([["O", "X"], ["O", "O"]], r"tags\[0\]\[1\] is 'X'"),
        ([["O", None], ["O", "O"]], r"tags\[0\]\[1\] is None"),
        ([["O", "I-X"], ["O", "O"]], "I-X"),
        ([["O", "B-X"], None], r"tags\[1\]"),
        ([["O", "B-X"], "OO"], r"tags\[1\]"),
        ([["O", "B-\ud800"], ["O", "O"]], "surrogate|Unicode"),
        ("OO", "single string"),
        (None, "tags"),
        ({"a": 1, "b": 2}, "tags"),
        (pd.DataFrame({"tags": [1, 2]}), "tags"),
    ],
)
def test_what_are_no_tags(case, models, no_model, tags, message):
    with pytest.raises(ValueError, match=message):
        case.new(models).fit([["a", "film"], ["a", "plot"]], tags)


@pytest.mark.only(lambda case: case.regresses)
@pytest.mark.parametrize(
    "targets",
    [
        ["0.5", 0.1], [None, 0.1], [float("nan"), 0.1], [float("inf"), 0.1], [-0.1, 0.5], [2, 0.5],
        [True, 0.1], [0.1], [], "01", [[0.1], [0.2]], np.array([[0.1], [0.2]]), None,
        pd.DataFrame({"a": [0.1, 0.2]}), {0.1: 1, 0.2: 2},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_target(case, models, no_model, targets):
    with pytest.raises(ValueError, match="target"):
        case.new(models).fit(["a film", "a movie"], targets)


@pytest.mark.only(lambda case: case.regresses)
def test_targets_in_other_containers(case, models, fitted):
    for container in (np.array, tuple, pd.Series, pa.array, iter):
        again = case.new(models).fit(case.inputs, container(case.targets))
        np.testing.assert_array_equal(case.output(again), case.output(fitted))


@classifiers
def test_texts_in_the_place_of_labels_are_suspected(case, models, no_model):
    texts = [f"{text} {number}" for number, text in enumerate(tiny.TEXTS * 2)]
    labels = tiny.LABELS * 2
    with pytest.warns(UserWarning, match=r"swapped|fit\(texts, labels\)"), pytest.raises(
        (AssertionError, ValueError)  # it goes on, so far as it can
    ):  # fmt: skip
        case.new(models, **_no_words(case)).fit(labels, texts)


def _no_words(case):
    return {"words": None} if "words" in case.kind().get_params() else {}
