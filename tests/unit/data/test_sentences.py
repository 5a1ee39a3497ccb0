"""Ends of sentences: hand-cut texts, and what holds of every text."""

import random

import pytest

from reptune.data.sentences import sentence_ends, split_sentences
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
        [word.text for word in split_words(part)] for part in expected
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
        assert all(found)
        assert [word for one in found for word in one] == split_words(text)


def test_ends_are_indices_of_words():
    text = "Ada left. Bo stayed."
    assert sentence_ends(text, split_words(text)) == [3, 6]
    assert sentence_ends("", []) == []


def test_what_is_no_text_is_refused():
    with pytest.raises(ValueError, match="str"):
        split_sentences(3)
