"""The commands of the page "From your table to a trusted model", and the README's, for real."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import page_outputs  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def blocks(folder):
    return list(page_outputs.ran(page_outputs.PAGE.read_text("utf-8"), folder))


def test_the_page_shows_what_its_commands_print(blocks):
    shown = [block for block in blocks if block.shown is not None]
    for command in ("doctor", "compare", "train", "evaluate", "predict", "export"):
        assert any(f"reptune {command} " in block.source for block in shown), command
    for block in shown:
        lines = (block.shown.rstrip("\n"), block.printed)
        if block.by_machine:
            lines = tuple(each.splitlines()[-1] for each in lines)
        assert not page_outputs.differ(*lines), "\n".join(
            ["run tools/page_outputs.py:", block.source, *lines]
        )


def test_the_files_that_the_page_promises_are_there(blocks, folder):
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert found >= {
        "reviews-model/report.html", "reviews-model/report.md", "later-report/report.html",
        "reviews-model-onnx/runner.py", "labeled.csv",
    }  # fmt: skip
    assert "labeled.csv.parts" not in found


def test_the_demo_of_the_page_starts(blocks, folder):
    """Its address is printed; what the page does is tested in tests/unit/pipeline/test_demo.py."""
    page = page_outputs.PAGE.read_text("utf-8")
    (command,) = re.findall(r"^reptune (demo .+)$", page, re.MULTILINE)
    demo = subprocess.Popen(
        [sys.executable, "-m", "reptune.cli", *command.split(), "--port", "0"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    watch = threading.Timer(120, demo.kill)
    watch.start()
    try:
        said = ""
        for line in demo.stderr:
            said += line
            if re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            pytest.fail(said)
    finally:
        watch.cancel()
        demo.kill()
        demo.communicate()


def test_the_commands_of_the_readme_run(blocks, folder):
    """On the page's table under the README's names; of the methods, the cheapest."""
    readme = (ROOT / "README.md").read_text("utf-8")
    commands = re.findall(r"^\.venv/bin/reptune (.+)$", readme, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["compare", "train"]
    table = (folder / "reviews.csv").read_text("utf-8")
    (folder / "tickets.csv").write_text(table.replace("sentence,opinion", "body,team", 1), "utf-8")
    for command in commands:
        words = [sys.executable, "-m", "reptune.cli", *command.split("#")[0].split()]
        if words[3] == "compare":
            words += ["--methods", "tfidf", "--journal", str(folder / "journal.jsonl")]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (folder / "ticket-model" / "report.html").is_file()


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("TF-IDF  0.608  0.37  1,218  408", "TF-IDF  0.608  4.02  18  1,408"),
        ("Accuracy 0.720 (400 rows, 159\ns).", "Accuracy 0.7204 (400 rows, 3 s)."),
        (
            "300 rows in a.csv, 7.6 s, 39 rows per second",
            "300 rows in a.csv, 1 s, 9 rows per second",
        ),
        ("| 2 thread(s) | p50, ms |", "| 1 thread(s) | p50, ms |"),
        ("| PyTorch | 20.44 | 32.08 | 77 | 90.9 |", "| PyTorch | 2.44 | 3.08 | 777 | 90.9 |"),
    ],
)
def test_times_may_differ(shown, printed):
    assert not page_outputs.differ(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("TF-IDF  0.608  0.37  1,218  408", "TF-IDF  0.598  0.37  1,218  408"),
        ("Accuracy 0.720 (400 rows, 159 s).", "Accuracy 0.720 (401 rows, 159 s)."),
        ("        52  positive", "        53  positive"),
        ("1,000 rows", "rows"),
        ("a\nb", "a"),
    ],
)
def test_a_false_output_is_caught(shown, printed):
    assert page_outputs.differ(shown, printed)
