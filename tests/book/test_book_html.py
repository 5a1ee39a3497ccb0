"""The built pages, read as files."""

import functools
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import build_book
import pytest
from book_pages import ROOT, chapter_pages, toc_pages
from bs4 import BeautifulSoup
from sphinx.search.en import SearchEnglish

PICTURE_FILE = re.compile(r"\.(png|svg|jpe?g|gif|webp)$", re.IGNORECASE)


@functools.cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text("utf-8"), "html.parser")


@functools.cache
def anchors(path: Path) -> set[str]:
    named = soup(path).find_all(lambda tag: tag.has_attr("id") or tag.has_attr("name"))
    return {tag[key] for tag in named for key in ("id", "name") if tag.has_attr(key)}


def page_file(html: Path, page: str) -> Path:
    return html / f"{page}.html"


def broken_links(path: Path) -> list[str]:
    """Return the links of a page that lead to no file or to no anchor of one."""
    broken = []
    for link in soup(path).find_all("a", href=True):
        parts = urlsplit(link["href"])
        if parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.is_file():
            broken.append(f"{link['href']} (no such file)")
        elif target.suffix == ".html" and parts.fragment:
            anchor = unquote(parts.fragment)
            broken += [] if anchor in anchors(target) else [f"{link['href']} (no such anchor)"]
    return broken


@pytest.mark.parametrize("page", toc_pages())
def test_page_renders(html: Path, page: str) -> None:
    article = soup(page_file(html, page)).select_one("article.bd-article")
    assert article is not None and article.find("h1") is not None
    assert len(article.get_text().split()) > 20, "the page is empty"


@pytest.mark.parametrize("page", toc_pages())
def test_no_cell_shows_an_error(html: Path, page: str) -> None:
    failed = soup(page_file(html, page)).select(".traceback, .output.error, .system-message")
    assert [tag.get_text()[:300] for tag in failed] == []


@pytest.mark.parametrize("page", toc_pages())
def test_every_picture_has_alternative_text(html: Path, page: str) -> None:
    pictures = soup(page_file(html, page)).select("article.bd-article img")
    # Sphinx falls back on the file's name, which tells a listener nothing.
    silent = [
        picture["src"]
        for picture in pictures
        if not picture.get("alt", "").strip() or PICTURE_FILE.search(picture["alt"])
    ]
    assert silent == []


@pytest.mark.parametrize("page", toc_pages())
def test_internal_links_resolve(html: Path, page: str) -> None:
    assert broken_links(page_file(html, page)) == []


def test_index_leads_to_the_first_page(html: Path) -> None:
    text = (html / "index.html").read_text("utf-8")
    assert f"{toc_pages()[0]}.html" in text


def test_nothing_is_loaded_from_the_network(html: Path) -> None:
    assert list(build_book.remote_loads(html)) == []


def test_formulas_are_mathml(html: Path) -> None:
    for page in toc_pages():
        path = page_file(html, page)
        scripts = [tag.get("src", "") for tag in soup(path).find_all("script")]
        assert not [source for source in scripts if "mathjax" in source.lower()]
        assert all(tag.find("math") for tag in soup(path).select("div.math"))


def pages_with(html: Path, query: str) -> set[str]:
    """Return the pages that hold every word of a query, as the search box finds them."""
    text = (html / "searchindex.js").read_text("utf-8")
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    stem = SearchEnglish({}).stem
    pages = []
    for word in re.findall(r"\w+", query.lower()):
        numbers: set[int] = set()
        for terms in (index["titleterms"], index["terms"]):
            # One page is written as a number, several as a list.
            hit = terms.get(stem(word), [])
            numbers |= {hit} if isinstance(hit, int) else set(hit)
        pages.append({index["docnames"][number] for number in numbers})
    return set.intersection(*pages)


def test_search_index_finds_fine_tuning(html: Path) -> None:
    found = pages_with(html, "fine-tuning")
    assert toc_pages()[0] in found
    assert found & set(chapter_pages())


def test_nothing_leads_to_a_repository_before_there_is_one(html: Path) -> None:
    if re.search(r"^repository:", (ROOT / "_config.yml").read_text("utf-8"), re.MULTILINE):
        return
    # Jupyter Book's default repository is its own; Colab needs one.
    nowhere = re.compile(r"executablebooks/jupyter-book|colab\.research\.google\.com/github")
    for page in toc_pages():
        assert not nowhere.search(page_file(html, page).read_text("utf-8")), page
