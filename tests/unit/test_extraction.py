"""Question answering: windows, targets, spans, and what is refused, by hand and by the library."""

import copy
import itertools
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from reptune.extraction import (
    SpanExtractor,
    best_span,
    check_answers,
    passage_windows,
    tokens_of,
)
from reptune.extraction.windows import padded_batch, window_targets
from tests import tiny

ADJECTIVES = ("good", "great", "fine", "nice", "bad", "awful", "poor", "dull")
PAIRS = [("is the film good", text) for text in tiny.TEXTS]
ANSWERS = [next(word for word in text.split() if word in ADJECTIVES) for text in tiny.TEXTS]
SMALL = {
    "num_epochs": 6, "learning_rate": 5e-3, "batch_size": 4, "random_state": 0, "fast": False,
}  # fmt: skip
# 20 words, one token each; with a question of three, a window of 16 holds ten of them.
LONG = " ".join(["the film was very good and the plot not dull"] * 2)
QUESTION = "was it good"


def _new(folder, **changes):
    return SpanExtractor(folder, **(SMALL | changes))


@pytest.fixture(scope="session")
def tokenizer(tiny_encoder):
    return AutoTokenizer.from_pretrained(tiny_encoder)


@pytest.fixture(scope="session")
def fitted(tiny_encoder):
    """To be read only."""
    return _new(tiny_encoder).fit(PAIRS, ANSWERS)


# --- windows -------------------------------------------------------------------------------------


def test_windows_by_hand(tokenizer):
    """Room for ten tokens, five of them shared: windows begin at 0, 5 and 10 of 20."""
    windows = passage_windows(tokenizer, [(QUESTION, LONG)], max_length=16, stride=5)
    words = LONG.split()
    texts = [[LONG[a:b] for a, b in window.offsets] for window in windows]
    assert texts == [words[0:10], words[5:15], words[10:20]]
    # Of the five that two share, the first two or three are the former's.
    assert [window.own for window in windows] == [range(0, 7), range(2, 7), range(2, 10)]
    for window in windows:
        text = tokenizer.decode(window.inputs["input_ids"])
        assert text.startswith("[CLS] was [UNK] good [SEP] "), "the question is whole"
        assert window.first == 5
        ids = window.inputs["input_ids"][window.first : window.first + len(window.offsets)]
        assert ids == tokenizer.convert_tokens_to_ids(
            [LONG[a:b] if LONG[a:b] in tiny.WORDS else "[UNK]" for a, b in window.offsets]
        )


@pytest.mark.parametrize("stride", [0, 1, 4, 9, 100])
@pytest.mark.parametrize("length", [1, 9, 10, 11, 15, 16, 37, 60])
def test_every_token_is_in_a_window_and_begins_answers_in_one(tokenizer, stride, length):
    passage = " ".join(["film"] * length)
    windows = passage_windows(tokenizer, [("a", "film"), (QUESTION, passage)], 16, stride)
    assert windows[0].pair == 0 and all(window.pair == 1 for window in windows[1:])
    windows = windows[1:]
    owned = [window.offsets[at] for window in windows for at in window.own]
    assert owned == [(5 * at, 5 * at + 4) for at in range(length)]
    assert all(len(window.inputs["input_ids"]) <= 16 for window in windows)
    shared = min(stride, 5)
    for one, two in itertools.pairwise(windows):
        assert len(set(one.offsets) & set(two.offsets)) == shared
        # A start near an edge is decided by the window that shows what follows.
        assert len(one.offsets) - one.own.stop >= shared // 2


def test_a_question_is_never_cut(tokenizer):
    passage_windows(tokenizer, [("film " * 5, "good")], 16, 4)
    with pytest.raises(ValueError, match=r"the question 'film .* has 6 tokens.*max_length=16"):
        passage_windows(tokenizer, [("film " * 6, "good")], 16, 4)


def test_a_long_question_is_refused_before_training_and_at_prediction(tiny_encoder, fitted):
    long = [("film " * 30, "good plot")]
    for call in (
        lambda: _new(tiny_encoder).fit(long, ["good"]),
        lambda: _new(tiny_encoder).fit(PAIRS, ANSWERS, validation=(long, ["good"])),
        lambda: fitted.predict(long),
        lambda: fitted.predict(iter(long)),
    ):
        with pytest.raises(ValueError, match="leaves no room for its passage"):
            call()


# --- targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0, 3), (0, 0)), ((4, 9), (1, 1)), ((0, 10), (0, 2)), ((9, 10), (2, 2)),
        ((5, 7), (1, 1)),  # within a token
        ((1, 5), (0, 1)),
        ((3, 4), None),  # the space between two
        ((0, 11), None), ((11, 12), None),
    ],
)  # fmt: skip
def test_the_tokens_of_a_span(span, expected):
    assert tokens_of([(0, 3), (4, 9), (9, 10)], span) == expected


def test_targets_by_hand(tokenizer):
    """Windows begin at words 0, 5 and 10; the answer is words 8 to 9, then 4, then 19."""
    windows = passage_windows(tokenizer, [(QUESTION, LONG)], max_length=16, stride=5)
    starts = np.cumsum([0, *(len(word) + 1 for word in LONG.split())])

    def targets(first, last):
        return window_targets(windows, [(int(starts[first]), int(starts[last + 1]) - 1)])

    assert targets(8, 9) == [(5 + 8, 5 + 9), (5 + 3, 5 + 4), (0, 0)]
    assert targets(4, 4) == [(5 + 4, 5 + 4), (0, 0), (0, 0)]
    assert targets(9, 10) == [(0, 0), (5 + 4, 5 + 5), (0, 0)]
    assert window_targets(windows, [None]) == [(0, 0)] * 3
    with pytest.raises(ValueError, match=r"answers\[0\].*more than a window holds"):
        targets(3, 12)


def test_an_answer_without_a_token_is_refused(tiny_encoder):
    with pytest.raises(ValueError, match=r"answers\[1\].*has no token"):
        _new(tiny_encoder).fit([*PAIRS[:1], ("is it", "a \u200b film")], [ANSWERS[0], "\u200b"])


def test_the_first_whole_word_is_trained_on():
    pairs = [("Who?", "Adam, Ada and Ada")] * 5
    answers = ["Ada", "Adam", "da", (14, 17), " Ada "]
    _, spans = check_answers(pairs, answers, no_answer=False)
    assert spans == [(6, 9), (0, 4), (1, 3), (14, 17), (6, 9)]
    assert check_answers(pairs[:1], [(5, 10)], False)[1] == [(6, 9)], "without white space around"
    _, spans = check_answers([("Was?", "C++ (a+b)")] * 2, ["C++", "(a+b)"], False)
    assert spans == [(0, 3), (4, 9)]
    assert check_answers(pairs[:2], ["", "Ada"], no_answer=True)[1] == [None, (6, 9)]


# --- against the library -------------------------------------------------------------------------


def test_the_loss_is_the_librarys(tiny_encoder, tokenizer):
    """On passages that fit, what the library computes for the same texts, encoded by hand."""
    torch.manual_seed(3)
    model = AutoModelForQuestionAnswering.from_pretrained(tiny_encoder).eval()
    windows = passage_windows(tokenizer, PAIRS, 32, 8)
    _, spans = check_answers(PAIRS, ANSWERS, False)
    starts, ends = torch.tensor(window_targets(windows, spans)).T
    batch = padded_batch(tokenizer, windows, model)
    found = model(**batch, start_positions=starts, end_positions=ends).loss
    plain = tokenizer([q for q, _ in PAIRS], [p for _, p in PAIRS], padding=True,
                      return_tensors="pt")  # fmt: skip
    output = model(**plain)
    rows = [
        passage.split().index(answer) for (_, passage), answer in zip(PAIRS, ANSWERS, strict=True)
    ]
    places = torch.tensor(rows) + 6  # [CLS], four words of the question, [SEP]
    assert places.tolist() == starts.tolist() == ends.tolist()
    entropy = torch.nn.functional.cross_entropy
    expected = (entropy(output.start_logits, places) + entropy(output.end_logits, places)) / 2
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)


def test_predictions_are_the_best_of_all_allowed_spans(fitted):
    """Every pair of a start and an end tried one by one, in plain library code."""
    for pair in [*PAIRS[:6], (QUESTION, LONG)]:
        encoded = fitted.tokenizer_(*pair, return_tensors="pt", return_offsets_mapping=True)
        offsets = encoded.pop("offset_mapping")[0].tolist()
        with torch.no_grad():
            output = fitted.model_(**encoded)
        kept = [0, *(at for at, part in enumerate(encoded.sequence_ids(0)) if part == 1)]
        starts = output.start_logits[0, kept].softmax(0).tolist()
        ends = output.end_logits[0, kept].softmax(0).tolist()
        score, first, last = max(
            (starts[i] * ends[j], -i, -j)
            for i in range(1, len(kept))
            for j in range(i, min(i + 30, len(kept)))
        )
        (found,) = fitted.predict_spans([pair])
        assert found[:2] == (offsets[kept[-first]][0], offsets[kept[-last]][1])
        assert found[2] == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("most", [1, 2, 3, 50])
def test_the_best_span_is_found_as_by_trying_all(most):
    generator = np.random.default_rng(0)
    for size in (1, 2, 5, 12):
        starts, ends = generator.normal(size=(2, size))
        for own in (range(size), range(size // 2, size), range(0, 1)):
            every = [
                (starts[i] + ends[j], i, j) for i in own for j in range(i, min(i + most, size))
            ]
            assert best_span(starts, ends, own, most) == max(every)
    assert best_span(np.array([]), np.array([]), range(0), most) == (-np.inf, 0, 0)


# --- prediction ----------------------------------------------------------------------------------


def test_it_learns_and_answers_with_what_stands_in_the_passage(fitted):
    assert fitted.score(PAIRS, ANSWERS) == 1.0
    assert fitted.predict(PAIRS) == ANSWERS
    pairs = [("Is the FILM good?", "The  ACTOR is\tGreat"), ("is the film good", "nice 😀 film")]
    found = fitted.predict_spans(pairs)
    for (_, passage), answer, (start, end, score) in zip(
        pairs, fitted.predict(pairs), found, strict=True
    ):
        assert passage[start:end] == answer and 0 < score <= 1
    assert fitted.predict(pairs)[0] == "Great"


def test_an_answer_in_a_far_window_is_found(tiny_encoder):
    filler = " ".join(["the actor was not a plot"] * 6)
    pairs = [("is it", f"{filler} {a} film {filler}") for a in ("good", "bad", "fine", "dull")]
    answers = ["good", "bad", "fine", "dull"]
    model = _new(tiny_encoder, num_epochs=40, stride=8, max_length=24).fit(pairs, answers)
    assert len(passage_windows(model.tokenizer_, pairs[:1], 24, 8)) > 4
    assert model.predict(pairs) == answers
    start, end, score = model.predict_spans(pairs)[0]
    assert (start, end) == (len(filler) + 1, len(filler) + 5) and score > 0.5


def test_an_answer_is_never_longer_than_allowed(fitted):
    for most in (1, 2):
        short = copy.copy(fitted).set_params(max_answer_tokens=most)
        assert max(len(answer.split()) for answer in short.predict(PAIRS)) <= most


def test_passages_without_an_answer(tiny_encoder):
    without = [("is the film good", text) for text in ("the film", "a plot", "the actor was")]
    pairs, answers = [*PAIRS, *without * 4], [*ANSWERS, *[""] * 12]
    model = _new(tiny_encoder, num_epochs=30, no_answer=True).fit(pairs, answers)
    assert model.predict(pairs) == answers and model.score(pairs, answers) == 1.0
    start, end, score = model.predict_spans(without[:1])[0]
    assert (start, end) == (0, 0) and score > 0.5
    # Without leave to say so, something is always answered.
    forced = copy.copy(model).set_params(no_answer=False)
    assert all(forced.predict(without))


def test_no_answer_must_be_allowed(tiny_encoder, fitted):
    with pytest.raises(ValueError, match=r"answers\[0\] is empty.*no_answer=True"):
        _new(tiny_encoder).fit(PAIRS, ["", *ANSWERS[1:]])
    with pytest.raises(ValueError, match=r"answers\[0\] is empty"):
        fitted.score(PAIRS[:1], [""])


@pytest.mark.parametrize("passage", ["", " ", "\u200b"])
def test_a_passage_of_which_no_token_is_left(fitted, passage):
    assert fitted.predict([("is it good", passage), PAIRS[0]]) == ["", ANSWERS[0]]
    assert fitted.predict_spans([("is it good", passage)])[0][:2] == (0, 0)


def test_the_company_of_other_pairs_changes_nothing(fitted):
    pairs = [*PAIRS, (QUESTION, LONG), ("", "a film")]
    alone = [fitted.predict_spans([pair])[0] for pair in pairs]
    for found in (fitted.predict_spans(pairs), fitted.predict_spans(iter(pairs))):
        np.testing.assert_allclose(found, alone, atol=1e-6)
    one = copy.copy(fitted).set_params(prediction_batch_size=1)
    np.testing.assert_allclose(one.predict_spans(pairs), alone, atol=1e-6)


# --- copies, seeds, interruptions, files ---------------------------------------------------------


def test_the_same_seed_gives_the_same_bits(tiny_encoder):
    found = [
        _new(tiny_encoder, random_state=seed, num_epochs=1).fit(PAIRS, ANSWERS).predict_spans(PAIRS)
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]


def test_copies_and_saved_ones_answer_the_same(fitted, tmp_path):
    expected = fitted.predict_spans(PAIRS)
    loaded = SpanExtractor.load(fitted.save(tmp_path / "model"))
    for twin in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted)), loaded):
        assert twin.predict_spans(PAIRS) == expected
        assert twin.classes_.tolist() == []
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "model_")


def test_a_saved_folder_opens_in_the_library(fitted, tmp_path):
    folder = fitted.save(tmp_path / "model")
    plain = AutoModelForQuestionAnswering.from_pretrained(folder)
    for name, weight in fitted.model_.state_dict().items():
        assert torch.equal(plain.state_dict()[name], weight), name


def test_an_interrupted_fit_leaves_the_object_as_it_was(fitted, monkeypatch):
    own = copy.copy(fitted)
    before = dict(vars(own))

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.Tensor, "backward", stop)
    with pytest.raises(KeyboardInterrupt):
        own.fit(PAIRS[2:], ANSWERS[2:])
    assert vars(own).keys() == before.keys()
    assert all(vars(own)[name] is value for name, value in before.items())


def test_long_answers_are_told(tiny_encoder):
    with pytest.warns(UserWarning, match="1 answers have more than max_answer_tokens=2") as caught:
        _new(tiny_encoder, num_epochs=1, max_answer_tokens=2).fit(
            [PAIRS[0], ("is it", "a very good film")], [ANSWERS[0], "very good film"]
        )
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _new(tiny_encoder, num_epochs=1).fit(PAIRS, ANSWERS)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "answers", "message"),
    [
        ([], [], "pairs: there are none"),
        ("who", ["a"], "pairs is a single string"),
        (["who is it"], ["a"], r"pairs\[0\] is 'who is it'; every pair must be two strings"),
        ([("who", "ada", "x")], ["a"], r"pairs\[0\]"),
        ([("who", "ada"), ("who", None)], ["ada", "a"], r"pairs\[1\] is \('who', None\)"),
        ([("who", "ada \ud800")], ["ada"], r"pairs\[0\] is not valid Unicode"),
        ([("who", "ada")], ["ada", "bob"], "1 pairs but 2 answers"),
        ([("who", "ada")], "ada", "answers is a single string"),
        ([("who", "ada")], ["bob"], r"answers\[0\] is 'bob', which does not stand in its passage"),
        ([("who", "ada")], ["Ada"], r"answers\[0\] is 'Ada'"),
        ([("who", "ada")], [" "], r"answers\[0\] is ' '"),
        ([("who", "ada")], [None], r"answers\[0\] is None; pass a text"),
        ([("who", "ada")], [(0, 4)], r"answers\[0\] is \(0, 4\).*from 0 to 3"),
        ([("who", "ada")], [(2, 2)], r"answers\[0\] is \(2, 2\)"),
        ([("who", "ada")], [(0.0, 2.0)], r"answers\[0\]"),
        ([("who", "a b")], [(1, 2)], r"answers\[0\] is \(1, 2\)"),
        ([("who", "ada")], {"ada": 1}, "answers is a dict"),
    ],
)
def test_what_are_no_pairs_or_answers_is_refused_before_a_model_is_loaded(pairs, answers, message):
    with pytest.raises(ValueError, match=message):
        SpanExtractor("no/model").fit(pairs, answers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length": 7}, "max_length=7"),
        ({"stride": -1}, "stride=-1"),
        ({"max_answer_tokens": 0}, "max_answer_tokens=0"),
        ({"no_answer": "no"}, "no_answer='no'"),
        ({"num_epochs": 0}, "num_epochs=0"),
        ({"patience": 1}, "patience=1 needs validation"),
        ({"fast": ("first_token",)}, "first_token"),
        ({"device": "cuda:99"}, "device='cuda:99'"),
    ],
)
def test_bad_parameters_are_refused_before_a_model_is_loaded(changes, message):
    with pytest.raises(ValueError, match=message):
        SpanExtractor("no/model", **changes).fit(PAIRS, ANSWERS)


def test_a_length_beyond_the_models_is_refused(tiny_encoder):
    with pytest.raises(ValueError, match="max_length=33, but the model takes at most 32"):
        _new(tiny_encoder, max_length=33).fit(PAIRS, ANSWERS)


@pytest.mark.parametrize("validation", [3, (PAIRS,), (PAIRS, ANSWERS, 1)])
def test_what_is_no_validation(tiny_encoder, validation):
    with pytest.raises(ValueError, match=r"validation=.*\(pairs, answers\)"):
        _new(tiny_encoder).fit(PAIRS, ANSWERS, validation=validation)
    with pytest.raises(ValueError, match=r"validation answers\[0\] is 'x'"):
        _new(tiny_encoder).fit(PAIRS, ANSWERS, validation=(PAIRS[:1], ["x"]))
