"""Write the repository's public address into every file that shows it.

    python tools/set_repo.py https://github.com/owner/name
    python tools/set_repo.py            # again, from _config.yml (after adding a chapter)
    python tools/set_repo.py --unset    # back to a repository with no public address

`_config.yml` holds the address; from it follow the README's badges, CITATION.cff, and in
each notebook the install cell and the badge that opens it in Colab. Only what stands
between markers, or in cells with the right tag, is rewritten.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"

ADDRESS = re.compile(r"https://github\.com/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)")
IN_CONFIG = re.compile(r"^  url: (\S+)$", re.MULTILINE)

INSTALL_TAG = "install"
BADGE_TAG = "colab-badge"
HIDE_TAG = "remove-cell"
# The cell is for whoever lacks the package: neither a run nor the tests execute it.
INSTALL_TAGS = [INSTALL_TAG, "nbval-skip", "skip-execution"]

# Before there is an address, the package comes as a wheel: from dist/, or uploaded on Colab.
INSTALL_UNSET = """\
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("reptune") is None:
    # A wheel that was made with: python -m pip wheel --no-deps -w dist .
    wheels = [str(path) for path in sorted(Path("../dist").glob("reptune-*.whl"))]
    if not wheels and "google.colab" in sys.modules:
        from google.colab import files

        wheels = list(files.upload())
    if not wheels:
        raise FileNotFoundError("no wheel in dist/: make one with the command above")
    %pip install -q "{wheels[-1]}[chapters]"
"""
# The quotes keep a shell from reading the @ and the spaces.
INSTALL_SET = """\
from importlib.util import find_spec

if find_spec("reptune") is None:
    %pip install -q "reptune[chapters] @ git+URL"
"""


def normalized(url: str) -> str:
    """Return an address as https://github.com/owner/name.

    Raises:
        ValueError: It is not the address of a repository on GitHub.
    """
    plain = url.strip().rstrip("/").removesuffix(".git")
    if not ADDRESS.fullmatch(plain):
        raise ValueError(
            f"{url!r} is not a repository's address: it has to look like"
            " https://github.com/owner/name"
        )
    return plain


def between(text: str, begin: str, end: str, content: str, where: str) -> str:
    """Replace the lines between two marker lines; the markers and all else stay.

    Raises:
        ValueError: A marker is missing or stands there twice.
    """
    pattern = re.compile(
        rf"(^[ \t]*{re.escape(begin)}[^\n]*\n).*?(^[ \t]*{re.escape(end)})",
        re.MULTILINE | re.DOTALL,
    )
    if len(pattern.findall(text)) != 1 or text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{where} must have the lines {begin!r} and {end!r} once each")
    return pattern.sub(lambda found: found.group(1) + content + found.group(2), text)


def config(text: str, url: str | None) -> str:
    """Return _config.yml's text with the address, or without one."""
    repository = buttons = ""
    if url:
        repository = (
            f"repository:\n  url: {url}\n  branch: {BRANCH}\n"
            "launch_buttons:\n  colab_url: https://colab.research.google.com\n"
        )
        buttons = "  use_repository_button: true\n"
    text = between(text, "# repository:begin", "# repository:end", repository, "_config.yml")
    return between(text, "# buttons:begin", "# buttons:end", buttons, "_config.yml")


def colab_address(url: str, notebook: str) -> str:
    """Return the address that opens a notebook of notebooks/ in Colab."""
    path = url.removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{path}/blob/{BRANCH}/notebooks/{notebook}"


def colab_badge(url: str, notebook: str) -> str:
    """Return the Markdown of a badge that opens a notebook in Colab."""
    label = f"Open chapter {notebook[:2]} in Colab"
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    return f"[![{label}]({picture})]({colab_address(url, notebook)})"


def badges(url: str, notebooks: list[str]) -> str:
    """Return the README's badges: the two workflows, and each chapter in Colab."""
    lines = []
    for workflow, label in (("tests", "Tests"), ("book", "Book")):
        page = f"{url}/actions/workflows/{workflow}.yml"
        lines.append(f"[![{label}]({page}/badge.svg?branch={BRANCH})]({page})")
    lines += [colab_badge(url, notebook) for notebook in notebooks]
    return "\n".join(lines) + "\n"


def install_cell(cell: dict[str, Any], url: str | None) -> dict[str, Any]:
    """Return an install cell for the address, or for none; it is hidden where there is none."""
    cell = copy.deepcopy(cell)
    source = INSTALL_SET.replace("URL", url) if url else INSTALL_UNSET
    cell["source"] = source.strip().splitlines(keepends=True)
    ours = [*INSTALL_TAGS, HIDE_TAG]
    others = [tag for tag in cell["metadata"]["tags"] if tag not in ours]
    cell["metadata"]["tags"] = [*INSTALL_TAGS, *others, *([] if url else [HIDE_TAG])]
    return cell


def badge_cell(url: str, notebook: str) -> dict[str, Any]:
    """Return the cell with the Colab badge; the book has a button instead and hides it."""
    return {
        "cell_type": "markdown",
        "id": BADGE_TAG,
        "metadata": {"tags": [BADGE_TAG, HIDE_TAG]},
        "source": [colab_badge(url, notebook)],
    }


def notebook(text: str, name: str, url: str | None) -> str:
    """Return a notebook's text with its install cell and badge for the address."""
    nb = json.loads(text)
    cells = []
    for cell in nb["cells"]:
        tags = cell["metadata"].get("tags", [])
        if INSTALL_TAG in tags:
            cells += [badge_cell(url, name)] if url else []
            cells.append(install_cell(cell, url))
        elif BADGE_TAG not in tags:
            cells.append(cell)
    nb["cells"] = cells
    # As nbformat writes them, so that nothing else in the file changes.
    return json.dumps(nb, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def citation(text: str, url: str | None) -> str:
    """Return CITATION.cff's text with the address, or without one."""
    line = f"repository-code: {url}\n" if url else ""
    return between(text, "# repository:begin", "# repository:end", line, "CITATION.cff")


def planned(root: Path, url: str | None) -> dict[Path, str]:
    """Return the files that the address, or its absence, changes, with their new texts."""
    notebooks = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    files = [root / "_config.yml", root / "README.md", root / "CITATION.cff"]
    old = {path: path.read_text("utf-8") for path in (*files, *notebooks)}
    new = {path: notebook(old[path], path.name, url) for path in notebooks}
    new[files[0]] = config(old[files[0]], url)
    new[files[1]] = between(
        old[files[1]],
        "<!-- badges:begin -->",
        "<!-- badges:end -->",
        badges(url, [path.name for path in notebooks]) if url else "",
        "README.md",
    )
    new[files[2]] = citation(old[files[2]], url)
    return {path: new[path] for path in sorted(new) if new[path] != old[path]}


def apply(root: Path, url: str | None) -> list[Path]:
    """Write the address, or its absence, everywhere; return the files that changed."""
    # All new texts are made before the first is written: a missing marker changes nothing.
    changes = planned(root, url)
    for path, text in changes.items():
        path.write_text(text, "utf-8", newline="\n")
    return list(changes)


def main(arguments: list[str] | None = None) -> int:
    """Set, refresh or unset the address."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", nargs="?", help="https://github.com/owner/name")
    parser.add_argument("--unset", action="store_true", help="take the address out again")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        url = normalized(options.url) if options.url else None
        if url is None and not options.unset:
            held = IN_CONFIG.search((options.root / "_config.yml").read_text("utf-8"))
            if held is None:
                parser.error("say the address: URL=https://github.com/owner/name")
            url = held.group(1)
        changed = apply(options.root, None if options.unset else url)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in changed:
        print("wrote", path.relative_to(options.root).as_posix())
    if not changed:
        print("Nothing to change.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
