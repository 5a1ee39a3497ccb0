"""Tables of your own: texts and labels from CSV, TSV, Parquet or JSON lines.

A file is read as it is. Nothing is guessed from the values but whether all labels are whole
numbers, and a line that does not fit is an error that names it.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reptune.checks import check_labels, check_texts, check_unicode, is_missing
from reptune.data.files import existing_file, file_text, json_object, shown

if TYPE_CHECKING:
    from datasets import Dataset

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
DELIMITED = {".csv": ",", ".tsv": "\t"}
KINDS = (*DELIMITED, ".parquet", ".jsonl")
MAX_FIELD = 2**31 - 1  # the csv module's own limit, 131,072 characters, is less than a long book
INT64 = range(-(2**63), 2**63)
# Numbers whose text says all of them: "01", "+1" and "1.0" stay strings.
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
_CSV_LIMIT = threading.Lock()  # the csv module has one limit for the whole process


class _Column(NamedTuple):
    """A column's values, and what to call the line of each in a message."""

    name: str
    values: list[Any]
    lines: list[str]


def read_table(
    path: str | Path,
    text: str = "text",
    label: str | None = "label",
    separator: str | None = None,
) -> Dataset:
    """Read your own table of texts from CSV, TSV, Parquet or JSON lines.

    Values are kept as the file has them. In CSV and TSV every field is a string: a label `NA` or
    `None` is just that. Only where all labels are whole numbers in their usual spelling (`0`, `7`,
    `-12`, but not `01` or `+1`) do they become integers. JSON lines and Parquet say themselves
    what is a string and what is a number. A text or a label that is empty, blank or null is an
    error, as is every line that does not fit the header.

    Args:
        path: The file; its suffix (`.csv`, `.tsv`, `.parquet`, `.jsonl`; all but `.parquet` also
            with `.gz`) says how to read it. UTF-8.
        text: The column that holds the texts.
        label: The column that holds the labels, or `None` for a table without labels.
        separator: The character between the fields of a CSV or TSV file. `None` takes the
            suffix's own, a comma or a tab; where the header has the columns only with another one
            of `,`, `;`, tab and `|`, that one.

    Returns:
        A data set with the columns `text` and, where asked for, `label` (str or int, as given).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the suffix or a column is unknown, a row has no text or no label, has more
            or fewer fields than the header, is badly quoted or no JSON object. It names the file,
            the line and the cure.
    """
    path = existing_file(path)
    kind = _kind(path)
    wanted = _wanted(text, label)
    _check_separator(separator, kind, path)
    if kind == ".parquet":
        columns = _parquet_columns(path, wanted)
    elif kind == ".jsonl":
        columns = _json_columns(path, wanted)
    else:
        columns = _delimited_columns(path, wanted, separator or DELIMITED[kind], separator is None)
    found: dict[str, list[Any]] = {"text": _texts(columns[0])}
    if label is not None:
        found["label"] = _labels(columns[1], as_text=kind in DELIMITED)
    from datasets import Dataset  # slow to import, and not needed to refuse a file

    return Dataset.from_dict(found)


# --- columns -------------------------------------------------------------------------------------


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"] and suffixes[-2:-1] != [".parquet"]:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix in KINDS:
        return suffix
    hint = ""
    if suffix == ".json":
        hint = " For what an annotation tool exported, use reptune.data.read_export."
    raise ValueError(
        f"{path.name}: cannot read {suffix or 'a file without a suffix'}; "
        f"save the table as one of {', '.join(KINDS)}.{hint}"
    )


def _wanted(text: str, label: str | None) -> list[str]:
    wanted = [text] if label is None else [text, label]
    for parameter, name in zip(("text", "label"), wanted, strict=False):
        if not isinstance(name, str):
            raise ValueError(f"{parameter}={name!r}; pass a column's name, a string.")
    if text == label:
        raise ValueError(f"text and label both name the column {text!r}; name two columns.")
    return wanted


def _check_separator(separator: str | None, kind: str, path: Path) -> None:
    if separator is None:
        return
    if not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n\0\ufeff':
        raise ValueError(
            f"separator={separator!r}; use one character, such as ',', ';', '\\t' or '|'."
        )
    if kind not in DELIMITED:
        raise ValueError(
            f"separator={separator!r}, but {path.name} has none; leave it out: it is for "
            f"{' and '.join(DELIMITED)}."
        )


def _positions(header: list[str], wanted: list[str], file: str, hint: str = "") -> list[int]:
    """Where the wanted columns are in the header."""
    for name in wanted:
        if name not in header:
            near = difflib.get_close_matches(name, header, n=1, cutoff=0.7)
            meant = f", did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{file} has no column {name!r}{meant}; "
                f"its columns are {', '.join(map(repr, header)) or 'none'}.{hint}"
            )
        if header.count(name) > 1:
            raise ValueError(
                f"{file} has {header.count(name)} columns {name!r}; rename all but one."
            )
    return [header.index(name) for name in wanted]


def _texts(column: _Column) -> list[str]:
    for value, line in zip(column.values, column.lines, strict=True):
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
            raise ValueError(f"{line} has no text in column {column.name!r}; delete the row.")
        if not isinstance(value, str):
            raise ValueError(
                f"{line}: column {column.name!r} holds {shown(value)}, a "
                f"{type(value).__name__}; every text must be a string."
            )
        check_unicode(value, f"{line}, column {column.name!r},")
    return check_texts(column.values, what=f"column {column.name!r}")


def _labels(column: _Column, as_text: bool) -> list[Any]:
    """The labels, checked; those of a delimited file become integers where all of them are."""
    for value, line in zip(column.values, column.lines, strict=True):
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
            raise ValueError(
                f"{line} has no label in column {column.name!r}; fill it in or delete the row."
            )
        if not isinstance(value, str | int):
            raise ValueError(
                f"{line}: label {shown(value)} is a {type(value).__name__}; labels must be "
                "strings or integers."
            )
        if not isinstance(value, str) and value not in INT64:
            raise ValueError(f"{line}: label {shown(value)} is beyond 64 bits; quote it.")
        if isinstance(value, str):
            check_unicode(value, f"{line}, column {column.name!r},")
    _check_one_type(column)
    _check_spelling(column)
    labels = _as_integers(column) if as_text else column.values
    check_labels(labels, len(labels))
    return labels


def _check_one_type(column: _Column) -> None:
    first, first_line = column.values[0], column.lines[0]
    for value, line in zip(column.values, column.lines, strict=True):
        if type(value) is not type(first):
            raise ValueError(
                f"column {column.name!r} mixes types: {shown(first)} on {first_line}, "
                f"{shown(value)} on {line}; write all labels as strings."
            )


def _check_spelling(column: _Column) -> None:
    """Refuse labels that differ by spaces alone: they would become two classes."""
    seen: dict[Any, tuple[Any, str]] = {}
    for value, line in zip(column.values, column.lines, strict=True):
        key = value.strip() if isinstance(value, str) else value
        other, other_line = seen.setdefault(key, (value, line))
        if other != value:
            raise ValueError(
                f"labels {shown(other)} ({other_line}) and {shown(value)} ({line}) differ "
                "only in the spaces around them; remove the spaces."
            )


def _as_integers(column: _Column) -> list[Any]:
    values = column.values
    if all(_WHOLE.fullmatch(value) and int(value) in INT64 for value in values):
        return [int(value) for value in values]
    if all(_NUMBER.fullmatch(value) for value in values):
        index = next((index for index, value in enumerate(values) if "." in value), None)
        if index is not None:
            raise ValueError(
                f"{column.lines[index]}: label {shown(values[index])} is a decimal number; "
                "labels must be strings or integers. Write whole numbers, or words."
            )
    return values


# --- CSV and TSV ---------------------------------------------------------------------------------


def _delimited_columns(path: Path, wanted: list[str], separator: str, guess: bool) -> list[_Column]:
    text = file_text(path)
    with _CSV_LIMIT:
        before = csv.field_size_limit(MAX_FIELD)
        try:
            if guess:
                separator = _guess_separator(text, wanted, separator, path)
            rows = list(_records(text, separator, path))
        finally:
            csv.field_size_limit(before)
    if not rows:
        raise ValueError(f"{path.name} is empty; it needs a header and rows.")
    (_, header), *body = rows
    positions = _positions(header, wanted, path.name, _header_hint(header, separator))
    if not body:
        raise ValueError(f"{path.name} has a header but no rows; there are none to read.")
    for line, row in body:
        if len(row) != len(header):
            raise ValueError(_misfit(path, line, row, header, separator))
    lines = [f"{path.name}, line {line}" for line, _ in body]
    return [
        _Column(name, [row[position] for _, row in body], lines)
        for name, position in zip(wanted, positions, strict=True)
    ]


def _records(text: str, separator: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line it begins on; empty lines are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begins = 1
    try:
        for row in reader:
            if row:
                yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path.name}: wrong quotes in the row that begins on line {begins} ({error}); a "
            "field in quotes ends with \" just before the separator or the line's end, and a "
            'quote within it is doubled: "".'
        ) from None


def _guess_separator(text: str, wanted: list[str], usual: str, path: Path) -> str:
    """The usual separator, unless the header has the wanted columns only with one other."""
    having = [
        separator
        for separator in dict.fromkeys((usual, *SEPARATORS))
        if set(wanted) <= set(_header(text, separator, path))
    ]
    return having[0] if len(having) == 1 else usual


def _header(text: str, separator: str, path: Path) -> list[str]:
    try:
        return next((row for _, row in _records(text, separator, path)), [])
    except ValueError:
        return []


def _header_hint(header: list[str], separator: str) -> str:
    """What to try where the header lacks a column."""
    if len(header) == 1:
        for other, name in SEPARATORS.items():
            if other != separator and other in header[0]:
                return (
                    f" The header holds {name} but not {SEPARATORS.get(separator, separator)}: "
                    f"did you mean separator={other!r}?"
                )
    return " The first line must hold the columns' names."


def _misfit(path: Path, line: int, row: list[str], header: list[str], separator: str) -> str:
    fields = f"{len(row)} field{'s' * (len(row) > 1)}"
    counts = f"{path.name}, line {line} has {fields}, but the header has {len(header)}"
    name = SEPARATORS.get(separator, repr(separator))
    if len(row) < len(header):
        return f"{counts}; write every field, or see whether the line was broken in two."
    quoted = (
        f"{counts}; put a field that holds {name} in double quotes "
        f'("{row[0][:20]}{separator}{row[1][:20]}"), or save with another separator'
    )
    if any(mark in field for field in row for mark in ("“", "”", "'")) or '"' in "".join(row):
        quoted += '. Only the straight double quote, ", right after the separator, quotes a field'
    return f"{quoted}."


# --- JSON lines and Parquet ----------------------------------------------------------------------


def _json_columns(path: Path, wanted: list[str]) -> list[_Column]:
    columns = [_Column(name, [], []) for name in wanted]
    # Not splitlines: a string may hold one of the exotic line ends it knows.
    for number, line in enumerate(file_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        row = json_object(line, where)
        for column in columns:
            if column.name not in row:
                _positions(list(row), [column.name], where)
            column.values.append(row[column.name])
            column.lines.append(where)
    if not columns[0].values:
        raise ValueError(f"{path.name} is empty; it needs one JSON object per line.")
    return columns


def _parquet_columns(path: Path, wanted: list[str]) -> list[_Column]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(path.read_bytes()))
        positions = _positions(table.column_names, wanted, path.name)
        values = [table.column(position).to_pylist() for position in positions]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # ArrowInvalid is a ValueError, but its message names neither the file nor a cure.
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ValueError(
            f"{path.name} cannot be read as Parquet ({reason}); write the file again."
        ) from None
    if not values[0]:
        raise ValueError(f"{path.name} has columns but no rows; there are none to read.")
    lines = [f"{path.name}, row {number}" for number in range(1, len(values[0]) + 1)]
    return [_Column(name, _plain(found), lines) for name, found in zip(wanted, values, strict=True)]


def _plain(values: list[Any]) -> list[Any]:
    return [value.item() if isinstance(value, np.generic) else value for value in values]
