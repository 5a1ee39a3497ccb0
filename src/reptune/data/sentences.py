"""The words and sentences of a raw text as a tagger reads them. Taught in chapter 4."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reptune.data.tagged import Word, split_words

_MARKS = frozenset(".!?…؟۔।")  # a sentence may end here if white space follows
_WIDE_MARKS = frozenset("。！？｡")  # and here without: these scripts use no spaces
_CLOSING = frozenset("\"'”’»)]}」』）】")  # what belongs to the sentence that it closes
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
# A point after these belongs to the word. After some of them a sentence can end all the same; two
# sentences read together do less harm than a name cut in half.
_ABBREVIATION = re.compile(
    r"adm|ave|bros|capt|cf|cmdr|co|col|corp|det|dr|esq|etc|gen|gov|hon|inc|jr|lt|ltd|maj|messrs|mr"
    r"|mrs|ms|mt|mx|pres|prof|pvt|rep|rev|sen|sgt|sr|st|supt|viz|vs"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec",
    re.IGNORECASE,
)
_BEFORE_NUMBER = re.compile(r"art|ch|fig|nos?|nr|pp?|sec|vol", re.IGNORECASE)


def words_to_tag(text: str) -> list[Word]:
    """Cut a raw text into words as `split_words` does, but leave points with their abbreviations.

    Tagged corpora keep the point of an initial (`J. Smith`), a title or another common abbreviation
    with its word. As a word of its own it would get a tag of its own, and may cut a name in two. A
    point at which the text, a line before an empty one, or a sentence may end stays alone.

    Returns:
        From left to right, without white space; `text[word.start:word.end] == word.text`.

    Raises:
        ValueError: If `text` is not a string.

    >>> [word.text for word in words_to_tag("Dr. J. Smith left Baker Ltd.")]
    ['Dr.', 'J.', 'Smith', 'left', 'Baker', 'Ltd', '.']
    """
    words = split_words(text)
    joined: list[Word] = []
    for index, word in enumerate(words):
        if _belongs_to_the_one_before(text, words, index):
            joined[-1] = Word(f"{joined[-1].text}.", joined[-1].start, word.end)
        else:
            joined.append(word)
    return joined


def _belongs_to_the_one_before(
    text: str, words: Sequence[tuple[str, int, int]], index: int
) -> bool:
    """Return whether a word is a point that its abbreviation keeps."""
    if words[index][0] != "." or not 0 < index < len(words) - 1:
        return False
    (before, _, end), (_, start, stop), (following, begin, _) = words[index - 1 : index + 2]
    gap = text[stop:begin]
    attached = end == start and bool(gap) and not _BLANK_LINE.search(gap)
    return attached and _keeps_its_point(before, following)


def split_sentences(text: str) -> list[list[Word]]:
    """Cut a raw text into sentences of words, as `words_to_tag` makes them.

    A sentence ends at a point, question mark or exclamation mark that white space follows, unless
    the next word begins in lower case, or the point belongs to an initial (`J. Smith`), a title or
    another common English abbreviation; and at an empty line. Quotes and brackets that close a
    sentence belong to it. Chinese and Japanese marks need no space. In doubt nothing is cut.

    Returns:
        From left to right; together all words of the text.

    Raises:
        ValueError: If `text` is not a string.

    >>> [[word.text for word in one] for one in split_sentences("Dr. Ada left. Bo stayed.")]
    [['Dr.', 'Ada', 'left', '.'], ['Bo', 'stayed', '.']]
    """
    words = words_to_tag(text)
    ends = sentence_ends(text, words)
    return [words[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def sentence_ends(text: str, words: Sequence[tuple[str, int, int]]) -> list[int]:
    """Return for each sentence of a text the index after its last word; the last is `len(words)`.

    Args:
        text: The text.
        words: What `words_to_tag` or `split_words` makes of it.
    """
    if not words:
        return []
    return [index for index in range(1, len(words)) if _begins(text, words, index)] + [len(words)]


def _begins(text: str, words: Sequence[tuple[str, int, int]], index: int) -> bool:
    """Return whether a sentence begins with a word that is not the first."""
    following, start, _ = words[index]
    gap = text[words[index - 1][2] : start]
    if _BLANK_LINE.search(gap):
        return True
    last = index - 1
    while last > 0 and words[last][0] in _CLOSING and words[last][1] == words[last - 1][2]:
        last -= 1
    mark = words[last][0]
    if mark in _WIDE_MARKS:
        return bool(gap) or following not in _CLOSING | _WIDE_MARKS
    if mark not in _MARKS or not gap or following[:1].islower() or following in _MARKS:
        return False
    attached = last > 0 and words[last - 1][2] == words[last][1]
    return not (mark == "." and attached and _keeps_its_point(words[last - 1][0], following))


def _keeps_its_point(word: str, following: str) -> bool:
    """Return whether a point after a word is no end of a sentence."""
    initial = len(word) == 1 and word.isupper()
    number = bool(_BEFORE_NUMBER.fullmatch(word)) and following[:1].isdigit()
    return initial or number or bool(_ABBREVIATION.fullmatch(word))
