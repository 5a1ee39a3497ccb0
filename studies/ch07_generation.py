"""What variety, temperature, relabeling and filters are worth in generated rows; three seeds.

Three pieces, each with Qwen2.5-Coder 0.5B as the teacher. Primary comparisons, paired over seeds:

- *Questions*: 200 general-knowledge questions with answers, from one prompt at one temperature,
  and from prompts that vary (up to five earlier rows, rising temperature), in rounds of 4 prompts,
  each of which brings several questions. Primary: the number of exact duplicates among the first
  200, one prompt against varied ones.
- *Annealing*: up to 96 film-review sentences, in rounds of 16 prompts, at each of six temperatures,
  constant or rising. Primary: 0.7 to 1.1, the default, against the paper's 0.5 to 1.7, in the share
  of labels that a classifier trained on real reviews agrees with. Diversity (distinct words and
  pairs of words, mean cosine) stands beside it: neither says anything alone.
- *Filters*: what one teacher wrote, as it came, filtered, relabeled by SmolLM2 under both orders of
  the labels, and both. Primary: validation accuracy of frozen MiniLM under a logistic regression,
  trained on as many rows of each label, both against neither.

Sentences near a validation text are dropped everywhere, the untouched rows included. Nothing reads
the test split. Planned: 6, 5 and 5 minutes, 16 in all. Cut down before any record, since machine
time is short: three seeds, 42 to 44, in place of five, 96 sentences at each temperature in place of
120, and 300 rows to filter in place of 400. A first run of questions and annealing, one seed, wrote
all its rows in a single round, in which prompts cannot vary and no temperature rises; its records
were removed, and rounds made smaller.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from shared.common import SEEDS, FrozenEmbeddings, Job, few_shot, main, score_fields, some
from shared.prompted import MINILM, NAMES, QWEN, SENTIMENT, SMOLLM, task_of

from reptune import meter
from reptune.models.causal import load_causal_lm
from reptune.prompt2model import filters
from reptune.prompt2model.filters import Kept
from reptune.prompt2model.generator import Generated, ListGenerator, default_checks
from reptune.prompt2model.task import Demonstration, Sample, Task
from reptune.prompt2model.teachers import LocalTeacher
from reptune.prompt2model.votes import prompt_labelers, relabel

QUESTIONS, SENTENCES, ROWS = 200, 96, 300
REAL = 1500  # labels of each class of the classifier that judges
# Several rounds, since only from the second on can prompts vary and the temperature rise.
ASKING = {"batch_size": 4, "max_calls": 40}
HEATING = {"batch_size": 16, "max_calls": 128}
ANNEALING = ((0.5, 0.5), (0.7, 0.7), (1.1, 1.1), (1.5, 1.5), (0.7, 1.1), (0.5, 1.7))
UNVARIED = {"attributes": {}, "examples": 0, "temperature": (0.7, 0.7)}
TRIVIA = Task(
    "…",
    "Answer a question of general knowledge in a few words.",
    (Demonstration("What is the capital of Peru?", "Lima"),),
    kind="text",
)

JOBS = [
    {"method": piece, "task": task, "model": QWEN, "random_state": seed}
    for seed in SEEDS
    for piece, task in (
        ("questions", "trivia"), ("annealing", SENTIMENT), ("filters", SENTIMENT),
    )
]  # fmt: skip


def run(job: Job) -> Iterator[dict[str, Any]]:
    """Measure one piece with one seed."""
    piece = {"questions": questions, "annealing": annealing, "filters": filtering}[job["method"]]
    yield from piece(LocalTeacher(QWEN), job["random_state"])


def questions(teacher: LocalTeacher, seed: int, count: int = QUESTIONS) -> Iterator[dict[str, Any]]:
    """Duplicates among the first questions that are well formed."""
    for arm, settings in (("one prompt", UNVARIED), ("varied prompts", {})):
        rows, generated, cost = written(
            teacher, TRIVIA, count, seed, similar=0.9, **ASKING, **settings
        )
        rows = rows[:count]
        exact = filters.drop_duplicates(rows)
        runs = filters.drop_shared_runs(exact.samples)
        near = filters.drop_similar(runs.samples)
        yield {
            "arm": arm,
            "labels": len(rows),
            "metrics": {
                "exact_duplicates": exact.dropped,
                "shared_8_grams": runs.dropped,
                "cosine": near.dropped,
                **diversity(rows),
            },
            **cost_fields(generated, cost),
        }


def annealing(teacher: LocalTeacher, seed: int, count: int = SENTENCES) -> Iterator[dict[str, Any]]:
    """Agreement with a classifier trained on real reviews, and diversity, by temperature."""
    judge = FrozenEmbeddings(MINILM)
    judge.fit(*few_shot(SENTIMENT, REAL, seed))
    for heat in ANNEALING:
        rows, generated, cost = written(
            teacher, task_of(SENTIMENT), count, seed, checks=None, temperature=heat, similar=0.9,
            **HEATING,
        )  # fmt: skip
        said = judge.predict([row.input for row in rows])
        names = np.array(NAMES[SENTIMENT])
        agree = names[said] == np.array([row.output for row in rows])
        yield {
            "arm": f"{heat[0]:g} to {heat[1]:g}",
            "labels": len(rows),
            "metrics": {"agreement": float(agree.mean()), **diversity(rows)},
            **cost_fields(generated, cost),
        }


def filtering(teacher: LocalTeacher, seed: int, count: int = ROWS) -> Iterator[dict[str, Any]]:
    """Accuracy of a student on rows as they came, filtered, relabeled, and both."""
    held_texts, held_labels = some("validation", SENTIMENT, None)
    task = task_of(SENTIMENT)
    raw, generated, cost = written(teacher, task, count, seed, similar=None)
    raw = filters.drop_leaks(filters.drop_duplicates(raw).samples, held_texts).samples
    clean = raw
    for check in (*default_checks(task), filters.drop_shared_runs, filters.drop_similar):
        clean = check(clean).samples
    labelers = prompt_labelers(load_causal_lm(SMOLLM), task.instruction, task.labels)
    arms = {
        "as written": raw,
        "filtered": clean,
        "relabeled": relabel(raw, labelers, task.labels).kept.samples,
        "filtered and relabeled": relabel(clean, labelers, task.labels).kept.samples,
    }
    votes = relabel(clean, labelers, task.labels)
    size = min(per_label(rows, label) for rows in arms.values() for label in task.labels)
    for arm, rows in arms.items():
        student = FrozenEmbeddings(MINILM)
        student.fit(*balanced(rows, size, seed))
        yield {
            "arm": arm,
            "labels": 2 * size,
            "rows": len(rows),
            "disagreed": votes.disagreed,
            "orders_differ": votes.orders_differ,
            "vote_changed": votes.vote_changed,
            **cost_fields(generated, cost),
            "split": "validation",
            **score_fields(student.predict(held_texts) == held_labels),
        }


def written(
    teacher: LocalTeacher, task: Task, count: int, seed: int, **settings: Any
) -> tuple[list[Sample], Generated, meter.Meter]:
    """Rows: with `checks=None` those that were kept, else every well-formed one as it came."""
    came: list[Sample] = []

    def collect(rows: Sequence[Sample]) -> Kept:
        came.extend(rows)
        return Kept(list(rows), 0, "")

    given = {"checks": (collect,), "patience": 100, "max_calls": count} | settings
    with meter.Meter() as cost:
        generated = ListGenerator(teacher, **given).generate(task, count=count, random_state=seed)
    return (came or list(generated.samples)), generated, cost


def diversity(rows: Sequence[Sample]) -> dict[str, float]:
    """Different words and pairs of words as a share of all, and the mean cosine of two rows."""
    words = [row.input.lower().split() for row in rows]
    pairs = [pair for text in words for pair in itertools.pairwise(text)]
    flat = [word for text in words for word in text]
    vectors = filters.embedder()([row.input for row in rows])
    total = len(rows) * (len(rows) - 1)
    return {
        "distinct_1": len(set(flat)) / len(flat),
        "distinct_2": len(set(pairs)) / len(pairs),
        "mean_cosine": float((np.sum(vectors @ vectors.T) - len(rows)) / total),
    }


def per_label(rows: Sequence[Sample], label: str) -> int:
    """How many rows have a label."""
    return sum(row.output == label for row in rows)


def balanced(rows: Sequence[Sample], size: int, seed: int) -> tuple[list[str], np.ndarray]:
    """So many rows of each label, as texts and label ids."""
    rng = np.random.default_rng(seed)
    texts, ids = [], []
    for label_id, label in enumerate(NAMES[SENTIMENT]):
        pool = [row.input for row in rows if row.output == label]
        texts += [pool[row] for row in rng.permutation(len(pool))[:size]]
        ids += [label_id] * size
    return texts, np.array(ids)


def cost_fields(generated: Generated, cost: meter.Meter) -> dict[str, Any]:
    """What the writing cost and what became of it, as record fields."""
    return {
        "split": "train",
        "seconds": {"generate": round(cost.seconds, 2)},
        "peak_memory_mb": round(cost.peak_memory_mb),
        "yields": dict(generated.yields),
        "stopped": generated.stopped,
    }


if __name__ == "__main__":
    main(__file__, JOBS, run, side_by_side=False)
