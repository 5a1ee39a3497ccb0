import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from reptune.book import plots, reading
from reptune.pretraining import pack
from tests import tiny
from tests.unit.book.drawn import (
    boxes,
    boxes_and_texts,
    check_boxes,
    check_texts,
    color,
    extents,
    patches,
    texts,
)

TOKENS = ["[CLS]", "what", "a", "lovely", "film", "!", "[SEP]"]
INPUTS = ["[CLS]", "what", "a", "[MASK]", "film", "!", "[SEP]"]
STARTS = {
    "random weights": (None, "", None),
    "base": ("random weights", "reviews", 5600),
    "base + news": ("base", "news", 800),
    "base + news + CoNLL text": ("base + news", "CoNLL text", 280),
    "base + reviews": ("base", "reviews", 800),
    "base + CoNLL text": ("base", "CoNLL text", 280),
}
ARMS = ["base + news", "base + reviews"]


@pytest.fixture(autouse=True)
def close_figures():
    plots.use_style()
    yield
    plt.close("all")


def head(masked=(3,), inputs=INPUTS):
    return reading.masked_head(TOKENS, inputs, [index in masked for index in range(7)])


def tree(marked=ARMS, starts=STARTS):
    return reading.family(starts, marked)


FIGURES = {
    "head": head,
    "head, neighbors masked": lambda: head(masked=(2, 3)),
    "head, first and last masked": lambda: head(masked=(0, 3, 6)),
    "head, one token": lambda: reading.masked_head(["a"], ["[MASK]"], [True]),
    "packed": lambda: reading.packed([14, 33, 9, 21, 27, 12], 32),
    "packed, no padding": lambda: reading.packed([14, 33, 9, 21, 27, 12], 32, padded=False),
    "packed, 12 blocks": lambda: reading.packed([360], 32),
    "low rank": lambda: reading.low_rank(384, 8),
    "low rank, wide": lambda: reading.low_rank(4096, 1024),
    "family": tree,
    "family of one": lambda: tree([], {"base": (None, "", None)}),
    "two families": lambda: tree([], {"a": (None, "", None), "b": (None, "", None)}),
}
CHAPTER = ("head", "packed", "low rank", "family")


@pytest.mark.parametrize("name", FIGURES)
def test_texts_and_boxes_have_room(name):
    figure = FIGURES[name]()
    check_texts(figure)
    check_boxes(figure)


@pytest.mark.parametrize("name", CHAPTER)
def test_the_chapters_figures_fit_the_column_in_a_font_that_a_phone_can_show(name):
    figure = FIGURES[name]()
    assert figure.get_figwidth() == pytest.approx(plots.WIDTH)
    assert min(text.get_fontsize() for text in figure.axes[0].texts) >= 9


# --- the masked-LM head --------------------------------------------------------------------------


def middle(box):
    return box.get_x() + box.get_width() / 2


def ends(figure):
    """From where to where each arrow goes, in inches."""
    return [np.array(arrow._posA_posB) for arrow in patches(figure, FancyArrowPatch)]


def into_head(figure):
    """Where arrows reach the head from below."""
    (box,) = boxes(figure)["masked-LM head"]
    return [end[0] for _, end in ends(figure) if end[1] == pytest.approx(box.get_y())]


@pytest.mark.parametrize("masked", [(3,), (2, 3), (1, 5)])
def test_only_states_of_masked_positions_go_on_into_the_head(masked):
    figure = head(masked=masked, inputs=TOKENS)
    # The true tokens, which may be the same, stand above the inputs.
    inputs = [min(boxes(figure)[token], key=lambda box: box.get_y()) for token in TOKENS]
    read = [middle(inputs[position]) for position in masked]
    assert into_head(figure) == pytest.approx(read)
    (box,) = boxes(figure)["masked-LM head"]
    assert all(box.get_x() < x < box.get_x() + box.get_width() for x in read)


def test_every_token_has_a_state_and_masked_ones_have_scores_and_an_arrow_more():
    figure = head()
    # All seven: into the encoder and out. The masked one: into the head, out, and to and fro.
    assert len(patches(figure, FancyArrowPatch)) == 2 * 7 + 4
    assert len(patches(figure, Rectangle)) == 4 * 7 + 9
    assert texts(figure).count(reading.NO_LOSS) == 6
    two = head(masked=(2, 3))
    assert len(patches(two, FancyArrowPatch)) == 2 * 7 + 2 * 4
    assert len(patches(two, Rectangle)) == 4 * 7 + 2 * 9
    assert texts(two).count(reading.NO_LOSS) == 5


def test_the_first_token_has_no_loss():
    figure = head()
    (first,) = boxes(figure)["[CLS]"]
    at = [text.xy[0] for text in figure.axes[0].texts if text.get_text() == reading.NO_LOSS]
    assert at[0] == pytest.approx(middle(first))
    (mask,) = boxes(figure)["[MASK]"]
    assert middle(mask) not in [pytest.approx(x) for x in at]


def test_the_true_token_stands_above_its_mask():
    figure = head()
    (true,), (mask,) = boxes(figure)["lovely"], boxes(figure)["[MASK]"]
    (top,) = boxes(figure)["masked-LM head"]
    assert middle(true) == pytest.approx(middle(mask)) and true.get_y() > top.get_y()
    assert (color(mask), color(true)) == (plots.SKY, plots.FROZEN)
    assert color(boxes(figure)["film"][0]) == "#FFFFFF"
    said = {"input", "loss", "true token", "encoder", "one state\nper token"}
    assert said | {"a score for\neach token of\nthe vocabulary"} <= set(texts(figure))


def test_a_masked_position_may_read_another_token_and_an_unmasked_one_may_not():
    reading.masked_head(["a", "b"], ["a", "c"], [False, True])
    with pytest.raises(ValueError, match="position 0 reads 'c' instead of 'a'"):
        reading.masked_head(["a", "b"], ["c", "b"], [False, True])


def test_nothing_masked_and_lists_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="no position is masked"):
        reading.masked_head(["a"], ["a"], [False])
    with pytest.raises(ValueError, match="'inputs': 1"):
        reading.masked_head(["a", "b"], ["a"], [False, True])


# --- padded and packed ---------------------------------------------------------------------------

LENGTHS = [3, 9, 2]  # with a block of 8: 3 + 1 + 9 + 1 + 2 + 1 = 17 tokens, 6 of them in a block


def rows(figure):
    """Rectangles by their height, from the top to the bottom, without those of the key."""
    found = {}
    for patch in patches(figure, Rectangle):
        found.setdefault(round(patch.get_y(), 3), []).append(patch)
    return [found[y] for y in sorted(found, reverse=True)][:-1]


def read(row, scale):
    """What each position in a row of rectangles shows: `-` for a special token, else a color."""
    shown = []
    for patch in row:
        kind = "-" if color(patch) == reading.EDGE else color(patch)
        shown += [kind] * round(patch.get_width() / scale)
    return shown


def test_rows_and_blocks_hold_what_they_should():
    *batch, tape = rows(reading.packed(LENGTHS, 8))
    scale = tape[0].get_width()  # of [CLS], one token
    one, two, three = [color(row[1]) for row in batch]
    assert len({one, two, three, reading.PADDING}) == 4
    assert read(batch[0], scale) == ["-", *[one] * 3, "-", *[reading.PADDING] * 3]
    cut = ["#FFFFFF"] * 3  # of the nine tokens beside [CLS] and [SEP] six fit
    assert read(batch[1], scale) == ["-", *[two] * 6, "-", *cut]
    assert read(batch[2], scale) == ["-", *[three] * 2, "-", *[reading.PADDING] * 4]
    blocks = ["-", *[one] * 3, "-", *[two] * 2, "-", "-", *[two] * 6, "-"]
    assert read(tape, scale) == [*blocks, *["#FFFFFF"] * 5], "five tokens are left over"
    assert tape[-1].get_linestyle() == "--"


def test_blocks_are_those_that_pack_makes():
    """Special tokens stand where they stand in the package's blocks."""
    words = [["film"] * length for length in LENGTHS]
    tokenizer = tiny.tokenizer()
    blocks = pack([" ".join(text) for text in words], tokenizer, block_size=8)
    special = [
        number in tokenizer.all_special_ids for block in blocks for number in block["input_ids"]
    ]
    *_, tape = rows(reading.packed(LENGTHS, 8))
    drawn = read(tape[:-1], tape[0].get_width())
    assert [shown == "-" for shown in drawn] == special


def test_the_titles_count_padding_and_what_is_cut_off_or_left_over():
    found = texts(reading.packed(LENGTHS, 8))
    assert "padded: 7 of 24 positions hold padding (29%); 3 tokens cut off" in found
    assert "packed: 2 blocks of 8 positions, no padding; 5 tokens left over" in found
    assert {"block 1", "block 2", "[CLS] or [SEP]", "padding", "cut off"} <= set(found)
    # Five and one tokens of text, with their [SEP] eight, fill a block of ten.
    found = texts(reading.packed([5, 1], 10))
    assert "padded: 4 of 14 positions hold padding (29%)" in found
    assert "packed: 1 block of 10 positions, no padding" in found
    assert "cut off" not in found


def test_without_the_batch_there_is_only_the_tape():
    figure = reading.packed(LENGTHS, 8, padded=False)
    assert len(rows(figure)) == 1
    assert not any("padd" in text for text in texts(figure) if "no padding" not in text)


def test_a_text_bears_its_number_wherever_it_fits():
    figure = reading.packed([14, 33, 9, 21, 27, 12], 32)
    held = boxes_and_texts(figure, Rectangle)
    numbered = [(box, text) for box, text in held if getattr(text, "get_text", str)().isdigit()]
    assert [text.get_text() for _, text in numbered] == list("123456") + list("12234556")
    colors = {}
    for box, text in numbered:
        colors.setdefault(text.get_text(), set()).add(color(box))
    assert all(len(found) == 1 for found in colors.values()), "the same above and below"
    figure.draw_without_rendering()
    for box, text in numbered:
        outer, inner = box.get_window_extent(), text.get_window_extent()
        assert outer.x0 < inner.x0 and inner.x1 < outer.x1


@pytest.mark.parametrize(
    ("lengths", "block_size", "message"),
    [
        ([], 8, "at least one token"),
        ([3, 0], 8, "at least one token"),
        ([3], 2, "block_size=2"),
        ([3, 4], 32, "9 tokens together, too few"),
        ([100], 8, "16 blocks do not fit"),
    ],
)
def test_texts_that_make_no_figure_are_refused(lengths, block_size, message):
    with pytest.raises(ValueError, match=message):
        reading.packed(lengths, block_size)


# --- low rank ------------------------------------------------------------------------------------


def test_thin_matrices_are_drawn_to_scale_and_counted():
    figure = reading.low_rank(768, 64)
    full, x, down, up, again = patches(figure, Rectangle)
    assert (full.get_width(), full.get_height()) == pytest.approx((1.5, 1.5))
    assert (down.get_width(), down.get_height()) == pytest.approx((0.125, 1.5))
    assert (up.get_width(), up.get_height()) == pytest.approx((1.5, 0.125))
    assert x.get_height() == again.get_height() == pytest.approx(1.5)
    assert color(full) == plots.FROZEN and color(down) == color(up) == plots.TRAINED
    found = texts(figure)
    assert [text for text in found if len(text) == 1] == ["W", "x", "+", "B", "A", "x"]
    assert "768 × 768\n= 589,824\nfrozen" in found
    assert {"768 × 64\n= 49,152\ntrained", "64 × 768\n= 49,152\ntrained"} <= set(found)
    assert "trained: 98,304 numbers, 16.7% of the 589,824 in W" in found


def test_a_rank_of_one_is_still_seen():
    _, _, down, up, _ = patches(reading.low_rank(384, 1), Rectangle)
    assert down.get_width() == up.get_height() == pytest.approx(0.1)


@pytest.mark.parametrize("rank", [0, 8, 9])
def test_a_rank_that_is_not_low_is_refused(rank):
    with pytest.raises(ValueError, match=f"rank={rank}"):
        reading.low_rank(8, rank)


# --- a family ------------------------------------------------------------------------------------


def test_models_stand_right_of_what_they_start_from():
    found = {text.replace("\n", " "): box for text, (box,) in boxes(tree()).items()}
    assert set(found) == set(STARTS)
    left = {name: round(box.get_x(), 6) for name, box in found.items()}
    for name, (parent, _, _) in STARTS.items():
        if parent:
            box = found[parent]
            assert left[name] > box.get_x() + box.get_width()
    assert left["base + news"] == left["base + reviews"] == left["base + CoNLL text"]


def test_leaves_stand_below_one_another_and_parents_midway():
    found = {text.replace("\n", " "): box for text, (box,) in boxes(tree()).items()}
    height = {name: box.get_y() for name, box in found.items()}
    news, reviews, conll = (height[f"base + {name}"] for name in ("news", "reviews", "CoNLL text"))
    assert news - reviews == pytest.approx(reviews - conll) and news > reviews
    assert height["base + news + CoNLL text"] == pytest.approx(news)
    assert height["base"] == height["random weights"] == pytest.approx((news + conll) / 2)


def test_every_edge_says_what_is_read_and_for_how_long():
    found = texts(tree())
    assert [found.count(what) for what in ("news", "reviews", "CoNLL text")] == [1, 2, 2]
    counts = {"5,600 steps": 1, "800 steps": 2, "280 steps": 2}
    assert {text: found.count(text) for text in counts} == counts
    assert len(patches(tree(), FancyArrowPatch)) == 5
    one = {"a": (None, "", None), "b": ("a", "news", 1), "c": ("b", "mail", None)}
    assert {"1 step", "mail"} <= set(texts(tree([], one)))
    assert not any("None" in text for text in texts(tree([], one)))


def test_edges_join_their_boxes_and_bear_their_labels():
    figure = tree()
    found = {text.replace("\n", " "): box for text, (box,) in boxes(figure).items()}
    children = [name for name, (parent, *_) in STARTS.items() if parent]
    lines = [line.get_xydata() for line in figure.axes[0].lines]
    for name, line, (_, end) in zip(children, lines, ends(figure), strict=True):
        parent, child = found[STARTS[name][0]], found[name]
        start = (parent.get_x() + parent.get_width(), parent.get_y() + parent.get_height() / 2)
        assert line[0] == pytest.approx(start)
        assert end == pytest.approx((child.get_x(), child.get_y() + child.get_height() / 2))
    # No label touches a trunk or a box.
    labels = [extent for text, extent in extents(figure) if text in ("news", "800 steps")]
    trunks = [figure.axes[0].transData.transform(line)[:, 0].max() for line in lines]
    for extent in labels:
        assert extent.x0 > trunks[1]
        assert not any(extent.overlaps(box.get_window_extent()) for box in found.values())


def test_marked_models_have_the_color_of_what_is_trained():
    colored = [
        text.replace("\n", " ")
        for text, (box,) in boxes(tree()).items()
        if color(box) == plots.TRAINED
    ]
    assert colored == ARMS
    assert {to_hex(box.get_facecolor()).upper() for box in patches(tree([]), FancyBboxPatch)} == {
        plots.FROZEN
    }


def test_names_break_after_a_plus():
    assert reading._wrapped("base + news + CoNLL text") == "base + news +\nCoNLL text"
    assert reading._wrapped("base + CoNLL text") == "base +\nCoNLL text"
    assert reading._wrapped("random weights") == "random\nweights"
    assert reading._wrapped("all-MiniLM-L6-v2") == "all-MiniLM-L6-v2"


@pytest.mark.parametrize(
    ("starts", "marked", "message"),
    [
        ({}, [], "starts is empty"),
        ({"a": ("b", "news", 1)}, [], "'a' starts from 'b', which is not in starts"),
        ({"a": ("b", "x", 1), "b": ("a", "y", 1)}, [], "'a' starts from itself"),
        ({"a": ("a", "x", 1)}, [], "'a' starts from itself"),
        ({"a": (None, "", None)}, ["b"], "marked holds 'b'"),
    ],
)
def test_what_is_no_tree_is_refused(starts, marked, message):
    with pytest.raises(ValueError, match=message):
        reading.family(starts, marked)
