"""Records of measured runs."""

import json
import multiprocessing
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from reptune import runtime
from reptune.book import results


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path))
    return {
        "study": "trial",
        "method": "full",
        "task": "rotten_tomatoes",
        "model": "tiny",
        "labels": 100,
        "random_state": 0,
        "split": "validation",
        "metrics": {"accuracy": np.float64(0.5)},
        "seconds": {"train": 1.5},
        "peak_memory_mb": 10,
    }


def test_records_come_back_and_say_what_is_done(record, tmp_path):
    assert results.read("trial").empty
    results.append(record, __file__)
    results.append(record | {"random_state": 1}, __file__)
    frame = results.read("trial")
    assert frame["metrics.accuracy"].tolist() == [0.5, 0.5]
    assert set(results.FIELDS) <= set(
        json.loads((tmp_path / "trial.jsonl").read_text().split("\n")[0])
    )
    assert results.is_done("trial", method="full", random_state=1)
    assert not results.is_done("trial", method="full", random_state=2)


def test_a_record_cut_short_by_a_kill_costs_only_itself(record, tmp_path):
    results.append(record, __file__)
    file = tmp_path / "trial.jsonl"
    file.write_text(file.read_text() + '{"study": "trial", "met')
    results.append(record | {"random_state": 1}, __file__)
    assert results.read("trial")["random_state"].tolist() == [0, 1]


def _job(record, seed, count=3):
    return [record | {"random_state": seed, "part": part} for part in range(count)]


def _parts(study="trial"):
    return [(one["random_state"], one["part"]) for one in results._records(study)]


def test_a_job_cut_anywhere_reads_as_not_done_and_is_recorded_once_on_resume(record, tmp_path):
    file = tmp_path / "trial.jsonl"
    results.append_all(_job(record, 1), __file__)
    before = file.read_bytes()
    results.append_all(_job(record, 2), __file__)
    whole = file.read_bytes()
    ends = [end for end in range(len(before), len(whole)) if whole[end - 1 : end] == b"\n"]
    cuts = {*range(len(before), len(whole), 41), *ends, *(end - 1 for end in ends), len(whole) - 2}
    for cut in sorted(cuts - {len(before) - 1}):
        file.write_bytes(whole[:cut])
        assert not results.is_done("trial", random_state=2), cut
        assert _parts() == [(1, 0), (1, 1), (1, 2)]
        assert results.is_done("trial", random_state=1)
        results.append_all(_job(record, 2), __file__)
        assert _parts() == [(seed, part) for seed in (1, 2) for part in range(3)], cut
        assert len(file.read_bytes().splitlines()) == 6, "nothing of the torn job is left"
    file.write_bytes(whole[:-1])  # all but the last line's end: nothing is missing
    assert results.is_done("trial", random_state=2)
    results.append_all(_job(record, 3), __file__)
    assert len(_parts()) == 9


def test_a_job_cut_short_in_the_middle_of_a_file_does_not_count(record, tmp_path):
    file = tmp_path / "trial.jsonl"
    results.append_all(_job(record, 1), __file__)
    lines = file.read_text().splitlines(keepends=True)
    results.append(record | {"random_state": 2, "part": 0}, __file__)
    file.write_text("".join([*lines[:2], file.read_text().splitlines(keepends=True)[-1]]))
    assert _parts() == [(2, 0)] and not results.is_done("trial", random_state=1)


def test_records_of_before_jobs_were_counted_stay_done(record, tmp_path):
    old = record | {"random_state": 1, "metrics": {"accuracy": 0.5}}
    (tmp_path / "trial.jsonl").write_text(json.dumps(old) + "\n" + json.dumps(old) + "\n")
    assert results.is_done("trial", random_state=1) and len(results.read("trial")) == 2
    results.append_all(_job(record, 2), __file__)
    assert results.read("trial")["random_state"].tolist() == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_cannot_be_written_leaves_the_file_as_it_was(record, tmp_path, monkeypatch, error):
    results.append_all(_job(record, 1), __file__)
    file = tmp_path / "trial.jsonl"
    before = file.read_bytes()
    write = os.write

    def fails_half_way(descriptor, content):
        if len(content) < 100:
            raise error
        return write(descriptor, content[: len(content) // 2])

    with monkeypatch.context() as patched, pytest.raises(type(error)):
        patched.setattr(os, "write", fails_half_way)
        results.append_all(_job(record, 2), __file__)
    assert file.read_bytes() == before


def test_a_job_of_no_records_or_of_two_studies_is_refused(record, tmp_path):
    with pytest.raises(ValueError, match="there is no record to add"):
        results.append_all([], __file__)
    with pytest.raises(ValueError, match="belong to other, trial; a job has one study"):
        results.append_all([record, record | {"study": "other"}], __file__)
    with pytest.raises(ValueError, match=r"metrics=\{\}"):
        results.append_all([record, record | {"metrics": {}}], __file__)
    assert not list(tmp_path.iterdir())


def _append_many(folder, record, seeds):
    os.environ["REPTUNE_RESULTS"] = folder
    for seed in seeds:
        results.append_all(_job(record, seed, count=5), __file__)


def test_two_processes_append_without_mixing_their_jobs(record, tmp_path):
    record = record | {"metrics": {"accuracy": 0.5}, "padding": "x" * 20_000}
    fork = multiprocessing.get_context("fork")
    both = [
        fork.Process(target=_append_many, args=(str(tmp_path), record, range(start, start + 20)))
        for start in (0, 100)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    parts = _parts()
    assert len(parts) == len(set(parts)) == 2 * 20 * 5
    assert all(len({seed for seed, _ in parts[i : i + 5]}) == 1 for i in range(0, len(parts), 5))


def test_the_code_hash_sees_subpackages_and_data(tmp_path, monkeypatch):
    package, study = tmp_path / "one" / "reptune", tmp_path / "study.py"
    (package / "part" / "__pycache__").mkdir(parents=True)
    study.write_text("'a study'")
    for name in ("__init__.py", "part/__init__.py", "part/module.py", "assets.toml"):
        (package / name).write_text(name)

    def code_hash(folder=package):
        monkeypatch.setattr(runtime, "__file__", str(folder / "runtime.py"))
        return results.code_hash(study)

    first = code_hash()
    (package / "part" / "__pycache__" / "module.pyc").write_text("compiled")
    (package / "general_start.md").write_text("how it was made")
    assert code_hash() == first, "what no result depends on"
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert code_hash(tmp_path / "two" / "reptune") == first, "the same on another machine"
    seen = {first}
    for name in ("part/__init__.py", "part/module.py", "assets.toml"):
        (package / name).write_text("changed")
        seen.add(code_hash())
    (package / "part" / "module.py").rename(package / "part" / "renamed.py")
    seen.add(code_hash())
    assert len(seen) == 5


def test_the_code_hash_sees_the_shared_modules_that_a_study_imports(tmp_path):
    study, shared = tmp_path / "study.py", tmp_path / "shared"
    shared.mkdir()
    study.write_text("from shared import rounds\nfrom shared.tasks import TASK\nimport numpy\n")
    for name, text in {
        "rounds": "import shared.common\n", "tasks": "TASK = 1\n", "other": "", "__init__": "",
        "common": "from shared.rounds import main\n",  # in a circle
    }.items():  # fmt: skip
        (shared / f"{name}.py").write_text(text)
    seen = [results.code_hash(study)]
    (shared / "other.py").write_text("changed = True\n")
    assert results.code_hash(study) == seen[0], "the study does not import it"
    for name in ("rounds", "tasks", "common"):
        with (shared / f"{name}.py").open("a") as file:
            file.write("changed = True\n")
        seen.append(results.code_hash(study))
    assert len(set(seen)) == 4


def test_incomplete_records_are_refused(record, tmp_path):
    del record["labels"]
    with pytest.raises(ValueError, match="lacks labels"):
        results.append(record, __file__)
    with pytest.raises(ValueError, match=r"metrics=\{\}"):
        results.append(record | {"labels": 1, "metrics": {}}, __file__)
    assert not list(tmp_path.iterdir())


def test_counts_of_entities_come_back_in_the_order_of_their_seeds(record):
    generator = np.random.default_rng(0)
    runs = generator.integers(0, 256, (3, 50, 3))
    for seed in (2, 0, 1):
        packed = results.pack_counts(runs[seed])
        line = record | {"random_state": seed, "items": 50, "counts": packed}
        results.append(line, __file__)
    results.append(line | {"split": "test", "counts": results.pack_counts(runs[0])}, __file__)
    found = results.counts("trial", split="validation")
    assert found.shape == (3, 50, 3) and found.dtype.kind == "i"
    assert (found == runs).all()
    assert (results.counts("trial", random_state=1, split="test") == runs[:1]).all()


def test_counts_that_no_byte_holds_are_refused():
    extremes = np.array([[0, 255, 1]])
    assert isinstance(results.pack_counts(extremes), str)
    with pytest.raises(ValueError, match="counts run from 0 to 256; a byte holds 0 to 255"):
        results.pack_counts(extremes + np.array([0, 1, 0]))
    with pytest.raises(ValueError, match="counts run from -1 to 255"):
        results.pack_counts(extremes - np.array([1, 0, 0]))


def test_counts_name_what_is_missing(record):
    with pytest.raises(ValueError, match="trial has no record with"):
        results.counts("trial", method="full")
    for seed, items in [(0, 4), (1, 5)]:
        packed = results.pack_counts(np.ones((items, 3), int))
        line = record | {"random_state": seed, "items": items, "counts": packed}
        results.append(line, __file__)
    with pytest.raises(ValueError, match="differ in their number of items"):
        results.counts("trial", method="full")
    assert results.counts("trial", random_state=0).tolist() == [[[1, 1, 1]] * 4]


def _timed(setting, seed, method, seconds):
    return {"setting": setting, "random_state": seed, "method": method, "seconds.fit": seconds}


def test_times_as_fast_compares_within_a_round():
    runs = pd.DataFrame(
        [
            _timed("head", 1, "plain", 10.0),
            _timed("head", 1, "ours", 2.0),
            _timed("head", 2, "ours", 4.0),
            _timed("head", 2, "plain", 12.0),
            _timed("all", 1, "plain", 100.0),
            _timed("all", 1, "ours", 50.0),
        ]
    )
    found = results.times_as_fast(runs, "plain")
    assert found["times_as_fast"].tolist() == [1, 5, 3, 1, 1, 2]
    assert list(found.columns) == [*runs.columns, "times_as_fast"], "and nothing else is added"


def test_times_as_fast_names_the_round_that_cannot_be_compared():
    runs = pd.DataFrame([_timed("head", 1, "plain", 10.0), _timed("all", 1, "ours", 2.0)])
    with pytest.raises(ValueError, match="a round of 'all' holds no run of 'plain'"):
        results.times_as_fast(runs, "plain")


def test_methods_are_compared_on_the_draws_that_both_have(record):
    hits = {
        ("full", 0): [1, 1, 0, 0], ("full", 1): [1, 1, 1, 0], ("full", 2): [0, 0, 0, 0],
        ("head", 0): [1, 0, 0, 0], ("head", 1): [1, 1, 1, 1], ("small", 7): [1, 1, 1, 1],
    }  # fmt: skip
    for (method, draw), right in hits.items():
        packed = {"correct": results.pack(np.array(right)), "items": 4, "per_class": len(method)}
        fields = {"method": method, "random_state": draw, **packed}
        results.append(record | fields, __file__)
    found = results.compared("trial", "full", "head")
    # Of draws 0 and 1: a half and three quarters, minus a quarter and one.
    assert found.estimate == pytest.approx((0.25 - 0.25) / 2)
    again = results.compared("trial", {"per_class": 4, "method": "full"}, "head", labels=100)
    assert str(again) == str(found)
    with pytest.raises(ValueError, match="no draw of both 'full' and 'small'"):
        results.compared("trial", "full", "small")
    with pytest.raises(ValueError, match="no record"):
        results.compared("trial", "full", "none")
