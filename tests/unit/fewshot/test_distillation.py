"""A tuned teacher's cosines and probabilities, learned by a smaller and by a static student."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from setfit.sampler import ContrastiveDistillationDataset
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

import reptune
from reptune.fewshot import FrozenClassifier, SetFitClassifier, StaticClassifier
from reptune.fewshot import static as static_module
from reptune.fewshot.distillation import cosine_matching_loss, fit_on_shares, taught_by
from reptune.models.sentence import load_body, token_vectors
from tests import tiny
from tests.tiny import LABELS, TEXTS

MORE = [f"the {noun} is {word}" for noun in ("plot", "actor") for word in tiny.WORDS[:8]]


@pytest.fixture(scope="module")
def teacher(tiny_encoder):
    return SetFitClassifier(
        tiny_encoder, num_steps=30, learning_rate=5e-3, random_state=0
    ).fit(TEXTS, LABELS)  # fmt: skip


@pytest.fixture(scope="module")
def small_encoder(tmp_path_factory):
    return tiny.save_encoder(tmp_path_factory.mktemp("small") / "encoder", 1, random_state=1)


def student(model, **changes):
    knobs = {"num_steps": 60, "learning_rate": 5e-3, "batch_size": 8, "random_state": 0}
    return SetFitClassifier(model, **(knobs | changes))


# --- the stock library ---------------------------------------------------------------------------


def test_setfits_distillation_asks_one_cosine_of_every_pair():
    """Chapter 2 shows it; where a later setfit has mended it, the chapter's cell must go."""
    cosines = torch.tensor([[1.0, 0.1, 0.2], [0.1, 1.0, 0.3], [0.2, 0.3, 1.0]])
    pairs = list(ContrastiveDistillationDataset(["a", "b", "c"], cosines))
    assert {float(pair["label"]) for pair in pairs} == {1.0}


# --- a smaller sentence transformer --------------------------------------------------------------


def test_the_loss_is_the_mean_over_listed_pairs():
    torch.manual_seed(0)
    mine, taught = torch.randn(5, 4), torch.randn(5, 3)
    targets = torch.nn.functional.cosine_similarity(taught[:, None], taught[None], dim=-1)
    by_hand = [
        (torch.cosine_similarity(mine[i], mine[j], dim=0) - targets[i, j]) ** 2
        for i in range(5)
        for j in range(i + 1, 5)
    ]
    torch.testing.assert_close(cosine_matching_loss(mine, targets), torch.stack(by_hand).mean())


def test_a_student_learns_the_teachers_cosines_and_labels(teacher, small_encoder):
    made = student(small_encoder).distill(teacher, MORE)
    assert made.history_[-1]["loss"] < made.history_[0]["loss"] / 2
    assert (made.predict(TEXTS) == teacher.predict(TEXTS)).mean() >= 0.9
    assert made.classes_.tolist() == teacher.classes_.tolist()
    untrained = student(small_encoder, trainable="head").distill(teacher, MORE)
    assert untrained.history_ == []


def test_one_pass_over_the_texts_is_the_default(teacher, small_encoder):
    made = student(small_encoder, num_steps=None).distill(teacher, [*MORE, *MORE])
    assert len(made.history_) == -(-len(MORE) // 8), "copies are dropped"


def test_the_same_seed_makes_the_same_student_and_it_is_saved(teacher, small_encoder, tmp_path):
    one, two = (student(small_encoder, num_steps=5).distill(teacher, MORE) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(TEXTS), two.predict_proba(TEXTS))
    again = reptune.load(one.save(tmp_path / "student"))
    np.testing.assert_allclose(again.predict_proba(TEXTS), one.predict_proba(TEXTS), atol=1e-6)


def test_a_teachers_probabilities_are_those_it_predicts(teacher):
    vectors, shares = taught_by(teacher, TEXTS)
    np.testing.assert_array_equal(vectors, teacher.embed(TEXTS))
    np.testing.assert_array_equal(shares, teacher.predict_proba(TEXTS))


def test_certain_probabilities_are_labels():
    vectors = np.random.default_rng(0).normal(size=(12, 3))
    labels = np.arange(12) % 3
    hard = LogisticRegression(tol=1e-8).fit(vectors, labels)
    soft = fit_on_shares(LogisticRegression(tol=1e-8), vectors, np.arange(3), np.eye(3)[labels])
    np.testing.assert_allclose(soft.coef_, hard.coef_, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "texts", "message"),
    [
        ({"loss": "supcon"}, MORE, "distillation takes efficient=True"),
        ({"head": "differentiable"}, MORE, "distillation takes efficient=True"),
        ({}, ["one", "one"], "at least 2"),
        ({}, ["one", " "], "is empty"),
        ({}, [3], "texts"),
    ],
)
def test_what_cannot_be_distilled_is_named(teacher, small_encoder, changes, texts, message):
    with pytest.raises(ValueError, match=message):
        student(small_encoder, **changes).distill(teacher, texts)


@pytest.mark.parametrize("kind", [SetFitClassifier, StaticClassifier])
def test_who_cannot_teach_is_named(kind, tiny_encoder):
    with pytest.raises(NotFittedError):
        kind(tiny_encoder).distill(FrozenClassifier(), MORE)
    with pytest.raises(ValueError, match="teacher=TfidfClassifier; use a SetFitClassifier"):
        kind(tiny_encoder).distill(reptune.TfidfClassifier().fit(TEXTS, LABELS), MORE)
    several = FrozenClassifier(tiny_encoder, thresholds=0.5).fit(
        TEXTS, [[label] for label in LABELS]
    )
    with pytest.raises(ValueError, match="several labels per text"):
        kind(tiny_encoder).distill(several, MORE)


# --- a static student ----------------------------------------------------------------------------


def test_token_vectors_are_those_of_texts_of_one_token(tiny_encoder):
    body = load_body(tiny_encoder)
    vectors = token_vectors(body, batch_size=7)
    vocabulary = body.tokenizer.get_vocab()
    assert vectors.shape == (len(vocabulary), 16)
    for word in ("good", "film", "not"):
        np.testing.assert_allclose(vectors[vocabulary[word]], body.encode(word), atol=1e-5)


def test_components_keep_distances_in_order_of_variance():
    vectors = np.random.default_rng(0).normal(size=(20, 4)) * [1, 5, 2, 3]
    kept = static_module.reduced(vectors, 4)
    spread = kept.var(axis=0)
    assert (np.diff(spread) < 0).all()
    np.testing.assert_allclose(
        np.linalg.norm(kept[0] - kept[1:], axis=1),
        np.linalg.norm(vectors[0] - vectors[1:], axis=1),
    )
    assert static_module.reduced(vectors, 9).shape == (20, 4)


def test_a_static_student_learns_the_teachers_labels(teacher):
    made = StaticClassifier(dimensions=8).distill(teacher, MORE)
    assert (made.predict(TEXTS) == teacher.predict(TEXTS)).mean() >= 0.8
    assert made.scores_.shape == (len(tiny.SPECIAL) + len(tiny.WORDS), 2)
    assert made.scores_.dtype == made.predict_proba(TEXTS).dtype == np.float32


def test_it_is_the_head_on_the_mean_of_token_vectors(tiny_encoder):
    made = StaticClassifier(tiny_encoder, dimensions=6, C=2.0).fit(TEXTS, LABELS)
    body = load_body(tiny_encoder)
    encoded = body.tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    vectors = token_vectors(body)
    counts = np.bincount(np.concatenate(encoded), minlength=len(vectors))
    shares = (counts + 1) / (counts + 1).sum()
    table = static_module.reduced(vectors, 6) * (1e-3 / (1e-3 + shares))[:, None]
    inputs = np.stack([table[ids].mean(axis=0) for ids in encoded])
    inputs /= np.sqrt((inputs**2).sum(axis=1).mean())
    plain = LogisticRegression(C=2.0, max_iter=1000).fit(inputs, LABELS)
    np.testing.assert_allclose(
        made.predict_proba(TEXTS), plain.predict_proba(inputs), atol=2e-3
    )  # fmt: skip


def test_three_labels_and_a_text_without_tokens(tiny_encoder):
    labels = [row % 3 for row in range(len(TEXTS))]
    made = StaticClassifier(tiny_encoder, dimensions=8).fit(TEXTS, labels)
    assert made.predict([""]).tolist() == [int(made.bias_.argmax())]
    assert made.predict_proba(["", "a film"]).shape == (2, 3)


def test_a_folder_is_enough_for_numpy_and_a_tokenizer(teacher, tmp_path):
    made = StaticClassifier(dimensions=8).distill(teacher, MORE)
    folder = made.save(tmp_path / "static")
    arrays = load_file(folder / "scores.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(TEXTS[0], add_special_tokens=False).ids
    by_hand = arrays["scores"][ids].mean(axis=0) + arrays["bias"]
    np.testing.assert_allclose(by_hand, made.logits(TEXTS[:1])[0], rtol=1e-5)
    again = reptune.load(folder)
    np.testing.assert_array_equal(again.predict_proba(TEXTS), made.predict_proba(TEXTS))
    classes = json.loads((folder / "reptune.json").read_text("utf-8"))["classes"]
    assert classes == ["negative", "positive"]


def test_batches_change_nothing(teacher):
    made = StaticClassifier(dimensions=8).distill(teacher, MORE)
    expected = made.logits(TEXTS)
    made.set_params(prediction_batch_size=3)
    np.testing.assert_allclose(made.logits(TEXTS), expected, rtol=1e-6)
