"""Samples as rows: for `reptune.pipeline.training`, as a file, and described (chapter 7)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reptune.data.tagged import split_words, tags_from_spans
from reptune.pipeline.examples import Examples
from reptune.prompt2model.task import Sample, Task

if TYPE_CHECKING:
    from reptune.prompt2model.build import Built

# The columns of a file of rows, by the kind of examples, as `read_examples` takes their names.
COLUMNS = {
    "label": {"text": "text", "label": "label"},
    "tags": {"text": "text", "label": "spans"},
    "span": {"text": "question", "text2": "passage", "label": "answer"},
    "text": {"text": "text", "label": "output"},
}


def kind_of_task(task: Task) -> str:
    """Return the kind of examples that a task is learned from."""
    if task.kind == "extraction":
        return "span" if task.has_question else "tags"
    return "label" if task.kind == "classification" else "text"


def examples_of(samples: Sequence[Sample], task: Task, name: str) -> Examples:
    """Return samples as `reptune.pipeline.training.train` takes them.

    Args:
        samples: Of the task.
        task: What kind of rows they are.
        name: What to call them; their hash is that of the file that `write_rows` writes.

    Raises:
        ValueError: If an extraction's spans do not fit its text.
    """
    kind = kind_of_task(task)
    digest = hashlib.sha256(_lines(samples, task)).hexdigest()
    outputs: list[Any] = [sample.output for sample in samples]
    inputs: list[Any] = [sample.input for sample in samples]
    if kind == "span":
        inputs = [(sample.input, sample.context) for sample in samples]
    if kind == "tags":
        words = [split_words(sample.input) for sample in samples]
        inputs = [[word.text for word in row] for row in words]
        outputs = [
            tags_from_spans(sample.input, found, sample.spans)
            for sample, found in zip(samples, words, strict=True)
        ]
    return Examples(kind, inputs, outputs, name, digest)


def write_rows(samples: Sequence[Sample], task: Task, file: Path) -> None:
    """Write rows as JSON lines, under the columns of `COLUMNS`, each with its origin."""
    file.write_bytes(_lines(samples, task))


def _lines(samples: Sequence[Sample], task: Task) -> bytes:
    kind = kind_of_task(task)
    return "".join(f"{_line(sample, kind)}\n" for sample in samples).encode()


def _line(sample: Sample, kind: str) -> str:
    names = COLUMNS[kind]
    row: dict[str, Any] = {names["text"]: sample.input}
    if kind == "span":
        row[names["text2"]] = sample.context
    spans = [list(span) for span in sample.spans]
    row[names["label"]] = spans if kind == "tags" else sample.output
    return json.dumps({**row, "origin": dict(sample.origin)}, ensure_ascii=False)


def counted(samples: Sequence[Sample]) -> dict[str, int]:
    """Return how many rows have which origin, most first."""

    def words(sample: Sample) -> str:
        by, origin = sample.origin.get("by"), sample.origin
        if origin.get("with") == "rules":
            return "made by rule from your passages"
        if by == "generated":
            return f"written by {origin.get('teacher', 'a teacher')}"
        return f"retrieved from {origin.get('data_set')}" if by == "retrieved" else "your examples"

    return dict(Counter(map(words, samples)).most_common())


def described(task: Task) -> str:
    """Return a task's kind and labels in words."""
    kind = {"label": "classification", "tags": "extraction", "span": "questions about passages",
            "text": "text to text"}[kind_of_task(task)]  # fmt: skip
    return f"{kind}; labels: {', '.join(task.labels)}" if task.labels else kind


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
        f"Understood as: {described(built.task)}.", "", "## Origin", "",
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
