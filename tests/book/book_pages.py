"""Which pages the book has, read from _toc.yml."""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def toc_pages() -> list[str]:
    """Return the pages of _toc.yml, the first page first."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    chapters = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *chapters]


def chapter_pages() -> list[str]:
    """Return the pages of _toc.yml that are notebooks."""
    return [page for page in toc_pages() if page.startswith("notebooks/")]
