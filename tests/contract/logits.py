"""Every estimator on tiny models, along each path its options open: what `test_same_logits` holds.

A run is a name and a function from the folders of the tiny models to one array. Each fits anew with
a fixed seed, so that neither the order of the runs nor what else runs changes a number.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from reptune import assets, runtime
from reptune.pretraining import continue_pretraining
from tests import tiny
from tests.contract.cases import CASES, NEW_TEXTS, SENTENCES, TAGS

Models = dict[str, Path]

BY_NAME = {case.name: case for case in CASES}
ENCODER_OPTIONS = (
    "length_buckets", "half_precision", "first_token", "cheap_dropout", "frozen_cache",
)  # fmt: skip
WEIGHTS = {"negative": 1.0, "positive": 3.0}
# Three labels, and as integers.
THREE = [2 if "good" in text or "great" in text else int(label == "negative")
         for text, label in zip(tiny.TEXTS, tiny.LABELS, strict=True)]  # fmt: skip
PAIRS = list(zip(tiny.TEXTS, tiny.TEXTS[2:] + tiny.TEXTS[:2], strict=True))
LONG = " ".join([*tiny.TEXTS, "a Nice film"])
CAUSAL = {"model": "causal", "template": "{text} it was {mask}"}
PAIR_TEMPLATE = {"template": "{text} {mask} , {text2}"}


def _each(options: tuple[str, ...], **others: Any) -> dict[str, dict[str, Any]]:
    """Plain code, and each fast option alone."""
    return {"plain": {"fast": False, **others}} | {
        option: {"fast": (option,), **others} for option in options
    }


# What is changed about a case, by the case's name and a name of the change. `model` names one of
# the tiny models.
CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "fine-tuned": {
        "as it is": {},
        **_each(ENCODER_OPTIONS),
        "no warm-up": {"warmup": 0.0, "fast": False},
        "long warm-up": {"warmup": 0.6, "fast": False},
        "layer decay": {"layer_decay": 0.5, "fast": False},
        "weight decay": {"weight_decay": 0.5, "fast": False},
        "default epochs": {"num_epochs": None, "fast": False, "batch_size": 16},
        "default rate": {"learning_rate": None, "fast": False},
        "class weights": {"class_weight": WEIGHTS, "fast": ("cheap_dropout", "length_buckets")},
        "cut": {"max_length": 4, "fast": False},
        "uneven batches": {"batch_size": 5, "fast": ("length_buckets",)},
        "another seed": {"random_state": 7, "fast": False},
    },
    "fine-tuned, one block": {"as it is": {}, **_each(("first_token", "frozen_cache"))},
    "fine-tuned, head": {
        "as it is": {},
        **_each(("frozen_cache",)),
        "default rate": {"learning_rate": None, "fast": ("frozen_cache",)},
    },
    "setfit": {
        "as it is": {},
        **_each(ENCODER_OPTIONS),
        "many steps": {"num_steps": 12, "fast": False},
        "no warm-up": {"num_steps": 12, "warmup": 0.0, "fast": False},
        "long warm-up": {"num_steps": 12, "warmup": 0.7, "fast": False},
        "default steps": {"num_steps": None, "fast": False},
        "contrastive loss": {"loss": "supcon", "fast": False},
        "every pair alike": {"sampling": "unique", "fast": False},
        "no dropout": {"dropout": False, "fast": False},
        "two blocks": {"trainable": 2, "fast": ("frozen_cache", "cheap_dropout")},
        "head only": {"trainable": "head", "fast": False},
        "linear layer": {"head": "differentiable", "fast": False},
        "linear layer, weights": {"head": "differentiable", "class_weight": WEIGHTS},
        "end to end": {"head": "differentiable", "end_to_end": True, "fast": False},
        "own head": {"head": LogisticRegression(C=0.1), "fast": False},
        "cut": {"max_length": 4, "fast": False},
        "pair by pair": {"efficient": False, "fast": False},
        "pair by pair, fast": {"efficient": False},
        "pair by pair, epochs": {
            "efficient": False,
            "num_steps": None,
            "num_epochs": 2,
            "num_pairs": 24,
            "sampling": "undersampling",
            "warmup": 0.5,
            "fast": False,
        },
        "pair by pair, partners": {"efficient": False, "sampling": 2, "fast": False},
        "pair by pair, every pair": {"efficient": False, "sampling": "unique", "warmup": 0.0},
    },
    "frozen": {
        "as it is": {},
        "weak penalty": {"C": 1000.0},
        "class weights": {"class_weight": WEIGHTS},
        "cut": {"max_length": 4},
    },
    "in context": {
        "as it is": {},
        **_each(("shared_prefix", "half_precision"), per_class=2),
        "all": {"fast": True},
        "no example": {"per_class": 0},
        "not calibrated": {"calibrate": None},
        "by batch": {"calibrate": "batch"},
        "given": {"selection": "given", "per_class": 2},
        "nearest": {"selection": "nearest", "per_class": 2},
        "nearest, plain": {"selection": "nearest", "calibrate": None, "fast": False},
        "nearest, by batch": {"selection": "nearest", "calibrate": "batch"},
        "words": {"words": {"negative": "very bad", "positive": "good"}, "description": "Rate it."},
        "short": {"per_class": 3, "max_length": 60},
    },
    "prompt-tuned": {
        "as it is": {},
        **_each(("label_rows", "half_precision", "cheap_dropout")),
        "no step": {"num_steps": 0},
        "default plan": {"num_steps": None, "learning_rate": None, "fast": False},
        "no warm-up": {"warmup": 0.0, "fast": False},
        "long warm-up": {"warmup": 0.6, "fast": False},
        "weight decay": {"weight_decay": 0.5, "fast": False},
        "uneven batches": {"batch_size": 5, "fast": False},
        "cut": {"max_length": 8, "fast": False},
        "demonstrations": {"per_class": 1, "demonstration_draws": 3},
        "two demonstrations, plain": {"per_class": 2, "fast": False},
        "causal": CAUSAL,
        "causal, plain": {**CAUSAL, "fast": False},
        "causal, default plan": {**CAUSAL, "num_steps": None, "learning_rate": None},
        "causal, demonstrations": {**CAUSAL, "per_class": 1, "fast": False},
        "another seed": {"random_state": 7, "fast": False},
    },
    "prompt-tuned regressor": {
        "as it is": {},
        "plain": {"fast": False},
        "wide scale": {"low": -1.0, "high": 2.0, "warmup": 0.0, "fast": False},
        "long warm-up": {"warmup": 0.6, "fast": ("label_rows",)},
        "demonstrations": {"per_class": 1, "demonstration_draws": 3},
        "causal": CAUSAL,
        "causal, plain": {**CAUSAL, "fast": False},
    },
    "tagger": {
        "as it is": {},
        **_each(("length_buckets", "half_precision", "cheap_dropout")),
        "no warm-up": {"warmup": 0.0, "fast": False},
        "long warm-up": {"warmup": 0.6, "fast": False},
        "layer decay": {"layer_decay": 0.5, "fast": False},
        "default rate": {"learning_rate": None, "fast": False},
        "uneven batches": {"batch_size": 5, "fast": ("length_buckets",)},
        "another seed": {"random_state": 7, "fast": False},
    },
}


# --- estimators ----------------------------------------------------------------------------------


def _new(case_name: str, models: Models, **changes: Any) -> Any:
    """The case's estimator, not fitted, with `changes`; a changed model goes by its short name."""
    if "model" in changes:
        changes["model"] = models[changes["model"]]
    return BY_NAME[case_name].new(models, **changes)


def _changed(case_name: str, changes: dict[str, Any], models: Models) -> np.ndarray:
    """What a case predicts once it is fitted with `changes`."""
    case = BY_NAME[case_name]
    estimator = _new(case_name, models, **changes).fit(case.inputs, case.targets)
    return case.output(estimator, [*case.new_inputs, *case.inputs[:5]])


def _three_labels(case_name: str, changes: dict[str, Any], models: Models) -> np.ndarray:
    estimator = _new(case_name, models, **changes).fit(tiny.TEXTS, THREE)
    return estimator.predict_proba([*NEW_TEXTS, *tiny.TEXTS[:5]])


def _validated(case_name: str, changes: dict[str, Any], models: Models) -> np.ndarray:
    """The history of a fit with held-out inputs, and after it what the case predicts."""
    case = BY_NAME[case_name]
    held_out = (case.inputs[:6], case.targets[:6])
    estimator = _new(case_name, models, **changes)
    estimator.fit(case.inputs[4:], case.targets[4:], validation=held_out)
    numbers = [entry[name] for entry in estimator.history_ for name in sorted(entry)]
    return np.concatenate([numbers, case.output(estimator).ravel()])


def _pairs(case_name: str, changes: dict[str, Any], models: Models) -> np.ndarray:
    case = BY_NAME[case_name]
    estimator = _new(case_name, models, **PAIR_TEMPLATE, **changes).fit(PAIRS, case.targets)
    return estimator.predict(PAIRS) if case.regresses else estimator.logits(PAIRS)


def _from_adapter(models: Models) -> np.ndarray:
    """Prompt-tuned from where a low-rank pretraining ended."""
    with tempfile.TemporaryDirectory() as name:
        folder = _pretrain(models, Path(name), rank=2)
        return _changed("prompt-tuned", {"adapter": folder / "adapter.safetensors"}, models)


def _by_batch_of_others(models: Models) -> np.ndarray:
    estimator = _new("in context", models, calibrate="batch")
    estimator.fit(tiny.TEXTS, tiny.LABELS, unlabeled=["a fine plot", "dull", "the actor was poor"])
    return estimator.predict_proba(NEW_TEXTS)


def _marked(texts: list[list[str]]) -> list[list[str]]:
    """The same sentences with the words that have a tag in capitals."""
    marked = ("film", "movie", "plot")
    return [[word.title() if word in marked else word for word in row] for row in texts]


def _tag(changes: dict[str, Any], models: Models) -> np.ndarray:
    """Probabilities of a long sentence, read in windows, and the tags decoded from them."""
    estimator = _new("tagger", models, **changes).fit(_marked([*SENTENCES, LONG.split()]), [
        *TAGS, [tag for row in TAGS for tag in row] + ["O", "O", "B-THING"],
    ])  # fmt: skip
    sentences = _marked([LONG.split(), *SENTENCES[:3]])
    names = estimator.classes_.tolist()
    tags = [names.index(tag) for row in estimator.predict(sentences) for tag in row]
    return np.concatenate([np.concatenate(estimator.predict_proba(sentences)).ravel(), tags])


def _with_pieces(model: Path, folder: Path) -> Path:
    """A copy of a tiny model whose tokenizer cuts off a final `s`, in place of the word `not`."""
    shutil.copytree(model, folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["##s"] = vocabulary.pop("not")
    path.write_text(json.dumps(content), "utf-8")
    return folder


def _plural(word: str) -> str:
    return f"{word}s" if word in ("film", "movie", "plot", "actor") else word


PLURAL = [[_plural(word) for word in row] for row in SENTENCES]


def _tag_pieces(changes: dict[str, Any], models: Models) -> np.ndarray:
    """The tagger on words of several pieces."""
    with tempfile.TemporaryDirectory() as name:
        model = _with_pieces(models["encoder"], Path(name) / "model")
        estimator = BY_NAME["tagger"].new(models, model=model, **changes).fit(PLURAL, TAGS)
        return np.concatenate(estimator.predict_proba(PLURAL[:6]))


def _entities(models: Models) -> np.ndarray:
    """Where the tagger finds entities in raw texts, and how sure it is."""
    estimator = _new("tagger", models, num_epochs=12, fast=False).fit(SENTENCES, TAGS)
    found = estimator.entities([LONG, *tiny.TEXTS[:4]])
    rows = [(one.start, one.end, one.confidence) for row in found for one in row]
    return np.array(rows, dtype=float)


# --- pretraining ---------------------------------------------------------------------------------

PRETRAINED = {
    "num_steps": 4, "block_size": 16, "batch_size": 4, "learning_rate": 5e-3, "random_state": 0,
}  # fmt: skip
PRETRAINING: dict[str, dict[str, Any]] = {
    "as it is": {},
    **_each(("half_precision", "cheap_dropout")),
    "no warm-up": {"warmup": 0.0, "fast": False},
    "long warm-up": {"warmup": 0.6, "fast": False},
    "rare masks": {"mask_probability": 0.15, "weight_decay": 0.5, "fast": False},
    "low rank": {"rank": 2},
    "low rank, plain": {"rank": 2, "fast": False},
    "epochs": {"num_steps": None, "num_epochs": 2, "fast": False},
    "new head": {"model": "encoder", "fast": False},
    "validation": {"validation": tiny.TEXTS * 2, "evaluations": 2, "fast": False},
    "checkpoints": {"checkpoint_steps": 1, "fast": False},
}


def _pretrain(models: Models, parent: Path, **changes: Any) -> Path:
    model = models[changes.pop("model", "masked")]
    return continue_pretraining(model, tiny.TEXTS * 4, parent / "model", **(PRETRAINED | changes))


def _read(folder: Path) -> np.ndarray:
    """The numbers of a run's history, and of each weight of its model a few."""
    history = json.loads((folder / "history.json").read_text("utf-8"))
    numbers = [entry[name] for entry in history for name in sorted(entry)]
    weights = load_file(folder / "model.safetensors")
    few = [weights[name].double().flatten()[:4].numpy() for name in sorted(weights)]
    return np.concatenate([numbers, *few])


def _pretrained(changes: dict[str, Any], models: Models) -> np.ndarray:
    with tempfile.TemporaryDirectory() as name:
        return _read(_pretrain(models, Path(name), **changes))


def _pretrained_on_pieces(changes: dict[str, Any], models: Models) -> np.ndarray:
    with tempfile.TemporaryDirectory() as name:
        model = _with_pieces(models["masked"], Path(name) / "start")
        texts = [" ".join(row) for row in PLURAL] * 4
        settings = PRETRAINED | changes
        return _read(continue_pretraining(model, texts, Path(name) / "model", **settings))


def _pretrained_from_adapter(models: Models) -> np.ndarray:
    with tempfile.TemporaryDirectory() as name:
        first = _pretrain(models, Path(name) / "first", rank=2)
        adapter = first / "adapter.safetensors"
        return _read(_pretrain(models, Path(name) / "second", adapter=adapter, rank=2))


# --- all of them ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        compute: From the folders of the tiny models to the run's numbers.
        half_precision: Whether it computes in bfloat16 on a CPU that has it, whose rounding is
            65,536 times as coarse as float32's.
    """

    compute: Callable[[Models], np.ndarray]
    half_precision: bool


def _run(
    function: Callable[..., np.ndarray], case_name: str, changes: dict[str, Any] | None = None
) -> Run:
    params = BY_NAME[case_name].params | (changes or {})
    fast = params.get("fast", case_name != "frozen")
    compute = partial(function, case_name, {} if changes is None else changes)
    return Run(compute, fast if isinstance(fast, bool) else "half_precision" in fast)


def _pretraining_run(function: Callable[..., np.ndarray], changes: dict[str, Any]) -> Run:
    fast = changes.get("fast", True)
    half = fast if isinstance(fast, bool) else "half_precision" in fast
    return Run(partial(function, changes), half)


def _runs() -> Iterator[tuple[str, Run]]:
    for case_name, all_changes in CHANGES.items():
        for name, changes in all_changes.items():
            yield f"{case_name}: {name}", _run(_changed, case_name, changes)
    for case_name in ("fine-tuned", "setfit", "frozen"):
        yield f"{case_name}: three labels", _run(_three_labels, case_name)
        balanced = _run(_three_labels, case_name, {"class_weight": "balanced"})
        yield f"{case_name}: three labels, balanced", balanced
    linear = {"head": "differentiable", "loss": "supcon"}
    yield "setfit: three labels, linear layer", _run(_three_labels, "setfit", linear)
    words = {"words": {0: "bad", 1: "fine", 2: "good"}}
    yield "prompt-tuned: three labels", _run(_three_labels, "prompt-tuned", words)
    searched = {"words": None, "fast": False}
    yield "prompt-tuned: searched words", _run(_three_labels, "prompt-tuned", searched)
    for name, changes in VALIDATED.items():
        yield f"{name}: validation", _run(_validated, name, changes)
    patient = _run(_validated, "setfit", {"num_steps": 20, "patience": 2})
    yield "setfit: patience", patient
    for case_name in ("prompt-tuned", "prompt-tuned regressor"):
        yield f"{case_name}: pairs", _run(_pairs, case_name)
    yield "prompt-tuned: adapter", Run(_from_adapter, half_precision=True)
    yield "in context: by batch of others", Run(_by_batch_of_others, half_precision=False)
    yield from _tagger_runs()
    for name, changes in PRETRAINING.items():
        yield f"pretraining: {name}", _pretraining_run(_pretrained, changes)
    for name, whole in (("pieces", False), ("whole words", True)):
        changes = {"whole_words": whole, "fast": False}
        yield f"pretraining: {name}", _pretraining_run(_pretrained_on_pieces, changes)
    yield "pretraining: adapter", Run(_pretrained_from_adapter, half_precision=True)


def _tagger_runs() -> Iterator[tuple[str, Run]]:
    yield "tagger: windows", Run(partial(_tag, {}), half_precision=True)
    marked = partial(_tag, {"mark_case": True, "fast": False})
    yield "tagger: windows, marked case", Run(marked, half_precision=False)
    yield "tagger: entities", Run(_entities, half_precision=False)
    for pieces in ("first", "all"):
        run = partial(_tag_pieces, {"label_pieces": pieces, "fast": False})
        yield f"tagger: {pieces} pieces", Run(run, half_precision=False)


VALIDATED: dict[str, dict[str, Any]] = {
    "fine-tuned": {"fast": False},
    "fine-tuned, head": {"fast": ("frozen_cache",)},
    "setfit": {"fast": False, "num_steps": 12},
    "prompt-tuned": {"fast": False, "num_steps": 6},
    "prompt-tuned regressor": {"fast": False, "num_steps": 6},
    "tagger": {"fast": False},
}
RUNS: dict[str, Run] = dict(_runs())


def compute(name: str, models: Models) -> np.ndarray:
    """One run's numbers, computed on one thread and with a tiny encoder's neighbors.

    Args:
        name: One of `RUNS`.
        models: As `cases.save_models` names them.
    """
    with _one_thread(), _tiny_neighbors(models), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few steps underfit, and short limits cut
        return np.asarray(RUNS[name].compute(models))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The number of threads decides the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _tiny_neighbors(models: Models) -> Iterator[None]:
    """Where an estimator looks for similar texts with the default encoder, it gets a tiny one."""
    resolve = assets.resolve_model

    def tiny_one(model: str | Path, *args: Any, **kwargs: Any) -> Any:
        chosen = models["encoder"] if str(model) == "all-MiniLM-L6-v2" else model
        return resolve(chosen, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "resolve_model", tiny_one)
        yield


# --- what the last bit depends on ----------------------------------------------------------------

PACKAGES = (
    "torch", "transformers", "sentence-transformers", "accelerate", "numpy", "scipy",
    "scikit-learn",
)  # fmt: skip


def stamp() -> dict[str, Any]:
    """What must be equal for two machines to compute the same bits."""
    return {
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "cpu": _cpu(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": runtime.precision()["bf16"],
        "mkl": torch.backends.mkl.is_available(),
        "device": runtime.device().type,
        "threads": 1,  # see `compute`
    }


def _cpu() -> str:
    """The processor's model name, family and number, as far as the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor()
    found = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
    names = ("model name", "cpu family", "model", "stepping")
    return ", ".join(f"{name} {found[name]}" for name in names if name in found)
