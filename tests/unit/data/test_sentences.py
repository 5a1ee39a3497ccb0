"""Words to tag and ends of sentences: hand-cut texts, and what holds of every text."""

import random

import pytest

from reptune.data.sentences import sentence_ends, split_sentences, words_to_tag
from reptune.data.tagged import split_words

CUT = [
    # "|" stands where a new sentence begins
    "Ada left. |Bo stayed! |Why? |Nobody knows…",
    "Dr. Ada met Mrs. Lovelace in St. Albans. |They left.",
    "J. R. R. Tolkien wrote it. |He was at Oxford.",
    "The firm Babbage Ltd. Bo owns paid $3.5 m. in the U.S. and in London. |Then it closed.",
    "It is No. 5 of 12. |She said no. |Then she left.",
    "'Why?' |She left. |\"I know.\" |He did not.",
    "He asked (twice.) |Nobody answered.",
    "Wait... what? |No... |Then again!",
    "What?! |Yes!! |Good.",
    "see www.example.com for more. |Or call.",
    "A headline without a point\n\n|The story begins. |It ends.",
    "one line\nand the next one. |Two.",
    "in 1996. |The next year. |3 of 4. |Bo came on Jan. 5 and on Dec. 6.",
    "we met angela. she left.",
    "他来了。|她走了！|「好。」|再见",
    "Ада ушла. |Бо остался.",
    "no end at all",
    "...",
    "",
    "Bo saw Dr. ",
]


@pytest.mark.parametrize("marked", CUT)
def test_texts_are_cut_where_a_reader_cuts_them(marked):
    text = marked.replace("|", "")
    expected = [part for part in marked.split("|") if part.strip()]
    found = split_sentences(text)
    assert [[word.text for word in one] for one in found] == [
        [word.text for word in words_to_tag(part)] for part in expected
    ]


def test_every_word_stands_in_one_sentence_whatever_the_text():
    drawn = random.Random(0)
    pieces = [
        *".!?…。！\"')]} \n",
        "\n\n",
        "Dr",
        "Ada",
        "bo",
        "5",
        "no",
        "J",
        "好",
        "\u0301",
        "👍🏽",
    ]
    for _ in range(500):
        text = "".join(drawn.choices(pieces, k=drawn.randrange(30)))
        found = split_sentences(text)
        words = words_to_tag(text)
        assert all(found)
        assert [word for one in found for word in one] == words
        assert all(text[word.start : word.end] == word.text for word in words)
        assert "".join(word.text for word in words) == "".join(w.text for w in split_words(text))
        assert sentence_ends(text, split_words(text))[:-1] == _counted_apart(text, found)


def _counted_apart(text, found):
    """Ends as indices of `split_words`'s words, from sentences whose points may be joined."""
    starts = [word.start for word in split_words(text)]
    return [starts.index(one[0].start) for one in found[1:]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. J. R. Smith left Baker Ltd.", "Dr.|J.|R.|Smith|left|Baker|Ltd|."),
        ("Baker Inc. said no. 5 is No. 5.", "Baker|Inc.|said|no.|5|is|No.|5|."),
        ("She said no. He left St.\n\nLouis.", "She|said|no|.|He|left|St|.|Louis|."),
        ("in the U.S. on Jan.5 (etc.) . Mr.", "in|the|U.S.|on|Jan|.|5|(|etc|.|)|.|Mr|."),
        ("Plan B. Then A. Then Z .", "Plan|B.|Then|A.|Then|Z|."),
    ],
)
def test_a_point_stays_with_its_abbreviation_and_nowhere_else(text, expected):
    assert [word.text for word in words_to_tag(text)] == expected.split("|")


def test_ends_are_indices_of_words():
    text = "Ada left. Bo stayed."
    assert sentence_ends(text, split_words(text)) == [3, 6]
    assert sentence_ends("", []) == []


def test_what_is_no_text_is_refused():
    with pytest.raises(ValueError, match="str"):
        split_sentences(3)
