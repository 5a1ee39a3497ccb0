"""The headlines of the real articles: how many, of which topics, and none in two splits."""

import hashlib

import pytest

from reptune import data


@pytest.fixture(scope="module")
def headlines():
    return data.headlines()


def test_counts_are_the_pinned_ones(headlines):
    sizes = {split: len(part) for split, part in headlines.items()}
    assert sizes == {"train": 1434, "validation": 308, "test": 308}
    text = "\n".join(f"{row['text']}\t{row['label']}" for row in headlines["test"])
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == "693be786cede"


def test_they_are_the_articles_first_lines_in_the_articles_order(headlines):
    articles = data.load("bbc_news")
    assert headlines["train"].features == articles["train"].features
    for split in ("validation", "test"):
        assert headlines[split]["label"] == articles[split]["label"]
        for headline, article in zip(headlines[split], articles[split], strict=True):
            assert headline["text"].split() == article["text"].splitlines()[0].split()


def test_no_headline_occurs_twice(headlines):
    everything = [text.lower() for part in headlines.values() for text in part["text"]]
    assert len(set(everything)) == len(everything) == 2050
    assert data.overlap(headlines["train"], headlines["test"]) == 0
    assert data.overlap(headlines["train"], headlines["validation"]) == 0


def test_a_headline_is_a_few_words(headlines):
    words = [len(text.split()) for part in headlines.values() for text in part["text"]]
    assert (min(words), max(words)) == (3, 9)
