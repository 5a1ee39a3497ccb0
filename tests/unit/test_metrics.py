import numpy as np
import pytest
from scipy import stats

from reptune import metrics


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
