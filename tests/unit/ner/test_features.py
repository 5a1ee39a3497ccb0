import pytest
from tokenizers import processors

from reptune.ner.alignment import align
from reptune.ner.features import (
    LONGEST_WORD,
    add_labels,
    case_marks,
    drop_marks,
    window_inputs,
)
from reptune.ner.labels import encode_tags, further_labels
from reptune.tokens import special_ids
from tests import tiny
from tests.unit.ner.examples import ACCENT, CUT, CUT_TAGS, LONG, tag

CLASSES = ["O", "B-X", "I-X", "B-Y", "I-Y"]
NO = -100


def labels_of(tokenizer, tokens, tags, max_length=32, every=False):
    """What a tagger is trained on, with the tags' names."""
    features = window_inputs(tokenizer, tokens, max_length)
    add_labels(features, encode_tags(tags, CLASSES), further_labels(CLASSES) if every else None)
    return [
        [label if label < 0 else CLASSES[label] for label in part.inputs["labels"]]
        for part in features
    ]


def ids_of(features):
    return [part.inputs["input_ids"] for part in features]


def test_labels_of_the_first_token_or_of_all_of_them(tokenizer):
    assert labels_of(tokenizer, CUT[:2], CUT_TAGS[:2]) == [
        [NO, "O", "B-X", NO, NO, "O", "O", "B-Y", "I-Y", NO, NO, NO],
        [NO, "O", NO, NO, "O", "O", "B-X", NO],
    ]
    assert labels_of(tokenizer, CUT[:2], CUT_TAGS[:2], every=True) == [
        [NO, "O", "B-X", "I-X", "I-X", "O", "O", "B-Y", "I-Y", "I-Y", "I-Y", NO],
        [NO, "O", "O", "O", "O", "O", "B-X", NO],
    ]


@pytest.mark.parametrize("every", [False, True])
def test_every_word_of_a_long_sentence_is_trained_on_once(tokenizer, every):
    rows = labels_of(tokenizer, [LONG], [tag(LONG)], max_length=12, every=every)
    assert len(rows) > 4 and max(map(len, rows)) <= 12
    assert [label for labels in rows for label in labels if label != NO] == tag(LONG)


def test_a_word_of_more_tokens_than_fit_is_labeled_on_those_that_do(tokenizer):
    tokens, tags = [["the", "-".join(["film"] * 50), "is"]], [["O", "B-X", "O"]]
    assert labels_of(tokenizer, tokens, tags, max_length=22, every=True) == [  # 5 of 20 tokens
        [NO, "O", "B-X", "I-X", "I-X", "I-X", "I-X", "O", NO]
    ]


def test_a_sentence_that_fits_is_read_whole(tokenizer):
    words = ["the", "-".join(["film"] * 14), "is"]  # 27 + 2 tokens of 30
    expected = tokenizer(words, is_split_into_words=True)["input_ids"]
    assert ids_of(window_inputs(tokenizer, [words], max_length=32)) == [expected]
    assert len(window_inputs(tokenizer, [words], max_length=31)) == 1
    (cut,) = ids_of(window_inputs(tokenizer, [words], max_length=30))
    assert len(cut) == 2 + 2 + int(LONGEST_WORD * 28)


def test_a_sentence_without_words_has_no_window(tokenizer):
    features = window_inputs(tokenizer, [[], ["the"], []], max_length=8)
    assert [part.sentence for part in features] == [1]


def test_the_tokens_of_capitalized_words_are_marked(tokenizer):
    tokens = [["The", "good-Film", "Plot-actor", ACCENT, "IS", "Éa", "3d", "", "ǅ"]]
    (marked,) = window_inputs(tokenizer, tokens, max_length=32, mark_case=True)
    capital = [True, False, True, False, True, True, False, False, False]
    sizes = map(len, align(tokenizer, tokens)[0])
    marks = [int(begins) for begins, size in zip(capital, sizes, strict=True) for _ in range(size)]
    # A titlecase letter is no upper case one to Python; it says so itself.
    assert not "ǅ".isupper()
    assert marked.inputs["token_type_ids"] == [0, *marks, 0]
    (plain,) = window_inputs(tokenizer, tokens, max_length=32)
    assert plain.inputs == {"input_ids": marked.inputs["input_ids"]}


def test_marks_go_along_with_windows(tokenizer):
    words = [word.capitalize() if index % 3 == 0 else word for index, word in enumerate(LONG)]
    for part in window_inputs(tokenizer, [words], max_length=8, mark_case=True):
        marks = [int(index % 3 == 0) for index in range(part.window.start, part.window.end)]
        assert part.inputs["token_type_ids"] == [0, *marks, 0]
    with pytest.raises(ValueError):
        case_marks(["The"], sizes=[1, 2])


# --- special tokens ------------------------------------------------------------------------------


def _roberta_like():
    """Byte-level tokens, a space before each word, `<s>` and `</s>` around a text."""
    tokenizer = tiny.causal_tokenizer()
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokenizer.add_special_tokens(names)
    begin, end = tokenizer.convert_tokens_to_ids(["<s>", "</s>"])
    tokenizer.backend_tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", end), ("<s>", begin), add_prefix_space=True
    )
    return tokenizer, ([begin], [end])


def _bert_like():
    return tiny.tokenizer(), ([2], [3])


@pytest.mark.parametrize("make", [_bert_like, _roberta_like])
def test_special_tokens_are_those_around_words_that_are_split_already(make):
    """`special_ids` looks at a text; a sentence of words gets the same."""
    tokenizer, expected = make()
    before, after = special_ids(tokenizer)
    assert (before, after) == expected
    for words in (["a"], ["the", "film"]):
        encoded = tokenizer(words, is_split_into_words=True)
        inner = [index for index, word in enumerate(encoded.word_ids()) if word is not None]
        ids = encoded["input_ids"]
        assert (ids[: inner[0]], ids[inner[-1] + 1 :]) == (before, after)
        assert ids_of(window_inputs(tokenizer, [words], max_length=32)) == [ids]


def test_all_windows_of_a_sentence_lose_their_marks_together(tokenizer):
    words = [["Film", "the"] * 10 for _ in range(40)]
    features = window_inputs(tokenizer, words, max_length=12, mark_case=True)
    before = [list(part.inputs["token_type_ids"]) for part in features]
    drop_marks(features, 0.5, random_state=1)
    lost = {part.sentence for part in features if not any(part.inputs["token_type_ids"])}
    assert 5 < len(lost) < 35
    for part, marks in zip(features, before, strict=True):
        expected = [0] * len(marks) if part.sentence in lost else marks
        assert part.inputs["token_type_ids"] == expected
