"""Figures of scores: points with intervals, errors, calibration, bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from reptune import metrics
from reptune.book.plots.style import BLUE, GRAY, ORANGE, PALETTE, WIDTH


def scores(intervals: Mapping[str, metrics.Interval], xlabel: str = "accuracy") -> Figure:
    """Draw scores as points with their intervals, one row per method.

    Args:
        intervals: `{method: Interval}`, drawn from top to bottom.
        xlabel: What the score is.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 0.5 + 0.38 * len(intervals)))
    for row, interval in enumerate(intervals.values()):
        axes.plot([interval.low, interval.high], [row, row], color=GRAY, linewidth=2)
        axes.plot(interval.estimate, row, "o", color=BLUE)
        axes.annotate(
            f"{interval.estimate:.3f}", (interval.estimate, row), xytext=(0, 6),
            textcoords="offset points", ha="center", fontsize=8.5,
        )  # fmt: skip
    axes.set(yticks=range(len(intervals)), yticklabels=list(intervals), xlabel=xlabel)
    axes.set_ylim(len(intervals) - 0.5, -0.7)
    axes.grid(axis="y", visible=False)
    return figure


def confusion(labels: Sequence[int], predictions: Sequence[int], names: Sequence[str]) -> Figure:
    """Draw a confusion matrix: a row per true class, shares of it in color, counts printed."""
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (np.asarray(labels), np.asarray(predictions)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(1.6 + 0.9 * len(names), 1.2 + 0.8 * len(names)))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        ink = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=ink)
    axes.set(xticks=range(len(names)), yticks=range(len(names)))
    axes.set(xticklabels=names, yticklabels=names, xlabel="predicted", ylabel="true")
    axes.grid(visible=False)
    return figure


def reliability(panels: Mapping[str, np.ndarray], labels: Sequence[int]) -> Figure:
    """Draw reliability diagrams side by side: accuracy against confidence, and where items lie.

    Args:
        panels: `{title: probabilities}`, each of shape `(n, classes)`.
        labels: Class indices, shape `(n,)`.
    """
    figure, all_axes = plt.subplots(
        1, len(panels), figsize=(WIDTH, 3.1), sharey=True, squeeze=False
    )
    lowest = 1.0
    for axes, (title, probabilities) in zip(all_axes[0], panels.items(), strict=True):
        bins = metrics.reliability(probabilities, labels)
        error = metrics.expected_calibration_error(probabilities, labels)
        confidence, accuracy, counts = (np.asarray(column) for column in zip(*bins, strict=True))
        low = 1 / probabilities.shape[1]
        lowest = min(lowest, low, accuracy.min())
        axes.plot([low, 1], [low, 1], color=GRAY, linestyle="--", linewidth=1)
        axes.plot(confidence, accuracy, color=BLUE, linewidth=1)
        axes.scatter(confidence, accuracy, s=12 + 300 * counts / counts.sum(), color=BLUE)
        axes.set(title=f"{title}\nECE {error:.3f}", xlabel="confidence")
        axes.set(xlim=(low - 0.03, 1.03))
    all_axes[0][0].set(ylabel="accuracy", ylim=(lowest - 0.03, 1.03))
    return figure


def bars(
    values: Mapping[str, float],
    xlabel: str,
    marked: Sequence[str] = (),
    fmt: str = "{:,.1f}",
) -> Figure:
    """Draw one horizontal bar per name, with its value; some of them in another color.

    Args:
        values: `{name: value}`, drawn from top to bottom.
        xlabel: What the value is.
        marked: Names whose bars are orange.
        fmt: How a value is printed beside its bar.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 0.6 + 0.34 * len(values)))
    colors = [ORANGE if name in marked else BLUE for name in values]
    drawn = axes.barh(range(len(values)), list(values.values()), color=colors, height=0.7)
    axes.bar_label(drawn, fmt=fmt, padding=3, fontsize=9)
    axes.set(yticks=range(len(values)), yticklabels=list(values), xlabel=xlabel)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.12)
    return figure


def block_bars(values: Mapping[str, Mapping[str, float]], xlabel: str) -> Figure:
    """Draw one value per block for each series, from input to output.

    Args:
        values: `{series: {block: value}}`; a block without a value has no bar.
        xlabel: What the value is.
    """
    blocks = list(dict.fromkeys(block for series in values.values() for block in series))
    figure, axes = plt.subplots(figsize=(WIDTH, 0.8 + 0.34 * len(blocks)))
    height = 0.8 / len(values)
    for index, (name, series) in enumerate(values.items()):
        positions = np.arange(len(blocks)) + (index - (len(values) - 1) / 2) * height
        heights = [series.get(block, 0) for block in blocks]
        axes.barh(positions, heights, height=height * 0.9, color=PALETTE[index], label=name)
    axes.set(yticks=range(len(blocks)), yticklabels=blocks, xlabel=xlabel)
    axes.grid(axis="y", visible=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def score_shift(panels: Mapping[str, tuple[np.ndarray, np.ndarray]], xlabel: str) -> Figure:
    """Draw how two classes' scores lie around the threshold at 0, one panel below the other.

    Args:
        panels: `{title: (scores, labels)}`; labels are 0 or 1, and a score above 0 answers 1.
        xlabel: What the score is.
    """
    figure, all_axes = plt.subplots(
        len(panels), 1, figsize=(WIDTH, 1.5 * len(panels) + 0.5), sharex=True, squeeze=False
    )
    everything = np.concatenate([scores for scores, _ in panels.values()])
    edges = np.linspace(everything.min(), everything.max(), 41)
    for axes, (title, (scores, labels)) in zip(all_axes[:, 0], panels.items(), strict=True):
        for label, name, color in ((0, "negative", ORANGE), (1, "positive", BLUE)):
            chosen = scores[np.asarray(labels) == label]
            axes.hist(chosen, bins=edges, color=color, alpha=0.6, label=f"truly {name}")
        axes.axvline(0, color="black", linewidth=1.2)
        axes.set_title(title, fontsize=9.5, loc="left")
        axes.set_yticks([])
    all_axes[-1][0].set(xlabel=xlabel)
    handles, names = all_axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=2, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    return figure
