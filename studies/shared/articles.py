"""Ways to feed an article to an encoder: headline, body or both, and how much of them."""

from __future__ import annotations

MAX_LENGTH = 128  # tokens, unless a way says otherwise


def fields(text: str) -> tuple[str, str]:
    """Headline and body: the first line of an article, and the rest."""
    headline, _, body = text.partition("\n")
    return headline.strip(), " ".join(body.split())


PARTS = {
    "headline": lambda headline, body: headline,
    "body": lambda headline, body: body,
    "headline. body": lambda headline, body: f"{headline}. {body}",
    "headline [SEP] body": lambda headline, body: f"{headline} [SEP] {body}",
    "body. headline": lambda headline, body: f"{body}. {headline}",
}
# A part, and how many tokens of it: 128, and for the usual way of joining fewer and more.
FED = {part: (part, MAX_LENGTH) for part in PARTS} | {
    f"headline. body, {length} pieces": ("headline. body", length) for length in (64, 256)
}


def fed(way: str, texts: list[str]) -> list[str]:
    """What is read of each article in one of the ways of `FED`, before it is cut."""
    return [PARTS[FED[way][0]](*fields(text)) for text in texts]
