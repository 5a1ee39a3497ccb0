"""Draw the schematics of chapter 7: boxes and arrows, in the look of `reptune.book.plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EDGE = "#555555"


def flow(
    boxes: Mapping[str, tuple[float, float]],
    arrows: Sequence[tuple[str, str]],
    marked: Sequence[str] = (),
) -> Figure:
    """Draw boxes that arrows join, from left to right.

    Args:
        boxes: `{text: (column, row)}`, rows counted downwards; a text may have several lines.
        arrows: `(from, to)`, texts of boxes.
        marked: Texts of the boxes to draw in the color of what is trained.
    """
    import matplotlib.pyplot as plt  # slow, and only the chapter draws
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    from reptune.book.plots import FROZEN, TRAINED, WIDTH

    columns = 1 + max(column for column, _ in boxes.values())
    rows = 1 + max(row for _, row in boxes.values())
    figure, axes = plt.subplots(figsize=(WIDTH, 0.75 * rows))
    width, height = 0.86, 0.74  # of a cell
    for text, (column, row) in boxes.items():
        axes.add_patch(
            FancyBboxPatch(
                (column - width / 2, -row - height / 2), width, height,
                boxstyle="round,pad=0,rounding_size=0.06", edgecolor=EDGE, linewidth=0.8,
                facecolor=TRAINED if text in marked else FROZEN, mutation_aspect=1.2,
            )
        )  # fmt: skip
        axes.annotate(text, (column, -row), ha="center", va="center", fontsize=7)
    for start, end in arrows:
        (x, y), (to_x, to_y) = boxes[start], boxes[end]
        axes.add_patch(
            FancyArrowPatch(
                (x + width / 2, -y), (to_x - width / 2, -to_y), arrowstyle="-|>",
                mutation_scale=10, color=EDGE, shrinkA=1, shrinkB=1,
            )
        )  # fmt: skip
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(-rows + 0.45, 0.55))
    axes.axis("off")
    return figure


def pipeline() -> Figure:
    """Draw the way from a prompt to a small model."""
    boxes = {
        "prompt": (0.0, 1.0),
        "parse:\na task": (1.0, 1.0),
        "search\na catalog": (2.0, 0.0),
        "let a\nteacher write": (2.0, 1.0),
        "choose\na model": (2.0, 2.0),
        "filter,\nmix, shuffle": (3.0, 0.5),
        "train the\nstudent": (4.0, 1.0),
        "compare with\nno training": (5.0, 1.0),
    }
    arrows = [
        ("prompt", "parse:\na task"),
        ("parse:\na task", "search\na catalog"),
        ("parse:\na task", "let a\nteacher write"),
        ("parse:\na task", "choose\na model"),
        ("search\na catalog", "filter,\nmix, shuffle"),
        ("let a\nteacher write", "filter,\nmix, shuffle"),
        ("filter,\nmix, shuffle", "train the\nstudent"),
        ("choose\na model", "train the\nstudent"),
        ("train the\nstudent", "compare with\nno training"),
    ]
    return flow(boxes, arrows, marked=["train the\nstudent"])
