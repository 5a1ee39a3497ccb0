"""Tables of the appendix to chapter 2: from invented records, from some of them, from none."""

import json

import numpy as np
import pytest
import setfit_tables

from reptune.book import results


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a study's records, each of four texts."""
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path))

    def written(study, *rows):
        lines = []
        for row in rows:
            row = dict(row)
            right = np.array(row.pop("right", (1, 1, 0, 0)), dtype=bool)
            metrics = {"accuracy": float(right.mean()), **row.pop("metrics", {})}
            row |= {"study": study, "correct": results.pack(right), "items": 4, "metrics": metrics}
            lines.append(json.dumps(row) + "\n")
        (tmp_path / f"{study}.jsonl").write_text("".join(lines))

    return written


@pytest.mark.parametrize("table", setfit_tables.TABLES, ids=lambda table: table.__name__)
def test_without_records_it_says_which_study_to_run(write, table):
    assert "*Not run yet: `make study NAME=ch02_" in table()


def test_records_of_another_stage_are_no_lopsided_ones(write):
    write("ch02_ten_draws", {"step": "final", "method": "frozen", "random_state": 42})
    assert "Not run yet" in setfit_tables.ch02_lopsided()


def test_lopsided_counts_the_draws_that_say_sports_to_all(write):
    same = {"step": "lopsided", "method": "SetFit", "C": 1.0, "weights": "none"}
    write("ch02_ten_draws",
          {**same, "random_state": 42, "metrics": {"macro_f1": 0.1, "said_frequent": 1.0}},
          {**same, "random_state": 43, "metrics": {"macro_f1": 0.3, "said_frequent": 0.5}},
          )  # fmt: skip
    # The deviation of 0.1 and 0.3 is 0.2 / sqrt(2).
    assert "| SetFit | 1 | none | 0.200 ± 0.141 | 1 of 2 |" in setfit_tables.ch02_lopsided()


def test_a_choice_on_50_labels_stands_beside_the_usual_way(write):
    usual = {"method": "SetFit, usual fields", "fields": "headline. body"}
    chosen = {"method": "SetFit, fields chosen", "fields": "headline. body, 64 pieces"}
    rows = [
        {**usual, "random_state": 42, "metrics": {"cross_validated": 0.5}},
        {**chosen, "random_state": 42, "right": (1, 1, 1, 1), "metrics": {"cross_validated": 0.9}},
    ]
    write("ch02_raft", *rows)
    table = setfit_tables.ch02_raft()
    assert "| 42 | headline. text, 64 tokens | 0.90 | 1.000 | 0.500 |" in table
    assert "in points: +50.0 [+0.0, +100.0]; detectable 71." in table
