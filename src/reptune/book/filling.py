"""Draw the schematics of chapter 6: one encoder, read at the mask or at its start.

Like those of `reptune.book.schematics`, they are laid out in inches, from texts that are measured;
see `reptune.book.drawing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from reptune.book.drawing import (
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

SIZE = 10  # points
ROW, BETWEEN, INSIDE, ARROW = 0.26, 0.5, 0.1, 0.32  # inches: a row, two ways apart, padding, arrows
ENCODER = "the same\nencoder"
LEARNED, NEW = "learned from text", "random numbers"


def two_heads(prompt: Sequence[str], plain: Sequence[str], words: Iterable[str]) -> Figure:
    """Draw the two ways to classify with one encoder, one below the other.

    Above, the state at the mask meets the rows of the output layer that stand for the labels'
    words; below, the state of the first token meets as many new rows. It teaches that the two
    differ in where they read and in what their rows know (chapter 6).

    Args:
        prompt: What the encoder reads above, token by token or in larger parts; the state of the
            first is used.
        plain: The same below.
        words: The labels' words.
    """
    from reptune.book.plots import FROZEN, TRAINED, WIDTH

    names = list(words)
    height = ROW * len(names)
    total = 2 * height + BETWEEN + 0.28
    axes = canvas(WIDTH, total)
    middles = (total - 0.26 - height / 2, height / 2 + 0.02)
    wide = max(text_width(line, SIZE) for line in ENCODER.split("\n")) + 2 * INSIDE
    rows = max(text_width(name, SIZE) for name in [*names, LEARNED, NEW]) + 2 * INSIDE
    right = WIDTH - rows / 2 - 0.02
    encoder = (right - rows / 2 - ARROW - wide / 2, total / 2)
    draw_box(axes, encoder, (wide, total - 0.1), FROZEN, ENCODER, SIZE)
    said = ((prompt, names, LEARNED, tint(TRAINED, 0.35)), (plain, [""] * len(names), NEW, "white"))
    for middle, (parts, labels, origin, color) in zip(middles, said, strict=True):
        end = _draw_parts(axes, middle, parts, encoder[0] - wide / 2 - ARROW)
        draw_arrow(axes, (end, middle), (encoder[0] - wide / 2, middle))
        draw_arrow(axes, (encoder[0] + wide / 2, middle), (right - rows / 2, middle))
        write(axes, (right, middle + height / 2 + 0.12), origin, SIZE, color=MUTED)
        for number, label in enumerate(labels):
            y = middle + height / 2 - ROW * (number + 0.5)
            draw_box(axes, (right, y), (rows, ROW - 0.04), color, label, SIZE)
    return axes.figure


def _draw_parts(axes: Axes, middle: float, parts: Sequence[str], right: float) -> float:
    """Draw what the encoder reads, its first part in color; return where the last one ends."""
    from reptune.book.plots import SKY

    widths = [text_width(part, SIZE) + 2 * INSIDE for part in parts]
    left = max(0.02, (right - sum(widths) - 0.05 * (len(parts) - 1)) / 2)
    for number, (part, width) in enumerate(zip(parts, widths, strict=True)):
        color: Any = "white" if number else tint(SKY, 0.6)
        place: Pair = (left + width / 2, middle)
        draw_box(axes, place, (width, 0.3), color, part, SIZE)
        left += width + 0.05
    return left - 0.05
