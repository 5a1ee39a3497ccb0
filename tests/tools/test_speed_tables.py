"""Chapter 1's appendix tables, of a few records made by hand."""

import json
from pathlib import Path

import pytest
import speed_tables as tables

from reptune.book import results

STUDIES = Path(__file__).resolve().parents[2] / "studies"
COMMON = {
    "task": "rotten_tomatoes", "model": "all-MiniLM-L6-v2", "labels": 8, "split": "validation",
    "peak_memory_mb": 1400,
}  # fmt: skip


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path))


def record(study, method, correct, seed=42, seconds=10.0, **fields):
    line = json.dumps({
        "study": study, **COMMON, "method": method, "random_state": seed,
        "seconds": {"fit": seconds}, "correct": results.pack(correct), "items": len(correct),
        "metrics": {"accuracy": sum(correct) / len(correct)}, **fields,
    })  # fmt: skip
    with (results.folder() / f"{study}.jsonl").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def timed(method, seconds, setting=tables.WHOLE, seed=42):
    peaks = {"float32": 160.0, "half": None}
    record(
        "ch01_speed", method, [True, False], seed, seconds, setting=setting,
        gflops_needed=1000.0, matmul_peak_gflops=peaks,
    )  # fmt: skip


@pytest.mark.parametrize("table", tables.TABLES)
def test_without_records_a_table_says_so(table):
    assert table().startswith("*Not run yet: `make study NAME=ch01_")


def test_ways_are_compared_within_each_round():
    for seed, plain, ours in ((42, 100, 50), (43, 120, 40)):
        timed(tables.PLAIN, plain, seed=seed)
        timed(tables.OURS, ours, seed=seed)
    assert tables.ch01_ways().splitlines()[2:] == [
        "| everything, 1 epoch | plain Trainer | 2 | 110.0 |  | 1,400 MB |",
        "| everything, 1 epoch | reptune | 2 | 45.0 | 2.5 [2.0, 3.0] | 1,400 MB |",
    ]


def test_an_option_stands_on_those_before_it():
    timed(tables.PLAIN, 50, setting=tables.OPTIONS)
    timed("+ length_buckets", 25, setting=tables.OPTIONS)
    assert tables.ch01_options().splitlines()[2:] == [
        "| plain Trainer | 1 | 50.0 |  |",
        "| + `length_buckets` | 1 | 25.0 | 2.0 [2.0, 2.0] |",
    ]


def test_operations_per_second_leave_out_what_was_not_measured():
    timed(tables.PLAIN, 20)
    assert tables.ch01_operations().splitlines() == [
        "| Of 1,000 GFLOP | GFLOP per second |",
        "|---|---:|",
        "| matrix products, float32 | 160 |",
        "| an epoch, plain Trainer | 50 |",
    ]


def test_a_speed_study_without_whole_epochs_has_no_operations():
    timed(tables.PLAIN, 20, setting=tables.OPTIONS)
    assert tables.ch01_operations().startswith("*Not run yet")


def test_the_order_is_compared_over_the_seeds_that_both_have():
    study = "ch01_fast_accuracy"
    record(study, tables.PLAIN, [True] * 8, 42)
    record(study, tables.GROUPED, [False] * 8, 42)
    record(study, tables.PLAIN, [True] * 8, 43)  # stopped here
    (line,) = tables.ch01_order().splitlines()[2:]
    compared = f"{tables.GROUPED} minus {tables.PLAIN}"
    assert line == f"| {compared} | 1 | -100.0 [-100.0, -100.0] | 97.5% | 0.0 |"


def test_names_are_those_of_the_study():
    study = (STUDIES / "ch01_fast_accuracy.py").read_text("utf-8")
    for name in (tables.PLAIN, tables.GROUPED, tables.OURS, tables.SHUFFLED):
        assert f'"{name}"' in study
