"""Scores in the prose are scores in the outputs: nobody types a figure that was not measured."""

import re
from pathlib import Path

import nbformat
import pytest
import tables

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SCORE = re.compile(r"(?<![\d.,])[01]\.\d{3}(?!\d)")

# Scores that a chapter's prose may state without an output that prints them, and why.
STATED = {
    "01": {
        "0.857": "published for bert-base-cased",
        "0.638": "published for bert-base-cased",
        "0.693": "ln 2",
        "0.082": "in the title of the reliability figure",
        "0.037": "in the title of the reliability figure",
    },
    "02": {
        "0.836": "published for all-mpnet-base-v2",
        "0.025": "dollars, published",
    },
    "04": {
        "0.918": "published, piece by piece, for bert-base-cased",
        "0.924": "published for bert-base-cased",
        "0.380": "in the figure of the label curve",
        "0.663": "in the figure of the label curve",
    },
}


def printed(path: Path) -> str:
    """All text that a chapter's stored outputs show; floats also as rounded to three decimals."""
    texts = []
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            texts += [output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]
    text = "\n".join(texts)
    longer = re.findall(r"[01]\.\d{4,}", text)
    return text + "\n".join(f"{float(number):.3f}" for number in longer)


@pytest.mark.parametrize("path", CHAPTERS, ids=[path.stem for path in CHAPTERS])
def test_scores_in_a_chapters_prose_are_in_its_outputs(path):
    prose = "\n".join(
        cell.source
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
    )
    stated = set(SCORE.findall(prose))
    assert stated, "a chapter states scores"
    unknown = stated - set(SCORE.findall(printed(path))) - STATED.get(path.name[:2], {}).keys()
    assert not unknown, f"in the prose, but not in the outputs: {sorted(unknown)}"
    unused = STATED.get(path.name[:2], {}).keys() - stated
    assert not unused, f"allowed here, but no longer stated: {sorted(unused)}"


@pytest.mark.parametrize("name", tables.PAGES)
def test_tables_on_other_pages_are_those_of_the_records(name):
    page = (ROOT / name).read_text("utf-8")
    assert len(tables.MARKED.findall(page)) == len(tables.TABLES)
    assert tables.renewed(page) == page, "run `make tables`"


@pytest.mark.parametrize("name", tables.PAGES)
def test_scores_beside_the_tables_are_in_a_chapter(name):
    page = (ROOT / name).read_text("utf-8")
    outputs = "\n".join(printed(path) for path in CHAPTERS)
    assert set(SCORE.findall(tables.MARKED.sub("", page))) <= set(SCORE.findall(outputs))
