"""What chapter 4's studies share: its tasks, how a tagger is measured, the setting chosen."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, AutoTokenizer

from reptune import assets, data, meter, metrics, ner, tags
from reptune.book import results
from reptune.data import splits as splits_module
from reptune.ner import EntityTagger
from reptune.ner.gazetteer import Gazetteer, MostFrequentTag
from shared.common import MODEL, fit_fields

NEWSWIRE, TWEETS = "conll2003", "wnut16"
TAGGERS = Path(__file__).resolve().parents[2] / "_build" / "taggers"
UNMARKED = {"mark_case": False, "case_dropout": 0.0}  # whatever the package's defaults are
Tagged = tuple[list[list[str]], list[list[str]]]


@functools.cache
def splits(task: str) -> dict[str, Tagged]:
    """Words and tags of each split."""
    loaded = data.load(task)
    return {name: tagged(loaded[name]) for name in splits_module.SPLITS}


def tagged(rows: Any) -> Tagged:
    """Words and tags of some rows."""
    return list(rows["tokens"]), list(rows["ner_tags"])


@functools.cache
def documents(task: str, split: str) -> tuple[int, ...]:
    """For each sentence of a split the story that it stands in."""
    return tuple(data.load(task)[split]["document"])


def stories(task: str, sentences: int, random_state: int) -> tuple[Tagged, list[int]]:
    """Whole training stories, drawn until they have so many sentences; and each one's story."""
    numbers = np.array(documents(task, "train"))
    order = np.random.default_rng(random_state).permutation(numbers.max() + 1)
    sizes = np.bincount(numbers)[order]
    drawn = order[: int(np.searchsorted(sizes.cumsum(), sentences)) + 1]
    rows = np.flatnonzero(np.isin(numbers, drawn))
    tokens, gold = splits(task)["train"]
    return ([tokens[row] for row in rows], [gold[row] for row in rows]), numbers[rows].tolist()


def joined(rows: Sequence[Sequence[Any]], numbers: Sequence[int]) -> list[list[Any]]:
    """The rows of each story as one row, in their order; a story's sentences are neighbors."""
    found: list[list[Any]] = []
    for row, (before, number) in zip(rows, itertools.pairwise([None, *numbers]), strict=True):
        if number != before:
            found.append([])
        found[-1] += row
    return found


class DocumentTagger:
    """An `EntityTagger` that reads the sentences of a story together, as far as its window goes.

    Args:
        knobs: Of `EntityTagger`; `max_length` is the window.
    """

    def __init__(self, **knobs: Any) -> None:
        self.tagger = EntityTagger(MODEL, **{**UNMARKED, **knobs})

    def fit(self, tokens: Any, gold: Any, numbers: Sequence[int]) -> DocumentTagger:
        """Fit on sentences and the story of each."""
        self.tagger.fit(joined(tokens, numbers), joined(gold, numbers))
        return self

    def predict(self, tokens: Any, numbers: Sequence[int]) -> list[list[str]]:
        """Return the likeliest tags of each sentence that make valid BIO2."""
        rows = iter(np.concatenate(self.tagger.predict_proba(joined(tokens, numbers))))
        names = self.tagger.classes_.tolist()
        with np.errstate(divide="ignore"):
            return [tags.viterbi(np.log([next(rows) for _ in words]), names) for words in tokens]


def some(task: str, count: int, random_state: int) -> Tagged:
    """A draw of training sentences; a smaller one is part of the larger ones."""
    tokens, gold = splits(task)["train"]
    rows = np.random.default_rng(random_state).permutation(len(tokens))[:count]
    return [tokens[row] for row in rows], [gold[row] for row in rows]


def few(task: str, per_type: int, random_state: int) -> Tagged:
    """For each entity type so many training sentences that hold one, each sentence once."""
    tokens, gold = splits(task)["train"]
    order = np.random.default_rng(random_state).permutation(len(tokens))
    held = [{tag[2:] for tag in row if tag != tags.OUTSIDE} for row in gold]
    chosen: dict[int, None] = {}
    for kind in sorted(set().union(*held)):
        rows = [int(row) for row in order if kind in held[row] and int(row) not in chosen]
        chosen |= dict.fromkeys(rows[:per_type])
    return [tokens[row] for row in chosen], [gold[row] for row in chosen]


def tagger(random_state: int, **knobs: Any) -> EntityTagger:
    """The chapter's tagger with the setting that validation chose."""
    return EntityTagger(MODEL, random_state=random_state, **{**UNMARKED, **chosen(), **knobs})


def chosen() -> dict[str, Any]:
    """The learning rate with the best mean validation F1, three passes in batches of 16.

    Raises:
        SystemExit: If `ch04_choices` has not been run.
    """
    table = results.read("ch04_choices")
    if table.empty:
        raise SystemExit("run ch04_choices first: this study takes its setting from there.")
    table = table[table.choice == "setting"]
    rate = table.groupby("learning_rate")["metrics.f1"].mean().idxmax()
    return {"learning_rate": float(rate), "batch_size": 16, "num_epochs": 3}


def measure(model: Any, train: Tagged, task: str, *scored: str) -> Iterator[dict[str, Any]]:
    """Fit once; for each split to score, yield the fields of a record that follow from that."""
    with meter.Meter() as cost:
        model.fit(*train)
    for split in scored:
        tokens, gold = splits(task)[split]
        yield {"split": split, **fit_fields(cost), **score_fields(gold, model.predict(tokens))}


def score_fields(gold: list[list[str]], predicted: list[list[str]]) -> dict[str, Any]:
    """Entity scores, and what an interval needs, as record fields."""
    scores = metrics.entity_scores(gold, predicted)
    by_type = scores.pop("by_type")
    return {
        "metrics": scores,
        "by_type": by_type,
        "counts": results.pack_counts(metrics.entity_counts(gold, predicted)),
        "items": len(gold),
    }


class FrozenTagger:
    """A logistic regression on the frozen encoder's vector of each word's first token.

    Args:
        C: Inverse strength of the logistic regression's penalty.
    """

    def __init__(self, C: float = 1.0) -> None:
        path = assets.resolve_model(MODEL)
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        self._encoder = AutoModel.from_pretrained(path).eval()
        self._scaler = StandardScaler()
        self._head = LogisticRegression(C=C, max_iter=200)

    def fit(self, tokens: list[list[str]], gold: list[list[str]]) -> None:
        """Embed the words and fit the logistic regression."""
        vectors = np.concatenate(self.encode(tokens))
        self._head.fit(self._scaler.fit_transform(vectors), np.concatenate(gold))

    def predict(self, tokens: list[list[str]]) -> list[list[str]]:
        """Return the likeliest well-formed tags of each sentence."""
        labels = self._head.classes_.tolist()
        return [
            tags.viterbi(self._head.predict_log_proba(self._scaler.transform(rows)), labels)
            for rows in self.encode(tokens)
        ]

    @torch.inference_mode()
    def encode(self, tokens: list[list[str]], size: int = 32) -> list[np.ndarray]:
        """Return each sentence's word vectors; zeros for a word without a token or cut off."""
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            batch = self._tokenizer(
                [tokens[row] for row in rows], is_split_into_words=True, padding=True,
                truncation=True, max_length=512, return_tensors="pt",
            )  # fmt: skip
            states = self._encoder(**batch).last_hidden_state.numpy()
            for index, row in enumerate(rows):
                vectors = np.zeros((len(tokens[row]), states.shape[-1]), np.float32)
                words = batch.word_ids(index)
                for token in reversed(range(len(words))):  # so that the first token is kept
                    if words[token] is not None:
                        vectors[words[token]] = states[index, token]
                found[row] = vectors
        return [found[row] for row in range(len(tokens))]


# They train no encoder; no seed changes them.
BASELINES = {
    "most frequent tag": MostFrequentTag,
    "gazetteer": Gazetteer,
    "frozen encoder + logistic regression": FrozenTagger,
}


def encoder_of(folder: Path) -> Path:
    """The encoder of a saved tagger without its last layer, as a folder for another task."""
    target = folder.with_name(f"{folder.name}-encoder")
    if not (target / "config.json").is_file():
        saved = ner.EntityTagger.load(folder)
        saved.model_.base_model.save_pretrained(target)
        saved.tokenizer_.save_pretrained(target)
    return target
