"""What a caller may pass: each refusal names the value and the cure."""

import json
import warnings

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from reptune import checks


@pytest.mark.parametrize("texts", [
    ["a", "b"], ("a", "b"), (letter for letter in "ab"), np.array(["a", "b"]),
    np.array(["a", "b"], object), pd.Series(["a", "b"], index=[7, 3]), pa.array(["a", "b"]),
    pd.Series(["a", "b"], dtype="category"), pa.chunked_array([["a"], ["b"]]),
    datasets.Dataset.from_dict({"text": ["a", "b"]})["text"],
], ids=lambda texts: type(texts).__name__)  # fmt: skip
def test_texts_in_any_sequence(texts):
    assert checks.check_texts(texts) == ["a", "b"]


@pytest.mark.parametrize(("texts", "message"), [
    (pd.DataFrame({"body": ["a"]}), r"DataFrame with the columns \['body'\]; .*table\['body'\]"),
    (pa.table({"body": ["a"]}), r"Table with the columns \['body'\]"),
    (datasets.Dataset.from_dict({"body": ["a"]}), r"Dataset with the columns \['body'\]"),
    ({"a": 1}, r"a dict, whose elements are its keys"),
    ({"a"}, "a set, which has no order"),
    (np.array([["a"]]), r"shape \(1, 1\)"),
    (["a", "\ud800"], r"texts\[1\] is not valid Unicode"),
    (b"abc", "single string"),
    (["a", None], r"texts\[1\] is None \(a missing value\)"),
    (3, "texts is 3; pass a list of strings"),
    ([], "there are none"),
])  # fmt: skip
def test_what_is_no_list_of_texts(texts, message):
    with pytest.raises(ValueError, match=message):
        checks.check_texts(texts)


@pytest.mark.parametrize(("labels", "message"), [
    ([1.0, float("nan")], r"labels\[1\] is nan; drop rows without a label"),
    ([True, 2], "mix integers and booleans"),
    ([1, "a"], "mix strings and integers"),
    (["a", "a\0"], "NUL at its end"),
    ([2**70, 1], "beyond 64 bits"),
    ("ab", "a single string"),
    (np.array([[1], [2]]), r"shape \(2, 1\)"),
])  # fmt: skip
def test_what_are_no_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        checks.check_labels(labels, 2)


def test_labels_of_a_tensor_are_numbers():
    assert checks.check_labels(torch.tensor([3, 1]), 2).tolist() == [3, 1]


def test_swapped_arguments_are_suspected():
    texts = [f"text {number}" for number in range(8)]
    labels = ["a", "b"] * 4
    with pytest.warns(UserWarning, match="are the arguments swapped"):
        checks.check_training_set(labels, texts)


@pytest.mark.parametrize("count", [2, 5, 19])
def test_one_text_per_label_is_no_swap(count):
    texts = [f"text {number}" for number in range(count)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checks.check_training_set(texts, [f"label {number}" for number in range(count)])


@pytest.mark.parametrize(
    "value", ["1e-4", True, None, float("nan"), float("inf"), 0, -1, [1], 10**400]
)
def test_what_is_no_positive_number(value):
    with pytest.raises(ValueError, match=r"^rate=.*; use a number above 0"):
        checks.check_number("rate", value, above=0)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.int64(1), 1])
def test_numbers_come_back_plain(value):
    assert type(checks.check_number("rate", value, above=0, most=1)) is float


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "2"])
def test_class_weights_are_positive(weight):
    with pytest.raises(ValueError, match=r"class_weight\['a'\]"):
        checks.class_weights({"a": weight, "b": 1}, np.array(["a", "b"]), np.array([1, 1]))


def test_random_states():
    checks.check_random_state(np.int64(3))
    checks.check_random_state(None)
    for value in (-1, 1.5, True, 2**32, "3"):
        with pytest.raises(ValueError, match="random_state="):
            checks.check_random_state(value)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("config.json", {"auto_map": {"AutoConfig": "evil.C"}}, "never runs code"),
    ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.T", None]}}, "never runs code"),
    ("modules.json", [{"type": "evil.Module", "path": ""}], "names the class 'evil.Module'"),
    ("modules.json", [{"type": "sentence_transformers.models.Pooling", "path": "../x"}], "outside"),
    ("modules.json", {}, "lists no modules"),
    ("config.json", {"num_hidden_layers": 10**6}, "cannot be meant"),
    ("config.json", [], "no JSON object"),
    ("2_Layer/config.json", {"activation_function": "evil.run"}, "names the activation"),
    ("router_config.json", {"types": {"query": "evil.Module"}}, "names the class 'evil.Module'"),
    ("query_0/1_Layer/config.json", {"activation_function": "os.abort"}, "names the activation"),
])  # fmt: skip
def test_a_model_folder_that_names_code_or_nonsense(tmp_path, name, content, message):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        checks.check_model_folder(tmp_path)


def test_a_configuration_of_brackets(tmp_path):
    (tmp_path / "config.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="is damaged"):
        checks.check_model_folder(tmp_path)


def test_a_transformer_may_name_its_activation_by_a_word(tmp_path):
    (tmp_path / "0_Transformer").mkdir()
    content = {"model_type": "gpt2", "activation_function": "gelu_new"}
    (tmp_path / "0_Transformer" / "config.json").write_text(json.dumps(content))
    checks.check_model_folder(tmp_path)


# --- several labels per text ---------------------------------------------------------------------


@pytest.mark.parametrize("labels", [
    [["b", "a"], [], ["a"]], [("b", "a"), (), ("a",)], [{"b", "a"}, set(), frozenset("a")],
    (list(row) for row in ("ba", "", "a")), pd.Series([["b", "a"], [], ["a"]]),
    pa.array([["b", "a"], [], ["a"]]), np.array([["b", "a"], [], ["a"]], dtype=object),
    pd.Series([np.array(["b", "a"]), np.array([], dtype=object), np.array(["a"])]),
    datasets.Dataset.from_dict({"labels": [["b", "a"], [], ["a"]]})["labels"],
], ids=lambda labels: type(labels).__name__)  # fmt: skip
def test_several_labels_in_any_container(labels):
    texts, classes, targets = checks.check_labeled_texts(["x", "y", "z"], labels)
    assert texts == ["x", "y", "z"] and classes.tolist() == ["a", "b"]
    assert targets.tolist() == [[True, True], [False, False], [True, False]]


def test_one_label_per_text_becomes_indices():
    _, classes, targets = checks.check_labeled_texts(["x", "y", "z"], [7, 3, 7])
    assert classes.tolist() == [3, 7] and targets.tolist() == [1, 0, 1]


def test_several_integers_per_text():
    classes, indicator = checks.check_multilabels([[10, np.int64(9)], [9]], 2)
    assert classes.tolist() == [9, 10] and indicator.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize(("labels", "message"), [
    ([["a"], "b"], r"labels\[1\] is 'b', which is no list of labels"),
    (["a", ["b"]], r"labels\[0\] is 'a', which is no list of labels"),
    ([["a", "b"], None], r"labels\[1\] is None, which is no list.* \[\] where one has none"),
    ([["a", "b"], ["b", "b"]], r"labels\[1\] holds 'b' twice"),
    ([[0, 1, 1], [1, 0, 0]], r"labels\[0\] holds 1 twice.*zeros and ones is not taken"),
    ([["a"], ["a"]], r"labels hold 1 class \('a'\); training needs at least 2"),
    ([[], []], "none of the 2 texts has a label"),
    ([["a", 1], ["b"]], "mix strings and integers"),
    ([["a", None], ["b"]], r"labels\[0\]\[1\] is None"),
    ([["a", 1.5], ["b"]], r"labels\[0\]\[1\] is 1.5, a float"),
    ([["a", "b"]], "2 texts but 1 lists of labels"),
    ([["a", ["b"]], ["b"]], r"labels\[0\]\[1\] is \['b'\], a list"),
])  # fmt: skip
def test_what_are_no_lists_of_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        checks.check_labeled_texts(["x", "y"], labels)


def test_validation_with_several_labels():
    classes = np.array(["a", "b"])
    texts, targets = checks.check_validation((["x"], [["b"]]), classes, multilabel=True)
    assert texts == ["x"] and targets.tolist() == [[False, True]]
    with pytest.raises(ValueError, match=r"validation labels has labels .* no classes: \['c'\]"):
        checks.check_validation((["x"], [["c"]]), classes, multilabel=True)
    with pytest.raises(ValueError, match=r"validation labels\[0\] is 'b', which is no list"):
        checks.check_validation((["x"], ["b"]), classes, multilabel=True)


def test_class_weights_of_several_labels_balance_each():
    classes, counts = np.array(["a", "b", "c"]), np.array([1, 2, 4])
    balanced = checks.class_weights("balanced", classes, counts, num_texts=4)
    assert balanced.tolist() == [3, 1, 1], "texts without the label for each one with it"
    assert checks.class_weights({"a": 5, "b": 1, "c": 2}, classes, counts, 4).tolist() == [5, 1, 2]


@pytest.mark.parametrize("value", [0, 1, -0.5, "0.5", True, float("nan")])
def test_thresholds_lie_between_0_and_1(value):
    with pytest.raises(ValueError, match=r"thresholds=.*above 0 below 1"):
        checks.check_shared_parameters(type("Any", (), {"thresholds": value})())
