import json
import warnings

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from transformers import Trainer, get_linear_schedule_with_warmup

from reptune import runtime, training
from reptune.fewshot import FrozenClassifier, LinearHead, SetFitClassifier
from reptune.fewshot import classifier as classifier_module
from reptune.fewshot import encoder as encoder_module
from reptune.fewshot import training as first_phase
from reptune.fewshot.contrastive import PairSampler
from reptune.tokens import position_limit
from tests import tiny
from tests.tiny import LABELS, TEXTS


@pytest.fixture(scope="session")
def steady_encoder(tmp_path_factory):
    """Without dropout, so that the same texts give the same gradients however they are batched."""
    return tiny.save_encoder(tmp_path_factory.mktemp("steady") / "encoder", dropout=0.0)


@pytest.fixture(scope="session")
def make(tiny_encoder):
    def make(**changes):
        knobs = {"model": tiny_encoder, "num_steps": 10, "learning_rate": 5e-3, "random_state": 0}
        return SetFitClassifier(**(knobs | changes))

    return make


@pytest.fixture(scope="session")
def fitted(make):
    return make(num_steps=30).fit(TEXTS, LABELS)


def _weights(classifier):
    return {name: value.clone() for name, value in classifier.body_.state_dict().items()}


def _same(one, other, **tolerance):
    torch.testing.assert_close(_weights(one), _weights(other), **tolerance)


# --- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "supcon"},
        {"efficient": False, "num_steps": 40},
        {"efficient": False, "sampling": 5},
        {"sampling": "unique", "batch_size": 6},
        {"head": "differentiable"},
        {"trainable": 2, "num_steps": 60},
    ],
)
def test_it_learns_and_gives_labels_back_as_they_were(make, changes):
    classifier = make(num_steps=25).set_params(**changes).fit(TEXTS, LABELS)
    assert classifier.score(TEXTS, LABELS) == 1.0
    assert classifier.classes_.tolist() == ["negative", "positive"]
    losses = [entry["loss"] for entry in classifier.history_]
    assert losses[-1] < losses[0] and classifier.cost_.seconds > 0


def test_texts_of_a_label_move_together(make, tiny_encoder, fitted):
    def contrast(classifier):
        vectors = classifier.embed(TEXTS)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        same = np.equal.outer(LABELS, LABELS)
        return (unit @ unit.T)[same].mean() - (unit @ unit.T)[~same].mean()

    untouched = make(trainable="head").fit(TEXTS, LABELS)
    assert untouched.history_ == []
    assert contrast(fitted) > contrast(untouched) + 0.5


def test_predict_is_the_argmax_of_predict_proba(fitted):
    probabilities = fitted.predict_proba(TEXTS)
    assert probabilities.shape == (len(TEXTS), 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert (fitted.classes_[probabilities.argmax(axis=1)] == fitted.predict(TEXTS)).all()


def test_a_head_that_predicts_otherwise_is_overruled(make):
    class Contrary(LogisticRegression):  # as SVC, whose probabilities are fitted apart
        def predict(self, embeddings):
            return self.classes_[super().predict_proba(embeddings).argmin(axis=1)]

    classifier = make(head=Contrary()).fit(TEXTS, LABELS)
    best = classifier.predict_proba(TEXTS).argmax(axis=1)
    assert (classifier.predict(TEXTS) == classifier.classes_[best]).all()


def test_the_order_of_texts_is_kept(fitted):
    texts = ["good " * n + "film" for n in (9, 1, 5, 2, 7)] + ["bad"]
    one_by_one = np.concatenate([fitted.embed([text]) for text in texts])
    np.testing.assert_allclose(fitted.embed(texts), one_by_one, atol=1e-5)


def test_same_seed_same_bits_and_validation_does_not_influence(make):
    state = torch.get_rng_state()
    one = make().fit(TEXTS, LABELS)
    other = make().fit(TEXTS, LABELS, validation=(TEXTS[:4], LABELS[:4]))
    _same(one, other, rtol=0, atol=0)
    assert any("eval_accuracy" in entry for entry in other.history_)
    different = make(random_state=1).fit(TEXTS, LABELS)
    assert not np.array_equal(one.embed(TEXTS), different.embed(TEXTS))
    assert torch.equal(state, torch.get_rng_state()), "the caller's generator stays as it was"


# --- plain library code, and the fast options ----------------------------------------------------


def test_with_every_fast_option_off_it_is_plain_library_code(make, steady_encoder):
    changes = {"model": steady_encoder, "efficient": False, "batch_size": 4, "fast": False}
    ours = make(**changes, num_steps=None).fit(TEXTS, LABELS)

    body = SentenceTransformer(str(steady_encoder), device="cpu").train()
    loss_function = CosineSimilarityLoss(body)
    sampler = PairSampler([label == "positive" for label in LABELS], random_state=0)
    decayed = Trainer.get_decay_parameter_names(None, body)
    groups = [
        {
            "params": [p for name, p in body.named_parameters() if (name in decayed) == decays],
            "weight_decay": 0.01 if decays else 0.0,
        }
        for decays in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-3)
    num_steps = -(-len(sampler) // 4)
    schedule = get_linear_schedule_with_warmup(optimizer, -(-num_steps // 10), num_steps)
    for pairs in sampler.batches(4):
        columns = [
            body.tokenizer([TEXTS[i] for i in pairs[:, c]], padding=True, return_tensors="pt")
            for c in (0, 1)
        ]
        loss_function([dict(c) for c in columns], torch.tensor(pairs[:, 2])).backward()
        torch.nn.utils.clip_grad_norm_(body.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    theirs = body.state_dict()
    for name, weight in _weights(ours).items():
        # A key's bias changes no attention, so its gradient is rounding, which AdamW scales up.
        atol = 1e-4 if name.endswith("key.bias") else 1e-5
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("efficient", [True, False])
@pytest.mark.parametrize("trainable", ["all", 1, 2])
def test_fast_options_change_nothing_but_the_time(make, steady_encoder, efficient, trainable):
    changes = {"model": steady_encoder, "efficient": efficient, "trainable": trainable}
    exact = ("length_buckets", "frozen_cache")
    slow = make(**changes, fast=False).fit(TEXTS, LABELS)
    fast = make(**changes, fast=exact).fit(TEXTS, LABELS)
    np.testing.assert_allclose(slow.embed(TEXTS), fast.embed(TEXTS), atol=2e-4)


def test_without_dropout_only_the_batches_are_drawn(make, tiny_encoder, steady_encoder):
    with_none = make(dropout=False).fit(TEXTS, LABELS)
    never_had = make(model=steady_encoder).fit(TEXTS, LABELS)
    _same(with_none, never_had, rtol=0, atol=1e-6)
    assert not np.allclose(
        with_none.embed(TEXTS), make().fit(TEXTS, LABELS).embed(TEXTS), atol=1e-3
    )


def test_frozen_blocks_stay_and_the_rest_moves(make, tiny_encoder):
    before = SentenceTransformer(str(tiny_encoder), device="cpu").state_dict()
    after = make(trainable=2).fit(TEXTS, LABELS).body_.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(".layer.2." in name for name in moved)
    assert all(".layer.1." in name or ".layer.2." in name for name in moved)


def test_the_efficient_mode_encodes_each_text_once_a_step(make, monkeypatch):
    encoded = []
    embed = encoder_module.Encoder._embed

    def counted(self, rows):
        if torch.is_grad_enabled():
            encoded.append(len(rows))
        return embed(self, rows)

    monkeypatch.setattr(encoder_module.Encoder, "_embed", counted)
    make(num_steps=3).fit(TEXTS, LABELS)
    assert sum(encoded) == 3 * len(TEXTS)


def test_max_length_reaches_the_embedding_phase(make, monkeypatch):
    lengths = []
    embed = encoder_module.Encoder._embed

    def watched(self, rows):
        lengths.append(max(len(self._encoded[row]) for row in rows))
        return embed(self, rows)

    monkeypatch.setattr(encoder_module.Encoder, "_embed", watched)
    classifier = make(max_length=4).fit(TEXTS, LABELS)
    classifier.predict(["good " * 20])
    assert max(lengths) == 4
    assert classifier.body_.max_seq_length == 4


def test_long_texts_are_cut_with_one_warning_that_counts(make):
    texts = [*TEXTS, "good " * 60, "bad " * 60]
    labels = [*LABELS, "positive", "negative"]
    with pytest.warns(UserWarning, match="2 of 18 texts are longer") as caught:
        make(num_steps=1).fit(texts, labels)
    assert len([w for w in caught if "longer" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        make(num_steps=1, max_length=32).fit(texts, labels)


def test_the_first_step_already_trains(make):
    untouched, once = (
        make(num_steps=1, **c).fit(TEXTS, LABELS) for c in ({"trainable": "head"}, {})
    )
    assert not np.allclose(untouched.embed(TEXTS), once.embed(TEXTS), atol=1e-4)


@pytest.mark.parametrize(
    ("efficient", "expected"),
    [(True, [1 / 2, *np.arange(9, 0, -1) / 9]), (False, [0, 1 / 2, *np.arange(8, 0, -1) / 8])],
)
def test_rates_rise_and_fall_and_touch_zero_pair_by_pair_alone(
    make, monkeypatch, efficient, expected
):
    rates = []
    step = torch.optim.AdamW.step

    def watched(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    make(num_steps=10, warmup=0.2, efficient=efficient, learning_rate=1e-3).fit(TEXTS, LABELS)
    np.testing.assert_allclose(rates, 1e-3 * np.array(expected))


def test_cosines_are_computed_in_full_precision(make, steady_encoder, monkeypatch):
    half = {"bf16": True, "fp16": False, "use_cpu": True}
    monkeypatch.setattr(runtime, "precision", lambda: half)
    seen = []
    loss = first_phase.all_pairs_cosine_loss

    def watched(embeddings, *rest):
        seen.append((embeddings.dtype, torch.is_autocast_enabled("cpu")))
        return loss(embeddings, *rest)

    monkeypatch.setattr(first_phase, "all_pairs_cosine_loss", watched)
    knobs = {"model": steady_encoder, "num_steps": 3, "learning_rate": 1e-3}
    halved = make(**knobs).fit(TEXTS, LABELS)
    assert seen == [(torch.float32, False)] * 3
    whole = make(**knobs, fast=("length_buckets",)).fit(TEXTS, LABELS)
    assert not np.array_equal(halved.embed(TEXTS), whole.embed(TEXTS)), "half precision was used"
    assert np.abs(halved.embed(TEXTS) - whole.embed(TEXTS)).max() < 0.05


def test_layers_after_pooling_train_too(make, tiny_encoder, tmp_path):
    from sentence_transformers.sentence_transformer import modules

    body = SentenceTransformer(str(tiny_encoder), device="cpu")
    body.append(modules.Dense(16, 8))
    body.save(str(tmp_path / "dense"), create_model_card=False)
    before = dict(SentenceTransformer(str(tmp_path / "dense"), device="cpu").named_parameters())
    for trainable in ("all", 1):
        classifier = make(model=tmp_path / "dense", trainable=trainable).fit(TEXTS, LABELS)
        after = dict(classifier.body_.named_parameters())
        dense = [name for name in before if "linear" in name]
        assert dense and not any(torch.equal(before[name], after[name]) for name in dense)
        assert classifier.embed(TEXTS).shape == (len(TEXTS), 8)


def test_positions_of_mpnet_are_counted_from_after_the_padding_index():
    from transformers import MPNetConfig, MPNetModel

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
             "intermediate_size": 8, "vocab_size": 20}  # fmt: skip
    model = MPNetModel(MPNetConfig(max_position_embeddings=14, **small))
    assert position_limit(model) == 12
    model(torch.full((1, 12), 5))
    with pytest.raises(IndexError):
        model(torch.full((1, 13), 5))


# --- early stopping ------------------------------------------------------------------------------


def test_patience_returns_to_the_best_accuracy(make, monkeypatch):
    accuracies = iter([0.5, 0.9, 0.8, 0.9, 0.7, 1.0, 1.0, 1.0, 1.0, 1.0])
    states = []

    def scorer(self, body, *_):
        def accuracy():
            states.append({k: v.clone() for k, v in body.state_dict().items()})
            return next(accuracies)

        return accuracy

    monkeypatch.setattr(SetFitClassifier, "_scorer", scorer)
    classifier = make(num_steps=20, patience=3).fit(
        TEXTS, LABELS, validation=(TEXTS[:2], LABELS[:2])
    )
    assert len(states) == 5, "two without a better one, and 0.9 again is none"
    torch.testing.assert_close(dict(classifier.body_.state_dict()), states[1], rtol=0, atol=0)
    seen = [entry for entry in classifier.history_ if "eval_accuracy" in entry]
    assert [entry["step"] for entry in seen] == [2, 4, 6, 8, 10]


# --- heads ---------------------------------------------------------------------------------------


def test_a_head_without_probabilities(make):
    classifier = make(head=RidgeClassifier()).fit(TEXTS, LABELS)
    assert classifier.score(TEXTS, LABELS) == 1.0
    assert not hasattr(classifier, "predict_proba")
    assert not hasattr(make(head=RidgeClassifier()), "predict_proba")
    assert hasattr(make(), "predict_proba")
    with pytest.raises(AttributeError) as raised:
        classifier.predict_proba(TEXTS)
    assert "RidgeClassifier gives no probabilities; use" in str(raised.value.__cause__)


def test_end_to_end_moves_the_body(make):
    apart = make(head="differentiable", num_steps=25).fit(TEXTS, LABELS)
    together = make(head="differentiable", end_to_end=True, num_steps=25).fit(TEXTS, LABELS)
    assert not np.allclose(apart.embed(TEXTS), together.embed(TEXTS), atol=1e-6)
    assert together.score(TEXTS, LABELS) == 1.0


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_linear_head_as_a_logistic_regression(num_classes):
    generator = np.random.default_rng(0)
    classes = np.array(["a", "b", "c"][:num_classes])
    head = LinearHead(
        classes, generator.normal(size=(num_classes, 4)), generator.normal(size=num_classes)
    )
    points = generator.normal(size=(9, 4))
    same = head.as_logistic_regression()
    np.testing.assert_allclose(same.predict_proba(points), head.predict_proba(points), atol=1e-12)


def test_class_weights_shift_the_balance(make):
    few = [*TEXTS[:10], "the film"], [*LABELS[:10], "positive"]
    for head in (None, "differentiable"):
        plain, heavy = (
            make(head=head, trainable="head", class_weight=weight).fit(*few)
            for weight in (None, {"negative": 50.0, "positive": 1.0})
        )
        assert heavy.predict_proba(TEXTS)[:, 0].mean() > plain.predict_proba(TEXTS)[:, 0].mean()


def test_labels_that_look_like_numbers_keep_their_weights(make):
    labels = ["1" if label == "positive" else "10" for label in LABELS]
    classifier = make(num_steps=1, class_weight={"1": 30.0, "10": 1.0}).fit(TEXTS, labels)
    assert classifier.classes_.tolist() == ["1", "10"]
    assert classifier.predict_proba(TEXTS)[:, 0].mean() > 0.6


# --- scikit-learn, saving ------------------------------------------------------------------------


def test_a_search_finds_that_tuning_helps(make):
    search = GridSearchCV(make(num_steps=25), {"trainable": ["head", "all"]}, cv=2)
    assert search.fit(TEXTS, LABELS).best_params_["trainable"] == "all"
    assert search.cv_results_["mean_test_score"][1] > search.cv_results_["mean_test_score"][0]


@pytest.mark.parametrize(
    "changes",
    [{}, {"head": "differentiable"}, {"head": LogisticRegression(C=10)}, {"max_length": 5}],
)
def test_saved_and_loaded_is_the_same(make, changes, tmp_path):
    classifier = make(num_steps=5, class_weight=None, **changes).fit(TEXTS, LABELS)
    folder = classifier.save(tmp_path / "model")
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".bin", ".pt")]
    loaded = SetFitClassifier.load(folder)
    np.testing.assert_array_equal(loaded.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    assert loaded.classes_.tolist() == classifier.classes_.tolist()
    assert str(loaded.get_params()["head"]) == str(classifier.head)


def test_three_classes_and_every_kind_of_parameter_survive_saving(make, tmp_path):
    head = LogisticRegression(class_weight={1: 1.0, 2: 5.0, 30: 1.0})
    labels = [(1, 2, 30)[row % 3] for row in range(len(TEXTS))]
    classifier = make(num_steps=2, head=head, fast={"length_buckets"}).fit(TEXTS, labels)
    loaded = SetFitClassifier.load(classifier.save(tmp_path / "model"))
    assert loaded.classes_.tolist() == [1, 2, 30]
    assert loaded.head.get_params() == head.get_params()
    np.testing.assert_array_equal(loaded.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    np.testing.assert_array_equal(
        loaded.fit(TEXTS, labels).predict_proba(TEXTS), classifier.predict_proba(TEXTS)
    )


def test_the_saved_body_loads_in_sentence_transformers(fitted, tmp_path):
    body = SentenceTransformer(str(fitted.save(tmp_path / "model")), device="cpu")
    np.testing.assert_allclose(body.encode(TEXTS), fitted.embed(TEXTS), atol=1e-6)


def test_a_head_that_needs_pickling_is_refused_at_save(make, tmp_path):
    classifier = make(head=KNeighborsClassifier(3), num_steps=1).fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="KNeighborsClassifier cannot be saved without pickling"):
        classifier.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("as_strings", [True, False])
@pytest.mark.parametrize("head", [None, "differentiable", KNeighborsClassifier(3)])
def test_the_stock_library_loads_the_export(make, head, as_strings, num_classes, tmp_path):
    setfit = pytest.importorskip("setfit")
    labels = [row % num_classes for row in range(len(TEXTS))]
    labels = [("bad", "good", "so-so")[label] for label in labels] if as_strings else labels
    classifier = make(head=head, num_steps=5).fit(TEXTS, labels)
    folder = classifier.export_setfit(tmp_path / "stock")
    stock = setfit.SetFitModel.from_pretrained(str(folder), local_files_only=True, device="cpu")
    texts = [*TEXTS, "not a good film", "the plot"]
    assert list(map(str, np.asarray(stock.predict(texts)))) == list(
        map(str, classifier.predict(texts))
    )
    np.testing.assert_allclose(
        stock.predict_proba(texts, as_numpy=True), classifier.predict_proba(texts), atol=1e-5
    )
    assert json.loads((folder / "config_setfit.json").read_text())["normalize_embeddings"] is False
    assert classifier.export_setfit(folder) == folder, "an export may be written anew"


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ([*TEXTS[:-1], " "], LABELS, r"texts\[15\] is empty"),
    ],
)
def test_bad_texts_and_labels(make, texts, labels, message):
    with pytest.raises(ValueError, match=message):
        make().fit(texts, labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling": "overs"}, "did you mean 'oversampling'"),
        ({"sampling": 5}, "sampling=5 draws pairs one by one; pass efficient=False"),
        ({"num_pairs": 5}, "num_pairs=5 draws pairs one by one"),
        ({"num_pairs": 5000, "efficient": False}, "num_pairs=5,000, but sampling='oversampling'"),
        ({"loss": "triplet"}, "loss='triplet'; use 'cosine' or 'supcon'"),
        ({"loss": "supcon", "efficient": False}, "pass efficient=True"),
        ({"batch_size": 3}, "batch_size=3; use a whole number from 4 on"),
        ({"num_epochs": 3}, "num_epochs=3 counts passes over drawn pairs"),
        ({"learning_rate": None}, "learning_rate=None"),
        ({"trainable": "head", "patience": 2}, "there are no steps to stop"),
        ({"num_steps": 0}, "num_steps=0"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"warmup": 1}, "warmup=1"),
        ({"trainable": 4}, "the model has 3 blocks"),
        ({"trainable": "body"}, "trainable='body'"),
        ({"head": "forest"}, "head='forest'; use None"),
        ({"head": 3}, "is no scikit-learn classifier"),
        ({"head": RidgeClassifier(), "class_weight": "balanced"}, "does not reach the head"),
        ({"end_to_end": True}, "needs head='differentiable'"),
        ({"end_to_end": True, "head": "differentiable", "trainable": "head"}, "trains below it"),
        ({"class_weight": {"positive": 1}}, r"class_weight lacks \['negative'\]"),
        ({"max_length": 1000}, "takes at most 32 tokens; lower it, or use None for 32"),
        ({"patience": 2}, "patience=2 needs validation"),
        ({"fast": ("fastest",)}, "unknown option 'fastest'"),
    ],
)
def test_bad_parameters(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes).fit(TEXTS, LABELS)


def test_one_text_per_label_trains_on_negative_pairs_with_a_warning(make):
    with pytest.warns(
        UserWarning, match="2 of 2 labels .* fewer than two texts.*negative pairs only"
    ):
        classifier = make(num_steps=2).fit(TEXTS[:2], LABELS[:2])
    assert set(classifier.predict(TEXTS)) <= set(LABELS)
    with pytest.raises(ValueError, match="needs two texts of a label"):
        make(loss="supcon").fit(TEXTS[:2], LABELS[:2])


def test_copies_of_a_text_make_no_pair(make, monkeypatch):
    rows = classifier_module._rows_for_pairs(["a", "b", "a", "c"], np.array([0, 1, 0, 1]))
    assert rows.tolist() == [0, 1, 3]
    with pytest.warns(UserWarning, match="1 texts occur with different labels, such as 'a'"):
        rows = classifier_module._rows_for_pairs(["a", "b", "a", "c"], np.array([0, 1, 1, 1]))
    assert rows.tolist() == [1, 3]


def test_texts_that_leave_no_pair(make):
    with pytest.raises(ValueError, match="no pair of different texts"), pytest.warns(UserWarning):
        make().fit(["good", "good"], ["a", "b"])


def test_callbacks_get_each_record_as_it_is_made(make):
    seen = []
    classifier = make(num_steps=3, callbacks=[seen.append])
    classifier.fit(TEXTS, LABELS, validation=(TEXTS[:4], LABELS[:4]))
    assert seen == classifier.history_ and len(seen) == 6

    def stop(record):
        raise KeyboardInterrupt

    weights = _weights(classifier)
    with pytest.raises(KeyboardInterrupt):
        classifier.set_params(callbacks=[stop]).fit(TEXTS, LABELS)
    torch.testing.assert_close(_weights(classifier), weights, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [SetFitClassifier, FrozenClassifier])
def test_smaller_prediction_batches_change_nothing_but_rounding(kind, tiny_encoder, monkeypatch):
    sizes = []
    embed = encoder_module.Encoder._embed

    def watched(self, rows):
        sizes.append(len(rows))
        return embed(self, rows)

    monkeypatch.setattr(encoder_module.Encoder, "_embed", watched)
    whole, small = (kind(tiny_encoder, prediction_batch_size=size) for size in (None, 3))
    whole, small = (made.fit(TEXTS, LABELS) for made in (whole, small))
    sizes.clear()
    few = small.logits(TEXTS)
    assert sizes == [3] * 5 + [1]
    np.testing.assert_allclose(few, whole.logits(TEXTS), atol=1e-4)


def test_the_device_decides_where_the_model_lies(make, tiny_encoder):
    assert make(device="cpu", num_steps=1).fit(TEXTS, LABELS).body_.device.type == "cpu"
    for made in (make(device="cuda:99"), FrozenClassifier(tiny_encoder, device="cuda:99")):
        with pytest.raises(ValueError, match="device='cuda:99' is not here"):
            made.fit(TEXTS, LABELS)


def test_the_progress_bar_leaves_nothing_behind(make, capsys):
    make(num_steps=2, show_progress=True).fit(TEXTS, LABELS)
    shown = capsys.readouterr().err
    assert "contrastive fine-tuning" in shown and shown.split("\r")[-2].strip() == ""


def test_blocks_of_a_sentence_transformer_are_frozen_by_name(tiny_encoder):
    body = encoder_module.Body(SentenceTransformer(str(tiny_encoder), device="cpu"))
    training.freeze(body, 1)
    assert training.num_frozen_blocks(body) == 2
