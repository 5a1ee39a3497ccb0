"""`reptune assets list | fetch | verify | export | import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reptune import assets, bundles

app = typer.Typer(
    help="The models and data sets that the book uses.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Names = Annotated[list[str] | None, typer.Argument(help="Names of assets.", metavar="NAME")]
Bundle = Annotated[Path, typer.Argument(help="The bundle's file.", metavar="BUNDLE")]


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _total(names: list[str]) -> str:
    return _mb(sum(assets.info(name).size for name in names))


@app.command("list")
def list_assets() -> None:
    """Show every asset: name, kind, group, download size, license, source and state."""
    chosen = [assets.info(name) for name in assets.names()]
    widths = [max(map(len, column)) for column in zip(*map(_cells, chosen), strict=True)]
    for asset in chosen:
        cells = [cell.ljust(w) for cell, w in zip(_cells(asset), widths, strict=True)]
        typer.echo("  ".join([*cells, assets.state(asset.name)]))
        typer.echo(f"    license: {asset.license}")
        typer.echo(f"    source: {asset.source}")
    typer.echo(f"cache: {assets.cache_dir()}")


def _cells(asset: assets.Asset) -> tuple[str, ...]:
    """Return the short facts, which line up; license and source are too long for a terminal."""
    return asset.name, asset.kind, asset.group, f"{_mb(asset.size):>9}"


@app.command("fetch")
def fetch_assets(
    names: Names = None,
    group: Annotated[str | None, typer.Option(help="Fetch this group.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Fetch every asset.")] = False,
) -> None:
    """Fetch assets into the cache; without arguments, the default group."""
    chosen = _choose(names or [], group, everything)
    ready = [name for name in chosen if assets.state(name) == "ready"]
    missing = [name for name in chosen if name not in ready]
    noun = "asset" if len(chosen) == 1 else "assets"
    typer.echo(f"{len(chosen)} {noun}, {_total(chosen)} in all.")
    if ready:
        typer.echo(f"Already there: {', '.join(ready)}.")
    if missing:
        typer.echo(f"To download: {_total(missing)} ({', '.join(missing)}).")
    for name in missing:
        typer.echo(f"{name}: ready in {assets.fetch(name)}")


def _choose(names: list[str], group: str | None, everything: bool) -> list[str]:
    """Return the assets that the arguments of `fetch` mean, in order, each once."""
    if (bool(names) + (group is not None) + everything) > 1:
        raise ValueError("Give names, or --group, or --all, not several of them.")
    if everything:
        return assets.names()
    if names:
        return [assets.info(name).name for name in dict.fromkeys(names)]
    return assets.names(group or "default")


@app.command("verify")
def verify_assets(names: Names = None) -> None:
    """Read cached assets again and say what each file's sha256 was compared with.

    By default all that are cached.
    """
    chosen = names or [name for name in assets.names() if assets.state(name) != "missing"]
    if not chosen:
        raise ValueError("No asset is cached: `reptune assets fetch` first.")
    for name in chosen:
        typer.echo(f"{name}: {assets.verify(name)}")


@app.command("export")
def export_assets(bundle: Bundle, names: Names = None) -> None:
    """Write cached assets into BUNDLE, one file, for a machine without an index."""
    path = bundles.export_bundle(bundle, names or None)
    typer.echo(f"{path}: {_mb(path.stat().st_size)}")


@app.command("import")
def import_assets(bundle: Bundle) -> None:
    """Put the assets of BUNDLE into the cache, each verified first."""
    for name in bundles.import_bundle(bundle):
        typer.echo(f"{name}: ready in {assets.get(name)}")
