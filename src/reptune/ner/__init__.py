"""Named entity recognition: a tag for every word (chapter 4)."""

import reptune.needs_torch  # noqa: F401

from reptune.ner.prediction import Entity
from reptune.ner.tagger import EntityTagger

__all__ = ["Entity", "EntityTagger"]
