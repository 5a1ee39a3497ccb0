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
    """A file is run by one process, for the sake of its fixtures; the heavy ones begin."""
    items.sort(key=lambda item: not _is_heavy(item))
    for item in items:
        name = "heavy" if _is_heavy(item) else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(name))


def _is_heavy(item):
    return item.nodeid.startswith(HEAVY)
