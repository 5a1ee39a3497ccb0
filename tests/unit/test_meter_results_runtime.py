import json
import random
import time

import numpy as np
import pandas as pd
import pytest
import torch

import reptune
from reptune import meter, results, runtime


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
    assert runtime.profile() == ("cpu" if runtime.device().type == "cpu" else "gpu")
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
