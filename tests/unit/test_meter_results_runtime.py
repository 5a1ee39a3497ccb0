import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

import reptune
from reptune import meter, runtime
from reptune.book import results, setup
from reptune.classification import FineTunedClassifier
from tests.tiny import LABELS, TEXTS


def test_meter_measures_time_memory_tokens_and_money():
    with meter.Meter("sleep") as cost:
        block = np.ones(30_000_000)  # 240 MB
        time.sleep(0.2)
        cost.add_tokens(100)
    assert 0.2 <= cost.seconds < 60  # a loaded machine may take its time
    assert cost.peak_memory_mb > block.nbytes / 1e6
    assert cost.dollars(3600) == pytest.approx(cost.seconds)
    assert str(cost).startswith("sleep: ") and "tokens/s" in str(cost)


def test_meter_stops_when_the_block_fails():
    cost = meter.Meter()
    with pytest.raises(RuntimeError), cost:
        raise RuntimeError
    assert cost.seconds > 0 and cost._sampler is None


def test_a_negative_price_is_refused():
    with pytest.raises(ValueError, match="price_per_hour=-1"):
        meter.Meter().dollars(-1)


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
    study.write_text("a study")
    for name in ("__init__.py", "part/__init__.py", "part/module.py", "assets.toml"):
        (package / name).write_text(name)

    def code_hash(folder=package):
        monkeypatch.setattr(reptune, "__file__", str(folder / "__init__.py"))
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


def test_profile_and_pick(monkeypatch, capsys):
    monkeypatch.setenv("REPTUNE_PROFILE", "quick")
    run = reptune.setup("99", random_state=5)
    assert run.pick(quick=1, cpu=2, gpu=3) == 1
    assert "chapter 99 · profile quick" in capsys.readouterr().out
    monkeypatch.delenv("REPTUNE_PROFILE")
    assert setup.profile() == ("cpu" if runtime.device().type == "cpu" else "gpu")
    monkeypatch.setenv("REPTUNE_PROFILE", "fast")
    with pytest.raises(ValueError, match="'fast'; set it to one of quick, cpu, gpu"):
        reptune.setup("99")


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True, "avx2": True}, True)],
)
def test_a_cpu_uses_bf16_only_with_the_instructions_for_it(monkeypatch, instructions, expected):
    monkeypatch.setattr(runtime, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    assert runtime.precision() == {"bf16": expected, "fp16": False, "use_cpu": True}
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not runtime.precision()["bf16"], "an older PyTorch does not tell"


@pytest.mark.parametrize("native", [True, False])
def test_emulated_bf16_is_not_used(monkeypatch, native):
    asked = {}

    def supported(including_emulation=True):
        asked["including_emulation"] = including_emulation
        return native

    monkeypatch.setattr(runtime, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert runtime.precision() == {"bf16": native, "fp16": not native}
    assert asked == {"including_emulation": False}


def test_seeded_repeats_itself_and_restores_the_generators():
    def draw():
        return random.random(), np.random.random(), torch.rand(1).item()

    runtime.set_seed(0)
    first, rest = draw(), draw()
    runtime.set_seed(0)
    assert draw() == first
    with runtime.seeded(7):
        inside = draw()
    assert draw() == rest
    with runtime.seeded(7):
        assert draw() == inside


def test_seeds_may_be_numpy_s_and_bad_ones_are_named():
    def draw(seed):
        with runtime.seeded(seed):
            return random.random(), np.random.random(), torch.rand(1).item()

    assert draw(np.int64(3)) == draw(3)
    for bad in (-1, 2**32, 1.5, "3", True, np.random.RandomState(0)):
        with pytest.raises(ValueError, match="random_state="), runtime.seeded(bad):
            raise AssertionError("the block ran")


def test_threads_that_seed_take_turns():
    inside, draws = [], {}

    def work(seed):
        with runtime.seeded(seed), runtime.seeded(seed):  # a fit within a fit
            inside.append(seed)
            assert len(inside) == 1
            draws[seed] = []
            for _ in range(20):
                draws[seed].append((random.random(), np.random.random(), torch.rand(1).item()))
                time.sleep(0.001)
            inside.remove(seed)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    together = dict(draws)
    for seed in range(4):
        work(seed)
    assert draws == together


@pytest.mark.parametrize("random_state", [0, None])
def test_fits_in_threads_give_what_they_give_one_after_the_other(tiny_encoder, random_state):
    """A fit without a seed reseeds the generators too, so it must wait for one that has a seed."""

    def fit(seed):
        one = FineTunedClassifier(tiny_encoder, num_epochs=3, learning_rate=5e-3, batch_size=2,
                                  fast=False, random_state=seed)  # fmt: skip
        return one.fit(TEXTS, LABELS).logits(TEXTS)

    expected = fit(1)
    with ThreadPoolExecutor(3) as pool:
        seeds = (1, random_state, 1)
        found = list(pool.map(fit, seeds))
    assert (found[0] == expected).all() and (found[2] == expected).all()


def _draws_in_a_child(queue):
    with runtime.seeded(0):
        queue.put(random.random())


def test_a_process_forked_while_another_thread_seeds_is_not_locked_out():
    fork = multiprocessing.get_context("fork")
    queue, entered, leave = fork.Queue(), threading.Event(), threading.Event()

    def hold():
        with runtime.seeded(1):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(60)
    child = fork.Process(target=_draws_in_a_child, args=(queue,))
    child.start()
    child.join(30)
    alive = child.is_alive()
    child.kill()
    leave.set()
    thread.join()
    assert not alive and queue.get(timeout=5) == random.Random(0).random()


# --- several processes ---------------------------------------------------------------------------


def test_rank_and_world_size_come_from_the_environment_of_a_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert (runtime.rank(), runtime.world_size()) == (0, 1)
    monkeypatch.setenv("RANK", "3")  # some other program's: nothing may be left unsaved for it
    assert (runtime.rank(), runtime.world_size()) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (runtime.rank(), runtime.world_size()) == (3, 4)
    monkeypatch.setenv("RANK", "third")
    with pytest.raises(ValueError, match="RANK is 'third' in the environment"):
        runtime.rank()


@pytest.mark.parametrize(("gpus", "expected"), [(1, "cuda"), (4, "cuda:2")])
def test_each_process_of_a_machine_gets_its_own_gpu(monkeypatch, gpus, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for name, value in (("RANK", "6"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    assert runtime.device() == torch.device(expected)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert runtime.device() == torch.device("cuda")


# --- scratch folders -----------------------------------------------------------------------------


HOLD = """
import sys, tempfile, time
tempfile.tempdir = sys.argv[1]
from reptune import runtime
with runtime.scratch_folder() as folder:
    (folder / "blocks").write_text("many")
    print("ready", flush=True)
    time.sleep(120)
"""


def test_the_scratch_folder_of_a_killed_process_is_swept_and_a_live_one_stays(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        assert [holder.stdout.readline() for holder in holders] == [b"ready\n"] * 2
        holders[0].send_signal(signal.SIGKILL)
        holders[0].wait()
        assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2
        with runtime.scratch_folder() as folder:
            assert folder.is_dir() and not any(folder.iterdir())
            others = [path for path in tmp_path.iterdir() if path.is_dir() and path != folder]
            assert [(path / "blocks").read_text() for path in others] == ["many"]
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
            holder.stdout.close()
    with pytest.raises(KeyboardInterrupt), runtime.scratch_folder():
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


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
