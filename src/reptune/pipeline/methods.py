"""The book's methods by name, the simplest first: what `compare` tries and `train` trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reptune.baselines import TfidfClassifier
from reptune.checks import did_you_mean
from reptune.estimator import SavedEstimator

PAIR_TEMPLATE = "{text} ? {mask} , {text2}"


@dataclass(frozen=True)
class Method:
    """A way to make a classifier or a tagger.

    >>> METHODS["frozen"].make(C=1.0).C
    1.0

    Attributes:
        name: As the command line takes it.
        title: As a table shows it.
        kinds: What it learns from; see `reptune.pipeline.examples.Kind`.
        build: Makes the estimator, not fitted, from settings.
        settings: What `compare` chooses from, on inner folds.
        quick: Whether a fit costs next to nothing, so that scores come from cross-validation.
    """

    name: str
    title: str
    kinds: tuple[str, ...]
    build: Callable[..., SavedEstimator]
    settings: tuple[Mapping[str, Any], ...] = ({},)
    quick: bool = False

    def make(self, **settings: Any) -> SavedEstimator:
        """Return the estimator, not fitted."""
        return self.build(**settings)


def _frozen(**settings: Any) -> SavedEstimator:
    from reptune.fewshot import FrozenClassifier

    return FrozenClassifier(**settings)


def _setfit(**settings: Any) -> SavedEstimator:
    from reptune.fewshot import SetFitClassifier

    return SetFitClassifier(**settings)


def _fine_tuned(trainable: str | int) -> Callable[..., SavedEstimator]:
    def build(**settings: Any) -> SavedEstimator:
        from reptune.classification import FineTunedClassifier

        return FineTunedClassifier(**{"trainable": trainable, **settings})

    return build


def _prompted(**settings: Any) -> SavedEstimator:
    from reptune.cloze import PromptTunedClassifier

    return PromptTunedClassifier(**settings)


def _in_context(**settings: Any) -> SavedEstimator:
    from reptune.incontext import InContextClassifier

    return InContextClassifier(**settings)


def _tagger(**settings: Any) -> SavedEstimator:
    from reptune.ner import EntityTagger

    return EntityTagger(**settings)


def _generator(**settings: Any) -> SavedEstimator:
    from reptune.generation import TextGenerator

    return TextGenerator(**settings)


def _extractor(**settings: Any) -> SavedEstimator:
    from reptune.extraction import SpanExtractor

    return SpanExtractor(**settings)


_STRENGTHS = ({"C": 10.0}, {"C": 1.0}, {"C": 100.0})  # of a logistic regression; 10 is the default
_ALL = (
    Method("tfidf", "TF-IDF", ("label",), TfidfClassifier, _STRENGTHS, quick=True),
    Method("label-names", "label names, no training", ("label",), _frozen, quick=True),
    Method("frozen", "frozen embeddings", ("label", "labels"), _frozen, _STRENGTHS, quick=True),
    Method("setfit", "SetFit", ("label", "labels"), _setfit),
    Method("head", "fine-tuned, head only", ("label", "labels"), _fine_tuned("head")),
    Method("last-blocks", "fine-tuned, last 2 blocks", ("label", "labels"), _fine_tuned(2)),
    Method("full", "fine-tuned, all of it", ("label", "labels"), _fine_tuned("all")),
    Method("prompt", "prompt-based fine-tuning", ("label", "pair"), _prompted),
    Method("in-context", "in-context learning", ("label",), _in_context),
    Method("tagger", "token classification", ("tags",), _tagger),
    Method("generator", "a small causal model, fine-tuned", ("text",), _generator),
    Method("extractor", "a span in a passage", ("span",), _extractor),
)
METHODS = {method.name: method for method in _ALL}
# What `compare` runs. The two that prompt want a template of the task, which no table tells.
COMPARED = ("tfidf", "label-names", "frozen", "setfit", "head", "last-blocks", "full")


NUMBERS = "the labels are numbers; only names that say something serve"


def say_something(labels: Sequence[Any]) -> bool:
    """Return whether labels are words rather than numbers, so that their names can be embedded.

    >>> say_something(["food", "film"]), say_something([0, 1]), say_something(["1", "2.5"])
    (True, False, False)
    """
    return any(isinstance(label, str) and label.strip("0123456789. ") for label in labels)


def method_named(name: str, kind: str) -> Method:
    """Return a method, or raise a `ValueError` that names those there are for this kind of data."""
    fitting = [method.name for method in _ALL if kind in method.kinds]
    if name not in METHODS:
        raise ValueError(
            f"there is no method {name!r}{did_you_mean(name, METHODS)}; use auto, "
            f"{', '.join(fitting)}."
        )
    if name not in fitting:
        words = {
            "label": "one label per text", "labels": "several labels per text",
            "pair": "pairs of texts", "tags": "tagged sentences",
            "text": "texts to write", "span": "questions with passages",
        }  # fmt: skip
        raise ValueError(f"{name} does not take {words[kind]}; use {' or '.join(fitting)}.")
    return METHODS[name]
