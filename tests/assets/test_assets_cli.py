"""`reptune assets …`."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from reptune import assets
from reptune.cli.main import app


@pytest.fixture
def run(copied):
    """Runs the command line in this process, on the temporary registry."""
    runner = CliRunner()
    return lambda *words: runner.invoke(app, ["assets", *map(str, words)])


def assert_one_line(result, *parts: str) -> None:
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1
    assert all(part in lines[0] for part in parts), lines
    assert "Traceback" not in result.output + result.stderr


def test_list(run):
    assets.fetch("tiny-data")
    result = run("list")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].split() == ["tiny-model", "model", "default", "0.3", "MB", "missing"]
    assert lines[3].split() == ["tiny-data", "dataset", "default", "0.0", "MB", "ready"]
    assert "license: Apache-2.0" in lines[1] and "source: these tests" in lines[2]
    assert str(assets.cache_dir()) in lines[-1]


def test_fetch_takes_the_default_group(run):
    assets.fetch("tiny-data")
    result = run("fetch")
    assert result.exit_code == 0
    assert "2 assets, 0.3 MB in all." in result.output
    assert "Already there: tiny-data." in result.output
    assert "To download: 0.3 MB (tiny-model)." in result.output
    assert "reptune: fetching tiny-model (0.3 MB) into" in result.stderr
    assert "reptune: fetching" not in result.stdout
    assert assets.state("tiny-model") == "ready"
    assert assets.state("tiny-tree") == "missing"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tiny-tree"], {"tiny-tree"}),
        (["--group", "extra"], {"tiny-tree", "tiny-parts"}),
        (["--all"], {"tiny-model", "tiny-data", "tiny-tree", "tiny-parts"}),
    ],
)
def test_what_fetch_fetches(run, words, expected):
    assert run("fetch", *words).exit_code == 0
    assert {name for name in assets.names() if assets.state(name) == "ready"} == expected
    assert "To download" not in run("fetch", *words).output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tiny-modle"], "Did you mean 'tiny-model'"),
        (["--group", "none"], "Unknown group 'none'"),
        (["tiny-model", "--all"], "not several"),
    ],
)
def test_fetch_with_bad_arguments(run, words, message):
    assert_one_line(run("fetch", *words), message)


def test_fetch_without_an_index(run, index):
    index.up = False
    assert_one_line(run("fetch"), "'tiny-model'", "`reptune assets import BUNDLE`")


def test_verify(run):
    assert_one_line(run("verify"), "No asset is cached")
    assert_one_line(run("verify", "tiny-data"), "is not cached")
    folder = assets.fetch("tiny-data")
    result = run("verify")
    assert result.exit_code == 0 and "tiny-data: every sha256 is right" in result.output
    (folder / "train.txt").write_bytes(b"other")
    assert_one_line(run("verify"), "train.txt has sha256", "fetches it again")
    assert "corrupt" in run("list").output


def test_export_and_import(run, tmp_path, monkeypatch):
    bundle = tmp_path / "bundle.zip"
    assert_one_line(run("export", bundle), "No asset is cached")
    run("fetch", "tiny-data")
    result = run("export", bundle)
    assert result.exit_code == 0 and "bundle.zip: 0.0 MB" in result.output
    monkeypatch.setenv("REPTUNE_CACHE", str(tmp_path / "other"))
    result = run("import", bundle)
    assert result.exit_code == 0 and "tiny-data: ready in" in result.output
    assert assets.state("tiny-data") == "ready"
    bundle.write_bytes(bundle.read_bytes()[:100])
    assert_one_line(run("import", bundle), "broken zip", "Copy it again")
    assert_one_line(run("import", tmp_path / "none"), "There is no bundle")


def test_version_and_help():
    runner = CliRunner()
    assert runner.invoke(app, ["--version"]).output.startswith("reptune ")
    assert "assets" in runner.invoke(app, ["--help"]).output


def test_help_looks_the_same_whether_or_not_rich_is_installed():
    text = CliRunner().invoke(app, ["assets", "fetch", "--help"]).output
    assert text.startswith("Usage: ") and "--group" in text
    assert not set(text) & set("─│╭╮")


def test_the_command_runs_as_a_module_and_ends_quietly_where_its_reader_does():
    command = [sys.executable, "-m", "reptune.cli", "assets", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 1
