"""Chapter 6's appendix tables, of a few records made by hand."""

import json

import numpy as np
import prompt_tuning_tables as tables
import pytest

from reptune.book import results

COMMON = {
    "study": "ch06_suite", "labels": 32, "split": "test", "seconds": {"fit": 1.0},
    "peak_memory_mb": 1, "device": "CPU", "random_state": 42, "model": "all-MiniLM-L6-v2",
    "task": "rotten_tomatoes", "kind": "test",
}  # fmt: skip
INTERVAL = {"difference": 0.05, "low": 0.01, "high": 0.09, "t_low": -0.02, "t_high": 0.12}


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path))


def record(**fields):
    with (results.folder() / "ch06_suite.jsonl").open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(COMMON | fields)}\n")


def scored(method, predicted, right, **fields):
    record(
        method=method, predicted=predicted, correct=results.pack(right), items=len(right),
        metrics={"accuracy": float(np.mean(right))}, **fields,
    )  # fmt: skip


def compared(name, task="mean", **fields):
    wide = {f"{field}_wide": value for field, value in INTERVAL.items()}
    record(
        kind="comparison", method=name, task=task, first="prompt", minus="standard", over=[task],
        metrics={**INTERVAL, **wide, "detectable": 0.057}, **fields,
    )  # fmt: skip


@pytest.mark.parametrize("table", tables.TABLES)
def test_without_records_a_table_says_so(table):
    assert table() == "*Not run yet: `make study NAME=ch06_suite` measures it.*\n"


@pytest.mark.parametrize("table", tables.TABLES)
def test_where_only_the_pilot_has_run_other_tables_are_a_line_of_dashes(table):
    record(
        kind="rate", method="prompt", learning_rate=3e-4, split="development", last_loss=0.01,
        metrics={"accuracy": 0.75, "log_likelihood": -0.5},
    )  # fmt: skip
    lines = table().splitlines()
    assert len(lines) == 3
    if table is tables.ch06_pilot:
        assert lines[2] == "| MiniLM | prompt | 0.0003 | 1 | 0.750 | -0.500 | 0.010 |"
    else:
        assert set(lines[2]) == set("| –")


def test_accuracy_and_f1_by_task_over_draws():
    scored("prompt", "1100", [1, 1, 1, 0])  # true 1101: F1 of class 0 2/3, of class 1 0.8
    scored("prompt", "1111", [1, 1, 1, 1], random_state=43)  # one class alone: F1 of it 1
    scored("prompt, one of 3", "1111", [1, 1, 1, 1])
    (line,) = tables.ch06_suite_accuracy().splitlines()[2:]
    assert line == "| MiniLM | prompt | 0.875 ± 0.177 | – | – | – |"
    (line,) = tables.ch06_suite_f1().splitlines()[2:]
    mean, deviation = np.mean([11 / 15, 1]), np.std([11 / 15, 1], ddof=1)
    assert line == f"| MiniLM | prompt | {mean:.3f} ± {deviation:.3f} | – | – | – |"


def test_f1_of_headlines_reads_their_labels(monkeypatch):
    monkeypatch.setattr(tables, "_headline_labels", lambda: np.array([0, 1, 2, 3, 4]))
    scored("prompt", "01234", [1] * 5, task="bbc_headlines")
    assert "| 1.000 |" in tables.ch06_suite_f1()


def test_a_claim_has_both_intervals_twice_and_its_verdict():
    compared("P1", verdict="undecided")
    (line,) = tables.ch06_claims().splitlines()[2:]
    both = "+5.0 [+1.0, +9.0] | +5.0 [-2.0, +12.0]"
    assert line == f"| P1 | MiniLM: prompt minus standard | {both} | {both} | 5.7 | undecided |"


def test_comparisons_by_task_have_a_dash_where_a_task_lacks():
    for task in ("mean", "two reviews"):
        compared("secondary", task, verdict=None)
    (line,) = tables.ch06_compared().splitlines()[2:]
    cell = "+5.0 [+1.0, +9.0]"
    assert line == f"| MiniLM: prompt minus standard | {cell} | – | – | – | – | {cell} |"


def test_what_a_search_found_is_written_so_that_a_bar_is_no_column():
    scored(
        "prompt, automatic templates", "10", [1, 1], task="two reviews",
        template="{text} | {text2} {mask} .", words=["no", "yes"],
        development={"accuracy": 0.75, "log_likelihood": -1},
    )  # fmt: skip
    (line,) = tables.ch06_found().splitlines()[2:]
    given = "`{text} \\| {text2} {mask} .`"
    assert line == f"| two reviews | template | 42 | {given} | 0.750 | 1.000 |"


def test_grades_are_a_line_per_method():
    for draw, pearson in ((42, 0.5), (43, 0.7)):
        record(
            kind="regression", task=tables.GRADES, method="prompt", random_state=draw,
            metrics={"pearson": pearson, "mae": 0.25},
        )  # fmt: skip
    (line,) = tables.ch06_grades().splitlines()[2:]
    assert line == "| prompt | 2 | 0.600 ± 0.141 | 0.250 ± 0.000 |"
