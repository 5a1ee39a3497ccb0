"""Draw every figure of the book, so that the chapters share one look.

Colors are Okabe and Ito's, which readers with any common color vision can tell apart. Figures
have a white ground, which the book keeps in dark mode, so that they stay legible there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from reptune import metrics

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, GRAY = PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#7F7F7F",
)
FROZEN, TRAINED = "#DCE6F0", ORANGE
MARKERS = "os^DvPX*"  # one per color
WIDTH = 6.4  # inches; drawn at 140 dots per inch, so that it stays sharp in the book's column


def use_style() -> None:
    """Set Matplotlib's defaults for the book; `reptune.setup` calls it."""
    plt.rcParams.update(
        {
            "axes.prop_cycle": plt.cycler(color=PALETTE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E6E6E6",
            "figure.facecolor": "white",
            "figure.dpi": 140,
            "savefig.dpi": 140,
            "savefig.bbox": "tight",
            "font.size": 10,
            "axes.titlesize": 11,
            "legend.frameon": False,
        }
    )


def label_balance(counts: Mapping[str, Mapping[str, int]], xlabel: str = "sentences") -> Figure:
    """Draw bars of how many rows each label has, a group of bars for each split.

    Args:
        counts: `{split: {label: count}}`.
        xlabel: What is counted.
    """
    labels = list(next(iter(counts.values())))
    height = max(2.6, 0.6 + 0.2 * len(labels) * len(counts))
    figure, axes = plt.subplots(figsize=(WIDTH, height))
    height = 0.8 / len(labels)
    for index, label in enumerate(labels):
        positions = np.arange(len(counts)) + (index - (len(labels) - 1) / 2) * height
        values = [counts[split][label] for split in counts]
        bars = axes.barh(positions, values, height=height * 0.92, label=label)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=9)
    axes.set(yticks=range(len(counts)), yticklabels=list(counts), xlabel=xlabel)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.12)
    axes.legend(loc="lower right")
    return figure


def length_histogram(lengths: Mapping[str, Sequence[int]], unit: str = "word pieces") -> Figure:
    """Draw the distribution of text lengths per series, with the 95th percentile marked.

    Args:
        lengths: `{series: lengths}`.
        unit: What a length counts.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 2.8))
    top = max(max(values) for values in lengths.values())
    # Whole-numbered edges: with others some bins would cover one length more than their neighbors.
    bins = np.arange(0, top + 2, max(1, top // 40))
    for index, (name, values) in enumerate(lengths.items()):
        axes.hist(
            values, bins=bins, density=True, histtype="step", linewidth=1.8,
            color=PALETTE[index], label=name,
        )  # fmt: skip
        axes.axvline(np.quantile(values, 0.95), color=PALETTE[index], linestyle=":", linewidth=1.4)
    axes.set(xlabel=f"length ({unit}); dotted: 95% are shorter", ylabel="share of texts")
    axes.set_yticks([])
    axes.legend()
    return figure


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
        axes.legend()
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


def similarities(panels: Mapping[str, np.ndarray], counts: Mapping[str, int]) -> Figure:
    """Draw cosine-similarity matrices side by side, on one color scale from 0 to 1.

    Args:
        panels: `{title: matrix}`, each of shape `(n, n)`, texts sorted by label.
        counts: `{label: how many texts}`, in that order.
    """
    figure, all_axes = plt.subplots(
        1, len(panels), figsize=(WIDTH, 3.3), squeeze=False, layout="constrained"
    )
    ends = np.cumsum(list(counts.values()))
    middles = ends - np.array(list(counts.values())) / 2 - 0.5
    for axes, (title, matrix) in zip(all_axes[0], panels.items(), strict=True):
        image = axes.imshow(matrix, cmap="cividis", vmin=0, vmax=1)
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


def masked_rows(rows: Sequence[Sequence[str]], masked: np.ndarray, mask_token: str) -> Figure:
    """Draw the tokens of a sentence as boxes, colored at the masked positions.

    Args:
        rows: What the model reads, a list of tokens per row, all of one length.
        masked: Shape `(rows, tokens)`, true where the model is to say what stood there.
        mask_token: Told apart from other tokens by its color.
    """
    figure, axes = plt.subplots(figsize=(WIDTH * 1.2, 0.33 * len(rows)))
    widths = [max(len(row[position]) for row in rows) + 1.6 for position in range(len(rows[0]))]
    starts = np.concatenate([[0], np.cumsum(widths)])
    for line, row in enumerate(rows):
        for position, token in enumerate(row):
            color = "white"
            if masked[line, position]:
                color = SKY if token == mask_token else ORANGE
            axes.add_patch(
                FancyBboxPatch(
                    (starts[position] + 0.1, -line + 0.1), widths[position] - 0.2, 0.8,
                    boxstyle="round,pad=0,rounding_size=0.2", facecolor=color,
                    edgecolor="#BBBBBB", linewidth=0.6,
                )
            )  # fmt: skip
            axes.annotate(
                token, (starts[position] + widths[position] / 2, -line + 0.5), ha="center",
                va="center", fontsize=8, family="monospace",
            )  # fmt: skip
    axes.set(xlim=(0, starts[-1]), ylim=(1 - len(rows), 1))
    axes.axis("off")
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
    figure.legend(loc="outside upper center", ncols=min(len(methods), 4), fontsize=9)
    figure.set_layout_engine("constrained")
    return figure


# --- prompts -------------------------------------------------------------------------------------


def prompt_parts(parts: Sequence[tuple[str, str]]) -> Figure:
    """Draw a prompt as boxes, one per part, from top to bottom, each named beside it.

    Args:
        parts: `(name, text)`; texts may have several lines.
    """
    line, gap, pad = 0.19, 0.12, 0.1  # inches
    heights = [line * (text.count("\n") + 1) + 2 * pad for _, text in parts]
    total = sum(heights) + gap * (len(parts) - 1)
    figure, axes = plt.subplots(figsize=(WIDTH, total + 0.2))
    top = total
    for index, ((name, text), height) in enumerate(zip(parts, heights, strict=True)):
        box = FancyBboxPatch(
            (1.25, top - height), WIDTH - 1.35, height, boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=TRAINED if index == len(parts) - 1 else FROZEN, edgecolor="#555555",
            linewidth=0.8,
        )  # fmt: skip
        axes.add_patch(box)
        axes.text(1.15, top - height / 2, name, ha="right", va="center", fontsize=9.5)
        axes.text(
            1.35, top - height / 2, text, ha="left", va="center", fontsize=8.5, family="monospace"
        )
        top -= height + gap
    axes.set(xlim=(0, WIDTH), ylim=(-0.05, total + 0.05))
    axes.axis("off")
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


def mask_answers(
    parts: Sequence[tuple[str, str]], answers: Sequence[tuple[str, str, float]]
) -> Figure:
    """Draw a filled template with the answers at the mask: from text to words to labels.

    Args:
        parts: `(text, slot)` from left to right; the slot `{mask}` marks the masked position.
        answers: `(word, label, probability)`.
    """
    letter, space = 0.13, 0.3
    figure, axes = plt.subplots(figsize=(WIDTH * 1.3, 1.9))
    left, mask_at = 0.0, 0.0
    for text, slot in parts:
        width = letter * max(len(text), len(slot)) + 0.2
        color = SKY if slot == "{mask}" else FROZEN if slot.startswith("{") else "white"
        box = FancyBboxPatch(
            (left, 0), width, 0.4, boxstyle="round,pad=0.03", facecolor=color, edgecolor="#555555"
        )
        axes.add_patch(box)
        middle = left + width / 2
        axes.text(middle, 0.2, text, ha="center", va="center", family="monospace", fontsize=9)
        axes.text(middle, -0.3, slot, ha="center", va="center", color="#555555", fontsize=9)
        mask_at = middle if slot == "{mask}" else mask_at
        left += width + space
    for position, (word, label, probability) in enumerate(answers):
        height = 1.0 + 0.45 * position
        axes.text(left, height, word, va="center", family="monospace", fontsize=9)
        axes.barh(height, 1.5 * probability, left=left + 1.2, height=0.25, color=ORANGE)
        axes.text(left + 2.9, height, f"→ {label}", va="center", fontsize=9)
    arrow = FancyArrowPatch(
        (mask_at, 0.45), (left - 0.1, 1.2), arrowstyle="-|>", mutation_scale=12, color="#555555",
        connectionstyle="arc3,rad=-0.2",
    )  # fmt: skip
    axes.add_patch(arrow)
    axes.set(xlim=(-0.1, left + 4), ylim=(-0.5, 0.85 + 0.45 * len(answers)))
    axes.axis("off")
    return figure
