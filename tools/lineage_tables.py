"""Tables of the appendix to chapter 3: the BERTs that this book pretrained, and what came of it."""

from __future__ import annotations

import pandas as pd
from table_parts import in_points, measured

from reptune import metrics
from reptune.book import results

CORPORA = {
    "reviews": "reviews", "sentences": "review sentences", "news": "news",
    "newswire": "newswire", "docstrings": "docstrings",
}  # fmt: skip
TASKS = {
    "conll2003": "names (F1)", "bbc_news": "topics", "rotten_tomatoes": "sentiment",
    "docstring_submodules": "docstrings",
}  # fmt: skip
SEEDS = (42, 43, 44)


@measured("ch03_lineage")
def ch03_lineage_losses() -> str:
    """Loss at masked positions of test texts: a mean over seeds by encoder and kind of text."""
    both = [results.read(study) for study in ("ch03_lineage", "ch03_vocabulary")]
    made = pd.concat([table[table["kind"] == "encoder"] for table in both if not table.empty])
    made = made.drop_duplicates(["method", "random_state", "corpus"])
    losses = made.pivot_table("metrics.loss", "method", "corpus", sort=False)
    columns = [name for name in CORPORA if name in losses]
    lines = [
        f"| Encoder | Steps | Rate | {' | '.join(CORPORA[name] for name in columns)} |",
        f"|---|---:|---:|{'---:|' * len(columns)}",
    ]
    for method, row in losses.iterrows():
        of = made[made["method"] == method].iloc[0]
        steps, rate = "–", "–"
        if pd.notna(of["num_steps"]):
            steps, rate = f"{of['num_steps']:,.0f}", f"{of['learning_rate']:g}"
        cells = [f"{row[name]:.2f}" if pd.notna(row[name]) else "–" for name in columns]
        lines.append(f"| {method} | {steps} | {rate} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@measured("ch03_lineage")
def ch03_lineage() -> str:
    """Test differences of two encoders of the lineage, by task and how they are used."""
    return _differences("ch03_lineage")


@measured("ch03_vocabulary")
def ch03_vocabulary() -> str:
    """The same on docstrings."""
    return _differences("ch03_vocabulary")


def _differences(study: str) -> str:
    table = results.read(study).query("kind == 'comparison'")
    lines = [
        f"| Task | Used | Encoders | Difference | Seeds {SEEDS[0]} to {SEEDS[-1]} | Detectable |",
        "|---|---|---|---|---|---:|",
    ]
    for _, row in table.iterrows():
        ends = (row[f"metrics.{name}"] for name in ("difference", "low", "high"))
        seeds = ", ".join(f"{100 * row[f'metrics.seed {seed}']:+.1f}" for seed in SEEDS)
        lines.append(
            f"| {TASKS[row['task']]} | {row['trained']} | {row['method']} minus {row['minus']} "
            f"| {in_points(metrics.Interval(*ends))} | {seeds} "
            f"| {100 * row['metrics.detectable']:.1f} |"
        )
    return "\n".join(lines) + "\n"


@measured("ch03_entities")
def ch03_entities() -> str:
    """Test differences of MiniLM that has read newswire from MiniLM as shipped, in points of F1."""
    table = results.read("ch03_entities").query("step == 'comparison'")
    lines = [
        "| Sentences, draws | Used | Encoders | Difference | Detectable |",
        "|---|---|---|---|---:|",
    ]
    for _, row in table.iterrows():
        ends = (row[f"metrics.{name}"] for name in ("difference", "low", "high"))
        used = {"probe": "frozen"}.get(row["first.trained"], row["first.trained"])
        pair = f"{row['first.method']} minus {row['minus.method']}"
        lines.append(
            f"| {row['labels']:,}, {row['draws']:.0f} | {used} | {pair} "
            f"| {in_points(metrics.Interval(*ends))} | {100 * row['metrics.detectable']:.1f} |"
        )
    return "\n".join(lines) + "\n"


TABLES = (ch03_lineage_losses, ch03_lineage)
