"""Print the targets of a Makefile with their `##` comments."""

from __future__ import annotations

import re
import sys
from pathlib import Path

TARGET = re.compile(r"^([a-z-]+):.*?##\s*(.+)$", re.MULTILINE)


def main(makefile: str) -> None:
    """Print one line a target."""
    for name, about in TARGET.findall(Path(makefile).read_text("utf-8")):
        print(f"make {name:<11} {about}")


if __name__ == "__main__":
    main(sys.argv[1])
