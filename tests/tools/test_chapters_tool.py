"""Running a chapter: what is stored, what is stamped, and what is left alone on failure."""

import subprocess
import sys
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


PARTS = {
    "__init__.py": """
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reptune.book.setup import setup
    from reptune.classification import Classifier
else:
    import reptune.quick

_LAZY = {
    "setup": "reptune.book.setup",
    "Classifier": "reptune.classification",
    "Few": "reptune.fewshot",
    "np": "numpy",
    "Lost": "reptune.nowhere",
}


def __getattr__(name):
    return getattr(importlib.import_module(_LAZY[name]), name)
""",
    "quick.py": "",
    "classification.py": "from . import training\n",
    "training.py": "import typing\nif typing.TYPE_CHECKING:\n    import reptune.assets\n",
    "assets.py": "",
    "book/__init__.py": "",
    "book/setup.py": "from .plots import style\nfrom ..assets import get\n",
    "book/plots.py": "if not __debug__:\n    import reptune.training\n",
    "fewshot/__init__.py": (
        "from reptune.fewshot import pairs\n"
        '_LAZY: dict[str, str] = {"Few": "reptune.fewshot.few", "Head": "reptune.fewshot.head"}\n'
    ),
    "fewshot/few.py": "from . import pairs\nfrom .. import Classifier\n",
    "fewshot/head.py": "",
    "fewshot/pairs.py": "",
    "ner/__init__.py": "from .tagger import Tagger\n",
    "ner/tagger.py": "def f():\n    from ..fewshot import Head\n",
}
BOOK = {"book/__init__.py", "book/plots.py", "training.py"}
SETUP = BOOK | {"book/setup.py", "assets.py"}
METHOD = {"classification.py", "training.py"}
FEWSHOT = {"fewshot/__init__.py", "fewshot/pairs.py"}
FEW = METHOD | FEWSHOT | {"fewshot/few.py"}


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A package with subpackages that exports names lazily."""
    folder = tmp_path / "reptune"
    for name, text in PARTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize(
    ("source", "used"),
    [
        # The root alone imports nothing of what it could export.
        ("import reptune", set()),
        ("import reptune\nreptune.__version__", set()),
        # Subpackages, and their __init__ on the way.
        ("import reptune.book.plots", BOOK),
        ("from reptune.book import plots", BOOK),
        ("from reptune import book\nbook.plots.curve()", BOOK),
        ("import reptune as r\nr.book.plots.curve()", BOOK),
        ("from reptune.book.plots import curve", BOOK),
        ("import reptune.fewshot", FEWSHOT),
        ("from reptune.fewshot.pairs import draw", FEWSHOT),
        # Names that the root exports lazily, in all the ways to reach them.
        ("import reptune\nrun = reptune.setup('01')", SETUP),
        ("from reptune import setup as begin", SETUP),
        ("def f():\n    import reptune as r\n    return r.setup", SETUP),
        ("from reptune import Classifier", METHOD),
        ("from reptune import np", set()),
        # Names that a subpackage exports lazily, and one that the root has from there.
        ("from reptune.fewshot import Head", FEWSHOT | {"fewshot/head.py"}),
        ("import reptune.fewshot\nreptune.fewshot.Head()", FEWSHOT | {"fewshot/head.py"}),
        ("from reptune import fewshot as f\nprint(f'{f.Head()}')", FEWSHOT | {"fewshot/head.py"}),
        ("from reptune.fewshot import Few", FEW),
        ("from reptune import Few", FEW),
        ("from reptune.fewshot import *", FEW | {"fewshot/head.py"}),
        # Relative imports that leave their subpackage.
        ("import reptune.ner", {"ner/__init__.py", "ner/tagger.py", "fewshot/head.py"} | FEWSHOT),
        # Imports by name.
        ("import importlib\nimportlib.import_module('reptune.classification')", METHOD),
        ("from importlib import import_module\nimport_module('reptune.book.plots')", BOOK),
        ("import importlib\nimportlib.import_module('.plots', package='reptune.book')", BOOK),
        (
            "import importlib\nimportlib.import_module('reptune.fewshot').Few",
            FEW | {"fewshot/head.py"},
        ),
        ("import importlib\nname = 'x'\nimportlib.import_module(name)", None),
        # What only a type checker imports.
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import reptune.ner", None),
        ("import typing\nif typing.TYPE_CHECKING:\n    import reptune.ner", None),
        ("if not TYPE_CHECKING:\n    import reptune.assets", {"assets.py"}),
    ],
)
def test_subpackages_and_lazy_names_are_followed(
    parts: Path, source: str, used: set[str] | None
) -> None:
    nb = new_notebook(cells=[new_code_cell(source)])
    always = set() if used is None else {"__init__.py", "quick.py"}
    assert set(chapters.module_hashes(nb, parts)) == (used or set()) | always


def test_cells_share_what_one_of_them_imported(parts: Path) -> None:
    nb = new_notebook(cells=[new_code_cell("import reptune as r"), new_code_cell("r.setup('01')")])
    assert "book/setup.py" in chapters.module_hashes(nb, parts)


@pytest.mark.parametrize(
    ("file", "text", "source", "message"),
    [
        ("__init__.py", None, "from reptune import Lost", "'Lost' lazily from 'reptune.nowhere'"),
        ("ner/__init__.py", "_LAZY = {'T': '.tagger'}", "from reptune.ner import T", "in full"),
        ("ner/__init__.py", "_LAZY = dict(T='x')", "import reptune.ner", "is no literal dict"),
        ("ner/__init__.py", "_LAZY = ['T']", "import reptune.ner", "is no literal dict"),
    ],
)
def test_a_lazy_table_that_cannot_be_followed_is_named(
    parts: Path, file: str, text: str | None, source: str, message: str
) -> None:
    if text is not None:
        (parts / file).write_text(text, "utf-8")
    with pytest.raises(ValueError, match=message):
        chapters.module_hashes(new_notebook(cells=[new_code_cell(source)]), parts)


def test_names_that_lead_in_a_circle_come_to_an_end(parts: Path) -> None:
    (parts / "ner" / "__init__.py").write_text("_LAZY = {'T': 'reptune.ner'}", "utf-8")
    nb = new_notebook(cells=[new_code_cell("from reptune.ner import T")])
    assert set(chapters.module_hashes(nb, parts)) == {"__init__.py", "quick.py", "ner/__init__.py"}


def test_the_analysis_finds_what_python_imports(parts: Path, tmp_path: Path) -> None:
    """On code without type checkers' and lazy imports left over, both see the same modules."""
    source = "import reptune\nreptune.setup\nfrom reptune.fewshot import pairs\nimport reptune.ner"
    (parts / "book" / "setup.py").write_text("from .plots import style\ndef setup(): ...\n")
    (parts / "book" / "plots.py").write_text("from ..assets import get as style\n")
    (parts / "assets.py").write_text("def get(): ...\n")
    (parts / "ner" / "tagger.py").write_text("from ..training import typing as Tagger\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{source}\n"
        "files = [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'reptune']\n"
        "print(*files, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    really = {Path(file).relative_to(parts).as_posix() for file in done.stdout.split()}
    assert set(chapters.module_hashes(new_notebook(cells=[new_code_cell(source)]), parts)) == really


def test_a_chapter_is_stale_for_what_it_uses_only(parts: Path, tmp_path: Path) -> None:
    nb = new_notebook(cells=[new_code_cell("import reptune\nreptune.setup('01')")])
    stamp = {"cells": chapters.cells_hash(nb), "modules": chapters.module_hashes(nb, parts)}
    nb.metadata["reptune"] = stamp
    nbformat.write(nb, path := tmp_path / "01_sample.ipynb")
    (parts / "fewshot" / "few.py").write_text("changed = True\n", "utf-8")
    (parts / "classification.py").write_text("changed = True\n", "utf-8")
    assert chapters.stale_reasons(path, parts) == []
    (parts / "book" / "setup.py").write_text("from .plots import style\n", "utf-8")
    assert chapters.stale_reasons(path, parts) == [
        "it used assets.py, and no longer does",
        "book/setup.py changed",
    ]


def test_a_module_that_did_not_exist_at_the_run_was_not_used(parts: Path, tmp_path: Path) -> None:
    (parts / "book" / "setup.py").write_text(
        "def setup(name):\n    if name == 'rare':\n        from reptune import rare\n", "utf-8"
    )
    nb = new_notebook(cells=[new_code_cell("import reptune\nreptune.setup('01')")])
    stamp = {"cells": chapters.cells_hash(nb), "modules": chapters.module_hashes(nb, parts)}
    nb.metadata["reptune"] = stamp
    nbformat.write(nb, path := tmp_path / "01_sample.ipynb")
    (parts / "rare.py").write_text("new = True\n", "utf-8")
    assert "rare.py" in chapters.module_hashes(nb, parts)
    assert chapters.stale_reasons(path, parts) == []
    setup = (parts / "book" / "setup.py").read_text("utf-8")
    (parts / "book" / "setup.py").write_text(setup.replace("rare'", "frequent'"), "utf-8")
    assert chapters.stale_reasons(path, parts) == ["book/setup.py changed", "it now uses rare.py"]


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
            "print(os.environ['REPTUNE_PROFILE'], sys.executable == EXPECTED)\n"
            "from reptune import runtime\n"
            "print('bars:', runtime.shows_progress(None))".replace(
                "EXPECTED", repr(chapters.sys.executable)
            )
        ),
    )
    chapters.run(path, "quick")
    nb = nbformat.read(path, as_version=4)
    assert nb.cells[0].outputs == [] and nb.cells[0].execution_count is None
    (output,) = nb.cells[1].outputs
    assert output.text == "step 0\nstep 1\nstep 2\nquick True\nbars: False\n"
    assert "execution" not in nb.cells[1].metadata
    assert nb.metadata.language_info.pygments_lexer == "ipython3"
    stamp = nb.metadata.reptune
    assert stamp.profile == "quick" and stamp.cells == chapters.cells_hash(nb)
    assert {"python", "torch"} <= set(stamp.versions)
    assert not list(tmp_path.glob("*.part"))


def test_the_stamp_holds_the_modules_as_they_were_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {"data.py": "as it was"}

    def execute(nb: object, folder: Path, profile: str) -> None:
        modules["data.py"] = "edited while the cells ran"

    monkeypatch.setattr(chapters, "execute", execute)
    monkeypatch.setattr(chapters, "module_hashes", lambda nb: dict(modules))
    path = store(tmp_path, new_code_cell("1"))
    chapters.run(path, "quick")
    assert nbformat.read(path, 4).metadata.reptune.modules == {"data.py": "as it was"}


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
