"""Questions in several languages: read from YAML, repeated ones dropped, translations found."""

import numpy as np
import pytest

from reptune import data
from reptune.data import questions

MONEY = "categories:\n- money\nconversations:\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The asset, with files as they come: repeated questions, numbers, another name in Dutch."""
    monkeypatch.setattr(questions.assets, "get", lambda name: tmp_path)
    for language in ("english", "dutch"):
        (tmp_path / language).mkdir()
    english = tmp_path / "english"
    (english / "money.yml").write_text(
        MONEY + "- - what is  money\n  - Paper.\n- - What is money\n  - Gold.\n- - 12\n- - 'how '\n"
    )
    (english / "sports.yml").write_text(MONEY + "- - WHAT IS SOCCER\n  - A game.\n")
    (tmp_path / "dutch" / "sport.yml").write_text(MONEY + "- - Wat is voetbal?\n- []\n")
    return tmp_path


def test_each_question_comes_once_with_its_topic_and_its_number(folder):
    found = data.topic_questions()
    assert found.to_list() == [
        {"text": "what is money", "label": 4, "position": 0},
        {"text": "12", "label": 4, "position": 1},
        {"text": "how", "label": 4, "position": 2},
        {"text": "WHAT IS SOCCER", "label": 7, "position": 0},
    ]
    assert found.features["label"].names == list(questions.QUESTION_TOPICS)


def test_a_topic_without_a_file_has_no_question_and_one_may_have_another_name(folder):
    assert data.topic_questions("dutch").to_list() == [
        {"text": "Wat is voetbal?", "label": 7, "position": 0}
    ]


def test_a_language_that_is_none_is_named_before_anything_is_fetched(monkeypatch):
    monkeypatch.setattr(questions.assets, "get", pytest.fail)
    with pytest.raises(ValueError, match=r"no questions in 'Dutch'.*did you mean 'dutch'"):
        data.topic_questions("Dutch")


def test_translations_share_topic_and_position_or_are_the_nearest_of_their_topic():
    def rows(*pairs):
        columns = {"label": [a for a, _ in pairs], "position": [b for _, b in pairs]}
        return data_set.from_dict({"text": [""] * len(pairs), **columns})

    data_set = questions.Dataset
    asked = rows((0, 0), (0, 1), (0, 2), (1, 0), (1, 1))
    known = rows((0, 1), (1, 7), (2, 0))
    by_position = questions.may_translate(asked, known)
    assert by_position.tolist() == [False, True, False, False, False]
    # The first known question is nearest to the third of its topic; a nearer one has another.
    # The third known question's topic has no question here.
    similarity = np.array([[0.1, 0, 9], [0.2, 0, 9], [0.3, 0, 9], [0.9, 0.4, 9], [0, 0.5, 9]])
    found = questions.may_translate(asked, known, similarity)
    assert found.tolist() == [False, True, True, False, True]
    with pytest.raises(ValueError, match=r"similarity has shape \(3, 5\); pass one of \(5, 3\)"):
        questions.may_translate(asked, known, similarity.T)
