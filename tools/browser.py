"""Find and start a headless Chromium, for the book's tests and for tools/screenshots.py."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOW_TO_INSTALL = (
    "no Chromium found. Install one (Debian: apt-get install chromium; everywhere:"
    " python -m playwright install chromium), or name one in the variable CHROMIUM"
)
# Nothing but the page: no sandbox (containers run as root), no calls home.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class NoBrowserError(RuntimeError):
    """There is no Chromium on this machine."""


def find(playwright: Playwright) -> str:
    """Return the path of a Chromium: named, installed, or Playwright's own.

    Raises:
        NoBrowserError: There is none; the message says how to install one.
    """
    named = os.environ.get("CHROMIUM")
    candidates = [named] if named else [shutil.which(name) for name in NAMES]
    candidates.append(playwright.chromium.executable_path)
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return candidate
    raise NoBrowserError(HOW_TO_INSTALL)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium and close it again."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find(playwright), headless=True, args=ARGUMENTS
        )
        try:
            yield browser
        finally:
            browser.close()
