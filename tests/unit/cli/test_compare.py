"""`reptune compare`: its table and advice, its one JSON object, and what it says of bad files."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from reptune.cli.main import app
from tests.unit.cli.tables import READABLE, REFUSED, bad_file, check_refused, write
from tests.unit.pipeline.tables import texts_and_labels

COLUMNS = ("--text", "body", "--label", "team", "--methods", "tfidf")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("REPTUNE_CACHE", str(folder))
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_a_table_and_a_sentence(tmp_path):
    ran = run(write(tmp_path / "t.csv"), *COLUMNS, "--dollars-per-hour", "0.5")
    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    assert lines[0].split()[:2] == ["method", "accuracy"] and "$ per million" in lines[0]
    assert lines[1].startswith("majority class") and lines[2].startswith("TF-IDF")
    assert any(line.startswith("Take TF-IDF (`train tfidf`)") for line in lines)
    assert "on rows that had no part in it" in lines[-1] and "(60 rows" in lines[-1]
    assert ran.stderr == "TF-IDF …\n"


def test_json_is_one_object_and_nothing_else(tmp_path):
    ran = run(write(tmp_path / "t.csv"), *COLUMNS, "--json")
    found = json.loads(ran.stdout)
    assert ran.stdout.count("\n") == 1 and "NaN" not in ran.stdout and "Infinity" not in ran.stdout
    assert {"recommended", "score", "interval", "rows"} <= set(found)
    assert (found["recommended"], found["rows"]) == ("tfidf", 60)


def test_shuffled_labels_have_nothing_to_learn(tmp_path):
    texts, labels = texts_and_labels(60)
    labels = np.random.default_rng(0).permutation(labels)
    path = tmp_path / "t.csv"
    rows = [f"{text},{label}\n" for text, label in zip(texts, labels, strict=True)]
    path.write_text("body,team\n" + "".join(rows))
    ran = run(path, *COLUMNS, "--json")
    found = json.loads(ran.stdout)
    assert found["recommended"] is None and found["advice"].startswith("Nothing beats")


def test_too_little_time_is_said(tmp_path):
    ran = run(write(tmp_path / "t.csv"), *COLUMNS, "--minutes", "1e-9")
    assert ran.exit_code == 0 and "not run: tfidf: no time was left" in ran.stdout
    assert "No method was run" in ran.stdout


def test_a_second_run_reads_the_journal(tmp_path, cache, monkeypatch):
    path = write(tmp_path / "t.csv")
    first = json.loads(run(path, *COLUMNS, "--json").stdout)
    assert len(list((cache / "compare").glob("*.jsonl"))) == 1

    def fail(*args):
        raise AssertionError("a fit was repeated")

    monkeypatch.setattr("reptune.TfidfClassifier.fit", fail)
    again = json.loads(run(path, *COLUMNS, "--json").stdout)
    assert again | {"seconds": 0} == first | {"seconds": 0}


@pytest.mark.parametrize("name", sorted({*READABLE} - {"a cell of 5 megabytes"}))  # see test_train
def test_what_can_be_read(tmp_path, name):
    path = tmp_path / "mine.csv"
    path.write_bytes(READABLE[name].encode())
    ran = run(path, *COLUMNS, "--json")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["rows"] in (30, 31)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read(tmp_path, name, cache):
    path, message = bad_file(tmp_path, name)
    check_refused(run(path, *COLUMNS), message)
    assert list(tmp_path.iterdir()) == [path] and not (cache / "compare").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "minutes=0.0"),
        (["--max-rows", "2"], "max_rows=2"),
        (["--methods", "tfidf,forest"], "methods holds 'forest'"),
        (["--dollars-per-hour", "nan"], "dollars_per_hour=nan"),
        (["--separator", "--"], "separator='--'"),
        (["--model", "no/such/folder/at/all"], "no/such/folder"),
    ],
)
def test_bad_options(tmp_path, arguments, message):
    check_refused(run(write(tmp_path / "t.csv"), *COLUMNS, *arguments), message)


def test_a_full_disk_while_the_journal_is_written(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reptune.pipeline.fits.Journal.add", full)
    ran = run(write(tmp_path / "t.csv"), *COLUMNS)
    assert ran.exit_code == 1 and "Error: [Errno 28] No space left on device" in ran.stderr


def test_methods_may_have_spaces_between_them(tmp_path):
    ran = run(write(tmp_path / "t.csv"), *COLUMNS[:-1], " tfidf , tfidf", "--json")
    assert [row["name"] for row in json.loads(ran.stdout)["methods"]] == ["majority", "tfidf"]


def test_the_help_holds_an_example():
    assert "reptune compare tickets.csv --text body --label team" in run("--help").stdout
