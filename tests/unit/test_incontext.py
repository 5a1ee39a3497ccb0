import contextlib
import copy
import functools
import itertools
import json
import pickle
import random
import re
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from sklearn.exceptions import NotFittedError

from reptune import incontext, runtime
from reptune.incontext import (
    CONTENT_FREE,
    FAST_OPTIONS,
    InContextClassifier,
    build_prompt,
    calibrated,
    check_template,
    parse_answer,
)
from reptune.models import neighbors
from reptune.models.causal import CausalLM, load_causal_lm
from reptune.models.templates import Template
from reptune.training import fast_options
from tests.soak_cases import prompting
from tests.soak_cases.estimators import reseal
from tests.tiny import LABELS, TEXTS

NEW = ["the plot is very good", "dull", "a nice film but a very awful actor", "not bad"]
EXACT = ("shared_prefix",)
options = functools.partial(fast_options, known=FAST_OPTIONS)


@pytest.fixture(scope="module")
def make(tiny_causal_lm):
    def make(**changes):
        # No prompt of these tests is cut unless a test asks for it: 4 examples are 54 tokens.
        knobs = {"model": tiny_causal_lm, "per_class": 2, "fast": EXACT, "random_state": 0}
        return InContextClassifier(**(knobs | changes))

    return make


@pytest.fixture(scope="module")
def fitted(make):
    return make().fit(TEXTS, LABELS)


@pytest.fixture(scope="module")
def lm(tiny_causal_lm):
    return load_causal_lm(tiny_causal_lm)


@pytest.fixture
def unloadable(monkeypatch):
    """No model may be loaded."""

    def refuse(source, device):
        raise AssertionError("the model was loaded before the input was checked")

    monkeypatch.setattr(incontext, "_shared_lm", refuse)


class Shared:
    """In place of `Neighbors`: the nearest is the text with the most words in common."""

    def __init__(self, texts):
        self.texts = list(texts)

    def order(self, queries):
        common = [[len(set(q.split()) & set(t.split())) for t in self.texts] for q in queries]
        return np.argsort(-np.array(common), axis=1, kind="stable")


@pytest.fixture
def nearest(monkeypatch):
    monkeypatch.setattr(incontext, "Neighbors", Shared)


def _plain_scores(lm, prompts, words):
    """Mean log-probability per token, every prompt with every word read whole."""
    found = np.zeros((len(prompts), len(words)))
    for row, prompt in enumerate(prompts):
        for column, word in enumerate(words):
            before = lm.tokenizer(prompt)["input_ids"]
            after = lm.tokenizer(f" {word}")["input_ids"]
            with torch.no_grad():
                logits = lm.model(torch.tensor([before + after])).logits[0]
            chances = logits.log_softmax(dim=-1)[len(before) - 1 : -1]
            found[row, column] = chances[torch.arange(len(after)), after].mean().item()
    return found


# --- prompts -------------------------------------------------------------------------------------


def test_the_parts_of_a_prompt():
    assert build_prompt("dull .") == "Review: dull .\nSentiment:"
    assert build_prompt("dull .", [("fun .", "positive"), ("sad", "negative")]) == (
        "Review: fun .\nSentiment: positive\n\n"
        "Review: sad\nSentiment: negative\n\n"
        "Review: dull .\nSentiment:"
    )
    assert build_prompt(
        "x", [("y", "B")], description="Say A or B.", template="{text} ->", separator="\n###\n"
    ) == ("Say A or B.\n###\ny -> B\n###\nx ->")
    assert build_prompt("x", description="Task.", template="[{text}] is") == "Task.\n\n[x] is"
    assert build_prompt("") == "Review: \nSentiment:"


def test_braces_and_backslashes_are_text():
    shown = build_prompt("{a} {text} {}", [(r"{text} \1 {0}", "{text}")])
    assert shown == (
        "Review: {text} \\1 {0}\nSentiment: {text}\n\nReview: {a} {text} {}\nSentiment:"
    )
    assert build_prompt("x", template="{{text}} {label}:") == "{x} {label}:"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Review:", "write {text} once"),
        ("{text} {text}:", "write {text} once"),
        ("{ text }:", "write {text} once"),
        (None, "template=None"),
        ("", "template=''"),
        ("{text}\nSentiment: ", "ends in white space"),
        ("{text}\nSentiment:\n", "ends in white space"),
        ("Classify {text} ", "ends in white space"),
        ("{text}\n{mask}", "ends in white space"),
        ("{mask} news : {text}", "end it with {mask}"),
        ("{text} or {text2} ? {mask}", "leave {text2} out"),
        ("{text} {mask} {mask}", "holds {mask} 2 times"),
        ("{text} {label} {mask}", "unknown slot {label}"),
    ],
)
def test_bad_templates(make, unloadable, template, message):
    calls = (
        lambda: check_template(template),
        lambda: build_prompt("x", template=template),
        lambda: make(template=template).fit(TEXTS, LABELS),
    )
    for call in calls:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": None}, "text=None, a NoneType; pass a string"),
        ({"text": "a\ud800"}, "text is not valid Unicode: a lone surrogate"),
        ({"description": None}, "description=None"),
        ({"separator": 5}, "separator=5, a int"),
        ({"template": "\ud800{text}:"}, "template is not valid Unicode"),
        ({"examples": None}, "examples=None; pass pairs"),
        ({"examples": "ab"}, "examples='ab'; pass pairs"),
        ({"examples": [("a", "b"), "ab"]}, "examples[1] is 'ab'; pass a pair"),
        ({"examples": [("a", None)]}, "examples[0]'s answer=None"),
        ({"examples": [(5, "b")]}, "examples[0]'s text=5"),
        ({"examples": [("\udfff", "b")]}, "examples[0]'s text is not valid Unicode"),
    ],
)
def test_prompts_of_odd_parts(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build_prompt(**({"text": "x"} | given))


def test_a_template_may_end_in_the_text(make):
    check_template("Classify {text}")
    shown = build_prompt("dull", [("fun", "positive")], template="Classify {text}")
    assert shown == "Classify fun positive\n\nClassify dull"
    classifier = make(template="Classify {text}", per_class=0).fit(TEXTS, LABELS)
    assert classifier.prompt("dull") == "Classify dull"
    assert classifier.predict_proba(["dull"]).shape == (1, 2)


def test_a_template_of_chapter_6_is_one_of_chapter_5(make, tmp_path):
    """The slot for the answer may be written down; braces are then doubled, as in `Template`."""
    short, long = "Review: {text}\nSentiment:", "Review: {text}\nSentiment: {mask}"
    examples = [("fun .", "positive"), ("{mask}", "negative")]
    assert build_prompt("dull {", examples, template=long) == (
        build_prompt("dull {", examples, template=short)
    )
    assert build_prompt("x", template="{{{text}}}: {mask}") == "{x}:"
    shown = Template(long).render("fun .", word="positive")
    assert build_prompt("x", [("fun .", "positive")], template=long).startswith(shown)
    one, other = (make(template=each).fit(TEXTS, LABELS) for each in (short, long))
    assert one.predict_proba(TEXTS).tolist() == other.predict_proba(TEXTS).tolist()
    again = InContextClassifier.load(other.save(tmp_path / "saved"))
    assert again.template == long
    assert again.prompt("dull") == one.prompt("dull")


# --- answers -------------------------------------------------------------------------------------

TWO = ("negative", "positive")
HATE = ("hate speech", "not hate speech")


@pytest.mark.parametrize(
    ("answer", "words", "expected"),
    [
        ("positive", TWO, "positive"),
        (" Positive.\n", TWO, "positive"),
        ("**POSITIVE**", TWO, "positive"),
        ('"negative"!', TWO, "negative"),
        ("(negative)", TWO, "negative"),
        ("positive, because it is not negative", TWO, "positive"),
        ("I would say it is positive", TWO, "positive"),
        ("It is positive, very positive", TWO, "positive"),
        ("It could be positive or negative", TWO, None),
        ("good", TWO, None),
        ("", TWO, None),
        ("  ...  ", TWO, None),
        ("positively great", TWO, None),  # no whole word
        ("unnegative", TWO, None),
        ("nonpositive but negative", TWO, "negative"),
        ("hate speech", HATE, "hate speech"),
        ("not hate speech", HATE, "not hate speech"),
        ("This is not hate speech.", HATE, "not hate speech"),
        ("This is hate speech.", HATE, "hate speech"),
        ("This is not hate speech, that is hate speech", HATE, None),
        ("Not hate speech, though close to hate speech", HATE, "not hate speech"),
        ("not", ("not", "not hate"), "not"),
        ("not hate", ("not", "not hate"), "not hate"),
        ("STRASSE", ("straße", "weg"), "straße"),
        ("the b.c", ("a.c", "b.c"), "b.c"),
        ("abc", ("a.c", "b.c"), None),  # a word is no pattern
        ("written in C++ .", ("C++", "Java"), "C++"),
        ("positive", (" Positive ", "negative"), " Positive "),  # comes back as given
        ("1", ("0", "1"), "1"),
        ("10", ("0", "1"), None),
    ],
)
def test_answers(answer, words, expected):
    assert parse_answer(answer, words) == expected
    assert parse_answer(answer, list(reversed(words))) == expected


@pytest.mark.parametrize("answer", ["- positive, not negative", "`positive`, not negative"])
def test_any_punctuation_around_an_answer_is_left_out(answer):
    assert parse_answer(answer, TWO) == "positive"


@pytest.mark.parametrize("words", [("(a)", "(b)"), ("yes!", "no!"), ("+", "-")])
def test_words_with_punctuation_at_their_ends(words):
    for word in words:
        assert parse_answer(word, words) == parse_answer(f" {word}\n", iter(words)) == word


@pytest.mark.parametrize("words", [("1", "-1"), ("C", "C++", "C#"), ("good", "!good")])
def test_words_that_only_punctuation_tells_apart(words):
    for order in (words, words[::-1]):
        for word in words:
            assert parse_answer(word, order) == word
            assert parse_answer(f"it is {word} .", iter(order)) == word


@pytest.mark.parametrize("middle", ["!", " ", "a ", "a-", "a", "\n"])
def test_long_answers_take_no_longer_than_their_length(middle):
    start = time.process_time()
    for answer in (
        f"a{middle * 64_000}b",
        f"{middle * 64_000}positive",
        f"positive{middle * 64_000}",
    ):
        parse_answer(answer, TWO)
    assert time.process_time() - start < 2, "it was 30 s when the time grew with the square"


def test_a_word_in_long_punctuation_is_found():
    marks = "!?" * 10_000
    assert parse_answer(f"{marks}positive{marks}", TWO) == "positive"
    assert parse_answer(f"well{marks}positive{marks}", TWO) == "positive"


def test_mentions_that_overlap_do_not_hang_on_the_order_of_the_words():
    for words in (("a b", "b a"), ("b a", "a b")):
        assert parse_answer("x a b a", words) is None


@pytest.mark.parametrize(
    ("answer", "words", "message"),
    [
        (None, TWO, "answer=None"),
        (3, TWO, "answer=3"),
        (b"positive", TWO, "answer=b'positive'"),
        ("x", "positive", "words='positive'; pass a list"),
        ("x", None, "words=None"),
        ("x", 5, "words=5"),
        ("x", ["positive", None], "holds None"),
        ("x", ["positive", " "], "holds ' '"),
        ("x", ["positive", 5], "holds 5"),
        ("x", ["Yes", "yes "], "differ in nothing but case and white space"),
    ],
)
def test_answers_and_words_that_are_none(answer, words, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_answer(answer, words)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_any_answer_is_a_word_or_none_or_a_value_error(seed):
    for label, call in prompting.answer_cases(random.Random(seed), 5):
        with contextlib.suppress(ValueError):
            prompting.labeled(label, call)


# --- calibration ---------------------------------------------------------------------------------


def test_calibrated_by_hand():
    scores = np.log([[0.6, 0.4], [0.9, 0.1]])
    # The model says "first" to nothing with 0.7 and 0.8, on average 0.75.
    reference = np.log([[0.7, 0.3], [0.8, 0.2]])
    expected = [[0.6 / 0.75, 0.4 / 0.25], [0.9 / 0.75, 0.1 / 0.25]]
    expected /= np.sum(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(calibrated(scores, reference), expected, rtol=1e-12)
    assert calibrated(scores, reference).argmax(axis=1).tolist() == [1, 0]


def test_the_mean_over_references_is_of_probabilities():
    reference = np.log([[0.99, 0.01], [0.5, 0.5]])  # 0.745, though mean logarithms give 0.909
    found = calibrated(np.log([[0.5, 0.5]]), reference)
    np.testing.assert_allclose(found, [[0.255, 0.745]], rtol=1e-12)


SCORES = arrays(float, (3, 4), elements=st.floats(-30, 0))
REFERENCES = arrays(float, (2, 4), elements=st.floats(-30, 0))


@given(SCORES, REFERENCES)
def test_calibrated_rows_sum_to_one(scores, reference):
    found = calibrated(scores, reference)
    assert found.shape == (3, 4) and (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-9)


@given(SCORES, st.floats(-30, 0))
def test_a_uniform_reference_changes_nothing(scores, level):
    found = calibrated(scores, np.full((2, 4), level))
    np.testing.assert_allclose(found, softmax(scores, axis=1), atol=1e-9)


@given(SCORES, REFERENCES, st.floats(-20, 20), st.floats(-20, 20))
def test_only_differences_between_labels_count(scores, reference, one, other):
    moved = calibrated(scores + one, reference + other)
    np.testing.assert_allclose(moved, calibrated(scores, reference), rtol=1e-6, atol=1e-12)


@given(REFERENCES)
def test_what_the_model_says_anyway_says_nothing(reference):
    found = calibrated(reference[:1], reference[:1])
    np.testing.assert_allclose(found, np.full((1, 4), 0.25), atol=1e-9)


def test_a_label_that_the_references_all_but_rule_out_stays_finite():
    reference = np.array([[0.0, -2000.0], [0.0, -2000.0]])
    assert softmax(reference, axis=1)[0, 1] == 0, "the probability is no number above 0"
    # Less 0 and -2000: what is left of the scores is a difference of 0, then of log 3.
    scores = np.array([[0.0, -2000.0], [0.0, -2000.0 + np.log(3)]])
    found = calibrated(scores, reference)
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.25, 0.75]], rtol=1e-9)


def test_calibrated_takes_one_row_and_refuses_other_shapes():
    np.testing.assert_allclose(calibrated(np.log([0.9, 0.1]), np.log([0.9, 0.1])), [[0.5, 0.5]])
    for reference in (np.zeros((2, 3)), np.zeros((0, 2)), np.zeros(3)):
        with pytest.raises(ValueError, match=r"scores have shape \(1, 2\) and reference"):
            calibrated(np.zeros((1, 2)), reference)


# --- what the classifier computes ----------------------------------------------------------------


def test_scores_are_those_of_the_prompts_it_shows(make, lm):
    classifier = make(description="Good or bad?").fit(TEXTS, LABELS)
    prompts = [classifier.prompt(text) for text in NEW]
    shown = [(text, label) for text, label in classifier.examples_]
    assert len(shown) == 4
    assert prompts[1] == build_prompt("dull", shown, description="Good or bad?")
    expected = _plain_scores(lm, prompts, ["negative", "positive"])
    np.testing.assert_allclose(classifier.logits(NEW), expected, atol=1e-5)


@pytest.mark.parametrize("calibrate", ["contextual", "batch", None])
def test_probabilities_are_calibrated_by_the_answers_in_the_same_context(make, lm, calibrate):
    classifier = make(calibrate=calibrate, per_class=1).fit(TEXTS, LABELS)
    words = ["negative", "positive"]
    scores = _plain_scores(lm, [classifier.prompt(text) for text in NEW], words)
    shown = {text for text, _ in classifier.examples_}
    references = {
        "contextual": CONTENT_FREE,
        "batch": [text for text in TEXTS if text not in shown],
        None: [],
    }[calibrate]
    expected = softmax(scores, axis=1)
    if references:
        anyway = _plain_scores(lm, [classifier.prompt(text) for text in references], words)
        expected = expected / softmax(anyway, axis=1).mean(axis=0)
        expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_proba(NEW), expected, atol=1e-5)
    assert list(classifier.reference_) == list(references)


def test_batch_calibration_with_texts_without_labels(make):
    classifier = make(calibrate="batch")
    unlabeled = [f"{word} film" for word in ("good", "bad", "the")]
    given_texts = classifier.fit(TEXTS, LABELS, unlabeled=iter(unlabeled))
    assert given_texts.reference_ == unlabeled
    with_them = given_texts.predict_proba(NEW)
    assert np.abs(make(calibrate="batch").fit(TEXTS, LABELS).predict_proba(NEW) - with_them).max()
    # Over the reference texts themselves, no label is favored: the mean of p / mean p is 1.
    raw = softmax(classifier.logits(unlabeled), axis=1)
    np.testing.assert_allclose((raw / raw.mean(axis=0)).mean(axis=0), 1)
    many = make(calibrate="batch").fit(TEXTS, LABELS, unlabeled=["film"] * 300)
    assert len(many.reference_) == incontext.MOST_UNLABELED == 200


def test_batch_calibration_without_a_text_left(make, unloadable):
    with pytest.raises(ValueError, match=r"no text left to look at.*pass unlabeled="):
        make(calibrate="batch", per_class=8).fit(TEXTS, LABELS)
    for unlabeled, message in (
        ([], "unlabeled: there are none"),
        ("film", "unlabeled is a single string"),
        (["film", None], r"unlabeled\[1\] is None"),
    ):
        with pytest.raises(ValueError, match=message):
            make(calibrate="batch").fit(TEXTS, LABELS, unlabeled=unlabeled)


@pytest.mark.filterwarnings("ignore:.*longer than")
@pytest.mark.parametrize("text", ["good " * 200, "good " * 100])
def test_a_long_unlabeled_text_is_cut_as_any_other(make, text):
    classifier = make(calibrate="batch").fit(TEXTS, LABELS, unlabeled=["bad film", text])
    assert classifier.predict_proba(["dull"]).shape == (1, 2)


@pytest.mark.filterwarnings("ignore:.*longer than")
def test_an_input_that_just_fits_has_room_for_the_references(make, lm):
    plain = make().fit(TEXTS, LABELS).prompt("dull")
    # The description fills the window up, so that "dull" fits with its examples, "[MASK]" not.
    free = lm.limit - 1 - len(lm.encode(f"\n\n{plain}"))
    classifier = make(description=" good" * free).fit(TEXTS, LABELS)
    assert len(lm.encode(classifier.prompt("dull"))) == lm.limit - 1
    assert classifier.predict_proba(["dull"]).shape == (1, 2)


def test_words_that_share_a_first_token_do_not_tie(make, lm):
    words = {"negative": "not good film", "positive": "not good plot"}
    first = {lm.encode(f" {word}", special=False)[0] for word in words.values()}
    assert len(first) == 1
    classifier = make(words=words).fit(TEXTS, LABELS)
    scores = classifier.logits(NEW)
    assert (np.abs(scores[:, 0] - scores[:, 1]) > 1e-3).all()
    prompts = [classifier.prompt(text) for text in NEW]
    np.testing.assert_allclose(scores, _plain_scores(lm, prompts, list(words.values())), atol=1e-5)


def test_a_long_word_does_not_lose_for_its_length(make, lm):
    words = {"negative": "bad bad plot", "positive": "good"}
    classifier = make(words=words, per_class=0).fit(TEXTS, LABELS)
    totals = lm.continuation_scores([classifier.prompt(text) for text in NEW], [" bad bad plot"])
    np.testing.assert_allclose(classifier.logits(NEW)[:, :1], totals / 3, atol=1e-5)


@pytest.mark.parametrize("calibrate", ["contextual", "batch", None])
def test_fast_options_keep_the_numbers(make, monkeypatch, calibrate):
    half = {"bf16": True, "fp16": False, "use_cpu": True}
    monkeypatch.setattr(runtime, "precision", lambda: half)
    words = {"negative": "bad bad plot", "positive": "good"}

    def probabilities(fast):
        classifier = make(words=words, calibrate=calibrate, fast=fast).fit(TEXTS, LABELS)
        return classifier.predict_proba(NEW)

    plain = probabilities(False)
    np.testing.assert_array_equal(probabilities(()), plain)
    np.testing.assert_allclose(probabilities(EXACT), plain, atol=1e-4)
    np.testing.assert_array_equal(probabilities(FAST_OPTIONS), probabilities(True))
    # A random model's logits are larger than a real one's, and so is their rounding.
    assert 1e-4 < np.abs(probabilities(True) - plain).max() < 0.1


def test_fast_options_by_name(make):
    assert options(True) == {"shared_prefix", "half_precision"}
    assert options(False) == options(()) == frozenset()
    assert options(["half_precision"]) == {"half_precision"}
    with pytest.raises(ValueError, match=r"use True, False, or some of shared_prefix, half_prec"):
        make(fast="shared_prefix").fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="unknown option 'cheap_dropout'"):  # of other estimators
        make(fast=("shared_prefix", "cheap_dropout")).fit(TEXTS, LABELS)


@pytest.mark.parametrize(("batch_size", "most"), [(1, 1), (3, 3), (np.int64(100), 7)])
def test_so_many_prompts_are_scored_together(make, fitted, monkeypatch, batch_size, most):
    passes = []
    score = CausalLM._score

    def counted(self, texts, *rest):
        passes.append(len(texts))
        return score(self, texts, *rest)

    monkeypatch.setattr(CausalLM, "_score", counted)
    classifier = make(prediction_batch_size=batch_size).fit(TEXTS, LABELS)
    probabilities = classifier.predict_proba(NEW)
    assert sum(passes) == len(NEW) + len(CONTENT_FREE) == 7 and max(passes) == most
    np.testing.assert_allclose(probabilities, fitted.predict_proba(NEW), atol=1e-5)


@pytest.mark.parametrize("selection", ["random", "nearest"])
def test_progress_counts_every_prompt(make, nearest, capsys, monkeypatch, selection):
    classifier = make(selection=selection, per_class=1, show_progress=True).fit(TEXTS, LABELS)
    capsys.readouterr()
    probabilities = classifier.predict_proba(NEW)
    shown = capsys.readouterr().err
    contexts = 1 if selection == "random" else len(NEW)
    assert f"/{len(NEW) + len(CONTENT_FREE) * contexts} " in shown and "scoring" in shown
    capsys.readouterr()
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # a plugin of pytest loads it
    quiet = make(selection=selection, per_class=1).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(quiet.predict_proba(NEW), probabilities)
    assert capsys.readouterr().err == "", "no terminal is there to see it"


# --- where the model runs ------------------------------------------------------------------------


def test_each_device_has_its_own_model(make, monkeypatch):
    loaded = []

    def load(source, device):
        loaded.append(device)
        return load_causal_lm(source, "cpu")

    incontext._shared_lm.cache_clear()
    monkeypatch.setattr(incontext, "load_causal_lm", load)
    here = str(runtime.device())
    one, other = (make().fit(TEXTS, LABELS) for _ in range(2))
    assert loaded == [here] and one.lm_ is other.lm_
    monkeypatch.setattr(runtime, "check_device", lambda device: torch.device(device or "cpu"))
    elsewhere = make(device="meta").fit(TEXTS, LABELS)
    assert loaded == [here, "meta"] and elsewhere.lm_ is not one.lm_
    incontext._shared_lm.cache_clear()


def test_the_device_is_not_saved(make, tmp_path):
    classifier = make(device="cpu").fit(TEXTS, LABELS)
    assert classifier.lm_.model.device.type == "cpu"
    assert InContextClassifier.load(classifier.save(tmp_path / "model")).device is None


# --- which examples ------------------------------------------------------------------------------


def test_given_takes_the_first_of_each_label_in_their_order(make):
    texts = ["a", "b", "c", "d", "e", "f"]
    labels = ["x", "x", "x", "y", "x", "y"]
    classifier = make(selection="given", per_class=2).fit(texts, labels)
    assert classifier.examples_ == [("a", "x"), ("b", "x"), ("d", "y"), ("f", "y")]
    assert classifier.prompt("g") == (
        "Review: a\nSentiment: x\n\nReview: b\nSentiment: x\n\n"
        "Review: d\nSentiment: y\n\nReview: f\nSentiment: y\n\nReview: g\nSentiment:"
    )


def test_random_draws_as_many_of_each_label_in_random_order(make):
    drawn = [make(random_state=seed).fit(TEXTS, LABELS).examples_ for seed in range(8)]
    known = set(zip(TEXTS, LABELS, strict=True))
    for examples in drawn:
        assert len(set(examples)) == 4 and set(examples) <= known
        assert sorted(label for _, label in examples) == ["negative"] * 2 + ["positive"] * 2
    assert len({tuple(examples) for examples in drawn}) == 8
    assert len({tuple(label for _, label in examples) for examples in drawn}) > 1, "mixed order"


def test_nearest_takes_those_of_each_label_the_nearest_last(make, nearest):
    texts = ["good film", "good plot", "dull film", "dull plot", "good actor"]
    labels = ["p", "p", "n", "n", "p"]
    classifier = make(selection="nearest", per_class=1).fit(texts, labels)
    assert classifier.examples_ == list(zip(texts, labels, strict=True))
    end = "Review: {}\nSentiment:"
    assert classifier.prompt("a dull plot") == (
        "Review: good plot\nSentiment: p\n\nReview: dull plot\nSentiment: n\n\n"
        + end.format("a dull plot")
    )
    assert classifier.prompt("good film !") == (
        "Review: dull film\nSentiment: n\n\nReview: good film\nSentiment: p\n\n"
        + end.format("good film !")
    )
    # Each input is calibrated in the context of its own examples, whatever stands beside it.
    together = classifier.predict_proba(["a dull plot", "good film !", "a dull plot ."])
    alone = [classifier.predict_proba([t]) for t in ("a dull plot", "good film !", "a dull plot .")]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)


def test_fewer_examples_than_asked_for(make):
    texts, labels = [*TEXTS[:4], "a film"], [*LABELS[:4], "neutral"]
    examples = make(per_class=3).fit(texts, labels).examples_
    assert sorted(examples) == sorted(zip(texts, labels, strict=True))


def test_no_example_at_all(make):
    classifier = make(per_class=0, description="Task.").fit(TEXTS, LABELS)
    assert classifier.examples_ == []
    assert classifier.prompt("x") == "Task.\n\nReview: x\nSentiment:"
    assert classifier.predict_proba(NEW).shape == (4, 2)


@pytest.mark.parametrize("selection", ["random", "given", "nearest"])
def test_the_order_of_texts_is_kept(make, nearest, selection):
    classifier = make(selection=selection, per_class=1).fit(TEXTS, LABELS)
    one_by_one = np.concatenate([classifier.predict_proba([text]) for text in NEW])
    np.testing.assert_allclose(classifier.predict_proba(NEW), one_by_one, atol=1e-5)


def test_same_seed_same_bits(make):
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    one, other = (make().fit(TEXTS, LABELS) for _ in range(2))
    assert one.examples_ == other.examples_
    np.testing.assert_array_equal(one.predict_proba(NEW), other.predict_proba(NEW))
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1] == np.random.get_state()[1].tolist()
    free = [tuple(make(random_state=None).fit(TEXTS, LABELS).examples_) for _ in range(4)]
    assert len(set(free)) > 1


# --- prompts that are too long -------------------------------------------------------------------


def _longest_in(classifier, lm, count):
    """Tokens of a prompt for "dull" with the last `count` examples, with room for an answer."""
    shown = classifier.examples_[len(classifier.examples_) - count :]
    return len(lm.encode(build_prompt("dull", shown))) + 1


def test_a_prompt_that_just_fits_stays_whole(make, lm):
    classifier = make(calibrate=None).fit(TEXTS, LABELS)
    whole = classifier.prompt("dull")
    classifier.set_params(max_length=_longest_in(classifier, lm, 4)).fit(TEXTS, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert classifier.prompt("dull") == whole
        classifier.predict(["dull"])


@pytest.mark.parametrize("left", [3, 2, 1, 0])
def test_the_first_examples_go_first(make, lm, left):
    classifier = make(calibrate=None).fit(TEXTS, LABELS)
    shown = classifier.examples_[4 - left :]
    most = _longest_in(classifier, lm, left) + (left == 0)  # some room for an input is asked for
    classifier.set_params(max_length=most).fit(TEXTS, LABELS)
    lost = (
        f"prompts were longer than {most} tokens: they lost up to {4 - left} examples, and 0 inputs"
    )
    with pytest.warns(UserWarning, match=f"1 of 1 {lost}") as caught:
        assert classifier.prompt("dull") == build_prompt("dull", shown)
    assert len(caught) == 1
    calls = (classifier.predict, classifier.predict_proba, classifier.logits)
    for call in (*calls, lambda texts: classifier.score(texts, ["positive", "negative"])):
        with pytest.warns(UserWarning, match=f"2 of 2 {lost}") as caught:
            call(["dull", "bad"])
        assert [warning.filename for warning in caught] == [__file__], "it names the caller's line"


def test_then_the_end_of_the_input_goes(make, lm):
    bare = len(lm.encode(build_prompt("")))
    classifier = make(calibrate=None, max_length=bare + 6).fit(TEXTS, LABELS)
    with pytest.warns(UserWarning, match="lost up to 4 examples, and 1 inputs were cut") as caught:
        probabilities = classifier.predict_proba(["dull", "good film " * 30])
    assert "2 of 2 prompts" in str(caught[0].message) and probabilities.shape == (2, 2)
    with pytest.warns(UserWarning, match="1 inputs were cut"):
        prompt = classifier.prompt("good film " * 30)
    assert re.fullmatch(r"Review: good film (good |film )*\w* ?\nSentiment:", prompt)
    assert len(lm.encode(prompt)) + 1 <= bare + 6
    assert len(lm.encode(prompt)) + 1 >= bare + 5, "as much of the input as fits"


def test_only_prompts_that_are_longer_lose_something(make):
    classifier = make(calibrate=None).fit(TEXTS, LABELS)
    long = "the plot was fine " * 18
    with pytest.warns(UserWarning, match="1 of 3 prompts were longer than 128 tokens"):
        mixed = classifier.predict_proba(["dull", long, "good"])
    np.testing.assert_allclose(mixed[[0, 2]], classifier.predict_proba(["dull", "good"]), atol=1e-5)


def test_without_examples_the_warning_still_counts_long_prompts(make):
    classifier = make(calibrate=None, per_class=0).fit(TEXTS, LABELS)
    with pytest.warns(UserWarning, match="1 of 1 prompts were longer.*1 inputs were cut"):
        classifier.predict(["good " * 200])


def test_a_description_that_fills_the_window(make, lm):
    with pytest.raises(ValueError, match="description and the template alone fill 128 tokens"):
        make(description=" good" * 130).fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="alone fill 5 tokens; shorten them, or raise max_length"):
        make(max_length=5).fit(TEXTS, LABELS)
    with pytest.raises(
        ValueError, match="max_length=129, but the model takes at most 128 tokens; lower"
    ):
        make(max_length=129).fit(TEXTS, LABELS)
    make(max_length=128).fit(TEXTS, LABELS)


# --- the contract of a classifier ----------------------------------------------------------------


def test_predict_is_the_argmax_of_predict_proba(fitted):
    probabilities = fitted.predict_proba(TEXTS)
    assert probabilities.shape == (len(TEXTS), 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert (fitted.classes_[probabilities.argmax(axis=1)] == fitted.predict(TEXTS)).all()
    assert fitted.words_ == {"negative": "negative", "positive": "positive"}
    assert fitted.classes_.tolist() == list(fitted.words_)
    assert fitted.cost_.seconds > 0
    assert 0 <= fitted.score(TEXTS, LABELS) <= 1


def test_integer_labels_words_and_other_containers(make):
    labels = [7 if label == "positive" else -1 for label in LABELS]
    words = {7: " good ", -1: "bad", 99: "never asked"}
    classifier = make(words=words, selection="given", per_class=1)
    classifier.fit(pd.Series(TEXTS, index=range(5, 21)), np.array(labels))
    assert classifier.classes_.tolist() == [-1, 7] and classifier.words_ == {-1: "bad", 7: "good"}
    assert list(classifier.words_) == [-1, 7], "in the order of the classes"
    assert classifier.examples_ == [(TEXTS[0], 7), (TEXTS[1], -1)]
    assert classifier.prompt("x").startswith(f"Review: {TEXTS[0]}\nSentiment: good\n\n")
    assert classifier.predict(np.array(TEXTS)).dtype.kind == "i"
    assert classifier.words == words, "the parameter stays as given"


def test_columns_follow_classes_not_the_order_of_words(make):
    one = make(words={"positive": "good", "negative": "bad"}).fit(TEXTS, LABELS)
    other = make(words={"negative": "bad", "positive": "good"}).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(one.predict_proba(NEW), other.predict_proba(NEW))
    swapped = make(words={"negative": "good", "positive": "bad"}, per_class=0, calibrate=None)
    zero = make(words={"negative": "bad", "positive": "good"}, per_class=0, calibrate=None)
    np.testing.assert_allclose(
        swapped.fit(TEXTS, LABELS).predict_proba(NEW),
        zero.fit(TEXTS, LABELS).predict_proba(NEW)[:, ::-1],
        atol=1e-6,
    )


def test_labels_are_their_own_words(make):
    labels = [row % 3 for row in range(len(TEXTS))]
    classifier = make(per_class=1).fit(TEXTS, labels)
    assert classifier.words_ == {0: "0", 1: "1", 2: "2"}
    assert set(classifier.predict(TEXTS).tolist()) <= {0, 1, 2}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"calibrate": "batch", "description": "{Ä}\n", "selection": "given"},
        {"calibrate": None, "words": {"positive": "good", "negative": "bad film"}},
        {"selection": "nearest", "per_class": 1},
        {"per_class": 0, "fast": False, "max_length": 60},
        {"fast": {"shared_prefix"}, "random_state": None},
    ],
)
def test_saved_and_loaded_is_the_same(make, nearest, changes, tmp_path):
    classifier = make(**changes).fit(TEXTS, LABELS)
    folder = classifier.save(tmp_path / "model")
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {
        ".json", ".safetensors"
    }  # fmt: skip
    loaded = InContextClassifier.load(folder)
    np.testing.assert_array_equal(loaded.predict_proba(NEW), classifier.predict_proba(NEW))
    assert loaded.classes_.tolist() == classifier.classes_.tolist()
    assert loaded.examples_ == classifier.examples_ and loaded.words_ == classifier.words_
    assert loaded.prompt("dull") == classifier.prompt("dull")
    before, after = classifier.get_params(), loaded.get_params()
    assert str(before.pop("model")) == after.pop("model")
    before["fast"], after["fast"] = options(before["fast"]), options(after["fast"])
    assert before == after


def test_integer_labels_survive_saving(make, tmp_path):
    labels = np.array([(1, 2, 30)[row % 3] for row in range(len(TEXTS))])
    words = {np.int64(1): "good", 2: "bad", 30: "fine"}
    classifier = make(words=words, per_class=1).fit(TEXTS, labels)
    loaded = InContextClassifier.load(classifier.save(tmp_path / "model"))
    assert loaded.predict(NEW).tolist() == classifier.predict(NEW).tolist()
    assert loaded.words == {1: "good", 2: "bad", 30: "fine"}
    refitted = loaded.fit(TEXTS, labels)
    np.testing.assert_array_equal(refitted.predict_proba(NEW), classifier.predict_proba(NEW))


def test_load_says_what_is_missing(fitted, tmp_path):
    folder = fitted.save(tmp_path / "model")
    content = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    (folder / "examples.json").write_text(json.dumps({"words": content["words"]}))
    with pytest.raises(ValueError, match="holds a damaged model"):
        InContextClassifier.load(folder)
    (folder / "examples.json").unlink()
    with pytest.raises(ValueError, match=r"lacks examples\.json"):
        InContextClassifier.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": ["negative"]}, "has 1 words for 2 labels"),
        ({"words": ["a", "b", "c"]}, "has 3 words for 2 labels"),
        ({"words": ["a", 5]}, r"words in examples\.json\[1\] is 5"),
        ({"words": "ab"}, "lacks one of words"),
        ({"words": None}, "lacks one of words"),
        ({"examples": [["a film", "neutral"]]}, "an example of 'neutral', which is no label"),
        ({"examples": [["a film"]]}, "instead of a text and its label"),
        ({"examples": [["a film", ["positive"]]]}, "instead of a text and its label"),
        ({"examples": [[None, "positive"]]}, r"examples in examples\.json\[0\] is None"),
        ({"reference": [5]}, r"reference in examples\.json\[0\] is 5"),
        ({"reference": []}, "calibrate='contextual', 0 references"),
    ],
)
def test_damaged_examples_are_refused(fitted, tmp_path, change, message):
    folder = fitted.save(tmp_path / "model")
    path = folder / "examples.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    reseal(folder)
    with pytest.raises(ValueError, match=rf"holds a damaged model \(.*{message}"):
        InContextClassifier.load(folder)


@pytest.mark.parametrize("content", ["[]", "{}", "null", '"words"', "{", "[" * 100_000])
def test_examples_that_are_none_are_refused(fitted, tmp_path, content):
    folder = fitted.save(tmp_path / "model")
    (folder / "examples.json").write_text(content)
    reseal(folder)
    with pytest.raises(ValueError, match="holds a damaged model"):
        InContextClassifier.load(folder)


@pytest.mark.parametrize("change", [{"per_class": -1}, {"template": "x"}, {"fast": ["fastest"]}])
def test_damaged_parameters_are_refused(fitted, tmp_path, change):
    folder = fitted.save(tmp_path / "model")
    manifest = json.loads((folder / "reptune.json").read_text())
    manifest["params"] |= change
    (folder / "reptune.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=f"damaged.*{next(iter(change))}"):
        InContextClassifier.load(folder)


def test_fast_options_come_back_as_they_were(make, tmp_path):
    for fast in (("shared_prefix",), (), True, False, {"shared_prefix"}):
        classifier = make(fast=fast).fit(TEXTS, LABELS)
        assert InContextClassifier.load(classifier.save(tmp_path / "model")).fast == fast


@pytest.mark.parametrize("selection", ["random", "nearest"])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_predict_the_same(make, nearest, selection, again):
    classifier = make(selection=selection, per_class=1).fit(TEXTS, LABELS)
    expected = classifier.predict_proba(NEW)
    copied = again(classifier)
    np.testing.assert_array_equal(copied.predict_proba(NEW), expected)
    assert copied.cost_.seconds == classifier.cost_.seconds
    copied.fit(TEXTS, LABELS[::-1])
    np.testing.assert_array_equal(classifier.predict_proba(NEW), expected)


def test_a_copy_with_real_neighbors_predicts_the_same(make, monkeypatch, tiny_encoder):
    monkeypatch.setattr(
        incontext, "Neighbors", lambda texts: neighbors.Neighbors(texts, model=tiny_encoder)
    )
    classifier = make(selection="nearest", per_class=1).fit(TEXTS, LABELS)
    copied = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(copied.predict_proba(NEW), classifier.predict_proba(NEW))


def test_numbers_of_numpy(make, tmp_path):
    plain = make(per_class=1, max_length=100, random_state=3).fit(TEXTS, LABELS)
    numbers = {
        "per_class": np.int64(1), "max_length": np.int64(100), "random_state": np.int64(3),
        "fast": np.array(EXACT),
    }  # fmt: skip
    other = make(**numbers).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(other.predict_proba(NEW), plain.predict_proba(NEW))
    other.set_params(fast=EXACT)
    loaded = InContextClassifier.load(other.save(tmp_path / "model"))
    assert loaded.random_state == 3 and loaded.per_class == 1


def test_before_fit(make, tmp_path):
    for call in (make().predict, make().predict_proba, make().logits):
        with pytest.raises(NotFittedError):
            call(NEW)
    for call in (lambda: make().prompt("x"), lambda: make().save(tmp_path / "model")):
        with pytest.raises(NotFittedError):
            call()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("place", ["_shared_lm", "Neighbors"])
def test_a_failed_fit_leaves_the_object_as_it_was(make, nearest, monkeypatch, error, place):
    classifier = make(selection="nearest", per_class=1).fit(TEXTS, LABELS)
    before = classifier.predict_proba(NEW)
    calls = itertools.count()

    def fail(*_):
        next(calls)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(incontext, place, fail)
        with pytest.raises(error):
            classifier.fit(NEW, ["a", "b", "a", "b"])
    assert next(calls) == 1
    with pytest.raises(ValueError, match="max_length"):
        classifier.set_params(max_length=500).fit(NEW, ["a", "b", "a", "b"])
    classifier.set_params(max_length=None)
    np.testing.assert_array_equal(classifier.predict_proba(NEW), before)
    assert classifier.classes_.tolist() == ["negative", "positive"]


# --- bad input, before the model is loaded -------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_class": -1}, "per_class=-1; use a whole number from 0 on"),
        ({"per_class": 1.5}, "per_class=1.5"),
        ({"selection": "closest"}, "selection='closest'; use one of random, nearest, given"),
        ({"selection": "nearest", "per_class": 0}, "per_class=0 leaves no example to select"),
        ({"calibrate": "context"}, "calibrate='context'; use 'contextual', 'batch' or None"),
        ({"calibrate": True}, "calibrate=True"),
        ({"max_length": 0}, "max_length=0"),
        ({"fast": ("fastest",)}, "fast holds the unknown option 'fastest'; use shared_prefix"),
        ({"device": "gpu"}, "device='gpu' is not here; use None"),
        ({"device": 7.5}, "device=7.5 is not here; use None"),
        ({"prediction_batch_size": 0}, "prediction_batch_size=0; use a whole number from 1 on"),
        ({"show_progress": "no"}, "show_progress='no'; use True or False"),
        ({"words": {"positive": "good"}}, "words lacks ['negative']"),
        ({"words": {}}, "words lacks ['negative', 'positive']"),
        (
            {"words": {"positive": "good", "negative": "good "}},
            "labels ['negative', 'positive'] share the word 'good'; give each its own",
        ),
        ({"words": {"positive": " ", "negative": "bad"}}, "the word of label 'positive' is ' '"),
        ({"words": {"positive": 1, "negative": "bad"}}, "the word of label 'positive' is 1"),
        ({"words": ["good", "bad"]}, "words=['good', 'bad']; pass a dictionary"),
        ({"words": 5}, "words=5; pass a dictionary"),
        (
            {"words": {"positive": "a\ud800", "negative": "bad"}},
            "the word of label 'positive' is not valid Unicode",
        ),
        ({"description": None}, "description=None, a NoneType"),
        ({"description": "a\udfff"}, "description is not valid Unicode"),
        ({"fast": 5}, "fast=5; use True, False"),
        ({"fast": None}, "fast=None; use True"),
        ({"fast": [3]}, "fast=[3]; use True"),
        ({"random_state": -1}, "random_state=-1"),
        ({"random_state": 1.5}, "random_state=1.5"),
        ({"random_state": "0"}, "random_state='0'"),
    ],
)
def test_bad_parameters(make, unloadable, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(**changes).fit(TEXTS, LABELS)


def test_a_model_that_cannot_go_on(make, tiny_encoder):
    with pytest.raises(ValueError, match="BertModel, which cannot go on with a text"):
        make(model=tiny_encoder).fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="SmolLM2-135M-Instruct"):
        make(model="SmolLM2-135M-Instruc").fit(TEXTS, LABELS)
