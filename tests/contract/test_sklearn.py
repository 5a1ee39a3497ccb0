"""Every estimator behaves as scikit-learn's own do."""

import copy
import inspect
import pickle
import random

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from reptune.fewshot import SetFitClassifier
from tests import tiny

# --- copies --------------------------------------------------------------------------------------


def test_a_clone_has_the_parameters_and_is_not_fitted(case, fitted):
    twin = clone(fitted)
    assert twin.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        case.output(twin)


def test_parameters_can_be_set_and_come_back(case, models):
    estimator = case.new(models)
    params = estimator.get_params()
    assert case.kind().set_params(**params).get_params() == params
    assert case.kind(**params).get_params() == params


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda estimator: pickle.loads(pickle.dumps(estimator))],
    ids=["deepcopy", "pickle"],
)  # fmt: skip
def test_a_copy_predicts_the_same_and_can_be_used_on(case, fitted, copied, tmp_path):
    before = case.output(fitted)
    twin = copied(fitted)
    np.testing.assert_array_equal(case.output(twin), before)
    assert vars(twin).keys() == vars(fitted).keys()
    if hasattr(fitted, "classes_"):
        assert twin.classes_.tolist() == fitted.classes_.tolist()
    assert twin.cost_.seconds == fitted.cost_.seconds
    np.testing.assert_array_equal(case.output(case.kind.load(twin.save(tmp_path / "m"))), before)
    twin.fit(case.inputs[:8][::-1], case.targets[:8][::-1])
    np.testing.assert_array_equal(case.output(fitted), before)


def test_a_finished_meter_can_be_copied():
    from reptune.meter import Meter

    with Meter("training") as meter:
        meter.add_tokens(3)
    for twin in (copy.deepcopy(meter), pickle.loads(pickle.dumps(meter))):
        assert twin == meter and str(twin) == str(meter)
        with twin:  # and used again
            pass


def test_what_is_not_fitted_can_be_pickled(case, models):
    estimator = case.new(models)
    assert pickle.loads(pickle.dumps(estimator)).get_params() == estimator.get_params()


# --- model selection -----------------------------------------------------------------------------


def test_cross_validation_in_processes_returns_its_estimators(case, models):
    found = cross_validate(
        case.new(models), case.inputs, case.targets, cv=2, n_jobs=2, return_estimator=True,
        error_score="raise",
    )  # fmt: skip
    assert np.isfinite(found["test_score"]).all() and len(found["estimator"]) == 2
    for estimator in found["estimator"]:
        assert np.isfinite(case.output(estimator)).all()


def test_a_grid_search_fits_and_keeps_the_best(case, models):
    search = GridSearchCV(case.new(models), case.grid, cv=2, error_score="raise")
    search.fit(case.inputs, case.targets)
    (name, values), = case.grid.items()  # fmt: skip
    assert search.best_params_[name] in values
    assert getattr(search.best_estimator_, name) == search.best_params_[name]
    assert np.isfinite(case.output(search.best_estimator_)).all()


# --- fit -----------------------------------------------------------------------------------------


def test_fit_returns_itself_and_leaves_the_parameters(case, models):
    estimator = case.new(models)
    before = dict(vars(estimator))
    assert estimator.fit(case.inputs, case.targets) is estimator
    after = vars(estimator)
    assert all(after[name] is value for name, value in before.items())
    new = after.keys() - before.keys()
    assert all(name.endswith("_") or name.startswith("_") for name in new), new


def test_the_same_seed_gives_the_same_bits_and_leaves_the_generators(case, models, fitted):
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    again = case.new(models).fit(case.inputs, case.targets)
    np.testing.assert_array_equal(case.output(again), case.output(fitted))
    assert random.getstate() == states[0]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), states[1], strict=True))
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.only(lambda case: case.trains)
def test_another_seed_gives_other_bits(case, models, fitted):
    other = case.new(models, random_state=1).fit(case.inputs, case.targets)
    assert not np.array_equal(case.output(other), case.output(fitted))


def test_fitting_again_forgets_the_first_fit(case, models, own):
    case_again = case.new(models).fit(case.inputs[:8], case.targets[:8])
    own.fit(case.inputs[:8], case.targets[:8])
    np.testing.assert_array_equal(case.output(own), case.output(case_again))


# --- what there is -------------------------------------------------------------------------------


def test_nothing_goes_before_fit(case, models, tmp_path):
    estimator = case.new(models)
    names = {"predict", "predict_proba", "logits", "embed", "scores", "entities"}
    calls = [getattr(estimator, name) for name in sorted(names) if hasattr(estimator, name)]
    assert calls
    for call in calls:
        with pytest.raises(NotFittedError):
            call(case.new_inputs)
    with pytest.raises(NotFittedError):
        estimator.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_there_are_probabilities_exactly_where_they_work(case, models, fitted):
    assert hasattr(case.new(models), "predict_proba") == case.has_probabilities
    assert hasattr(fitted, "predict_proba") == case.has_probabilities
    if case.has_probabilities:
        rows = case.output(fitted)
        assert rows.shape[1] == len(fitted.classes_)
        np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)


def test_a_head_without_probabilities_offers_none(models):
    classifier = SetFitClassifier(models["encoder"], head=RidgeClassifier(), num_steps=1)
    assert not hasattr(classifier, "predict_proba")
    classifier.fit(tiny.TEXTS, tiny.LABELS)
    assert not hasattr(classifier, "predict_proba")
    assert set(classifier.predict(tiny.TEXTS)) <= set(tiny.LABELS)
    with pytest.raises(AttributeError, match="predict_proba"):
        classifier.predict_proba(tiny.TEXTS)


def test_scikit_learn_knows_what_it_is(case, models):
    estimator = case.new(models)
    assert is_classifier(estimator) == case.classifies
    assert is_regressor(estimator) == case.regresses
    if case.reads_texts:
        tags = estimator.__sklearn_tags__().input_tags
        assert tags.string and tags.one_d_array and not tags.two_d_array


def test_predictions_are_labels_that_were_given(case, fitted):
    predicted = fitted.predict(case.new_inputs)
    assert len(predicted) == len(case.new_inputs)
    if case.classifies:
        assert set(predicted.tolist()) <= set(case.targets)
        best = fitted.predict_proba(case.new_inputs).argmax(axis=1)
        assert (fitted.classes_[best] == predicted).all()


# --- scikit-learn's own checks -------------------------------------------------------------------

# Those that fit nothing; each runs.
APPLY = {
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
}
NUMBERS = "it fits a matrix of numbers, and these estimators read texts"
ORDER = f"{NUMBERS}; see test_neither_order_nor_company_matters"
FIT_RETURNS = f"{NUMBERS}; test_fit_returns_itself_and_leaves_the_parameters looks at it with texts"
# Those that cannot, with the reason, and what looks at the same with texts.
CANNOT = {
    "check_array_api_input": NUMBERS,
    "check_class_weight_classifiers": NUMBERS,
    "check_classifier_data_not_an_array": f"{NUMBERS}; test_inputs has containers",
    "check_classifiers_classes": f"{NUMBERS}; test_labels has kinds of labels",
    "check_classifiers_one_label": f"{NUMBERS}; test_labels: one class is refused",
    "check_classifiers_regression_target": f"{NUMBERS}; test_labels: float labels are refused",
    "check_classifiers_train": NUMBERS,
    "check_classifiers_one_label_sample_weights": "fit takes no sample weights",
    "check_complex_data": NUMBERS,
    "check_decision_proba_consistency": "there is no decision_function",
    "check_dict_unchanged": f"{NUMBERS}; see test_predicting_changes_nothing",
    "check_dont_overwrite_parameters": FIT_RETURNS,
    "check_dtype_object": NUMBERS,
    "check_estimator_sparse_array": NUMBERS,
    "check_estimator_sparse_matrix": NUMBERS,
    "check_estimator_sparse_tag": NUMBERS,
    "check_estimators_dtypes": NUMBERS,
    "check_estimators_empty_data_messages": f"{NUMBERS}; test_inputs: an empty list is refused",
    "check_estimators_fit_returns_self": FIT_RETURNS,
    "check_estimators_nan_inf": f"{NUMBERS}; test_inputs: a missing text is refused",
    "check_estimators_overwrite_params": FIT_RETURNS,
    "check_estimators_partial_fit_n_features": "there is no partial_fit",
    "check_estimators_pickle": f"{NUMBERS}; see test_a_copy_predicts_the_same_and_can_be_used_on",
    "check_f_contiguous_array_estimator": NUMBERS,
    "check_fit1d": NUMBERS,
    "check_fit2d_1feature": NUMBERS,
    "check_fit2d_1sample": NUMBERS,
    "check_fit2d_predict1d": NUMBERS,
    "check_fit_check_is_fitted": f"{NUMBERS}; see test_nothing_goes_before_fit",
    "check_fit_idempotent": f"{NUMBERS}; see test_fitting_again_forgets_the_first_fit",
    "check_fit_score_takes_y": f"{NUMBERS}; see test_texts_and_labels_by_position",
    "check_methods_sample_order_invariance": ORDER,
    "check_methods_subset_invariance": ORDER,
    "check_n_features_in": "a text has no number of features",
    "check_n_features_in_after_fitting": "a text has no number of features",
    "check_non_transformer_estimators_n_iter": "no parameter is called max_iter",
    "check_pipeline_consistency": f"{NUMBERS}; see test_a_pipeline_predicts_the_same",
    "check_positive_only_tag_during_fit": NUMBERS,
    "check_readonly_memmap_input": NUMBERS,
    "check_regressor_data_not_an_array": f"{NUMBERS}; test_inputs has containers",
    "check_regressors_int": NUMBERS,
    "check_regressors_no_decision_function": NUMBERS,
    "check_regressors_train": NUMBERS,
    "check_requires_y_none": f"{NUMBERS}; test_labels: no labels are refused",
    "check_supervised_y_2d": f"{NUMBERS}; test_labels: two-dimensional labels are refused",
    "check_supervised_y_no_nan": f"{NUMBERS}; test_labels: a missing label is refused",
}


def _checks(estimator):
    """The checks that scikit-learn has for estimators of this kind, by name.

    It has a single one for what does not take matrices, so a twin says that it does.
    """

    def tags(self):
        found = super(twin, self).__sklearn_tags__()
        found.input_tags.two_d_array = True
        return found

    kind = type(estimator)
    twin = type(kind.__name__, (kind,), {"__sklearn_tags__": tags})
    found = estimator_checks_generator(twin(**estimator.get_params()), legacy=True)
    return {check.func.__name__: check for _, check in found}


def test_every_check_of_scikit_learn_is_run_or_has_its_reason(case, models):
    names = set(_checks(case.new(models)))
    assert len(names & APPLY) >= 10
    new = names - APPLY - CANNOT.keys()
    assert not new, f"scikit-learn has new checks; add them to APPLY or CANNOT: {sorted(new)}"
    assert not APPLY & CANNOT.keys()


@pytest.mark.parametrize("name", sorted(APPLY))
def test_a_check_of_scikit_learn(case, models, name):
    estimator = case.new(models)
    check = _checks(estimator).get(name)
    if check is not None:  # some came with a later version than the oldest that is supported
        check.func(case.kind.__name__, estimator)


def test_a_pipeline_predicts_the_same(case, models, fitted):
    pipeline = make_pipeline(None, case.new(models)).fit(case.inputs, case.targets)
    expected = fitted.predict(case.new_inputs)
    np.testing.assert_array_equal(np.hstack(pipeline.predict(case.new_inputs)), np.hstack(expected))


def test_texts_and_labels_by_position(case):
    """As scikit-learn's check_fit_score_takes_y: whatever calls fit need not know their names."""
    arguments = list(inspect.signature(case.kind.fit).parameters)
    assert arguments[1] == case.what
    assert arguments[2] in ("labels", "targets", "tags", "outputs", "answers")


def test_predicting_changes_nothing(case, fitted):
    before, first = dict(vars(fitted)), case.output(fitted)
    fitted.predict(case.new_inputs)
    np.testing.assert_array_equal(case.output(fitted), first)
    assert vars(fitted).keys() == before.keys()
    assert all(vars(fitted)[name] is value for name, value in before.items())


def test_neither_order_nor_company_matters(case, fitted):
    inputs = [*case.new_inputs, *case.inputs[:5]]
    together = _rows(fitted, case, inputs)
    backwards = _rows(fitted, case, inputs[::-1])[::-1]
    alone = [row for one in inputs for row in _rows(fitted, case, [one])]
    for row, other, single in zip(together, backwards, alone, strict=True):
        np.testing.assert_allclose(other, row, atol=1e-5)
        np.testing.assert_allclose(single, row, atol=1e-5)


def _rows(estimator, case, inputs):
    return list(
        estimator.predict_proba(inputs)
        if case.has_probabilities
        else case.output(estimator, inputs)
    )
