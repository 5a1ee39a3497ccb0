"""Records of measured runs: one JSON object a line in `results/<study>.jsonl`.

Studies append, chapters read. A study that is killed goes on where it stopped: `is_done` tells
which runs it has already recorded.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reptune import runtime

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


def folder() -> Path:
    """Where records lie: `REPTUNE_RESULTS`, the repository's `results/`, or the installed copy.

    The installed copy is what a notebook on Colab reads, where there is no repository around it.
    """
    if "REPTUNE_RESULTS" in os.environ:
        return Path(os.environ["REPTUNE_RESULTS"])
    for parent in (Path.cwd(), *Path.cwd().parents):
        if (parent / "src" / "reptune").is_dir() and (parent / "results").is_dir():
            return parent / "results"
    return Path(sys.prefix) / "share" / "reptune" / "results"


def append(record: Mapping[str, Any], study_file: Path) -> None:
    """Add one record to its study's file.

    Args:
        record: `study`, `method`, `task`, `model`, `labels` (how many), `random_state`, `split`,
            `metrics` and `seconds` (mappings), `peak_memory_mb`; further keys are kept. Device,
            profile, versions, code hash and date are filled in.
        study_file: The script that measured it, for the code hash.

    Raises:
        ValueError: If a field is missing or its mapping is empty.
    """
    complete = {
        "device": runtime.device_name(),
        "profile": runtime.profile(),
        "versions": runtime.versions(),
        "code_hash": code_hash(study_file),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **record,
    }
    missing = [name for name in FIELDS if name not in complete]
    if missing:
        raise ValueError(f"the record lacks {', '.join(missing)}; every record holds them.")
    for name in ("metrics", "seconds"):
        if not isinstance(complete[name], Mapping) or not complete[name]:
            raise ValueError(f"{name}={complete[name]!r}; pass a mapping with at least one entry.")
    path = _path(str(complete["study"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(complete, default=runtime.as_json, sort_keys=True)
    _end_last_line(path)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(study: str) -> pd.DataFrame:
    """All records of a study, one row each; empty where the study has not run yet.

    `metrics` and `seconds` become columns such as `metrics.accuracy`.
    """
    rows = _records(study)
    return pd.json_normalize(rows) if rows else pd.DataFrame(columns=list(FIELDS))


def is_done(study: str, **key: Any) -> bool:
    """Whether a run with these `KEY_FIELDS` (and any further fields) is already recorded."""
    return any(_matches(record, key) for record in _records(study))


def pack(correct: Sequence[bool] | np.ndarray) -> str:
    """Which items a method got right, shape `(n,)`, as hexadecimal text for a record."""
    return np.packbits(np.asarray(correct, dtype=bool)).tobytes().hex()


def correct(study: str, **fields: Any) -> np.ndarray:
    """Which items each matching run got right, for intervals and paired comparisons.

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


def pack_counts(counts: np.ndarray) -> str:
    """What `metrics.entity_counts` returns, shape `(sentences, 3)`, as text for a record.

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
    """Right, predicted and true entities of each sentence in each matching run.

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
    return np.stack([np.frombuffer(one, np.uint8).reshape(-1, 3).astype(int) for one in packed])


def _scored_rows(study: str, fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The matching records, of which there must be some, all scored on as many items."""
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
    """SHA-256 over the study's script and the package's modules, twelve characters of it."""
    digest = hashlib.sha256()
    modules = sorted(Path(__file__).parent.glob("*.py"))
    for path in [Path(study_file), *modules]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _matches(record: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    return all(record.get(name) == value for name, value in fields.items())


def _path(study: str) -> Path:
    return folder() / f"{study}.jsonl"


def _records(study: str) -> list[dict[str, Any]]:
    path = _path(study)
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # cut short by a kill; that run is simply measured again
    return records


def _end_last_line(path: Path) -> None:
    """Give a line that a kill cut short its line end, so that the next record stays readable."""
    if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")
