"""`reptune demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reptune.cli.common import Model


def demo(
    folder: Model,
    port: Annotated[int, typer.Option(help="Where to listen on 127.0.0.1; 0: any.")] = 7860,
    corrections: Annotated[
        Path | None,
        typer.Option(help="Where to add corrections; DIR-corrections.jsonl if not given."),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in your browser.")
    ] = False,
) -> None:
    """Show a page on this machine where you can try a model and correct it.

    Nothing leaves the machine. Corrections are JSON lines that `reptune train` reads. Ctrl-C ends
    it. It needs an extra: pip install "reptune[demo]".

    \b
    Example:
      reptune demo my-model --corrections corrections.jsonl
    """
    from reptune.pipeline.demo import serve

    serve(folder, port, corrections, open_browser)
