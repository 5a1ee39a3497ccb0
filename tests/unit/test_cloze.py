import itertools
import json
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    CohereConfig,
    CohereForCausalLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaForMaskedLM,
)

from reptune import cloze, lowrank
from reptune.cloze import (
    PromptModel,
    PromptTunedClassifier,
    PromptTunedRegressor,
    best_combinations,
    candidate_words,
    collate,
    label_logits,
    load_prompt_model,
    search_words,
)
from reptune.neighbors import Neighbors
from reptune.templates import Encoded, Template, encode, word_ids
from tests import tiny
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
    monkeypatch.setattr(cloze, "Neighbors", lambda texts: Neighbors(texts, model=tiny_encoder))


@pytest.fixture(scope="session")
def loaded(folders):
    return {kind: load_prompt_model(folder) for kind, folder in folders.items()}


def _weights(estimator):
    return {name: value.clone() for name, value in estimator.model_.state_dict().items()}


def _prompts(prompt_model, texts):
    template = Template(CAUSAL if prompt_model.causal else MASKED)
    kind = {"limit": prompt_model.limit, "causal": prompt_model.causal}
    return [encode(template, prompt_model.tokenizer, text, **kind) for text in texts]


# --- logits of label words -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_fast_logits_are_the_librarys(loaded, folders, kind):
    model = loaded[kind]
    assert model.causal == (kind == "causal") and model.head is not None
    encoded = _prompts(model, ["a good film", "the", "very very dull plot was poor"])
    ids = np.array([9, 5, 7])
    with torch.inference_mode():
        batch = collate(model, encoded)
        fast, plain = (label_logits(model, batch, ids, fast=wanted) for wanted in (True, False))
        whole = label_logits(model, batch)
    np.testing.assert_allclose(fast, plain, atol=1e-5)
    np.testing.assert_allclose(whole[:, ids], plain, atol=1e-5)
    load = AutoModelForCausalLM if kind == "causal" else AutoModelForMaskedLM
    library = load.from_pretrained(folders[kind]).eval()
    with torch.inference_mode():
        for row, one in enumerate(encoded):  # alone, without padding
            logits = library(torch.tensor([one.input_ids])).logits[0, one.mask]
            np.testing.assert_allclose(fast[row], logits[ids], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_logits(loaded, kind):
    model = loaded[kind]
    encoded = _prompts(model, ["a film", "very very dull plot was poor", "the"])
    with torch.inference_mode():
        together = label_logits(model, collate(model, encoded, multiple=8), [5, 6])
        alone = torch.cat([label_logits(model, collate(model, [one]), [5, 6]) for one in encoded])
    assert collate(model, encoded, multiple=8).input_ids.shape[1] % 8 == 0
    np.testing.assert_allclose(together, alone, atol=1e-5)


SMALL = {"vocab_size": 30, "pad_token_id": 1}


def _other_model(name):
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    if name == "roberta":
        return RobertaForMaskedLM(RobertaConfig(**SMALL, **shape, hidden_size=8))
    if name == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=2))
    if name == "distilbert":
        config = DistilBertConfig(**SMALL, dim=8, n_layers=1, n_heads=2, hidden_dim=16)
        return DistilBertForMaskedLM(config)
    config = CohereConfig(**SMALL, **shape, hidden_size=8, logit_scale=0.5, eos_token_id=2)
    return CohereForCausalLM(config)


@pytest.mark.parametrize(
    ("name", "parted"),
    [("roberta", True), ("gpt2", True), ("distilbert", False), ("cohere", False)],
)
def test_other_heads_are_used_by_rows_only_where_that_gives_the_same(name, parted):
    torch.manual_seed(1)
    model = _other_model(name)
    for weight in model.parameters():  # so that biases and norms matter
        torch.nn.init.normal_(weight, std=0.3)
    causal = name in ("gpt2", "cohere")
    found = cloze._with_head(
        PromptModel(model.eval(), tiny.tokenizer(), causal, limit=20, head=None)
    )
    assert (found.head is not None) == parted
    batch = collate(found, [Encoded([3, 9, 4, 6], 3, 0, 0), Encoded([5, 8], 1, 0, 0)])
    with torch.inference_mode():
        fast, plain = (label_logits(found, batch, [4, 7], fast=wanted) for wanted in (True, False))
    np.testing.assert_allclose(fast, plain, atol=1e-5)


def test_a_masked_model_without_its_head_is_refused_unless_an_adapter_brings_one(
    tiny_encoder, tmp_path
):
    with pytest.raises(ValueError, match="ships without its masked-LM head"):
        load_prompt_model(tiny_encoder)
    model = AutoModelForMaskedLM.from_pretrained(tiny_encoder)
    torch.nn.init.normal_(model.cls.predictions.bias)
    names = lowrank.add_low_rank(model, rank=2)
    lowrank.save_adapter(model, names, tmp_path / "adapter.safetensors")
    found = load_prompt_model(tiny_encoder, tmp_path / "adapter.safetensors")
    bias = model.cls.predictions.bias.detach()
    np.testing.assert_allclose(found.model.cls.predictions.bias.detach(), bias, atol=1e-3)
    with pytest.raises(ValueError, match=r"adapter='.*gone' is no file"):
        load_prompt_model(tiny_encoder, tmp_path / "gone")


def test_the_adapter_of_the_default_model_comes_by_itself(make, monkeypatch, tiny_masked_lm):
    asked = []

    def load(model, adapter):
        asked.append((model, adapter))
        raise ValueError("enough")

    monkeypatch.setattr(cloze, "load_prompt_model", load)
    for changes in ({"model": "all-MiniLM-L6-v2"}, {}, {"adapter": "x"}):
        with pytest.raises(ValueError, match="enough"):
            make(**changes).fit(TEXTS, LABELS)
    assert asked == [
        ("all-MiniLM-L6-v2", lowrank.REVIEW_START), (tiny_masked_lm, None), (tiny_masked_lm, "x")
    ]  # fmt: skip


# --- learning ------------------------------------------------------------------------------------


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
            places = batch["attention_mask"].sum(dim=1) - 1
        else:
            places = (batch["input_ids"] == tokenizer.mask_token_id).int().argmax(dim=1)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        logits = model(**inputs).logits[range(6), places][:, words]
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
    monkeypatch.setattr(cloze.runtime, "precision", lambda: half)
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


def test_rates_and_batches_by_hand():
    rates = [cloze.share_of_rate(step, 10, 0.2) for step in range(1, 11)]
    np.testing.assert_allclose(rates, [1 / 2, 1, *(np.arange(8, 0, -1) / 8)])
    assert [cloze.share_of_rate(step, 2, 0.0) for step in (1, 2)] == [1, 0.5]
    assert cloze.share_of_rate(1, 1, 0.9) == 1
    rows = list(cloze._batches(5, 3, 5, seed=0))
    assert [len(batch) for batch in rows] == [3] * 5
    stream = np.concatenate(rows)
    for start in (0, 5, 10):
        assert sorted(stream[start : start + 5].tolist()) == [0, 1, 2, 3, 4], "whole epochs"
    assert [len(batch) for batch in cloze._batches(2, 8, 2, seed=0)] == [2, 2]


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


# --- words ---------------------------------------------------------------------------------------


def test_labels_that_are_words_stand_for_themselves(make):
    labels = ["good" if label == "positive" else "bad" for label in LABELS]
    classifier = make(words=None).fit(TEXTS, labels)
    assert classifier.words_ == {"bad": "bad", "good": "good"}
    causal = make("causal", words=None).fit(TEXTS, LABELS)
    assert causal.words_ == {"negative": "negative", "positive": "positive"}


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_searched_for_other_labels(make, loaded, kind):
    labels = [7 if label == "positive" else -1 for label in LABELS]
    classifier = make(kind, words=None, num_steps=0).fit(pd.Series(TEXTS), np.array(labels))
    assert classifier.classes_.tolist() == [-1, 7]
    assert classifier.predict(np.array(TEXTS)).dtype.kind == "i"
    template = CAUSAL if kind == "causal" else MASKED
    (best, accuracy), *others = search_words(loaded[kind], template, TEXTS, labels)
    assert classifier.words_ == best
    assert classifier.score(TEXTS, labels) == pytest.approx(accuracy)
    assert accuracy >= 0.5 and all(accuracy >= other for _, other in others) and len(others) == 9


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_are_the_words_of_the_largest_summed_log_probability(loaded, kind):
    model, template = loaded[kind], CAUSAL if kind == "causal" else MASKED
    found = candidate_words(model, template, TEXTS, LABELS, top_k=5)
    assert list(found) == ["negative", "positive"]
    with torch.inference_mode():
        batch = collate(model, _prompts(model, TEXTS))
        logs = label_logits(model, batch, fast=False).log_softmax(dim=1)
    for label, words in found.items():
        rows = [row for row, own in enumerate(LABELS) if own == label]
        for word, score in words:
            (piece,) = word_ids(
                {0: word}, [0], model.tokenizer, causal=model.causal, template=Template(template)
            )
            assert score == pytest.approx(float(logs[rows, piece].sum()), abs=1e-3)
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


def _brute_force(scores, places, candidates):
    graded = []
    for number, row in enumerate(itertools.product(*candidates)):
        if len(set(row)) == len(row):
            logits = scores[:, row]
            right = logits[np.arange(len(places)), places]
            likelihood = (right - np.log(np.exp(logits).sum(axis=1))).mean()
            accuracy = (logits.argmax(axis=1) == places).mean()
            graded.append((-accuracy, -likelihood, number, row))
    return [row for *_, row in sorted(graded)], [-one[0] for one in sorted(graded)]


@pytest.mark.parametrize("most", [100_000, 1])
@pytest.mark.parametrize("seed", range(4))
def test_the_search_is_a_plain_search(monkeypatch, seed, most):
    rng = np.random.default_rng(seed)
    places = np.array([0, 1, 2, 0, 1, 2, 2])
    scores = rng.normal(size=(7, 6))
    candidates = [rng.permutation(6)[:4].tolist() for _ in range(3)]
    monkeypatch.setattr(cloze, "MAX_COMBINATIONS", most)  # with 1, the beam holds all of them
    found, accuracies = best_combinations(scores, places, candidates, top_n=10)
    rows, expected = _brute_force(scores, places, candidates)
    assert found.tolist() == [list(row) for row in rows[:10]]
    np.testing.assert_allclose(accuracies, expected[:10])


def test_a_beam_gives_distinct_words_and_keeps_what_separates(monkeypatch):
    monkeypatch.setattr(cloze, "MAX_COMBINATIONS", 1)
    monkeypatch.setattr(cloze, "BEAM", 2)
    scores = np.eye(4) * 5
    found, accuracies = best_combinations(
        scores, np.arange(4), [[0, 3, 2, 1], [2, 0, 1], [2, 1, 3], [3, 2, 0, 1]], top_n=5
    )
    assert found.tolist()[0] == [0, 1, 2, 3] and accuracies[0] == 1
    assert all(len(set(row)) == 4 for row in found.tolist())


def test_searches_that_cannot_be(loaded, make):
    with pytest.raises(ValueError, match="raise top_k"):
        best_combinations(np.zeros((2, 1)), np.array([0, 1]), [[0], [0]], 1)
    with pytest.raises(ValueError, match="labels hold 1 class"):
        search_words(loaded["masked"], MASKED, ["a", "b"], [1, 1])
    with pytest.raises(ValueError, match="top_k=0"):
        candidate_words(loaded["masked"], MASKED, TEXTS, LABELS, top_k=0)
    with pytest.raises(ValueError, match=r"goes on after \{mask\}"):
        candidate_words(loaded["causal"], MASKED, TEXTS, LABELS)


# --- demonstrations ------------------------------------------------------------------------------


@pytest.fixture
def shown(near, monkeypatch):
    """What each encoded prompt shows: `(text, demonstrations)`."""
    seen = []

    def spy(template, tokenizer, text, text2=None, *, demonstrations=(), **kwargs):
        seen.append((text, list(demonstrations)))
        return encode(template, tokenizer, text, text2, demonstrations=demonstrations, **kwargs)

    monkeypatch.setattr(cloze, "encode", spy)
    return seen


def _longer(make, kind="causal", **changes):
    return make(kind, num_demonstrations=1, demonstration_draws=3, **changes)


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
    scores = untrained._scores(untrained._prompts, untrained._ids, [(text, None) for text in TEXTS])
    share = 1 / (1 + np.exp(scores[:, 0] - scores[:, 1]))  # P("good")
    np.testing.assert_allclose(untrained.predict(TEXTS), 2 + 8 * share, atol=1e-6)
    wanted = (np.array(targets) - 2) / 8
    loss = -(wanted * np.log(share) + (1 - wanted) * np.log(1 - share)).mean()
    assert one.history_[0]["loss"] == pytest.approx(loss, abs=1e-5)
    error = np.abs(one.predict(TEXTS) - targets).mean()
    assert one.history_[1]["eval_mae"] == pytest.approx(error, abs=1e-5)


def test_a_regressor_shows_one_example_of_each_half(make_regressor, shown):
    make_regressor("causal", num_demonstrations=1).fit(TEXTS, NUMBERS)
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
    ],
)
def test_bad_regressions(make_regressor, changes, targets, message):
    with pytest.raises(ValueError, match=message):
        make_regressor(**changes).fit(TEXTS, targets)


# --- scikit-learn, saving ------------------------------------------------------------------------


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
        ("causal", {"num_demonstrations": 1}),
        ("masked", {"template": Template(MASKED), "words": None, "max_length": 9}),
        ("masked", {"fast": {"label_rows"}, "random_state": None}),
        ("causal", {"num_demonstrations": 2, "random_state": None}),
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


def test_a_regressor_survives_saving(make_regressor, tmp_path):
    regressor = make_regressor().fit(TEXTS, NUMBERS)
    loaded = PromptTunedRegressor.load(regressor.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict(TEXTS), regressor.predict(TEXTS))
    with pytest.raises(ValueError, match=r"load it with PromptTunedRegressor\.load"):
        PromptTunedClassifier.load(tmp_path / "model")


def test_load_says_what_is_missing(fitted, tmp_path):
    folder = fitted.save(tmp_path / "model")
    manifest = json.loads((folder / "reptune.json").read_text())
    assert manifest["words"] == ["bad", "good"]
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"lacks model\.safetensors"):
        PromptTunedClassifier.load(folder)


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
        ("masked", {"num_demonstrations": -1}, "num_demonstrations=-1"),
        ("masked", {"demonstration_draws": 0}, "demonstration_draws=0"),
        ("masked", {"max_length": 1000}, "takes at most 32 pieces"),
        ("masked", {"max_length": 4}, "limit=4, but .* raise max_length"),
        ("masked", {"fast": "label_rows"}, "in a tuple"),
        ("masked", {"fast": ("label_row",)}, "did you mean 'label_rows'"),
        ("masked", {"adapter": "gone"}, "adapter='gone' is no file"),
    ],
)
def test_bad_parameters(make, monkeypatch, kind, changes, message):
    monkeypatch.setattr(cloze._PromptTuned, "_step", lambda *_: pytest.fail("it trained"))
    with pytest.raises(ValueError, match=message):
        make(kind, **changes).fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ((TEXTS, ["unseen"] * 16), r"labels that training has not: \['unseen'\]"),
        ((TEXTS, LABELS[:3]), "16 texts but 3 labels"),
        (([3], ["positive"]), r"validation texts\[0\] is 3"),
    ],
)
def test_bad_validation(make, validation, message):
    with pytest.raises(ValueError, match=message):
        make().fit(TEXTS, LABELS, validation=validation)


def test_predict_before_fit(make, make_regressor):
    for call in (make().predict, make().predict_proba, make().logits, make_regressor().predict):
        with pytest.raises(NotFittedError):
            call(TEXTS)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_fit_leaves_the_object_as_it_was(make, monkeypatch, error):
    classifier = make(num_steps=3).fit(TEXTS, LABELS)
    before, history = classifier.predict_proba(TEXTS), classifier.history_
    calls = itertools.count()
    train = cloze._PromptTuned._step

    def fail(self, *args):
        if next(calls) == 2:
            raise error
        return train(self, *args)

    monkeypatch.setattr(cloze._PromptTuned, "_step", fail)
    with pytest.raises(error):
        classifier.fit(TEXTS, LABELS[::-1])
    np.testing.assert_array_equal(classifier.predict_proba(TEXTS), before)
    assert classifier.history_ is history and next(calls) == 3


def test_the_progress_bar_leaves_nothing_behind(make, capsys):
    make(num_steps=2, show_progress=True).fit(TEXTS, LABELS)
    err = capsys.readouterr().err
    assert "prompt-based fine-tuning" in err and err.split("\r")[-2].strip() == ""
