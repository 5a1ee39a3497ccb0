"""The house: which part of the package may import which (CONTRIBUTING.md draws it)."""

import graphlib
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
MOST_FLOORS = 8


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    """The parts that each part imports: packages and modules right below `reptune`."""
    graph = grimp.build_graph("reptune", exclude_type_checking_imports=True, cache_dir=None)
    parts = graph.find_children("reptune")
    for part in parts:
        graph.squash_module(part)
    return {
        part.removeprefix("reptune."): {
            other.removeprefix("reptune.")
            for other in graph.find_modules_directly_imported_by(part) - {part}
        }
        for part in parts
    }


def floors(arrows: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of each part: 1 for what imports nothing, else one above what it imports.

    Raises:
        graphlib.CycleError: If parts import each other in a circle.
    """
    found: dict[str, int] = {}
    for part in graphlib.TopologicalSorter(arrows).static_order():
        found[part] = 1 + max((found[other] for other in arrows.get(part, ())), default=0)
    return found


def test_the_contracts_hold():
    # In a process of its own: it configures logging anew, which silences the loggers there are.
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "kept, 0 broken" in ran.stdout


def test_no_arrow_goes_up_and_the_house_has_few_floors(arrows):
    found = floors(arrows)
    assert max(found.values()) <= MOST_FLOORS, sorted(found.items(), key=lambda item: item[1])


def test_no_part_imports_the_root_whose_names_lie_above_it(arrows):
    assert [part for part, others in arrows.items() if "reptune" in others] == []


def test_floors_count_the_longest_way_down_and_refuse_a_circle():
    assert floors({"cli": {"ner", "assets"}, "ner": {"assets"}}) == {
        "assets": 1,
        "ner": 2,
        "cli": 3,
    }
    with pytest.raises(graphlib.CycleError):
        floors({"assets": {"bundles"}, "bundles": {"assets"}})


def test_contributing_draws_every_part(arrows):
    drawing = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("```")[1]
    assert [part for part in sorted(arrows) if part not in drawing] == []


def test_the_contracts_name_every_part(arrows):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    house = settings["tool"]["importlinter"]["contracts"][0]
    named = {part for layer in house["layers"] for part in layer.replace("|", ":").split(":")}
    assert {part.strip() for part in named} | set(house["exhaustive_ignores"]) == set(arrows)
