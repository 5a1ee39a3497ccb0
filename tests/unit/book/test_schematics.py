import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

from reptune.book import plots, schematics
from reptune.tags import Span, allowed_moves, spans, viterbi
from tests.unit.book.drawn import boxes, check_boxes, check_texts, color, extents, patches, texts

WORDS = ["Ada", "Lovelace", "wrote", "to", "Charles", "Babbage", "in", "London", "."]
TAGS = ["B-PER", "I-PER", "O", "O", "B-PER", "I-PER", "O", "B-LOC", "O"]
GUESS = ["B-PER", "O", "O", "O", "B-PER", "I-PER", "O", "B-PER", "O"]
# For each token the word it is of, and its label: the first token's of each word counts.
ALIGNED = [
    ("[CLS]", None, None), ("ada", 0, "B-PER"), ("love", 1, "I-PER"), ("##lace", 1, None),
    ("wrote", 2, "O"), ("to", 3, "O"), ("charles", 4, "B-PER"), ("ba", 5, "I-PER"),
    ("##bba", 5, None), ("##ge", 5, None), ("in", 6, "O"), ("london", 7, "B-LOC"), (".", 8, "O"),
    ("[SEP]", None, None),
]  # fmt: skip
TOKENS, WORD_IDS, FIRST = map(list, zip(*ALIGNED, strict=True))
NOTES = {Span("PER", 0, 1): "too short", Span("PER", 7, 8): "wrong type"}
NAMES = ["O", "B-PER", "I-PER"]
# "Ada" is likeliest O, after which the I-PER of "Lovelace" is forbidden.
SCORES = np.log([[0.5, 0.4, 0.1], [0.1, 0.1, 0.8], [0.98, 0.01, 0.01]])


@pytest.fixture(autouse=True)
def close_figures():
    plots.use_style()
    yield
    plt.close("all")


def aligned(labels=FIRST):
    return schematics.label_alignment(WORDS, TOKENS, WORD_IDS, TAGS, labels)


def compared(notes=None):
    rows = {"true": spans(TAGS), "guessed": spans(GUESS)}
    return schematics.spans_compared(WORDS, rows, notes)


def small_lattice(greedy=("O", "I-PER", "O")):
    path = viterbi(SCORES, NAMES)
    return schematics.lattice(WORDS[:3], NAMES, SCORES, allowed_moves(NAMES), path, greedy)


def wide_lattice():
    tags = [*NAMES, "B-LOC", "I-LOC"]
    scores = np.log(np.full((4, 5), 0.2))
    path = viterbi(scores, tags)
    return schematics.lattice(WORDS[:4], tags, scores, allowed_moves(tags), path)


FIGURES = {
    "alignment": aligned,
    "alignment, every label": lambda: aligned(["B-MISC"] * len(TOKENS)),
    "tagger": lambda: schematics.tagger(TOKENS, FIRST),
    "spans": compared,
    "spans with notes": lambda: compared(NOTES),
    "lattice": small_lattice,
    "wide lattice": wide_lattice,
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_texts_overlap_and_none_leaves_the_figure(name):
    figure = FIGURES[name]()
    check_texts(figure)
    assert min(text.get_fontsize() for text in figure.axes[0].texts) >= 7


@pytest.mark.parametrize("name", [name for name in FIGURES if "lattice" not in name])
def test_texts_stay_within_their_boxes_and_boxes_apart(name):
    check_boxes(FIGURES[name]())


def test_the_chapters_sentence_fits_the_column():
    for draw in (aligned, compared, lambda: schematics.tagger(TOKENS, FIRST), small_lattice):
        assert draw().get_figwidth() == pytest.approx(plots.WIDTH)
    assert {text.get_fontsize() for text in compared().axes[0].texts} == {10}


def test_what_does_not_fit_makes_the_figure_wider_and_not_the_font_smaller():
    words = ["Lovelace"] * 20
    figure = schematics.spans_compared(words, {"true": [Span("PER", 0, 20)]})
    assert figure.get_figwidth() > plots.WIDTH
    assert {text.get_fontsize() for text in figure.axes[0].texts} == {7}


def test_dollars_are_no_formula():
    figure = schematics.spans_compared(["$5", "to", "$6"], {"true": [Span("MISC", 0, 1)]})
    assert not any(text.get_parse_math() for text in figure.axes[0].texts)


# --- words, tokens, labels -----------------------------------------------------------------------


def test_every_word_tag_token_and_label_stands_in_the_alignment():
    found = texts(aligned())
    assert sorted(found) == sorted(
        ["tags", "words", "tokens", "labels", *WORDS, *TAGS, *TOKENS]
        + ["-100" if label is None else label for label in FIRST]
    )
    assert len(patches(aligned(), FancyBboxPatch)) == 9 + 14 + 9, "words, tokens, labels that count"
    assert len(patches(aligned(), FancyArrowPatch)) == 9


def test_ignored_labels_are_gray_and_counted_ones_in_boxes():
    figure = aligned()
    ignored = [text for text in figure.axes[0].texts if text.get_text() == "-100"]
    assert len(ignored) == 5
    assert {text.get_color() for text in ignored} == {schematics.MUTED}
    counted = [box for box in patches(figure, FancyBboxPatch) if color(box) == plots.TRAINED]
    assert len(counted) == 9
    written = [text for text in figure.axes[0].texts if text.get_text() in ("O", "B-LOC")]
    assert {text.get_color() for text in written} == {"black"}


def test_a_word_spans_its_tokens():
    found = boxes(aligned())
    (word,), pieces = found["Babbage"], [found[token][0] for token in ("ba", "##bba", "##ge")]
    assert word.get_x() == pytest.approx(pieces[0].get_x())
    ends = [box.get_x() + box.get_width() for box in (word, pieces[-1])]
    assert ends[0] == pytest.approx(ends[1])
    (ada,), (token,) = found["Ada"], found["ada"]
    assert (ada.get_x(), ada.get_width()) == pytest.approx((token.get_x(), token.get_width()))
    assert ada.get_y() > token.get_y()
    lines = figure_lines(aligned())
    assert len(lines) == 12, "from each word to each of its tokens, none to [CLS] and [SEP]"


def figure_lines(figure):
    return [line.get_xydata() for line in figure.axes[0].lines]


def test_a_label_stands_below_its_token():
    places = {}
    for text in aligned().axes[0].texts:
        places.setdefault(text.get_text(), []).append(text.xy)
    assert len(places["B-LOC"]) == 2
    (x, high), (same, low) = places["B-LOC"]
    (token,) = places["london"]
    assert x == pytest.approx(same) and x == pytest.approx(token[0])
    assert high > token[1] > low
    middle = places["##lace"][0][0]
    assert any(place[0] == pytest.approx(middle) for place in places["-100"])


def test_a_long_word_makes_room_above_few_tokens():
    figure = schematics.label_alignment(["Lovelace-Babbage"], ["a"], [0], ["B-ORG"], ["B-ORG"])
    (box,) = boxes(figure)["Lovelace-Babbage"]
    (extent,) = [extent for text, extent in extents(figure) if text == "Lovelace-Babbage"]
    assert box.get_window_extent().width > extent.width


def test_a_word_without_a_token_and_lists_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="word 1 has no token"):
        schematics.label_alignment(["a", "\u200b"], ["a"], [0], ["O", "O"], ["O"])
    with pytest.raises(ValueError):
        schematics.label_alignment(["a"], ["a"], [0], ["O"], ["O", None])
    with pytest.raises(ValueError):
        schematics.label_alignment(["a"], ["a"], [0], ["O", "O"], ["O"])


# --- the tagger ----------------------------------------------------------------------------------


def test_every_token_goes_through_the_linear_layer_and_some_are_ignored():
    figure = schematics.tagger(TOKENS, FIRST)
    layers, vectors = patches(figure, Polygon), patches(figure, Rectangle)
    assert len(layers) == 14
    assert len(vectors) == 4 * 14, "every token has a vector"
    assert len(patches(figure, FancyArrowPatch)) == 4 * 9 + 3 * 5, "nothing is compared with -100"
    assert texts(figure).count(schematics.IGNORED) == 5
    tokens = {text: boxes(figure)[text][0] for text in ("ada", "love", "london")}
    middles = [box.get_x() + box.get_width() / 2 for box in tokens.values()]
    at = [np.mean(layer.get_xy()[:4, 0]) for layer in layers]
    assert [at[1], at[2], at[11]] == pytest.approx(middles)
    (shared,) = figure_lines(figure)
    assert shared[:, 0] == pytest.approx(at), "one layer: its copies are joined"


def test_the_tagger_says_its_sizes():
    found = texts(schematics.tagger(["[CLS]", "a"], [None, "O"], hidden=768, num_tags=3))
    assert "768\nnumbers" in found and "one linear\nlayer (new),\n768 → 3" in found
    assert found.count("O") == 1 and "encoder (pretrained)" in found
    schematics.tagger(["[CLS]"], [None])


# --- spans ---------------------------------------------------------------------------------------


def edges(figure):
    return [
        (
            text,
            box.get_linestyle(),
            to_hex(box.get_edgecolor()).upper(),
        )
        for text, found in boxes(figure).items()
        for box in found
        if text not in WORDS
    ]


def test_right_spans_are_checked_and_wrong_ones_crossed_and_dashed():
    assert sorted(edges(compared())) == sorted(
        [("PER", "solid", "#555555")] * 2
        + [("LOC", "solid", "#555555")]
        + [("✓ PER", "solid", plots.GREEN)]
        + [("✗ PER", "--", plots.VERMILION)] * 2
    )


@pytest.mark.parametrize("guess", [Span("LOC", 0, 2), Span("PER", 0, 1), Span("PER", 1, 2)])
def test_a_span_is_wrong_by_its_type_start_or_end(guess):
    rows = {"true": [Span("PER", 0, 2)], "a": [guess], "b": [Span("PER", 0, 2)]}
    found = texts(schematics.spans_compared(["Ada", "Lovelace"], rows))
    assert sum(text.startswith("✗") for text in found) == 1
    assert found.count("✓ PER") == 1, "the first row alone is the truth"


def test_bars_lie_under_their_words():
    found = boxes(compared())
    (charles,), (babbage,), (bar,) = found["Charles"], found["Babbage"], found["✓ PER"]
    assert bar.get_x() == pytest.approx(charles.get_x())
    end = babbage.get_x() + babbage.get_width()
    assert bar.get_x() + bar.get_width() == pytest.approx(end)
    (ada, lovelace), short = (found[word][0] for word in WORDS[:2]), found["✗ PER"][0]
    assert (short.get_x(), short.get_width()) == pytest.approx((ada.get_x(), ada.get_width()))
    whole = found["PER"][0]
    end = lovelace.get_x() + lovelace.get_width()
    assert whole.get_x() + whole.get_width() == pytest.approx(end)
    assert charles.get_y() > whole.get_y() > short.get_y(), "words, the truth, the guess"


def test_notes_stand_below_their_spans_only():
    figure = compared(NOTES)
    places = {text.get_text(): text.xy for text in figure.axes[0].texts}
    first, last = boxes(figure)["✗ PER"]
    for note, bar in (("too short", first), ("wrong type", last)):
        assert places[note][0] == pytest.approx(bar.get_x() + bar.get_width() / 2)
        assert places[note][1] < bar.get_y()
    assert len(texts(figure)) == len(texts(compared())) + 2


# --- the lattice ---------------------------------------------------------------------------------


def nodes(figure):
    """The circles' centers, shape `(words, tags, 2)` for the small lattice."""
    return np.array([circle.center for circle in patches(figure, Circle)]).reshape(3, 3, 2)


def test_a_lattice_has_a_node_per_word_and_tag_with_its_score():
    figure = small_lattice()
    assert nodes(figure).shape == (3, 3, 2)
    assert np.ptp(nodes(figure)[0, :, 0]) == 0 and np.ptp(nodes(figure)[:, 0, 1]) == 0
    assert (np.diff(nodes(figure)[:, 0, 0]) > 0).all(), "words from left to right"
    assert (np.diff(nodes(figure)[0, :, 1]) < 0).all(), "tags from top to bottom"
    places = {text.xy: text.get_text() for text in figure.axes[0].texts}
    written = [places[tuple(place)] for place in nodes(figure).reshape(-1, 2)]
    assert written[:6] == ["−0.69", "−0.92", "−2.30", "−2.30", "−2.30", "−0.22"]


def test_likelier_nodes_are_darker():
    shades = [sum(circle.get_facecolor()[:3]) for circle in patches(small_lattice(), Circle)]
    order = np.argsort(-SCORES.flatten(), kind="stable")
    assert (np.diff(np.array(shades)[order]) >= -1e-9).all() and shades[0] < shades[1] < shades[2]


def test_the_paths_run_through_their_nodes():
    figure = small_lattice()
    at = nodes(figure)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    # 0.4 * 0.8 * 0.98 is the most that an allowed path has; log: −1.16. The best tags: −0.94.
    path = lines["best allowed path, sum −1.16"]
    greedy = lines["best tag of each word, sum −0.94"]
    np.testing.assert_allclose(path.get_xydata()[1:], [at[0, 1], at[1, 2], at[2, 0]])
    np.testing.assert_allclose(greedy.get_xydata()[1:], [at[0, 0], at[1, 2], at[2, 0]])
    assert (path.get_linestyle(), greedy.get_linestyle()) == ("-", "--")
    assert path.get_linewidth() > greedy.get_linewidth()
    assert path.get_color() != greedy.get_color()
    crosses = lines["forbidden step"].get_xydata()
    np.testing.assert_allclose(crosses, [(at[0, 0] + at[1, 2]) / 2])


def test_only_allowed_moves_have_lines():
    figure = small_lattice()
    (collection,) = figure.axes[0].collections
    segments = [np.array(segment) for segment in collection.get_segments()]
    # Of three tags two may begin, and all moves but O to I-PER are allowed: 2 + 8 + 8.
    assert len(segments) == 18
    at = nodes(figure)
    forbidden = np.array([at[0, 0], at[1, 2]])
    assert not any(np.allclose(segment, forbidden) for segment in segments)
    assert any(np.allclose(segment, [at[0, 1], at[1, 2]]) for segment in segments)
    begins = [tuple(segment[1]) for segment in segments if segment[0][0] < at[0, 0, 0]]
    assert begins == [tuple(at[0, 0]), tuple(at[0, 1])], "I-PER may not begin"


def test_a_forbidden_beginning_is_crossed_out_and_an_allowed_arg_max_is_not():
    figure = small_lattice(greedy=["I-PER", "I-PER", "O"])
    (crosses,) = [one for one in figure.axes[0].lines if one.get_label() == "forbidden step"]
    assert crosses.get_xydata()[0][0] < nodes(figure)[0, 0, 0]
    fine = small_lattice(greedy=["B-PER", "I-PER", "O"])
    assert "forbidden step" not in legend(fine) and len(legend(fine)) == 3
    assert len(legend(small_lattice(greedy=None))) == 2


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_scores_without_a_floor_are_written_as_infinite():
    scores = np.array([[0.0, -np.inf, -1e9], [-12.345, -0.004, -2.0]])
    figure = schematics.lattice(["a", "b"], NAMES, scores, allowed_moves(NAMES), ["O", "B-PER"])
    found = texts(figure)
    assert found.count("−∞") == 2 and "−12.3" in found and "−2.00" in found


# --- chapter 7 -----------------------------------------------------------------------------------


def test_flow_joins_its_boxes_from_edge_to_edge():
    figure = schematics.flow({"a": (0, 0), "b": (1, 1)}, [("a", "b")], marked=["b"])
    found = boxes(figure)
    assert [color(found[text][0]) for text in "ab"] == [plots.FROZEN, plots.TRAINED]
    (arrow,) = patches(figure, FancyArrowPatch)
    start, end = arrow._posA_posB
    assert start == pytest.approx((0.43, 0)) and end == pytest.approx((0.57, -1))
    assert len(patches(schematics.pipeline(), FancyBboxPatch)) == 8
