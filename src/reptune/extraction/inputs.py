"""Questions, passages and answers, checked before anything else happens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from reptune.checks import check_unicode, listed

Pair = tuple[str, str]  # a question and a passage
Span = tuple[int, int]  # where an answer begins in a passage and where it ends, in characters


def check_pairs(pairs: Iterable[Any], what: str = "pairs", first: int = 0) -> list[Pair]:
    """Return questions with passages as a list of tuples, or raise before anything else happens.

    Args:
        pairs: Any sequence of pairs of strings.
        what: What to call them in the message.
        first: The number of the first of them, in messages.

    Raises:
        ValueError: If there are none, or one is not two strings of valid Unicode.
    """
    if isinstance(pairs, str | bytes):
        raise ValueError(f"{what} is a single string; pass a list of (question, passage).")
    values = listed(pairs, what, "(question, passage)")
    if not values:
        raise ValueError(f"{what}: there are none; pass at least one (question, passage).")
    checked = []
    for number, value in enumerate(values, first):
        pair = value.tolist() if isinstance(value, np.ndarray) else value
        whole = isinstance(pair, tuple | list) and len(pair) == 2
        if not whole or not all(isinstance(text, str) for text in pair):
            raise ValueError(
                f"{what}[{number}] is {shown(value)}; every pair must be two strings, (question, "
                "passage). Drop such rows or convert them with str()."
            )
        for text in pair:
            check_unicode(text, f"{what}[{number}]")
        checked.append((str(pair[0]), str(pair[1])))
    return checked


def check_answers(
    pairs: Iterable[Any], answers: Iterable[Any], no_answer: bool, of: str = ""
) -> tuple[list[Pair], list[Span | None]]:
    """Return checked pairs, and where each answer stands in its passage, or raise.

    Args:
        pairs: Questions and passages.
        answers: Texts or offsets.
        no_answer: Whether `""` is one; it becomes `None`.
        of: What kind of pairs they are, in the message.

    Raises:
        ValueError: If pairs are bad, the count differs, or an answer does not stand in its passage.

    >>> check_answers([("Who?", "Ada met Ada.")], ["Ada"], no_answer=False)
    ([('Who?', 'Ada met Ada.')], [(0, 3)])
    """
    checked = check_pairs(pairs, f"{of}pairs")
    if isinstance(answers, str | bytes):
        raise ValueError(f"{of}answers is a single string, {answers[:40]!r}; pass one per pair.")
    values = listed(answers, f"{of}answers", "answers")
    if len(values) != len(checked):
        raise ValueError(
            f"{len(checked)} {of}pairs but {len(values)} {of}answers; pass one answer per pair."
        )
    return checked, [
        _span_of(value, passage, no_answer, f"{of}answers[{index}]")
        for index, (value, (_, passage)) in enumerate(zip(values, checked, strict=True))
    ]


def _span_of(answer: Any, passage: str, no_answer: bool, what: str) -> Span | None:
    """Return where an answer stands, without white space around it; `None` for `""`."""
    if isinstance(answer, str) and not answer:
        if no_answer:
            return None
        raise ValueError(
            f"{what} is empty; drop the pair, or set no_answer=True where passages may lack one."
        )
    if isinstance(answer, str):
        check_unicode(answer, what)
        text = answer.strip()
        # Not within a longer word, if it stands anywhere else: "art" is not in "start".
        whole = re.search(rf"(?<!\w){re.escape(text)}(?!\w)", passage)
        start = whole.start() if whole else passage.find(text)
    else:
        start, end = _offsets(answer, passage, what)
        text = passage[start:end].strip()
        start = passage.index(text, start)
    if not text or start < 0:
        raise ValueError(
            f"{what} is {shown(answer)}, which does not stand in its passage letter for letter; "
            "correct it, or drop the pair."
        )
    return start, start + len(text)


def _offsets(answer: Any, passage: str, what: str) -> Span:
    plain = answer.tolist() if isinstance(answer, np.ndarray) else answer
    whole = isinstance(plain, tuple | list) and len(plain) == 2
    numbers = whole and all(
        isinstance(at, int | np.integer) and not isinstance(at, bool) for at in plain
    )
    if not numbers or not 0 <= plain[0] < plain[1] <= len(passage):
        raise ValueError(
            f"{what} is {shown(answer)}; pass a text that stands in the passage, or its (start, "
            f"end) in characters, from 0 to {len(passage)}."
        )
    return int(plain[0]), int(plain[1])


def shown(value: Any) -> str:
    """Return a value as a message shows it: not the whole of a large one."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
