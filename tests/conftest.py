"""How the tests are shared out among processes, where `-n` asks for some; a browser for all."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before anything imports PyTorch: a process for each core leaves a second thread no core.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What takes minutes and gigabytes, one after the other: the chapters, and the book with its pages.
HEAVY = ("tests/notebooks/test_notebooks.py", "tests/book/")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The heavy tests begin, so that none of them is left alone at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(HEAVY))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file is run by one process, for the sake of its fixtures; the heavy ones by one as well.

    A scheduler of our own: pytest-xdist 3.8's marks for groups have no effect under pytest 9.2,
    and two processes that build the book at once break each other's.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "heavy" if nodeid.startswith(HEAVY) else nodeid.partition("::")[0]

    return ByFile(config, log)


@pytest.fixture(scope="session")
def browser():
    """Start Chromium; where there is none, skip, except in CI.

    One for all tests of a process: Playwright starts no second one beside it.
    """
    from browser import NoBrowserError, chromium

    started = chromium()
    try:
        running = started.__enter__()
    except NoBrowserError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI skips no test: {error}")
        pytest.skip(str(error))
    yield running
    started.__exit__(None, None, None)
