"""`reptune compare`: the book's decision table on a table of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reptune.cli.common import AsJson, Data, Label, Seed, Separator, Text, emit


def compare(
    data: Data,
    text: Text = "text",
    label: Label = "label",
    minutes: Annotated[float, typer.Option(help="Time for all methods together.")] = 10.0,
    methods: Annotated[
        str | None, typer.Option(help="Which methods, with commas; all where left out.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="An encoder for every method.")] = None,
    dollars_per_hour: Annotated[
        float | None, typer.Option(help="The machine's price, for the price of predictions.")
    ] = None,
    max_rows: Annotated[int, typer.Option(help="Use so many rows where there are more.")] = 5_000,
    journal: Annotated[
        Path | None, typer.Option(help="Where fits are kept, so that a killed run continues.")
    ] = None,
    separator: Separator = None,
    random_state: Seed = 42,
    as_json: AsJson = False,
) -> None:
    """Say which of the book's methods to take for your table, and how good it will be.

    Methods run from the cheapest on, on the same folds, for as long as --minutes allows; near
    duplicates stay on one side. The score of the advice comes from rows that had no part in it.

    \b
    Example:
      reptune compare tickets.csv --text body --label team --minutes 10
    """
    from reptune.pipeline import compare as pipeline
    from reptune.pipeline.examples import read_examples

    examples = read_examples(data, text=text, label=label, separator=separator)
    found = pipeline.compare(
        examples,
        methods=pipeline.COMPARED if methods is None else methods.split(","),
        minutes=minutes,
        max_rows=max_rows,
        model=model,
        dollars_per_hour=dollars_per_hour,
        journal=journal or default_journal(examples.sha256),
        random_state=random_state,
        progress=lambda line: typer.echo(line, err=True),
    )
    emit(found.as_json(), as_text(found), as_json)


def default_journal(sha256: str) -> Path:
    """Return where a table's fits are kept where nothing else is said: beside the assets."""
    from reptune.assets import cache_dir

    return cache_dir() / "compare" / f"{sha256[:16]}.jsonl"


def as_text(found: Any) -> str:
    """Return a comparison as a table with what it means below."""
    head = ["method", "accuracy", "95% interval", "minus *", "95% interval", "detectable",
            "macro F1", "fit s", "texts/s", "MB"]  # fmt: skip
    priced = any(row.dollars is not None for row in found.table)
    rows = [head + ["$ per million"] * priced]
    rows += [_cells(row, found.reference, priced) for row in found.table]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines += [f"* {next(row.title for row in found.table if row.name == found.reference)}"]
    lines += [f"not run: {name}: {why}." for name, why in found.not_run.items()]
    lines += found.notes
    score = found.score
    lines += [
        "",
        f"{found.advice}",
        f"Accuracy of the choice on rows that had no part in it: {score.estimate:.3f} "
        f"[{score.low:.3f}, {score.high:.3f}] ({found.rows:,} rows, {found.seconds:.0f} s).",
    ]
    return "\n".join(lines)


def _cells(row: Any, reference: str, priced: bool) -> list[str]:
    interval, difference = row.score, row.difference
    cells = [row.title, f"{interval.estimate:.3f}", f"[{interval.low:.3f}, {interval.high:.3f}]"]
    if difference is None:
        cells += ["*", "", ""]
    else:
        between = f"[{difference.low:+.3f}, {difference.high:+.3f}]"
        cells += [f"{difference.estimate:+.3f}", between, f"{row.detectable:.3f}"]
    trained = row.name != "majority"
    cells += [
        f"{row.macro_f1:.3f}",
        f"{row.fit_seconds:.2f}" if trained else "",
        f"{row.texts_per_second:,.0f}" if trained else "",
        f"{row.memory_mb:,.0f}" if trained else "",
    ]
    if priced:
        cells.append(f"{row.dollars:.2f}" if trained else "")
    return cells
