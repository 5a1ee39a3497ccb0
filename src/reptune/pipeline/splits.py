"""Folds of your own rows: stratified, with texts that are nearly the same on one side."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from reptune.data.duplicates import WordRuns, normalize
from reptune.pipeline.examples import Examples


def duplicate_groups(texts: Sequence[str]) -> np.ndarray:
    """Return a number per text, the same for texts that are equal or nearly equal.

    Equal means apart from case and spacing; nearly equal, sharing half of the shorter one's runs
    of eight words. A text that nearly equals two others puts all three into one group.

    Args:
        texts: Shape `(n,)`.

    Returns:
        Group numbers, shape `(n,)`, counted from 0 in the order of the groups' first texts.

    >>> duplicate_groups(["a fine film", "dull", "A fine  film"]).tolist()
    [0, 1, 0]
    """
    parents = list(range(len(texts)))

    def root(row: int) -> int:
        while parents[row] != row:
            parents[row] = row = parents[parents[row]]
        return row

    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        parents[row] = first.setdefault(normalize(text), row)
    different = list(first.values())
    known = WordRuns([texts[row] for row in different])
    for index, row in enumerate(different):
        for other in known.near(texts[row]):
            if other < index:
                first_root, last_root = sorted((root(row), root(different[other])))
                parents[last_root] = first_root
    _, groups = np.unique([root(row) for row in range(len(texts))], return_inverse=True)
    return groups


def grouped_folds(
    strata: Sequence[Any], groups: np.ndarray, num_folds: int, random_state: int = 42
) -> np.ndarray:
    """Share rows out among folds: each has its share of each stratum, no group is cut.

    Args:
        strata: What is to be equally frequent in each fold, such as labels, shape `(n,)`.
        groups: What must stay together, shape `(n,)`.
        num_folds: How many folds.
        random_state: Seed of the order.

    Returns:
        The fold of each row, shape `(n,)`.

    Raises:
        ValueError: If there are fewer groups than folds.
    """
    found = len(np.unique(groups))
    if found < num_folds:
        raise ValueError(
            f"{found} different texts cannot be shared out among {num_folds} folds; add texts."
        )
    _, numbers = np.unique(np.asarray(strata), return_inverse=True)
    if np.bincount(numbers).max() < num_folds:  # which scikit-learn refuses
        return _dealt_out(numbers, groups, num_folds, random_state)
    folds = np.empty(len(numbers), dtype=int)
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=random_state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # labels with fewer rows than folds
        for fold, (_, held) in enumerate(splitter.split(numbers, numbers, groups)):
            folds[held] = fold
    return folds


def _dealt_out(
    numbers: np.ndarray, groups: np.ndarray, num_folds: int, random_state: int
) -> np.ndarray:
    """Deal groups out to the folds in turn, those of a stratum one after the other."""
    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(random_state).permutation(len(first))
    order = shuffled[np.argsort(numbers[first[shuffled]], kind="stable")]
    fold_of_group = np.empty(len(first), dtype=int)
    fold_of_group[order] = np.arange(len(first)) % num_folds
    return fold_of_group[group_of]


def texts_of(examples: Examples) -> list[str]:
    """Return one string per row, for looking for duplicates."""
    if examples.kind in ("pair", "tags", "span"):
        return [" ".join(row) for row in examples.inputs]
    return examples.inputs


def strata_of(examples: Examples) -> list[str]:
    """Return what each fold should have its share of: the label, or the row's rarest one."""
    if examples.kind in ("text", "span"):
        return [""] * len(examples)
    if examples.kind in ("label", "pair"):
        return [str(label) for label in examples.targets]
    rows = examples.targets
    if examples.kind == "tags":
        rows = [{tag[2:] for tag in tags if tag != "O"} for tags in rows]
    counts = Counter(label for row in rows for label in row)
    return [
        str(min(row, key=lambda label: (counts[label], str(label)), default="")) for row in rows
    ]


def repeated(groups: np.ndarray) -> int:
    """Return how many rows repeat an earlier one of their group."""
    return len(groups) - len(np.unique(groups))
