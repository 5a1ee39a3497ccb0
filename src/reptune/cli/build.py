"""`reptune build`: a small model from a prompt."""

from __future__ import annotations

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
    data_set: Annotated[
        str | None, typer.Option(help="The data set to retrieve from, or none.")
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

    The prompt says what to do, such as: Is a review positive or negative? Two examples for each
    label, a line each, help the teacher much: "A dull film." -> negative. Ten rows are shown
    before more are written. What the teacher writes is kept in DIR.parts until the model is
    saved, so that the same command goes on after a kill. The report shows, beside the model, what
    label names and the teacher itself reach on the same rows.

    \b
    Example:
      reptune build prompt.txt --out my-model --test my-rows.csv
    """
    from reptune.pipeline.examples import read_examples
    from reptune.pipeline.report import summary_line
    from reptune.prompt2model.build import build as build_from
    from reptune.prompt2model.build import forget, understood
    from reptune.prompt2model.prompt import parse_prompt
    from reptune.prompt2model.rows import kind_of_task

    words = _read(prompt)
    held_out = None
    if test is not None:
        task = understood(words, parse_prompt, None)
        known = {"kind": kind_of_task(task), "labels": list(task.labels)}
        held_out = read_examples(test, text=text, label=label, text2=text2, like=known)
    built = build_from(
        words, out=out, teacher=_teacher(teacher, base_url, max_requests), minutes=minutes,
        retrieve=retrieve, generate=generate, test=held_out,
        passages=None if passages is None else _lines(passages),
        student=student, exclude=exclude or (), show=None if yes else _show,
        choose=None if data_set is None else lambda found: _named(found, data_set),
        progress=lambda line: typer.echo(line, err=True), random_state=random_state,
    )  # fmt: skip
    built.save(out)
    forget(out)  # what the teacher wrote is in rows.jsonl now
    card = built.result.card
    lines = [summary_line(card), *_exact(card), f"Scored on {card['scored_on']}"]
    lines += [_rival(rival, card["score"]["metric"]) for rival in card["rivals"]]
    lines.append(f"Learned from {_rows(card['origins']['rows'])}")
    lines.append(f"The model, its rows and its report are in {out}: open {out / 'report.html'}")
    lines += [card["verdict"]] if card["verdict"] else []
    emit({"folder": str(out), **card}, "\n".join(lines), as_json)


def _exact(card: Any) -> list[str]:
    """Return a line that says how many texts are right as a whole, where a model writes texts."""
    share = (card.get("scores") or {}).get("exact_match")
    wholly = card["score"]["metric"] == "chrf" and share is not None
    return [f"{share:.1%} of the texts are exactly as in the test"] if wholly else []


def _rows(origins: Any) -> str:
    counts = "; ".join(f"{name}: {count:,}" for name, count in origins.items())
    return f"{sum(origins.values()):,} rows ({counts})"


def _rival(rival: Any, metric: str) -> str:
    if rival["score"] is None:
        return f"{rival['title']}: not measured"
    shown = "{:{sign}.1f}" if metric == "chrf" else "{:{sign}.1%}"
    shown = "{:{sign}.3f}" if metric == "entity_f1" else shown  # as the line above has them
    score = shown.format(rival["score"]["estimate"], sign="")
    keys = ("estimate", "low", "high")
    apart, low, high = (shown.format(rival["difference"][key], sign="+") for key in keys)
    return f"{rival['title']}: {score}; this model minus it {apart} [{low}, {high}]"


def _named(candidates: Any, name: str) -> int | None:
    """Return the index of the candidate that the user named; `none` takes none of them."""
    if name.lower() == "none":
        return None
    for index, one in enumerate(candidates):
        if name.lower() in (one.entry.name.lower(), one.entry.hub_id.lower()):
            return index
    near = ", ".join(one.entry.name for one in candidates[:5])
    raise ValueError(
        f"--data-set {name}: not among the {len(candidates)} that fit best ({near}, …)."
    )


def _lines(path: Path) -> list[str]:
    """Return the lines of a file that hold something."""
    return [line.strip() for line in _read(path).split("\n") if line.strip()]


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
