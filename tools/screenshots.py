"""Take full-page pictures of every page of the built book, to look at before a release.

A convenience for authors: nothing else needs it.

    python tools/screenshots.py FOLDER                   # all pages, all looks
    python tools/screenshots.py FOLDER --page book/intro --look phone
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import browser as chromium_finder
import build_book

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LOOKS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
    "phone-dark": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


def pages(html: Path) -> list[str]:
    """Return the names of the book's own pages, without the suffix."""
    found = [*html.glob("book/**/*.html"), *html.glob("notebooks/*.html")]
    return sorted(path.relative_to(html).with_suffix("").as_posix() for path in found)


def shoot(browser: Browser, html: Path, page: str, look: str, folder: Path) -> Path:
    """Photograph one page in one look and return the picture's path."""
    context = browser.new_context(**LOOKS[look])
    tab = context.new_page()
    tab.goto((html / f"{page}.html").as_uri())
    target = folder / f"{page.replace('/', '-')}.{look}.png"
    tab.screenshot(path=target, full_page=True)
    context.close()
    return target


def main(arguments: list[str] | None = None) -> int:
    """Photograph the chosen pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--page", action="append", help="for example book/intro")
    parser.add_argument("--look", action="append", choices=sorted(LOOKS))
    parser.add_argument("--root", type=Path, default=build_book.ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    html = options.root.resolve() / "_build" / "html"
    if not (html / "index.html").is_file():
        parser.error("the book is not built yet: run tools/build_book.py first")
    options.folder.mkdir(parents=True, exist_ok=True)
    with chromium_finder.chromium() as browser:
        for page in options.page or pages(html):
            for look in options.look or LOOKS:
                print(shoot(browser, html, page, look, options.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
