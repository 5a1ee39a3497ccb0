"""Figures of what a training step does, and of what a bootstrap draws (chapter 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reptune import metrics
from reptune.book.plots.style import BLUE, MARKERS, ORANGE, PALETTE, SKY, VERMILION, WIDTH


def loss_and_error() -> Figure:
    """Draw cross-entropy and the error by the probability of the true class, of two classes.

    It teaches why the loss is minimized and not the error: the error is flat but for one jump, so
    that no small change of the weights changes it.
    """
    share = np.linspace(0.02, 1, 197)
    figure, axes = plt.subplots(figsize=(WIDTH, 2.6))
    axes.plot(share, -np.log(share), color=BLUE, linewidth=2, label="loss: −log p")
    axes.plot([0, 0.5, 0.5, 1], [1, 1, 0, 0], "--", color=VERMILION, label="error: wrong or right")
    axes.plot(0.5, np.log(2), "o", color=BLUE)
    axes.annotate("0.693: knows nothing", (0.5, np.log(2)), (0.53, 0.9), fontsize=9)
    axes.set(xlabel="p, the probability of the true class", xlim=(0, 1), ylim=(0, 3))
    axes.legend(fontsize=9)
    return figure


def rate_curves(
    curves: Mapping[float, tuple[Sequence[float], Sequence[float]]], titles: tuple[str, str]
) -> Figure:
    """Draw what a few steps on one text do to two losses, a line per learning rate.

    Args:
        curves: `{learning rate: (losses of the one, losses of the other)}`, from before the first
            step to after the last.
        titles: What the two are the losses of.
    """
    figure, panels = plt.subplots(
        1, 2, figsize=(WIDTH, 2.9), sharey=True, layout="constrained", squeeze=False
    )
    for index, (rate, losses) in enumerate(curves.items()):
        style = {"color": PALETTE[index], "marker": MARKERS[index], "markersize": 4}
        for axes, values in zip(panels[0], losses, strict=True):
            axes.plot(range(len(values)), values, **style, label=f"{rate:g}")
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="steps")
    panels[0, 0].set(ylabel="loss", yscale="symlog", ylim=(0, None))
    panels[0, 0].set_yticks([0, 0.5, 1, 3, 10], ["0", "0.5", "1", "3", "10"])
    panels[0, 0].minorticks_off()
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, title="learning rate", loc="outside upper center", ncols=len(names),
        fontsize=9, title_fontsize=9,
    )  # fmt: skip
    return figure


def rate_schedule(rates: Sequence[float], steps_per_epoch: int) -> Figure:
    """Draw the learning rate by step, with its peak, and where epochs begin and end.

    Args:
        rates: The rate of each step.
        steps_per_epoch: Steps in one pass over the training texts.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 2.3))
    steps, peak = len(rates), int(np.argmax(rates))
    axes.plot(range(steps), rates, color=BLUE, linewidth=2)
    axes.axvspan(0, peak, color=SKY, alpha=0.25, linewidth=0)
    top = max(rates)
    for number, begin in enumerate(range(0, steps, steps_per_epoch), start=1):
        end = min(begin + steps_per_epoch, steps)
        axes.axvline(end, color=ORANGE, linestyle=":", linewidth=1.4)
        axes.text((max(begin, peak) + end) / 2, 1.13 * top, f"epoch {number}", ha="center")
    axes.text(0.01 * steps, 1.13 * top, "warm-up", fontsize=9)
    axes.set(xlabel="step", ylabel="learning rate", xlim=(0, steps), ylim=(0, 1.28 * top))
    axes.ticklabel_format(axis="y", scilimits=(0, 0))
    return figure


def resampled(
    panels: Mapping[str, tuple[Sequence[float], metrics.Interval]], zero: bool = False
) -> Figure:
    """Draw what resampling gave as histograms, their middle 95% in color.

    Args:
        panels: `{what it is: (resampled values, the interval)}`, side by side.
        zero: Mark zero, where the values are differences.
    """
    figure, all_axes = plt.subplots(1, len(panels), figsize=(WIDTH, 2.5), squeeze=False)
    for axes, (what, (values, interval)) in zip(all_axes[0], panels.items(), strict=True):
        _draw_histogram(axes, np.asarray(values), interval)
        axes.set(xlabel=what, yticks=[])
        if zero:
            axes.axvline(0, color="black", linewidth=1.2)
            low, high = axes.get_xlim()
            axes.set_xlim(min(low, -0.1 * (high - low)), high)
    figure.tight_layout()
    return figure


def _draw_histogram(axes: Axes, values: np.ndarray, interval: metrics.Interval) -> None:
    """Draw a histogram whose bins within the interval are dark, with its ends written on top."""
    counts, edges = np.histogram(values, bins=24)
    middles = (edges[:-1] + edges[1:]) / 2
    inside = (middles >= interval.low) & (middles <= interval.high)
    colors = [BLUE if is_inside else "#C9D9E8" for is_inside in inside]
    axes.bar(middles, counts, width=np.diff(edges), color=colors)
    for end, side in ((interval.low, "right"), (interval.high, "left")):
        axes.annotate(
            f" {end:.3f} ".replace("-", "−"), (end, 0.55 * counts.max()), ha=side, fontsize=9
        )
        axes.plot([end, end], [0, 0.62 * counts.max()], color="#555555", linewidth=1)
