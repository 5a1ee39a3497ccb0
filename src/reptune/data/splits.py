"""Subsets and splits: few-shot draws, fixed subsets, a table cut in three."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sized

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from reptune.checks import (
    check_labels,
    check_number,
    check_random_state,
    check_texts,
    check_whole_number,
)
from reptune.data.duplicates import Row, deduplicate, normalize

SPLITS = ("train", "validation", "test")


def few_shot(dataset: Dataset, per_class: int, random_state: int = 42) -> Dataset:
    """Draw `per_class` rows of each label, without replacement.

    Draws are nested: with the same `random_state`, the rows for 8 per class contain those for 4,
    so that a label curve grows one sample instead of comparing unrelated ones.

    Args:
        dataset: Rows with a `label` column.
        per_class: Rows of each label.
        random_state: Seed of the draw.

    Raises:
        ValueError: If `dataset` has no labels, `per_class` is no positive whole number, or a label
            has too few rows.
    """
    check_dataset(dataset, "dataset", "label")
    per_class = check_whole_number("per_class", per_class)
    check_random_state(random_state)
    labels = check_labels(dataset["label"], len(dataset))
    generator = np.random.default_rng(random_state)
    chosen: list[int] = []
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        if len(rows) < per_class:
            raise ValueError(
                f"class {label.item()!r} has {len(rows)} examples, fewer than "
                f"per_class={per_class}; lower per_class or add examples."
            )
        chosen.extend(rows[:per_class].tolist())
    return dataset.select(generator.permutation(chosen).tolist())


def fixed_subset(dataset: Dataset, items: int) -> Dataset:
    """Return so many rows, always the same ones: what a slow method is scored on.

    Args:
        dataset: A split.
        items: How many; all, where it has fewer.

    Raises:
        ValueError: If `items` is no positive whole number.

    Source: chapter 5.
    """
    check_dataset(dataset, "dataset")
    items = check_whole_number("items", items)
    rows = np.random.default_rng(0).permutation(len(dataset))[:items]
    return dataset.select(rows.tolist()) if items < len(dataset) else dataset


def split_table(table: Dataset, held_out: float = 0.15) -> DatasetDict:
    """Cut a table of your own into `train`, `validation` and `test`, as `load` cuts its data sets.

    The cut is stratified by label and depends on the texts alone, so it is the same everywhere,
    and few rows change their split when others are added. Equal texts (case and spacing aside) are
    kept once, so that none is in two splits, and a text with different labels is dropped; a
    warning counts both.

    Args:
        table: Columns `text` and `label`, as `read_table` returns them.
        held_out: The share of each label's rows in `validation`, and again in `test`; at least
            one row.

    Returns:
        The three splits; `label` is a ClassLabel in all of them, its names the labels, sorted.
        Integer labels are sorted as numbers, and their names are strings.

    Raises:
        ValueError: If there are fewer than two labels, or a label has fewer than three rows.
    """
    check_dataset(table, "table", "text", "label")
    held_out = check_number("held_out", held_out, above=0, most=1 / 3)
    texts = check_texts(table["text"], "column 'text'")
    classes, label_ids = np.unique(check_labels(table["label"], len(texts), 2), return_inverse=True)
    rows = [
        Row(str(index), text, str(label_id), {"text": text, "label": int(label_id)})
        for index, (text, label_id) in enumerate(zip(texts, label_ids, strict=True))
    ]
    kept = deduplicate(rows)
    if len(kept) < len(rows):
        warnings.warn(
            f"{len(rows) - len(kept)} of {len(rows)} rows were left out: their text occurs more "
            "than once, and is kept once, or not at all where its labels differ.",
            stacklevel=2,
        )
    left = [row.content["label"] for row in kept]
    for index, count in enumerate(np.bincount(left, minlength=len(classes))):
        if count < 3:
            raise ValueError(
                f"label {classes[index].item()!r} has {count} different texts; three splits need "
                "at least 3. Add examples, or merge it with another label."
            )
    names = ClassLabel(names=[str(name) for name in classes.tolist()])
    features = Features({"text": Value("string"), "label": names})
    return DatasetDict(
        {
            split: Dataset.from_list([row.content for row in part], features=features)
            for split, part in cut(kept, "own table", held_out, at_least=1).items()
        }
    )


def check_dataset(dataset: Dataset, name: str, *columns: str) -> None:
    """Raise unless this is a `datasets.Dataset` with rows and these columns."""
    if isinstance(dataset, DatasetDict):
        raise ValueError(
            f"{name} holds the splits {', '.join(dataset)}; pass one of them, such as "
            f"splits[{next(iter(dataset), 'train')!r}]."
        )
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"{name} is a {type(dataset).__name__}; pass a datasets.Dataset, such as "
            "Dataset.from_pandas(frame) makes."
        )
    for column in columns:
        if column not in dataset.column_names:
            raise ValueError(
                f"{name} has no column {column!r}; its columns are {dataset.column_names}. "
                f"Rename one with rename_column."
            )
    if len(dataset) == 0:
        raise ValueError(f"{name} has no rows.")


def held_out_texts(texts: Iterable[str]) -> list[str]:
    """Return the texts, checked as those that are kept; there may be none."""
    if isinstance(texts, Iterator):
        texts = list(texts)
    empty = isinstance(texts, Sized) and len(texts) == 0 and not isinstance(texts, str)
    return [] if empty else check_texts(texts, "held_out")


def cut(
    rows: list[Row], name: str, share: float | None = None, at_least: int = 0
) -> dict[str, list[Row]]:
    """Cut each stratum in the order of its texts' hashes: test first, then validation."""
    strata: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: order_of(row, name)):
        strata[row.stratum].append(row)
    share = _HELD_OUT_SHARE[name] if share is None else share
    splits: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for members in strata.values():
        held_out = max(at_least, round(share * len(members)))
        splits["test"] += members[:held_out]
        splits["validation"] += members[held_out : 2 * held_out]
        splits["train"] += members[2 * held_out :]
    # Sorted by hash once more, so that no split comes out sorted by label.
    return {
        split: sorted(part, key=lambda row: order_of(row, name)) for split, part in splits.items()
    }


def order_of(row: Row, name: str) -> str:
    """Return the hash that decides in which split a row lands."""
    return hashlib.sha256(f"{name}:{normalize(row.text)}".encode()).hexdigest()


# The share of rows in validation, and again in test. That of Rotten Tomatoes gives the sizes of
# the published splits, 1,066 each, so that scores rest on equally many sentences.
_HELD_OUT_SHARE = {
    "rotten_tomatoes": 533 / 4265,
    "imdb": 0.1,
    "bbc_news": 0.15,
    "wnut16": 0.15,
    "title_pairs": 0.2,  # of the train articles of bbc_news
}
