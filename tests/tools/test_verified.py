"""The page "Last verified": what the stamps say, and that it is current."""

import json

import chapters
import pytest
import verified

STAMP = {
    "date": "2026-11-30",
    "profile": "cpu",
    "device": "CPU, 2 threads",
    "seconds": 522,
    "versions": {"python": "3.11.7", "torch": "2.13.0+cpu"},
}
LATER = {**STAMP, "seconds": 59, "versions": {"python": "3.11.7", "torch": "2.14.0"}}
PAGE = "before\n<!-- verified -->\nold\n<!-- end of verified -->\nafter\n"


def test_the_page_is_that_of_the_stamps():
    text = verified.PAGE.read_text("utf-8")
    assert verified.renewed(text, verified.stamps()) == text, "run `python tools/verified.py`"


def test_every_chapter_has_a_stamp():
    found = verified.stamps()
    assert [path.stem for path in chapters.chapters()] == list(found)
    assert [name for name, stamp in found.items() if not stamp] == []


def test_runs_by_chapter_and_together():
    assert verified.runs({"01_a": STAMP, "02_b": LATER, "03_c": {}}).splitlines()[2:] == [
        "| {doc}`/notebooks/01_a` | 2026-11-30 | `cpu` | CPU, 2 threads | 8 min 42 s |",
        "| {doc}`/notebooks/02_b` | 2026-11-30 | `cpu` | CPU, 2 threads | 59 s |",
        "| {doc}`/notebooks/03_c` | never | – | – | – |",
        "| all | | | | 9 min 41 s |",
    ]


def test_versions_that_differ_have_a_row_each():
    assert verified.versions({"01_a": STAMP, "02_b": LATER}).splitlines()[2:] == [
        "| python | 3.11.7 | all |",
        "| torch | 2.13.0+cpu | 1 |",
        "| torch | 2.14.0 | 2 |",
    ]


def test_only_what_stands_between_the_marks_changes():
    new = verified.renewed(PAGE, {"01_a": STAMP})
    assert new.startswith("before\n<!-- verified -->\n| Chapter") and "old" not in new
    assert new.endswith("| torch | 2.13.0+cpu | all |\n<!-- end of verified -->\nafter\n")
    with pytest.raises(ValueError, match="the page needs"):
        verified.renewed("no marks", {})


def test_writing_says_whether_anything_changed(tmp_path):
    page = tmp_path / "verified.md"
    page.write_text(PAGE)
    notebook = {"cells": [], "metadata": {"reptune": STAMP}}
    (tmp_path / "01_a.ipynb").write_text(json.dumps(notebook))
    assert verified.write(page, tmp_path)
    assert "8 min 42 s" in page.read_text("utf-8")
    assert not verified.write(page, tmp_path)


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_of_the_books_own_chapters_writes_the_page(monkeypatch, tmp_path, fails):
    def run(path, profile):
        if fails:
            raise ValueError("its outputs cannot be stored")

    written = []
    monkeypatch.setattr(chapters, "run", run)
    monkeypatch.setattr(verified, "write", lambda: written.append("page"))
    # Of several chapters, those before a failure have their new stamps.
    assert chapters.command_run("01", "cpu", chapters.NOTEBOOKS) == int(fails)
    assert written == ["page"]
    (tmp_path / "01_a.ipynb").write_text("{}")
    chapters.command_run("01", "cpu", tmp_path)
    assert written == ["page"]
