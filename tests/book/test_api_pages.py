"""The pages of the API reference, as they are written: whole, and in pieces that can be read."""

import re

from book_pages import ROOT, toc_pages

import reptune

MODULE = re.compile(r"^\.\. automodule:: (\S+)$", re.MULTILINE)
# One page of 92 modules is 300,000 pixels high; a page of this many can still be read.
MOST_MODULES = 8


def sources() -> dict[str, str]:
    """Return the texts of the pages below the overview, by name."""
    names = [page for page in toc_pages() if page.startswith("book/api/")]
    return {name: (ROOT / f"{name}.md").read_text("utf-8") for name in names}


def test_a_page_documents_a_few_modules_and_none_is_documented_twice():
    modules = {name: MODULE.findall(text) for name, text in sources().items()}
    assert {name for name, found in modules.items() if not 1 <= len(found) <= MOST_MODULES} == set()
    everything = [module for found in modules.values() for module in found]
    assert len(everything) == len(set(everything))
    # Each has a heading of its own, so that the page's menu leads to it.
    for name, text in sources().items():
        assert re.findall(r"^## (\S+)$", text, re.MULTILINE) == modules[name]


def test_the_estimators_come_first():
    overview = (ROOT / "book" / "api.md").read_text("utf-8")
    kinds = [name for name in reptune.__all__ if isinstance(getattr(reptune, name), type)]
    estimators = {name for name in kinds if hasattr(getattr(reptune, name), "fit")}
    listed = re.findall(r"^\| \{py:class\}`~(reptune\.\S+)`", overview, re.MULTILINE)
    assert {name.rpartition(".")[2] for name in listed} == estimators
    first = [text for name, text in sources().items()][:3]
    documented = [module for text in first for module in MODULE.findall(text)]
    assert {name.rpartition(".")[0] for name in listed} == set(documented)


def test_the_overview_leads_to_every_page():
    overview = (ROOT / "book" / "api.md").read_text("utf-8")
    linked = {f"book/{name}" for name in re.findall(r"\{doc\}`(api/\w+)`", overview)}
    assert linked == sources().keys()


def test_every_module_that_was_documented_still_is():
    documented = {module for text in sources().values() for module in MODULE.findall(text)}
    packages = {path.parent for path in (ROOT / "src" / "reptune").rglob("__init__.py")}
    names = {package.relative_to(ROOT / "src").as_posix().replace("/", ".") for package in packages}
    # What only holds modules together, or is documented by its modules alone.
    names -= {"reptune", "reptune.cli", "reptune.book", "reptune.models", "reptune.pipeline"}
    names -= {"reptune.prompt2model"}
    assert names <= documented
