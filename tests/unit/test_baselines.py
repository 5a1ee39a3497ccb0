import copy
import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from reptune import TfidfClassifier
from reptune.estimator import load
from tests import tiny

NEW = ["the plot is very good", "dull", "an unseen word"]
THREE = (
    ["a red apple", "red wine", "green tea", "green leaf", "blue sky", "blue sea"],
    [*"rrggbb"],
)


@pytest.fixture
def fitted():
    return TfidfClassifier().fit(tiny.TEXTS, tiny.LABELS)


def test_it_is_scikit_learns_pipeline(fitted):
    plain = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10, max_iter=1000),
    ).fit(tiny.TEXTS, tiny.LABELS)
    assert np.allclose(fitted.predict_proba(NEW), plain.predict_proba(NEW), atol=1e-9)
    three = TfidfClassifier(ngrams=1, C=1.0).fit(*THREE)
    plain = make_pipeline(
        TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=1, max_iter=1000)
    ).fit(*THREE)
    assert np.allclose(three.predict_proba(["red sea"]), plain.predict_proba(["red sea"]))


def test_it_works_in_scikit_learns_tools(fitted):
    assert clone(fitted).get_params() == fitted.get_params() == TfidfClassifier().get_params()
    with pytest.raises(NotFittedError):
        clone(fitted).predict(NEW)
    scores = cross_val_score(TfidfClassifier(), tiny.TEXTS, tiny.LABELS, cv=4)
    assert len(scores) == 4 and np.isfinite(scores).all()
    search = GridSearchCV(TfidfClassifier(), {"C": [0.1, 10.0], "ngrams": [1, 2]}, cv=2)
    search.fit(tiny.TEXTS, tiny.LABELS)
    assert set(search.best_params_) == {"C", "ngrams"} and search.predict(NEW).shape == (3,)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_predict_the_same(fitted, again):
    fitted.calibrate([[0.6, 0.4], [0.3, 0.7], [0.4, 0.6]], ["negative", "positive", "negative"])
    assert (again(fitted).predict_proba(NEW) == fitted.predict_proba(NEW)).all()


@pytest.mark.parametrize(
    "labels",
    [tiny.LABELS, [3, -1] * 8, [True, False] * 8, ["1", "0"] * 8, ["a", "b", "ü", "d"] * 4],
    ids=["words", "integers", "booleans", "digits", "four"],
)
def test_a_saved_model_predicts_the_same(tmp_path, labels):
    classifier = TfidfClassifier(class_weight="balanced").fit(tiny.TEXTS, labels)
    folder = classifier.save(tmp_path / "model")
    for loaded in (TfidfClassifier.load(folder), load(folder)):
        assert (loaded.predict_proba(NEW) == classifier.predict_proba(NEW)).all()
        assert loaded.predict(NEW).tolist() == classifier.predict(NEW).tolist()
        assert loaded.predict(NEW).dtype == classifier.predict(NEW).dtype
        assert loaded.get_params() == classifier.get_params()
    again = load(load(folder).save(tmp_path / "again"))
    assert (again.predict_proba(NEW) == classifier.predict_proba(NEW)).all()


def test_a_new_fit_forgets(fitted):
    fitted.temperature_, fitted.card_ = 2.0, {"kind": "label"}
    fitted.fit(*THREE)
    assert (fitted.temperature_, fitted.card_, fitted.classes_.tolist()) == (1, None, [*"bgr"])


def test_a_fit_that_fails_changes_nothing(fitted):
    before = fitted.predict_proba(NEW)
    with pytest.raises(ValueError, match=r"hold no word of two letters or more.*FrozenClassifier"):
        fitted.fit(["!", "? ?"], ["a", "b"])
    assert (fitted.predict_proba(NEW) == before).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["a"], ["b"]], r"labels\[0\] is \['a'\], a list"),
        ([["a", "b"], []], r"labels\[0\] is \['a', 'b'\], a list"),
        (["a", "a"], "labels hold 1 class"),
        (["a", None], r"labels\[1\] is None"),
        (["a", 1], "labels mix strings and integers"),
        (["a"], "2 texts but 1 labels"),
    ],
)
def test_labels_that_it_does_not_take(labels, message):
    with pytest.raises(ValueError, match=message):
        TfidfClassifier().fit(["a film", "a movie"], labels)


@pytest.mark.parametrize(
    ("name", "value"),
    [("C", 0), ("C", float("nan")), ("C", "1"), ("ngrams", 0), ("ngrams", 1.5),
     ("max_features", 0), ("class_weight", "even"), ("random_state", "x")],
)  # fmt: skip
def test_parameters_that_it_does_not_take(name, value):
    with pytest.raises(ValueError, match=name):
        TfidfClassifier(**{name: value}).fit(tiny.TEXTS, tiny.LABELS)


def test_a_misspelled_parameter():
    with pytest.raises(TypeError, match="did you mean 'ngrams'"):
        TfidfClassifier(ngram=2)


def test_parameters_have_their_effect():
    assert len(TfidfClassifier(max_features=3).fit(*THREE).vectorizer_.vocabulary_) == 3
    assert (
        max(TfidfClassifier(ngrams=1).fit(*THREE).vectorizer_.vocabulary_, key=len).count(" ") == 0
    )
    texts, labels = [*tiny.TEXTS, *tiny.GOOD], [*tiny.LABELS, *["positive"] * 8]
    plain = TfidfClassifier().fit(texts, labels).predict_proba(["unseen"])[0]
    even = TfidfClassifier(class_weight="balanced").fit(texts, labels).predict_proba(["unseen"])[0]
    assert plain[1] - plain[0] > abs(even[1] - even[0])


# --- damage --------------------------------------------------------------------------------------


def _reseal(folder):
    """Write the manifest anew, as whoever changes a folder knowingly could."""
    from reptune.estimator import sealed
    from reptune.folders import MANIFEST, file_hashes

    manifest = json.loads((folder / MANIFEST).read_text())
    manifest = sealed({**manifest, "files": file_hashes(folder)})
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _array(name, change):
    def damage(folder):
        arrays = load_file(folder / "head.safetensors")
        save_file(arrays | {name: change(arrays[name])}, folder / "head.safetensors")

    return damage


def _words(change):
    def damage(folder):
        path = folder / "vocabulary.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


DAMAGES = {
    "no word": _words(lambda words: words[1:]),
    "a word twice": _words(lambda words: [words[1], *words[1:]]),
    "no list": _words(lambda words: {"a": 1}),
    "no weights": lambda folder: (folder / "head.safetensors").write_bytes(b"x" * 20),
    "no number": _array("coef", lambda array: np.full_like(array, np.nan)),
    "infinite": _array("idf", lambda array: np.full_like(array, np.inf)),
    "other shape": _array("coef", lambda array: array[:, 1:].copy()),
    "other classes": _array("intercept", lambda array: np.zeros(3)),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_refused(fitted, tmp_path, name):
    folder = fitted.save(tmp_path / "model")
    DAMAGES[name](folder)
    with pytest.raises(ValueError, match="SHA-256 of"):
        TfidfClassifier.load(folder)
    _reseal(folder)
    with pytest.raises(ValueError, match="damaged model"):
        TfidfClassifier.load(folder)


@pytest.mark.parametrize("name", ["vocabulary.json", "head.safetensors"])
def test_a_missing_file_is_named(fitted, tmp_path, name):
    folder = fitted.save(tmp_path / "model")
    (folder / name).unlink()
    with pytest.raises(ValueError, match=name):
        load(folder)
