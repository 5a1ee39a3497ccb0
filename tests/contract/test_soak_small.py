"""A few of the random cases that `make soak` tries for as long as one likes."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.soak_cases import estimators

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the cases fork and kill")

FEW = {
    "save": (estimators.save_kill_cases, 8),
    "writes, kill": (estimators.write_kill_cases, 30),
    "writes, interrupt": (partial(estimators.write_kill_cases, number=signal.SIGINT), 30),
    "load": (estimators.load_kill_cases, 4),
    "fit": (estimators.fit_kill_cases, 4),
    "append": (estimators.append_kill_cases, 15),
    "study": (estimators.study_cases, 4),
    "pretraining": (estimators.pretraining_kill_cases, 2),
    "interrupted fit": (estimators.interrupted_fit_cases, 8),
    "mutated folders": (estimators.load_cases, 60),
    "determinism": (estimators.determinism_cases, 6),
    "entity scores": (estimators.entity_score_cases, 60),
}


@pytest.fixture(scope="module", autouse=True)
def no_waiting():
    """The disk need not be waited for: no kill of these takes the machine's power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return estimators.World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("name", FEW)
def test_a_few_random_cases(world, name):
    generate, count = FEW[name]
    failed = []
    for label, check in generate(random.Random(19), count, world):
        try:
            check()
        except Exception as error:
            failed.append(f"{label}: {type(error).__name__}: {error}")
    assert not failed, "\n".join(failed)


# --- the tool itself -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", ROOT / "tools" / "soak.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module  # its data class looks itself up there
    spec.loader.exec_module(module)
    return module


def test_an_area_counts_what_fails_and_says_how_to_repeat_it(soak, capsys):
    def generate(rng, count):
        for number in range(count):
            yield f"case {number}", lambda number=number: [][number] if number == 3 else None

    area = soak.Area("lists", generate)
    area.run(0, 7)
    fine = soak.Area("nothing", lambda rng, count: [("a", lambda: None)])
    fine.run(0, 7)
    assert (area.cases, len(area.failures), fine.cases) == (soak.BATCH, 1, 1)
    assert soak.report([area, fine], 7, 60.0) == 1
    said = capsys.readouterr().out
    assert f"| lists   |    {soak.BATCH} |      1 |" in said
    assert "| nothing |     1 |      0 |" in said
    assert "case 3" in said and "'7/lists/0'" in said and "IndexError" in said


def test_the_same_seed_gives_the_same_cases(world):
    for generate, count in FEW.values():
        one, two = (
            [label for label, _ in generate(random.Random(3), count, world)] for _ in range(2)
        )
        assert one == two and len(one) == count


def test_the_tool_runs_and_its_exit_code_tells():
    found = subprocess.run(
        [sys.executable, ROOT / "tools" / "soak.py", "--minutes", "0", "--only", "seqeval"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-2000:]
    assert "| entity scores against seqeval |" in found.stdout
    assert "0 failed" in found.stdout
