"""`reptune export`: a saved model as ONNX, which runs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reptune.cli.common import AsJson, Model, Separator, emit


def export(
    model: Model,
    to: Annotated[str, typer.Option(help="onnx (float32), or onnx-int8: smaller and faster.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to write; DIR-onnx or DIR-onnx-int8 if left out."),
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="Labeled rows, not seen in training, to compare both on.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="The column of texts; the one of training where left out.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The column of labels; the one of training where left out.")
    ] = None,
    separator: Separator = None,
    min_agreement: Annotated[
        float, typer.Option(help="The least share of equal predictions, 0 to 1.")
    ] = 0.99,
    as_json: AsJson = False,
) -> None:
    """Write a model as ONNX, with a runner that needs onnxruntime, tokenizers and NumPy only.

    TF-IDF needs no graph, and its runner needs NumPy only.

    The export is compared with the model, in its predictions and in its speed, and is not written
    where it differs too much.

    \b
    Example:
      reptune export ticket-model --to onnx-int8 --check tickets-of-june.csv
    """
    from reptune.estimator import load
    from reptune.pipeline.export import check_exportable, export_model

    loaded = load(model)
    check_exportable(loaded, to)
    rows = None if check is None else _rows(loaded, check, text, label, separator)
    folder = out or Path(model).resolve().with_name(f"{Path(model).resolve().name}-{to}")
    report = export_model(loaded, folder, to=to, check=rows, min_agreement=min_agreement)
    text_report = f"{report}\n\nThe export is in {folder}; README.md there says how to run it."
    emit(report.as_dict(), text_report, as_json)


def _rows(
    model: Any, path: Path, text: str | None, label: str | None, separator: str | None
) -> tuple[list[Any], list[Any]]:
    """Read held-out rows by the columns' names of training, or by those given."""
    from reptune.pipeline.examples import kind_of, read_examples

    card = model.card_ or {}
    columns = {"text": "text", "label": "label"} | (card.get("columns") or {})
    columns |= {name: given for name, given in (("text", text), ("label", label)) if given}
    kind = kind_of(model)
    labels = model.classes_.tolist()
    if kind == "tags":
        labels = sorted({tag[2:] for tag in labels if tag != "O"})
    like = {"kind": kind, "labels": labels}
    examples = read_examples(path, **columns, separator=separator, like=like)
    if examples.kind != kind:
        raise ValueError(f"{path} holds {examples.kind!r} rows, but the model gives {kind!r}.")
    return examples.inputs, examples.targets
