import contextlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from reptune.cloze.templates import Template, encode, vocabulary_words, word_ids, word_tokens
from tests import tiny
from tests.soak_cases import prompting

MASKED = Template("{text} was {mask} the")
CAUSAL = Template("{text} is {mask}")
PAIR = Template("{text} {mask} {text2}")


@pytest.fixture(scope="module")
def wordpiece():
    return tiny.tokenizer()


@pytest.fixture(scope="module")
def byte_level():
    return tiny.causal_tokenizer()


@pytest.fixture(scope="module")
def byte_level_masked():
    """As RoBERTa's: the mask takes the space before it along."""
    tokenizer = tiny.causal_tokenizer()
    tokenizer.add_special_tokens({"mask_token": AddedToken("<mask>", lstrip=True, special=True)})
    return tokenizer


def _spell(tokenizer, encoded):
    return " ".join(tokenizer.convert_ids_to_tokens(encoded.input_ids))


# --- the template --------------------------------------------------------------------------------


def test_rendering_by_hand():
    template = Template("{{{text}}} It was {mask} .")
    assert template.render("A fun ride.", word="great") == "{A fun ride.} It was great ."
    assert template.render("A {mask}", mask_token="[MASK]") == "{A {mask}} It was [MASK] ."
    assert PAIR.render("one", "two", word="and") == "one and two"


@pytest.mark.parametrize(
    ("pattern", "pair", "mask_last", "spaced"),
    [
        ("{text} It was {mask} .", False, False, True),
        ("{text} It was {mask}", False, True, True),
        ("{text}\nLabel:{mask}  ", False, True, False),
        ("{mask} {text}", False, False, False),
        ("{text} {text2} {mask}", True, True, True),
        ("{text} {mask}{text2}", True, False, True),
    ],
)
def test_what_a_template_says_of_itself(pattern, pair, mask_last, spaced):
    template = Template(pattern)
    assert (template.pair, template.mask_last, template.spaced) == (pair, mask_last, spaced)
    assert str(template) == pattern and Template.of(template) is template
    assert Template.of(pattern) == template


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{text} {maks}", r"unknown slot \{maks\}; did you mean \{mask\}"),
        ("{} {text} {mask}", r"unknown slot \{\}; use"),
        ("{text!r} {mask}", r"unknown slot \{text!r\}"),
        ("{text:>9} {mask}", r"unknown slot \{text:>9\}"),
        ("{text} {mask} {mask}", r"holds \{mask\} 2 times"),
        ("{mask}", r"holds \{text\} 0 times"),
        ("{text} {text} {mask}", r"holds \{text\} 2 times"),
        ("{text2} {text2} {text} {mask}", r"holds \{text2\} 2 times"),
        ("{text} {mask", "unbalanced brace"),
        ("{text} } {mask}", "unbalanced brace"),
        (3, "template=3; use a string"),
        (None, "template=None; use a string"),
    ],
)
def test_bad_patterns(pattern, message):
    with pytest.raises(ValueError, match=message):
        Template(pattern)


@pytest.mark.parametrize(
    ("template", "given", "message"),
    [
        (MASKED, {"text2": "b", "word": "x"}, "has no {text2}"),
        (PAIR, {"word": "x"}, "takes pairs"),
        (MASKED, {}, "give one of them"),
        (MASKED, {"word": "x", "mask_token": "[MASK]"}, "give one of them"),
    ],
)
def test_bad_rendering(template, given, message):
    with pytest.raises(ValueError, match=message):
        template.render("a", **given)


# --- prompts as token ids ------------------------------------------------------------------------


def test_a_masked_prompt_is_what_the_tokenizer_makes_of_the_string(wordpiece):
    encoded = encode(MASKED, wordpiece, "a good film", limit=32)
    string = MASKED.render("a good film", mask_token="[MASK]")
    assert encoded.input_ids == wordpiece(string)["input_ids"]
    assert encoded.input_ids[encoded.mask] == wordpiece.mask_token_id
    assert (encoded.dropped, encoded.cut) == (0, 0)


def test_the_space_before_a_byte_level_mask_belongs_to_it(byte_level_masked):
    encoded = encode(MASKED, byte_level_masked, "a good film", limit=64)
    string = MASKED.render("a good film", mask_token="<mask>")
    assert encoded.input_ids == byte_level_masked(string)["input_ids"]
    assert encoded.input_ids[encoded.mask] == byte_level_masked.mask_token_id


def test_demonstrations_follow_a_masked_input_and_precede_a_causal_one(wordpiece, byte_level):
    shown = [("good plot", None, "good"), ("bad plot", None, "bad")]
    masked = encode(MASKED, wordpiece, "a film", limit=32, demonstrations=shown)
    assert _spell(wordpiece, masked) == (
        "[CLS] a film was [MASK] the good plot was good the bad plot was bad the [SEP]"
    )
    causal = encode(CAUSAL, byte_level, "a film", limit=64, causal=True, demonstrations=shown)
    assert byte_level.decode(causal.input_ids) == (
        "good plot is good\n\nbad plot is bad\n\na film is"
    )
    assert causal.mask == len(causal.input_ids) - 1


def test_a_causal_demonstration_writes_its_word_as_the_label_token(byte_level):
    template = Template("{text}:{mask}")
    encoded = encode(
        template, byte_level, "a", limit=64, causal=True, demonstrations=[("b", None, "good")]
    )
    assert byte_level.decode(encoded.input_ids) == "b: good\n\na:"
    ids = word_ids({0: "good", 1: "bad"}, [0, 1], byte_level, causal=True, template=template)
    assert ids[0] in encoded.input_ids


def test_of_a_causal_prompt_only_spaces_are_stripped(byte_level):
    for pattern, end in (("{text} is   {mask}", " is"), ("{text}\n{mask}", "\n")):
        encoded = encode(Template(pattern), byte_level, "a", limit=64, causal=True)
        assert byte_level.decode(encoded.input_ids) == f"a{end}"


def test_special_tokens_in_a_text_are_plain_characters(wordpiece, byte_level):
    shown = [("[MASK] [SEP] film", None, "good")]
    masked = encode(MASKED, wordpiece, "[MASK] a [CLS]", limit=64, demonstrations=shown)
    special = [wordpiece.mask_token_id, wordpiece.cls_token_id, wordpiece.sep_token_id]
    assert [masked.input_ids.count(token) for token in special] == [1, 1, 1]
    assert masked.input_ids[masked.mask] == wordpiece.mask_token_id
    causal = encode(CAUSAL, byte_level, "a <|end|> film", limit=64, causal=True)
    assert byte_level.eos_token_id not in causal.input_ids


def test_demonstrations_are_dropped_before_the_input_is_cut(wordpiece, byte_level):
    shown = [("good plot", None, "good"), ("bad plot", None, "bad")]
    text = "the film is very nice"  # 5 + 3 literal + 2 special tokens; 5 per demonstration
    for limit, dropped, cut in ((20, 0, 0), (19, 1, 0), (15, 1, 0), (14, 2, 0), (9, 2, 1)):
        encoded = encode(MASKED, wordpiece, text, limit=limit, demonstrations=shown)
        assert (encoded.dropped, encoded.cut) == (dropped, cut), limit
        assert len(encoded.input_ids) == min(limit, 20 - 5 * dropped - cut)
    encoded = encode(MASKED, wordpiece, text, limit=15, demonstrations=shown)
    assert "good plot" in _spell(wordpiece, encoded), "the nearer one stays"
    whole = encode(CAUSAL, byte_level, text, limit=99, causal=True, demonstrations=shown)
    limit = len(whole.input_ids) - 1
    encoded = encode(CAUSAL, byte_level, text, limit=limit, causal=True, demonstrations=shown)
    assert byte_level.decode(encoded.input_ids).startswith("bad plot is bad\n\nthe film")
    assert encoded.dropped == 1


def test_the_end_of_the_input_is_cut_and_the_rest_survives(wordpiece):
    encoded = encode(MASKED, wordpiece, "good bad fine nice poor", limit=8)
    assert _spell(wordpiece, encoded) == "[CLS] good bad fine was [MASK] the [SEP]"
    assert encoded.cut == 2
    assert _spell(wordpiece, encode(MASKED, wordpiece, "good bad", limit=5)) == (
        "[CLS] was [MASK] the [SEP]"
    )
    with pytest.raises(ValueError, match=r"limit=4, but .* alone takes 5 tokens"):
        encode(MASKED, wordpiece, "good bad", limit=4)


def test_of_a_pair_the_longer_text_is_cut_first(wordpiece):
    texts = "good good good good good", "bad bad bad"
    for limit, spelled in (
        (9, "[CLS] good good good [MASK] bad bad bad [SEP]"),
        (8, "[CLS] good good [MASK] bad bad bad [SEP]"),
        (7, "[CLS] good good [MASK] bad bad [SEP]"),
    ):
        assert _spell(wordpiece, encode(PAIR, wordpiece, *texts, limit=limit)) == spelled


WORDS = st.lists(
    st.sampled_from([*tiny.WORDS, "[MASK]", "unheard", "éa", "\n", "漢字"]), max_size=9
)


@settings(max_examples=60, deadline=None)
@given(WORDS, st.lists(st.tuples(WORDS, st.sampled_from(["good", "bad"])), max_size=3), st.data())
def test_any_prompt_keeps_its_mask_and_its_limit(words, shown, data):
    causal = data.draw(st.booleans())
    template, tokenizer = (
        (CAUSAL, tiny.causal_tokenizer()) if causal else (MASKED, tiny.tokenizer())
    )
    limit = data.draw(st.integers(6, 60))
    demonstrations = [(" ".join(one), None, word) for one, word in shown]
    encoded = encode(
        template,
        tokenizer,
        " ".join(words),
        limit=limit,
        causal=causal,
        demonstrations=demonstrations,
    )
    assert len(encoded.input_ids) <= limit
    assert 0 <= encoded.dropped <= len(shown)
    assert not encoded.cut or encoded.dropped == len(shown)
    if causal:
        assert tokenizer.decode(encoded.input_ids).endswith(" is")
        assert encoded.mask == len(encoded.input_ids) - 1
    else:
        assert encoded.input_ids.count(tokenizer.mask_token_id) == 1
        assert encoded.input_ids[encoded.mask] == tokenizer.mask_token_id
        assert _spell(tokenizer, encoded).startswith("[CLS]")


def test_prompts_that_cannot_be(wordpiece, byte_level):
    with pytest.raises(ValueError, match=r"goes on after \{mask\}.* '\{text\} was \{mask\}'"):
        encode(MASKED, byte_level, "a", limit=32, causal=True)
    with pytest.raises(ValueError, match="has no mask token"):
        encode(MASKED, byte_level, "a", limit=32)
    with pytest.raises(ValueError, match="takes pairs"):
        encode(PAIR, wordpiece, "a", limit=32)
    with pytest.raises(ValueError, match=r"has no \{text2\}"):
        encode(MASKED, wordpiece, "a", limit=32, demonstrations=[("a", "b", "good")])
    with pytest.raises(ValueError, match="nothing before the mask"):
        encode(Template("{text} {mask}"), byte_level, "", limit=32, causal=True)


# --- words ---------------------------------------------------------------------------------------


def test_word_ids_follow_the_classes_and_the_space(wordpiece, byte_level, byte_level_masked):
    words = {"b": "bad", "a": "good"}
    ids = word_ids(words, np.array(["a", "b"]), wordpiece, causal=False, template=MASKED)
    assert wordpiece.convert_ids_to_tokens(ids.tolist()) == ["good", "bad"]
    ids = word_ids(words, ["a", "b"], byte_level, causal=True, template=CAUSAL)
    assert byte_level.convert_ids_to_tokens(ids.tolist()) == ["Ġgood", "Ġbad"]
    ids = word_ids(words, ["a", "b"], byte_level_masked, causal=False, template=MASKED)
    assert byte_level.convert_ids_to_tokens(ids.tolist()) == ["Ġgood", "Ġbad"]
    ids = word_tokens("the", byte_level_masked, causal=False, template=Template("({mask}) {text}"))
    assert byte_level.decode(ids) == "the", "no space in the template, none in the token"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({0: "good"}, r"words lack \[1\]"),
        ({0: "good", 1: "bad", 2: "fine"}, r"given for \[2\].*labels are \[0, 1\]"),
        ({0: "good", 1: "good"}, "labels 0 and 1 share the word 'good'"),
        ({0: "good", 1: "Good"}, "'good' of label 0 and 'Good' of label 1 are one token"),
        ({0: "good", 1: "unheard"}, "'unheard' is unknown"),
        ({0: "good", 1: "very nice"}, r"'very nice' is 2 tokens \(very, nice\); .* 'great'"),
        ({0: "good", 1: " "}, "word of label 1 is ' '"),
        ({0: "good", 1: 3}, "word of label 1 is 3"),
        (["good", "bad"], "pass a dictionary"),
    ],
)
def test_bad_words(wordpiece, words, message):
    with pytest.raises(ValueError, match=message):
        word_ids(words, [0, 1], wordpiece, causal=False, template=MASKED)


def test_vocabulary_words_are_whole(wordpiece, byte_level):
    found = vocabulary_words(wordpiece, causal=False, template=MASKED)
    assert set(found.values()) == {word for word in tiny.WORDS if len(word) > 1}
    assert all(wordpiece.convert_ids_to_tokens(token) == word for token, word in found.items())
    found = vocabulary_words(byte_level, causal=True, template=CAUSAL)
    assert {"good", "bad", "actor"} <= set(found.values())
    assert all(byte_level.decode([token]) == f" {word}" for token, word in found.items())


# --- odd input -----------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_comes_is_right_or_a_value_error(seed):
    for label, call in prompting.template_cases(random.Random(seed), 10):
        with contextlib.suppress(ValueError):
            prompting.labeled(label, call)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": None}, "text=None, a NoneType; pass a string"),
        ({"text": 5}, "text=5, a int"),
        ({"text": "a\ud800"}, "text is not valid Unicode: a lone surrogate.* at character 1"),
        ({"text2": 5}, "text2=5, a int"),
        ({"limit": None}, "limit=None; use a whole number"),
        ({"limit": "8"}, "limit='8'"),
        ({"demonstrations": None}, "demonstrations=None; pass triples"),
        ({"demonstrations": "abc"}, "demonstrations='abc'; pass triples"),
        ({"demonstrations": [("a", None, "b"), 5]}, r"demonstrations\[1\] is 5; pass a triple"),
        ({"demonstrations": [("a", "b")]}, r"demonstrations\[0\] is \('a', 'b'\)"),
        ({"demonstrations": [(None, None, "b")]}, r"demonstrations\[0\]'s text=None"),
        ({"demonstrations": [("a", None, 5)]}, r"demonstrations\[0\]'s word=5"),
        ({"demonstrations": [("a", None, "\ud800")]}, r"demonstrations\[0\]'s word is not valid"),
        ({"demonstrations": [("a", 5, "b")]}, r"demonstrations\[0\]: text2=5"),
        ({"demonstrations": [("a", "x", "b")]}, r"demonstrations\[0\]: text2='x', but"),
        ({"template": None}, "template=None; use a string"),
    ],
)
def test_prompts_of_odd_parts(wordpiece, given, message):
    whole = {"template": MASKED, "tokenizer": wordpiece, "text": "a", "limit": 30} | given
    with pytest.raises(ValueError, match=message):
        encode(**whole)


def test_a_pattern_stands_for_its_template(wordpiece):
    assert encode(MASKED.pattern, wordpiece, "a", limit=30) == encode(
        MASKED, wordpiece, "a", limit=np.int64(30)
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": None, "word": "a"}, "text=None"),
        ({"text": "a", "word": 5}, "word=5, a int"),
        ({"text": "a", "mask_token": b"x"}, "mask_token=b'x', a bytes"),
        ({"text": "a", "text2": 5, "word": "a"}, "text2=5, a int"),
        ({"text": "a", "word": "\udfff"}, "word is not valid Unicode"),
    ],
)
def test_odd_parts_are_not_rendered(given, message):
    with pytest.raises(ValueError, match=message):
        MASKED.render(**given)


def test_a_pattern_that_is_no_unicode():
    with pytest.raises(ValueError, match="template is not valid Unicode"):
        Template("{text} \ud800 {mask}")


@pytest.mark.parametrize(
    ("words", "classes", "message"),
    [
        ({"a": "good\ud800"}, ["a"], "the word of label 'a' is not valid Unicode"),
        ({"a": "good"}, None, "classes=None; pass a list of labels"),
        ({"a": "good"}, "a", "classes='a'"),
        ({"a": "good"}, 5, "classes=5"),
        ({"a": "good"}, [["a"]], "classes="),
        ({"a": "good"}, [None, "a"], "classes="),
        ({"a": "good"}, [{}], "classes="),
        ("good", ["a"], "words='good'; pass a dictionary"),
    ],
)
def test_words_and_classes_of_odd_types(wordpiece, words, classes, message):
    with pytest.raises(ValueError, match=message):
        word_ids(words, classes, wordpiece, causal=False, template=MASKED)
