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
