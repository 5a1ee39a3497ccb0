"""The package behind the executable book *Fine-Tuning Representation Models*."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from reptune.version import __version__

if TYPE_CHECKING:
    from reptune.baselines import TfidfClassifier
    from reptune.book.setup import Run, setup
    from reptune.classification import FineTunedClassifier
    from reptune.cloze import PromptTunedClassifier, PromptTunedRegressor
    from reptune.estimator import load
    from reptune.extraction import SpanExtractor
    from reptune.fewshot import FrozenClassifier, SetFitClassifier, StaticClassifier
    from reptune.generation import TextGenerator
    from reptune.incontext import InContextClassifier
    from reptune.ner import EntityTagger
    from reptune.pretraining import continue_pretraining

# Where each name lives: a module is imported when one of its names is first asked for (PEP 562).
_LAZY = {
    "EntityTagger": "reptune.ner",
    "FineTunedClassifier": "reptune.classification",
    "FrozenClassifier": "reptune.fewshot",
    "InContextClassifier": "reptune.incontext",
    "PromptTunedClassifier": "reptune.cloze",
    "PromptTunedRegressor": "reptune.cloze",
    "Run": "reptune.book.setup",
    "SetFitClassifier": "reptune.fewshot",
    "SpanExtractor": "reptune.extraction",
    "StaticClassifier": "reptune.fewshot",
    "TextGenerator": "reptune.generation",
    "TfidfClassifier": "reptune.baselines",
    "continue_pretraining": "reptune.pretraining",
    "load": "reptune.estimator",
    "setup": "reptune.book.setup",
}

__all__ = [
    "EntityTagger",
    "FineTunedClassifier",
    "FrozenClassifier",
    "InContextClassifier",
    "PromptTunedClassifier",
    "PromptTunedRegressor",
    "Run",
    "SetFitClassifier",
    "SpanExtractor",
    "StaticClassifier",
    "TextGenerator",
    "TfidfClassifier",
    "__version__",
    "continue_pretraining",
    "load",
    "setup",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
