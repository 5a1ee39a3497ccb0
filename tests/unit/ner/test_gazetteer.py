import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from reptune import tags
from reptune.ner.gazetteer import Gazetteer, MostFrequentTag


def corpus(*sentences):
    """Sentences written as `Ada/B-PER wrote`, where a word without a tag is outside."""
    pairs = [[[*word.split("/"), "O"][:2] for word in text.split()] for text in sentences]
    return [[w for w, _ in row] for row in pairs], [[t for _, t in row] for row in pairs]


def test_each_word_gets_the_tag_it_had_most_often():
    tagger = MostFrequentTag().fit(
        *corpus("May/B-PER came in May", "in May", "New/B-LOC York/I-LOC", "York/B-LOC", "York/B-X")
    )
    assert tagger.tag_of_["May"] == "O"
    # B-LOC, B-X and I-LOC were each seen once; the first in the alphabet wins.
    assert tagger.predict([["May", "York"], ["New", "York", "Zog", "may"]]) == [
        ["O", "B-LOC"],
        ["B-LOC", "B-LOC", "O", "O"],
    ]


def test_the_most_frequent_tag_need_not_be_valid():
    tagger = MostFrequentTag().fit(*corpus("New/B-LOC York/I-LOC"))
    assert tagger.predict([["York"]]) == [["I-LOC"]]


def test_ties_go_to_the_first_in_the_alphabet_whatever_the_order():
    for texts in [("May/B-PER", "May/B-ORG"), ("May/B-ORG", "May/B-PER")]:
        assert MostFrequentTag().fit(*corpus(*texts)).predict([["May"]]) == [["B-ORG"]]
        assert MostFrequentTag().fit(*corpus(texts[0], "May")).tag_of_["May"].startswith("B-")


def test_the_gazetteer_drops_what_is_seldom_an_entity():
    gazetteer = Gazetteer().fit(*corpus("May/B-PER met Ada/B-PER", "in May", "last May"))
    assert gazetteer.type_of_ == {("Ada",): "PER"}
    assert gazetteer.predict([["May", "met", "Ada"]]) == [["O", "O", "B-PER"]]


def test_the_gazetteer_needs_one_type_in_more_than_half_of_the_places():
    half = Gazetteer().fit(*corpus("May/B-PER", "May"))
    assert half.type_of_ == {}
    assert half.predict([["May"]]) == [["O"]]
    assert Gazetteer().fit(*corpus("May/B-PER", "May/B-PER", "May")).type_of_ == {("May",): "PER"}
    # Twice PER, once ORG, once nothing: an entity most often, but of no type.
    mixed = corpus("May/B-PER", "May/B-PER", "May/B-ORG", "May")
    assert Gazetteer().fit(*mixed).type_of_ == {}


def test_words_within_a_longer_entity_count_as_places_too():
    texts = ["York/B-LOC", "New/B-LOC York/I-LOC", "New/B-LOC York/I-LOC"]
    assert Gazetteer().fit(*corpus(*texts)).type_of_ == {("New", "York"): "LOC"}


def test_the_longest_match_wins_from_left_to_right():
    gazetteer = Gazetteer().fit(
        *corpus(
            "New/B-LOC York/I-LOC",
            "New/B-ORG York/I-ORG Times/I-ORG",
            "New/B-LOC York/I-LOC",
            "York/B-PER Times/I-PER Square/I-PER",
            "Square/B-LOC Square/B-LOC",
        )
    )
    assert gazetteer.type_of_ == {
        ("New", "York"): "LOC",
        ("New", "York", "Times"): "ORG",
        ("York", "Times", "Square"): "PER",
        ("Square",): "LOC",
    }
    sentences = [
        ["New", "York", "Times", "Square"],  # what begins first takes its words
        ["York", "Times", "Square"],
        ["the", "New", "York", "New", "York"],
        ["New", "York", "Time"],
        ["Square", "Square"],
        ["New"],
    ]
    assert gazetteer.predict(sentences) == [
        ["B-ORG", "I-ORG", "I-ORG", "B-LOC"],
        ["B-PER", "I-PER", "I-PER"],
        ["O", "B-LOC", "I-LOC", "B-LOC", "I-LOC"],
        ["B-LOC", "I-LOC", "O"],
        ["B-LOC", "B-LOC"],
        ["O"],
    ]


def test_the_gazetteer_is_always_valid_and_finds_what_it_was_fitted_on():
    sentences, rows = corpus("Ada/B-PER L./I-PER saw New/B-LOC York/I-LOC", "Bob/B-PER", "no one")
    predicted = Gazetteer().fit(sentences, rows).predict(sentences)
    assert predicted == rows
    assert tags.count_invalid(predicted) == 0


def test_without_entities_everything_is_outside():
    gazetteer = Gazetteer().fit(*corpus("no one here"))
    assert gazetteer.type_of_ == {}
    assert gazetteer.predict([["no", "Ada"]]) == [["O", "O"]]


@pytest.mark.parametrize("kind", [MostFrequentTag, Gazetteer])
def test_both_refuse_to_predict_before_fit_and_what_does_not_fit(kind):
    with pytest.raises(NotFittedError):
        kind().predict([["Ada"]])
    fitted = kind().fit([["Ada"]], [["B-PER"]])
    with pytest.raises(NotFittedError):
        clone(fitted).predict([["Ada"]])
    with pytest.raises(ValueError, match="is an empty sentence"):
        fitted.predict([[]])
    with pytest.raises(ValueError, match="is 'Ada', not a list of words"):
        fitted.predict(["Ada"])
    with pytest.raises(ValueError, match="sentence 0 has 1 words but 2 tags"):
        kind().fit([["Ada"]], [["B-PER", "O"]])
    with pytest.raises(ValueError, match="'I-PER' after 'O'"):
        kind().fit([["Ada"]], [["I-PER"]])
