"""Parameters: misspelled names, wrong types and values, each refused with its name and the cure."""

import inspect

import numpy as np
import pytest

from reptune.assets import AssetUnavailable

WHOLE = {
    "num_epochs", "num_steps", "batch_size", "max_length", "per_class", "num_pairs", "patience",
    "demonstration_draws", "prediction_batch_size", "random_state", "rank", "max_new_tokens",
    "stride", "max_answer_tokens", "dimensions",
}  # fmt: skip
REAL = {
    "learning_rate", "weight_decay", "warmup", "layer_decay", "case_dropout", "C", "low", "high",
    "thresholds",
}  # fmt: skip
SWITCHES = {
    "efficient", "dropout", "end_to_end", "mark_case", "by_sentence", "no_answer", "show_progress",
}  # fmt: skip
# Each parameter is in one of these lists, so that a new one does not go unchecked.
OTHERS = {
    "model", "trainable", "class_weight", "fast", "sampling", "loss", "head", "template", "words",
    "description", "instruction", "selection", "calibrate", "adapter", "label_pieces", "device",
    "callbacks", "prefix",
}  # fmt: skip

NO_NUMBERS = ("1e-4", "3", float("nan"), float("inf"), float("-inf"), True, [1], 1j, np.array([1]))
NEGATIVE = {"low", "high"}  # a scale may begin below zero


def _names(case, wanted):
    return sorted(wanted & set(inspect.signature(case.kind).parameters))


def test_every_parameter_is_in_a_list(case):
    known = WHOLE | REAL | SWITCHES | OTHERS
    assert not set(inspect.signature(case.kind).parameters) - known
    assert len(known) == sum(map(len, (WHOLE, REAL, SWITCHES, OTHERS)))


# --- names ---------------------------------------------------------------------------------------


def test_a_misspelled_parameter_names_the_nearest(case):
    for wrong, right in (case.misspelled, ("random_sate", "random_state"), ("models", "model")):
        with pytest.raises(TypeError, match=f"(?s){wrong}.*did you mean '{right}'"):
            case.kind(**{wrong: 3})


def test_a_parameter_like_no_other_lists_those_there_are(case):
    with pytest.raises(TypeError, match=r"xyzzy.*random_state"):
        case.kind(xyzzy=1)


def test_a_misspelled_parameter_in_set_params(case, models):
    wrong, right = case.misspelled
    with pytest.raises(ValueError, match=f"(?s){wrong}.*{right}"):
        case.new(models).set_params(**{wrong: 3})


# --- numbers -------------------------------------------------------------------------------------


def _refused(case, models, name, value):
    estimator = case.new(models).set_params(**{name: value})
    with pytest.raises(ValueError, match=f"{name}=") as caught:
        estimator.fit(case.inputs, case.targets)
    assert len(str(caught.value)) < 400


def test_what_is_no_whole_number_is_refused_before_a_model_is_loaded(case, models, no_model):
    for name in _names(case, WHOLE):
        for value in (*NO_NUMBERS, 2.5, 3.0, -1):
            _refused(case, models, name, value)


def test_what_is_no_number_is_refused_before_a_model_is_loaded(case, models, no_model):
    for name in _names(case, REAL):
        huge = (*NO_NUMBERS, 10**400)  # no float is as large
        for value in huge if name in NEGATIVE else (*huge, -1, -1e-9):
            _refused(case, models, name, value)


def test_none_is_refused_where_there_is_no_default_to_take(case, models, no_model):
    parameters = inspect.signature(case.kind).parameters
    for name in _names(case, WHOLE | REAL):
        if parameters[name].default is not None and name not in ("random_state", "max_length"):
            _refused(case, models, name, None)


def test_what_is_no_switch_is_refused(case, models, no_model):
    for name in _names(case, SWITCHES):
        # Progress is shown where someone looks, unless it is said whether.
        for value in ("no", 2, 0.0) if name == "show_progress" else ("no", None, 2, 0.0):
            _refused(case, models, name, value)


def test_zero_where_it_makes_no_sense(case, models, no_model):
    for name in _names(case, {"num_epochs", "batch_size", "max_length", "patience", "C",
                              "learning_rate", "layer_decay", "demonstration_draws",
                              "prediction_batch_size"}):  # fmt: skip
        _refused(case, models, name, 0)
    for name in _names(case, {"warmup"}):
        _refused(case, models, name, 1)


def test_infinite_rates_and_huge_ones(case, models, no_model):
    for name in _names(case, {"learning_rate", "weight_decay"}):
        for value in (float("inf"), np.float64("inf"), np.float32("nan")):
            _refused(case, models, name, value)


def test_numpy_numbers_are_numbers(case, models, fitted):
    changes = {}
    for name in _names(case, WHOLE | REAL):
        value = case.params.get(name, inspect.signature(case.kind).parameters[name].default)
        if value is not None:
            whole = isinstance(value, int) and not isinstance(value, bool)
            changes[name] = np.int64(value) if whole else np.float64(value)
    assert changes
    estimator = case.new(models, **changes).fit(case.inputs, case.targets)
    np.testing.assert_array_equal(case.output(estimator), case.output(fitted))


# --- others --------------------------------------------------------------------------------------


def test_fast_takes_a_switch_or_names(case, models, no_model):
    for name in _names(case, {"fast"}):
        for value in ("yes", "length_buckets", None, 1, ("no_such_option",), [None], {"a": 1}):
            estimator = case.new(models).set_params(**{name: value})
            with pytest.raises(ValueError, match="fast"):
                estimator.fit(case.inputs, case.targets)


@pytest.mark.only(lambda case: case.classifies)
def test_class_weights_are_positive_numbers_by_label(case, models, no_model):
    if "class_weight" not in inspect.signature(case.kind).parameters:
        return
    for value in (
        "equal", {"positive": 1.0}, {"positive": 1.0, "negative": 0.0},
        {"positive": 1.0, "negative": -1.0}, {"positive": 1.0, "negative": float("nan")},
        {"positive": 1.0, "negative": float("inf")}, {"positive": 1.0, "negative": "1"},
        {"positive": 1.0, "negative": None}, [1.0, 2.0], 3,
    ):  # fmt: skip
        estimator = case.new(models, class_weight=value)
        with pytest.raises(ValueError, match="class_weight"):
            estimator.fit(case.inputs, case.targets)


def test_what_names_no_model_is_refused(case, models):
    for value in ("", "no/such/model/at/all", None, 3, b"x", "all-MiniLM-L6-v3"):
        with pytest.raises((ValueError, AssetUnavailable)) as caught:
            case.new(models, model=value).fit(case.inputs, case.targets)
        assert len(str(caught.value)) < 1500


@pytest.mark.only(lambda case: case.trains)
def test_training_that_diverges_is_an_error_and_leaves_the_object(case, own, fitted):
    own.set_params(learning_rate=1e30)
    fields = dict(vars(own))
    with pytest.raises(ValueError, match="diverged"):
        own.fit(case.inputs, case.targets)
    assert all(vars(own)[name] is value for name, value in fields.items())
    np.testing.assert_array_equal(case.output(own), case.output(fitted))
