"""Remove what was built. The environments and the downloaded models and data stay.

python tools/clean.py
"""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILT = ("_build", "build", "dist", ".pytest_cache", ".ruff_cache", "src/*.egg-info")
# Looked for below these only: the environments have caches of their own.
CODE = ("src", "tests", "tools", "studies", "book", "notebooks")


def main() -> None:
    """Remove the built folders and Python's and Jupyter's caches."""
    found = [path for pattern in BUILT for path in ROOT.glob(pattern)]
    for folder in CODE:
        for name in ("__pycache__", ".ipynb_checkpoints"):
            found += (ROOT / folder).rglob(name)
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
        print("removed", path.relative_to(ROOT).as_posix())


if __name__ == "__main__":
    main()
