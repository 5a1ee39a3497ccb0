import copy
import inspect
import json
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from reptune import cloze, runtime
from reptune.cloze import (
    PromptTunedClassifier,
    PromptTunedRegressor,
    base,
    demonstrations,
    label_words,
    prompt_models,
    training,
)
from reptune.cloze.label_words import search_words
from reptune.cloze.prompt_models import collate, label_logits, load_prompt_model
from reptune.cloze.templates import Template, encode, word_ids
from reptune.models import lowrank
from reptune.models.neighbors import Neighbors
from tests import tiny
from tests.soak_cases.estimators import reseal
from tests.tiny import LABELS, TEXTS

MASKED, CAUSAL = "{text} was {mask} .", "{text} is {mask}"
WORDS = {"positive": "good", "negative": "bad"}
NUMBERS = [1.0 if label == "positive" else -1.0 for label in LABELS]
KINDS = ["masked", "causal"]


@pytest.fixture(scope="session")
def folders(tiny_masked_lm, tiny_causal_lm):
    return {"masked": tiny_masked_lm, "causal": tiny_causal_lm}


@pytest.fixture(scope="session")
def steady(tmp_path_factory):
    """Without dropout, so that a step's loss follows from the weights alone."""
    return tiny.save_masked_lm(tmp_path_factory.mktemp("steady") / "masked", dropout=0.0)


@pytest.fixture(scope="session")
def make(folders):
    def make(kind="masked", **changes):
        knobs = {
            "model": folders[kind], "template": {"masked": MASKED, "causal": CAUSAL}[kind],
            "words": WORDS, "num_steps": 6, "learning_rate": 1e-2, "random_state": 0,
        }  # fmt: skip
        return PromptTunedClassifier(**(knobs | changes))

    return make


@pytest.fixture(scope="session")
def fitted(make):
    return make().fit(TEXTS, LABELS)


@pytest.fixture(scope="session")
def make_regressor(folders):
    def make(kind="masked", **changes):
        knobs = {
            "model": folders[kind], "template": {"masked": MASKED, "causal": CAUSAL}[kind],
            "words": ("bad", "good"), "low": -1, "high": 1, "num_steps": 6,
            "learning_rate": 1e-2, "random_state": 0,
        }  # fmt: skip
        return PromptTunedRegressor(**(knobs | changes))

    return make


@pytest.fixture
def near(monkeypatch, tiny_encoder):
    """Neighbors by a tiny encoder instead of the asset."""
    monkeypatch.setattr(
        demonstrations, "Neighbors", lambda texts: Neighbors(texts, model=tiny_encoder)
    )


def _weights(estimator):
    return {name: value.clone() for name, value in estimator.model_.state_dict().items()}


# --- learning ------------------------------------------------------------------------------------


def test_the_adapter_of_the_default_model_comes_by_itself(make, monkeypatch, tiny_masked_lm):
    asked = []

    def load(model, adapter, device):
        asked.append((model, adapter))
        raise ValueError("enough")

    monkeypatch.setattr(base, "load_prompt_model", load)
    for changes in ({"model": "all-MiniLM-L6-v2"}, {}, {"adapter": "x"}):
        with pytest.raises(ValueError, match="enough"):
            make(**changes).fit(TEXTS, LABELS)
    assert asked == [
        ("all-MiniLM-L6-v2", lowrank.REVIEW_START), (tiny_masked_lm, None), (tiny_masked_lm, "x")
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fast", [True, False])
def test_it_learns_and_gives_labels_back_as_they_were(make, kind, fast):
    classifier = make(kind, num_steps=90, fast=fast).fit(TEXTS, LABELS)
    assert classifier.score(TEXTS, LABELS) == 1.0
    assert classifier.classes_.tolist() == ["negative", "positive"]
    assert classifier.words_ == WORDS
    losses = [entry["loss"] for entry in classifier.history_]
    assert len(losses) == 90 and losses[-1] < losses[0] and classifier.cost_.seconds > 0


@pytest.mark.parametrize("kind", KINDS)
def test_with_every_fast_option_off_it_is_plain_library_code(make, folders, kind):
    ours = make(kind, fast=False, num_steps=5, warmup=0.3, batch_size=6).fit(TEXTS, LABELS)

    tokenizer = AutoTokenizer.from_pretrained(folders[kind])
    load = AutoModelForCausalLM if kind == "causal" else AutoModelForMaskedLM
    model = load.from_pretrained(folders[kind]).train()
    words = [tokenizer.encode(w, add_special_tokens=False)[0] for w in (" bad", " good")]
    no_decay = [n for n, _ in model.named_parameters() if n.endswith("bias") or "norm" in n.lower()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for n, p in model.named_parameters() if n not in no_decay]},
            {"params": [p for n, p in model.named_parameters() if n in no_decay],
             "weight_decay": 0.0},
        ],
        weight_decay=0.01,
    )  # fmt: skip
    stream = np.concatenate([np.random.default_rng([0, 0, e]).permutation(16) for e in (0, 1)])
    torch.manual_seed(0)  # dropout draws from here on
    for step, share in enumerate((1 / 2, 1, 1, 2 / 3, 1 / 3)):
        rows = stream[6 * step : 6 * step + 6]
        prompts = [
            f"{TEXTS[row]} is" if kind == "causal" else f"{TEXTS[row]} was [MASK] ." for row in rows
        ]
        batch = tokenizer(prompts, padding=True, return_tensors="pt", padding_side="right")
        if kind == "causal":
            masks = batch["attention_mask"].sum(dim=1) - 1
        else:
            masks = (batch["input_ids"] == tokenizer.mask_token_id).int().argmax(dim=1)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        logits = model(**inputs).logits[range(6), masks][:, words]
        targets = torch.tensor([LABELS[row] == "positive" for row in rows]).long()
        loss = torch.nn.functional.cross_entropy(logits, targets)
        assert ours.history_[step]["loss"] == pytest.approx(loss.item(), abs=1e-5)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * share
        optimizer.step()
        optimizer.zero_grad()
    for name, weight in model.state_dict().items():
        # A key's bias changes no attention, so its gradient is rounding, which AdamW scales up.
        atol = 1e-3 if name.endswith("key.bias") else 1e-5
        torch.testing.assert_close(_weights(ours)[name], weight, rtol=0, atol=atol, msg=name)


def test_label_rows_change_nothing_but_the_time(make, steady):
    slow, fast = (
        make(model=steady, fast=names).fit(TEXTS, LABELS) for names in ((), ("label_rows",))
    )
    np.testing.assert_allclose(slow.logits(TEXTS), fast.logits(TEXTS), atol=2e-4)


def test_half_precision_is_used_and_the_loss_is_not_in_it(make, steady, monkeypatch):
    half = {"bf16": True, "fp16": False, "use_cpu": True}
    monkeypatch.setattr(runtime, "precision", lambda: half)
    seen = []
    loss = torch.nn.functional.cross_entropy

    def watched(logits, *rest):
        seen.append((logits.dtype, torch.is_autocast_enabled("cpu"), len(logits)))
        return loss(logits, *rest)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", watched)
    halved, whole = (
        make(model=steady, num_steps=3, fast=names).fit(TEXTS, LABELS)
        for names in (("half_precision",), ())
    )
    assert seen == [(torch.float32, False, 8)] * 6
    difference = np.abs(halved.logits(TEXTS) - whole.logits(TEXTS)).max()
    assert 0 < difference < 0.1


def test_the_loss_is_cross_entropy_over_the_label_words_alone(make, steady):
    untrained = make(model=steady, num_steps=0).fit(TEXTS, LABELS)
    assert untrained.history_ == []
    one = make(model=steady, num_steps=1, batch_size=99, fast=False).fit(TEXTS, LABELS)
    logits = untrained.logits(TEXTS)  # of "bad", of "good"
    losses = [
        math.log(sum(math.exp(value) for value in row)) - row[label == "positive"]
        for row, label in zip(logits.tolist(), LABELS, strict=True)
    ]
    assert one.history_[0]["loss"] == pytest.approx(np.mean(losses), abs=1e-5)
    assert not np.allclose(one.logits(TEXTS), logits, atol=1e-4), "the first step already trains"


def test_same_seed_same_bits_and_validation_does_not_influence(make):
    state = torch.get_rng_state()
    one = make().fit(TEXTS, LABELS)
    other = make().fit(TEXTS, LABELS, validation=(TEXTS[:4], LABELS[:4]))
    torch.testing.assert_close(_weights(one), _weights(other), rtol=0, atol=0)
    looks = [entry for entry in other.history_ if "eval_accuracy" in entry]
    assert [entry["step"] for entry in looks] == [1, 2, 3, 4, 6]
    scores = other.logits(TEXTS[:4])
    right = [scores[row, int(label == "positive")] for row, label in enumerate(LABELS[:4])]
    expected = np.mean(np.log(np.exp(scores).sum(axis=1)) - np.array(right))
    assert looks[-1]["eval_loss"] == pytest.approx(expected, abs=1e-6)
    different = make(random_state=1).fit(TEXTS, LABELS)
    assert not np.array_equal(one.logits(TEXTS), different.logits(TEXTS))
    assert torch.equal(state, torch.get_rng_state()), "the caller's generator stays as it was"


def _inverted(labels):
    return ["negative" if label == "positive" else "positive" for label in labels]


def test_patience_goes_back_to_the_best_weights(make):
    """What is held out contradicts what is learned, so that training makes it worse."""
    held_out = (TEXTS, _inverted(LABELS))
    classifier = make(num_steps=90, patience=3).fit(TEXTS, LABELS, validation=held_out)
    scores = [entry["eval_accuracy"] for entry in classifier.history_ if "eval_accuracy" in entry]
    best = int(np.argmax(scores))
    assert len(scores) == best + 4 < 10 and scores[-1] < scores[best]
    assert classifier.score(*held_out) == pytest.approx(scores[best])
    steps = [entry["step"] for entry in classifier.history_ if "eval_accuracy" in entry]
    assert steps == [9 * number for number in range(1, best + 5)]


class Sparing(PromptTunedClassifier):
    """Looks at validation four times."""

    PATIENT_EVALUATIONS = 4


def test_a_subclass_says_how_often_it_evaluates_with_patience(make):
    held_out = (TEXTS, _inverted(LABELS))
    params = make(num_steps=12, patience=9).get_params()
    often, seldom = (
        kind(**params).fit(TEXTS, LABELS, validation=held_out)
        for kind in (PromptTunedClassifier, Sparing)
    )
    scores = {
        one: {e["step"]: e["eval_accuracy"] for e in one.history_ if "eval_accuracy" in e}
        for one in (often, seldom)
    }
    assert list(scores[often]) == [2, 3, 4, 5, 6, 8, 9, 10, 11, 12]
    assert list(scores[seldom]) == [3, 6, 9, 12]
    for step in scores[seldom]:  # looking changes no training
        assert scores[seldom][step] == scores[often][step]
    assert seldom.score(*held_out) == max(scores[seldom].values())


def test_a_subclass_that_never_evaluates_is_refused(make, monkeypatch):
    monkeypatch.setattr(Sparing, "PATIENT_EVALUATIONS", 0)
    with pytest.raises(ValueError, match="PATIENT_EVALUATIONS=0; use a whole number from 1 on"):
        Sparing(**make().get_params()).fit(TEXTS, LABELS)


def test_patience_of_a_regressor_waits_for_a_lower_error(make_regressor):
    opposite = (TEXTS, [-number for number in NUMBERS])
    regressor = make_regressor(num_steps=90, patience=2).fit(TEXTS, NUMBERS, validation=opposite)
    errors = [entry["eval_mae"] for entry in regressor.history_ if "eval_mae" in entry]
    best = int(np.argmin(errors))
    assert len(errors) == best + 3 < 10
    found = np.abs(regressor.predict(TEXTS) - np.array(opposite[1])).mean()
    assert found == pytest.approx(errors[best], abs=1e-5)
    with pytest.raises(ValueError, match=r"patience=2 needs validation=\(texts, targets\) in fit"):
        regressor.fit(TEXTS, NUMBERS)


def test_prediction_batches_have_the_size_asked_for(make, monkeypatch):
    sizes = []

    def watched(prompt_model, batch, *rest, **others):
        sizes.append(len(batch.mask))
        return label_logits(prompt_model, batch, *rest, **others)

    monkeypatch.setattr(prompt_models, "label_logits", watched)
    classifier = make(num_steps=0, prediction_batch_size=6).fit(TEXTS, LABELS)
    del sizes[:]
    six = classifier.logits(TEXTS)
    assert sizes == [6, 6, 4]
    del sizes[:]
    whole = classifier.set_params(prediction_batch_size=None).logits(TEXTS)
    assert sizes == [16]
    np.testing.assert_allclose(six, whole, atol=1e-5)


def test_predict_is_the_argmax_of_predict_proba(fitted):
    probabilities = fitted.predict_proba(TEXTS)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert (fitted.classes_[probabilities.argmax(axis=1)] == fitted.predict(TEXTS)).all()
    texts = ["good " * n + "film" for n in (9, 1, 5, 2, 7)] + ["bad"]
    one_by_one = np.concatenate([fitted.logits([text]) for text in texts])
    np.testing.assert_allclose(fitted.logits(texts), one_by_one, atol=1e-5)


def test_pairs_of_texts(make):
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))
    classifier = make(template="{text} {mask} {text2}").fit(pairs, LABELS)
    assert classifier.predict(pairs).shape == (16,)
    assert not np.allclose(
        classifier.logits(pairs), classifier.logits([pair[::-1] for pair in pairs]), atol=1e-3
    )
    np.testing.assert_array_equal(
        classifier.logits(np.array(pairs)), classifier.logits(list(map(list, pairs)))
    )


def test_long_inputs_are_cut_with_one_warning_that_counts(make):
    texts, labels = [*TEXTS, "good " * 60, "bad " * 60], [*LABELS, "positive", "negative"]
    with pytest.warns(UserWarning, match="of 18 prompts, the input of 2 was cut") as caught:
        classifier = make(num_steps=9).fit(texts, labels)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="of 2 prompts, the input of 1 was cut"):
        classifier.predict(["good " * 60, "bad"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(num_steps=1, max_length=32).fit(texts, labels).predict(texts)


def test_models_and_words_can_be_imported_from_here():
    for module in (label_words, prompt_models):
        for name in set(cloze.__all__) & set(vars(module)):
            assert getattr(cloze, name) is getattr(module, name)
    own = {"PromptTunedClassifier", "PromptTunedRegressor"}
    taken = {"load_prompt_model", "collate", "label_logits", "candidate_words", "search_words"}
    assert own | taken <= set(cloze.__all__)


# --- words ---------------------------------------------------------------------------------------


def test_labels_that_are_words_stand_for_themselves(make):
    labels = ["good" if label == "positive" else "bad" for label in LABELS]
    classifier = make(words=None).fit(TEXTS, labels)
    assert classifier.words_ == {"bad": "bad", "good": "good"}
    causal = make("causal", words=None).fit(TEXTS, LABELS)
    assert causal.words_ == {"negative": "negative", "positive": "positive"}


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_searched_for_other_labels(make, folders, kind):
    labels = [7 if label == "positive" else -1 for label in LABELS]
    classifier = make(kind, words=None, num_steps=0).fit(pd.Series(TEXTS), np.array(labels))
    assert classifier.classes_.tolist() == [-1, 7]
    assert classifier.predict(np.array(TEXTS)).dtype.kind == "i"
    template = CAUSAL if kind == "causal" else MASKED
    untrained = load_prompt_model(folders[kind])
    (best, accuracy), *others = search_words(untrained, template, TEXTS, labels)
    assert classifier.words_ == best
    assert classifier.score(TEXTS, labels) == pytest.approx(accuracy)
    assert accuracy >= 0.5 and all(accuracy >= other for _, other in others) and len(others) == 9


# --- demonstrations ------------------------------------------------------------------------------


@pytest.fixture
def shown(near, monkeypatch):
    """What each encoded prompt shows: `(text, demonstrations)`."""
    seen = []

    def spy(template, tokenizer, text, text2=None, *, demonstrations=(), **kwargs):
        seen.append((text, list(demonstrations)))
        return encode(template, tokenizer, text, text2, demonstrations=demonstrations, **kwargs)

    monkeypatch.setattr(demonstrations, "encode", spy)
    return seen


def _longer(make, kind="causal", **changes):
    return make(kind, per_class=1, demonstration_draws=3, **changes)


def test_each_class_shows_one_of_its_nearer_half_and_never_the_input_itself(
    make, shown, tiny_encoder
):
    _longer(make, num_steps=40).fit(TEXTS, LABELS)
    prompts = [(text, drawn) for text, drawn in shown if drawn]
    assert len(prompts) == 40 * 8
    order = Neighbors(TEXTS, model=tiny_encoder).order_of_fitted()[:, :-1]
    seen = {text: set() for text in TEXTS}
    for text, drawn in prompts:
        assert sorted(word for _, _, word in drawn) == ["bad", "good"]
        row = TEXTS.index(text)
        for other, _, word in drawn:
            assert other != text and WORDS[LABELS[TEXTS.index(other)]] == word
            members = [p for p in order[row] if WORDS[LABELS[p]] == word]
            assert TEXTS.index(other) in members[: math.ceil(len(members) / 2)]
            seen[text].add(other)
    assert np.mean([len(others) for others in seen.values()]) > 4, "drawn anew at each step"
    firsts = {drawn[0][2] for _, drawn in prompts}
    assert firsts == {"good", "bad"}, "in random order"


def test_probabilities_are_averaged_over_draws(make, shown):
    classifier = _longer(make).fit(TEXTS, LABELS)
    del shown[:]
    found = classifier.predict_proba(["a fine plot"])
    drawn = [one for text, one in shown if text == "a fine plot"]
    assert len(drawn) == 3
    model = classifier.prompt_model_
    encoded = [
        encode(
            Template(CAUSAL), model.tokenizer, "a fine plot", limit=model.limit, causal=True,
            demonstrations=one,
        )
        for one in drawn
    ]  # fmt: skip
    ids = word_ids(
        WORDS, classifier.classes_, model.tokenizer, causal=True, template=Template(CAUSAL)
    )
    with torch.inference_mode():
        logits = label_logits(model, collate(model, encoded), ids)
    expected = logits.softmax(dim=1).mean(dim=0)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    np.testing.assert_allclose(np.exp(classifier.logits(["a fine plot"]))[0], expected, atol=1e-5)


def test_an_inputs_draws_do_not_hang_on_its_neighbors(make, near):
    classifier = _longer(make).fit(TEXTS, LABELS)
    alone = np.concatenate([classifier.predict_proba([text]) for text in TEXTS[:5]])
    np.testing.assert_allclose(classifier.predict_proba(TEXTS[:5]), alone, atol=1e-5)
    again = _longer(make).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


def test_inputs_of_one_draw_see_different_orders(make, shown):
    classifier = _longer(make).set_params(demonstration_draws=1).fit(TEXTS, LABELS)
    del shown[:]
    classifier.predict(TEXTS)
    assert {drawn[0][2] for _, drawn in shown} == {"good", "bad"}


def test_demonstrations_that_do_not_fit_are_counted_once(make, near):
    with pytest.warns(UserWarning, match=r"of 16 prompts, 16 lost \d+ demonstrations") as caught:
        _longer(make, num_steps=2, max_length=12).fit(TEXTS, LABELS)
    assert len(caught) == 1


def test_one_example_of_a_class_has_none_of_its_own_to_show(make, shown):
    labels = ["positive"] + ["negative"] * 15
    _longer(make, num_steps=2, batch_size=16).fit(TEXTS, labels)
    drawn = dict(shown[-16:])
    assert [word for *_, word in drawn[TEXTS[0]]] == ["bad"]
    assert all(len(drawn[text]) == 2 for text in TEXTS[1:])


# --- regression ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_regression_learns_a_scale(make_regressor, kind):
    regressor = make_regressor(kind, num_steps=90).fit(TEXTS, NUMBERS)
    predicted = regressor.predict(TEXTS)
    assert regressor.score(TEXTS, NUMBERS) > 0.8
    assert predicted.shape == (16,) and -1 <= predicted.min() < predicted.max() <= 1
    assert regressor.words_ == {"bad": "bad", "good": "good"}


def test_regression_by_hand(make_regressor, steady):
    targets = np.linspace(2, 6, 16).tolist()
    knobs = {"model": steady, "low": 2, "high": 10, "fast": False}
    untrained = make_regressor(**knobs, num_steps=0).fit(TEXTS, targets)
    one = make_regressor(**knobs, num_steps=1, batch_size=16).fit(
        TEXTS, targets, validation=(TEXTS, targets)
    )
    scores = untrained.logits(TEXTS)
    share = 1 / (1 + np.exp(scores[:, 0] - scores[:, 1]))  # P("good")
    np.testing.assert_allclose(untrained.predict(TEXTS), 2 + 8 * share, atol=1e-6)
    wanted = (np.array(targets) - 2) / 8
    loss = -(wanted * np.log(share) + (1 - wanted) * np.log(1 - share)).mean()
    assert one.history_[0]["loss"] == pytest.approx(loss, abs=1e-5)
    error = np.abs(one.predict(TEXTS) - targets).mean()
    assert one.history_[1]["eval_mae"] == pytest.approx(error, abs=1e-5)


def test_a_regressor_shows_one_example_of_each_half(make_regressor, shown):
    make_regressor("causal", per_class=1).fit(TEXTS, NUMBERS)
    for _, drawn in [one for one in shown if one[1]]:
        assert sorted(word for *_, word in drawn) == ["bad", "good"]
        assert all(NUMBERS[TEXTS.index(t)] == (1 if w == "good" else -1) for t, _, w in drawn)


@pytest.mark.parametrize(
    ("changes", "targets", "message"),
    [
        ({}, [*NUMBERS[:-1], 1.5], r"targets\[15\] is 1.5.*from low=-1 to high=1"),
        ({}, [*NUMBERS[:-1], float("nan")], r"targets\[15\] is nan"),
        ({}, [*NUMBERS[:-1], "1"], r"targets\[15\] is '1'"),
        ({}, NUMBERS[:-1], "16 texts but 15 targets"),
        ({"low": 1}, NUMBERS, "low=1, high=1"),
        ({"words": ("good",)}, NUMBERS, "use two words"),
        ({"words": "good"}, NUMBERS, "use two words"),
        ({"words": ("good", "good")}, NUMBERS, "are the same"),
        ({"words": ("unheard", "good")}, NUMBERS, "'unheard' is unknown"),
        ({"num_steps": -1}, NUMBERS, "num_steps=-1"),
        ({"low": None}, NUMBERS, "low=None; use a finite number"),
        ({"high": math.inf}, NUMBERS, "high=inf"),
        ({"high": "1"}, NUMBERS, "high='1'"),
        ({"learning_rate": math.inf}, NUMBERS, "learning_rate=inf"),
        ({"words": ("good", None)}, NUMBERS, r"words=\('good', None\); use two strings"),
        ({}, None, "targets is None; pass a list of numbers"),
        ({}, "abc", "targets='abc'; pass a list of numbers"),
        ({}, pd.DataFrame({"y": NUMBERS}), r"columns \['y'\]"),
        ({}, dict.fromkeys(TEXTS, 1.0), "targets is a dict"),
    ],
)
def test_bad_regressions(make_regressor, changes, targets, message):
    with pytest.raises(ValueError, match=message):
        make_regressor(**changes).fit(TEXTS, targets)


# --- scikit-learn, saving ------------------------------------------------------------------------


@pytest.mark.parametrize("validation", [5, (TEXTS,), "ab", (TEXTS, NUMBERS, 1)])
def test_bad_validation_of_a_regressor(make_regressor, validation):
    with pytest.raises(ValueError, match=r"pass a pair, \(texts, targets\)"):
        make_regressor().fit(TEXTS, NUMBERS, validation=validation)


def test_the_regressor_has_the_parameters_of_both():
    shared = inspect.signature(base.PromptTuned).parameters
    own = inspect.signature(PromptTunedRegressor).parameters
    assert list(own) == [*list(shared)[:3], "low", "high", *list(shared)[3:]]
    for name in list(shared)[3:]:
        assert own[name] == shared[name]
    regressor = PromptTunedRegressor("a", "{text} {mask}", high=5, warmup=0.5)
    assert list(regressor.get_params()) == sorted(own)
    assert (regressor.high, regressor.warmup, regressor.words) == (5, 0.5, ("no", "yes"))
    assert clone(regressor).get_params() == regressor.get_params()
    with pytest.raises(TypeError, match="no parameter 'warm_up', did you mean 'warmup'"):
        PromptTunedRegressor(warm_up=0.5)


def test_it_works_in_scikit_learn(make, make_regressor):
    copied = clone(make(num_steps=3))
    assert copied.get_params()["num_steps"] == 3 and copied.get_params()["words"] == WORDS
    assert clone(make_regressor(high=3)).get_params()["high"] == 3
    assert cross_val_score(make(num_steps=2), TEXTS, LABELS, cv=2).shape == (2,)
    assert cross_val_score(make_regressor(num_steps=2), TEXTS, NUMBERS, cv=2).shape == (2,)
    search = GridSearchCV(make("causal"), {"num_steps": [0, 60]}, cv=2)
    assert search.fit(TEXTS, LABELS).best_params_ == {"num_steps": 60}
    pairs = list(zip(TEXTS, TEXTS, strict=True))
    changed = make(num_steps=1, template="{text} {mask} {text2}")
    assert cross_val_score(changed, pairs, LABELS, cv=2).shape == (2,)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("masked", {}),
        ("causal", {"per_class": 1}),
        ("masked", {"template": Template(MASKED), "words": None, "max_length": 9}),
        ("masked", {"fast": {"label_rows"}, "random_state": None}),
        ("causal", {"per_class": 2, "random_state": None}),
    ],
)
def test_saved_and_loaded_is_the_same(make, near, tmp_path, kind, changes):
    classifier = make(kind, num_steps=3, **changes).fit(TEXTS, LABELS)
    folder = classifier.save(tmp_path / "model")
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".bin", ".pt")]
    loaded = PromptTunedClassifier.load(folder)
    np.testing.assert_array_equal(loaded.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    assert loaded.words_ == classifier.words_ and loaded.classes_.tolist() == [
        "negative",
        "positive",
    ]
    assert str(loaded.template) == str(classifier.template)


def test_integer_labels_a_pair_template_and_an_adapters_path_survive_saving(make, tmp_path, steady):
    pairs = list(zip(TEXTS, TEXTS, strict=True))
    labels = [(1, 2, 30)[row % 3] for row in range(16)]
    words = {1: "good", 2: "bad", 30: "fine"}
    model = AutoModelForMaskedLM.from_pretrained(steady)
    adapter = tmp_path / "adapter.safetensors"
    lowrank.save_adapter(model, lowrank.add_low_rank(model, rank=2), adapter)
    classifier = make(
        model=steady, template="{text} {mask} {text2}", words=words, adapter=adapter
    ).fit(pairs, labels)
    loaded = PromptTunedClassifier.load(classifier.save(tmp_path / "model"))
    assert loaded.classes_.tolist() == [1, 2, 30] and loaded.words == words
    np.testing.assert_array_equal(loaded.logits(pairs), classifier.logits(pairs))
    refitted = loaded.fit(pairs, labels)
    np.testing.assert_array_equal(refitted.logits(pairs), classifier.logits(pairs))


def _damage(folder, name, change):
    path = folder / name
    path.write_text(json.dumps(change(json.loads(path.read_text("utf-8")))), "utf-8")
    reseal(folder)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": ["bad"]}, r"words=\['bad'\] in the manifest for 2 classes"),
        ({"words": ["bad", "good", "fine"]}, "for 2 classes"),
        ({"words": None}, "words=None in the manifest"),
        ({"words": "ab"}, "words='ab' in the manifest"),
        ({"words": ["bad", "bad"]}, "share the word 'bad'"),
        ({"words": ["bad", 5]}, "the word of label 'positive' is 5"),
        ({"seed": None}, "seed in the manifest=None"),
        ({"seed": -1}, "seed in the manifest=-1"),
        ({"classes": ["a", "b", "c"]}, "for 3 classes"),
    ],
)
def test_damaged_manifests_are_refused(fitted, tmp_path, change, message):
    folder = fitted.save(tmp_path / "model")
    _damage(folder, "reptune.json", lambda manifest: manifest | change)
    with pytest.raises(ValueError, match=rf"damaged model \(.*{message}"):
        PromptTunedClassifier.load(folder)


@pytest.mark.parametrize("name", ["words", "seed", "classes", "params"])
def test_manifests_that_lack_a_key_are_refused(fitted, tmp_path, name):
    folder = fitted.save(tmp_path / "model")
    _damage(
        folder, "reptune.json", lambda manifest: {k: manifest[k] for k in manifest if k != name}
    )
    with pytest.raises(ValueError, match=f"damaged.*{name}"):
        PromptTunedClassifier.load(folder)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no list of examples"),
        ({}, "holds no list of examples"),
        ([["a", None]], "holds no list of examples"),
        ([["a", None, 2]], "has a class 2 of 2"),
        ([["a", None, -1]], "a class in examples.json=-1"),
        ([["a", None, "x"]], "a class in examples.json='x'"),
        ([[5, None, 0]], r"examples in examples\.json\[0\] is 5"),
        ([["a", "b", 0]], "has pairs, but template="),
    ],
)
def test_damaged_demonstrations_are_refused(make, near, tmp_path, rows, message):
    folder = make(per_class=1, num_steps=1).fit(TEXTS, LABELS).save(tmp_path / "model")
    _damage(folder, "examples.json", lambda _: rows)
    with pytest.raises(ValueError, match=rf"damaged model \(.*{message}"):
        PromptTunedClassifier.load(folder)


def test_fast_options_come_back_as_they_were(make, tmp_path):
    for fast in (("label_rows",), (), True, False):
        classifier = make(fast=fast, num_steps=1).fit(TEXTS, LABELS)
        assert PromptTunedClassifier.load(classifier.save(tmp_path / "model")).fast == fast


# --- copies --------------------------------------------------------------------------------------

WAYS = [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]


@pytest.mark.parametrize("again", WAYS)
@pytest.mark.parametrize("changes", [{}, {"per_class": 1, "demonstration_draws": 2}])
@pytest.mark.parametrize("kind", KINDS)
def test_copies_predict_the_same(make, near, kind, changes, again):
    classifier = make(kind, num_steps=2, **changes).fit(TEXTS, LABELS)
    expected = classifier.predict_proba(TEXTS)
    copied = again(classifier)
    np.testing.assert_array_equal(copied.predict_proba(TEXTS), expected)
    assert copied.history_ == classifier.history_ and copied.words_ == classifier.words_
    assert copied.model_ is copied.prompt_model_.model is copied._prompts.prompt_model.model
    with torch.no_grad():
        for weight in copied.model_.parameters():
            weight.zero_()
    np.testing.assert_array_equal(classifier.predict_proba(TEXTS), expected)


@pytest.mark.parametrize("again", WAYS)
def test_copies_of_a_regressor_predict_the_same(make_regressor, again):
    regressor = make_regressor(num_steps=2).fit(TEXTS, NUMBERS)
    np.testing.assert_array_equal(again(regressor).predict(TEXTS), regressor.predict(TEXTS))


def test_cross_validation_in_processes_gives_its_estimators_back(make):
    found = cross_validate(
        make(num_steps=1), TEXTS, LABELS, cv=2, n_jobs=2, return_estimator=True, error_score="raise"
    )
    for estimator in found["estimator"]:
        assert set(estimator.predict(TEXTS)) <= set(LABELS)


# --- numbers -------------------------------------------------------------------------------------


def test_numbers_of_numpy(make, make_regressor, tmp_path):
    integers = {"num_steps": 2, "batch_size": 4, "max_length": 20, "random_state": 3}
    floats = {"learning_rate": 1e-3, "warmup": 0.25, "weight_decay": 0.125}
    numbers = {name: np.int64(value) for name, value in integers.items()}
    numbers |= {name: np.float64(value) for name, value in floats.items()}
    plain = make(**integers, **floats).fit(TEXTS, LABELS)
    other = make(**numbers).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(other.logits(TEXTS), plain.logits(TEXTS))
    loaded = PromptTunedClassifier.load(other.save(tmp_path / "model"))
    assert loaded.get_params() | {"model": 0} == plain.get_params() | {"model": 0}
    ends = {"low": np.float32(-1), "high": np.int64(1)}
    regressor = make_regressor(**numbers, **ends).fit(TEXTS, np.array(NUMBERS))
    plain = make_regressor(**integers, **floats).fit(TEXTS, NUMBERS)
    np.testing.assert_array_equal(regressor.predict(TEXTS), plain.predict(TEXTS))


def test_a_model_that_diverges_is_not_returned(make):
    classifier = make(num_steps=2).fit(TEXTS, LABELS)
    before = classifier.predict_proba(TEXTS)
    with pytest.raises(ValueError, match=r"training diverged: .* not finite. Lower learning_rate"):
        classifier.set_params(learning_rate=1e38, num_steps=4).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(classifier.predict_proba(TEXTS), before)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ([], [], "there are none"),
        (TEXTS, LABELS[:-1], "16 texts but 15 labels"),
        (TEXTS, ["positive"] * 16, "labels hold 1 class"),
        ([*TEXTS[:-1], None], LABELS, r"texts\[15\] is None"),
        ("good film", ["a"], "single string"),
        (3, ["a"], "texts is 3"),
        ([*TEXTS[:-1], "a\ud800"], LABELS, r"texts\[15\] is not valid Unicode"),
        (pd.DataFrame({"text": TEXTS}), LABELS, r"columns \['text'\]"),
        ([("a", "b")] * 16, LABELS, r"add \{text2\} to it for pairs"),
    ],
)
def test_bad_texts_and_labels(make, texts, labels, message):
    with pytest.raises(ValueError, match=message):
        make().fit(texts, labels)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (TEXTS, r"texts\[0\] is 'the film is good', but .* takes pairs"),
        ([("a", "b", "c")] * 16, r"texts\[0\] is \('a', 'b', 'c'\)"),
        ([("a", None)] * 16, r"texts\[0\] is None"),
        ([], "there are none"),
    ],
)
def test_bad_pairs(make, texts, message):
    with pytest.raises(ValueError, match=message):
        make(template="{text} {mask} {text2}").fit(texts, LABELS)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("masked", {"template": "{text}"}, r"\{mask\} 0 times"),
        ("masked", {"template": None}, "template=None"),
        ("causal", {"template": MASKED}, r"goes on after \{mask\}"),
        ("masked", {"words": {"positive": "good"}}, r"words lack \['negative'\]"),
        ("masked", {"words": ["good", "bad"]}, "pass a dictionary"),
        ("masked", {"num_steps": -1}, "num_steps=-1; use a whole number from 0 on"),
        ("masked", {"num_steps": 2.5}, "num_steps=2.5"),
        ("masked", {"batch_size": 0}, "batch_size=0"),
        ("masked", {"learning_rate": 0}, "learning_rate=0"),
        ("masked", {"warmup": 1}, "warmup=1"),
        ("masked", {"per_class": -1}, "per_class=-1"),
        ("masked", {"demonstration_draws": 0}, "demonstration_draws=0"),
        ("masked", {"max_length": 1000}, "takes at most 32 tokens; lower it"),
        ("masked", {"max_length": 4}, "limit=4, but .* raise max_length"),
        ("masked", {"fast": "label_rows"}, "in a tuple"),
        ("masked", {"fast": ("label_row",)}, "did you mean 'label_rows'"),
        ("masked", {"adapter": "gone"}, "adapter='gone' is no file"),
        ("masked", {"adapter": 5}, "adapter='5' is no file"),
        ("masked", {"learning_rate": math.inf}, "learning_rate=inf"),
        ("masked", {"learning_rate": math.nan}, "learning_rate=nan"),
        ("masked", {"learning_rate": -1.0}, r"learning_rate=-1\.0"),
        ("masked", {"learning_rate": "1e-4"}, "learning_rate='1e-4'.*without the quotes"),
        ("masked", {"weight_decay": math.nan}, "weight_decay=nan"),
        ("masked", {"weight_decay": -0.1}, r"weight_decay=-0\.1"),
        ("masked", {"warmup": math.nan}, "warmup=nan"),
        ("masked", {"warmup": None}, "warmup=None"),
        ("masked", {"fast": 5}, "fast=5; use True, False"),
        ("masked", {"fast": None}, "fast=None; use True"),
        ("masked", {"fast": [5]}, r"fast=\[5\]; use True"),
        ("masked", {"random_state": -1}, "random_state=-1"),
        ("masked", {"random_state": 2.0}, r"random_state=2\.0"),
        ("masked", {"show_progress": "no"}, "show_progress='no'; use True or False"),
        ("masked", {"template": "{text} \ud800 {mask}"}, "template is not valid Unicode"),
        (
            "masked",
            {"words": {"positive": "good", "negative": "\ud800"}},
            "the word of label 'negative' is not valid Unicode",
        ),
    ],
)
def test_bad_parameters(make, monkeypatch, kind, changes, message):
    monkeypatch.setattr(training, "word_loss", lambda *_: pytest.fail("it trained"))
    with pytest.raises(ValueError, match=message):
        make(kind, **changes).fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ((TEXTS, ["unseen"] * 16), r"labels that training has not: \['unseen'\]"),
        ((TEXTS, LABELS[:3]), "16 texts but 3 labels"),
        (([3], ["positive"]), r"validation texts\[0\] is 3"),
        (([("a", "b")], ["positive"]), r"add \{text2\} to it for pairs"),
        (5, r"validation=5; pass a pair, \(texts, labels\)"),
        ((TEXTS,), "pass a pair"),
        ("ab", "validation='ab'"),
        ({"texts": TEXTS, "labels": LABELS}, "pass a pair"),
    ],
)
def test_bad_validation(make, validation, message):
    with pytest.raises(ValueError, match=message):
        make().fit(TEXTS, LABELS, validation=validation)


def test_the_progress_bar_leaves_nothing_behind(make, capsys):
    make(num_steps=2, show_progress=True).fit(TEXTS, LABELS)
    err = capsys.readouterr().err
    assert "prompt-based fine-tuning" in err and err.split("\r")[-2].strip() == ""
