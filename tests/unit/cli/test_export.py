"""`reptune export`: what it prints, writes and refuses."""

import json

import pytest
from typer.testing import CliRunner

from reptune.baselines import TfidfClassifier
from reptune.cli.main import app
from reptune.fewshot import FrozenClassifier
from reptune.ner import EntityTagger
from reptune.pipeline.onnx_runner import Runner
from tests import tiny
from tests.contract import cases


@pytest.fixture(scope="module")
def model(tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "mine"
    classifier = FrozenClassifier(tiny_encoder).fit(tiny.TEXTS, tiny.LABELS)
    classifier.card_ = {"kind": "label", "columns": {"text": "body", "label": "team"}}
    return classifier.save(folder)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "held-out.csv"
    rows = [f"{text},{label}" for text, label in zip(tiny.TEXTS, tiny.LABELS, strict=True)]
    path.write_text("\n".join(["body,team", *rows]), encoding="utf-8")
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_columns_are_those_of_training(model, table, tmp_path):
    done = run(model, "--to", "onnx", "--check", table, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["score"]["metric"] == "accuracy"
    assert found["compared_on"] == len(tiny.TEXTS)
    assert found["folder"] == str(tmp_path / "out")
    assert Runner(tmp_path / "out").card["columns"]["text"] == "body"


def test_without_rows_it_says_that_no_score_was_measured(model):
    done = run(model, "--to", "onnx")
    assert done.exit_code == 0, done.stderr
    assert "no score was measured" in done.stdout
    assert "| PyTorch |" in done.stdout
    assert (model.parent / "mine-onnx" / "runner.py").is_file()


def test_a_tagger_and_its_sentences(tiny_encoder, tmp_path):
    tagger = EntityTagger(tiny_encoder, max_length=16, num_epochs=1, random_state=0)
    tagger.fit(cases.SENTENCES, cases.TAGS).save(tmp_path / "tagger")
    lines = [
        "".join(f"{word} {tag}\n" for word, tag in zip(words, tags, strict=True))
        for words, tags in zip(cases.SENTENCES, cases.TAGS, strict=True)
    ]
    (tmp_path / "held-out.conll").write_text("\n".join(lines), encoding="utf-8")
    done = run(tmp_path / "tagger", "--to", "onnx", "--check", tmp_path / "held-out.conll")
    assert done.exit_code == 0, done.stderr
    assert "Entity f1 with 95% interval" in done.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--to", "onx"], "to='onx', did you mean 'onnx'?; use onnx or onnx-int8"),
        (["--to", "onnx", "--text", "bdy"], "body"),
        (["--to", "onnx", "--check", "none.csv"], "none.csv"),
    ],
)
def test_errors_are_one_line(model, table, tmp_path, changes, message):
    done = run(model, "--check", table, "--out", tmp_path / "out", *changes)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_counted_words(table, tmp_path):
    model = TfidfClassifier().fit(tiny.TEXTS, tiny.LABELS)
    model.card_ = {"kind": "label", "columns": {"text": "body", "label": "team"}}
    folder = model.save(tmp_path / "counted")
    done = run(folder, "--to", "onnx", "--check", table)
    assert done.exit_code == 0, done.stderr
    assert "| scikit-learn |" in done.stdout
    runner = Runner(tmp_path / "counted-onnx")
    assert runner.predict(tiny.TEXTS).tolist() == model.predict(tiny.TEXTS).tolist()
    done = run(folder, "--to", "onnx-int8")
    assert done.exit_code == 1
    assert "has no onnx-int8" in done.stderr
    assert not (tmp_path / "counted-onnx-int8").exists()


def test_a_folder_that_holds_no_model(tmp_path):
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / "empty", "--to", "onnx")
    assert done.exit_code == 1
    assert "is no saved model" in done.stderr


def test_the_help_has_an_example():
    done = run("--help")
    assert done.exit_code == 0
    assert "reptune export ticket-model --to onnx-int8 --check" in done.stdout
