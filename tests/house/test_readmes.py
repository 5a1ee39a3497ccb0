"""The two READMEs say the same: code, commands, links and headings are alike."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = (ROOT / name for name in ("README.md", "README.zh.md"))
CODE = re.compile(r"```.*?```", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(path: Path) -> str:
    return CODE.sub("", path.read_text("utf-8"))


def links(path: Path) -> list[str]:
    """Return the pages and files that a README leads to, but for the other README."""
    local = [link for link in LINK.findall(prose(path)) if not link.startswith("http")]
    return [link for link in local if not link.startswith("README")]


def test_code_and_output_are_the_same():
    blocks = [CODE.findall(path.read_text("utf-8")) for path in (ENGLISH, CHINESE)]
    assert blocks[0] == blocks[1] and len(blocks[0]) > 4


def test_they_lead_to_the_same_pages():
    assert set(links(ENGLISH)) == set(links(CHINESE))


def test_they_have_the_same_sections_and_classes():
    sections = [re.findall(r"^#+ ", prose(path), re.MULTILINE) for path in (ENGLISH, CHINESE)]
    assert sections[0] == sections[1]
    classes = [re.findall(r"`(reptune\.[\w.]+)`", prose(path)) for path in (ENGLISH, CHINESE)]
    assert classes[0] == classes[1]


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_links_lead_to_something(path):
    targets = [link.partition("#")[0] for link in LINK.findall(prose(path))]
    local = [target for target in targets if not target.startswith("http")]
    assert [target for target in local if not (ROOT / target).exists()] == []


def test_each_leads_to_the_other():
    assert "](README.zh.md)" in prose(ENGLISH) and "](README.md)" in prose(CHINESE)
