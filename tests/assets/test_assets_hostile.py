"""Hostile bundles: refused with a clear error, or imported to the byte; nothing between."""

import random
import tempfile
import warnings
from pathlib import Path

import pytest
from hostile_bundles import MAKERS, NAMES, _registry, bundle_cases, honest, try_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reptune import assets, bundles

__all__ = ["bundle_cases"]
SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


@pytest.fixture(autouse=True)
def no_warnings_of_duplicates():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Duplicate name")
        yield


@pytest.mark.parametrize("label", MAKERS)
def test_each_kind_of_harm(label):
    cases = [case for name, case in bundle_cases(random.Random(label), 80) if label in name]
    assert len(cases) >= 4
    for case in cases:
        case()


@SLOW
@given(
    st.lists(
        st.tuples(st.integers(0, len(honest()) - 1), st.integers(0, 255)), min_size=1, max_size=6
    )
)
def test_any_bytes_overwritten(changes):
    data = bytearray(honest())
    for position, value in changes:
        data[position] = value
    with tempfile.TemporaryDirectory() as folder, _registry(Path(folder)):
        try_bundle(bytes(data), Path(folder))


@SLOW
@given(st.binary(max_size=300), st.integers(0, len(honest())))
def test_any_bytes_inserted(junk, position):
    data = honest()[:position] + junk + honest()[position:]
    with tempfile.TemporaryDirectory() as folder, _registry(Path(folder)):
        try_bundle(data, Path(folder))


def test_the_honest_bundle_is_imported(tmp_path):
    """Else every case could pass by being refused."""
    with _registry(tmp_path):
        try_bundle(honest(), tmp_path)
        assert {assets.state(name) for name in NAMES} == {"ready"}


def test_a_case_that_goes_wrong_is_seen(tmp_path, monkeypatch):
    """The generator's own checks: raw errors, wrong bytes, files outside, memory."""

    def harm(action):
        monkeypatch.setattr(bundles, "import_bundle", lambda file: action() or [])
        with _registry(tmp_path):
            try_bundle(honest(), tmp_path)

    def raw():
        raise KeyError("raw")

    def silent():
        raise ValueError("")

    with pytest.raises(KeyError):
        harm(raw)
    with pytest.raises(AssertionError, match="no message"):
        harm(silent)
    with pytest.raises(AssertionError, match="took"):
        harm(lambda: len(bytes(64 << 20)) * 0)
    with pytest.raises(AssertionError, match="outside of the cache"):
        harm(lambda: (tmp_path / "x").touch())
    (tmp_path / "x").unlink()
    left = tmp_path / "cache" / "staging" / "x"
    left.parent.mkdir(parents=True)
    with pytest.raises(AssertionError, match="left behind"):
        harm(left.touch)
