"""What a teacher has written, kept on the disk as it comes, so that a killed run goes on."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock

from reptune.folders import append_bytes

FORMAT = 1


class Journal:
    """Records by name, one JSON object per line, in a file that belongs to one key.

    The key holds all that the records depend on: the task, the teacher's name, the settings and
    the seed. Another key is another file, so runs that differ in any of them never read each
    other's records. A line that a kill has torn is dropped when the file is opened again.

    Args:
        folder: Where the file lies; it is made if it is missing. `None` keeps records in memory.
        key: What JSON can hold; the first line of the file shows it to people.

    Raises:
        ValueError: If the file is damaged, or another process writes it right now.
        OSError: If the folder cannot be written to, or the disk is full. No record is lost.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with Journal(folder, {"seed": 42}) as journal:
    ...     journal.add("round 0", {"replies": ["a fine film"]})
    >>> with Journal(folder, {"seed": 42}) as same, Journal(folder, {"seed": 43}) as other:
    ...     same.get("round 0"), other.get("round 0")
    ({'replies': ['a fine film']}, None)

    Source: chapter 7.
    """

    def __init__(self, folder: str | Path | None, key: Mapping[str, Any]) -> None:
        self._records: dict[str, Any] = {}
        self._key = json.loads(json.dumps(key))
        self._lock: filelock.FileLock | None = None
        self.path: Path | None = None
        if folder is not None:
            digest = hashlib.sha256(json.dumps(self._key, sort_keys=True).encode()).hexdigest()
            self.path = Path(folder) / f"written-{digest[:16]}.jsonl"

    def __enter__(self) -> Journal:
        if self.path is not None:
            with _disk_errors(self.path.parent):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._take_turn(self.path)
            try:
                self._read(self.path)
            except BaseException:
                self.__exit__(None, None, None)
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock is not None:
            self._lock.release()

    def __len__(self) -> int:
        return len(self._records)

    def get(self, name: str) -> Any:
        """Return a record as it was added, or `None`."""
        return self._records.get(name)

    def add(self, name: str, record: Any) -> None:
        """Keep a record, on the disk before this returns.

        Raises:
            OSError: If it could not be written; the file is then as it was.
        """
        if self.path is not None:
            self._append(self.path, {"name": name, "record": record})
        self._records[name] = json.loads(json.dumps(record))  # as it will be read

    def _take_turn(self, path: Path) -> None:
        lock = filelock.FileLock(path.with_name(f".{path.stem}.lock"))
        with _disk_errors(path.parent):
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                raise ValueError(
                    f"{path} is being written by another process with the same task and settings; "
                    "wait until it is done, or use another folder."
                ) from None
        self._lock = lock

    def _read(self, path: Path) -> None:
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):  # torn by a kill
            os.truncate(path, len(whole))
        lines = [_parsed(path, number, line) for number, line in enumerate(whole.splitlines(), 1)]
        if not lines:
            self._append(path, {"format": FORMAT, "key": self._key})
        elif lines[0] != {"format": FORMAT, "key": self._key}:
            raise ValueError(f"{path} belongs to another run; remove it or use another folder.")
        self._records = {line["name"]: line["record"] for line in lines[1:]}

    def _append(self, path: Path, line: Mapping[str, Any]) -> None:
        with _disk_errors(path.parent):
            text = json.dumps(line, ensure_ascii=False) + "\n"
            append_bytes(path, text.encode("utf-8", "replace"))


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
        if isinstance(found, dict) and ({"name", "record"} <= set(found) or number == 1):
            return found
    except (ValueError, RecursionError):
        pass
    raise ValueError(
        f"{path}, line {number} is damaged; remove the file to begin again, or use another folder."
    )


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Say what a full or closed disk means for a run."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
        cure = "free some space" if full else "choose a folder that can be written to"
        raise OSError(
            error.errno or errno.EIO,
            f"{folder} could not be written ({error.strerror or error}); {cure} and run again: "
            "what was written so far is kept, and the run goes on from there",
        ) from error
