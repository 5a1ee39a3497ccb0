"""Figures in the prose are figures in the outputs: nobody types one that was not measured."""

import re
from pathlib import Path

import nbformat
import pytest
import tables
from stated import Number, figures, is_printed, numbers, outputs, paragraphs, prose

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
PAGES = [
    "README.md",
    *sorted(f"{page.relative_to(ROOT)}" for page in (ROOT / "book").rglob("*.md")),
]
OUTPUT = re.compile(r"```text\n(.*?)```", re.DOTALL)
NAMED = re.compile(r"[Cc]hapters? (\d)(?:(?:,| and| to) (\d))*|notebooks/0(\d)_|第 (\d) 章")

# Figures that prose may state though no output prints them, by chapter or page, and why.
STATED = {
    "01": {
        "10000 times": "how often the bootstrap draws",
        "0.638": "published for bert-base-cased",
        "0.857": "published for bert-base-cased",
        "0.95": "an example of a probability",
        "95 times": "an example of a probability",
        "0.082": "in the title of the reliability figure",
        "0.037": "in the title of the reliability figure",
    },
    "02": {
        "0.836": "published for all-mpnet-base-v2",
        "75.8": "published on RAFT",
        "73.5": "published on RAFT",
        "71.3": "published on RAFT",
        "66.9": "published on RAFT",
        "62.7": "published on RAFT",
        "48.1": "published on RAFT",
        "2.7": "GPT-Neo's parameters, in billions",
        "1.2": "a version of setfit",
    },
    "03": {
        "0.62 points": "published for BioBERT",
        "12.6 points": "published for RoBERTa",
        "95.0 points": "published for RoBERTa",
        "95.6 points": "published for RoBERTa",
    },
    "04": {
        "0.918": "published, token by token, for bert-base-cased",
        "0.924": "published for bert-base-cased",
    },
    "book/setfit_details.md": {
        "75.8": "published on RAFT",
        "73.5": "published on RAFT",
        "71.3": "published on RAFT",
        "66.9": "published on RAFT",
        "62.7": "published on RAFT",
        "48.1": "published on RAFT",
        "2.7": "GPT-Neo's parameters, in billions",
    },
    "book/choosing_details.md": {
        "3.70 million": "arithmetic from the architecture, as the page says",
        "11.9": "arithmetic from the architecture",
    },
    "book/other_answers.md": {
        "13.1": "published in Prompt2Model",
        "37.3": "published in Prompt2Model",
    },
    "book/from_table.md": {
        "3.23 times": "published for int8 by sentence-transformers",
    },
    "06": {
        "3 points": "one of the 32 sentences that the sentence names",
        "30 points": "the width of a binomial interval at the share and number in the sentence",
        "30%": "published in LM-BFF's abstract",
        "11%": "published in LM-BFF's abstract",
    },
    "07": {
        "0.25": "a constant of BM25",
        "1.5": "a constant of BM25",
        "2.5": "a constant of BM25",
        "0.792": "in the figure of sentiment",
        "20%": "published in Prompt2Model's abstract",
        "[-1, 7]": "an example in a question",
    },
}


def unprinted(markdown: str, printed: dict[str, list[Number]], own: str = "") -> set[str]:
    """Find the figures that no output prints where they are said to be from.

    Args:
        markdown: Prose.
        printed: By chapter, the numbers of its outputs.
        own: The chapter that the prose is from. What names other chapters is held to them too;
            on a page, what names none is held to all.

    Returns:
        The figures, as ``STATED`` lists them.
    """
    unknown = set()
    for paragraph in paragraphs(markdown):
        sources = {own} | {f"0{digit}" for digit in re.findall(r"\d", " ".join(_named(paragraph)))}
        found = [printed[source] for source in sorted(sources) if source in printed]
        found = found or list(printed.values())
        unknown |= {
            str(figure)
            for figure in figures(paragraph)
            if not any(is_printed(figure, chapter) for chapter in found)
        }
    return unknown


def _named(paragraph: str) -> list[str]:
    return [found[0] for found in NAMED.finditer(paragraph)]


def complaints(name: str, markdown: str, printed: dict[str, list[Number]]) -> list[str]:
    """Say what is stated without an output, and what is excused but not stated."""
    excused = STATED.get(name, {}).keys()
    stated = {str(figure) for part in paragraphs(markdown) for figure in figures(part)}
    unknown = unprinted(markdown, printed, own=name if name in printed else "") - excused
    return [
        *(f"{one}: no output prints it; correct or cut it" for one in sorted(unknown)),
        *(f"{one}: in STATED, but no longer in the prose" for one in sorted(excused - stated)),
    ]


@pytest.fixture(scope="module")
def printed():
    return {chapter: numbers(outputs(path)) for chapter, path in CHAPTERS.items()}


@pytest.fixture(scope="module")
def tabled(printed):
    """What a page may repeat: a chapter's outputs, and the tables that are made of its records."""
    pages = [(ROOT / name).read_text("utf-8") for name in tables.PAGES]
    found = {chapter: list(values) for chapter, values in printed.items()}
    for page in pages:
        for table in tables.MARKED.finditer(page):
            found.setdefault(table[2][2:4], []).extend(numbers(table[0]))
    return found


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_figures_in_a_chapters_prose_are_in_its_outputs(chapter, printed):
    text = prose(CHAPTERS[chapter])
    assert any(figures(part) for part in paragraphs(text)), "a chapter states figures"
    found = complaints(chapter, text, printed)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", PAGES)
def test_figures_beside_the_tables_of_a_page_are_in_a_chapter(name, tabled):
    page = (ROOT / name).read_text("utf-8")
    if shown := OUTPUT.findall(page):  # of the page's own commands
        shown += [table[0] for table in tables.MARKED.finditer(page)]
        tabled = tabled | {name: numbers("\n".join(shown))}
    found = complaints(name, tables.MARKED.sub("", page), tabled)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", tables.PAGES)
def test_tables_on_other_pages_are_those_of_the_records(name):
    page = (ROOT / name).read_text("utf-8")
    assert tables.MARKED.findall(page), "a page of tables.PAGES has tables"
    assert tables.renewed(page) == page, "run `make tables`"


def test_every_table_is_on_a_page():
    pages = [(ROOT / name).read_text("utf-8") for name in tables.PAGES]
    shown = {found[1] for page in pages for found in tables.MARKED.findall(page)}
    assert shown == tables.TABLES.keys()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It gains 13.6 points.", ["13.6 points"]),
        ("8.0 points [2.4, 13.6] better", ["8.0 points [2.4, 13.6]"]),
        ("0.018 [−0.040, 0.073], and [-1, 2.5]", ["0.018 [-0.040, 0.073]", "[-1, 2.5]"]),
        ("2–20% or 61 to 92 % of them, 97 percent", ["2%", "20%", "61%", "92%", "97%"]),
        ("5.6 to 11.3 points", ["5.6 points", "11.3 points"]),
        ("by 8.7 points, the head by 12.5. A rate of 2.5", ["8.7 points", "12.5 points", "2.5"]),
        ("7.5 times as fast, 1,254 times", ["7.5 times", "1254 times"]),
        ("scores 0.857, −0.16 and 1.0.", ["0.857", "-0.16", "1.0"]),
        ("| SST-2 | 81.4 | 10.6 million |", ["81.4", "10.6 million"]),
        ("`0.123` at 1e-4, a 95% interval, [its 0.5](https://a.b/0.77), Python 3.11", ["0.5"]),
        (
            "高 7.5 个百分点 [5.1, 10.0]，是0.838 ± 0.004，快 2.5 倍",
            ["7.5 points [5.1, 10.0]", "0.838", "0.004", "2.5 times"],
        ),
        ("version 1.2.3, 32 labels, 16 steps, chapter 5, Apache-2.0", []),
    ],
)
def test_figures_that_prose_states(text, expected):
    found = [str(figure) for part in paragraphs(text) for figure in figures(part)]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    ("prose", "output"),
    [
        ("13.6 points", "ahead by 0.136"),
        ("13.6 points [10.2, 16.8]", "minus SetFit: 0.136 [0.102, 0.168]"),
        ("costs 5.7 points [1.4, 9.9]", "-0.057 [-0.099, -0.014]"),
        ("[−0.006, 0.045]", "0.020 [-0.006, 0.045]"),
        ("97%", "called positive: 97%"),
        ("97 %", "0.97"),
        ("96.5%", "recall 0.9648"),
        ("7.5 times", "21.1 s, 7.51 as fast"),
        ("0.857", "0.85721"),
        ("0.5 points", "-0.005"),
        ("10.6 million", "10,640,256 parameters"),
        ("1,254 times", "1254"),
    ],
)
def test_a_figure_that_an_output_prints(prose, output):
    assert unprinted(prose, {"01": numbers(output)}) == set()


@pytest.mark.parametrize(
    ("prose", "output"),
    [
        ("13.7 points", "0.136"),
        ("13.6 points", "0.14"),
        ("13.6 points [10.2, 16.8]", "0.136 [0.102, 0.169]"),
        ("13.6 points [10.2, 16.8]", "0.136, elsewhere 0.5 [0.102, 0.168]"),
        ("[0.014, 0.099]", "0.099 0.014"),
        ("gains −5.7 points", "0.057"),
        ("96%", "0.964"),
        ("97%", "0.964 and 97"),
        ("7.5 times", "0.075"),
        ("0.857", "85.7%"),
        ("0.857", "0.86"),
        ("10.6 million", "10.9 10,840,256"),
        ("2–20%", "2%"),
    ],
)
def test_a_false_figure_is_caught(prose, output):
    assert len(unprinted(prose, {"01": numbers(output)})) == 1


def test_a_false_figure_in_a_notebook_is_caught(tmp_path):
    table = "<style>.a {width: 0.999px}</style><table><td>SetFit&nbsp;</td><td>0.665</td></table>"
    shown = nbformat.v4.new_output("display_data", {"text/html": table})
    cell = nbformat.v4.new_code_cell("0.444", outputs=[shown])
    text = nbformat.v4.new_markdown_cell(
        "It has 0.665.\n\n- not 0.444\n- nor 0.999, gained\n  9.9 points"
    )
    path = tmp_path / "01_fake.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[text, cell]), path)
    printed = {"01": numbers(outputs(path))}
    assert unprinted(prose(path), printed, own="01") == {"0.444", "0.999", "9.9 points"}


def test_a_page_is_held_to_the_chapters_that_it_names():
    printed = {"01": numbers("0.111"), "02": numbers("0.222"), "03": numbers("0.333")}
    assert unprinted("0.111 and 0.222 and 0.333", printed) == set()
    assert unprinted("In chapter 2 it was 0.111.\n\nAlso 0.111.", printed) == {"0.111"}
    assert unprinted("In chapters 1 and 2: 0.111, 0.222", printed) == set()
    assert unprinted("{doc}`/notebooks/02_x` has 0.333", printed) == {"0.333"}
    assert unprinted("0.111, as in chapter 2: 0.222", printed, own="01") == set()


def test_an_excuse_that_is_not_used_is_a_complaint(monkeypatch):
    monkeypatch.setitem(STATED, "01", {"0.111": "published", "0.222": "published"})
    found = complaints("01", "It was 0.111, not 0.5.", {"01": []})
    assert [complaint.split(":")[0] for complaint in found] == ["0.5", "0.222"]
