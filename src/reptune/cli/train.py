"""`reptune train`: a model of your own rows, with a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reptune.cli.common import AsJson, Data, Label, Seed, Separator, Several, Text, Text2, emit

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A parameter of the estimator, such as --set num_epochs=3."),
]


def train(
    method: Annotated[
        str, typer.Argument(help="auto, or a method, such as frozen, setfit or full.")
    ],
    data: Data,
    out: Annotated[Path, typer.Option(help="The folder for the model and its report.")],
    text: Text = "text",
    label: Label = "label",
    text2: Text2 = None,
    several: Several = None,
    separator: Separator = None,
    test: Annotated[
        Path | None, typer.Option(help="A file to score the model on, read like DATA.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The encoder to start from: a name or a folder.")
    ] = None,
    settings: Settings = None,
    minutes: Annotated[float, typer.Option(help="With auto: time for comparing methods.")] = 10.0,
    cost_wrong: Annotated[
        float | None, typer.Option(help="What a wrong answer costs, in any unit.")
    ] = None,
    cost_ask: Annotated[
        float | None, typer.Option(help="What it costs to ask a person instead.")
    ] = None,
    random_state: Seed = 42,
    as_json: AsJson = False,
) -> None:
    """Train a model on your rows, measure it on rows held out, and save it with a report.

    METHOD is auto (compare methods first) or one of tfidf, label-names, frozen, setfit, head,
    last-blocks, full, prompt, in-context and, for tagged sentences, tagger.

    \b
    Example:
      reptune train frozen tickets.csv --text body --label team --out ticket-model
    """
    from reptune.pipeline.examples import read_examples
    from reptune.pipeline.report import summary_line
    from reptune.pipeline.training import check_costs
    from reptune.pipeline.training import train as train_on

    columns = {"text": text, "label": label, "text2": text2, "several": several}
    examples = read_examples(data, **columns, separator=separator)
    known = {"kind": examples.kind, "labels": examples.labels}
    held_out = test and read_examples(test, **columns, separator=separator, like=known)
    options = parse_settings(settings or [])
    check_costs(cost_wrong, cost_ask, examples.kind)  # before methods are compared
    if model is not None:
        options["model"] = model
    notes: list[str] = []
    if method == "auto":
        method, options, notes = _chosen(examples, options, out, minutes, random_state)
    result = train_on(
        examples, method, settings=options, test=held_out, columns=columns, cost_wrong=cost_wrong,
        cost_ask=cost_ask, out=out, random_state=random_state,
    )  # fmt: skip
    if held_out is None:
        result.card["data"]["notes"] += notes
    result.save(out)
    lines = [summary_line(result.card), *result.card["data"]["notes"]]
    lines.append(f"The model and its report are in {out}: open {out / 'report.html'}")
    emit({"folder": str(out), **result.card}, "\n".join(lines), as_json)


def _chosen(
    examples: Any, options: dict[str, Any], out: Path, minutes: float, random_state: int
) -> tuple[str, dict[str, Any], list[str]]:
    """Compare methods; return the recommended one, its settings, and what to say of its score."""
    from reptune.cli.compare import as_text, default_journal
    from reptune.folders import check_replaceable
    from reptune.pipeline.compare import compare

    check_replaceable(out)
    if examples.kind == "tags":
        return "tagger", options, []
    found = compare(
        examples, minutes=minutes, model=options.get("model"), random_state=random_state,
        journal=default_journal(examples.sha256),
        progress=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    typer.echo(as_text(found), err=True)
    if found.recommended is None:
        raise ValueError(f"{found.advice} Nothing was trained; name a method to train it anyway.")
    if found.recommended == "tfidf":
        options.pop("model", None)
    note = (
        f"The method was chosen on the rows it is scored on; where they had no part: {found.score}."
    )
    return found.recommended, {**found.settings, **options}, [note]


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Return parameters from `name=value`; a value is JSON where it can be read so, else text.

    >>> parse_settings(["num_epochs=3", "class_weight=balanced"])
    {'num_epochs': 3, 'class_weight': 'balanced'}
    """
    import json

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"--set {pair}: write name=value, such as --set num_epochs=3.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
