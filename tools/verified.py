"""Write the page that says when, with what and how fast each chapter was last run.

    python tools/verified.py    # `make run` does it, too

It reads the stamps that `make run` leaves in the notebooks' metadata.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
PAGE = ROOT / "book" / "verified.md"
BLOCK = re.compile(r"(<!-- verified -->\n).*?(<!-- end of verified -->)", re.DOTALL)

Stamps = Mapping[str, Mapping[str, Any]]


def stamps(folder: Path = NOTEBOOKS) -> dict[str, dict[str, Any]]:
    """Return each chapter's stamp by the notebook's name without suffix; empty if never run."""
    found = {}
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        metadata = json.loads(path.read_text("utf-8"))["metadata"]
        found[path.stem] = metadata.get("reptune", {})
    return found


def duration(seconds: float) -> str:
    """Return seconds as minutes and seconds: "8 min 42 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def runs(chapters: Stamps) -> str:
    """Return the table of runs, a row for each chapter and one for all."""
    lines = ["| Chapter | Run on | Profile | Device | Time |", "|---|---|---|---|---:|"]
    for name, stamp in chapters.items():
        link = f"{{doc}}`/notebooks/{name}`"
        if not stamp:
            lines.append(f"| {link} | never | – | – | – |")
            continue
        cells = (stamp["date"], f"`{stamp['profile']}`", stamp["device"])
        lines.append(f"| {link} | {' | '.join(cells)} | {duration(stamp['seconds'])} |")
    total = sum(stamp["seconds"] for stamp in chapters.values() if stamp)
    lines.append(f"| all | | | | {duration(total)} |")
    return "\n".join(lines) + "\n"


def versions(chapters: Stamps) -> str:
    """Return the table of versions; a second row where chapters ran with different ones."""
    used: dict[tuple[str, str], list[str]] = {}
    for name, stamp in chapters.items():
        for library, version in stamp.get("versions", {}).items():
            used.setdefault((library, version), []).append(str(int(name[:2])))
    lines = ["| What | Version | Chapters |", "|---|---|---|"]
    for (library, version), numbers in sorted(used.items()):
        shown = "all" if len(numbers) == len(chapters) else ", ".join(numbers)
        lines.append(f"| {library} | {version} | {shown} |")
    return "\n".join(lines) + "\n"


def renewed(page: str, chapters: Stamps) -> str:
    """Return the page's text with its tables written anew.

    Raises:
        ValueError: The page lacks the two marks that the tables stand between.
    """
    if not BLOCK.search(page):
        raise ValueError("the page needs <!-- verified --> and <!-- end of verified -->")
    block = f"{runs(chapters)}\n{versions(chapters)}"
    return BLOCK.sub(lambda found: found[1] + block + found[2], page)


def write(page: Path = PAGE, folder: Path = NOTEBOOKS) -> bool:
    """Rewrite the page where a stamp changed, and say whether one did."""
    text = page.read_text("utf-8")
    new = renewed(text, stamps(folder))
    if new != text:
        page.write_text(new, "utf-8", newline="\n")
    return new != text


if __name__ == "__main__":
    if write():
        print(f"{PAGE.name}: written anew")
