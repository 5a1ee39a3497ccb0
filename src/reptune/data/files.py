"""Text files and JSON as users bring them: read whole, with errors that name the line."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

_FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\x1f\x8b": "compressed by gzip, which its name must say with .gz",
    b"PAR1": "a Parquet file, which its name must say with .parquet",
    b"\xff\xfe": "UTF-16, as Excel saves 'Unicode text'",
    b"\xfe\xff": "UTF-16, as Excel saves 'Unicode text'",
}


def file_text(path: str | Path) -> str:
    """Return a text file's content, decompressed where its name ends in `.gz`, without a BOM.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8 or holds a NUL; it names the line.
    """
    path = existing_file(path)
    raw = _content(path)
    for start, what in _FOREIGN.items():
        if raw.startswith(start):
            raise ValueError(f"{path.name} is {what}; save it again as UTF-8 text.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The offset counts from after a BOM.
        index = error.start + 3 * raw.startswith(b"\xef\xbb\xbf")
        raise ValueError(
            f"{path.name}, line {_line_of(raw, index)} is not UTF-8 (byte 0x{raw[index]:02x}); "
            "save it again as UTF-8, in Excel as 'CSV UTF-8'."
        ) from None
    if "\0" in text:
        line = _line_of(raw, raw.index(b"\0"))
        raise ValueError(
            f"{path.name}, line {line} holds a NUL character, which text does not; the file may "
            "be UTF-16 or damaged. Save it again as UTF-8."
        )
    return text


def json_object(line: str, where: str) -> dict[str, Any]:
    """Return the object on a line of JSON lines, or raise a `ValueError` that names the line."""
    row = json_value(line, where, "each line must hold one JSON object")
    if not isinstance(row, dict):
        raise ValueError(f"{where} is {line[:40]!r}; each line must hold one JSON object.")
    return row


def json_value(text: str, where: str, cure: str) -> Any:
    """Return a JSON value without doubled fields, or raise with where it is and the cure."""
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON ({error}); {cure}.") from None
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply; {cure}.") from None
    except ValueError as error:  # a field twice, or a number of thousands of digits
        raise ValueError(f"{where}: {error}.") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the field {twice!r} is there more than once; keep one of them")
    return row


def existing_file(path: str | Path) -> Path:
    """Return the path of a file that is there, or raise and say what is there instead."""
    if not isinstance(path, str | Path) or not str(path):
        raise ValueError(f"path is {path!r}, a {type(path).__name__}; pass a file's path.")
    path = Path(path)
    try:
        exists, folder = path.exists(), path.is_dir()
    except OSError:  # a name that no file can have
        exists, folder = False, False
    if not exists:
        raise FileNotFoundError(f"{path} does not exist; check the path and the working folder.")
    if folder:
        raise ValueError(f"{path} is a folder; pass a file in it.")
    return path


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix.lower() != ".gz":
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path.name} cannot be decompressed ({error}); is the file whole, and does gzip -d "
            "open it?"
        ) from None


def _line_of(raw: bytes, index: int) -> int:
    return len(re.findall(rb"\r\n|\r|\n", raw[:index])) + 1


def shown(value: Any) -> str:
    """Return a value as a message shows it: not the whole of a large one.

    >>> shown("short"), len(shown("long " * 100))
    ("'short'", 60)
    """
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
