import collections

import pytest
from datasets import ClassLabel, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from reptune import data
from reptune.data import duplicates
from reptune.data import pairs as pairs_module

SIZES = {"business": 90, "politics": 61, "sports": 70, "tech": 53}


def article(topic, number, title=None, body=None):
    title = title or f"{topic} title {number}"
    body = body or " ".join(f"{topic}{number}word{index}" for index in range(60))
    return duplicates.Row(f"{topic}/{number}", f"{title}\n\n{body}", topic, {})


def articles(sizes):
    return [article(topic, number) for topic, size in sizes.items() for number in range(size)]


def make(rows, held_out=()):
    """`title_pairs` of given train articles."""
    splits = {"train": rows, "validation": list(held_out), "test": list(held_out)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs_module, "split_rows", {"bbc_news": splits}.__getitem__)
        return data.title_pairs()


@pytest.fixture(scope="module")
def rows():
    return articles(SIZES)


@pytest.fixture(scope="module")
def pairs(rows):
    return make(rows, held_out=[article("sports", 1000, "held out", "held out")])


def test_columns_and_shares(pairs, rows):
    assert pairs["train"].features == {
        "title": Value("string"),
        "opening": Value("string"),
        "label": ClassLabel(names=["other", "same"]),
        "relatedness": Value("float32"),
    }
    sizes = {split: len(part) for split, part in pairs.items()}
    held_out = sum(round(0.2 * size) for size in SIZES.values())
    assert sizes == {
        "train": len(rows) - 2 * held_out, "validation": held_out, "test": held_out,
    }  # fmt: skip


def test_title_and_opening_are_cut_from_the_article():
    body = "First   sentence\nhere. " + "word " * 60
    given_rows = articles({"business": 10, "tech": 10})
    given_rows[0] = article("business", 0, title=" An  odd title ", body=body)
    found = make(given_rows)
    everything = [pair for part in found.values() for pair in part]
    assert "An odd title" in {pair["title"] for pair in everything}
    opening = next(p["opening"] for p in everything if p["opening"].startswith("First"))
    assert opening == "First sentence here. " + " ".join(["word"] * 37)


def test_relatedness_and_label_say_whose_title_it_is(pairs, rows):
    writers = {" ".join(row.text.split("\n\n")[1].split()[:40]): row for row in rows}
    givers = {row.text.split("\n")[0]: row for row in rows}
    for part in pairs.values():
        for pair in part:
            writer, giver = writers[pair["opening"]], givers[pair["title"]]
            expected = 1.0 if writer is giver else 0.5 if writer.stratum == giver.stratum else 0.0
            assert pair["relatedness"] == expected
            assert pair["label"] == (writer is giver)


def test_no_title_and_no_opening_is_used_twice_or_left_over(pairs, rows):
    for column in ("title", "opening"):
        values = [value for part in pairs.values() for value in part[column]]
        assert len(values) == len(set(values)) == len(rows)
    for part in pairs.values():  # a title stays in its article's split
        numbers = [title.replace(" title ", "") for title in part["title"]]
        assert set(numbers) == {opening.split("word")[0] for opening in part["opening"]}


def test_every_split_is_balanced_and_not_sorted(pairs):
    for part in pairs.values():
        labels, counts = part["label"][:], collections.Counter(part["relatedness"])
        assert abs(counts[1.0] - len(part) / 2) <= 0.5
        assert abs(counts[0.5] - counts[0.0]) <= 1
        assert labels != sorted(labels) and labels != [labels[0], labels[1]] * (len(labels) // 2)
        topics = [title.split()[0] for title in part["title"][:]]
        assert max(collections.Counter(topics[:20]).values()) < 16


def test_the_pairs_do_not_depend_on_the_order_of_the_rows(pairs, rows):
    again = make(rows[::-1])
    assert all(again[split].to_dict() == pairs[split].to_dict() for split in pairs)


def test_equal_titles_and_equal_openings_are_kept_once():
    given_rows = articles({"business": 10, "tech": 10})
    given_rows += [
        article("tech", 10, title="Business  title 3"),
        article("tech", 11, body=given_rows[4].text.split("\n\n")[1] + " and more"),
        article("tech", 12),
    ]
    everything = [pair for part in make(given_rows).values() for pair in part]
    openings = [pair["opening"].split("word")[0] for pair in everything]
    assert len(everything) == 21 and "tech12" in openings and "tech10" not in openings
    assert "tech title 11" not in {pair["title"] for pair in everything}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(40, 60), min_size=4, max_size=5))
def test_other_titles_are_never_the_own_one(sizes):
    found = make(articles(dict(zip("abcde", sizes, strict=False))))
    for part in found.values():
        for pair in part:
            own = pair["title"].replace(" title ", "") == pair["opening"].split("word")[0]
            assert own == pair["label"]
            same_topic = pair["title"][0] == pair["opening"][0]
            assert same_topic == (pair["relatedness"] > 0)


def test_the_name_is_not_one_to_load():
    with pytest.raises(ValueError, match="unknown data set 'title_pairs'"):
        data.load("title_pairs")
