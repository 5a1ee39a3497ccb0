"""Texts come in many containers, with the same result; what is none is refused with the cure."""

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.contract.cases import NEW_TEXTS

# --- containers ----------------------------------------------------------------------------------

TEXT_CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "generator": lambda texts: (text for text in texts),
    "numpy strings": np.array,
    "numpy objects": lambda texts: np.array(texts, dtype=object),
    "Series": lambda texts: pd.Series(texts, index=range(50, 50 - len(texts), -1)),
    "Series of objects": lambda texts: pd.Series(texts, dtype=object),
    "StringArray": lambda texts: pd.array(texts, dtype="string"),
    "Index": pd.Index,
    "Arrow array": pa.array,
    "Arrow chunks": lambda texts: pa.chunked_array([texts[:1], texts[1:]]),
    "Arrow large strings": lambda texts: pa.array(texts, pa.large_string()),
    "dataset column": lambda texts: datasets.Dataset.from_dict({"text": texts})["text"],
    "keys": lambda texts: dict.fromkeys(texts).keys(),
}
ROW_CONTAINERS = {
    "list": list,
    "tuple of tuples": lambda rows: tuple(map(tuple, rows)),
    "generator": lambda rows: (row for row in rows),
    "list of arrays": lambda rows: [np.array(row) for row in rows],
    "numpy objects": lambda rows: _objects(rows),
    "Series": lambda rows: pd.Series(rows, index=range(50, 50 - len(rows), -1)),
    "Arrow array": pa.array,
    "Arrow chunks": lambda rows: pa.chunked_array([rows[:1], rows[1:]]),
    "dataset column": lambda rows: datasets.Dataset.from_dict({"tokens": rows})["tokens"],
}


def _objects(rows):
    found = np.empty(len(rows), dtype=object)
    found[:] = rows
    return found


@pytest.mark.only(lambda case: case.reads_texts)
@pytest.mark.parametrize("name", TEXT_CONTAINERS)
def test_texts_in_any_container_are_read_the_same(case, fitted, name):
    expected = case.output(fitted, list(NEW_TEXTS))
    found = case.output(fitted, TEXT_CONTAINERS[name](list(NEW_TEXTS)))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.only(lambda case: not case.reads_texts)
@pytest.mark.parametrize("name", ROW_CONTAINERS)
def test_sentences_and_pairs_in_any_container_are_read_the_same(case, fitted, name):
    expected = case.output(fitted)
    found = case.output(fitted, ROW_CONTAINERS[name](case.new_inputs))
    np.testing.assert_array_equal(found, expected)


def _labels_in(case, container):
    rows = ROW_CONTAINERS if case.tags_words else TEXT_CONTAINERS
    if container in rows:
        return rows[container](case.targets)
    return list(case.targets)


@pytest.mark.parametrize(
    "name", ["generator", "numpy objects", "Series", "Arrow chunks", "dataset column"]
)
def test_any_container_can_be_fitted(case, models, fitted, name):
    inputs = (TEXT_CONTAINERS if case.reads_texts else ROW_CONTAINERS)[name](case.inputs)
    again = case.new(models).fit(inputs, _labels_in(case, name))
    np.testing.assert_array_equal(case.output(again), case.output(fitted))


# --- what is refused -----------------------------------------------------------------------------

TABLE = pd.DataFrame({"text": ["a film", "a movie"], "label": ["x", "y"]})
TABLES = {
    "DataFrame": TABLE,
    "DataFrame of one column": TABLE[["text"]],
    "dict": {"text": ["a film"], "label": ["x"]},
    "mapping of a column": {0: "a film", 1: "a movie"},
    "Dataset": datasets.Dataset.from_pandas(TABLE),
    "DatasetDict": datasets.DatasetDict(train=datasets.Dataset.from_pandas(TABLE)),
    "Arrow table": pa.Table.from_pandas(TABLE),
    "Arrow batch": pa.RecordBatch.from_pandas(TABLE),
    "two-dimensional array": np.array([["a film"], ["a movie"]]),
    "two-dimensional objects": np.array([["a", "b"], ["c", "d"]], dtype=object),
    "single string": "a film",
    "bytes": b"a film",
    "None": None,
    "number": 3,
    "set": {"a film", "a movie"},
    "zero-dimensional array": np.array("a film"),
}
NOT_FOR_WORDS = {"two-dimensional objects", "two-dimensional array"}  # equally long sentences


def _refused(call, wanted=r"pass|must be|[Dd]rop|convert|read"):
    with pytest.raises(ValueError, match=wanted) as caught:
        call()
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("name", TABLES)
def test_tables_and_others_are_refused_before_anything_is_loaded(case, models, no_model, name):
    if case.tags_words and name in NOT_FOR_WORDS:
        return
    targets = case.targets[:2]
    _refused(lambda: case.new(models).fit(TABLES[name], targets))


@pytest.mark.parametrize("name", TABLES)
def test_tables_and_others_are_refused_at_prediction(case, fitted, name):
    if case.tags_words and name in NOT_FOR_WORDS:
        return
    _refused(lambda: fitted.predict(TABLES[name]))
    if hasattr(fitted, "predict_proba"):
        _refused(lambda: fitted.predict_proba(TABLES[name]))


def test_a_table_s_message_names_its_column(case, fitted):
    assert "text" in _refused(lambda: fitted.predict(TABLE))
    assert "list(" in _refused(lambda: fitted.predict(TABLES["dict"]))
    assert "text" in _refused(lambda: fitted.predict(TABLES["Dataset"]))


ELEMENTS = {
    "None": None, "NaN": float("nan"), "NA": pd.NA, "NaT": pd.NaT, "number": 3, "float": 2.5,
    "bool": True, "bytes": b"film", "list": ["film"], "dict": {"a": 1},
    "surrogate": "a film \ud800", "numpy number": np.int64(3), "numpy NaN": np.float32("nan"),
    "array": np.array(["film", "plot"]),
}  # fmt: skip


@pytest.mark.only(lambda case: not case.tags_words)
@pytest.mark.parametrize("name", ELEMENTS)
def test_an_element_that_is_no_text_is_named_by_its_place(case, models, fitted, no_model, name):
    if case.extracts and name == "array":
        return  # of two strings: a pair
    inputs = [case.inputs[0], ELEMENTS[name]]
    assert f"{case.what}[1]" in _refused(lambda: fitted.predict(inputs))
    assert f"{case.what}[1]" in _refused(lambda: case.new(models).fit(inputs, case.targets[:2]))


@pytest.mark.only(lambda case: case.extracts)
@pytest.mark.parametrize("name", ELEMENTS)
def test_half_a_pair_is_named_by_its_place(case, models, fitted, no_model, name):
    for pair in (("is it good", ELEMENTS[name]), (ELEMENTS[name], "a good film")):
        inputs = [case.inputs[0], pair]
        assert "pairs[1]" in _refused(lambda inputs=inputs: fitted.predict(inputs))
        assert "pairs[1]" in _refused(
            lambda inputs=inputs: case.new(models).fit(inputs, case.targets[:2])
        )


@pytest.mark.only(lambda case: case.tags_words)
@pytest.mark.parametrize("name", ELEMENTS)
def test_a_word_that_is_none_is_named_by_its_place(case, models, fitted, no_model, name):
    tokens = [["a", "film"], ["a", ELEMENTS[name]]]
    assert "tokens[1][1]" in _refused(lambda: fitted.predict(tokens))
    tags = [["O", "B-X"], ["O", "O"]]
    assert "tokens[1][1]" in _refused(lambda: case.new(models).fit(tokens, tags))


@pytest.mark.only(lambda case: case.tags_words)
@pytest.mark.parametrize("name", sorted(ELEMENTS.keys() - {"list", "array"}))
def test_a_sentence_that_is_none_is_named_by_its_place(case, fitted, name):
    assert "tokens[1]" in _refused(lambda: fitted.predict([["a"], ELEMENTS[name]]))


@pytest.mark.only(lambda case: case.tags_words)
def test_a_raw_text_that_is_none_is_named(case, fitted):
    for name in ELEMENTS.keys() - {"surrogate"}:
        assert "texts[1]" in _refused(lambda name=name: fitted.entities(["film", ELEMENTS[name]]))
    for text in ("a film \ud800", ["film", "a film \ud800"]):
        assert "surrogate" in _refused(lambda text=text: fitted.entities(text))


@pytest.mark.parametrize("empty", [[], (), np.array([]), pd.Series([], dtype=str), iter([])])
def test_no_text_at_all_is_refused(case, models, fitted, empty):
    _refused(lambda: fitted.predict(empty))
    _refused(lambda: case.new(models).fit(empty, []))


def test_strange_texts_are_texts(case, fitted):
    strange = ["\x00", "😀" * 5, "\u200b", "a\nb\r\n", "\ufeffgood", "İ", "e\u0301", "[MASK]",
               "{text}", "<|end|>"]  # fmt: skip
    inputs = [[text] for text in strange] if case.tags_words else strange
    inputs = [("is it good", text) for text in strange] if case.extracts else inputs
    output = case.output(fitted, inputs)
    assert np.isfinite(output).all()
