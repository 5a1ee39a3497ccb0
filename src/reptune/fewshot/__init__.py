"""Few-shot classification with sentence transformers: SetFit, and a frozen one (chapter 2)."""

import reptune.needs_torch  # noqa: F401

from reptune.fewshot.classifier import SetFitClassifier
from reptune.fewshot.contrastive import (
    PairBudget,
    PairSampler,
    all_pairs_cosine_loss,
    cosine_pair_loss,
    existing_pairs,
    pair_budget,
    supervised_contrastive_loss,
)
from reptune.fewshot.distillation import cosine_matching_loss
from reptune.fewshot.frozen import FrozenClassifier, centered
from reptune.fewshot.head import LabelwiseHead, LinearHead
from reptune.fewshot.search import search_settings
from reptune.fewshot.static import StaticClassifier

__all__ = [
    "FrozenClassifier",
    "LabelwiseHead",
    "LinearHead",
    "PairBudget",
    "PairSampler",
    "SetFitClassifier",
    "StaticClassifier",
    "all_pairs_cosine_loss",
    "centered",
    "cosine_matching_loss",
    "cosine_pair_loss",
    "existing_pairs",
    "pair_budget",
    "search_settings",
    "supervised_contrastive_loss",
]
