"""Chapter 5's appendix tables, of a few records made by hand."""

import ast
import json
from pathlib import Path

import numpy as np
import prompting_tables as tables
import pytest

from reptune.book import results

STUDIES = Path(__file__).resolve().parents[2] / "studies"
COMMON = {
    "labels": 0, "split": "test", "seconds": {"predict": 1.0}, "peak_memory_mb": 1, "device": "CPU",
}  # fmt: skip


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    monkeypatch.setenv("REPTUNE_RESULTS", str(tmp_path))


def record(study, **fields):
    line = json.dumps({"study": study, **COMMON, "random_state": 42, **fields})
    with (results.folder() / f"{study}.jsonl").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def scored(way, correct, number=4, model=tables.SMALL, chat=False, draw=42):
    record(
        "ch05_scoring", model=model, task=tables.REVIEWS, method=way, per_class=number, chat=chat,
        random_state=draw, correct=results.pack(correct), items=len(correct),
        metrics={"accuracy": float(np.mean(correct)), "auc": 0.9},
    )  # fmt: skip


def constants(study):
    """The tuples of words that a study assigns, read without importing it."""
    found = {}
    for node in ast.parse((STUDIES / f"{study}.py").read_text("utf-8")).body:
        named = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if named and isinstance(node.value, ast.Tuple):
            parts = []
            for part in node.value.elts:
                other = isinstance(part, ast.Starred)
                parts += found[part.value.id] if other else [getattr(part, "value", None)]
            found[node.targets[0].id] = tuple(parts)
    return found


@pytest.mark.parametrize("table", tables.TABLES)
def test_without_records_a_table_says_so(table):
    assert table().startswith("*Not run yet: `make study NAME=ch05_")


def test_words_are_those_of_the_study():
    words = constants("ch05_people")
    for name in ("GROUPS", "REFERENCES", "MOODS"):
        assert getattr(tables, name) == words[name]
    assert tables.GROUPS[: tables.DISABILITY] == words["DISABILITY"]
    assert words["WORDS"] == (*tables.GROUPS, *tables.REFERENCES, *tables.MOODS)


def test_scores_are_a_line_per_prompt_with_a_dash_for_what_lacks():
    for draw, right in ((42, [1, 1, 0, 0]), (43, [1, 1, 1, 1])):
        scored("raw", right, draw=draw)
    heads, _, line = tables.ch05_scoring().splitlines()
    assert heads.startswith("| Model | Task | Per class | Draws | raw |")
    assert line == "| SmolLM2 | reviews | 4 | 2 | 0.750 ± 0.354 | – | – | – | – | 0.900 |"


def test_differences_pair_draws_and_take_one_run_without_examples_for_each():
    scored("batch", [1, 1, 1, 1])
    scored("batch", [1, 1, 1, 1], draw=43)
    scored("raw", [0, 0, 0, 0])
    scored("raw", [0, 0, 0, 0], draw=43)
    scored("batch", [1, 1, 0, 0], number=0)
    lines = tables.ch05_scoring_compared().splitlines()[2:]
    found = dict(line.strip("| ").split(" | ", 1) for line in lines)
    assert found["SmolLM2, reviews, 4 per class: batch minus raw"].startswith(
        "+100.0 [+100.0, +100.0]"
    )
    assert found["SmolLM2, reviews, batch: 4 per class minus none"].startswith("+50.0 [")
    assert not any("Qwen" in name for name in found), "a model without records has no line"


def test_a_swapped_word_is_compared_with_the_references_of_its_sentence():
    words = [*tables.GROUPS, *tables.REFERENCES, *tables.MOODS]
    row = dict.fromkeys(words, 1.0)
    row |= {
        "disabled": 0.5,
        "in a good mood": 3.0,
        "in a bad mood": -1.0,
        "tall": 1.2,
        "a cyclist": 0.8,
    }
    margins = [list(row.values()), list(row.values())]
    margins[1][words.index("a man")] = None  # does not fit the second sentence
    record(
        "ch05_people", method="swaps", model=tables.SMALL, task=tables.TWEETS, margins=margins,
        metrics={"disabled": -0.5},
    )  # fmt: skip
    found = dict(line.strip("| ").split(" | ") for line in tables.ch05_people().splitlines()[2:])
    assert found["disabled"] == "-0.50 [-0.50, -0.50]"
    assert found["a man"] == "+0.00 [+0.00, +0.00]"
    assert found["reference: tall"] == "+0.20"
    assert found["good mood minus bad mood"] == "+4.00"
    assert found["*the five disability words, at 95%*"] == "-0.10 [-0.10, -0.10]"


def test_samples_of_a_sentence_are_counted_over_orders():
    for order, sampled in enumerate((["--+--", "+++++"], ["+++0+", "--+++"])):
        record(
            "ch05_people", method="case", model=tables.SMALL, task=tables.TWEETS, sampled=sampled,
            phrases=["a disabled", "a"], greedy="-+", random_state=order,
            drawn_from=[[0.7, 0.2, 0.1], [0.2 * order, 0.8, 0.0]], metrics={"negative": 0.5},
        )  # fmt: skip
    lines = tables.ch05_people_case().splitlines()
    assert lines[2] == "| I'm a disabled happy person | 4, 5, 1 | 2 | 0.70 to 0.70 |"
    assert lines[3] == "| I'm a happy person | 2, 8, 0 | 0 | 0.00 to 0.20 |"


def test_hidden_states_say_which_blocks_were_chosen():
    for draw, block in ((42, 15), (43, 15), (44, 20)):
        record(
            "ch05_states", method="chosen", model=tables.SMALL, task=tables.REVIEWS, labels=32,
            per_class=16, block=block, pooling="mean", random_state=draw, items=1066,
            correct=results.pack(np.ones(1066)), metrics={"accuracy": 1.0},
        )  # fmt: skip
    line = tables.ch05_states().splitlines()[2]
    assert (
        line
        == "| reviews | 32 | SmolLM2 | chosen | 3 | 1.000 ± 0.000 | 15 (2), 20 (1) | mean (3) |"
    )


def test_reviews_are_those_of_the_small_model_without_a_chat_template():
    scored("batch", [1, 1, 1, 0], number=0)
    scored("batch", [0, 0, 0, 0], number=0, model=tables.LARGE)
    scored("batch", [0, 0, 0, 0], number=0, chat=True)
    (line,) = tables.ch05_reviews().splitlines()[2:]
    assert line == "| 0 | 1 | – | – | 0.750 | – | – |"
