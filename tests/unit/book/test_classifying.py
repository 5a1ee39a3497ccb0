import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch, Rectangle

from reptune.book import classifying, plots
from tests.unit.book.drawn import (
    boxes,
    boxes_and_texts,
    check_boxes,
    check_texts,
    color,
    patches,
    texts,
)

TEXT = "An unwatchable mess!"
TOKENS = ["[CLS]", "an", "un", "##watch", "##able", "mess", "!", "[SEP]"]
OFFSETS = [(0, 0), (0, 2), (3, 5), (5, 10), (10, 14), (15, 19), (19, 20), (0, 0)]
IDS = [101, 2019, 4895, 18866, 3085, 6752, 999, 102]
ROWS = [TOKENS, ["[CLS]", "loved", "it", ".", "[SEP]", "[PAD]", "[PAD]", "[PAD]"]]
MASK = [[1] * 8, [1] * 5 + [0] * 3]
LOGITS = {"negative": -1.0, "positive": 1.0}


@pytest.fixture(autouse=True)
def close_figures():
    plots.use_style()
    yield
    plt.close("all")


def levels():
    return classifying.text_levels(TEXT, TOKENS, OFFSETS, IDS)


FIGURES = {
    "levels": levels,
    "batch": lambda: classifying.padded_batch(ROWS, MASK),
    "classifier": lambda: classifying.classifier(TOKENS, LOGITS, "negative"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_texts_have_room_in_a_font_that_a_phone_can_show(name):
    figure = FIGURES[name]()
    check_texts(figure)
    check_boxes(figure)
    assert figure.get_figwidth() == pytest.approx(plots.WIDTH)
    assert min(text.get_fontsize() for text in figure.axes[0].texts) >= 9


def ends(box):
    return box.get_x(), box.get_x() + box.get_width()


# --- one text, four times ------------------------------------------------------------------------


def test_every_word_and_token_spans_its_characters():
    found = boxes(levels())
    letters = [box for box, text in boxes_and_texts(levels()) if len(text.get_text()) == 1]
    letters = sorted((box for box in letters if box.get_y() > 1.5), key=lambda box: box.get_x())
    assert len(letters) == len(TEXT.replace(" ", ""))
    (word,), (middle,) = found["unwatchable"], found["##watch"]
    assert ends(word) == pytest.approx((ends(letters[2])[0], ends(letters[12])[1]))
    assert ends(middle) == pytest.approx((ends(letters[4])[0], ends(letters[8])[1]))
    # The mark is a character, a word and a token.
    marks = [ends(box) for box in found["!"]]
    np.testing.assert_allclose(marks, [marks[0]] * 3)


def test_ids_stand_below_their_tokens_and_special_tokens_below_nothing():
    found = boxes(levels())
    for token, number in zip(TOKENS, IDS, strict=True):
        (below,) = found[str(number)]
        above = min(found[token], key=lambda box: box.get_y())
        assert ends(above) == pytest.approx(ends(below)) and above.get_y() > below.get_y()
    colors = {token: color(found[token][0]) for token in ("[CLS]", "an", "[SEP]")}
    assert colors["[CLS]"] == colors["[SEP]"] == classifying.PADDING != colors["an"]
    # Four lines from characters to words, six from words to tokens, eight from tokens to ids.
    assert len(levels().axes[0].lines) == 4 + 6 + 8


@pytest.mark.parametrize(
    ("tokens", "offsets", "message"),
    [
        (TOKENS[:-1], OFFSETS, "'tokens': 7"),
        (TOKENS, [(0, 2), *OFFSETS[1:]], "special ones"),
        (TOKENS, [*OFFSETS[:3], (5, 5), *OFFSETS[4:]], "special ones"),
    ],
)
def test_tokens_that_make_no_figure_are_refused(tokens, offsets, message):
    with pytest.raises(ValueError, match=message):
        classifying.text_levels(TEXT, tokens, offsets, IDS)


# --- a batch, padded -----------------------------------------------------------------------------


def test_padding_and_its_mask_are_gray_and_stand_in_the_same_columns():
    figure = FIGURES["batch"]()
    found = boxes(figure)
    gray = {color(box) for text in ("[PAD]", "0") for box in found[text]}
    assert gray == {classifying.PADDING}
    assert classifying.PADDING not in {color(box) for box in found["1"]}
    assert len(found["1"]) == 13
    columns = [[ends(box) for box in found[text]] for text in ("[PAD]", "0")]
    np.testing.assert_allclose(*columns)
    assert texts(figure).count("text 2") == 2


def test_grids_that_do_not_fit_are_refused():
    for mask in ([[1] * 8], [[1] * 8, [1] * 7]):
        with pytest.raises(ValueError, match="one grid"):
            classifying.padded_batch(ROWS, mask)


# --- a classifier --------------------------------------------------------------------------------


def test_probabilities_and_loss_follow_from_the_logits():
    # e / (e + 1/e) = 0.881, and −log 0.119 = 2.127.
    found = texts(FIGURES["classifier"]())
    assert "negative −1.00\npositive 1.00" in found
    assert "negative 0.12\npositive 0.88" in found
    assert "−log 0.12\n= 2.13" in found and "loss (negative)" in found
    with pytest.raises(ValueError, match="'neutral' is none"):
        classifying.classifier(TOKENS, LOGITS, "neutral")


def test_the_head_reads_the_first_token_alone():
    figure = FIGURES["classifier"]()
    arrows = [np.array(arrow._posA_posB) for arrow in patches(figure, FancyArrowPatch)]
    # Into the encoder and out of it for eight tokens, one into the head, four within it.
    assert len(arrows) == 8 * 2 + 1 + 4 and len(patches(figure, Rectangle)) == 8 * 4
    (up,) = [arrow for arrow in arrows if arrow[1, 1] > 1.9 > arrow[0, 1]]
    found = boxes(figure)
    (first,), (pooler,) = found["[CLS]"], found["384 → 384\nand tanh"]
    assert up[0, 0] == pytest.approx(np.mean(ends(first)))
    assert ends(pooler)[0] < up[1, 0] < ends(pooler)[1]
    assert color(pooler) == plots.TRAINED == color(found["384 → 2\n(new)"][0])
