import copy

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    MPNetConfig,
    MPNetForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    Trainer,
    pipeline,
)

from reptune import classification, multilabel
from reptune.classification import FineTunedClassifier
from reptune.training import block_of, freeze, parameter_counts
from tests import tiny
from tests.tiny import LABELS, TEXTS


@pytest.fixture(scope="session")
def make(tiny_encoder):
    def make(**changes):
        knobs = {
            "model": tiny_encoder,
            "num_epochs": 3,
            "learning_rate": 5e-3,
            "batch_size": 4,
            "random_state": 0,
        }
        return FineTunedClassifier(**(knobs | changes))

    return make


@pytest.fixture(scope="session")
def fitted(make):
    return make(num_epochs=12).fit(TEXTS, LABELS)


# --- learning ------------------------------------------------------------------------------------


def test_it_learns_and_gives_labels_back_as_they_were(fitted):
    assert fitted.score(TEXTS, LABELS) == 1.0
    assert fitted.classes_.tolist() == ["negative", "positive"]
    assert fitted.predict(["a great film"]).tolist() == ["positive"]
    assert fitted.cost_.seconds > 0 and fitted.history_[-1]["loss"] < fitted.history_[0]["loss"]


def test_predict_is_the_argmax_of_predict_proba(fitted):
    probabilities = fitted.predict_proba(TEXTS)
    assert probabilities.shape == (len(TEXTS), 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert (fitted.classes_[probabilities.argmax(axis=1)] == fitted.predict(TEXTS)).all()


def test_batching_by_length_keeps_the_order(fitted):
    texts = ["good " * n + "film" for n in (9, 1, 5, 2, 7)] + ["bad"]
    together = fitted.logits(texts)
    one_by_one = copy.deepcopy(fitted).set_params(prediction_batch_size=1)
    np.testing.assert_allclose(together, one_by_one.logits(texts), atol=1e-5)


def test_same_seed_same_bits_and_validation_does_not_influence(make):
    state = torch.get_rng_state()
    one = make().fit(TEXTS, LABELS).logits(TEXTS)
    assert torch.equal(state, torch.get_rng_state()), "fit reseeded its caller's generator"
    torch.rand(3)
    watched = make().fit(TEXTS, LABELS, validation=(TEXTS[:4], LABELS[:4]))
    assert (one == watched.logits(TEXTS)).all()
    assert [entry["eval_accuracy"] for entry in watched.history_ if "eval_accuracy" in entry]
    assert (one != make(random_state=1).fit(TEXTS, LABELS).logits(TEXTS)).any()


def test_with_every_fast_option_off_it_is_plain_library_code(make, tiny_encoder, tmp_path):
    """The reference is `Trainer` as its documentation shows it: random order, padded batches."""
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, TrainingArguments, set_seed

    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    set_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=2)
    dataset = Dataset.from_dict({"text": TEXTS, "label": [int(x == "positive") for x in LABELS]})
    dataset = dataset.map(lambda batch: tokenizer(batch["text"], truncation=True), batched=True)
    Trainer(
        model,
        TrainingArguments(
            tmp_path, num_train_epochs=3, learning_rate=5e-3, per_device_train_batch_size=4,
            weight_decay=0.01, warmup_steps=0.1, seed=0, save_strategy="no", report_to="none",
            disable_tqdm=True, dataloader_pin_memory=False,
        ),
        train_dataset=dataset,
        data_collator=DataCollatorWithPadding(tokenizer),
    ).train()  # fmt: skip
    with torch.inference_mode():
        batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
        reference = model.eval()(**batch).logits.numpy()
    ours = make(fast=False).fit(TEXTS, LABELS).logits(TEXTS)
    np.testing.assert_allclose(ours, reference, atol=1e-5)


def test_class_weights_shift_the_balance(make):
    texts, labels = TEXTS + tiny.BAD * 3, LABELS + ["negative"] * 24
    common = {"num_epochs": 1, "fast": False}
    plain = make(**common).fit(texts, labels).predict_proba(TEXTS)[:, 1].mean()
    balanced = make(class_weight="balanced", **common).fit(texts, labels)
    assert balanced.predict_proba(TEXTS)[:, 1].mean() > plain
    ones = make(class_weight={"negative": 1, "positive": 1}, **common).fit(texts, labels)
    np.testing.assert_allclose(ones.predict_proba(TEXTS)[:, 1].mean(), plain, atol=1e-5)


def test_mixed_precision_ends_with_training(make, monkeypatch, tmp_path):
    half = {"bf16": True, "fp16": False, "use_cpu": True}  # a CPU can, it is only slow
    monkeypatch.setattr(classification.runtime, "precision", lambda: half)
    classifier = make(num_epochs=1).fit(TEXTS, LABELS)
    batch = classifier.tokenizer_(TEXTS, padding=True, return_tensors="pt")
    assert {p.dtype for p in classifier.model_.parameters()} == {torch.float32}
    assert not hasattr(classifier.model_.forward, "__wrapped__")
    with torch.inference_mode():
        plain = type(classifier.model_).forward(classifier.model_, **batch).logits
    np.testing.assert_allclose(classifier.logits(TEXTS), plain.numpy(), atol=1e-6)
    loaded = FineTunedClassifier.load(classifier.save(tmp_path / "model"))
    assert (loaded.logits(TEXTS) == classifier.logits(TEXTS)).all()


# --- several labels per text ---------------------------------------------------------------------


TOPICS = [[name for name in ("actor", "film", "good") if name in text.split()] for text in TEXTS]
INDICATOR = np.array([[name in row for name in ("actor", "film", "good")] for row in TOPICS])


@pytest.fixture(scope="session")
def with_topics(make):
    return make(num_epochs=100, thresholds=0.5).fit(TEXTS, TOPICS)


def test_it_learns_several_labels_per_text(with_topics):
    assert [] in TOPICS and ["film", "good"] in TOPICS
    assert with_topics.score(TEXTS, TOPICS) >= 0.9
    assert with_topics.predict(["the actor"])[0] == ["actor"]
    assert with_topics.model_.config.problem_type == "multi_label_classification"


def test_several_labels_with_every_fast_option_off_are_plain_library_code(
    make, tiny_encoder, tmp_path
):
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, TrainingArguments, set_seed

    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    set_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_encoder, num_labels=3, problem_type="multi_label_classification"
    )
    dataset = Dataset.from_dict({"text": TEXTS, "labels": INDICATOR.astype(float)})
    dataset = dataset.map(lambda batch: tokenizer(batch["text"], truncation=True), batched=True)
    Trainer(
        model,
        TrainingArguments(
            tmp_path, num_train_epochs=3, learning_rate=5e-3, per_device_train_batch_size=4,
            weight_decay=0.01, warmup_steps=0.1, seed=0, save_strategy="no", report_to="none",
            disable_tqdm=True, dataloader_pin_memory=False,
        ),
        train_dataset=dataset,
        data_collator=DataCollatorWithPadding(tokenizer),
    ).train()  # fmt: skip
    with torch.inference_mode():
        batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
        reference = torch.sigmoid(model.eval()(**batch).logits).numpy()
    ours = make(fast=False, thresholds=0.5).fit(TEXTS, TOPICS).predict_proba(TEXTS)
    np.testing.assert_allclose(ours, reference, atol=1e-5)


@pytest.mark.parametrize("trainable", ["all", 1, "head"])
def test_the_fast_options_learn_several_labels_too(make, trainable):
    plain, fast = (
        make(fast=options, trainable=trainable, thresholds=0.5).fit(TEXTS, TOPICS).history_
        for options in (False, ("first_token", "frozen_cache"))
    )
    assert [record["step"] for record in plain] == [record["step"] for record in fast]
    assert fast[-1]["loss"] == pytest.approx(plain[-1]["loss"], abs=0.1)


def test_a_stock_pipeline_gives_each_label_its_probability(with_topics, tmp_path):
    folder = with_topics.save(tmp_path / "model")
    stock = pipeline("text-classification", model=str(folder), top_k=None)
    for answers, row in zip(stock(TEXTS[:4]), with_topics.predict_proba(TEXTS[:4]), strict=True):
        theirs = {answer["label"]: answer["score"] for answer in answers}
        ours = dict(zip(with_topics.classes_.tolist(), row, strict=True))
        assert theirs == pytest.approx(ours, abs=1e-5)


def test_validation_chooses_the_thresholds(make):
    held_out = (TEXTS[:8], TOPICS[:8])
    fitted = make(num_epochs=3, fast=False).fit(TEXTS[8:], TOPICS[8:], validation=held_out)
    gold = INDICATOR[:8]
    best = multilabel.best_thresholds(
        gold, fitted.predict_proba(TEXTS[:8]), multilabel.POOLED_TEXTS
    )
    np.testing.assert_allclose(fitted.thresholds_, best)
    last = fitted.history_[-1]
    assert last["eval_f1"] == pytest.approx(
        multilabel.micro_f1(gold, fitted.predict_proba(TEXTS[:8]) >= fitted.thresholds_)
    )


def test_weights_raise_the_probability_of_rare_labels(make):
    common = {"num_epochs": 6, "fast": False, "thresholds": 0.5}
    plain = make(**common).fit(TEXTS, TOPICS).predict_proba(TEXTS)
    heavy = make(class_weight={"actor": 20, "film": 1, "good": 1}, **common).fit(TEXTS, TOPICS)
    assert heavy.predict_proba(TEXTS)[:, 0].mean() > plain[:, 0].mean() + 0.1
    ones = make(class_weight={"actor": 1, "film": 1, "good": 1}, **common).fit(TEXTS, TOPICS)
    np.testing.assert_allclose(ones.predict_proba(TEXTS), plain, atol=1e-5)


def test_patience_on_several_labels_returns_to_the_best(make):
    held_out = (TEXTS[:8], TOPICS[:8])
    common = {"num_epochs": 8, "fast": False}
    fitted = make(patience=2, **common).fit(TEXTS, TOPICS, validation=held_out)
    scores = [record["eval_f1"] for record in fitted.history_ if "eval_f1" in record]
    found = multilabel.micro_f1(
        INDICATOR[:8], fitted.predict_proba(TEXTS[:8]) >= fitted.thresholds_
    )
    assert found == pytest.approx(max(scores))
    assert len(scores) == min(8, scores.index(max(scores)) + 3)


# --- watching ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainable", ["all", 1, "head"])
def test_patience_returns_to_the_best_weights(make, trainable):
    """The frozen cache renames the blocks while the model trains."""
    held_out = (TEXTS[:6], ["negative", *LABELS[1:6]])
    seen = []
    fitted = make(num_epochs=9, patience=1, trainable=trainable, callbacks=[seen.append]).fit(
        TEXTS, LABELS, validation=held_out
    )
    assert seen == fitted.history_
    scores = [record["eval_accuracy"] for record in seen if "eval_accuracy" in record]
    assert fitted.score(*held_out) == pytest.approx(max(scores))
    stopped = next((i for i in range(1, 9) if scores[i] <= max(scores[:i])), 8)
    assert len(scores) == stopped + 1


def test_patience_needs_validation(make):
    with pytest.raises(ValueError, match=r"patience=3 needs validation=\(texts, labels\)"):
        make(patience=3).fit(TEXTS, LABELS)


# --- scikit-learn --------------------------------------------------------------------------------


def test_default_arguments_suffice():
    assert FineTunedClassifier().get_params()["model"] == "all-MiniLM-L6-v2"


# --- freezing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trainable", "expected"),
    [
        ("head", {"pooler", "classifier"}),
        (1, {"block 3", "pooler", "classifier"}),
        (3, {"block 1", "block 2", "block 3", "pooler", "classifier"}),
        ("all", {"embeddings", "block 1", "block 2", "block 3", "pooler", "classifier"}),
    ],
)
def test_exactly_the_open_blocks_change(make, trainable, expected):
    before = make(num_epochs=1, trainable="all")._pretrained(np.array([0, 1]))[1]
    after = make(num_epochs=1, trainable=trainable).fit(TEXTS, LABELS).model_
    old = dict(before.named_parameters())
    changed = {
        block_of(name, "bert")
        for name, parameter in after.named_parameters()
        if name in old and "classifier" not in name and not torch.equal(parameter, old[name])
    }
    assert changed | {"classifier"} == expected
    counts = parameter_counts(after)
    assert {block for block, count in counts.items() if count["trainable"]} == expected
    assert sum(count["parameters"] for count in counts.values()) == after.num_parameters()


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (MPNetConfig, MPNetForSequenceClassification),
        (RobertaConfig, RobertaForSequenceClassification),
    ],
)
def test_blocks_of_other_architectures_are_found(config, kind):
    size = {
        "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20,
        "num_hidden_layers": 2,
    }  # fmt: skip
    counts = parameter_counts(freeze(kind(config(**size)), 1))
    opened = {block for block, count in counts.items() if count["trainable"]}
    assert opened == {"block 2", "classifier"} and "block 1" in counts


@pytest.mark.parametrize("trainable", ["none", 0, -1, True, 2.5, None])
def test_bad_trainable_is_named(make, trainable):
    with pytest.raises(ValueError, match=f"trainable={trainable!r}; use 'all', 'head'"):
        make(trainable=trainable).fit(TEXTS, LABELS)


def test_more_blocks_than_there_are(make):
    with pytest.raises(ValueError, match="trainable=4, but the model has 3 blocks"):
        make(trainable=4).fit(TEXTS, LABELS)


# --- saving and loading --------------------------------------------------------------------------


def test_a_stock_pipeline_reads_the_folder(fitted, tmp_path):
    folder = fitted.save(tmp_path / "model")
    stock = pipeline("text-classification", model=str(folder))
    assert [answer["label"] for answer in stock(TEXTS[:4])] == fitted.predict(TEXTS[:4]).tolist()


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_epochs": 0}, "num_epochs=0"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"learning_rate": -1}, "learning_rate=-1"),
        ({"fast": "first_token"}, "fast='first_token'; use True, False, or some of"),
        ({"fast": ("frist_token",)}, "'frist_token'; did you mean 'first_token'"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"warmup": 1.5}, "warmup=1.5"),
        ({"layer_decay": 0}, "layer_decay=0"),
        ({"layer_decay": 1.2}, "layer_decay=1.2"),
        ({"max_length": 0}, "max_length=0"),
        ({"max_length": 64}, "max_length=64, but the model takes at most 32"),
        ({"class_weight": "equal"}, "class_weight='equal'"),
        ({"class_weight": {"positive": 2}}, r"lacks \['negative'\]"),
        ({"model": "all-MiniLM-L6-v3"}, "all-MiniLM-L6-v2"),
    ],
)
def test_bad_parameters(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes).fit(TEXTS, LABELS)


def test_labels_of_validation_must_be_known(make):
    with pytest.raises(ValueError, match=r"validation has labels that training has not: \['new'\]"):
        make().fit(TEXTS, LABELS, validation=(["a"], ["new"]))


def test_long_texts_are_cut_with_one_warning_that_counts(make, fitted, recwarn):
    texts = [*TEXTS, "good " * 40, "bad " * 40]
    make(num_epochs=1).fit(texts, [*LABELS, "positive", "negative"])
    messages = [str(w.message) for w in recwarn if "were cut" in str(w.message)]
    assert len(messages) == 1 and messages[0].startswith(
        "2 of 18 texts are longer than the model's"
    )
    with pytest.warns(UserWarning, match="1 of 1 texts"):
        cut = fitted.logits(["good " * 40])
    np.testing.assert_allclose(cut, fitted.logits(["good " * 30]), atol=1e-6)
    recwarn.clear()
    make(num_epochs=1, max_length=32).fit(texts, [*LABELS, "positive", "negative"])
    assert not [w for w in recwarn if "were cut" in str(w.message)]


def test_the_progress_bar_leaves_nothing_behind(make, capsys):
    make(num_epochs=1, show_progress=True).fit(TEXTS, LABELS)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("\r") and captured.err.split("\r")[-2].strip() == ""
