"""Shards of a table on the disk: each whole or not there, and joined when all of them are."""

from __future__ import annotations

import contextlib
import csv
import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import filelock

from reptune.checks import is_missing
from reptune.data.tables import DELIMITED
from reptune.folders import write_file

FORMATS = (*DELIMITED, ".jsonl", ".parquet")
PLAN = "_plan.json"
_WORDS = {
    "input": "table", "device": "device or number of threads", "options": "set of options",
    "versions": "set of package versions",
}  # fmt: skip


class Form(NamedTuple):
    """How a table is written: one of `FORMATS`, and whether gzip compresses it."""

    suffix: str
    compressed: bool = False

    @classmethod
    def of_file(cls, path: str | Path) -> Form:
        """Return the form that a file's suffixes say, or raise a `ValueError`."""
        suffixes = [suffix.lower() for suffix in Path(path).suffixes]
        compressed = suffixes[-1:] == [".gz"]
        suffix = "".join(suffixes[:-1][-1:] if compressed else suffixes[-1:])
        if suffix not in FORMATS or (compressed and suffix == ".parquet"):
            raise ValueError(
                f"cannot write {Path(path).name}; name a file in one of {', '.join(FORMATS)}, all "
                "but .parquet also with .gz."
            )
        return cls(suffix, compressed)

    @classmethod
    def of_stream(cls, kind: str | None) -> Form:
        """Return the form that a format's name says, CSV for `None`, or raise a `ValueError`."""
        suffix = f".{(kind or 'csv').lower().removeprefix('.')}"
        if suffix not in FORMATS[:-1]:
            raise ValueError(f"cannot write {kind!r} to a stream; use csv, tsv or jsonl.")
        return cls(suffix)

    @property
    def name(self) -> str:
        """The end of a file's name."""
        return self.suffix + ".gz" * self.compressed


class Table(NamedTuple):
    """What the rows of a shard are written with.

    Attributes:
        form: The format.
        columns: Those of the source.
        added: Those that come after them, with their Arrow types.
        joiner: What joins a list in CSV and TSV; `None` writes it as JSON.
        schema: The Arrow schema of a source that is Parquet.
    """

    form: Form
    columns: Sequence[str]
    added: Mapping[str, Any]
    joiner: str | None = None
    schema: Any = None

    def encoded(self, rows: list[dict[str, Any]], header: bool) -> bytes:
        """Return rows as a file's bytes; parts of one file are joined as they are, Parquet aside.

        Raises:
            ValueError: If a value cannot be written in this format.
        """
        if self.form.suffix == ".parquet":
            return self._parquet(rows)
        is_json = self.form.suffix == ".jsonl"
        lines = _json_lines(rows) if is_json else self._delimited(rows, header)
        # Members of a gzip file can be joined like text; without the time, bytes repeat.
        return gzip.compress(lines, mtime=0) if self.form.compressed else lines

    def _delimited(self, rows: list[dict[str, Any]], header: bool) -> bytes:
        file = io.StringIO()
        columns = [*self.columns, *self.added]
        writer = csv.writer(file, delimiter=DELIMITED[self.form.suffix], lineterminator="\n")
        if header:
            writer.writerow(columns)
        for row in rows:
            if self.joiner is not None:
                joined = {name: self.joiner.join(map(cell, row[name])) for name in self.added}
                row = row | joined
            writer.writerow([cell(row.get(name)) for name in columns])
        try:
            return file.getvalue().encode()
        except UnicodeEncodeError:
            raise ValueError(
                "a cell holds half of a surrogate pair, which UTF-8 cannot; write .jsonl."
            ) from None

    def _parquet(self, rows: list[dict[str, Any]]) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = self.schema
        columns = {name: [row.get(name) for row in rows] for name in (*self.columns, *self.added)}
        if schema is None:
            schema = pa.schema([(name, pa.string()) for name in self.columns])
            for name in self.columns:
                columns[name] = [None if value is None else cell(value) for value in columns[name]]
        for name, kind in self.added.items():
            schema = schema.append(pa.field(name, kind))
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns, schema), buffer)
        return buffer.getvalue()


def _json_lines(rows: list[dict[str, Any]]) -> bytes:
    lines = []
    for row in rows:
        plain = {name: None if is_missing(value) else value for name, value in row.items()}
        line = json.dumps(plain, ensure_ascii=False, default=str)
        with contextlib.suppress(UnicodeEncodeError):
            lines.append(line.encode())
            continue
        lines.append(json.dumps(plain, default=str).encode())  # half of a surrogate pair
    return b"\n".join(lines) + b"\n"


def cell(value: Any) -> str:
    """Return a value as a field of CSV: a string as it is, a missing value empty, others as JSON.

    >>> [cell(value) for value in ("a", None, 0.5, True, [1, "é"])]
    ['a', '', '0.5', 'true', '[1, "é"]']
    """
    if isinstance(value, str):
        return value
    if is_missing(value):
        return ""
    if isinstance(value, bool | int | float | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


# --- files ---------------------------------------------------------------------------------------


class Parts:
    """The shards that are whole, in a folder beside the output.

    Each shard is a file with the output's suffix and one of JSON, written before it, that says
    what is counted of it.

    Args:
        out: The output.
        form: How its shards are written.

    Attributes:
        folder: Where they lie.
        counts: What is counted of each shard that is whole, by its number.
    """

    def __init__(self, out: Path, form: Form) -> None:
        self.out, self.folder = out, out.with_name(f"{out.name}.parts")
        self.counts: dict[int, dict[str, Any]] = {}
        self._suffix = form.name

    @property
    def rows(self) -> int:
        """How many rows are done."""
        return sum(count["rows"] for count in self.counts.values())

    def begin(self, plan: dict[str, Any], restart: bool) -> None:
        """Take up what an earlier run left, or begin anew.

        Raises:
            ValueError: If something else lies there.
        """
        with self._errors():
            if self.folder.exists():
                self._check(plan, restart)
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / PLAN).exists():
                _write_whole(self.folder / PLAN, json.dumps(plan, indent=2).encode())
        for path in self.folder.glob(f"[0-9]*{self._suffix}"):
            number = path.name.removesuffix(self._suffix)
            if number.isdecimal():
                self.counts[int(number)] = self.count(int(number))

    def count(self, index: int) -> dict[str, Any]:
        """Return what is counted of a shard."""
        return json.loads(self._note(index).read_text(encoding="utf-8"))

    def write(self, index: int, data: bytes, count: dict[str, Any]) -> None:
        """Write a shard under another name, and rename it when it is on the disk."""
        with self._errors():
            _write_whole(self._note(index), json.dumps(count).encode())
            _write_whole(self._path(index), data)
        self.counts[index] = count

    def join(self) -> None:
        """Make one file of all shards, let it replace the output, and remove the folder."""
        paths = [self._path(index) for index in range(len(self.counts))]
        join = _join_parquet if self._suffix == ".parquet" else _join
        with self._errors():
            write_file(self.out, lambda file: join(paths, file), self.folder / "whole")
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self) -> None:
        """Let the folder be the output, with nothing but the shards in it."""
        with self._errors():
            self.folder.rename(self.out)
            for path in self.out.iterdir():  # readers pass over names that begin like these
                if path.name.startswith("_"):
                    path.unlink()

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:05d}{self._suffix}"

    def _note(self, index: int) -> Path:
        return self.folder / f"_{index:05d}.json"

    def _check(self, plan: dict[str, Any], restart: bool) -> None:
        path = self.folder / PLAN
        if not path.is_file():
            if any(left.suffix != ".tmp" for left in self.folder.iterdir()):
                raise ValueError(
                    f"{self.folder} holds something that predict did not write; remove it, or "
                    "choose another output."
                )
            return
        before: Any = None
        with contextlib.suppress(ValueError):
            before = json.loads(path.read_text(encoding="utf-8"))
        # A stream cannot be known to be the same, so that what is left of one is of no use.
        restart |= plan["input"] is None and bool(before) and before.get("input") is None
        if not restart and before != plan:
            names = [name for name in plan if not before or before.get(name) != plan[name]]
            raise ValueError(
                f"{self.folder} holds what an interrupted run left, which had another "
                f"{' and another '.join(_WORDS.get(name, name) for name in names)}; repeat that "
                "run to complete it, or throw away what it did with --restart (restart=True)."
            )
        if restart:
            shutil.rmtree(self.folder)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Say what a full or closed disk means."""
        try:
            yield
        except OSError as error:
            full = error.errno == errno.ENOSPC
            cure = "free some space" if full else "choose a place that can be written to"
            left = ""
            if self.counts:
                left = f". The same command continues with what is in {self.folder}"
            raise OSError(
                error.errno or errno.EIO,
                f"{self.out} could not be written ({error.strerror or error}); {cure}{left}",
            ) from error


def _write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"_{path.name}.{os.getpid()}.tmp")
    write_file(path, lambda file: file.write(data), temporary)


def _join(paths: Iterable[Path], whole: IO[bytes]) -> None:
    for path in paths:
        with path.open("rb") as part:
            shutil.copyfileobj(part, whole, 2**20)


def _join_parquet(paths: Sequence[Path], whole: IO[bytes]) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(whole, pq.read_schema(paths[0])) as writer:
        for path in paths:
            writer.write_table(pq.ParquetFile(path).read())


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold the lock on writing this output; the system releases it when a process dies."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    name = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
    lock = filelock.FileLock(Path(tempfile.gettempdir()) / f"reptune-{user}-{name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ValueError(
            f"another run is writing {out}; wait for it, or choose another output."
        ) from None
    try:
        yield
    finally:
        lock.release()
