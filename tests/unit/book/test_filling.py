import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

from reptune.book import filling, plots
from tests.unit.book.drawn import boxes, check_boxes, check_texts, color, texts

WORDS = ["business", "entertainment", "politics", "sports", "technology"]


@pytest.fixture(autouse=True)
def close_figures():
    plots.use_style()
    yield
    plt.close("all")


def heads(words=WORDS):
    return filling.two_heads(["[MASK]", "news : headline"], ["[CLS]", "headline"], words)


@pytest.mark.parametrize("words", [WORDS, ["no", "yes"], iter(WORDS)])
def test_texts_have_room_in_a_font_that_a_phone_can_show(words):
    figure = heads(words)
    check_texts(figure)
    check_boxes(figure)
    assert figure.get_figwidth() <= plots.WIDTH + 1e-9
    assert min(text.get_fontsize() for text in figure.axes[0].texts if text.get_text()) >= 9


def test_as_many_new_rows_as_words_and_none_has_a_name():
    found = boxes(heads())
    assert [len(found[word]) for word in WORDS] == [1] * 5
    assert len(found[""]) == 5
    assert {color(row) for row in found[""]} == {"#FFFFFF"}
    assert len({color(found[word][0]) for word in WORDS}) == 1
    assert {filling.LEARNED, filling.NEW} <= set(texts(heads()))


def test_the_encoder_is_one_and_what_is_read_stands_in_color():
    found = boxes(heads())
    (encoder,) = found[filling.ENCODER]
    mask, start = found["[MASK]"][0], found["[CLS]"][0]
    assert color(mask) == color(start) != color(found["headline"][0])
    low, high = encoder.get_y(), encoder.get_y() + encoder.get_height()
    assert low < start.get_y() < mask.get_y() < high  # both beside the one encoder
