"""Classifiers from the labels' names: templates, and scores centered by unlabeled texts."""

import numpy as np
import pytest

from reptune.fewshot import FrozenClassifier, LinearHead, centered
from reptune.fewshot.frozen import NAMES_SCALE
from tests import tiny

NAMES = ["good", "bad"]


def test_centered_scores_have_the_same_mean_for_every_label():
    phrases = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    head = LinearHead(np.array(["a", "b", "c"]), phrases, np.zeros(3)).as_logistic_regression()
    texts = np.array([[1.0, 0.0], [0.8, 0.6]])
    # Of the mean text (0.9, 0.3) the scores are 0.9, 0.3 and 0.54 + 0.24.
    np.testing.assert_allclose(centered(head, texts).intercept_, [-0.9, -0.3, -0.78])
    assert head.intercept_.tolist() == [0, 0, 0], "left as it is"
    assert head.predict(texts).tolist() == ["a", "c"]
    # Centered: (0.1, -0.3, -0.18) and (-0.1, 0.3, 0.18).
    assert centered(head, texts).predict(texts).tolist() == ["a", "b"]


def test_two_labels_are_told_apart_by_the_difference_of_their_scores():
    phrases = np.array([[1.0, 0.0], [0.0, 1.0]])
    head = LinearHead(np.array(["a", "b"]), phrases, np.zeros(2)).as_logistic_regression()
    texts = np.array([[0.1, 0.5], [0.2, 0.9]])
    assert head.predict(texts).tolist() == ["b", "b"]
    np.testing.assert_allclose(centered(head, texts).intercept_, [-(0.7 - 0.15)])
    assert centered(head, texts).predict(texts).tolist() == ["a", "b"]


def test_a_template_stands_for_phrases_that_are_written_out(tiny_encoder):
    template = "the film is {} ."
    short = FrozenClassifier(tiny_encoder).fit_label_names(NAMES, template=template)
    written = FrozenClassifier(tiny_encoder).fit_label_names(
        NAMES, ["the film is good .", "the film is bad ."]
    )
    np.testing.assert_array_equal(
        short.predict_proba(tiny.TEXTS), written.predict_proba(tiny.TEXTS)
    )


def test_unlabeled_texts_center_the_scores(tiny_encoder, tmp_path):
    plain = FrozenClassifier(tiny_encoder).fit_label_names(NAMES)
    made = FrozenClassifier(tiny_encoder).fit_label_names(NAMES, unlabeled=tiny.TEXTS)
    vectors, phrases = plain.embed(tiny.TEXTS), plain.embed(sorted(NAMES))
    scores = NAMES_SCALE * (vectors - vectors.mean(axis=0)) @ phrases.T
    lead = made.head_.decision_function(vectors)
    np.testing.assert_allclose(lead, scores[:, 1] - scores[:, 0], atol=1e-4)
    again = FrozenClassifier.load(made.save(tmp_path / "m"))
    np.testing.assert_allclose(again.logits(tiny.TEXTS), made.logits(tiny.TEXTS), atol=1e-5)


@pytest.mark.parametrize("template", ["about", "{} and {}", "", None, 3])
def test_a_template_without_one_place_for_the_label_is_named(template):
    with pytest.raises(ValueError, match="template="):
        FrozenClassifier("no model is loaded").fit_label_names(NAMES, template=template)


@pytest.mark.parametrize("texts", [[], [3], "one text"])
def test_unlabeled_texts_that_are_none_are_named(texts):
    with pytest.raises(ValueError, match="unlabeled"):
        FrozenClassifier("no model is loaded").fit_label_names(NAMES, unlabeled=texts)
