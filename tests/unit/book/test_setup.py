"""What a chapter begins with."""

import logging

import pytest

import reptune
from reptune import runtime
from reptune.book import setup


def test_profile_and_pick(monkeypatch, capsys):
    monkeypatch.setenv("REPTUNE_PROFILE", "quick")
    run = reptune.setup("99", random_state=5)
    assert run.pick(quick=1, cpu=2, gpu=3) == 1
    assert "chapter 99 · profile quick" in capsys.readouterr().out
    monkeypatch.delenv("REPTUNE_PROFILE")
    assert setup.profile() == ("cpu" if runtime.device().type == "cpu" else "gpu")
    monkeypatch.setenv("REPTUNE_PROFILE", "fast")
    with pytest.raises(ValueError, match="'fast'; set it to one of quick, cpu, gpu"):
        reptune.setup("99")


def test_setup_shows_the_log_once(monkeypatch, capsys):
    monkeypatch.setenv("REPTUNE_PROFILE", "quick")
    for _ in range(2):
        reptune.setup("99")
    logging.getLogger("reptune.assets").info("fetching a model")
    logging.getLogger("reptune.assets").debug("a detail")
    assert capsys.readouterr().err == "reptune: fetching a model\n"
