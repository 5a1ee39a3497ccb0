"""What the commands share: options under one name, output for people and programs, progress."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

Data = Annotated[Path, typer.Argument(help="Your table or tagged sentences.", metavar="DATA")]
Model = Annotated[Path, typer.Argument(help="The folder that `train` wrote.", metavar="DIR")]
Text = Annotated[str, typer.Option(help="The column that holds the texts.")]
Label = Annotated[str, typer.Option(help="The column that holds the labels.")]
Text2 = Annotated[str | None, typer.Option(help="The column that holds the second text of a pair.")]
Several = Annotated[
    str | None,
    typer.Option(help="What stands between the labels of a text that may have several, such as ;"),
]
Separator = Annotated[
    str | None, typer.Option(help="What stands between the fields of a CSV or TSV file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Seed = Annotated[int, typer.Option("--random-state", help="Seed of everything that is random.")]


def emit(found: dict[str, Any], text: str, as_json: bool) -> None:
    """Print a result on stdout: one JSON object for programs, text for people."""
    if as_json:
        text = json.dumps(found, default=_plain, ensure_ascii=False, allow_nan=False)
    typer.echo(text)


class Progress:
    """One line on stderr that says how far a command is and how long it may still take.

    Args:
        what: What is being done, such as `"predicting"`.
        total: How many there are; `None` where it is not known.
        unit: What is counted, such as `"rows"`.
        shown: Show it; `None` shows it in a terminal only.
    """

    def __init__(
        self, what: str, total: int | None = None, unit: str = "rows", shown: bool | None = None
    ) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._started, self._last = time.monotonic(), 0.0

    def at(self, done: int, total: int | None = None) -> None:
        """Say how many are done, at most once a second; `total` where it is known only now."""
        now, self._total = time.monotonic(), total or self._total
        if not self._shown or now - self._last < 1:
            return
        self._last, seconds = now, now - self._started
        of, left = "", ""
        if self._total:
            of = f" of {self._total:,}"
            left = f", {_duration(seconds / max(done, 1) * (self._total - done))} left"
        print(
            f"\r\x1b[K{self._what}: {done:,}{of} {self._unit}{left}", end="", file=sys.stderr,
            flush=True,
        )  # fmt: skip

    def close(self) -> None:
        """Clear the line."""
        if self._shown and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _plain(value: Any) -> Any:
    """Turn what JSON does not know, a NumPy number or a path, into what it knows."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
