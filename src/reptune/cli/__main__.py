"""`python -m reptune.cli`."""

from reptune.cli.assets import app

app()
