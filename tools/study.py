"""Run one of the long measurements in studies/.

    python tools/study.py NAME [its own options]
    python tools/study.py --list

A study goes on where it was interrupted and appends one record a run to results/.
"""

from __future__ import annotations

import ast
import difflib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "studies"


def names(folder: Path = STUDIES) -> list[str]:
    """Return the names of the studies; what they share lies in a folder of its own."""
    return sorted(path.stem for path in folder.glob("*.py"))


def listing(folder: Path = STUDIES) -> str:
    """Return the studies as text, one a line, each with its docstring's first line."""
    lines = []
    for name in names(folder):
        text = (folder / f"{name}.py").read_text("utf-8")
        about = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        lines.append(f"  {name}  {about}".rstrip())
    return "Studies:\n" + "\n".join(lines) if lines else "There are no studies yet."


def main(arguments: list[str] | None = None, folder: Path = STUDIES) -> int:
    """Run the study that is named first; the rest goes to it."""
    arguments = sys.argv[1:] if arguments is None else arguments
    name, *rest = arguments or [""]
    if name in ("--list", "-h", "--help"):
        print(listing(folder))
        return 0
    if name not in names(folder):
        said = f"there is no study {name!r}" if name else "no study was named (NAME=…)"
        near = difflib.get_close_matches(name, names(folder), 1) if name else []
        hint = f"; did you mean {near[0]!r}?" if near else "."
        print(f"error: {said}{hint}\n{listing(folder)}", file=sys.stderr)
        return 2
    script = folder / f"{name}.py"
    environment = {**os.environ, "PYTHONUTF8": "1"}
    return subprocess.run([sys.executable, script, *rest], cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
