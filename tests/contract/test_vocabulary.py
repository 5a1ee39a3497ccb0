"""One vocabulary: what a parameter or a method is called, it does alike in every estimator."""

import contextlib
import inspect
import json
import sys

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import accuracy_score, r2_score
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

import reptune
from reptune import runtime
from reptune.metrics import entity_scores

# The last parameters of each, in this order; `MUST` have those that train nothing, too.
LAST = ("device", "prediction_batch_size", "callbacks", "random_state", "show_progress")
MUST = {"device", "prediction_batch_size", "random_state"}
DEFAULTS = {
    "device": None, "prediction_batch_size": None, "patience": None, "callbacks": (),
    "show_progress": None,
}  # fmt: skip
trains = pytest.mark.only(lambda case: case.trains)
CHUNK = 2


def test_the_shared_parameters_end_the_list_in_one_order(case):
    parameters = inspect.signature(case.kind).parameters
    wanted = {*LAST, "patience"} if case.trains else MUST
    assert wanted <= parameters.keys()
    last = [name for name in LAST if name in parameters]
    assert list(parameters)[-len(last) :] == last
    for name in parameters.keys() & DEFAULTS.keys():
        assert parameters[name].default == DEFAULTS[name], name
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY, name


def test_no_name_that_the_vocabulary_has_another_word_for(case, fitted):
    parameters = inspect.signature(case.kind).parameters
    assert not {"num_demonstrations", "verbose", "progress", "epochs", "seed"} & parameters.keys()
    assert not hasattr(fitted, "scores"), "raw scores are logits"
    if case.classifies and "words" in parameters:
        assert fitted.words_.keys() == set(case.targets)
        assert all(isinstance(word, str) for word in fitted.words_.values())


# --- device --------------------------------------------------------------------------------------


def test_the_cpu_by_name_is_the_default_without_an_accelerator(case, models, fitted):
    on_cpu = case.new(models, device="cpu").fit(case.inputs, case.targets)
    if runtime.device().type == "cpu":
        np.testing.assert_array_equal(case.output(on_cpu), case.output(fitted))
    devices = {weight.device.type for weight in _weights(on_cpu)}
    assert devices <= {"cpu"}


def _weights(estimator):
    for value in vars(estimator).values():
        module = value if isinstance(value, torch.nn.Module) else getattr(value, "model", None)
        if isinstance(module, torch.nn.Module):
            yield from module.parameters()


def test_a_device_that_is_not_here_is_named_before_a_model_is_loaded(case, models, no_model):
    for device in ("gpu", "cuda:99", "", "CPU!", "meta", 2.5, ["cpu"]):
        with pytest.raises(ValueError, match="device=") as caught:
            case.new(models, device=device).fit(case.inputs, case.targets)
        assert repr(device) in str(caught.value)


def test_what_belongs_to_a_machine_is_not_saved(case, models, tmp_path):
    mine = {"device": "cpu"} | ({"callbacks": [lambda record: None]} if case.trains else {})
    folder = case.new(models, **mine).fit(case.inputs, case.targets).save(tmp_path / "model")
    saved = json.loads((folder / "reptune.json").read_text("utf-8"))["params"]
    assert not mine.keys() & saved.keys()
    loaded = case.kind.load(folder)
    assert {name: getattr(loaded, name) for name in mine} == {name: DEFAULTS[name] for name in mine}


# --- batches of predictions ----------------------------------------------------------------------


@contextlib.contextmanager
def _forward_passes():
    """The number of rows that each pass through an embedding of tokens has, as they come."""
    rows = []

    def note(module, inputs):
        if isinstance(module, torch.nn.Embedding) and inputs and inputs[0].dim() == 2:
            rows.append(len(inputs[0]))

    hook = register_module_forward_pre_hook(note)
    try:
        yield rows
    finally:
        hook.remove()


def _many(case):
    return [*case.new_inputs, *case.inputs[:9]]


@pytest.mark.parametrize("size", [1, 3, np.int64(5), 1000])
def test_the_size_of_a_batch_changes_nothing(case, own, fitted, size):
    expected = case.output(fitted, _many(case))
    own.set_params(prediction_batch_size=size)
    np.testing.assert_allclose(case.output(own, _many(case)), expected, atol=1e-5)


@pytest.mark.only(lambda case: case.runs_network)
def test_a_batch_has_the_size_asked_for(case, own):
    passes = {}
    for size in (1, 4):
        own.set_params(prediction_batch_size=size)
        with _forward_passes() as passes[size]:
            own.predict(_many(case))
    assert len(passes[4]) < len(passes[1])
    if case.model != "causal":  # which reads several prompts in one row
        assert max(passes[1]) == 1
        assert 1 < max(passes[4]) <= 4


# --- callbacks -----------------------------------------------------------------------------------


@trains
@pytest.mark.parametrize("validated", [False, True])
def test_callbacks_see_every_record_as_it_comes(case, models, validated):
    first, second = [], []
    callbacks = [lambda record: first.append(dict(record)), second.append]
    held_out = {"validation": (case.inputs[:6], case.targets[:6])} if validated else {}
    estimator = case.new(models, callbacks=callbacks).fit(case.inputs, case.targets, **held_out)
    assert first == second == list(estimator.history_) != []
    assert any("loss" in record for record in first)
    assert any(key.startswith("eval_") for record in first for key in record) == validated
    for record in first:
        assert all(isinstance(value, int | float) for value in record.values()), record
        json.dumps(record)  # which callers write to files


@trains
def test_a_callback_changes_no_number(case, models, fitted):
    estimator = case.new(models, callbacks=(lambda record: torch.rand(3),))
    estimator.fit(case.inputs, case.targets)
    np.testing.assert_array_equal(case.output(estimator), case.output(fitted))


@trains
def test_a_callback_that_raises_stops_the_fit_at_once(case, models, own, fitted, monkeypatch):
    passes, backward = [], torch.Tensor.backward

    def counted(*args, **kwargs):
        passes.append(1)
        return backward(*args, **kwargs)

    def enough(record):
        raise LookupError("enough")

    monkeypatch.setattr(torch.Tensor, "backward", counted)
    case.new(models).fit(case.inputs, case.targets)
    whole = len(passes)
    passes.clear()
    own.set_params(callbacks=[enough])
    fields = dict(vars(own))
    with pytest.raises(LookupError, match="enough"):
        own.fit(case.inputs, case.targets)
    assert 0 < len(passes) < whole
    assert vars(own) == fields
    np.testing.assert_array_equal(case.output(own), case.output(fitted))


@trains
def test_what_are_no_callbacks(case, models, no_model):
    for callbacks in (print, "print", None, [3], [None]):
        with pytest.raises(ValueError, match="callbacks="):
            case.new(models, callbacks=callbacks).fit(case.inputs, case.targets)


# --- patience ------------------------------------------------------------------------------------


@trains
def test_patience_needs_validation(case, models, no_model):
    with pytest.raises(ValueError, match=r"patience=2.*validation"):
        case.new(models, patience=2).fit(case.inputs, case.targets)


@trains
def test_patience_stops_and_goes_back_to_the_best(case, models):
    """What is held out contradicts what is learned, so that more training does not help."""
    held_out = (case.inputs[4:], _opposite(case))
    long = {name: 60 for name in ("num_epochs", "num_steps") if name in case.params}
    with _weights_at_evaluations() as (seen, weights):
        estimator = case.new(models, patience=2, callbacks=[seen], **long)
        estimator.fit(case.inputs, case.targets, validation=held_out)
    scores = _deciding_scores(case, estimator.history_)
    best = int(np.argmax(scores))
    assert len(scores) == len(weights) == best + 3, "it stopped as soon as patience had run out"
    found = [weight.detach() for weight in seen.trained]
    assert all(map(torch.equal, found, weights[best]))
    assert not all(map(torch.equal, found, weights[-1])), "training had gone on"
    if not case.regresses and not case.generates:  # a loss decides, and is no score
        assert estimator.score(*held_out) == pytest.approx(scores[best], abs=1e-6)


@contextlib.contextmanager
def _weights_at_evaluations():
    """A callback with the weights in training, and a list of them as each evaluation found them."""
    found = []

    def seen(record):
        if any(name.startswith("eval_") for name in record):
            found.append([weight.detach().clone() for weight in seen.trained])

    def note(optimizer, *_):
        seen.trained = [weight for group in optimizer.param_groups for weight in group["params"]]

    hook = register_optimizer_step_post_hook(note)
    try:
        yield seen, found
    finally:
        hook.remove()


def _opposite(case):
    targets = case.targets[4:]
    if case.regresses:
        return [1 - target for target in targets]
    if case.tags_words:
        return [["B-PER" if tag == "O" else "O" for tag in row] for row in targets]
    if case.extracts:
        rows = zip(case.inputs[4:], targets, strict=True)
        return [next(word for word in text.split() if word != answer)
                for (_, text), answer in rows]  # fmt: skip
    other = {"positive": "negative", "negative": "positive"}
    return [other[label] for label in targets]


def _deciding_scores(case, history):
    """Those on validation in the order of the evaluations, higher being better."""
    names = {"tagger": "eval_f1", "prompt-tuned regressor": "eval_mae", "generator": "eval_loss",
             "extractor": "eval_exact_match"}  # fmt: skip
    name = names.get(case.name, "eval_accuracy")
    sign = -1 if name in ("eval_mae", "eval_loss") else 1
    return [sign * record[name] for record in history if name in record]


# --- scores and logits ---------------------------------------------------------------------------


def test_the_score_is_that_of_the_predictions(case, fitted):
    inputs, targets = case.inputs[:10], case.targets[:10]
    predicted = fitted.predict(inputs)
    if case.tags_words:
        expected = entity_scores(targets, predicted)["f1"]
    else:
        expected = (r2_score if case.regresses else accuracy_score)(targets, predicted)
    score = fitted.score(inputs, targets)
    assert isinstance(score, float)
    assert score == pytest.approx(expected)


def test_a_score_of_unequal_numbers_is_refused(case, fitted):
    with pytest.raises(ValueError, match=r"\b3\b.*\b2\b|\b2\b.*\b3\b"):
        fitted.score(case.inputs[:3], case.targets[:2])


@pytest.mark.only(lambda case: case.has_probabilities or case.regresses)
def test_the_softmax_of_logits_is_what_is_predicted(case, models, fitted):
    if "calibrate" in fitted.get_params():
        fitted = case.new(models, calibrate=None).fit(case.inputs, case.targets)
    logits = fitted.logits(_many(case))
    if case.tags_words:
        assert [row.shape for row in logits] == [
            (len(words), len(fitted.classes_)) for words in _many(case)
        ]
        found = softmax(np.concatenate(logits), axis=1)
    else:
        assert logits.shape[0] == len(_many(case)) and logits.ndim == 2
        found = softmax(logits, axis=1)
    if case.regresses:  # its two classes are the ends of the scale
        found = fitted.low + (fitted.high - fitted.low) * found[:, 1]
    np.testing.assert_allclose(found, case.output(fitted, _many(case)), atol=1e-6)


# --- chunks --------------------------------------------------------------------------------------


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr("reptune.estimator.CHUNK_TEXTS", CHUNK)


def _methods(case, estimator):
    names = ("predict", "predict_proba", "logits", "predict_spans")
    return [getattr(estimator, name) for name in names if hasattr(estimator, name)]


def test_a_generator_gives_what_a_list_gives(case, fitted, small_chunks):
    inputs = _many(case)
    for method in _methods(case, fitted):
        from_list, from_generator = method(inputs), method(one for one in inputs)
        assert type(from_generator) is type(from_list)
        assert len(from_generator) == len(inputs)
        np.testing.assert_array_equal(np.concatenate(_rows(from_generator)),
                                      np.concatenate(_rows(from_list)))  # fmt: skip


def _rows(output):
    return [np.atleast_1d(row) for row in output]


def test_chunks_change_nothing(case, fitted, monkeypatch):
    whole = case.output(fitted, _many(case))
    monkeypatch.setattr("reptune.estimator.CHUNK_TEXTS", CHUNK)
    np.testing.assert_allclose(case.output(fitted, _many(case)), whole, atol=1e-5)


@pytest.mark.only(lambda case: case.runs_network)
def test_a_generator_is_read_chunk_by_chunk(case, fitted, small_chunks):
    """Its own error comes out as it is, after the model has read the chunks before."""
    for method in _methods(case, fitted):
        read, read_before_each_pass = [], []

        def failing(read=read):
            for one in _many(case)[:5]:
                read.append(one)
                yield one
            raise LookupError("the disk is gone")

        hook = register_module_forward_pre_hook(
            lambda *args, seen=read_before_each_pass, read=read: seen.append(len(read))
        )
        with pytest.raises(LookupError, match="the disk is gone"):
            try:
                method(failing())
            finally:
                hook.remove()
        assert min(read_before_each_pass) <= CHUNK, "nothing is read ahead of the first chunk"


def test_a_bad_text_in_a_later_chunk_is_named_by_its_index(case, fitted, small_chunks):
    for container in (list, iter):
        inputs = container([*case.new_inputs[:3], None])
        with pytest.raises(ValueError, match=rf"{case.what}\[3\]"):
            fitted.predict(inputs)


def test_an_empty_generator_is_refused_as_an_empty_list_is(case, fitted):
    messages = []
    for empty in ([], iter([])):
        with pytest.raises(ValueError) as caught:
            fitted.predict(empty)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


# --- progress ------------------------------------------------------------------------------------


@pytest.fixture
def no_notebook(monkeypatch):
    monkeypatch.delenv("REPTUNE_PROGRESS", raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


def _used(case, models, folder, **changes):
    """Fitted, saved, loaded and asked: whatever may show a bar."""
    estimator = case.new(models, **changes).fit(case.inputs, case.targets)
    case.kind.load(estimator.save(folder)).predict(case.new_inputs)
    return estimator


def test_nothing_is_written_where_nobody_looks(case, models, tmp_path, capfd, no_notebook):
    _used(case, models, tmp_path / "model")
    assert capfd.readouterr() == ("", "")


@trains
def test_a_bar_is_shown_where_someone_looks_or_asks(
    case, models, tmp_path, capfd, no_notebook, monkeypatch
):
    _used(case, models, tmp_path / "model", show_progress=True)
    assert "step" in capfd.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    _used(case, models, tmp_path / "model")
    assert "step" in capfd.readouterr().err
    _used(case, models, tmp_path / "model", show_progress=False)
    assert capfd.readouterr() == ("", "")


# --- reptune.load --------------------------------------------------------------------------------


def test_load_opens_whatever_was_saved(case, fitted, saved):
    for folder in (saved, str(saved)):
        loaded = reptune.load(folder)
        assert type(loaded) is case.kind
        np.testing.assert_array_equal(case.output(loaded), case.output(fitted))


def test_load_refuses_what_was_not_saved(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        reptune.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"reptune\.json"):
        reptune.load(tmp_path / "empty")


@pytest.mark.parametrize("name", ["Setfit", "os.system", "BaseEstimator", "", None, 3, ["a"]])
def test_load_refuses_a_class_that_is_none_of_ours(trained, tmp_path, name):
    from tests.contract.cases import CASES

    folder = trained(CASES[0]).save(tmp_path / "model")
    manifest = json.loads((folder / "reptune.json").read_text("utf-8"))
    (folder / "reptune.json").write_text(json.dumps(manifest | {"class": name}), "utf-8")
    with pytest.raises(ValueError, match=r"class|holds"):
        reptune.load(folder)
