"""Folders that a save replaces as one: at every instant the old one or the new one can be found.

A folder cannot be replaced in one step on every system, so a save writes beside it, moves the old
one aside under a name that is known, moves the new one in, and then removes the old one. A kill
between the moves leaves the old one aside, where `find_folder` looks for it and where the next
save puts it back. Whatever an earlier, killed save left is swept up by the next.

Single files too: one that is replaced as one, and one that only ever grows by whole pieces.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import filelock

MANIFEST = "reptune.json"

# What the libraries read where it lies in a model's folder.
_READ_SUFFIXES = {".json", ".jinja", ".safetensors", ".bin", ".model", ".tiktoken"}
_READ_NAMES = {"vocab.txt", "merges.txt", "bpe.codes"}


def write_folder(folder: str | Path, write: Callable[[Path], None], marker: str = MANIFEST) -> Path:
    """Let `write` fill a temporary folder, then let that replace `folder`.

    Whatever interrupts it, an error, Ctrl-C or a kill, the old folder or the new one is whole.
    Two processes of a machine that write the same folder take turns.

    Args:
        folder: Where the files shall lie.
        write: A function of the folder to fill.
        marker: A file by which a folder written earlier is known; only such a one is replaced.

    Returns:
        `folder`, as a path.

    Raises:
        ValueError: If `folder` holds something that was not written by this, which is left alone.
        OSError: If the disk is full or the folder cannot be written to; what was there stays.
    """
    given, folder = Path(folder), Path(folder).resolve()
    check_replaceable(folder, marker)
    with _disk_errors(given):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _turn(folder):
            _sweep(folder, marker)
            _replace(folder, write)
    return given


def write_file(path: Path, write: Callable[[IO[bytes]], Any], temporary: Path) -> None:
    """Let `write` fill a temporary file, then, once it is on the disk, let that replace `path`.

    Whatever interrupts it but a kill, no temporary file is left.

    Args:
        path: Where the file shall lie.
        write: A function of the open file.
        temporary: Where it lies until it is whole, on the same disk.

    Raises:
        OSError: If the disk is full or the file cannot be written; `path` is as it was.
    """
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # it may be what fills the disk
        raise


def append_bytes(path: Path, content: bytes) -> None:
    """Append to a file for good, or leave it as it was.

    Args:
        path: The file; made where there is none.
        content: What to append. Of two processes that append at once, one may take back what the
            other wrote: hold a lock.

    Raises:
        OSError: If the disk is full or the file cannot be written; it is then as it was.
    """
    binary = getattr(os, "O_BINARY", 0)  # on Windows, which would write line ends of its own
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | binary, 0o644)
    try:
        before = os.fstat(descriptor).st_size
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def find_folder(folder: str | Path, marker: str = MANIFEST) -> Path:
    """Return where to read a folder: where it was saved, or where an interrupted save left it.

    Args:
        folder: As it was given to `write_folder`.
        marker: A file by which the folder is known.
    """
    folder = Path(folder)
    aside = _aside(folder.resolve())
    if folder.exists() or not (aside / marker).is_file():
        return folder
    warnings.warn(
        f"{folder} is missing because a save was interrupted; the model that it was to replace is "
        f"read from {aside}. Save again to put it back.",
        stacklevel=3,
    )
    return aside


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what the manifest in a saved model's folder holds, unchecked.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no JSON object.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, a number without end
        raise ValueError(f"{path} is damaged ({error}); save the model again.") from error
    if not isinstance(manifest, dict):
        raise ValueError(f"{path} is damaged (it holds no JSON object); save the model again.")
    return manifest


def saved_class(folder: str | Path) -> str:
    """Return the name of the class whose `save` wrote a folder.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no saved model, or its manifest is damaged.
    """
    found = find_folder(folder)
    if not found.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; pass the one that save() returned.")
    try:
        name = read_manifest(found).get("class")
    except FileNotFoundError:
        if (find_folder(folder) / MANIFEST).is_file():  # a save of another process moved it
            return saved_class(folder)
        hint = ""
        if (found / "config.json").is_file() or (found / "modules.json").is_file():
            hint = " It may be a model to start from: pass it to an estimator as model=…."
        raise ValueError(
            f"{folder} is no saved model: it lacks {MANIFEST}; pass the folder that save() "
            f"returned.{hint}"
        ) from None
    if not isinstance(name, str):
        raise ValueError(f"{found / MANIFEST} is damaged (class {name!r}); save the model again.")
    return name


def check_replaceable(folder: str | Path, marker: str = MANIFEST) -> None:
    """Raise a `ValueError` unless `folder` is absent, empty, or known by its `marker` file."""
    folder = Path(folder)
    if folder.exists() and not (folder / marker).is_file() and not _is_empty(folder):
        raise ValueError(
            f"{folder} exists and holds something that is not a saved model; "
            "choose another folder, or remove it first."
        )


def file_hashes(folder: Path, without: str = MANIFEST) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder, by its path relative to the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: _sha256(path) for name, path in named.items() if name != without}


def check_hashes(folder: Path, expected: dict[str, str], without: str = MANIFEST) -> None:
    """Raise a `ValueError` unless each file is there, has its SHA-256, and no other would be read.

    A file that was added may change what the libraries make of the others: a tokenizer's map of
    special tokens, a chat template, an adapter. Notes and the like do no harm.
    """
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        name = path.relative_to(folder).as_posix()
        read = path.suffix in _READ_SUFFIXES or path.name in _READ_NAMES
        if read and path.is_file() and name not in expected and name != without:
            raise ValueError(
                f"{folder} holds {name}, which save did not write and which may change the "
                "model; remove it, or save the model again."
            )
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{folder} lacks {name}; save the model again or restore the folder.")
        if _sha256(path) != digest:
            raise ValueError(
                f"{folder} holds a damaged model: the SHA-256 of {name} is not the one that save "
                "wrote. Save it again or restore the folder."
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _aside(folder: Path) -> Path:
    """Return where the folder stands while its successor moves in."""
    return folder.with_name(f".{folder.name}.old")


def _staging_prefix(folder: Path) -> str:
    return f".{folder.name}.new-"


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Hold the lock on writing this folder; the system releases it when a process dies."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    # Among the temporary files, so that nothing but the model lies where the model is saved.
    with filelock.FileLock(Path(tempfile.gettempdir()) / f"reptune-{user}-{name}.lock"):
        yield


def _sweep(folder: Path, marker: str) -> None:
    """Put back or remove what a killed save left; with the lock held, nobody else is at it."""
    aside = _aside(folder)
    if (aside / marker).is_file() and (not folder.exists() or _is_empty(folder)):
        _restore(folder, aside)
    for left in (aside, *folder.parent.glob(f"{_escaped(_staging_prefix(folder))}*")):
        shutil.rmtree(left, ignore_errors=True)


def _escaped(prefix: str) -> str:
    """Return a file name for `glob`, which would read brackets as a pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in prefix)


def _replace(folder: Path, write: Callable[[Path], None]) -> None:
    aside = _aside(folder)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_staging_prefix(folder)))
    try:
        written = staging / "model"
        written.mkdir()
        write(written)
        _settle(written)
        if folder.exists():
            folder.replace(aside)
        written.replace(folder)
    finally:
        # An interruption may have come between the two moves, or even within them.
        if aside.exists():
            if folder.exists():
                aside.replace(staging / "old")  # at once, so that no half-removed one is found
            else:
                _restore(folder, aside)
        shutil.rmtree(staging, ignore_errors=True)


def _restore(folder: Path, aside: Path) -> None:
    if folder.exists():
        folder.rmdir()  # it is empty
    aside.replace(folder)


def _settle(folder: Path) -> None:
    """Give all files the usual permissions, and have them on the disk before the old ones go."""
    probe = folder / ".permissions"
    probe.touch()
    usual = stat.S_IMODE(probe.stat().st_mode)  # some libraries make theirs for the owner alone
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(usual)
            with path.open("rb") as file:
                os.fsync(file.fileno())


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Say what a full or closed disk means for a save."""
    try:
        yield
    except Exception as error:
        if interruption := _interruption(error):
            raise interruption from None
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if not full and not isinstance(error, OSError):
            raise
        cure = "free some space" if full else "choose a folder that can be written to"
        number = errno.ENOSPC if full else error.errno or errno.EIO
        raise OSError(
            number,
            f"{folder} could not be written ({error}); {cure}. What was there before is unchanged",
        ) from error


def _interruption(error: BaseException) -> KeyboardInterrupt | None:
    """Return the Ctrl-C behind an error, which one while files are removed may mask."""
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, KeyboardInterrupt):
            return error
    return None


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
