"""The studies' plumbing: jobs resume, failures show, the slow reference is the plain library."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from reptune.book import results

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "studies"))

STUDY = '''
"""A study for the test."""
import sys
import numpy as np
from shared.common import main, score_fields

def run(job):
    if job["random_state"] == 2 and "--threads" not in sys.argv:
        raise RuntimeError("out of luck")
    scored = score_fields(np.array([True, True, False]))
    yield {**scored, "seconds": {"fit": 1.0}, "peak_memory_mb": 1}

if __name__ == "__main__":
    common = {"method": "m", "task": "t", "model": "none", "labels": 3, "split": "validation"}
    main(__file__, ({**common, "random_state": seed} for seed in (1, 2)), run)
'''


def start(script: Path, folder: Path, *options: str) -> subprocess.CompletedProcess:
    environment = {
        **os.environ, "REPTUNE_RESULTS": str(folder), "PYTHONPATH": str(ROOT / "studies"),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, script, *options], env=environment, capture_output=True, text=True
    )


def test_a_study_reports_failures_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    script = tmp_path / "trial.py"
    script.write_text(STUDY)
    first = start(script, tmp_path)
    assert first.returncode == 1 and "2 jobs to do" in first.stdout
    assert "FAILED" in first.stdout and "out of luck" in first.stdout
    second = start(script, tmp_path, "--threads", "1", "--lanes", "1")
    assert second.returncode == 0, second.stderr[-2000:]
    assert "1 jobs to do" in second.stdout
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path))
    assert results.read("trial")["random_state"].tolist() == [1, 2]
    hits = results.correct("trial", method="m")
    assert hits.tolist() == [[True, True, False]] * 2


# Threads in place of processes, which take seconds to start; a disk on which every step takes time.
SEVERAL_RECORDS = """
import concurrent.futures, os, time
import numpy as np
from shared.common import main, score_fields

fsync = os.fsync
os.fsync = lambda descriptor: (fsync(descriptor), time.sleep(0.05))
class Threads(concurrent.futures.ThreadPoolExecutor):
    def __init__(self, lanes, **_):
        super().__init__(lanes)
concurrent.futures.ProcessPoolExecutor = Threads

def run(job):
    for split in ("train", "validation", "test"):
        scored = score_fields(np.array([True, False]))
        yield {**scored, "split": split, "seconds": {"fit": 1.0}, "peak_memory_mb": 1}

if __name__ == "__main__":
    common = {"method": "m", "task": "t", "model": "none", "labels": 3}
    main(__file__, [{**common, "random_state": seed} for seed in range(4)], run)
"""


def kill_once_it_records(script: Path, folder: Path, wait: float) -> None:
    """Start a study, and end it some seconds after its file has grown."""
    file = folder / f"{script.stem}.jsonl"
    size = file.stat().st_size if file.exists() else 0
    environment = {
        **os.environ, "REPTUNE_RESULTS": str(folder), "PYTHONPATH": str(ROOT / "studies"),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, script, "--lanes", "1"], env=environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and (not file.exists() or file.stat().st_size == size):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_study_loses_no_record_and_repeats_none(tmp_path, monkeypatch):
    script = tmp_path / "several.py"
    script.write_text(SEVERAL_RECORDS)
    draw = random.Random(0)
    for _ in range(3):
        kill_once_it_records(script, tmp_path, wait=draw.uniform(0, 0.08))
    last = start(script, tmp_path, "--lanes", "1")
    assert last.returncode == 0, last.stderr[-2000:]
    assert "several: 4 jobs to do" not in last.stdout, "it goes on"
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path))
    lines = (tmp_path / "several.jsonl").read_text().splitlines()
    found = sorted((json.loads(line)["random_state"], json.loads(line)["split"]) for line in lines)
    assert found == [
        (seed, split) for seed in range(4) for split in ("test", "train", "validation")
    ]
    assert len(results.read("several")) == 12


def test_a_round_of_arms_is_recorded_whole(tmp_path, monkeypatch):
    from shared import rounds

    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path))
    record = {"study": "rounds", "task": "t", "model": "none", "labels": 1, "random_state": 42,
              "split": "validation", "setting": "s", "metrics": {"accuracy": 0.5},
              "seconds": {"fit": 1.0}, "peak_memory_mb": 1}  # fmt: skip
    arms = iter("ab")
    answer = lambda *_, **__: SimpleNamespace(stdout=json.dumps(record | {"method": next(arms)}))  # noqa: E731
    monkeypatch.setattr(rounds.subprocess, "run", answer)
    rounds.take_round(__file__, "s", ("a", "b"), 42)
    file = tmp_path / "rounds.jsonl"
    assert results.is_done("rounds", setting="s", random_state=42)
    file.write_text(file.read_text().splitlines(keepends=True)[0])
    assert not results.is_done("rounds", setting="s", random_state=42), "an arm is missing"


def test_a_job_with_a_bad_record_costs_no_other_job(tmp_path, monkeypatch):
    script = tmp_path / "bad.py"
    lacking = SEVERAL_RECORDS.replace('"peak_memory_mb": 1}', '**({} if job["random_state"] == 0 '
                                      'else {"peak_memory_mb": 1})}')  # fmt: skip
    script.write_text(lacking)
    run = start(script, tmp_path, "--lanes", "1")
    assert run.returncode == 1 and "the record lacks peak_memory_mb" in run.stdout
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path))
    assert sorted(set(results.read("bad")["random_state"])) == [1, 2, 3]


def test_correct_names_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path))
    with pytest.raises(ValueError, match="trial has no record with"):
        results.correct("trial", method="x")
    line = {"random_state": 1, "correct": results.pack([True] * 9)}
    both = [{**line, "items": 9}, {**line, "random_state": 2, "items": 8}]
    (tmp_path / "trial.jsonl").write_text("\n".join(map(json.dumps, both)))
    with pytest.raises(ValueError, match="differ in their number of items"):
        results.correct("trial")
    assert results.correct("trial", random_state=1).tolist() == [[True] * 9]


def test_the_slow_reference_is_the_class_with_its_fast_options_off(tmp_path):
    from shared.plain import PlainClassifier

    from reptune.classification import FineTunedClassifier
    from tests import tiny

    folder = tiny.save_encoder(tmp_path / "tiny")
    knobs = {"num_epochs": 2, "learning_rate": 5e-3, "random_state": 1}
    labels = np.array([label == "positive" for label in tiny.LABELS]).astype(int)
    for trainable in ("all", 1, "head"):
        plain = PlainClassifier(str(folder), trainable, "random", **knobs).fit(tiny.TEXTS, labels)
        batch = plain.tokenizer_(tiny.TEXTS, padding=True, return_tensors="pt")
        slow = plain.model_(**batch).logits.detach().numpy()
        ours = FineTunedClassifier(folder, trainable, fast=False, **knobs).fit(tiny.TEXTS, labels)
        np.testing.assert_allclose(ours.logits(tiny.TEXTS), slow, atol=1e-5)
        assert (plain.predict(tiny.TEXTS) == slow.argmax(axis=1)).all()


def test_the_slow_tagger_is_the_class_with_its_fast_options_off(tmp_path):
    from shared.plain_ner import PlainTagger

    from reptune.ner import EntityTagger
    from tests import tiny

    folder = tiny.save_encoder(tmp_path / "tiny")
    words = [text.split() for text in tiny.TEXTS]
    tags = [["B-X"] + ["O"] * (len(row) - 1) for row in words]
    tags[0] = ["B-X", "I-X", *tags[0][2:]]
    plain = PlainTagger(str(folder), "random", 2, 5e-3, random_state=1).fit(words, tags)
    ours = EntityTagger(
        folder, num_epochs=2, learning_rate=5e-3, random_state=1, max_length=32, fast=False
    ).fit(words, tags)
    assert ours.classes_.tolist() == ["O", "B-X", "I-X"]
    assert plain.model_.config.id2label == dict(enumerate(ours.classes_))
    batch = plain.tokenizer_(words, is_split_into_words=True, padding=True, return_tensors="pt")
    slow = plain.model_(**batch).logits.softmax(-1).detach().numpy()
    for row, found in enumerate(ours.predict_proba(words)):
        first = [batch.word_ids(row).index(word) for word in range(len(words[row]))]
        np.testing.assert_allclose(found, slow[row, first], atol=1e-5)
    best = [[str(ours.classes_[tag]) for tag in row.argmax(1)] for row in ours.predict_proba(words)]
    assert plain.predict(words) == best


def test_few_shots_hold_each_type_and_a_smaller_draw_is_part_of_a_larger(monkeypatch):
    from shared import entities

    kinds = ["PER", "LOC"] * 10
    sentences = [[str(place)] for place in range(20)], [[f"B-{kind}"] for kind in kinds]
    monkeypatch.setattr(entities, "splits", lambda task: {"train": sentences})
    words, tags = entities.few("any", 3, random_state=1)
    assert sorted(tag for (tag,) in tags) == ["B-LOC"] * 3 + ["B-PER"] * 3
    assert all(kinds[int(word)] == tag[2:] for (word,), (tag,) in zip(words, tags, strict=True))
    small, _ = entities.some("any", 4, random_state=1)
    assert small == entities.some("any", 9, random_state=1)[0][:4]


def test_tweets_types_are_laid_over_newswires():
    from ch04_tweets import SCORINGS, renamed

    row = ["B-geo-loc", "I-geo-loc", "O", "B-movie", "B-PER"]
    assert renamed([row], SCORINGS["mapped"]) == [["B-LOC", "I-LOC", "O", "B-MISC", "B-PER"]]


def test_ratios_are_taken_within_a_round():
    from ch01_speed import GROUPED, OURS, PLAIN, SETTINGS
    from shared.rounds import summary

    seconds = {(1, PLAIN): 10.0, (1, GROUPED): 5.0, (1, OURS): 2.0,
               (2, PLAIN): 30.0, (2, GROUPED): 20.0, (2, OURS): 10.0}  # fmt: skip
    table = pd.DataFrame(
        {
            "setting": "everything, 1 epoch",
            "random_state": seed,
            "method": arm,
            "seconds.fit": value,
            "metrics.accuracy": 0.5,
            "peak_memory_mb": 100,
        }
        for (seed, arm), value in seconds.items()
    )
    last = summary(table, SETTINGS).splitlines()[-1]
    assert "6.0 s" in last and "4.00x [3.00, 5.00]" in last


def test_no_round_starts_that_would_end_too_late(monkeypatch, tmp_path, capsys):
    from shared import rounds

    clock, taken = [0.0], []

    def take(study_file, setting, arms, seed):
        clock[0] += {"long": 60 * 6, "short": 60}[setting]
        taken.append((setting, seed))

    monkeypatch.setattr(rounds.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(rounds, "take_round", take)
    monkeypatch.setattr(rounds, "summary", lambda table, settings: "")
    options = ["study", "--fresh", str(tmp_path), "--minutes", "10", "--rounds", "2"]
    monkeypatch.setattr("sys.argv", options)
    monkeypatch.delenv("REPTUNE_RESULTS", raising=False)
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path))  # so that main's change is undone
    settings = {name: SimpleNamespace(arms=("a", "b"), rounds=2) for name in ("long", "short")}
    rounds.main("study.py", "About.", settings, measure=None)
    # After 7 minutes another long round would end at 13, and a short one at 8.
    assert taken == [("long", 42), ("short", 42), ("short", 43)]
