import copy
import itertools
import json
import random

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
    pipeline,
    set_seed,
)

from reptune import training
from reptune.data.tagged import split_words
from reptune.data.tags import count_invalid, spans
from reptune.metrics import entity_scores
from reptune.ner import EntityTagger, alignment
from reptune.ner import tagger as tagger_module
from reptune.ner.alignment import align, windows
from tests import tiny
from tests.tiny import WORDS

ACCENT, FAMILY = "\u0301", "👩\u200d👩\u200d👧"
ODD = [
    ACCENT, "e" + ACCENT, "\u200d", FAMILY, "👍🏽", "🇩🇪", "\ufeff", "\x00", "", " ", "\u3000",
    "zzz", "The", "GOOD", "good-film", "[SEP]", "[MASK]", "a[CLS]b", "New York", "北京", "ß", "İ",
    "'s", "𝔘",
]  # fmt: skip

quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
any_word = st.one_of(st.sampled_from(WORDS), st.sampled_from(ODD), st.text(max_size=6))
any_sentence = st.lists(any_word, min_size=1, max_size=12)
any_text = st.one_of(st.text(), st.lists(any_word, max_size=12).map(" ".join))


def tag(words):
    """A film is an X; "very" and the "nice" after it are a Y."""
    known = {"film": "B-X", "very": "B-Y", "nice": "I-Y"}
    return [known.get(word, "O") for word in words]


def toy(count, random_state):
    draw = random.Random(random_state)
    plain = [word for word in WORDS if word not in ("very", "nice", "film")]
    sentences = []
    for _ in range(count):
        parts = [[draw.choice(plain)], [draw.choice(plain)], ["film"], ["very", "nice"]]
        chosen = draw.choices(parts, k=draw.randint(1, 6))
        sentences.append([word for part in chosen for word in part])
    return sentences, [tag(words) for words in sentences]


TOKENS, TAGS = toy(80, random_state=0)
FEW, FEW_TAGS = TOKENS[:24], TAGS[:24]  # where nothing has to be learned
UNSEEN, UNSEEN_TAGS = toy(40, random_state=1)


@pytest.fixture(scope="session")
def make(tiny_encoder):
    def make(**changes):
        knobs = {
            "model": tiny_encoder,
            "num_epochs": 2,
            "learning_rate": 5e-3,
            "batch_size": 8,
            "max_length": 32,
            "random_state": 0,
        }
        return EntityTagger(**(knobs | changes))

    return make


@pytest.fixture(scope="session")
def fitted(make):
    return make(num_epochs=10).fit(TOKENS, TAGS)


@pytest.fixture(scope="session")
def eager(fitted):
    """A tagger that sees entities everywhere."""
    tagger = copy.copy(fitted)
    tagger.model_ = copy.deepcopy(fitted.model_)
    with torch.no_grad():
        tagger.model_.classifier.bias[0] -= 20
    return tagger


@pytest.fixture(scope="session")
def narrow(fitted):
    """The fitted tagger with room for 6 pieces at a time."""
    return copy.copy(fitted).set_params(max_length=8)


@pytest.fixture(scope="session")
def tokenizer(tiny_encoder):
    return AutoTokenizer.from_pretrained(tiny_encoder)


def weights(tagger):
    return {name: weight.cpu().numpy() for name, weight in tagger.model_.state_dict().items()}


def assert_same_weights(one, other, atol=0.0):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=0, atol=atol, err_msg=name)


def plain_rows(tagger, tokens):
    return np.concatenate(tagger.predict_proba(tokens))


# --- learning ------------------------------------------------------------------------------------


def test_it_learns_and_tags_sentences_it_has_not_seen(fitted):
    assert entity_scores(TAGS, fitted.predict(TOKENS))["f1"] > 0.99
    assert entity_scores(UNSEEN_TAGS, fitted.predict(UNSEEN))["f1"] > 0.99
    assert fitted.history_[-1]["loss"] < fitted.history_[0]["loss"] / 4
    assert fitted.cost_.seconds > 0 and not fitted.model_.training


def test_it_learns_what_comes_before(make):
    words = [word for word in WORDS if word not in ("the", "a")]
    tokens = [[before, word] for word in words for before in ("the", "a")]
    tags = [["O", "B-X" if before == "the" else "O"] for before, _ in tokens]
    tagger = make(num_epochs=40).fit(tokens, tags)
    assert tagger.predict(tokens) == tags


def test_classes_are_o_then_b_and_i_of_each_type_even_where_never_seen(make, fitted):
    assert fitted.classes_.tolist() == ["O", "B-X", "I-X", "B-Y", "I-Y"]
    assert "I-X" not in {tag for row in TAGS for tag in row}
    tagger = make(num_epochs=1).fit([["good", "film", "the"]], [["B-per son", "B-A-B", "O"]])
    assert tagger.classes_.tolist() == ["O", "B-A-B", "I-A-B", "B-per son", "I-per son"]
    assert tagger.model_.config.id2label == dict(enumerate(tagger.classes_.tolist()))


def test_shares_are_how_often_each_tag_occurs(fitted):
    flat = [tag for row in TAGS for tag in row]
    counts = np.array([flat.count(tag) + 0.5 for tag in fitted.classes_])
    np.testing.assert_allclose(fitted.shares_, counts / counts.sum())


def test_probabilities_have_a_row_a_word_that_sums_to_one(fitted):
    rows = fitted.predict_proba(TOKENS)
    assert [row.shape for row in rows] == [(len(words), 5) for words in TOKENS]
    for row in rows:
        np.testing.assert_allclose(row.sum(axis=1), 1, rtol=1e-9)


def test_predict_is_the_likeliest_tag_wherever_that_is_valid(fitted):
    likeliest = [fitted.classes_[row.argmax(axis=1)].tolist() for row in fitted.predict_proba(FEW)]
    valid = [count_invalid([row]) == 0 for row in likeliest]
    assert sum(valid) > 10
    for best, found, is_valid in zip(likeliest, fitted.predict(FEW), valid, strict=True):
        assert not is_valid or best == found


@quick
@given(st.lists(any_sentence, min_size=1, max_size=4))
@example([[ACCENT]])
@example([[""], ["the", ACCENT, "film"], [FAMILY]])
@example([["the", "film"] * 300, ["very"] * 200])
def test_whatever_the_words_there_is_one_valid_tag_for_each(fitted, eager, narrow, tokens):
    for tagger in (fitted, eager, narrow):
        rows, tags = tagger.predict_proba(tokens), tagger.predict(tokens)
        assert [len(row) for row in tags] == [len(words) for words in tokens]
        assert [row.shape for row in rows] == [(len(words), 5) for words in tokens]
        np.testing.assert_allclose(np.concatenate(rows).sum(axis=1), 1, rtol=1e-9)
        assert count_invalid(tags) == 0
        assert {tag for row in tags for tag in row} <= set(tagger.classes_)


def test_a_word_of_which_nothing_is_left_keeps_the_shares_of_training(fitted):
    row = fitted.predict_proba([["the", ACCENT, "film"]])[0]
    np.testing.assert_array_equal(row[1], fitted.shares_)
    np.testing.assert_allclose(row[[0, 2]], fitted.predict_proba([["the", "film"]])[0], atol=1e-6)
    np.testing.assert_array_equal(fitted.predict_proba([[ACCENT]])[0], [fitted.shares_])


def test_sentences_of_which_nothing_is_left_do_no_harm_in_training(make):
    tokens = [[ACCENT], *FEW, [ACCENT, ""]]
    tagger = make(batch_size=1, num_epochs=1).fit(tokens, [["B-X"], *FEW_TAGS, ["O", "O"]])
    assert all(np.isfinite(weight).all() for weight in weights(tagger).values())


def test_other_containers_than_lists(fitted):
    expected = fitted.predict(FEW)
    assert fitted.predict(tuple(map(tuple, FEW))) == expected
    assert fitted.predict(np.array(words, dtype=object) for words in FEW) == expected


# --- plain library code --------------------------------------------------------------------------


PIECES = [
    ["the", "good-film", "is", "very", "nice", "plot-actor"],
    ["a-movie", "was", ACCENT, "the", "actor"],
    ["not", "the", "zzz", "Film"],
]
PIECES_TAGS = [
    ["O", "B-X", "O", "O", "B-Y", "I-Y"],
    ["O", "O", "O", "O", "B-X"],
    ["O", "O", "B-X", "I-X"],
]


@pytest.mark.parametrize("label_pieces", ["first", "all"])
def test_with_every_fast_option_off_it_is_plain_library_code(
    make, tiny_encoder, tmp_path, label_pieces
):
    """The reference is token classification as the library's documentation shows it."""
    from datasets import Dataset

    tokens, tags = FEW + PIECES, FEW_TAGS + PIECES_TAGS
    classes = ["O", "B-X", "I-X", "B-Y", "I-Y"]

    def encode(batch):
        encoded = tokenizer(batch["tokens"], truncation=True, is_split_into_words=True)
        encoded["labels"] = []
        for row, names in enumerate(batch["tags"]):
            labels, before = [], None
            for word in encoded.word_ids(row):
                if word is None or (word == before and label_pieces == "first"):
                    labels.append(-100)
                elif word == before:
                    labels.append(classes.index(names[word].replace("B-", "I-")))
                else:
                    labels.append(classes.index(names[word]))
                before = word
            encoded["labels"].append(labels)
        return encoded

    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    set_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(tiny_encoder, num_labels=5)
    dataset = Dataset.from_dict({"tokens": tokens, "tags": tags}).map(encode, batched=True)
    Trainer(
        model,
        TrainingArguments(
            tmp_path, num_train_epochs=3, learning_rate=5e-3, per_device_train_batch_size=8,
            weight_decay=0.01, warmup_steps=0.1, seed=0, save_strategy="no", report_to="none",
            disable_tqdm=True, dataloader_pin_memory=False,
        ),
        train_dataset=dataset,
        data_collator=DataCollatorForTokenClassification(tokenizer),
    ).train()  # fmt: skip
    ours = make(fast=False, num_epochs=3, label_pieces=label_pieces).fit(tokens, tags)
    reference = make()
    reference.model_ = model
    assert_same_weights(ours, reference, atol=1e-5)


def labels_of(tagger, tokenizer, tokens, tags):
    classes = np.array(["O", "B-X", "I-X", "B-Y", "I-Y"])
    found = tagger._features(tokenizer, tokens, tags, classes)
    return [
        [label if label < 0 else str(classes[label]) for label in feature["labels"]]
        for _, feature in found
    ]


def test_labels_of_the_first_piece_or_of_all_of_them(make, tokenizer):
    tokens, tags = [PIECES[0], PIECES[1]], [PIECES_TAGS[0], PIECES_TAGS[1]]
    no = -100
    assert labels_of(make(), tokenizer, tokens, tags) == [
        [no, "O", "B-X", no, no, "O", "O", "B-Y", "I-Y", no, no, no],
        [no, "O", no, no, "O", "O", "B-X", no],
    ]
    assert labels_of(make(label_pieces="all"), tokenizer, tokens, tags) == [
        [no, "O", "B-X", "I-X", "I-X", "O", "O", "B-Y", "I-Y", "I-Y", "I-Y", no],
        [no, "O", "O", "O", "O", "O", "B-X", no],
    ]


# --- fast options, seeds, validation -------------------------------------------------------------


def test_fast_options_learn_as_well(make):
    losses = {}
    for fast in (True, False):
        history = make(fast=fast, num_epochs=5).fit(TOKENS, TAGS).history_
        losses[fast] = history[-1]["loss"]
        assert losses[fast] < history[0]["loss"] / 2
    assert losses[True] == pytest.approx(losses[False], abs=0.25)


@pytest.mark.parametrize("fast", [True, False, ("length_buckets",), {"cheap_dropout"}])
def test_same_seed_same_bits_and_the_callers_generators_stay(make, fast):
    one = make(fast=fast).fit(FEW, FEW_TAGS)
    torch.rand(3), np.random.rand(3), random.random()
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    again = make(fast=fast).fit(FEW, FEW_TAGS)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all() and states[2] == random.getstate()
    assert_same_weights(one, again)
    assert (plain_rows(one, FEW) == plain_rows(again, FEW)).all()
    other = make(fast=fast, random_state=1).fit(FEW, FEW_TAGS)
    assert (plain_rows(one, FEW) != plain_rows(other, FEW)).any()


@pytest.mark.parametrize("warmup", [0, 0.1, 0.6, 0.99])
def test_a_warm_up_of_every_step_still_learns(make, warmup):
    """The library's rate is 0 at the first step: where there is one step, nothing would move."""
    one_step = {"warmup": warmup, "num_epochs": 1, "batch_size": 80}
    start, found = (
        weights(make(**one_step, learning_rate=rate).fit(FEW, FEW_TAGS)) for rate in (1e-12, 5e-3)
    )
    assert max(np.abs(found[name] - start[name]).max() for name in start) > 1e-3


@pytest.mark.parametrize(
    ("share", "num_steps", "expected"),
    [(0.1, 30, 0.1), (0, 1, 0), (0, 9, 0), (0.1, 1, 0), (0.6, 2, 1), (0.99, 40, 39), (0.5, 2, 0.5)],
)
def test_the_library_s_warm_up_is_used_where_it_leaves_a_step(share, num_steps, expected):
    assert training.warmup_steps(share, num_steps) == expected


def test_numpy_numbers_are_numbers(make):
    knobs = {"num_epochs": 2, "batch_size": 4, "max_length": 16, "random_state": 3}
    one = make(**knobs).fit(FEW, FEW_TAGS)
    numpy = {name: np.int64(value) for name, value in knobs.items()}
    other = make(**numpy, learning_rate=np.float64(5e-3), mark_case=np.False_).fit(FEW, FEW_TAGS)
    assert_same_weights(one, other)


def test_fitting_again_starts_afresh(make):
    tagger = make().fit(FEW, FEW_TAGS)
    before = plain_rows(tagger, FEW)
    assert (plain_rows(tagger.fit(FEW, FEW_TAGS), FEW) == before).all()


@pytest.mark.parametrize("fast", [True, False])
def test_validation_is_scored_after_each_epoch_and_changes_nothing(make, fast):
    blind = make(fast=fast, num_epochs=3).fit(FEW, FEW_TAGS)
    watched = make(fast=fast, num_epochs=3)
    watched.fit(FEW, FEW_TAGS, validation=(UNSEEN, UNSEEN_TAGS))
    assert_same_weights(blind, watched)
    scored = [entry for entry in watched.history_ if "eval_loss" in entry]
    assert [entry["epoch"] for entry in scored] == [1, 2, 3]
    assert [entry["step"] for entry in scored] == [3, 6, 9]
    steps = [entry["step"] for entry in watched.history_]
    assert steps == sorted(steps)
    assert [entry for entry in watched.history_ if "loss" in entry] == blind.history_
    rows = watched.predict_proba(UNSEEN)
    place = {tag: index for index, tag in enumerate(watched.classes_)}
    right = [row[w, place[tag]] for row, tags in zip(rows, UNSEEN_TAGS, strict=True)
             for w, tag in enumerate(tags)]  # fmt: skip
    # Where training runs in half precision, so does the scoring between its epochs.
    tolerance = {True: 1e-2, False: 1e-6}[fast]
    assert scored[-1]["eval_loss"] == pytest.approx(-np.mean(np.log(right)), abs=tolerance)
    f1 = entity_scores(UNSEEN_TAGS, watched.predict(UNSEEN))["f1"]
    assert scored[-1]["eval_f1"] == pytest.approx(f1, abs=2 * tolerance)


def test_layer_decay_moves_early_blocks_less(make, tiny_encoder):
    start = BertModel.from_pretrained(tiny_encoder).state_dict()
    name = "encoder.layer.0.attention.self.query.weight"
    moved = {}
    for decay in (1.0, 0.1):
        tagger = make(layer_decay=decay).fit(FEW, FEW_TAGS)
        moved[decay] = float((tagger.model_.state_dict()[f"bert.{name}"] - start[name]).norm())
    assert 0 < moved[0.1] < moved[1.0] / 10


# --- words and pieces ----------------------------------------------------------------------------


@quick
@given(st.lists(any_sentence, min_size=1, max_size=3))
def test_aligned_pieces_are_the_tokenizers_own(tokenizer, tokens):
    found = align(tokenizer, tokens)
    assert [len(words) for words in found] == [len(words) for words in tokens]
    for words, pieces in zip(tokens, found, strict=True):
        expected = tokenizer(words, is_split_into_words=True)["input_ids"][1:-1]
        assert [piece for word in pieces for piece in word] == expected
        for word, own in zip(words, pieces, strict=True):
            assert own == tokenizer([word], is_split_into_words=True)["input_ids"][1:-1]


def test_words_that_the_tokenizer_drops_have_no_pieces(tokenizer):
    found = align(tokenizer, [["the", ACCENT, "", "film"], ["\x00"]])
    place = {word: [len(tiny.SPECIAL) + index] for index, word in enumerate(WORDS)}
    assert found == [[place["the"], [], [], place["film"]], [[]]]
    assert align(tokenizer, []) == []


@st.composite
def sizes_and_room(draw):
    room = draw(st.integers(1, 30))
    largest = draw(st.sampled_from([1, max(1, room // 4), room]))
    return draw(st.lists(st.integers(0, largest), min_size=1, max_size=60)), room


@settings(quick, max_examples=400)
@given(sizes_and_room())
@example(([0], 1))
@example(([0, 0, 3, 0, 0], 3))
@example(([3, 1, 4], 4))
@example(([1] * 7, 6))
def test_windows_fit_overlap_and_share_the_words_out(drawn):
    sizes, room = drawn
    found = windows(sizes, room)
    owned = [word for window in found for word in range(window.own_start, window.own_end)]
    assert owned == list(range(len(sizes)))
    assert found[0].start == 0 and found[-1].end == len(sizes)
    for window in found:
        assert window.start <= window.own_start <= window.own_end <= window.end
        assert window.start < window.end and sum(sizes[window.start : window.end]) <= room
    if sum(sizes) <= room:
        assert found == [(0, len(sizes), 0, len(sizes))]
    for window, after in itertools.pairwise(found):
        assert window.start < after.start <= window.end <= after.end
        shared = sum(sizes[after.start : window.end])
        assert shared <= alignment.OVERLAP * room
        # Nothing more could be shared: the next word to the left is too large, or opens the window.
        one_more = shared + sizes[after.start - 1]
        assert one_more > alignment.OVERLAP * room or after.start - 1 == window.start
    if max(sizes) <= room // 4:  # what EntityTagger sees to
        ends = [window.end for window in found]
        assert ends == sorted(set(ends)), "a window lies within another"
        assert all(window.own_start < window.own_end for window in found)


@pytest.mark.parametrize("room", [6, 8, 13, 30])
def test_a_word_is_decided_where_most_stands_around_it(room):
    count = 5 * room + 3
    found = windows([1] * count, room)

    def margin(window, word):
        left = word - window.start if window.start > 0 else count
        return min(left, window.end - 1 - word if window.end < count else count)

    for word in range(count):
        seen = [window for window in found if window.start <= word < window.end]
        (own,) = [window for window in found if window.own_start <= word < window.own_end]
        assert margin(own, word) == max(margin(window, word) for window in seen)


def test_a_word_too_large_for_a_window_is_named():
    assert windows([4], 4) == [(0, 1, 0, 1)]
    with pytest.raises(ValueError, match="a word has 5 pieces, but only 4 fit"):
        windows([1, 5, 1], 4)


# --- long sentences ------------------------------------------------------------------------------


LONG = [word for words in UNSEEN for word in words]


@pytest.mark.parametrize("max_length", [8, 9, 16, 32])
def test_a_long_sentence_is_read_in_windows_not_cut(fitted, max_length, recwarn):
    tagger = copy.copy(fitted).set_params(max_length=max_length)
    row = tagger.predict_proba([LONG])[0]
    assert row.shape == (len(LONG), 5) and len(LONG) > 100
    assert (row != fitted.shares_).all()
    pieces = windows([1] * len(LONG), max_length - 2)
    assert len(pieces) > 4
    for start, end, own_start, own_end in pieces:
        alone = tagger.predict_proba([LONG[start:end]])[0]
        np.testing.assert_allclose(
            row[own_start:own_end], alone[own_start - start : own_end - start], atol=1e-5
        )
    assert not [warning for warning in recwarn if "longer" in str(warning.message)]


def test_a_long_sentence_is_tagged_like_its_parts(fitted):
    tags = fitted.predict([LONG])[0]
    assert entity_scores([tag(LONG)], [tags])["f1"] > 0.8


def test_every_word_of_a_long_sentence_is_trained_on_once(make, tokenizer):
    for label_pieces in ("first", "all"):
        tagger = make(max_length=12, label_pieces=label_pieces)
        found = labels_of(tagger, tokenizer, [LONG], [tag(LONG)])
        assert len(found) > 4 and max(map(len, found)) <= 12
        assert [label for labels in found for label in labels if label != -100] == tag(LONG)
    fitted = make(max_length=12).fit([LONG], [tag(LONG)])
    assert [row.shape for row in fitted.predict_proba([LONG])] == [(len(LONG), 5)]


def test_a_sentence_that_fits_is_read_whole(make, tokenizer):
    words = ["the", "-".join(["film"] * 14), "is"]  # 27 + 2 pieces of 30
    ((_, feature),) = make()._features(tokenizer, [words])
    assert feature["input_ids"] == tokenizer(words, is_split_into_words=True)["input_ids"]
    assert len(make(max_length=31)._features(tokenizer, [words])) == 1
    ((_, cut),) = make(max_length=30)._features(tokenizer, [words])
    assert len(cut["input_ids"]) == 2 + 2 + int(tagger_module.LONGEST_WORD * 28)


def test_a_word_with_more_pieces_than_the_window(narrow, make, tokenizer):
    endless = "-".join(["film"] * 50)
    rows = narrow.predict_proba([["the", endless, "is"], [endless], [endless, endless]])
    shown = narrow.predict_proba([["the", "film", "is"], ["film"], ["film", "film"]])
    for row, expected in zip(rows, shown, strict=True):
        np.testing.assert_allclose(row, expected, atol=1e-5)
    tokens, tags = [["the", endless, "is"]], [["O", "B-X", "O"]]
    wide = make(max_length=22, label_pieces="all")  # 5 of 20 pieces for a word
    assert labels_of(wide, tokenizer, tokens, tags) == [
        [-100, "O", "B-X", "I-X", "I-X", "I-X", "I-X", "O", -100]
    ]
    assert wide.fit(tokens, tags).predict(tokens)[0][0] in wide.classes_


def test_company_in_a_batch_changes_nothing(fitted, monkeypatch):
    short = FEW[0]
    alone = fitted.predict_proba([short])[0]
    crowd = [LONG, *FEW[1:], short, ["film"], [ACCENT]]
    np.testing.assert_allclose(fitted.predict_proba(crowd)[len(FEW)], alone, atol=1e-5)
    together = plain_rows(fitted, crowd)
    monkeypatch.setattr(tagger_module, "PREDICTION_TOKENS", 1)
    np.testing.assert_allclose(plain_rows(fitted, crowd), together, atol=1e-5)


# --- entities in raw text ------------------------------------------------------------------------


def expected_entities(tagger, text):
    """From `predict` and `predict_proba`, word by word."""
    words = split_words(text)
    if not words:
        return []
    tokens = [[word.text for word in words]]
    row, tags = tagger.predict_proba(tokens)[0], tagger.predict(tokens)[0]
    place = {tag: index for index, tag in enumerate(tagger.classes_)}
    sure = [row[word, place[tag]] for word, tag in enumerate(tags)]
    return [
        (kind, words[first].start, words[end - 1].end, min(sure[first:end]))
        for kind, first, end in spans(tags)
    ]


def assert_close(found, expected):
    assert [(e.type, e.start, e.end) for e in found] == [row[:3] for row in expected]
    np.testing.assert_allclose(
        [e.confidence for e in found], [row[3] for row in expected], atol=1e-5
    )


@settings(quick, max_examples=100)
@given(any_text)
@example(f"the {FAMILY}, very good film e{ACCENT}te{ACCENT} 👍🏽!")
@example(f"{ACCENT}the film{ACCENT}")
@example("\r\n\tthe  film\u2028\u3000")
@example("very good movie. " * 100)
def test_offsets_are_those_of_the_text_as_it_came(fitted, eager, text):
    for tagger in (fitted, eager):
        found = tagger.entities(text)
        end = 0
        for entity in found:
            assert entity.text == text[entity.start : entity.end] and entity.text
            assert end <= entity.start < entity.end <= len(text)
            assert entity.type in ("X", "Y") and 0 <= entity.confidence <= 1
            end = entity.end
        assert_close(found, expected_entities(tagger, text))


def test_entities_are_found_where_they_stand(fitted):
    text = f"  The film,\n{FAMILY} is very  nice."
    found = fitted.entities(text)
    assert [(e.text, e.type) for e in found] == [("film", "X"), ("very  nice", "Y")]
    assert text.index("film") == found[0].start and text.index("very") == found[1].start


def test_one_string_gives_a_list_and_several_a_list_of_lists(fitted, eager):
    texts = [" ".join(words) for words in UNSEEN] + ["", " \n", f"the {FAMILY}", " ".join(LONG)]
    for tagger in (fitted, eager):
        together = tagger.entities(texts)
        assert isinstance(together, list) and len(together) == len(texts)
        for text, found in zip(texts, together, strict=True):
            alone = tagger.entities(text)
            assert_close(found, [(e.type, e.start, e.end, e.confidence) for e in alone])
    assert fitted.entities(iter(["the film"])) == [fitted.entities("the film")]


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000\u2028", "\u00a0"])
def test_a_text_without_words_has_no_entities(eager, text):
    assert eager.entities(text) == []
    assert eager.entities([text]) == [[]]
    assert eager.entities([text, text]) == [[], []]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([], "there are none"),
        (["the film", None], r"texts\[1\] is None \(a missing value\)"),
        (["the film", 3], r"texts\[1\] is 3"),
        ([["the", "film"]], r"texts\[0\] is \['the', 'film'\]"),
        (b"the film", "is a single string"),
        (["the film", "the \ud800 film"], r"texts\[1\] is not valid Unicode"),
    ],
)
def test_bad_texts(fitted, text, message):
    with pytest.raises(ValueError, match=message):
        fitted.entities(text)


@pytest.mark.parametrize("text", [None, 3, float("nan")])
def test_what_is_neither_a_text_nor_several(fitted, text):
    with pytest.raises(ValueError):
        fitted.entities(text)


# --- capitals ------------------------------------------------------------------------------------


def test_segments_mark_the_pieces_of_capitalized_words(make, tokenizer):
    tokens = [["The", "good-Film", "Plot-actor", ACCENT, "IS", "Éa", "3d", "", "ǅ"]]
    (_, feature), *rest = make(mark_case=True)._features(tokenizer, tokens)
    assert not rest
    pieces = align(tokenizer, tokens)[0]
    capital = [True, False, True, False, True, True, False, False, False]
    marks = [int(is_capital) for is_capital, own in zip(capital, pieces, strict=True) for _ in own]
    # A titlecase letter is no upper case one to Python; it says so itself.
    assert not "ǅ".isupper()
    assert feature["token_type_ids"] == [0, *marks, 0]
    assert len(feature["token_type_ids"]) == len(feature["input_ids"])
    ((_, plain),) = make()._features(tokenizer, tokens)
    assert plain["input_ids"] == feature["input_ids"]
    assert not any(plain.get("token_type_ids", [0]))


def test_segments_go_along_with_windows(make, tokenizer):
    tokens = [[word.capitalize() if i % 3 == 0 else word for i, word in enumerate(LONG)]]
    for (_, window, _), feature in make(mark_case=True, max_length=8)._features(tokenizer, tokens):
        marks = [int(place % 3 == 0) for place in range(window.start, window.end)]
        assert feature["token_type_ids"] == [0, *marks, 0]


def test_only_mark_case_tells_capitals_apart(make, tmp_path):
    draw = random.Random(2)
    tokens = [
        [draw.choice(WORDS).capitalize() if draw.random() < 0.4 else draw.choice(WORDS)
         for _ in range(draw.randint(2, 6))]
        for _ in range(60)
    ]  # fmt: skip
    tags = [["B-X" if word[0].isupper() else "O" for word in words] for words in tokens]
    pair = [["is", "the", "film"], ["is", "The", "film"]]
    marked = make(mark_case=True, num_epochs=8).fit(tokens, tags)
    assert entity_scores(tags, marked.predict(tokens))["f1"] > 0.95
    assert marked.predict(pair) == [["O", "O", "O"], ["O", "B-X", "O"]]
    loaded = EntityTagger.load(marked.save(tmp_path / "marked"))
    assert loaded.mark_case and loaded.predict(pair) == marked.predict(pair)
    blind = make(num_epochs=1).fit(tokens, tags).predict_proba(pair)
    np.testing.assert_array_equal(blind[0], blind[1])


@pytest.fixture
def one_segment(tiny_encoder, tmp_path):
    config = BertConfig.from_pretrained(tiny_encoder)
    config.type_vocab_size = 1
    BertModel(config).save_pretrained(tmp_path / "one")
    tiny.tokenizer().save_pretrained(tmp_path / "one")
    return tmp_path / "one"


def test_mark_case_needs_two_segments(make, one_segment):
    with pytest.raises(ValueError, match="mark_case=True needs a model with two segment"):
        make(model=one_segment, mark_case=True).fit(FEW, FEW_TAGS)
    assert make(model=one_segment, num_epochs=1).fit(FEW, FEW_TAGS).predict(FEW)


# --- scikit-learn, saving and loading ------------------------------------------------------------


@pytest.mark.parametrize("fast", [("cheap_dropout",), (), True, {"cheap_dropout"}])
def test_fast_comes_back_as_it_was(fitted, tmp_path, fast):
    tagger = copy.copy(fitted).set_params(fast=fast)
    assert EntityTagger.load(tagger.save(tmp_path / "model")).fast == fast


def test_score_is_the_f1_of_entities(fitted):
    f1 = entity_scores(UNSEEN_TAGS, fitted.predict(UNSEEN))["f1"]
    assert fitted.score(UNSEEN, UNSEEN_TAGS) == f1 > 0.9
    with pytest.raises(ValueError, match="40 sentences but 1 lists of tags"):
        fitted.score(UNSEEN, UNSEEN_TAGS[:1])


def test_default_arguments_suffice():
    assert EntityTagger().get_params()["model"] == "all-MiniLM-L6-v2"


def test_saved_and_loaded_is_the_same(fitted, tmp_path):
    folder = fitted.save(tmp_path / "model")
    assert {path.suffix for path in folder.rglob("*")} <= {".json", ".safetensors", ".txt"}
    loaded = EntityTagger.load(folder)
    tokens = [*FEW, LONG, [ACCENT, "the", "film"]]
    assert (plain_rows(loaded, tokens) == plain_rows(fitted, tokens)).all()
    assert loaded.predict(tokens) == fitted.predict(tokens)
    assert loaded.entities(" ".join(LONG)) == fitted.entities(" ".join(LONG))
    assert loaded.classes_.tolist() == fitted.classes_.tolist()
    assert loaded.get_params() == fitted.get_params() | {"model": str(fitted.model)}
    assert (
        plain_rows(EntityTagger.load(loaded.save(folder)), FEW) == plain_rows(fitted, FEW)
    ).all()


def test_a_stock_pipeline_reads_the_folder(fitted, tmp_path):
    stock = pipeline("token-classification", model=str(fitted.save(tmp_path / "model")))
    for words in UNSEEN[:8]:
        row = fitted.predict_proba([words])[0]
        answers = stock(" ".join(words), ignore_labels=[])
        likeliest = fitted.classes_[row.argmax(axis=1)].tolist()
        assert [answer["entity"] for answer in answers] == likeliest
        np.testing.assert_allclose([a["score"] for a in answers], row.max(axis=1), atol=1e-5)


def _change(folder, part):
    """Damage a saved folder, as one of the first format, which had no hashes."""
    manifest = json.loads((folder / "reptune.json").read_text())
    manifest.pop("files")
    manifest["format"] = 1
    config = json.loads((folder / "config.json").read_text())
    arrays = load_file(folder / "model.safetensors")
    if part == "a tag more":
        manifest["classes"].append("B-Z")
    elif part == "another tag":
        manifest["classes"][1] = "B-Z"
    elif part == "no shares":
        del manifest["shares"]
    elif part == "shares that are no numbers":
        manifest["shares"] = [float("nan")] * 5
    elif part == "max_length":
        manifest["params"]["max_length"] = 10**6
    elif part == "no head":
        del arrays["classifier.weight"]
    elif part == "a flipped weight":
        arrays["classifier.weight"][0, 0] = float("inf")
    elif part == "tags of another model":
        config["id2label"]["0"] = "B-Z"
    elif part == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    (folder / "reptune.json").write_text(json.dumps(manifest))
    (folder / "config.json").write_text(json.dumps(config))
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("a tag more", "shares are"),
        ("another tag", "the model's tags are"),
        ("no shares", "shares are None, not one share for each of 5 tags"),
        ("shares that are no numbers", "shares are"),
        ("max_length", "max_length=1000000, but the model takes at most 32"),
        ("no head", "the weights lack"),
        ("a flipped weight", "classifier.weight holds weights that are not finite"),
        ("tags of another model", "the model's tags are"),
        ("no tokenizer", ""),
    ],
)
def test_a_damaged_folder_does_not_load(fitted, tmp_path, part, message):
    folder = fitted.save(tmp_path / "model")
    _change(folder, "nothing")
    assert (plain_rows(EntityTagger.load(folder), FEW) == plain_rows(fitted, FEW)).all()
    _change(fitted.save(folder), part)
    with pytest.raises(ValueError, match=f"(?s)holds a damaged model.*{message}"):
        EntityTagger.load(folder)


# --- bad input -----------------------------------------------------------------------------------


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("training began")

    monkeypatch.setattr(training, "FastTrainer", refuse)


@pytest.mark.parametrize(
    ("tokens", "tags", "message"),
    [
        ([], [], "tokens: there are no sentences"),
        ("the film", ["O"], "tokens is a single string"),
        (["the film"], [["O"]], r"tokens\[0\] is 'the film', not a list of words"),
        ([["the"], None], [["O"], ["O"]], r"tokens\[1\] is None, not a list of words"),
        ([["the"], []], [["B-X"], []], r"tokens\[1\] is an empty sentence"),
        ([["the", None]], [["B-X", "O"]], r"tokens\[0\]\[1\] is None, a NoneType"),
        ([["the", 3]], [["B-X", "O"]], r"tokens\[0\]\[1\] is 3, a int"),
        ([["the"], ["a"]], [["B-X"]], "2 sentences but 1 lists of tags"),
        ([["a"], ["the", "film"]], [["B-X"], ["O"]], "sentence 1 has 2 words but 1 tags"),
        ([["a"], ["the"]], [["B-X"], []], "sentence 1 has 1 words but 0 tags"),
        ([["the", "film"]], [["O", "X"]], r"tags\[0\]\[1\] is 'X', which is no BIO2 tag"),
        ([["the", "film"]], [["O", "S-X"]], r"tags\[0\]\[1\] is 'S-X', which is no BIO2 tag"),
        ([["the", "film"]], [["O", "B-"]], r"tags\[0\]\[1\] is 'B-', which is no BIO2 tag"),
        ([["the", "film"]], [[0, 1]], r"tags\[0\]\[0\] is 0, which is no BIO2 tag"),
        ([["the", "film"]], [["O", None]], r"tags\[0\]\[1\] is None, which is no BIO2 tag"),
        ([["the", "film"]], [["O", "I-X"]], r"is 'I-X' after 'O': in BIO2 an entity begins"),
        ([["the", "film"]], [["B-Y", "I-X"]], r"is 'I-X' after 'B-Y'"),
        ([["the", "film"]], ["OO"], r"tags\[0\] is .*'OO'; pass a list of tags"),
        ([["the"]], "O", "tags is a single string"),
        ([["the", "film"], ["a"]], [["O", "O"], ["O"]], "tags hold no entity, only 'O'"),
        ([["O", "B-X"]], [["the", "film"]], "tokens hold nothing but tags, such as 'O': are the"),
        ([["the", "fi\ud800lm"]], [["O", "B-X"]], r"tokens\[0\]\[1\] is not valid Unicode"),
        ([["the", "film"]], [["O", "B-\ud800"]], "is not valid Unicode"),
        (pd.DataFrame({"tokens": [["the"]]}), [["B-X"]], "tokens is a DataFrame with the columns"),
        ([["the"]], pd.DataFrame({"tags": [["B-X"]]}), "tags is a DataFrame with the columns"),
        ({("the", "film"): 1}, [["O", "B-X"]], "tokens is a dict, whose elements are its keys"),
        ([["the", "film"]], {("O", "B-X"): 1}, "tags is a dict, whose elements are its keys"),
        (None, [["O"]], "tokens is None"),
        ([["the"]], None, "tags is None"),
    ],
)
def test_bad_sentences_and_tags(make, no_training, tokens, tags, message):
    with pytest.raises(ValueError, match=message):
        make().fit(tokens, tags)


@pytest.mark.parametrize(
    ("tokens", "tags"),
    [
        ([["the"], (word for word in ["a"])], [["B-X"], ["O"]]),  # a sentence without a length
        ([["the"], ["a"]], [["B-X"], None]),  # a missing row of tags
        ([["the"]], [float("nan")]),  # the same out of a data frame
    ],
)
def test_rows_that_are_no_lists(make, no_training, tokens, tags):
    with pytest.raises(ValueError):
        make().fit(tokens, tags)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "there are no sentences"),
        ("the film", "is a single string"),
        (["the film"], "not a list of words"),
        ([["the"], []], r"tokens\[1\] is an empty sentence"),
        ([["the", 3]], r"tokens\[0\]\[1\] is 3"),
    ],
)
def test_bad_sentences_to_predict(fitted, tokens, message):
    for method in (fitted.predict, fitted.predict_proba):
        with pytest.raises(ValueError, match=message):
            method(tokens)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_epochs": 0}, "num_epochs=0"),
        ({"num_epochs": True}, "num_epochs=True"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"learning_rate": -1}, "learning_rate=-1"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"learning_rate": float("inf")}, "learning_rate=inf"),
        ({"weight_decay": float("nan")}, "weight_decay=nan"),
        ({"weight_decay": -1}, "weight_decay=-1"),
        ({"warmup": float("nan")}, "warmup=nan"),
        ({"layer_decay": float("nan")}, "layer_decay=nan"),
        ({"random_state": -1}, "random_state=-1"),
        ({"random_state": 1.5}, "random_state=1.5"),
        ({"mark_case": "no"}, "mark_case='no'; use True or False"),
        ({"show_progress": None}, "show_progress=None"),
        ({"label_pieces": np.array(["first"])}, "label_pieces="),
        ({"warmup": 1}, "warmup=1"),
        ({"layer_decay": 0}, "layer_decay=0"),
        ({"layer_decay": 1.2}, "layer_decay=1.2"),
        ({"max_length": 0}, "max_length=0"),
        ({"max_length": 7}, "max_length=7; use a whole number from 8 on"),
        ({"max_length": 16.0}, "max_length=16.0"),
        ({"max_length": 33}, "max_length=33, but the model takes at most 32"),
        ({"label_pieces": "last"}, "label_pieces='last'; use 'first' or 'all'"),
        ({"label_pieces": None}, "label_pieces=None"),
        ({"fast": "length_buckets"}, "fast='length_buckets'; use True, False, or some of"),
        ({"fast": ("length_bucket",)}, "'length_bucket'; did you mean 'length_buckets'"),
        ({"fast": ("first_token",)}, "fast holds 'first_token', which tagging cannot use"),
        ({"fast": ("frozen_cache",)}, "fast holds 'frozen_cache', which tagging cannot use"),
        ({"model": "all-MiniLM-L6-v3"}, "all-MiniLM-L6-v2"),
    ],
)
def test_bad_parameters(make, no_training, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes).fit(FEW, FEW_TAGS)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (([["a"]], [["B-New"]]), r"validation has tags that training has not: \['B-New'\]"),
        (([["a"], ["the", "film"]], [["O"], ["O"]]), "sentence 1 has 2 words but 1 validation"),
        (([["a"]], [["X"]]), r"validation tags\[0\]\[0\] is 'X'"),
        (([[]], [[]]), r"validation tokens\[0\] is an empty sentence"),
        (([], []), "validation tokens: there are no sentences"),
        (([["O"]], [["the"]]), "validation tokens hold nothing but tags"),
        (([["the"]],), "validation is a tuple; pass a pair"),
        ("ab", "validation is a str; pass a pair"),
        (3, "validation is a int; pass a pair"),
    ],
)
def test_bad_validation(make, no_training, validation, message):
    with pytest.raises(ValueError, match=message):
        make().fit(FEW, FEW_TAGS, validation=validation)


def test_validation_may_have_an_inside_tag_that_training_has_not(make):
    tagger = make(num_epochs=1)
    tagger.fit([["the", "film"]], [["O", "B-X"]], validation=([["a", "film"]], [["B-X", "I-X"]]))
    assert np.isfinite(tagger.history_[-1]["eval_loss"])


def test_a_fit_that_diverges_leaves_the_object_as_it_was(make):
    tagger = make(num_epochs=1).fit(FEW, FEW_TAGS)
    fields = dict(vars(tagger))
    tagger.set_params(learning_rate=1e30)
    with pytest.raises(
        ValueError, match=r"training diverged: .* holds weights that are not finite"
    ):
        tagger.fit(FEW, FEW_TAGS)
    assert all(vars(tagger)[name] is fields[name] for name in fields if name != "learning_rate")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([list("the film is good")] * 3, "tokens hold single letters only"),
        ([["the film is good"], ["a dull film"]], "each sentence is one token with spaces"),
    ],
)
def test_texts_that_were_not_cut_into_words_are_warned_of(make, fitted, tokens, message):
    tags = [["B-X", *["O"] * (len(words) - 1)] for words in tokens]
    with pytest.warns(UserWarning, match=message):
        make(num_epochs=1).fit(tokens, tags)
    with pytest.warns(UserWarning, match=message):
        fitted.predict(tokens)


def test_words_of_one_letter_are_no_reason_to_warn(fitted, recwarn):
    for tokens in (FEW, [["a"], ["I"]], [["北", "京", "很", "好", "。"]], [["New York"], ["is"]]):
        fitted.predict(tokens)
    assert not [one for one in recwarn if "split_words" in str(one.message)]


def test_the_progress_bar_leaves_nothing_behind(make, capsys):
    make(num_epochs=1, show_progress=True).fit(FEW, FEW_TAGS)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("\r") and captured.err.split("\r")[-2].strip() == ""
