"""Texts that are the same or nearly the same."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Two texts that share this much of the shorter one's 8-word runs are taken for one text: a story
# of the BBC told twice, an early and a late version, or a review and a sentence quoted from it.
# Removing only equal texts would leave such pairs in two splits.
NEAR_DUPLICATE_OVERLAP = 0.5
RUN_LENGTH = 8


@dataclass(frozen=True)
class Row:
    """One example before splitting: its id in the source file, its content, its stratum."""

    row_id: str
    text: str  # what is hashed and deduplicated; for tagged sentences, the tokens joined
    stratum: str
    content: dict[str, Any]


def normalize(text: str | Sequence[str]) -> str:
    """Return a text in lower case with single spaces: what makes two texts equal.

    >>> normalize(" A  fine Film")
    'a fine film'
    """
    joined = text if isinstance(text, str) else " ".join(text)
    return " ".join(joined.lower().split())


def deduplicate(rows: Iterable[Row]) -> list[Row]:
    """Keep the first of equal texts; drop a text altogether where its labels disagree."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[normalize(row.text)].append(row)
    return [group[0] for group in groups.values() if len({row.stratum for row in group}) == 1]


def drop_near_duplicates(rows: list[Row]) -> list[Row]:
    """Drop an article that shares `NEAR_DUPLICATE_OVERLAP` of its word runs with an earlier one."""
    known = WordRuns([row.text for row in rows])
    kept: dict[int, Row] = {}
    for index, row in enumerate(rows):
        if kept.keys().isdisjoint(known.near(row.text)):
            kept[index] = row
    return list(kept.values())


class WordRuns:
    """Texts by their runs of words, to ask which of them nearly equal, or quote, another text.

    One sorted array of all runs: a dictionary of the runs of 30,000 reviews takes over a gigabyte.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        runs = [word_runs(text) for text in texts]
        self._sizes = np.array([len(found) for found in runs], dtype=int)
        together = np.concatenate(runs) if runs else np.empty(0, dtype=np.int64)
        order = np.argsort(together, kind="stable")
        self._runs = together[order]
        self._holders = np.repeat(np.arange(len(runs)), self._sizes)[order]

    def near(self, text: str) -> list[int]:
        """Return which texts share `NEAR_DUPLICATE_OVERLAP` of the shorter one's runs."""
        runs = word_runs(text)
        first, end = (np.searchsorted(self._runs, runs, side) for side in ("left", "right"))
        found = [self._holders[a:b] for a, b in zip(first, end, strict=True) if b > a]
        if not found:
            return []
        texts, shared = np.unique(np.concatenate(found), return_counts=True)
        shorter = np.minimum(len(runs), self._sizes[texts])
        return texts[shared >= NEAR_DUPLICATE_OVERLAP * shorter].tolist()


def word_runs(text: str) -> np.ndarray:
    """Return a number per different run of `RUN_LENGTH` words; one for a shorter text."""
    words = re.findall(r"\w+", text.lower())
    last = max(len(words) - RUN_LENGTH, 0)
    runs = {hash(tuple(words[i : i + RUN_LENGTH])) for i in range(last + 1)}
    return np.fromiter(runs, dtype=np.int64, count=len(runs))
