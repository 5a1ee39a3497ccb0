"""The examples in docstrings run, and every class that a package hands out has one."""

import doctest
import importlib
import importlib.util
import inspect
import pkgutil

import pytest

import reptune

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(reptune.__path__, "reptune.")
    if not module.name.endswith("__main__")
)
PACKAGES = [
    "reptune",
    *(name for name in MODULES if hasattr(importlib.import_module(name), "__path__")),
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name, tmp_path, monkeypatch, capsys):
    """With no network, in an empty folder, on the assets that come by default."""
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert not failed, capsys.readouterr().out


def _classes():
    """The classes that packages export, by the name that a reader would import them under."""
    found = {}
    for package in map(importlib.import_module, PACKAGES):
        for name in getattr(package, "__all__", ()):
            value = getattr(package, name)
            if inspect.isclass(value) and value.__module__.startswith("reptune."):
                found.setdefault(value, f"{package.__name__}.{name}")
    return {name: kind for kind, name in found.items()}


@pytest.mark.parametrize("name", sorted(_classes()))
def test_a_class_has_an_example_that_runs(name):
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(_classes()[name]) or "")
    assert any(not example.options.get(doctest.SKIP) for example in examples), (
        f"{name} needs a short example (>>>) in its docstring"
    )
