import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from reptune.pipeline.intervals import (
    CROSS_VALIDATED,
    detectable_difference,
    difference_interval,
    rows_to_detect,
    share_interval,
)

RIGHT = st.lists(st.booleans(), min_size=1, max_size=80)
PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80)


@pytest.mark.parametrize(("right", "rows"), [(0, 10), (3, 10), (16, 16), (77, 100), (1, 1)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_of_a_share_is_wilsons(right, rows, level):
    ours = share_interval([True] * right + [False] * (rows - right), level)
    theirs = binomtest(right, rows).proportion_ci(level, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert (ours.estimate, ours.level) == (right / rows, level)


def test_a_row_that_counts_half_is_half_a_row():
    half = share_interval([True, True, False, True] * 10, weight=0.5)
    whole = share_interval([True, True, False, True] * 5)
    assert (half.low, half.high) == pytest.approx((whole.low, whole.high))


def test_all_wrong_and_all_right_reach_the_ends_exactly():
    for rows in range(1, 200):
        for weight in (1.0, 2 / 3):
            wrong, right = (share_interval([each] * rows, weight=weight) for each in (0, 1))
            assert wrong.low == wrong.estimate == 0 and right.high == right.estimate == 1
            assert type(wrong.low) is float and 0 < wrong.high < 1 and 0 < right.low < 1


@settings(max_examples=80, deadline=None)
@given(RIGHT)
def test_an_interval_of_a_share_holds_it_and_mirrors(right):
    found = share_interval(right)
    assert 0 <= found.low <= found.estimate <= found.high <= 1 and found.low < found.high
    mirrored = share_interval([not each for each in right])
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low))


@settings(max_examples=80, deadline=None)
@given(PAIRS)
def test_swapping_the_two_changes_the_sign(pairs):
    a, b = zip(*pairs, strict=True)
    found, swapped = difference_interval(a, b), difference_interval(b, a)
    assert (swapped.estimate, swapped.low, swapped.high) == pytest.approx(
        (-found.estimate, -found.high, -found.low)
    )
    assert found.estimate == pytest.approx(np.mean(a) - np.mean(b))
    assert -1 <= found.low < found.high <= 1


@settings(max_examples=80, deadline=None)
@given(PAIRS)
def test_the_less_a_row_counts_the_wider_the_interval(pairs):
    a, b = zip(*pairs, strict=True)
    for interval in (
        lambda weight: share_interval(a, weight=weight),
        lambda weight: difference_interval(a, b, weight=weight),
    ):
        # Near a bound an interval grows to the other side alone; its width always grows.
        wide, narrow = interval(CROSS_VALIDATED), interval(1.0)
        assert wide.high - wide.low >= narrow.high - narrow.low - 1e-12


def test_the_interval_of_a_difference_by_hand():
    # Of 20 rows both are right on 10, only A on 6, only B on 2: with half a row more for each of
    # the four outcomes 6.5 and 2.5 of 22, a difference of 4 / 22.
    a, b = [1] * 10 + [1] * 6 + [0] * 2 + [0] * 2, [1] * 10 + [0] * 6 + [1] * 2 + [0] * 2
    half = 1.959964 * math.sqrt((9 / 22 - (4 / 22) ** 2) / 22)
    found = difference_interval(a, b)
    assert found.estimate == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((4 / 22 - half, 4 / 22 + half), abs=1e-6)


def test_two_that_never_disagree_cannot_be_told_apart():
    found = difference_interval([1, 0, 1, 1], [1, 0, 1, 1])
    assert found.low < 0 == found.estimate < found.high


@pytest.mark.parametrize(("share", "rows"), [(0.5, 16), (0.8, 40), (0.95, 100)])
def test_intervals_of_shares_cover(share, rows):
    generator = np.random.default_rng(0)
    found = [share_interval(generator.random(rows) < share) for _ in range(2000)]
    assert np.mean([each.low <= share <= each.high for each in found]) > 0.92


@pytest.mark.parametrize("rows", [16, 64, 256])
def test_intervals_of_differences_cover_and_are_rarely_wrong_of_equals(rows):
    generator, covered, false_alarms = np.random.default_rng(1), [], []
    for _ in range(2000):
        hard = generator.random(rows)
        noise_a, noise_b = generator.normal(0, 0.2, (2, rows))
        better = difference_interval(hard + noise_a < 0.8, hard + noise_b < 0.6)
        equal = difference_interval(hard + noise_a < 0.7, hard + noise_b < 0.7)
        covered.append(better)
        false_alarms.append(equal.excludes(0))
    many = generator.random(400_000)
    noise_a, noise_b = generator.normal(0, 0.2, (2, 400_000))
    true = np.mean(many + noise_a < 0.8) - np.mean(many + noise_b < 0.6)
    assert np.mean([each.low <= true <= each.high for each in covered]) > 0.93
    assert np.mean(false_alarms) < 0.07


def test_a_difference_of_detectable_size_is_detected_in_four_of_five_tries():
    rows, disagreement, generator = 400, 0.2, np.random.default_rng(2)
    gap = detectable_difference(disagreement, rows)
    detected = []
    for _ in range(1000):
        which = generator.random(rows)
        only_a = which < (disagreement + gap) / 2
        only_b = (which >= (disagreement + gap) / 2) & (which < disagreement)
        detected.append(difference_interval(only_a, only_b).low > 0)
    assert 0.75 < np.mean(detected) < 0.85


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 0.5), st.floats(0.1, 1.0))
def test_rows_to_detect_undoes_detectable_difference(difference, disagreement):
    rows = rows_to_detect(difference, disagreement)
    if detectable_difference(disagreement, rows) < 1:
        assert detectable_difference(disagreement, rows) <= difference * (1 + 1e-9)
    if rows > 1:
        assert detectable_difference(disagreement, rows - 1) > difference * (1 - 1e-9)


def test_detectable_differences_end_at_one():
    assert detectable_difference(0.9, 1) == 1.0
    assert detectable_difference(0.0, 10) == 0.0
