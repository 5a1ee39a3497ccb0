"""Running a chapter: what is stored, what is stamped, and what is left alone on failure."""

from pathlib import Path

import chapters
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package like ours: a facade, a chain of imports, and a module nobody asks for."""
    folder = tmp_path / "src" / "reptune"
    folder.mkdir(parents=True)
    files = {
        "__init__.py": "from reptune.runtime import setup\n",
        "runtime.py": "def setup():\n    from reptune import plots\n",
        "plots.py": "",
        "data.py": "from . import assets\n",
        "assets.py": "from .results import write\n",
        "results.py": "def write(): ...\n",
        "ner.py": "import reptune.data\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return folder


def store(folder: Path, *cells: object, name: str = "01_sample.ipynb") -> Path:
    path = folder / name
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


INSTALL = {"tags": ["install", "skip-execution", "nbval-skip", "remove-cell"]}


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("import reptune", set()),
        ("from reptune import data", {"data.py", "assets.py", "results.py"}),
        ("from reptune.data import load", {"data.py", "assets.py", "results.py"}),
        ("import reptune\nreptune.assets.get('x')", {"assets.py", "results.py"}),
        ("%pip list\nimport reptune.ner as n", {"ner.py", "data.py", "assets.py", "results.py"}),
        ("if True:\n    %pip list\n!ls\nfrom reptune.results import write", {"results.py"}),
    ],
)
def test_modules_are_followed(package: Path, source: str, used: set[str]) -> None:
    nb = new_notebook(cells=[new_code_cell(source)])
    always = {"__init__.py", "runtime.py", "plots.py"}
    assert set(chapters.module_hashes(nb, package)) == used | always


def test_only_code_counts_for_the_hash() -> None:
    def hashed(*cells: object) -> str:
        return chapters.cells_hash(new_notebook(cells=list(cells)))

    plain = hashed(new_code_cell("1"), new_code_cell("2"))
    assert plain == hashed(new_code_cell("1"), new_markdown_cell("x"), new_code_cell("2"))
    assert plain == hashed(
        new_code_cell("pip", metadata=INSTALL), new_code_cell("1"), new_code_cell("2")
    )
    assert plain != hashed(new_code_cell("2"), new_code_cell("1"))
    assert plain != hashed(new_code_cell("12"))


def test_stale_names_what_changed(package: Path, tmp_path: Path) -> None:
    path = store(tmp_path, new_code_cell("from reptune import data"))
    assert "never run" in chapters.stale_reasons(path, package)[0]
    nb = nbformat.read(path, as_version=4)
    nb.metadata["reptune"] = {
        "cells": chapters.cells_hash(nb),
        "modules": chapters.module_hashes(nb, package),
    }
    nbformat.write(nb, path)
    assert chapters.stale_reasons(path, package) == []
    (package / "ner.py").write_text("# nobody asks\n", "utf-8")
    assert chapters.stale_reasons(path, package) == []
    (package / "assets.py").write_text("changed = True\n", "utf-8")
    assert chapters.stale_reasons(path, package) == [
        "assets.py changed",
        "it used results.py, and no longer does",
    ]
    nb.cells[0].source += "\n# more"
    nbformat.write(nb, path)
    assert "its code cells changed" in chapters.stale_reasons(path, package)


def test_run_stores_tidy_outputs_and_a_stamp(tmp_path: Path) -> None:
    path = store(
        tmp_path,
        new_code_cell("raise RuntimeError('outside Colab')", metadata=INSTALL),
        new_code_cell(
            "import os, sys, tqdm\n"
            "for i in tqdm.tqdm(range(3)):\n"
            "    print('step', i)\n"
            "print(os.environ['REPTUNE_PROFILE'], sys.executable == EXPECTED)".replace(
                "EXPECTED", repr(chapters.sys.executable)
            )
        ),
    )
    chapters.run(path, "quick")
    nb = nbformat.read(path, as_version=4)
    assert nb.cells[0].outputs == [] and nb.cells[0].execution_count is None
    (output,) = nb.cells[1].outputs
    assert output.text == "step 0\nstep 1\nstep 2\nquick True\n"
    assert "execution" not in nb.cells[1].metadata
    assert nb.metadata.language_info.pygments_lexer == "ipython3"
    stamp = nb.metadata.reptune
    assert stamp.profile == "quick" and stamp.cells == chapters.cells_hash(nb)
    assert {"python", "torch"} <= set(stamp.versions)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import os; os._exit(1)", "the kernel died in cell 1"),
        ("import warnings; warnings.warn('old')", "a warning"),
        ("from pathlib import Path; print(Path.home() / 'x')", "a path of this machine"),
    ],
)
def test_failing_run_leaves_the_notebook_as_it_was(
    tmp_path: Path, cell: str, message: str, capsys: pytest.CaptureFixture
) -> None:
    path = store(tmp_path, new_markdown_cell("# Title"), new_code_cell(cell))
    before = path.read_bytes()
    arguments = ["run", "--chapter", "1", "--profile", "quick", "--notebooks", str(tmp_path)]
    assert chapters.main(arguments) == 1
    assert message in capsys.readouterr().err
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_run_stops_at_the_first_output_that_cannot_be_stored(tmp_path: Path) -> None:
    later = tmp_path / "later"
    path = store(
        tmp_path,
        new_code_cell("import warnings; warnings.warn('old')"),
        new_code_cell(f"open({str(later)!r}, 'w').close()"),
    )
    with pytest.raises(ValueError, match="cell 0: a warning"):
        chapters.run(path, "quick")
    assert not later.exists()


def test_bars_go_and_text_stays() -> None:
    def stream(text: str, name: str = "stdout") -> object:
        return new_output("stream", name=name, text=text)

    nb = new_notebook(cells=[new_code_cell("x")])
    nb.cells[0].outputs = [
        stream("a\n"),
        stream("b\n"),
        stream("\r  0%|   | 0/2 [00:00<?, ?it/s]", "stderr"),
        stream("\r100%|###| 2/2 [00:00<00:00, 9.1it/s]\n", "stderr"),
        stream("50% of them | were wrong\n"),
        new_output("display_data", data={chapters.WIDGET: {}, "text/plain": "0%|"}),
    ]
    chapters.tidy(nb)
    assert [o.text for o in nb.cells[0].outputs] == ["a\nb\n", "50% of them | were wrong\n"]


def test_unknown_chapter_is_named(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    store(tmp_path, new_code_cell("1"))
    assert chapters.main(["run", "--chapter", "7", "--notebooks", str(tmp_path)]) == 1
    assert "no chapter '7'" in capsys.readouterr().err
