"""Run the commands of the page on your own table, and write what they print into it.

    python tools/page_outputs.py    # takes about a minute and a half on an idle machine

A block of `text` is what the block of `python` or `bash` before it prints on standard output. All
run in one new folder, one after the other, but those after `<!-- not run -->`. A test runs them
too and compares; times, speeds and memory may differ there, and so may all but the last line of
what stands after `<!-- differs by machine -->`.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from reptune import assets

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "book" / "from_table.md"
NOT_RUN, BY_MACHINE = "<!-- not run -->\n", "<!-- differs by machine -->\n"
BLOCK = re.compile(
    rf"({NOT_RUN})?```(python|bash)\n(.*?)```\n"
    rf"(?:\n({BY_MACHINE})?```text\n(.*?)```\n)?",
    re.DOTALL,
)
# What no two runs share: seconds, speeds, memory, and the floats' last digits.
VARIABLE = (
    (re.compile(r"(?m)^(.*\d\.\d{3})(?:  +[\d.,]+){3}$"), r"\1 #"),  # the table of compare
    (re.compile(r"(?m)^(\| (?:PyTorch|onnx\S*) \|).*$"), r"\1 #"),  # the table of export
    (re.compile(r"[\d.,]+\s+(s\b|rows\s+per\s+second|times\s+as\s+many)"), r"# \1"),
    (re.compile(r"\d+(?= thread\(s\))"), "#"),
    (re.compile(r"(logit\s+difference)\s+[\d.e-]+"), r"\1 #"),
)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
WIDTH = 76  # of a block on a wide screen, in characters
CLOSE = 1e-3  # two machines round differently


class Ran(NamedTuple):
    """A block of the page.

    Attributes:
        source: Its lines.
        start: Where the output that the page shows begins.
        end: Where it ends.
        shown: That output; `None` where the page shows none.
        by_machine: Whether it differs by machine.
        printed: What the block printed now.
    """

    source: str
    start: int
    end: int
    shown: str | None
    by_machine: bool
    printed: str


def ran(page: str, folder: Path) -> Iterator[Ran]:
    """Run the page's blocks in a folder, and yield what each printed.

    Raises:
        RuntimeError: If one fails.
    """
    for found in BLOCK.finditer(page):
        not_run, language, source, by_machine, shown = found.groups()
        if not_run:
            continue
        compares = "reptune compare" in source
        environment = _environment(folder / ".cache") if compares else _with_commands()
        command = (
            [sys.executable, "-c"] if language == "python" else ["bash", "-eo", "pipefail", "-c"]
        )
        done = subprocess.run(
            [*command, source], cwd=folder, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{source}\nended with {done.returncode}: {done.stderr[-2000:]}")
        printed = done.stdout
        for path, name in ((folder, "."), (ROOT, "~/reptune"), (Path.home(), "~")):
            printed = printed.replace(str(path), name)
        yield Ran(source, *found.span(5), shown, by_machine is not None, _wrapped(printed))


def _environment(cache: Path) -> dict[str, str]:
    """Return an environment with this Python's commands, the assets, and no journal of compare."""
    if not cache.exists():
        cache.mkdir()
        (cache / "assets").symlink_to(assets.cache_dir() / "assets")
    return {**_with_commands(), "REPTUNE_CACHE": str(cache)}


def _with_commands() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path}


def _wrapped(printed: str) -> str:
    """Return an output whose sentences are folded, as a terminal would, but not its tables."""
    lines = printed.rstrip("\n").split("\n")
    return "\n".join(
        line
        if "  " in line or line.startswith("|")
        else textwrap.fill(line, WIDTH, break_on_hyphens=False)
        for line in lines
    )


def differ(shown: str, printed: str) -> bool:
    """Return whether outputs differ in more than what two runs do not share.

    Words are compared exactly, numbers with decimals nearly, spaces and ends of lines not.
    """
    for pattern, kept in VARIABLE:
        shown, printed = pattern.sub(kept, shown), pattern.sub(kept, printed)
    words = [NUMBER.sub("#", text).split() for text in (shown, printed)]
    pairs = zip_longest(NUMBER.findall(shown), NUMBER.findall(printed), fillvalue="nan")
    return words[0] != words[1] or not all(
        x == y or ("." in x and math.isclose(float(x), float(y), rel_tol=CLOSE, abs_tol=CLOSE))
        for x, y in pairs
    )


def renewed(page: str) -> str:
    """Return the page with its outputs written anew."""
    with tempfile.TemporaryDirectory() as folder:
        blocks = [block for block in ran(page, Path(folder)) if block.shown is not None]
    for block in reversed(blocks):
        page = page[: block.start] + block.printed + "\n" + page[block.end :]
    return page


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")
