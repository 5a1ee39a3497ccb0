"""`reptune build`: a small model from a prompt."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from reptune.cli.common import AsJson, Seed, emit

Prompt = Annotated[
    Path, typer.Argument(help="A text file: the task, and examples if you have any.")
]


def build(
    prompt: Prompt,
    out: Annotated[Path, typer.Option(help="The folder for the model and its report.")],
    teacher: Annotated[
        str, typer.Option(help="Who writes rows: a causal model's name or folder.")
    ] = "Qwen2.5-Coder-0.5B-Instruct",
    minutes: Annotated[
        float, typer.Option(help="Time for writing rows; training comes on top.")
    ] = 30.0,
    retrieve: Annotated[bool, typer.Option(help="Look for labeled rows in the catalog.")] = True,
    generate: Annotated[bool, typer.Option(help="Let the teacher write rows.")] = True,
    test: Annotated[
        Path | None, typer.Option(help="Labeled rows of your own to score the model on.")
    ] = None,
    text: Annotated[str, typer.Option(help="The column of the test's texts.")] = "text",
    label: Annotated[str, typer.Option(help="The column of the test's labels.")] = "label",
    text2: Annotated[str | None, typer.Option(help="The column of the test's passages.")] = None,
    passages: Annotated[
        Path | None, typer.Option(help="A text file of passages to ask about, one per line.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(help="A method, such as frozen or full; by the task if left out.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="A data set that may not be retrieved.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server that runs the teacher.")
    ] = None,
    max_requests: Annotated[int, typer.Option(help="Requests to that server, at most.")] = 500,
    yes: Annotated[
        bool, typer.Option("--yes", help="Go on after the first rows, unasked.")
    ] = False,
    random_state: Seed = 42,
    as_json: AsJson = False,
) -> None:
    """Build a small model from a prompt: find rows, let a teacher write more, train, report.

    Shows ten rows before it makes more. A killed run goes on where it was. The report always
    shows, beside the model, what label names and the teacher itself reach on the same rows.

    \b
    Example:
      reptune build prompt.txt --out my-model --test my-rows.csv
    """
    from reptune.pipeline.examples import read_examples
    from reptune.pipeline.report import summary_line
    from reptune.prompt2model.build import build as build_from
    from reptune.prompt2model.build import kind_of_task, understood
    from reptune.prompt2model.prompt import parse_prompt

    words = _read(prompt)
    held_out = None
    if test is not None:
        task = understood(words, parse_prompt, None)
        known = {"kind": kind_of_task(task), "labels": list(task.labels)}
        held_out = read_examples(test, text=text, label=label, text2=text2, like=known)
    built = build_from(
        words, out=out, teacher=_teacher(teacher, base_url, max_requests), minutes=minutes,
        retrieve=retrieve, generate=generate, test=held_out,
        passages=None if passages is None else _read(passages).splitlines(),
        student=student, exclude=exclude or (), show=None if yes else _show,
        progress=lambda line: typer.echo(line, err=True), random_state=random_state,
    )  # fmt: skip
    built.save(out)
    shutil.rmtree(f"{out}.parts", ignore_errors=True)  # what the teacher wrote, now in rows.jsonl
    lines = [summary_line(built.result.card)]
    for rival in built.result.card["rivals"]:
        lines.append(f"{rival['title']}: {rival['score']['estimate']:.3f}")
    lines.append(f"The model, its rows and its report are in {out}: open {out / 'report.html'}")
    emit({"folder": str(out), **built.result.card}, "\n".join(lines), as_json)


def _read(path: Path) -> str:
    """Return a text file, or raise an error that names it."""
    from reptune.data.files import existing_file, file_text

    return file_text(existing_file(path))


def _teacher(name: str, base_url: str | None, max_requests: int) -> Any:
    if base_url is None:
        return name
    from reptune.prompt2model.teachers import HostedTeacher

    return HostedTeacher(name, base_url=base_url, max_requests=max_requests)


def _show(rows: Any) -> bool:
    """Print rows; ask whether to go on where somebody can answer."""
    for row in rows:
        typer.echo(f"  {row.output or list(row.spans)} | {row.input}", err=True)
    if not sys.stdin.isatty():
        return True
    return typer.confirm("Go on with rows like these?", default=True, err=True)
