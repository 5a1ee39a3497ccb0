"""Save one tiny model of each estimator in the format of the installed package.

A test keeps what earlier releases saved loadable. Run this once for each new format, with the code
of the release that wrote it, from the root of the repository:

    python -m tests.contract.make_fixtures tests/contract/fixtures/format_5

For classes, or parameters, that are new within a format, name them:

    python -m tests.contract.make_fixtures tests/contract/fixtures/format_3 TextGenerator

Models are named by relative paths, so that the folder holds no path of one machine.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reptune import assets
from reptune.classification import FineTunedClassifier
from reptune.cloze import PromptTunedClassifier, PromptTunedRegressor
from reptune.extraction import SpanExtractor
from reptune.fewshot import FrozenClassifier, SetFitClassifier
from reptune.generation import TextGenerator
from reptune.incontext import InContextClassifier
from reptune.ner import EntityTagger
from tests import tiny

LABELS = [int(label == "positive") for label in tiny.LABELS]
NEW = ["the plot is very good", "dull", "a nice film but not a good actor", "not bad"]
SENTENCES = [text.split() for text in tiny.TEXTS]
TAGS = [["B-THING" if word == "film" else "O" for word in row] for row in SENTENCES]
PAIRS = [("is it good", text) for text in tiny.TEXTS]
ANSWERS = [max(text.split(), key=len) for text in tiny.TEXTS]
TARGETS = [0.5 + label for label in LABELS]

TRAINED = {"num_epochs": 2, "learning_rate": 5e-3, "batch_size": 4, "random_state": 3}
STEPS = {"num_steps": 3, "learning_rate": 5e-3, "batch_size": 8}
PROMPTED = {
    "template": "{text} it was {mask} .", "num_steps": 4, "learning_rate": 2e-2, "random_state": 3
}  # fmt: skip
WEIGHTS = {0: 1.0, 1: 2.0}
WORDS = dict(enumerate(["bad", "good"]))


def estimators() -> Iterator[tuple[str, Any, list[Any]]]:
    """A name for its folder, each estimator, not fitted, and its targets."""
    yield "FineTunedClassifier", FineTunedClassifier(
        "encoder", class_weight=WEIGHTS, fast=("cheap_dropout",), **TRAINED
    ), LABELS  # fmt: skip
    setfit = SetFitClassifier("encoder", class_weight=WEIGHTS, fast=("length_buckets",), **STEPS)
    yield "SetFitClassifier", setfit, LABELS
    linear = SetFitClassifier("encoder", head="differentiable", max_length=8, **STEPS)
    yield "SetFitClassifier-linear", linear, LABELS
    yield "FrozenClassifier", FrozenClassifier("encoder", C=3.0, class_weight=WEIGHTS), LABELS
    shown = {"words": WORDS, "per_class": 1, "fast": ("shared_prefix",)}
    yield "InContextClassifier", InContextClassifier("causal", **shown), LABELS
    nearest = InContextClassifier("causal", selection="nearest", calibrate=None, **shown)
    yield "InContextClassifier-nearest", nearest, LABELS
    yield "PromptTunedClassifier", PromptTunedClassifier("masked", words=WORDS, **PROMPTED), LABELS
    demonstrations = {"per_class": 1, "demonstration_draws": 2}
    yield "PromptTunedClassifier-demonstrations", PromptTunedClassifier(
        "masked", words=WORDS, **PROMPTED, **demonstrations
    ), LABELS  # fmt: skip
    several = {0: ("bad", "awful"), 1: ("good", "great")}
    yield "PromptTunedClassifier-words", PromptTunedClassifier(
        "masked", words=several, **PROMPTED
    ), LABELS  # fmt: skip
    yield "PromptTunedRegressor", PromptTunedRegressor(
        "masked", words=("bad", "good"), low=0.0, high=2.0, **PROMPTED
    ), TARGETS  # fmt: skip
    yield "EntityTagger", EntityTagger("encoder", max_length=16, **TRAINED), TAGS
    written = TextGenerator("causal", rank=2, max_length=60, max_new_tokens=8, **TRAINED)
    yield "TextGenerator", written, [tiny.LABELS[0]] * len(tiny.TEXTS)
    yield "SpanExtractor", SpanExtractor("encoder", max_length=16, **TRAINED), ANSWERS


def fitted(names: Collection[str] = ()) -> Iterator[tuple[str, Any, list[Any], list[Any]]]:
    """The same, all or the named ones, fitted, with inputs and what it predicts for them."""
    for name, estimator, targets in estimators():
        if names and name not in names:
            continue
        inputs, new = tiny.TEXTS, NEW
        if isinstance(estimator, EntityTagger):
            inputs, new = SENTENCES, [text.split() for text in NEW]
        if isinstance(estimator, SpanExtractor):
            inputs, new = PAIRS, [("is it good", text) for text in NEW]
        estimator.fit(inputs, targets)
        yield name, estimator, new, [np.asarray(row).tolist() for row in predicted(estimator, new)]


def predicted(estimator: Any, inputs: list[Any]) -> Any:
    """What it predicts, in numbers, for each input."""
    if isinstance(estimator, TextGenerator):
        return estimator.losses(inputs, [tiny.LABELS[0]] * len(inputs))
    if isinstance(estimator, SpanExtractor):
        return estimator.predict_spans(inputs)
    return getattr(estimator, "predict_proba", estimator.predict)(inputs)


def find_neighbors_with(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let estimators that look for similar texts do so with a tiny encoder."""
    resolve = assets.resolve_model

    def tiny_one(model: str | Path, *args: Any, **kwargs: Any) -> Any:
        return resolve(folder if str(model) == "all-MiniLM-L6-v2" else model, *args, **kwargs)

    patch.setattr(assets, "resolve_model", tiny_one)


def main(folder: Path, *names: str) -> None:
    """Write the folder anew, with all estimators or with the named ones."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)
    tiny.save_encoder(Path("encoder"), num_blocks=1)
    tiny.save_masked_lm(Path("masked"), num_blocks=1)
    tiny.save_causal_lm(Path("causal"), num_blocks=1)
    expected = {}
    with pytest.MonkeyPatch.context() as patch:
        find_neighbors_with(Path("encoder"), patch)
        for name, estimator, inputs, output in fitted(names):
            estimator.save(name)
            expected[name] = {"inputs": inputs, "output": output}
    Path("expected.json").write_text(json.dumps(expected, indent=1), "utf-8")
    # The causal model reads prompts, and the encoder chooses examples; tuned models are saved.
    shutil.rmtree("masked")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
