"""Imports that cost little, and a missing PyTorch that says so.

Seconds are the processor's, which other work on the machine changes less than the clock's. A limit
is raised on a machine on which PyTorch and sentence-transformers take longer than 5 s.
"""

import json
import os
import subprocess
import sys

import pytest

ATTEMPTS = 3

MEASURE = """
import time
def seconds(code):
    before = time.process_time()
    exec(code, {})
    return time.process_time() - before
"""

# All in one process: what a module adds to the libraries is at most what all of them add together.
TOGETHER = """
import importlib, json, pathlib
base = seconds("import torch, sentence_transformers")
before = time.process_time()
import reptune
root = pathlib.Path(reptune.__file__).parent  # pkgutil would import each package to look into it
parts = [file.relative_to(root.parent).with_suffix("").parts for file in root.rglob("*.py")]
names = sorted(".".join(part).removesuffix(".__init__") for part in parts)
apart = ("reptune.cli.__main__", "reptune.book.plots")  # the latter draws: a test of its own
names = [name for name in names if not name.startswith(apart)]
for name in names:
    importlib.import_module(name)
print(json.dumps([base, time.process_time() - before, len(names)]))
"""


def run(code: str) -> str:
    # An installed package has its bytecode; where the environment forbids to write it, every
    # import would compile our sources anew, and only ours: pip has compiled the libraries.
    given = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE + code], capture_output=True, text=True, timeout=300,
        env=given,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def least(code: str, limit: float) -> float:
    """Return the least of the numbers that a program prints, run until one is within the limit."""
    found = []
    while len(found) < ATTEMPTS and (not found or min(found) > limit):
        found.append(float(run(code).splitlines()[-1]))
    return min(found)


@pytest.fixture(scope="module")
def together() -> tuple[float, float, float]:
    """Seconds of the libraries, of all modules beyond them, and how slow this machine is (≥ 1)."""
    found = []
    while len(found) < ATTEMPTS and (not found or min(added for _, added in found) > 0.3):
        base, added, count = json.loads(run(TOGETHER))
        assert count > 40
        found.append((base, added))
    base, added = min(base for base, _ in found), min(added for _, added in found)
    return base, added, max(1.0, base / 5)


def test_all_modules_together_add_little_to_the_libraries(together):
    _, added, slow = together
    assert added <= 0.3 * slow


def test_the_plots_load_neither_library(together):
    base, _, _ = together
    assert least("print(seconds('import reptune.book.plots'))", base) <= base


def test_the_help_comes_at_once(together):
    code = "seconds('from reptune.cli.main import app; app([\"--help\"], standalone_mode=False)')"
    assert least(f"{code}; print(time.process_time())", 0.5) <= 0.5 * together[2]


def test_import_reptune_costs_nothing(together):
    assert least("print(seconds('import reptune'))", 0.05) <= 0.05 * together[2]


@pytest.mark.parametrize("module", ["reptune", "reptune.models.hosted", "reptune.cli.main"])
def test_what_needs_no_torch_does_not_load_it(module):
    code = f"import {module}, sys; print(sorted({{'torch', 'transformers'}} & set(sys.modules)))"
    assert run(code).strip() == "[]"


# --- without PyTorch -----------------------------------------------------------------------------

WITHOUT = """
import importlib, json, pkgutil, sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        return None if name.split(".")[0] == "torch" else self.finder.find_spec(name, *rest)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import reptune
found = {}
for module in pkgutil.walk_packages(reptune.__path__, "reptune.", onerror=lambda name: None):
    if module.name != "reptune.cli.__main__":
        try:
            importlib.import_module(module.name)
            found[module.name] = None
        except ImportError as error:
            found[module.name] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def without() -> dict[str, str | None]:
    """What importing each module raises where there is no PyTorch, None for nothing."""
    return json.loads(run(WITHOUT))


@pytest.mark.parametrize(
    "module",
    ["classification", "cloze", "fewshot", "incontext", "ner", "pretraining", "training",
     "estimator", "runtime", "meter", "tokens", "book.setup", "models.causal", "models.sentence"],
)  # fmt: skip
def test_what_needs_torch_says_so_in_one_line(without, module):
    name = f"reptune.{module}"
    assert without[name] == f"{name} needs PyTorch: pip install torch"


def test_no_module_fails_in_other_words(without):
    odd = {
        name: message
        for name, message in without.items()
        if message and not message.endswith(" needs PyTorch: pip install torch")
    }
    assert not odd


@pytest.mark.parametrize(
    "module", ["assets", "bundles", "cli.main", "data.catalog", "metrics", "models.hosted"]
)
def test_what_needs_no_torch_works_without_it(without, module):
    assert without[f"reptune.{module}"] is None
