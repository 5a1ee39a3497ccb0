"""Tables of the appendix to chapter 3: averages, settings, readouts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from table_parts import in_points, measured, recorded

from reptune import metrics
from reptune.book import results

AS_SHIPPED = "as shipped"
KNOBS = ["learning_rate", "num_epochs", "layer_decay"]
TASKS = {"rotten_tomatoes": "sentiment", "bbc_news": "topics"}
READ_AT = {"mean": "the mean", "[CLS]": "[CLS]"}


@measured("ch03_averages")
def ch03_averages() -> str:
    """Frozen accuracy on validation by the share of the way, and the difference from 0%."""
    table = results.read("ch03_averages").query("share > 0")
    sizes = sorted(table["labels"].unique())
    lines = [
        f"| Way, and how far | {' | '.join(f'{size:,} labels' for size in sizes)} |",
        f"|---|{'---|' * len(sizes)}",
    ]
    for (way, share), rows in table.groupby(["method", "share"], sort=False):
        cells = [
            _averaged(way, share, size) if size in set(rows["labels"]) else "–" for size in sizes
        ]
        lines.append(f"| {way}, {share:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _averaged(way: str, share: float, labels: int) -> str:
    at = {"study": "ch03_averages", "labels": labels}
    found = results.correct(method=way, share=share, **at)
    base = results.correct(method=AS_SHIPPED, **at)
    return f"{found.mean():.3f} ({in_points(metrics.paired_interval(found, base))})"


@measured("ch03_ablation")
def ch03_ablation() -> str:
    """Fine-tuned accuracy on validation by setting and encoder; three draws."""
    table = results.read("ch03_ablation").query("num_epochs > 0")
    lines = [
        "| Labels | Encoder | Rate | Passes | Layer decay | Accuracy (validation) |",
        "|---:|---|---|---:|---:|---|",
    ]
    for keys, rows in table.groupby(["labels", "method", *KNOBS], sort=False):
        labels, method, rate, passes, decay = keys
        shown = metrics.mean_and_deviation(rows["metrics.accuracy"].tolist())
        lines.append(f"| {labels:,} | {method} | {rate:g} | {passes:.0f} | {decay:g} | {shown} |")
    return "\n".join(lines) + "\n"


@measured("ch03_readout")
def ch03_readout() -> str:
    """Test differences from the encoder as shipped, by task, training and readout."""
    table = results.read("ch03_readout").query("step == 'comparison'")
    table = table[table["minus.method"] == AS_SHIPPED]
    return _readouts(table, lambda row: row["first.method"])


@measured("ch03_readout")
def ch03_readout_training() -> str:
    """Test differences of two ways to use the same encoder."""
    table = results.read("ch03_readout").query("step == 'comparison'")
    table = table[table["minus.method"].isna()]
    return _readouts(table, lambda row: f"{row['first.method']} minus {_other(row)}")


def _other(row: pd.Series) -> str:
    """What a comparison's second side does otherwise."""
    if row.get("minus.trained") == "probe":
        return "its probe"
    return f"the same from {READ_AT[row['minus.readout']]}"


def _accuracies(row: pd.Series) -> list[float]:
    """Mean accuracy of both sides of a comparison, on the draws that both have."""
    named = ("method", "task", "trained", "readout", "labels")
    first = {name: row[f"first.{name}"] for name in named}
    changed = {name: row.get(f"minus.{name}") for name in named}
    second = {**first, **{name: value for name, value in changed.items() if isinstance(value, str)}}
    seeds = range(42, 42 + int(row["draws"]))
    return [
        float(np.mean([_accuracy({**side, "random_state": seed}) for seed in seeds]))
        for side in (first, second)
    ]


def _accuracy(fields: dict[str, object]) -> float:
    return float(results.correct("ch03_readout", split="test", **fields).mean())


def _readouts(table: pd.DataFrame, named: Callable[[pd.Series], str]) -> str:
    lines = [
        "| Task, labels, draws | Encoder | Accuracy, both | Difference | Detectable |",
        "|---|---|---|---|---:|",
    ]
    for _, row in table.iterrows():
        trained, read_at = row["first.trained"], READ_AT[row["first.readout"]]
        how = trained if trained == "probe" else f"{trained} from {read_at}"
        both = ", ".join(f"{accuracy:.3f}" for accuracy in _accuracies(row))
        lines.append(
            f"| {TASKS[row['task']]}, {row['labels']}, {row['draws']:.0f} | {named(row)}, {how} "
            f"| {both} | {in_points(recorded(row))} "
            f"| {100 * row['metrics.detectable']:.1f} |"
        )
    return "\n".join(lines) + "\n"


@measured("ch03_readout")
def ch03_again() -> str:
    """The two studies on the same draws: what the second changed, per encoder and in the gap."""
    half = "half of the way to domain-adaptive"
    lines = [
        "| Trained | Labels | What | Second minus first |",
        "|---|---:|---|---|",
    ]
    for trained, labels, adapted in (
        ("fine-tuned", 500, "domain-adaptive"),
        ("frozen", 500, half),
        ("frozen", 100, half),
    ):
        base = _both_studies(AS_SHIPPED, trained, labels)
        found = _both_studies(adapted, trained, labels)
        rows = {
            AS_SHIPPED: base,
            adapted: found,
            f"{adapted}, minus as shipped": [a - b for a, b in zip(found, base, strict=True)],
        }
        for what, (second, first) in rows.items():
            change = in_points(metrics.paired_interval(second, first))
            lines.append(f"| {trained} | {labels} | {what} | {change} |")
    return "\n".join(lines) + "\n"


def _both_studies(method: str, trained: str, labels: int) -> list[np.ndarray]:
    """Right (1) or wrong (0) in ch03_readout and in ch03_transfer, `(draws, texts)`."""
    where = {"task": "rotten_tomatoes", "labels": labels, "method": method}
    first = results.correct("ch03_transfer", trained=trained, **where)
    how = {"trained": "probe" if trained == "frozen" else trained, "readout": "mean"}
    seeds = range(42, 42 + len(first))
    second = [
        results.correct("ch03_readout", split="test", random_state=seed, **how, **where)
        for seed in seeds
    ]
    return [np.concatenate(second).astype(float), first.astype(float)]


TABLES = (ch03_averages, ch03_ablation, ch03_readout, ch03_readout_training, ch03_again)
