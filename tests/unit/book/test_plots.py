import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from reptune import metrics
from reptune.book import plots


@pytest.fixture(autouse=True)
def close_figures():
    plots.use_style()
    yield
    plt.close("all")


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_architecture_colors_exactly_what_trains():
    counts = {
        "embeddings": {"parameters": 11_918_592, "trainable": 0},
        "block 1": {"parameters": 1_774_464, "trainable": 1_774_464},
        "classifier": {"parameters": 770, "trainable": 770},
    }
    (axes,) = plots.architecture({"last block": counts}).axes
    colors = [to_hex(p.get_facecolor()) for p in axes.patches if isinstance(p, FancyBboxPatch)]
    assert [color == plots.TRAINED.lower() for color in colors] == [False, True, True]
    assert axes.get_title() == "last block\n1.8 M of 13.7 M train"
    assert texts(axes) == ["embeddings  11.9 M", "block 1  1.8 M", "classifier  770"]


def test_confusion_prints_counts_by_true_row():
    (axes,) = plots.confusion([0, 0, 0, 1], [0, 0, 1, 1], ["no", "yes"]).axes
    assert texts(axes) == ["2", "1", "0", "1"]
    assert axes.get_ylabel() == "true" and axes.get_xlabel() == "predicted"


def test_scores_show_estimates_and_ends():
    (axes,) = plots.scores({"a": metrics.Interval(0.5, 0.4, 0.6)}).axes
    assert texts(axes) == ["0.500"]
    assert axes.lines[0].get_xdata().tolist() == [0.4, 0.6]


def test_reliability_says_the_calibration_error_it_shows():
    probabilities = np.array([[0.9, 0.1]] * 4)
    figure = plots.reliability({"raw": probabilities}, [0, 0, 0, 1])
    assert figure.axes[0].get_title() == "raw\nECE 0.150"


def test_reliability_cuts_no_panel_off():
    wrong, right = np.array([[0.9, 0.1]] * 4), np.array([[0.1, 0.9]] * 4)
    figure = plots.reliability({"wrong": wrong, "right": right}, [1, 1, 1, 1])
    for axes in figure.axes:
        assert axes.get_ylim()[0] <= 0 and axes.get_ylim()[1] >= 1


def test_training_curve_separates_training_from_validation():
    history = [
        {"step": 1, "loss": 0.7},
        {"step": 2, "loss": 0.5},
        {"step": 2, "eval_loss": 0.6},
        {"step": 2, "train_runtime": 3},
    ]
    (axes,) = plots.training_curve(history).axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.7, 0.5], [0.6]]
    assert axes.get_legend() is not None
    (alone,) = plots.training_curve(history[:2]).axes
    assert alone.get_legend() is None, "one line needs no name"


def test_a_score_has_a_panel_of_its_own():
    history = [{"step": 1, "loss": 0.7}, {"step": 2, "eval_loss": 0.6, "eval_f1": 0.8}]
    history.append({"step": 4, "eval_loss": 0.61, "eval_f1": 0.85})
    losses, scores = plots.training_curve(history, score="eval_f1", score_label="F1").axes
    assert [line.get_ydata().tolist() for line in losses.lines] == [[0.7], [0.6, 0.61]]
    assert [line.get_xydata().tolist() for line in scores.lines] == [[[2, 0.8], [4, 0.85]]]
    assert scores.get_ylabel() == "F1" and [t.get_text() for t in scores.texts] == [
        "0.800",
        "0.850",
    ]


def test_the_other_figures_draw_what_they_are_given():
    balance = plots.label_balance({"train": {"no": 3, "yes": 4}, "test": {"no": 1, "yes": 2}})
    assert texts(balance.axes[0]) == ["3", "1", "4", "2"]
    assert plots.label_balance({"train": {"no": 3}}, "words").axes[0].get_xlabel() == "words"
    lengths = plots.length_histogram({"no": [1, 2, 3], "yes": [2, 2, 9]})
    assert [t.get_text() for t in lengths.axes[0].get_legend().get_texts()] == ["no", "yes"]
    bars = plots.block_bars({"all": {"a": 1.0, "b": 2.0}, "head": {"b": 3.0}}, "norm")
    assert [patch.get_width() for patch in bars.axes[0].patches] == [1, 2, 0, 3]


def test_label_curve_draws_means_in_order_and_every_seed():
    (axes,) = plots.label_curve({"a": {1000: [0.8, 0.9], 50: [0.5, 0.7]}}, "F1", "sentences").axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("sentences", "F1")
    assert axes.lines[0].get_xdata().tolist() == [50, 1000]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.6, 0.85])
    dots = np.concatenate([dots.get_offsets() for dots in axes.collections])
    assert sorted(dots[:, 1]) == [0.5, 0.7, 0.8, 0.9]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["50", "1,000"]


def test_freezing_sweep_writes_seconds_below_and_keeps_scales_apart():
    rows = [("head", "0.1M", [0.7, 0.72], 30.4), ("all", "22.7M", [0.84], 280.0)]
    accuracy, published = plots.freezing_sweep(rows, [0.85, 0.7], "theirs").axes
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [0.71, 0.84])
    dots = np.concatenate([dots.get_offsets() for dots in accuracy.collections])
    np.testing.assert_allclose(dots, [[0, 0.7], [0, 0.72], [1, 0.84]])
    assert published.lines[0].get_ydata().tolist() == [0.85, 0.7]
    assert published.get_title() == "theirs" and published.xaxis_inverted()
    named = [t.get_text() for t in accuracy.get_xticklabels()]
    assert named == ["head\n0.1M\n30 s", "all\n22.7M\n280 s"]


def test_similarities_share_a_scale_and_part_the_labels():
    matrix = np.eye(5)
    figure = plots.similarities({"before": matrix, "after": matrix}, {"a": 2, "b": 3})
    before, after = figure.axes[:2]
    assert before.images[0].get_clim() == after.images[0].get_clim() == (0, 1)
    assert before.get_xticks().tolist() == [0.5, 3.0], "the middle of each label's texts"
    assert [line.get_ydata()[0] for line in before.lines][:1] == [1.5]


def test_projections_draw_each_label_where_its_points_are():
    points = np.array([[0, 1], [2, 3], [4, 5]])
    figure = plots.projections({"one": points}, ["a", "b", "a"], notes={1: "here"})
    (axes,) = figure.axes
    first, second = axes.collections
    np.testing.assert_array_equal(first.get_offsets(), points[[0, 2]])
    np.testing.assert_array_equal(second.get_offsets(), points[[1]])
    assert texts(axes) == ["1"]
    assert figure.get_supxlabel() == "1  here"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert axes.get_aspect() == 1, "a distance means the same in both directions"


def test_bars_print_their_values_and_mark_some():
    (axes,) = plots.bars({"a": 1.5, "b": 2500.0}, "score", marked=["b"]).axes
    assert texts(axes) == ["1.5", "2,500.0"]
    colors = [to_hex(bar.get_facecolor()) for bar in axes.patches]
    assert colors == [plots.BLUE.lower(), plots.ORANGE.lower()]
    assert texts(plots.bars({"a": 3}, "words", fmt="{:,.0f}").axes[0]) == ["3"]


def test_pieces_are_colored_where_something_is_asked():
    asked = np.array([[False, True, True], [False, False, False]])
    rows = [["[CLS]", "[MASK]", "film"], ["[CLS]", "a", "film"]]
    (axes,) = plots.masked_rows(rows, asked, "[MASK]").axes
    colors = [to_hex(box.get_facecolor()).upper() for box in axes.patches]
    assert colors == ["#FFFFFF", plots.SKY, plots.ORANGE, *["#FFFFFF"] * 3]
    assert [text.get_text() for text in axes.texts] == [*rows[0], *rows[1]]


def test_loss_curves_keep_their_scale_and_order():
    series = {"news": [(800, 2.4), (0, 3.1)], "reviews": [(0, 3.1), (400, 3.05), (800, 3.0)]}
    (axes,) = plots.loss_curves(series, "step", "loss").axes
    news, reviews = axes.lines
    assert news.get_xydata().tolist() == [[0, 3.1], [800, 2.4]], "in the order of steps"
    assert reviews.get_ydata().tolist() == [3.1, 3.05, 3.0]
    assert (news.get_color(), reviews.get_color()) == plots.PALETTE[:2]
    assert news.get_marker() != reviews.get_marker()
    assert 2 < axes.get_ylim()[0] < 2.4, "not from zero"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["news", "reviews"]


def test_loss_curves_without_points_are_refused():
    with pytest.raises(ValueError, match="news"):
        plots.loss_curves({"news": []}, "step", "loss")
    with pytest.raises(ValueError, match="series"):
        plots.loss_curves({}, "step", "loss")


def test_a_lineage_joins_the_boxes_of_a_row():
    rows = {"one": [("general", "A"), ("task", "B")], "other": [("general", "C"), ("task", "D")]}
    (axes,) = plots.lineage(rows).axes
    arrows = [patch for patch in axes.patches if type(patch).__name__ == "FancyArrowPatch"]
    assert len(arrows) == 2 and len(axes.patches) == 6
    said = {text.get_text() for text in axes.texts}
    assert said == {"general", "task", "A", "B", "C", "D", "one", "other"}


def test_what_gets_worse_is_drawn_in_another_color():
    (axes,) = plots.before_after({"up": (1.0, 2.0), "down": (3.0, 1.5)}, "loss").axes
    assert [line.get_color() for line in axes.lines] == [plots.VERMILION, plots.BLUE]
    assert "3.00 → 1.50" in {text.get_text() for text in axes.texts}


def test_differences_are_drawn_in_points_around_zero():
    groups = {
        "100 labels": {"a": metrics.Interval(0.01, -0.01, 0.03)},
        "500 labels": {"a": metrics.Interval(-0.02, -0.03, 0.0), "b": metrics.Interval(0, 0, 0)},
    }
    figure = plots.differences(groups)
    (axes,) = figure.axes
    spans = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(spans[:2], [[-1, 3], [-3, 0]])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(groups)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["a", "b"]


def test_score_shift_splits_by_label_and_draws_the_border():
    scores, labels = np.array([-2.0, -1.0, 1.0, 3.0]), np.array([0, 0, 1, 1])
    axes = plots.score_shift({"one": (scores, labels), "two": (scores + 1, labels)}, "lead").axes
    assert [panel.get_title(loc="left") for panel in axes] == ["one", "two"]
    for panel, moved in zip(axes, (0, 1), strict=True):
        assert panel.lines[0].get_xdata() == [0, 0]
        heights = [patch.get_height() for patch in panel.patches]
        assert sum(heights) == 4
        right = [p for p in panel.patches[40:] if p.get_height()]
        # The positive sentences' scores, 1 and 3, lie right of 0; moved by one, right of 1.
        assert min(p.get_x() for p in right) > moved


def test_scatter_has_a_series_for_each_name():
    (axes,) = plots.scatter({"raw": ([0, 1], [2, 3]), "batch": ([4], [5])}, "x", "y").axes
    assert [points.get_offsets().tolist() for points in axes.collections] == [
        [[0, 2], [1, 3]],
        [[4, 5]],
    ]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["raw", "batch"]


def test_named_points_marks_the_asked_ones():
    points = {"small": (1e8, 60.0), "large": (1e11, 70.0)}
    (axes,) = plots.named_points(points, "parameters", "score", marked=["large"]).axes
    colors = [to_hex(drawn.get_facecolor()[0]) for drawn in axes.collections]
    assert colors == [plots.BLUE.lower(), plots.ORANGE.lower()]
    assert axes.get_xscale() == "log" and texts(axes) == ["small", "large"]


def test_gap_shows_words_labels_and_slots():
    (axes,) = plots.mask_answers(
        [("dull .", "{text}"), ("[MASK]", "{mask}")], [("bad", "negative", 0.75)]
    ).axes
    assert {"dull .", "{text}", "[MASK]", "{mask}", "bad", "→ negative"} == set(texts(axes))
    bar = next(p for p in axes.patches if type(p).__name__ == "Rectangle")
    assert bar.get_width() == pytest.approx(1.5 * 0.75)


def test_label_curve_takes_a_count_of_zero_on_a_linear_axis():
    (axes,) = plots.label_curve({"raw": {0: [0.7], 4: [0.6, 0.8]}}, logarithmic=False).axes
    assert axes.get_xscale() == "linear" and axes.get_xticks().tolist() == [0, 4]
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([0.7, 0.7])


# --- steps and resampling ------------------------------------------------------------------------


def test_the_loss_slopes_everywhere_and_the_error_jumps_once():
    (axes,) = plots.loss_and_error().axes
    loss, error = (line.get_xydata() for line in axes.lines[:2])
    assert (np.diff(loss[:, 1]) < 0).all() and loss[-1].tolist() == [1, 0]
    np.testing.assert_allclose(loss[:, 1], -np.log(loss[:, 0]))
    assert error.tolist() == [[0, 1], [0.5, 1], [0.5, 0], [1, 0]]
    assert axes.lines[2].get_ydata()[0] == pytest.approx(0.693, abs=5e-4)


def test_rate_curves_draw_both_losses_of_every_rate_and_name_it_once():
    figure = plots.rate_curves({1e-6: ([0.7, 0.7], [0.6, 0.6]), 0.01: ([0.7, 12], [0.6, 9])}, "ab")
    one, other = figure.axes
    assert [line.get_ydata().tolist() for line in one.lines] == [[0.7, 0.7], [0.7, 12]]
    assert [line.get_ydata().tolist() for line in other.lines] == [[0.6, 0.6], [0.6, 9]]
    assert (one.get_title(), other.get_title()) == ("a", "b")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1e-06", "0.01"]
    assert len({line.get_marker() for line in one.lines}) == 2, "told apart without color"


def test_the_schedule_names_warm_up_and_epochs():
    rates = [0, 5, 10, 8, 6, 4, 2, 0]
    (axes,) = plots.rate_schedule(rates, 4).axes
    assert axes.lines[0].get_ydata().tolist() == rates
    assert texts(axes) == ["epoch 1", "epoch 2", "warm-up"]
    assert [line.get_xdata()[0] for line in axes.lines[1:]] == [4, 8]
    (shaded,) = axes.patches
    assert (shaded.get_x(), shaded.get_width()) == (0, 2)


def test_resampled_values_are_dark_within_the_interval_alone():
    interval = metrics.Interval(0.5, 0.25, 0.75)
    (axes,) = plots.resampled({"accuracy": (np.linspace(0, 1, 401), interval)}).axes
    dark = [bar for bar in axes.patches if to_hex(bar.get_facecolor()) == plots.BLUE.lower()]
    middles = [bar.get_x() + bar.get_width() / 2 for bar in dark]
    assert min(middles) >= 0.25 and max(middles) <= 0.75 and len(dark) == 12
    assert [text.strip() for text in texts(axes)] == ["0.250", "0.750"]
    two = plots.resampled({"a": ([0.1, 0.2], interval), "b": ([0.1, 0.3], interval)}, zero=True)
    assert all(axes.get_xlim()[0] < 0 for axes in two.axes), "zero is to be seen"
