"""What a student is compared with on the same rows: label names, and the teacher itself (ch. 7)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import reptune.needs_torch  # noqa: F401

import numpy as np

from reptune import metrics
from reptune.assets import AssetError
from reptune.data.tagged import Word, tags_from_spans
from reptune.incontext import parse_answer
from reptune.pipeline.examples import Examples
from reptune.pipeline.intervals import difference_interval, share_interval
from reptune.pipeline.splits import texts_of
from reptune.pipeline.text_scores import text_differences, text_scores
from reptune.pipeline.training import TEXT_METRICS
from reptune.prompt2model.forms import PART, Cell, form_of, one_line, spans_of
from reptune.prompt2model.labelers import NameLabeler, TeacherLabeler
from reptune.prompt2model.task import Task
from reptune.prompt2model.teachers import LocalTeacher, Teacher, TeacherStopped

logger = logging.getLogger(__name__)

MOST_ROWS = 500  # that a teacher answers: it is slow, and more would not change the comparison
MOST_WORDS = 20_000  # of them together
LEAST_ROWS = 20  # that a rival must have answered to be scored
MOST_SHOWN, MOST_PER_CLASS = 10, 4  # of the user's examples, to the teacher
STOPS = ("\n\n", "\nInput:", "\nPassage:", "\nSentence:")


def score_rivals(
    model: Any, test: Examples, task: Task, teacher: Teacher | None, random_state: int = 42
) -> list[dict[str, Any]]:
    """Score what needs no student on the rows that the student is scored on.

    Label names take part where texts have labels, and the teacher always does.

    Args:
        model: The student, fitted.
        test: Rows that neither the student nor the teacher has seen.
        task: What the prompt asks for.
        teacher: It answers at most 500 rows, drawn at random, or 20,000 words of them; `None`
            leaves it out.
        random_state: Seed of that draw.

    Returns:
        For each rival its `title`, its `score` and the paired `difference`, student minus rival,
        on the rows that both answered, as a card holds them; without a score where too few were
        answered, and the title says why. Nothing that fails here is raised: a model is trained by
        now, and must not be lost.
    """
    ours = list(model.predict(test.inputs))
    few = _drawn(test, random_state)
    found = []
    if test.kind == "label":
        named = _attempt("label names, no training", lambda: _by_names(task, test))
        found.append(_rival(*named, test, ours, list(range(len(test)))))
    if teacher is not None:
        rows = test.select(few)
        if isinstance(teacher, LocalTeacher) and test.kind == "label":
            count = _per_class(task) * len(task.labels)
            asked = _attempt(f"the teacher ({teacher.name}), shown {count} examples",
                             lambda: _by_likelihood(teacher, task, rows))  # fmt: skip
        else:
            count = len(task.demonstrations[:MOST_SHOWN]) or (3 if test.kind == "span" else 0)
            asked = _attempt(f"the teacher ({teacher.name}), shown {count} examples",
                             lambda: ask(teacher, task, rows, random_state))  # fmt: skip
        found.append(_rival(*asked, test, ours, few))
    return found


def verdict(card: Mapping[str, Any], wholly: bool = False, made: bool = False) -> str:
    """Return in a sentence or two whether a model is of use, by what its card holds.

    Args:
        card: With `score`, `scores`, `baseline` and `rivals`.
        wholly: Whether a text that is nearly right is wrong, as a date is; chrF++ hides that.
        made: Whether the rows to test on were made for the task, and nobody has checked them.

    >>> share = {"estimate": 0.5, "low": 0.4, "high": 0.6}
    >>> names = {"title": "label names, no training", "score": {"estimate": 0.8},
    ...          "difference": {"estimate": -0.3, "low": -0.4, "high": -0.2}}
    >>> verdict({"score": share, "baseline": {"estimate": 0.3}, "rivals": [names]})
    'Use label names instead: on these rows they are clearly better than this model. The same \
command with --student label-names saves them as a model.'
    """
    score, base = card["score"], card.get("baseline")
    met = [rival for rival in card["rivals"] if rival["difference"]]
    ahead = [rival for rival in met if rival["difference"]["high"] < 0]
    right = card["scores"]["exact_match"] if wholly else None if base else score["estimate"]
    poor = right is not None and right < 0.5
    if ahead:
        best = max(ahead, key=lambda rival: rival["score"]["estimate"])
        how = "which is wrong more often than right" if poor else "which is only smaller"
        return (_OWN if made and _is_teacher(best) else _USE[_is_teacher(best)]).format(how)
    if base and score["low"] <= base["estimate"]:
        return f"Do not use this model: here it is not clearly better than {base['title']}. {_MEND}"
    if poor:
        return f"Do not rely on this model: here it is wrong more often than right. {_MEND}"
    level = [rival for rival in met if rival["difference"]["low"] <= 0]
    if level:
        names = " and ".join(_NAMES[_is_teacher(rival)] for rival in level)
        text = f"These rows do not tell this model from {names}; more rows to test on might."
        return f"{text} {_UNKNOWN}" if made else text
    names = " and ".join(_NAMES[_is_teacher(rival)] for rival in met)
    if not made:
        return f"This model is clearly better than {names} here." if met else ""
    return f"{_FAVORED.format(names)} {_UNKNOWN}" if met else _UNKNOWN


_MEND = (
    "More minutes, examples in the prompt, another teacher or rows that you labeled yourself may "
    "mend it."
)
_UNKNOWN = (
    "How well it does on real texts is not known: test it on 100 of your own before you use it."
)
# Chapter 7's appendix: ahead of the teacher on such questions, far behind it on those of others.
_FAVORED = (
    "This model is clearly better than {} here, but these rows were made like those that it "
    "learned from, and on others it may be worse."
)
_NAMES = ("label names", "the teacher itself")
_USE = (
    "Use label names instead: on these rows they are clearly better than this model. The same "
    "command with --student label-names saves them as a model.",
    "Use the teacher itself instead: on these rows it is clearly better than this model, "
    f"{{}}. {_MEND}",
)
_OWN = (
    "On these rows the teacher itself is clearly better than this model, {}; but it wrote them, so "
    f"test both on 100 rows of your own. {_MEND}"
)


def _is_teacher(rival: Mapping[str, Any]) -> bool:
    return rival["title"].startswith("the teacher")


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
    # Contextual calibration left it near chance on reviews; see the study ch07_students.
    labeler = TeacherLabeler(task, teacher, per_class=_per_class(task), calibrate="batch")
    return _chosen(labeler, task, rows)


def _per_class(task: Task) -> int:
    """Return how many of the user's examples of each label the teacher is shown."""
    shown = Counter(one.output for one in task.demonstrations)
    return min(MOST_PER_CLASS, *(shown[label] for label in task.labels))


def ask(
    teacher: Teacher, task: Task, rows: Examples, random_state: int = 42
) -> list[str | list[str] | None]:
    """Let a teacher do the task itself: the instruction, the user's first examples, the input.

    Args:
        teacher: It is asked once for each row.
        task: What the prompt asks for.
        rows: Of the task's kind.
        random_state: Seed of the teacher, which draws nothing at temperature 0.

    Returns:
        One answer per row: a label of the task where it has some, or empty; tags where words have
        tags; else a text. `None` where the teacher gave none, because a limit was reached or a
        request failed.
    """
    prompts = [_prompt(task, given) for given in rows.inputs]
    try:
        answers: Sequence[str | None] = teacher.generate(
            prompts, max_new_tokens=64, temperature=0.0, stop=STOPS, random_state=random_state
        )
    except TeacherStopped as stopped:
        logger.warning("%s: %d answers are missing", stopped, stopped.answers.count(None))
        answers = stopped.answers
    return [
        None if answer is None else _read(answer, given, rows.kind, task)
        for given, answer in zip(rows.inputs, answers, strict=True)
    ]


def _prompt(task: Task, given: Any) -> str:
    """Return what the teacher goes on with; parts and answers are asked for as it writes them."""
    shown = task.demonstrations[:MOST_SHOWN]
    if isinstance(given, tuple):
        question, passage = given
        page = form_of(task).prompt(Cell(passage=passage), shown, [])
        return f"{page} {one_line(question)}\nAnswer:"
    if isinstance(given, list):
        return f"{form_of(task).prompt(Cell(), shown, [])} {' '.join(given)}\n"
    parts = [task.instruction]
    if task.labels:
        parts[0] += f" Answer with one of: {', '.join(task.labels)}."
    parts += [f"Input: {one.input}\nOutput: {one.output}" for one in shown]
    return "\n\n".join([*parts, f"Input: {given}\nOutput:"])


def _read(answer: str, given: Any, kind: str, task: Task) -> str | list[str]:
    if kind == "label":
        return parse_answer(answer, task.labels) or ""
    if kind == "tags":
        return _tags(answer, given, task.labels or (PART,))
    lines = answer.strip().split("\n")
    one_line_each = kind == "span" or (
        task.demonstrations and all("\n" not in one.output for one in task.demonstrations)
    )
    return lines[0].strip() if one_line_each else "\n".join(lines)


def _tags(answer: str, words: Sequence[str], types: Sequence[str]) -> list[str]:
    """Return tags for the parts of an answer that stand in the sentence as whole words."""
    text, kinds = " ".join(words), {kind.lower(): kind for kind in types}
    starts = np.cumsum([0, *(len(word) + 1 for word in words)]).tolist()
    places = [
        Word(word, start, start + len(word)) for word, start in zip(words, starts, strict=False)
    ]
    begins, ends = {place.start for place in places}, {place.end for place in places}
    kept: list[tuple[str, str]] = []
    for line in answer.split("\n"):
        kind, _, part = line.partition(":")
        new = (part.strip(), kinds.get(kind.strip().lower(), ""))
        is_new = new[1] and new[0] not in dict(kept)
        kept += [new] if is_new and spans_of(text, [*kept, new]) else []
    spans = spans_of(text, kept) or ()
    whole = [span for span in spans if span[0] in begins and span[1] in ends]
    return tags_from_spans(text, places, whole)


def _chosen(labeler: Any, task: Task, rows: Examples) -> list[str]:
    best = labeler.probabilities(rows.inputs).argmax(axis=1)
    return [task.labels[index] for index in best]


def _drawn(test: Examples, random_state: int) -> list[int]:
    """Return the rows that a teacher answers: reviews are ten times as long as sentences."""
    order = np.random.default_rng(random_state).permutation(len(test))[:MOST_ROWS]
    texts = texts_of(test)
    words = np.cumsum([len(texts[row].split()) for row in order])
    return sorted(order[: max(LEAST_ROWS, int((words <= MOST_WORDS).sum()))].tolist())


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

    Labels are right or wrong, answers too after normalization, texts are scored by chrF++, and
    tags by the F1 of entities.
    """
    if kind == "tags":
        a, b = (metrics.entity_counts(gold, answers) for answers in (ours, theirs))
        return metrics.f1_interval(b), metrics.paired_f1_interval(a, b)
    if kind in TEXT_METRICS:
        metric = TEXT_METRICS[kind]
        return text_scores(gold, theirs)[metric], text_differences(gold, ours, theirs)[metric]
    a, b = ([x == y for x, y in zip(answers, gold, strict=True)] for answers in (ours, theirs))
    return share_interval(b), difference_interval(a, b)


def _fields(interval: metrics.Interval) -> Mapping[str, float]:
    return {name: float(getattr(interval, name)) for name in ("estimate", "low", "high")}
