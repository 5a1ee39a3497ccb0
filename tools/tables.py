"""Write the tables on README and the book's pages anew from results/.

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import re
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
    ("everything", "all-MiniLM-L6-v2", "MiniLM, everything"),
    ("everything", "all-mpnet-base-v2", "all-mpnet-base-v2, everything"),
)

TRAINED = ("head only", "everything")  # the others do not depend on a seed
PLAIN, OURS = "plain Trainer", "reptune"


def ch01_final() -> str:
    """Test accuracy of every finished method of chapter 1."""
    lines = ["| Method | Accuracy (test) | Seeds |", "|---|---|---:|"]
    for method, model, shown in CHAPTER_1:
        fields = {"method": method, "model": model, "split": "test"}
        correct = results.correct("ch01_final", **fields)
        seeds = len(correct) if method in TRAINED else "–"
        lines.append(f"| {shown} | {metrics.mean_interval(correct)} | {seeds} |")
    return "\n".join(lines) + "\n"


def ch01_speed() -> str:
    """Seconds of plain code and of this package, and the ratio within each round."""
    table = results.read("ch01_speed")
    lines = [
        "| What trains | Rounds | Plain `Trainer`, seconds | reptune, seconds | Times as fast |",
        "|---|---:|---:|---:|---|",
    ]
    compared = results.times_as_fast(table[table.method.isin((PLAIN, OURS))], PLAIN)
    for setting, rows in compared.groupby("setting", sort=False):
        seconds = rows.groupby("method")["seconds.fit"].median()
        if OURS not in seconds:
            continue
        ratios = rows.loc[rows["method"] == OURS, "times_as_fast"]
        texts = f"{rows.labels.iloc[0]:,} texts"
        spread = f"{ratios.median():.1f} [{ratios.min():.1f}, {ratios.max():.1f}]"
        lines.append(
            f"| {setting}, {texts} | {len(ratios)} | {seconds[PLAIN]:,.0f} | {seconds[OURS]:,.0f} "
            f"| {spread} |"
        )
    return "\n".join(lines) + "\n"


TABLES = {"ch01_final": ch01_final, "ch01_speed": ch01_speed}


def renewed(text: str) -> str:
    """Return a page's text with its tables written anew."""
    return MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def main() -> None:
    """Rewrite the pages that differ."""
    for name in PAGES:
        page = ROOT / name
        text = page.read_text("utf-8")
        if (new := renewed(text)) != text:
            page.write_text(new, "utf-8")
            print(f"{name}: written anew")


if __name__ == "__main__":
    main()
