"""From an instruction to the data sets that may fit it, and to rows of one (chapter 7)."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import reptune.needs_torch  # noqa: F401

import numpy as np
from datasets import ClassLabel, Dataset

from reptune import assets, data
from reptune.checks import check_number, check_whole_number, nearest, seed_of
from reptune.prompt2model.catalog import DataSetEntry, data_sets, originals
from reptune.prompt2model.labels import DeclinedError, match_labels
from reptune.prompt2model.ranking import Embedder, VectorIndex, WordIndex, z_scores
from reptune.prompt2model.task import Sample, Task
from reptune.tags import spans

logger = logging.getLogger(__name__)

Method = Literal["sum", "fusion", "bm25", "cosine"]

# Below this cosine of instruction and entry, none fits. Chosen by the study ch07_retrieval on half
# of 106 instructions with a data set of their own and of 40 without one. On the other half it
# takes something for 86% of the former and for 9% of the latter; for 65% the right one is among
# what may be taken.
THRESHOLD = 0.39
MOST_ROWS = 3000  # of a split, as in the paper

# By what names the data that this book can fetch go about, and what was made from them: a target
# is not to come back under one of them. Squashed: lower case, letters and digits only.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "imdb": ("imdb", "largemoviereview", "p111015"),
    # The Stanford Sentiment Treebank parses the sentences of Rotten Tomatoes.
    "rotten_tomatoes": ("rottentomatoes", "moviereviewpolarity", "cornellmoviereview", "sst2",
                        "sst5", "stanfordsentiment", "p051015"),
    "bbc_news": ("bbcnews", "newsofthebbc", "bbcfulltext", "datasetsbbc"),
    "conll2003": ("conll2003", "conll03", "reuterscorpus", "w030419"),
    "wnut16": ("wnut16", "wnut2016", "w163919"),
}  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A data set that may fit.

    Attributes:
        entry: What the catalog says of it.
        score: What candidates are ordered by.
        similarity: Cosine of the instruction and the entry, to judge whether it fits at all.
        scores: The parts of `score`, by name.
    """

    entry: DataSetEntry
    score: float
    similarity: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Retrieved:
    """What a retrieval gave.

    Attributes:
        candidates: The best, best first; empty if nothing may be retrieved.
        chosen: Where `samples` are from; `None` if from nowhere.
        samples: The rows, with the task's labels; empty if there are none.
        reasons: Why candidates were passed over, and what was assumed, each a sentence.
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate | None = None
    samples: tuple[Sample, ...] = ()
    reasons: tuple[str, ...] = ()


class DatasetRetriever(Protocol):
    """What finds data for a task."""

    def retrieve(
        self,
        task: Task,
        *,
        exclude: Collection[str] = (),
        choose: Callable[[Sequence[Candidate]], int | None] | None = None,
        limit: int = MOST_ROWS,
        random_state: int | None = 0,
    ) -> Retrieved:
        """Return candidates for a task, and rows of one of them."""
        ...


class CatalogRetriever:
    """Data sets of a catalog, ranked for an instruction.

    An entry's name and description are scored by BM25 and by the cosine of sentence vectors, and
    the two scores are summed as z-scores. Both are texts of strangers, as rows are: they are
    compared and shown, and nothing in them is followed.

    Args:
        entries: The data sets to choose from; `None` takes the catalog's that hold English text
            and copy no other.
        method: `"sum"`; `"bm25"` or `"cosine"` alone; or `"fusion"`, which scores names and
            descriptions apart and sums four z-scores. In the study that is no better than BM25.
        model: The sentence encoder: an asset's name, a local folder or a Hub id.
        strip_names: Whether names of data sets are taken out of an instruction, so that it is
            found by what it says.
        top: Candidates that a search returns.
        threshold: The similarity below which an automatic choice takes none. The default was
            chosen by the study `ch07_retrieval`; for 35% of the instructions that have a data set
            in the catalog it leaves that one out.

    Raises:
        ValueError: If an argument is bad, or the package `bm25s` is missing.
        reptune.assets.AssetUnavailable: If catalog or model cannot be had.

    >>> films = DataSetEntry("Films", description="Reviews of movies, positive or negative")
    >>> dishes = DataSetEntry("Dishes", description="Recipes by country")
    >>> retriever = CatalogRetriever([films, dishes])
    >>> [found.entry.name for found in retriever.search("Tell whether a movie review is positive.")]
    ['Films', 'Dishes']

    Source: Viswanathan et al., *DataFinder* (2023) and *Prompt2Model* (2023); chapter 7.
    """

    def __init__(
        self,
        entries: Iterable[DataSetEntry] | None = None,
        *,
        method: Method = "sum",
        model: str | Path = "all-MiniLM-L6-v2",
        strip_names: bool = False,
        top: int = 25,
        threshold: float = THRESHOLD,
    ) -> None:
        if method not in get_args(Method):
            raise ValueError(f"method={method!r}; use one of {', '.join(get_args(Method))}.")
        self._method, self._strip = method, strip_names
        self._top = check_whole_number("top", top)
        self._threshold = check_number("threshold", threshold, least=-1, most=1)
        if entries is None:
            entries = originals(one for one in data_sets() if "eng" in one.languages)
        self._entries = list(entries)
        names = [entry.name for entry in self._entries]
        # Where there is no description, the name stands for it: an empty text resembles anything.
        told = [entry.description or entry.name for entry in self._entries]
        both = [f"{name}. {text}" for name, text in zip(names, told, strict=True)]
        self._words = {key: WordIndex(texts) for key, texts in _fields(method, names, told, both)}
        self._embedder = Embedder(model)
        self._vectors = {
            key: VectorIndex(texts, self._embedder)
            for key, texts in {"name": names, "description": told, "both": both}.items()
        }

    def search(self, instruction: str, exclude: Collection[str] = ()) -> list[Candidate]:
        """Return the best candidates, best first.

        Args:
            instruction: What to do, in English.
            exclude: Data sets never to return, nor any copy of them: names in the catalog, Hub
                ids, names that `reptune.data.load` takes, or parts of a name of at least four
                letters. What was made from IMDB or Rotten Tomatoes is known by other names, too.

        Returns:
            At most `top`; none if all are excluded.

        Raises:
            ValueError: If the instruction is empty, or an excluded name is likely misspelled.
        """
        if not isinstance(instruction, str) or not instruction.strip():
            raise ValueError(f"instruction={instruction!r}; say in a sentence what to do.")
        if self._strip:
            instruction = strip_names(instruction, self._entries)
        left_out = excluded(self._entries, exclude)
        parts = self.scores(instruction)
        total = _summed(parts)
        similarity = self._vectors["both"].scores(instruction)
        order = [row for row in np.argsort(-total, kind="stable").tolist() if row not in left_out]
        return [
            Candidate(
                self._entries[row],
                float(total[row]),
                float(similarity[row]),
                {key: float(part[row]) for key, part in parts.items()},
            )
            for row in order[: self._top]
        ]

    def total(self, instruction: str) -> np.ndarray:
        """Return what candidates are ordered by, shape `(num_entries,)`, float."""
        return _summed(self.scores(instruction))

    def scores(self, instruction: str) -> dict[str, np.ndarray]:
        """Return the scores that are summed, by name, each of shape `(num_entries,)`, float."""
        keys = [key for key, _ in _fields(self._method, [], [], [])]
        found = {}
        if self._method != "cosine":
            found |= {f"bm25 {key}": self._words[key].scores(instruction) for key in keys}
        if self._method != "bm25":
            found |= {f"cosine {key}": self._vectors[key].scores(instruction) for key in keys}
        return found

    def retrieve(
        self,
        task: Task,
        *,
        exclude: Collection[str] = (),
        choose: Callable[[Sequence[Candidate]], int | None] | None = None,
        limit: int = MOST_ROWS,
        random_state: int | None = 0,
    ) -> Retrieved:
        """Search, choose and fetch.

        The automatic choice is the first candidate that is similar enough, can be fetched, and
        whose labels stand for the task's. Better ones that cannot be fetched are among `reasons`,
        with their Hub ids.

        Args:
            task: What the prompt asks for.
            exclude: As `search`.
            choose: The user's choice: from the candidates to the index of one, or `None` for
                none of them. It is not second-guessed: if its rows cannot be had, there are none.
            limit: Rows at most.
            random_state: Seed of the order of the rows.

        Raises:
            ValueError: As `search`, or if `choose` returns no index of a candidate.
        """
        found = tuple(self.search(task.instruction, exclude))
        reasons: list[str] = [] if found else ["No data set of the catalog may be retrieved."]
        if choose is None:
            tried = [one for one in found if one.similarity >= self._threshold]
            if found and not tried:
                best = max(one.similarity for one in found)
                reasons.append(f"None fits: the most similar has {best:.3f}, below "
                               f"{self._threshold:.3f}.")  # fmt: skip
        else:
            tried = _picked(found, choose)
            reasons += [] if tried or not found else ["None was chosen."]
        for candidate in tried:
            try:
                samples = self.rows(candidate, task, limit, random_state)
            except (DeclinedError, assets.AssetError) as error:
                reasons.append(f"{candidate.entry.name}: {error}")
            else:
                return Retrieved(found, candidate, tuple(samples), tuple(reasons))
        return Retrieved(found, reasons=tuple(reasons))

    def rows(
        self,
        candidate: Candidate | DataSetEntry,
        task: Task,
        limit: int = MOST_ROWS,
        random_state: int | None = 0,
        *,
        split: str = "train",
        columns: tuple[str, str] | None = None,
    ) -> list[Sample]:
        """Return rows of a data set as a task wants them, shuffled.

        Args:
            candidate: What to fetch.
            task: Whose labels the rows shall have.
            limit: Rows at most.
            random_state: Seed of the order.
            split: Which of `train`, `validation` and `test`.
            columns: Those of input and label; `None` takes the only ones that can be.

        Raises:
            DeclinedError: If this book cannot fetch the data, or its columns or labels do not
                answer the task; the message says which.
            ValueError: If another argument is bad.
            reptune.assets.AssetUnavailable: If the data cannot be had.
        """
        check_whole_number("limit", limit)
        entry = candidate.entry if isinstance(candidate, Candidate) else candidate
        if not entry.obtainable:
            raise DeclinedError(f"this book cannot fetch it{_where(entry)}.")
        if task.kind not in ("classification", "extraction") or task.has_question:
            raise DeclinedError(
                "its rows hold labels or entities, which the task does not ask for."
            )
        splits = data.load(entry.loader)
        if split not in splits:
            raise ValueError(f"split={split!r}; {entry.name} has {', '.join(splits)}.")
        order = np.random.default_rng(seed_of(random_state)).permutation(len(splits[split]))
        origin = {"by": "retrieved", "data_set": entry.name, "hub_id": entry.hub_id, "split": split}
        make = _labeled if task.kind == "classification" else _tagged
        found = make(splits[split], task, self._embedder, columns)
        samples = (found(row, {**origin, "row": row}) for row in order.tolist())
        return list(itertools.islice(filter(None, samples), limit))


def strip_names(instruction: str, entries: Iterable[DataSetEntry]) -> str:
    """Take names of data sets out of an instruction.

    A name is a word with a capital or a digit, not the first of its sentence, that the name of an
    entry begins with or holds; so "IMDB" goes, and "emotion", which is a name as well as a word,
    stays.

    >>> strip_names("Tell the mood of a review from IMDB.", [DataSetEntry("ImdbClassification")])
    'Tell the mood of a review from.'
    """
    names = [_squashed(entry.name) for entry in entries]

    def is_name(match: re.Match) -> bool:
        word, before = match[0], instruction[: match.start()].rstrip()
        first = not before or before[-1] in ".:!?"
        marked = any(sign.isupper() for sign in word[1:]) or any(sign.isdigit() for sign in word)
        capital = word[0].isupper() and not first
        squashed = _squashed(word)
        return (marked or capital) and len(squashed) > 2 and any(squashed in one for one in names)

    kept = re.sub(r"\w[\w-]*", lambda match: "" if is_name(match) else match[0], instruction)
    return re.sub(r" +([.,;:]|$)", r"\1", re.sub(r"  +", " ", kept)).strip() or instruction


def excluded(entries: Sequence[DataSetEntry], names: Collection[str]) -> set[int]:
    """Return the indices of the entries that one of the names means, and of all that copy them.

    Raises:
        ValueError: If a name means none of them but is near one.

    >>> films = [DataSetEntry("A", "stanfordnlp/imdb"), DataSetEntry("B", copy_of="A"),
    ...          DataSetEntry("ImdbVNClassification"), DataSetEntry("Tweets")]
    >>> sorted(excluded(films, ["imdb"]))
    [0, 1, 2]
    """
    if isinstance(names, str):
        raise ValueError(f"exclude={names!r} is one text; pass a list of them: [{names!r}].")
    found: set[int] = set()
    for name in names:
        hits = {row for row, entry in enumerate(entries) if _means(name, entry)}
        if not hits:
            _check_spelling(name, entries)
        found |= hits
    return _with_copies(entries, found)


def _means(name: str, entry: DataSetEntry) -> bool:
    """Tell whether a name, or another name of the same data, means an entry."""
    wanted = _squashed(name)
    own = [_squashed(text) for text in (entry.name, entry.hub_id)]
    short = [_squashed(entry.hub_id.rpartition("/")[2]), _squashed(entry.loader)]
    if wanted and (wanted in own + short or (len(wanted) >= 4 and any(wanted in t for t in own))):
        return True
    told = _squashed(" ".join((entry.name, entry.hub_id, entry.description, entry.reference)))
    families = [(_squashed(loader), *aliases) for loader, aliases in _ALIASES.items()]
    return any(
        any(alias in told for alias in family[1:])
        for family in families
        if any(alias in wanted for alias in family)
    )


def _check_spelling(name: str, entries: Sequence[DataSetEntry]) -> None:
    known = [*data.names(), *(entry.name for entry in entries), *(e.hub_id for e in entries)]
    near = nearest(name, [one for one in known if one])
    if near and len(name) >= 4:
        raise ValueError(f"exclude: no data set is called {name!r}; did you mean {near!r}?")
    logger.warning("exclude: no data set of the catalog is called %r", name)


def _with_copies(entries: Sequence[DataSetEntry], rows: set[int]) -> set[int]:
    """Add what shares a Hub id or a reference, is copied from a row, or is what a row copies."""
    marks = {mark for row in rows for mark in _marks(entries[row])}
    more = {row for row, entry in enumerate(entries) if marks & _marks(entry)}
    return rows if more <= rows else _with_copies(entries, rows | more)


def _marks(entry: DataSetEntry) -> set[str]:
    named = {f"name {one}" for one in (entry.name, entry.copy_of) if one}
    return named | {f"at {one}" for one in (entry.hub_id, entry.reference) if one}


def _squashed(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())


def _summed(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.sum([z_scores(part) for part in parts.values()], axis=0)


def _fields(
    method: Method, names: list[str], told: list[str], both: list[str]
) -> list[tuple[str, list[str]]]:
    """What is scored apart: name and description in a fusion, else the two as one text."""
    return [("name", names), ("description", told)] if method == "fusion" else [("both", both)]


def _picked(
    found: tuple[Candidate, ...], choose: Callable[[Sequence[Candidate]], int | None]
) -> list[Candidate]:
    index = choose(found) if found else None
    if index is None:
        return []
    whole = isinstance(index, int | np.integer) and not isinstance(index, bool)
    if not whole or not 0 <= index < len(found):
        raise ValueError(
            f"choose returned {index!r}; it must return an index from 0 to {len(found) - 1}, "
            "or None for none of them."
        )
    return [found[index]]


def _where(entry: DataSetEntry) -> str:
    at = f", at revision {entry.revision}" if entry.revision else ""
    return f"; it is {entry.hub_id} on the Hugging Face Hub{at}" if entry.hub_id else ""


# --- from rows of a data set to samples ---------------------------------------------------------

_Maker = Callable[[int, Mapping[str, Any]], Sample | None]


def _labeled(
    rows: Dataset, task: Task, embedder: Embedder, columns: tuple[str, str] | None
) -> _Maker:
    """Return what makes the sample of a row, or nothing where its label is not asked for."""
    text, label = columns or (_text_column(rows), _label_column(rows))
    _check_columns(rows, text, label)
    feature = rows.features[label]
    names = feature.names if isinstance(feature, ClassLabel) else sorted(set(map(str, rows[label])))
    meant = match_labels(task.labels, names, embedder.embed, task.instruction)
    texts, labels = list(rows[text]), list(rows[label])

    def sample(row: int, origin: Mapping[str, Any]) -> Sample | None:
        name = names[labels[row]] if isinstance(feature, ClassLabel) else str(labels[row])
        return Sample(texts[row], meant[name], origin=origin) if name in meant else None

    return sample


def _tagged(
    rows: Dataset, task: Task, embedder: Embedder, columns: tuple[str, str] | None
) -> _Maker:
    tokens, tags = columns or ("tokens", "ner_tags")
    _check_columns(rows, tokens, tags)
    sentences, tagged = list(rows[tokens]), list(rows[tags])
    if not all(isinstance(one, list) for one in (*sentences[:1], *tagged[:1])):
        raise DeclinedError(f"column {tokens!r} holds no lists of words with a tag for each.")
    types = sorted({tag[2:] for row in tagged for tag in row if tag != "O"})
    meant = match_labels(task.labels, types, embedder.embed, task.instruction)

    def sample(row: int, origin: Mapping[str, Any]) -> Sample:
        text, found = _in_characters(sentences[row], tagged[row])
        kept = tuple((a, b, meant[kind]) for a, b, kind in found if kind in meant)
        return Sample(text, "; ".join(text[a:b] for a, b, _ in kept), spans=kept, origin=origin)

    return sample


def _in_characters(
    words: Sequence[str], tags: Sequence[str]
) -> tuple[str, list[tuple[int, int, str]]]:
    """Return a sentence's words as a text, and its entities by the characters there."""
    starts = np.cumsum([0, *(len(word) + 1 for word in words)]).tolist()
    found = [(starts[s.start], starts[s.end] - 1, s.type) for s in spans(tags)]
    return " ".join(words), found


def _check_columns(rows: Dataset, *columns: str) -> None:
    if missing := [one for one in columns if one not in rows.column_names]:
        raise DeclinedError(f"it has no column {missing[0]!r}, but {', '.join(rows.column_names)}.")


def _text_column(rows: Dataset) -> str:
    return _only("of texts", [
        name for name, feature in rows.features.items()
        if getattr(feature, "dtype", "") == "string" and not isinstance(feature, ClassLabel)
    ])  # fmt: skip


def _label_column(rows: Dataset) -> str:
    return _only("of labels", [
        name for name, feature in rows.features.items() if isinstance(feature, ClassLabel)
    ])  # fmt: skip


def _only(what: str, names: list[str]) -> str:
    if len(names) != 1:
        raise DeclinedError(f"it has {len(names)} columns {what} ({', '.join(names)}), not one.")
    return names[0]
