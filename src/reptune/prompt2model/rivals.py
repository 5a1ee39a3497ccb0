"""What a student is compared with on the same rows: label names, and the teacher itself (ch. 7)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import reptune.needs_torch  # noqa: F401

import numpy as np

from reptune import metrics
from reptune.assets import AssetError
from reptune.incontext import parse_answer
from reptune.pipeline.examples import Examples
from reptune.pipeline.intervals import difference_interval, share_interval
from reptune.pipeline.text_scores import text_differences, text_scores
from reptune.pipeline.training import TEXT_METRICS
from reptune.prompt2model.labelers import NameLabeler, TeacherLabeler
from reptune.prompt2model.task import Task
from reptune.prompt2model.teachers import LocalTeacher, Teacher, TeacherStopped

logger = logging.getLogger(__name__)

MOST_ROWS = 500  # that a teacher answers: it is slow, and more would not change the comparison
LEAST_ROWS = 20  # that a rival must have answered to be scored


def score_rivals(
    model: Any, test: Examples, task: Task, teacher: Teacher | None, random_state: int = 42
) -> list[dict[str, Any]]:
    """Score what needs no student on the rows that the student is scored on.

    Label names take part where texts have labels. A tagger has no rival yet.

    Args:
        model: The student, fitted.
        test: Rows that neither the student nor the teacher has seen.
        task: What the prompt asks for.
        teacher: It answers at most 500 rows, drawn at random; `None` leaves it out.
        random_state: Seed of that draw.

    Returns:
        For each rival its `title`, its `score` and the paired `difference`, student minus rival,
        on the rows that both answered, as a card holds them; without a score where too few were
        answered, and the title says why. Nothing that fails here is raised: a model is trained by
        now, and must not be lost.
    """
    ours = list(model.predict(test.inputs))
    few = _drawn(len(test), random_state)
    found = []
    if test.kind == "label":
        named = _attempt("label names, no training", lambda: _by_names(task, test))
        found.append(_rival(*named, test, ours, list(range(len(test)))))
    if teacher is not None and test.kind != "tags":
        rows = test.select(few)
        if isinstance(teacher, LocalTeacher) and test.kind == "label":
            asked = _attempt(f"the teacher, asked for each text ({teacher.name})",
                             lambda: _by_likelihood(teacher, task, rows))  # fmt: skip
        else:
            shown = len(task.demonstrations)
            asked = _attempt(f"the teacher, shown {shown} examples ({teacher.name})",
                             lambda: ask(teacher, task, rows, random_state))  # fmt: skip
        found.append(_rival(*asked, test, ours, few))
    return found


def _attempt(
    title: str, answer: Callable[[], Sequence[str | None]]
) -> tuple[str, Sequence[str | None]]:
    """Return a title and answers; where there are none, the title says why."""
    try:
        return title, answer()
    except (AssetError, OSError, RuntimeError, ValueError) as error:
        logger.warning("%s could not be scored: %s", title, error)
        return f"{title}: {error}", ()


def _by_names(task: Task, rows: Examples) -> list[str]:
    return _chosen(NameLabeler(task.labels), task, rows)


def _by_likelihood(teacher: LocalTeacher, task: Task, rows: Examples) -> list[str]:
    return _chosen(TeacherLabeler(task, str(teacher.model)), task, rows)


def ask(teacher: Teacher, task: Task, rows: Examples, random_state: int = 42) -> list[str | None]:
    """Let a teacher do the task itself: the instruction, the user's examples, the input.

    Returns:
        One answer per row, in the words of a label where the task has labels; `None` where the
        teacher gave none, because a limit was reached or a request failed.
    """
    prompts = [_prompt(task, given) for given in rows.inputs]
    try:
        answers: Sequence[str | None] = teacher.generate(
            prompts, max_new_tokens=64, temperature=0.0, stop=("\n\n", "\nInput:", "\nPassage:"),
            random_state=random_state,
        )  # fmt: skip
    except TeacherStopped as stopped:
        logger.warning("%s: %d answers are missing", stopped, stopped.answers.count(None))
        answers = stopped.answers
    if task.labels and rows.kind == "label":
        return [
            None if answer is None else parse_answer(answer, task.labels) or ""
            for answer in answers
        ]
    return [None if answer is None else answer.strip() for answer in answers]


def _prompt(task: Task, given: Any) -> str:
    parts = [task.instruction]
    if task.labels:
        parts[0] += f" Answer with one of: {', '.join(task.labels)}."
    parts += [f"Input: {shown.input}\nOutput: {shown.output}" for shown in task.demonstrations]
    if isinstance(given, tuple):
        question, passage = given
        return "\n\n".join([*parts, f"Passage: {passage}\nQuestion: {question}\nAnswer:"])
    return "\n\n".join([*parts, f"Input: {given}\nOutput:"])


def _chosen(labeler: Any, task: Task, rows: Examples) -> list[str]:
    best = labeler.probabilities(rows.inputs).argmax(axis=1)
    return [task.labels[index] for index in best]


def _drawn(count: int, random_state: int) -> list[int]:
    if count <= MOST_ROWS:
        return list(range(count))
    return sorted(np.random.default_rng(random_state).permutation(count)[:MOST_ROWS].tolist())


def _rival(
    title: str, answers: Sequence[str | None], test: Examples, ours: Sequence[Any], rows: list[int]
) -> dict[str, Any]:
    """Return a rival as a card holds it, scored on the rows that it answered."""
    pairs = [
        (row, answer) for row, answer in zip(rows, answers, strict=False) if answer is not None
    ]
    if len(pairs) < min(LEAST_ROWS, len(test)):
        return {"title": title, "score": None, "difference": None}
    if len(pairs) < len(test):
        title += f", on {len(pairs)} of the {len(test)} rows"
    gold = [test.targets[row] for row, _ in pairs]
    score, difference = compare_answers(
        test.kind, gold, [ours[row] for row, _ in pairs], [answer for _, answer in pairs]
    )
    return {"title": title, "score": _fields(score), "difference": _fields(difference)}


def compare_answers(
    kind: str, gold: Sequence[Any], ours: Sequence[Any], theirs: Sequence[Any]
) -> tuple[metrics.Interval, metrics.Interval]:
    """Return the score of `theirs`, and of `ours` minus `theirs`, with 95% intervals.

    Labels are right or wrong, answers too after normalization, and texts are scored by chrF++.
    """
    if kind in TEXT_METRICS:
        metric = TEXT_METRICS[kind]
        return text_scores(gold, theirs)[metric], text_differences(gold, ours, theirs)[metric]
    a, b = ([x == y for x, y in zip(answers, gold, strict=True)] for answers in (ours, theirs))
    return share_interval(b), difference_interval(a, b)


def _fields(interval: metrics.Interval) -> Mapping[str, float]:
    return {name: float(getattr(interval, name)) for name in ("estimate", "low", "high")}
