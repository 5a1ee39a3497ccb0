"""Save one tiny model of each estimator in the format of the installed package.

A test keeps what earlier releases saved loadable. Run this once for each new format, with the code
of the release that wrote it, from the root of the repository:

    python -m tests.contract.make_fixtures tests/contract/fixtures/format_2

Models are named by relative paths, so that the folder holds no path of one machine.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from reptune.classification import FineTunedClassifier
from reptune.cloze import PromptTunedClassifier, PromptTunedRegressor
from reptune.fewshot import SetFitClassifier
from reptune.incontext import InContextClassifier
from reptune.ner import EntityTagger
from tests import tiny

LABELS = [int(label == "positive") for label in tiny.LABELS]
NEW = ["the plot is very good", "dull", "a nice film but not a good actor", "not bad"]
SENTENCES = [text.split() for text in tiny.TEXTS]
TAGS = [["B-THING" if word == "film" else "O" for word in row] for row in SENTENCES]
TARGETS = [0.5 + label for label in LABELS]

TRAINED = {"num_epochs": 2, "learning_rate": 5e-3, "batch_size": 4, "random_state": 3}
PROMPTED = {
    "template": "{text} it was {mask} .", "num_steps": 4, "learning_rate": 2e-2, "random_state": 3
}  # fmt: skip


def fitted() -> dict[str, tuple]:
    """Each estimator by its class's name, with what it predicts."""
    texts, numbers = tiny.TEXTS, dict(enumerate(["bad", "good"]))
    weights = {0: 1.0, 1: 2.0}
    found = {}
    for estimator, targets in (
        (FineTunedClassifier("encoder", class_weight=weights, fast=("cheap_dropout",), **TRAINED),
         LABELS),
        (SetFitClassifier("encoder", num_steps=3, learning_rate=5e-3, batch_size=8,
                          class_weight=weights, fast=("length_buckets",)), LABELS),
        (InContextClassifier("causal", words=numbers, per_class=1, fast=("shared_prefix",)),
         LABELS),
        (PromptTunedClassifier("masked", words=numbers, **PROMPTED), LABELS),
        (PromptTunedRegressor("masked", words=("bad", "good"), low=0.0, high=2.0, **PROMPTED),
         TARGETS),
    ):  # fmt: skip
        estimator.fit(texts, targets)
        regresses = isinstance(estimator, PromptTunedRegressor)
        output = estimator.predict(NEW) if regresses else estimator.predict_proba(NEW)
        found[type(estimator).__name__] = (estimator, NEW, output.tolist())
    tagger = EntityTagger("encoder", max_length=16, **TRAINED).fit(SENTENCES, TAGS)
    words = [text.split() for text in NEW]
    output = [row.tolist() for row in tagger.predict_proba(words)]
    return {**found, "EntityTagger": (tagger, words, output)}


def main(folder: Path) -> None:
    """Write the folder anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)
    tiny.save_encoder(Path("encoder"), num_blocks=1)
    tiny.save_masked_lm(Path("masked"), num_blocks=1)
    tiny.save_causal_lm(Path("causal"), num_blocks=1)
    expected = {}
    for name, (estimator, inputs, output) in fitted().items():
        estimator.save(name)
        expected[name] = {"inputs": inputs, "output": output}
    Path("expected.json").write_text(json.dumps(expected, indent=1), "utf-8")
    for scratch in ("encoder", "masked"):  # a saved model needs neither; in context, the causal one
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
