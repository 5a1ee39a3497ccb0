import copy
import json
import random

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.special import softmax
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

from reptune import estimator, training
from reptune.data.sentences import sentence_ends, words_to_tag
from reptune.metrics import entity_scores
from reptune.ner import EntityTagger, prediction
from reptune.ner.alignment import windows
from reptune.ner.features import drop_marks
from reptune.tags import count_invalid, spans
from tests import tiny
from tests.tiny import WORDS
from tests.unit.ner.examples import (
    ACCENT,
    CUT,
    CUT_TAGS,
    FAMILY,
    FEW,
    FEW_TAGS,
    LONG,
    TAGS,
    TOKENS,
    UNSEEN,
    UNSEEN_TAGS,
    any_sentence,
    any_text,
    quick,
    tag,
)


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
    """The fitted tagger with room for 6 tokens at a time."""
    return copy.copy(fitted).set_params(max_length=8)


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


@pytest.mark.parametrize("label_pieces", ["first", "all"])
def test_with_every_fast_option_off_it_is_plain_library_code(
    make, tiny_encoder, tmp_path, label_pieces
):
    """The reference is token classification as the library's documentation shows it."""
    from datasets import Dataset

    tokens, tags = FEW + CUT, FEW_TAGS + CUT_TAGS
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


def test_patience_stops_and_goes_back_to_the_best_weights(make):
    """Tags of words drawn at random: what is learned by heart, validation does not reward."""
    draw = random.Random(3)
    wrong = [["B-X" if draw.random() < 0.3 else "O" for _ in words] for words in FEW]
    validation = (UNSEEN, UNSEEN_TAGS)
    patient = make(num_epochs=30, patience=2).fit(FEW, wrong, _known(validation))
    f1 = [entry["eval_f1"] for entry in patient.history_ if "eval_f1" in entry]
    best = int(np.argmax(f1))
    assert len(f1) == best + 1 + 2 < 30
    assert not patient.model_.training
    assert patient.score(*_known(validation)) == pytest.approx(f1[best], abs=0.02)


def _known(validation):
    """The same sentences with the only type that the wrong tags have."""
    tokens, tags = validation
    return tokens, [["B-X" if tag == "B-X" else "O" for tag in row] for row in tags]


def test_patience_that_does_not_run_out_ends_with_the_best_weights(make):
    validation = (UNSEEN, UNSEEN_TAGS)
    plain = make(num_epochs=4, fast=False).fit(TOKENS, TAGS, validation)
    patient = make(num_epochs=4, patience=4, fast=False).fit(TOKENS, TAGS, validation)
    assert patient.history_ == plain.history_
    f1 = [entry["eval_f1"] for entry in patient.history_ if "eval_f1" in entry]
    assert patient.score(*validation) == pytest.approx(max(f1))


def test_patience_needs_validation(make, no_training):
    with pytest.raises(ValueError, match="patience=2 needs validation="):
        make(patience=2).fit(FEW, FEW_TAGS)


def test_callbacks_get_the_records_of_the_history_as_they_come(make):
    seen = []
    tagger = make(num_epochs=3, callbacks=[seen.append, lambda record: None])
    tagger.fit(FEW, FEW_TAGS, validation=(UNSEEN, UNSEEN_TAGS))
    assert seen == tagger.history_ and len(seen) > 3

    def stop(record):
        raise RuntimeError(f"enough at step {record['step']}")

    before = dict(vars(tagger))
    tagger.callbacks = [stop]
    with pytest.raises(RuntimeError, match="enough at step 1"):
        tagger.fit(FEW, FEW_TAGS)
    assert all(vars(tagger)[name] is before[name] for name in before if name != "callbacks")


def test_layer_decay_moves_early_blocks_less(make, tiny_encoder):
    start = BertModel.from_pretrained(tiny_encoder).state_dict()
    name = "encoder.layer.0.attention.self.query.weight"
    moved = {}
    for decay in (1.0, 0.1):
        tagger = make(layer_decay=decay).fit(FEW, FEW_TAGS)
        moved[decay] = float((tagger.model_.state_dict()[f"bert.{name}"] - start[name]).norm())
    assert 0 < moved[0.1] < moved[1.0] / 10


# --- long sentences ------------------------------------------------------------------------------


@pytest.mark.parametrize("max_length", [8, 9, 16, 32])
def test_a_long_sentence_is_read_in_windows_not_cut(fitted, max_length, recwarn):
    tagger = copy.copy(fitted).set_params(max_length=max_length)
    row = tagger.predict_proba([LONG])[0]
    assert row.shape == (len(LONG), 5) and len(LONG) > 100
    assert (row != fitted.shares_).all()
    cut = windows([1] * len(LONG), max_length - 2)
    assert len(cut) > 4
    for start, end, own_start, own_end in cut:
        alone = tagger.predict_proba([LONG[start:end]])[0]
        np.testing.assert_allclose(
            row[own_start:own_end], alone[own_start - start : own_end - start], atol=1e-5
        )
    assert not [warning for warning in recwarn if "longer" in str(warning.message)]


def test_a_long_sentence_is_tagged_like_its_parts(fitted):
    tags = fitted.predict([LONG])[0]
    assert entity_scores([tag(LONG)], [tags])["f1"] > 0.8


def test_a_word_with_more_tokens_than_the_window(narrow, make):
    endless = "-".join(["film"] * 50)
    rows = narrow.predict_proba([["the", endless, "is"], [endless], [endless, endless]])
    shown = narrow.predict_proba([["the", "film", "is"], ["film"], ["film", "film"]])
    for row, expected in zip(rows, shown, strict=True):
        np.testing.assert_allclose(row, expected, atol=1e-5)
    wide = make(max_length=22, label_pieces="all").fit(
        [["the", endless, "is"]], [["O", "B-X", "O"]]
    )
    assert wide.predict([["the", endless, "is"]])[0][0] in wide.classes_


def test_a_long_sentence_can_be_trained_on(make):
    tagger = make(max_length=12).fit([LONG], [tag(LONG)])
    assert [row.shape for row in tagger.predict_proba([LONG])] == [(len(LONG), 5)]


def test_company_in_a_batch_changes_nothing(fitted, monkeypatch):
    short = FEW[0]
    alone = fitted.predict_proba([short])[0]
    crowd = [LONG, *FEW[1:], short, ["film"], [ACCENT]]
    np.testing.assert_allclose(fitted.predict_proba(crowd)[len(FEW)], alone, atol=1e-5)
    together = plain_rows(fitted, crowd)
    monkeypatch.setattr(prediction, "PREDICTION_TOKENS", 1)
    np.testing.assert_allclose(plain_rows(fitted, crowd), together, atol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_so_many_windows_go_through_the_model_together(fitted, size):
    tagger = copy.copy(fitted).set_params(prediction_batch_size=size, max_length=16)
    tagger.model_, sizes = copy.deepcopy(fitted.model_), []
    tagger.model_.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    rows = tagger.predict_proba([*FEW, LONG])
    assert set(sizes[:-1]) <= {size} and 0 < sizes[-1] <= size
    assert sum(sizes) > len(FEW) + 4
    expected = copy.copy(fitted).set_params(max_length=16).predict_proba([*FEW, LONG])
    np.testing.assert_allclose(np.concatenate(rows), np.concatenate(expected), atol=1e-5)


def test_the_limit_of_the_model_is_the_longest_window(fitted, make):
    whole = copy.copy(fitted).set_params(max_length=None)
    expected = copy.copy(fitted).set_params(max_length=tiny.MAX_POSITIONS)
    np.testing.assert_array_equal(plain_rows(whole, [LONG]), plain_rows(expected, [LONG]))
    assert make(max_length=None, num_epochs=1).fit([LONG], [tag(LONG)]).max_length is None


# --- scores, and many sentences ------------------------------------------------------------------


def test_probabilities_are_the_softmax_of_the_logits(fitted):
    tokens = [*FEW, LONG, ["the", ACCENT, "film"], [ACCENT]]
    rows = fitted.logits(tokens)
    assert [row.shape for row in rows] == [(len(words), 5) for words in tokens]
    np.testing.assert_allclose(softmax(np.concatenate(rows), axis=1), plain_rows(fitted, tokens))
    np.testing.assert_allclose(rows[-1], [np.log(fitted.shares_)])
    words = fitted.tokenizer_(FEW[0], is_split_into_words=True, return_tensors="pt")
    with torch.inference_mode():
        expected = fitted.model_(**words.to(fitted.model_.device)).logits[0, 1:-1]
    np.testing.assert_allclose(rows[0], expected.cpu(), atol=1e-5)


def test_a_generator_is_read_in_chunks(fitted, monkeypatch):
    expected = plain_rows(fitted, TOKENS), fitted.predict(TOKENS), fitted.logits(TOKENS)
    texts = [" ".join(words) for words in TOKENS]
    entities = fitted.entities(texts)
    monkeypatch.setattr(estimator, "CHUNK_TEXTS", 7)
    np.testing.assert_allclose(plain_rows(fitted, iter(TOKENS)), expected[0], atol=1e-5)
    assert fitted.predict(iter(TOKENS)) == fitted.predict(TOKENS) == expected[1]
    rows = fitted.logits(words for words in TOKENS)
    np.testing.assert_allclose(np.concatenate(rows), np.concatenate(expected[2]), atol=1e-4)
    found = fitted.entities(iter(texts))
    assert [[(e.text, e.start) for e in row] for row in found] == [
        [(e.text, e.start) for e in row] for row in entities
    ]


def test_a_generator_is_not_read_further_than_needed(fitted, monkeypatch):
    monkeypatch.setattr(estimator, "CHUNK_TEXTS", 7)
    read = []

    def sentences():
        for number, words in enumerate(TOKENS):
            read.append(number)
            yield words if number != 16 else 3

    for method in (fitted.predict, fitted.predict_proba, fitted.logits):
        read.clear()
        with pytest.raises(ValueError, match=r"tokens\[16\] is 3, not a list of words"):
            method(sentences())
        assert len(read) == 21
    with pytest.raises(ValueError, match=r"texts\[9\] is None"):
        fitted.entities(text if number != 9 else None for number, text in enumerate(["a"] * 12))
    with pytest.raises(ValueError, match="there are no sentences"):
        fitted.predict(iter([]))


# --- entities in raw text ------------------------------------------------------------------------


def expected_entities(tagger, text):
    """From `predict` and `predict_proba`, sentence by sentence, word by word."""
    words = words_to_tag(text)
    ends = sentence_ends(text, words) if tagger.by_sentence else [len(words)]
    cuts = [(start, end) for start, end in zip([0, *ends], ends, strict=False) if start < end]
    place = {tag: index for index, tag in enumerate(tagger.classes_)}
    found = []
    for start, end in cuts:
        tokens = [[word.text for word in words[start:end]]]
        row, tags = tagger.predict_proba(tokens)[0], tagger.predict(tokens)[0]
        sure = [row[word, place[tag]] for word, tag in enumerate(tags)]
        found += [
            (kind, words[start + a].start, words[start + b - 1].end, min(sure[a:b]))
            for kind, a, b in spans(tags)
        ]
    return found


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


def test_by_sentence_says_what_is_read_together(fitted):
    text = "the very good film. The plot was bad! A movie."
    read = []

    class Spied(type(fitted)):
        def _probabilities(self, sentences):
            read.append([len(sentence) for sentence in sentences])
            return super()._probabilities(sentences)

    for by_sentence, lengths in ((True, [5, 5, 3]), (False, [13])):
        spied = Spied(**{**fitted.get_params(), "by_sentence": by_sentence})
        spied.__dict__.update({k: v for k, v in vars(fitted).items() if k.endswith("_")})
        assert_close(spied.entities(text), expected_entities(spied, text))
        assert read[0] == lengths
        read.clear()


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
    blind = make(num_epochs=1, mark_case=False).fit(tokens, tags).predict_proba(pair)
    np.testing.assert_array_equal(blind[0], blind[1])


def test_some_sentences_are_shown_without_marks(make):
    tokens = [["The", "film"], ["a", "Movie"]] * 30
    tags = [["B-X", "O"], ["O", "B-X"]] * 30
    rows = {}
    for share in (0.0, 0.5):
        spied = make(num_epochs=1, mark_case=True, case_dropout=share)

        def keep(model, tokenizer, inputs, evaluate, share=share):
            rows[share] = [tuple(row["token_type_ids"]) for row in inputs]
            return []

        spied._train = keep
        spied.fit(tokens, tags)
    assert all(any(row) for row in rows[0.0])
    marked = sum(any(row) for row in rows[0.5])
    assert 15 < marked < 45
    again = make(num_epochs=1, mark_case=True, case_dropout=0.5)
    features = again._windows(spied.tokenizer_, spied.model_, tokens)
    drop_marks(features, 0.5, 42 if again.random_state is None else again.random_state)
    assert [tuple(part.inputs["token_type_ids"]) for part in features] == rows[0.5]


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

    monkeypatch.setattr(training, "fine_tune", refuse)


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
        ({"case_dropout": 1.0}, "case_dropout=1.0"),
        ({"case_dropout": -0.1}, "case_dropout=-0.1"),
        ({"case_dropout": 0.1}, "case_dropout=0.1 needs marks to leave out; set mark_case=True"),
        ({"mark_case": "no"}, "mark_case='no'; use True or False"),
        ({"show_progress": "no"}, "show_progress='no'; use True or False"),
        ({"device": "abacus"}, "device='abacus' is not here"),
        ({"prediction_batch_size": 0}, "prediction_batch_size=0"),
        ({"patience": 0}, "patience=0"),
        ({"callbacks": print}, "callbacks=.*use a list of functions"),
        ({"label_pieces": np.array(["first"])}, "label_pieces="),
        ({"warmup": 1}, "warmup=1"),
        ({"layer_decay": 0}, "layer_decay=0"),
        ({"layer_decay": 1.2}, "layer_decay=1.2"),
        ({"max_length": 0}, "max_length=0"),
        ({"max_length": 7}, "max_length=7; use a whole number from 8 on"),
        ({"max_length": 16.0}, "max_length=16.0"),
        ({"max_length": 33}, "max_length=33, but the model takes at most 32 tokens; lower it"),
        ({"label_pieces": "last"}, "label_pieces='last'; use 'first' or 'all'"),
        ({"label_pieces": None}, "label_pieces=None"),
        ({"fast": "length_buckets"}, "fast='length_buckets'; use True, False, or some of"),
        ({"fast": ("length_bucket",)}, "'length_bucket'; did you mean 'length_buckets'"),
        ({"fast": ("first_token",)}, "the unknown option 'first_token'; use length_buckets, "),
        ({"fast": ("frozen_cache",)}, "the unknown option 'frozen_cache'; use length_buckets"),
        ({"model": "all-MiniLM-L6-v3"}, "all-MiniLM-L6-v2"),
    ],
)
def test_bad_parameters(make, no_training, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes).fit(FEW, FEW_TAGS)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (([["a"]], [["B-New"]]), r"validation has tags that training does not have: \['B-New'\]"),
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
