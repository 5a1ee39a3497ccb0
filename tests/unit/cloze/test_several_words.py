"""Several words for each label: a label's logit is the mean of its words' logits."""

import copy
import json

import numpy as np
import pytest
import torch
from sklearn.base import clone

from reptune.cloze import (
    PromptTunedClassifier,
    PromptTunedRegressor,
    demonstrations,
    load_prompt_model,
    rank_templates,
    training,
)
from reptune.cloze.prompt_models import collate, label_logits
from reptune.cloze.templates import Template, encode, word_ids, words_of
from reptune.models.neighbors import Neighbors
from reptune.pipeline.export import check_exportable
from tests import tiny
from tests.soak_cases.estimators import reseal
from tests.tiny import LABELS, TEXTS

TEMPLATES = {"masked": "{text} was {mask} .", "causal": "{text} is {mask}"}
KINDS = list(TEMPLATES)
PAIRS = {"negative": ("bad", "awful"), "positive": ("good", "great")}
ONE_EACH = {"negative": "bad", "positive": "good"}


@pytest.fixture(scope="module")
def folders(tiny_masked_lm, tiny_causal_lm):
    return {"masked": tiny_masked_lm, "causal": tiny_causal_lm}


@pytest.fixture(scope="module")
def make(folders):
    def make(kind="masked", **changes):
        knobs = {
            "model": folders[kind], "template": TEMPLATES[kind], "words": PAIRS, "num_steps": 6,
            "learning_rate": 1e-2, "random_state": 0,
        }  # fmt: skip
        return PromptTunedClassifier(**(knobs | changes))

    return make


@pytest.fixture(scope="module")
def fitted(make):
    return make().fit(TEXTS, LABELS)


def tuples_of_one():
    return {label: (word,) for label, word in ONE_EACH.items()}


def ids_of(words, classes=("negative", "positive")):
    return word_ids(
        words, list(classes), tiny.tokenizer(), causal=False, template=TEMPLATES["masked"]
    )


# --- token ids -----------------------------------------------------------------------------------


def test_ids_have_a_row_for_each_label_and_a_column_for_each_word():
    name = tiny.tokenizer().convert_ids_to_tokens
    found = ids_of(PAIRS)
    assert [name(row.tolist()) for row in found] == [["bad", "awful"], ["good", "great"]]
    assert ids_of({label: list(words) for label, words in PAIRS.items()}).tolist() == found.tolist()
    assert ids_of(tuples_of_one()).tolist() == ids_of(ONE_EACH)[:, None].tolist()
    mixed = {"negative": "bad", "positive": ("good",)}
    assert ids_of(mixed).shape == (2, 1) and ids_of(ONE_EACH).shape == (2,)


def test_words_of_a_label():
    assert words_of("bad") == ("bad",) and words_of(["bad", "poor"]) == ("bad", "poor")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"negative": ("bad", "poor"), "positive": ("good",)},
         r"different numbers of words, {'negative': 2, 'positive': 1}; give each label as many"),
        ({"negative": ("bad", "poor"), "positive": "good"}, "different numbers of words"),
        ({"negative": ("bad", "poor"), "positive": ("good", "bad")},
         "the labels 'negative' and 'positive' share the word 'bad'; give each its own"),
        ({"negative": ("bad", "bad "), "positive": ("good", "great")},
         "label 'negative' has the word 'bad ' twice; give it once"),
        ({"negative": ("bad", "Bad"), "positive": ("good", "great")},
         "'bad' of label 'negative' and 'Bad' of label 'negative' are one token"),
        ({"negative": ("bad", "poor"), "positive": ("Poor", "great")},
         "'poor' of label 'negative' and 'Poor' of label 'positive' are one token"),
        ({"negative": ("bad", "very nice"), "positive": ("good", "great")},
         "'very nice' is 2 tokens"),
        ({"negative": ("bad", "qwertz"), "positive": ("good", "great")}, "'qwertz' is unknown"),
        ({"negative": ("bad", 5), "positive": ("good", "great")},
         "the word of label 'negative' is 5; use a string"),
        ({"negative": ("bad", " "), "positive": ("good", "great")}, "the word of .* is ' '"),
        ({"negative": ("bad", "\ud800"), "positive": ("good", "great")}, "is not valid Unicode"),
        ({"negative": (), "positive": ()}, r"is \(\); use a string, or a tuple of strings"),
        ({"negative": {"bad"}, "positive": {"good"}}, r"is {'bad'}; use a string, or a tuple"),
        ({"negative": (("bad",),), "positive": (("good",),)}, r"is \('bad',\); use a string"),
    ],
)  # fmt: skip
def test_words_that_cannot_be(make, monkeypatch, words, message):
    with pytest.raises(ValueError, match=message):
        ids_of(words)
    monkeypatch.setattr(training, "word_loss", lambda *_: pytest.fail("it trained"))
    with pytest.raises(ValueError, match=message):
        make(words=words).fit(TEXTS, LABELS)


# --- logits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_labels_logit_is_the_mean_of_its_words_by_hand(folders, kind, fast):
    model = load_prompt_model(folders[kind])
    how = {"limit": model.limit, "causal": model.causal}
    encoded = [encode(Template(TEMPLATES[kind]), model.tokenizer, t, **how) for t in TEXTS[:3]]
    with torch.inference_mode():
        batch = collate(model, encoded)
        whole = label_logits(model, batch, fast=False).tolist()
        found = label_logits(model, batch, [[5, 9, 7], [6, 8, 11]], fast=fast)
    by_hand = [[(row[5] + row[9] + row[7]) / 3, (row[6] + row[8] + row[11]) / 3] for row in whole]
    assert found.shape == (3, 2)
    np.testing.assert_allclose(found, by_hand, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_untrained_a_pair_is_the_mean_of_two_classifiers(make, kind):
    both = make(kind, num_steps=0).fit(TEXTS, LABELS).logits(TEXTS)
    first, second = (
        make(kind, num_steps=0, words={label: words[n] for label, words in PAIRS.items()})
        .fit(TEXTS, LABELS)
        .logits(TEXTS)
        for n in (0, 1)
    )
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-5)
    assert not np.allclose(both, first, atol=1e-3)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_tuple_of_one_word_is_the_word_bit_for_bit(make, kind, fast):
    plain, tupled = (
        make(kind, words=words, fast=fast).fit(TEXTS, LABELS, validation=(TEXTS[:4], LABELS[:4]))
        for words in (ONE_EACH, tuples_of_one())
    )
    np.testing.assert_array_equal(tupled.logits(TEXTS), plain.logits(TEXTS))
    assert tupled.history_ == plain.history_
    for name, weight in plain.model_.state_dict().items():
        torch.testing.assert_close(
            tupled.model_.state_dict()[name], weight, rtol=0, atol=0, msg=name
        )
    assert plain.words_ == ONE_EACH and tupled.words_ == tuples_of_one()


def test_the_loss_is_cross_entropy_over_the_means(make, tmp_path):
    steady = tiny.save_masked_lm(tmp_path / "steady", dropout=0.0)
    untrained = make(model=steady, num_steps=0).fit(TEXTS, LABELS).logits(TEXTS)
    one = make(model=steady, num_steps=1, batch_size=99, fast=False).fit(TEXTS, LABELS)
    right = [untrained[row, int(label == "positive")] for row, label in enumerate(LABELS)]
    expected = np.mean(np.log(np.exp(untrained).sum(axis=1)) - np.array(right))
    assert one.history_[0]["loss"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns(make, kind):
    classifier = make(kind, num_steps=90).fit(TEXTS, LABELS)
    assert classifier.score(TEXTS, LABELS) == 1.0 and classifier.words_ == PAIRS


def test_templates_are_ranked_by_the_mean_of_log_probabilities(folders):
    model = load_prompt_model(folders["masked"])
    templates = [TEMPLATES["masked"], "{text} very {mask}"]
    found = dict(rank_templates(model, templates, PAIRS, TEXTS, LABELS))
    for pattern in templates:
        how = {"limit": model.limit, "causal": False}
        encoded = [encode(Template(pattern), model.tokenizer, text, **how) for text in TEXTS]
        with torch.inference_mode():
            logs = label_logits(model, collate(model, encoded)).double().log_softmax(dim=1)
        logs = np.stack([logs[:, row].mean(dim=1) for row in ids_of(PAIRS).tolist()], axis=1)
        ratios = np.exp(logs) / np.exp(logs).mean(axis=0)
        shares = ratios / ratios.sum(axis=1, keepdims=True)
        right = shares[np.arange(len(TEXTS)), [int(label == "positive") for label in LABELS]]
        assert found[pattern] == pytest.approx(np.log(right).mean(), abs=1e-5)
    plain = rank_templates(model, templates, ONE_EACH, TEXTS, LABELS)
    assert rank_templates(model, templates, tuples_of_one(), TEXTS, LABELS) == plain


# --- demonstrations ------------------------------------------------------------------------------


def test_a_solved_example_shows_the_first_word(make, monkeypatch, tiny_encoder, tmp_path):
    monkeypatch.setattr(
        demonstrations, "Neighbors", lambda texts: Neighbors(texts, model=tiny_encoder)
    )
    shown = set()

    def spy(template, tokenizer, text, text2=None, *, demonstrations=(), **kwargs):
        shown.update(word for _, _, word in demonstrations)
        return encode(template, tokenizer, text, text2, demonstrations=demonstrations, **kwargs)

    monkeypatch.setattr(demonstrations, "encode", spy)
    classifier = make("causal", per_class=1, num_steps=2).fit(TEXTS, LABELS)
    expected = classifier.logits(TEXTS)
    assert shown == {"bad", "good"}
    loaded = PromptTunedClassifier.load(classifier.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.logits(TEXTS), expected)


# --- saving, copies, doors -----------------------------------------------------------------------


@pytest.mark.parametrize("words", [PAIRS, tuples_of_one(), {k: list(v) for k, v in PAIRS.items()}])
def test_saved_and_loaded_is_the_same(make, tmp_path, words):
    classifier = make(words=words).fit(TEXTS, LABELS)
    loaded = PromptTunedClassifier.load(classifier.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.logits(TEXTS), classifier.logits(TEXTS))
    assert loaded.words == words and type(loaded.words["positive"]) is type(words["positive"])
    assert loaded.words_ == {label: tuple(given) for label, given in words.items()}
    again = loaded.fit(TEXTS, LABELS)
    np.testing.assert_array_equal(again.logits(TEXTS), classifier.logits(TEXTS))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([["bad", "awful"], "good"], "different numbers of words"),
        ([["bad", "awful"], ["good", 5]], "the word of label 'positive' is 5"),
        ([["bad", "awful"], []], r"the word of label 'positive' is \(\)"),
        ([["bad", "awful"]], "for 2 classes"),
    ],
)
def test_damaged_manifests_are_refused(fitted, tmp_path, words, message):
    folder = fitted.save(tmp_path / "model")
    path = folder / "reptune.json"
    manifest = json.loads(path.read_text("utf-8"))
    assert manifest["words"] == [["bad", "awful"], ["good", "great"]]
    path.write_text(json.dumps(manifest | {"words": words}), "utf-8")
    reseal(folder)
    with pytest.raises(ValueError, match=rf"damaged model \(.*{message}"):
        PromptTunedClassifier.load(folder)


def test_copies_and_clones(fitted):
    np.testing.assert_array_equal(copy.deepcopy(fitted).logits(TEXTS), fitted.logits(TEXTS))
    assert clone(fitted).words == PAIRS


def test_a_regressor_takes_one_word_for_each_end(folders):
    regressor = PromptTunedRegressor(folders["masked"], words=(("bad", "poor"), ("good", "fine")))
    with pytest.raises(ValueError, match=r"use two strings: .* PromptTunedClassifier alone takes"):
        regressor.fit(TEXTS, [0.5] * len(TEXTS))


def test_an_export_is_refused_as_for_every_prompt(fitted):
    with pytest.raises(ValueError, match="PromptTunedClassifier cannot be exported to ONNX"):
        check_exportable(fitted, "onnx")
