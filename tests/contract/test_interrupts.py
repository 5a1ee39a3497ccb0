"""An interrupt or a kill at any instant leaves a fitted object, and a saved folder, whole."""

import os
import sys
import tempfile

import numpy as np
import pytest
import torch

from reptune import estimator, folders
from tests.soak_cases.estimators import Note

WATCHED = {estimator.__file__, folders.__file__}
# What a save does to the file system; a kill between two of these is any kill there is.
EVENTS = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.truncate"}


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files go, to be looked at."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def no_waiting(monkeypatch):
    """The disk need not be waited for: no kill of these takes the machine's power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# --- fit -----------------------------------------------------------------------------------------


def _interrupt_training(monkeypatch, error):
    """Raise in the second backward pass."""
    passes, backward = iter(range(99)), torch.Tensor.backward

    def stop(*args, **kwargs):
        if next(passes) == 1:
            raise error
        return backward(*args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "backward", stop)


def _interrupt_at_the_end(monkeypatch, error):
    """Raise when all is computed and nothing is kept yet."""

    def stop(*args):
        raise error

    monkeypatch.setattr("reptune.meter.Meter.__exit__", stop)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("moment", [_interrupt_training, _interrupt_at_the_end])
def test_an_interrupted_fit_leaves_a_fitted_object_as_it_was(
    case, own, fitted, monkeypatch, temporary, moment, error
):
    if moment is _interrupt_training and not case.trains:
        moment = _interrupt_at_the_end
    fields, state = dict(vars(own)), torch.get_rng_state()
    with monkeypatch.context() as patch, pytest.raises(error):
        moment(patch, error)
        own.fit(case.inputs[2:], case.targets[2:])
    assert vars(own).keys() == fields.keys()
    assert all(vars(own)[name] is value for name, value in fields.items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not list(temporary.iterdir()), "temporary files are left"
    np.testing.assert_array_equal(case.output(own), case.output(fitted))


def test_a_refused_fit_leaves_a_fitted_object_as_it_was(case, own, fitted):
    fields = dict(vars(own))
    with pytest.raises(ValueError):
        own.fit(case.inputs, case.targets[1:])
    assert vars(own).keys() == fields.keys()
    assert all(vars(own)[name] is value for name, value in fields.items())
    np.testing.assert_array_equal(case.output(own), case.output(fitted))


def test_an_interrupted_first_fit_leaves_nothing_fitted(case, models, monkeypatch):
    estimator = case.new(models)
    before = vars(estimator).copy()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        _interrupt_at_the_end(patch, KeyboardInterrupt)
        estimator.fit(case.inputs, case.targets)
    assert vars(estimator) == before


def test_a_fit_leaves_no_temporary_files(case, models, temporary):
    case.new(models).fit(case.inputs, case.targets)
    assert not list(temporary.iterdir())


# --- save ----------------------------------------------------------------------------------------


def _interrupted_at(line, call):
    """Raise a KeyboardInterrupt before the watched modules' `line`-th line; say if it came."""
    seen = 0

    def trace(frame, event, _):
        nonlocal seen
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line":
            seen += 1
            if seen == line:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return seen >= line


def test_an_interrupt_at_any_line_of_a_save(tmp_path, no_waiting):
    folder, line = tmp_path / "model", 0
    interrupted = True
    while interrupted:
        line += 1
        Note().fit(None, 1).save(folder)
        interrupted = _interrupted_at(line, lambda: Note().fit(None, 2).save(folder))
        assert Note.load(folder).number_ in (1, 2), f"line {line}"
        Note().fit(None, 3).save(folder)
        assert [path.name for path in tmp_path.iterdir()] == ["model"], f"line {line}"
        assert Note.load(folder).number_ == 3
    assert line > 50, "a save runs more lines than these"


def test_an_interrupt_at_any_line_of_a_first_save(tmp_path, no_waiting):
    folder, line = tmp_path / "model", 0
    interrupted = True
    while interrupted:
        line += 1
        interrupted = _interrupted_at(line, lambda: Note().fit(None, 2).save(folder))
        if folder.exists():
            assert Note.load(folder).number_ == 2, f"line {line}"
        Note().fit(None, 3).save(folder)
        assert [path.name for path in tmp_path.iterdir()] == ["model"], f"line {line}"
        folder.rename(tmp_path.with_name(f"{tmp_path.name}-{line}"))
    assert line > 40


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="a kill needs a process to kill")


def _killed_at(step, call):
    """Call it in a forked process that dies at its `step`-th step; say if it came so far."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFEXITED(status) and os.WEXITSTATUS(status) in (0, 9), status
        return os.WEXITSTATUS(status) == 9
    try:
        _die_at(step)
        call()
        os._exit(0)
    finally:
        os._exit(1)


def _die_at(step):
    seen = 0

    def hook(event, _):
        nonlocal seen
        if event in EVENTS:
            seen += 1
            if seen == step:
                os._exit(9)  # as a kill: nothing is cleaned up

    sys.addaudithook(hook)


@forks
def test_a_kill_at_any_step_of_a_save(tmp_path, no_waiting):
    folder, step, killed = tmp_path / "model", 0, True
    while killed:
        step += 1
        Note().fit(None, 1).save(folder)
        killed = _killed_at(step, lambda: Note().fit(None, 2).save(folder))
        assert Note.load(folder).number_ in (1, 2), f"step {step}"
        Note().fit(None, 3).save(folder)
        assert [path.name for path in tmp_path.iterdir()] == ["model"], f"step {step}"
        assert Note.load(folder).number_ == 3
    assert step > 10, "a save takes more steps than these"


@forks
def test_a_kill_while_the_rest_of_a_killed_save_is_swept(tmp_path, no_waiting):
    folder = tmp_path / "model"
    for first in (8, 14, 17, 20, 23):
        step, killed = 0, True
        while killed and step < 24:
            step += 3
            Note().fit(None, 1).save(folder)
            _killed_at(first, lambda: Note().fit(None, 2).save(folder))
            killed = _killed_at(step, lambda: Note().fit(None, 3).save(folder))
            assert Note.load(folder).number_ in (1, 2, 3), f"steps {first} and {step}"
    Note().fit(None, 3).save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@forks
def test_a_real_save_interrupted_or_killed(case, fitted, models, tmp_path, no_waiting):
    """The moves of a folder are the same for all; here a few moments of each estimator's save."""
    other = case.new(models).fit(case.inputs[2:], case.targets[2:])
    folder = tmp_path / "model"
    expected = [case.output(one) for one in (fitted, other)]
    for step in (6, 14, 22, 30):
        fitted.save(folder)
        _killed_at(step, lambda: other.save(folder))
        _interrupted_at(4 * step, lambda: other.save(folder))
        output = case.output(case.kind.load(folder))
        assert any(np.array_equal(output, one) for one in expected), f"step {step}"
    fitted.save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
