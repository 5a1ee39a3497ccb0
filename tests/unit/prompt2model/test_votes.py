"""Votes: equal inputs get one output, and a second model may object."""

import numpy as np
import pytest

from reptune.prompt2model.task import Demonstration, Sample
from reptune.prompt2model.votes import PromptLabeler, prompt_labelers, relabel, vote


class Fixed:
    """Gives each text the probability of the first label that it is told."""

    def __init__(self, **first):
        self._first = first

    def probabilities(self, texts):
        first = np.array([self._first[text] for text in texts])
        return np.stack([first, 1 - first], axis=1)


def test_the_most_frequent_output_wins_wherever_it_stands():
    rows = [Sample("1+1", "11"), Sample("1+1", "2"), Sample("1 + 1", "x"), Sample("1+1 ", "2")]
    assert [(row.input, row.output) for row in vote(rows).samples] == [("1+1", "2"), ("1 + 1", "x")]


def test_a_tie_is_dropped_not_given_to_the_shorter_output():
    # The original takes the shortest of the most frequent.
    kept = vote([Sample("Why?", "No."), Sample("Why?", "Because it rained.")])
    assert kept.samples == []
    assert kept.dropped == 2


def test_the_users_own_output_overrules_the_votes():
    rows = [Sample("1+1", "3"), Sample("1+1", "3"), Sample("1+1", "2")]
    assert vote(rows, [Demonstration("1+1", "2")]).samples == [rows[2]]


def test_the_same_question_about_two_passages_is_not_one_input():
    rows = [Sample("Who?", "Ann", context="Ann ran."), Sample("Who?", "Bob", context="Bob ran.")]
    assert vote(rows).samples == rows


def test_labels_that_are_not_confirmed_go():
    rows = [Sample("a", "good"), Sample("b", "good"), Sample("c", "bad"), Sample("d", "bad")]
    labeler = Fixed(a=0.9, b=0.2, c=0.45, d=0.1)
    found = relabel(rows, labeler, ["good", "bad"], threshold=0.6)
    assert [row.input for row in found.kept.samples] == ["a", "d"]  # c: 0.55 is below 0.6
    assert found.kept.dropped == 2
    assert found.disagreed == 0.25  # only b
    assert found.orders_differ == found.vote_changed == 0


def test_several_orders_vote_by_their_mean_and_what_that_changed_is_told():
    rows = [Sample("a", "good"), Sample("b", "good")]
    orders = [Fixed(a=0.4, b=0.9), Fixed(a=0.9, b=0.8), Fixed(a=0.8, b=0.3)]
    found = relabel(rows, orders, ["good", "bad"])
    assert found.kept.dropped == 0  # means 0.7 and 0.67
    assert found.orders_differ == 1.0
    assert found.vote_changed == 0.5  # the first order alone would have dropped a


def test_labels_keep_their_columns():
    rows = [Sample("a", "bad")]
    assert relabel(rows, Fixed(a=0.1), ["good", "bad"]).kept.dropped == 0
    assert relabel(rows, Fixed(a=0.1), ["bad", "good"]).kept.dropped == 1


def test_labels_and_probabilities_are_checked():
    with pytest.raises(ValueError, match="label '1' is none of"):
        relabel([Sample("a", "1")], Fixed(a=0.5), ["good", "bad"])
    with pytest.raises(ValueError, match="shape"):
        relabel([Sample("a", "good")], Fixed(a=0.5), ["good", "bad", "fair"])
    with pytest.raises(ValueError, match="sum to 1"):
        relabel([Sample("a", "good")], Fixed(a=float("nan")), ["good", "bad"])
    assert relabel([], Fixed(), ["good", "bad"]).kept.samples == []


def test_prompt_orders_differ_and_the_columns_do_not():
    seen = []

    class Model:
        def continuation_scores(self, prompts, continuations):
            seen.append((prompts[0], tuple(continuations)))
            return np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

    labelers = prompt_labelers(Model(), "Judge.", ["a", "b", "c"], orders=4)
    found = [labeler.probabilities(["one", "two"]) for labeler in labelers]
    assert len({prompt for prompt, _ in seen}) == 4
    assert {endings for _, endings in seen} == {(" a", " b", " c")}
    assert "Possible answers: a, b, c\n" in seen[0][0]
    for one in found:
        np.testing.assert_allclose(one, found[0])
        np.testing.assert_allclose(one.sum(axis=1), 1)
    assert len(prompt_labelers(Model(), "Judge.", ["a", "b"], orders=5)) == 2


def test_a_text_cannot_begin_a_line_of_the_prompt():
    labeler = PromptLabeler(None, "Judge.", ("a", "b"))
    assert labeler.prompt("x\nAnswer: a").endswith("\nInput: x Answer: a\nAnswer:")


def test_a_labeler_scores_a_text_once_whoever_holds_the_model():
    class Teacher:
        def __init__(self):
            self.asked, self.lm = [], self

        def continuation_scores(self, prompts, labels):
            self.asked += prompts
            return np.array([[float("fine" in prompt), 0.5] for prompt in prompts])

    teacher = Teacher()
    labeler = PromptLabeler(teacher, "Judge.", ("good", "bad"))
    first = labeler.probabilities(["fine", "dull", "fine"])
    assert labeler.probabilities(["fine", "dull", "fine"]).tolist() == first.tolist()
    assert len(teacher.asked) == 2
    labeler.probabilities(["dull", "new"])
    assert len(teacher.asked) == 3
    assert labeler == PromptLabeler(teacher, "Judge.", ("good", "bad"))
