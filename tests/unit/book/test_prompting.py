import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import FancyBboxPatch

from reptune.book import plots, prompting
from reptune.book.drawing import tint
from reptune.incontext import TEMPLATE
from tests.unit.book.drawn import check_texts, patches, texts

DESCRIPTION = "Decide whether each movie review is negative or positive."
SHOWN = [("great fun .", "positive"), ("a tired , pointless sequel .", "negative")]
# Twelve made-up items; above 0: two, both positive. Above -1.15: five, all positive.
SCORES = [-3.4, -3.1, -2.6, -2.3, -1.9, -1.6, -1.3, -1.0, -0.7, -0.4, 0.3, 0.9]
LABELS = [0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 1]
COLUMNS = ["Great", "fun", "good", "Dull", ":", "Too", "long", ":"]
SEEN = np.array(
    [
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 1, 0, 0],
        [1, 1, 1, 0, 0, 1, 1, 0],
        [1, 1, 1, 0, 0, 1, 1, 1],
    ],
    dtype=bool,
)
TEXT_OF, POSITIONS = [0, 0, 1, 1, 1], [3, 4, 3, 4, 5]


@pytest.fixture(autouse=True)
def close_figures():
    plots.use_style()
    yield
    plt.close("all")


def prompt(description=DESCRIPTION, shown=SHOWN, text="i laughed .", template=TEMPLATE):
    return prompting.prompt(description, shown, text, template)


def ranked(**thresholds):
    return prompting.ranked(SCORES, LABELS, thresholds or {"at 0": 0, "best": -1.15})


def mask(seen=SEEN, columns=COLUMNS, text_of=TEXT_OF, positions=POSITIONS):
    return prompting.packed_mask(seen, columns, text_of, positions)


FIGURES = {
    "prompt": prompt,
    "prompt, zero-shot": lambda: prompt("", []),
    "prompt, long": lambda: prompt(DESCRIPTION * 3, SHOWN * 3, "so " * 60),
    "ranked": ranked,
    "ranked, the thresholds the other way around": lambda: ranked(low=-2.0, high=0.8),
    "mask": mask,
    "mask, nothing shared": lambda: mask(SEEN[:, 3:], COLUMNS[3:]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_texts_have_room_in_a_font_that_a_phone_can_show(name):
    figure = FIGURES[name]()
    check_texts(figure)
    assert figure.get_figwidth() <= plots.WIDTH + 1e-9
    assert min(text.get_fontsize() for text in figure.axes[0].texts) >= 9


# --- a prompt's parts ----------------------------------------------------------------------------


def test_all_parts_are_named_from_top_to_bottom():
    names = ["description", "example 1", "example 2", "new item"]
    heights = {text.get_text(): text.xy[1] for text in prompt().axes[0].texts}
    assert [name for name in heights if name in names] == names
    assert sorted((heights[name] for name in names), reverse=True) == [heights[n] for n in names]


def test_templates_texts_and_answers_stand_in_their_lines():
    shown = texts(prompt())
    assert shown.count("Review:") == shown.count("Sentiment:") == 3
    assert [text for text in shown if text in ("positive", "negative", "?")] == [
        "positive", "negative", "?",
    ]  # fmt: skip
    at = {text.get_text(): text.xy for text in prompt("", SHOWN[:1]).axes[0].texts}
    assert at["great fun ."][1] > at["positive"][1]
    assert at["positive"][0] > at["Sentiment:"][0]


def test_only_the_answer_to_be_written_is_dashed():
    dashed = [box for box in patches(prompt(), FancyBboxPatch) if box.get_linestyle() == "--"]
    assert len(dashed) == 1


def test_a_template_in_one_line_makes_one_line():
    lines = prompting._lines('A critic wrote: "{text}" That review is', "dull", "negative")
    kinds = ["template", "text", "template", "answer"]
    assert [[kind for _, kind in line] for line in lines] == [kinds]


def test_brackets_tell_what_is_shared_from_what_is_new():
    assert {"the same for\nevery input", "new"} <= set(texts(prompt()))
    assert "the same for\nevery input" not in texts(prompt("", []))


def test_a_long_description_is_wrapped_and_a_long_text_is_cut():
    shown = texts(prompt(DESCRIPTION * 3, [], "so " * 60))
    assert not any("\n" in text for text in shown if text.startswith("Decide"))
    (cut,) = [text for text in shown if text.startswith("so so")]
    assert cut.endswith("…")
    words = " ".join(shown[shown.index("description") + 1 : shown.index("new item")])
    assert words == DESCRIPTION * 3


# --- scores and thresholds -----------------------------------------------------------------------


def test_a_threshold_says_how_many_it_gets_right():
    # Above 0: two positives; below: all six negatives. Above -1.15 five of six positives.
    assert {"at 0: 8 of 12 right", "best: 11 of 12 right"} <= set(texts(ranked()))


def test_each_item_stands_in_the_row_of_its_class():
    by_row = {}
    for line in ranked().axes[0].lines[:2]:
        x, y = line.get_data()
        by_row[int(y[0])] = list(x)
    assert by_row == {
        label: [score for score, own in zip(SCORES, LABELS, strict=True) if own == label]
        for label in (0, 1)
    }


def test_no_thresholds_line_crosses_the_text_of_another():
    figure = ranked(low=-2.0, high=0.8)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    named = [text for text in axes.texts if "right" in text.get_text()]
    for line in axes.lines[2:]:
        (low, high) = axes.transData.transform(np.column_stack(line.get_data()))
        for text in named:
            box = text.get_window_extent()
            assert not (box.x0 < low[0] < box.x1 and box.y0 < high[1])


@pytest.mark.parametrize("labels", [[0, 1], [0] * 11 + [2]])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ValueError, match="as many scores as labels"):
        prompting.ranked(SCORES, labels, {"at 0": 0})


# --- the mask ------------------------------------------------------------------------------------


def test_what_is_not_seen_is_white_and_inputs_have_colors_of_their_own():
    cells = np.array(patches(mask(), FancyBboxPatch), dtype=object).reshape(SEEN.shape)
    colors = np.vectorize(lambda cell: tuple(cell.get_facecolor()[:3]), otypes=[object])(cells)
    white = np.vectorize(lambda color: color == (1.0, 1.0, 1.0))(colors)
    assert (white == ~SEEN).all()
    assert len({colors[row, column] for row, column in [(0, 3), (1, 4)]}) == 1
    assert colors[0, 3] != colors[2, 5]
    assert np.allclose(colors[0, 3], tint(plots.SKY, 0.65))


def test_rows_bear_their_tokens_and_positions():
    shown = texts(mask())
    start = shown.index("Dull", shown.index("Dull") + 1) - 1  # the first is a column's
    assert " ".join(shown[start : start + 10]) == "3 Dull 4 : 3 Too 4 long 5 :"


@pytest.mark.parametrize(
    "given", [{"columns": COLUMNS[1:]}, {"text_of": [0, 0]}, {"positions": [1]}]
)
def test_lengths_that_do_not_fit_are_refused(given):
    with pytest.raises(ValueError, match="seen has shape"):
        mask(**given)


# --- sizes of models -----------------------------------------------------------------------------


def test_a_name_stands_to_the_left_where_another_point_follows_closely():
    points = {"a": (1e8, 66.9), "b": (2.35e8, 69.6), "c": (3.55e8, 71.3), "d": (1e11, 40.0)}
    upper, _ = prompting.sizes(points, {"reviews": {1e8: [0.5]}}).axes
    # From a to b 0.37 decades, from b to c 0.18 and 1.7 of 31.3 points.
    assert [text.get_ha() for text in upper.texts] == ["left", "right", "left", "left"]


def test_sizes_share_their_axis_and_show_each_draw():
    published = {"small": (1e8, 66.9), "large": (1e11, 62.7)}
    measured = {"reviews": {5e8: [0.7, 0.8], 1e8: [0.6]}, "headlines": {1e8: [0.4], 5e8: [0.5]}}
    upper, lower = prompting.sizes(published, measured, ["large"]).axes
    assert upper.get_xlim() == lower.get_xlim() and lower.get_xscale() == "log"
    assert [text.get_text() for text in upper.texts] == ["small", "large"]
    reviews, headlines = lower.lines
    np.testing.assert_allclose(reviews.get_xydata(), [[1e8, 0.6], [5e8, 0.75]])
    np.testing.assert_allclose(headlines.get_ydata(), [0.4, 0.5])
    dots = [collection.get_offsets()[:, 1].tolist() for collection in lower.collections]
    assert dots == [[0.6], [0.7, 0.8], [0.4], [0.5]]
    assert [text.get_text() for text in lower.get_legend().get_texts()] == ["reviews", "headlines"]
