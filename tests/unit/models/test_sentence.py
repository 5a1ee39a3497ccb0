"""A prefix before every text: the same as texts that begin with it, in all that is saved."""

import json

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from reptune.fewshot import FrozenClassifier, SetFitClassifier
from reptune.models.sentence import QUERY, load_body, set_prefix
from tests import tiny
from tests.tiny import LABELS, TEXTS

PREFIX = "very good "
QUICK = {"num_steps": 2, "random_state": 0}


def prefixed(texts):
    return [f"{PREFIX}{text}" for text in texts]


@pytest.fixture
def e5(tmp_path):
    """A sentence transformer whose folder names a prompt for queries, as E5's does."""
    body = load_body(tiny.save_encoder(tmp_path / "encoder"))
    body.prompts = {"query": QUERY, "passage": "passage: "}
    body.save(str(tmp_path / "e5"))
    return tmp_path / "e5"


def ids(body, text):
    return body.tokenizer(text)["input_ids"]


def test_a_prefix_gives_the_ids_of_texts_that_begin_with_it(tiny_encoder):
    body, plain = load_body(tiny_encoder), load_body(tiny_encoder)
    set_prefix(body, PREFIX)
    for text in (*TEXTS, "", "unheard"):
        assert ids(body, text) == ids(plain, PREFIX + text)
    again = ids(body, "a film")
    set_prefix(body, PREFIX)
    assert ids(body, "a film") == again, "twice is once"
    cut = body.tokenizer(TEXTS[3], truncation=True, max_length=5)["input_ids"]
    assert cut == plain.tokenizer(PREFIX + TEXTS[3], truncation=True, max_length=5)["input_ids"]


def test_only_a_model_that_names_it_has_a_prefix_by_itself(tiny_encoder, e5):
    for model, expected in ((tiny_encoder, ""), (e5, QUERY)):
        body, plain = load_body(model), load_body(model)
        set_prefix(body)
        assert ids(body, "a film") == ids(plain, f"{expected}a film")
    body = load_body(e5)
    set_prefix(body, "")
    assert ids(body, "a film") == ids(load_body(e5), "a film")


def test_a_tokenizer_that_joins_prefix_and_text_is_refused(tiny_encoder):
    with pytest.raises(ValueError, match=r"tokenizer joins it with the text"):
        set_prefix(load_body(tiny_encoder), "goo")


@pytest.mark.parametrize("kind", [FrozenClassifier, SetFitClassifier])
def test_a_classifier_with_a_prefix_is_one_of_prefixed_texts(kind, tiny_encoder, tmp_path):
    knobs = QUICK if kind is SetFitClassifier else {}
    with_prefix = kind(tiny_encoder, prefix=PREFIX, **knobs).fit(TEXTS, LABELS)
    by_hand = kind(tiny_encoder, **knobs).fit(prefixed(TEXTS), LABELS)
    expected = by_hand.predict_proba(prefixed(TEXTS))
    np.testing.assert_array_equal(with_prefix.predict_proba(TEXTS), expected)
    loaded = kind.load(with_prefix.save(tmp_path / "model"))
    np.testing.assert_allclose(loaded.predict_proba(TEXTS), expected, atol=1e-6)
    saved = json.loads((tmp_path / "model" / "reptune.json").read_text("utf-8"))
    assert saved["params"]["prefix"] == PREFIX


def test_the_folder_has_the_prefix_for_other_libraries_too(e5, tmp_path):
    folder = FrozenClassifier(e5).fit(TEXTS, LABELS).save(tmp_path / "model")
    other = SentenceTransformer(str(folder), device="cpu")
    plain = SentenceTransformer(str(e5), device="cpu")
    np.testing.assert_allclose(
        other.encode(TEXTS), plain.encode([QUERY + text for text in TEXTS]), atol=1e-6
    )
    # To start from such a folder does not put it there a second time.
    body = load_body(folder)
    set_prefix(body)
    assert ids(body, "a film") == ids(load_body(e5), f"{QUERY}a film")


def test_a_prefix_that_is_no_string_is_named(tiny_encoder):
    with pytest.raises(ValueError, match=r"prefix=3; use a string, or None"):
        FrozenClassifier(tiny_encoder, prefix=3).fit(TEXTS, LABELS)
