"""Zips from elsewhere, read with distrust: wheels, bundles and what wheels carry in parts."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from reptune.assets.errors import SourceFailed, shortened

_BLOCK = 1 << 20  # bytes read at a time
# Of a zip's list of members, which is read at once: enough for some 15,000 of them. The longest
# of our own has 2,225 members.
_DIRECTORY_BYTES = 1 << 20


def is_safe(name: str) -> bool:
    """Tell whether an archive member's name stays inside the folder, on every platform."""
    parts = name.replace("\\", "/").split("/")
    return (
        bool(name)
        and "\\" not in name
        and ":" not in name
        and "\0" not in name
        and (not name.startswith("/") and ".." not in parts)
    )


class _ZipFile(io.BufferedReader):
    """A zip on disk that is never read in one go beyond the size of an honest directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its list of members has {size:,} bytes")
        return super().read(size)


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn whatever zipfile raises on a broken or odd zip into `SourceFailed`.

    Its errors are of ten kinds: RuntimeError if a member is encrypted, NotImplementedError,
    OSError where an offset lies outside the file, those of struct, zlib, codecs and more.
    """
    try:
        yield
    except SourceFailed:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise SourceFailed(f"{name} is a broken zip ({reason[:200]})", corrupt=True) from error


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip whose every member's name is safe; bad ones become `SourceFailed`."""
    with contextlib.ExitStack() as stack:
        with _reading(path.name):
            file = stack.enter_context(_ZipFile(io.FileIO(os.fspath(path))))
            archive = stack.enter_context(zipfile.ZipFile(file))
        for member in archive.infolist():
            # orig_filename is the name as stored: zipfile rewrites some.
            if not is_safe(member.orig_filename):
                raise SourceFailed(
                    f"{path.name} holds the member {shortened(member.orig_filename)}, which would "
                    "leave the folder",
                    corrupt=True,
                )
        yield archive


class Member:
    """A member of a zip, opened for reading; what is wrong with it becomes `SourceFailed`."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._zip_name = Path(archive.filename or "").name
        try:
            member = archive.getinfo(name)
        except KeyError:
            reason = f"{self._zip_name} has no member {name}"
            raise SourceFailed(reason, corrupt=True) from None
        with _reading(self._zip_name):
            self._file = archive.open(member)

    def __enter__(self) -> Member:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` of the member's bytes; all that are left by default."""
        with _reading(self._zip_name):
            return self._file.read(size)


def extract(archive: zipfile.ZipFile, prefix: str, names: Iterable[str], target: Path) -> None:
    """Copy members below a prefix ("" or "folder/") into the target folder."""
    for name in names:
        with Member(archive, prefix + name) as source:
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                copy_blocks(source, stream)


def copy_blocks(source: IO[bytes] | Member, target: IO[bytes]) -> None:
    """Copy all bytes, a block at a time, so that no file has to fit in memory."""
    while block := source.read(_BLOCK):
        target.write(block)


def members_below(archive: zipfile.ZipFile, prefix: str) -> list[str]:
    """Return the names of a zip's files below a prefix, without it."""
    found = (m.filename for m in archive.infolist() if not m.is_dir())
    return [name.removeprefix(prefix) for name in found if name.startswith(prefix)]
