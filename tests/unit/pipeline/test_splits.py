import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reptune.pipeline.examples import Examples
from reptune.pipeline.splits import (
    duplicate_groups,
    grouped_folds,
    repeated,
    strata_of,
    texts_of,
)

LONG = "one two three four five six seven eight nine ten eleven twelve"


def test_equal_texts_are_one_group_whatever_their_case_and_spacing():
    groups = duplicate_groups(["A fine  film", "dull", "a fine film ", "dull.", "other"])
    assert groups.tolist() == [0, 1, 0, 1, 2]
    assert repeated(groups) == 2


def test_nearly_equal_texts_are_one_group():
    quoted = " ".join(LONG.split()[2:])
    other = "not " + " ".join(LONG.split()[:5]) + " but then something else entirely follows"
    assert duplicate_groups([LONG, quoted, f"{LONG} and more", other]).tolist() == [0, 0, 0, 1]


def test_a_text_that_is_near_to_two_others_joins_them():
    words = [f"w{number}" for number in range(40)]
    left, right = " ".join(words[:20]), " ".join(words[20:])
    groups = duplicate_groups([left, "in between", right, " ".join(words[4:36])])
    assert groups.tolist() == [0, 1, 0, 0]  # and numbered by the first text of each


def test_no_texts_that_differ_are_joined():
    texts = [f"text number {number}" for number in range(200)]
    assert duplicate_groups(texts).tolist() == list(range(200))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), min_size=1, max_size=60),
    st.integers(2, 5),
    st.integers(0, 3),
)
def test_no_group_is_cut_and_no_fold_is_empty(rows, num_folds, random_state):
    strata, groups = (np.array(column) for column in zip(*rows, strict=True))
    if len(np.unique(groups)) < num_folds:
        with pytest.raises(ValueError, match="different texts cannot be shared out"):
            grouped_folds(strata, groups, num_folds, random_state)
        return
    folds = grouped_folds(strata, groups, num_folds, random_state)
    assert folds.shape == (len(rows),)
    for group in np.unique(groups):
        assert len(set(folds[groups == group])) == 1
    assert set(folds) == set(range(num_folds))


def test_every_fold_has_its_share_of_each_label():
    strata = ["a"] * 60 + ["b"] * 30 + ["c"] * 9
    folds = grouped_folds(strata, np.arange(99), 3)
    for fold in range(3):
        held = [strata[row] for row in np.flatnonzero(folds == fold)]
        assert [held.count(label) for label in "abc"] == [20, 10, 3]


def test_the_seed_decides():
    strata, groups = ["a", "b"] * 20, np.arange(40)
    once = grouped_folds(strata, groups, 4, random_state=1)
    assert (once == grouped_folds(strata, groups, 4, random_state=1)).all()
    assert (once != grouped_folds(strata, groups, 4, random_state=2)).any()


def test_labels_that_are_all_rarer_than_there_are_folds_are_spread():
    strata = [str(row % 100) for row in range(300)]
    folds = grouped_folds(strata, np.arange(300), 5)
    assert np.bincount(folds, minlength=5).min() > 50
    for label in range(100):
        assert len(set(folds[label::100])) == 3  # its three rows are in three folds


def test_what_stands_for_a_row():
    pairs = Examples("pair", [("a", "b"), ("c", "d")], ["x", "y"], "", "")
    assert (texts_of(pairs), strata_of(pairs)) == (["a b", "c d"], ["x", "y"])
    tagged = Examples("tags", [["Ada", "Lee"], ["no"]], [["B-PER", "I-PER"], ["O"]], "", "")
    assert (texts_of(tagged), strata_of(tagged)) == (["Ada Lee", "no"], ["PER", ""])
    several = Examples("labels", ["t", "u", "v"], [["x", "y"], ["x"], []], "", "")
    assert (texts_of(several), strata_of(several)) == (["t", "u", "v"], ["y", "x", ""])
    assert strata_of(Examples("label", ["t", "u"], [1, 2], "", "")) == ["1", "2"]
