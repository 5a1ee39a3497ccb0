"""`reptune evaluate`: score a saved model on rows that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reptune.cli.common import AsJson, Data, Model, Separator, emit


def evaluate(
    model: Model,
    data: Data,
    text: Annotated[
        str | None, typer.Option(help="The column of texts; the one of training where left out.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The column of labels; the one of training where left out.")
    ] = None,
    separator: Separator = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for report.md and report.html.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model that `reptune train` saved, on labeled rows that it has not seen.

    \b
    Example:
      reptune evaluate ticket-model tickets-of-june.csv --out june-report
    """
    from reptune.estimator import load
    from reptune.folders import write_folder
    from reptune.pipeline.examples import read_examples
    from reptune.pipeline.report import summary_line, write_report
    from reptune.pipeline.training import evaluate as score
    from reptune.pipeline.training import learned_from

    loaded = load(model)
    known = learned_from(loaded)
    columns = {"text": "text", "label": "label"} | (known.get("columns") or {})
    columns |= {name: given for name, given in (("text", text), ("label", label)) if given}
    result = score(loaded, read_examples(data, **columns, separator=separator, like=known))
    if out is not None:
        write_folder(
            out, lambda folder: write_report(result.card, result.errors, folder), "report.html"
        )
    lines = [summary_line(result.card), *result.card["data"]["notes"]]
    if out is not None:
        lines.append(f"The report is in {out}: open {out / 'report.html'}")
    emit({"folder": str(model), **result.card}, "\n".join(lines), as_json)
