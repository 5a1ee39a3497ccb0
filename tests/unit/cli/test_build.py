"""`reptune build`: what it reads, shows and says; the work itself is tested in prompt2model."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reptune.cli import build as cli
from reptune.cli.main import app
from reptune.prompt2model import build as module
from reptune.prompt2model.prompt import parse_prompt
from tests.unit.prompt2model import test_build as parts

PROMPT = "Is a meal good or bad?"


@pytest.fixture
def asked(monkeypatch):
    """What `build` was called with; the stand-ins of its own tests do the work."""
    calls = []

    def build(prompt, *, show, teacher, progress, **given):
        calls.append({**given, "teacher": teacher, "show": show})
        if show is not None and not show(parts.rows("generated")[:2]):
            raise ValueError("stopped at the first rows; change the prompt.")
        progress("training")
        test = given["test"] or parts.TEST
        return parts.made(
            test=test, retrieve=given["retrieve"], generate=given["generate"], progress=progress
        )

    monkeypatch.setattr(module, "build", build)
    return calls


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    monkeypatch.setattr(module, "drop_leaks", parts._drop_equal)
    monkeypatch.setattr(
        module, "score_rivals",
        lambda *_: [{"title": "label names", "score": {"estimate": 0.5},
                     "difference": {"estimate": 0.5, "low": 0.1, "high": 0.9}},
                    {"title": "the teacher: no memory", "score": None, "difference": None}],
    )  # fmt: skip


def run(tmp_path: Path, *arguments: str, prompt: str = PROMPT, typed: str | None = None):
    (tmp_path / "prompt.txt").write_text(prompt, encoding="utf-8")
    command = ["build", str(tmp_path / "prompt.txt"), "--out", str(tmp_path / "model"), *arguments]
    return CliRunner().invoke(app, command, input=typed)


def test_a_model_with_rivals_and_the_folder_named_last(asked, tmp_path):
    (tmp_path / "model.parts").mkdir()
    ran = run(tmp_path)
    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("accuracy ") and lines[1].startswith("Scored on mine.csv")
    assert lines[2] == "label names: 50.0%; this model minus it +50.0% [+10.0%, +90.0%]"
    assert lines[3] == "the teacher: no memory: not measured"
    assert lines[4].startswith("Learned from 201 rows (") and "from Meals: 100;" in lines[4]
    assert str(tmp_path / "model" / "report.html") in lines[5]
    assert lines[6:] == ["This model is clearly better than label names here."]
    assert (tmp_path / "model" / "rows.jsonl").is_file()
    assert not (tmp_path / "model.parts").exists(), "the rows are in the folder now"
    assert "fine soup" in ran.stderr and "training" in ran.stderr


def test_a_text_is_right_as_a_whole_or_not_and_the_last_line_says_what_to_use(
    asked, tmp_path, monkeypatch
):
    """chrF++ of 50 sounds fair where one date in six is right."""
    real = parts.made

    def made(**given):
        built = real(**given)
        built.result.card["score"] |= {"metric": "chrf", "estimate": 50.2, "low": 39, "high": 61}
        built.result.card["scores"] = {"exact_match": 0.172}
        built.result.card["verdict"] = "Use the teacher itself instead."
        return built

    monkeypatch.setattr(parts, "made", made)
    lines = run(tmp_path, "--yes").stdout.splitlines()
    assert lines[0].startswith("chrF++ 50.2") and lines[1].startswith("17.2% of the texts are")
    assert lines[3] == "label names: 0.5; this model minus it +0.5 [+0.1, +0.9]"
    assert lines[-1] == "Use the teacher itself instead."


def test_a_rival_is_written_as_the_score_is():
    rival = {"title": "the teacher", "score": {"estimate": 0.828},
             "difference": {"estimate": -0.13, "low": -0.206, "high": -0.05}}  # fmt: skip
    said = cli._rival(rival, "entity_f1")
    assert said == "the teacher: 0.828; this model minus it -0.130 [-0.206, -0.050]"


def test_json_is_one_object(asked, tmp_path):
    ran = run(tmp_path, "--json", "--yes")
    found = json.loads(ran.stdout)
    assert found["rivals"][0]["title"] == "label names" and found["origins"]["rows"]


def test_options_reach_the_work(asked, tmp_path):
    run(tmp_path, "--no-retrieve", "--minutes", "2", "--student", "frozen", "--exclude", "imdb")
    (given,) = asked
    assert (given["retrieve"], given["generate"], given["minutes"]) == (False, True, 2)
    assert (given["student"], given["exclude"]) == ("frozen", ["imdb"])
    assert given["teacher"] == "Qwen2.5-Coder-0.5B-Instruct"


def test_a_test_file_is_read_by_the_labels_of_the_prompt(asked, tmp_path):
    (tmp_path / "mine.csv").write_text("body,verdict\nfine tea,good\nawful tea,bad\n")
    run(tmp_path, "--test", str(tmp_path / "mine.csv"), "--text", "body", "--label", "verdict")
    assert asked[0]["test"].targets == ["good", "bad"]


def test_the_candidates_are_shown_and_one_can_be_named(asked, tmp_path):
    ran = run(tmp_path, "--data-set", "meals")
    assert "  0.90 Meals" in ran.stderr.split("retrieved: 100 rows from Meals")[0]
    found = parts.Finder([]).retrieve(None).candidates
    assert asked[0]["choose"](found) == 0
    run(tmp_path, "--data-set", "none", "--out", str(tmp_path / "other"))
    assert asked[1]["choose"](found) is None
    run(tmp_path, "--data-set", "imbd", "--out", str(tmp_path / "third"))
    with pytest.raises(ValueError, match=r"imbd: not among the 1 that fit best \(Meals"):
        asked[2]["choose"](found)


def test_passages_are_the_lines_that_hold_something(asked, tmp_path):
    (tmp_path / "p.txt").write_text("One\u2028line.\n\n  \nAnother.\n", encoding="utf-8")
    run(tmp_path, "--passages", str(tmp_path / "p.txt"))
    assert asked[0]["passages"] == ["One\u2028line.", "Another."]


@pytest.mark.parametrize(
    ("prompt", "arguments", "words"),
    [
        ("", [], "empty"),
        (PROMPT, ["--test", "missing.csv"], "missing.csv"),
        (PROMPT, ["--passages", "missing.txt"], "missing.txt"),
        ("Nice weather.", ["--test", "missing.csv"], "what to do"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, prompt, arguments, words):
    ran = run(tmp_path, *arguments, prompt=prompt)
    assert ran.exit_code == 1 and ran.stderr.count("\n") == 1 and words in ran.stderr
    assert not (tmp_path / "model").exists()


def test_a_prompt_that_is_missing(tmp_path):
    ran = CliRunner().invoke(app, ["build", str(tmp_path / "no.txt"), "--out", str(tmp_path / "m")])
    assert ran.exit_code == 1 and "no.txt" in ran.stderr


def test_the_command_of_the_readme_is_understood(tmp_path, monkeypatch):
    """What it prints there is from a real run; here it only gets as far as the work."""
    asked = []

    def build(prompt, **given):
        asked.append(given)
        raise ValueError("far enough")

    monkeypatch.setattr(module, "build", build)
    monkeypatch.chdir(Path(__file__).parents[3])
    readme = Path("README.md").read_text("utf-8")
    (command,) = re.findall(r"^\$ \.venv/bin/reptune (build .+)$", readme, re.MULTILINE)
    task = parse_prompt(Path(command.split()[1]).read_text("utf-8"))
    assert task.labels == ("sport", "business", "politics", "tech")
    assert task.prompt.strip() in readme
    ran = CliRunner().invoke(app, command.split())
    assert ran.stderr == "Error: far enough\n"
    assert len(asked[0]["test"]) == 36 and asked[0]["minutes"] == 4
