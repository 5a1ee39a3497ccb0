"""Pairs from labels, batches that hold them, and the losses over them (chapter 2).

Nothing here knows a model: the samplers see labels, the losses see embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize

from reptune.checks import check_whole_number, nearest

Sampling = Literal["oversampling", "undersampling", "unique"] | int

STRATEGIES = ("oversampling", "undersampling", "unique")
_BLOCK_ROWS = 1024  # of all texts against all, at once
SUPCON_TEMPERATURE = 0.07  # Khosla et al. (2020), section 4


# --- pairs from labels ---------------------------------------------------------------------------


@dataclass(frozen=True)
class PairBudget:
    """How many pairs a strategy draws from labels in one epoch.

    >>> PairBudget(positive=120, negative=256).total
    376

    Attributes:
        positive: Pairs of two texts with the same label.
        negative: Pairs of two texts with different labels.
    """

    positive: int
    negative: int

    @property
    def total(self) -> int:
        """The number of both kinds together."""
        return self.positive + self.negative


def check_sampling(sampling: Any) -> None:
    """Raise a `ValueError` that names the value unless `pair_budget` takes it."""
    if isinstance(sampling, str) and sampling not in STRATEGIES:
        near = nearest(sampling, STRATEGIES)
        hint = f"did you mean {near!r}?" if near else f"use {', '.join(STRATEGIES)} or a number."
        raise ValueError(f"sampling={sampling!r} is unknown; {hint}")
    if not isinstance(sampling, str):
        check_whole_number("sampling", sampling)


def existing_pairs(labels: Sequence[Any] | np.ndarray) -> PairBudget:
    """Count the different pairs there are: unordered, and never a text with itself.

    Args:
        labels: One label per text, shape `(n,)`, or for several labels per text booleans of shape
            `(n, num_classes)`: two texts are alike when they share a label, or have none.

    A class of n texts has n (n - 1) / 2 positive pairs: 16 texts make 120.

    >>> existing_pairs(["a"] * 16 + ["b"])
    PairBudget(positive=120, negative=16)
    """
    fellows = _count_fellows(np.asarray(labels))
    positive = int(fellows.sum()) // 2
    return PairBudget(positive, len(fellows) * (len(fellows) - 1) // 2 - positive)


def pair_budget(
    labels: Sequence[Any] | np.ndarray, sampling: Sampling = "oversampling"
) -> PairBudget:
    """Count the pairs that a strategy draws from labels, before anything is trained.

    Args:
        labels: As in `existing_pairs`.
        sampling: `"unique"`: every pair once. `"oversampling"`: the rarer kind of pair is
            repeated until both are equally many. `"undersampling"`: the more frequent kind is cut
            to the number of the rarer. A whole number k: for each text, k partners with its label
            and k with another.

    Raises:
        ValueError: If `sampling` is none of these.

    Source: Tunstall et al., *Efficient Few-Shot Learning Without Prompts* (2022), section 3.1,
    for k; `setfit` for the others.
    """
    check_sampling(sampling)
    if isinstance(sampling, str):
        exist = existing_pairs(labels)
        if sampling == "unique" or 0 in (exist.positive, exist.negative):
            return exist
        pick = max if sampling == "oversampling" else min
        count = pick(exist.positive, exist.negative)
        return PairBudget(count, count)
    fellows = _count_fellows(np.asarray(labels))
    others = len(fellows) - 1 - fellows
    return PairBudget(sampling * int((fellows > 0).sum()), sampling * int((others > 0).sum()))


def same_labels(labels: torch.Tensor) -> torch.Tensor:
    """Return which texts of a batch are alike, booleans of shape `(n, n)`.

    Args:
        labels: Label ids, shape `(n,)`, or for several labels per text booleans of shape
            `(n, num_classes)`: two texts are alike when they share a label, or have none.
    """
    if labels.ndim == 1:
        return labels[:, None] == labels[None, :]
    has, has_none = labels.float(), ~labels.any(dim=1)
    return (has @ has.T > 0) | (has_none[:, None] & has_none[None, :])


def _alike(indicator: np.ndarray) -> Iterator[np.ndarray]:
    """Which texts are alike, from booleans `(n, num_classes)`, in blocks of rows, `(rows, n)`."""
    has, has_none = indicator.astype(np.float32), ~indicator.any(axis=1)
    for start in range(0, len(has), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        yield (has[rows] @ has.T > 0) | (has_none[rows, None] & has_none)


def _count_fellows(labels: np.ndarray) -> np.ndarray:
    """How many other texts are like each text, shape `(n,)`."""
    if labels.ndim == 2:
        return np.concatenate([block.sum(axis=1) for block in _alike(labels)]) - 1
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return counts[inverse] - 1


class PairSampler:
    """A stream of pairs of texts, in random order, with memory for the texts but not the pairs.

    No pair joins a text with itself. A named strategy draws every pair of a kind once before any
    occurs again; a number draws each text's partners at random. The two kinds are mixed evenly,
    in proportion to their numbers.

    `setfit` lists and shuffles all pairs first: 10,000 texts have 50 million. With several labels
    per text, one byte is kept for each two texts, which is 100 MB for 10,000.

    >>> sorted(PairSampler(["a", "a", "b"], "unique"))
    [(0, 1, 1), (0, 2, 0), (1, 2, 0)]

    Args:
        labels: As in `existing_pairs`.
        sampling: As in `pair_budget`.
        num_pairs: Stop after so many; `None` takes what `sampling` gives.
        random_state: Seed; each pass continues with new draws.

    Raises:
        ValueError: If there is no pair at all, or `num_pairs` are not to be had.
    """

    def __init__(
        self,
        labels: Sequence[Any] | np.ndarray,
        sampling: Sampling = "oversampling",
        num_pairs: int | None = None,
        random_state: int | None = 42,
    ) -> None:
        self.budget = pair_budget(labels, sampling)
        if self.budget.total == 0:
            raise ValueError(f"{len(labels)} text has no pair; pass at least 2 texts.")
        self._sampling = sampling
        array = np.asarray(labels)
        self._pairs = _SharedLabelPairs(array) if array.ndim == 2 else _Pairs(array)
        self._generator = np.random.default_rng(random_state)
        if num_pairs is not None:
            check_whole_number("num_pairs", num_pairs)
            self.budget = _within(self.budget, num_pairs, sampling, len(labels))

    def __len__(self) -> int:
        return self.budget.total

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yield `(i, j, same)`: the indices of two texts, and 1 or 0 for alike or not."""
        streams = (self._stream(True), self._stream(False))
        drawn = [0, 0]
        counts = (self.budget.positive, self.budget.negative)
        for _ in range(self.budget.total):
            # The kind that lags behind its share comes next.
            kind = int(drawn[0] * counts[1] > drawn[1] * counts[0] or drawn[0] == counts[0])
            drawn[kind] += 1
            i, j = next(streams[kind])
            yield i, j, 1 - kind

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """Yield the same in arrays of shape `(batch_size, 3)`; the last one may be smaller."""
        rows = []
        for pair in self:
            rows.append(pair)
            if len(rows) == batch_size:
                yield np.array(rows)
                rows = []
        if rows:
            yield np.array(rows)

    def _stream(self, same: bool) -> Iterator[tuple[int, int]]:
        if isinstance(self._sampling, str):
            return self._pairs.shuffled(same, self._generator)
        return self._pairs.partners(same, self._generator)


def _within(budget: PairBudget, num_pairs: int, sampling: Sampling, num_texts: int) -> PairBudget:
    """A budget cut down to `num_pairs`, its kinds in the same proportion."""
    if num_pairs > budget.total:
        raise ValueError(
            f"num_pairs={num_pairs:,}, but sampling={sampling!r} draws {budget.total:,} pairs from "
            f"these {num_texts:,} texts; lower num_pairs, or train longer with num_epochs."
        )
    positive = round(budget.positive * num_pairs / budget.total)
    return PairBudget(positive, num_pairs - positive)


class _Pairs:
    """All pairs of texts, numbered and found by number, so that none needs to be stored.

    With the texts sorted by label, text p's positive partners are those from p + 1 to the end of
    its class, and its negative partners those after that.
    """

    def __init__(self, labels: np.ndarray) -> None:
        _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        self._order = np.argsort(inverse, kind="stable")
        ends = np.cumsum(counts)
        self._class_end = np.repeat(ends, counts)
        self._class_start = self._class_end - np.repeat(counts, counts)
        positions = np.arange(len(inverse))
        self._until = {  # pairs of a kind whose first text is at most p
            True: np.cumsum(self._class_end - positions - 1),
            False: np.cumsum(len(inverse) - self._class_end),
        }

    def count(self, same: bool) -> int:
        return int(self._until[same][-1])

    def pair(self, number: int, same: bool) -> tuple[int, int]:
        """Return the two texts of a pair, by its number from 0 to `count(same) - 1`."""
        first = int(np.searchsorted(self._until[same], number, side="right"))
        before = int(self._until[same][first - 1]) if first else 0
        start = first + 1 if same else int(self._class_end[first])
        return int(self._order[first]), int(self._order[start + number - before])

    def shuffled(self, same: bool, generator: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Yield every pair of a kind once, in random order; then again in another, forever."""
        while True:
            for number in _permutation(self.count(same), generator):
                yield self.pair(number, same)

    def partners(self, same: bool, generator: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Yield a random partner of a kind for each text, texts in random order, forever."""
        size = self._class_end - self._class_start
        choices = size - 1 if same else len(size) - size
        able = np.flatnonzero(choices)
        while True:
            for first in generator.permutation(able):
                skip = int(generator.integers(choices[first]))
                if same:  # the class without the text itself
                    other = int(self._class_start[first]) + skip
                    other += other >= first
                else:  # everything without the class
                    other = skip + (size[first] if skip >= self._class_start[first] else 0)
                yield int(self._order[first]), int(self._order[other])


class _SharedLabelPairs(_Pairs):
    """The same for texts with several labels, from booleans of shape `(n, num_classes)`.

    Classes overlap, so that a text's partners are looked up in a row of the matrix of all texts.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self._same = np.concatenate(list(_alike(labels)))
        later = np.array([row[index + 1 :].sum() for index, row in enumerate(self._same)])
        rest = np.arange(len(labels))[::-1]
        self._until = {True: np.cumsum(later), False: np.cumsum(rest - later)}

    def pair(self, number: int, same: bool) -> tuple[int, int]:
        """Return the two texts of a pair, by its number from 0 to `count(same) - 1`."""
        first = int(np.searchsorted(self._until[same], number, side="right"))
        before = int(self._until[same][first - 1]) if first else 0
        later = np.flatnonzero(self._same[first, first + 1 :] == same)
        return first, first + 1 + int(later[number - before])

    def partners(self, same: bool, generator: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Yield a random partner of a kind for each text, texts in random order, forever."""
        fellows = self._same.sum(axis=1) - 1
        able = np.flatnonzero(fellows if same else len(fellows) - 1 - fellows)
        while True:
            for first in generator.permutation(able):
                partners = np.flatnonzero(self._same[first] == same)
                yield int(first), int(generator.choice(partners[partners != first]))


def _permutation(count: int, generator: np.random.Generator) -> Iterator[int]:
    """The numbers below `count` in pseudo-random order, in constant memory.

    A Feistel network is a keyed one-to-one map of the numbers of an even number of bits onto
    themselves; numbers that land beyond `count` are mapped again until they land below it.
    """
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    keys = [int(key) for key in generator.integers(1, 2**61, size=4)]

    def mapped(number: int) -> int:
        left, right = number >> half, number & mask
        for key in keys:
            mixed = (right ^ key) * 0x9E3779B97F4A7C15 + key & (1 << 64) - 1
            mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
            left, right = right, left ^ (mixed >> 32) & mask
        return left << half | right

    for number in range(count):
        number = mapped(number)
        while number >= count:
            number = mapped(number)
        yield number


class SentenceBatches:
    """Batches of texts in which labels repeat, so that each holds pairs of both kinds.

    As many labels as fit share a batch, at least two of them, with at least two texts of each
    where there are two, and every text comes up equally often within its label. Where all texts
    fit, each batch is all of them. A text with several labels counts as one of its rarest that
    another text shares.

    Args:
        labels: As in `existing_pairs`.
        batch_size: Texts per batch, at least 4, so that two labels fit twice.
        random_state: Seed of the draws.
    """

    def __init__(
        self, labels: Sequence[Any] | np.ndarray, batch_size: int, random_state: int | None = 42
    ) -> None:
        check_whole_number("batch_size", batch_size, least=4)
        inverse = _groups(np.asarray(labels))
        self._members = [np.flatnonzero(inverse == label) for label in range(inverse.max() + 1)]
        self._repeated = [label for label, rows in enumerate(self._members) if len(rows) > 1]
        self._batch_size = batch_size
        self._count = len(inverse)
        self._generator = np.random.default_rng(random_state)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield indices of texts, shape `(at most batch_size,)`, without end."""
        if self._count <= self._batch_size:
            while True:
                yield self._generator.permutation(self._count)
        decks = [_Deck(members, self._generator) for members in self._members]
        labels = _Deck(np.arange(len(decks)), self._generator)
        while True:
            sizes = self._sizes(self._labels(labels))
            yield np.concatenate([decks[label].take(size) for label, size in sizes.items()])

    def _labels(self, deck: _Deck) -> list[int]:
        """Labels for one batch: enough to fill it, and one with two texts where there is any."""
        chosen = deck.take(min(len(self._members), self._batch_size // 2))
        for label in self._generator.permutation(len(self._members)).tolist():
            if sum(len(self._members[label]) for label in chosen) >= self._batch_size:
                break
            if label not in chosen:
                chosen.append(label)
        if self._repeated and not set(chosen) & set(self._repeated):
            chosen[-1] = int(self._generator.choice(self._repeated))
        # Those with two texts come first, so that there is room for both.
        return sorted(chosen, key=lambda label: len(self._members[label]) < 2)

    def _sizes(self, chosen: list[int]) -> dict[int, int]:
        """How many texts of each label: two where there are two, then one after the other."""
        left, sizes = self._batch_size, {}
        for label in chosen:
            first = min(2, len(self._members[label]))
            if first <= left:
                sizes[label] = first
                left -= first
        while left and any(size < len(self._members[label]) for label, size in sizes.items()):
            for label, size in sizes.items():
                if left and size < len(self._members[label]):
                    sizes[label] += 1
                    left -= 1
        return sizes


def _groups(labels: np.ndarray) -> np.ndarray:
    """The group of each text in batches, shape `(n,)`, from 0 on: its label, or one of them."""
    if labels.ndim == 2:
        counts = labels.sum(axis=0)
        rarity = np.where(counts > 1, counts, len(labels) + 1)
        rarest = np.where(labels, rarity, np.inf).argmin(axis=1)
        labels = np.where(labels.any(axis=1), rarest, -1)
    return np.unique(labels, return_inverse=True)[1]


class _Deck:
    """Values dealt in random order, each as often as the others; a hand never holds one twice."""

    def __init__(self, values: np.ndarray, generator: np.random.Generator) -> None:
        self._values, self._generator = values, generator
        self._left: list[int] = []

    def take(self, count: int) -> list[int]:
        """Deal `count` different values, at most as many as there are."""
        hand, self._left = self._left[:count], self._left[count:]
        if len(hand) < count:
            fresh = self._generator.permutation(self._values).tolist()
            missing = count - len(hand)
            new = [value for value in fresh if value not in hand][:missing]
            self._left = [value for value in fresh if value not in new]
            hand = hand + new
        return hand


# --- losses --------------------------------------------------------------------------------------


def cosine_pair_loss(cosines: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """Return the mean squared distance of cosines from 1 (same label) or 0 (different labels).

    Args:
        cosines: Cosine similarity of each pair, shape `(pairs,)`.
        same: 1 or 0 for each, shape `(pairs,)`.

    Source: Reimers and Gurevych, *Sentence-BERT* (2019), section 3; `CosineSimilarityLoss`.
    """
    return nn.functional.mse_loss(cosines, same.to(cosines))


def all_pairs_cosine_loss(
    embeddings: torch.Tensor, labels: torch.Tensor, balanced: bool = True
) -> torch.Tensor:
    """Return `cosine_pair_loss` over every pair of a batch whose texts were encoded once each.

    Args:
        embeddings: Shape `(texts, dimensions)`.
        labels: As in `same_labels`.
        balanced: Let both kinds of pair count equally, as oversampling does; otherwise every pair
            counts once.

    Raises:
        ValueError: If there are fewer than two texts.

    Source: chapter 2.
    """
    if len(embeddings) < 2:
        raise ValueError(f"a batch of {len(embeddings)} text has no pair; use at least 2.")
    unit = normalize(embeddings.float(), dim=1)
    first, second = torch.triu_indices(len(unit), len(unit), offset=1, device=unit.device)
    same = same_labels(labels)[first, second]
    errors = ((unit @ unit.T)[first, second] - same.to(unit)) ** 2
    if not balanced or same.all() or not same.any():
        return errors.mean()
    return (errors[same].mean() + errors[~same].mean()) / 2


def supervised_contrastive_loss(
    embeddings: torch.Tensor, labels: torch.Tensor, temperature: float = SUPCON_TEMPERATURE
) -> torch.Tensor:
    """Return how improbable a text's fellows are among all other texts of the batch.

    Its fellows are the other texts with its label, or with one of its labels.

    Args:
        embeddings: Shape `(texts, dimensions)`.
        labels: As in `same_labels`.
        temperature: The smaller, the more the nearest texts count.

    Returns:
        The mean over texts that have a fellow.

    Raises:
        ValueError: If no label occurs twice.

    Source: Khosla et al., *Supervised Contrastive Learning* (2020), equation 2.
    """
    unit = normalize(embeddings.float(), dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    fellows = same_labels(labels) & ~itself
    has_fellow = fellows.any(dim=1)
    if not has_fellow.any():
        raise ValueError("no label occurs twice in the batch; this loss needs texts of one label.")
    scores = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    log_share = (scores - scores.logsumexp(dim=1, keepdim=True)).masked_fill(~fellows, 0)
    return -(log_share.sum(dim=1) / fellows.sum(dim=1).clamp(min=1))[has_fellow].mean()
