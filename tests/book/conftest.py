"""The built book."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import build_book  # noqa: E402


@pytest.fixture(scope="session")
def html() -> Path:
    """Build the book where anything changed, and return the folder of its pages."""
    return build_book.build(ROOT).parent
