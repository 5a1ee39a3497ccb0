"""Tagged sentences of your own: words of a raw text, and readers for columns and for spans.

Taught in chapter 4.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reptune.checks import check_unicode, listed
from reptune.data.files import existing_file, file_text, json_object
from reptune.tags import Scheme, Span, check_entity, check_sentences, from_spans, to_bio2

if TYPE_CHECKING:
    from datasets import Dataset

DOCUMENT_START = "-DOCSTART-"
_TAG = re.compile(r"O|[BIES]-\S+")  # at the end of a line that might be a comment
_ANY_TAG = re.compile(r"O|[BIES]-.+")
ZERO_WIDTH_JOINER = "\u200d"  # makes one emoji of several
SKIN_TONES = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"


class Word(NamedTuple):
    """A word of a raw text and where it stands: `text == original[start:end]`.

    >>> Word("Ada", 6, 9).text == "I met Ada."[6:9]
    True
    """

    text: str
    start: int
    end: int


# --- words of a raw text -------------------------------------------------------------------------


_NAMED = {"-": "-", "&": "-", "'": "'", "’": "'", ".": ".", ",": ",", ZERO_WIDTH_JOINER: "j"}
_REGIONAL = range(0x1F1E6, 0x1F200)  # two of these letters make a flag


class _Kinds(dict):
    """A letter for each character's kind, found once per character."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if character in _NAMED:
            kind = _NAMED[character]
        elif category.startswith("N"):
            kind = "d"
        elif category.startswith("L") or character == "_":
            kind = "a"
        elif code in _REGIONAL:
            kind = "r"
        elif category.startswith("M") or category == "Cf" or character in SKIN_TONES:
            kind = "m"  # accents and skin tones belong to what stands before them
        else:
            kind = " " if category[0] in "ZC" else "p"
        self[code] = kind
        return kind


_KINDS = _Kinds()
_MARKS = "[mj]*"
_LETTER, _DIGIT, _ANY = f"a{_MARKS}", f"d{_MARKS}", f"[ad]{_MARKS}"
# Over the characters' kinds, so that accents, scripts and emoji need no tables of their own.
_WORD = re.compile(
    rf"(?:{_LETTER}\.){{2,}}(?:{_LETTER}(?!{_ANY}))?"  # U.S., J.R.R., U.S.A
    rf"|{_LETTER}'(?:{_LETTER}){{3,}}(?:-(?:{_ANY})+)*"  # O'Brien, but not X's or I'll
    rf"|(?:{_ANY})+(?:-(?:{_ANY})+|(?<=d)[.,](?:{_DIGIT})+)*"  # Rolls-Royce, R&D, 3.5, 1,000
    rf"|(?<=[admj.])'(?:{_ANY})+"  # 's, 're; after a space the quote stands alone
    rf"|r{_MARKS}r{_MARKS}"  # flags
    r"|[^ ](?:m|j[^ ]?)*"  # every other visible character by itself; emoji that are joined
)


def split_words(text: str) -> list[Word]:
    """Cut a raw text into words the way tagged corpora do, and keep where each stands.

    Letters and digits stay together, with hyphens and ampersands between them (`Rolls-Royce`),
    points and commas in numbers (`3.5`, `1,000`) and points after single letters (`U.S.`); a
    possessive `'s` and each punctuation mark is a word of its own. Combining marks and joiners stay
    with the character before them, so that no emoji is cut.

    Returns:
        From left to right, without whitespace; `text[word.start:word.end] == word.text`.

    Raises:
        ValueError: If `text` is not a string.

    >>> [word.text for word in split_words("Rolls-Royce's R&D cost $3.5 m.")]
    ['Rolls-Royce', "'s", 'R&D', 'cost', '$', '3.5', 'm', '.']
    """
    _check_text(text)
    # One kind per character, so that indices in `kinds` are indices in the text.
    kinds = text.translate(_KINDS)
    return [
        Word(text[found.start() : found.end()], found.start(), found.end())
        for found in _WORD.finditer(kinds)
    ]


def _check_text(text: Any) -> None:
    if not isinstance(text, str):
        raise ValueError(f"text is {text!r}, a {type(text).__name__}; pass one string.")


# --- readers -------------------------------------------------------------------------------------


def read_columns(
    path: str | Path,
    token_column: int = 0,
    tag_column: int = -1,
    separator: str | None = None,
    scheme: Scheme | None = None,
) -> Dataset:
    """Read tagged sentences in CoNLL's columns: one word per line, a blank line between sentences.

    Args:
        path: The file, UTF-8.
        token_column: Which column holds the word; counts from 0, negative ones from the end.
        tag_column: Which column holds the tag.
        separator: What parts the columns; `None` for any whitespace.
        scheme: `"BIO2"`, `"IOB1"` or `"BIOES"`; `None` looks. BIO2 comes out.

    Returns:
        A data set with the columns `tokens` and `ner_tags`. `-DOCSTART-` lines are left out, and
        comments: lines that begin with a number sign and a space and do not end with a tag.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line has too few columns or no tag where one should be (it says which
            line), a tag does not fit the one before, or there are no sentences.
    """
    path = existing_file(path)
    _check_columns(token_column, tag_column, separator)
    sentences: list[list[tuple[str, str]]] = [[]]
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            sentences.append([])
            continue
        fields = line.split(separator)
        comment = line.startswith("# ") and not _TAG.fullmatch(fields[-1])
        if comment or fields[0] == DOCUMENT_START:
            continue
        word, tag = _word_and_tag(fields, token_column, tag_column)
        if len(fields) < 2 or not word or not tag:
            raise ValueError(
                f"{path.name}, line {number}: {line!r} holds no word and tag in columns "
                f"{token_column} and {tag_column}; check separator={separator!r} and the columns."
            )
        if not _ANY_TAG.fullmatch(tag):
            raise ValueError(
                f"{path.name}, line {number}: {tag!r} in column {tag_column} is no tag; a tag is "
                "'O', 'B-TYPE', 'I-TYPE', 'E-TYPE' or 'S-TYPE'. Check tag_column."
            )
        sentences[-1].append((word, tag))
    kept = [rows for rows in sentences if rows]
    return _dataset(
        [[word for word, _ in rows] for rows in kept],
        [[tag for _, tag in rows] for rows in kept],
        path,
        scheme,
    )


def _check_columns(token_column: int, tag_column: int, separator: str | None) -> None:
    for name, column in (("token_column", token_column), ("tag_column", tag_column)):
        if not isinstance(column, int) or isinstance(column, bool):
            raise ValueError(f"{name}={column!r}; use a whole number, such as 0 or -1.")
    if separator is not None and (not isinstance(separator, str) or not separator):
        raise ValueError(f"separator={separator!r}; use a string such as '\t', or None.")


def _word_and_tag(fields: list[str], token_column: int, tag_column: int) -> tuple[str, str]:
    """Return both, or empty strings where the line is too short or both would be the same field."""
    try:
        indices = range(len(fields))
        word_at, tag_at = indices[token_column], indices[tag_column]
    except IndexError:
        return "", ""
    return ("", "") if word_at == tag_at else (fields[word_at].strip(), fields[tag_at].strip())


def read_spans(
    path: str | Path,
    text: str = "text",
    spans: str = "spans",
    start: str = "start",
    end: str = "end",
    label: str = "label",
) -> Dataset:
    """Read texts with character spans from JSON lines, as labeling tools export them.

    A line is `{"text": "Ada was here", "spans": [{"start": 0, "end": 3, "label": "PER"}]}`. The
    names of the fields are yours to set; a span may also be a list `[start, end, label]`.

    Returns:
        A data set with the columns `tokens` (by `split_words`) and `ner_tags` (BIO2).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is no such object, or a span lies outside its text, overlaps another
            or begins or ends within a word. It says which line.
    """
    names = {"text": text, "spans": spans, "start": start, "end": end, "label": label}
    for parameter, name in names.items():
        if not isinstance(name, str):
            raise ValueError(f"{parameter}={name!r}; pass a field's name, a string.")
    path = existing_file(path)
    tokens, tags = [], []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        row = json_object(line, where)
        for name in (text, spans):
            if name not in row:
                raise ValueError(f"{where} has no {name!r}; its fields are {', '.join(row)}.")
        if not isinstance(row[text], str):
            raise ValueError(f"{where}: {text!r} is {row[text]!r}; it must be a string.")
        check_unicode(row[text], f"{where}: {text!r}")
        if not isinstance(row[spans], list):
            raise ValueError(f"{where}: {spans!r} is {row[spans]!r}; it must be a list.")
        found = [_span_fields(span, (start, end, label), where) for span in row[spans]]
        words = split_words(row[text])
        row_tags = _tags_of(row[text], words, found, where)
        if words:
            tokens.append([word.text for word in words])
            tags.append(row_tags)
    return _dataset(tokens, tags, path, "BIO2")


def tags_from_spans(
    text: str, words: Sequence[Word], spans: Iterable[tuple[int, int, str]]
) -> list[str]:
    """Return the BIO2 tags of a text's words, given spans of characters.

    Args:
        text: The text.
        words: Its words, as `split_words` returns them.
        spans: `(start, end, type)`, in characters, `end` exclusive; spaces at a span's ends are
            taken off.

    Raises:
        ValueError: If a span lies outside the text, overlaps another, or begins or ends within a
            word; if a word is not in the text where it says.

    >>> text = "I met Ada Lovelace."
    >>> tags_from_spans(text, split_words(text), [(6, 18, "PER")])
    ['O', 'O', 'B-PER', 'I-PER', 'O']
    """
    _check_text(text)
    words = _checked_words(text, words)
    begins = {word.start: index for index, word in enumerate(words)}
    ends = {word.end: index + 1 for index, word in enumerate(words)}
    found = []
    for number, span in enumerate(listed(spans, "spans", "(start, end, type)")):
        if not isinstance(span, tuple | list) or len(span) != 3:
            raise ValueError(f"spans[{number}] is {span!r}; pass (start, end, type).")
        kind, start, end = check_entity((span[2], span[0], span[1]), f"spans[{number}]")
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"the span {start}:{end} ({kind}) does not lie within the text's "
                f"{len(text)} characters; end is exclusive."
            )
        shown = text[start:end]
        first, last = start, end
        while first < end and _KINDS[ord(text[first])] == " ":
            first += 1
        while last > first and _KINDS[ord(text[last - 1])] == " ":
            last -= 1
        if first == last:
            raise ValueError(f"the span {start}:{end} ({kind}, {shown!r}) holds no word.")
        if first not in begins or last not in ends:
            raise ValueError(
                f"the span {start}:{end} ({kind}, {shown!r}) begins or ends within a word; "
                f"the words there are {_near(words, start, end)}."
            )
        found.append(Span(kind, begins[first], ends[last]))
    return from_spans(found, len(words))


def _checked_words(text: str, words: Sequence[Word]) -> list[Word]:
    found = listed(words, "words", "words, as split_words returns them")
    for word in found:
        if not isinstance(word, Word) or text[word.start : word.end] != word.text:
            raise ValueError(
                f"{word!r} is no word of this text; pass split_words(text) of the same text."
            )
    return found


def _near(words: Sequence[Word], start: int, end: int) -> list[str]:
    return [word.text for word in words if word.end > start and word.start < end]


def _tags_of(text: str, words: list[Word], spans: list, where: str) -> list[str]:
    try:
        return tags_from_spans(text, words, spans)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _span_fields(span: Any, names: tuple[str, str, str], where: str) -> tuple[int, int, str]:
    values = span
    if isinstance(span, Mapping):
        missing = [name for name in names if name not in span]
        if missing:
            raise ValueError(f"{where}: the span {span!r} lacks {', '.join(missing)}.")
        values = [span[name] for name in names]
    start, end, kind = values if isinstance(values, list) and len(values) == 3 else [None] * 3
    if not (type(start) is int and type(end) is int and isinstance(kind, str) and kind):
        raise ValueError(
            f"{where}: the span {span!r} needs whole numbers for start and end and a label."
        )
    return start, end, kind


def _lines(path: Path) -> list[str]:
    # Not splitlines: a word may hold one of the exotic line ends it knows.
    return file_text(path).replace("\r\n", "\n").split("\n")


def tagged_dataset(tokens: list[list[str]], tags: list[list[str]]) -> Dataset:
    """Return a data set with the columns `tokens` and `ner_tags`, both lists of strings."""
    from datasets import Dataset, Features, List, Value

    features = Features({"tokens": List(Value("string")), "ner_tags": List(Value("string"))})
    return Dataset.from_dict({"tokens": tokens, "ner_tags": tags}, features=features)


def _dataset(
    tokens: list[list[str]], tags: list[list[str]], path: Path, scheme: Scheme | None
) -> Dataset:
    if not tokens:
        raise ValueError(f"{path.name} holds no sentence; check the file and the columns.")
    check_sentences(tokens, path.name)
    return tagged_dataset(tokens, to_bio2(tags, scheme))
