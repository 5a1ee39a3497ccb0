"""The chapters: every cell runs, and what is stored is fit to be read."""

import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import chapters
import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IDS = [path.stem for path in NOTEBOOKS]
# Far more than a cell needs under `quick`: it only ends a cell that hangs.
CELL_TIMEOUT = 600

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)


def read(path: Path):
    return nbformat.read(path, as_version=4)


def figures(nb) -> list[tuple[int, object]]:
    """Return the cells, with their numbers, that store an image."""
    return [
        (number, cell)
        for number, cell in enumerate(nb.cells)
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    ]


def test_every_notebook_is_in_the_book() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    assert [f"notebooks/{name}" for name in IDS] == [f for f in files if "notebooks/" in f]


@each_notebook
def test_every_cell_runs(path: Path) -> None:
    command = [
        *(sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env"),
        *(f"--nbval-cell-timeout={CELL_TIMEOUT}", "-p", "no:cacheprovider", "-q", str(path)),
    ]
    environment = {
        **os.environ, "REPTUNE_PROFILE": "quick", "REPTUNE_PROGRESS": "0", "PYTHONUTF8": "1",
    }  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@each_notebook
def test_outputs_are_clean(path: Path) -> None:
    """No errors, warnings, bars, machine's paths, and nothing too big."""
    nb = read(path)
    assert chapters.output_problems(nb) == []
    assert "widgets" not in nb.metadata


@each_notebook
def test_every_cell_was_executed(path: Path) -> None:
    cells = [c for c in read(path).cells if c.cell_type == "code"]
    run = [c for c in cells if chapters.SKIP_TAG not in chapters.tags(c)]
    assert [c.execution_count for c in run] == list(range(1, len(run) + 1))


@each_notebook
def test_cells_have_a_readers_size(path: Path) -> None:
    nb = read(path)
    lengths = [len(cell.source.splitlines()) for cell in chapters.code_cells(nb)]
    assert 60 <= len(nb.cells) <= 100
    assert statistics.median(lengths) <= 7
    assert max(lengths) <= 25


@each_notebook
def test_figures_have_alternative_text_and_a_caption(path: Path) -> None:
    nb = read(path)
    assert figures(nb), "a chapter has figures"
    for number, cell in figures(nb):
        said = cell.metadata.get("mystnb", {})
        assert len(said.get("image", {}).get("alt", "")) > 20, f"cell {number}: alternative text"
        assert len(said.get("figure", {}).get("caption", "")) > 20, f"cell {number}: caption"


@each_notebook
def test_install_cell_is_skipped_here(path: Path) -> None:
    (install,) = [c for c in read(path).cells if chapters.INSTALL_TAG in chapters.tags(c)]
    assert {"skip-execution", "nbval-skip"} <= set(chapters.tags(install))
    assert install.outputs == []


@each_notebook
def test_stored_outputs_come_from_these_cells(path: Path) -> None:
    nb = read(path)
    stamp = nb.metadata.get("reptune")
    assert stamp, "run it: make run CHAPTER=NN PROFILE=cpu"
    assert stamp["profile"] in ("cpu", "gpu")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", stamp["date"])
    assert stamp["cells"] == chapters.cells_hash(nb), "its cells changed since they were run"
