import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    MPNetConfig,
    MPNetForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    Trainer,
    TrainerCallback,
    pipeline,
)

from reptune import classification
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


def test_batching_by_length_keeps_the_order(fitted, monkeypatch):
    texts = ["good " * n + "film" for n in (9, 1, 5, 2, 7)] + ["bad"]
    together = fitted.logits(texts)
    monkeypatch.setattr(classification, "PREDICTION_BATCH_SIZE", 1)
    np.testing.assert_allclose(together, fitted.logits(texts), atol=1e-5)


def test_integer_labels_and_other_containers(make):
    labels = [7 if label == "positive" else -1 for label in LABELS]
    classifier = make().fit(pd.Series(TEXTS), np.array(labels))
    assert classifier.classes_.tolist() == [-1, 7]
    assert classifier.predict(np.array(TEXTS)).dtype.kind == "i"


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


# --- scikit-learn --------------------------------------------------------------------------------


def test_it_works_in_scikit_learn(make):
    assert clone(make(trainable=2)).get_params()["trainable"] == 2
    assert len(cross_val_score(make(num_epochs=1), TEXTS, LABELS, cv=2)) == 2
    search = GridSearchCV(make(num_epochs=1), {"trainable": ["head", 1]}, cv=2, error_score="raise")
    assert search.fit(TEXTS, LABELS).best_params_["trainable"] in ("head", 1)


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


def test_saved_and_loaded_is_the_same(fitted, tmp_path):
    folder = fitted.save(tmp_path / "model")
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    loaded = FineTunedClassifier.load(folder)
    assert (loaded.predict_proba(TEXTS) == fitted.predict_proba(TEXTS)).all()
    assert loaded.get_params() == fitted.get_params() | {"model": str(fitted.model)}
    stock = pipeline("text-classification", model=str(folder))
    assert [answer["label"] for answer in stock(TEXTS[:4])] == fitted.predict(TEXTS[:4]).tolist()


def test_integer_labels_and_weights_survive_saving(make, tmp_path):
    labels = [int(label == "positive") for label in LABELS]
    classifier = make(num_epochs=1, class_weight={0: 1.0, 1: 2.0}).fit(TEXTS, labels)
    loaded = FineTunedClassifier.load(classifier.save(tmp_path / "model"))
    assert loaded.classes_.tolist() == [0, 1] and loaded.class_weight == {0: 1.0, 1: 2.0}


def test_saving_replaces_only_our_own_folders(fitted, tmp_path):
    folder = fitted.save(tmp_path / "model")
    fitted.save(folder)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds something that is not a saved model"):
        fitted.save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def test_a_failed_save_leaves_the_old_model(fitted, tmp_path, monkeypatch):
    folder = fitted.save(tmp_path / "model")

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(fitted.tokenizer_), "save_pretrained", full_disk)
    with pytest.raises(OSError, match="No space left"):
        fitted.save(folder)
    assert (FineTunedClassifier.load(folder).predict(TEXTS) == fitted.predict(TEXTS)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_load_says_what_is_missing(fitted, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        FineTunedClassifier.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"lacks reptune\.json, config\.json, model\.safetensors"):
        FineTunedClassifier.load(tmp_path / "empty")
    folder = fitted.save(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(ValueError, match="holds a damaged model"):
        FineTunedClassifier.load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"lacks model\.safetensors"):
        FineTunedClassifier.load(folder)


def test_load_refuses_another_class(fitted, tmp_path):
    folder = fitted.save(tmp_path / "model")
    manifest = json.loads((folder / "reptune.json").read_text())
    (folder / "reptune.json").write_text(json.dumps(manifest | {"class": "EntityTagger"}))
    with pytest.raises(ValueError, match="holds a EntityTagger, not a FineTunedClassifier"):
        FineTunedClassifier.load(folder)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ([], [], "there are none"),
        ("one string", ["a"], "is a single string"),
        (["a", 3], [0, 1], r"texts\[1\] is 3, a int"),
        (["a", None], [0, 1], r"texts\[1\] is None \(a missing value\)"),
        (["a", float("nan")], [0, 1], r"texts\[1\] is nan \(a missing value\)"),
        (["a", "b"], [0], "2 texts but 1 labels"),
        (["a", "b"], [1, 1], r"1 class \(1\); training needs at least 2"),
        (["a", "b"], ["x", None], r"labels\[1\] is None"),
        (["a", "b"], [0, float("nan")], r"labels\[1\] is nan"),
        (["a", "b"], [0.5, 1.5], r"labels\[0\] is 0.5, a float"),
        (["a", "b"], ["x", 1], "mix strings and integers"),
        (["a", "b"], [["x"], ["y"]], "a list; labels must be"),
    ],
)
def test_bad_texts_and_labels(make, texts, labels, message):
    with pytest.raises(ValueError, match=message):
        make().fit(texts, labels)


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


def test_predict_before_fit(make):
    with pytest.raises(NotFittedError):
        make().predict(TEXTS)


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


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_fit_leaves_the_object_as_it_was(make, monkeypatch, error):
    classifier = make().fit(TEXTS, LABELS)
    before = classifier.logits(TEXTS)

    class Interrupt(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            raise error

    monkeypatch.setattr(classification.training, "ProgressBar", Interrupt)
    classifier.set_params(show_progress=True)
    with pytest.raises(error):
        classifier.fit(TEXTS, ["other" if label == "negative" else label for label in LABELS])
    assert (classifier.logits(TEXTS) == before).all()
    assert classifier.classes_.tolist() == ["negative", "positive"]


def test_the_progress_bar_leaves_nothing_behind(make, capsys):
    make(num_epochs=1, show_progress=True).fit(TEXTS, LABELS)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("\r") and captured.err.split("\r")[-2].strip() == ""
