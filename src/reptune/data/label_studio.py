"""Readers for the JSON export of Label Studio: classified texts, and texts with entities."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reptune.checks import check_unicode
from reptune.data.files import existing_file, file_text, json_value, shown
from reptune.data.tagged import split_words, tagged_dataset, tags_from_spans
from reptune.tags import OUTSIDE, check_entity

if TYPE_CHECKING:
    from datasets import Dataset


def read_choices(path: str | Path, text: str = "text", from_name: str | None = None) -> Dataset:
    """Read classified texts from Label Studio's JSON export (`<Choices>`, one per text).

    Tasks that nobody labeled, or that were skipped, are left out with a warning that counts them.
    For spans (`<Labels>`) use `read_spans`.

    Args:
        path: The file that *Export*, *JSON* gave.
        text: The field of a task's data that holds the text.
        from_name: The name of the `<Choices>`; needed where tasks have several.

    Returns:
        A data set with the columns `text` and `label` (str).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no such export, or a task has several choices: of one annotator
            or of several that disagree. It names the task.
    """
    from datasets import Dataset

    texts, labels, left_out = [], [], 0
    for task in _tasks(path, text):
        chosen = {
            choice for value in task.values("choices", from_name) for choice in value["choices"]
        }
        if len(chosen) > 1:
            raise ValueError(
                f"{task.where} has {len(chosen)} choices ({', '.join(sorted(chosen))}); each text "
                "needs one label. Resolve it in Label Studio, or name one set of choices with "
                "from_name=."
            )
        left_out += not chosen
        for choice in chosen:
            texts.append(task.text)
            labels.append(choice)
    _warn_of_unlabeled(Path(path), left_out, len(texts))
    return Dataset.from_dict({"text": texts, "label": labels})


def read_spans(path: str | Path, text: str = "text", from_name: str | None = None) -> Dataset:
    """Read texts with entities from Label Studio's JSON export (`<Labels>`).

    Label Studio counts an emoji as two characters; where that moves a span, the text it was drawn
    over (`"text"` in the export) says what was meant. Tasks that nobody annotated, or that were
    skipped, are left out with a warning that counts them.

    Args:
        path: The file that *Export*, *JSON* gave.
        text: The field of a task's data that holds the text.
        from_name: The name of the `<Labels>`; needed where a text has several, so that spans
            overlap.

    Returns:
        A data set with the columns `tokens` (by `split_words`) and `ner_tags` (BIO2).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no such export, or a task has several annotations or a span
            that overlaps another or begins or ends within a word. It names the task.
    """
    tokens, tags, left_out = [], [], 0
    for task in _tasks(path, text):
        submitted = task.submitted()
        if len(submitted) > 1:
            raise ValueError(
                f"{task.where} has {len(submitted)} annotations; keep one of them in Label Studio."
            )
        words = split_words(task.text)
        if not submitted or not words:
            left_out += 1
            continue
        values = task.values("labels", from_name)
        try:
            found = [span for value in values for span in _spans(value, task.text)]
            tags.append(tags_from_spans(task.text, words, found))
        except ValueError as error:
            raise ValueError(f"{task.where}: {error}") from None
        tokens.append([word.text for word in words])
    _warn_of_unlabeled(Path(path), left_out, len(tokens))
    if not any(tag != OUTSIDE for row in tags for tag in row):
        raise ValueError(f"{Path(path).name} holds no span of a <Labels>; check from_name=.")
    return tagged_dataset(tokens, tags)


def _spans(value: dict[str, Any], text: str) -> list[tuple[int, int, str]]:
    """Return a span of the text as `(start, end, type)`, once for each of its labels."""
    found = []
    for label in value["labels"]:
        _, start, end = check_entity((label, value.get("start"), value.get("end")), "a span")
        meant = value.get("text")
        if isinstance(meant, str) and text[start:end] != meant:
            start, end = _from_utf16(text, start, end, meant)
        found.append((start, end, label))
    return found


def _from_utf16(text: str, start: int, end: int, meant: str) -> tuple[int, int]:
    """Return a span that JavaScript counted, in characters; raise if the text is not there."""
    check_unicode(meant, "a span's text")
    units = text.encode("utf-16-le")  # two bytes for each that JavaScript counts
    if not 0 <= start < end or units[2 * start : 2 * end] != meant.encode("utf-16-le"):
        raise ValueError(
            f"the span {start}:{end} holds {text[start:end]!r} where Label Studio shows "
            f"{meant!r}; annotate it anew."
        )
    first = len(units[: 2 * start].decode("utf-16-le"))
    return first, first + len(meant)


class _Task(NamedTuple):
    """A task of a Label Studio export: its text, and what was annotated."""

    where: str
    text: str
    annotations: list[dict[str, Any]]

    def submitted(self) -> list[dict[str, Any]]:
        """The annotations that were not skipped."""
        return [
            annotation
            for annotation in self.annotations
            if isinstance(annotation, dict) and not annotation.get("was_cancelled")
        ]

    def values(self, kind: str, from_name: str | None) -> Iterator[dict[str, Any]]:
        """The values of one kind, `choices` or `labels`."""
        for annotation in self.submitted():
            results = annotation.get("result")
            for result in results if isinstance(results, list) else []:
                if not isinstance(result, dict) or result.get("type") != kind:
                    continue
                if from_name is not None and result.get("from_name") != from_name:
                    continue
                value = result.get("value")
                names = value.get(kind) if isinstance(value, dict) else None
                if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
                    raise ValueError(f"{self.where}: {shown(value)} holds no list of {kind}.")
                yield value


def _tasks(path: str | Path, text: str) -> Iterator[_Task]:
    """Yield the tasks of an export (*Export*, *JSON*), or raise a `ValueError` that names one."""
    if not isinstance(text, str):
        raise ValueError(f"text={text!r}; pass the name of a field, a string.")
    path = existing_file(path)
    cure = "export the project from Label Studio as JSON"
    tasks = json_value(file_text(path), path.name, cure)
    if not isinstance(tasks, list) or not tasks:
        raise ValueError(f"{path.name} holds no list of tasks; {cure}.")
    for number, task in enumerate(tasks):
        where = f"{path.name}, task {task.get('id', number)}" if isinstance(task, dict) else ""
        if not where or not isinstance(task.get("data"), dict) or "annotations" not in task:
            raise ValueError(
                f"{where or f'{path.name}, element {number}'} has no 'data' and 'annotations'; "
                f"{cure}, not as JSON-MIN."
            )
        found = task["data"].get(text)
        if not isinstance(found, str) or not found.strip():
            raise ValueError(
                f"{where} has no text in {text!r}; the fields of its data are "
                f"{', '.join(map(repr, task['data']))}. Name one with text=."
            )
        check_unicode(found, where)
        annotations = task["annotations"]
        yield _Task(where, found, annotations if isinstance(annotations, list) else [])


def _warn_of_unlabeled(path: Path, left_out: int, kept: int) -> None:
    """Say how many tasks had no annotation; raise where none had one."""
    if not kept:
        raise ValueError(f"{path.name} holds no labeled text; label some, or check from_name=.")
    if left_out:
        warnings.warn(
            f"{path.name}: {left_out} of {left_out + kept} tasks are not labeled and were left "
            "out.",
            stacklevel=3,
        )
