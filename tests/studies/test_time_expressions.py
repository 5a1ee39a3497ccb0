"""The annotated time expressions: places and values only, consistent with their documents."""

import datetime
import itertools
import json
import re
from pathlib import Path

import pytest
from shared.dates import forward, read, resolve

from reptune import assets, data

FILE = Path(__file__).parents[2] / "studies" / "data" / "ch07_time_expressions.jsonl"
FIELDS = {"id", "document", "start", "end", "date", "value", "split"}
VALUE = re.compile(
    r"\d{4}(-(\d\d(-\d\d(T(MO|AF|EV|NI))?)?|W\d\d(-WE)?|Q[1-4]|H[12]|SP|SU|FA|WI))?|\d{3}|\d\d"
)
ROWS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def test_rows_hold_places_dates_and_values_and_no_text():
    assert len(ROWS) == 395
    for row in ROWS:
        assert set(row) == FIELDS
        assert all(type(row[name]) is int for name in ("id", "document", "start", "end"))
        datetime.date.fromisoformat(row["date"])
        assert VALUE.fullmatch(row["value"]), row
        if re.fullmatch(r"\d{4}-\d\d-\d\d.*", row["value"]):
            datetime.date.fromisoformat(row["value"][:10])


def test_the_split_goes_by_document_and_places_do_not_overlap():
    splits = {}
    for row in ROWS:
        splits.setdefault(row["document"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert sum(row["split"] == "dev" for row in ROWS) == 60
    keys = [(row["id"], row["start"]) for row in ROWS]
    assert keys == sorted(set(keys))
    for first, second in itertools.pairwise(ROWS):
        assert first["start"] < first["end"]
        assert first["id"] != second["id"] or first["end"] <= second["start"]


@pytest.fixture(scope="module")
def sentences():
    return list(data.load("conll2003")["test"]["tokens"])


def test_documents_and_dates_are_those_of_the_file(sentences):
    lines = (assets.get("conll2003") / "test.txt").read_text(encoding="utf-8").splitlines()
    document, index, dates, documents, inside = -1, 0, {}, [], False
    for line in [*lines, ""]:
        word = line.split(" ")[0]
        if word == "-DOCSTART-":
            document += 1
        elif word:
            inside = True
            if re.fullmatch(r"\d{4}-\d\d-\d\d", word):
                dates.setdefault(document, word)
        elif inside:
            documents.append(document)
            inside, index = False, index + 1
    assert index == len(sentences)
    for row in ROWS:
        assert documents[row["id"]] == row["document"]
        assert dates[row["document"]] == row["date"]


def test_each_value_is_one_of_the_readings_that_its_words_allow(sentences):
    for row in ROWS:
        words = sentences[row["id"]][row["start"] : row["end"]]
        assert len(words) == row["end"] - row["start"]
        program = read(" ".join(words))
        assert program is not None, row
        ahead = resolve(forward(program, row["date"]), row["date"])
        assert row["value"] in (resolve(program, row["date"]), ahead), row
