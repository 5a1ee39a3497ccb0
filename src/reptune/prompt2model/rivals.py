"""What a student is compared with on the same rows: label names, and the teacher itself (ch. 7)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import reptune.needs_torch  # noqa: F401

import numpy as np

from reptune import metrics
from reptune.pipeline.examples import Examples
from reptune.pipeline.intervals import difference_interval, share_interval
from reptune.pipeline.text_scores import text_differences, text_scores
from reptune.pipeline.training import TEXT_METRICS
from reptune.prompt2model.labelers import NameLabeler, TeacherLabeler
from reptune.prompt2model.task import Task
from reptune.prompt2model.teachers import LocalTeacher, Teacher, TeacherStopped

logger = logging.getLogger(__name__)

MOST_ROWS = 500  # that a teacher answers: it is slow, and more would not change the comparison


def score_rivals(
    model: Any, test: Examples, task: Task, teacher: Teacher | None, random_state: int = 42
) -> list[dict[str, Any]]:
    """Score what needs no student on the rows that the student is scored on.

    Args:
        model: The student, fitted.
        test: Rows that neither the student nor the teacher has seen.
        task: What the prompt asks for.
        teacher: It answers at most 500 rows, drawn at random; `None` leaves it out.
        random_state: Seed of that draw.

    Returns:
        For each rival its `title`, its `score` and the paired `difference`, student minus rival,
        on the rows that both were scored on, as a card holds them.
    """
    rows = _drawn(len(test), random_state)
    few = test.select(rows)
    found = []
    if test.kind == "label":
        labeler = NameLabeler(task.labels)
        found.append(_rival(labeler.title, model, test, _chosen(labeler, task, test)))
        if isinstance(teacher, LocalTeacher):
            asked = TeacherLabeler(task, str(teacher.model))
            found.append(_rival(asked.title, model, few, _chosen(asked, task, few)))
            return found
    if teacher is not None and test.kind in ("label", "text", "span"):
        answers = ask(teacher, task, few, random_state)
        title = f"the teacher, shown {len(task.demonstrations)} examples ({teacher.name})"
        found.append(_rival(title, model, few, answers))
    return found


def ask(teacher: Teacher, task: Task, rows: Examples, random_state: int = 42) -> list[str]:
    """Let a teacher do the task itself: the instruction, the user's examples, the input.

    Returns:
        One answer per row, in the words of a label where the task has labels.
    """
    prompts = [_prompt(task, given) for given in rows.inputs]
    try:
        answers: Sequence[str | None] = teacher.generate(
            prompts, max_new_tokens=64, temperature=0.0, stop=("\n",), random_state=random_state
        )
    except TeacherStopped as stopped:  # a limit, or requests that failed: those count as wrong
        logger.warning("%s: %d answers are missing", stopped, stopped.answers.count(None))
        answers = stopped.answers
    answers = [(answer or "").strip() for answer in answers]
    if not task.labels or rows.kind != "label":
        return answers
    from reptune.incontext import parse_answer

    return [parse_answer(answer, task.labels) or "" for answer in answers]


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


def _rival(title: str, model: Any, rows: Examples, answers: Sequence[str]) -> dict[str, Any]:
    ours = list(model.predict(rows.inputs))
    score, difference = compare_answers(rows.kind, rows.targets, ours, answers)
    if len(answers) == MOST_ROWS:
        title += f", on {MOST_ROWS} of the rows"
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
