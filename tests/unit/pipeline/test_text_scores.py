"""Scores of texts: cases computed by hand, sacrebleu's own values, a plain BERTScore."""

import builtins

import numpy as np
import pytest
import torch
from sacrebleu.metrics import CHRF
from transformers import AutoModel, AutoTokenizer

from reptune import metrics
from reptune.pipeline import intervals
from reptune.pipeline.text_scores import (
    BertScorer,
    answer_f1,
    chrf,
    corpus_chrf,
    exact_match,
    normalized_match,
    text_differences,
    text_scores,
)
from tests import tiny

REFERENCES = ["the film is good", ["a dull movie", "a poor film"], "very nice actor", "the plot"]
PREDICTIONS = ["the film is good", "poor film", "very awful", "bad bad plot"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny.save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def scorer(encoder):
    return BertScorer(encoder, layer=2, batch_size=2, device="cpu")


def lists(references):
    return [[row] if isinstance(row, str) else row for row in references]


# --- matches and word F1 ---------------------------------------------------------------------


def test_matches_by_hand():
    references = ["Paris", "The U.S.A.", ["1st", "first"], "", "a"]
    predictions = ["Paris", "usa", "first", "", "the"]
    assert exact_match(references, predictions).tolist() == [True, False, True, True, False]
    # "a" and "the" are articles: nothing is left of either, and nothing equals nothing.
    assert normalized_match(references, predictions).tolist() == [True, True, True, True, True]


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [
        ("in the year 1889", "1889", 2 * 1 * (1 / 3) / (4 / 3)),  # P 1, R 1/3
        ("b b c", "b d", 2 * 1 / 5),  # one b shared, not two
        ("", "", 1.0),
        ("", "word", 0.0),
        ("word", "", 0.0),
        ("the", "a.", 1.0),
    ],
)
def test_word_f1_by_hand(reference, prediction, expected):
    assert answer_f1([reference], [prediction])[0] == pytest.approx(expected)


def test_the_best_reference_counts():
    assert answer_f1([["blue car", "red bus"]], ["red car bus"])[0] == pytest.approx(0.8)


# --- chrF++ ----------------------------------------------------------------------------------


def test_chrf_is_sacrebleus():
    references, predictions = [*REFERENCES, "", "x"], [*PREDICTIONS, "y", ""]
    metric = CHRF(word_order=2)
    expected = [
        metric.sentence_score(text, row).score
        for row, text in zip(lists(references), predictions, strict=True)
    ]
    np.testing.assert_allclose(chrf(references, predictions), expected)
    assert expected[0] == pytest.approx(100) and expected[-1] == expected[-2] == 0
    first = [row[0] for row in lists(references)]
    second = [row[1] if len(row) > 1 else None for row in lists(references)]
    whole = metric.corpus_score(predictions, [first, second]).score
    assert corpus_chrf(references, predictions) == pytest.approx(whole)
    assert whole != pytest.approx(np.mean(expected))
    # Without words it is plain chrF, another number.
    assert CHRF().corpus_score(predictions, [first, second]).score != pytest.approx(whole)


def test_chrf_without_sacrebleu_names_the_package(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **options):
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ValueError, match=r"needs sacrebleu; pip install .reptune\[prompt2model\]"):
        chrf(["a"], ["a"])


# --- BERTScore -------------------------------------------------------------------------------


def plain_vectors(folder, text, layer):
    model, tokenizer = (
        AutoModel.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    encoded = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        states = model(**encoded, output_hidden_states=True).hidden_states[layer][0, 1:-1]
    return encoded["input_ids"][0, 1:-1].tolist(), states.numpy().astype(float)


def plain_bertscore(folder, reference, prediction, layer, weight=lambda token: 1.0):
    """P, R and F, one cosine at a time."""
    sides = [plain_vectors(folder, text, layer) for text in (reference, prediction)]

    def mean_of_best(one, other):
        total = weights = 0.0
        for token, vector in zip(*one, strict=True):
            cosines = [
                vector @ another / np.linalg.norm(vector) / np.linalg.norm(another)
                for another in other[1]
            ]
            total += weight(token) * max(cosines)
            weights += weight(token)
        return total / weights

    recall, precision = mean_of_best(*sides), mean_of_best(*sides[::-1])
    return precision, recall, 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_bertscore_is_the_plain_one(encoder, layer):
    found = BertScorer(encoder, layer=layer, batch_size=3, device="cpu").score(
        REFERENCES, PREDICTIONS
    )
    for row, (references, text) in enumerate(zip(lists(REFERENCES), PREDICTIONS, strict=True)):
        best = max(
            (plain_bertscore(encoder, reference, text, layer) for reference in references),
            key=lambda scores: scores[2],
        )
        got = (found.precision[row], found.recall[row], found.f1[row])
        np.testing.assert_allclose(got, best, atol=1e-5)
    assert np.ptp(found.f1) > 0.01


def test_rare_tokens_weigh_more_with_idf(encoder):
    references, predictions = ["the film is good", "the plot is bad"], ["the good", "bad film"]
    found = BertScorer(encoder, layer=1, idf=True, device="cpu").score(references, predictions)
    ids = [set(plain_vectors(encoder, text, 0)[0]) for text in references]

    def weight(token):
        return np.log(3 / (1 + sum(token in document for document in ids)))

    for row, pair in enumerate(zip(references, predictions, strict=True)):
        expected = plain_bertscore(encoder, *pair, 1, weight)
        got = (found.precision[row], found.recall[row], found.f1[row])
        np.testing.assert_allclose(got, expected, atol=1e-5)
    evenly = BertScorer(encoder, layer=1, device="cpu").score(references, predictions)
    assert abs(found.f1 - evenly.f1).max() > 1e-3
    # One reference: each of its tokens weighs log 1 = 0, and no weight is no score of 0 or NaN.
    single = BertScorer(encoder, layer=1, idf=True, device="cpu").score(["the film"], ["the film"])
    assert single.f1[0] == pytest.approx(1, abs=1e-6)


def test_equal_texts_score_one_and_empty_ones_as_said(scorer):
    found = scorer.score(["a good film", "", "", "good"], ["a good film", "", "good", " "])
    np.testing.assert_allclose(found.f1, [1, 1, 0, 0], atol=1e-6)


def test_precision_falls_with_more_and_recall_with_less(scorer):
    references = ["the film is good", "good"]
    found = scorer.score(references, references[::-1])
    assert found.recall[0] < found.precision[0] and found.precision[1] < found.recall[1]
    np.testing.assert_allclose(found.precision, found.recall[::-1])


def test_batches_and_neighbors_do_not_change_a_score(encoder, scorer):
    alone = [scorer.score([r], [p]).f1[0] for r, p in zip(REFERENCES, PREDICTIONS, strict=True)]
    together = BertScorer(encoder, layer=2, batch_size=64, device="cpu")
    np.testing.assert_allclose(together.score(REFERENCES, PREDICTIONS).f1, alone, atol=1e-6)


def test_a_long_text_is_cut_with_a_warning(scorer):
    long = "good " * 60
    with pytest.warns(UserWarning, match="1 texts are cut at 30 tokens"):
        found = scorer.score([long], ["good"])
    assert np.isfinite(found.f1).all()


def test_a_layer_there_is_not_is_refused(encoder, scorer):
    with pytest.raises(ValueError, match="layer=4, but the model has 3 blocks"):
        BertScorer(encoder, layer=4, device="cpu")
    with pytest.raises(ValueError, match="layer"):
        scorer.score_by_layer(["a"], ["a"], [-1])
    assert BertScorer(encoder, layer=None, device="cpu").layer == 3


def test_loading_leaves_the_random_state_alone(encoder):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    BertScorer(encoder, layer=1, device="cpu")
    assert torch.equal(before, torch.get_rng_state())


# --- reports ---------------------------------------------------------------------------------


def test_a_report_has_every_score_with_its_interval(scorer):
    found = text_scores(REFERENCES, PREDICTIONS, scorer)
    assert list(found) == [
        "exact_match", "normalized_match", "answer_f1", "chrf",
        "bert_precision", "bert_recall", "bert_f1",
    ]  # fmt: skip
    matches = [True, False, False, False]
    assert found["exact_match"] == intervals.share_interval(matches)
    assert found["normalized_match"].estimate == 0.5  # "a poor film", "poor film"
    assert found["chrf"] == metrics.mean_interval(chrf(REFERENCES, PREDICTIONS))
    f1 = scorer.score(REFERENCES, PREDICTIONS).f1
    assert found["bert_f1"] == metrics.mean_interval(f1)
    assert "bert_f1" not in text_scores(REFERENCES, PREDICTIONS)


def test_differences_are_paired():
    references = ["one two three four", "five six seven", "eight", "nine ten"] * 5
    better = ["one two three", "five six", "eight", "nine"] * 5
    worse = ["one two", "five", "", ""] * 5
    found = text_differences((row for row in references), better, worse)
    a, b = chrf(references, better), chrf(references, worse)
    assert found["chrf"] == metrics.paired_interval(a, b)
    assert found["chrf"].low > 0 and found["answer_f1"].low > 0
    right = exact_match(references, better)
    assert found["exact_match"] == intervals.difference_interval(right, np.zeros(20, dtype=bool))
    same = text_differences(references, better, better)
    assert same["chrf"].low == same["chrf"].high == 0


@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        (["a"], ["a", "b"], "1 references and 2 predictions"),
        ([], [], "none"),
        ("a", ["a"], "single string"),
        ([None], ["a"], r"references\[0\]"),
        ([[]], ["a"], r"references\[0\]"),
        (["a"], [None], r"predictions\[0\]"),
        ([["a", 3]], ["a"], r"references\[0\]\[1\]"),
    ],
)
def test_bad_rows_are_refused(references, predictions, message):
    with pytest.raises(ValueError, match=message):
        text_scores(references, predictions)
