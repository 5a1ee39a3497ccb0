"""Chapter 4's studies: stories, sentence ends, capitals, tweets' scorings, label errors."""

import json
from pathlib import Path

import ch04_capitals as capitals
import ch04_documents as documents
import ch04_label_errors as label_errors
import ch04_tweets as tweets
import numpy as np
import pytest
from shared import entities

from reptune.tags import count_invalid
from tests import tiny
from tests.unit.ner.examples import toy

CHAPTER = Path(__file__).parents[2] / "notebooks" / "04_named_entity_recognition.ipynb"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny.save_encoder(tmp_path_factory.mktemp("tiny") / "encoder", random_state=0)


# --- stories -------------------------------------------------------------------------------------


def test_sentences_of_a_story_become_one_row():
    rows = [["a"], ["b", "c"], ["d"], ["e"]]
    assert entities.joined(rows, [0, 0, 1, 2]) == [["a", "b", "c"], ["d"], ["e"]]
    assert entities.joined(rows, [7, 3, 3, 3]) == [["a"], ["b", "c", "d", "e"]]
    assert rows == [["a"], ["b", "c"], ["d"], ["e"]]  # nothing was lengthened in place


def test_stories_are_drawn_whole_until_they_have_enough_sentences(monkeypatch):
    numbers = (0, 0, 0, 1, 2, 2, 3, 3, 3, 3)
    rows = [[str(row)] for row in range(len(numbers))]
    monkeypatch.setattr(entities, "documents", lambda task, split: numbers)
    monkeypatch.setattr(entities, "splits", lambda task: {"train": (rows, rows)})
    for seed in range(5):
        (tokens, gold), drawn = entities.stories("any", 4, seed)
        assert tokens == gold == [rows[row] for row in range(10) if numbers[row] in drawn]
        assert 4 <= len(tokens) < 4 + 4 and drawn == sorted(drawn)


def test_a_tagger_of_stories_gives_each_sentence_its_own_valid_tags(encoder, monkeypatch):
    monkeypatch.setattr(entities, "MODEL", str(encoder))
    tokens, gold = toy(60, 0)
    numbers = [row // 5 for row in range(60)]
    model = entities.DocumentTagger(num_epochs=6, learning_rate=1e-2, batch_size=2, max_length=32)
    model.fit(tokens, gold, numbers)
    found = model.predict(tokens, numbers)
    assert [len(row) for row in found] == [len(words) for words in tokens]
    assert count_invalid(found) == 0
    rows = model.tagger.predict_proba(entities.joined(tokens, numbers))
    assert sum(len(row) for row in rows) == sum(len(words) for words in tokens)
    first = np.argmax(rows[0][0])  # of the first word, whose tag nothing before it bars
    assert model.tagger.classes_[first] in (found[0][0], f"I-{found[0][0][2:]}")


def test_ends_are_found_in_words_joined_by_spaces():
    words = ["Ada", "left", ".", "Bo", "stayed", "in", "St.", "Ives", ".", "Why", "?"]
    assert documents.found_sizes(words) == [3, 6, 2]
    assert documents.cut_up(words, [3, 6, 2])[1] == ["Bo", "stayed", "in", "St.", "Ives", "."]
    counted = documents.shared_ends([[3, 6, 2], [4]], [[3, 8], [2, 2]])
    assert counted == {"given": 2, "found": 2, "both": 1}


def test_the_chapter_suspects_the_words_that_the_study_flags():
    (cell,) = [
        "".join(cell["source"])
        for cell in json.loads(CHAPTER.read_text("utf-8"))["cells"]
        if "lesson-suspects" in cell["metadata"].get("tags", [])
    ]
    space = {"np": np}
    exec(cell, space)
    rng = np.random.default_rng(0)
    for _ in range(20):
        likely, given = rng.dirichlet(np.full(4, 0.5), size=60), rng.integers(0, 4, 60)
        flagged = np.flatnonzero(label_errors.suggestions(likely, given) != given)
        assert space["suspects"](likely, given).tolist() == flagged.tolist()


# --- capitals, tweets ----------------------------------------------------------------------------


def test_each_tweet_is_held_out_once():
    folds = capitals.folds(1940)
    assert np.bincount(folds).tolist() == [388] * 5
    assert (folds == capitals.folds(1940)).all() and set(np.diff(folds)) != {1, -4}


def test_scorings_keep_rename_and_drop_types():
    gold = [["B-geo-loc", "I-geo-loc", "O", "B-movie", "B-person"]]
    newswire = [["B-LOC", "O", "B-ORG", "I-ORG", "B-PER"]]
    expected = {
        "mapped": (["B-LOC", "I-LOC", "O", "B-MISC", "B-PER"], newswire[0]),
        "spans": (["B-X", "I-X", "O", "B-X", "B-X"], ["B-X", "O", "B-X", "I-X", "B-X"]),
        "persons and places": (
            ["B-LOC", "I-LOC", "O", "O", "B-PER"],
            ["B-LOC", "O", "O", "O", "B-PER"],
        ),
    }
    for scoring, sides in expected.items():
        names = tweets.SCORINGS[scoring]
        assert (tweets.renamed(gold, names)[0], tweets.renamed(newswire, names)[0]) == sides
    assert tweets.renamed(gold, tweets.SCORINGS["ten types"]) == gold
    assert capitals.untyped(gold) == [["B-X", "I-X", "O", "B-X", "B-X"]]


# --- label errors --------------------------------------------------------------------------------


def test_a_word_is_flagged_where_another_tag_is_surer_than_its_words_usually_are():
    given = np.array([0, 0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.45, 0.55]])
    # thresholds: (0.9 + 0.8 + 0.1) / 3 = 0.6 and (0.7 + 0.55) / 2 = 0.625
    assert label_errors.suggestions(probabilities, given).tolist() == [0, 0, 1, 1, 1]
    probabilities[2] = [0.4, 0.6]  # likelier than the given tag, but not sure enough
    # thresholds: 0.7 and 0.625
    assert label_errors.suggestions(probabilities, given).tolist() == [0, 0, 0, 1, 1]


def test_a_story_is_in_one_fold_and_runs_cut_anew(monkeypatch):
    numbers = tuple(np.repeat(np.arange(30), 4).tolist())
    monkeypatch.setattr(label_errors, "documents", lambda task, split: numbers)
    one, two = (label_errors.fold_of_sentences(seed) for seed in label_errors.RUNS)
    assert (np.ptp(one.reshape(30, 4), axis=1) == 0).all() and (one != two).any()
    assert np.bincount(one).tolist() == [40, 40, 40]


def test_one_word_of_a_sentence_is_judged():
    found = [(sentence, word, "O", "B-LOC") for sentence in range(150) for word in range(3)]
    drawn = label_errors.sample(found)
    assert len({row[0] for row in drawn}) == len(drawn) == 100
    assert drawn == label_errors.sample(found) and len({row[1] for row in drawn}) == 3


def test_flags_come_from_kept_probabilities_in_the_order_of_the_words(monkeypatch, tmp_path):
    gold = [["B-LOC", "O"], ["O"], ["B-LOC", "O", "O"]]
    tokens = [["w"] * len(row) for row in gold]
    monkeypatch.setattr(label_errors, "splits", lambda task: {"train": (tokens, gold)})
    monkeypatch.setattr(label_errors, "FOLDER", tmp_path)
    sure = {"O": [0.9, 0.1], "B-LOC": [0.1, 0.9]}
    rows = [[sure[tag] for tag in row] for row in gold]
    rows[2][1] = [0.05, 0.95]
    for seed in label_errors.RUNS:
        for fold, held in enumerate(([2], [0], [1])):
            kept = np.concatenate([np.array(rows[row]) for row in held])
            np.savez(tmp_path / f"{seed}-{fold}.npz", rows=held, probabilities=kept)
    assert label_errors.flagged() == ([(2, 1, "O", "B-LOC")], 6)
