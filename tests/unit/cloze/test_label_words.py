import itertools

import numpy as np
import pytest
import torch

from reptune.cloze import label_words
from reptune.cloze.label_words import best_combinations, candidate_words, search_words
from reptune.cloze.prompt_models import collate, label_logits, load_prompt_model
from reptune.cloze.templates import Template, encode, word_ids
from tests.tiny import LABELS, TEXTS

MASKED, CAUSAL = "{text} was {mask} .", "{text} is {mask}"
KINDS = ["masked", "causal"]


@pytest.fixture(scope="module")
def loaded(tiny_masked_lm, tiny_causal_lm):
    folders = {"masked": tiny_masked_lm, "causal": tiny_causal_lm}
    return {kind: load_prompt_model(folder) for kind, folder in folders.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_are_the_words_of_the_largest_summed_log_probability(loaded, kind):
    model, template = loaded[kind], CAUSAL if kind == "causal" else MASKED
    found = candidate_words(model, template, TEXTS, LABELS, top_k=5)
    assert list(found) == ["negative", "positive"]
    how = {"limit": model.limit, "causal": model.causal}
    encoded = [encode(Template(template), model.tokenizer, text, **how) for text in TEXTS]
    with torch.inference_mode():
        logs = label_logits(model, collate(model, encoded), fast=False).log_softmax(dim=1)
    for label, words in found.items():
        rows = [row for row, own in enumerate(LABELS) if own == label]
        for word, score in words:
            (token,) = word_ids(
                {0: word}, [0], model.tokenizer, causal=model.causal, template=Template(template)
            )
            assert score == pytest.approx(float(logs[rows, token].sum()), abs=1e-3)
        scores = [score for _, score in words]
        assert scores == sorted(scores, reverse=True) and len(scores) == 5
        every = candidate_words(model, template, TEXTS, LABELS, top_k=999)[label]
        assert every[:5] == words
        assert all(word.isalpha() and len(word) > 1 for word, _ in every)


def test_the_search_by_hand():
    scores = np.log([[0.5, 0.1, 0.2, 0.2], [0.4, 0.3, 0.2, 0.1],
                     [0.1, 0.5, 0.2, 0.2], [0.2, 0.3, 0.1, 0.4]])  # fmt: skip
    found, accuracies = best_combinations(scores, np.array([0, 0, 1, 1]), [[0, 2], [1, 3]], 3)
    # (0, 1) and (0, 3) get all right; the right word's shares are 5/6, 4/7, 5/6, 3/5 and 5/7,
    # 4/5, 2/3, 2/3, whose products are 0.238 and 0.254. (2, 1) and (2, 3) get three right; theirs
    # are 2/3, 2/5, 5/7, 3/4 and 1/2, 2/3, 1/2, 4/5, that is 0.143 and 0.133.
    assert found.tolist() == [[0, 3], [0, 1], [2, 1]]
    assert accuracies.tolist() == [1.0, 1.0, 0.75]


def _brute_force(scores, label_ids, candidates):
    graded = []
    for number, row in enumerate(itertools.product(*candidates)):
        if len(set(row)) == len(row):
            logits = scores[:, row]
            right = logits[np.arange(len(label_ids)), label_ids]
            likelihood = (right - np.log(np.exp(logits).sum(axis=1))).mean()
            accuracy = (logits.argmax(axis=1) == label_ids).mean()
            graded.append((-accuracy, -likelihood, number, row))
    return [row for *_, row in sorted(graded)], [-one[0] for one in sorted(graded)]


@pytest.mark.parametrize("most", [100_000, 1])
@pytest.mark.parametrize("seed", range(4))
def test_the_search_is_a_plain_search(monkeypatch, seed, most):
    rng = np.random.default_rng(seed)
    label_ids = np.array([0, 1, 2, 0, 1, 2, 2])
    scores = rng.normal(size=(7, 6))
    candidates = [rng.permutation(6)[:4].tolist() for _ in range(3)]
    monkeypatch.setattr(label_words, "MAX_COMBINATIONS", most)  # with 1, the beam holds all of them
    found, accuracies = best_combinations(scores, label_ids, candidates, top_n=10)
    rows, expected = _brute_force(scores, label_ids, candidates)
    assert found.tolist() == [list(row) for row in rows[:10]]
    np.testing.assert_allclose(accuracies, expected[:10])


def test_a_beam_gives_distinct_words_and_keeps_what_separates(monkeypatch):
    monkeypatch.setattr(label_words, "MAX_COMBINATIONS", 1)
    monkeypatch.setattr(label_words, "BEAM", 2)
    scores = np.eye(4) * 5
    found, accuracies = best_combinations(
        scores, np.arange(4), [[0, 3, 2, 1], [2, 0, 1], [2, 1, 3], [3, 2, 0, 1]], top_n=5
    )
    assert found.tolist()[0] == [0, 1, 2, 3] and accuracies[0] == 1
    assert all(len(set(row)) == 4 for row in found.tolist())


def test_searches_that_cannot_be(loaded):
    with pytest.raises(ValueError, match="raise top_k"):
        best_combinations(np.zeros((2, 1)), np.array([0, 1]), [[0], [0]], 1)
    with pytest.raises(ValueError, match="labels hold 1 class"):
        search_words(loaded["masked"], MASKED, ["a", "b"], [1, 1])
    with pytest.raises(ValueError, match="top_k=0"):
        candidate_words(loaded["masked"], MASKED, TEXTS, LABELS, top_k=0)
    with pytest.raises(ValueError, match=r"goes on after \{mask\}"):
        candidate_words(loaded["causal"], MASKED, TEXTS, LABELS)


def test_numbers_of_numpy(loaded):
    plain = search_words(loaded["masked"], MASKED, TEXTS, LABELS, top_k=4, top_n=2)
    numpy = {"top_k": np.int64(4), "top_n": np.int32(2)}
    assert search_words(loaded["masked"], MASKED, TEXTS, LABELS, **numpy) == plain
    found = candidate_words(loaded["masked"], MASKED, TEXTS, LABELS, top_k=np.int64(3))
    assert [len(words) for words in found.values()] == [3, 3]


@pytest.mark.parametrize("changes", [{"top_k": 1.5}, {"top_k": True}, {"top_n": None}])
def test_odd_numbers(loaded, changes):
    (name,) = changes
    with pytest.raises(ValueError, match=f"{name}=.*; use a whole number from 1 on"):
        search_words(loaded["masked"], MASKED, TEXTS, LABELS, **changes)


def test_a_text_that_is_no_unicode(loaded):
    with pytest.raises(ValueError, match=r"texts\[1\] is not valid Unicode"):
        candidate_words(loaded["masked"], MASKED, ["a", "b\ud800"], [0, 1])
