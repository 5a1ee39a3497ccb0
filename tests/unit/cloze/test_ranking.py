import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reptune.cloze import calibrated_scores, load_prompt_model, rank_templates, ranking
from reptune.cloze.label_words import best_combinations, candidate_words, search_words
from reptune.cloze.prompt_models import collate, label_logits
from reptune.cloze.ranking import grade, log_probabilities
from reptune.cloze.templates import Template, encode, word_ids
from tests.tiny import LABELS, TEXTS

MASKED, CAUSAL = "{text} was {mask} .", "{text} is {mask}"
WORDS = {"negative": "bad", "positive": "good"}
KINDS = ["masked", "causal"]


@pytest.fixture(scope="module")
def loaded(tiny_masked_lm, tiny_causal_lm):
    folders = {"masked": tiny_masked_lm, "causal": tiny_causal_lm}
    return {kind: load_prompt_model(folder) for kind, folder in folders.items()}


def templates_of(kind):
    ends = [" .", ""] if kind == "masked" else [""]
    return [f"{{text}} {word} {{mask}}{end}" for word in ("was", "is", "very") for end in ends]


def plain_score(model, template, words, texts, labels):
    """The calibrated likelihood and accuracy, written out text by text."""
    classes = sorted(set(labels))
    ids = word_ids(
        words, classes, model.tokenizer, causal=model.causal, template=Template(template)
    )
    how = {"limit": model.limit, "causal": model.causal}
    chances = []
    for text in texts:
        batch = collate(model, [encode(Template(template), model.tokenizer, text, **how)])
        with torch.inference_mode():
            whole = label_logits(model, batch, fast=False)[0].double().softmax(dim=0)
        chances.append(whole[torch.as_tensor(ids)].numpy())
    ratios = np.array(chances) / np.mean(chances, axis=0)
    shares = ratios / ratios.sum(axis=1, keepdims=True)
    right = [shares[row, classes.index(label)] for row, label in enumerate(labels)]
    accuracy = np.mean([classes[row.argmax()] == own for row, own in zip(shares, labels)])  # noqa: B905
    return np.mean(np.log(right)), accuracy


# --- by hand -------------------------------------------------------------------------------------


def test_calibrated_scores_by_hand():
    """Means are 0.3 and 0.04, whatever the second word's rarity."""
    found = np.exp(calibrated_scores(np.log([[0.4, 0.02], [0.2, 0.06]])))
    np.testing.assert_allclose(found, [[4 / 3, 1 / 2], [2 / 3, 3 / 2]])


def test_the_calibrated_likelihood_by_hand():
    scores = np.log([[0.6, 0.02], [0.4, 0.06]])
    accuracy, likelihood = grade(calibrated_scores(scores), np.array([0, 1]), np.array([[0, 1]]))
    # Ratios to the means 0.5 and 0.04: 1.2 and 0.5, then 0.8 and 1.5.
    assert likelihood[0] == pytest.approx((np.log(1.2 / 1.7) + np.log(1.5 / 2.3)) / 2)
    assert accuracy[0] == 1
    # Without calibration the first word, which is expected everywhere, wins both texts.
    assert grade(scores, np.array([0, 1]), np.array([[0, 1]]))[0][0] == 0.5


def test_by_likelihood_the_likelier_combination_comes_first():
    """(0, 2) gets three texts right and knows little; (0, 1) two, with much."""
    shares = np.array([[0.4, 0.1, 0.39], [0.4, 0.45, 0.39], [0.1, 0.4, 0.2], [0.4, 0.39, 0.41]])
    label_ids, columns = np.array([0, 0, 1, 1]), [[0], [1, 2]]
    found, accuracies = best_combinations(np.log(shares), label_ids, columns, 2)
    assert found.tolist() == [[0, 2], [0, 1]] and accuracies.tolist() == [1.0, 0.5]
    found, likelihoods = best_combinations(np.log(shares), label_ids, columns, 2, by="likelihood")
    by_hand = [
        np.mean(np.log([4 / 5, 40 / 85, 4 / 5, 39 / 79])),
        np.mean(np.log([40 / 79, 40 / 79, 2 / 3, 41 / 81])),
    ]
    assert found.tolist() == [[0, 1], [0, 2]]
    np.testing.assert_allclose(likelihoods, by_hand)


@settings(max_examples=60, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 12),
    shift=st.floats(-30, 30),
)
def test_calibration_takes_away_what_a_word_gets_anyway(seed, count, shift):
    scores = np.random.default_rng(seed).normal(size=(count, 3)) * 4
    found = calibrated_scores(scores)
    np.testing.assert_allclose(np.exp(found).mean(axis=0), 1)
    np.testing.assert_allclose(
        calibrated_scores(scores + np.array([shift, 0, -shift])), found, atol=1e-9
    )
    np.testing.assert_allclose(np.diff(found, axis=0), np.diff(scores, axis=0), atol=1e-9)


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_words_by_likelihood_are_those_of_plain_code(loaded, kind):
    model, template = loaded[kind], CAUSAL if kind == "causal" else MASKED
    found = search_words(model, template, TEXTS, LABELS, top_k=4, top_n=99, by="likelihood")
    candidates = candidate_words(model, template, TEXTS, LABELS, top_k=4)
    names = {label: [word for word, _ in words] for label, words in candidates.items()}
    pairs = {(a, b) for a in names["negative"] for b in names["positive"] if a != b}
    assert {(words["negative"], words["positive"]) for words, _ in found} == pairs
    for words, score in found:
        expected, _ = plain_score(model, template, words, TEXTS, LABELS)
        assert score == pytest.approx(expected, abs=1e-5)
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1]


def test_the_default_ranks_by_accuracy(loaded):
    how = {"top_k": 4, "top_n": 5}
    default = search_words(loaded["masked"], MASKED, TEXTS, LABELS, **how)
    assert default == search_words(loaded["masked"], MASKED, TEXTS, LABELS, **how, by="accuracy")
    assert all(0 <= score <= 1 for _, score in default)


def test_rankings_that_are_none(loaded):
    with pytest.raises(ValueError, match=r"by='likelyhood' .*did you mean 'likelihood'.*; use"):
        search_words(loaded["masked"], MASKED, TEXTS, LABELS, by="likelyhood")
    with pytest.raises(ValueError, match="by=None is unknown; use 'accuracy' or 'likelihood'"):
        best_combinations(np.zeros((2, 2)), np.array([0, 1]), [[0], [1]], 1, by=None)


# --- templates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_templates_are_ranked_as_by_plain_code(loaded, kind):
    model, templates = loaded[kind], templates_of(kind)
    found = rank_templates(model, templates, WORDS, TEXTS, LABELS)
    assert sorted(pattern for pattern, _ in found) == sorted(templates)
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == len(scores)
    for pattern, score in found:
        expected, _ = plain_score(model, pattern, WORDS, TEXTS, LABELS)
        assert score == pytest.approx(expected, abs=1e-5)
    given_otherwise = rank_templates(
        model, map(Template, templates[::-1]), WORDS, iter(TEXTS), np.array(LABELS)
    )
    assert given_otherwise == found


def test_ties_are_decided_by_accuracy_then_by_order(loaded, monkeypatch):
    scores = {
        "{text} is {mask}": [[-1.0, -2.0], [-1.0, -2.0]],
        "{text} was {mask}": [[-1.0, -2.0], [-1.0, -2.0]],
        "{text} very {mask}": [[-1.0, -2.0], [-1.0, -2.0]],
    }
    graded = iter([(0.5, -0.7), (1.0, -0.7), (0.5, -0.7)])
    monkeypatch.setattr(
        ranking, "log_probabilities", lambda model, template, *_: np.array(scores[str(template)])
    )
    monkeypatch.setattr(
        ranking, "grade", lambda *_: tuple(np.array([value]) for value in next(graded))
    )
    found = rank_templates(loaded["masked"], list(scores), WORDS, TEXTS[:2], LABELS[:2])
    assert [pattern for pattern, _ in found] == [
        "{text} was {mask}", "{text} is {mask}", "{text} very {mask}",
    ]  # fmt: skip


def test_templates_of_pairs(loaded):
    templates = ["{text} {mask} {text2}", "{text} ? {mask} , {text2}"]
    pairs = list(zip(TEXTS, TEXTS[::-1], strict=True))
    found = rank_templates(loaded["masked"], templates, WORDS, pairs, LABELS)
    assert len(found) == 2 and found[0][1] > found[1][1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"templates": MASKED}, "templates='{text} was {mask} .'; pass a list"),
        ({"templates": []}, "templates is empty"),
        ({"templates": None}, "templates=None; pass a list"),
        ({"templates": [MASKED, "{text} was"]}, "holds {mask} 0 times"),
        ({"templates": [MASKED, "{text} {mask} {text2}"]}, "takes pairs"),
        ({"words": {"negative": "bad"}}, r"words lack \['positive'\]"),
        ({"words": {"negative": "bad", "positive": "qwertz"}}, "'qwertz'"),
        ({"labels": ["negative"] * len(TEXTS)}, "labels hold 1 class"),
        ({"labels": LABELS[:-1]}, "labels"),
        ({"texts": "one string"}, "texts"),
        ({"texts": []}, "texts"),
    ],
)
def test_what_cannot_be_ranked_is_said_before_the_model_reads(
    loaded, monkeypatch, changes, message
):
    monkeypatch.setattr(ranking, "log_probabilities", lambda *_: pytest.fail("the model read"))
    given_ones = {"templates": [MASKED], "words": WORDS, "texts": TEXTS, "labels": LABELS}
    with pytest.raises(ValueError, match=message):
        rank_templates(loaded["masked"], **(given_ones | changes))


def test_a_causal_model_needs_the_mask_last(loaded):
    with pytest.raises(ValueError, match=r"goes on after \{mask\}"):
        rank_templates(loaded["causal"], [CAUSAL, MASKED], WORDS, TEXTS, LABELS)


def test_log_probabilities_are_over_the_whole_vocabulary(loaded):
    model = loaded["masked"]
    everything = np.arange(model.model.config.vocab_size)
    inputs = [(text, None) for text in TEXTS]
    found = log_probabilities(model, Template(MASKED), inputs, everything)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-5)
