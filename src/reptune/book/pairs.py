"""Draw the schematics of chapter 2: the grid of pairs, and SetFit's two phases.

Laid out in inches, from texts that are measured; see `reptune.book.drawing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reptune.book.drawing import (
    EDGE,
    MUTED,
    Pair,
    canvas,
    draw_arrow,
    draw_box,
    text_width,
    tint,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL, LARGEST = 0.3, 24  # inches of a cell, and texts that a grid has room for
SIZE = 8.5  # points
SAME, OTHER, ITSELF, AGAIN = "+", "−", "×", ""  # what stands in a cell


def grid_cells(labels: Sequence[str]) -> list[list[str]]:
    """Return what each cell of the grid of all texts against all is.

    Args:
        labels: One per text.

    Returns:
        A row per text: `"+"` for a positive pair, `"−"` for a negative one, `"×"` for a text with
        itself, and nothing where the pair has been counted, below the diagonal.

    >>> grid_cells(["a", "a", "b"])
    [['×', '+', '−'], ['', '×', '−'], ['', '', '×']]
    """
    return [
        [
            ITSELF if row == column else AGAIN if column < row else SAME if one == other else OTHER
            for column, other in enumerate(labels)
        ]
        for row, one in enumerate(labels)
    ]


def grid(labels: Sequence[str]) -> Figure:
    """Draw the pairs that labels make: each pair once, right of the diagonal.

    Args:
        labels: One per text, those of a label side by side; at most `LARGEST` of them.

    Raises:
        ValueError: If there are more, or none.
    """
    from reptune.book.plots import BLUE, ORANGE, WIDTH

    if not 0 < len(labels) <= LARGEST:
        raise ValueError(f"{len(labels)} labels; a grid has room for 1 to {LARGEST}.")
    cells, count = grid_cells(labels), len(labels)
    names = list(dict.fromkeys(labels))
    numbers = [f"{label} {labels[: place + 1].count(label)}" for place, label in enumerate(labels)]
    left = max(text_width(text, SIZE) for text in numbers) + 0.15
    cell = min(CELL, (WIDTH - left - 1.9) / count)
    height = cell * count + 0.2
    axes = canvas(WIDTH, height)
    colors = {SAME: BLUE, OTHER: tint(ORANGE, 0.45), ITSELF: "white", AGAIN: "#F2F2F2"}
    for row, line in enumerate(cells):
        y = height - 0.1 - (row + 0.5) * cell
        write(axes, (left - 0.08, y), numbers[row], SIZE, ha="right", color=MUTED)
        for column, kind in enumerate(line):
            _draw_cell(axes, (left + (column + 0.5) * cell, y), cell, colors[kind], kind)
    _draw_legend(axes, (left + count * cell + 0.25, height - 0.1), cells, colors, len(names))
    return axes.figure


def _draw_cell(axes: Axes, middle: Pair, cell: float, color: object, kind: str) -> None:
    from matplotlib.patches import Rectangle

    corner = (middle[0] - cell / 2, middle[1] - cell / 2)
    style = {"edgecolor": "white" if kind else "#E3E3E3", "linewidth": 0.8}
    axes.add_patch(Rectangle(corner, cell, cell, facecolor=color, **style))
    if kind:
        ink = "white" if kind == SAME else "black"
        write(axes, middle, kind, SIZE, color=ink)


def _draw_legend(
    axes: Axes, corner: Pair, cells: list[list[str]], colors: dict[str, object], labels: int
) -> None:
    """Say what the marks are, and how many there are of each."""
    flat = [kind for line in cells for kind in line]
    words = {
        SAME: "positive pairs", OTHER: "negative pairs",
        ITSELF: "with itself", AGAIN: "the same pair again",
    }  # fmt: skip
    x, y = corner
    for line, (kind, text) in enumerate(words.items()):
        place = (x + CELL / 2, y - CELL / 2 - line * 0.52)
        _draw_cell(axes, place, 0.26, colors[kind], kind)
        write(axes, (place[0] + 0.22, place[1] + 0.08), text, SIZE, ha="left")
        write(axes, (place[0] + 0.22, place[1] - 0.1), f"{flat.count(kind)}", SIZE, ha="left",
              color=MUTED)  # fmt: skip


def phases() -> Figure:
    """Draw SetFit's two phases: pairs tune the encoder; then a classifier learns on its vectors."""
    from reptune.book.plots import FROZEN, TRAINED, WIDTH

    axes = canvas(WIDTH, 2.75)
    titles = ("phase 1: tune the body on pairs", "phase 2: fit the head on vectors")
    for title, y in zip(titles, (2.6, 1.12), strict=True):
        write(axes, (0.05, y), title, 9.5, ha="left", weight="bold")
    width, tall = 1.12, 0.42
    columns = [0.62, 2.1, 3.58, 4.9, 5.85]

    for text, y in (("text a", 2.24), ("text b", 1.6)):
        draw_box(axes, (columns[0], y), (width, tall), "white", text, SIZE)
        draw_box(axes, (columns[1], y), (width, tall), TRAINED, "body", SIZE)
        draw_box(axes, (columns[2], y), (width, tall), "white", f"vector of {text[-1]}", SIZE)
        draw_arrow(axes, (columns[0] + width / 2, y), (columns[1] - width / 2, y))
        draw_arrow(axes, (columns[1] + width / 2, y), (columns[2] - width / 2, y))
        draw_arrow(axes, (columns[2] + width / 2, y), (columns[3] - 0.42, 1.92))
    axes.plot([columns[1]] * 2, [2.24 - tall / 2, 1.6 + tall / 2], color=EDGE, linestyle=":")
    write(axes, (columns[1] + 0.08, 1.92), "the same", 7.5, ha="left", color=MUTED)
    draw_box(axes, (columns[3], 1.92), (0.84, tall), "white", "cosine", SIZE)
    draw_arrow(axes, (columns[3] + 0.42, 1.92), (columns[4] - 0.36, 1.92))
    draw_box(axes, (columns[4], 1.92), (0.8, 0.62), "white", "same label:\n1, else 0", SIZE)

    texts = ("each text", "body, as tuned", "vector", "head", "label")
    shapes = (width, width, width, 0.84, 0.8)
    fills = ("white", FROZEN, "white", TRAINED, "white")
    for text, x, across, color in zip(texts, columns, shapes, fills, strict=True):
        draw_box(axes, (x, 0.68), (across, tall), color, text, SIZE)
    for place in range(4):
        start, end = columns[place] + shapes[place] / 2, columns[place + 1] - shapes[place + 1] / 2
        draw_arrow(axes, (start, 0.68), (end, 0.68))
    for x, color, text in ((0.2, TRAINED, "trained"), (1.4, FROZEN, "left as it is")):
        draw_box(axes, (x, 0.18), (0.26, 0.2), color, "", SIZE)
        write(axes, (x + 0.2, 0.18), text, SIZE, ha="left", color=MUTED)
    return axes.figure
