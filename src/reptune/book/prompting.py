"""Draw the schematics of chapter 5: a prompt's parts, thresholds, a mask of packed rows, sizes.

Like those of `reptune.book.schematics`, they are laid out in inches, from texts that are measured;
see `reptune.book.drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reptune.book.drawing import (
    EDGE,
    MUTED,
    Pair,
    canvas,
    draw_box,
    text_width,
    tint,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = 10  # points
LINE, SPACE, INSIDE, BETWEEN = 0.2, 0.06, 0.1, 0.12  # inches: a line, a space, padding, boxes apart
SAME, NEW = "the same for\nevery input", "new"
OPEN = "?"
CELL = 0.36  # inches, a side of a mask's cell
NEAR = 0.3  # decades: the name of a point that another one follows so closely stands to its left
LOW = -0.5  # of a threshold's line, below the items

Lines = list[list[tuple[str, str]]]  # of (text, kind)


# --- what a prompt consists of -------------------------------------------------------------------


def prompt(
    description: str, examples: Sequence[tuple[str, str]], text: str, template: str
) -> Figure:
    """Draw a few-shot prompt: its description, its examples and the new item, from top to bottom.

    The template's own words are gray, texts are black, and answers have a box of their own; that of
    the new item is open, for the model to fill. Brackets say what all inputs share. It teaches what
    a prompt consists of, and that all but its end is the same for every input (chapter 5).

    Args:
        description: What the task is; empty for none.
        examples: Texts with their answers.
        text: The new item. Texts of items that are too wide for their boxes are cut.
        template: How an item looks, with `{text}` in it, as `reptune.incontext.build_prompt` has
            it.
    """
    from reptune.book.plots import FROZEN, TRAINED, WIDTH

    left = text_width("description", SIZE) + 0.12
    right = WIDTH - max(text_width(line, SIZE) for line in SAME.split("\n")) - 0.22
    wrapped = _wrapped(description, right - left - 2 * INSIDE)
    parts = [("description", [[(line, "text")] for line in wrapped], "white")] if wrapped else []
    for number, (known, answer) in enumerate(examples, 1):
        parts.append((f"example {number}", _lines(template, known, answer), FROZEN))
    parts.append(("new item", _lines(template, text, OPEN), tint(TRAINED, 0.35)))
    heights = [LINE * len(lines) + 2 * INSIDE for _, lines, _ in parts]
    total = sum(heights) + BETWEEN * (len(parts) - 1)
    axes = canvas(WIDTH, total + 0.08)
    top, tops = total + 0.04, []
    for (name, lines, color), height in zip(parts, heights, strict=True):
        tops.append(top)
        write(axes, (0, top - height / 2), name, SIZE, ha="left", color=MUTED)
        _draw_part(axes, (left, top), (right - left, height), lines, color)
        top -= height + BETWEEN
    low = top + BETWEEN
    if len(parts) > 1:
        _draw_bracket(axes, right + 0.06, (tops[-1] + BETWEEN, tops[0]), SAME)
    _draw_bracket(axes, right + 0.06, (low, tops[-1]), NEW)
    return axes.figure


def _lines(template: str, text: str, answer: str) -> Lines:
    """Return a filled template's lines, each as texts with what they are."""
    before, after = template.split("{text}")
    found: Lines = [[]]
    for part, kind in [(before, "template"), (text, "text"), (after, "template")]:
        for number, line in enumerate(part.split("\n")):
            if number:
                found.append([])
            if line.strip():
                found[-1].append((line.strip(), kind))
    found[-1].append((answer, "open" if answer == OPEN else "answer"))
    return found


def _wrapped(text: str, width: float) -> list[str]:
    """Return a text's lines, each as many words as are no wider than that; none of an empty one."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", SIZE) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _draw_part(axes: Axes, corner: Pair, shape: Pair, lines: Lines, color: Any) -> None:
    """Draw a box from its upper left corner, and its lines in it."""
    left, top = corner
    width, height = shape
    _draw_empty(axes, (left + width / 2, top - height / 2), shape, color)
    for row, line in enumerate(lines):
        x, y = left + INSIDE, top - INSIDE - LINE * (row + 0.5)
        for text, kind in line:
            x += _draw_text(axes, (x, y), _cut(text, left + width - INSIDE - x), kind) + SPACE


def _draw_empty(axes: Axes, middle: Pair, shape: Pair, color: Any) -> None:
    """Draw a box without a text."""
    draw_box(axes, middle, shape, color, "", SIZE)
    axes.texts[-1].remove()


def _draw_text(axes: Axes, place: Pair, text: str, kind: str) -> float:
    """Draw a text of a line, in a box of its own if it is an answer; return how wide it is."""
    (x, y), wide = place, text_width(text, SIZE)
    if kind not in ("answer", "open"):
        write(axes, place, text, SIZE, ha="left", color=EDGE if kind == "template" else "black")
        return wide
    wide += 0.1
    line = "--" if kind == "open" else "-"
    shape = (wide, LINE - 0.02)
    draw_box(axes, (x + wide / 2, y), shape, "white", text, SIZE, linestyle=line)
    return wide


def _cut(text: str, width: float) -> str:
    """Return a text, or as much of it as is no wider than that, with dots."""
    if text_width(text, SIZE) <= width:
        return text
    while text and text_width(f"{text}…", SIZE) > width:
        text = text[:-1].rstrip()
    return f"{text}…"


def _draw_bracket(axes: Axes, x: float, ends: Pair, text: str) -> None:
    low, high = ends
    axes.plot([x, x + 0.07, x + 0.07, x], [low, low, high, high], color=EDGE, linewidth=0.9)
    write(axes, (x + 0.13, (low + high) / 2), text, SIZE, ha="left", color=MUTED)


# --- scores and thresholds -----------------------------------------------------------------------


def ranked(
    scores: Sequence[float], labels: Sequence[int], thresholds: Mapping[str, float]
) -> Figure:
    """Draw items by their scores, a row per class, and thresholds with how many each gets right.

    An item above a threshold is answered 1. It teaches that a threshold can be wrong where the
    order is right (chapter 5).

    Args:
        scores: One per item.
        labels: 0 or 1, one per item.
        thresholds: `{name: threshold}`, about two.

    Raises:
        ValueError: If there are not as many labels as scores, or a label is neither 0 nor 1.
    """
    from reptune.book.plots import BLUE, ORANGE, WIDTH

    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels)
    if scores.shape != labels.shape or scores.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise ValueError("pass as many scores as labels, in lists, and labels of 0 and 1.")
    high = 1.5 + 0.55 * len(thresholds)
    axes = canvas(WIDTH, 0.72 * high + 0.2)
    reach = np.ptp([*scores, *thresholds.values()])
    left = scores.min() - 0.32 * reach
    axes.set(xlim=(left, scores.max() + 0.12 * reach), ylim=(LOW - 0.25, high))
    kinds = (("truly negative", 0, ORANGE, "s"), ("truly positive", 1, BLUE, "o"))
    for name, label, color, marker in kinds:
        chosen = scores[labels == label]
        axes.plot(chosen, np.full(len(chosen), label), marker, color=color, markersize=10)
        write(axes, (left, label), name, SIZE, ha="left", color=MUTED)
    # From left to right, each line taller than the ones before: none crosses another's text.
    for row, (name, threshold) in enumerate(sorted(thresholds.items(), key=lambda pair: pair[1])):
        y = 1.5 + 0.55 * row
        style = {"linestyle": "--"} if row else {}
        axes.plot([threshold] * 2, [LOW, y + 0.25], color="black", linewidth=1.4, **style)
        right = int(((scores > threshold) == labels).sum())
        text = f"{name}: {right} of {len(scores)} right"
        write(axes, (threshold - 0.02 * reach, y + 0.12), text, SIZE, ha="right")
    write(axes, (scores.max() + 0.1 * reach, LOW - 0.1), "score →", SIZE, ha="right", color=MUTED)
    return axes.figure


# --- the mask of packed rows ---------------------------------------------------------------------


def packed_mask(
    seen: np.ndarray, columns: Sequence[str], text_of: Sequence[int], positions: Sequence[int]
) -> Figure:
    """Draw which tokens each token of a packed row may see.

    A row per token of the packed row, a column per token that has keys and values: those of the
    shared part first, then the row's own. It teaches that inputs in one row cannot see one another,
    and that each counts its positions as if it stood alone (chapter 5).

    Args:
        seen: Booleans of shape `(tokens of the row, columns)`.
        columns: The tokens; the row's own are the last ones.
        text_of: Which input each token of the row belongs to.
        positions: Each token's position, one per token of the row.

    Raises:
        ValueError: If the lengths do not fit together.
    """
    from reptune.book.plots import FROZEN, ORANGE, PALETTE, SKY

    seen = np.asarray(seen, dtype=bool)
    if seen.shape != (len(text_of), len(columns)) or len(positions) != len(text_of):
        raise ValueError(
            f"seen has shape {seen.shape}; pass {len(columns)} columns, and as many rows as "
            f"text_of and positions have entries, {len(text_of)} and {len(positions)}."
        )
    shared = len(columns) - len(seen)
    colors = [tint(color, 0.65) for color in (SKY, ORANGE, *PALETTE[2:])]
    own = columns[shared:]
    heads = ["position", "token"]
    places = np.cumsum([0, text_width(heads[0], SIZE) + 0.12])
    left = places[1] + max(text_width(text, SIZE) for text in (heads[1], *own)) + 0.1
    over = max(text_width(text, SIZE) for text in columns) + 0.12
    height = CELL * len(seen)
    axes = canvas(left + CELL * len(columns) + 0.04, height + over + 0.32)
    for x, head in zip(places, heads, strict=True):
        write(axes, (x, height + 0.14), head, SIZE, ha="left", color=MUTED)
    _name_columns(axes, left, height, columns, shared)
    for row, visible in enumerate(seen):
        y = height - CELL * (row + 0.5) + 0.02
        write(axes, (places[0], y), str(positions[row]), SIZE, ha="left")
        write(axes, (places[1], y), own[row], SIZE, ha="left")
        for column, is_seen in enumerate(visible):
            color = FROZEN if column < shared else colors[text_of[column - shared]]
            place = (left + CELL * (column + 0.5), y)
            _draw_empty(axes, place, (CELL - 0.04,) * 2, color if is_seen else "white")
    return axes.figure


def _name_columns(
    axes: Axes, left: float, height: float, columns: Sequence[str], shared: int
) -> None:
    """Write the tokens above their columns, and above those what the first ones are."""
    for column, text in enumerate(columns):
        x = left + CELL * (column + 0.5)
        write(axes, (x, height + 0.08), text, SIZE, rotation=90, va="bottom")
    if shared:
        x = left + CELL * shared
        axes.plot([x, x], [0, height + 0.06], color=EDGE, linewidth=1.4)
        top = axes.get_ylim()[1] - 0.12
        write(axes, (left + 0.02, top), "shared part", SIZE, ha="left", color=MUTED)
        write(axes, (x + 0.04, top), "inputs of the row", SIZE, ha="left", color=MUTED)


# --- sizes of models -----------------------------------------------------------------------------


def sizes(
    published: Mapping[str, tuple[float, float]],
    measured: Mapping[str, Mapping[float, Sequence[float]]],
    marked: Sequence[str] = (),
) -> Figure:
    """Draw published scores by model size, and below, on the same axis, what was measured here.

    It shows how small the measured models are beside the published ones; the scores of the two
    panels are of different tasks (chapter 5).

    Args:
        published: `{name: (parameters, mean F1 on RAFT)}`.
        measured: `{task: {parameters: accuracies, one per draw}}`: the mean, and a dot per draw.
        marked: Names of published systems whose points are orange.
    """
    import matplotlib.pyplot as plt

    from reptune.book.plots import MARKERS, PALETTE, WIDTH

    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(WIDTH, 5.2), sharex=True, height_ratios=(1.3, 1), layout="constrained"
    )
    _draw_named(upper, published, marked)
    for index, (task, by_size) in enumerate(measured.items()):
        style = {"color": PALETTE[index], "marker": MARKERS[index]}
        counts = sorted(by_size)
        lower.plot(counts, [np.mean(by_size[count]) for count in counts], label=task, **style)
        for count in counts:
            across = [count] * len(by_size[count])
            lower.scatter(
                across, by_size[count], s=9, alpha=0.45, linewidths=0, color=style["color"]
            )
    upper.set(ylabel="mean F1 on RAFT")
    upper.set_title("published", fontsize=10, loc="left")
    lower.set(xlabel="parameters", ylabel="accuracy")
    lower.set_title("measured here, other tasks", fontsize=10, loc="left")
    lower.legend(loc="center right", fontsize=9)
    return figure


def _draw_named(
    axes: Axes, points: Mapping[str, tuple[float, float]], marked: Sequence[str]
) -> None:
    """Draw points with their names: to the right, or to the left where another point is near."""
    from reptune.book.plots import BLUE, ORANGE

    ups = [up for _, up in points.values()]
    for name, (across, up) in points.items():
        color = ORANGE if name in marked else BLUE
        axes.scatter([across], [up], s=36, color=color, linewidths=0)
        near = any(
            0 < np.log10(other / across) < NEAR and abs(higher - up) < 0.1 * np.ptp(ups)
            for other, higher in points.values()
        )
        side = {"xytext": (-6, 4), "ha": "right"} if near else {"xytext": (6, 4)}
        axes.annotate(name, (across, up), textcoords="offset points", fontsize=9, **side)
    axes.set_xscale("log")
    axes.margins(x=0.32, y=0.15)
