"""Figures of texts: their labels, lengths, masks and prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from reptune.book.plots.style import FROZEN, ORANGE, PALETTE, SKY, WIDTH


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
