"""The five tasks of `ch06_suite`: texts and pairs, their prompts, draws, intervals over tasks.

Each task is cut from the book's own data with fixed splits. Labels are drawn from the train split.
The tasks made of BBC articles are scored on validation and test articles together, because 308 are
few and nothing is chosen on either; Rotten Tomatoes is scored on test alone.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from scipy.optimize import linear_sum_assignment, minimize
from scipy.special import logsumexp
from scipy.stats import t as student_t
from sklearn.feature_extraction.text import TfidfVectorizer

from reptune import data, metrics
from reptune.data.duplicates import Row, normalize
from reptune.data.splits import order_of
from shared.conditions import interval_fields

SENTIMENT, HEADLINES, ARTICLES, AGREEMENT, GRADES = (
    "rotten_tomatoes", "bbc_headlines", "title and opening", "two reviews",
    "title and opening, three grades",
)  # fmt: skip
CLASSES = {SENTIMENT: 2, HEADLINES: 5, ARTICLES: 2, AGREEMENT: 2, GRADES: 3}
SINGLE, PAIRS = (SENTIMENT, HEADLINES), (ARTICLES, AGREEMENT)
FOUR = (*SINGLE, *PAIRS)

PER_CLASS = 16  # labels to train on, and again as many to choose a checkpoint on
OPENING_WORDS = 25
CALIBRATION, UNLABELED = 200, 1000  # texts whose labels nobody reads
STUDY = "ch06_suite"  # also names the hash that puts rows in order
LEVELS = {"": 0.95, "_wide": 0.9875}  # the wide one for four comparisons

Input = str | tuple[str, str]
Examples = tuple[list[Input], np.ndarray]


# --- prompts -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wording:
    """A prompt that was written by hand before anything was measured with it.

    Attributes:
        template: Of `reptune.cloze`.
        words: The word of each class, in the order of the class ids.
    """

    template: str
    words: tuple[str, ...]


TOPICS = ("business", "entertainment", "politics", "sports", "technology")
MASKED = {
    SENTIMENT: Wording("{text} it was {mask} .", ("terrible", "great")),
    HEADLINES: Wording("{mask} news : {text}", TOPICS),
    ARTICLES: Wording("{text} ? {mask} . {text2}", ("no", "yes")),
    AGREEMENT: Wording("{text} {mask} {text2}", ("but", "and")),
    GRADES: Wording("{text} ? {mask} . {text2}", ("no", "yes")),
}
CAUSAL = {
    SENTIMENT: Wording("Review: {text}\nSentiment: {mask}", ("negative", "positive")),
    HEADLINES: Wording("Headline: {text}\nTopic: {mask}", TOPICS),
    ARTICLES: Wording("Headline: {text}\nArticle: {text2}\nMatch: {mask}", ("no", "yes")),
    AGREEMENT: Wording("Review: {text}\nReview: {text2}\nAgree: {mask}", ("no", "yes")),
}
SEVERAL = {
    SENTIMENT: (("terrible", "bad", "boring"), ("great", "good", "wonderful")),
    HEADLINES: (
        ("business", "company", "market"), ("entertainment", "film", "music"),
        ("politics", "government", "minister"), ("sports", "football", "match"),
        ("technology", "computer", "internet"),
    ),
}  # fmt: skip


# --- pairs ---------------------------------------------------------------------------------------


def articles(part: Dataset) -> list[Row]:
    """Return the title and the first words of each article of a split, in the order of a hash.

    Of articles with equal titles, or equal openings, the first is kept.
    """
    found, seen = [], set()
    for article in part:
        title, _, body = article["text"].partition("\n")
        pair = (" ".join(title.split()), " ".join(body.split()[:OPENING_WORDS]))
        parts = set(enumerate(map(normalize, pair)))
        if parts.isdisjoint(seen):
            content = {"text": pair[0], "text2": pair[1]}
            found.append(Row("", article["text"], str(article["label"]), content))
        seen |= parts
    return sorted(found, key=lambda row: order_of(row, STUDY))


def title_pairs(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one pair per article: every second title of a topic is another article's.

    Each title and each opening occurs once, so that neither tells the label alone. The swapped
    titles are those that suit the other openings best by TF-IDF, which is no contestant: with
    random ones likeness alone solves the task.
    """
    likeness = _likeness(rows)
    source = list(range(len(rows)))  # whose title each opening gets: its own at first
    for members in by_topic(rows).values():
        swapped = members[1::2]
        likest = likeness[np.ix_(swapped, swapped)]
        np.fill_diagonal(likest, -len(rows))  # never its own, where there is another
        for opening, title in zip(*linear_sum_assignment(likest, maximize=True), strict=True):
            source[swapped[opening]] = swapped[title]
    return _with_titles(rows, source, lambda row, giver: int(row is giver))


def _likeness(rows: Sequence[Row]) -> np.ndarray:
    """Return how well each title (column) suits each article's opening and title (row)."""
    titles, openings = ([row.content[part] for row in rows] for part in ("text", "text2"))
    words = TfidfVectorizer(sublinear_tf=True).fit([*titles, *openings])
    of_titles, of_openings = words.transform(titles), words.transform(openings)
    found = ((of_openings + of_titles) @ of_titles.T).toarray()
    return found.round(6)  # so that the last bits of a sum decide nothing


def graded_pairs(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one pair per article, graded 2 with its own title, 1 with its topic's next, or 0.

    Half of the articles keep theirs; a quarter swap within the topic, and a quarter get one from
    another topic: half a turn on in the order of topics, none of which has half of them.
    """
    source, away = list(range(len(rows))), []
    for _, members in sorted(by_topic(rows).items()):
        near = members[1::4]
        for index, giver in zip(near, near[1:] + near[:1], strict=True):
            source[index] = giver
        away += members[3::4]
    half = len(away) // 2
    for index, giver in zip(away, away[half:] + away[:half], strict=True):
        source[index] = giver
    return _with_titles(
        rows, source, lambda row, giver: 2 if row is giver else int(row.stratum == giver.stratum)
    )


def by_topic(rows: Iterable[Row]) -> dict[str, list[int]]:
    """Return the indices of each topic's articles."""
    found: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        found[row.stratum].append(index)
    return found


def _with_titles(
    rows: Sequence[Row], source: Sequence[int], label: Callable[[Row, Row], int]
) -> list[dict[str, Any]]:
    return [
        {**row.content, "text": rows[giver].content["text"], "label": label(row, rows[giver])}
        for row, giver in zip(rows, source, strict=True)
    ]


def review_pairs(part: Dataset) -> list[dict[str, Any]]:
    """Return pairs of sentences, of the same sentiment (label 1) or not; each occurs once.

    Both negative, both positive, negative first and positive first are equally many, so that
    neither sentence tells the label alone.
    """
    ordered = sorted(
        (Row("", row["text"], str(row["label"]), {}) for row in part),
        key=lambda row: order_of(row, STUDY),
    )
    sides = [[row.text for row in ordered if row.stratum == kind] for kind in ("0", "1")]
    quarter = min(map(len, sides)) // 4
    found = []
    for texts in sides:
        first, second = texts[: 2 * quarter : 2], texts[1 : 2 * quarter : 2]
        found += [(*pair, 1) for pair in zip(first, second, strict=True)]
    rest = (texts[2 * quarter : 4 * quarter] for texts in sides)
    for number, pair in enumerate(zip(*rest, strict=True)):
        found.append((*(pair if number % 2 else pair[::-1]), 0))
    return [{"text": text, "text2": text2, "label": label} for text, text2, label in found]


# --- tasks ---------------------------------------------------------------------------------------


def _sentiment() -> dict[str, Dataset]:
    loaded = data.load("rotten_tomatoes")
    return {"train": loaded["train"], "test": loaded["test"]}


def _of_articles(pair: Callable[[list[Row]], list[dict[str, Any]]]) -> dict[str, Dataset]:
    return {split: Dataset.from_list(pair(rows)) for split, rows in _news().items()}


@functools.cache
def _news() -> dict[str, list[Row]]:
    parts = _held_out_joined(data.load("bbc_news"))
    return {split: articles(part) for split, part in parts.items()}


def _agreement() -> dict[str, Dataset]:
    return {split: Dataset.from_list(review_pairs(part)) for split, part in _sentiment().items()}


def _held_out_joined(loaded: Any) -> dict[str, Dataset]:
    held = concatenate_datasets([loaded["validation"], loaded["test"]])
    return {"train": loaded["train"], "test": held}


READERS: dict[str, Callable[[], dict[str, Dataset]]] = {
    SENTIMENT: _sentiment,
    HEADLINES: lambda: _held_out_joined(data.headlines()),
    ARTICLES: lambda: _of_articles(title_pairs),
    AGREEMENT: _agreement,
    GRADES: lambda: _of_articles(graded_pairs),
}


@functools.cache
def parts(task: str) -> dict[str, Dataset]:
    """Return the `train` and `test` rows of a task; the column `row` numbers those of each."""
    return {
        split: part.add_column("row", list(range(len(part))))
        for split, part in READERS[task]().items()
    }


def inputs_of(rows: Dataset) -> list[Input]:
    """Return the text, or the pair of texts, of each row."""
    if "text2" not in rows.column_names:
        return list(rows["text"])
    return list(zip(rows["text"], rows["text2"], strict=True))


def examples(task: str, split: str) -> Examples:
    """Return what a split holds, with its labels."""
    rows = parts(task)[split]
    return inputs_of(rows), np.array(rows["label"])


def draw(task: str, seed: int, per_class: int = PER_CLASS) -> tuple[Examples, Examples]:
    """Return a draw to train on, and as many rows of the same draw to choose a checkpoint on.

    Draws are nested, so that the second are the next of each class. They are told from the first
    by their number, not their text, of which pairs have two.
    """
    pool = parts(task)["train"]
    small, large = (data.few_shot(pool, count, seed) for count in (per_class, 2 * per_class))
    known = set(small["row"])
    rest = large.select([index for index, row in enumerate(large["row"]) if row not in known])
    train, development = ((inputs_of(part), np.array(part["label"])) for part in (small, rest))
    return train, development


def unlabeled(task: str, count: int, seed: int | None = None) -> list[Input]:
    """Return train inputs, always the same, less those that a draw has labels of."""
    pool = parts(task)["train"]
    if seed is not None:
        drawn = set(data.few_shot(pool, 2 * PER_CLASS, seed)["row"])
        pool = pool.select([row for row in pool["row"] if row not in drawn])
    return inputs_of(data.fixed_subset(pool, count))


def joined(inputs: Iterable[Input]) -> list[str]:
    """Write pairs as one text, for what reads one."""
    return [text if isinstance(text, str) else " [SEP] ".join(text) for text in inputs]


# --- what is read off vectors and logits ---------------------------------------------------------


def features(encode: Callable[[list[str]], np.ndarray], inputs: Sequence[Input]) -> np.ndarray:
    """Return vectors of texts; of pairs both, the size of their difference, and their product."""
    if isinstance(inputs[0], str):
        return encode(list(inputs))
    first, second = (encode([pair[side] for pair in inputs]) for side in (0, 1))
    return np.hstack([first, second, np.abs(first - second), first * second])


def class_biases(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return what to add to each class's logit so that cross-entropy on labeled inputs is least.

    With two classes this is a threshold. Every class needs a label, or its bias has no end.
    """
    right = np.arange(len(labels)), labels

    def loss(biases: np.ndarray) -> float:
        shifted = logits + biases
        return float((logsumexp(shifted, axis=1) - shifted[right]).mean())

    found = minimize(loss, np.zeros(logits.shape[1])).x
    return found - found.mean()


# --- comparisons ---------------------------------------------------------------------------------

# Of an interval's ends: when a comparison is confirmed, and when it is refuted if not confirmed.
RULES: dict[str, tuple[Callable[[float, float], bool], ...]] = {
    "P1": (lambda low, high: low > 0, lambda low, high: high < 0.02),
    "P2": (lambda low, high: low > 0, lambda low, high: high < 0.02),
    "P3": (lambda low, high: low > -0.02 and high >= 0, lambda low, high: high < 0),
    "P4": (lambda low, high: low > 0, lambda low, high: high < 0.01),
}


def verdict(name: str, intervals: Iterable[tuple[float, float]]) -> str:
    """Return what a primary comparison comes to: undecided, unless all intervals agree."""
    confirmed, refuted = RULES[name]
    said = {
        "confirmed" if confirmed(*ends) else "refuted" if refuted(*ends) else "undecided"
        for ends in intervals
    }
    return said.pop() if len(said) == 1 else "undecided"


def t_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return the ends of the t interval of a mean of draws, which are few."""
    half = student_t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1)
    half /= np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def compared(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Return the mean over tasks of a difference in accuracy, with both kinds of interval.

    Args:
        pairs: Of each task which items one side and the other got right, `(draws, items)` each.
    """
    by_draw = np.mean([one.mean(axis=1) - other.mean(axis=1) for one, other in pairs], axis=0)
    found: dict[str, float] = {}
    for suffix, level in LEVELS.items():
        fields = interval_fields(metrics.paired_interval_over_tasks(pairs, level=level))
        fields["t_low"], fields["t_high"] = t_interval(by_draw, level)
        found |= {f"{name}{suffix}": value for name, value in fields.items()}
    return found


def above_chance(sides: Iterable[np.ndarray], task: str) -> bool:
    """Return whether the interval of the better side's accuracy lies above guessing's."""
    return any(metrics.mean_interval(side).low > 1 / CLASSES[task] for side in sides)
