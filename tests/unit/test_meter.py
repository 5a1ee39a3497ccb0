"""What a run cost: seconds, memory, tokens, money."""

import time

import numpy as np
import pytest

from reptune import meter


def test_meter_measures_time_memory_tokens_and_money():
    with meter.Meter("sleep") as cost:
        block = np.ones(30_000_000)  # 240 MB
        time.sleep(0.2)
        cost.add_tokens(100)
    assert 0.2 <= cost.seconds < 60  # a loaded machine may take its time
    assert cost.peak_memory_mb > block.nbytes / 1e6
    assert cost.dollars(3600) == pytest.approx(cost.seconds)
    assert str(cost).startswith("sleep: ") and "tokens/s" in str(cost)


def test_meter_stops_when_the_block_fails():
    cost = meter.Meter()
    with pytest.raises(RuntimeError), cost:
        raise RuntimeError
    assert cost.seconds > 0 and cost._sampler is None


def test_a_negative_price_is_refused():
    with pytest.raises(ValueError, match="price_per_hour=-1"):
        meter.Meter().dollars(-1)
