"""How the tests are shared out among processes, where `-n` asks for some."""

import os

import pytest

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
