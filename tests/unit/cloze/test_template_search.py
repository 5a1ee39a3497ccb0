import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from reptune.cloze import load_prompt_model, template_search
from reptune.cloze.template_search import CausalGenerator, SpanGenerator
from reptune.cloze.templates import Template, encode
from tests import tiny

TEXTS = ["the film is good", "an awful movie , very dull", "nice actor"]
LABELS = [1, 0, 1]
WORDS = {0: "bad", 1: "great"}
KNOBS = {"half_precision": False, "max_text_tokens": 12}
MANY = 100_000
SPANS = ["<extra_id_0>", "<extra_id_1>", "<extra_id_2>"]


# --- plain code to compare with ------------------------------------------------------------------


@pytest.fixture(scope="module")
def causal(tiny_causal_lm):
    """Scores a template by reading each whole sequence, one at a time."""
    model = AutoModelForCausalLM.from_pretrained(tiny_causal_lm).eval()
    tokenizer = tiny.causal_tokenizer()

    @torch.no_grad()
    def score(ids, texts=TEXTS, labels=LABELS, limit=12):
        total = 0.0
        for text, label in zip(texts, labels, strict=True):
            prefix = tokenizer(text)["input_ids"][:limit]
            word = tokenizer(" " + WORDS[label])["input_ids"]
            assert len(word) == 1
            whole = [*prefix, *ids, *word]
            chances = model(torch.tensor([whole])).logits[0].log_softmax(dim=-1)
            indices = range(len(prefix) - 1, len(whole) - 1)
            total += sum(float(chances[index, whole[index + 1]]) for index in indices)
        return total / (len(texts) * (len(ids) + 1))

    return tokenizer, score


def single_tokens(tokenizer):
    """Every token that may be a template, by its string; found without the module's code."""
    found = {}
    for token in range(len(tokenizer)):
        string = tokenizer.decode([token])
        bare = string[1:] if string.startswith(" ") else string
        usable = bare.isascii() and bare.isprintable() and " " not in bare and bare
        starts_word = string.startswith(" ") or not string[:1].isalnum()
        if usable and starts_word and not set("{}") & set(bare) and token != 0:
            found[string] = token
    return found


def save_t5(folder):
    """A tiny T5 with the tokens of a SentencePiece vocabulary."""
    words = [f"▁{word}" for word in (*tiny.WORDS, "It")]
    listed = ["<pad>", "</s>", "<unk>", *words, "▁", ",", ".", "▁.", "ly", "{", "a"]
    core = Tokenizer(models.Unigram([(token, -float(n > 2)) for n, token in enumerate(listed)], 2))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=SPANS,
    )  # fmt: skip
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        decoder_start_token_id=0, initializer_factor=3.0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny_t5(tmp_path_factory):
    return save_t5(tmp_path_factory.mktemp("tiny") / "t5")


@pytest.fixture(scope="module")
def spans(tiny_t5):
    """Scores two spans with the library's own loss, one example at a time."""
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_t5)
    x, y, z = tokenizer.convert_tokens_to_ids(SPANS)

    @torch.no_grad()
    def score(before, behind):
        total = 0.0
        for text, label in zip(TEXTS, LABELS, strict=True):
            source = tokenizer(f"{text}<extra_id_0> {WORDS[label]}<extra_id_1>")["input_ids"]
            inputs = torch.tensor([[*source, tokenizer.eos_token_id]])
            target = torch.tensor([[x, *before, y, *behind, z]])
            logits = model(input_ids=inputs, labels=target).logits[0].log_softmax(dim=-1)
            chances = logits.gather(1, target[0][:, None])
            total += float(chances[1:].sum())
        return total / (len(TEXTS) * (len(before) + len(behind) + 2))

    return tokenizer, score


# --- a causal model ------------------------------------------------------------------------------


def test_scores_are_those_of_plain_sequences(tiny_causal_lm, causal):
    tokenizer, score = causal
    found = CausalGenerator(tiny_causal_lm, beam_width=8, max_tokens=4, **KNOBS).generate(
        TEXTS, LABELS, WORDS, num_templates=MANY
    )
    lengths = set()
    for pattern, total in found:
        ids = tokenizer(_middle(pattern))["input_ids"]
        lengths.add(len(ids))
        assert total == pytest.approx(score(ids), abs=1e-4)
    assert lengths == {1, 2, 3, 4}
    assert [total for _, total in found] == sorted((t for _, t in found), reverse=True)
    assert len({pattern for pattern, _ in found}) == len(found) > 20


def test_a_wide_beam_over_one_token_is_brute_force(tiny_causal_lm, causal):
    tokenizer, score = causal
    found = CausalGenerator(
        tiny_causal_lm, beam_width=len(tokenizer), max_tokens=1, **KNOBS
    ).generate(TEXTS, LABELS, WORDS, num_templates=MANY)
    brute = {
        f"{{text}}{string} {{mask}}": score([token])
        for string, token in single_tokens(tokenizer).items()
    }
    assert len(brute) > 60 and dict(found).keys() == brute.keys()
    assert dict(found) == pytest.approx(brute, abs=1e-4)
    assert found[0][0] == max(brute, key=brute.get)


def test_only_templates_that_the_tokenizer_cuts_alike_are_proposed(tiny_causal_lm, causal):
    tokenizer, score = causal
    generator = CausalGenerator(tiny_causal_lm, beam_width=400, max_tokens=2, **KNOBS)
    split = [tokenizer.convert_tokens_to_ids(token) for token in ("Ġa", "w", "ful")]
    assert generator._vocabulary.text(split) == " awful"
    assert not generator._vocabulary.is_canonical(split)
    assert generator._vocabulary.is_canonical(tokenizer(" awful")["input_ids"])
    found = generator.generate(TEXTS, LABELS, WORDS, num_templates=MANY)
    lengths = {len(tokenizer(_middle(pattern))["input_ids"]) for pattern, _ in found}
    assert lengths == {1, 2} and len(found) < 2 * 400
    for pattern, total in found[::10]:
        ids = tokenizer(_middle(pattern))["input_ids"]
        assert total == pytest.approx(score(ids), abs=1e-4)


def _middle(pattern):
    return pattern.removeprefix("{text}").removesuffix(" {mask}")


def test_a_beam_keeps_the_likeliest_tokens_over_all_examples(tiny_causal_lm, causal):
    tokenizer, _ = causal
    model = AutoModelForCausalLM.from_pretrained(tiny_causal_lm).eval()
    after = 0.0
    for text in TEXTS:
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer(text)["input_ids"][:12]])).logits[0, -1]
        after = after + logits.log_softmax(dim=-1)
    best = sorted(single_tokens(tokenizer).items(), key=lambda item: -float(after[item[1]]))[:5]
    found = CausalGenerator(tiny_causal_lm, beam_width=5, max_tokens=1, **KNOBS).generate(
        TEXTS, LABELS, WORDS, num_templates=MANY
    )
    assert {pattern for pattern, _ in found} == {f"{{text}}{s} {{mask}}" for s, _ in best}


def test_batches_and_the_order_of_examples_change_nothing(tiny_causal_lm):
    def run(batch_size, texts, labels):
        generator = CausalGenerator(
            tiny_causal_lm, beam_width=5, max_tokens=3, batch_size=batch_size, **KNOBS
        )
        return generator.generate(texts, labels, WORDS, num_templates=MANY)

    texts, labels = tiny.TEXTS[:7], [1, 0, 1, 0, 1, 0, 1]
    whole = run(7, texts, labels)
    for other in (run(2, texts, labels), run(7, texts[::-1], labels[::-1])):
        assert dict(other) == pytest.approx(dict(whole), abs=1e-4)
    assert run(7, texts, labels) == whole, "the same bits each time"


def test_the_label_words_decide_between_templates(tiny_causal_lm):
    generator = CausalGenerator(tiny_causal_lm, beam_width=40, max_tokens=1, **KNOBS)
    one = dict(generator.generate(TEXTS, LABELS, WORDS, num_templates=MANY))
    turned = dict(generator.generate(TEXTS, LABELS, {0: "great", 1: "bad"}, num_templates=MANY))
    assert one.keys() == turned.keys() and one != turned


def test_long_texts_are_cut(tiny_causal_lm, causal):
    tokenizer, score = causal
    texts = ["good film " * 30, "bad"]
    generator = CausalGenerator(
        tiny_causal_lm, beam_width=2, max_tokens=1, max_text_tokens=3, half_precision=False
    )
    for pattern, total in generator.generate(texts, [1, 0], WORDS, num_templates=2):
        ids = tokenizer(_middle(pattern))["input_ids"]
        assert total == pytest.approx(score(ids, texts, [1, 0], limit=3), abs=1e-4)


def test_patterns_are_such_that_the_template_language_reads(tiny_causal_lm):
    found = CausalGenerator(tiny_causal_lm, beam_width=60, max_tokens=2, **KNOBS).generate(
        TEXTS, ["n", "y", "n"], {"n": "bad", "y": "great"}, num_templates=MANY
    )
    tokenizer = tiny.causal_tokenizer()
    text = tokenizer(TEXTS[0])["input_ids"]
    for pattern, _ in found:
        assert pattern.startswith("{text}") and pattern.endswith(" {mask}")
        prompt = encode(Template(pattern), tokenizer, TEXTS[0], limit=128, causal=True)
        assert prompt.input_ids[: len(text)] == text
        assert len(prompt.input_ids) - len(text) in (1, 2)
        middle = _middle(pattern)
        assert middle == middle.rstrip() != "" and not middle[0].isalnum()
        assert middle.isprintable() and "{" not in middle and "<|end|>" not in middle


def test_half_precision_stays_near(tiny_causal_lm):
    exact, half = (
        CausalGenerator(tiny_causal_lm, beam_width=400, max_tokens=1, half_precision=half).generate(
            TEXTS, LABELS, WORDS, num_templates=MANY
        )
        for half in (False, True)
    )
    assert dict(half) == pytest.approx(dict(exact), abs=0.1)


# --- T5 ------------------------------------------------------------------------------------------


def test_span_scores_are_those_of_the_library(tiny_t5, spans):
    tokenizer, score = spans
    generator = SpanGenerator(tiny_t5, beam_width=60, max_tokens=3, batch_size=2)
    found = generator.generate(TEXTS, LABELS, WORDS, num_templates=MANY)
    shapes = set()
    for pattern, total in found:
        before, _, behind = pattern.removeprefix("{text}").partition(" {mask}")
        parts = [_cut_after_a(tokenizer, part) for part in (before, behind)]
        shapes.add(tuple(map(len, parts)))
        assert total == pytest.approx(score(*parts), abs=1e-4), pattern
    assert max(map(sum, shapes)) == 3 and min(map(sum, shapes)) == 1
    assert len({bool(behind) for _, behind in shapes}) == 2
    assert [t for _, t in found] == sorted((t for _, t in found), reverse=True)


def _cut_after_a(tokenizer, string):
    anchor = tokenizer("a")["input_ids"]
    return tokenizer("a" + string)["input_ids"][len(anchor) :]


def test_a_wide_span_beam_is_brute_force(tiny_t5, spans):
    tokenizer, score = spans
    found = SpanGenerator(tiny_t5, beam_width=1000, max_tokens=1).generate(
        TEXTS, LABELS, WORDS, num_templates=MANY
    )
    strings = [*(f" {word}" for word in (*tiny.WORDS, "It")), ",", ".", " ."]
    brute = {}
    for string in strings:
        (token,) = _cut_after_a(tokenizer, string)
        brute[f"{{text}}{string} {{mask}}"] = score([token], [])
        brute[f"{{text}} {{mask}}{string}"] = score([], [token])
    assert dict(found) == pytest.approx(brute, abs=1e-4)


def test_what_may_follow_within_spans(tiny_t5, spans):
    tokenizer, _ = spans
    generator = SpanGenerator(tiny_t5, max_tokens=2)
    film, ly, full_stop, middle, end = tokenizer.convert_tokens_to_ids(
        ["▁film", "ly", ".", *SPANS[1:]]
    )

    def allowed(*ids):
        found = generator._allowed(ids)
        return [bool(found[token]) for token in (film, ly, full_stop, middle, end)]

    assert allowed() == [True, False, True, True, False], "no letter runs into the text"
    assert allowed(film) == [True, True, True, True, False]
    assert allowed(film, ly) == [False, False, False, True, False]
    assert allowed(film, middle) == [True, False, True, False, False]
    assert allowed(film, middle, full_stop) == [False] * 5


def test_a_text_that_holds_a_span_token_opens_no_span(tiny_t5):
    generator = SpanGenerator(tiny_t5)
    first, second = generator._spans[:2]
    ids = generator._input("good <extra_id_0> film <extra_id_1>", "great")
    assert ids.count(first) == 1 and ids.count(second) == 1


# --- what both share -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generators(tiny_causal_lm, tiny_t5):
    knobs = {"beam_width": 3, "max_tokens": 2}
    return CausalGenerator(tiny_causal_lm, **knobs, **KNOBS), SpanGenerator(tiny_t5, **knobs)


def test_no_more_templates_than_asked_for_and_the_best_of_them(generators):
    for generator in generators:
        many = generator.generate(TEXTS, LABELS, WORDS, num_templates=MANY)
        assert generator.generate(TEXTS, LABELS, WORDS, num_templates=2) == many[:2]
        assert len(many) > 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": []}, "there are none"),
        ({"texts": "good film"}, "single string"),
        ({"texts": ["good", "", "bad"]}, "the text '' has no tokens"),
        ({"labels": [0, 1]}, "3 texts but 2 labels"),
        ({"words": {0: "bad"}}, "words has None for the label 1"),
        ({"words": {0: "bad", 1: " "}}, "words has ' ' for the label 1"),
        ({"num_templates": 0}, "num_templates=0"),
    ],
)
def test_bad_input(generators, changes, message):
    given = {"texts": TEXTS, "labels": LABELS, "words": WORDS, "num_templates": 2} | changes
    for generator in generators:
        with pytest.raises(ValueError, match=message):
            generator.generate(**given)


def test_a_label_word_of_several_tokens_is_refused_by_the_causal_one(generators):
    with pytest.raises(ValueError, match=r"'greatbad' is 2 tokens \(great, bad\)"):
        generators[0].generate(TEXTS, LABELS, {0: "bad", 1: "greatbad"}, num_templates=1)
    assert generators[1].generate(TEXTS, LABELS, {0: "bad", 1: "great film"}, num_templates=1)


@pytest.mark.parametrize("kind", [CausalGenerator, SpanGenerator])
@pytest.mark.parametrize("name", ["beam_width", "max_tokens", "max_text_tokens", "batch_size"])
def test_bad_numbers_come_before_any_loading(kind, name):
    with pytest.raises(ValueError, match=f"{name}=0; use a whole number from 1 on"):
        kind("nowhere/at-all", **{name: 0})


def test_models_of_the_wrong_kind(tiny_causal_lm, tiny_masked_lm):
    with pytest.raises(ValueError, match="cannot go on with a text"):
        CausalGenerator(tiny_masked_lm)
    with pytest.raises(ValueError, match="has no <extra_id_0>, so it fills no spans"):
        SpanGenerator(tiny_causal_lm)
    with pytest.raises(ValueError, match="need 134 tokens, but the model takes at most 128"):
        CausalGenerator(tiny_causal_lm, max_text_tokens=128)


def test_a_model_that_is_loaded_is_not_loaded_again(tiny_causal_lm, tiny_masked_lm, monkeypatch):
    loaded, masked = load_prompt_model(tiny_causal_lm), load_prompt_model(tiny_masked_lm)
    wanted = {"num_templates": 3}
    by_name = CausalGenerator(tiny_causal_lm, beam_width=3, max_tokens=2, **KNOBS)
    expected = by_name.generate(TEXTS, LABELS, WORDS, **wanted)
    monkeypatch.setattr(template_search, "load_causal_lm", None)
    generator = CausalGenerator(loaded, beam_width=3, max_tokens=2, **KNOBS)
    assert generator.generate(TEXTS, LABELS, WORDS, **wanted) == expected
    with pytest.raises(ValueError, match="which cannot go on with a text"):
        CausalGenerator(masked)


@pytest.mark.parametrize(
    ("string", "usable"),
    [
        (" It", True), ("it", True), (".", True), (" —", True), ("é", True),
        ("", False), (" ", False), ("  it", False), ("it ", False), ("\n", False), (" a b", False),
        ("{", False), ("}}", False), ("\ufffd", False), ("\x07", False), ("\u200b", False),
    ],
)  # fmt: skip
def test_what_may_stand_in_a_template(string, usable):
    assert template_search._prints(string) is usable


def test_top_takes_the_best_of_what_is_allowed():
    totals = torch.tensor([[0.0, -1.0, -2.0], [-0.5, -1.5, -9.0]])
    allowed = torch.tensor([False, True, True])
    found = template_search._top(totals, allowed, 3)
    assert found == [(0, 1, -1.0), (1, 1, -1.5), (0, 2, -2.0)]
    everything = template_search._top(totals, allowed, 99)
    assert [best[:2] for best in everything] == [(0, 1), (1, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": None}, "words=None; pass a dictionary"),
        ({"words": ["bad", "great"]}, "pass a dictionary"),
        ({"words": {0: "bad", 1: "a\ud800"}}, "the word of label 1 is not valid Unicode"),
        ({"texts": ["a\ud800", "b", "c"]}, r"texts\[0\] is not valid Unicode"),
        ({"num_templates": "3"}, "num_templates='3'"),
    ],
)
def test_odd_input(generators, changes, message):
    given = {"texts": TEXTS, "labels": LABELS, "words": WORDS, "num_templates": 2} | changes
    for generator in generators:
        with pytest.raises(ValueError, match=message):
            generator.generate(**given)


def test_numbers_of_numpy(tiny_causal_lm):
    numbers = {"beam_width": 3, "max_tokens": 2, "max_text_tokens": 12, "batch_size": 2}
    found = [
        CausalGenerator(tiny_causal_lm, half_precision=False, **{
            name: kind(value) for name, value in numbers.items()
        }).generate(TEXTS, LABELS, WORDS, num_templates=kind(2))
        for kind in (int, np.int64)
    ]  # fmt: skip
    assert found[0] == found[1] and len(found[0]) == 2


@pytest.mark.parametrize("name", ["AutoTokenizer", "AutoModelForSeq2SeqLM"])
def test_no_loader_trusts_code(tiny_t5, monkeypatch, name):
    said = []
    kind = getattr(template_search, name)

    class Spy:
        @staticmethod
        def from_pretrained(*args, **kwargs):
            said.append(kwargs.get("trust_remote_code"))
            return kind.from_pretrained(*args, **kwargs)

    monkeypatch.setattr(template_search, name, Spy)
    SpanGenerator(tiny_t5)
    assert said == [False]
