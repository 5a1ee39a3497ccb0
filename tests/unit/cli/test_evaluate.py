"""`reptune evaluate`: a saved model's score on new rows, and what it says of what does not fit."""

import json

import pytest
from typer.testing import CliRunner

from reptune import EntityTagger, TfidfClassifier
from reptune.cli.main import app
from reptune.folders import MANIFEST
from tests import tiny
from tests.contract.cases import SENTENCES, TAGS
from tests.unit.cli.tables import GOOD, REFUSED, bad_file, check_refused, write


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def folder(tmp_path):
    out = tmp_path / "model"
    table = write(tmp_path / "train.csv", told=0.9)
    ran = run("train", "tfidf", table, "--text", "body", "--label", "team", "--out", out)
    assert ran.exit_code == 0, ran.output
    return out


def test_new_rows_are_read_as_those_of_training_were(folder, tmp_path):
    june = write(tmp_path / "june.csv", 20, random_state=5)
    ran = run("evaluate", folder, june, "--out", tmp_path / "report")
    assert ran.exit_code == 0 and " on 20 rows; majority class 50.0%" in ran.stdout, ran.output
    assert "june.csv" in (tmp_path / "report" / "report.md").read_text()
    assert (tmp_path / "report" / "report.html").is_file() and ran.stderr == ""
    again = run("evaluate", folder, june, "--out", tmp_path / "report")
    assert again.exit_code == 0  # a report is replaced by the next


def test_json_is_one_object_and_nothing_else(folder, tmp_path):
    ran = run("evaluate", folder, write(tmp_path / "june.csv", 20), "--json")
    found = json.loads(ran.stdout)
    assert ran.stdout.count("\n") == 1 and found["folder"] == str(folder)
    assert found["data"]["name"] == "june.csv" and found["score"]["rows"] == 20


def test_the_rows_of_training_are_noted(folder, tmp_path):
    assert "the model was trained on" in run("evaluate", folder, tmp_path / "train.csv").stdout


def test_columns_of_other_names(folder, tmp_path):
    path = write(tmp_path / "june.csv", 20, header=("words", "group"))
    check_refused(run("evaluate", folder, path), "no column 'body'")
    ran = run("evaluate", folder, path, "--text", "words", "--label", "group")
    assert ran.exit_code == 0, ran.output


def test_labels_that_the_model_does_not_know(folder, tmp_path):
    path = write(tmp_path / "june.csv", 30, 3)
    check_refused(run("evaluate", folder, path), "the label 'team 2', which the model does not")


@pytest.mark.parametrize("name", sorted({*REFUSED} - {"one class", "ids"}))
def test_what_cannot_be_read(folder, tmp_path, name):
    before = set(tmp_path.iterdir())
    path, message = bad_file(tmp_path, name)
    check_refused(run("evaluate", folder, path, "--out", tmp_path / "report"), message)
    assert set(tmp_path.iterdir()) == {*before, path}


def test_a_folder_in_use(folder, tmp_path):
    path = write(tmp_path / "june.csv")
    for used in (tmp_path, folder.parent):
        check_refused(run("evaluate", folder, path, "--out", used), "holds something that is not")


def test_folders_that_hold_no_such_model(folder, tmp_path):
    path = tmp_path / "good.csv"
    path.write_text(GOOD)
    check_refused(run("evaluate", tmp_path, path), "is no saved model")
    check_refused(run("evaluate", tmp_path / "none", path), "is not a folder")
    encoder = tiny.save_encoder(tmp_path / "encoder")
    check_refused(run("evaluate", encoder, path), "may be a model to start from")
    tagger = EntityTagger(encoder, num_epochs=1, max_length=16).fit(SENTENCES, TAGS)
    tagged = tagger.save(tmp_path / "tagger")
    ran = run("evaluate", tagged, path, "--text", "body", "--label", "team")
    check_refused(ran, "good.csv holds label, but the model learned tags")


def test_a_model_that_changed_since_it_was_saved(folder, tmp_path):
    path, manifest = write(tmp_path / "june.csv"), folder / MANIFEST
    text = manifest.read_text()
    manifest.write_text(text.replace('"estimate": 0.', '"estimate": 0.9', 1))
    check_refused(run("evaluate", folder, path), "was changed: its seal is not the one")
    manifest.write_text(text)
    (folder / "vocabulary.json").write_text("[]")
    check_refused(run("evaluate", folder, path), "the SHA-256 of vocabulary.json")


def test_a_model_without_a_card(tmp_path):
    model = TfidfClassifier().fit(["key0 a", "key1 b"] * 4, ["team 0", "team 1"] * 4)
    path = write(tmp_path / "june.csv", 20)
    saved = model.save(tmp_path / "m")
    ran = run("evaluate", saved, path, "--text", "body", "--label", "team")
    assert ran.exit_code == 0 and "accuracy 100.0%" in ran.stdout, ran.output


def test_the_help_holds_an_example():
    assert "reptune evaluate ticket-model tickets-of-june.csv" in run("evaluate", "--help").stdout
