"""Write the tables on README and the book's pages anew from results/.

    python tools/tables.py          rewrite what differs
    python tools/tables.py --check  only say what differs

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from reptune import metrics, results

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "book/choosing.md")
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

# Method and model as in the records of ch01_final, and as a reader should see them.
CHAPTER_1 = (
    ("majority label", "none", "Majority label"),
    ("TF-IDF + logistic regression", "none", "TF-IDF + logistic regression"),
    (
        "frozen embeddings + logistic regression",
        "all-MiniLM-L6-v2",
        "Frozen MiniLM embeddings + logistic regression",
    ),
    ("head only", "all-MiniLM-L6-v2", "MiniLM, head only"),
    ("last 2 blocks", "all-MiniLM-L6-v2", "MiniLM, last 2 of 6 blocks"),
    ("everything", "all-MiniLM-L6-v2", "MiniLM, everything"),
    (
        "frozen embeddings + logistic regression",
        "all-mpnet-base-v2",
        "Frozen mpnet embeddings + logistic regression",
    ),
    ("everything", "all-mpnet-base-v2", "all-mpnet-base-v2, everything"),
)


def ch01_final() -> str:
    """Test accuracy and seconds of every finished method of chapter 1."""
    table = results.read("ch01_final")
    lines = ["| Method | Accuracy (test) | Seeds | Seconds |", "|---|---|---:|---:|"]
    for method, model, shown in CHAPTER_1:
        fields = {"method": method, "model": model, "split": "test"}
        correct = results.correct("ch01_final", **fields)
        rows = table[(table.method == method) & (table.model == model) & (table.split == "test")]
        seconds = rows["seconds.fit"].median()
        seeds = len(correct) if len(correct) > 1 or method == "everything" else "–"
        took = f"{seconds:,.0f}" if seconds >= 1 else "under 1"
        lines.append(f"| {shown} | {metrics.mean_interval(correct)} | {seeds} | {took} |")
    return "\n".join(lines) + "\n"


TABLES = {"ch01_final": ch01_final}


def renewed(text: str) -> str:
    """Return a page's text with its tables written anew."""
    return MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def main(arguments: list[str] | None = None) -> int:
    """Rewrite the pages, or with `--check` only compare them."""
    check = "--check" in (sys.argv[1:] if arguments is None else arguments)
    behind = []
    for name in PAGES:
        page = ROOT / name
        text = page.read_text("utf-8")
        if (new := renewed(text)) != text:
            behind.append(name)
            if not check:
                page.write_text(new, "utf-8")
    word = "differ from results/" if check else "written anew"
    print(f"{', '.join(behind)}: {word}" if behind else "every table is current")
    return 1 if check and behind else 0


if __name__ == "__main__":
    sys.exit(main())
