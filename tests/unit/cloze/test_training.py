import math
import warnings

import numpy as np
import pytest

from reptune.cloze import training
from reptune.cloze.templates import Encoded
from reptune.training import rate_share


def test_the_recorded_shape_of_the_rates():
    """Those of the default, which every recorded number has: bit for bit."""
    warm, steps = 6, 60
    expected = [s / warm if s <= warm else (steps + 1 - s) / (steps - warm) for s in range(1, 61)]
    assert [rate_share(step, steps, 0.1, "held") for step in range(1, 61)] == expected
    rates = [rate_share(step, 5, 0.1, "held") for step in range(1, 6)]
    assert rates == [1, 1, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("warmup", [0, 0.0, 1e-9, 0.1, 0.5, 0.9, 0.999, 1, np.float32(0.1)])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 10, 61])
def test_any_warm_up_rises_to_the_peak_and_falls_from_it(num_steps, warmup):
    rates = [rate_share(step, num_steps, warmup, "held") for step in range(1, num_steps + 1)]
    assert max(rates) == 1 and min(rates) > 0
    peak = rates.index(1)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


@pytest.mark.parametrize(
    ("step", "num_steps", "warmup"),
    [(0, 5, 0.1), (6, 5, 1), (6, 5, 0.1), (1, 0, 0.1), (1, 5, -0.1), (1, 5, 1.5), (1, 5, math.nan)],
)
def test_steps_that_are_none_have_no_rate(step, num_steps, warmup):
    with pytest.raises(ValueError, match=r"step=|warmup="):
        rate_share(step, num_steps, warmup, "held")


def test_batches_by_hand():
    rows = list(training.random_batches(5, 3, 5, seed=0))
    assert [len(batch) for batch in rows] == [3] * 5
    stream = np.concatenate(rows)
    for start in (0, 5, 10):
        assert sorted(stream[start : start + 5].tolist()) == [0, 1, 2, 3, 4], "whole epochs"
    assert [len(batch) for batch in training.random_batches(2, 8, 2, seed=0)] == [2, 2]


@pytest.mark.parametrize(
    ("num_steps", "patience", "expected"),
    [
        (60, None, [12, 24, 36, 48, 60]),
        (6, None, [1, 2, 3, 4, 6]),
        (60, 1, list(range(6, 61, 6))),
        (6, 1, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_when_it_evaluates(num_steps, patience, expected):
    assert sorted(training._looks(num_steps, patience)) == expected


@pytest.mark.parametrize(
    ("num_steps", "evaluations", "expected"),
    [(60, 5, [12, 24, 36, 48, 60]), (60, 1, [60]), (7, 3, [3, 5, 7]), (3, 5, [1, 2, 3])],
)
def test_how_often_it_evaluates_with_patience(num_steps, evaluations, expected):
    assert sorted(training._looks(num_steps, 1, evaluations)) == expected
    without = training._looks(num_steps, None)
    assert training._looks(num_steps, None, evaluations) == without, "without patience it is five"


def test_what_did_not_fit_is_counted():
    truncation = training.Truncation()
    prompts = [Encoded([1], 0, dropped, cut) for dropped, cut in ((0, 0), (2, 0), (1, 3))]
    assert truncation.add(prompts) is prompts
    with pytest.warns(UserWarning) as caught:
        truncation.warn(9, accepted=False)
    assert str(caught[0].message).startswith(
        "of 3 prompts, 2 lost 3 demonstrations and the input of 1 was cut to fit into 9 tokens"
    )
    with pytest.warns(UserWarning, match="of 3 prompts, 2 lost 3 demonstrations to fit into 9"):
        truncation.warn(9, accepted=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training.Truncation().warn(9, accepted=False)
