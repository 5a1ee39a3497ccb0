import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModel, DataCollatorForLanguageModeling

from reptune import pretraining, runtime
from reptune.classification import FineTunedClassifier
from reptune.models import lowrank, masked
from reptune.models.masked import (
    IGNORED,
    fill_mask,
    load_masked_lm,
    mask_tokens,
    masked_logits,
    masked_scores,
    pseudo_perplexity,
)
from reptune.pretraining import average_encoders, continue_pretraining
from reptune.pretraining import run as run_module
from reptune.pretraining.checkpoint import Checkpoint
from reptune.pretraining.packing import pack
from reptune.training import Loop, rate_share
from tests import tiny
from tests.tiny import LABELS, TEXTS

KNOBS = {
    "block_size": 16,
    "batch_size": 2,
    "num_steps": 12,
    "learning_rate": 5e-3,
    "checkpoint_steps": 5,
    "mask_probability": 0.15,
    "random_state": 0,
}
CLS, SEP, MASK = 2, 3, 4


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer()


@pytest.fixture(scope="module")
def loaded(tiny_encoder):
    torch.manual_seed(0)  # of the new head
    return load_masked_lm(tiny_encoder)


@pytest.fixture
def steps_taken(monkeypatch):
    """The steps that this process takes, counted."""
    taken = []
    step = Loop._take_step
    monkeypatch.setattr(
        Loop, "_take_step", lambda self, loss_of: taken.append(self.step) or step(self, loss_of)
    )
    return taken


# --- blocks --------------------------------------------------------------------------------------


def test_blocks_are_full_and_show_where_a_text_ends(tokenizer):
    blocks = pack(["the film is good", "a movie", "bad bad plot"], tokenizer, block_size=8)
    first = tokenizer.convert_ids_to_tokens(blocks[0]["input_ids"])
    assert first == ["[CLS]", "the", "film", "is", "good", "[SEP]", "a", "[SEP]"]
    assert blocks[0]["starts_word"].tolist() == [-1, 1, 1, 1, 1, -1, 1, -1]
    second = tokenizer.convert_ids_to_tokens(blocks[1]["input_ids"])
    assert second == ["[CLS]", "movie", "[SEP]", "bad", "bad", "plot", "[SEP]", "[SEP]"]


def test_no_token_is_lost_but_at_the_end(tokenizer):
    blocks = pack(TEXTS * 40, tokenizer, block_size=16)
    inner = np.concatenate([row["input_ids"][1:-1] for row in blocks])
    expected = [
        token for text in TEXTS * 40 for token in [*tokenizer(text)["input_ids"][1:-1], SEP]
    ]
    assert inner.tolist() == expected[: len(inner)]
    assert len(expected) - len(inner) < 14


def test_many_texts_pack_as_in_one_batch(tokenizer):
    """`datasets` hands over a thousand texts at a time; what is left over goes on."""
    texts = TEXTS * 150
    blocks = pack(texts, tokenizer, block_size=16)
    tokens = sum(len(tokenizer(text)["input_ids"]) - 1 for text in texts)
    assert len(blocks) == tokens // 14


@pytest.mark.parametrize(
    ("texts", "message"),
    [([], "there are none"), (["the film"], "3 tokens"), (["", " "], "0 tokens")],
)
def test_too_little_text_is_an_error(texts, message, tokenizer):
    with pytest.raises(ValueError, match=message):
        pack(texts, tokenizer, block_size=16)


def test_a_data_set_without_texts_is_an_error(tokenizer):
    with pytest.raises(
        ValueError, match=r"with the columns \['review'\]; it needs a column 'text'"
    ):
        pack(Dataset.from_dict({"review": TEXTS}), tokenizer)
    with pytest.raises(ValueError, match="it needs a column 'text' of strings"):
        pack(Dataset.from_dict({"text": [1, 2]}), tokenizer)
    with pytest.raises(ValueError, match="validation: a row of the data set has no text"):
        pack(Dataset.from_dict({"text": [*TEXTS, None]}), tokenizer, 16, what="validation")


def test_a_tokenizer_without_mask_is_an_error():
    lacking = tiny.tokenizer()
    lacking.mask_token = None
    with pytest.raises(ValueError, match="no mask token"):
        pack(TEXTS, lacking)


# --- masking -------------------------------------------------------------------------------------


def _many(tokenizer, count=400):
    blocks = pack(TEXTS * count, tokenizer, block_size=16)[:]
    return blocks["input_ids"], blocks["starts_word"]


def test_masking_has_the_shares_of_the_paper(tokenizer):
    ids, starts = _many(tokenizer)
    inputs, labels = mask_tokens(ids, starts, tokenizer, np.random.default_rng(0))
    masked = labels != IGNORED
    assert masked[starts < 0].sum() == 0, "special tokens are never masked"
    assert masked[starts >= 0].mean() == pytest.approx(0.15, abs=0.01)
    assert (inputs[masked] == MASK).mean() == pytest.approx(0.8, abs=0.02)
    # a random token is now and then the token itself
    assert (inputs[masked] == ids[masked]).mean() == pytest.approx(0.1 + 0.1 / 24, abs=0.02)
    assert np.array_equal(inputs[~masked], ids[~masked])
    assert np.array_equal(labels[masked], ids[masked])


def test_masking_is_as_frequent_as_the_librarys(tokenizer):
    ids, starts = _many(tokenizer)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    torch.manual_seed(0)
    library = collate([{"input_ids": row.tolist()} for row in ids])["labels"].numpy()
    _, labels = mask_tokens(ids, starts, tokenizer, np.random.default_rng(0))
    ours, theirs = ((part != -100).mean() for part in (labels, library))
    assert ours == pytest.approx(theirs, abs=0.01)


def test_whole_words_are_masked_whole():
    tokenizer = tiny.tokenizer()
    ids = np.tile([CLS, 5, 6, 7, 8, 9, SEP], (500, 1))
    starts = np.tile([-1, 1, 0, 0, 1, 1, -1], (500, 1))
    _, labels = mask_tokens(ids, starts, tokenizer, np.random.default_rng(0), 0.3, whole_words=True)
    masked = labels != IGNORED
    assert (masked[:, 1] == masked[:, 2]).all() and (masked[:, 2] == masked[:, 3]).all()
    assert masked[:, 4].mean() == pytest.approx(0.3, abs=0.07)
    assert not (masked[:, 3] == masked[:, 4]).all()


@pytest.mark.parametrize("probability", [0, 1, -0.1, 1.5, "0.15"])
def test_a_bad_probability_is_named(probability, tokenizer):
    with pytest.raises(ValueError, match=f"mask_probability={probability!r}"):
        mask_tokens(
            np.ones((1, 2), int), np.ones((1, 2), int), tokenizer, np.random.default_rng(0),
            probability,
        )  # fmt: skip


# --- the loss ------------------------------------------------------------------------------------


def test_logits_at_masked_positions_are_the_librarys(loaded, tokenizer):
    model = loaded.model.eval()
    ids, starts = (part[:6] for part in _many(tokenizer, 2))
    inputs, labels = (
        torch.from_numpy(part)
        for part in mask_tokens(ids, starts, tokenizer, np.random.default_rng(1), 0.3)
    )
    whole = model(input_ids=inputs, labels=labels)
    ours = masked_logits(model, inputs, labels)
    loss = torch.nn.functional.cross_entropy(ours, labels[labels != -100])
    torch.testing.assert_close(loss, whole.loss, atol=1e-5, rtol=0)
    gradients = [torch.autograd.grad(value, model.base_model.embeddings.word_embeddings.weight)[0]
                 for value in (loss, whole.loss)]  # fmt: skip
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=0)


def test_scores_compare_on_the_same_positions(loaded, tokenizer):
    blocks = pack(TEXTS * 10, tokenizer, block_size=16)
    one = masked_scores(loaded.model, blocks, tokenizer)
    assert one == masked_scores(loaded.model, blocks, tokenizer)
    assert 0 <= one["accuracy"] < 0.5, "a random head knows nothing"


def test_pseudo_perplexity_masks_one_token_at_a_time(loaded, tokenizer):
    model = loaded.model.eval()
    blocks = pack(TEXTS * 3, tokenizer, block_size=16)
    losses = []
    for block in blocks:
        for index in np.flatnonzero(block["starts_word"] >= 0):
            ids = torch.from_numpy(block["input_ids"])[None].long()
            truth = int(ids[0, index])
            ids[0, index] = MASK
            chances = model(input_ids=ids).logits[0, index].log_softmax(dim=-1)
            losses.append(-float(chances[truth].detach()))
    found = pseudo_perplexity(model, blocks, tokenizer, batch_size=5)
    assert found == pytest.approx(np.exp(np.mean(losses)), rel=1e-4)


# --- masks to fill -------------------------------------------------------------------------------


def test_fill_mask_gives_the_likeliest_tokens(loaded):
    model, tokenizer = loaded.model, loaded.tokenizer
    first, second = fill_mask(model, "a [MASK] film is [MASK]", top_k=3, tokenizer=tokenizer)
    assert len(first) == len(second) == 3
    assert first[0][1] >= first[1][1] >= first[2][1]
    assert all(token in tokenizer.get_vocab() for token, _ in first + second)


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("a film", {}, r"holds no \[MASK\]"),
        ("a [MASK]", {"top_k": 0}, "top_k=0"),
        ("film " * 40 + "[MASK]", {}, "beyond the 32 tokens"),
        ("a [MASK] \ud800", {}, r"text\[0\] is not valid Unicode"),
        (None, {}, r"text\[0\] is None"),
    ],
)
def test_fill_mask_names_what_is_wrong(text, changes, message, loaded):
    with pytest.raises(ValueError, match=message):
        fill_mask(loaded.model, text, tokenizer=loaded.tokenizer, **changes)


# --- a run ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("domain") / "model"
    return continue_pretraining(
        tiny_encoder,
        TEXTS * 20,
        folder,
        validation=TEXTS * 5,
        **(KNOBS | {"num_steps": 150, "batch_size": 8}),
    )


def _losses(folder, name="loss"):
    return [row[name] for row in json.loads((folder / "history.json").read_text()) if name in row]


def test_it_learns_the_texts(trained):
    assert len(_losses(trained)) == 150
    assert len(_losses(trained, "eval_accuracy")) == 5
    assert _losses(trained, "eval_loss")[-1] < np.mean(_losses(trained)[:5]) - 0.1
    assert not trained.with_name("model.checkpoint").exists()


def test_the_folder_is_an_encoder_with_its_pooler(trained, tiny_encoder):
    before, after = (AutoModel.from_pretrained(folder) for folder in (tiny_encoder, trained))
    torch.testing.assert_close(before.pooler.dense.weight, after.pooler.dense.weight)
    moved = (
        before.embeddings.word_embeddings.weight - after.embeddings.word_embeddings.weight
    ).abs()
    assert moved.max() > 1e-3
    FineTunedClassifier(trained, num_epochs=1).fit(TEXTS, LABELS)


def test_the_folder_is_the_model_that_was_scored(trained):
    again = load_masked_lm(trained)
    assert not again.has_new_head
    blocks = pack(TEXTS * 5, again.tokenizer, block_size=16)
    scores = masked_scores(again.model, blocks, again.tokenizer)
    assert scores["loss"] == pytest.approx(_losses(trained, "eval_loss")[-1], abs=1e-5)


def test_a_run_goes_on_from_another_ones_model(trained, tmp_path):
    both = continue_pretraining(trained, TEXTS * 20, tmp_path / "both", **KNOBS)
    assert _losses(both)[0] < _losses(trained)[0] - 0.5, "it starts with the head it was given"


def test_half_of_the_way_is_the_mean_of_the_weights(trained, tiny_encoder, tmp_path):
    folder = average_encoders(tiny_encoder, trained, tmp_path / "half")
    before, after, half = (
        AutoModel.from_pretrained(path).embeddings.word_embeddings.weight
        for path in (tiny_encoder, trained, folder)
    )
    torch.testing.assert_close(half, (before + after) / 2)
    FineTunedClassifier(folder, num_epochs=1).fit(TEXTS, LABELS)


@pytest.mark.parametrize(("share", "end"), [(0.0, "before"), (1.0, "after")])
def test_the_ends_of_the_way_are_the_encoders(share, end, trained, tiny_encoder, tmp_path):
    folder = average_encoders(tiny_encoder, trained, tmp_path / "end", share)
    kept = {"before": tiny_encoder, "after": trained}[end]
    found, expected = (AutoModel.from_pretrained(path).state_dict() for path in (folder, kept))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, msg=name)


def test_averages_that_cannot_be_are_refused(trained, tiny_encoder, tmp_path):
    with pytest.raises(ValueError, match=r"share=1\.5; use a number from 0"):
        average_encoders(tiny_encoder, trained, tmp_path / "a", 1.5)
    other = tiny.save_encoder(tmp_path / "other", num_blocks=2)
    with pytest.raises(ValueError, match="differ in their weights"):
        average_encoders(other, trained, tmp_path / "a")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="not a saved model"):
        average_encoders(tiny_encoder, trained, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "a").exists()


def test_the_same_seed_gives_the_same_model(tiny_encoder, tmp_path):
    one, other = (
        continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / name, **KNOBS) for name in "ab"
    )
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def test_all_fast_options_off_is_the_plain_loop(tmp_path):
    """Library loss over all logits, library optimizer: the same curve to 1e-5."""
    encoder = tiny.save_encoder(tmp_path / "encoder", dropout=0.0)
    folder = continue_pretraining(encoder, TEXTS * 20, tmp_path / "m", **KNOBS, fast=False)
    torch.manual_seed(KNOBS["random_state"])
    plain = load_masked_lm(encoder)
    blocks = pack(TEXTS * 20, plain.tokenizer, 16)
    pretraining.fit_output_bias(plain.model, blocks)
    run = run_module._Run(_settings(), plain, blocks, None, tmp_path / "unused")
    optimizer = torch.optim.AdamW(run.loop.optimizer.param_groups, lr=1.0)
    losses = []
    for step in range(KNOBS["num_steps"]):
        inputs, labels = run._batch(step + 1)
        for group in optimizer.param_groups:  # two warm-up steps, then down to 0 after the last
            warm = (step + 1) / 2 if step < 2 else (12 - step) / 10
            group["lr"] = KNOBS["learning_rate"] * warm
        loss = plain.model.train()(input_ids=inputs, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    np.testing.assert_allclose(_losses(folder), losses, atol=1e-5)


def _settings():
    return run_module._Settings(
        model="", corpus="", num_steps=12, rank=None, block_size=16, batch_size=2,
        learning_rate=5e-3,
        weight_decay=0.01, warmup=0.1, mask_probability=0.15, whole_words=False, fast=[],
        random_state=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("warmup", "shares"),
    [
        (0, [1, 0.75, 0.5, 0.25]),
        (0.1, [1, 1, 2 / 3, 1 / 3]),
        (0.5, [0.5, 1, 1, 0.5]),
        (0.7, [1 / 3, 2 / 3, 1, 1]),
        (0.9, [0.25, 0.5, 0.75, 1]),  # every step
    ],
)
def test_the_rate_rises_and_falls_as_in_the_recorded_runs(warmup, shares):
    found = [rate_share(step, 4, warmup, "held") for step in range(1, 5)]
    assert found == pytest.approx(shares)


def test_a_run_of_one_step_and_a_warm_up_of_every_step(tiny_encoder, tmp_path):
    for knobs in ({"num_steps": 1}, {"num_steps": 2, "warmup": 0.9}, {"warmup": 0}):
        folder = continue_pretraining(
            tiny_encoder, TEXTS * 20, tmp_path / "m", **(KNOBS | knobs), fast=False
        )
        assert len(_losses(folder)) == (KNOBS | knobs)["num_steps"]


def test_numpy_numbers_are_numbers(tiny_encoder, tmp_path, monkeypatch):
    knobs = KNOBS | {"rank": 2}
    numpy = {name: (np.int64 if isinstance(value, int) else np.float64)(value)
             for name, value in knobs.items()}  # fmt: skip
    one, other = (
        continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / name, **given)
        for name, given in (("a", knobs), ("b", numpy))
    )
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert _losses(one) == _losses(other)
    _interrupt(tiny_encoder, tmp_path / "b", monkeypatch, **numpy)
    again = continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / "b", **knobs)
    assert (one / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


def test_callbacks_get_each_record_as_it_comes(tiny_encoder, tmp_path):
    records = []
    knobs = KNOBS | {"validation": TEXTS * 5, "evaluations": 2, "callbacks": [records.append]}
    folder = continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / "m", **knobs)
    assert records == json.loads((folder / "history.json").read_text())
    assert [row["step"] for row in records if "eval_loss" in row] == [6, 12]


def test_a_model_is_loaded_where_it_shall_run(tiny_encoder, monkeypatch):
    assert load_masked_lm(tiny_encoder, device="cpu").model.device.type == "cpu"
    with monkeypatch.context() as patched:  # a device that every machine has, beside the CPU
        patched.setattr(runtime, "check_device", lambda name: torch.device(name))
        assert load_masked_lm(tiny_encoder, device="meta").model.device.type == "meta"
    for load in (
        lambda: load_masked_lm(tiny_encoder, device="nowhere"),
        lambda: fill_mask(tiny_encoder, "a [MASK]", device="nowhere"),
    ):
        with pytest.raises(ValueError, match="device='nowhere' is not here; use None"):
            load()


# --- divergence and damage -----------------------------------------------------------------------


def test_a_run_that_diverges_writes_nothing(trained, tmp_path):
    folder = continue_pretraining(trained, TEXTS * 20, tmp_path / "m", **KNOBS)
    before = (folder / "model.safetensors").read_bytes()
    wild = KNOBS | {"learning_rate": 1e30, "warmup": 0, "checkpoint_steps": 1}
    with pytest.raises(ValueError, match="training diverged"):
        continue_pretraining(trained, TEXTS * 20, folder, **wild)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"], "no checkpoint to diverge from"
    continue_pretraining(trained, TEXTS * 20, folder, **KNOBS)


def test_weights_that_are_no_numbers_are_refused(tiny_encoder, trained, tmp_path):
    model = AutoModel.from_pretrained(tiny_encoder)
    with torch.no_grad():
        model.pooler.dense.weight[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "nan")
    tiny.tokenizer().save_pretrained(tmp_path / "nan")
    for call in (
        lambda: continue_pretraining(tmp_path / "nan", TEXTS * 20, tmp_path / "m", **KNOBS),
        lambda: average_encoders(tmp_path / "nan", trained, tmp_path / "m"),
    ):
        with pytest.raises(ValueError, match=r"dense\.weight holds weights that are not finite"):
            call()
    assert not (tmp_path / "m").exists()


def test_a_damaged_folder_is_named(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "damaged")
    (folder / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(ValueError, match="damaged"):
        fill_mask(folder, "a [MASK]")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="no usable tokenizer"):
        load_masked_lm(folder)


EVIL = """
from pathlib import Path
from transformers import PretrainedConfig
Path({marker!r}).write_text("it ran")
class C(PretrainedConfig):
    model_type = "evil"
"""


@pytest.fixture
def evil(trained, tmp_path, monkeypatch):
    """A folder whose configuration names code in it, and someone who says yes to everything."""
    folder = shutil.copytree(trained, tmp_path / "evil")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evilmod.C"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evilmod.py").write_text(EVIL.format(marker=str(tmp_path / "ran")))
    asked = []
    monkeypatch.setattr("builtins.input", lambda *_: asked.append(1) or "y")
    yield folder
    assert not (tmp_path / "ran").exists() and not asked


@pytest.mark.parametrize(
    "load",
    [
        lambda folder, out: fill_mask(folder, "a [MASK]"),
        lambda folder, out: masked.load_tokenizer(folder),
        lambda folder, out: load_masked_lm(folder),
        lambda folder, out: continue_pretraining(folder, TEXTS * 20, out, **KNOBS),
        lambda folder, out: average_encoders(folder, folder, out),
    ],
)
def test_no_code_runs_from_a_folder_and_nobody_is_asked(load, evil, tmp_path):
    with pytest.raises(ValueError, match="names code of its own to run"):
        load(evil, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["settings", "history", "step", "arrays"])
def test_a_damaged_checkpoint_is_named(name, tiny_encoder, tmp_path, monkeypatch):
    _interrupt(tiny_encoder, tmp_path / "m", monkeypatch)
    file = tmp_path / "m.checkpoint"
    with safe_open(file, "pt") as opened:
        state = json.loads(opened.metadata()["state"])
    arrays = load_file(file)
    if name == "arrays":
        arrays.popitem()
    else:
        state[name] = None
    save_file(arrays, file, metadata={"state": json.dumps(state)})
    with pytest.raises(ValueError, match=r"m\.checkpoint is no checkpoint of this package"):
        continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / "m", **KNOBS)


def test_it_is_refused_where_several_processes_train(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="this is one of 2; start it with python"):
        continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / "m", **KNOBS)


# --- kills and what they leave -------------------------------------------------------------------


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r} + "/src", {root!r}]
import torch
torch.set_num_threads(1)
from reptune.pretraining import continue_pretraining
from tests.tiny import TEXTS
continue_pretraining({encoder!r}, TEXTS * 20, {folder!r}, **{knobs!r})
"""


def _start(encoder, folder, knobs, temporary):
    root = str(Path(__file__).resolve().parents[3])
    script = SCRIPT.format(root=root, encoder=str(encoder), folder=str(folder), knobs=knobs)
    environment = os.environ | {"TMPDIR": str(temporary)}
    return subprocess.Popen([sys.executable, "-c", script], env=environment)


def test_a_killed_run_goes_on_to_the_same_model(tiny_encoder, tmp_path, steps_taken, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    knobs = KNOBS | {"num_steps": 400, "checkpoint_steps": 20}
    whole = continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / "whole", **knobs)
    process = _start(tiny_encoder, tmp_path / "cut", knobs, temporary)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "cut.checkpoint").exists():
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "cut").exists()
    assert any(temporary.rglob("blocks.arrow")), "what a kill leaves: the blocks of all texts"
    (tmp_path / "cut.checkpoint.part").write_text("half a checkpoint")
    steps_taken.clear()
    cut = continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / "cut", **knobs)
    assert 0 < len(steps_taken) < 400, "it goes on in the middle"
    assert _losses(cut) == _losses(whole)
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert not [path for path in temporary.iterdir() if path.is_dir()], "and the next run removes"
    left = sorted(path.name for path in tmp_path.iterdir() if path != temporary)
    assert left == ["cut", "whole"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": float("inf")}, "learning_rate=inf"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"weight_decay": float("nan")}, "weight_decay=nan"),
        ({"warmup": 1.0}, "warmup=1.0"),
        ({"warmup": float("nan")}, "warmup=nan"),
        ({"random_state": -1}, "random_state=-1"),
        ({"random_state": "0"}, "random_state='0'"),
        ({"whole_words": "no"}, "whole_words='no'; use True or False"),
        ({"mask_probability": 1.0}, "mask_probability=1.0"),
        ({"block_size": 4}, "block_size=4"),
        ({"block_size": 64}, "at most 32"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"num_steps": 0}, "num_steps=0"),
        ({"fast": ("cheap_dropuot",)}, "cheap_dropuot"),
        ({"device": "cuda:99"}, "device='cuda:99' is not here"),
        ({"callbacks": print}, "use a list of functions"),
        ({"show_progress": "yes"}, "show_progress='yes'"),
    ],
)
def test_bad_parameters_are_named_before_training(changes, message, tiny_encoder, tmp_path):
    with pytest.raises(ValueError, match=message):
        continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / "m", **(KNOBS | changes))
    assert not (tmp_path / "m").exists()


def _interrupt(encoder, folder, monkeypatch, after=1, **changes):
    """Run until so many checkpoints are written, then break off."""
    kept = []
    write = Checkpoint.write

    def break_off(self, loop):
        write(self, loop)
        kept.append(loop.step)
        if len(kept) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Checkpoint, "write", break_off)
        continue_pretraining(encoder, TEXTS * 20, folder, **(KNOBS | changes))


def test_two_interruptions_leave_no_trace(tiny_encoder, tmp_path, monkeypatch):
    whole = continue_pretraining(
        tiny_encoder, TEXTS * 20, tmp_path / "whole", validation=TEXTS * 5, **KNOBS
    )
    for _ in range(2):
        _interrupt(tiny_encoder, tmp_path / "cut", monkeypatch, validation=TEXTS * 5)
    cut = continue_pretraining(
        tiny_encoder, TEXTS * 20, tmp_path / "cut", validation=TEXTS * 5, **KNOBS
    )
    assert (cut / "history.json").read_text() == (whole / "history.json").read_text()
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "whole"]


def test_a_checkpoint_of_another_run_is_refused(tiny_encoder, tmp_path, monkeypatch, steps_taken):
    _interrupt(tiny_encoder, tmp_path / "m", monkeypatch)
    steps_taken.clear()
    with pytest.raises(ValueError, match=r"learning_rate=0.005.*0.001"):
        changed = KNOBS | {"learning_rate": 1e-3}
        continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / "m", **changed)
    other = tiny.save_encoder(tmp_path / "other", random_state=1)
    with pytest.raises(ValueError, match="model="):
        continue_pretraining(other, TEXTS * 20, tmp_path / "m", **KNOBS)
    with pytest.raises(ValueError, match="corpus="):
        continue_pretraining(tiny_encoder, TEXTS * 21, tmp_path / "m", **KNOBS)
    assert not steps_taken


def test_what_lies_in_the_way_is_refused_before_training(tiny_encoder, tmp_path, steps_taken):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "m.checkpoint").write_text("mine")
    for folder, message in (("file", "not a saved model"), ("full", "not a saved model"),
                            ("file/m", "is no folder"), ("m", "no checkpoint")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / folder, **KNOBS)
    assert not steps_taken
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_to_is_named(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="cannot be written"):
        continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / "m", **KNOBS)


@pytest.mark.parametrize(
    ("texts", "message"), [([], "texts: there are none"), (["the film"], "too few for one block")]
)
def test_too_little_text_is_refused(texts, message, tiny_encoder, tmp_path):
    with pytest.raises(ValueError, match=message):
        continue_pretraining(tiny_encoder, texts, tmp_path / "m", **KNOBS)


def test_a_model_without_a_usable_tokenizer_is_refused(tiny_encoder, tmp_path):
    bare = tmp_path / "bare"
    AutoModel.from_pretrained(tiny_encoder).save_pretrained(bare)
    with pytest.raises(ValueError, match="no usable tokenizer"):
        continue_pretraining(bare, TEXTS * 20, tmp_path / "m", **KNOBS)
    lacking = tiny.tokenizer()
    lacking.mask_token = None
    lacking.save_pretrained(bare)
    with pytest.raises(ValueError, match="no mask token"):
        continue_pretraining(bare, TEXTS * 20, tmp_path / "m", **KNOBS)


def test_a_corpus_on_disk_stays_there(tokenizer, tmp_path):
    corpus = Dataset.from_dict({"text": TEXTS * 20, "label": LABELS * 20})
    blocks = pack(corpus, tokenizer, 16, cache_file=tmp_path / "blocks.arrow")
    assert blocks.column_names == ["input_ids", "starts_word"]
    assert [Path(file["filename"]).name for file in blocks.cache_files] == ["blocks.arrow"]
    assert len(blocks) == len(pack(TEXTS * 20, tokenizer, 16))


def test_low_rank_training_writes_a_full_model_and_a_small_file(tiny_encoder, tmp_path):
    tuned = continue_pretraining(tiny_encoder, TEXTS * 20, tmp_path / "tuned", rank=4, **KNOBS)
    before, after = load_masked_lm(tiny_encoder), load_masked_lm(tuned)
    assert not after.has_new_head
    old, new = before.model.base_model, after.model.base_model
    torch.testing.assert_close(new.embeddings.state_dict(), old.embeddings.state_dict())
    query = "encoder.layer.0.attention.self.query"
    moved = (new.get_submodule(query).weight - old.get_submodule(query).weight).detach()
    assert moved.abs().max() > 1e-3
    assert torch.linalg.matrix_rank(moved, atol=1e-5) <= 4
    lowrank.apply_adapter(before.model, tuned / "adapter.safetensors")
    torch.testing.assert_close(
        before.model.state_dict(), after.model.state_dict(), atol=2e-3, rtol=2e-3
    )
    further = continue_pretraining(
        tiny_encoder, TEXTS * 20, tmp_path / "further", rank=4,
        adapter=tuned / "adapter.safetensors", **KNOBS | {"num_steps": 1, "learning_rate": 1e-9},
    )  # fmt: skip
    torch.testing.assert_close(
        load_masked_lm(further).model.state_dict(), before.model.state_dict(), atol=1e-5, rtol=1e-5
    )
    assert not (further / "adapter.safetensors").exists(), "it would lack the first one's changes"
