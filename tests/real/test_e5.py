"""Multilingual E5 small as it is converted here; needs the asset, which `make test` does not."""

import json

import numpy as np
import pytest
from transformers import AutoTokenizer

from reptune import assets
from reptune.models.sentence import load_body
from reptune.pipeline.text_scores import BertScorer

E5 = "multilingual-e5-small"

pytestmark = pytest.mark.skipif(
    assets.state(E5) != "ready", reason=f"needs `reptune assets fetch {E5}`"
)

PAIRS = [
    ("How do I get to the railway station?", "Wie komme ich zum Bahnhof?"),
    ("The soup was cold.", "スープは冷めていた。"),
    ("My sister plays the violin.", "Моя сестра играет на скрипке."),
    ("It will rain tomorrow.", "明天会下雨。"),
]
# Counted by the engine in the wheel (`e5_token_count`, "query: " in front, `<s>` and `</s>`).
COUNTS = {
    "Der Hund schläft im Garten, weil es regnet.": 17,
    "今天天气很好，我们去公园散步吧。": 15,
    "½ cup of sugar, 30 °C, ﬁne ＡＢＣ １２３ ～ ok": 20,
    "I ❤ NLP 😀🎉": 11,
}


def test_a_sentence_is_nearest_to_its_translation():
    english, other = (
        load_body(E5).encode([f"query: {text}" for text in texts])
        for texts in zip(*PAIRS, strict=True)
    )
    assert (english @ other.T).argmax(axis=1).tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(np.linalg.norm(english, axis=1), 1, atol=1e-5)


def test_texts_have_as_many_tokens_as_in_the_engine_of_the_wheel():
    tokenizer = AutoTokenizer.from_pretrained(assets.get(E5))
    found = {text: len(tokenizer(f"query: {text}")["input_ids"]) for text in COUNTS}
    assert found == COUNTS


def test_the_folder_says_what_the_model_is():
    config = json.loads((assets.get(E5) / "config.json").read_text())
    assert (config["vocab_size"], config["num_hidden_layers"]) == (250037, 12)
    assert config["layer_norm_eps"] == 1e-12


def test_bertscore_knows_related_texts_from_others():
    related = [("The film was boring.", "It was a dull movie."), ("He left.", "He went away.")]
    references, texts = (list(column) for column in zip(*related, strict=True))
    scorer = BertScorer()
    assert (scorer.score(references, texts).f1 > scorer.score(references, texts[::-1]).f1).all()
