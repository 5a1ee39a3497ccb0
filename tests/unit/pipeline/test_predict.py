"""Predicting for a table: every format, kills, full disks, and several processes."""

import builtins
import csv
import errno
import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import filelock
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import reptune
from reptune import FineTunedClassifier, PromptTunedClassifier, TfidfClassifier
from reptune.cloze import PromptTunedRegressor
from reptune.fewshot import FrozenClassifier
from reptune.ner import EntityTagger
from reptune.pipeline import predict as module
from reptune.pipeline import shards
from reptune.pipeline.exported import EXPORTED
from reptune.pipeline.predict import predict_file, predict_on_ray
from tests import tiny

ROWS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved classifier."""
    return TfidfClassifier().fit(tiny.TEXTS, tiny.LABELS).save(tmp_path_factory.mktemp("m") / "m")


@pytest.fixture
def table(tmp_path):
    """A CSV file with whatever CSV can hold; the row with the id 7 has no text."""
    path = tmp_path / "new.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "note"])
        for number in range(ROWS):
            text = " " if number == 7 else tiny.TEXTS[number % len(tiny.TEXTS)]
            writer.writerow([number, text, 'a "quote", é\nand a line' if number % 3 else ""])
    return path


def read(path: Path) -> list[dict]:
    """The rows of what was written, by other means than the package's."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = raw.decode()
    if ".jsonl" in path.name:
        return [json.loads(line) for line in text.splitlines()]
    separator = "\t" if ".tsv" in path.name else ","
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))


@pytest.mark.parametrize(
    "name", ["o.csv", "o.tsv", "o.jsonl", "o.parquet", "o.csv.gz", "o.tsv.gz", "o.jsonl.gz"]
)
def test_every_format_holds_all_columns_and_what_the_model_says(folder, table, tmp_path, name):
    done = predict_file(folder, table, tmp_path / name, shard_rows=9)
    model, given, rows = reptune.load(folder), read(table), read(tmp_path / name)
    assert [{k: row[k] for k in ("id", "text", "note")} for row in rows] == given
    texts = [row["text"] for row in given if row["text"].strip()]
    scored = [row for row in rows if row["text"].strip()]
    assert [row["label"] for row in scored] == model.predict(texts).tolist()
    shares = [float(row["probability"]) for row in scored]
    np.testing.assert_allclose(shares, model.predict_proba(texts).max(axis=1), rtol=1e-5)
    (blank,) = [row for row in rows if not row["text"].strip()]
    assert blank["label"] in ("", None) and blank["probability"] in ("", None)
    assert (done.rows, done.empty, done.abstained, done.continued) == (ROWS, 1, 0, 0)
    assert sum(done.labels.values()) == ROWS - 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["new.csv", name])


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.parquet"])
def test_the_same_call_gives_the_same_bytes(folder, table, tmp_path, name):
    predict_file(folder, table, tmp_path / name, shard_rows=9)
    first = (tmp_path / name).read_bytes()
    predict_file(folder, table, tmp_path / name, shard_rows=9)
    assert (tmp_path / name).read_bytes() == first


def test_what_is_predicted_can_be_read_and_predicted_for_again(folder, table, tmp_path):
    names = ["1.parquet", "2.jsonl.gz", "3.tsv", "4.csv"]
    for before, after in zip([table, *(tmp_path / name for name in names)], names, strict=False):
        predict_file(folder, before, tmp_path / after, prefix=f"p{after[0]}_")
    for row in read(tmp_path / "4.csv"):
        assert row["p1_label"] == row["p2_label"] == row["p3_label"] == row["p4_label"]
        assert row["p1_probability"] == row["p2_probability"] == row["p4_probability"]


def test_streams_give_the_bytes_of_a_file(folder, table, tmp_path):
    predict_file(folder, table, tmp_path / "o.csv", shard_rows=9)
    with table.open("rb") as source:
        out = io.BytesIO()
        done = predict_file(folder, source, out, shard_rows=9)
    assert out.getvalue() == (tmp_path / "o.csv").read_bytes()
    assert done.rows == ROWS
    rows = b'{"text": "a great film", "n": 1}\n{"text": "dull", "m": [2]}\n'
    out = io.BytesIO()
    predict_file(folder, io.BytesIO(rows), out, kind="jsonl")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first["label"] == "positive" and first["n"] == 1
    assert second["label"] == "negative" and second["m"] == [2]
    predict_file(folder, io.BytesIO(table.read_bytes()), tmp_path / "p.csv", shard_rows=9)
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "o.csv").read_bytes()
    with pytest.raises(ValueError, match="cannot write 'parquet' to a stream"):
        predict_file(folder, table, io.BytesIO(), kind="parquet")


def test_parquet_keeps_its_types(folder, tmp_path):
    columns = {
        "text": pa.array(["a great film", None, "dull"]),
        "id": pa.array([1, None, 3], pa.int32()),
        "when": pa.array([0, 1, None], pa.timestamp("us", "UTC")),
        "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
        "parts": pa.array([[1.5], [], None], pa.list_(pa.float32())),
    }
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "new.parquet")
    predict_file(folder, tmp_path / "new.parquet", tmp_path / "o.parquet", shard_rows=2)
    found = pq.read_table(tmp_path / "o.parquet")
    kept = found.select(table.column_names)
    assert kept.schema == table.schema and kept.to_pylist() == table.to_pylist()
    assert found.column_names == [*table.column_names, "label", "probability"]
    assert found["label"].to_pylist() == ["positive", None, "negative"]
    assert pq.ParquetFile(tmp_path / "o.parquet").num_row_groups == 2
    predict_file(folder, tmp_path / "new.parquet", tmp_path / "o.csv")
    assert read(tmp_path / "o.csv")[0] | {"label": "", "probability": ""} == {
        "text": "a great film", "id": "1", "when": "1970-01-01 00:00:00+00:00", "kind": "a",
        "parts": "[1.5]", "label": "", "probability": "",
    }  # fmt: skip


def test_integer_labels_stay_integers(table, tmp_path):
    labels = [int(label == "positive") for label in tiny.LABELS]
    folder = TfidfClassifier().fit(tiny.TEXTS, labels).save(tmp_path / "m")
    predict_file(folder, table, tmp_path / "o.parquet")
    assert pq.read_schema(tmp_path / "o.parquet").field("label").type == pa.int64()
    predict_file(folder, table, tmp_path / "o.jsonl")
    assert {row["label"] for row in read(tmp_path / "o.jsonl")} == {0, 1, None}


def test_the_card_names_columns_and_threshold(table, tmp_path):
    model = TfidfClassifier().fit(tiny.TEXTS, tiny.LABELS)
    folder = model.save(tmp_path / "plain")
    with pytest.raises(ValueError, match="was saved without a threshold"):
        predict_file(folder, table, tmp_path / "o.csv", abstain="auto")
    threshold = float(np.median(model.predict_proba(tiny.TEXTS).max(axis=1)))
    model.card_ = {"columns": {"text": "body"}, "abstention": {"threshold": threshold}}
    folder = model.save(tmp_path / "m")
    table.write_text(table.read_text("utf-8").replace("id,text,note", "id,body,note"), "utf-8")
    done = predict_file(folder, table, tmp_path / "o.csv", abstain="auto")
    rows = [row for row in read(tmp_path / "o.csv") if row["body"].strip()]
    assert 0 < done.abstained < done.rows
    assert sum(row["abstained"] == "true" for row in rows) == done.abstained
    for row in rows:
        doubtful = row["abstained"] == "true"
        assert (row["label"] == "") == doubtful
        assert (float(row["probability"]) < threshold + 1e-6) == doubtful
    assert sum(done.labels.values()) == ROWS - 1 - done.abstained
    with pytest.raises(ValueError, match=r"abstain=7"):
        predict_file(folder, table, tmp_path / "o.csv", abstain=7)


def test_several_labels_per_text(tiny_encoder, table, tmp_path):
    labels = [["all", label] if place % 2 else ["all"] for place, label in enumerate(tiny.LABELS)]
    model = FineTunedClassifier(tiny_encoder, num_epochs=1, random_state=0)
    folder = model.fit(tiny.TEXTS, labels).save(tmp_path / "m")
    for name in ("o.csv", "o.jsonl", "o.parquet"):
        predict_file(folder, table, tmp_path / name, several="|")
    rows = read(tmp_path / "o.jsonl")
    texts = [row["text"] for row in rows if row["text"].strip()]
    assert [row["label"] for row in rows if row["text"].strip()] == model.predict(texts)
    assert read(tmp_path / "o.parquet") == rows
    for row, line in zip(rows, read(tmp_path / "o.csv"), strict=True):
        assert line["label"] == "|".join(row["label"])
        assert [float(share) for share in line["probability"].split("|") if share] == row[
            "probability"
        ]
        assert len(row["label"]) == len(row["probability"])
    with pytest.raises(ValueError, match="label 'all' holds 'l', which joins labels"):
        predict_file(folder, table, tmp_path / "o.csv", several="l")
    with pytest.raises(ValueError, match="give each text one label"):
        predict_file(folder, table, tmp_path / "o.csv", abstain=0.5)


def test_a_tagger_adds_entities(tiny_encoder, table, tmp_path):
    words = [text.split() for text in tiny.TEXTS]
    tags = [["B-THING" if word in ("film", "plot") else "O" for word in row] for row in words]
    model = EntityTagger(
        tiny_encoder, num_epochs=12, learning_rate=1e-2, max_length=None, random_state=0
    )
    folder = model.fit(words, tags).save(tmp_path / "m")
    done = predict_file(folder, table, tmp_path / "o.jsonl")
    found = [entity for row in read(tmp_path / "o.jsonl") for entity in row["entities"]]
    assert found and done.labels == {"THING": len(found)}
    for row in read(tmp_path / "o.jsonl"):
        for entity in row["entities"]:
            assert row["text"][entity["start"] : entity["end"]] == entity["text"]
            assert entity["type"] == "THING" and 0 < entity["probability"] <= 1
    predict_file(folder, table, tmp_path / "o.csv")
    predict_file(folder, table, tmp_path / "o.parquet")
    assert read(tmp_path / "o.parquet") == read(tmp_path / "o.jsonl")
    lines = [json.loads(row["entities"]) for row in read(tmp_path / "o.csv")]
    assert lines == [row["entities"] for row in read(tmp_path / "o.jsonl")]


def test_pairs(tiny_masked_lm, tmp_path):
    pairs = list(zip(tiny.GOOD, tiny.BAD, strict=True)) + list(
        zip(tiny.BAD, tiny.GOOD, strict=True)
    )
    model = PromptTunedClassifier(
        tiny_masked_lm, template="{text} was {mask} not {text2}", num_steps=2, random_state=0,
        words={"first": "good", "second": "bad"},
    )  # fmt: skip
    folder = model.fit(pairs, ["first"] * 8 + ["second"] * 8).save(tmp_path / "m")
    source = tmp_path / "new.jsonl"
    source.write_text("".join(json.dumps({"a": a, "b": b}) + "\n" for a, b in [*pairs, ("x", "")]))
    with pytest.raises(ValueError, match="reads pairs of texts; name the column of the second"):
        predict_file(folder, source, tmp_path / "o.jsonl", text="a")
    done = predict_file(folder, source, tmp_path / "o.jsonl", text="a", text2="b")
    labels = [row["label"] for row in read(tmp_path / "o.jsonl")]
    assert labels == [*model.predict(pairs).tolist(), None] and done.empty == 1


def test_models_that_give_no_labels_and_texts_too_many(tiny_masked_lm, folder, table, tmp_path):
    model = PromptTunedRegressor(tiny_masked_lm, template="{text} {mask}", words=["bad", "good"],
                                 num_steps=1)  # fmt: skip
    regressor = model.fit(tiny.TEXTS, [0.1, 0.9] * 8).save(tmp_path / "r")
    with pytest.raises(ValueError, match="holds a PromptTunedRegressor, which gives no labels"):
        predict_file(regressor, table, tmp_path / "o.csv")
    with pytest.raises(ValueError, match=r"text2='note', but .* reads one text"):
        predict_file(folder, table, tmp_path / "o.csv", text2="note")


def test_what_is_wrong_is_said_before_anything_is_scored(folder, table, tmp_path, monkeypatch):
    monkeypatch.setattr(module.Scorer, "encoded", None)  # it must not come so far
    bad = tmp_path / "bad.jsonl"
    for line, message in [
        ('{"text": 3}', r"bad.jsonl, line 12: column 'text' holds 3, a int"),
        ('{"text": "a", "label": 1}', r"bad.jsonl, line 12 has a column 'label' already"),
        ('{"text": "a", "more": 1}', r"line 12 has the field 'more', which the first line lacks"),
        ("{", r"bad.jsonl, line 12 is not JSON"),
    ]:
        bad.write_text('{"text": "a film"}\n' * 11 + line)
        with pytest.raises(ValueError, match=message):
            predict_file(folder, bad, tmp_path / "o.csv", shard_rows=2)
    table.write_text("text,label\na,b\n")
    for arguments, message in [
        ({}, "the table has a column 'label' already; .* such as 'predicted_'"),
        ({"text": "txt", "prefix": "p_"}, "has no column 'txt', did you mean 'text'"),
        ({"out": table}, "is the input; choose another file"),
        ({"out": tmp_path}, "is a folder"),
        ({"out": tmp_path / "o.xlsx"}, r"cannot write o.xlsx; name a file in one of .csv"),
        ({"out": tmp_path / "o.parquet.gz"}, "cannot write o.parquet.gz"),
        ({"shard_rows": 0, "prefix": "p_"}, "shard_rows=0"),
    ]:
        with pytest.raises(ValueError, match=message):
            predict_file(folder, table, **{"out": tmp_path / "o.csv", **arguments})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "new.csv"]


# --- exports -------------------------------------------------------------------------------------


def exported(model, folder: Path) -> Path:
    """The folder of an export, for which onnx is needed."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    from reptune.pipeline.export import export_model

    export_model(model, folder)
    return folder


@pytest.fixture(scope="module")
def pair(tiny_encoder, tmp_path_factory):
    """The folders of a classifier with a card and of its export."""
    model = FrozenClassifier(tiny_encoder).fit(tiny.TEXTS, tiny.LABELS)
    model.temperature_ = 2.0
    threshold = float(np.sort(model.predict_proba(tiny.TEXTS).max(axis=1))[2:4].mean())
    model.card_ = {"columns": {"text": "body"}, "abstention": {"threshold": threshold}}
    folder = tmp_path_factory.mktemp("pair")
    return model.save(folder / "model"), exported(model, folder / "export")


def check_same(found: list, expected: list) -> None:
    """Compare rows: all is equal, but the probabilities may differ in the last digits."""
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            np.array(one.pop("probability") or 0, float),
            np.array(other.pop("probability") or 0, float), rtol=1e-4,
        )  # fmt: skip
        assert one == other


def test_an_export_predicts_as_its_model(pair, table, tmp_path):
    table.write_text(table.read_text("utf-8").replace("id,text,note", "id,body,note"), "utf-8")
    outs = [tmp_path / "model.csv", tmp_path / "export.csv"]
    done = [
        predict_file(folder, table, out, abstain="auto", shard_rows=9)
        for folder, out in zip(pair, outs, strict=True)
    ]
    assert 0 < done[0].abstained < ROWS - 1 and len(done[0].labels) == 2
    assert (done[1].abstained, done[1].labels) == (done[0].abstained, done[0].labels)
    check_same(*map(read, outs))


def test_an_export_with_several_labels_predicts_as_its_model(tiny_encoder, table, tmp_path):
    labels = [["odd", label] if place % 2 else [label] for place, label in enumerate(tiny.LABELS)]
    model = FrozenClassifier(tiny_encoder).fit(tiny.TEXTS, labels)
    shares = np.sort(model.predict_proba(tiny.TEXTS), axis=0)
    model.thresholds_ = shares[7:9].mean(axis=0)  # half of the texts get each label
    predict_file(model.save(tmp_path / "m"), table, tmp_path / "model.jsonl")
    predict_file(exported(model, tmp_path / "e"), table, tmp_path / "export.jsonl")
    rows = read(tmp_path / "export.jsonl")
    assert len({tuple(row["label"]) for row in rows}) > 2
    check_same(rows, read(tmp_path / "model.jsonl"))


def test_an_exported_tagger_predicts_as_its_model(tiny_encoder, table, tmp_path):
    words = [text.split() for text in tiny.TEXTS]
    tags = [["B-THING" if word in ("film", "plot") else "O" for word in row] for row in words]
    model = EntityTagger(
        tiny_encoder, num_epochs=12, learning_rate=1e-2, max_length=None, random_state=0
    ).fit(words, tags)
    predict_file(model.save(tmp_path / "m"), table, tmp_path / "model.jsonl")
    predict_file(exported(model, tmp_path / "e"), table, tmp_path / "export.jsonl")
    found, expected = (
        [entity for row in read(tmp_path / name) for entity in row["entities"]]
        for name in ("export.jsonl", "model.jsonl")
    )
    check_same(found, expected)


def test_a_run_from_an_export_continues_with_the_same_export_only(pair, table, tmp_path):
    folder, out = tmp_path / "export", tmp_path / "o.csv"
    shutil.copytree(pair[1], folder)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(folder, table, out, text="text", shard_rows=10, progress=stop)
    manifest = folder / EXPORTED
    written = manifest.read_text()
    assert '"temperature": 2.0' in written
    manifest.write_text(written.replace('"temperature": 2.0', '"temperature": 1.0'))
    with pytest.raises(ValueError, match="which had another model;"):
        predict_file(folder, table, out, text="text", shard_rows=10)
    with pytest.raises(ValueError, match="another device or number of threads and another model;"):
        predict_file(pair[0], table, out, text="text", shard_rows=10)
    manifest.write_text(written)
    done = predict_file(folder, table, out, text="text", shard_rows=10)
    assert done.continued == 10
    predict_file(folder, table, tmp_path / "whole.csv", text="text", shard_rows=10)
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_an_export_that_is_damaged_or_cannot_be_run(pair, table, tmp_path, monkeypatch):
    folder = tmp_path / "export"
    shutil.copytree(pair[1], folder)
    manifest = folder / EXPORTED
    written = manifest.read_text()
    for text, message in [
        ("{", "holds no exported model"),
        (written.replace('"classes"', '"clases"'), r"damaged export \(KeyError: 'classes'\)"),
    ]:
        manifest.write_text(text)
        with pytest.raises(ValueError, match=message):
            predict_file(folder, table, tmp_path / "o.csv")
    manifest.write_text(written)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(ValueError, match=r"needs onnxruntime; install reptune\[export\]"):
            predict_file(folder, table, tmp_path / "o.csv")
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"model\.onnx is missing or was changed; export the"):
        predict_file(folder, table, tmp_path / "o.csv")
    assert not (tmp_path / "o.csv").exists()


# --- interruptions -------------------------------------------------------------------------------

RUN = """
import sys, time
from reptune.pipeline.predict import predict_file
model, source, out, wait = sys.argv[1:]
predict_file(model, source, out, shard_rows=5, progress=lambda *done: time.sleep(float(wait)))
"""


def start(*arguments, code=RUN) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, stderr=subprocess.PIPE
    )


def wait_for(path: Path, process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["o.csv", "o.parquet"])
def test_a_killed_run_continues_and_gives_the_same_bytes(tiny_encoder, table, tmp_path, name):
    model = FineTunedClassifier(tiny_encoder, num_epochs=1, random_state=0)
    folder = model.fit(tiny.TEXTS, tiny.LABELS).save(tmp_path / "m")
    whole, out = tmp_path / f"whole-{name}", tmp_path / name
    predict_file(folder, table, whole, shard_rows=5)
    out.write_text("what was there before")
    process = start(folder, table, out, 0.5)
    parts = tmp_path / f"{name}.parts"
    wait_for(parts / f"00002{out.suffix}", process)
    with pytest.raises(ValueError, match="another run is writing"):
        predict_file(folder, table, out, shard_rows=5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert out.read_text() == "what was there before"
    stamps = {path.name: path.stat().st_mtime_ns for path in parts.glob(f"*{out.suffix}")}
    assert 3 <= len(stamps) < ROWS // 5
    told = []
    done = predict_file(folder, table, out, shard_rows=5, progress=lambda *now: told.append(now))
    assert out.read_bytes() == whole.read_bytes()
    assert not parts.exists()
    assert done.continued == 5 * len(stamps) and done.rows == ROWS
    assert told[-1] == (ROWS - done.continued,) * 2 and len(told) == ROWS // 5 - len(stamps)


@pytest.fixture
def interrupted(folder, table, tmp_path):
    """The output of a run that ended after two shards."""

    def stop(done, total):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(folder, table, tmp_path / "o.csv", shard_rows=10, progress=stop)
    assert len(list((tmp_path / "o.csv.parts").glob("0*.csv"))) == 2
    return tmp_path / "o.csv"


def test_a_run_continues_only_what_it_would_have_done(interrupted, folder, table, tmp_path):
    changed = TfidfClassifier(C=1.0).fit(tiny.TEXTS, tiny.LABELS).save(tmp_path / "changed")
    for arguments, message in [
        ({"model": changed}, "which had another model;.*--restart"),
        ({"shard_rows": 11}, "which had another set of options"),
        ({"abstain": 0.6}, "which had another set of options"),
    ]:
        given = {"model": folder, "shard_rows": 10, **arguments}
        with pytest.raises(ValueError, match=message):
            predict_file(source=table, out=interrupted, **given)
    text = table.read_bytes()
    table.write_bytes(text.replace(b"good", b"poor"))
    with pytest.raises(ValueError, match="which had another table"):
        predict_file(folder, table, interrupted, shard_rows=10)
    done = predict_file(folder, table, interrupted, shard_rows=10, restart=True)
    assert done.continued == 0 and len(read(interrupted)) == ROWS
    assert not interrupted.with_name("o.csv.parts").exists()


def test_a_stream_is_not_continued(folder, table, tmp_path):
    def stop(done, total):
        assert total is None
        raise KeyboardInterrupt

    out = tmp_path / "o.csv"
    with pytest.raises(KeyboardInterrupt):
        predict_file(folder, io.BytesIO(table.read_bytes()), out, shard_rows=9, progress=stop)
    other = io.BytesIO(b"text\na great film\n")
    assert predict_file(folder, other, out, shard_rows=9).rows == 1
    assert len(read(out)) == 1


def test_a_folder_of_parts_that_is_not_ours_stays(folder, table, tmp_path):
    parts = tmp_path / "o.csv.parts"
    parts.mkdir()
    (parts / "mine.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds something that predict did not write"):
        predict_file(folder, table, tmp_path / "o.csv", restart=True)
    assert (parts / "mine.txt").read_text() == "dear"


def test_a_table_that_changes_meanwhile_is_noticed(folder, table, tmp_path):
    def change(done, total):
        with table.open("a") as file:
            file.write("99,one more,\n")

    with pytest.raises(ValueError, match="was changed while it was read"):
        predict_file(folder, table, tmp_path / "o.csv", progress=change)
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize("name", ["o.csv", "o.parquet"])
@pytest.mark.parametrize("full_at", ["00002", "whole"])
def test_a_full_disk_leaves_no_output_and_the_run_continues(
    folder, table, tmp_path, monkeypatch, name, full_at
):
    out = tmp_path / name
    predict_file(folder, table, tmp_path / f"whole-{name}", shard_rows=10)
    real = Path.open

    class Full(io.FileIO):
        def write(self, data):
            super().write(bytes(data)[:5])
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path, mode="r", *args, **kwargs):
        if full_at in path.name and "w" in mode and f"{name}.parts" in str(path):
            return Full(path, "w")
        return real(path, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(OSError, match=r"could not be written.*free some space") as caught:
            predict_file(folder, table, out, shard_rows=10)
    assert caught.value.errno == errno.ENOSPC
    assert "The same command continues with what is in" in str(caught.value)
    assert not out.exists() and not list(tmp_path.rglob("*.tmp")) + list(tmp_path.rglob("whole"))
    done = predict_file(folder, table, out, shard_rows=10)
    assert out.read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert done.continued == (20 if full_at == "00002" else ROWS)


def test_the_lock_is_let_go_of(folder, table, tmp_path):
    with shards.alone(tmp_path / "o.csv"), pytest.raises(ValueError, match="another run"):
        predict_file(folder, table, tmp_path / "o.csv")
    predict_file(folder, table, tmp_path / "o.csv")
    with pytest.raises(filelock.Timeout), shards.alone(tmp_path / "o.csv"):
        raise filelock.Timeout("an error of the block is not one of the lock")


def test_shards_end_early_where_texts_are_long(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_CHARACTERS", 100)
    rows = [reptune.data.streams.Row("", {"text": "x" * 30, "n": 1})] * 10
    assert [len(shard) for shard in module._shards(rows, 5)] == [4, 4, 2]
    assert [len(shard) for shard in module._shards(rows, 3)] == [3, 3, 3, 1]


# --- memory --------------------------------------------------------------------------------------

MEMORY = """
import resource, sys
from reptune.pipeline.predict import predict_file
model, small, large, out = sys.argv[1:]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
predict_file(model, small, out)
before = peak()
done = predict_file(model, large, out)
print(done.rows, peak() - before)
"""


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_table(folder, tmp_path, suffix):
    for name, rows in (("small", 10_000), ("large", 60_000)):
        texts = [f"{tiny.TEXTS[row % 16]} number {row} {'and so on ' * 20}" for row in range(rows)]
        if suffix == "csv":
            (tmp_path / f"{name}.csv").write_text("\n".join(["text", *texts]))
        else:
            pq.write_table(pa.table({"text": texts}), tmp_path / f"{name}.parquet")
    ran = subprocess.run(
        [
            sys.executable, "-c", MEMORY, folder, tmp_path / f"small.{suffix}",
            tmp_path / f"large.{suffix}", tmp_path / f"o.{suffix}",
        ],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    rows, megabytes = map(int, ran.stdout.split())
    assert rows == 60_000
    assert megabytes < 25  # the table has 14 MB, and its rows in memory several times as much


# --- Ray -----------------------------------------------------------------------------------------

# In a process of its own: Ray opens connections and starts threads.
RAY = """
import os, signal, sys, threading, time
from pathlib import Path
import psutil
from reptune.pipeline import predict
model, source, out = sys.argv[1:]
killed = []

def kill():
    parts = Path(out + ".parts")
    while not len(list(parts.glob("0*.parquet"))):
        time.sleep(0.005)
    for child in psutil.Process().children(recursive=True):
        if "MapWorker" in child.name() or "MapWorker" in " ".join(child.cmdline()):
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)
            break

thread = threading.Thread(target=kill)
thread.start()
done = predict.predict_on_ray(model, source, out, workers=2, shard_rows=100)
thread.join()
print(done.rows, len(killed), done.continued)
"""


def test_on_ray_a_worker_that_is_killed_costs_no_row_and_doubles_none(folder, tmp_path):
    pytest.importorskip("ray")
    source = tmp_path / "new.csv"
    lines = [f"{row},{tiny.TEXTS[row * 7 % 16]} {'very ' * (row % 50)}" for row in range(3_000)]
    source.write_text("\n".join(["id,text", *lines]))
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RAY), folder, source, tmp_path / "o"],
        capture_output=True, text=True, check=False, timeout=280,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.split()[-3:] == ["3000", "1", "0"]
    predict_file(folder, source, tmp_path / "o.parquet", shard_rows=100)
    found = sorted((tmp_path / "o").iterdir())
    assert [path.name for path in found] == [f"{index:05d}.parquet" for index in range(30)]
    rows = [row for path in found for row in pq.read_table(path).to_pylist()]
    assert rows == pq.read_table(tmp_path / "o.parquet").to_pylist()
    assert not (tmp_path / "o.parts").exists()


def test_ray_that_is_missing_and_a_folder_that_exists(folder, table, tmp_path, monkeypatch):
    real = builtins.__import__

    def without_ray(name, *args, **kwargs):
        if name.partition(".")[0] == "ray":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(ValueError, match=r"install reptune\[ray\]"):
        predict_on_ray(folder, table, tmp_path / "o")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="exists; choose a folder that does not"):
        predict_on_ray(folder, table, tmp_path)
