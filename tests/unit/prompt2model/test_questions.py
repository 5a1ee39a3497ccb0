"""The questions about news written for this book: positions in articles, which are the BBC's."""

import json
import os
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from reptune.assets import AssetUnavailable
from reptune.data.catalog import split_rows
from reptune.prompt2model.questions import check_question, cut_passages, read_questions

FILE = Path(__file__).parents[3] / "studies/data/ch07_questions.jsonl"
RECORDS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
COUNTS = {"test": 150, "validation": 50}


@pytest.fixture(scope="module")
def articles():
    """The texts by split and id; without the asset, skip, except in CI."""
    try:
        splits = split_rows("bbc_news")
    except AssetUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI skips no test: {error}")
        pytest.skip(str(error))
    return {
        split: {row.row_id: row.content["text"] for row in rows} for split, rows in splits.items()
    }


def words(text):
    return re.findall(r"\w+", text.lower())


def test_the_file_holds_positions_and_no_text_but_the_questions():
    texts = {"split", "id", "question", "kind"}
    for record in RECORDS:
        assert {name for name, value in record.items() if isinstance(value, str)} == texts
        assert set(record) == texts | {"passage", "start", "end", "also", "rival"}
        assert re.fullmatch(r"[a-z]+/\d+", record["id"])
        assert record["question"].endswith("?")


def test_topics_articles_and_splits_are_balanced():
    for split, count in COUNTS.items():
        rows = [record for record in RECORDS if record["split"] == split]
        assert len(rows) == count
        topics = Counter(record["id"].partition("/")[0] for record in rows)
        assert set(topics.values()) == {count // 5}
        assert max(Counter(record["id"] for record in rows).values()) <= 3
    assert len({record["id"] for record in RECORDS if record["split"] == "test"}) >= 100
    assert len({record["question"] for record in RECORDS}) == len(RECORDS)


def test_every_article_is_in_its_split_alone(articles):
    for record in RECORDS:
        holding = [split for split, texts in articles.items() if record["id"] in texts]
        assert holding == [record["split"]]


def test_answers_are_whole_words_in_a_passage_as_students_get_them(articles):
    for record in RECORDS:
        article = articles[record["split"]][record["id"]]
        first, last = record["passage"]
        assert (first, last) in cut_passages(article)
        for start, end in [(record["start"], record["end"]), *record["also"]]:
            assert first <= start < end <= last
            answer = article[start:end]
            assert answer == answer.strip()
            assert not re.match(r"\w\w", article[start - 1 : start + 1])
            assert not re.match(r"\w\w", article[end - 1 : end + 1])
        assert len(article[record["start"] : record["end"]].split()) <= 6


def test_every_place_where_the_answer_stands_is_accepted(articles):
    for record in RECORDS:
        article, (first, last) = articles[record["split"]][record["id"]], record["passage"]
        answer = article[record["start"] : record["end"]]
        found = re.finditer(rf"(?<!\w){re.escape(answer)}(?!\w)", article[first:last])
        spans = {(first + match.start(), first + match.end()) for match in found}
        listed = {(record["start"], record["end"]), *map(tuple, record["also"])}
        assert spans <= listed
        assert len(listed) == 1 + len(record["also"])


def test_what_else_is_accepted_is_the_key_longer_shorter_or_abbreviated(articles):
    for texts in articles.values():
        for sample in read_questions(FILE, texts):
            key, *others = sample.origin["accepted"]
            for other in others:
                overlaps = set(words(key)) & set(words(other))
                assert overlaps or other.isupper() or "Pakistani president" in other, (key, other)


def test_questions_pass_the_filter_and_do_not_repeat_the_passage(articles):
    shared = defaultdict(list)
    for split, texts in articles.items():
        for sample in read_questions(FILE, texts):
            assert check_question(sample, most_copied=0.6) is None, sample.input
            question, passage = words(sample.input), f" {' '.join(words(sample.context))} "
            runs = (question[start : start + 5] for start in range(len(question) - 4))
            assert not any(f" {' '.join(run)} " in passage for run in runs), sample.input
            shared[split].append(
                len(set(question) & set(words(sample.context))) / len(set(question))
            )
    assert sum(shared["test"]) / len(shared["test"]) < 0.5
