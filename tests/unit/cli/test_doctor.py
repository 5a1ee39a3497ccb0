"""`reptune doctor`."""

import json

import pytest
from typer.testing import CliRunner

from reptune.cli.main import app
from reptune.pipeline import doctor
from reptune.pipeline.doctor import Finding

GOOD = [Finding("Python", "3.11", True), Finding("extra x", "without y", None, "pip install y")]
BAD = [*GOOD, Finding("PyTorch", "cannot be imported", False, "pip install torch")]


@pytest.fixture
def run(monkeypatch):
    def run(findings, *words):
        asked = []
        monkeypatch.setattr(doctor, "examine", lambda offline: asked.append(offline) or findings)
        return CliRunner().invoke(app, ["doctor", *words]), asked

    return run


def test_all_that_is_needed_is_there(run):
    result, asked = run(GOOD)
    assert result.exit_code == 0 and asked == [False]
    assert result.stdout.splitlines()[0].split() == ["ok", "Python", "3.11"]
    assert "→ pip install y" in result.stdout
    assert result.stdout.splitlines()[-1] == "Ready."


def test_what_is_missing_ends_it_with_1_and_the_cure(run):
    result, _ = run(BAD)
    assert result.exit_code == 1
    assert "MISSING PyTorch" in result.stdout and "→ pip install torch" in result.stdout
    assert "Ready." not in result.stdout


@pytest.mark.parametrize(("findings", "usable"), [(GOOD, True), (BAD, False)])
def test_json_is_one_object(run, findings, usable):
    result, asked = run(findings, "--json", "--offline")
    answer = json.loads(result.stdout)
    assert answer["usable"] is usable and result.exit_code == 1 - usable and asked == [True]
    assert [Finding(**each) for each in answer["findings"]] == findings


def test_the_help_has_an_example():
    assert "reptune doctor --offline" in CliRunner().invoke(app, ["doctor", "--help"]).stdout
    assert "reptune demo my-model" in CliRunner().invoke(app, ["demo", "--help"]).stdout
