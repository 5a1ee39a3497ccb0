"""From a prompt to a saved model with a report: the components of chapter 7, one after another.

Parse the prompt, retrieve labeled rows, let a teacher write more, mix both, train a student on
them, and score it beside what needs no student. Each component can be replaced or left out.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import reptune.needs_torch  # noqa: F401

import numpy as np

from reptune.checks import check_number
from reptune.data.tagged import split_words, tags_from_spans
from reptune.folders import check_replaceable, write_folder
from reptune.pipeline.examples import Examples
from reptune.pipeline.report import write_report
from reptune.pipeline.splits import texts_of
from reptune.pipeline.training import Result, train
from reptune.prompt2model.dataset_retriever import Candidate, CatalogRetriever, DatasetRetriever
from reptune.prompt2model.filters import drop_duplicates, drop_leaks
from reptune.prompt2model.generator import Generated, Generator, ListGenerator
from reptune.prompt2model.prompt import PromptParser, parse_prompt, translator
from reptune.prompt2model.questions import check_question, cloze_questions
from reptune.prompt2model.rivals import score_rivals
from reptune.prompt2model.task import Sample, Task
from reptune.prompt2model.teachers import LocalTeacher, Teacher

logger = logging.getLogger(__name__)

TEACHER = "Qwen2.5-Coder-0.5B-Instruct"
SHOWN = 10  # rows that are shown before more are made
LEAST_ROWS = 20  # to learn from
MOST_GENERATED = 3000  # rows, beyond which a small teacher repeats itself
HELD_OUT, LEAST_TEST, MOST_TEST = 0.2, 100, 500  # rows to test on, where the user has none
# What a task's student is: a name in `reptune.pipeline.methods.METHODS`.
STUDENTS = {
    "label": "full",
    "tags": "tagger",
    "span": "extractor",
    "text": "generator",
}


@dataclass(frozen=True)
class Built:
    """What `build` made, and everything it rests on.

    Attributes:
        result: The model with its card and its worst errors.
        task: How the prompt was understood.
        samples: The rows that were learned from, each with its origin.
        candidates: The data sets that the retriever considered, best first.
        yields: What became of the rows that the teacher wrote: a step and a number each.
        notes: What was assumed, left out or went wrong, each a sentence.
    """

    result: Result
    task: Task
    samples: tuple[Sample, ...]
    candidates: tuple[Candidate, ...] = ()
    yields: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()

    def save(self, folder: str | Path) -> Path:
        """Write the model, its report, and the rows with a card of their own, as one.

        Raises:
            ValueError: If `folder` holds something else, which is left alone.
            OSError: If the disk is full or the folder cannot be written.
        """

        def write(written: Path) -> None:
            self.result.model.save(written)
            write_report(self.result.card, self.result.errors, written)
            (written / "prompt.txt").write_text(self.task.prompt, encoding="utf-8")
            write_rows(self.samples, written / "rows.jsonl")
            (written / "data_card.md").write_text(data_card(self), encoding="utf-8")

        return write_folder(folder, write)


def build(
    prompt: str,
    *,
    out: str | Path | None = None,
    teacher: str | Teacher | None = TEACHER,
    minutes: float = 30.0,
    retrieve: bool = True,
    generate: bool = True,
    test: Examples | None = None,
    passages: Sequence[str] | None = None,
    student: str | None = None,
    settings: Mapping[str, Any] | None = None,
    exclude: Collection[str] = (),
    choose: Callable[[Sequence[Candidate]], int | None] | None = None,
    show: Callable[[Sequence[Sample]], bool] | None = None,
    progress: Callable[[str], Any] | None = None,
    parser: PromptParser = parse_prompt,
    retriever: DatasetRetriever | None = None,
    generator: Generator | None = None,
    random_state: int = 42,
) -> Built:
    """Build a small model from a prompt.

    Args:
        prompt: What the model shall do, with examples if there are any.
        out: Where the model will be saved; looked at before any work. What the teacher writes is
            kept in `OUT.parts`, so that a killed run goes on there. `None` keeps it in memory.
        teacher: Who writes rows: an asset's name, a local folder or a Hub id of a causal model, any
            `Teacher`, or `None`.
        minutes: Time for generating; training and scoring come on top.
        retrieve: Look for labeled rows in the catalog.
        generate: Let the teacher write rows.
        test: Labeled rows of your own to score the student on. `None` keeps a part of the
            retrieved rows for that, or, where there are none, of the generated ones, which says
            less: the report says so.
        passages: What questions are to be asked about, for a question task.
        student: A method of `reptune.pipeline.methods`; `None` chooses by the kind of task.
        settings: Parameters of its estimator.
        exclude: Data sets that may not be retrieved, such as the one that `test` is from.
        choose: Chooses among the retriever's candidates; `None` takes the best that fits.
        show: Gets the first rows before more are made; if it returns `False`, the run stops.
        progress: Called with a sentence at each step.
        parser: From the prompt to a task.
        retriever: From the task to labeled rows; `None` takes `CatalogRetriever`.
        generator: From the task to rows that the teacher writes; `None` takes `ListGenerator`.
        random_state: Seed of everything that is random.

    Raises:
        ValueError: If the prompt names no task, an argument is bad, too few rows came of it all,
            or `show` stopped the run; the message says what to change.
        reptune.assets.AssetUnavailable: If a model or the catalog cannot be had.

    Source: Viswanathan et al., *Prompt2Model: Generating Deployable Models from Natural Language
    Instructions* (2023); chapter 7.
    """
    check_number("minutes", minutes, above=0)
    if out is not None:
        check_replaceable(out)
    if not (retrieve or generate):
        raise ValueError("retrieve and generate are both off: no rows would come. Leave one on.")
    say = progress or logger.info
    teacher = LocalTeacher(teacher) if isinstance(teacher, str) else teacher
    task = understood(prompt, parser, teacher)
    _check_test(task, test)
    say(f"task: {_described(task)}")
    notes = list(task.notes)
    held_texts = [] if test is None else _texts(test)

    retrieved: list[Sample] = []
    candidates: tuple[Candidate, ...] = ()
    if retrieve:
        found = (retriever or CatalogRetriever()).retrieve(
            task, exclude=exclude, choose=choose, random_state=random_state
        )
        candidates, retrieved = found.candidates, list(found.samples)
        notes += found.reasons[:5]
        say(f"retrieved: {len(retrieved):,} rows" + _from(found.chosen))
    written = Generated((), (), {})
    if generate:
        if teacher is None:
            raise ValueError("generate needs a teacher; name one, or pass generate=False.")
        written = _written(
            generator or ListGenerator(teacher), task, held_texts, minutes, show, say,
            passages=passages, folder=None if out is None else f"{out}.parts",
            random_state=random_state,
        )  # fmt: skip
    ruled = _by_rule(task, passages, random_state) if generate else []
    users = _own(task)
    pool, test, how = _divided(task, retrieved, [*written.samples, *ruled], test, random_state)
    pool = drop_leaks(drop_duplicates([*users, *pool]).samples, _texts(test)).samples
    samples = [pool[row] for row in np.random.default_rng(random_state).permutation(len(pool))]
    if len(samples) < LEAST_ROWS:
        raise ValueError(
            f"{len(samples)} rows came of the prompt, too few to learn from (at least "
            f"{LEAST_ROWS}). {' '.join(notes)} Yield: {dict(written.yields)}. Give more minutes, "
            "another teacher, or examples in the prompt."
        )
    examples = examples_of(samples, task, "rows.jsonl")
    method = student or STUDENTS[examples.kind]
    say(f"training {method} on {len(samples):,} rows")
    result = train(
        examples, method, settings=settings, test=test, columns=COLUMNS[examples.kind],
        random_state=random_state,
    )  # fmt: skip
    say("scoring what needs no student on the same rows")
    result.card["rivals"] = score_rivals(result.model, test, task, teacher, random_state)
    result.card["origins"] = {
        "rows": _counted(samples), "yield": [list(step) for step in written.yields],
        "notes": [*notes, f"Test: {how}"],
    }  # fmt: skip
    return Built(result, task, tuple(samples), candidates, tuple(written.yields), tuple(notes))


COLUMNS = {
    "label": {"text": "text", "label": "label"},
    "tags": {"text": "text", "label": "spans"},
    "span": {"text": "question", "text2": "passage", "label": "answer"},
    "text": {"text": "text", "label": "output"},
}


def understood(prompt: str, parser: PromptParser, teacher: Teacher | None) -> Task:
    """Return the task of a prompt, or raise a `ValueError` that says what the prompt lacks."""
    task = parser(prompt, translate=None if teacher is None else translator(teacher))
    if task.kind is None:
        raise ValueError("; ".join(task.notes) or "the prompt names no task; say what to do.")
    if task.kind == "classification" and len(task.labels) < 2:
        known = f"only the label {task.labels[0]!r}" if task.labels else "no labels"
        raise ValueError(
            f"the prompt names {known}; name at least two, such as 'Label each message as spam or "
            "ham.'"
        )
    return task


def kind_of_task(task: Task) -> str:
    """Return the kind of examples that a task is learned from."""
    if task.kind == "extraction":
        return "span" if task.has_question else "tags"
    return "label" if task.kind == "classification" else "text"


def examples_of(samples: Sequence[Sample], task: Task, name: str) -> Examples:
    """Return samples as `reptune.pipeline.training.train` takes them.

    Raises:
        ValueError: If an extraction's spans do not fit its text.
    """
    kind = kind_of_task(task)
    digest = hashlib.sha256("\n".join(map(_line, samples)).encode()).hexdigest()
    if kind == "span":
        inputs: list[Any] = [(sample.input, sample.context) for sample in samples]
        return Examples(kind, inputs, [sample.output for sample in samples], name, digest)
    if kind == "tags":
        words = [split_words(sample.input) for sample in samples]
        targets = [
            tags_from_spans(sample.input, found, sample.spans)
            for sample, found in zip(samples, words, strict=True)
        ]
        return Examples(kind, [[w.text for w in row] for row in words], targets, name, digest)
    inputs = [sample.input for sample in samples]
    return Examples(kind, inputs, [sample.output for sample in samples], name, digest)


# --- the steps -----------------------------------------------------------------------------------


def _check_test(task: Task, test: Examples | None) -> None:
    if test is None:
        return
    kind = kind_of_task(task)
    if test.kind != kind:
        raise ValueError(f"{test.name} holds {test.kind!r} rows, but the prompt asks for {kind!r}.")
    unknown = [label for label in test.labels if kind == "label" and label not in task.labels]
    if unknown:
        raise ValueError(
            f"{test.name} has the label {unknown[0]!r}, but the prompt names "
            f"{', '.join(map(repr, task.labels))}; use the same names in both."
        )


def _written(
    generator: Generator, task: Task, held_texts: list[str], minutes: float,
    show: Callable[[Sequence[Sample]], bool] | None, say: Callable[[str], Any], **options: Any,
) -> Generated:  # fmt: skip
    """Let the teacher write: a few rows to look at first, then as many as the time allows."""
    if show is not None:
        first = generator.generate(task, count=SHOWN, test_texts=held_texts, **options)
        if not show(first.samples[:SHOWN]):
            raise ValueError("stopped at the first rows; change the prompt, or add examples to it.")
    say(f"generating for {minutes:g} minutes at most")
    written = generator.generate(
        task, count=MOST_GENERATED, test_texts=held_texts, max_seconds=60 * minutes, **options
    )
    if kind_of_task(task) == "span":
        fit = tuple(sample for sample in written.samples if check_question(sample) is None)
        step = ("after: question that copies or does not fit", len(fit))
        written = replace(written, samples=fit, yields=(*written.yields, step))
    say(f"generated: {len(written.samples):,} rows")
    return written


def _by_rule(task: Task, passages: Sequence[str] | None, random_state: int) -> list[Sample]:
    """Return questions about the passages that no teacher is needed for."""
    if passages is None or kind_of_task(task) != "span":
        return []
    return cloze_questions(passages, random_state=random_state)[:MOST_GENERATED]


def _divided(
    task: Task, retrieved: list[Sample], written: list[Sample], test: Examples | None, seed: int
) -> tuple[list[Sample], Examples, str]:
    """Return rows to learn from, rows to test on, and what the latter are."""
    if test is not None:
        return [*retrieved, *written], test, f"{test.name}, your own rows."
    source, rest = (retrieved, written) if len(retrieved) >= LEAST_TEST else (written, retrieved)
    order = np.random.default_rng(seed).permutation(len(source))
    held = order[: max(1, min(MOST_TEST, int(HELD_OUT * len(source))))].tolist()
    kept = [sample for row, sample in enumerate(source) if row not in set(held)]
    test = examples_of([source[row] for row in sorted(held)], task, "rows held out")
    if source is retrieved:
        name = retrieved[0].origin.get("data_set", "the catalog")
        how = f"rows of {name}, which neither the teacher nor the student wrote or saw."
    else:
        how = (
            "rows that the teacher wrote. A score on them says how well the student imitates the "
            "teacher, not how well it does the task: label 100 texts of your own, and run "
            "reptune evaluate on them."
        )
    return [*kept, *rest], test, how


def _own(task: Task) -> list[Sample]:
    """Return the user's demonstrations as rows, where they can be learned from as they are."""
    if kind_of_task(task) in ("tags", "span"):
        return []
    return [Sample(one.input, one.output, origin={"by": "user"}) for one in task.demonstrations]


def _texts(examples: Examples) -> list[str]:
    """Return what of each row must not be learned from: the text, or the question."""
    if examples.kind == "span":
        return [question for question, _ in examples.inputs]
    return texts_of(examples)


def _counted(samples: Sequence[Sample]) -> dict[str, int]:
    """Return how many rows have which origin."""

    def words(sample: Sample) -> str:
        by, origin = sample.origin.get("by"), sample.origin
        if origin.get("with") == "rules":
            return "made by rule from your passages"
        if by == "generated":
            return f"written by {origin.get('teacher', 'a teacher')}"
        return f"retrieved from {origin.get('data_set')}" if by == "retrieved" else "your examples"

    return dict(Counter(map(words, samples)).most_common())


def _described(task: Task) -> str:
    kind = {"label": "classification", "tags": "extraction", "span": "questions about passages",
            "text": "text to text"}[kind_of_task(task)]  # fmt: skip
    return f"{kind}; labels: {', '.join(task.labels)}" if task.labels else kind


def _from(chosen: Candidate | None) -> str:
    return "" if chosen is None else f" from {chosen.entry.name}"


# --- rows and their card -------------------------------------------------------------------------


def write_rows(samples: Sequence[Sample], file: Path) -> None:
    """Write rows as JSON lines, each with its origin, under the columns that `train` reads."""
    file.write_text("".join(f"{_line(sample)}\n" for sample in samples), encoding="utf-8")


def _line(sample: Sample) -> str:
    row: dict[str, Any] = {"text": sample.input}
    if sample.context:
        row = {"question": sample.input, "passage": sample.context, "answer": sample.output}
    elif sample.spans:
        row["spans"] = [list(span) for span in sample.spans]
    else:
        row["label"] = sample.output
    return json.dumps({**row, "origin": dict(sample.origin)}, ensure_ascii=False, sort_keys=False)


def data_card(built: Built) -> str:
    """Return a page about the rows: what they are, who wrote them, what they must not be used for.

    Source: Gebru et al., *Datasheets for Datasets* (2021); chapter 7.
    """
    origins = built.result.card["origins"]
    rows = [f"| {name} | {count:,} |" for name, count in origins["rows"].items()]
    steps = [f"| {step} | {count:,} |" for step, count in origins["yield"]]
    lines = [
        "# The rows this model learned from", "", "## The prompt", "",
        *(f"> {line}" for line in built.task.prompt.splitlines()), "",
        f"Understood as: {_described(built.task)}.", "", "## Origin", "",
        "| Origin | Rows |", "|---|---:|", *rows, "",
        "Each line of `rows.jsonl` names its own origin: who wrote it, with which seed, "
        "temperature and attributes, or which row of which data set it is.", "",
    ]  # fmt: skip
    if steps:
        lines += ["## What became of the rows that the teacher wrote", ""]
        lines += ["| Step | Rows |", "|---|---:|", *steps, ""]
    lines += ["## Before you use or pass on these rows", "", *(f"- {text}" for text in LIMITS), ""]
    if origins["notes"]:
        lines += ["## Notes", "", *(f"- {note}" for note in origins["notes"]), ""]
    return "\n".join(lines)


LIMITS = (
    "Generated rows carry what their teacher has read, its mistakes and its prejudices among it; "
    "nobody has checked them one by one.",
    "Some teachers' terms forbid to train other models on what they write. Those that run on this "
    "machine (Qwen2.5-Coder 0.5B, SmolLM2) are under Apache-2.0, which does not; read the terms of "
    "a hosted one.",
    "Retrieved rows keep the license of their data set; the texts belong to those who wrote them.",
    "A label that a teacher or a data set gave may be wrong. Read some rows of each label.",
    "A score on generated rows is no score on yours. Label some of your own, and test on them.",
)
