"""`reptune train`: a folder with a model and its report, or one line that says why not."""

import functools
import json

import pytest
from typer.testing import CliRunner

from reptune import load
from reptune.cli.main import app
from reptune.cli.train import parse_settings
from reptune.pipeline.compare import compare
from tests import tiny
from tests.contract.cases import SENTENCES, TAGS
from tests.unit.cli.tables import READABLE, REFUSED, bad_file, check_refused, write

COLUMNS = ("--text", "body", "--label", "team")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("REPTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))


def run(*arguments):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_a_model_and_its_report(tmp_path):
    out = tmp_path / "model"
    costs = ("--cost-wrong", "5", "--cost-ask", "1")
    ran = run("tfidf", write(tmp_path / "t.csv"), *COLUMNS, "--out", out, *costs)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.startswith("accuracy ") and f"open {out / 'report.html'}" in ran.stdout
    assert ran.stderr == ""
    assert "TF-IDF" in (out / "report.md").read_text() and (out / "report.html").is_file()
    model = load(out)
    assert model.predict(["key1"]).tolist() == ["team 1"]
    assert model.card_["columns"]["text"] == "body"
    assert model.card_["abstention"]["threshold"] == pytest.approx(0.8)


def test_json_is_one_object_and_nothing_else(tmp_path):
    out = tmp_path / "model"
    ran = run("tfidf", write(tmp_path / "t.csv"), *COLUMNS, "--out", out, "--json")
    found = json.loads(ran.stdout)
    assert ran.stdout.count("\n") == 1 and found.pop("folder") == str(out)
    assert found == load(out).card_


def test_settings_are_given_to_the_estimator(tmp_path):
    out = tmp_path / "model"
    settings = ("--set", "C=0.5", "--set", "class_weight=balanced", "--set", "max_features=null")
    ran = run("tfidf", write(tmp_path / "t.csv"), *COLUMNS, "--out", out, *settings)
    assert ran.exit_code == 0, ran.output
    found = load(out)
    assert (found.C, found.class_weight, found.max_features) == (0.5, "balanced", None)
    assert parse_settings(['words={"yes": "Yes"}', "a=b=c"]) == {
        "words": {"yes": "Yes"},
        "a": "b=c",
    }


def test_a_file_to_test_on(tmp_path):
    test = write(tmp_path / "test.csv", 20, random_state=4)
    arguments = (*COLUMNS, "--test", test, "--out", tmp_path / "m", "--json")
    ran = run("tfidf", write(tmp_path / "t.csv"), *arguments)
    assert json.loads(ran.stdout)["splits"]["scored_on"] == 20


def test_auto_takes_what_compare_recommends(tmp_path, monkeypatch):
    only = functools.partial(compare, methods=("tfidf",))
    monkeypatch.setattr("reptune.pipeline.compare.compare", only)
    out = tmp_path / "model"
    ran = run("auto", write(tmp_path / "t.csv"), *COLUMNS, "--out", out)
    assert ran.exit_code == 0, ran.output
    assert "Take TF-IDF" in ran.stderr and "Take TF-IDF" not in ran.stdout
    card = load(out).card_
    assert card["method"]["name"] == "tfidf"
    assert any(note.startswith("The method was chosen on") for note in card["data"]["notes"])


def test_several_labels(tmp_path):
    folder = tiny.save_encoder(tmp_path / "encoder")
    path = tmp_path / "t.csv"
    lists = ["good", "bad;film", "", "film"]
    rows = [f"{text} {'very ' * row},{lists[row % 4]}\n" for row, text in enumerate(tiny.TEXTS)]
    path.write_text("text,label\n" + "".join(rows))
    arguments = ("--several", ";", "--model", folder, "--out", tmp_path / "m")
    ran = run("frozen", path, *arguments)
    assert ran.exit_code == 0 and ran.stdout.startswith("micro"), ran.output
    assert load(tmp_path / "m").classes_.tolist() == ["bad", "film", "good"]


def test_pairs(tmp_path):
    folder = tiny.save_masked_lm(tmp_path / "lm")
    path = tmp_path / "t.jsonl"
    rows = [
        {"text": f"{text} {'very ' * row}", "reply": "not bad", "label": label}
        for row, (text, label) in enumerate(zip(tiny.TEXTS, tiny.LABELS, strict=True))
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    words = 'words={"positive": "good", "negative": "bad"}'
    arguments = ("--text2", "reply", "--model", folder, "--set", words, "--set", "num_steps=2")
    ran = run("prompt", path, *arguments, "--out", tmp_path / "m")
    assert ran.exit_code == 0, ran.output
    assert "{text2}" in load(tmp_path / "m").template


def test_tagged_sentences(tmp_path):
    folder = tiny.save_encoder(tmp_path / "encoder")
    path = tmp_path / "t.conll"
    blocks = ["\n".join(map("\t".join, zip(*pair, strict=True)))
              for pair in zip(SENTENCES, TAGS, strict=True)]  # fmt: skip
    path.write_text("\n\n".join(blocks) + "\n")
    arguments = ("--model", folder, "--set", "num_epochs=1", "--set", "max_length=16")
    ran = run("auto", path, *arguments, "--out", tmp_path / "m")
    assert ran.exit_code == 0, ran.output
    assert load(tmp_path / "m").card_["kind"] == "tags"


@pytest.mark.parametrize("name", READABLE)
def test_what_can_be_read(tmp_path, name):
    path = tmp_path / "mine.csv"
    path.write_bytes(READABLE[name].encode())
    ran = run("tfidf", path, *COLUMNS, "--out", tmp_path / "m")
    assert ran.exit_code == 0, ran.output
    assert load(tmp_path / "m").predict(["key1"]).tolist() == ["team 1"]


def test_a_thousand_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("reptune.baselines.MAX_ITERATIONS", 1)  # what matters is what is around it
    path = write(tmp_path / "t.csv", 2_000, 1_000)
    ran = run("tfidf", path, *COLUMNS, "--out", tmp_path / "m", "--set", "ngrams=1")
    assert ran.exit_code == 0, ran.output
    assert len(load(tmp_path / "m").classes_) == 1_000


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read(tmp_path, name):
    path, message = bad_file(tmp_path, name)
    check_refused(run("tfidf", path, *COLUMNS, "--out", tmp_path / "m"), message)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("tfidff", [], "there is no method 'tfidff', did you mean 'tfidf'"),
        ("tagger", [], "tagger does not take one label per text"),
        ("tfidf", ["--set", "C"], "--set C: write name=value"),
        ("tfidf", ["--set", "c=1"], "no parameter 'c', did you mean 'C'"),
        ("tfidf", ["--set", "C=-1"], "C=-1"),
        ("tfidf", ["--model", "x"], "no parameter 'model'"),
        ("tfidf", ["--cost-wrong", "5"], "give both costs"),
        ("auto", ["--cost-wrong", "1", "--cost-ask", "2"], "asking would never pay"),
        ("auto", ["--minutes", "0"], "minutes=0.0"),
        ("frozen", ["--model", "all-MiniLM-L6-v3"], "all-MiniLM-L6-v"),
        ("tfidf", ["--test", "none.csv"], "none.csv does not exist"),
    ],
)
def test_bad_options(tmp_path, method, arguments, message):
    path = write(tmp_path / "t.csv")
    check_refused(run(method, path, *COLUMNS, "--out", tmp_path / "m", *arguments), message)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("method", ["tfidf", "auto"])
def test_a_folder_in_use(tmp_path, method):
    path = write(tmp_path / "t.csv")
    message = "holds something that is not a saved model"
    check_refused(run(method, path, *COLUMNS, "--out", tmp_path), message)
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_is_replaced_by_the_next(tmp_path):
    path, out = write(tmp_path / "t.csv"), tmp_path / "m"
    for value in (1, 2):
        assert run("tfidf", path, *COLUMNS, "--out", out, "--set", f"C={value}").exit_code == 0
    assert load(out).C == 2 and {each.name for each in tmp_path.iterdir()} == {"t.csv", "m"}


def test_a_full_disk(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    path, out = write(tmp_path / "t.csv"), tmp_path / "m"
    for place in ("reptune.baselines.save_file", "reptune.pipeline.training.write_report"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            ran = run("tfidf", path, *COLUMNS, "--out", out)
        check_refused(ran, f"{out} could not be written")
        assert "free some space" in ran.stderr and list(tmp_path.iterdir()) == [path]


def test_the_help_holds_an_example():
    assert "reptune train frozen tickets.csv --text body --label team" in run("--help").stdout
