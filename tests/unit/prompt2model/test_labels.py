"""Labels of a data set for labels of a task: the right ones, or a reason."""

import numpy as np
import pytest

from reptune.prompt2model.labels import DeclinedError, match_labels

BOTH = ["negative", "positive"]

# A world of three directions; names that share one are alike.
VECTORS = {"politics": (1, 0, 0), "government": (0.8, 0.6, 0), "cooking": (0, 0, 1),
           "sports": (0, 1, 0), "games": (0.7, 0.71, 0)}  # fmt: skip


def embed(names):
    """Unit vectors written by hand; a name that is not in the list is like none."""
    found = [np.array(VECTORS.get(name, (0, 0, 0)), dtype=float) for name in names]
    return np.stack([one / max(np.linalg.norm(one), 1) for one in found])


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (["positive", "negative"], {"negative": "negative", "positive": "positive"}),
        (["pos", "neg"], {"negative": "neg", "positive": "pos"}),
        (["Positive Review", "Negative Review"],
         {"negative": "Negative Review", "positive": "Positive Review"}),
        (["good", "bad"], {"negative": "bad", "positive": "good"}),
        (["thumbs_up", "thumbs_down"], {"negative": "thumbs_down", "positive": "thumbs_up"}),
        (["0", "1"], {"negative": "0", "positive": "1"}),
        (["positive"], {"positive": "positive"}),
    ],
)  # fmt: skip
def test_polarity_goes_by_words(ours, expected):
    assert match_labels(ours, BOTH, embed) == expected


@pytest.mark.parametrize(
    ("instruction", "of_one"),
    [
        ("Write 1 if the film review is negative and 0 if it is positive.", "negative"),
        ("Answer positive (0) or negative (1).", "negative"),
        ("labels: negative=1, positive=0", "negative"),
        ("Give 1 for a positive text, else 0.", "positive"),
        ("Rate films with 1 or 0.", "positive"),
    ],
)
def test_numbers_mean_what_the_instruction_says(instruction, of_one):
    assert match_labels(["1", "0"], BOTH, embed, instruction)[of_one] == "1"


@pytest.mark.parametrize(
    ("ours", "theirs", "instruction", "reason"),
    [
        ([], BOTH, "", "names no labels"),
        (["positive", "negative", "neutral"], BOTH, "", "'neutral'"),
        (["spam", "ham"], BOTH, "", "clearly stands for 'spam'"),
        (["1", "2", "3"], BOTH, "Rate from 1 to 3.", "label '2'"),
        (["1", "0"], BOTH, "1 if the review is not positive, 0 otherwise", "not clear"),
        (["1", "0"], BOTH, "1 if negative, else 0", "mean the same"),
        (["1", "0"], ["business", "sports"], "", "does not say"),
        (["pos", "positive"], BOTH, "", "mean the same"),
        # Near enough, but nearly as near to another.
        (["games"], ["politics", "sports"], "", "'games'"),
        (["cooking", "politics"], ["politics", "sports"], "", "'cooking'"),
    ],
)
def test_no_guess_where_it_is_not_clear(ours, theirs, instruction, reason):
    with pytest.raises(DeclinedError, match=reason):
        match_labels(ours, theirs, embed, instruction)


def test_what_is_not_alike_by_letters_goes_by_vectors():
    theirs = ["business", "politics", "sports"]
    found = match_labels(["Government", "Sport"], theirs, embed)
    assert found == {"politics": "Government", "sports": "Sport"}
