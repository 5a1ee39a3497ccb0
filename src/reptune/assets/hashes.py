"""The sha256 of every file of a folder, compared with those that are pinned or recorded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from reptune.assets.archives import is_safe
from reptune.assets.errors import AssetCorrupt
from reptune.assets.registry import Asset

SUMS = "SHA256SUMS"
# The only files a conversion writes; none of them can hold code or a pickle.
_CONVERTED_SUFFIXES = {".json", ".safetensors", ".jinja", ".txt"}
# What this process has hashed: path -> ((inode, size, mtime_ns), sha256). A file whose stat
# changed is hashed again, so `get` is cheap after its first call without trusting blindly.
_HASHED: dict[Path, tuple[tuple[int, int, int], str]] = {}


def sha256_of(path: Path) -> str:
    """Return a file's sha256; its bytes are read only if it changed since they last were."""
    stat = path.stat()
    stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    known = _HASHED.get(path)
    if known and known[0] == stamp:
        return known[1]
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    _HASHED[path] = (stamp, digest)
    return digest


def forget_hashes(folder: Path) -> None:
    """Let the next check read every file of a folder again."""
    for path in [path for path in _HASHED if path.is_relative_to(folder)]:
        del _HASHED[path]


def expected_hashes(asset: Asset, folder: Path) -> Mapping[str, str]:
    """Return the sha256 of each file of a folder, from the registry or from its SHA256SUMS."""
    if asset.files:
        return asset.files
    path = folder / SUMS
    if not path.is_file():
        raise _corrupt(asset, f"{SUMS} is missing", folder)
    if asset.sums_sha256 and sha256_of(path) != asset.sums_sha256:
        raise _corrupt(asset, f"{SUMS} does not have the pinned sha256", folder)
    sums = _parse_sums(path.read_bytes())
    bad = [name for name in sums if not is_safe(name) or not _is_allowed(asset, name)]
    if not sums or bad:
        raise _corrupt(asset, f"{SUMS} lists {bad[0]!r}" if bad else f"empty {SUMS}", folder)
    return sums


def _parse_sums(data: bytes) -> dict[str, str]:
    lines = re.findall(r"^([0-9a-f]{64})  (.+)$", data.decode("utf-8", "replace"), re.MULTILINE)
    return {name: digest for digest, name in lines}


def _is_allowed(asset: Asset, name: str) -> bool:
    return not asset.is_converted or PurePosixPath(name).suffix in _CONVERTED_SUFFIXES


def write_sums(folder: Path) -> None:
    """Write the sha256 of every file of a folder into its SHA256SUMS."""
    paths = sorted(path.relative_to(folder).as_posix() for path in _files_below(folder))
    lines = [f"{sha256_of(folder / path)}  {path}\n" for path in paths]
    (folder / SUMS).write_bytes("".join(lines).encode())


def _files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def check_files(asset: Asset, folder: Path) -> None:
    """Raise AssetCorrupt, naming a file, unless the folder holds exactly the right bytes."""
    expected = expected_hashes(asset, folder)
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            raise _corrupt(asset, f"{name} is missing", folder)
        try:
            found = sha256_of(path)
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
