"""Entities drawn in color in a notebook or on a page, with plain text where there is no color.

Taught in chapter 4.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any, Protocol

from reptune.checks import listed
from reptune.tags import Span, check_entity

# Light grounds under black letters, readable on a white page and on a dark one.
GROUNDS = ("#9ecae1", "#fdd0a2", "#a1d99b", "#f2b8d8", "#e6e08b", "#cfcfcf", "#b7a6e0", "#f4a582")
_MARK = (
    "background:{ground};color:#111;padding:0.1em 0.3em;border-radius:0.3em;"
    "box-decoration-break:clone;-webkit-box-decoration-break:clone"
)
_LABEL = "font-size:0.7em;font-weight:bold;margin-left:0.4em;vertical-align:0.1em"
_BOX = "line-height:2;white-space:pre-wrap;margin:0.5em 0"


class Located(Protocol):
    """What can be highlighted: `reptune.ner.Entity` and anything like it."""

    type: str
    start: int
    end: int


class Highlighted:
    """A text with its entities; a notebook shows it in color, a terminal in brackets.

    Attributes:
        text: The text.
        entities: Its entities, from left to right.
    """

    def __init__(self, text: str, entities: Iterable[Located]) -> None:
        if not isinstance(text, str):
            raise ValueError(f"text is {text!r}, a {type(text).__name__}; pass one string.")
        self.text = text
        found = listed(entities, "entities", "what EntityTagger.entities(text) returned")
        for entity in found:
            _check_located(entity, text)
        self.entities = sorted(found, key=lambda entity: entity.start)
        before = 0
        for entity in self.entities:
            if not before <= entity.start < entity.end <= len(text):
                raise ValueError(
                    f"{entity} overlaps another entity or lies outside the text's "
                    f"{len(text)} characters; pass the text that the entities were found in."
                )
            before = entity.end

    def __str__(self) -> str:
        return self._joined(str, lambda shown, entity: f"[{shown} {entity.type}]")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        kinds = sorted({entity.type for entity in self.entities})
        ground = {kind: GROUNDS[index % len(GROUNDS)] for index, kind in enumerate(kinds)}

        def mark(shown: str, entity: Located) -> str:
            label = f'<span style="{_LABEL}">{html.escape(entity.type)}</span>'
            style = _MARK.format(ground=ground[entity.type])
            return f'<mark style="{style}">{html.escape(shown)}{label}</mark>'

        return f'<div style="{_BOX}">{self._joined(html.escape, mark)}</div>'

    def _joined(self, plain: Any, marked: Any) -> str:
        parts, before = [], 0
        for entity in self.entities:
            parts.append(plain(self.text[before : entity.start]))
            parts.append(marked(self.text[entity.start : entity.end], entity))
            before = entity.end
        return "".join([*parts, plain(self.text[before:])])


def _check_located(entity: Any, text: str) -> None:
    """Raise unless an entity has a type and counts the characters of this text."""
    if isinstance(entity, Span):
        raise ValueError(
            f"{entity} counts words, and here characters count; pass what "
            "EntityTagger.entities(text) returned."
        )
    kind, start, end = (getattr(entity, name, None) for name in ("type", "start", "end"))
    check_entity((kind, start, end), what=f"entity {entity!r}: (type, start, end)")
    stated = getattr(entity, "text", None)
    inside = 0 <= start < end <= len(text)
    if isinstance(stated, str) and inside and text[start:end] != stated:
        raise ValueError(
            f"{entity} is not in the text there, {text[start:end]!r} is; pass the text that the "
            "entities were found in."
        )


def highlight(text: str, entities: Iterable[Located]) -> Highlighted:
    """Show a text with its entities in color.

    Args:
        text: The text that the entities were found in.
        entities: What `EntityTagger.entities(text)` returned, or anything with `type`, `start` and
            `end` in characters.

    Raises:
        ValueError: If entities overlap, lie outside the text or are not what the text holds
            there, or lack a type and whole numbers for start and end.

    >>> from reptune.ner import Entity
    >>> print(highlight("I met Ada.", [Entity("Ada", "PER", 6, 9, confidence=0.98)]))
    I met [Ada PER].
    """
    return Highlighted(text, entities)


def displacy_document(text: str, entities: Iterable[Located]) -> dict[str, Any]:
    """Return the same for spaCy's displaCy: `displacy.render(document, style="ent", manual=True)`.

    spaCy is an extra: `pip install "reptune[displacy]"`.
    """
    spans = [
        {"start": int(entity.start), "end": int(entity.end), "label": entity.type}
        for entity in Highlighted(text, entities).entities
    ]
    return {"text": text, "ents": spans, "title": None}
