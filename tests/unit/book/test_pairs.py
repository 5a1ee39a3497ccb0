"""The grid of pairs and SetFit's phases: what is drawn is what is counted."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.patches import FancyBboxPatch, Rectangle

from reptune.book import pairs, plots
from reptune.fewshot import existing_pairs
from reptune.metrics import Interval

FIVE = ["billing"] * 5 + ["login"] * 5 + ["sync"] * 5


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_grid_holds_each_pair_once():
    flat = [kind for row in pairs.grid_cells(FIVE) for kind in row]
    exist = existing_pairs(FIVE)
    assert (flat.count("+"), flat.count("−")) == (exist.positive, exist.negative) == (30, 75)
    assert flat.count("×") == 15 and flat.count("") == 105


def test_a_grid_counts_what_it_shows_and_numbers_the_texts():
    figure = pairs.grid(FIVE)
    said = texts(figure)
    assert {"30", "75", "15", "105", "billing 1", "sync 5"} <= set(said)
    cells = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert len(cells) == 15 * 15 + 4  # and the legend
    width, _ = figure.get_size_inches()
    assert width == plots.WIDTH
    assert max(cell.get_x() + cell.get_width() for cell in cells) < width


@pytest.mark.parametrize("labels", [[], ["a"] * 25])
def test_too_many_labels_or_none_are_refused(labels):
    with pytest.raises(ValueError, match="room for 1 to 24"):
        pairs.grid(labels)


def test_the_body_is_trained_first_and_then_the_head():
    figure = pairs.phases()
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    trained = plt.matplotlib.colors.to_rgba(plots.TRAINED)
    assert sum(box.get_facecolor() == trained for box in boxes) == 2 + 1 + 1  # twice the body
    assert {"body", "body, as tuned", "head", "cosine"} <= set(texts(figure))


def test_a_heat_map_prints_scores_and_half_widths():
    rows = {"a": {"x": Interval(0.5, 0.4, 0.6), "y": Interval(0.9, 0.88, 0.92)}}
    figure = plots.heat_map(rows)
    assert texts(figure) == ["0.50\n± 0.10", "0.90\n± 0.02"]
