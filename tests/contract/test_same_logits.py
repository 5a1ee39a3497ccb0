"""No change of the code changes a number: each run of `logits` against what was recorded.

Where CPU, libraries and thread count are those of the record, to the last bit. Elsewhere the order
of sums differs, and training amplifies that. Measured on the recording machine with its vector
instructions off or cut down to AVX2, float32 runs moved by at most 0.0021 (a logistic regression
that stops early; trained networks by 0.0004) and those in bfloat16 by at most 0.037; the tolerances
are a bit more than twice that. An accelerator, or a CPU without MKL, draws other dropout masks:
nothing is comparable there.
"""

import json

import numpy as np
import pytest

from tests.contract.logits import RUNS, compute, stamp
from tests.contract.make_logits import ARRAYS, STAMP

TOLERANCE, HALF_PRECISION_TOLERANCE = 0.005, 0.1
RENEW = "where that is meant, record anew: python -m tests.contract.make_logits"

with np.load(ARRAYS, allow_pickle=False) as opened:
    RECORDED = dict(opened)
RECORDED_ON = json.loads(STAMP.read_text("utf-8"))


def _comparison() -> str:
    """How closely this machine can be held to the record: `bits`, `tolerance` or `none`."""
    here = stamp()
    if here == RECORDED_ON:
        return "bits"
    same_masks = all(here[name] == RECORDED_ON[name] for name in ("device", "mkl"))
    return "tolerance" if same_masks else "none"


@pytest.mark.parametrize("name", sorted(RUNS.keys() | RECORDED.keys()))
def test_the_numbers_are_those_that_were_recorded(models, name):
    assert name in RUNS, f"the run {name!r} was recorded and is gone; {RENEW}"
    assert name in RECORDED, f"the run {name!r} was never recorded; {RENEW}"
    comparison = _comparison()
    if comparison == "none":
        pytest.skip("dropout masks here are not those of the recording machine")
    message = difference(name, compute(name, models), RECORDED[name], comparison == "bits")
    assert message is None, message


def difference(name, found, recorded, to_the_bit):
    """What is wrong with the numbers found, in words; `None` if nothing is."""
    # scikit-learn 1.6, which Colab has, gives the probabilities of float32 inputs in float64.
    other_type = to_the_bit and found.dtype != recorded.dtype
    if found.shape != recorded.shape or other_type:
        return (
            f"{name}: {found.dtype} {found.shape} where {recorded.dtype} {recorded.shape} was "
            f"recorded; {RENEW}"
        )
    if to_the_bit:
        allowed = 0.0
    else:
        allowed = HALF_PRECISION_TOLERANCE if RUNS[name].half_precision else TOLERANCE
    largest = float(np.abs(found - recorded).max())
    if largest <= allowed:  # false for what is not a number, too
        return None
    return (
        f"{name}: the largest difference is {largest:.3g}, and {allowed:g} is allowed here; {RENEW}"
    )


def test_a_difference_is_seen():
    plain, half = "fine-tuned: plain", "fine-tuned: half_precision"
    one = np.array([0.25, 0.5])
    bit = np.nextafter(one, 1.0)
    assert difference(plain, one, one, True) is None
    assert "largest difference is 1.11e-16" in difference(plain, bit, one, True)
    assert difference(plain, bit, one, False) is None
    assert "0.005 is allowed" in difference(plain, one + 0.01, one, False)
    assert difference(half, one + 0.01, one, False) is None
    assert "0.1 is allowed" in difference(half, one + 0.2, one, False)
    assert "float32 (2,) where float64 (2,)" in difference(plain, one.astype("f4"), one, True)
    assert difference(plain, one.astype("f4"), one, False) is None
    assert "float64 (1,) where" in difference(plain, one[:1], one, False)
    assert "nan" in difference(plain, one * np.nan, one, False)
