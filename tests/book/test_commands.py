"""Every `reptune …` that a page or a chapter shows is a command that the command line takes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from reptune.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    *sorted(ROOT.glob("README*.md")),
    *sorted((ROOT / "book").rglob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]


def prose(source: Path) -> str:
    """Return a page's text, or that of a chapter's Markdown cells."""
    text = source.read_text("utf-8")
    if source.suffix == ".md":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `reptune` in the blocks of shell code of a text."""
    for block in re.findall(r"```(?:bash|console|sh)\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            for end in ("|", ">", ";", "&&"):
                words = words[: words.index(end)] if end in words else words
            if words and words[0].rpartition("/")[2] == "reptune":
                yield words[1:]


def check(arguments: list[str]) -> None:
    """Raise a `ValueError` where an option is unknown, or an argument or an option is missing."""
    command: Any = typer.main.get_command(app)
    context = command.context_class(command)
    while hasattr(command, "resolve_command") and arguments[:1] != ["--help"]:
        _, command, arguments = command.resolve_command(context, arguments)
        context = command.context_class(command, context)
    try:
        given, _, _ = command.make_parser(context).parse_args(list(arguments))
    except Exception as error:  # typer keeps the parser's own errors private
        raise ValueError(str(error)) from error
    for parameter in command.params:
        if parameter.required and given.get(parameter.name) is None and "--help" not in arguments:
            raise ValueError(f"missing: {parameter.name}")


SHOWN = [
    pytest.param(arguments, id=f"{source.name}: {' '.join(arguments)}")
    for source in SOURCES
    for arguments in commands(prose(source))
]


@pytest.mark.parametrize("arguments", SHOWN)
def test_the_command_line_takes_what_is_shown(arguments: list[str]) -> None:
    check(arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "own.conll", "--method", "tagger", "--out", "x"], "No such option"),
        (["predict", "model", "new.csv"], "missing: out"),
    ],
)
def test_a_wrong_command_is_found(arguments: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check(arguments)


def test_commands_are_found_in_blocks() -> None:
    text = "```bash\n$ .venv/bin/reptune doctor --offline | head  # look\nmake test\n```\n"
    assert list(commands(text)) == [["doctor", "--offline"]]
