"""Draw the schematics of chapter 3: a masked-LM head, packed blocks, low rank, a family of models.

Like those of `reptune.book.schematics`, they are laid out in inches, from texts that are measured;
see `reptune.book.drawing`.
"""

from __future__ import annotations

import textwrap
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

HEAD = "masked-LM head"
NO_LOSS = "no\nloss"
PADDING = "#D0D0D0"
MOST_BLOCKS = 12  # whose numbers have room in the book's column
LINE_HEIGHT = 0.17  # inches, of a line of 10 points

Starts = Mapping[str, tuple[str | None, str, int | None]]


def _rectangle(axes: Axes, corner: Pair, shape: Pair, color: Any, **style: Any) -> None:
    from matplotlib.patches import Rectangle

    style = {"edgecolor": EDGE, "linewidth": 0.8, **style}
    axes.add_patch(Rectangle(corner, *shape, facecolor=color, **style))


def _count(number: int | None, unit: str) -> str:
    """Return a number with its unit, or nothing where there is no number."""
    return "" if number is None else f"{number:,} {unit}{'' if number == 1 else 's'}"


# --- the masked-LM head --------------------------------------------------------------------------


def masked_head(tokens: Sequence[str], inputs: Sequence[str], masked: Sequence[bool]) -> Figure:
    """Draw a masked-LM head and what it reads, from the bottom to the top.

    Every token has a state, but only those at masked positions go on into the head, which gives a
    score for each token of the vocabulary; the loss compares the scores with the token that stood
    there. All other positions, `[CLS]` among them, have no loss (chapter 3).

    Args:
        tokens: What stood there, special tokens included.
        inputs: What the model reads, one per token.
        masked: Whether the model is to say what stood there, one per token.

    Raises:
        ValueError: If the lengths differ, nothing is masked, or an input differs where nothing is.
    """
    _check_masked(tokens, inputs, masked)
    heights = {
        "true token": 3.46, "loss": 3.16, "a score for\neach token of\nthe vocabulary": 2.71,
        "one state\nper token": 1.3, "input": 0.2,
    }  # fmt: skip
    rows = list(zip(tokens, inputs, masked, strict=True))
    single = [
        (token, read, *([] if is_masked else NO_LOSS.split())) for token, read, is_masked in rows
    ]
    edges, size = fit_columns(heights, single)
    axes = canvas(edges[-1], 3.64)
    name_rows(axes, heights, size)
    _draw_model(axes, edges, masked, size)
    for ends, (token, read, is_masked) in zip(pairwise(edges), rows, strict=True):
        _draw_position(axes, ends, read, is_masked, size)
        if is_masked:
            _draw_answer(axes, ends, token, size)
    return axes.figure


def _check_masked(tokens: Sequence[str], inputs: Sequence[str], masked: Sequence[bool]) -> None:
    lengths = {"tokens": len(tokens), "inputs": len(inputs), "masked": len(masked)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{lengths} are to be of one length: each stands for the same positions.")
    if not any(masked):
        raise ValueError(
            "no position is masked, so the head has nothing to read; mask at least one."
        )
    for position, (token, read) in enumerate(zip(tokens, inputs, strict=True)):
        if token != read and not masked[position]:
            raise ValueError(
                f"position {position} reads {read!r} instead of {token!r}, but is not masked."
            )


def _draw_model(axes: Axes, edges: np.ndarray, masked: Sequence[bool], size: float) -> None:
    """Draw the encoder over all positions, and the head over those that it reads."""
    from reptune.book.plots import SKY, TRAINED

    width = np.ptp(edges) - GAP
    draw_box(axes, (edges[[0, -1]].mean(), 0.73), (width, 0.34), tint(SKY, 0.35), "encoder", 10)
    read = np.flatnonzero(masked)
    left, right = edges[read[0]], edges[read[-1] + 1]
    wide = min(max(right - left - GAP, text_width(HEAD, size) + PAD), width)
    reach = GAP / 2 + wide / 2
    middle = np.clip((left + right) / 2, edges[0] + reach, edges[-1] - reach)
    draw_box(axes, (middle, 2.09), (wide, 0.3), TRAINED, HEAD, size)


def _draw_position(axes: Axes, ends: Pair, read: str, is_masked: bool, size: float) -> None:
    """Draw a token's way through the encoder to its state, and on where it is masked."""
    from reptune.book.plots import SKY

    x, width = np.mean(ends), np.ptp(ends) - GAP
    draw_box(axes, (x, 0.2), (width, 0.28), SKY if is_masked else "white", read, size)
    for low, high in [(0.34, 0.56), (0.9, 1.1)]:
        draw_arrow(axes, (x, low), (x, high))
    _draw_cells(axes, (x, 1.1), 4, 0.1, SKY if is_masked else tint(SKY, 0.35))
    if is_masked:
        draw_arrow(axes, (x, 1.5), (x, 1.94))
    else:
        write(axes, (x, 1.71), NO_LOSS, size, color=MUTED)


def _draw_answer(axes: Axes, ends: Pair, token: str, size: float) -> None:
    """Draw the scores at a masked position, and the token that the loss compares them with."""
    from reptune.book.plots import FROZEN, TRAINED

    x = np.mean(ends)
    draw_arrow(axes, (x, 2.24), (x, 2.44))
    _draw_cells(axes, (x, 2.44), 9, 0.06, tint(TRAINED, 0.35))
    for start, end in [(3.16, 2.98), (3.14, 3.32)]:  # the two are compared
        draw_arrow(axes, (x, start), (x, end))
    draw_box(axes, (x, 3.46), (np.ptp(ends) - GAP, 0.28), FROZEN, token, size)


def _draw_cells(axes: Axes, foot: Pair, number: int, height: float, color: Any) -> None:
    """Draw a few cells, one above the other, that stand for all numbers of a vector."""
    for cell in range(number):
        _rectangle(axes, (foot[0] - 0.08, foot[1] + height * cell), (0.16, height), color)


# --- padded and packed ---------------------------------------------------------------------------


def packed(lengths: Sequence[int], block_size: int, padded: bool = True) -> Figure:
    """Draw texts as a padded batch, and below as one tape that is cut into blocks.

    In the batch a text is a row `[CLS] text [SEP]`, cut to `block_size` tokens if it is longer, and
    padded to the longest. On the tape the texts lie end to end, each with its `[SEP]`, and every
    block is `[CLS] tokens [SEP]`, as `reptune.pretraining.pack` cuts them. All is drawn to one
    scale. It teaches that packing spends no position on padding, and that a text too long for a
    block goes on in the next one (chapter 3).

    Args:
        lengths: Tokens of each text, without special ones; about six texts.
        block_size: Tokens per block, special ones included.
        padded: Whether to draw the batch too.

    Raises:
        ValueError: If a text has no token, or all together fill no block or more than 12.
    """
    from reptune.book.plots import WIDTH

    tape = _tape(lengths, block_size)
    blocks = len(tape) // (block_size - 2)
    scale = (WIDTH - 0.04 - GAP * (blocks + 1)) / (len(tape) + 2 * blocks)
    height = 1.16 + (0.41 + 0.27 * len(lengths) if padded else 0)
    axes = canvas(WIDTH, height)
    key = {"[CLS] or [SEP]": (EDGE, "-")}
    if padded:
        _draw_batch(axes, lengths, block_size, scale, height)
        key["padding"] = (PADDING, "-")
        if max(lengths) + 2 > block_size:
            key["cut off"] = ("white", ":")
    _draw_tape(axes, tape, block_size, scale)
    _draw_key(axes, key)
    return axes.figure


def _tape(lengths: Sequence[int], block_size: int) -> np.ndarray:
    """Return for each token on the tape the index of its text, -1 for `[SEP]`."""
    if block_size < 3:
        raise ValueError(f"block_size={block_size} leaves no room beside [CLS] and [SEP].")
    if min(lengths, default=0) < 1:
        raise ValueError(f"lengths={list(lengths)}: pass texts of at least one token each.")
    tape = np.concatenate([[index] * length + [-1] for index, length in enumerate(lengths)])
    blocks = len(tape) // (block_size - 2)
    if blocks > MOST_BLOCKS:
        raise ValueError(f"{blocks} blocks do not fit; pass fewer texts or a larger block.")
    if not blocks:
        raise ValueError(
            f"lengths={list(lengths)} are {len(tape)} tokens together, too few for one block of "
            f"block_size={block_size}; pass more texts or a smaller block."
        )
    return tape


def _draw_batch(
    axes: Axes, lengths: Sequence[int], block_size: int, scale: float, top: float
) -> None:
    """Draw a row per text, padded to the longest, from the top of the figure down."""
    width = min(max(lengths) + 2, block_size)
    total = len(lengths) * width
    spent = sum(width - min(length + 2, width) for length in lengths)
    cut = sum(max(length + 2 - width, 0) for length in lengths)
    lost = f"; {_count(cut, 'token')} cut off" if cut else ""
    title = f"padded: {spent:,} of {total:,} positions hold padding ({spent / total:.0%}){lost}"
    write(axes, (0.02, top - 0.12), title, 10, ha="left", weight="bold")
    for index, length in enumerate(lengths):
        low = top - 0.5 - 0.27 * index
        kept = min(length, width - 2)
        row = np.array([-1, *[index] * kept, -1])
        _draw_tokens(axes, (0.02, low), row, scale)
        end = 0.02 + scale * (kept + 2)
        if kept + 2 < width:
            _rectangle(axes, (end, low), (scale * (width - kept - 2), 0.22), PADDING, linewidth=0)
        if kept < length:
            shape = (scale * (length - kept), 0.22)
            _rectangle(axes, (end, low), shape, "white", linestyle=":")


def _draw_tape(axes: Axes, tape: np.ndarray, block_size: int, scale: float) -> None:
    """Draw the tape, cut into blocks, and as an outline what is left over."""
    content = block_size - 2
    blocks, left = divmod(len(tape), content)
    rest = f"; {_count(left, 'token')} left over" if left else ""
    title = f"packed: {_count(blocks, 'block')} of {block_size} positions, no padding{rest}"
    write(axes, (0.02, 1.0), title, 10, ha="left", weight="bold")
    x = 0.02
    for block in range(blocks):
        tokens = [-1, *tape[block * content : (block + 1) * content], -1]
        _draw_tokens(axes, (x, 0.64), np.array(tokens), scale)
        wide = scale * block_size
        name = f"block {block + 1}"
        if text_width(name, 9) > wide:
            name = str(block + 1)
        write(axes, (x + wide / 2, 0.5), name, 9, color=MUTED)
        x += wide + GAP
    if left:
        _rectangle(axes, (x, 0.64), (scale * left, 0.22), "white", linestyle="--")


def _draw_tokens(axes: Axes, corner: Pair, tokens: np.ndarray, scale: float) -> None:
    """Draw tokens side by side: those of a text in its color with its number, special ones dark."""
    from reptune.book.plots import BLUE, GREEN, ORANGE, PINK, SKY, YELLOW

    colors = [tint(color, 0.55) for color in (SKY, ORANGE, GREEN, YELLOW, PINK, BLUE)]
    starts = [0, *(np.flatnonzero(np.diff(tokens)) + 1), len(tokens)]
    for start, end in pairwise(starts):
        x, width = corner[0] + scale * start, scale * (end - start)
        if tokens[start] < 0:
            _rectangle(axes, (x, corner[1]), (width, 0.22), EDGE, linewidth=0.4)
            continue
        color = colors[tokens[start] % len(colors)]
        _rectangle(axes, (x, corner[1]), (width, 0.22), color, linewidth=0)
        number = str(tokens[start] + 1)
        if text_width(number, 9) + 0.03 < width:
            write(axes, (x + width / 2, corner[1] + 0.11), number, 9)


def _draw_key(axes: Axes, key: Mapping[str, tuple[str, str]]) -> None:
    """Draw below all what colors and lines say."""
    x = 0.02
    for name, (color, line) in key.items():
        wide = 0.06 if color == EDGE else 0.22
        style = {"linestyle": line, "linewidth": 0.8 if line == ":" else 0}
        _rectangle(axes, (x, 0.06), (wide, 0.18), color, **style)
        write(axes, (x + wide + 0.06, 0.15), name, 9, ha="left")
        x += wide + text_width(name, 9) + 0.3


# --- low rank ------------------------------------------------------------------------------------


def low_rank(width: int, rank: int) -> Figure:
    """Draw `W x + B A x`: a frozen weight matrix, and two thin ones beside it that train (LoRA).

    Lengths are to scale, but thin sides are drawn at least 0.1 inches thick. It teaches how few
    numbers train if a change to a square matrix has a low rank (chapter 3).

    Args:
        width: Rows and columns of W.
        rank: Columns of B, of shape `(width, rank)`, and rows of A, of shape `(rank, width)`.

    Raises:
        ValueError: If the rank is not between 1 and `width - 1`.
    """
    from reptune.book.plots import FROZEN, SKY, TRAINED, WIDTH

    if not 1 <= rank < width:
        raise ValueError(f"rank={rank} is to be at least 1 and less than width={width}.")
    full = 1.5
    thin = max(full * rank / width, 0.1)
    square, added = (f"{width} × {width}\n= {width**2:,}", f"= {width * rank:,}")
    shapes = [
        ("W", (full, full), FROZEN, f"{square}\nfrozen"),
        ("x", (0.1, full), tint(SKY, 0.6), f"{width}\nnumbers"),
        ("+", (0, 0), None, ""),
        ("B", (thin, full), TRAINED, f"{width} × {rank}\n{added}\ntrained"),
        ("A", (full, thin), TRAINED, f"{rank} × {width}\n{added}\ntrained"),
        ("x", (0.1, full), tint(SKY, 0.6), f"{width}\nnumbers"),
    ]
    room = [max(shape[0], _block_width(text, 10)) for _, shape, _, text in shapes]
    gap = max((WIDTH - sum(room)) / len(shapes), 0.12)
    axes = canvas(sum(room) + gap * len(shapes), 2.86)
    edges = np.concatenate([[0], np.cumsum(np.array(room) + gap)])
    for middle, (name, shape, color, text) in zip(
        (edges[:-1] + edges[1:]) / 2, shapes, strict=True
    ):
        _draw_matrix(axes, middle, name, shape, color, text)
    total = 2 * width * rank
    share = f"trained: {total:,} numbers, {total / width**2:.1%} of the {width**2:,} in W"
    write(axes, (edges[-1] / 2, 0.14), share, 10)
    return axes.figure


def _block_width(text: str, size: float) -> float:
    """Return the width of a text of several lines, in inches."""
    return max(text_width(line, size) for line in text.split("\n"))


def _draw_matrix(axes: Axes, middle: float, name: str, shape: Pair, color: Any, text: str) -> None:
    """Draw a matrix or vector, its name above and its size below."""
    write(axes, (middle, 2.72), name, 14, weight="bold")
    if color is None:
        return
    _rectangle(axes, (middle - shape[0] / 2, 1.74 - shape[1] / 2), shape, color)
    write(axes, (middle, 0.92), text, 10, va="top")


# --- a family of models --------------------------------------------------------------------------


def family(starts: Starts, marked: Sequence[str] = ()) -> Figure:
    """Draw a tree of models from left to right: which one starts from which, and what it reads.

    It teaches which models may be compared: those that differ in what they read and not in how
    many steps they read it for (chapter 3).

    Args:
        starts: `{name: (parent, what it reads, steps)}`; the parent is `None` where a model starts
            from nothing, then the rest is not shown. Steps of `None` are not shown either.
        marked: Names of the models to draw in the color of what is trained.

    Raises:
        ValueError: If there is no model, a parent or a marked name is unknown, or models start
            from one another in a circle.
    """
    depths = _depths(starts, marked)
    rows = _tree_rows(starts)
    lines = {name: _wrapped(name) for name in starts}
    boxes, gaps, size = _tree_columns(starts, lines, depths)
    tall = max(LINE_HEIGHT * (text.count("\n") + 1) for text in lines.values()) + 0.16
    step = max(tall + 0.14, 0.56)
    height = step * max(rows.values()) + tall + 0.04
    axes = canvas(boxes.sum() + gaps.sum() + 0.04, height)
    lefts = 0.02 + np.concatenate([[0], np.cumsum(boxes[:-1] + gaps)])
    places = {
        name: (lefts[depths[name]], height - tall / 2 - 0.02 - step * rows[name]) for name in starts
    }
    for name, (parent, what, steps) in starts.items():
        _draw_member(
            axes, places[name], (boxes[depths[name]], tall), lines[name], name in marked, size
        )
        if parent is not None:
            x, y = places[parent]
            start = (x + boxes[depths[parent]], y)
            _draw_start(axes, start, places[name], what, _count(steps, "step"), size)
    return axes.figure


def _depths(starts: Starts, marked: Sequence[str]) -> dict[str, int]:
    """Return for each model how many others lie before it."""
    if not starts:
        raise ValueError("starts is empty; pass at least one model.")
    for name in marked:
        if name not in starts:
            raise ValueError(f"marked holds {name!r}, which is not among {list(starts)}.")
    depths = {}
    for name in starts:
        before, at = [name], name
        while (parent := starts[at][0]) is not None:
            if parent not in starts:
                raise ValueError(f"{at!r} starts from {parent!r}, which is not in starts; add it.")
            if parent in before:
                raise ValueError(f"{name!r} starts from itself, by way of {before[1:]}.")
            before.append(parent)
            at = parent
        depths[name] = len(before) - 1
    return depths


def _tree_rows(starts: Starts) -> dict[str, float]:
    """Return for each model its row: models without successors below one another, others midway."""
    rows: dict[str, float] = {}
    leaves = 0

    def place(name: str) -> None:
        nonlocal leaves
        children = [child for child, (parent, *_) in starts.items() if parent == name]
        for child in children:
            place(child)
        if children:
            rows[name] = (rows[children[0]] + rows[children[-1]]) / 2
        else:
            rows[name] = leaves
            leaves += 1

    for name, (parent, *_) in starts.items():
        if parent is None:
            place(name)
    return rows


def _wrapped(name: str, length: int = 13) -> str:
    """Break a name into lines, after a plus rather than elsewhere."""
    lines: list[str] = []
    for part in name.replace(" + ", " +\n").split("\n"):
        if lines and len(lines[-1]) + 1 + len(part) <= length:
            lines[-1] += f" {part}"
        else:
            lines += textwrap.wrap(part, length, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def _tree_columns(
    starts: Starts, lines: Mapping[str, str], depths: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the widths of the boxes by depth, those of what joins them, and the font size."""
    from reptune.book.plots import WIDTH

    deepest = max(depths.values())
    for size in SIZES:
        boxes, gaps = np.zeros(deepest + 1), np.zeros(deepest)
        for name, depth in depths.items():
            boxes[depth] = max(boxes[depth], _block_width(lines[name], size) + PAD + GAP)
            if depth:
                _, what, steps = starts[name]
                wide = max(text_width(what, size), text_width(_count(steps, "step"), size))
                gaps[depth - 1] = max(gaps[depth - 1], wide + 0.3)  # a trunk, and an arrow's head
        spare = WIDTH - 0.04 - boxes.sum() - gaps.sum()
        if spare >= 0:
            break
    if deepest:
        gaps += max(spare, 0) / deepest
    return boxes, gaps, float(size)


def _draw_member(
    axes: Axes, place: Pair, shape: Pair, text: str, is_marked: bool, size: float
) -> None:
    from reptune.book.plots import FROZEN, TRAINED

    middle = (place[0] + shape[0] / 2, place[1])
    draw_box(axes, middle, shape, TRAINED if is_marked else FROZEN, text, size)


def _draw_start(axes: Axes, start: Pair, end: Pair, what: str, steps: str, size: float) -> None:
    """Draw a way from a parent to a child, with what is read above it and the steps below."""
    trunk = start[0] + 0.1
    style = {"color": EDGE, "linewidth": 1, "snap": False}  # unsnapped, as the arrow is
    axes.plot([start[0], trunk, trunk], [start[1], start[1], end[1]], **style)
    draw_arrow(axes, (trunk - 0.014, end[1]), end)
    middle = (trunk + end[0] - 0.06) / 2
    write(axes, (middle, end[1] + 0.03), what, size, va="bottom")
    if steps:
        write(axes, (middle, end[1] - 0.03), steps, size, va="top")
