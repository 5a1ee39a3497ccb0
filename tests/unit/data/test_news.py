import sys

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from reptune import data
from reptune.data import news

TOPICS = ClassLabel(names=["business", "tech"])


def make(**splits):
    """`headlines` of given articles, `(text, label)`, by split."""
    features = Features({"text": Value("string"), "label": TOPICS})
    articles = DatasetDict(
        {
            split: Dataset.from_list([{"text": t, "label": n} for t, n in rows], features=features)
            for split, rows in splits.items()
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(news, "load", {"bbc_news": articles}.__getitem__)
        return data.headlines()


def test_the_first_line_with_its_white_space_folded_keeps_split_and_label():
    found = make(
        train=[("Oil \t falls  again\n\nBody of it.", 0), ("One line", 1)],
        validation=[("New phone \nBody", 1)],
        test=[(" Bank rises\n\nBody", 0)],
    )
    assert {split: part.to_list() for split, part in found.items()} == {
        "train": [{"text": "Oil falls again", "label": 0}, {"text": "One line", "label": 1}],
        "validation": [{"text": "New phone", "label": 1}],
        "test": [{"text": "Bank rises", "label": 0}],
    }
    assert found["test"].features == {"text": Value("string"), "label": TOPICS}


def test_a_headline_stays_where_it_comes_first():
    found = make(
        train=[("Oil falls\na", 0), ("OIL  falls\nb", 0), ("New phone\nc", 1)],
        validation=[("oil Falls\nd", 0), ("Bank rises\ne", 0)],
        test=[("Bank rises\nf", 0), ("New phones\ng", 1)],
    )
    assert {split: part["text"][:] for split, part in found.items()} == {
        "train": ["Oil falls", "New phone"],
        "validation": ["Bank rises"],
        "test": ["New phones"],
    }


def test_the_function_is_not_hidden_by_a_module_of_its_name():
    assert callable(data.headlines) and callable(data.headlines)
    assert "reptune.data.headlines" not in sys.modules


def test_the_name_is_not_one_to_load():
    with pytest.raises(ValueError, match="unknown data set 'headlines'"):
        data.load("headlines")
