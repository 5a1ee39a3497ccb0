"""Kept memory: fewer pages to fill, the same numbers, and nothing left behind."""

import contextlib

import pytest
import torch
from torch import nn

from reptune.classification import FineTunedClassifier
from reptune.extraction import SpanExtractor
from reptune.fewshot import SetFitClassifier
from reptune.ner import EntityTagger
from reptune.pretraining import continue_pretraining
from reptune.training import Loop, kept_memory
from reptune.training import memory as memory_module
from tests.tiny import LABELS, TEXTS

resource = pytest.importorskip("resource")  # Windows has none

KEPT = [(-4, 0), (-1, -1)]
RESET = [(-4, 65_536), (-3, 2**25), (-1, 2**26), ("trim", 0)]
BLOCK = 48 * 2**20  # bytes; above glibc's largest threshold of 32 MB
PAGE = resource.getpagesize()

needs_glibc = pytest.mark.skipif(memory_module._glibc() is None, reason="glibc's thresholds only")


class Library:
    """Stands for the C library and notes what is asked of it."""

    def __init__(self):
        self.asked = []

    def mallopt(self, name, value):
        self.asked.append((name, value))

    def malloc_trim(self, pad):
        self.asked.append(("trim", pad))


@pytest.fixture
def library(monkeypatch):
    found = Library()
    monkeypatch.setattr(memory_module, "_glibc", lambda: found)
    return found


def pages_filled():
    """Pages that the system had to fill for one large tensor."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(BLOCK // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@needs_glibc
def test_a_large_tensor_is_filled_once_by_the_system():
    model = nn.Linear(1, 1)
    for _ in range(2):  # a second time, after the thresholds were reset
        with kept_memory(model) as kept:
            assert kept
            pages_filled()
            assert pages_filled() < BLOCK // PAGE / 10
        torch.zeros(BLOCK // 4)
        assert pages_filled() > BLOCK // PAGE / 2, "outside, each comes from the system"


def test_thresholds_are_reset_and_memory_goes_back(library):
    with pytest.raises(KeyboardInterrupt), kept_memory(nn.Linear(1, 1)):
        assert library.asked == KEPT
        raise KeyboardInterrupt
    assert library.asked == KEPT + RESET


def test_only_on_a_cpu(library):
    with kept_memory(nn.Linear(1, 1, device="meta")) as kept:
        assert not kept
    assert library.asked == []


@pytest.mark.parametrize(("name", "value"), [
    ("MALLOC_MMAP_MAX_", "0"),
    ("MALLOC_TRIM_THRESHOLD_", "1000000"),
    ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1000000"),
])  # fmt: skip
def test_the_user_s_own_thresholds_stay(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with kept_memory(nn.Linear(1, 1)) as kept:
        assert not kept


@pytest.mark.parametrize(("system", "libc"), [("Darwin", ""), ("Windows", ""), ("Linux", "musl")])
def test_other_systems_are_left_alone(system, libc, monkeypatch):
    monkeypatch.setattr(memory_module.platform, "system", lambda: system)
    monkeypatch.setattr(memory_module.platform, "libc_ver", lambda: (libc, ""))
    with kept_memory(nn.Linear(1, 1)) as kept:
        assert not kept


# --- the same numbers ----------------------------------------------------------------------------


class Words(nn.Module):
    """MiniLM's word vectors, in size, and a layer."""

    def __init__(self):
        super().__init__()
        self.vectors, self.layer = nn.Embedding(30_522, 384), nn.Linear(384, 2)

    def forward(self, ids):
        return self.layer(self.vectors(ids).mean(dim=1))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_loop_ends_with_the_same_weights(weight_decay):
    def trained(keeps):
        torch.manual_seed(0)
        model = Words()
        batches = torch.randint(30_522, (8, 4, 16))
        loop = Loop(model, num_steps=8, learning_rate=0.01, weight_decay=weight_decay, warmup=0.2)
        targets = torch.tensor([0, 1, 0, 1])
        with kept_memory(model) if keeps else contextlib.nullcontext():
            loop.run(
                lambda step: nn.functional.cross_entropy(model(batches[step - 1]), targets),
                evaluate=lambda: {"eval_accuracy": model.vectors.weight.abs().mean().item()},
                looks={3, 6},
                patience=2,
            )
        return model.state_dict(), loop.history

    (weights, history), (kept, kept_history) = trained(False), trained(True)
    assert history == kept_history
    assert all(torch.equal(weights[name], kept[name]) for name in weights)


@pytest.mark.parametrize("changes", [
    {},
    {"weight_decay": 0.0, "warmup": 0.5},
    {"patience": 1, "num_epochs": 4},
    {"trainable": 1},  # frozen word vectors
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:training ended at a loss")
def test_a_classifier_ends_with_the_same_weights(changes, tiny_encoder):
    settings = {"num_epochs": 2, "learning_rate": 1e-2, "batch_size": 4, "random_state": 1}
    held_out = (TEXTS[:4], LABELS[:4])
    one, other = (
        FineTunedClassifier(tiny_encoder, fast=fast, **(settings | changes))
        .fit(TEXTS, LABELS, validation=held_out)
        for fast in ((), ("kept_memory",))
    )  # fmt: skip
    weights, kept = one.model_.state_dict(), other.model_.state_dict()
    assert all(torch.equal(weights[name], kept[name]) for name in weights)
    assert one.history_ == other.history_


# --- who keeps memory ----------------------------------------------------------------------------

TAGS = [["O", "B-X"]] * 4
TRAININGS = {
    "classifier": lambda encoder, masked, folder, fast: FineTunedClassifier(
        encoder, num_epochs=1, fast=fast
    ).fit(TEXTS, LABELS),
    "SetFit": lambda encoder, masked, folder, fast: SetFitClassifier(
        encoder, num_steps=1, fast=fast
    ).fit(TEXTS, LABELS),
    "tagger": lambda encoder, masked, folder, fast: EntityTagger(
        encoder, num_epochs=1, max_length=16, fast=fast
    ).fit([["a", "film"]] * 4, TAGS),
    "extractor": lambda encoder, masked, folder, fast: SpanExtractor(
        encoder, num_epochs=1, fast=fast
    ).fit([("what", "a film")] * 2, ["film", "a"]),
    "pretraining": lambda encoder, masked, folder, fast: continue_pretraining(
        masked, TEXTS * 4, folder / "model", num_steps=1, block_size=16, fast=fast
    ),
}


@pytest.mark.parametrize("fast", [True, False, ("kept_memory",), ("cheap_dropout",)])
@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.filterwarnings("ignore")  # one step teaches nothing, and the fits say so
def test_memory_is_kept_where_it_was_asked_for(
    name, fast, tiny_encoder, tiny_masked_lm, library, tmp_path
):
    TRAININGS[name](tiny_encoder, tiny_masked_lm, tmp_path, fast)
    wanted = fast is True or (fast is not False and "kept_memory" in fast)
    assert library.asked == (KEPT + RESET if wanted else [])


def test_a_checkpoint_goes_on_with_memory_kept_or_not(tiny_masked_lm, tmp_path):
    run = {"num_steps": 4, "block_size": 16, "checkpoint_steps": 1, "random_state": 0}

    def stop(record):
        if record["step"] == 2:
            raise KeyboardInterrupt

    def go_on(fast, **others):
        continue_pretraining(
            tiny_masked_lm, TEXTS * 4, tmp_path / "new", fast=fast, **others, **run
        )

    with pytest.raises(KeyboardInterrupt):
        go_on((), callbacks=[stop])
    assert (tmp_path / "new.checkpoint").exists()
    go_on(("kept_memory",))
    assert (tmp_path / "new").exists()
