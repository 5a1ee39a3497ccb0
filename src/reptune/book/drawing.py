"""Shapes, texts and measures that the book's schematics are drawn with, in inches.

Texts are measured: the largest font in which they fit the book's column is taken, and where
7 points are too large the figure grows wider.

Matplotlib is imported where something is drawn: it is slow, and only the chapters draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EDGE = "#555555"
MUTED = "#6B6B6B"  # a gray that is still read easily on white
SIZES = np.arange(10, 6.9, -0.25)  # points, to choose the largest from that fits
GAP, PAD = 0.05, 0.13  # inches between boxes, and around a text with the gap

Pair = tuple[float, float]


def canvas(width: float, height: float) -> Axes:
    """Return axes without a frame that fill a figure; units are inches from the lower left."""
    import matplotlib.pyplot as plt

    axes = plt.figure(figsize=(width, height)).add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return axes


def write(axes: Axes, place: Pair, text: str, size: float, **style: Any) -> None:
    """Write a text around a place; dollar signs in it are no formula."""
    style = {"ha": "center", "va": "center", "fontsize": size, **style}
    axes.annotate(text, place, parse_math=False, **style)


def draw_box(
    axes: Axes, middle: Pair, shape: Pair, color: Any, text: str, size: float, **style: Any
) -> None:
    """Draw a box of that width and height with a text in it."""
    from matplotlib.patches import FancyBboxPatch

    (x, y), (width, height) = middle, shape
    style = {"edgecolor": EDGE, "linewidth": 0.8, "facecolor": color, **style}
    corner, rounded = (x - width / 2, y - height / 2), "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=rounded, **style))
    write(axes, middle, text, size)


def draw_arrow(axes: Axes, start: Pair, end: Pair, head: float = 7) -> None:
    """Draw an arrow; the size of its head is in points."""
    from matplotlib.patches import FancyArrowPatch

    style = {"arrowstyle": "-|>", "mutation_scale": head, "color": EDGE}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=1, shrinkB=1, **style))


def tint(color: str, share: float) -> tuple[float, ...]:
    """Return the color mixed with white; opaque, unlike one with an alpha."""
    from matplotlib.colors import to_rgb

    return tuple(1 - share * (1 - part) for part in to_rgb(color))


def text_width(text: str, size: float) -> float:
    """Return how wide a line of text is, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def fit_columns(
    names: Iterable[str], single: Sequence[Sequence[str]], over: Sequence[tuple[Any, ...]] = ()
) -> tuple[np.ndarray, float]:
    """Return the edges of columns that fill the book's width, and the font size that fits.

    Args:
        names: Of the rows, for which there is to be room on the left.
        single: For each column the texts that stand in it.
        over: `(columns, text, …)`: a range of columns, and texts that may be as wide as these.
    """
    from reptune.book.plots import WIDTH

    lines = [line for name in names for line in name.split("\n")]
    for size in SIZES:
        left = max(text_width(line, size) for line in lines) + 0.1
        widths = np.array([max(text_width(text, size) for text in texts) for texts in single])
        for columns, *texts in over:
            share = (max(text_width(text, size) for text in texts) + PAD) / len(columns) - PAD
            widths[columns] = np.maximum(widths[columns], share)
        spare = WIDTH - left - (widths + PAD).sum()
        if spare >= 0:
            break
    widths += PAD + max(spare, 0) / len(widths)
    return left + np.concatenate([[0], np.cumsum(widths)]), float(size)


def name_rows(axes: Axes, names: Mapping[str, float], size: float) -> None:
    """Write at the left what each row is, given its height."""
    for name, y in names.items():
        write(axes, (0, y), name, size, ha="left", color=MUTED)
