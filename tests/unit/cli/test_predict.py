"""`reptune predict`: its arguments, its summary, and what it says of a bad model."""

import json

import pytest
from typer.testing import CliRunner

from reptune import FrozenClassifier, TfidfClassifier
from reptune.cli.main import app
from reptune.folders import MANIFEST
from tests import tiny


@pytest.fixture
def folder(tmp_path):
    return TfidfClassifier().fit(tiny.TEXTS, tiny.LABELS).save(tmp_path / "model")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("id,body\n1,a great film\n2,an awful movie\n3,\n4,a film\n")
    return path


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)], input=stdin)


def test_a_table_becomes_a_table_with_labels(folder, table, tmp_path):
    ran = run(folder, table, "--out", tmp_path / "o.csv", "--text", "body", "--abstain", "0.6")
    assert ran.exit_code == 0, ran.output
    lines = (tmp_path / "o.csv").read_text().splitlines()
    assert lines[0] == "id,body,label,probability,abstained"
    assert [line.split(",")[2] for line in lines[1:4]] == ["positive", "negative", ""]
    assert "4 rows in" in ran.stdout and "rows per second" in ran.stdout
    assert "1 without a text" in ran.stdout and "1  positive" in ran.stdout


def test_json_is_one_object(folder, table, tmp_path):
    out = tmp_path / "o.parquet"
    ran = run(folder, table, "--out", out, "--text", "body", "--prefix", "p_", "--json")
    found = json.loads(ran.stdout)
    assert (found["rows"], found["empty"], found["abstained"]) == (4, 1, 0)
    assert sum(found["labels"].values()) == 3 and found["out"] == str(out)


def test_from_standard_input_to_standard_output(folder):
    ran = run(folder, "-", "--out", "-", "--format", "jsonl", stdin='{"text": "a great film"}\n')
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["label"] == "positive"  # nothing but the table
    assert "1 row in standard output" in ran.stderr


def test_what_a_user_can_cure_is_one_line(folder, table, tmp_path):
    out = ["--out", tmp_path / "o.csv"]
    for arguments, message in [
        ([folder, table, *out], "no column 'text'"),
        ([folder, table, *out, "--text", "bod"], "did you mean 'body'?"),
        ([folder, table, *out, "--text", "body", "--abstain", "often"], "abstain='often'"),
        ([folder, table, *out, "--text", "body", "--abstain", "auto"], "without a threshold"),
        ([folder, table, *out, "--ray", "1", "--several", ";"], "--ray reads a file"),
        ([tmp_path, table, *out], "is no saved model"),
        ([folder, tmp_path / "none.csv", *out], "none.csv does not exist"),
    ]:
        ran = run(*arguments)
        assert ran.exit_code == 1 and message in ran.stderr, ran.output
        assert ran.stderr.count("\n") == 1 and not ran.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "new.csv"]


def test_a_model_that_changed_since_it_was_saved_is_refused(folder, table, tmp_path):
    manifest = folder / MANIFEST
    text = manifest.read_text()
    manifest.write_text(text.replace('"positive"', '"positivf"'))
    ran = run(folder, table, "--out", tmp_path / "o.csv", "--text", "body")
    assert ran.exit_code == 1 and "was changed: its seal is not the one" in ran.stderr
    manifest.write_text(text)
    with (folder / "head.safetensors").open("ab") as file:
        file.write(b"x")
    ran = run(folder, table, "--out", tmp_path / "o.csv", "--text", "body")
    assert ran.exit_code == 1 and "the SHA-256 of head.safetensors" in ran.stderr
    assert not (tmp_path / "o.csv").exists()


def test_the_folder_of_an_export_will_do(tiny_encoder, table, tmp_path):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    from reptune.pipeline.export import export_model

    model = FrozenClassifier(tiny_encoder).fit(tiny.TEXTS, tiny.LABELS)
    export_model(model, tmp_path / "export")
    ran = run(tmp_path / "export", table, "--out", tmp_path / "o.csv", "--text", "body")
    assert ran.exit_code == 0, ran.output
    found = [line.split(",")[2] for line in (tmp_path / "o.csv").read_text().splitlines()[1:]]
    labels = model.predict(["a great film", "an awful movie", "a film"]).tolist()
    assert found == [*labels[:2], "", labels[2]]


def test_the_help_holds_an_example():
    assert "reptune predict ticket-model new.csv --out" in run("--help").stdout
