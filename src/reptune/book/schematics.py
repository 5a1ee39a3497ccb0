"""Draw the book's schematics: boxes, arrows and spans, in the look of `reptune.book.plots`.

Those of chapter 4 are laid out in inches, from texts that are measured; see `reptune.book.drawing`.

Matplotlib is imported where something is drawn: it is slow, and only the chapters draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from reptune.book.drawing import (
    EDGE,
    GAP,
    MUTED,
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
from reptune.tags import Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = "#BDBDBD"
IGNORED = "-100"  # the label that PyTorch's cross-entropy leaves out
RADIUS = 0.25  # inches, of a lattice's nodes

# --- boxes and arrows: chapter 7 -----------------------------------------------------------------


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
    import matplotlib.pyplot as plt

    from reptune.book.plots import FROZEN, TRAINED, WIDTH

    columns = 1 + max(column for column, _ in boxes.values())
    rows = 1 + max(row for _, row in boxes.values())
    figure, axes = plt.subplots(figsize=(WIDTH, 0.75 * rows))
    width, height = 0.86, 0.74  # of a cell
    for text, (column, row) in boxes.items():
        color = TRAINED if text in marked else FROZEN
        draw_box(axes, (column, -row), (width, height), color, text, 7, mutation_aspect=1.2)
    for start, end in arrows:
        (x, y), (to_x, to_y) = boxes[start], boxes[end]
        draw_arrow(axes, (x + width / 2, -y), (to_x - width / 2, -to_y), head=10)
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


# --- words, tokens and tags: chapter 4 -----------------------------------------------------------


def label_alignment(
    words: Sequence[str],
    tokens: Sequence[str],
    word_ids: Sequence[int | None],
    tags: Sequence[str],
    labels: Sequence[str | None],
) -> Figure:
    """Draw words with their tags, below each its tokens, and below each token its label.

    Args:
        words: A sentence.
        tokens: What the tokenizer makes of it, special tokens included; 14 of them fit well.
        word_ids: For each token the index of its word, `None` for a special token.
        tags: One per word.
        labels: For each token the tag that it is to learn, `None` where -100 stands.

    Raises:
        ValueError: If a word has no token, or the lengths do not fit.
    """
    columns_of = _columns_of(len(words), word_ids)
    shown = [IGNORED if label is None else label for label in labels]
    single = [pair for *pair, _ in zip(tokens, shown, word_ids, strict=True)]
    over = list(zip(columns_of, words, tags, strict=True))
    heights = {"tags": 1.75, "words": 1.48, "tokens": 0.88, "labels": 0.32}
    edges, size = fit_columns(heights, single, over)
    axes = canvas(edges[-1], 1.92)
    name_rows(axes, heights, size)
    for columns, word, tag in over:
        _draw_word(axes, edges[columns.start : columns.stop + 1], word, tag, size)
    for ends, token, label in zip(pairwise(edges), tokens, labels, strict=True):
        _draw_label(axes, ends, token, label, size)
    return axes.figure


def _columns_of(num_words: int, word_ids: Sequence[int | None]) -> list[range]:
    """For each word the columns of its tokens, which stand side by side."""
    found = [[c for c, word in enumerate(word_ids) if word == w] for w in range(num_words)]
    if [] in found:
        raise ValueError(f"word {found.index([])} has no token to stand above; leave it out.")
    return [range(columns[0], columns[-1] + 1) for columns in found]


def _draw_word(axes: Axes, edges: np.ndarray, word: str, tag: str, size: float) -> None:
    """A word above its tokens, whose edges these are, with its tag on top."""
    from reptune.book.plots import FROZEN

    middle, width = (edges[0] + edges[-1]) / 2, edges[-1] - edges[0]
    write(axes, (middle, 1.75), tag, size)
    draw_box(axes, (middle, 1.48), (width - GAP, 0.28), FROZEN, word, size)
    for ends in pairwise(edges):
        axes.plot([np.mean(ends)] * 2, [1.34, 1.02], color=EDGE, linewidth=0.8)


def _draw_label(axes: Axes, ends: Pair, token: str, label: str | None, size: float) -> None:
    """A token and below it the label that it is to learn, or that it is ignored."""
    from reptune.book.plots import TRAINED

    x, width = np.mean(ends), np.ptp(ends) - GAP
    draw_box(axes, (x, 0.88), (width, 0.28), "white", token, size)
    if label is None:
        write(axes, (x, 0.32), IGNORED, size, color=MUTED)
        return
    draw_arrow(axes, (x, 0.74), (x, 0.46))
    draw_box(axes, (x, 0.32), (width, 0.28), TRAINED, label, size)


def tagger(
    tokens: Sequence[str], tags: Sequence[str | None], hidden: int = 384, num_tags: int = 9
) -> Figure:
    """Draw a tagger from the bottom to the top: tokens, encoder, vectors, linear layer, labels.

    Args:
        tokens: What the encoder reads.
        tags: For each token the tag that it is to learn, `None` where the loss ignores it.
        hidden: Numbers in a vector.
        num_tags: Logits that the linear layer makes of them.
    """
    from reptune.book.plots import SKY

    layer, vectors = f"one linear\nlayer (new),\n{hidden} → {num_tags}", f"{hidden}\nnumbers"
    heights = {"labels": 2.52, layer: 1.97, vectors: 1.3, "tokens": 0.2}
    single = [(token, tag or IGNORED) for token, tag in zip(tokens, tags, strict=True)]
    edges, size = fit_columns(heights, single)
    axes = canvas(edges[-1], 2.7)
    name_rows(axes, heights, size)
    middle, width = edges[[0, -1]].mean(), np.ptp(edges) - GAP
    draw_box(axes, (middle, 0.73), (width, 0.34), tint(SKY, 0.6), "encoder (pretrained)", 10)
    read = [np.mean(ends) for ends in pairwise(edges)]
    # One layer, used again and again: so what stands for it is joined.
    axes.plot(read, [1.97] * len(read), ":", color=EDGE, linewidth=1.2, zorder=0)
    for ends, token, tag in zip(pairwise(edges), tokens, tags, strict=True):
        _draw_token(axes, ends, token, tag, size)
    return axes.figure


def _draw_token(axes: Axes, ends: Pair, token: str, tag: str | None, size: float) -> None:
    """A token's way up: to its vector, its logits, and the label that they are compared with."""
    from matplotlib.patches import Polygon, Rectangle

    from reptune.book.plots import FROZEN, SKY, TRAINED

    x, width = np.mean(ends), np.ptp(ends) - GAP
    draw_box(axes, (x, 0.2), (width, 0.28), "white", token, size)
    line = {"edgecolor": EDGE, "linewidth": 0.8}
    for number in range(4):  # a few cells stand for all numbers of the vector
        corner = (x - 0.08, 1.1 + 0.1 * number)
        axes.add_patch(Rectangle(corner, 0.16, 0.1, facecolor=tint(SKY, 0.6), **line))
    for low, high in [(0.34, 0.56), (0.9, 1.1), (1.5, 1.82), (2.12, 2.38)][: 4 if tag else 3]:
        draw_arrow(axes, (x, low), (x, high))
    corners = [(x - 0.13, 1.82), (x + 0.13, 1.82), (x + 0.07, 2.12), (x - 0.07, 2.12)]
    axes.add_patch(Polygon(corners, facecolor=TRAINED, **line))
    if tag:
        draw_box(axes, (x, 2.52), (width, 0.28), FROZEN, tag, size)
    else:
        write(axes, (x, 2.52), IGNORED, size, color=MUTED)


def spans_compared(
    words: Sequence[str],
    rows: Mapping[str, Sequence[Span]],
    notes: Mapping[Span, str] | None = None,
) -> Figure:
    """Draw a sentence's entities below its words: a row for the true ones, and one for each guess.

    A guessed entity is right if type, start and end are those of a true one. It gets a check mark
    and a solid edge then, else a cross and a dashed one.

    Args:
        words: The sentence.
        rows: `{name: spans}`, the true ones first.
        notes: `{span: text}`, written below the bars of that span.
    """
    notes = notes or {}
    bars = _judged(rows)
    over = [(range(span.start, span.end), text, notes.get(span, "")) for _, span, text in bars]
    edges, size = fit_columns(rows, [(word,) for word in words], over)
    steps = [0.62 if any(span in notes for span in spans) else 0.4 for spans in rows.values()]
    top = sum(steps) + 0.16
    heights = dict(zip(rows, top - 0.42 - np.cumsum([0, *steps[:-1]]), strict=True))
    axes = canvas(edges[-1], top + 0.16)
    name_rows(axes, heights, size)
    for ends, word in zip(pairwise(edges), words, strict=True):
        draw_box(axes, (np.mean(ends), top), (np.ptp(ends) - GAP, 0.28), "white", word, size)
    for name, span, text in bars:
        ends, y = edges[[span.start, span.end]], heights[name]
        _draw_bar(axes, ends, y, text, size)
        if span in notes:
            write(axes, (np.mean(ends), y - 0.24), notes[span], size, color=MUTED)
    return axes.figure


def _judged(rows: Mapping[str, Sequence[Span]]) -> list[tuple[str, Span, str]]:
    """Each row's spans, with their types and, but for the first row, whether they are right."""
    (first, true), *others = rows.items()
    bars = [(first, span, span.type) for span in true]
    for name, spans in others:
        bars += [(name, span, f"{'✓' if span in true else '✗'} {span.type}") for span in spans]
    return bars


def _draw_bar(axes: Axes, ends: Pair, y: float, text: str, size: float) -> None:
    """An entity; a mark before its type says whether it is right, and so says its edge."""
    from reptune.book.plots import FROZEN, GREEN, VERMILION

    color, style = FROZEN, {}
    if text.startswith("✓"):
        color, style = tint(GREEN, 0.3), {"edgecolor": GREEN, "linewidth": 1.4}
    elif text.startswith("✗"):
        color, style = "white", {"edgecolor": VERMILION, "linewidth": 1.4, "linestyle": "--"}
    draw_box(axes, (np.mean(ends), y), (np.ptp(ends) - GAP, 0.26), color, text, size, **style)


def lattice(
    words: Sequence[str],
    tags: Sequence[str],
    scores: np.ndarray,
    allowed: tuple[np.ndarray, np.ndarray],
    path: Sequence[str],
    greedy: Sequence[str] | None = None,
) -> Figure:
    """Draw what Viterbi decoding chooses from: a column per word, a row per tag, allowed moves.

    Args:
        words: About four.
        tags: In the order of the scores' columns, drawn from top to bottom.
        scores: Log-probabilities, shape `(words, num_tags)`; the likelier, the darker.
        allowed: Which tags may begin, shape `(num_tags,)`, and which may follow which, shape
            `(num_tags, num_tags)`, from row to column: `reptune.tags.allowed_moves(tags)`.
        path: The likeliest allowed tags, one per word: drawn thick.
        greedy: The likeliest tag of each word: dashed, its forbidden moves crossed out.
    """
    from reptune.book.plots import BLUE, VERMILION

    scores = np.asarray(scores, dtype=float)
    begin, nodes = _places(len(words), tags)
    axes = canvas(nodes[-1, 0, 0] + RADIUS + 0.1, nodes[0, 0, 1] + 0.6)
    _draw_nodes(axes, nodes, words, tags, scores)
    _draw_moves(axes, begin, nodes, allowed)
    thick = {"color": BLUE, "linewidth": 5, "zorder": 2}
    dashed = {"color": VERMILION, "linewidth": 2, "zorder": 3, "linestyle": "--"}
    routes = [("best allowed path", path, thick), ("best tag of each word", greedy, dashed)]
    for name, route, style in routes:
        if route is not None:
            rows = [list(tags).index(tag) for tag in route]
            total = _short(sum(row[tag] for row, tag in zip(scores, rows, strict=True)))
            style["label"] = f"{name}, sum {total}"
            _draw_route(axes, begin, nodes, rows, allowed, style)
    axes.legend(loc="lower center", ncols=2, fontsize=8.5, borderaxespad=0.1)
    return axes.figure


def _places(num_words: int, tags: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Where a lattice begins, shape `(2,)`, and its nodes, shape `(words, num_tags, 2)`."""
    from reptune.book.plots import WIDTH

    left = max(text_width(tag, 10) for tag in tags) + 0.4
    x = np.linspace(left + 0.8, WIDTH - RADIUS - 0.1, num_words)
    y = 0.95 + 0.66 * np.arange(len(tags))[::-1]
    nodes = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    return np.array([left, y.mean()]), nodes


def _draw_nodes(
    axes: Axes, nodes: np.ndarray, words: Sequence[str], tags: Sequence[str], scores: np.ndarray
) -> None:
    from matplotlib.patches import Circle

    from reptune.book.plots import SKY

    for word, (x, y) in zip(words, nodes[:, 0], strict=True):
        write(axes, (x, y + 0.45), word, 10, weight="bold")
    for tag, (_, y) in zip(tags, nodes[0], strict=True):
        write(axes, (0, y), tag, 10, ha="left")
    style = {"edgecolor": EDGE, "linewidth": 0.8, "zorder": 5}  # above all lines
    for place, score in zip(nodes.reshape(-1, 2), scores.flatten(), strict=True):
        color = tint(SKY, 0.9 * np.exp(score))
        axes.add_patch(Circle(place, RADIUS, facecolor=color, **style))
        write(axes, place, _short(score), 9, zorder=6)


def _draw_moves(
    axes: Axes, begin: np.ndarray, nodes: np.ndarray, allowed: tuple[np.ndarray, np.ndarray]
) -> None:
    """A line for each allowed move, and the dot in which all of them begin."""
    from matplotlib.collections import LineCollection

    start, moves = np.asarray(allowed[0]), np.asarray(allowed[1])
    lines = [(begin, nodes[0, to]) for to in np.flatnonzero(start)]
    for before, after in pairwise(nodes):
        lines += [(before[row], after[column]) for row, column in np.argwhere(moves)]
    style = {"colors": LINE, "linewidths": 0.9, "zorder": 1}
    axes.add_collection(LineCollection(lines, label="allowed step", **style))
    axes.plot(*begin, "o", color=EDGE, markersize=7, zorder=4)
    write(axes, (begin[0], begin[1] - 0.18), "start", 9, ha="right", color=MUTED)


def _draw_route(
    axes: Axes, begin: np.ndarray, nodes: np.ndarray, rows: Sequence[int],
    allowed: tuple[np.ndarray, np.ndarray], style: Mapping[str, Any],
) -> None:  # fmt: skip
    """A line through one node of each column, crossed out where a move is forbidden."""
    places = np.stack([begin, *nodes[range(len(rows)), rows]])
    axes.plot(*places.T, **style)
    may = [allowed[0][rows[0]], *(allowed[1][row][column] for row, column in pairwise(rows))]
    crosses = ((places[:-1] + places[1:]) / 2)[~np.array(may, dtype=bool)]
    if len(crosses):
        cross = {"markersize": 11, "markeredgecolor": "white", "zorder": 4}
        axes.plot(*crosses.T, "X", color=style["color"], label="forbidden step", **cross)


def _short(score: float) -> str:
    """A log-probability in few characters, with a real minus."""
    if score < -99:
        return "−∞"
    return f"{score:.{2 if score > -9.995 else 1}f}".replace("-", "−")
