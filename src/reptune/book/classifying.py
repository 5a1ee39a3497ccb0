"""Draw the schematics of chapter 1: a text's levels, a padded batch, a classifier from end to end.

Like those of `reptune.book.schematics`, they are laid out in inches, from texts that are measured;
see `reptune.book.drawing`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from reptune.book.drawing import (
    EDGE,
    GAP,
    MUTED,
    PAD,
    SIZES,
    Pair,
    canvas,
    draw_arrow,
    draw_box,
    fit_columns,
    name_rows,
    text_width,
    tint,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PADDING = "#D0D0D0"
BOX, ROW = 0.28, 0.33  # inches: a box's height, and from row to row of a grid
_WORD = re.compile(r"\w+|[^\w\s]")  # as BERT's tokenizer takes words: marks stand alone

# --- one text, four times ------------------------------------------------------------------------


def text_levels(
    text: str, tokens: Sequence[str], offsets: Sequence[tuple[int, int]], ids: Sequence[int]
) -> Figure:
    """Draw a text as characters, words, tokens and token ids, each above what it becomes.

    Args:
        text: About twenty characters.
        tokens: What the tokenizer makes of it, with a special token at each end.
        offsets: For each token the characters that it stands for, as a tokenizer's
            `offset_mapping` has them.
        ids: For each token its number in the vocabulary.

    Raises:
        ValueError: If the lengths differ, or the ends are no special tokens.
    """
    _check_tokens(tokens, offsets, ids)
    numbers = [str(number) for number in ids]
    words = [
        (range(1 + found.start(), 1 + found.end()), found[0]) for found in _WORD.finditer(text)
    ]
    inner = [
        (range(1 + start, 1 + end), token, number)
        for (start, end), token, number in zip(offsets, tokens, numbers, strict=True)
        if end > start
    ]
    ends = [(tokens[place], numbers[place]) for place in (0, -1)]
    heights = {"characters": 1.7, "words": 1.2, "tokens": 0.7, "token ids": 0.2}
    single = [ends[0], *[(letter.strip(),) for letter in text], ends[1]]
    edges, size = fit_columns(heights, single, [*words, *inner])
    axes = canvas(edges[-1], 1.9)
    name_rows(axes, heights, size)
    _draw_levels(axes, edges, text, words, size)
    last = range(len(edges) - 2, len(edges) - 1)
    for columns, token, number in [(range(1), *ends[0]), *inner, (last, *ends[1])]:
        _draw_token(axes, edges[[columns.start, columns.stop]], token, number, size)
    return axes.figure


def _check_tokens(
    tokens: Sequence[str], offsets: Sequence[tuple[int, int]], ids: Sequence[int]
) -> None:
    lengths = {"tokens": len(tokens), "offsets": len(offsets), "ids": len(ids)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{lengths} are to be of one length: each stands for the same tokens.")
    empty = [end == start for start, end in offsets]
    if len(empty) < 2 or empty != [True, *[False] * (len(empty) - 2), True]:
        raise ValueError(
            "the first and the last token, and no others, are to be special ones, with empty "
            "offsets, as a BERT tokenizer sets [CLS] and [SEP]."
        )


def _draw_levels(
    axes: Axes, edges: np.ndarray, text: str, words: Sequence[tuple[range, str]], size: float
) -> None:
    """Draw the characters, and below them the words that they make."""
    from reptune.book.plots import FROZEN

    for ends, letter in zip(pairwise(edges[1:-1]), text, strict=True):
        if letter.strip():
            _draw_cell(axes, ends, 1.7, "white", letter, size)
    for columns, word in words:
        ends = edges[[columns.start, columns.stop]]
        _draw_cell(axes, ends, 1.2, FROZEN, word, size)
        _join(axes, ends, 1.7, 1.2)


def _draw_token(axes: Axes, ends: Pair, token: str, number: str, size: float) -> None:
    """Draw a token and below it its id, joined to what stands above it unless it is special."""
    from reptune.book.plots import SKY

    is_special = token.startswith("[")
    _draw_cell(axes, ends, 0.7, PADDING if is_special else tint(SKY, 0.5), token, size)
    _draw_cell(axes, ends, 0.2, "white", number, size)
    _join(axes, ends, 0.7, 0.2)
    if not is_special:
        _join(axes, ends, 1.2, 0.7)


def _draw_cell(axes: Axes, ends: Pair, y: float, color: Any, text: str, size: float) -> None:
    draw_box(axes, (np.mean(ends), y), (np.ptp(ends) - GAP, BOX), color, text, size)


def _join(axes: Axes, ends: Pair, upper: float, lower: float) -> None:
    """Draw a short line between two rows of boxes."""
    high, low = upper - BOX / 2, lower + BOX / 2
    axes.plot([np.mean(ends)] * 2, [high, low], color=EDGE, linewidth=0.8, zorder=0)


# --- a batch, padded -----------------------------------------------------------------------------


def padded_batch(rows: Sequence[Sequence[str]], mask: Sequence[Sequence[int]]) -> Figure:
    """Draw a padded batch as a grid of tokens, and below it the attention mask as a grid.

    Args:
        rows: The tokens of each text, padding included, all of one length.
        mask: For each of them 1 where there is text and 0 where there is padding.

    Raises:
        ValueError: If the two grids differ in shape.
    """
    shapes = [[len(row) for row in grid] for grid in (rows, mask)]
    if shapes[0] != shapes[1] or len(set(shapes[0])) != 1:
        raise ValueError(f"rows and mask have rows of {shapes} cells; they are to be one grid.")
    names = [f"text {number}" for number in range(1, len(rows) + 1)]
    edges, size = fit_columns(names, list(zip(*rows, strict=True)))
    tall = ROW * len(rows)
    axes = canvas(edges[-1], 2 * tall + 0.68)
    for title, grid, top in (
        ("tokens", rows, 2 * tall + 0.34),
        ("attention mask", mask, tall),
    ):
        write(axes, (edges[0], top + 0.16), title, size, ha="left", weight="bold")
        heights = {name: top - ROW * (row + 0.5) for row, name in enumerate(names)}
        name_rows(axes, heights, size)
        for y, row, marks in zip(heights.values(), grid, mask, strict=True):
            for ends, cell, mark in zip(pairwise(edges), row, marks, strict=True):
                _draw_cell(axes, ends, y, _shade(mark), str(cell), size)
    return axes.figure


def _shade(mark: int) -> Any:
    from reptune.book.plots import SKY

    return tint(SKY, 0.5) if mark else PADDING


# --- a classifier --------------------------------------------------------------------------------


def classifier(
    tokens: Sequence[str],
    logits: Mapping[str, float],
    label: str,
    hidden: int = 384,
) -> Figure:
    """Draw a classifier from a text's tokens to its loss: below the encoder, on top the head.

    Args:
        tokens: What the encoder reads, `[CLS]` first.
        logits: `{class: logit}`.
        label: The true class.
        hidden: Numbers in a token's vector.

    Raises:
        ValueError: If the label is none of the classes.
    """
    from reptune.book.plots import FROZEN, SKY

    if label not in logits:
        raise ValueError(f"label={label!r} is none of the classes {list(logits)}.")
    vectors = f"one vector\nper token,\n{hidden} numbers"
    heights = {"head": 2.2, vectors: 1.22, "tokens": 0.2}
    edges, size = fit_columns(heights, [(token,) for token in tokens])
    axes = canvas(edges[-1], 2.78)
    name_rows(axes, heights, size)
    width, middle = np.ptp(edges) - GAP, edges[[0, -1]].mean()
    draw_box(axes, (middle, 0.68), (width, 0.3), tint(SKY, 0.5), "encoder (pretrained)", size)
    for place, (ends, token) in enumerate(zip(pairwise(edges), tokens, strict=True)):
        x = np.mean(ends)
        _draw_cell(axes, ends, 0.2, "white" if place else FROZEN, token, size)
        draw_arrow(axes, (x, 0.34), (x, 0.53))
        draw_arrow(axes, (x, 0.83), (x, 1.02))
        _draw_vector(axes, (x, 1.02), FROZEN if place else SKY)
    write(axes, (edges[[1, -1]].mean(), 1.6), "the head reads [CLS] alone", size, color=MUTED)
    draw_arrow(axes, (np.mean(edges[:2]), 1.44), (np.mean(edges[:2]), 1.95))
    _draw_head(axes, edges, _parts_of_head(logits, label, hidden))
    return axes.figure


def _draw_vector(axes: Axes, foot: Pair, color: Any) -> None:
    """Draw a few cells, one above the other, that stand for all numbers of a vector."""
    from matplotlib.patches import Rectangle

    style = {"facecolor": color, "edgecolor": EDGE, "linewidth": 0.8}
    for cell in range(4):
        corner = (foot[0] - 0.08, foot[1] + 0.1 * cell)
        axes.add_patch(Rectangle(corner, 0.16, 0.1, **style))


def _parts_of_head(
    logits: Mapping[str, float], label: str, hidden: int
) -> list[tuple[str, str, Any]]:
    """Return what each box of the head is called, what stands in it, and its color."""
    from reptune.book.plots import FROZEN, TRAINED

    values = np.array(list(logits.values()))
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    loss = -np.log(shares[list(logits).index(label)])

    def lines(numbers: np.ndarray) -> str:
        rows = zip(logits, numbers, strict=True)
        return "\n".join(f"{name} {number:.2f}".replace("-", "−") for name, number in rows)

    return [
        ("pooler", f"{hidden} → {hidden}\nand tanh", TRAINED),
        ("classifier", f"{hidden} → {len(logits)}\n(new)", TRAINED),
        ("logits", lines(values), FROZEN),
        ("softmax", lines(shares), FROZEN),
        (f"loss ({label})", f"−log {np.exp(-loss):.2f}\n= {loss:.2f}", FROZEN),
    ]


def _draw_head(axes: Axes, edges: np.ndarray, parts: Sequence[tuple[str, str, Any]]) -> None:
    """Draw the boxes of the head side by side above the encoder, joined by arrows."""
    room = edges[-1] - edges[0] - GAP
    for size in SIZES:
        widths = np.array([_width(f"{name}\n{text}", size) + PAD for name, text, _ in parts])
        spare = (room - widths.sum()) / (len(parts) - 1)
        if spare > 0.12:
            break
    tall = 0.19 * max(text.count("\n") + 1 for _, text, _ in parts) + 0.12
    x = edges[0] + GAP / 2
    for place, ((name, text, color), width) in enumerate(zip(parts, widths, strict=True)):
        middle = (x + width / 2, 2.2)
        draw_box(axes, middle, (width, tall), color, text, size)
        write(axes, (middle[0], 2.2 + tall / 2 + 0.14), name, size, weight="bold")
        x += width
        if place < len(parts) - 1:
            draw_arrow(axes, (x, 2.2), (x + spare, 2.2))
            x += spare


def _width(text: str, size: float) -> float:
    """Return the width of a text of several lines, in inches; bold ones are a tenth wider."""
    first, *others = text.split("\n")
    return max([1.12 * text_width(first, size), *(text_width(line, size) for line in others)])
