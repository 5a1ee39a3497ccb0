"""Records of measured runs: one JSON object per line in `results/<study>.jsonl`.

Studies append, chapters read. A study that is killed goes on where it stopped: `is_done` tells
which jobs it has already recorded. The records of a job count together or not at all: each says
how many they are, and a job of which some are missing, because a kill cut it short, reads as if it
had never been measured.
"""

from __future__ import annotations

import ast
import base64
import datetime
import hashlib
import json
import os
import sys
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd

from reptune import runtime
from reptune.book import setup
from reptune.folders import append_bytes
from reptune.metrics import Interval, paired_interval

# What every record holds (DESIGN of the book: chapter, study, record).
FIELDS = (
    "study",
    "method",
    "task",
    "model",
    "labels",
    "random_state",
    "split",
    "metrics",
    "seconds",
    "peak_memory_mb",
    "device",
    "profile",
    "versions",
    "code_hash",
    "date",
)
KEY_FIELDS = ("method", "task", "model", "labels", "random_state", "split")
# What the records of a job with several of them also hold: a name they share, and their number.
JOB, JOB_RECORDS = "job", "job_records"
# What `code_hash` leaves out of the package's folder, because no result depends on it.
NO_CODE = {".pyc", ".md", ".typed"}


def folder() -> Path:
    """Return where records lie: `REPTUNE_RESULTS`, the repository's `results/` or the installed.

    The installed copy is what a notebook on Colab reads, where there is no repository around it.
    """
    if "REPTUNE_RESULTS" in os.environ:
        return Path(os.environ["REPTUNE_RESULTS"])
    for parent in (Path.cwd(), *Path.cwd().parents):
        if (parent / "src" / "reptune").is_dir() and (parent / "results").is_dir():
            return parent / "results"
    return Path(sys.prefix) / "share" / "reptune" / "results"


def append(record: Mapping[str, Any], study_file: Path) -> None:
    """Add one record to its study's file, as `append_all` does."""
    append_all([record], study_file)


def append_all(records: Iterable[Mapping[str, Any]], study_file: Path) -> None:
    """Add the records of one job to its study's file: all of them, or none.

    They are written at once, under a lock that other processes respect. Where a kill cuts the
    writing short, readers pass over what is there of the job, and the next call removes it.

    Args:
        records: Each with `study`, `method`, `task`, `model`, `labels` (how many),
            `random_state`, `split`, `metrics` and `seconds` (mappings), `peak_memory_mb`; further
            keys are kept. Device, profile, versions, code hash and date are filled in.
        study_file: The script that measured them, for the code hash.

    Raises:
        ValueError: If there is no record, a field is missing, its mapping is empty, or the records
            belong to different studies; nothing is written.
        OSError: If the records cannot be written; the file is as it was.
    """
    complete = _completed(list(records), Path(study_file))
    lines = [json.dumps(record, default=runtime.as_json, sort_keys=True) for record in complete]
    path = _path(str(complete[0]["study"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, since a lock on the records' file would not do on every system.
    with filelock.FileLock(path.with_name(f".{path.stem}.lock")):
        _remove_cut_short(path)
        append_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def _completed(records: Sequence[Mapping[str, Any]], study_file: Path) -> list[dict[str, Any]]:
    """Return the records with what `append_all` fills in, or an error that names what they lack."""
    if not records:
        raise ValueError("there is no record to add; a job needs at least one.")
    common: dict[str, Any] = {
        "device": runtime.device_name(),
        "profile": setup.profile(),
        "versions": runtime.versions(),
        "code_hash": code_hash(study_file),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    job: dict[str, Any] = {}
    if len(records) > 1:  # a single line is whole, or is no JSON
        job = {JOB: uuid.uuid4().hex[:12], JOB_RECORDS: len(records)}
    complete = [{**common, **record, **job} for record in records]
    for record in complete:
        missing = [name for name in FIELDS if name not in record]
        if missing:
            raise ValueError(f"the record lacks {', '.join(missing)}; every record holds them.")
        for name in ("metrics", "seconds"):
            if not isinstance(record[name], Mapping) or not record[name]:
                raise ValueError(
                    f"{name}={record[name]!r}; pass a mapping with at least one entry."
                )
    studies = sorted({str(record["study"]) for record in complete})
    if len(studies) > 1:
        raise ValueError(f"the records belong to {', '.join(studies)}; a job has one study.")
    return complete


def _remove_cut_short(path: Path) -> None:
    """Remove what a kill has left of a job at the end of a file; the caller holds the lock."""
    if not path.exists():
        return
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    whole = len(lines)
    if lines and not lines[-1].endswith(b"\n") and _parsed(lines[-1]) is None:
        whole -= 1
    last = (_parsed(lines[whole - 1]) or {}) if whole else {}
    start = whole
    while JOB in last and start and (_parsed(lines[start - 1]) or {}).get(JOB) == last[JOB]:
        start -= 1
    if whole - start < last.get(JOB_RECORDS, 0):
        whole = start
    kept = b"".join(lines[:whole])
    if kept and not kept.endswith(b"\n"):
        kept += b"\n"
    if len(kept) < len(content):
        os.truncate(path, len(kept))
    elif kept != content:  # a whole record that lacks only its line end
        append_bytes(path, b"\n")


def read(study: str) -> pd.DataFrame:
    """Return all records of a study, one row each; empty where the study has not run yet.

    `metrics` and `seconds` become columns such as `metrics.accuracy`.
    """
    rows = _records(study)
    return pd.json_normalize(rows) if rows else pd.DataFrame(columns=list(FIELDS))


def is_done(study: str, **key: Any) -> bool:
    """Tell whether a job with these `KEY_FIELDS` (and further fields) is recorded, whole."""
    return any(_matches(record, key) for record in _records(study))


def pack(correct: Sequence[bool] | np.ndarray) -> str:
    """Return which items a method got right, shape `(n,)`, as hexadecimal text for a record."""
    return np.packbits(np.asarray(correct, dtype=bool)).tobytes().hex()


def correct(study: str, **fields: Any) -> np.ndarray:
    """Return which items each matching run got right, for intervals and paired comparisons.

    Args:
        study: The study's name.
        fields: What the records must hold, such as `method="everything", split="test"`.

    Returns:
        Booleans of shape `(runs, items)`, in the order of their `random_state`.

    Raises:
        ValueError: If no record matches, or the runs were scored on different numbers of items.
    """
    rows = _scored_rows(study, fields)
    bits = [np.frombuffer(bytes.fromhex(row["correct"]), dtype=np.uint8) for row in rows]
    return np.unpackbits(np.stack(bits), axis=1)[:, : rows[0]["items"]].astype(bool)


def compared(
    study: str, one: str | Mapping[str, Any], other: str | Mapping[str, Any], **fields: Any
) -> Interval:
    """Return the accuracy of one method minus another's, paired over the draws that both have.

    Args:
        study: The study's name.
        one: A method's name, or what its records hold.
        other: The same for what is subtracted.
        fields: What the records of both must hold.

    Raises:
        ValueError: If no record matches, no draw is common, or the items differ in number.
    """
    sides = [{"method": side} if isinstance(side, str) else dict(side) for side in (one, other)]
    found = []
    for side in sides:
        rows = _scored_rows(study, fields | side)
        found.append(dict(zip([row["random_state"] for row in rows],
                              correct(study, **(fields | side)), strict=True)))  # fmt: skip
    common = sorted(found[0].keys() & found[1].keys())
    if not common:
        raise ValueError(f"{study} has no draw of both {one!r} and {other!r} with {fields}.")
    first, second = ([rows[draw] for draw in common] for rows in found)
    return paired_interval(np.stack(first), np.stack(second))


def pack_counts(counts: np.ndarray) -> str:
    """Return what `metrics.entity_counts` gives, shape `(sentences, 3)`, as text for a record.

    Raises:
        ValueError: If the shape is another, or a count is no whole number between 0 and 255.
    """
    found = np.asarray(counts)
    if found.ndim != 2 or found.shape[1] != 3 or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(
            f"counts have shape {found.shape} and type {found.dtype}; "
            "pass whole numbers of shape (sentences, 3)."
        )
    if found.min(initial=0) < 0 or found.max(initial=0) > 255:
        raise ValueError(f"counts run from {found.min()} to {found.max()}; a byte holds 0 to 255.")
    return base64.b85encode(zlib.compress(found.astype(np.uint8).tobytes(), 9)).decode()


def counts(study: str, **fields: Any) -> np.ndarray:
    """Return the right, predicted and true entities of each sentence in each matching run.

    Args:
        study: The study's name.
        fields: What the records must hold, such as `method="fine-tuned", split="test"`.

    Returns:
        Whole numbers of shape `(runs, sentences, 3)`, in the order of their `random_state`.

    Raises:
        ValueError: If no record matches, or the runs were scored on different sentences.
    """
    rows = _scored_rows(study, fields)
    packed = [zlib.decompress(base64.b85decode(row["counts"])) for row in rows]
    return np.stack([np.frombuffer(row, np.uint8).reshape(-1, 3).astype(int) for row in packed])


def _scored_rows(study: str, fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the matching records: at least one, all scored on as many items."""
    rows = [record for record in _records(study) if _matches(record, fields)]
    if not rows:
        raise ValueError(f"{study} has no record with {fields}; run it, or look at read({study!r})")
    if len({row["items"] for row in rows}) > 1:
        raise ValueError(f"the records of {study} with {fields} differ in their number of items.")
    return sorted(rows, key=lambda row: row["random_state"])


def times_as_fast(runs: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return timed runs with a column `times_as_fast`, compared within each round.

    Args:
        runs: Records, as `read` returns them, with the columns `setting`, `random_state` (which
            tells the rounds apart), `method` and `seconds.fit`.
        baseline: The method whose seconds are divided by each run's.

    Raises:
        ValueError: If a round lacks the baseline.
    """
    round_of = ["setting", "random_state"]
    seconds = runs[runs["method"] == baseline].set_index(round_of)["seconds.fit"]
    found = runs.join(seconds.rename("_baseline"), on=round_of)
    if found["_baseline"].isna().any():
        lacking = found.loc[found["_baseline"].isna(), "setting"].iloc[0]
        raise ValueError(f"a round of {lacking!r} holds no run of {baseline!r} to compare with.")
    found["times_as_fast"] = found.pop("_baseline") / found["seconds.fit"]
    return found


def code_hash(study_file: Path) -> str:
    """Return twelve characters of the SHA-256 over a study's script and what it runs on.

    That is the modules of the `shared` folder beside it that it imports, directly or not, and the
    package's files: its modules, those of its subpackages too, and the data that lie beside them,
    such as `assets.toml`. Names are relative, so that every machine gets the same hash.
    """
    study_file = Path(study_file)
    package = Path(runtime.__file__).parent
    files = {
        path.relative_to(package).as_posix(): path
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in NO_CODE and "__pycache__" not in path.parts
        and not path.name.startswith(".")
    }  # fmt: skip
    digest = hashlib.sha256()
    shared = {f"shared/{path.name}": path for path in _shared_modules(study_file)}
    named = [(study_file.name, study_file), *sorted(shared.items()), *sorted(files.items())]
    for name, path in named:
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def _shared_modules(study_file: Path) -> set[Path]:
    """Return the files of the `shared` folder beside a study that it imports, directly or not."""
    folder, found, unread = study_file.parent / "shared", set(), [study_file]
    while unread:
        for node in ast.walk(ast.parse(unread.pop().read_bytes())):
            names = []
            if isinstance(node, ast.ImportFrom) and not node.level:
                # Both `from shared import rounds` and `from shared.rounds import main` name it.
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                path = folder / f"{name.removeprefix('shared.')}.py"
                if name.startswith("shared.") and path.is_file() and path not in found:
                    found.add(path)
                    unread.append(path)
    return found


def _matches(record: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    return all(record.get(name) == value for name, value in fields.items())


def _path(study: str) -> Path:
    return folder() / f"{study}.jsonl"


def _records(study: str) -> list[dict[str, Any]]:
    """Return the records of all jobs that are recorded whole."""
    path = _path(study)
    if not path.exists():
        return []
    parsed = [_parsed(line) for line in path.read_bytes().splitlines()]
    records = [record for record in parsed if record is not None]
    found = Counter(record.get(JOB) for record in records)
    return [record for record in records if found[record.get(JOB)] >= record.get(JOB_RECORDS, 1)]


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return a line's record; `None` if a kill cut it short: that run is measured again."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
