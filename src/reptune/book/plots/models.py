"""Figures of models: their parts, their training, their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from reptune.book.plots.style import BLUE, FROZEN, MARKERS, PALETTE, TRAINED, VERMILION, WIDTH


def architecture(panels: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Figure:
    """Draw encoders block by block, side by side, with what trains and what does not.

    Args:
        panels: `{title: reptune.training.parameter_counts(model)}`.
    """
    figure, all_axes = plt.subplots(
        1, len(panels), figsize=(WIDTH, 4.6), sharey=True, squeeze=False
    )
    for axes, (title, counts) in zip(all_axes[0], panels.items(), strict=True):
        _draw_stack(axes, counts)
        trained = sum(block["trainable"] for block in counts.values())
        total = sum(block["parameters"] for block in counts.values())
        axes.set_title(f"{title}\n{_short(trained)} of {_short(total)} train", fontsize=10)
    handles = [
        FancyBboxPatch((0, 0), 1, 1, facecolor=color, edgecolor="#555555", label=label)
        for color, label in ((TRAINED, "trains"), (FROZEN, "frozen"))
    ]
    figure.legend(handles=handles, loc="lower center", ncols=2, bbox_to_anchor=(0.5, 0.02))
    return figure


def _draw_stack(axes: Axes, counts: Mapping[str, Mapping[str, int]]) -> None:
    for level, (name, block) in enumerate(counts.items()):
        color = TRAINED if block["trainable"] else FROZEN
        box = FancyBboxPatch(
            (0.06, level + 0.12), 0.88, 0.66, boxstyle="round,pad=0.02",
            facecolor=color, edgecolor="#555555",
        )  # fmt: skip
        axes.add_patch(box)
        text = f"{name}  {_short(block['parameters'])}"
        axes.text(0.5, level + 0.45, text, ha="center", va="center", fontsize=8.5, color="black")
    arrows = {"arrowstyle": "-|>", "mutation_scale": 8, "color": "#555555"}
    for level in range(len(counts) - 1):
        axes.add_patch(FancyArrowPatch((0.5, level + 0.8), (0.5, level + 1.1), **arrows))
    axes.set(xlim=(0, 1), ylim=(-0.1, len(counts)))
    axes.axis("off")


def _short(count: int) -> str:
    for size, suffix in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.1f} {suffix}"
    return str(count)


def training_curve(
    history: Sequence[Mapping[str, float]],
    ylabel: str = "cross-entropy loss",
    score: str | None = None,
    score_label: str = "",
) -> Figure:
    """Draw the training loss by step, and the validation loss after each epoch where measured.

    Args:
        history: `trainer.state.log_history`, or a classifier's `history_`.
        ylabel: Which loss it is.
        score: The name of a validation score in `history`, such as `"eval_f1"`, for a panel of its
            own beside the losses.
        score_label: What that score is.
    """
    figure, panels = plt.subplots(1, 1 + bool(score), figsize=(WIDTH, 2.9), squeeze=False)
    axes = panels[0, 0]
    train = _points(history, "loss")
    held_out = _points(history, "eval_loss")
    if train:
        axes.plot(*zip(*train, strict=True), color=BLUE, label="training (mean since last point)")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), "o--", color=VERMILION, label="validation")
    axes.set(xlabel="step", ylabel=ylabel)
    axes.set_ylim(bottom=0)
    if train and held_out:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)
    if score:
        _draw_score(panels[0, 1], _points(history, score), score_label)
        figure.tight_layout()
    return figure


def _points(history: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    return [(entry["step"], entry[name]) for entry in history if name in entry]


def _draw_score(axes: Axes, points: Sequence[tuple[float, float]], label: str) -> None:
    axes.plot(*zip(*points, strict=True), "o--", color=VERMILION)
    for step, value in points:
        axes.annotate(
            f"{value:.3f}", (step, value), xytext=(0, 7), textcoords="offset points", ha="center"
        )
    axes.set(xlabel="step", ylabel=label)
    axes.margins(x=0.2, y=0.3)


def loss_curves(
    series: Mapping[str, Sequence[tuple[float, float]]], xlabel: str, ylabel: str
) -> Figure:
    """Draw losses of several runs by step, a color and a marker per run (chapter 3).

    It shows which runs still learn, and where they part. The y axis does not begin at zero, so that
    small differences can be seen.

    Args:
        series: `{name: [(step, loss), …]}`; points are joined in the order of their steps.
        xlabel: What a step is.
        ylabel: Which loss it is, and on what.

    Raises:
        ValueError: If there is no series, or one without points.
    """
    empty = [name for name, points in series.items() if not len(points)]
    if empty or not series:
        raise ValueError(f"nothing to draw for {empty or 'series'}; pass at least one point.")
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2))
    for index, (name, points) in enumerate(series.items()):
        axes.plot(
            *zip(*sorted(points), strict=True), color=PALETTE[index % len(PALETTE)],
            marker=MARKERS[index % len(MARKERS)], markersize=5, label=name,
        )  # fmt: skip
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)
    return figure


def lineage(rows: Mapping[str, Sequence[tuple[str, str]]]) -> Figure:
    """Draw models that come of one another, as boxes joined by arrows, a row per family.

    Args:
        rows: `{family: [(step, description), …]}`, the same steps in each row.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 1.45 * len(rows)))
    width, height, gap = 1.2, 0.72, 0.26
    for line, (family, boxes) in enumerate(rows.items()):
        for position, (step, description) in enumerate(boxes):
            x, y = position * (width + gap), -line
            color = TRAINED if position == len(boxes) - 1 else FROZEN
            axes.add_patch(
                FancyBboxPatch(
                    (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06",
                    facecolor=color, edgecolor="#555555", linewidth=0.8,
                )
            )  # fmt: skip
            middle = (x + width / 2, y + height / 2)
            axes.annotate(description, middle, ha="center", va="center", fontsize=8.5)
            if line == 0:
                axes.annotate(step, (middle[0], height + 0.1), ha="center", weight="bold")
            if position:
                axes.add_patch(
                    FancyArrowPatch(
                        (x - gap, middle[1]), (x, middle[1]), arrowstyle="-|>",
                        mutation_scale=12, color="#555555",
                    )
                )  # fmt: skip
        axes.annotate(
            family, (-0.1, -line + height / 2), ha="right", va="center", rotation=90, fontsize=9
        )
    axes.set(
        xlim=(-0.3, len(boxes) * (width + gap) - gap + 0.05),
        ylim=(-len(rows) + 0.95, height + 0.3),
    )
    axes.axis("off")
    return figure


def similarities(panels: Mapping[str, np.ndarray], counts: Mapping[str, int]) -> Figure:
    """Draw cosine-similarity matrices side by side, on one color scale up to 1.

    It begins at 0, or at the lowest tenth below it that a matrix reaches.

    Args:
        panels: `{title: matrix}`, each of shape `(n, n)`, texts sorted by label.
        counts: `{label: how many texts}`, in that order.
    """
    figure, all_axes = plt.subplots(
        1, len(panels), figsize=(WIDTH, 3.3), squeeze=False, layout="constrained"
    )
    ends = np.cumsum(list(counts.values()))
    middles = ends - np.array(list(counts.values())) / 2 - 0.5
    lowest = min(0.0, *(np.floor(10 * matrix.min()) / 10 for matrix in panels.values()))
    for axes, (title, matrix) in zip(all_axes[0], panels.items(), strict=True):
        image = axes.imshow(matrix, cmap="cividis", vmin=lowest, vmax=1)
        for end in ends[:-1]:
            axes.axhline(end - 0.5, color="white", linewidth=1)
            axes.axvline(end - 0.5, color="white", linewidth=1)
        axes.set(title=title, xticks=middles, xticklabels=list(counts), yticks=[])
        axes.tick_params(length=0)
        axes.grid(visible=False)
    all_axes[0][0].set_yticks(middles, list(counts), rotation=90, va="center")
    figure.colorbar(image, ax=all_axes[0].tolist(), label="cosine similarity", shrink=0.8)
    return figure


def projections(
    panels: Mapping[str, np.ndarray], labels: Sequence[str], notes: Mapping[int, str] | None = None
) -> Figure:
    """Draw points of two dimensions side by side, one color and marker per label, all on one scale.

    Args:
        panels: `{title: points}`, each of shape `(n, 2)`.
        labels: One a point.
        notes: `{position: text}`, listed below; a point bears its number there.
    """
    figure, all_axes = plt.subplots(
        1, len(panels), figsize=(WIDTH, 2.6), squeeze=False, layout="constrained",
        sharex=True, sharey=True,
    )  # fmt: skip
    numbered = list(enumerate(notes or {}, 1))
    names = list(dict.fromkeys(labels))
    for axes, (title, points) in zip(all_axes[0], panels.items(), strict=True):
        for index, name in enumerate(names):
            chosen = points[[label == name for label in labels]]
            axes.scatter(
                *chosen.T,
                s=26,
                color=PALETTE[index],
                marker=MARKERS[index % len(MARKERS)],
                label=name,
            )
        for number, position in numbered:
            # Numbers above and below in turn: points with a note may lie close together.
            axes.annotate(
                str(number), points[position], xytext=(0, 5 if number % 2 else -5), ha="center",
                va="bottom" if number % 2 else "top", textcoords="offset points", fontsize=9,
            )  # fmt: skip
        axes.set(title=title, xlabel="first component", aspect="equal")
    all_axes[0][0].set_ylabel("second component")
    handles, shown = all_axes[0][0].get_legend_handles_labels()
    figure.legend(handles, shown, loc="outside upper center", ncols=len(names))
    if notes:
        key = "    ".join(f"{number}  {notes[position]}" for number, position in numbered)
        figure.supxlabel(key, fontsize=9)
    return figure
