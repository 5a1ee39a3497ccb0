"""Prompt-based fine-tuning: classification as a mask to fill (chapter 6)."""

import reptune.needs_torch  # noqa: F401

from reptune.cloze.estimators import PromptTunedClassifier, PromptTunedRegressor
from reptune.cloze.label_words import candidate_words, search_words
from reptune.cloze.prompt_models import (
    PromptModel,
    collate,
    label_logits,
    load_prompt_model,
)
from reptune.cloze.ranking import calibrated_scores, rank_templates
from reptune.cloze.templates import Template

__all__ = [
    "PromptModel",
    "PromptTunedClassifier",
    "PromptTunedRegressor",
    "Template",
    "calibrated_scores",
    "candidate_words",
    "collate",
    "label_logits",
    "load_prompt_model",
    "rank_templates",
    "search_words",
]
