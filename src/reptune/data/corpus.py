"""Texts of a domain to pretrain on: clean, each once, and none that a score is taken on."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from reptune.checks import check_texts
from reptune.data.duplicates import WordRuns, normalize
from reptune.data.splits import held_out_texts


def domain_corpus(
    texts: Iterable[str], held_out: Iterable[str] = ()
) -> tuple[list[str], dict[str, int]]:
    """Return texts to pretrain on: without markup, each once, none that a score is taken on.

    Args:
        texts: Texts of the domain; labels are not needed.
        held_out: Every text that will be used for validation or test, of all tasks.

    Returns:
        The texts that are left, cleaned and in their order, and how many were `read`, `empty`,
        `repeated` (equal to an earlier one, case and spacing aside) and `held out`: equal to a
        held-out text, nearly so (half of the shorter one's runs of eight words are shared), or
        with a held-out text of eight words or more inside.

    Raises:
        ValueError: If a text is not a string, or one string is passed for a list of them.

    Source: chapter 3.

    >>> domain_corpus(["A <b>fine</b> film.", "a fine film.", "Dull."], held_out=["dull."])
    (['A fine film.'], {'read': 3, 'empty': 0, 'repeated': 1, 'held out': 1})
    """
    counts = {"read": 0, "empty": 0, "repeated": 0, "held out": 0}
    to_avoid = [clean_markup(text) for text in held_out_texts(held_out)]
    equal, known = {normalize(text) for text in to_avoid}, WordRuns(to_avoid)
    kept: dict[str, str] = {}
    for text in check_texts(texts):
        counts["read"] += 1
        cleaned = clean_markup(text)
        key = normalize(cleaned)
        if not key:
            counts["empty"] += 1
        elif key in kept:
            counts["repeated"] += 1
        elif key in equal or known.near(cleaned):
            counts["held out"] += 1
        else:
            kept[key] = cleaned
    return list(kept.values()), counts


def clean_markup(text: str) -> str:
    """Return a text without HTML tags and entities, its white space as single spaces.

    Raises:
        ValueError: If `text` is not a string.

    >>> clean_markup("A fine film.<br />Watch it &amp; weep.")
    'A fine film. Watch it & weep.'
    """
    if not isinstance(text, str):
        raise ValueError(f"text is {text!r}, a {type(text).__name__}; pass one string.")
    return " ".join(html.unescape(re.sub(r"</?[a-zA-Z][^<>]*>", " ", text)).split())
