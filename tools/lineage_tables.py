"""Tables of the appendix to chapter 3: the BERTs that this book pretrained, and what came of it."""

from __future__ import annotations

import pandas as pd
from table_parts import in_points, measured, recorded

from reptune.book import results

CORPORA = {
    "reviews": "reviews", "sentences": "review sentences", "news": "news", "newswire": "newswire",
}  # fmt: skip
TASKS = {"conll2003": "names (F1)", "bbc_news": "topics", "rotten_tomatoes": "sentiment"}
SEEDS = (42, 43, 44)


@measured("ch03_lineage")
def ch03_lineage_losses() -> str:
    """Loss at masked positions of test texts: a mean over seeds by encoder and kind of text."""
    made = results.read("ch03_lineage").query("kind == 'encoder'")
    losses = made.pivot_table("metrics.loss", "method", "corpus", sort=False)
    lines = [
        f"| Encoder | Steps | Rate | {' | '.join(CORPORA.values())} |",
        f"|---|---:|---:|{'---:|' * len(CORPORA)}",
    ]
    for method, row in losses.iterrows():
        of = made[made["method"] == method].iloc[0]
        steps, rate = "–", "–"
        if pd.notna(of["num_steps"]):
            steps, rate = f"{of['num_steps']:,.0f}", f"{of['learning_rate']:g}"
        cells = [f"{row[name]:.2f}" for name in CORPORA]
        lines.append(f"| {method} | {steps} | {rate} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@measured("ch03_lineage")
def ch03_lineage() -> str:
    """Test differences of two encoders of the lineage, by task and how they are used."""
    table = results.read("ch03_lineage").query("kind == 'comparison'")
    lines = [
        f"| Task | Used | Encoders | Difference | Seeds {SEEDS[0]} to {SEEDS[-1]} | Detectable |",
        "|---|---|---|---|---|---:|",
    ]
    for _, row in table.iterrows():
        seeds = ", ".join(f"{100 * row[f'metrics.seed {seed}']:+.1f}" for seed in SEEDS)
        lines.append(
            f"| {TASKS[row['task']]} | {row['trained']} | {row['method']} minus {row['minus']} "
            f"| {in_points(recorded(row))} | {seeds} "
            f"| {100 * row['metrics.detectable']:.1f} |"
        )
    return "\n".join(lines) + "\n"


TABLES = (ch03_lineage_losses, ch03_lineage)
