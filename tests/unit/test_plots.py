import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from reptune import metrics, plots


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
    assert figure.axes[0].get_title() == "raw: ECE 0.150"


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


def test_the_other_figures_draw_what_they_are_given():
    balance = plots.label_balance({"train": {"no": 3, "yes": 4}, "test": {"no": 1, "yes": 2}})
    assert texts(balance.axes[0]) == ["3", "1", "4", "2"]
    lengths = plots.length_histogram({"no": [1, 2, 3], "yes": [2, 2, 9]})
    assert [t.get_text() for t in lengths.axes[0].get_legend().get_texts()] == ["no", "yes"]
    bars = plots.block_bars({"all": {"a": 1.0, "b": 2.0}, "head": {"b": 3.0}}, "norm")
    assert [patch.get_width() for patch in bars.axes[0].patches] == [1, 2, 0, 3]
