"""What is drawn in a schematic: its texts, patches and boxes."""

from itertools import combinations, pairwise

from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def patches(figure, kind):
    return [patch for patch in figure.axes[0].patches if type(patch) is kind]


def boxes_and_texts(figure, kind=FancyBboxPatch):
    """Each box, with the text that was written right after it was drawn."""
    pairs = pairwise(figure.axes[0].get_children())
    return [(box, text) for box, text in pairs if isinstance(box, kind)]


def boxes(figure):
    """`{text: [box, …]}`."""
    found = {}
    for box, text in boxes_and_texts(figure):
        found.setdefault(text.get_text(), []).append(box)
    return found


def color(patch):
    return to_hex(patch.get_facecolor()).upper()


def extents(figure):
    """Every text with the rectangle that it fills, in pixels."""
    figure.draw_without_rendering()
    legend = figure.axes[0].get_legend()
    every = [*figure.axes[0].texts, *(legend.get_texts() if legend else [])]
    return [(text.get_text(), text.get_window_extent()) for text in every]


def check_texts(figure):
    """No text overlaps another or leaves the figure."""
    found = extents(figure)
    for (one, first), (other, second) in combinations(found, 2):
        assert not first.overlaps(second), (one, other)
    (left, low), (right, high) = figure.bbox.min, figure.bbox.max
    for text, extent in found:
        assert left <= extent.x0 and extent.x1 <= right, text
        assert low <= extent.y0 and extent.y1 <= high, text


def check_boxes(figure):
    """Every text of a box stays within it, and boxes stay apart."""
    figure.draw_without_rendering()
    held = boxes_and_texts(figure)
    outer = [box.get_window_extent() for box, _ in held]
    for box, (_, text) in zip(outer, held, strict=True):
        inner = text.get_window_extent()
        assert box.x0 < inner.x0 and inner.x1 < box.x1, text
        assert box.y0 < inner.y0 and inner.y1 < box.y1, text
    assert not any(one.overlaps(other) for one, other in combinations(outer, 2))
