"""Which pages the book has, read from _toc.yml."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def toc_pages() -> list[str]:
    """Return the pages of _toc.yml, the first page first."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    return [toc["root"], *(page for part in toc["parts"] for page in _pages(part["chapters"]))]


def _pages(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the pages of a list of _toc.yml, each before those below it."""
    for entry in entries:
        yield entry["file"]
        yield from _pages(entry.get("sections", []))


def chapter_pages() -> list[str]:
    """Return the pages of _toc.yml that are notebooks."""
    return [page for page in toc_pages() if page.startswith("notebooks/")]
