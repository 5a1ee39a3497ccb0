"""Comparing two runs of the chapters: times may differ, and nothing else."""

from __future__ import annotations

import base64
import copy
import io
import re
from pathlib import Path
from typing import Any

import chapters
import compare_runs
import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

SCORES = pd.DataFrame(
    {
        "accuracy": [0.812, 0.834],
        "seconds": [12.5, 118.0],
        "peak memory (MB)": [1200, 1350],
        "times as fast": [1.0, 2.5],
        "min": [0.8, 0.81],
    },
    index=pd.Index(["plain", "fast"], name="method"),
)


def png(height: int = 4, dot: tuple[int, int] | None = None) -> str:
    pixels = np.full((height, 6, 3), 255, dtype=np.uint8)
    if dot:
        pixels[dot] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def stream(text: str, name: str = "stdout") -> Any:
    return new_output("stream", name=name, text=text)


def shown(**data: Any) -> Any:
    kinds = {"plain": "text/plain", "html": "text/html", "png": "image/png", "svg": "image/svg+xml"}
    return new_output("display_data", data={kinds[kind]: value for kind, value in data.items()})


def table(frame: pd.DataFrame, styled: bool = False) -> Any:
    html = frame.style.to_html() if styled else frame.to_html()
    return shown(plain=repr(frame.style if styled else frame), html=html)


def notebook() -> Any:
    """A chapter with an output of each kind."""
    cells = [
        new_markdown_cell("# Title"),
        new_code_cell("import reptune\nfrom reptune import results\n\nx = 1"),
        new_code_cell(
            "print('a')",
            outputs=[stream("SetFit  0.919 [0.886, 0.948]\nfit: 12.4 s, peak memory 3,295 MB\n")],
        ),
        new_code_cell("SCORES", outputs=[table(SCORES)]),
        new_code_cell("SCORES.style", outputs=[table(SCORES, styled=True)]),
        new_code_cell("figure", outputs=[shown(plain="<Figure size 6x4 with 1 Axes>", png=png())]),
        new_code_cell("print(1)\nfigure", outputs=[stream("0.5\n"), shown(plain="<F>", png=png())]),
    ]
    return new_notebook(cells=cells)


class Runs:
    """Two folders with one chapter each."""

    def __init__(self, folder: Path) -> None:
        self.old, self.new = folder / "old", folder / "new"
        for one in (self.old, self.new):
            one.mkdir()
            nbformat.write(notebook(), one / "01_sample.ipynb")

    def edit(self, change: Any, name: str = "01_sample.ipynb", old: bool = False) -> None:
        """Apply `change` to the list of code cells of a notebook."""
        path = (self.old if old else self.new) / name
        nb = nbformat.read(path, 4)
        change([cell for cell in nb.cells if cell.cell_type == "code"])
        nbformat.write(nb, path)

    def compare(self, *options: str) -> int:
        return compare_runs.main([str(self.old), str(self.new), *options])


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def replace(index: int, pattern: str, text: str, kind: str | None = None) -> Any:
    """Return a change of an output's text; the pattern must occur."""

    def change(cells: list[Any]) -> None:
        output = cells[index].outputs[0]
        if kind is None:
            output.text, count = re.subn(pattern, text, output.text, count=1, flags=re.DOTALL)
        else:
            output.data[kind], count = re.subn(pattern, text, output.data[kind], count=1)
        assert count == 1

    return change


def test_equal_runs_are_equal(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    assert runs.compare() == 0
    printed = capsys.readouterr().out
    assert "6 code cells, 6 outputs: 6 identical, 0 but for times; 2 pictures identical" in printed
    assert printed.endswith("No differences.\n")


def test_times_are_left_out_and_named(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    def slower(cells: list[Any]) -> None:
        text = cells[1].outputs[0].text
        cells[1].outputs[0].text = text.replace("12.4 s", "1,004.1 s").replace("3,295", "995")
        other = SCORES.assign(seconds=[9.75, 1180.0], **{"times as fast": [1.0, 2.125]})
        other["peak memory (MB)"] = [900, 1350]
        cells[2].outputs = [table(other)]
        cells[3].outputs = [table(other, styled=True)]

    runs.edit(slower)
    assert runs.compare() == 0
    printed = capsys.readouterr().out
    assert "6 outputs: 3 identical, 3 but for times; 2 pictures identical" in printed
    assert "12.4 → 1,004.1; 3,295 → 995" in printed
    assert "12.50 → 9.75" in printed or "12.5 → 9.75" in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace(1, r"0\.919", "0.918"), r"-SetFit  0\.919 .*\n.*\+SetFit  0\.918"),
        (replace(1, "SetFit", "Setfit"), "the text differs"),
        (replace(1, "  0", " 0"), "the text differs"),
        (replace(1, "peak memory", "most memory"), "the text differs"),
        (replace(1, r"0\.919(.*)12\.4", r"0.9\g<1>12.5"), "the text differs"),
        (replace(1, r"\Z", "one line more\n"), r"\+one line more"),
        (replace(2, r"0\.812", "0.813", "text/html"), "at accuracy, plain: the text differs"),
        (replace(2, r"0\.80", "0.81", "text/html"), "at min, plain: the text differs"),
        (replace(2, ">plain<", ">slow<", "text/html"), r"-plain\n *\+slow"),
        (replace(2, ">seconds<", ">minutes<", "text/html"), r"-seconds\n *\+minutes"),
        (replace(2, r"12\.5<", "fast<", "text/html"), "at seconds, plain: the text differs"),
        (replace(2, r"0\.812", "0.813", "text/plain"), "the text differs"),
        (replace(2, r"<tr>\s*<th>fast</th>[\s\S]*?</tr>", "", "text/html"), "-fast"),
        (replace(2, r'class="dataframe"', "", "text/html"), "the markup differs"),
        (replace(3, r"0\.812000", "0.812001", "text/html"), "at accuracy, plain"),
        (lambda cells: cells[1].update(outputs=[]), "its outputs are none; they were stream"),
        (lambda cells: cells[2].outputs.append(stream("more")), "display_data, stream stdout"),
        (lambda cells: cells[1].outputs[0].update(name="stderr"), "its outputs are stream stderr"),
        (lambda cells: cells[4].outputs[0].data.pop("image/png"), "the output has text/plain, not"),
        (
            lambda cells: cells[4].outputs[0].data.update({"image/png": png(dot=(1, 2))}),
            "code cell 4, 'figure': 1 pixels of the picture differ, by 255 of 255 at most",
        ),
        (
            lambda cells: cells[4].outputs[0].data.update({"image/png": png(height=5)}),
            "the picture has 6 x 5 pixels, not 6 x 4",
        ),
        (
            lambda cells: cells[5].outputs.pop(0),
            "code cell 5, .* its outputs are display_data; they were stream stdout, display_data",
        ),
    ],
)
def test_anything_else_is_a_difference(
    runs: Runs, change: Any, message: str, capsys: pytest.CaptureFixture
) -> None:
    runs.edit(change)
    assert runs.compare() == 1
    assert re.search(f"(?s)DIFFERS: .*{message}", capsys.readouterr().out)


def test_what_is_left_is_compared_where_an_output_came_or_went(
    runs: Runs, capsys: pytest.CaptureFixture
) -> None:
    def change(cells: list[Any]) -> None:
        cells[5].outputs[0].text = "0.6\n"
        cells[5].outputs.insert(0, stream("careful", "stderr"))

    runs.edit(change)
    assert runs.compare() == 1
    printed = capsys.readouterr().out
    assert "they were stream stdout" in printed and "+0.6" in printed
    assert "2 pictures identical" in printed and printed.endswith("2 differences.\n")


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_missing_notebook_is_a_difference(
    runs: Runs, side: str, capsys: pytest.CaptureFixture
) -> None:
    nbformat.write(notebook(), getattr(runs, side) / "02_other.ipynb")
    assert runs.compare() == 1
    other = runs.new if side == "old" else runs.old
    assert f"it is not in {other}" in capsys.readouterr().out
    assert runs.compare("--chapter", "1") == 0


def test_a_folder_without_chapters_is_an_error(
    tmp_path: Path, runs: Runs, capsys: pytest.CaptureFixture
) -> None:
    assert compare_runs.main([str(tmp_path / "nowhere"), str(runs.new)]) == 1
    assert "there is no chapter in" in capsys.readouterr().err


def test_a_missing_cell_is_a_difference(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    nb = nbformat.read(runs.new / "01_sample.ipynb", 4)
    nb.cells.pop()
    nbformat.write(nb, runs.new / "01_sample.ipynb")
    assert runs.compare() == 1
    assert "DIFFERS: 5 code cells; there were 6" in capsys.readouterr().out


def test_imports_may_differ_and_other_lines_are_noted(
    runs: Runs, capsys: pytest.CaptureFixture
) -> None:
    def source(text: str) -> Any:
        return lambda cells: cells[0].update(source=text)

    runs.edit(
        source("from reptune import (\n    setup,\n)\nfrom reptune.book import records\nx = 1")
    )
    assert runs.compare("--sources") == 0
    runs.edit(source("import reptune\nx = 2"))
    capsys.readouterr()
    assert runs.compare() == 0
    note = r"note: code cell 0, 'x = 2': the source differs\n *-x = 1\n *\+x = 2\n"
    assert re.search(note, capsys.readouterr().out)
    assert runs.compare("--sources") == 1


def test_imports_are_found_in_statements_strings_and_magics() -> None:
    source = (
        "%pip list\nimport a; b = 1\nif b:\n    from c import (\n        d,\n    )\n\n"
        's = """\nfrom e import f\nf()\n"""\nimportant = "import"'
    )
    lines = compare_runs.without_imports(source)
    assert lines == ["%pip list", "if b:", 's = """', "f()", '"""', 'important = "import"']


def test_stamps_are_no_difference_but_noted(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    for folder, profile in ((runs.old, "cpu"), (runs.new, "quick")):
        nb = nbformat.read(folder / "01_sample.ipynb", 4)
        nb.metadata["reptune"] = {"profile": profile, "date": "2026-11-22", "seconds": 10}
        nbformat.write(nb, folder / "01_sample.ipynb")
    assert runs.compare() == 0
    assert "note: the stamp's profile: cpu → quick" in capsys.readouterr().out
    assert compare_runs.main([str(runs.new), str(runs.new)]) == 0
    assert "both are outputs of the same run" in capsys.readouterr().out


TIMED = [
    ("fit: 106.5 s, peak memory 1,993 MB", "fit: 98 s, peak memory 2,001 MB"),
    ("frozen states: 10 MB in memory", "frozen states: 9 MB in memory"),
    ("5.2 s instead of 12.4 s", "5.1 s instead of 11.0 s"),
    ("took 1.5 minutes, or 12 ms", "took 2 minutes, or 1,200 ms"),
    ("3,898 words/s", "12 words/s"),
    ("31 sentences per second, 4 texts a second", "30 sentences per second, 5 texts a second"),
    ("2.1 times as fast, 3.0x as fast", "2.2 times as fast, 4x as fast"),
    ("18.6 s, times as fast [2.25, 2.14]", "19.6 s, times as fast [2.2, 2.1]"),
    ("words a second: {'plain': 16, 'ours': 46}", "words a second: {'plain': 17, 'ours': 45}"),
    ("float32: 163 GFLOP/s", "float32: 99 GFLOP/s"),
    ("seconds: 3.5", "seconds: 3.25"),
    ("run on 2026-11-22", "run on 2026-11-29"),
    ("<Styler at 0x7f3ea3cc3810> took 1 s", "<Styler at 0x7fcb6f7dd0d0> took 2 s"),
    ("\n      seconds.fit  score\na             5.0    0.1\nb            50.0    0.2",
     "\n      seconds.fit  score\na             4.5    0.1\nb           150.5    0.2"),
    ("score  memory (MB)\n  0.1        1,500", "score  memory (MB)\n  0.1          900"),
]  # fmt: skip
NOT_TIMED = [
    ("accuracy 0.812", "accuracy 0.813"),
    ("10 steps, 5e-5", "10 steps, 6e-5"),
    ("{'examples.json': '365 bytes'}", "{'examples.json': '366 bytes'}"),
    ("loss 0.5 at 3 s", "loss 0.6 at 3 s"),
    ("0.5 min 0.8 max", "0.6 min 0.8 max"),
    ("a score of 16 samples", "a score of 17 samples"),
    ("version 2.13.0", "version 2.13.1"),
    ("first of 5 seeds", "first of 6 seeds"),
    ("        min    max\nraw  0.738  0.738", "        min    max\nraw  0.739  0.738"),
    ("   seconds  score\na      5.0    0.1", "   seconds  score\na      5.0    0.2"),
    # Two headings with one blank between them: which number is the time is not certain.
    ("seconds score\n    5.0   0.1", "seconds score\n    5.0   0.2"),
    ("seconds score\n    5.0   0.1", "seconds score\n    6.0   0.1"),
    ("took 5 s", "took 5 s and more"),
    ("took 5 s", "took 5  s"),
    ("a\nb", "b\na"),
    ("took 5 s", "took # s"),
]


@pytest.mark.parametrize(("old", "new"), TIMED)
def test_a_time_is_known_by_its_unit_or_heading(old: str, new: str) -> None:
    found = compare_runs.compare_text(old, new)
    assert found.times and not found.problems


@pytest.mark.parametrize(("old", "new"), NOT_TIMED)
def test_other_numbers_are_compared(old: str, new: str) -> None:
    assert compare_runs.compare_text(old, new).problems


def test_ids_that_each_run_invents_do_not_count() -> None:
    pairs = [
        ("<Styler at 0x7f3ea3cc3810>", "<Styler at 0x7fcb6f7dd0d0>"),
        ("/tmp/ipykernel_12/345.py:7: it is slow", "/tmp/ipykernel_6/78.py:5: it is slow"),
    ]
    for old, new in pairs:
        found = compare_runs.compare_text(old, new)
        assert not found.problems and not found.times
    old, new = (f'<td id="T_{name}_row0_col0" >1</td>' for name in ("4a463", "02e5d"))
    assert not compare_runs.compare_html(old, new).problems


def test_rows_can_hold_times_and_sentences_are_no_heading() -> None:
    def compare(old: pd.DataFrame, new: pd.DataFrame) -> compare_runs.Found:
        return compare_runs.compare_html(old.to_html(), new.to_html())

    turned = SCORES.T
    slower = turned.copy()
    slower.loc["seconds", "plain"] = 13.5
    found = compare(turned, slower)
    assert [message.text for message in found.times] == ["12.500 → 13.500"]
    assert not found.problems
    slower.loc["accuracy", "plain"] = 0.813
    assert [message.where for message in compare(turned, slower).problems] == [
        " at plain, accuracy"
    ]
    sentence = "he scored a goal 90 seconds before the end"
    before, after = (pd.DataFrame({"P": [value]}, index=[sentence]) for value in (0.1, 0.2))
    assert compare(before, after).problems


def test_headings_over_several_columns_and_rows_are_found() -> None:
    columns = pd.MultiIndex.from_product([["seconds", "accuracy"], ["mean", "max"]])
    index = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["task", "draw"])
    frame = pd.DataFrame(np.arange(16.0).reshape(4, 4), index, columns)
    for row in range(4):
        for column in range(4):
            other = frame.copy()
            other.iloc[row, column] += 0.5
            for html in (pd.DataFrame.to_html, lambda one: one.style.to_html()):
                found = compare_runs.compare_html(html(frame), html(other))
                assert bool(found.times) == (column < 2)
                assert bool(found.problems) == (column >= 2)


def test_the_trainers_table_may_differ_in_its_clock_only() -> None:
    html = "<progress value='8' max='8'></progress> [8/8 03:00, Epoch 2/2]<td>0.381</td>"
    assert not compare_runs.compare_html(html, html.replace("03:00", "1:12:24")).problems
    for old, new in (("Epoch 2", "Epoch 1"), ("0.381", "0.380"), ("[8/8", "[7/8")):
        assert compare_runs.compare_html(html, html.replace(old, new)).problems


def test_svg_is_compared_as_text() -> None:
    old, new = (shown(svg=f'<svg><path d="M 0 {y}"/><text>a</text></svg>') for y in (1, 2))
    assert compare_runs.compare_output(old, old).problems == []
    assert compare_runs.compare_output(old, new).problems


# ---------------------------------------------------------------- what no rule can tell


@pytest.fixture
def special(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(**entry: Any) -> None:
        one = compare_runs.Special("01", "print(1)", **entry)
        monkeypatch.setattr(compare_runs, "SPECIAL", (one,))

    return use


def outputs(*found: Any) -> Any:
    return lambda cells: cells[5].update(outputs=list(found))


@pytest.mark.parametrize(
    ("entry", "old", "new", "accepted"),
    [
        ({}, "cost  $0.12, F1 0.5", "cost  $0.13, F1 0.5", False),
        ({"times": r"\$(\d\.\d+)"}, "cost  $0.12, F1 0.5", "cost  $0.13, F1 0.5", True),
        ({"times": r"\$(\d\.\d+)"}, "cost  $0.12, F1 0.5", "cost  $0.12, F1 0.6", False),
        ({}, "2.4 MB", "2.5 MB", True),
        ({"exact": True}, "2.4 MB", "2.5 MB", False),
    ],
)
def test_an_entry_says_what_of_its_cell_is_a_time(
    runs: Runs, special: Any, entry: dict[str, Any], old: str, new: str, accepted: bool
) -> None:
    special(**entry)
    runs.edit(outputs(stream(old)), old=True)
    runs.edit(outputs(stream(new)))
    assert runs.compare() == int(not accepted)


def test_an_entry_can_name_a_heading(runs: Runs, special: Any) -> None:
    frame = pd.DataFrame({"in the rounds": ["1.6 to 1.8"], "F1": [0.5]})
    runs.edit(outputs(table(frame)), old=True)
    runs.edit(outputs(table(frame.assign(**{"in the rounds": "1.5 to 2.0"}))))
    assert runs.compare() == 1
    special(heading="^in the rounds$")
    assert runs.compare() == 0
    runs.edit(outputs(table(frame.assign(F1=0.6))))
    assert runs.compare() == 1


def test_a_picture_of_times_is_left_out_only_where_times_differ(
    runs: Runs, special: Any, capsys: pytest.CaptureFixture
) -> None:
    special(image=True)
    other = shown(plain="<F>", png=png(dot=(0, 0)))
    runs.edit(outputs(stream("0.5, 3 s\n"), shown(plain="<F>", png=png())), old=True)
    runs.edit(outputs(stream("0.5, 3 s\n"), other))
    assert runs.compare() == 1, "the times are the same, so the picture should be"
    runs.edit(outputs(stream("0.5, 4 s\n"), other))
    capsys.readouterr()
    assert runs.compare() == 0
    assert "1 left out" in (printed := capsys.readouterr().out)
    assert "picture left out: code cell 5, 'print(1)': 1 pixels" in printed
    runs.edit(outputs(stream("0.6, 4 s\n"), other))
    assert runs.compare() == 1, "the score that is printed differs"


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize(
    "entry", compare_runs.SPECIAL, ids=lambda one: f"{one.chapter} {one.source}"
)
def test_each_entry_stands_for_one_cell_and_is_needed(entry: compare_runs.Special) -> None:
    (path,) = chapters.chapters(entry.chapter)
    cells = [cell for cell in code_cells(path) if entry.source in cell.source]
    assert len(cells) == 1
    assert compare_runs._special(entry.chapter, cells[0].source) is entry
    if entry.image:
        assert any("image/png" in output.get("data", {}) for output in cells[0].outputs)
        return
    texts = [
        text for output in cells[0].outputs for text in compare_runs._as_bundle(output).values()
    ]
    pattern = entry.times or (r" MB" if entry.exact else entry.heading.strip("^$"))
    assert re.search(pattern, "\n".join(texts), re.MULTILINE)


@pytest.mark.parametrize("path", chapters.chapters(), ids=lambda path: path.name)
def test_a_changed_score_is_found_in_each_chapter(path: Path) -> None:
    """In each output that holds an interval such as 0.500 [0.470, 0.530], its mean is changed."""
    old = nbformat.read(path, 4)
    new, changed = copy.deepcopy(old), 0
    interval = re.compile(r"(\d\.\d\d)(\d)(?= \[-?\d\.\d{3}, \d\.\d{3}\])")
    for cell in new.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and interval.search(output.text):
                output.text = interval.sub(
                    lambda score: f"{score[1]}{(int(score[2]) + 1) % 10}", output.text
                )
                changed += 1
    found = compare_runs.compare_notebooks(old, new, path.name[:2])
    assert changed > 1 and len(found.problems) == changed
    assert not found.times and not compare_runs.compare_notebooks(old, old, path.name[:2]).problems
