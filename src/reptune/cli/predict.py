"""`reptune predict`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reptune.cli.common import AsJson, Data, Progress, Separator, Several, emit

if TYPE_CHECKING:
    from reptune.pipeline.predict import Summary

Model = Annotated[
    Path, typer.Argument(help="The folder that `train` or `export` wrote.", metavar="DIR")
]
Out = Annotated[
    str,
    typer.Option(
        help="Where the table goes: .csv, .tsv or .jsonl, also with .gz, or .parquet; - for "
        "standard output.",
        metavar="FILE",
    ),
]
Text = Annotated[
    str | None, typer.Option(help="The column of the texts, if not that of the training table.")
]
Text2 = Annotated[
    str | None,
    typer.Option(
        help="The column of the second texts of pairs, if not that of the training table."
    ),
]
Abstain = Annotated[
    str | None,
    typer.Option(
        help="Leave the label empty where its probability is below this; auto for the threshold "
        "saved with the model.",
        metavar="SHARE|auto",
    ),
]
Prefix = Annotated[
    str, typer.Option(help="What the names of the added columns begin with, such as predicted_.")
]
Kind = Annotated[
    str | None,
    typer.Option("--format", help="Format of standard input and output: csv, tsv or jsonl."),
]
ShardRows = Annotated[int, typer.Option(help="Rows that are scored and written together.", min=1)]
Restart = Annotated[
    bool, typer.Option("--restart", help="Throw away what an interrupted run left in FILE.parts.")
]
OnRay = Annotated[
    int,
    typer.Option(
        "--ray", help="So many processes under Ray; FILE is then a folder of Parquet files.", min=0
    ),
]


def predict(
    model: Model,
    data: Data,
    out: Out,
    text: Text = None,
    text2: Text2 = None,
    separator: Separator = None,
    several: Several = None,
    abstain: Abstain = None,
    prefix: Prefix = "",
    kind: Kind = None,
    shard_rows: ShardRows = 10_000,
    restart: Restart = False,
    ray: OnRay = 0,
    as_json: AsJson = False,
) -> None:
    """Add a label and its probability, or entities, to every row of a table.

    DIR may also be what `reptune export` wrote, which is faster on a CPU. DATA may be - for
    standard input. Memory does not grow with the table. A run that was interrupted continues where
    it stopped when the same command is given again.

    \b
    Examples:
      reptune predict ticket-model new.csv --out labeled.csv --abstain 0.7
      zcat new.csv.gz | reptune predict ticket-model - --out - > labeled.csv
    """
    from reptune.pipeline.predict import predict_file, predict_on_ray

    shown = Progress("predicting")
    options: dict[str, Any] = {
        "text": text, "text2": text2, "separator": separator, "abstain": _share(abstain),
        "prefix": prefix, "shard_rows": shard_rows, "restart": restart, "progress": shown.at,
    }  # fmt: skip
    piped = str(data) == "-", out == "-"
    try:
        if ray:
            if any(piped) or several or kind:
                raise ValueError("--ray reads a file and writes Parquet; give no -, no --several "
                                 "and no --format.")  # fmt: skip
            done = predict_on_ray(model, data, out, workers=ray, **options)
        else:
            done = predict_file(
                model,
                sys.stdin.buffer if piped[0] else data,
                sys.stdout.buffer if piped[1] else out,
                several=several,
                kind=kind,
                **options,
            )
    finally:
        shown.close()
    found = {**asdict(done), "out": out}
    if piped[1]:  # standard output holds the table
        typer.echo(_text(done, "standard output"), err=True)
    else:
        emit(found, _text(done, out), as_json)


def _share(abstain: str | None) -> float | str | None:
    """Return the share that is meant, or what `predict_file` says is none."""
    try:
        return abstain if abstain is None else float(abstain)
    except ValueError:
        return abstain


def _text(done: Summary, out: str) -> str:
    lines = [
        f"{done.rows:,} row{'s' * (done.rows != 1)} in {out}, {done.seconds:.1f} s, "
        f"{done.rows_per_second:,.0f} rows per second"
    ]
    if done.continued:
        lines.append(f"{done.continued:,} of them were scored by an earlier, interrupted run")
    if done.empty:
        lines.append(f"{done.empty:,} without a text, and so without a label")
    if done.abstained:
        lines.append(f"{done.abstained:,} abstained")
    lines += [f"  {count:>9,}  {label}" for label, count in done.labels.items()]
    return "\n".join(lines)
