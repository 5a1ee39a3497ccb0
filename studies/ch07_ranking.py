"""Do synthetic test sets rank models rightly? 23 students, judged by three test sets.

Written before any record. A user without labeled rows can score models only on rows that a teacher
wrote or that were retrieved. Do these put models in the order that a real test set does?

Students of sentiment: TF-IDF, frozen MiniLM and frozen all-mpnet-base-v2, each under a logistic
regression on 16, 64, 256 and 1,000 human labels, 250 and 1,000 generated rows and 1,000 retrieved
ones; and label names with both encoders. Each is scored on (a) 900 rows that the same teacher wrote
with the next seed, (b) 1,000 retrieved rows that nobody trained on, (c) the real test. Rows of (a)
that occur among the students' own are left out. Five seeds, 42 to 46, of generation and of draws
from the human labels and from 2,000 retrieved rows.

Primary comparison, in Kendall's tau (b) with one half of the real test, mean of five seeds: 533
generated rows minus the other half of the real test, which is what noise alone allows a test of
that size. "Ranks worse than a real test of its size" is said where the 95% interval excludes 0. It
comes from 2,000 resamples of seeds and of test items, halves drawn anew in each; a second, wider
one resamples the students too. Resampled scores are noisier than scores, so resampled taus run
lower; both sides of the difference suffer alike.

Secondary: the same with retrieved rows; tau of (a) and (b) with all of (c), with both intervals,
and the same among the twelve students of human labels alone, since a judge may favor students of
its own source. Nothing is tuned. Planned: 35 minutes, after `ch07_generate`.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from shared.common import Job, few_shot, fit_fields, main, score_fields, tfidf
from shared.prompted import (
    MAX_LENGTH,
    MINILM,
    MPNET,
    NAMES,
    QWEN,
    ROWS,
    SEEDS,
    SENTIMENT,
    KeptEmbeddings,
    fresh,
    pairs_of,
    read_generated,
    retrieved_pool,
    test_set,
)

from reptune import meter
from reptune.book import results
from reptune.prompt2model.task import Sample

STUDY = "ch07_ranking"
FROZEN, COUNTED, LABEL_NAMES = "frozen", "TF-IDF", "label names"
STUDENTS, AGREEMENT = "students", "agreement"
HUMAN = {f"{2 * each} labels": each for each in (8, 32, 128, 500)}  # of each class
FEW, GENERATED, RETRIEVED, NONE = "250 generated", "1,000 generated", "1,000 retrieved", "none"
FEW_ROWS, FOUND_ROWS, JUDGED = 250, 1000, 900
BY_TEACHER, BY_RETRIEVAL, REAL = "generated", "retrieved", "test"
RESAMPLES = 2000

Rows = tuple[list[str], np.ndarray]

STUDENT_JOBS = [
    {"setting": STUDENTS, "method": method, "task": SENTIMENT, "model": model}
    for method, model in ((FROZEN, MPNET), (FROZEN, MINILM), (COUNTED, "none"))
]
AGREEMENT_JOBS = [
    {"setting": AGREEMENT, "method": group, "task": SENTIMENT, "model": "none"}
    for group in ("all students", "students of human labels")
]


def students(job: Job) -> Iterator[dict[str, Any]]:
    """Train one kind of student on everything, and let the judges score it; all seeds.

    One job for all seeds: a frozen encoder then reads a text once.
    """
    found = retrieved_pool(SENTIMENT, 2 * FOUND_ROWS)[: 2 * FOUND_ROWS]
    student = tfidf() if job["method"] == COUNTED else KeptEmbeddings(job["model"], MAX_LENGTH)
    for seed, following in pairwise((*SEEDS, SEEDS[0])):
        sources, judges = sources_and_judges(found, seed, following)
        for rows, (texts, labels) in sources.items():
            with meter.Meter() as cost:
                student.fit(texts, labels)
            given = {"rows": rows, "labels": len(texts), **fit_fields(cost)}
            yield from scored(student.predict, judges, given, seed)
        if job["method"] == FROZEN:
            with meter.Meter() as cost:
                names = student.encode(list(NAMES[SENTIMENT]))
            given = {"method": LABEL_NAMES, "rows": NONE, "labels": 0, **fit_fields(cost)}
            predict = functools.partial(nearest_name, student, names)
            yield from scored(predict, judges, given, seed)


def nearest_name(encoder: KeptEmbeddings, names: np.ndarray, texts: list[str]) -> np.ndarray:
    """The label whose name lies nearest, as `NameLabeler` has it, from vectors kept already."""
    return np.array(NAMES[SENTIMENT])[(encoder.encode(texts) @ names.T).argmax(axis=1)]


def scored(
    predict: Callable[[list[str]], Any], judges: dict[str, Rows], given: dict[str, Any], seed: int
) -> Iterator[dict[str, Any]]:
    """A record for each judge of a student."""
    for split, (texts, labels) in judges.items():
        right = np.asarray(predict(texts)) == labels
        yield {**given, "random_state": seed, "split": split, **score_fields(right)}


def sources_and_judges(
    found: Sequence[Sample], seed: int, following: int
) -> tuple[dict[str, Rows], dict[str, Rows]]:
    """What students learn from, and what judges them, by name.

    Args:
        found: The retrieved rows, of which each seed draws its own to learn from and to judge by.
        seed: Of the students' rows.
        following: Of the generated rows that judge.
    """
    sources = {}
    for rows, per_class in HUMAN.items():
        texts, ids = few_shot(SENTIMENT, per_class, seed)
        sources[rows] = texts, np.array(NAMES[SENTIMENT])[ids]
    written = read_generated(SENTIMENT, QWEN, seed)
    order = np.random.default_rng(seed).permutation(len(found))
    learned, rest = ([found[row] for row in part] for part in np.split(order, [FOUND_ROWS]))
    sources |= {
        FEW: pairs_of(written[:FEW_ROWS]),
        GENERATED: pairs_of(written[:ROWS]),
        RETRIEVED: pairs_of(learned),
    }
    judges = {
        BY_TEACHER: pairs_of(
            fresh(read_generated(SENTIMENT, QWEN, following), written, JUDGED)[:JUDGED]
        ),
        BY_RETRIEVAL: pairs_of(rest[:FOUND_ROWS]),
        REAL: test_set(SENTIMENT),
    }
    return sources, judges


# --- do the judges agree? ------------------------------------------------------------------------


def agreement(job: Job) -> Iterator[dict[str, Any]]:
    """Kendall's tau between judges, with intervals, from the students' records."""
    names, judged = read_scores()
    if job["method"] != AGREEMENT_JOBS[0]["method"]:
        human = [rows in HUMAN for _, _, rows in names]
        names = [name for name, is_human in zip(names, human, strict=True) if is_human]
        judged = {split: bits[:, human] for split, bits in judged.items()}
    with meter.Meter() as cost:
        found = taus(judged)
        spread = {
            "interval": resampled(judged, students_too=False),
            "interval_with_students": resampled(judged, students_too=True),
        }
    yield {
        "labels": 0,
        "random_state": SEEDS[0],
        "split": REAL,
        "students": len(names),
        "metrics": {name: float(values.mean()) for name, values in found.items()},
        "by_seed": {name: values.round(4).tolist() for name, values in found.items()},
        **spread,
        "seconds": {"resample": round(cost.seconds, 2)},
        "peak_memory_mb": round(cost.peak_memory_mb),
    }


def read_scores() -> tuple[list[tuple[str, str, str]], dict[str, np.ndarray]]:
    """Method, model and rows of each student; right answers by judge, `(seeds, students, items)`.

    Raises:
        ValueError: If a student lacks a judge or a seed.
    """
    table = results.read(STUDY)
    table = table[table["setting"] == STUDENTS]
    keys = ["method", "model", "rows"]
    names = [tuple(row) for row in table[keys].drop_duplicates().sort_values(keys).to_numpy()]
    judged = {}
    for split in (BY_TEACHER, BY_RETRIEVAL, REAL):
        bits = [
            results.correct(
                STUDY, setting=STUDENTS, split=split, **dict(zip(keys, name, strict=True))
            )
            for name in names
        ]
        if {len(each) for each in bits} != {len(SEEDS)}:
            raise ValueError(f"{split}: a student lacks a seed; finish the students first.")
        judged[split] = np.stack(bits, axis=1)
    return names, judged


def taus(judged: dict[str, np.ndarray], splits: int = 200) -> dict[str, np.ndarray]:
    """Tau of each seed with the real test, and of halves of it, by name, shape `(seeds,)`.

    Args:
        judged: Right answers by judge, `(seeds, students, items)`.
        splits: Random halves of the real test to average over.
    """
    rng = np.random.default_rng(0)
    shares = {split: bits.mean(axis=2) for split, bits in judged.items()}
    whole = {
        split: np.array([tau(*pair) for pair in zip(shares[split], shares[REAL], strict=True)])
        for split in (BY_TEACHER, BY_RETRIEVAL)
    }
    halved = [_by_halves(judged, rng, resample=False) for _ in range(splits)]
    return whole | {name: np.mean([each[name] for each in halved], axis=0) for name in halved[0]}


def resampled(judged: dict[str, np.ndarray], students_too: bool) -> dict[str, list[float]]:
    """The 95% intervals of what `taus` gives, as means over seeds: low and high by name.

    Seeds and test items are drawn anew, and the students too where it is asked for.
    """
    rng = np.random.default_rng(1)
    seeds, count, _ = judged[REAL].shape
    drawn = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(count, size=count) if students_too else np.arange(count)
        which = rng.integers(seeds, size=seeds)
        some = {split: bits[which][:, chosen] for split, bits in judged.items()}
        # The real test is the same for all seeds, so that its items are drawn once.
        real = _drawn(some[REAL], rng).mean(axis=2)
        means = {
            split: np.mean(
                [tau(*pair) for pair in zip(_own_draws(some[split], rng), real, strict=True)]
            )
            for split in (BY_TEACHER, BY_RETRIEVAL)
        }
        halves = _by_halves(some, rng, resample=True)
        drawn.append(means | {name: values.mean() for name, values in halves.items()})
    ends = {name: np.quantile([each[name] for each in drawn], [0.025, 0.975]) for name in drawn[0]}
    return {name: [float(end) for end in pair] for name, pair in ends.items()}


def _by_halves(
    judged: dict[str, np.ndarray], rng: np.random.Generator, resample: bool
) -> dict[str, np.ndarray]:
    """Tau with a random half of the real test, of the other half and of as many other rows."""
    items = judged[REAL].shape[2]
    order, size = rng.permutation(items), items // 2
    halves = [judged[REAL][:, :, part] for part in (order[:size], order[size : 2 * size])]
    other, half = ((_drawn(each, rng) if resample else each).mean(axis=2) for each in halves)
    found = {"half": np.array([tau(*pair) for pair in zip(other, half, strict=True)])}
    for split in (BY_TEACHER, BY_RETRIEVAL):
        shares = _own_draws(judged[split], rng, size, replace=resample)
        found[f"{split}, half"] = np.array([tau(*pair) for pair in zip(shares, half, strict=True)])
        found[f"{split} minus half"] = found[f"{split}, half"] - found["half"]
    return found


def _drawn(bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many items, drawn with replacement, the same for all seeds."""
    items = bits.shape[2]
    return bits[:, :, rng.integers(items, size=items)]


def _own_draws(
    bits: np.ndarray, rng: np.random.Generator, size: int | None = None, replace: bool = True
) -> np.ndarray:
    """Shares of right answers on items drawn for each seed apart, shape `(seeds, students)`."""
    items = bits.shape[2]
    count = min(size or items, items)
    draws = [rng.choice(items, size=count, replace=replace) for _ in bits]
    return np.stack([rows[:, draw].mean(axis=1) for rows, draw in zip(bits, draws, strict=True)])


def tau(one: np.ndarray, other: np.ndarray) -> float:
    """Kendall's tau-b; 0 where all scores of a judge are equal, since it then orders nothing."""
    found = kendalltau(one, other).statistic
    return 0.0 if np.isnan(found) else float(found)


if __name__ == "__main__":
    try:
        main(__file__, STUDENT_JOBS, students)
    except SystemExit as ended:
        if ended.code:
            raise
    main(__file__, AGREEMENT_JOBS, agreement)
