"""Pairs of texts: titles and openings of news articles, which belong together or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from reptune.data.catalog import split_rows
from reptune.data.duplicates import Row, normalize
from reptune.data.splits import cut, order_of

OPENING_WORDS = 40  # of an article, in a pair of title and opening


def title_pairs() -> DatasetDict:
    """Return pairs of a title and an article's opening: does the one belong to the other?

    Made from the train split of `bbc_news` alone, so that no article on which chapter 2
    validates or tests is among them. **Do not score on them what has read that split.** The starts
    of `reptune.models.lowrank` have: their masked language models were trained on the texts of all
    these articles, in which each title stands above its own opening, those of `validation` and
    `test` included. For models that have not read them, such as the sentence encoders as they are
    published, every split is safe. Chapter 6 scores pairs of `bbc_news`'s own validation and test
    articles instead.

    Of articles with equal titles or equal openings the first is kept. Each article gives one pair:
    the splits (60/20/20) are cut by topic in the order of a hash of the text, as everywhere in this
    module, and a title only ever moves within its split. So no title and no opening is in two
    splits, and within a split each title and each opening stands in one pair, which makes neither
    of them tell the label alone. Half of the pairs are of one article; the titles of the others
    come half from another article of the same topic and half from another topic. Nothing is drawn
    at random: the pairs are the same everywhere.

    Returns:
        `train`, `validation` and `test` with the columns `title` (str, the article's first line),
        `opening` (str, the first 40 words below it), `label` (ClassLabel, `other` or `same`), and
        `relatedness` (float32): 1.0 for an article's own title, 0.5 for that of another article
        of its topic, 0.0 for one from another topic.

    Raises:
        reptune.assets.AssetUnavailable: If the data cannot be had.

    Source: chapter 6.
    """
    articles = _with_unique_parts(split_rows("bbc_news")["train"])
    splits = cut(articles, "title_pairs")
    return DatasetDict(
        {
            split: Dataset.from_list(_paired(rows), features=_pair_features())
            for split, rows in splits.items()
        }
    )


def _title_and_opening(row: Row) -> tuple[str, str]:
    title, _, body = row.text.partition("\n")
    return " ".join(title.split()), " ".join(body.split()[:OPENING_WORDS])


def _with_unique_parts(rows: Iterable[Row]) -> list[Row]:
    """Return the rows without those whose title or opening an earlier one has, case aside."""
    seen: set[tuple[int, str]] = set()
    kept = []
    for row in rows:
        parts = set(enumerate(map(normalize, _title_and_opening(row))))
        if parts.isdisjoint(seen):
            kept.append(row)
        seen |= parts
    return kept


def _paired(rows: list[Row]) -> list[dict[str, Any]]:
    """Return one pair per row, with the titles of the rows, in part swapped."""
    # By another hash than the one that cut: the least hashes left over by the cut are all of one
    # topic, and the first rows would be too.
    rows = sorted(rows, key=lambda row: order_of(row, "title_pairs, order"))
    by_topic = sorted(range(len(rows)), key=lambda index: rows[index].stratum)
    source = list(range(len(rows)))  # whose title each row gets: its own at first
    for index, giver in (*_swapped_within_topics(rows, by_topic[1::4]), *_turned(by_topic[3::4])):
        source[index] = giver
    pairs = []
    for index, row in enumerate(rows):
        giver = rows[source[index]]
        related = 1.0 if giver is row else 0.5 if giver.stratum == row.stratum else 0.0
        pairs.append(
            {
                "title": _title_and_opening(giver)[0],
                "opening": _title_and_opening(row)[1],
                "label": int(giver is row),
                "relatedness": related,
            }
        )
    return pairs


def _swapped_within_topics(rows: list[Row], indices: list[int]) -> Iterator[tuple[int, int]]:
    """Yield each index with the next one of its topic, the last with the first."""
    topics: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        topics[rows[index].stratum].append(index)
    for members in topics.values():
        yield from zip(members, members[1:] + members[:1], strict=True)


def _turned(indices: list[int]) -> Iterator[tuple[int, int]]:
    """Yield each index with the one half a turn on.

    The indices are sorted by topic, and no topic has half of them, so that the two differ in topic.
    """
    half = len(indices) // 2
    yield from zip(indices, indices[half:] + indices[:half], strict=True)


def _pair_features() -> Features:
    return Features(
        {
            "title": Value("string"),
            "opening": Value("string"),
            "label": ClassLabel(names=["other", "same"]),
            "relatedness": Value("float32"),
        }
    )
