"""The fast options: each against plain code, by hand-computed cases and by properties."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    MPNetConfig,
    MPNetForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    TrainingArguments,
)

from reptune import runtime, training
from reptune.classification import FineTunedClassifier
from reptune.ner import EntityTagger
from reptune.training import freeze
from reptune.training import sampler as sampler_module
from reptune.training import states as states_module
from tests import tiny
from tests.tiny import LABELS, TEXTS

FLOAT32 = {"bf16": False, "fp16": False, "use_cpu": True}
HALF = {
    "bf16": True,
    "fp16": False,
    "use_cpu": True,
}  # every CPU can, without the instructions slowly


@pytest.fixture
def float32(monkeypatch):
    monkeypatch.setattr(runtime, "precision", lambda: FLOAT32)


@pytest.fixture
def tokenizer(tiny_encoder):
    return AutoTokenizer.from_pretrained(tiny_encoder)


@pytest.fixture
def model(tiny_encoder):
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=2)


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def make(tiny_encoder, **changes):
    knobs = {"num_epochs": 3, "learning_rate": 5e-3, "batch_size": 4, "random_state": 0}
    return FineTunedClassifier(tiny_encoder, **(knobs | changes))


# --- which options -------------------------------------------------------------------------------


def test_options_by_name():
    assert training.fast_options(True) == set(training.FAST_OPTIONS)
    assert training.fast_options(False) == training.fast_options(()) == set()
    assert training.fast_options(["first_token"]) == {"first_token"}
    for bad in ("first_token", (1,), None, 1):
        with pytest.raises(ValueError, match="use True, False, or some of length_buckets"):
            training.fast_options(bad)
    with pytest.raises(ValueError, match="'frozen_cash'; did you mean 'frozen_cache'"):
        training.fast_options(("frozen_cash",))


# --- batches of similar length -------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 799, 800, 801, 1234])
@pytest.mark.parametrize("batch_size", [1, 7, 16])
def test_every_text_comes_once(count, batch_size):
    lengths = np.random.default_rng(count).integers(1, 60, count)
    order = list(training.LengthBucketSampler(lengths, batch_size))
    assert sorted(order) == list(range(count))


def test_batches_hold_similar_lengths_in_random_order():
    torch.manual_seed(0)
    lengths = np.random.default_rng(0).integers(4, 60, 3200)
    sampler = training.LengthBucketSampler(lengths, 16)
    batches = lengths[list(sampler)].reshape(-1, 16)
    padded, real = (batches.max(axis=1) * 16).sum(), lengths.sum()
    assert padded < 1.05 * real, "less than 5% padding"
    # `group_by_length` leaves lengths falling through each pool: a correlation near -1 there.
    first_pool = batches.max(axis=1)[: sampler_module.BUCKET_BATCHES]
    assert abs(np.corrcoef(first_pool, np.arange(len(first_pool)))[0, 1]) < 0.5
    assert (lengths[list(sampler)].reshape(-1, 16) != batches).any(), "a new order each epoch"


def test_the_short_batch_comes_last():
    torch.manual_seed(1)
    # A pool ends with a short batch only where the texts end, so cutting by counting is right.
    lengths = list(range(1, sampler_module.BUCKET_BATCHES * 4 + 3))
    order = list(training.LengthBucketSampler(lengths, 4))
    spread = [max(order[i : i + 4]) - min(order[i : i + 4]) for i in range(0, len(order) - 2, 4)]
    assert max(spread) <= 6


def _order_without_a_seed(lengths, batch_size):
    """The order that the recorded runs drew, written out again."""
    order = torch.randperm(len(lengths)).numpy()
    pools = [order[i : i + 50 * batch_size] for i in range(0, len(order), 50 * batch_size)]
    pools = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    batches = [pool[i : i + batch_size] for pool in pools for i in range(0, len(pool), batch_size)]
    full = [batch for batch in batches if len(batch) == batch_size]
    rest = [batch for batch in batches if len(batch) < batch_size]
    return [row for i in torch.randperm(len(full)) for row in full[i]] + [
        r for b in rest for r in b
    ]


def test_one_process_draws_from_the_global_generator_as_ever():
    lengths = np.random.default_rng(0).integers(4, 60, 2001)
    torch.manual_seed(5)
    expected = [_order_without_a_seed(lengths, 16) for _ in range(2)]
    torch.manual_seed(5)
    sampler = training.LengthBucketSampler(lengths, np.int64(16))
    found = [list(sampler) for _ in range(2)]
    assert found == expected
    sampler.set_epoch(0)
    assert list(sampler) not in expected, "without a seed, the epoch's number says nothing"


def test_with_a_seed_the_order_follows_from_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(4, 60, 200)
    orders = []
    for state in (0, 1):  # of two processes whose generators have parted
        torch.manual_seed(state)
        before = torch.get_rng_state()
        sampler = training.LengthBucketSampler(lengths, 4, seed=7)
        orders.append([list(sampler) for _ in range(3)])
        assert torch.equal(torch.get_rng_state(), before)
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders[0]}) == 3, "a new order each epoch"
    sampler.set_epoch(1)
    assert list(sampler) == orders[0][1]
    assert list(training.LengthBucketSampler(lengths, 4, seed=8)) != orders[0][0]


# --- several processes ---------------------------------------------------------------------------


RANKS = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments
from transformers import DataCollatorWithPadding
from reptune import runtime, training
from reptune.classification import FineTunedClassifier
from reptune.ner import EntityTagger
from tests.tiny import LABELS, TEXTS

torch.set_num_threads(1)
encoder, out = sys.argv[1:]
collate = DataCollatorWithPadding(AutoTokenizer.from_pretrained(encoder))
rows = []

def recording(features):
    rows.append([feature["row"] for feature in features])
    return collate([{k: v for k, v in feature.items() if k != "row"} for feature in features])

lengths = np.random.default_rng(0).integers(3, 30, 64).tolist()
texts = [{"input_ids": [5] * n, "labels": i % 2, "row": i} for i, n in enumerate(lengths)]
trainer = training.FastTrainer(
    model=AutoModelForSequenceClassification.from_pretrained(encoder),
    args=TrainingArguments(out + "/trainer", num_train_epochs=3, per_device_train_batch_size=4,
                           seed=runtime.rank(), save_strategy="no", report_to="none",
                           remove_unused_columns=False, disable_tqdm=True, use_cpu=True),
    train_dataset=texts, data_collator=recording, lengths=lengths,
)
trainer.train()

def digest(estimator):
    weights = [value.cpu().numpy().tobytes() for value in estimator.model_.state_dict().values()]
    return hashlib.sha256(b"".join(weights)).hexdigest()

knobs = {"num_epochs": 2, "learning_rate": 5e-3, "batch_size": 4}
classifier = FineTunedClassifier(encoder, random_state=None, **knobs).fit(TEXTS, LABELS)
classifier.save(out + "/model")
words = [text.split() for text in TEXTS]
tags = [["B-X"] + ["O"] * (len(row) - 1) for row in words]
tagger = EntityTagger(encoder, num_epochs=1, learning_rate=1e-9, batch_size=2, max_length=32,
                      random_state=0, warmup=0, fast=("length_buckets",)).fit(words, tags)
loss = float(np.mean([entry["loss"] for entry in tagger.history_]))
found = {"rank": runtime.rank(), "world": runtime.world_size(), "rows": rows, "loss": loss,
         "weights": [digest(classifier), digest(tagger)]}
Path(out, f"rank{runtime.rank()}.json").write_text(json.dumps(found))
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes did that trained together, on a CPU."""
    out = tmp_path_factory.mktemp("ranks")
    encoder = tiny.save_encoder(out / "encoder", dropout=0.0)
    (out / "script.py").write_text(RANKS)
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}", "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = subprocess.run(
        [*launch, out / "script.py", encoder, out],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    return out, [json.loads((out / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_together_see_every_text_once_per_epoch(ranks):
    _, found = ranks
    assert [(one["rank"], one["world"]) for one in found] == [(0, 2), (1, 2)]
    orders = []
    for epoch in range(3):
        batches = [one["rows"][8 * epoch : 8 * epoch + 8] for one in found]
        seen = [row for rank in batches for batch in rank for row in batch]
        assert sorted(seen) == list(range(64)), epoch
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2]


def test_two_processes_end_with_the_same_weights_and_one_of_them_saves(ranks):
    out, (first, second) = ranks
    assert first["weights"] == second["weights"]
    loaded = FineTunedClassifier.load(out / "model")
    assert len(loaded.predict(TEXTS)) == len(TEXTS)


def test_two_processes_have_the_loss_of_one(ranks):
    """The library would have multiplied it, and with it the gradients, by their number."""
    out, (first, _) = ranks
    words = [text.split() for text in TEXTS]
    tags = [["B-X"] + ["O"] * (len(row) - 1) for row in words]
    alone = EntityTagger(
        out / "encoder", num_epochs=1, learning_rate=1e-9, batch_size=2, max_length=32,
        random_state=0, warmup=0, fast=("length_buckets",),
    ).fit(words, tags)  # fmt: skip
    expected = np.mean([entry["loss"] for entry in alone.history_])
    assert first["loss"] == pytest.approx(expected, rel=0.02)


def test_a_process_uses_one_gpu(model, tmp_path):
    arguments = TrainingArguments(
        str(tmp_path), per_device_train_batch_size=4, use_cpu=True, report_to="none"
    )
    assert arguments.n_gpu == 0
    arguments._n_gpu = 2  # what the library says where it sees two
    trainer = training.FastTrainer(model=model, args=arguments, train_dataset=[])
    assert trainer.args.n_gpu == 1 and trainer.args.train_batch_size == 4
    assert trainer._train_batch_size == 4


# --- dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cheap_dropout_is_dropout(dtype):
    torch.manual_seed(0)
    layer = training.CheapDropout(0.1)
    values = torch.ones(401, 499, dtype=dtype, requires_grad=True)
    dropped = layer(values)
    kept = dropped != 0
    share = kept.float().mean().item()
    assert abs(share - 0.9) < 4 * (0.09 / values.numel()) ** 0.5, "4 standard deviations"
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 1 / 0.9))
    columns = kept.float().mean(dim=0)
    assert (columns - 0.9).abs().max() < 6 * (0.09 / 401) ** 0.5, "no column is favored"
    neighbors = (kept[:, 1:] & kept[:, :-1]).float().mean().item()
    assert abs(neighbors - 0.81) < 0.005, "neighbors are independent"
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach()), "the gradient uses the same mask"


def test_cheap_dropout_rests_outside_training_and_repeats_with_the_seed():
    layer, values = training.CheapDropout(0.5), torch.randn(100)
    torch.manual_seed(3)
    one = layer(values)
    torch.manual_seed(3)
    assert torch.equal(one, layer(values)) and not torch.equal(one, layer(values))
    assert layer.eval()(values) is values and training.CheapDropout(0.0)(values) is values


def test_the_library_s_dropout_is_put_back(model):
    before = [name for name, module in model.named_modules() if type(module) is nn.Dropout]
    with training.cheap_dropout(model):
        names = [n for n, module in model.named_modules() if type(module) is nn.Dropout]
        assert before and not names
        model.eval()
    assert before == [n for n, module in model.named_modules() if type(module) is nn.Dropout]
    assert not any(module.training for module in model.modules())


# --- the last block, at the first token ----------------------------------------------------------


def roberta():
    size = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16,
            "vocab_size": 30, "num_hidden_layers": 2}  # fmt: skip
    return RobertaForSequenceClassification(RobertaConfig(**size))


@pytest.mark.parametrize("kind", ["bert", "eager bert", "roberta"])
def test_the_first_token_gives_the_same_logits_and_gradients(kind, model, tokenizer):
    if kind == "roberta":
        model = roberta()
    if kind == "eager bert":
        model.set_attn_implementation("eager")
    without_dropout(model).train()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    labels = torch.tensor([0, 1] * 8)
    plain = model(**batch, labels=labels)
    plain.loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    with training.first_token(model, batch) as in_place:
        assert in_place
        short = model(**batch, labels=labels, output_hidden_states=True)
        assert short.hidden_states[-1].shape[1] == 1
        short.loss.backward()
    torch.testing.assert_close(short.logits, plain.logits, atol=1e-5, rtol=0)
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=0)
    assert model(**batch, output_hidden_states=True).hidden_states[-1].shape[1] > 1


def test_the_shortcut_is_refused_where_the_head_reads_more(model, tokenizer):
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")

    class MeanPooler(nn.Module):
        def forward(self, states):
            return states.mean(dim=1)

    model.bert.pooler = MeanPooler()
    before = model.eval()(**batch).logits
    with training.first_token(model, batch) as in_place:
        assert not in_place
        assert torch.equal(model(**batch).logits, before)


def test_other_layouts_are_left_alone(tokenizer):
    size = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16,
            "vocab_size": 30, "num_hidden_layers": 2}  # fmt: skip
    model = MPNetForSequenceClassification(MPNetConfig(**size))
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with training.first_token(model, batch) as in_place:
        assert not in_place


# --- frozen blocks, computed once ----------------------------------------------------------------


def test_which_blocks_are_frozen(model):
    counts = {}
    for trainable in ("all", 3, 2, 1, "head"):
        counts[trainable] = training.num_frozen_blocks(freeze(model, trainable))
    assert counts == {"all": 0, 3: 0, 2: 1, 1: 2, "head": 3}
    freeze(model, "head")
    model.bert.embeddings.LayerNorm.weight.requires_grad = True
    assert training.num_frozen_blocks(model) == 0, "what lies below the blocks trains"


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("trainable", ["head", 1, 2])
@pytest.mark.parametrize("architecture", ["bert", "mpnet", "roberta"])
def test_frozen_states_give_the_same_logits_and_gradients(
    architecture, trainable, on_disk, model, tokenizer, tmp_path, monkeypatch, float32
):
    size = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16,
            "vocab_size": 30, "num_hidden_layers": 3}  # fmt: skip
    if architecture == "mpnet":
        model = MPNetForSequenceClassification(MPNetConfig(**size))
    if architecture == "roberta":
        model = RobertaForSequenceClassification(RobertaConfig(**size, pad_token_id=0))
    monkeypatch.setattr(states_module, "CACHE_MEMORY_MB", 0 if on_disk else 512)
    freeze(without_dropout(model), trainable).train()
    encoded = tokenizer(TEXTS)["input_ids"]
    assert training.FrozenStates.fits(model, encoded, tmp_path)
    states = training.FrozenStates(model, tokenizer, encoded, tmp_path)
    assert model.training and states.on_disk == on_disk
    assert ("mapped file" if on_disk else "in memory") in str(states)
    assert states.first_only == (trainable == "head")
    tokens = len(TEXTS) if states.first_only else sum(map(len, encoded))
    assert states.megabytes == pytest.approx(tokens * 16 * 4 / 1e6)
    rows = [3, 0, 9, 5]
    labels = torch.tensor([0, 1, 1, 0])
    batch = tokenizer.pad({"input_ids": [encoded[row] for row in rows]}, return_tensors="pt")
    plain = model(**batch, labels=labels)
    plain.loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    with states.in_place():
        length = 1 if states.first_only else batch["input_ids"].shape[1]
        states.give(states.take(rows, length))
        tail = model(**(batch if length > 1 else first(batch)), labels=labels)
        tail.loss.backward()
    torch.testing.assert_close(tail.logits, plain.logits, atol=1e-5, rtol=0)
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=0)
    torch.testing.assert_close(model(**batch).logits, plain.logits)
    states.close()


def first(batch):
    return {name: tensor[:, :1] for name, tensor in batch.items()}


def test_a_full_disk_is_a_warning_and_no_cache(model, tokenizer, tmp_path, monkeypatch):
    freeze(model, 1)
    monkeypatch.setattr(states_module, "CACHE_MEMORY_MB", 0)
    usage = type("usage", (), {"free": 100})
    monkeypatch.setattr(states_module.shutil, "disk_usage", lambda folder: usage)
    with pytest.warns(UserWarning, match="computed anew in every epoch; set TMPDIR"):
        assert not training.FrozenStates.fits(model, tokenizer(TEXTS)["input_ids"], tmp_path)


def test_frozen_states_run_each_frozen_block_once(tiny_encoder, monkeypatch, float32):
    from transformers.models.bert.modeling_bert import BertLayer

    calls = []
    forward = BertLayer.forward
    monkeypatch.setattr(
        BertLayer, "forward", lambda self, *a, **k: calls.append(1) or forward(self, *a, **k)
    )
    counts = {}
    for fast in (False, ("frozen_cache",)):
        calls.clear()
        make(tiny_encoder, trainable=1, num_epochs=4, fast=fast).fit(TEXTS, LABELS)
        counts[bool(fast)] = len(calls)
    steps = 4 * len(TEXTS) // 4
    assert counts[False] == 3 * steps
    assert counts[True] == steps + 2, "two frozen blocks, one batch; then the last block alone"


@pytest.mark.parametrize("trainable", [np.int64(2), np.int32(1)])
def test_blocks_may_be_counted_by_numpy(trainable, model):
    freeze(model, trainable)
    assert training.num_frozen_blocks(model) == 3 - trainable
    for bad in (np.int64(0), np.float64(1), np.True_, np.array([1, 2])):
        with pytest.raises(ValueError, match="trainable="):
            freeze(model, bad)


# --- a rate for each block ----------------------------------------------------------------------


def test_early_blocks_get_smaller_rates(tiny_encoder):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_encoder)
    rates = training.layer_rates(model, 0.5)
    named = {training.block_of(name, "bert"): rates[w] for name, w in model.named_parameters()}
    assert named == {
        "embeddings": 0.5**4, "block 1": 0.5**3, "block 2": 0.5**2, "block 3": 0.5,
        "pooler": 1, "classifier": 1,
    }  # fmt: skip


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_every_weight_trains_at_its_rate(decay, tiny_encoder, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_encoder)
    arguments = TrainingArguments(str(tmp_path), learning_rate=0.1, weight_decay=0.3)
    trainer = training.FastTrainer(model=model, args=arguments, layer_decay=decay)
    groups = trainer.create_optimizer().param_groups
    found = {
        weight: (group["lr"], group["weight_decay"])
        for group in groups
        for weight in group["params"]
    }
    shares = training.layer_rates(model, decay)
    assert found.keys() == shares.keys(), "each weight once"
    assert sum(len(group["params"]) for group in groups) == len(shares)
    for name, weight in model.named_parameters():
        plain = name.endswith("bias") or "LayerNorm" in name
        assert found[weight] == (pytest.approx(0.1 * shares[weight]), 0 if plain else 0.3)


# --- together ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainable", ["all", 2, "head"])
def test_without_dropout_the_exact_options_change_nothing(
    trainable, tiny_encoder, tmp_path, float32
):
    """Buckets change the order and half precision rounds; all the rest computes the same."""
    config = AutoModelForSequenceClassification.from_pretrained(tiny_encoder)
    config.config.hidden_dropout_prob = config.config.attention_probs_dropout_prob = 0.0
    config.base_model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    exact = ("first_token", "cheap_dropout", "frozen_cache")
    held_out = (TEXTS[:4], LABELS[:4])
    plain, fast = (
        make(tmp_path, trainable=trainable, fast=options).fit(TEXTS, LABELS, validation=held_out)
        for options in (False, exact)
    )
    np.testing.assert_allclose(fast.logits(TEXTS), plain.logits(TEXTS), atol=1e-5)
    for one, other in zip(plain.history_, fast.history_, strict=True):
        assert one == pytest.approx(other, abs=1e-4), "evaluation starts from the states too"
    assert (fast.frozen_states_ is None) == (trainable == "all")
    assert plain.frozen_states_ is None


@pytest.mark.parametrize("trainable", ["all", 1, "head"])
def test_all_options_together_learn_and_repeat(trainable, tiny_encoder, monkeypatch):
    monkeypatch.setattr(runtime, "precision", lambda: HALF)
    runs = [
        make(tiny_encoder, trainable=trainable, num_epochs=12).fit(TEXTS, LABELS) for _ in range(2)
    ]
    assert (runs[0].logits(TEXTS) == runs[1].logits(TEXTS)).all(), "bit for bit"
    plain = make(tiny_encoder, trainable=trainable, num_epochs=12, fast=False).fit(TEXTS, LABELS)
    assert runs[0].score(TEXTS, LABELS) >= plain.score(TEXTS, LABELS) - 0.1
    kinds = {type(module) for module in runs[0].model_.modules()}
    assert training.CheapDropout not in kinds and nn.Dropout in kinds
    assert len(runs[0].model_.bert.encoder.layer) == 3
    assert not any("forward" in vars(block) for block in runs[0].model_.bert.encoder.layer)


def test_padding_stays_within_the_model_s_limit(monkeypatch):
    monkeypatch.setattr(runtime, "precision", lambda: HALF)
    assert training.padding_multiple({"half_precision"}, 512) == 8
    assert training.padding_multiple({"half_precision"}, 30) is None
    assert training.padding_multiple(set(), 512) is None
    monkeypatch.setattr(runtime, "precision", lambda: FLOAT32)
    assert training.padding_multiple({"half_precision"}, 512) is None
