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
        lines.append(f"| {TASKS[row['task']]} {_difference(row)}")
    return "\n".join(lines) + "\n"


def _difference(row: pd.Series) -> str:
    """Two encoders of a lineage: how they are used, which, and how far they differ."""
    seeds = ", ".join(f"{100 * row[f'metrics.seed {seed}']:+.1f}" for seed in SEEDS)
    return (
        f"| {row['trained']} | {row['method']} minus {row['minus']} "
        f"| {in_points(recorded(row))} | {seeds} | {100 * row['metrics.detectable']:.1f} |"
    )


@measured("ch03_vocabulary")
def ch03_vocabulary() -> str:
    """Accuracy of submodules on test for each encoder, and the differences of pairs."""
    study = results.read("ch03_vocabulary")
    tests = study.query("kind == 'test'")
    scores = tests.pivot_table("metrics.accuracy", "method", "trained", sort=False)
    lines = ["| Encoder | Accuracy, fine-tuned | Accuracy, frozen |", "|---|---:|---:|"]
    for method, row in scores.iterrows():
        lines.append(f"| {method} | {row['fine-tuned']:.3f} | {row['frozen']:.3f} |")
    lines += [
        "",
        f"| Used | Encoders | Difference | Seeds {SEEDS[0]} to {SEEDS[-1]} | Detectable |",
        "|---|---|---|---|---:|",
    ]
    pairs = study.query("kind == 'comparison'")
    return "\n".join(lines + [_difference(row) for _, row in pairs.iterrows()]) + "\n"


@measured("ch03_vocabulary")
def ch03_vocabulary_losses() -> str:
    """Loss at masked positions of test texts, docstrings and reviews: a mean over seeds."""
    made = results.read("ch03_vocabulary").query("kind == 'encoder'")
    losses = made.pivot_table("metrics.loss", "method", "corpus", sort=False)
    lines = ["| Encoder | docstrings | reviews |", "|---|---:|---:|"]
    for method, row in losses.iterrows():
        lines.append(f"| {method} | {row['docstrings']:.2f} | {row['reviews']:.2f} |")
    return "\n".join(lines) + "\n"


@measured("ch03_entities")
def ch03_entities() -> str:
    """F1 of names with MiniLM's encoders, by sentences and how they are used."""
    table = results.read("ch03_entities").query("step == 'comparison'")
    lines = [
        "| Sentences | Used | Encoders | F1, both | Difference | Draws | Detectable |",
        "|---:|---|---|---|---|---:|---:|",
    ]
    for _, row in table.iterrows():
        arm, other, used = row["first.method"], row["minus.method"], row["first.trained"]
        both = ", ".join(f"{_mean_f1(one, used, row):.3f}" for one in (arm, other))
        lines.append(
            f"| {row['first.labels']:,.0f} | {used} | {arm} minus {other} | {both} "
            f"| {in_points(recorded(row))} | {row['draws']:.0f} "
            f"| {100 * row['metrics.detectable']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _mean_f1(method: str, used: str, row: pd.Series) -> float:
    """The mean F1 of one side over the draws that the comparison has."""
    rows = results.read("ch03_entities").query("split == 'test' and step != 'comparison'")
    rows = rows[(rows["method"] == method) & (rows["trained"] == used)]
    rows = rows[rows["labels"] == row["first.labels"]].sort_values("random_state")
    return float(rows["metrics.f1"].iloc[: int(row["draws"])].mean())


TABLES = (
    ch03_lineage_losses, ch03_lineage, ch03_vocabulary, ch03_vocabulary_losses, ch03_entities,
)  # fmt: skip
