"""The command line: `reptune assets list | fetch | verify | export | import`.

Errors that a user can cure (`AssetError`, `ValueError`, `OSError`) end a command with one line on
stderr and exit code 1, without a traceback.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from reptune import __version__, assets

app = typer.Typer(
    help="The helper of the book 'Fine-Tuning Representation Models'.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
assets_app = typer.Typer(help="The models and data sets that the book uses.", no_args_is_help=True)
app.add_typer(assets_app, name="assets")

Names = Annotated[list[str] | None, typer.Argument(help="Names of assets.", metavar="[NAME]...")]


def _print_version(wanted: bool) -> None:
    if wanted:
        _say(f"reptune {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """The helper of the book 'Fine-Tuning Representation Models'."""


def _say(line: str) -> None:
    """Print a line as it is: no markup, and no wrapping, which would cut paths in two."""
    Console(highlight=False, markup=False, soft_wrap=True).print(line)


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """End the command with one line and exit code 1 where the user can cure the error."""
    try:
        yield
    except (assets.AssetError, ValueError, OSError) as error:
        typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _total(names: list[str]) -> str:
    return _mb(sum(assets.info(name).size for name in names))


@assets_app.command("list")
def list_assets() -> None:
    """Show every asset: name, kind, group, download size, license, source and state."""
    with _one_line_errors():
        chosen = [assets.info(name) for name in assets.names()]
        widths = [max(map(len, column)) for column in zip(*map(_cells, chosen), strict=True)]
        for asset in chosen:
            cells = [cell.ljust(w) for cell, w in zip(_cells(asset), widths, strict=True)]
            _say("  ".join([*cells, assets.state(asset.name)]))
            _say(f"    license: {asset.license}")
            _say(f"    source: {asset.source}")
        _say(f"cache: {assets.cache_dir()}")


def _cells(asset: assets.Asset) -> tuple[str, ...]:
    """The short facts, which line up; license and source are too long for a narrow terminal."""
    return asset.name, asset.kind, asset.group, f"{_mb(asset.size):>9}"


@assets_app.command("fetch")
def fetch_assets(
    names: Names = None,
    group: Annotated[str | None, typer.Option(help="Fetch this group.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Fetch every asset.")] = False,
) -> None:
    """Fetch assets into the cache; without arguments, the default group."""
    with _one_line_errors():
        chosen = _choose(names or [], group, everything)
        ready = [name for name in chosen if assets.state(name) == "ready"]
        missing = [name for name in chosen if name not in ready]
        _say(f"{len(chosen)} {'asset' if len(chosen) == 1 else 'assets'}, {_total(chosen)} in all.")
        if ready:
            _say(f"Already there: {', '.join(ready)}.")
        if missing:
            _say(f"To download: {_total(missing)} ({', '.join(missing)}).")
        for name in missing:
            _say(f"{name}: ready in {assets.fetch(name)}")


def _choose(names: list[str], group: str | None, everything: bool) -> list[str]:
    """Return the assets that the arguments of `fetch` mean, in order, each once."""
    if (bool(names) + (group is not None) + everything) > 1:
        raise ValueError("Give names, or --group, or --all, not several of them.")
    if everything:
        return assets.names()
    if names:
        return [assets.info(name).name for name in dict.fromkeys(names)]
    return assets.names(group or "default")


@assets_app.command("verify")
def verify_assets(names: Names = None) -> None:
    """Read cached assets again and say what each file's sha256 was compared with.

    By default all that are cached.
    """
    with _one_line_errors():
        chosen = names or [name for name in assets.names() if assets.state(name) != "missing"]
        if not chosen:
            raise ValueError("No asset is cached: `reptune assets fetch` first.")
        for name in chosen:
            _say(f"{name}: {assets.verify(name)}")


@assets_app.command("export")
def export_assets(bundle: Path, names: Names = None) -> None:
    """Write cached assets into BUNDLE, one file, for a machine without an index."""
    with _one_line_errors():
        path = assets.export_bundle(bundle, names or None)
        _say(f"{path}: {_mb(path.stat().st_size)}")


@assets_app.command("import")
def import_assets(bundle: Path) -> None:
    """Put the assets of BUNDLE into the cache, each verified first."""
    with _one_line_errors():
        for name in assets.import_bundle(bundle):
            _say(f"{name}: ready in {assets.get(name)}")


if __name__ == "__main__":
    app()
