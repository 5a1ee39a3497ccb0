"""Tags of words and the entities they spell: BIO2 in, spans out, and the moves that are allowed.

A sentence's tags are a list of strings, one per word: `O` outside, `B-TYPE` where an entity begins,
`I-TYPE` where it goes on. That is BIO2, which everything in this package speaks; `to_bio2` takes
the older IOB1 and the richer BIOES to it. Taught in chapter 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from reptune.checks import check_unicode, check_whole_number, listed, nearest

OUTSIDE = "O"
Scheme = Literal["BIO2", "IOB1", "BIOES"]
LOWEST = -1e9  # a log-probability that nothing real goes below
PREFIXES = {"BIO2": "BI", "IOB1": "BI", "BIOES": "BIOES"}


class Span(NamedTuple):
    """An entity among the words of a sentence.

    Attributes:
        type: Such as `PER`.
        start: Index of the first word.
        end: Index after the last word.

    >>> words = ["I", "met", "Ada", "Lovelace"]
    >>> span = Span("PER", 2, 4)
    >>> words[span.start : span.end]
    ['Ada', 'Lovelace']
    """

    type: str
    start: int
    end: int


def check_sentences(
    tokens: Iterable[Sequence[str]], what: str = "tokens", first: int = 0
) -> list[list[str]]:
    """Return sentences as lists of words, or raise before anything else happens.

    Args:
        tokens: The sentences.
        what: What an error calls them.
        first: Index of the first of them, where they are a part of many.

    Raises:
        ValueError: If there are none, one is empty or a single string, or a word is not a string
            of valid Unicode.
    """
    if isinstance(tokens, str):
        raise ValueError(f"{what} is a single string; pass a list of sentences, each a word list.")
    sentences = _outer(tokens, what, "sentences, each a list of words")
    if not sentences:
        raise ValueError(f"{what}: there are no sentences; pass at least one.")
    for number, sentence in enumerate(sentences, start=first):
        if not _is_row(sentence):
            raise ValueError(
                f"{what}[{number}] is {sentence!r}, not a list of words; "
                "pass a list of sentences, each a list of words."
            )
        if len(sentence) == 0:
            raise ValueError(f"{what}[{number}] is an empty sentence; drop it.")
        for index, word in enumerate(sentence):
            if not isinstance(word, str):
                raise ValueError(
                    f"{what}[{number}][{index}] is {word!r}, a {type(word).__name__}; every word "
                    "must be a string."
                )
            check_unicode(word, f"{what}[{number}][{index}]")
    return [[str(word) for word in sentence] for sentence in sentences]


def check_tags(
    tokens: Sequence[Sequence[str]], tags: Iterable[Sequence[str]], what: str = "tags"
) -> list[list[str]]:
    """Return BIO2 tags as lists, one per word, or raise before anything else happens.

    Raises:
        ValueError: If sentences or words and tags differ in number, a tag is not a BIO tag, or an
            `I-` follows neither `B-` nor `I-` of its type.
    """
    sentences = check_rows(tokens, "tokens", "words")
    rows = check_rows(tags, what)
    if len(rows) != len(sentences):
        raise ValueError(
            f"{len(sentences)} sentences but {len(rows)} lists of {what}; pass one each."
        )
    for number, (words, row) in enumerate(zip(sentences, rows, strict=True)):
        if len(words) != len(row):
            raise ValueError(
                f"sentence {number} has {len(words)} words but {len(row)} {what}; "
                "pass one tag per word."
            )
        for index, tag in enumerate(row):
            _check_tag(tag, f"{what}[{number}][{index}]")
            before = row[index - 1] if index else OUTSIDE
            if not _follows(before, tag):
                raise ValueError(
                    f"{what}[{number}][{index}] is {tag!r} after {before!r}: in BIO2 an entity "
                    "begins with B-; pass the tags through reptune.tags.to_bio2 first."
                )
    return [[str(tag) for tag in row] for row in rows]


def check_rows(rows: Iterable[Sequence[str]], what: str, of: str = "tags") -> list[list[Any]]:
    """Return a list for each sentence, or raise where one is no list.

    A flat list of tags, a string or a mapping would otherwise be read letter by letter or key by
    key.

    Raises:
        ValueError: If `rows` or one of them is not a list.
    """
    if isinstance(rows, str):
        raise ValueError(f"{what} is a single string; pass a list of {of} for each sentence.")
    found = _outer(rows, what, f"lists of {of}, one for each sentence")
    for number, row in enumerate(found):
        if not _is_row(row):
            raise ValueError(f"{what}[{number}] is {row!r}; pass a list of {of}.")
    return [list(row) for row in found]


def _outer(rows: Any, what: str, of: str) -> list[Any]:
    """The rows of a list of lists; an array of two dimensions is one too."""
    if isinstance(rows, bytes):
        raise ValueError(f"{what} is bytes; pass a list of {of}.")
    if isinstance(rows, np.ndarray) and rows.ndim == 2:
        return list(rows)
    return listed(rows, what, of)


def _is_row(row: Any) -> bool:
    if isinstance(row, np.ndarray):
        return row.ndim == 1
    return isinstance(row, Sequence) and not isinstance(row, str | bytes)


def _check_tag(tag: Any, where: str, scheme: str = "BIO2") -> None:
    known = PREFIXES[scheme].replace("O", "")
    if isinstance(tag, str) and tag == OUTSIDE:
        return
    parts = tag.split("-", 1) if isinstance(tag, str) else []
    if len(parts) != 2 or parts[0] not in known or len(parts[0]) != 1 or not parts[1]:
        shown = ", ".join(f"'{prefix}-TYPE'" for prefix in known)
        raise ValueError(f"{where} is {tag!r}, which is no {scheme} tag; use 'O', {shown}.")


def follows(before: str, tag: str) -> bool:
    """Return whether BIO2 allows `tag` after `before`: `I-X` needs `B-X` or `I-X`, else all is.

    Raises:
        ValueError: If either is not `O`, `B-TYPE` or `I-TYPE`.

    >>> follows("B-PER", "I-PER"), follows("O", "I-PER")
    (True, False)
    """
    _check_tag(before, "before")
    _check_tag(tag, "tag")
    return _follows(before, tag)


def _follows(before: str, tag: str) -> bool:
    return not tag.startswith("I-") or (before != OUTSIDE and before[2:] == tag[2:])


def allowed_moves(labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return which tags may begin a sentence and which may follow which, as BIO2 has it.

    Returns:
        Booleans of shape `(num_tags,)` and `(num_tags, num_tags)`, the latter from row to column.

    Raises:
        ValueError: If there are no labels, one is no BIO2 tag, or one occurs twice.

    >>> start, moves = allowed_moves(["O", "B-PER", "I-PER"])
    >>> start.tolist(), moves[0].tolist()
    ([True, True, False], [True, True, False])
    """
    labels = _check_labels(labels)
    start = np.array([_follows(OUTSIDE, tag) for tag in labels])
    moves = np.array([[_follows(before, tag) for tag in labels] for before in labels])
    return start, moves


def _check_labels(labels: Sequence[str]) -> list[str]:
    if isinstance(labels, str | bytes):
        raise ValueError(f"labels is {labels!r}; pass a list of tags.")
    row = listed(labels, "labels", "tags")
    for index, tag in enumerate(row):
        _check_tag(tag, f"labels[{index}]")
    if not row or len(set(row)) < len(row):
        raise ValueError(f"labels are {row}; pass each tag once, and at least one.")
    return row


def count_invalid(tags: Iterable[Sequence[str]]) -> int:
    """Count the words with an `I-` tag that BIO2 does not allow where it stands.

    Raises:
        ValueError: If `tags` is not a list of tags for each sentence, or a tag is no BIO2 tag.

    >>> count_invalid([["O", "I-PER"], ["B-PER", "I-PER"]])
    1
    """
    rows = check_rows(tags, "tags")
    for number, row in enumerate(rows):
        for index, tag in enumerate(row):
            _check_tag(tag, f"tags[{number}][{index}]")
    return sum(
        not _follows(before, tag)
        for row in rows
        for before, tag in zip([OUTSIDE, *row], row, strict=False)
    )


def viterbi(log_probabilities: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Return the likeliest sequence of tags that BIO2 allows.

    Args:
        log_probabilities: Shape `(words, num_tags)`.
        labels: The tags, in the order of the columns; `O` or a `B-` must be among them.

    Returns:
        One tag per word; among equally likely sequences the one with the earlier labels.

    Raises:
        ValueError: If the shape does not fit, a score is NaN or above 1e9, a label is no BIO2 tag,
            or no sentence could begin with any of them.

    Source: Viterbi (1967), with all allowed moves equally likely; taught in chapter 4.

    >>> probabilities = np.array([[0.6, 0.3, 0.1], [0.3, 0.1, 0.6]])
    >>> viterbi(np.log(probabilities), ["O", "B-PER", "I-PER"])  # not the invalid O, I-PER
    ['O', 'O']
    """
    start, moves = allowed_moves(labels)
    if not start.any():
        raise ValueError(f"labels are {list(labels)}; 'O' or a 'B-' must be among them.")
    scores = _log_probabilities(log_probabilities, len(labels))
    best = scores.argmax(axis=1)
    # Where the best tag of every word makes an allowed sequence, nothing can beat it.
    if len(best) == 0 or (start[best[0]] and moves[best[:-1], best[1:]].all()):
        return [labels[index] for index in best]
    barred = np.where(moves, 0.0, -np.inf)
    total = scores[0] + np.where(start, 0.0, -np.inf)
    came_from = np.zeros(scores.shape, dtype=int)
    for word in range(1, len(scores)):
        through = total[:, None] + barred
        came_from[word] = through.argmax(axis=0)
        total = through.max(axis=0) + scores[word]
    path = [int(total.argmax())]
    for word in range(len(scores) - 1, 0, -1):
        path.append(int(came_from[word, path[-1]]))
    return [labels[index] for index in reversed(path)]


def _log_probabilities(values: Any, num_labels: int) -> np.ndarray:
    try:
        scores = np.asarray(values)
        numbers = scores.dtype.kind in "biuf"
    except (TypeError, ValueError):
        numbers = False
    if not numbers:
        raise ValueError("log_probabilities must be numbers, one for each word and label.")
    if scores.ndim != 2 or scores.shape[1] != num_labels:
        raise ValueError(
            f"log_probabilities have shape {scores.shape}; pass (words, {num_labels})."
        )
    if np.isnan(scores).any():
        raise ValueError("log_probabilities hold NaN; look at the model that gave them.")
    if (scores > -LOWEST).any():
        raise ValueError(
            f"log_probabilities hold {scores.max():g}; a log-probability is 0 at most. Look at "
            "the model that gave them."
        )
    # A floor, so that a valid path is found even where the scores allow none.
    return np.maximum(scores.astype(np.float64), LOWEST)


def spans(tags: Sequence[str]) -> list[Span]:
    """Return the entities that a sentence's tags spell, from left to right.

    An `I-` that BIO2 does not allow begins an entity, as in the scorer of CoNLL's shared task and
    in seqeval; so predictions can be scored as they are.

    Raises:
        ValueError: If `tags` is not a list, or a tag is not `O`, `B-TYPE` or `I-TYPE`.

    >>> spans(["O", "B-PER", "I-PER", "B-LOC"])
    [Span(type='PER', start=1, end=3), Span(type='LOC', start=3, end=4)]
    """
    if isinstance(tags, str | bytes):
        raise ValueError(f"tags is {tags!r}; pass a list of tags, one per word.")
    found: list[Span] = []
    before = OUTSIDE
    for index, tag in enumerate(listed(tags, "tags", "tags, one per word")):
        _check_tag(tag, f"tags[{index}]")
        if tag != OUTSIDE:
            if tag.startswith("I-") and _follows(before, tag):
                found[-1] = found[-1]._replace(end=index + 1)
            else:
                found.append(Span(tag[2:], index, index + 1))
        before = tag
    return found


def from_spans(entities: Iterable[Span], num_words: int) -> list[str]:
    """Return the BIO2 tags of a sentence, given its entities: what `spans` undoes.

    Raises:
        ValueError: If an entity lies outside the sentence, is empty, overlaps another, or is not
            a type and two whole numbers.

    >>> from_spans([Span("PER", 1, 3)], num_words=4)
    ['O', 'B-PER', 'I-PER', 'O']
    """
    tags = [OUTSIDE] * check_whole_number("num_words", num_words, least=0)
    for entity in listed(entities, "entities", "Span(type, start, end)"):
        kind, start, end = check_entity(entity)
        if not 0 <= start < end <= num_words:
            raise ValueError(f"{entity} does not lie within the sentence's {num_words} words.")
        if any(tag != OUTSIDE for tag in tags[start:end]):
            raise ValueError(f"{entity} overlaps another entity; BIO2 can hold only one of them.")
        tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    return tags


def check_entity(entity: Any, what: str = "entity") -> tuple[str, int, int]:
    """Return an entity's type, start and end, or raise a `ValueError` that says what it lacks."""
    fields = tuple(entity) if isinstance(entity, tuple | list) else ()
    whole = [
        isinstance(field, int | np.integer) and not isinstance(field, bool) for field in fields[1:]
    ]
    if whole != [True, True] or not isinstance(fields[0], str) or not fields[0]:
        raise ValueError(
            f"{what} is {entity!r}; pass a type, a start and an end, such as ('PER', 0, 2), start "
            "and end as whole numbers."
        )
    return fields[0], int(fields[1]), int(fields[2])


def find_scheme(tags: Iterable[Sequence[str]]) -> Scheme:
    """Return the scheme that some tagged sentences are written in.

    `E-` or `S-` anywhere means BIOES. Else an entity that begins with `I-` means IOB1, where `B-`
    only parts an entity from a neighbor of its type. Else BIO2.

    Raises:
        ValueError: If `tags` is not a list of tags for each sentence, or a tag is of no scheme.

    >>> find_scheme([["I-PER", "I-PER", "O"]]), find_scheme([["B-PER", "E-PER", "O"]])
    ('IOB1', 'BIOES')
    """
    rows = _string_rows(tags)
    if any(tag.startswith(("E-", "S-")) for row in rows for tag in row):
        return "BIOES"
    return "IOB1" if count_invalid(rows) else "BIO2"


def to_bio2(tags: Iterable[Sequence[str]], scheme: Scheme | None = None) -> list[list[str]]:
    """Return tagged sentences in BIO2, given BIO2, IOB1 or BIOES.

    Args:
        tags: A list of tags for each sentence.
        scheme: What they are written in; `None` looks (`find_scheme`).

    Raises:
        ValueError: If the scheme is unknown, a tag is not one of the scheme's, or BIOES or BIO2
            tags do not fit together (an entity that never ends, or goes on from nowhere).

    >>> to_bio2([["B-PER", "E-PER", "O", "S-LOC"]])
    [['B-PER', 'I-PER', 'O', 'B-LOC']]
    """
    rows = _string_rows(tags)
    scheme = find_scheme(rows) if scheme is None else scheme
    if not isinstance(scheme, str) or scheme not in PREFIXES:
        near = nearest(str(scheme), PREFIXES)
        hint = f"did you mean {near!r}?" if near else f"use {', '.join(PREFIXES)}."
        raise ValueError(f"scheme={scheme!r} is unknown; {hint}")
    for number, row in enumerate(rows):
        for index, tag in enumerate(row):
            _check_tag(tag, f"tags[{number}][{index}]", scheme)
    if scheme == "BIOES":
        return [_from_bioes(row, number) for number, row in enumerate(rows)]
    if scheme == "BIO2":
        return check_tags(rows, rows)
    # In IOB1 an I- begins an entity unless it goes on; `spans` reads it so.
    return [from_spans(spans(row), len(row)) for row in rows]


def _string_rows(tags: Iterable[Sequence[str]]) -> list[list[str]]:
    rows = check_rows(tags, "tags")
    for number, row in enumerate(rows):
        for index, tag in enumerate(row):
            if not isinstance(tag, str):
                raise ValueError(f"tags[{number}][{index}] is {tag!r}; every tag is a string.")
    return rows


def _from_bioes(row: list[str], number: int) -> list[str]:
    """B, I, E make an entity of several words, S one of a single word."""
    open_type: str | None = None
    for index, tag in enumerate([*row, OUTSIDE]):
        prefix, kind = (tag[:1], tag[2:] or None) if tag != OUTSIDE else (OUTSIDE, None)
        goes_on = prefix in ("I", "E")
        if goes_on != (open_type is not None) or (goes_on and kind != open_type):
            raise ValueError(
                f"tags[{number}]: {tag!r} at {index} does not fit what comes before it in BIOES; "
                "an entity is S, or B, any number of I, and E of one type."
            )
        open_type = kind if prefix in ("B", "I") else None
    return [tag.replace("S-", "B-", 1).replace("E-", "I-", 1) if tag[:2] in ("S-", "E-") else tag
            for tag in row]  # fmt: skip
