"""Entity scores for taggers, their intervals, and kinds of errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reptune.checks import (
    listed,
)
from reptune.metrics.inputs import finite_numbers, level_and_seed
from reptune.metrics.intervals import (
    CHUNK,
    MANY,
    NUM_RESAMPLES,
    Interval,
    chunk_sizes,
    interval_of,
    times_drawn,
)
from reptune.metrics.scores import f1_of_counts
from reptune.tags import Span, check_rows, spans


def entity_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Return precision, recall and F1 over whole entities: type and both ends must be right.

    Args:
        gold: For each sentence its true tags (`O`, `B-TYPE`, `I-TYPE`).
        predicted: The predicted tags. An `I-` that BIO2 does not allow begins an entity.

    Returns:
        `precision`, `recall`, `f1` over all entities, and `by_type`: for each type the same three
        and its `support`, the number of true entities. A score that would divide by zero is 0.

    Raises:
        ValueError: If the two do not fit together, or are flat lists of tags, or all of several
            sentences have one word: then every entity would be cut into words, and swapped `B-`
            and `I-` would score 1.

    Source: Tjong Kim Sang and De Meulder (2003), section 3; chapter 4.
    """
    gold, predicted = _tag_rows(gold, predicted)
    by_type: dict[str, np.ndarray] = {}
    for true, guess in zip(gold, predicted, strict=True):
        true_spans, guessed = set(spans(true)), set(spans(guess))
        for index, counted in enumerate((true_spans & guessed, guessed, true_spans)):
            for span in counted:
                by_type.setdefault(span.type, np.zeros(3, int))[index] += 1
    total = sum(by_type.values(), np.zeros(3, int))
    return {
        **_precision_recall_f1(total),
        "by_type": {
            kind: {**_precision_recall_f1(counts), "support": int(counts[2])}
            for kind, counts in sorted(by_type.items())
        },
    }


def entity_counts(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> np.ndarray:
    """Return counts of right, predicted and true entities per sentence, for an F1's interval.

    Returns:
        Whole numbers of shape `(sentences, 3)`.

    Raises:
        ValueError: As `entity_scores`.
    """
    gold, predicted = _tag_rows(gold, predicted)
    rows = []
    for true, guess in zip(gold, predicted, strict=True):
        true_spans, guessed = set(spans(true)), set(spans(guess))
        rows.append((len(true_spans & guessed), len(guessed), len(true_spans)))
    return np.array(rows, dtype=int)


def counts_by_document(counts: ArrayLike, documents: Sequence[int]) -> np.ndarray:
    """Add up the counts of each document's sentences, so that an interval draws whole documents.

    A document repeats its names, so its sentences are not independent draws.

    Args:
        counts: What `entity_counts` returns, `(sentences, 3)`, or `(seeds, sentences, 3)`.
        documents: For each sentence its document, such as the column of `conll2003`.

    Returns:
        `(documents, 3)` or `(seeds, documents, 3)`, in the order of the documents' names; what
        `f1_interval` and `paired_f1_interval` take.

    Raises:
        ValueError: If there is not one document per sentence.

    >>> counts_by_document([[1, 1, 1], [0, 1, 2], [2, 2, 2]], documents=[0, 0, 1]).tolist()
    [[1, 2, 3], [2, 2, 2]]
    """
    array = _seeds_sentences_counts(counts).astype(int)
    names = np.asarray(documents)
    if names.shape != array.shape[1:2]:
        raise ValueError(
            f"documents have shape {names.shape}, for {array.shape[1]} sentences; pass one "
            "document per sentence."
        )
    _, rows = np.unique(names, return_inverse=True)
    added = np.zeros((array.shape[0], rows.max() + 1, 3), dtype=int)
    np.add.at(added, (slice(None), rows), array)
    return added[0] if np.ndim(counts) == 2 else added


def f1_interval(counts: ArrayLike, level: float = 0.95, random_state: int = 0) -> Interval:
    """Return the percentile bootstrap interval of an entity-level F1, over sentences and seeds.

    F1 is no mean of sentences, so each resample of sentences is counted anew. Over several seeds
    the estimate is the mean of the seeds' F1.

    Args:
        counts: What `entity_counts` returns, `(sentences, 3)`, or `(seeds, sentences, 3)`.
        level: Coverage.
        random_state: Seed of the resampling.

    Raises:
        ValueError: If `counts` is not what `entity_counts` returns.

    Source: as `mean_interval`; chapter 4.
    """
    level, seed = level_and_seed(level, random_state)
    checked = _seeds_sentences_counts(counts)
    estimate = f1_of_counts(checked.sum(axis=1)).mean()
    return interval_of(estimate, _bootstrap_f1(checked, seed, 1), level)


def paired_f1_interval(
    counts_a: ArrayLike, counts_b: ArrayLike, level: float = 0.95, random_state: int = 0
) -> Interval:
    """Return the bootstrap interval of the difference in entity-level F1, A minus B.

    Args:
        counts_a: `entity_counts` of A, `(sentences, 3)` or `(seeds, sentences, 3)`.
        counts_b: The same of B, on the same sentences; the number of seeds may differ, and seeds
            are resampled apart from each other.
        level: Coverage.
        random_state: Seed of the resampling.

    Raises:
        ValueError: If the sentences differ in number, or in their true entities.

    Source: as `paired_interval`; chapter 4.
    """
    level, seed = level_and_seed(level, random_state)
    a, b = _seeds_sentences_counts(counts_a), _seeds_sentences_counts(counts_b)
    if a.shape[1] != b.shape[1] or (a[:1, :, 2] != b[..., 2]).any():
        raise ValueError(
            f"A has shape {a.shape} and B {b.shape}; a paired comparison needs the same sentences, "
            "with the same true entities, for both."
        )
    difference = _bootstrap_f1(a, seed, 1) - _bootstrap_f1(b, seed, 2)
    estimate = f1_of_counts(a.sum(axis=1)).mean() - f1_of_counts(b.sum(axis=1)).mean()
    return interval_of(estimate, difference, level)


class EntityError(NamedTuple):
    """One thing a tagger got wrong.

    Attributes:
        kind: `boundary` (right type, wrong ends), `type` (right ends), `boundary and type`,
            `missed` (nothing predicted there), or `invented` (nothing true there).
        sentence: Which sentence.
        gold: The true entity, `None` where it is invented.
        predicted: The predicted one, `None` where it is missed.

    >>> error = EntityError("missed", sentence=3, gold=Span("PER", 0, 2), predicted=None)
    >>> error.kind, error.gold.type
    ('missed', 'PER')
    """

    kind: Literal["boundary", "type", "boundary and type", "missed", "invented"]
    sentence: int
    gold: Span | None
    predicted: Span | None


def entity_errors(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> list[EntityError]:
    """Return every error of a tagger, one per true or predicted entity that has no equal.

    A true entity is matched with the wrong prediction that shares most words with it, each at most
    once; those of the same type come first among equals.

    Raises:
        ValueError: As `entity_scores`.
    """
    gold, predicted = _tag_rows(gold, predicted)
    errors: list[EntityError] = []
    for number, (true, guess) in enumerate(zip(gold, predicted, strict=True)):
        missed, invented = spans(true), spans(guess)
        right = set(missed) & set(invented)
        missed = [span for span in missed if span not in right]
        invented = [span for span in invented if span not in right]
        pairs = sorted(
            ((_shared(a, b), a.type == b.type, a, b) for a in missed for b in invented),
            key=lambda pair: (-pair[0], not pair[1], pair[2].start, pair[3].start),
        )
        for shared, _, a, b in pairs:
            if shared and a in missed and b in invented:
                missed.remove(a)
                invented.remove(b)
                errors.append(EntityError(_kind(a, b), number, a, b))
        errors += [EntityError("missed", number, span, None) for span in missed]
        errors += [EntityError("invented", number, None, span) for span in invented]
    return errors


def _kind(gold: Span, predicted: Span) -> Any:
    if gold.type == predicted.type:
        return "boundary"
    return "type" if gold[1:] == predicted[1:] else "boundary and type"


def _shared(a: Span, b: Span) -> int:
    return max(0, min(a.end, b.end) - max(a.start, b.start))


def _tag_rows(gold: Any, predicted: Any) -> tuple[list[list[str]], list[list[str]]]:
    both = []
    for name, rows in (("gold", gold), ("predicted", predicted)):
        table = isinstance(rows, np.ndarray) and rows.ndim == 2
        if not table and not isinstance(rows, str | list | tuple):
            rows = listed(rows, name, "lists of tags")
        flat = next((row for row in rows if isinstance(row, str)), None)
        if flat is not None:
            raise ValueError(
                f"{name} holds the tag {flat!r} where a sentence should be; pass a list of tags "
                "for each sentence, or entities cannot be told from words."
            )
        both.append((name, check_rows(rows, name)))
    (_, gold), (_, predicted) = both
    if len(gold) != len(predicted) or not gold:
        raise ValueError(
            f"{len(gold)} gold and {len(predicted)} predicted sentences; pass as many of both, "
            "at least 1."
        )
    for number, (true, guess) in enumerate(zip(gold, predicted, strict=True)):
        if len(true) != len(guess):
            raise ValueError(
                f"sentence {number} has {len(true)} gold and {len(guess)} predicted tags; "
                "pass one per word."
            )
    if len(gold) > 1 and all(len(row) == 1 for row in gold):
        raise ValueError(
            f"all {len(gold)} sentences have one word. If these are the words of longer "
            "sentences, pass the sentences: entities would be cut into words, and swapped B- and "
            "I- would score 1."
        )
    return [list(row) for row in gold], [list(row) for row in predicted]


def _precision_recall_f1(counts: np.ndarray) -> dict[str, float]:
    right, predicted, true = (int(count) for count in counts)
    return {
        "precision": right / predicted if predicted else 0.0,
        "recall": right / true if true else 0.0,
        "f1": 2 * right / (predicted + true) if predicted + true else 0.0,
    }


def _seeds_sentences_counts(counts: ArrayLike) -> np.ndarray:
    array = finite_numbers("counts", counts)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[-1] != 3 or array.size == 0:
        raise ValueError(
            f"counts have shape {np.shape(counts)}; pass (sentences, 3) or (seeds, sentences, 3), "
            "as entity_counts returns them."
        )
    whole = (array >= 0).all() and (array == np.trunc(array)).all()
    if not whole or (array[..., 0] > array[..., 1:].min(axis=-1)).any():
        raise ValueError(
            "counts must be whole numbers from 0 on: right, predicted and true entities, of which "
            "right is the smallest. Pass what entity_counts returns."
        )
    return array


def _bootstrap_f1(counts: np.ndarray, random_state: int, method: int) -> np.ndarray:
    """Return mean F1 over resampled seeds and sentences, shape `(NUM_RESAMPLES,)`.

    The same `random_state` draws the same sentences for every method, and its own seeds for each.
    """
    num_seeds, num_sentences, _ = counts.shape
    sentences, draws = (np.random.default_rng([random_state, which]) for which in (0, method))
    flat = counts.transpose(1, 0, 2).reshape(num_sentences, -1)
    means, once = [], np.ones(num_sentences, dtype=int)
    for size in chunk_sizes(
        NUM_RESAMPLES, 500 if num_sentences <= MANY else CHUNK // num_sentences
    ):
        times = times_drawn(sentences, once, size)
        f1 = f1_of_counts((times @ flat).reshape(size, num_seeds, 3))
        seeds = draws.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=size)
        means.append((f1 * seeds).sum(axis=1) / num_seeds)
    return np.concatenate(means)
