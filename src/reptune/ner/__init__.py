"""Named entity recognition: a tag for every word (chapter 4)."""

from reptune.ner.tagger import Entity, EntityTagger

__all__ = ["Entity", "EntityTagger"]
