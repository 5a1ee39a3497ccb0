import copy

import pytest

from tests.contract.cases import CASES, save_models
from tests.unit.conftest import no_network, one_thread  # noqa: F401


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return save_models(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def trained(models):
    """Fit each case once; tests that change an estimator take a copy."""
    found = {}

    def fit(case):
        if case.name not in found:
            found[case.name] = case.new(models).fit(case.inputs, case.targets)
        return found[case.name]

    return fit


@pytest.fixture
def fitted(case, trained):
    """The case's fitted estimator, to be read only."""
    return trained(case)


@pytest.fixture
def own(fitted):
    """A copy of it that a test may change."""
    return copy.deepcopy(fitted)


@pytest.fixture
def saved(fitted, tmp_path):
    """A folder that it was saved to."""
    return fitted.save(tmp_path / "model")


@pytest.fixture
def no_model(monkeypatch):
    """No model may be looked for: what is checked must be checked before."""

    def refuse(*args, **kwargs):
        raise AssertionError("a model was loaded before the input was checked")

    monkeypatch.setattr("reptune.assets.resolve_model", refuse)


def pytest_generate_tests(metafunc):
    """A test that takes a `case` runs for all of them, or for those that its mark `only` allows."""
    if "case" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("only")
    chosen = [case for case in CASES if mark is None or mark.args[0](case)]
    metafunc.parametrize("case", chosen, ids=[case.name for case in chosen])


def pytest_configure(config):
    config.addinivalue_line("markers", "only(wanted): the cases for which `wanted(case)` is true")
