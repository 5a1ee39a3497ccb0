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

# Task in the records of ch02_final, and as a reader should see it.
CHAPTER_2 = {"bbc_news": "news topics", "rotten_tomatoes": "review sentiment"}
STOCK = "stock setfit"

# Study of chapter 4, the text as a reader should see it, and which of its scores.
CHAPTER_4 = (
    ("ch04_final", "newswire, 4 types", {}),
    ("ch04_tweets", "tweets, 10 types", {"scoring": "ten types"}),
)
UNTRAINED = ("most frequent tag", "gazetteer", "frozen encoder + logistic regression")

NOT_RUN = "–"
# Arms of ch03_transfer, the first the one that the others are compared with.
CHAPTER_3 = (
    "as shipped",
    "general start",
    "reviews without news",
    "reviews without news, half way",
    "domain-adaptive",
    "half of the way to domain-adaptive",
    "task-adaptive",
    "both",
)


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
    return _side_by_side("ch01_speed", PLAIN, "What trains", "Plain `Trainer`")


def _side_by_side(study: str, baseline: str, what: str, shown: str) -> str:
    table = results.read(study)
    lines = [
        f"| {what} | Rounds | {shown}, seconds | reptune, seconds | Times as fast |",
        "|---|---:|---:|---:|---|",
    ]
    compared = results.times_as_fast(table[table.method.isin((baseline, OURS))], baseline)
    for setting, rows in compared.groupby("setting", sort=False):
        seconds = rows.groupby("method")["seconds.fit"].median()
        if OURS not in seconds:
            continue
        ratios = rows.loc[rows["method"] == OURS, "times_as_fast"]
        texts = f"{rows.labels.iloc[0]:,} texts"
        spread = f"{ratios.median():.1f}"
        if len(ratios) > 1:
            spread += f" [{ratios.min():.1f}, {ratios.max():.1f}]"
        lines.append(
            f"| {setting}, {texts} | {len(ratios)} | {seconds[baseline]:,.0f} "
            f"| {seconds[OURS]:,.0f} | {spread} |"
        )
    return "\n".join(lines) + "\n"


def ch02_final() -> str:
    """Test accuracy of chapter 2's methods, by task and sentence transformer."""
    methods = ("frozen", "SetFit", STOCK)
    lines = [
        "| Task, labels | Sentence transformer | Frozen | SetFit | Stock `setfit` |",
        "|---|---|---|---|---|",
    ]
    table = results.read("ch02_final")
    for (task, model, labels), rows in table.groupby(["task", "model", "labels"]):
        if model == "none":
            continue
        cells = [
            str(
                metrics.mean_interval(
                    results.correct("ch02_final", task=task, model=model, method=m)
                )
            )
            if m in set(rows["method"])
            else "–"
            for m in methods
        ]
        lines.append(f"| {CHAPTER_2[task]}, {labels} | {model} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def ch02_speed() -> str:
    """Seconds of the stock library and of this package, and the ratio within each round."""
    return _side_by_side("ch02_speed", STOCK, "What is tuned", "Stock `setfit`")


def ch03_transfer() -> str:
    """Test accuracy by how the encoder is used, what it read before, and how many labels."""
    table = results.read("ch03_transfer").query("task == 'rotten_tomatoes'")
    sizes = sorted(table["labels"].unique())
    lines = [
        f"| Encoder | What it is | {' | '.join(f'{size:,} labels' for size in sizes)} |",
        f"|---|---|{'---|' * len(sizes)}",
    ]
    for trained in ("frozen", "fine-tuned"):
        for method in CHAPTER_3:
            cells = [_transferred(trained, method, size) for size in sizes]
            if any(cell != NOT_RUN for cell in cells):
                lines.append(f"| {trained} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _transferred(trained: str, method: str, labels: int) -> str:
    """Accuracy, and the difference in points from the encoder as shipped; a dash if not run."""
    table = results.read("ch03_transfer").query("task == 'rotten_tomatoes' and labels == @labels")
    if table.query("method == @method and trained == @trained").empty:
        return NOT_RUN
    fields = {"task": "rotten_tomatoes", "trained": trained, "labels": labels}
    correct = results.correct("ch03_transfer", method=method, **fields)
    if method == CHAPTER_3[0]:
        return f"{correct.mean():.3f}"
    baseline = results.correct("ch03_transfer", method=CHAPTER_3[0], **fields)
    change = metrics.paired_interval(correct, baseline)
    value, low, high = (
        f"{round(100 * share, 1) + 0.0:+.1f}"  # + 0.0: no minus before a zero
        for share in (change.estimate, change.low, change.high)
    )
    return f"{correct.mean():.3f} ({value} [{low}, {high}])"


def ch03_speed() -> str:
    """Seconds of a masked-LM step, and of a million word pieces from text to model."""
    compared = results.times_as_fast(results.read("ch03_speed"), "plain")
    lines = ["| What runs | Rounds | Seconds | Times as fast |", "|---|---:|---:|---|"]
    for (setting, method), rows in compared.groupby(["setting", "method"], sort=False):
        ratios = rows["times_as_fast"]
        spread = f"{ratios.median():.1f} [{ratios.min():.1f}, {ratios.max():.1f}]"
        if method == "plain":
            spread = ""
        seconds = rows["seconds.fit"].median()
        seconds = f"{seconds:,.0f}" if seconds > 100 else f"{seconds:.2f}"
        lines.append(f"| {setting}: {method} | {len(rows)} | {seconds} | {spread} |")
    return "\n".join(lines) + "\n"


def ch04_final() -> str:
    """F1 over whole entities on test, newswire and tweets, of every finished tagger."""
    lines = ["| Text | Tagger | F1 (test) | Seeds |", "|---|---|---|---:|"]
    for study, shown, fields in CHAPTER_4:
        table = results.read(study)
        for method in table["method"].unique():
            found = table[(table["method"] == method) & (table["split"] == "test")]
            if any(found[name].ne(value).all() for name, value in fields.items()):
                continue  # newswire's tagger knows no ten types
            counts = results.counts(study, method=method, split="test", **fields)
            seeds = len(counts) if method not in UNTRAINED else "–"
            lines.append(f"| {shown} | {method} | {metrics.f1_interval(counts)} | {seeds} |")
    return "\n".join(lines) + "\n"


def ch04_speed() -> str:
    """Seconds of training and tagging, plain code and this package."""
    table = results.read("ch04_speed")
    lines = ["| What runs | Rounds | Seconds | Times as fast |", "|---|---:|---:|---|"]
    for setting, runs in table.groupby("setting", sort=False):
        baseline = runs["method"].iloc[0]
        compared = results.times_as_fast(runs, baseline)
        for method, rows in compared.groupby("method", sort=False):
            ratios = rows["times_as_fast"]
            spread = f"{ratios.median():.1f} [{ratios.min():.1f}, {ratios.max():.1f}]"
            spread = "" if method == baseline else spread
            seconds = f"{rows['seconds.fit'].median():.0f}"
            lines.append(f"| {setting}: {method} | {len(rows)} | {seconds} | {spread} |")
    return "\n".join(lines) + "\n"


TABLES = {
    table.__name__: table
    for table in (
        *(ch01_final, ch01_speed, ch02_final, ch02_speed),
        *(ch03_transfer, ch03_speed, ch04_final, ch04_speed),
    )
}


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
