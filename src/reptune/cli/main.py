"""The command `reptune` itself: its version, its help, and how errors end a command.

Errors that a user can cure (`AssetError`, `ValueError`, `OSError`) end a command with one line on
stderr and exit code 1, without a traceback. What a command needs beyond the asset commands is
imported when it runs, so that the help comes at once.
"""

from __future__ import annotations

import errno
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from reptune import logs
from reptune.assets import AssetError
from reptune.cli.assets import app as assets_app
from reptune.cli.build import build
from reptune.cli.compare import compare
from reptune.cli.demo import demo
from reptune.cli.doctor import doctor
from reptune.cli.evaluate import evaluate
from reptune.cli.export import export
from reptune.cli.predict import predict
from reptune.cli.train import train
from reptune.version import __version__


class OneLineErrors(TyperGroup):
    """A group of commands that end with one line where the user can cure the error."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (AssetError, ValueError, OSError) as error:
            if getattr(error, "errno", None) == errno.EPIPE:  # `reptune assets list | head`
                raise
            typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(1) from None


# Without rich, the help is plain text that looks the same whatever else is installed.
app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
# In the order of the way from a table to a model; what each is for, short enough for one line.
for command, purpose in {
    compare: "Find the method to take for your table.",
    train: "Train a model, and save it with a report.",
    evaluate: "Score a model on rows that came later.",
    predict: "Label a table of any length.",
    export: "Write a model as ONNX.",
    demo: "Try a model on a page, and correct it.",
    build: "Build a model from a prompt, without data.",
    doctor: "Say what this machine has and lacks.",
}.items():
    app.command(no_args_is_help=command is not doctor, short_help=purpose)(command)
app.add_typer(assets_app, name="assets")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reptune {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """From a table of texts to a model that says how good it is.

    \b
    Example:
      reptune compare tickets.csv --text body --label team
      reptune train frozen tickets.csv --text body --label team --out ticket-model
      reptune predict ticket-model new.csv --out labeled.csv
    """
    logs.show()
