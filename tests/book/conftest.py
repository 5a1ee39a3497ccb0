"""The built book, and a browser to open it in."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import browser as chromium_finder  # noqa: E402
import build_book  # noqa: E402


@pytest.fixture(scope="session")
def html() -> Path:
    """Build the book where anything changed, and return the folder of its pages."""
    return build_book.build(ROOT).parent


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Start Chromium; where there is none, skip, except in CI."""
    started = chromium_finder.chromium()
    try:
        running = started.__enter__()
    except chromium_finder.NoBrowserError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI skips no test: {error}")
        pytest.skip(str(error))
    yield running
    started.__exit__(None, None, None)
