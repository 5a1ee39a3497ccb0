"""Rows of a table one after the other: files too large to hold, and what comes through a pipe.

As strict as `reptune.data.tables`, in the same words, but lazily: an error in line 900,000 comes
when that line is read.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from reptune.data.files import _FOREIGN, _line_of, existing_file, json_object
from reptune.data.tables import (
    _CSV_LIMIT,
    DELIMITED,
    KINDS,
    _check_separator,
    _Column,
    _guess_separator,
    _header_hint,
    _kind,
    _misfit,
    _positions,
    _texts,
)

STANDARD_INPUT = Path("standard input")  # what messages call a stream
# Of a CSV file, in characters: a quote that is never closed must not take the rest of the file
# into memory.
LONGEST_FIELD = 2**26
_HEAD = 2**20  # characters among which the header is looked for
_BATCH = 256  # rows of Parquet that are decoded at a time


class Row(NamedTuple):
    """A row of a table, and what messages call it.

    Attributes:
        where: Such as `mine.csv, line 7`.
        values: By column; strings in CSV and TSV, else as the file has them.
    """

    where: str
    values: dict[str, Any]

    def text(self, column: str) -> str:
        """Return the text in a column, or raise a `ValueError` where there is none."""
        return _texts(_Column(column, [self.values[column]], [self.where]))[0]


class Rows:
    """The rows of a table, read as they are asked for, once; close it, or use it in a `with`.

    Attributes:
        columns: The names in the header; for JSON lines, the fields of the first object.
        kind: `.csv`, `.tsv`, `.jsonl` or `.parquet`.
        separator: What stands between the fields of a CSV or TSV file, else `None`.
    """

    def __init__(
        self, rows: Iterator[Row], columns: list[str], kind: str, file: IO[bytes] | None = None,
        separator: str | None = None,
    ) -> None:  # fmt: skip
        self.columns, self.kind, self.separator = columns, kind, separator
        self._rows, self._file = rows, file

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a stream that the caller opened stays open."""
        if self._file is not None:
            self._file.close()


def open_rows(
    source: str | Path | IO[bytes],
    columns: Sequence[str] | None = None,
    separator: str | None = None,
    kind: str | None = None,
) -> Rows:
    r"""Open a table to read it row by row, in memory that does not grow with the file.

    Args:
        source: A file (`.csv`, `.tsv`, `.jsonl`, `.parquet`; all but `.parquet` also with `.gz`)
            or a binary stream, such as `sys.stdin.buffer`. UTF-8.
        columns: Columns that every row must have; each row holds the others too.
        separator: As in `read_table`.
        kind: How to read the source, such as `"csv"`; `None` goes by the file's suffix, and takes
            a stream as CSV.

    Returns:
        The rows, of which the header is read. Iterating over them raises a `ValueError` for a row
        that does not fit.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the header lacks a column, or the source is empty, no UTF-8 or not of its
            kind. It names the cure.

    >>> source = io.BytesIO(b"text,label\ngood,yes\nbad,no\n")
    >>> [row.values["text"] for row in open_rows(source, ["text"])]
    ['good', 'bad']
    """
    is_stream = hasattr(source, "read")
    path = STANDARD_INPUT if is_stream else existing_file(source)
    kind = _checked_kind(kind) if kind or is_stream else _kind(path)
    _check_separator(separator, kind, path)
    wanted = list(columns or ())
    if kind == ".parquet":
        if is_stream:
            raise ValueError(
                "Parquet cannot be read from a stream, since its index is at the end; pass a file."
            )
        return _parquet(path, wanted)
    opened = None if is_stream else _opened(path)
    try:
        lines = _lines(source if is_stream else opened, path, "\n" if kind == ".jsonl" else "")
        if kind == ".jsonl":
            return _json_lines(lines, path, wanted, opened)
        return _delimited(lines, path, wanted, kind, separator, opened)
    except BaseException:
        if opened is not None:
            opened.close()
        raise


def _checked_kind(kind: str | None) -> str:
    suffix = f".{(kind or 'csv').lower().removeprefix('.')}"
    if suffix not in KINDS:
        known = ", ".join(repr(known.removeprefix(".")) for known in KINDS)
        raise ValueError(f"kind={kind!r}; use one of {known}.")
    return suffix


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


# --- text ----------------------------------------------------------------------------------------


def _lines(stream: IO[bytes], path: Path, ends: str) -> Iterator[str]:
    r"""Yield the lines of UTF-8 text, with their ends, or raise a `ValueError` that names the line.

    Args:
        stream: Binary.
        path: For messages.
        ends: Line ends, as in `open`: `"\n"` for that one alone, `""` for all three.
    """
    buffered = io.BufferedReader(stream)  # also where the stream cannot look ahead
    text = io.TextIOWrapper(buffered, encoding="utf-8-sig", newline=ends)
    number = 0
    try:
        _check_start(buffered.peek(4), path)
        for line in text:
            number += 1
            if "\0" in line:
                raise ValueError(
                    f"{path.name}, line {number} holds a NUL character, which text does not; the "
                    "file may be UTF-16 or damaged. Save it again as UTF-8."
                )
            yield line
    except UnicodeDecodeError as error:
        # What is decoded together begins where the lines so far end.
        line = number + _line_of(error.object, error.start)
        raise ValueError(
            f"{path.name}, line {line} is not UTF-8 (byte 0x{error.object[error.start]:02x}); "
            "save it again as UTF-8, in Excel as 'CSV UTF-8'."
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path.name} cannot be decompressed ({error}); is the file whole, and does gzip -d "
            "open it?"
        ) from None
    finally:
        if not buffered.closed:
            text.detach().detach()  # else the caller's stream would be closed with them


def _check_start(start: bytes, path: Path) -> None:
    for mark, what in _FOREIGN.items():
        if start.startswith(mark):
            cure = "save it again as UTF-8 text"
            if path is STANDARD_INPUT and mark == b"\x1f\x8b":
                what, cure = "compressed by gzip", "send it through gzip -dc first"
            raise ValueError(f"{path.name} is {what}; {cure}.")


def _check_different(header: list[str], path: Path) -> None:
    """Refuse two columns of one name, which a row could not hold."""
    nameless = [number for number, name in enumerate(header, start=1) if not name]
    if len(nameless) > 1:
        raise ValueError(
            f"{path.name}: columns {', '.join(map(str, nameless))} have no name in the header; "
            "name them, or delete them if they are empty."
        )
    _positions(header, header, path.name)


def _rest(head: list[Any], tail: Iterator[Any]) -> Iterator[Any]:
    yield from head
    yield from tail


# --- CSV and TSV ---------------------------------------------------------------------------------


def _delimited(
    lines: Iterator[str], path: Path, wanted: list[str], kind: str, separator: str | None,
    file: IO[bytes] | None,
) -> Rows:  # fmt: skip
    head, length = [], 0
    for line in lines:
        head.append(line)
        length += len(line)
        if length > _HEAD or len(head) == 100:
            break
    if separator is None:
        with _CSV_LIMIT:
            separator = _guess_separator("".join(head), wanted, DELIMITED[kind], path)
    records = _records(_rest(head, lines), separator, path)
    _, header = next(records, (0, []))
    if not header:
        raise ValueError(f"{path.name} is empty; it needs a header and rows.")
    _positions(header, wanted, path.name, _header_hint(header, separator))
    _check_different(header, path)
    return Rows(_fitting(records, header, separator, path), header, kind, file, separator)


def _records(lines: Iterator[str], separator: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line it begins on; empty lines are left out."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    begins = 1
    while True:
        try:
            row = _next_record(reader)
        except csv.Error as error:
            raise ValueError(
                f"{path.name}: wrong quotes in the row that begins on line {begins} ({error}); a "
                "field in quotes ends with \" just before the separator or the line's end, and a "
                'quote within it is doubled: "".'
            ) from None
        if row is None:
            return
        if row:
            yield begins, row
        begins = reader.line_num + 1


def _next_record(reader: Iterator[list[str]]) -> list[str] | None:
    with _CSV_LIMIT:  # the csv module has one limit for the whole process
        before = csv.field_size_limit(LONGEST_FIELD)
        try:
            return next(reader, None)
        finally:
            csv.field_size_limit(before)


def _fitting(
    records: Iterator[tuple[int, list[str]]], header: list[str], separator: str, path: Path
) -> Iterator[Row]:
    line = 0
    for line, row in records:
        if len(row) != len(header):
            raise ValueError(_misfit(path, line, row, header, separator))
        yield Row(f"{path.name}, line {line}", dict(zip(header, row, strict=True)))
    if not line:
        raise ValueError(f"{path.name} has a header but no rows; there are none to read.")


# --- JSON lines and Parquet ----------------------------------------------------------------------


def _json_lines(
    lines: Iterator[str], path: Path, wanted: list[str], file: IO[bytes] | None
) -> Rows:
    rows = _objects(lines, path, wanted)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{path.name} is empty; it needs one JSON object per line.")
    return Rows(_rest([first], rows), list(first.values), ".jsonl", file)


def _objects(lines: Iterator[str], path: Path, wanted: list[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        values = json_object(line, where)
        if not values.keys() >= set(wanted):
            _positions(list(values), wanted, where)
        yield Row(where, values)


def _parquet(path: Path, wanted: list[str]) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, buffer_size=_HEAD)
    except (pa.ArrowException, OSError) as error:
        raise _not_parquet(path, error) from None
    columns = list(table.schema_arrow.names)
    try:
        _positions(columns, wanted, path.name)
        _check_different(columns, path)
    except ValueError:
        table.close()
        raise
    return Rows(_parquet_rows(table, path), columns, ".parquet", table)


def _parquet_rows(table: Any, path: Path) -> Iterator[Row]:
    import pyarrow as pa

    number = 0
    batches = table.iter_batches(batch_size=_BATCH)
    while True:
        try:  # an error of the caller, thrown at the yield, is not one of the file
            found = [] if (batch := next(batches, None)) is None else batch.to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _not_parquet(path, error) from None
        if batch is None:
            break
        for values in found:
            number += 1
            yield Row(f"{path.name}, row {number}", values)
    if not number:
        raise ValueError(f"{path.name} has columns but no rows; there are none to read.")


def _not_parquet(path: Path, error: Exception) -> ValueError:
    # ArrowInvalid is a ValueError, but its message names neither the file nor a cure.
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return ValueError(f"{path.name} cannot be read as Parquet ({reason}); write the file again.")
