"""Write the tables on README and the book's pages anew from results/.

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import front_picture
import lineage_tables
import numpy as np
import pandas as pd
import pretraining_tables
import prompt_tables
import prompting_tables
import scoreboard
import speed_tables
from table_parts import NOT_RUN, in_points, mean_and_sd, not_run

from reptune import data, metrics
from reptune.book import results

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "README.zh.md",
    "book/choosing.md",
    "book/from_table.md",
    "book/other_answers.md",
    "book/pretraining_details.md",
    "book/prompting_details.md",
    "book/results.md",
    "book/speed_details.md",
)
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

CHAPTER_1_ZH = {
    "Method": "方法",
    "Accuracy (test)": "准确率（测试集）",
    "Seeds": "随机种子数",
    "Majority label": "多数标签",
    "TF-IDF + logistic regression": "TF-IDF + 逻辑回归",
    "Frozen MiniLM embeddings + logistic regression": "冻结的 MiniLM 嵌入 + 逻辑回归",
    "MiniLM, head only": "MiniLM，只训练分类头",
    "MiniLM, everything": "MiniLM，全部训练",
    "all-mpnet-base-v2, everything": "all-mpnet-base-v2，全部训练",
}
TRAINED = ("head only", "everything")  # the others do not depend on a seed
PLAIN, OURS = "plain Trainer", "reptune"

# Task in the records of ch02_final, and as a reader should see it.
CHAPTER_2 = {"bbc_news": "news topics", "rotten_tomatoes": "review sentiment"}
STOCK = "stock setfit"

# Study of chapter 4, the text as a reader should see it, and which of its scores.
CHAPTER_4 = (
    ("ch04_final", "newswire, 4 types", {}),
    ("ch04_documents", "newswire, 4 types", {"step": "final"}),
    ("ch04_tweets", "tweets, 10 types", {"scoring": "ten types"}),
)
NEWSWIRE = ("ch04_final", "ch04_documents")  # where a story repeats its names
SHOWN = {"stories": "fine-tuned on whole stories, capitals marked"}
UNTRAINED = ("most frequent tag", "gazetteer", "frozen encoder + logistic regression")

# Study, method in its records, and as a reader should see it; all on the same draws.
CHAPTER_6 = (
    ("ch02_final", "frozen", "Frozen MiniLM embeddings + logistic regression"),
    ("ch02_final", "SetFit", "SetFit, MiniLM"),
    ("ch06_final", "standard fine-tuning, MiniLM", "Standard fine-tuning, MiniLM"),
    ("ch06_final", "no training, MiniLM", "Prompt without training, MiniLM"),
    ("ch06_final", "prompt, MiniLM", "Prompt-based fine-tuning, MiniLM"),
    ("ch06_final", "no training, SmolLM2", "Prompt without training, SmolLM2"),
    ("ch06_final", "in-context, SmolLM2, 4 a class", "In-context, 4 examples per class, SmolLM2"),
    ("ch06_final", "prompt, SmolLM2", "Prompt-based fine-tuning, SmolLM2"),
)
# SetFit and the frozen embeddings were scored on other tasks and models too.
SAME_TASK = {"task": "rotten_tomatoes", "split": "test"}
SAME_MODEL = {"ch02_final": {"model": "all-MiniLM-L6-v2"}, "ch06_final": {}}

MINIMA = (0, 60, 120, 240)  # steps, as in ch01_minimum_steps
TASKS_OF_DEFAULTS = {
    "rotten_tomatoes": "review sentiment",
    "bbc_news": "news topics",
    "wnut16": "tweets with an entity",
}
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


def methods() -> str:
    """Test accuracy by method and number of labels, the smaller encoder first."""
    shown = [group for group in front_picture.GROUPS if group[0] != "No labels"]
    cells = {
        (heading, row.name): {arm.kind: f"{front_picture.score(arm):.3f}" for arm in row.arms}
        for heading, rows in shown
        for row in rows
    }
    headings = [heading for heading, _ in shown]
    lines = [f"| Method | {' | '.join(headings)} |", f"|---|{'---|' * len(headings)}"]
    for name in dict.fromkeys(name for _, name in cells):
        row = [_both(cells.get((heading, name), {})) for heading in headings]
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _both(scores: dict[str, str]) -> str:
    """The small encoder's score and the larger one's, or that of a method without encoder."""
    if not scores or "none" in scores:
        return scores.get("none", NOT_RUN)
    return " · ".join(scores.get(kind, NOT_RUN) for kind in ("small", "large"))


def ch01_final() -> str:
    """Test accuracy of every finished method of chapter 1."""
    lines = ["| Method | Accuracy (test) | Seeds |", "|---|---|---:|"]
    for method, model, shown in CHAPTER_1:
        fields = {"method": method, "model": model, "split": "test"}
        correct = results.correct("ch01_final", **fields)
        seeds = len(correct) if method in TRAINED else "–"
        lines.append(f"| {shown} | {metrics.mean_interval(correct)} | {seeds} |")
    return "\n".join(lines) + "\n"


def ch01_final_zh() -> str:
    """The same table in Chinese."""
    lines = []
    for line in ch01_final().splitlines():
        cells = [CHAPTER_1_ZH.get(cell.strip(), cell.strip()) for cell in line.split("|")[1:-1]]
        lines.append(line if "---" in line else f"| {' | '.join(cells)} |")
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


def ch01_minimum_steps() -> str:
    """Validation accuracy by the least number of steps, for each task and size, three seeds."""
    if results.read("ch01_minimum_steps").empty:
        return not_run("ch01_minimum_steps")
    named = " | ".join(f"at least {minimum}" if minimum else "2 epochs" for minimum in MINIMA)
    compared = f"at least {MINIMA[-1]} against 2 epochs, points"
    lines = [f"| Task, texts | {named} | frozen | {compared} |", f"|---|{'---:|' * 5}---|"]
    means = []
    for size, task in itertools.product((100, 300, 1000), TASKS_OF_DEFAULTS):
        shared = {"task": task, "labels": size}
        runs = [
            results.correct("ch01_minimum_steps", num_epochs=_epochs(minimum, size), **shared)
            for minimum in MINIMA
        ]
        scores = [*runs, results.correct("ch01_minimum_steps", method="frozen", **shared)]
        means.append([float(score.mean()) for score in scores])
        gain = metrics.paired_interval(runs[-1], runs[0])
        points = f"{gain.estimate:+.1%} [{gain.low:+.1%}, {gain.high:+.1%}]".replace("%", "")
        cells = " | ".join(f"{mean:.3f}" for mean in means[-1])
        lines.append(f"| {TASKS_OF_DEFAULTS[task]}, {size:,} | {cells} | {points} |")
    cells = " | ".join(f"{mean:.3f}" for mean in np.mean(means, axis=0))
    return "\n".join([*lines, f"| mean | {cells} | |"]) + "\n"


def _epochs(minimum: int, size: int) -> int:
    """Two epochs of batches of 16, or as many as `minimum` steps take; as in the study."""
    return max(2, -(-minimum // -(-size // 16)))


def _by_size(name: str, rows: pd.DataFrame, sizes: list[int]) -> str:
    """A table row of mean accuracies: each task counts alike within a size, each size overall."""
    cells = rows.groupby(["labels", "task"])["metrics.accuracy"].mean()
    means = [cells.loc[size].mean() for size in sizes]
    return f"| {name} | {' | '.join(f'{mean:.3f}' for mean in [*means, np.mean(means)])} |"


def ch02_frozen() -> str:
    """Validation accuracy by the regularization of the frozen embeddings' head."""
    table = results.read("ch02_frozen")
    sizes = sorted(table["labels"].unique())
    head = " | ".join(f"{size:,} texts" for size in sizes)
    lines = [f"| Logistic regression | {head} | All |", f"|---|{'---:|' * (len(sizes) + 1)}"]
    for method, rows in table.groupby("method", sort=False):
        lines.append(_by_size(method, rows, sizes))
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
    return f"{correct.mean():.3f} ({in_points(change)})"


def ch03_speed() -> str:
    """Seconds of a masked-LM step, and of a million tokens from text to model."""
    compared = results.times_as_fast(results.read("ch03_speed"), "plain")
    lines = ["| What runs | Rounds | Seconds | Times as fast |", "|---|---:|---:|---|"]
    for (setting, method), rows in compared.groupby(["setting", "method"], sort=False):
        ratios = rows["times_as_fast"]
        spread = f"{ratios.median():.1f} [{ratios.min():.1f}, {ratios.max():.1f}]"
        if method == "plain":
            spread = ""
        seconds = rows["seconds.fit"].median()
        seconds = f"{seconds:,.0f}" if seconds > 100 else f"{seconds:.2f}"
        what = setting.replace("pieces", "tokens")  # the field's word, beside that of the records
        lines.append(f"| {what}: {method} | {len(rows)} | {seconds} | {spread} |")
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
            if study in NEWSWIRE:
                stories = data.load("conll2003")["test"]["document"]
                counts = metrics.counts_by_document(counts, stories)
            seeds = len(counts) if method not in UNTRAINED else "–"
            name = SHOWN.get(method, method)
            lines.append(f"| {shown} | {name} | {metrics.f1_interval(counts)} | {seeds} |")
    return "\n".join(lines) + "\n"


def ch04_speed() -> str:
    """Seconds of training and tagging, plain code and this package."""
    return _arms("ch04_speed", decimals=0)


def ch05_speed() -> str:
    """Seconds of scoring label words after a prompt that many inputs share."""
    return _arms("ch05_speed", "{setting}, {items} sentences")


def ch06_final() -> str:
    """Test accuracy on 32 labels: prompts, and what needs none, on the same draws."""
    if results.read("ch06_final").empty:
        return not_run("ch06_final")
    lines = [
        "| Method | Labels read | Draws | Accuracy (test), mean ± sd | 95% interval |",
        "|---|---:|---:|---|---|",
    ]
    for study, method, shown in CHAPTER_6:
        fields = {"method": method, **SAME_TASK, **SAME_MODEL[study]}
        table = results.read(study)
        for name, value in fields.items():
            table = table[table[name] == value]
        if table.empty:
            lines.append(f"| {shown} | {' | '.join([NOT_RUN] * 4)} |")
            continue
        interval = metrics.mean_interval(results.correct(study, **fields))
        lines.append(
            f"| {shown} | {table.labels.iloc[0]} | {len(table)} "
            f"| {mean_and_sd(table['metrics.accuracy'])} "
            f"| [{interval.low:.3f}, {interval.high:.3f}] |"
        )
    return "\n".join(lines) + "\n"


def ch06_speed() -> str:
    """Seconds of training and scoring a prompt, all logits and the label words' alone."""
    return _arms("ch06_speed")


def pipeline_compare() -> str:
    """How often what `compare` says holds, by the rows of a table: true and shuffled labels."""
    table = results.read("pipeline_compare")
    if table.empty:
        return not_run("pipeline_compare")
    lines = [
        "| Rows | Tables | Interval covers the held-out accuracy | Recommends a method "
        "| Recommends nothing, labels shuffled |",
        "|---:|---:|---:|---:|---:|",
    ]
    sizes = [*table.groupby("labels"), ("all", table)]
    for size, rows in sizes:
        true, shuffled = (rows[rows["method"] == f"{kind} labels"] for kind in ("true", "shuffled"))
        cells = [
            f"{share:.1%}"
            for share in (
                true["metrics.covered"].mean(),
                true["metrics.recommended"].mean(),
                1 - shuffled["metrics.recommended"].mean(),
            )
        ]
        lines.append(f"| {size} | {len(true)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def pipeline_predict() -> str:
    """Seconds of each contender of the latest runs in turn, and of a million rows."""
    table = results.read("pipeline_predict")
    if table.empty:
        return not_run("pipeline_predict")
    run = table[table["setting"] == "speed"].iloc[-1]
    stock, *others = _rounds(run)
    lines = ["| 1,066 sentences | Seconds | Times as fast |", "|---|---:|---:|"]
    for name, seconds in (stock, *others):
        ratios = np.array(stock[1]) / seconds
        lines.append(
            f"| {name} | {np.median(seconds):.2f} [{min(seconds):.2f}, {max(seconds):.2f}] "
            f"| {np.median(ratios):.2f} [{ratios.min():.2f}, {ratios.max():.2f}] |"
        )
    return "\n".join(lines) + "\n"


def _rounds(run: pd.Series) -> list[tuple[str, np.ndarray]]:
    """The seconds of each contender's rounds, the stock pipeline first."""
    names = [name for name in run.index if name.startswith("rounds.")]
    found = [
        (name.removeprefix("rounds."), np.array(run[name]))
        for name in names
        if isinstance(run[name], list)
    ]
    return sorted(found, key=lambda pair: -np.median(pair[1]))


def pipeline_export() -> str:
    """Speed, size and agreement of exports beside PyTorch; medians over rounds in turn."""
    table = results.read("pipeline_export")
    if table.empty:
        return not_run("pipeline_export")
    lines = [
        "| | Texts per second | One text, p50 | One text, p95 | Weights | Same labels | Accuracy |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for _, run in table.iterrows():
        speeds = run["items"] / np.array(run["rounds"])
        cells = [
            f"{np.median(speeds):.0f} [{speeds.min():.0f}, {speeds.max():.0f}]",
            f"{run['milliseconds.p50']:.1f} ms",
            f"{run['milliseconds.p95']:.1f} ms",
            f"{run['megabytes']:.0f} MB",
            f"{run['metrics.agreement']:.1%}",
            f"{run['metrics.accuracy']:.3f}",
        ]
        lines.append(f"| {run['method']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _arms(study: str, shown: str = "{setting}", decimals: int = 1) -> str:
    """Seconds of each arm of each setting, and the ratios to the setting's first arm.

    Args:
        study: Whose records.
        shown: How a setting is written, with names of its records' fields.
        decimals: Of the seconds.
    """
    table = results.read(study)
    if table.empty:
        return not_run(study)
    lines = ["| What runs | Rounds | Seconds | Times as fast |", "|---|---:|---:|---|"]
    for _, runs in table.groupby("setting", sort=False):
        baseline = runs["method"].iloc[0]
        what = shown.format(**runs.iloc[0])
        compared = results.times_as_fast(runs, baseline)
        for method, rows in compared.groupby("method", sort=False):
            ratios = rows["times_as_fast"]
            spread = f"{ratios.median():.1f} [{ratios.min():.1f}, {ratios.max():.1f}]"
            if len(rows) == 1:  # one round has no spread
                spread = f"{ratios.median():.1f}"
            spread = "" if method == baseline else spread
            seconds = f"{rows['seconds.fit'].median():.{decimals}f}"
            lines.append(f"| {what}: {method} | {len(rows)} | {seconds} | {spread} |")
    return "\n".join(lines) + "\n"


TABLES = {
    table.__name__: table
    for table in (
        methods,
        *(ch01_final, ch01_final_zh, ch01_speed, ch01_minimum_steps),
        *(ch02_final, ch02_speed, ch02_frozen),
        *(ch03_transfer, ch03_speed),
        *(ch04_final, ch04_speed),
        ch05_speed,
        *(ch06_final, ch06_speed),
        *lineage_tables.TABLES,
        *pretraining_tables.TABLES,
        *prompt_tables.TABLES,
        scoreboard.scoreboard,
        *prompting_tables.TABLES,
        *speed_tables.TABLES,
        *(pipeline_compare, pipeline_predict, pipeline_export),
    )
}


def renewed(text: str) -> str:
    """Return a page's text with its tables written anew."""
    return MARKED.sub(lambda found: found[1] + _idiomatic(TABLES[found[2]]()) + found[3], text)


def _idiomatic(table: str) -> str:
    """A table whose records name their settings "16 a class" says "16 per class"."""
    return re.sub(r"(\d+) a (class|topic)\b", r"\1 per \2", table)


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
