"""What annotation tools export: Label Studio, doccano, Prodigy and spaCy, told apart by content.

Their shapes, as the tools write them:

- Label Studio (*Export*, *JSON*): a list of tasks with `data` and `annotations`.
- doccano: JSON lines or a list with `text` (older: `data`) and `label`, a list of names or of
  `[start, end, type]`; with relations `entities`, a list of `{"start_offset", "end_offset",
  "label"}`.
- Prodigy (`db-out`): JSON lines with `text` and `answer`, and `spans`, `accept` or `label`.
- spaCy: `Doc.to_json()`, with `ents`, `spans` (by group) and `cats`, and the pairs of version 2,
  `["a text", {"entities": [[start, end, type]]}]` or `{"cats": {"A": 1.0}}`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reptune.checks import check_unicode, did_you_mean
from reptune.data import label_studio
from reptune.data.files import existing_file, file_text, json_value, shown
from reptune.data.tables import _Column, _labels
from reptune.data.tagged import _span_fields, _tags_of, split_words, tagged_dataset
from reptune.tags import OUTSIDE

if TYPE_CHECKING:
    from datasets import Dataset

# The fields that may hold what was annotated; the first of `data` and `text` holds the text.
ANNOTATIONS = ("label", "labels", "spans", "entities", "ents", "accept", "cats")
ANSWERS = ("accept", "reject", "ignore")  # Prodigy's
_EMPTY = ([], {}, "")
_OFFSETS = (("start", "end", "label"), ("start_offset", "end_offset", "label"))
_CURE = (
    "export JSON from Label Studio, JSON lines from doccano or Prodigy (db-out), or one "
    "Doc.to_json() of spaCy per line"
)
_DOCBIN = (
    'python -c "import json, spacy; from spacy.tokens import DocBin; [print(json.dumps('
    "doc.to_json())) for doc in DocBin().from_disk('{0}.spacy').get_docs(spacy.blank('en')"
    '.vocab)]" > {0}.jsonl'
)


class _Record(NamedTuple):
    """A text, what messages call it, and what was annotated, by field."""

    where: str
    text: str
    found: dict[str, Any]


def read_export(path: str | Path, text: str = "text", label: str | None = None) -> Dataset:
    """Read what Label Studio, doccano, Prodigy or spaCy exported, by its content.

    Where a text has several labels, or another one has, each text's labels are a list; a text
    without any then counts as labeled. Where none has several, texts without a label are left out
    with a warning that counts them, as are Prodigy's rejected and ignored answers.

    Args:
        path: A `.json` or `.jsonl` file, also with `.gz`. UTF-8.
        text: The field that holds the text.
        label: The field that holds the annotations, in Label Studio the name of the `<Choices>` or
            `<Labels>`; `None` looks.

    Returns:
        A data set with the columns `text` and `label` (str or int, or a list of them), or for
        entities `tokens` (by `split_words`) and `ner_tags` (BIO2).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of no kind that is known, holds both entities and labels of
            whole texts, or has a row that does not fit. It names the row and the cure.
    """
    path = existing_file(path)
    if path.suffix.lower() == ".spacy":
        raise ValueError(
            f"{path.name} holds spaCy's binary documents; convert it to JSON lines first: "
            f"{_DOCBIN.format(path.stem)}"
        )
    values = _values(path)
    if _is_label_studio(values):
        return _label_studio(path, text, label, [value for _, value in values])
    records = _records(values, path, text, label)
    if not records:
        raise ValueError(f"{path.name} holds no answer that was accepted; annotate some texts.")
    if _hold_spans(records, path):
        return _tagged(records, path)
    return _labeled(records, path)


# --- what is in the file -------------------------------------------------------------------------


def _values(path: Path) -> list[tuple[str, Any]]:
    """Return the elements of a JSON list, or of JSON lines, with where each is."""
    content = file_text(path)
    if not content.strip():
        raise ValueError(f"{path.name} is empty; {_CURE}.")
    lines = [line for line in content.split("\n") if line.strip()]
    if ".jsonl" not in path.name.lower() and not _is_one_value(lines[0]):
        whole = json_value(content, path.name, _CURE)
        # Of the annotator for spaCy by tecoholic: {"classes": [...], "annotations": [pairs]}
        if isinstance(whole, dict) and isinstance(whole.get("annotations"), list):
            whole = [pair for pair in whole["annotations"] if pair is not None]
        if not isinstance(whole, list) or not whole:
            raise ValueError(f"{path.name} holds no list of annotated texts; {_CURE}.")
        return [(f"{path.name}, element {number}", value) for number, value in enumerate(whole)]
    return [
        (where := f"{path.name}, line {number}", json_value(line, where, _CURE))
        for number, line in enumerate(content.split("\n"), start=1)
        if line.strip()
    ]


def _is_one_value(line: str) -> bool:
    """Return whether the first line is one row of JSON lines, whatever the file is called."""
    try:
        value = json_value(line, "", "")
    except ValueError:
        return False
    pair = isinstance(value, list) and [type(part) for part in value] == [str, dict]
    return pair or (isinstance(value, dict) and "annotations" not in value)


def _is_label_studio(values: list[tuple[str, Any]]) -> bool:
    first = values[0][1]
    if not isinstance(first, dict):
        return False
    is_task = isinstance(first.get("data"), dict) and "annotations" in first
    return is_task or "annotation_id" in first  # JSON-MIN, which its reader refuses with the cure


def _records(
    values: list[tuple[str, Any]], path: Path, text: str, label: str | None
) -> list[_Record]:
    """Return the rows that were accepted; warn of how many were not, and of half annotations."""
    rows = [(where, _row(where, value)) for where, value in values]
    kept = [(where, row) for where, row in rows if row.get("answer") not in ANSWERS[1:]]
    if label is not None and kept and not any(label in row for _, row in kept):
        names = {name: None for _, row in kept for name in row}
        raise ValueError(
            f"{path.name} has no field {label!r}{did_you_mean(label, names)}; its fields are "
            f"{', '.join(map(repr, names))}."
        )
    if len(kept) < len(rows):
        warnings.warn(
            f"{path.name}: {len(rows) - len(kept)} of {len(rows)} answers were 'reject' or "
            "'ignore' and were left out.",
            stacklevel=3,
        )
    if any(row.get("_view_id") == "ner" for _, row in kept):
        warnings.warn(
            f"{path.name} holds answers about single entities (Prodigy's _view_id 'ner'); words "
            "outside of them count as no entity. ner.correct asks about whole texts.",
            stacklevel=3,
        )
    wanted = ANNOTATIONS if label is None else (label,)
    return [
        _Record(where, _text_of(where, row, text), _annotated(row, wanted)) for where, row in kept
    ]


def _text_of(where: str, row: dict[str, Any], text: str) -> str:
    name = "data" if text not in row and text == "text" else text
    if name not in row:
        raise ValueError(
            f"{where} has no field {text!r}{did_you_mean(text, row)}; its fields are "
            f"{', '.join(map(repr, row))}. Name the one with the text with text=, or {_CURE}."
        )
    if not isinstance(row[name], str) or not row[name].strip():
        raise ValueError(f"{where}: {name!r} is {shown(row[name])}; it must hold a text.")
    check_unicode(row[name], f"{where}: {name!r}")
    return row[name]


def _annotated(row: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """Return what is in the wanted fields, as lists of spans or of names.

    spaCy's groups of spans become one list, and Prodigy's choices by number their texts.
    """
    found = {field: row[field] for field in wanted if row.get(field) is not None}
    for field, value in found.items():
        if isinstance(value, dict) and all(isinstance(group, list) for group in value.values()):
            found[field] = [span for group in value.values() for span in group]
    accepted, options = found.get("accept"), row.get("options")
    if isinstance(accepted, list) and isinstance(options, list):
        texts = {option.get("id"): option.get("text") for option in options
                 if isinstance(option, dict) and isinstance(option.get("id"), int)}  # fmt: skip
        found["accept"] = [texts.get(one, one) for one in accepted if isinstance(one, int | str)]
    return found


def _row(where: str, value: Any) -> dict[str, Any]:
    """Return an element as one object: spaCy's pair of a text and annotations is made one."""
    if isinstance(value, list) and [type(part) for part in value] == [str, dict]:
        return {"text": value[0], **value[1]}
    if isinstance(value, dict) and "paragraphs" in value:
        raise ValueError(
            f"{where} is in spaCy 2's format for training; convert it with python -m spacy convert "
            f"FILE.json . and then to JSON lines: {_DOCBIN.format('FILE')}"
        )
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {shown(value)}, which is no annotated text; {_CURE}.")
    if "label" not in value and isinstance(value.get("annotations"), list):
        raise ValueError(
            f"{where} is of an old doccano, whose 'annotations' number the labels but do not name "
            "them; export it as JSONL (text label)."
        )
    return value


def _hold_spans(records: list[_Record], path: Path) -> bool:
    """Return whether spans were annotated, not whole texts; raise if it is both or neither."""
    fields: dict[bool, set[str]] = {True: set(), False: set()}
    for record in records:
        for field, value in record.found.items():
            if value not in _EMPTY:
                fields[_is_spans(value)].add(field)
    spans, labels = ("/".join(map(repr, sorted(fields[kind]))) for kind in (True, False))
    if spans and labels:
        raise ValueError(
            f"{path.name} holds both entities (in {spans}) and labels of whole texts (in "
            f"{labels}); say with label= which of these fields is meant."
        )
    if not spans and not labels:
        names = sorted({field for record in records for field in record.found})
        what = f"nothing in {', '.join(map(repr, names))}" if names else "no annotations"
        raise ValueError(
            f"{path.name}: the texts have {what}; annotate some, name the field that holds the "
            f"annotations with label=, or {_CURE}."
        )
    return bool(spans)


def _is_spans(value: Any) -> bool:
    return isinstance(value, list) and isinstance(value[0], list | dict)


# --- entities and labels -------------------------------------------------------------------------


def _tagged(records: list[_Record], path: Path) -> Dataset:
    tokens, tags = [], []
    for record in records:
        found = []
        for value in record.found.values():
            if value in _EMPTY:
                continue
            if not isinstance(value, list):
                raise ValueError(f"{record.where}: {shown(value)} is no list of spans.")
            found += [_span_fields(span, _names_in(span), record.where) for span in value]
        words = split_words(record.text)
        tags.append(_tags_of(record.text, words, found, record.where))
        tokens.append([word.text for word in words])
    empty = sum(all(tag == OUTSIDE for tag in row) for row in tags)
    if empty > len(tags) / 2:
        warnings.warn(
            f"{path.name}: {empty} of {len(tags)} texts hold no entity and count as annotated; "
            "leave them out of the export if nobody read them.",
            stacklevel=3,
        )
    return tagged_dataset(tokens, tags)


def _names_in(span: Any) -> tuple[str, str, str]:
    return _OFFSETS["start_offset" in span] if isinstance(span, dict) else _OFFSETS[0]


def _labeled(records: list[_Record], path: Path) -> Dataset:
    from datasets import Dataset

    rows = [_names_of(record) for record in records]
    names = [
        (name, record.where) for record, row in zip(records, rows, strict=True) for name in row
    ]
    flat, lines = map(list, zip(*names, strict=True))
    _labels(_Column("label", flat, lines), as_text=False)  # as strict as with any table
    texts = [record.text for record in records]
    if any(len(row) > 1 for row in rows):
        return Dataset.from_dict({"text": texts, "label": rows})
    kept = [index for index, row in enumerate(rows) if row]
    if len(kept) < len(rows):
        warnings.warn(
            f"{path.name}: {len(rows) - len(kept)} of {len(rows)} texts have no label and were "
            "left out.",
            stacklevel=3,
        )
    labels = [rows[index][0] for index in kept]
    return Dataset.from_dict({"text": [texts[index] for index in kept], "label": labels})


def _names_of(record: _Record) -> list[Any]:
    """Return a text's labels: a name, a list of names, or spaCy's `cats`, a number for each."""
    names: list[Any] = []
    filled = {field: value for field, value in record.found.items() if value not in _EMPTY}
    if len(filled) > 1 and "accept" in filled:  # Prodigy's question may have a label of its own
        filled = {"accept": filled["accept"]}
    for field, value in filled.items():
        if isinstance(value, dict):
            if not all(isinstance(number, int | float) for number in value.values()):
                raise ValueError(f"{record.where}: {field!r} is {shown(value)}; give numbers.")
            names += [name for name, number in value.items() if number >= 0.5]
        else:
            names += value if isinstance(value, list) else [value]
    if any(isinstance(name, list | dict) for name in names):
        raise ValueError(f"{record.where}: {shown(names)} are no labels; a label is a string.")
    return list(dict.fromkeys(names))


# --- Label Studio --------------------------------------------------------------------------------


def _label_studio(path: Path, text: str, label: str | None, tasks: list[Any]) -> Dataset:
    """Read entities or choices, whichever the tasks hold."""
    results = [
        result
        for task in tasks
        if isinstance(task, dict)
        for annotation in task.get("annotations") or []
        for result in (annotation.get("result") if isinstance(annotation, dict) else None) or []
        if isinstance(result, dict) and label in (None, result.get("from_name"))
    ]
    kinds = {kind: {str(r.get("from_name")) for r in results if r.get("type") == kind}
             for kind in ("choices", "labels")}  # fmt: skip
    if all(kinds.values()):
        names = ", ".join(f"{kind} in {', '.join(sorted(kinds[kind]))}" for kind in kinds)
        raise ValueError(
            f"{path.name} holds both entities and choices ({names}); say with label= which is "
            "meant."
        )
    if kinds["labels"]:
        return label_studio.read_spans(path, text, label)
    values = [r["value"].get("choices") for r in results if isinstance(r.get("value"), dict)]
    if not any(isinstance(value, list) and len(value) > 1 for value in values):
        return label_studio.read_choices(path, text, label)
    return _several_choices(path, text, label)


def _several_choices(path: Path, text: str, label: str | None) -> Dataset:
    """Read Label Studio's `<Choices choice="multiple">`: a list of labels for each text."""
    from datasets import Dataset

    texts, labels, left_out = [], [], 0
    for task in label_studio._tasks(path, text):
        submitted = len(task.submitted())
        if submitted > 1:
            raise ValueError(
                f"{task.where} has {submitted} annotations; keep one of them in Label Studio."
            )
        if not submitted:
            left_out += 1
            continue
        names = [name for value in task.values("choices", label) for name in value["choices"]]
        texts.append(task.text)
        labels.append(list(dict.fromkeys(names)))
    label_studio._warn_of_unlabeled(path, left_out, len(texts))
    return Dataset.from_dict({"text": texts, "label": labels})
