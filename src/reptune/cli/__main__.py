"""`python -m reptune.cli`."""

from reptune.cli.main import app

app(prog_name="python -m reptune.cli")
