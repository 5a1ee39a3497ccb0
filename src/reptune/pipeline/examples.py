"""A user's file as examples to learn from: texts, pairs or sentences, and what each should give."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reptune.checks import is_missing
from reptune.data.exports import ANNOTATIONS, ANSWERS, read_export
from reptune.data.files import existing_file, file_text, shown
from reptune.data.streams import open_rows
from reptune.data.tables import (
    DELIMITED,
    _check_separator,
    _Column,
    _delimited_columns,
    _json_columns,
    _kind,
    _labels,
    _parquet_columns,
    _texts,
)
from reptune.data.tagged import read_columns
from reptune.tags import OUTSIDE

if TYPE_CHECKING:
    from datasets import Dataset

Kind = Literal["label", "labels", "pair", "tags", "text", "span"]

TAGGED = (".conll", ".bio", ".iob", ".iob2", ".txt")  # one word per line
DEFAULT_LABEL = "label"  # for an export: look for the field
EXPORTED = (".json", ".spacy")
BETWEEN_LABELS = ",;|#/\t"
# With fewer rows, labels that are all different are somebody's first try, not a wrong column.
_ROWS_TO_SUSPECT = 20


@dataclass(frozen=True)
class Examples:
    """Examples of a task, in the order of their file.

    Attributes:
        kind: `"label"`, one per text; `"labels"`, several per text; `"pair"`, one per pair of
            texts; `"tags"`, one per word; `"text"`, a new text for each; `"span"`, the part of a
            passage that answers a question.
        inputs: A text, a tuple of two texts (of `"span"`, question and passage), or a list of
            words each.
        targets: A label (str or int), a list of labels, a list of BIO2 tags, or a text each.
        name: The file's name.
        sha256: Of the file's bytes.
        notes: What was left out and what is odd, a sentence each.

    >>> examples = Examples("labels", ["a", "b"], [["x", "y"], []], "mine.csv", "")
    >>> len(examples), examples.labels, examples.select([1]).targets
    (2, ['x', 'y'], [[]])
    """

    kind: Kind
    inputs: list[Any]
    targets: list[Any]
    name: str
    sha256: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    def select(self, rows: Iterable[int]) -> Examples:
        """Return the examples at these indices, in this order."""
        rows = list(rows)
        return replace(
            self,
            inputs=[self.inputs[row] for row in rows],
            targets=[self.targets[row] for row in rows],
        )

    @property
    def labels(self) -> list[Any]:
        """The different labels, sorted; for tags the types of the entities; of texts, none."""
        if self.kind in ("text", "span"):
            return []
        if self.kind == "tags":
            return sorted({tag[2:] for tags in self.targets for tag in tags if tag != OUTSIDE})
        if self.kind == "labels":
            return sorted({label for labels in self.targets for label in labels})
        return sorted(set(self.targets))


def kind_of(model: Any) -> Kind:
    """Return what a fitted estimator learns from and gives, whatever its card says."""
    name = type(model).__name__
    if name in ("TextGenerator", "SpanExtractor"):
        return "text" if name == "TextGenerator" else "span"
    if hasattr(model, "entities"):
        return "tags"
    if getattr(model, "thresholds_", None) is not None:
        return "labels"
    return "pair" if "{text2}" in str(getattr(model, "template", "")) else "label"


def read_examples(
    path: str | Path,
    *,
    text: str = "text",
    label: str = DEFAULT_LABEL,
    text2: str | None = None,
    several: str | None = None,
    separator: str | None = None,
    like: Mapping[str, Any] | None = None,
) -> Examples:
    """Read a file of examples, of whatever kind it is.

    Args:
        path: A table (`.csv`, `.tsv`, `.parquet`, `.jsonl`), words and tags in columns (`.conll`,
            `.bio`, `.iob`, `.iob2`, `.txt`), or what Label Studio, doccano, Prodigy or spaCy
            exported (`.json`, `.jsonl`). All but Parquet also with `.gz`. UTF-8.
        text: The column that holds the texts, or the first text of a pair.
        label: The column that holds the labels. Where it holds lists of strings, each text has
            several; where it holds spans, `[start, end, type]` in characters, words get tags.
        text2: The column that holds the second text of a pair.
        several: What stands between the labels of a text that may have several, such as `";"`. An
            empty cell then means none.
        separator: What stands between the fields of a table or of tagged words; `None` looks.
        like: The card of the model that the rows are for, or its `kind` and `labels`. One label per
            text becomes a list, and a whole number a string, where the card has those; for a model
            that writes texts or finds answers, `label` is the column that holds them. `None`, for
            rows to train on, refuses what nothing can be learned from: one class alone, labels of
            which most are different, tags without an entity.

    Returns:
        The examples. Readers' warnings are among their notes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read so, or not be learned from. It names the file, the
            line or column, and the cure.
    """
    path = existing_file(path)
    _check_names(text, label, text2, several)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with _noted(path) as notes:
        kind, inputs, targets = _read(path, text, label, text2, several, separator)
    examples = Examples(kind, inputs, targets, path.name, sha256, tuple(notes))
    if like is not None:
        return _like(examples, like)
    return _checked(examples, path, label, several, separator)


def _check_names(text: str, label: str, text2: str | None, several: str | None) -> None:
    names = {"text": text, "label": label, **({} if text2 is None else {"text2": text2})}
    for parameter, name in names.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"{parameter}={name!r}; pass a column's name, a string.")
        others = [other for other in names if names[other] == name and other != parameter]
        if others:
            raise ValueError(f"{parameter} and {others[0]} both name {name!r}; name two columns.")
    if several is not None and (not isinstance(several, str) or not several.strip()):
        raise ValueError(f"several={several!r}; pass what stands between labels, such as ';'.")
    if several is not None and text2 is not None:
        raise ValueError("pairs of texts have one label each; leave out several or text2.")


@contextmanager
def _noted(path: Path) -> Iterator[list[str]]:
    """Collect the readers' warnings about the file; let others through."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    for warning in caught:
        message = str(warning.message)
        if message.startswith(path.name):
            notes.append(message)
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _read(
    path: Path, text: str, label: str, text2: str | None, several: str | None, separator: str | None
) -> tuple[Kind, list[Any], list[Any]]:
    suffix = _suffix(path)
    if text2 is None and suffix in TAGGED:
        return "tags", *_columns_of(_read_tagged(path, separator))
    if text2 is None and (suffix in EXPORTED or (suffix == ".jsonl" and _is_export(path, label))):
        field = None if label == DEFAULT_LABEL else label
        return _of_export(read_export(path, text, field), several)
    names = [text, label] if text2 is None else [text, text2, label]
    *texts, labels = _table(path, names, separator)
    as_text = _kind(path) in DELIMITED
    inputs = [_filled_texts(column) for column in texts]
    if text2 is not None:
        return "pair", list(zip(*inputs, strict=True)), _filled_labels(labels, as_text)
    if several is None and not any(isinstance(value, list) for value in labels.values):
        return "label", inputs[0], _filled_labels(labels, as_text)
    lists = _label_lists(labels, several, as_text)
    if several is None and all(len(row) == 1 for row in lists):  # as doccano writes one label
        return "label", inputs[0], [row[0] for row in lists]
    return "labels", inputs[0], lists


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


# --- tags and exports ----------------------------------------------------------------------------


def _read_tagged(path: Path, separator: str | None) -> Dataset:
    try:
        return read_columns(path, separator=separator)
    except ValueError as error:
        if _suffix(path) != ".txt" or "tag" not in str(error):
            raise
        raise ValueError(
            f"{error} If this is a table of texts and labels, name it .csv, .tsv or .jsonl."
        ) from None


def _columns_of(table: Dataset) -> tuple[list[Any], list[Any]]:
    first, second = table.column_names
    return table[first][:], table[second][:]


def _of_export(table: Dataset, several: str | None) -> tuple[Kind, list[Any], list[Any]]:
    inputs, targets = _columns_of(table)
    if "ner_tags" in table.column_names:
        return "tags", inputs, targets
    if isinstance(targets[0], list):
        return "labels", inputs, targets
    if several is not None:
        return "labels", inputs, [[label] for label in targets]
    return "label", inputs, targets


def _is_export(path: Path, label: str) -> bool:
    """Return whether JSON lines hold what a tool annotated rather than a plain table.

    They do where the label column holds spans, where instead of it there is a list of spans, of
    accepted choices or the like, and where Prodigy's answers say what to leave out.
    """
    if file_text(path).lstrip()[:1] == "[":  # spaCy's pairs
        return True
    with open_rows(path) as rows:
        for row in rows:
            value, is_default = row.values.get(label), label == DEFAULT_LABEL
            if is_default and row.values.get("answer") in ANSWERS:
                return True
            if is_default and label not in row.values:
                return any(isinstance(row.values.get(name), list | dict) for name in ANNOTATIONS)
            if label not in row.values:
                return False  # which the table's reader says
            if value not in (None, []):
                is_doccano = is_default and isinstance(row.values.get("data"), str)
                spans = isinstance(value, list) and isinstance(value[0], list | dict)
                return spans or (is_doccano and "text" not in row.values)
    return False


# --- tables --------------------------------------------------------------------------------------


def _table(path: Path, names: list[str], separator: str | None) -> list[_Column]:
    kind = _kind(path)
    _check_separator(separator, kind, path)
    if kind == ".parquet":
        return _parquet_columns(path, names)
    if kind == ".jsonl":
        return _json_columns(path, names)
    return _delimited_columns(path, names, separator or DELIMITED[kind], separator is None)


def _filled_texts(column: _Column) -> list[str]:
    _check_filled(column, "text", "delete")
    return _texts(column)


def _filled_labels(column: _Column, as_text: bool) -> list[Any]:
    _check_filled(column, "label", "fill in or delete")
    return _labels(column, as_text)


def _check_filled(column: _Column, what: str, cure: str) -> None:
    """Say how many rows lack a text or a label, where several do."""
    lines = [
        line for value, line in zip(column.values, column.lines, strict=True) if _is_empty(value)
    ]
    if len(lines) > 1:
        raise ValueError(
            f"{lines[0]} has no {what} in column {column.name!r}, nor have {len(lines) - 1:,} more "
            f"of the {len(column.values):,} rows; {cure} them."
        )


def _is_empty(value: Any) -> bool:
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def _label_lists(column: _Column, several: str | None, as_text: bool) -> list[list[Any]]:
    """Return the labels of each row, every label as strictly checked as where there is one."""
    rows = [
        _cell(value, several, line) for value, line in zip(column.values, column.lines, strict=True)
    ]
    flat = [(label, line) for row, line in zip(rows, column.lines, strict=True) for label in row]
    if not flat:
        raise ValueError(
            f"no row has a label in column {column.name!r}; write some, or check label=."
        )
    values, lines = map(list, zip(*flat, strict=True))
    labels = iter(_labels(_Column(column.name, values, lines), as_text))
    return [[next(labels) for _ in row] for row in rows]


def _cell(value: Any, several: str | None, line: str) -> list[Any]:
    if isinstance(value, list):
        return list(dict.fromkeys(value)) if _can_hash(value) else value
    if several is None:
        raise ValueError(
            f"{line} has {shown(value)} where other rows have a list of labels; write a list in "
            "every row, [] where a text has no label."
        )
    if _is_empty(value):
        return []
    if not isinstance(value, str):
        return [value]
    return list(dict.fromkeys(part.strip() for part in value.split(several) if part.strip()))


def _can_hash(values: list[Any]) -> bool:
    return not any(isinstance(value, list | dict) for value in values)


def _like(examples: Examples, card: Mapping[str, Any]) -> Examples:
    """Return examples whose targets are of the kind and type that a card says."""
    if (examples.kind, card.get("kind")) in (("label", "text"), ("pair", "span")):
        return replace(examples, kind=card["kind"], targets=list(map(str, examples.targets)))
    if examples.kind == "label" and card.get("kind") == "labels":
        targets = [[label] for label in examples.targets]
        examples = replace(examples, kind="labels", targets=targets)
    # Where a file has only the labels 1 and 2 of a model that knows 1, 2 and "other".
    known = card.get("labels") or []
    if examples.kind == "tags" or not all(isinstance(label, str) for label in known):
        return examples
    if examples.kind == "labels":
        return replace(examples, targets=[list(map(str, row)) for row in examples.targets])
    return replace(examples, targets=list(map(str, examples.targets)))


# --- what can be learned from --------------------------------------------------------------------


def _checked(
    examples: Examples, path: Path, label: str, several: str | None, separator: str | None
) -> Examples:
    """Refuse what nothing can be learned from, and note classes of a single row."""
    names = examples.labels
    if examples.kind == "tags":
        if not names:
            raise ValueError(f"{path.name}: no word has a tag other than 'O'; tag some entities.")
        return examples
    what = f"{path.name}: column {label!r}"
    if len(names) < 2:
        odd = "".join(f" {note}" for note in examples.notes)
        raise ValueError(
            f"{what} holds one class, {shown(names[0])}; training needs at least two. Add rows of "
            f"another class, or name the column with the labels with label=.{odd}"
        )
    if examples.kind == "labels":
        _check_split(examples, what, several)
        counts = Counter(name for row in examples.targets for name in row)
    else:
        counts = Counter(examples.targets)
    _check_repeated(counts, path, label, separator)
    single = [name for name in names if counts[name] == 1]
    if not single:
        return examples
    few = ", ".join(shown(name) for name in single[:5]) + (", …" if len(single) > 5 else "")
    note = f"{what} has {len(single)} of {len(names)} classes in a single row each: {few}."
    return replace(examples, notes=(*examples.notes, note))


def _check_split(examples: Examples, what: str, several: str | None) -> None:
    """Refuse labels that hold another mark than the one that stands between labels."""
    if several is None or any(len(row) > 1 for row in examples.targets):
        return
    for name in examples.labels:
        if isinstance(name, str) and any(mark in name for mark in BETWEEN_LABELS):
            raise ValueError(
                f"{what} holds no {several!r}; its cells look like {shown(name)}. Say with "
                "several= what stands between labels, or leave it out where each text has one."
            )


def _check_repeated(counts: Counter, path: Path, label: str, separator: str | None) -> None:
    """Refuse a column of which most values are different: an id or a text, but no label."""
    rows = counts.total()
    if rows < _ROWS_TO_SUSPECT or len(counts) <= rows / 2:
        return
    likely = _columns_that_repeat(path, separator)
    meant = f" Did you mean {' or '.join(likely)}?" if likely else ""
    raise ValueError(
        f"{path.name}: column {label!r} holds {len(counts):,} different labels among {rows:,}, "
        "fewer than two rows for each, from which no class can be learned; name the column with "
        f"the labels with label=.{meant}"
    )


def _columns_that_repeat(path: Path, separator: str | None) -> list[str]:
    """Return up to three columns that could hold labels, the fewest different values first."""
    seen: dict[str, set[int]] = {}
    count = 0
    try:
        with open_rows(path, separator=separator) as rows:
            for row in rows:
                count += 1
                for name, value in row.values.items():
                    seen.setdefault(name, set()).add(hash(repr(value)))
    except ValueError:  # no more than a hint is lost
        return []
    found = sorted((len(values), name) for name, values in seen.items())
    return [
        f"{name!r} ({values} different values)" for values, name in found if 1 < values <= count / 5
    ][:3]
