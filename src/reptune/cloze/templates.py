"""Templates that turn a text into a fill-in-the-blank prompt, and the words that answer it.

`Template("{text} It was {mask} .")` makes "A fun ride. It was [MASK] ." of a review. `encode` turns
that into word pieces that a model takes, with the gap's place; `word_ids` says which piece stands
for which label. A tokenizer is all that this module needs. Chapter 6 uses it.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase as Tokenizer

from reptune.checks import check_unicode, check_whole_number, nearest
from reptune.models.prompts import check_text

SLOTS = ("text", "text2", "mask")
# What byte-level and sentence-piece vocabularies write for a space before a word.
SPACES = ("Ġ", "▁")
COMMON_WORDS = ("great", "good", "bad", "yes", "no")  # one piece in nearly every vocabulary

Demonstration = tuple[str, str | None, str]  # text, second text or None, word


@dataclass(frozen=True)
class Template:
    """A pattern with a slot for the input and a gap for the word that names its label.

    `{text}` is the input, `{text2}` the second sentence of a pair, `{mask}` the gap; `{{` and `}}`
    are braces; all else stands as it is.

    Attributes:
        pattern: Such as `"{text} It was {mask} ."`.

    Raises:
        ValueError: If the pattern is no string of valid Unicode, a brace is unbalanced, a slot is
            unknown, `{text}` or `{mask}` does not occur exactly once, or `{text2}` occurs more than
            once.

    Source: Gao et al., *Making Pre-trained Language Models Better Few-shot Learners* (2021),
    section 4; chapter 6.
    """

    pattern: str

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str):
            raise ValueError(
                f"template={self.pattern!r}; use a string such as '{{text}} It was {{mask}} .'."
            )
        check_unicode(self.pattern, "template")
        slots = [slot for _, slot in self.parts if slot is not None]
        for slot in ("text", "mask"):
            if slots.count(slot) != 1:
                raise ValueError(
                    f"template={self.pattern!r} holds {{{slot}}} {slots.count(slot)} times; "
                    "write it once."
                )
        if slots.count("text2") > 1:
            raise ValueError(
                f"template={self.pattern!r} holds {{text2}} {slots.count('text2')} times; "
                "write it once, or leave it out."
            )

    def __str__(self) -> str:
        return self.pattern

    @classmethod
    def of(cls, template: str | Template) -> Template:
        """A template as it is, or one made of a pattern."""
        return template if isinstance(template, Template) else cls(template)

    @cached_property
    def parts(self) -> tuple[tuple[str, str | None], ...]:
        """The pattern in order: literal text, and the slot after it or `None`."""
        try:
            parsed = list(string.Formatter().parse(self.pattern))
        except ValueError as error:
            raise ValueError(
                f"template={self.pattern!r} has an unbalanced brace ({error}); write {{{{ and }}}} "
                "for braces that are no slot."
            ) from error
        for _, slot, extra, conversion in parsed:
            if slot is not None and (slot not in SLOTS or extra or conversion):
                near = None if slot in SLOTS else nearest(slot, SLOTS)
                hint = f"did you mean {{{near}}}?" if near else "use {text}, {text2} and {mask}."
                written = slot + (f"!{conversion}" if conversion else "")
                written += f":{extra}" if extra else ""
                raise ValueError(
                    f"template={self.pattern!r} holds the unknown slot {{{written}}}; {hint}"
                )
        return tuple((literal, slot) for literal, slot, _, _ in parsed)

    @property
    def pair(self) -> bool:
        """Whether it takes a second sentence."""
        return any(slot == "text2" for _, slot in self.parts)

    @property
    def mask_last(self) -> bool:
        """Whether nothing but spaces follows the gap, as a causal model needs it."""
        return not self.halves("x", "x")[1].strip(" ")

    @property
    def spaced(self) -> bool:
        """Whether a space stands before the gap."""
        return self.halves("x", "x")[0].endswith(" ")

    def halves(self, text: str, text2: str | None = None) -> tuple[str, str]:
        """What stands before the gap, and what after it.

        Raises:
            ValueError: If a text is no string of valid Unicode.
        """
        check_text("text", text)
        if text2 is not None:
            check_text("text2", text2)
        filled = {"text": text, "text2": text2 or "", "mask": ""}
        sides = ["", ""]
        side = 0
        for literal, slot in self.parts:
            sides[side] += literal + filled.get(slot, "")
            side += slot == "mask"
        return sides[0], sides[1]

    def render(
        self,
        text: str,
        text2: str | None = None,
        word: str | None = None,
        mask_token: str | None = None,
    ) -> str:
        """The prompt as a string, for people to read.

        Args:
            text: The input.
            text2: The second sentence, for a template of pairs only.
            word: What to write into the gap, or
            mask_token: the tokenizer's sign for a gap.

        Raises:
            ValueError: If `text2` is missing or one too many, not exactly one of `word` and
                `mask_token` is given, or one of them all is no string.
        """
        self.check_pair(text2)
        if (word is None) == (mask_token is None):
            raise ValueError(
                f"word={word!r} and mask_token={mask_token!r}; give one of them for the gap."
            )
        name, filling = ("word", word) if mask_token is None else ("mask_token", mask_token)
        check_text(name, filling)
        before, after = self.halves(text, text2)
        return before + filling + after

    def check_pair(self, text2: str | None) -> None:
        """Raise a `ValueError` unless `text2` is given exactly where the pattern has a slot."""
        if self.pair and text2 is None:
            raise ValueError(
                f"template={self.pattern!r} takes pairs, but text2 is None; give a second text, or "
                "leave {text2} out."
            )
        if text2 is not None:
            check_text("text2", text2)
        if not self.pair and text2 is not None:
            raise ValueError(
                f"text2={text2[:40]!r}, but template={self.pattern!r} has no {{text2}}; add it, or "
                "give one text."
            )


# --- prompts as word pieces ----------------------------------------------------------------------


class Encoded(NamedTuple):
    """A prompt as a model takes it.

    Attributes:
        input_ids: Its pieces, special ones included.
        mask: Place of the gap; for a causal model of the last piece before the label's word.
        dropped: Demonstrations that did not fit.
        cut: Pieces of the input that did not fit.
    """

    input_ids: list[int]
    mask: int
    dropped: int
    cut: int


def encode(
    template: Template,
    tokenizer: Tokenizer,
    text: str,
    text2: str | None = None,
    *,
    limit: int,
    causal: bool = False,
    demonstrations: Sequence[Demonstration] = (),
) -> Encoded:
    """Make a prompt of an input, and of examples whose gap is filled.

    For a masked model the input comes first and the demonstrations after it, joined by a space.
    For a causal model they come before the input, with an empty line between, and the prompt ends
    right before the label's word: the space before it belongs to the word's piece.

    Special tokens that a text spells out, such as "[MASK]" or "[SEP]", are read as plain
    characters ("[", "mask", "]"), so that the prompt has one gap.

    What exceeds `limit` goes in this order: demonstrations, the one farthest from the input first;
    then the end of the input, of a pair the end of the longer text. The template's own words, the
    gap and special pieces always stay.

    Args:
        template: With or without a second text.
        tokenizer: A fast one; with a mask token unless `causal`.
        text: The input.
        text2: The second text, for a template of pairs only.
        limit: Pieces that the model takes, special ones included.
        causal: Whether the prompt is for a causal model.
        demonstrations: Triples of text, second text (or `None`) and word.

    Raises:
        ValueError: If `text2` does not match the template, the tokenizer lacks a mask token, a
            causal prompt goes on after the gap or has nothing before it, the template alone
            exceeds `limit`, or something is not of the type it should be.

    Source: Gao et al. (2021), sections 4 and 6; chapter 6.
    """
    template = Template.of(template)
    check_whole_number("limit", limit)
    check_text("text", text)
    template.check_pair(text2)
    check_gap(template, tokenizer, causal)
    shown = _check_demonstrations(demonstrations, template)
    texts = (text, text2)
    ids, mask = _assemble(template, tokenizer, texts, shown, causal)
    while len(ids) > limit and shown:
        shown.pop(0 if causal else -1)
        ids, mask = _assemble(template, tokenizer, texts, shown, causal)
    while len(ids) > limit:
        shorter = _shorten(tokenizer, texts, len(ids) - limit)
        if shorter == texts:
            raise ValueError(
                f"limit={limit}, but template={template.pattern!r} alone takes {len(ids)} pieces; "
                "raise max_length, or shorten the template."
            )
        texts = shorter
        ids, mask = _assemble(template, tokenizer, texts, shown, causal)
    cut = 0
    if texts != (text, text2):
        sizes = [
            sum(len(pieces(tokenizer, one)) for one in both if one)
            for both in ((text, text2), texts)
        ]
        cut = max(1, sizes[0] - sizes[1])
    return Encoded(ids, mask, len(demonstrations) - len(shown), cut)


def _check_demonstrations(
    demonstrations: Sequence[Demonstration], template: Template
) -> list[Demonstration]:
    """The demonstrations in a list, or a `ValueError` that names the bad one."""
    if isinstance(demonstrations, str) or not isinstance(demonstrations, Iterable):
        raise ValueError(
            f"demonstrations={demonstrations!r}; pass triples of text, second text or None, word."
        )
    shown = list(demonstrations)
    for place, one in enumerate(shown):
        name = f"demonstrations[{place}]"
        if not isinstance(one, tuple | list) or len(one) != 3:
            raise ValueError(f"{name} is {one!r}; pass a triple: text, second text or None, word.")
        text, text2, word = one
        check_text(f"{name}'s text", text)
        check_text(f"{name}'s word", word)
        try:
            template.check_pair(text2)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return shown


def check_gap(template: Template, tokenizer: Tokenizer, causal: bool) -> None:
    """Raise a `ValueError` unless a model of this kind can fill the template's gap."""
    if causal and not template.mask_last:
        before = template.pattern.split("{mask}")[0]
        raise ValueError(
            f"template={template.pattern!r} goes on after {{mask}}, but a causal model sees only "
            f"what stands before; end it with the gap: {before + '{mask}'!r}."
        )
    if not causal and tokenizer.mask_token_id is None:
        raise ValueError(
            f"{type(tokenizer).__name__} has no mask token; use a masked language model's, or "
            "causal=True."
        )


def pieces(tokenizer: Tokenizer, text: str) -> list[int]:
    """A text's pieces, without special ones; those that it spells out are plain characters."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)[
        "input_ids"
    ]


def _assemble(
    template: Template,
    tokenizer: Tokenizer,
    texts: tuple[str, str | None],
    demonstrations: Sequence[Demonstration],
    causal: bool,
) -> tuple[list[int], int]:
    """All pieces, however many, and the gap's place."""
    start, end = _special_ids(tokenizer)
    before, after = template.halves(*texts)
    if causal:
        shown = [_shown(template, *one, causal) for one in demonstrations]
        ids = [*start, *pieces(tokenizer, "\n\n".join([*shown, before]).rstrip(" "))]
        if not ids:
            raise ValueError(
                f"template={template.pattern!r} leaves nothing before the gap for an empty text; "
                "write a word before {mask}, or drop empty texts."
            )
        return ids, len(ids) - 1
    after = " ".join([after, *(_shown(template, *one, causal) for one in demonstrations)])
    sign = tokenizer.added_tokens_decoder.get(tokenizer.mask_token_id)
    if sign is not None and sign.lstrip:  # RoBERTa's takes the space before it along
        before = before.rstrip()
    head = [*start, *pieces(tokenizer, before)]
    return [*head, tokenizer.mask_token_id, *pieces(tokenizer, after), *end], len(head)


def _shown(template: Template, text: str, text2: str | None, word: str, causal: bool) -> str:
    """A demonstration; for a causal model with the space before its word, as in `word_ids`."""
    before, after = template.halves(text, text2)
    return f"{before.rstrip(' ')} {word}" if causal else before + word + after


def _special_ids(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special pieces that the tokenizer puts before and after a text."""
    plain, whole = pieces(tokenizer, "a"), tokenizer("a")["input_ids"]
    starts = range(len(whole) - len(plain) + 1)
    start = next(place for place in starts if whole[place : place + len(plain)] == plain)
    return whole[:start], whole[start + len(plain) :]


def _shorten(
    tokenizer: Tokenizer, texts: tuple[str, str | None], over: int
) -> tuple[str, str | None]:
    """Take `over` pieces from the texts' ends, one by one from the longer; less if all is gone."""
    places = [_piece_starts(tokenizer, one or "") for one in texts]
    kept = [len(starts) for starts in places]
    for _ in range(min(over, sum(kept))):
        kept[int(kept[1] > kept[0])] -= 1
    first, second = (
        one if one is None or count == len(starts) else one[: starts[count]].rstrip()
        for one, starts, count in zip(texts, places, kept, strict=True)
    )
    return first, second


def _piece_starts(tokenizer: Tokenizer, text: str) -> list[int]:
    """The first character of each piece."""
    found = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=True,
        verbose=False,
    )
    return [start for start, _ in found["offset_mapping"]]


# --- words that name labels ----------------------------------------------------------------------


def word_ids(
    words: Mapping[Any, str],
    classes: Sequence[Any] | np.ndarray,
    tokenizer: Tokenizer,
    *,
    causal: bool,
    template: Template,
) -> np.ndarray:
    """The piece that each label's word has in the template's gap.

    A byte-level vocabulary writes a word differently with a space before it: the template says
    whether there is one. For a causal model there always is.

    Args:
        words: A word for each label.
        classes: The labels, shape `(num_classes,)`.
        tokenizer: The model's.
        causal: Whether the model is causal.
        template: What the words stand in.

    Returns:
        Shape `(num_classes,)`, in the order of `classes`.

    Raises:
        ValueError: If a label has no word, a word no label, two labels have one piece, a word is
            more than one piece or unknown to the tokenizer, or a label is no string or integer.

    Source: Gao et al. (2021), section 4.1; chapter 6.
    """
    template = Template.of(template)
    labels = _check_classes(classes)
    _check_words(words, labels)
    taken: dict[int, Any] = {}
    for label in labels:
        piece = _only_piece(words[label], tokenizer, causal, template)
        if piece in taken:
            raise ValueError(
                f"the words {words[taken[piece]]!r} of label {taken[piece]!r} and {words[label]!r} "
                f"of label {label!r} are one piece to this tokenizer; use words that differ."
            )
        taken[piece] = label
    return np.fromiter(taken, dtype=np.int64, count=len(taken))


def word_pieces(word: str, tokenizer: Tokenizer, *, causal: bool, template: Template) -> list[int]:
    """The pieces of a word where it fills the template's gap; see `word_ids`."""
    check_text("word", word)
    before = template.halves("x", "x")[0].rstrip(" ")
    written = f" {word}" if causal or template.spaced else word
    context, whole = pieces(tokenizer, before), pieces(tokenizer, before + written)
    if whole[: len(context)] == context:
        return whole[len(context) :]
    return pieces(tokenizer, written)  # it merges with what stands before


def vocabulary_words(tokenizer: Tokenizer, *, causal: bool, template: Template) -> dict[int, str]:
    """The vocabulary's pieces that are words of their own: `{piece: word}`.

    At least two letters and nothing else; no part of a word, nothing special; in a vocabulary that
    marks spaces, with the space that the template has before the gap. A few of them may still be
    written with other pieces, such as words with accents that the tokenizer removes.
    """
    vocabulary = tokenizer.get_vocab()
    special = set(tokenizer.all_special_ids)
    marked = [
        sign for sign in SPACES if any(piece.startswith(sign) for piece in vocabulary)
    ]  # fmt: skip
    sign = marked[0] if marked and (causal or template.spaced) else ""
    found = {}
    for piece, place in vocabulary.items():
        word = piece.removeprefix(sign)
        # Byte-level pieces spell letters beyond ASCII as other letters.
        plain = word.isascii() or "Ġ" not in marked
        if piece.startswith(sign) and word.isalpha() and len(word) >= 2 and plain:
            found[place] = word
    return {place: found[place] for place in sorted(found) if place not in special}


def _check_classes(classes: Sequence[Any] | np.ndarray) -> list[Any]:
    plain = isinstance(classes, list | tuple | np.ndarray)
    labels = np.asarray(classes, dtype=None if plain else object).tolist()
    if not isinstance(labels, list) or not all(isinstance(one, str | int) for one in labels):
        raise ValueError(f"classes={classes!r}; pass a list of labels, strings or integers.")
    return labels


def _check_words(words: Mapping[Any, str], labels: Sequence[Any]) -> None:
    if not isinstance(words, Mapping):
        raise ValueError(f"words={words!r}; pass a dictionary from label to word.")
    missing = [label for label in labels if label not in words]
    if missing:
        raise ValueError(f"words lack {missing}; give every label a word.")
    unknown = [label for label in words if label not in labels]
    if unknown:
        raise ValueError(
            f"words are given for {unknown}, which no training label is; the labels are {labels}."
        )
    for label in labels:
        if not isinstance(words[label], str) or not words[label].strip():
            raise ValueError(f"the word of label {label!r} is {words[label]!r}; use a string.")
        check_unicode(words[label], f"the word of label {label!r}")
    for place, label in enumerate(labels):
        for other in labels[:place]:
            if words[other].strip() == words[label].strip():
                raise ValueError(
                    f"the labels {other!r} and {label!r} share the word {words[label]!r}; give "
                    "each its own."
                )


def _only_piece(word: str, tokenizer: Tokenizer, causal: bool, template: Template) -> int:
    """The word's one piece, or a `ValueError` that names its pieces."""
    found = word_pieces(word.strip(), tokenizer, causal=causal, template=template)
    if tokenizer.unk_token_id in found:
        raise ValueError(f"the word {word!r} is unknown to the tokenizer; use a common word.")
    if len(found) != 1:
        named = [piece.lstrip("".join(SPACES)) for piece in tokenizer.convert_ids_to_tokens(found)]
        known = [
            one
            for one in COMMON_WORDS
            if len(word_pieces(one, tokenizer, causal=causal, template=template)) == 1
        ]
        such = f", such as {known[0]!r}" if known else ""
        raise ValueError(
            f"{word!r} is {len(found)} pieces ({', '.join(named)}); use a word of one piece{such}."
        )
    return found[0]
