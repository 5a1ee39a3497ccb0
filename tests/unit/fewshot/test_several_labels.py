"""Several labels per text: pairs, heads and thresholds of SetFit and the frozen classifier."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from reptune.fewshot import FrozenClassifier, LabelwiseHead, SetFitClassifier, contrastive
from reptune.fewshot import encoder as encoder_module
from reptune.fewshot.contrastive import (
    PairSampler,
    SentenceBatches,
    all_pairs_cosine_loss,
    cosine_pair_loss,
    existing_pairs,
    pair_budget,
    supervised_contrastive_loss,
)
from reptune.multilabel import POOLED_TEXTS, best_thresholds, choose_thresholds
from tests.tiny import LABELS, TEXTS

SETS = [
    [label, *(["film"] if "film" in text else [])] if "plot" not in text else []
    for text, label in zip(TEXTS, LABELS, strict=True)
]
# a text that shares a label with the next but not with the one after it; two without any.
CHAIN = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]], dtype=bool)


def _alike(indicator):
    return [
        [bool((one & other).any() or not (one.any() or other.any())) for other in indicator]
        for one in indicator
    ]


def _random(num_texts, num_labels, share=0.3, seed=0):
    return np.random.default_rng(seed).random((num_texts, num_labels)) < share


@pytest.fixture(scope="session")
def make(tiny_encoder):
    def make(**changes):
        knobs = {"model": tiny_encoder, "num_steps": 30, "learning_rate": 5e-3, "random_state": 0,
                 "thresholds": 0.5}  # fmt: skip
        return SetFitClassifier(**(knobs | changes))

    return make


# --- pairs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("indicator", [CHAIN, _random(40, 3), _random(12, 2, 0.0)])
def test_pairs_are_counted_and_each_is_drawn_once(indicator, monkeypatch):
    monkeypatch.setattr(contrastive, "_BLOCK_ROWS", 7)
    alike = _alike(indicator)
    pairs = list(itertools.combinations(range(len(indicator)), 2))
    exist = existing_pairs(indicator)
    assert exist.positive == sum(alike[i][j] for i, j in pairs)
    assert exist.total == len(pairs)
    drawn = list(PairSampler(indicator, "unique"))
    assert all(alike[i][j] == bool(same) and i != j for i, j, same in drawn)
    assert {frozenset(pair[:2]) for pair in drawn} == set(map(frozenset, pairs))
    assert len(drawn) == len(pairs)


def test_a_number_gives_each_text_partners_of_both_kinds():
    alike = _alike(CHAIN)
    drawn = list(PairSampler(CHAIN, 4))
    assert len(drawn) == pair_budget(CHAIN, 4).total == 4 * 5 + 4 * 6, "the last is alone"
    assert all(alike[i][j] == bool(same) and i != j for i, j, same in drawn)
    assert {j for i, j, same in drawn if i == 1 and same} == {0, 2}
    assert {j for i, j, same in drawn if i == 1 and not same} == {3, 4, 5}


@pytest.mark.parametrize("sampling", ["unique", "oversampling", "undersampling", 3])
def test_one_label_per_text_is_the_same_either_way(sampling):
    labels = np.random.default_rng(0).integers(0, 4, 30)
    assert pair_budget(np.eye(4, dtype=bool)[labels], sampling) == pair_budget(labels, sampling)


def test_each_batch_holds_two_texts_that_are_alike():
    indicator = _random(60, 5, 0.2)
    alike = np.array(_alike(indicator))
    for batch in itertools.islice(SentenceBatches(indicator, 8), 100):
        assert len(set(batch.tolist())) == 8
        block = alike[np.ix_(batch, batch)]
        assert block.sum() > 8 and not block.all()


def test_losses_see_who_shares_a_label():
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, 5), torch.from_numpy(CHAIN)
    first, second = torch.triu_indices(6, 6, offset=1)
    same = torch.tensor(_alike(CHAIN))[first, second]
    cosines = torch.cosine_similarity(embeddings[first], embeddings[second])
    found = all_pairs_cosine_loss(embeddings, labels, balanced=False)
    torch.testing.assert_close(found, cosine_pair_loss(cosines, same))

    one_hot = torch.eye(3, dtype=torch.bool)[torch.tensor([0, 1, 0, 2, 1, 0])]
    for loss in (all_pairs_cosine_loss, supervised_contrastive_loss):
        ids = loss(embeddings, torch.tensor([0, 1, 0, 2, 1, 0]))
        assert torch.equal(loss(embeddings, one_hot), ids)


# --- heads ---------------------------------------------------------------------------------------


def test_the_head_is_a_logistic_regression_for_each_label():
    generator = np.random.default_rng(0)
    vectors, has = generator.normal(size=(50, 4)), _random(50, 3, 0.4)
    head = LabelwiseHead.fit(LogisticRegression(C=3.0), vectors, has, np.array([1.0, 5.0, 1.0]))
    for label in range(3):
        weights = np.where(has[:, label], 5.0 if label == 1 else 1.0, 1.0)
        alone = LogisticRegression(C=3.0).fit(vectors, has[:, label], sample_weight=weights)
        np.testing.assert_allclose(
            head.predict_proba(vectors)[:, label], alone.predict_proba(vectors)[:, 1]
        )


def test_a_label_that_every_text_has_is_all_but_certain():
    has = np.column_stack([np.ones(8, dtype=bool), _random(8, 1, 0.5)[:, 0]])
    head = LabelwiseHead.fit(
        LogisticRegression(), np.random.default_rng(0).normal(size=(8, 3)), has
    )
    np.testing.assert_allclose(head.predict_proba(np.ones((2, 3)))[:, 0], 9 / 10)


# --- the classifiers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "supcon"},
        {"efficient": False, "num_steps": 60},
        {"efficient": False, "sampling": 3, "num_steps": None},
        {"head": "differentiable"},
        {"head": "differentiable", "end_to_end": True, "class_weight": "balanced"},
        {"head": LogisticRegression(C=10)},
        {"batch_size": 6},
    ],
)
def test_setfit_learns_lists_of_labels_and_saves_them(make, changes, tmp_path):
    classifier = make(**changes).fit(TEXTS, SETS)
    assert classifier.classes_.tolist() == ["film", "negative", "positive"]
    assert classifier.score(TEXTS, SETS) > 0.6, "0.31 before training"
    assert classifier.score(TEXTS, classifier.predict(TEXTS)) == 1.0
    np.testing.assert_allclose(
        classifier.predict_proba(TEXTS), expit(classifier.logits(TEXTS)), atol=1e-12
    )
    loaded = SetFitClassifier.load(classifier.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    assert loaded.predict(TEXTS) == classifier.predict(TEXTS)
    assert str(loaded.head) == str(classifier.head)


def test_a_frozen_one_is_saved_and_forgets_its_lists_when_fitted_anew(tiny_encoder, tmp_path):
    classifier = FrozenClassifier(tiny_encoder, C=1e4, class_weight="balanced")
    classifier.fit(TEXTS, SETS, validation=(TEXTS, SETS))
    assert classifier.score(TEXTS, SETS) > 0.8
    loaded = FrozenClassifier.load(classifier.save(tmp_path / "model"))
    assert loaded.predict(TEXTS) == classifier.predict(TEXTS)
    assert (loaded.thresholds_ == classifier.thresholds_).all()
    assert classifier.fit(TEXTS, LABELS).predict(TEXTS[:1]).shape == (1,)


def test_the_same_seed_gives_the_same_bits(make):
    one, other = (make(thresholds=None, num_steps=3).fit(TEXTS, SETS) for _ in range(2))
    np.testing.assert_array_equal(one.logits(TEXTS), other.logits(TEXTS))
    assert (one.thresholds_ == other.thresholds_).all()


def test_class_weights_shift_the_balance(tiny_encoder):
    plain, heavy = (
        FrozenClassifier(tiny_encoder, class_weight=weight, thresholds=0.5).fit(TEXTS, SETS)
        for weight in (None, {"film": 9.0, "negative": 1.0, "positive": 1.0})
    )
    shift = (heavy.predict_proba(TEXTS) - plain.predict_proba(TEXTS)).mean(axis=0)
    assert shift[0] > 0.1 and np.abs(shift[1:]).max() < 1e-9


# --- thresholds ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "new",
    [
        lambda encoder: FrozenClassifier(encoder, random_state=0),
        lambda encoder: SetFitClassifier(encoder, trainable="head", random_state=0),
    ],
)
def test_folds_reuse_the_embeddings_and_choose_what_folds_of_texts_would(
    new, tiny_encoder, monkeypatch
):
    embedded = []
    embed = encoder_module.Encoder._embed

    def counted(self, rows):
        embedded.extend(rows)
        return embed(self, rows)

    monkeypatch.setattr(encoder_module.Encoder, "_embed", counted)
    classifier = new(tiny_encoder).fit(TEXTS, SETS)
    assert len(embedded) <= 2 * len(TEXTS), "without the folds' six times two thirds"
    indicator = np.array([[label in row for label in classifier.classes_] for row in SETS])
    expected = choose_thresholds(new(tiny_encoder), TEXTS, classifier.classes_, indicator)
    np.testing.assert_allclose(classifier.thresholds_, expected, atol=1e-5)
    assert not np.allclose(classifier.thresholds_, 0.5, atol=1e-3)


def test_validation_chooses_thresholds_and_patience_stops(make, monkeypatch):
    validation = (TEXTS[::2], SETS[::2])
    fits = []
    fit = SetFitClassifier.fit
    monkeypatch.setattr(
        SetFitClassifier, "fit", lambda self, *data: fits.append(self) or fit(self, *data)
    )
    classifier = make(thresholds=None, patience=3).fit(TEXTS, SETS, validation)
    scores = [row["eval_accuracy"] for row in classifier.history_ if "eval_accuracy" in row]
    assert len(scores) < 10 and max(scores[-3:]) <= max(scores[:-3])
    assert len(fits) == 1, "no folds"
    indicator = np.array([[label in row for label in classifier.classes_] for row in SETS[::2]])
    expected = best_thresholds(indicator, classifier.predict_proba(TEXTS[::2]), POOLED_TEXTS)
    np.testing.assert_allclose(classifier.thresholds_, expected, atol=1e-6)


def test_setfit_fits_once_more_per_fold(make, monkeypatch):
    fits = []
    fit = SetFitClassifier.fit
    monkeypatch.setattr(
        SetFitClassifier, "fit", lambda self, *data: fits.append(len(data[0])) or fit(self, *data)
    )
    make(thresholds=None, num_steps=2).fit(TEXTS, SETS)
    assert len(fits) == 4 and fits[0] == 16 and sum(fits[1:]) == 32


# --- setfit's own library ------------------------------------------------------------------------


@pytest.mark.parametrize("head", [None, "differentiable"])
@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_the_stock_library_loads_the_export(make, head, threshold, tmp_path):
    setfit = pytest.importorskip("setfit")
    classifier = make(head=head, num_steps=3, thresholds=threshold).fit(TEXTS, SETS)
    folder = classifier.export_setfit(tmp_path / "stock")
    stock = setfit.SetFitModel.from_pretrained(
        str(folder), local_files_only=True, device="cpu", multi_target_strategy="one-vs-rest"
    )
    texts = [*TEXTS, "not a good film", "the plot"]
    expected = [
        [label in row for label in classifier.classes_] for row in classifier.predict(texts)
    ]
    np.testing.assert_array_equal(stock.predict(texts, as_numpy=True), np.array(expected, int))
    shares = stock.predict_proba(texts, as_numpy=True)
    shifted = expit(classifier.logits(texts) - logit(threshold))
    np.testing.assert_allclose(shares, shifted, atol=1e-5)


# --- bad input -----------------------------------------------------------------------------------


def test_a_head_for_one_label_is_refused(make):
    with pytest.raises(ValueError, match="with several labels per text; use None, 'different"):
        make(head=RidgeClassifier()).fit(TEXTS, SETS)


def test_a_lonely_label_is_named(make):
    labels = [["only", *row] if index == 0 else row for index, row in enumerate(SETS)]
    with pytest.warns(UserWarning, match=r"1 of 4 labels \('only'\) have fewer than two texts"):
        make(num_steps=1).fit(TEXTS, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(num_steps=1).fit(TEXTS, SETS)


def test_copies_that_disagree_make_no_pair(make):
    with pytest.warns(UserWarning, match="1 texts occur with different labels"):
        make(num_steps=1).fit([*TEXTS, TEXTS[0]], [*SETS, [*SETS[0], "film"][-1:]])


def test_a_folder_whose_head_and_thresholds_disagree_is_damaged(tiny_encoder, tmp_path):
    classifier = FrozenClassifier(tiny_encoder, thresholds=0.5).fit(TEXTS, SETS)
    classifier.thresholds_ = None
    with pytest.raises(ValueError, match="the head 'LabelwiseHead' with the thresholds None"):
        FrozenClassifier.load(classifier.save(tmp_path / "model"))
