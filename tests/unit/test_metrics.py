import tracemalloc
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from reptune import metrics

cheap = settings(max_examples=60, deadline=None, database=None)


def test_scores_by_hand():
    scores = metrics.classification_scores([0, 0, 1, 1], [0, 1, 1, 1])
    assert scores["accuracy"] == 0.75
    # Class 0: precision 1, recall 1/2, F1 2/3. Class 1: precision 2/3, recall 1, F1 4/5.
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_mean_interval_agrees_with_scipy():
    values = (np.arange(400) % 4 != 0).astype(float)  # accuracy 0.75
    ours = metrics.mean_interval(values)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=0).confidence_interval
    assert ours.estimate == 0.75
    assert ours.low == pytest.approx(theirs.low, abs=0.006)
    assert ours.high == pytest.approx(theirs.high, abs=0.006)


def test_mean_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    samples = generator.random((100, 200)) < 0.8
    covered = [not metrics.mean_interval(sample).excludes(0.8) for sample in samples]
    assert 0.86 <= np.mean(covered) <= 1.0


def test_seeds_widen_the_interval():
    steady = np.tile(np.arange(200) % 5 != 0, (5, 1))  # five seeds that agree
    unsteady = steady.copy()
    unsteady[0], unsteady[1] = True, np.arange(200) % 2 == 0
    one, other = metrics.mean_interval(steady), metrics.mean_interval(unsteady)
    assert other.high - other.low > 1.3 * (one.high - one.low)


def test_pairing_narrows_the_interval():
    generator = np.random.default_rng(1)
    b = generator.random(1000) < 0.8
    a = b | (generator.random(1000) < 0.05)  # A is right wherever B is
    paired = metrics.paired_interval(a, b)
    unpaired = metrics.mean_interval(a).high - metrics.mean_interval(b).low
    assert paired.estimate == pytest.approx(a.mean() - b.mean())
    assert paired.low > 0 and paired.high < unpaired


def test_paired_interval_of_a_method_with_itself_is_zero():
    correct = np.arange(50) % 3 == 0
    interval = metrics.paired_interval(correct, correct)
    assert (interval.low, interval.estimate, interval.high) == (0, 0, 0)
    assert not interval.excludes(0)


def test_the_smallest_detectable_difference_by_hand():
    # 95%: 1.96 standard errors to each side, and 1.96 + 0.84 to be found in four of five tries.
    assert metrics.Interval(0.01, -0.0096, 0.0296).detectable == pytest.approx(0.0280, abs=1e-4)
    assert metrics.Interval(0.5, -0.0196, 0.0196).detectable == pytest.approx(0.0280, abs=1e-4)
    # 97.5%: 2.24 and 0.84.
    wider = metrics.Interval(0.0, -0.0224, 0.0224, level=0.975)
    assert wider.detectable == pytest.approx(0.0308, abs=1e-4)


def test_a_difference_of_the_detectable_size_is_found_in_four_of_five_tries():
    half = 0.0196  # of an interval of 95% whose standard error is 0.01
    true = metrics.Interval(0.0, -half, half).detectable
    estimates = np.random.default_rng(0).normal(true, 0.01, 20_000)
    found = [
        metrics.Interval(one, one - half, one + half).excludes(0) for one in estimates.tolist()
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.01)


def test_paired_interval_needs_the_same_items():
    with pytest.raises(ValueError, match=r"\(1, 3\) and B \(1, 4\)"):
        metrics.paired_interval([1, 0, 1], [1, 0, 1, 1])


def test_mcnemar_by_hand():
    a = np.array([1] * 5 + [0] + [1] * 10, dtype=bool)
    b = np.array([0] * 5 + [1] + [1] * 10, dtype=bool)
    # 5 to 1 among 6 disagreements: 2 * (C(6,5) + C(6,6)) / 2^6
    assert metrics.mcnemar_p(a, b) == pytest.approx(14 / 64)
    assert metrics.mcnemar_p(a, a) == 1.0


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.35, 0.65]] * 4)
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 0])
    # Confidence 0.9 with accuracy 0.75, and 0.65 with accuracy 0.5, half of the items each.
    assert metrics.expected_calibration_error(probabilities, labels) == pytest.approx(0.15)
    assert metrics.reliability(probabilities, labels) == [
        (pytest.approx(0.65), 0.5, 4),
        (pytest.approx(0.9), 0.75, 4),
    ]


def test_confidence_of_one_has_a_bin():
    assert metrics.expected_calibration_error([[1.0, 0.0]], [0]) == 0


def test_temperature_undoes_a_known_one():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 3)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) > generator.random((20_000, 1))).argmax(axis=1)
    assert metrics.fit_temperature(logits * 3, labels) == pytest.approx(3, rel=0.05)
    assert metrics.fit_temperature(logits / 2, labels) == pytest.approx(0.5, rel=0.05)


def test_mean_and_deviation():
    assert metrics.mean_and_deviation([0.8, 0.82, 0.84]) == "0.820 ± 0.020 (3 seeds)"
    assert metrics.mean_and_deviation([0.8]) == "0.800 (1 seed)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.classification_scores([0, 1], [0]), "same length"),
        (lambda: metrics.classification_scores([], []), "at least 1"),
        (lambda: metrics.mean_interval([]), "not empty"),
        (lambda: metrics.reliability([[0.5, 0.6]], [0]), "sum to 1"),
        (lambda: metrics.reliability([[0.5, 0.5]], [0, 1]), "n at least 1"),
        (lambda: metrics.fit_temperature([[1.0, 2.0]], [0, 1]), "n at least 1"),
    ],
)
def test_bad_input_names_the_cure(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- labels that are no class indices --------------------------------------------------------

TWO = [[0.9, 0.1], [0.2, 0.8]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["neg", "pos"], r"labels are strings such as 'neg'; pass class indices: np.searchsorted"),
        (["0", "1"], "labels are strings"),
        ([1, 2], "label 2 is no column of 2; class indices count from 0 to 1"),
        ([0, -1], "label -1 is no column of 2"),
        ([[0], [1]], r"labels \(2, 1\)"),
        ([0], "n at least 1"),
        ([], "n at least 1"),
        (0, "n at least 1"),
        (None, "labels is a NoneType; pass a list"),
        ([0, None], "labels hold values of the types NoneType, int"),
        ([0, float("nan")], "labels hold 0.0; pass"),
        ([0.5, 1.0], "labels hold 0.5; pass"),
        ([b"0", b"1"], "pass strings or whole numbers"),
        ({0: 1, 1: 0}, "labels is a dict"),
        ([0, "1"], "labels hold values of the types int, str"),
        ([0, 10**30], "labels hold 0; pass"),
        ([[0], [1, 0]], "labels make no array"),
    ],
)
def test_labels_that_are_no_class_indices(labels, message):
    for call in (
        metrics.reliability,
        metrics.expected_calibration_error,
        lambda scores, labels: metrics.fit_temperature(np.log(scores), labels),
    ):
        with pytest.raises(ValueError, match=message):
            call(TWO, labels)


@pytest.mark.parametrize("labels", [[0, 1], [0.0, 1.0], [False, True], pd.Series([0, 1])])
def test_class_indices_of_any_kind(labels):
    assert metrics.expected_calibration_error(TWO, labels) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (None, "is a NoneType; pass a list"),
        ([["0.9", "0.1"]], "hold '0.9'; pass numbers"),
        ([[0.9, None]], "hold None, a NoneType; pass numbers"),
        ([[Decimal("0.9"), 1]], "a Decimal; pass numbers"),
        ([[0.9, 0.1j]], "pass numbers"),
        ([[0.9, float("nan")]], r"\[0, 1\] is nan; every number must be finite"),
        ([[0.9, float("inf")]], r"\[0, 1\] is inf; every number must be finite"),
        ([[10**400, 1]], "beyond what a float can say"),
        ([0.9, 0.1], "n at least 1"),
        ([[0.9], [0.1, 0.2]], "make no array"),
        (np.array([0.9, pd.NA], dtype=object), "a NAType; pass numbers"),
    ],
)
def test_scores_that_are_no_numbers(scores, message):
    for call in (metrics.reliability, metrics.fit_temperature):
        with pytest.raises(ValueError, match=message):
            call(scores, [0])


@pytest.mark.parametrize("num_bins", [10**9, 10_001, 0, -1, "10", 10.0, True, None])
def test_a_number_of_bins_that_makes_no_sense(num_bins):
    with pytest.raises(ValueError, match="num_bins="):
        metrics.reliability(TWO, [0, 1], num_bins)
    with pytest.raises(ValueError, match="num_bins="):
        metrics.expected_calibration_error(TWO, [0, 1], num_bins)


def test_a_temperature_beyond_the_search_is_said():
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    with pytest.warns(UserWarning, match=r"beyond 0.0183, where the search ends"):
        low = metrics.fit_temperature(logits, [0, 1, 0])
    with pytest.warns(UserWarning, match=r"beyond 54.6, where the search ends"):
        high = metrics.fit_temperature(logits, [1, 0, 1])
    assert low < 0.1 and high == pytest.approx(np.exp(4), rel=0.01)


def test_a_temperature_within_the_search_comes_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.fit_temperature([[2.0, 0.0]] * 3, [0, 0, 1])
        assert metrics.fit_temperature([[1.0, 1.0], [5.0, 5.0]], [0, 1]) == 1


def test_the_logarithm_of_a_probability_of_zero():
    some = np.log([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.6, 0.3, 0.1]])
    some[:, 2] = -np.inf
    expected = metrics.fit_temperature(some[:, :2], [0, 1, 1])
    assert metrics.fit_temperature(some, [0, 1, 1]) == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"logits\[1\] give the true class, 2, the probability 0"):
        metrics.fit_temperature(some, [0, 2, 1])


def test_logits_that_would_overflow_are_refused():
    with pytest.raises(ValueError, match="beyond 1e100"):
        metrics.fit_temperature([[1e308, 0.0]], [0])


# --- classes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        (["1", "0"], [1, 0], "labels such as '1' and predictions such as 1 are never equal"),
        ([1, "0"], ["1", "0"], "labels hold values of the types int, str"),
        (["a", None], ["a", "b"], "labels hold values of the types NoneType, str"),
        (["a", "b"], ["a", float("nan")], "predictions hold values of the types float, str"),
        ([0.5, 1.0], [0.5, 1.0], "labels hold 0.5"),
        ([0, float("nan")], [0, 1], "labels hold 0.0"),
        (None, [0], "labels is a NoneType"),
        ([[0], [1]], [[0], [1]], "do not pair"),
        ([[0, 1]], [0, 1], "do not pair"),
        ("01", "01", "do not pair"),
        (b"01", [0, 1], "pass strings or whole numbers"),
        ({0: 0}, [0], "labels is a dict"),
        ({0, 1}, [0, 1], "labels is a set"),
        (iter([0]), [0], "pass a list"),
    ],
)
def test_classes_that_cannot_be_compared(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        metrics.classification_scores(labels, predictions)


@cheap
@given(
    pairs=st.lists(st.tuples(st.integers(-2, 3), st.integers(-2, 3)), min_size=1, max_size=30),
    as_strings=st.booleans(),
)
def test_scores_agree_with_scikit_learn(pairs, as_strings):
    labels, predictions = zip(*pairs, strict=True)
    if as_strings:
        labels, predictions = map(str, labels), map(str, predictions)
    labels, predictions = list(labels), list(predictions)
    scores = metrics.classification_scores(labels, predictions)
    assert scores["accuracy"] == accuracy_score(labels, predictions)
    expected = f1_score(labels, predictions, average="macro", zero_division=0)
    assert scores["macro_f1"] == expected


# --- values of a bootstrap -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        # Two lists compared give one False, whose interval was [0, 0].
        (["a"] == ["b"], "values is one value, 0; pass one per item. Two lists compare as a whole"),
        (np.ones((5, 1)), r"shape \(5, 1\): 5 seeds of 1 item"),
        (np.ones((2, 2, 2)), r"pass \(items,\) or \(seeds, items\)"),
        ([1.0, float("nan")], r"values\[1\] is nan"),
        ([1.0, None], "hold None"),
        (["1", "0"], "hold '1'; pass numbers"),
        ("10", "hold '10'; pass numbers"),
        (None, "is a NoneType"),
        ({1: 0}, "is a dict"),
        ([[1, 0], [1]], "make no array"),
    ],
)
def test_values_without_an_interval(values, message):
    with pytest.raises(ValueError, match=message):
        metrics.mean_interval(values)


@pytest.mark.parametrize("level", [95, 0, 1, -0.5, "0.95", None, float("nan"), True])
def test_levels_are_shares(level):
    for call in (
        lambda: metrics.mean_interval([0, 1], level=level),
        lambda: metrics.paired_interval([0, 1], [1, 1], level=level),
        lambda: metrics.f1_interval([[1, 1, 1]], level=level),
        lambda: metrics.paired_f1_interval([[1, 1, 1]], [[1, 1, 1]], level=level),
    ):
        with pytest.raises(ValueError, match="level="):
            call()


@pytest.mark.parametrize("random_state", ["1", -1, 1.5, True, [1]])
def test_seeds_are_whole_numbers(random_state):
    for call in (metrics.mean_interval, metrics.f1_interval):
        with pytest.raises(ValueError, match="random_state="):
            call([[1, 1, 1]], random_state=random_state)


@pytest.mark.parametrize("values", [[0, 1, 2], [0.5, 1.0], [0, None], ["True", "False"], [0, -1]])
def test_mcnemar_takes_right_or_wrong(values):
    with pytest.raises(ValueError, match=r"True or False|pass numbers"):
        metrics.mcnemar_p(values, [1] * len(values))


@cheap
@given(
    pairs=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40),
)
def test_mcnemar_agrees_with_the_binomial_test(pairs):
    only_a = sum(a and not b for a, b in pairs)
    only_b = sum(b and not a for a, b in pairs)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert metrics.mcnemar_p(*zip(*pairs, strict=True)) == pytest.approx(expected)


def test_intervals_are_those_that_the_records_hold():
    """The draws may never change: stored outputs and tables rest on them."""
    generator = np.random.default_rng(7)
    right = generator.random((3, 300)) < 0.8
    found = [
        metrics.mean_interval(right),
        metrics.mean_interval(generator.random(400)),
        metrics.paired_interval(right, right[::-1, ::-1]),
    ]
    expected = [
        (0.8111111111111111, 0.77, 0.85),
        (0.5114584309822675, 0.4816067476667878, 0.5403019233403007),
        (0.0, -0.06333333333333334, 0.06333333333333334),
    ]
    for interval, numbers in zip(found, expected, strict=True):
        ends = (interval.estimate, interval.low, interval.high)
        assert ends == pytest.approx(numbers, rel=1e-12, abs=1e-15)


def test_many_different_values_take_little_memory():
    values = np.random.default_rng(0).random(20_001)
    tracemalloc.start()
    interval = metrics.mean_interval(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - half, abs=half / 10)
    assert interval.high == pytest.approx(values.mean() + half, abs=half / 10)


def test_many_items_under_several_seeds():
    values = np.random.default_rng(0).random((2, 10_050))
    values[1] += 0.1
    interval = metrics.mean_interval(values)
    # Both seeds, twice the one or twice the other: the seeds' difference is most of it.
    assert interval.low == pytest.approx(values[0].mean(), abs=0.01)
    assert interval.high == pytest.approx(values[1].mean(), abs=0.01)


@pytest.mark.parametrize("values", [[], ["1"], [1.0, None], [float("nan")], 0.5, [[1.0]], None])
def test_a_mean_and_deviation_of_what_is_no_list_of_numbers(values):
    with pytest.raises(ValueError, match="values"):
        metrics.mean_and_deviation(values)


# --- over tasks ----------------------------------------------------------------------------------


def test_over_tasks_by_hand():
    """The first task never varies; the second's mean is 0, 1/2 or 1 in shares 1/4, 1/2, 1/4."""
    pairs = [([1] * 50, [0] * 50), ([1, 0], [0, 0])]
    found = metrics.paired_interval_over_tasks(pairs)
    assert (found.estimate, found.low, found.high, found.level) == (0.75, 0.5, 1.0, 0.95)
    narrow = metrics.paired_interval_over_tasks(pairs, level=0.4)
    assert (narrow.estimate, narrow.low, narrow.high) == (0.75, 0.75, 0.75)


def test_over_tasks_each_task_counts_the_same():
    """5 of 10 minus 0 of 10, and -1 of 1,000: not the mean over items."""
    many = np.zeros(1000)
    many[0] = 1
    pairs = [([1] * 5 + [0] * 5, [0] * 10), ([0] * 1000, many)]
    assert metrics.paired_interval_over_tasks(pairs).estimate == pytest.approx(
        (0.5 - 0.001) / 2, rel=1e-12
    )


@cheap
@given(seeds=st.integers(1, 4), items=st.integers(2, 30), random_state=st.integers(0, 2**32 - 1))
def test_one_task_alone_is_a_paired_interval(seeds, items, random_state):
    a, b = np.random.default_rng(items).random((2, seeds, items)) < 0.6
    found = metrics.paired_interval_over_tasks([(a, b)], random_state=random_state)
    assert found == metrics.paired_interval(a, b, random_state=random_state)


def test_equal_tasks_are_resampled_apart():
    """Four tasks of the same spread halve the interval; one stream for all would not narrow it."""
    a, b = np.random.default_rng(3).random((2, 400)) < 0.7
    widths = {
        count: (found := metrics.paired_interval_over_tasks([(a, b)] * count)).high - found.low
        for count in (1, 2, 4)
    }
    assert widths[2] == pytest.approx(widths[1] / 2**0.5, rel=0.05)
    assert widths[4] == pytest.approx(widths[1] / 2, rel=0.05)


def test_over_tasks_the_spread_is_that_of_independent_means():
    generator = np.random.default_rng(4)
    pairs = [tuple(generator.random((2, items)) < 0.7) for items in (100, 400, 900)]
    variances = [np.var(a.astype(float) - b) / len(a) for a, b in pairs]
    found = metrics.paired_interval_over_tasks(pairs)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * sum(variances) ** 0.5 / 3, rel=0.05)


def test_over_tasks_seeds_and_items_may_differ_in_number():
    generator = np.random.default_rng(5)
    pairs = [tuple(generator.random((2, *shape)) < 0.7) for shape in ((5, 60), (2, 300), (40,))]
    found = metrics.paired_interval_over_tasks(pairs)
    assert found.low < found.estimate < found.high
    assert found == metrics.paired_interval_over_tasks(iter(pairs))
    assert found != metrics.paired_interval_over_tasks(pairs, random_state=1)
    # A constant difference has no spread, whatever the seeds.
    same = metrics.paired_interval_over_tasks([(pairs[0][0], pairs[0][0]), ([1, 1], [1, 1])])
    assert (same.low, same.estimate, same.high) == (0, 0, 0)


RIGHT = np.ones((2, 3))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "pairs is empty; pass a pair"),
        (None, "pairs is a NoneType; pass a list"),
        ({"T1": (RIGHT, RIGHT)}, "pairs is a dict; pass a list"),
        ((RIGHT, RIGHT), r"pairs\[0\] is a ndarray; .*in a list even if it is one"),
        ([(RIGHT, RIGHT), (RIGHT,)], r"pairs\[1\] is a tuple; pass a pair"),
        ([(RIGHT, RIGHT), ([1, 0], [1])], r"task 1 of pairs: A has shape \(1, 2\) and B \(1, 1\)"),
        ([([1, float("nan")], [1, 0])], r"task 0 of pairs: A\[1\] is nan"),
        ([(RIGHT, ["1", "0", "1"])], "task 0 of pairs: B hold '1'; pass numbers"),
        ([(1, 0)], "task 0 of pairs: A is one value, 1; pass one per item"),
    ],
)
def test_tasks_that_are_no_pairs(pairs, message):
    with pytest.raises(ValueError, match=message):
        metrics.paired_interval_over_tasks(pairs)


def test_over_tasks_level_and_seed_are_checked():
    for name, value in (("level", 95), ("random_state", -1)):
        with pytest.raises(ValueError, match=f"{name}="):
            metrics.paired_interval_over_tasks([([1], [0])], **{name: value})


# --- Student's interval over draws ---------------------------------------------------------------


def test_students_interval_is_the_one_from_the_table():
    found = metrics.t_interval([0.01, 0.02, 0.03])
    assert found.estimate == pytest.approx(0.02)
    # The quantile of two degrees of freedom is 4.3027.
    assert found.high - 0.02 == pytest.approx(4.3027 * 0.01 / 3**0.5, abs=1e-5)
    assert metrics.t_interval([0.2, 0.2]).low == pytest.approx(0.2)
    assert metrics.t_interval([1, 2, 3], level=0.5).high < metrics.t_interval([1, 2, 3]).high


@pytest.mark.parametrize("values", [[], [0.1], [[0.1, 0.2]], [0.1, float("nan")], "ab"])
def test_students_interval_needs_two_finite_numbers(values):
    with pytest.raises(ValueError):
        metrics.t_interval(values)
