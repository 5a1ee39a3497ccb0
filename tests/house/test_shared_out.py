"""Tests that need each other's fixtures run in one process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
WRITES = """
import os, time
def test_one(): note()
def test_two(): note()
def note():
    time.sleep(0.2)
    with open({target!r}, "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_the_book_and_the_chapters_share_a_process_and_a_file_is_never_split(tmp_path):
    names = ["book/test_pages.py", "book/test_browser.py", "notebooks/test_notebooks.py"]
    names += ["unit/test_one.py", "unit/test_two.py"]
    for name in names:
        file = tmp_path / "tests" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(WRITES.format(target=str(tmp_path / f"{file.stem}.workers")))
    shutil.copy(CONFTEST, tmp_path / "tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-loadscope-reorder\n")
    clean = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    command = [sys.executable, "-m", "pytest", "tests", "-n", "2", "-q"]
    run = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert "10 passed" in run.stdout, run.stdout + run.stderr

    def workers(name: str) -> list[str]:
        return (tmp_path / f"{Path(name).stem}.workers").read_text().split()

    heavy = [worker for name in names[:3] for worker in workers(name)]
    assert len(heavy) == 6 and len(set(heavy)) == 1
    for name in names[3:]:
        assert len(set(workers(name))) == 1
    assert set(workers(names[3])) != set(heavy), "the light ones run beside the heavy ones"
