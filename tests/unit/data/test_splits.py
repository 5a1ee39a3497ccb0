import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from reptune import data
from reptune.data import duplicates
from reptune.data import splits as splits_module


def row(row_id, text, stratum="a"):
    return duplicates.Row(str(row_id), text, stratum, {"text": text, "label": 0})


ROWS = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 0, 1]})


def test_the_cut_is_stratified_disjoint_and_independent_of_row_order():
    rows = [row(i, f"text {i}", "ab"[i % 2]) for i in range(200)]
    splits = splits_module.cut(rows, "bbc_news")
    again = splits_module.cut(rows[::-1], "bbc_news")
    ids = {split: [r.row_id for r in part] for split, part in splits.items()}
    assert ids == {split: [r.row_id for r in part] for split, part in again.items()}
    assert [len(part) for part in ids.values()] == [140, 30, 30]
    assert len({i for part in ids.values() for i in part}) == 200
    for part in splits.values():
        strata = [r.stratum for r in part]
        assert strata.count("a") == strata.count("b")
        assert strata != sorted(strata)


def labeled(counts):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return Dataset.from_dict({"text": [f"t{i}" for i in range(len(labels))], "label": labels})


def test_few_shot_is_balanced_repeatable_and_nested():
    dataset = labeled([30, 20])
    eight, four = data.few_shot(dataset, 8, 3), data.few_shot(dataset, 4, 3)
    assert np.bincount(eight["label"]).tolist() == [8, 8]
    assert eight["text"][:] == data.few_shot(dataset, 8, 3)["text"][:]
    assert eight["text"][:] != data.few_shot(dataset, 8, 4)["text"][:]
    assert set(four["text"]) < set(eight["text"])


def test_few_shot_says_what_is_missing():
    with pytest.raises(ValueError, match="class 1 has 2 examples, fewer than per_class=3"):
        data.few_shot(labeled([5, 2]), 3)
    with pytest.raises(ValueError, match="per_class=0"):
        data.few_shot(labeled([5, 2]), 0)


def test_a_fixed_subset_is_always_the_same_and_mixes_the_rows():
    rows = Dataset.from_dict({"text": [f"text {number}" for number in range(100)]})
    some = data.fixed_subset(rows, 30)["text"]
    assert list(some) == list(data.fixed_subset(rows, 30)["text"])
    assert len(set(some)) == 30 and list(some) != sorted(some)
    assert list(some)[:10] == list(data.fixed_subset(rows, 10)["text"])
    assert list(data.fixed_subset(rows, 100)["text"]) == list(rows["text"])


@pytest.mark.parametrize("items", [-1, 0, "2", 2.0, True, None])
def test_a_fixed_subset_of_no_whole_number_is_refused(items):
    with pytest.raises(ValueError, match=r"items=.*use a whole number from 1 on"):
        data.fixed_subset(ROWS, items)


@pytest.mark.parametrize("per_class", ["2", 2.0, True, None, -1])
def test_few_shot_draws_whole_numbers(per_class):
    with pytest.raises(ValueError, match=r"per_class=.*use a whole number from 1 on"):
        data.few_shot(ROWS, per_class)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (ROWS.remove_columns("label"), r"no column 'label'; its columns are \['text'\]"),
        (DatasetDict(train=ROWS), "dataset holds the splits train; pass one of them"),
        (ROWS.to_pandas(), "is a DataFrame; pass a datasets.Dataset"),
        (ROWS.to_list(), "is a list; pass a datasets.Dataset"),
        (None, "is a NoneType"),
        (ROWS.select([]), "has no rows"),
        (Dataset.from_dict({"label": ["a", None]}), r"labels\[1\] is None"),
        (Dataset.from_dict({"label": [[0], [1]]}), "labels must be strings or integers"),
        (Dataset.from_dict({"label": [0.5, 1.5]}), "labels must be strings or integers"),
    ],
)
def test_few_shot_says_what_is_no_labeled_data_set(dataset, message):
    with pytest.raises(ValueError, match=message):
        data.few_shot(dataset, 1)


@pytest.mark.parametrize("random_state", ["1", 1.5, -1, True])
def test_few_shot_needs_a_seed(random_state):
    with pytest.raises(ValueError, match="random_state="):
        data.few_shot(ROWS, 1, random_state)


def own_table(labels=("billing", "login"), each=20):
    """A table as `read_table` gives it."""
    texts = [f"message {i} about {label}" for label in labels for i in range(each)]
    return Dataset.from_dict(
        {"text": texts, "label": [label for label in labels for _ in range(each)]}
    )


def test_a_table_of_your_own_takes_the_place_of_a_data_set():
    news = data.split_table(own_table())
    assert list(news) == ["train", "validation", "test"]
    # What chapter 2 asks of its data.
    topics = news["train"].features["label"].names
    assert topics == ["billing", "login"]
    for part, size in zip(news.values(), (14, 3, 3), strict=True):
        assert np.bincount(part["label"]).tolist() == [size, size]
        assert all(topics[row["label"]] in row["text"] for row in part)
        assert part.features["label"].names == topics
    texts = [text for part in news.values() for text in part["text"]]
    assert sorted(texts) == sorted(own_table()["text"])
    assert len(data.few_shot(news["train"], 2)) == 4


def test_the_cut_of_a_table_does_not_depend_on_the_order_of_its_rows():
    table = own_table()
    shuffled = table.shuffle(seed=1)
    assert data.split_table(table)["test"]["text"] == data.split_table(shuffled)["test"]["text"]


def test_integer_labels_are_named_in_the_order_of_numbers():
    names = data.split_table(own_table(labels=(10, 9)))["train"].features["label"].names
    assert names == ["9", "10"]


def test_repeated_texts_are_in_one_split_alone():
    table = own_table()
    doubled = Dataset.from_dict(
        {
            "text": [*table["text"], table["text"][0].upper(), table["text"][1]],
            "label": [*table["label"], "billing", "login"],
        }
    )
    with pytest.warns(UserWarning, match="3 of 42 rows were left out"):
        splits = data.split_table(doubled)
    texts = [text.lower() for part in splits.values() for text in part["text"]]
    assert len(texts) == len(set(texts)) == 39 and table["text"][1] not in texts


def test_small_classes_have_a_row_in_every_split():
    for each in (3, 4, 5, 8):
        for held_out in (0.01, 1 / 3):
            for part in data.split_table(own_table(each=each), held_out).values():
                assert len(set(part["label"])) == 2


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (own_table(each=2), {}, "label 'billing' has 2 different texts; three splits need"),
        (own_table(labels=("a",)), {}, "at least 2"),
        (own_table(), {"held_out": 0.5}, "held_out=0.5"),
        (own_table(), {"held_out": 0}, "held_out=0"),
        (own_table(), {"held_out": "0.1"}, "held_out='0.1'"),
        (own_table().remove_columns("label"), {}, "has no column 'label'"),
        (own_table().to_pandas(), {}, "pass a datasets.Dataset"),
    ],
)
def test_tables_that_cannot_be_cut(table, options, message):
    with pytest.raises(ValueError, match=message):
        data.split_table(table, **options)
