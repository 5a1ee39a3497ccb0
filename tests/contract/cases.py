"""The estimators under contract: how each is made, what it is fitted on, what it gives back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reptune.classification import FineTunedClassifier
from reptune.cloze import PromptTunedClassifier, PromptTunedRegressor
from reptune.extraction import SpanExtractor
from reptune.fewshot import SetFitClassifier, StaticClassifier
from reptune.fewshot.frozen import FrozenClassifier
from reptune.generation import TextGenerator
from reptune.incontext import InContextClassifier
from reptune.ner import EntityTagger
from tests import tiny

TARGETS = [round(0.75 + 0.01 * place, 2) if label == "positive" else round(0.1 + 0.01 * place, 2)
           for place, label in enumerate(tiny.LABELS)]  # fmt: skip
SENTENCES = [text.split() for text in tiny.TEXTS]
TAGS = [
    ["B-THING" if word in ("film", "movie", "plot") else "O" for word in sentence]
    for sentence in SENTENCES
]
TAGS[3] = ["B-PER", *["I-PER"] * (len(SENTENCES[3]) - 1)]
TAGS[7] = ["O"] * (len(SENTENCES[7]) - 1) + ["B-PER"]
QUESTION = "is it good"
PAIRS = [(QUESTION, text) for text in tiny.TEXTS]
ADJECTIVES = ("good", "great", "fine", "nice", "bad", "awful", "poor", "dull")
ANSWERS = [next(word for word in text.split() if word in ADJECTIVES) for text in tiny.TEXTS]
# Texts that no estimator was fitted on: a word it does not know, one word, many words.
NEW_TEXTS = ["the plot is very good", "dull", "a nice unseen film but not a good actor", "not bad"]


@dataclass(frozen=True)
class Case:
    """One estimator with a tiny model and what it is fitted on.

    Attributes:
        name: Tells the cases apart in a test's name.
        kind: The class.
        model: Which of the tiny models it takes: `encoder`, `masked` or `causal`.
        params: Its other parameters: small, and seeded.
        misspelled: A wrong parameter name, and the right one.
        grid: What a grid search tries.
        trains: Whether `fit` changes weights, which can be interrupted.
        keeps_weights: Whether a saved folder holds those of a network.
    """

    name: str
    kind: type
    model: str
    params: dict[str, Any]
    misspelled: tuple[str, str]
    grid: dict[str, list[Any]] = field(default_factory=lambda: {"random_state": [0, 1]})
    trains: bool = True
    keeps_weights: bool = True

    @property
    def tags_words(self) -> bool:
        """Whether it reads sentences of words and gives tags, not texts and labels."""
        return self.kind is EntityTagger

    @property
    def regresses(self) -> bool:
        """Whether it predicts numbers."""
        return self.kind is PromptTunedRegressor

    @property
    def generates(self) -> bool:
        """Whether it writes texts."""
        return self.kind is TextGenerator

    @property
    def extracts(self) -> bool:
        """Whether it reads questions with passages and gives parts of these."""
        return self.kind is SpanExtractor

    @property
    def classifies(self) -> bool:
        """Whether it predicts labels of texts."""
        return not (self.tags_words or self.regresses or self.generates or self.extracts)

    @property
    def reads_texts(self) -> bool:
        """Whether its inputs are strings, not lists or pairs of them."""
        return not self.tags_words and not self.extracts

    @property
    def has_probabilities(self) -> bool:
        """Whether it has `predict_proba`."""
        return self.classifies or self.tags_words

    @property
    def runs_network(self) -> bool:
        """Whether it predicts with a network, whose passes can be counted."""
        return self.kind is not StaticClassifier

    @property
    def what(self) -> str:
        """What messages call its inputs."""
        if self.tags_words:
            return "tokens"
        return "pairs" if self.extracts else "inputs" if self.generates else "texts"

    @property
    def inputs(self) -> list[Any]:
        """What it is fitted on."""
        if self.extracts:
            return PAIRS
        return SENTENCES if self.tags_words else tiny.TEXTS

    @property
    def targets(self) -> list[Any]:
        """One label, number, text or list of tags for each of the inputs."""
        if self.tags_words:
            return TAGS
        if self.extracts:
            return ANSWERS
        return TARGETS if self.regresses else tiny.LABELS

    @property
    def new_inputs(self) -> list[Any]:
        """What it predicts for."""
        if self.extracts:
            return [(QUESTION, text) for text in NEW_TEXTS]
        return [text.split() for text in NEW_TEXTS] if self.tags_words else NEW_TEXTS

    def new(self, models: dict[str, Path], **changes: Any) -> Any:
        """The estimator, not fitted."""
        return self.kind(**({"model": models[self.model]} | self.params | changes))

    def output(self, estimator: Any, inputs: Iterable[Any] | None = None) -> np.ndarray:
        """Probabilities, or numbers, in one array, so that two of them can be compared."""
        inputs = self.new_inputs if inputs is None else inputs
        if self.regresses:
            return estimator.predict(inputs)
        if self.extracts:
            return np.array(estimator.predict_spans(inputs))
        if self.generates:
            inputs = list(inputs) if isinstance(inputs, Iterator) else inputs
            return estimator.losses(inputs, [tiny.LABELS[0]] * len(inputs))
        found = estimator.predict_proba(inputs)
        return np.concatenate(found) if self.tags_words else found


_TRAINED = {"num_epochs": 2, "learning_rate": 5e-3, "batch_size": 4, "random_state": 0}
_PROMPTED = {
    "template": "{text} it was {mask} .", "num_steps": 4, "learning_rate": 2e-2, "batch_size": 4,
    "random_state": 0,
}  # fmt: skip

CASES = (
    Case("fine-tuned", FineTunedClassifier, "encoder", _TRAINED, ("epochs", "num_epochs")),
    Case(
        "fine-tuned, one block", FineTunedClassifier, "encoder", {**_TRAINED, "trainable": 1},
        ("trainables", "trainable"),
    ),
    Case(
        "fine-tuned, head", FineTunedClassifier, "encoder", {**_TRAINED, "trainable": "head"},
        ("rate", "learning_rate"),
    ),
    Case(
        "setfit", SetFitClassifier, "encoder",
        {"num_steps": 3, "learning_rate": 5e-3, "batch_size": 8, "random_state": 0},
        ("steps", "num_steps"),
    ),
    Case(
        "frozen", FrozenClassifier, "encoder", {"random_state": 0}, ("classweight", "class_weight"),
        trains=False,
    ),
    Case(
        "static", StaticClassifier, "encoder", {"dimensions": 8, "random_state": 0},
        ("dimension", "dimensions"), trains=False, keeps_weights=False,
    ),
    Case(
        "in context", InContextClassifier, "causal",
        {"per_class": 1, "fast": ("shared_prefix",), "random_state": 0},
        ("per_clas", "per_class"), trains=False, keeps_weights=False,
    ),
    Case(
        "prompt-tuned", PromptTunedClassifier, "masked",
        {**_PROMPTED, "words": {"negative": "bad", "positive": "good"}},
        ("num_step", "num_steps"),
    ),
    Case(
        "prompt-tuned regressor", PromptTunedRegressor, "masked",
        {**_PROMPTED, "words": ("bad", "good")}, ("per_clas", "per_class"),
    ),
    Case(
        "tagger", EntityTagger, "encoder", {**_TRAINED, "max_length": 16},
        ("epochs", "num_epochs"),
    ),
    Case(
        "generator", TextGenerator, "causal",
        {**_TRAINED, "rank": 4, "max_length": 60, "max_new_tokens": 8}, ("epochs", "num_epochs"),
        keeps_weights=False,
    ),
    Case(
        "extractor", SpanExtractor, "encoder", {**_TRAINED, "max_length": 16, "stride": 4},
        ("strides", "stride"),
    ),
)  # fmt: skip


def save_models(folder: Path) -> dict[str, Path]:
    """Write one tiny model of each kind, and name them."""
    return {
        "encoder": tiny.save_encoder(folder / "encoder"),
        "masked": tiny.save_masked_lm(folder / "masked"),
        "causal": tiny.save_causal_lm(folder / "causal"),
    }
