"""The public address: written everywhere from one place, and taken out without a trace."""

import json
import re
import shutil
from pathlib import Path

import pytest
import set_repo
import yaml

ROOT = Path(__file__).resolve().parents[2]
URL = "https://github.com/someone/some-book"
NAME = "01_sample.ipynb"


def sample_notebook() -> str:
    """Return a notebook as it is before there is an address."""
    install = set_repo.install_cell(
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "install",
            "metadata": {"tags": ["install"]},
            "outputs": [],
            "source": [],
        },
        None,
    )
    title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": ["# Café\n", "x"]}
    nb = {"cells": [title, install], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(nb, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy what the tool touches, the real chapters and a made-up one among it."""
    for name in ("_config.yml", "README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path / name)
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        shutil.copy(path, notebooks / path.name)
    (notebooks / NAME).write_text(sample_notebook(), "utf-8")
    assert run(tmp_path, "--unset") == 0
    return tmp_path


def run(tree: Path, *arguments: str) -> int:
    return set_repo.main([*arguments, "--root", str(tree)])


def texts(tree: Path) -> dict[str, bytes]:
    files = (path for path in tree.rglob("*") if path.is_file())
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in files}


def tagged(tree: Path, tag: str, name: str = NAME) -> list[dict]:
    cells = json.loads((tree / "notebooks" / name).read_text("utf-8"))["cells"]
    return [cell for cell in cells if tag in cell["metadata"].get("tags", [])]


def test_address_is_written_everywhere(tree: Path) -> None:
    assert run(tree, URL + ".git/") == 0
    config = yaml.safe_load((tree / "_config.yml").read_text("utf-8"))
    assert config["repository"]["url"] == URL
    assert config["html"]["use_repository_button"] is True
    assert config["launch_buttons"]["colab_url"] == "https://colab.research.google.com"
    citation = yaml.safe_load((tree / "CITATION.cff").read_text("utf-8"))
    assert citation["repository-code"] == URL
    readme = (tree / "README.md").read_text("utf-8")
    for path in (tree / "notebooks").glob("*.ipynb"):
        opened = (
            f"colab.research.google.com/github/someone/some-book/blob/main/notebooks/{path.name}"
        )
        assert opened in readme
        assert opened in "".join(tagged(tree, "colab-badge", path.name)[0]["source"])
        (install,) = tagged(tree, "install", path.name)
        assert f'%pip install -q "reptune[chapters] @ git+{URL}"' in "".join(install["source"])
        assert "remove-cell" not in install["metadata"]["tags"]


def test_twice_is_once(tree: Path) -> None:
    run(tree, URL)
    once = texts(tree)
    assert run(tree, URL) == 0
    assert texts(tree) == once
    # Without an address, the one in _config.yml is used again.
    assert run(tree) == 0
    assert texts(tree) == once


def test_another_address_replaces_the_first(tree: Path) -> None:
    run(tree, URL)
    run(tree, "https://github.com/other/name")
    assert all(b"some-book" not in content for content in texts(tree).values())


def test_unset_restores_every_byte(tree: Path) -> None:
    before = texts(tree)
    run(tree, URL)
    assert texts(tree) != before
    assert run(tree, "--unset") == 0
    assert texts(tree) == before


def test_install_cell_without_an_address_is_hidden_and_takes_a_wheel(tree: Path) -> None:
    (install,) = tagged(tree, "install")
    assert "remove-cell" in install["metadata"]["tags"]
    assert {"nbval-skip", "skip-execution"} <= set(install["metadata"]["tags"])
    assert "files.upload()" in "".join(install["source"])


def without_magic(source: str) -> str:
    """The install cell with its pip line as a call, so that Python can run it."""
    return re.sub(r"%pip (.*)", r"pip(f'\1')", source)


@pytest.mark.parametrize("wheels", [[], ["reptune-1.0-py3-none-any.whl"]])
def test_install_cell_takes_a_wheel_of_dist_and_says_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheels: list[str]
) -> None:
    for folder in ("dist", "notebooks"):
        (tmp_path / folder).mkdir()
    for name in wheels:
        (tmp_path / "dist" / name).touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    installed: list[str] = []
    cell = compile(without_magic(set_repo.INSTALL_UNSET), "cell", "exec")
    if not wheels:
        with pytest.raises(FileNotFoundError, match="no wheel in dist/"):
            exec(cell, {"pip": installed.append})
        return
    exec(cell, {"pip": installed.append})
    assert installed == [f'install -q "../dist/{wheels[0]}[chapters]"']


@pytest.mark.parametrize("source", [set_repo.INSTALL_UNSET, set_repo.INSTALL_SET])
def test_install_cell_leaves_an_installed_package_alone(source: str) -> None:
    installed: list[str] = []
    exec(compile(without_magic(source), "cell", "exec"), {"pip": installed.append})
    assert installed == []


def test_stored_files_are_as_the_tool_leaves_them() -> None:
    """A new chapter, or a marker moved by hand, must not wait for the next `make set-repo`."""
    held = set_repo.IN_CONFIG.search((ROOT / "_config.yml").read_text("utf-8"))
    changes = set_repo.planned(ROOT, held.group(1) if held else None)
    assert [path.name for path in changes] == [], "run tools/set_repo.py (or with --unset)"


@pytest.mark.parametrize(
    "url",
    ["http://github.com/a/b", "https://github.com/a", "https://example.org/a/b", "a/b",
     "https://github.com/a/b/tree/main", 'https://github.com/a/b"; rm -rf x'],
)  # fmt: skip
def test_bad_address_is_refused_and_changes_nothing(
    tree: Path, url: str, capsys: pytest.CaptureFixture
) -> None:
    before = texts(tree)
    assert run(tree, url) == 1
    assert "https://github.com/owner/name" in capsys.readouterr().err
    assert texts(tree) == before


def test_missing_marker_changes_nothing(tree: Path, capsys: pytest.CaptureFixture) -> None:
    (tree / "README.md").write_text("# No markers\n", "utf-8")
    before = texts(tree)
    assert run(tree, URL) == 1
    assert "README.md must have the lines" in capsys.readouterr().err
    assert texts(tree) == before
