"""Tables of your own: texts and labels from CSV, TSV, Parquet or JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset

from reptune.checks import check_labels, check_texts, did_you_mean


def read_table(path: str | Path, text: str = "text", label: str | None = "label") -> Dataset:
    """Read your own table of texts from CSV, TSV, Parquet or JSON lines.

    Args:
        path: The file; its suffix (`.csv`, `.tsv`, `.parquet`, `.jsonl`) says how to read it.
        text: The column that holds the texts.
        label: The column that holds the labels, or `None` for a table without labels.

    Returns:
        A data set with the columns `text` and, where asked for, `label` (str or int, as given).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the suffix or a column is unknown, or a row has no text or no label.
    """
    path = Path(path)
    frame = _read_frame(path)
    wanted = {"text": text} | ({"label": label} if label is not None else {})
    for column in wanted.values():
        if column not in frame.columns:
            raise ValueError(
                f"{path.name} has no column {column!r}{did_you_mean(column, frame.columns)}; "
                f"its columns are {', '.join(map(repr, frame.columns))}."
            )
    texts = check_texts(frame[text].tolist(), what=f"column {text!r} of {path.name}")
    columns: dict[str, list[Any]] = {"text": texts}
    if label is not None:
        columns["label"] = check_labels(frame[label].tolist(), len(texts)).tolist()
    return Dataset.from_dict(columns)


def _read_frame(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; check the path and the working folder.")
    readers = {
        ".csv": lambda: pd.read_csv(path, encoding="utf-8-sig"),
        ".tsv": lambda: pd.read_csv(path, sep="\t", encoding="utf-8-sig"),
        ".parquet": lambda: pd.read_parquet(path),
        ".jsonl": lambda: pd.read_json(path, lines=True),
    }
    if path.suffix.lower() not in readers:
        raise ValueError(
            f"{path.name}: cannot read {path.suffix or 'a file without a suffix'}; "
            f"save the table as one of {', '.join(readers)}."
        )
    try:
        frame = readers[path.suffix.lower()]()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 ({error}); save it again as UTF-8.") from error
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path.name} is empty; it needs a header and rows.") from error
    return frame
