"""Figures of comparisons: by labels, settings, methods and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from reptune import metrics
from reptune.book.plots.style import BLUE, MARKERS, ORANGE, PALETTE, VERMILION, WIDTH

LONG_LEGEND = 60  # characters of names that no longer fit above a figure in one row


def label_curve(
    series: Mapping[str, Mapping[int, Sequence[float]]],
    ylabel: str = "accuracy",
    xlabel: str = "labels",
    logarithmic: bool = True,
) -> Figure:
    """Draw scores against the number of labels: the mean, and a dot per seed.

    Args:
        series: `{method: {number of labels: scores, one per seed}}`.
        ylabel: What the score is.
        xlabel: What is counted along the axis.
        logarithmic: Whether equal steps along the axis are equal factors; a count of 0 forbids it.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
    for index, (name, points) in enumerate(series.items()):
        color, marker = PALETTE[index], MARKERS[index % len(MARKERS)]
        counts = sorted(points)
        means = [np.mean(points[count]) for count in counts]
        axes.plot(counts, means, color=color, marker=marker, markersize=5, label=name)
        for count in counts:
            axes.scatter(
                [count] * len(points[count]), points[count], s=9, color=color, alpha=0.45,
                linewidths=0, zorder=3,
            )  # fmt: skip
    ticks = sorted({count for points in series.values() for count in points})
    axes.set_xscale("log" if logarithmic else "linear")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=9)
    axes.minorticks_off()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)
    return figure


def freezing_sweep(
    rows: Sequence[tuple[str, str, Sequence[float], float]],
    published: Sequence[float],
    published_title: str,
) -> Figure:
    """Draw accuracy and seconds by how much of the encoder trains, beside a published curve.

    Args:
        rows: For each setting its name, its trainable parameters in words, its accuracies (one per
            seed) and the seconds of its fastest run, from the least that trains to the most.
        published: Scores with blocks 0 to k frozen, k = 0, 1, …
        published_title: Whose they are, and what they compare with.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH * 1.25, 3.5), width_ratios=(1.7, 1), layout="constrained"
    )
    positions = np.arange(len(rows))
    seconds = left.twinx()
    seconds.bar(positions, [row[3] for row in rows], color="#D9D9D9", width=0.62)
    seconds.set(ylabel="seconds, fastest run (bars)", ylim=(0, 1.9 * max(row[3] for row in rows)))
    seconds.grid(visible=False)
    seconds.spines["right"].set_visible(True)
    left.set_zorder(seconds.get_zorder() + 1)
    left.patch.set_visible(False)
    left.plot(positions, [np.mean(row[2]) for row in rows], color=BLUE, marker="o", markersize=4)
    for position, row in zip(positions, rows, strict=True):
        left.scatter([position] * len(row[2]), row[2], s=10, color=BLUE, alpha=0.45, linewidths=0)
    left.set_xticks(positions, [f"{row[0]}\n{row[1]}" for row in rows], fontsize=7.5)
    left.set(xlabel="what trains, and parameters", ylabel="accuracy (line)")
    left.set_title("here: MiniLM, validation", fontsize=10)
    frozen = np.arange(len(published))
    right.plot(frozen, published, color=VERMILION, marker="s", markersize=4)
    right.set_xticks(frozen[::2])
    right.invert_xaxis()
    right.set(xlabel="frozen: blocks 0 to k (more trains →)", ylabel="F1")
    right.set_title(published_title, fontsize=10)
    return figure


def before_after(values: Mapping[str, tuple[float, float]], xlabel: str) -> Figure:
    """Draw an arrow from the value before to the value after, one row per name.

    Args:
        values: `{name: (before, after)}`.
        xlabel: What the values are.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 0.6 + 0.5 * len(values)))
    for position, (before, after) in enumerate(values.values()):
        color = VERMILION if after > before else BLUE
        axes.annotate(
            "", (after, position), (before, position),
            arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.8, "shrinkA": 4, "shrinkB": 0},
        )  # fmt: skip
        axes.plot(before, position, "o", color=color, markersize=5)
        axes.annotate(
            f"{before:.2f} → {after:.2f}", (max(before, after), position), xytext=(8, 0),
            textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    low, high = np.min(list(values.values())), np.max(list(values.values()))
    spread = max(high - low, 0.1)
    axes.set(
        yticks=range(len(values)), yticklabels=list(values), xlabel=xlabel,
        xlim=(low - 0.1 * spread, high + 0.4 * spread), ylim=(len(values) - 0.5, -0.5),
    )  # fmt: skip
    axes.grid(axis="y", visible=False)
    return figure


def differences(
    groups: Mapping[str, Mapping[str, metrics.Interval]], xlabel: str = "points of accuracy"
) -> Figure:
    """Draw differences from a baseline as points with their intervals, around a line at zero.

    Args:
        groups: `{group: {method: difference}}`, as shares; drawn in points, a color per method.
        xlabel: What differs.
    """
    # The fullest group says the order, so that figures with gaps in other groups share colors.
    by_size = sorted(groups.values(), key=len, reverse=True)
    methods = list(dict.fromkeys(name for group in by_size for name in group))
    rows = [(group, name) for group, found in groups.items() for name in found]
    figure, axes = plt.subplots(figsize=(WIDTH, 0.7 + 0.26 * len(rows) + 0.1 * len(groups)))
    position, ticks, named = 0.0, [], set()
    for group, found in groups.items():
        first = position
        for name, interval in found.items():
            index = methods.index(name)
            color, marker = PALETTE[index], MARKERS[index % len(MARKERS)]
            low, value, high = 100 * np.array([interval.low, interval.estimate, interval.high])
            axes.plot([low, high], [position, position], color=color, linewidth=2)
            axes.plot(
                value, position, marker, color=color, markersize=5,
                label=None if name in named else name,
            )  # fmt: skip
            named.add(name)
            position += 1
        ticks.append(((first + position - 1) / 2, group))
        position += 0.6
    axes.axvline(0, color="#555555", linewidth=1)
    axes.set_yticks(*zip(*ticks, strict=True))
    axes.set(xlabel=xlabel, ylim=(position - 1, -0.7))
    axes.grid(axis="y", visible=False)
    columns = 2 if sum(map(len, methods)) > LONG_LEGEND else 4
    figure.legend(loc="outside upper center", ncols=min(len(methods), columns), fontsize=9)
    figure.set_layout_engine("constrained")
    return figure


def scatter(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str
) -> Figure:
    """Draw one point per run, a color and a marker per series.

    Args:
        series: `{name: (values along the x axis, values along the y axis)}`.
        xlabel: What the former are.
        ylabel: What the latter are.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2))
    for index, (name, (across, up)) in enumerate(series.items()):
        axes.scatter(
            across, up, s=26, color=PALETTE[index], marker=MARKERS[index], alpha=0.75, label=name,
            linewidths=0,
        )  # fmt: skip
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=9)
    return figure


def named_points(
    points: Mapping[str, tuple[float, float]],
    xlabel: str,
    ylabel: str,
    marked: Sequence[str] = (),
) -> Figure:
    """Draw points with their names beside them, the x axis logarithmic.

    Args:
        points: `{name: (x, y)}`.
        xlabel: What x is.
        ylabel: What y is.
        marked: Names whose points are orange.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2))
    for name, (across, up) in points.items():
        color = ORANGE if name in marked else BLUE
        axes.scatter([across], [up], s=36, color=color, linewidths=0)
        axes.annotate(name, (across, up), xytext=(6, 4), textcoords="offset points", fontsize=8.5)
    axes.set_xscale("log")
    axes.margins(x=0.32, y=0.15)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return figure


def heat_map(rows: Mapping[str, Mapping[str, metrics.Interval]], label: str = "accuracy") -> Figure:
    """Draw scores as a table in colors, each with the half-width of its interval below it.

    Args:
        rows: `{row: {column: Interval}}`, the same columns in each row.
        label: What the scores are.
    """
    columns = list(next(iter(rows.values())))
    values = np.array([[row[column].estimate for column in columns] for row in rows.values()])
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.52 * len(rows)), layout="constrained")
    image = axes.imshow(values, cmap="cividis", aspect="auto")
    middle = (values.min() + values.max()) / 2
    for place, row in enumerate(rows.values()):
        for across, column in enumerate(columns):
            found = row[column]
            half = (found.high - found.low) / 2
            ink = "white" if found.estimate < middle else "black"
            axes.text(across, place, f"{found.estimate:.2f}\n± {half:.2f}", ha="center",
                      va="center", color=ink, fontsize=8.5)  # fmt: skip
    axes.set(xticks=range(len(columns)), yticks=range(len(rows)))
    axes.set(xticklabels=columns, yticklabels=list(rows))
    axes.tick_params(length=0, labelsize=8.5)
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, label=label, fraction=0.05)
    return figure
