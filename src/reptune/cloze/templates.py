"""Templates that turn a text into a fill-in-the-blank prompt, and the words that answer it.

`Template("{text} It was {mask} .")` makes "A fun ride. It was [MASK] ." of a review. `encode` turns
that into token ids that a model takes, with the mask's index; `word_ids` says which token stands
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
from reptune.tokens import special_ids

SLOTS = ("text", "text2", "mask")
# What byte-level and SentencePiece vocabularies write for a space before a word.
SPACES = ("Ġ", "▁")
COMMON_WORDS = ("great", "good", "bad", "yes", "no")  # one token in nearly every vocabulary

Words = str | tuple[str, ...]  # what stands for a label: a word, or several
Demonstration = tuple[str, str | None, str]  # text, second text or None, word


@dataclass(frozen=True)
class Template:
    """A pattern with a slot for the input and a mask for the word that names its label.

    `{text}` is the input, `{text2}` the second sentence of a pair, `{mask}` the mask; `{{` and `}}`
    are braces; all else stands as it is.

    Attributes:
        pattern: Such as `"{text} It was {mask} ."`.

    Raises:
        ValueError: If the pattern is no string of valid Unicode, a brace is unbalanced, a slot is
            unknown, `{text}` or `{mask}` does not occur exactly once, or `{text2}` occurs more than
            once.

    Source: Gao et al., *Making Pre-trained Language Models Better Few-shot Learners* (2021),
    section 4; chapter 6.

    >>> template = Template("{text} It was {mask} .")
    >>> template.render("A fun ride.", mask_token="[MASK]")
    'A fun ride. It was [MASK] .'
    >>> template.render("A fun ride.", word="great")
    'A fun ride. It was great .'
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
        """Return a template as it is, or make one of a pattern."""
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
        """Whether nothing but spaces follows the mask, as a causal model needs it."""
        return not self.halves("x", "x")[1].strip(" ")

    @property
    def spaced(self) -> bool:
        """Whether a space stands before the mask."""
        return self.halves("x", "x")[0].endswith(" ")

    def halves(self, text: str, text2: str | None = None) -> tuple[str, str]:
        """Return what stands before the mask, and what after it.

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
        """Return the prompt as a string, for people to read.

        Args:
            text: The input.
            text2: The second sentence, for a template of pairs only.
            word: What to write at the mask, or
            mask_token: the tokenizer's mask token.

        Raises:
            ValueError: If `text2` is missing or one too many, not exactly one of `word` and
                `mask_token` is given, or one of them all is no string.
        """
        self.check_pair(text2)
        if (word is None) == (mask_token is None):
            raise ValueError(
                f"word={word!r} and mask_token={mask_token!r}; give one of them for the mask."
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


# --- prompts as token ids ------------------------------------------------------------------------


class Encoded(NamedTuple):
    """A prompt as a model takes it.

    Attributes:
        input_ids: Its token ids, special ones included.
        mask: Index of the mask; for a causal model of the last token before the label's word.
        dropped: Demonstrations that did not fit.
        cut: Tokens of the input that did not fit.
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
    """Make a prompt of an input, and of examples whose mask is filled.

    For a masked model the input comes first and the demonstrations after it, joined by a space.
    For a causal model they come before the input, with an empty line between, and the prompt ends
    right before the label's word: the space before it belongs to the word's token.

    Special tokens that a text spells out, such as "[MASK]" or "[SEP]", are read as plain
    characters ("[", "mask", "]"), so that the prompt has one mask.

    What exceeds `limit` goes in this order: demonstrations, the one farthest from the input first;
    then the end of the input, of a pair the end of the longer text. The template's own words, the
    mask and special tokens always stay.

    Args:
        template: With or without a second text.
        tokenizer: A fast one; with a mask token unless `causal`.
        text: The input.
        text2: The second text, for a template of pairs only.
        limit: Tokens that the model takes, special ones included.
        causal: Whether the prompt is for a causal model.
        demonstrations: Triples of text, second text (or `None`) and word.

    Raises:
        ValueError: If `text2` does not match the template, the tokenizer lacks a mask token, a
            causal prompt goes on after the mask or has nothing before it, the template alone
            exceeds `limit`, or something is not of the type it should be.

    Source: Gao et al. (2021), sections 4 and 6; chapter 6.
    """
    template = Template.of(template)
    check_whole_number("limit", limit)
    check_text("text", text)
    template.check_pair(text2)
    check_mask(template, tokenizer, causal)
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
                f"limit={limit}, but template={template.pattern!r} alone takes {len(ids)} tokens; "
                "raise max_length, or shorten the template."
            )
        texts = shorter
        ids, mask = _assemble(template, tokenizer, texts, shown, causal)
    cut = 0
    if texts != (text, text2):
        sizes = [
            sum(len(token_ids(tokenizer, part)) for part in pair if part)
            for pair in ((text, text2), texts)
        ]
        cut = max(1, sizes[0] - sizes[1])
    return Encoded(ids, mask, len(demonstrations) - len(shown), cut)


def _check_demonstrations(
    demonstrations: Sequence[Demonstration], template: Template
) -> list[Demonstration]:
    """Return the demonstrations in a list, or raise a `ValueError` that names the bad one."""
    if isinstance(demonstrations, str) or not isinstance(demonstrations, Iterable):
        raise ValueError(
            f"demonstrations={demonstrations!r}; pass triples of text, second text or None, word."
        )
    shown = list(demonstrations)
    for index, demonstration in enumerate(shown):
        name = f"demonstrations[{index}]"
        if not isinstance(demonstration, tuple | list) or len(demonstration) != 3:
            raise ValueError(
                f"{name} is {demonstration!r}; pass a triple: text, second text or None, word."
            )
        text, text2, word = demonstration
        check_text(f"{name}'s text", text)
        check_text(f"{name}'s word", word)
        try:
            template.check_pair(text2)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return shown


def check_mask(template: Template, tokenizer: Tokenizer, causal: bool) -> None:
    """Raise a `ValueError` unless a model of this kind can fill the template's mask."""
    if causal and not template.mask_last:
        before = template.pattern.split("{mask}")[0]
        raise ValueError(
            f"template={template.pattern!r} goes on after {{mask}}, but a causal model sees only "
            f"what stands before; end it with the mask: {before + '{mask}'!r}."
        )
    if not causal and tokenizer.mask_token_id is None:
        raise ValueError(
            f"{type(tokenizer).__name__} has no mask token; use a masked language model's, or "
            "causal=True."
        )


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return a text's token ids, no special ones; those that it spells out are plain characters."""
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
    """Return all token ids, however many, and the mask's index."""
    start, end = special_ids(tokenizer)
    before, after = template.halves(*texts)
    if causal:
        shown = [_shown(template, *parts, causal) for parts in demonstrations]
        ids = [*start, *token_ids(tokenizer, "\n\n".join([*shown, before]).rstrip(" "))]
        if not ids:
            raise ValueError(
                f"template={template.pattern!r} leaves nothing before the mask for an empty text; "
                "write a word before {mask}, or drop empty texts."
            )
        return ids, len(ids) - 1
    after = " ".join([after, *(_shown(template, *parts, causal) for parts in demonstrations)])
    mask = tokenizer.added_tokens_decoder.get(tokenizer.mask_token_id)
    if mask is not None and mask.lstrip:  # RoBERTa's takes the space before it along
        before = before.rstrip()
    head = [*start, *token_ids(tokenizer, before)]
    return [*head, tokenizer.mask_token_id, *token_ids(tokenizer, after), *end], len(head)


def _shown(template: Template, text: str, text2: str | None, word: str, causal: bool) -> str:
    """Write a demonstration; a causal one with the space before its word, as in `word_ids`."""
    before, after = template.halves(text, text2)
    return f"{before.rstrip(' ')} {word}" if causal else before + word + after


def _shorten(
    tokenizer: Tokenizer, texts: tuple[str, str | None], over: int
) -> tuple[str, str | None]:
    """Take `over` tokens from the texts' ends, one by one from the longer; less if all is gone."""
    starts_of = [_token_starts(tokenizer, text or "") for text in texts]
    kept = [len(starts) for starts in starts_of]
    for _ in range(min(over, sum(kept))):
        kept[int(kept[1] > kept[0])] -= 1
    first, second = (
        text if text is None or count == len(starts) else text[: starts[count]].rstrip()
        for text, starts, count in zip(texts, starts_of, kept, strict=True)
    )
    return first, second


def _token_starts(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the index of each token's first character."""
    encoding = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=True,
        verbose=False,
    )
    return [start for start, _ in encoding["offset_mapping"]]


# --- words that name labels ----------------------------------------------------------------------


def word_ids(
    words: Mapping[Any, str | Sequence[str]],
    classes: Sequence[Any] | np.ndarray,
    tokenizer: Tokenizer,
    *,
    causal: bool,
    template: Template,
) -> np.ndarray:
    """Return the token id that each label's word has at the template's mask.

    A byte-level vocabulary writes a word differently with a space before it: the template says
    whether there is one. For a causal model there always is.

    Args:
        words: A word for each label, or a tuple of words for each, all of the same length.
        classes: The labels, shape `(num_classes,)`.
        tokenizer: The model's.
        causal: Whether the model is causal.
        template: What the words stand in.

    Returns:
        Shape `(num_classes,)`, in the order of `classes`; with tuples `(num_classes, num_words)`.

    Raises:
        ValueError: If a label has no word, a word no label, two words are one token, a word is
            more than one token or unknown to the tokenizer, labels have different numbers of
            words, or a label is no string or integer.

    Source: Gao et al. (2021), section 4.1, for one word; Schick and Schütze, *Exploiting Cloze
    Questions for Few Shot Text Classification* (2021), for several; chapter 6.
    """
    template = Template.of(template)
    labels = _check_classes(classes)
    _check_words(words, labels)
    taken: dict[int, tuple[str, Any]] = {}
    for label in labels:
        for word in words_of(words[label]):
            token = _only_token(word, tokenizer, causal, template)
            if token in taken:
                other, of = taken[token]
                raise ValueError(
                    f"the words {other!r} of label {of!r} and {word!r} of label {label!r} are one "
                    "token to this tokenizer; use words that differ."
                )
            taken[token] = word, label
    ids = np.fromiter(taken, dtype=np.int64, count=len(taken))
    several = any(not isinstance(words[label], str) for label in labels)
    return ids.reshape(len(labels), -1) if several else ids


def words_of(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return the words that stand for a label, be it one or several.

    >>> words_of("great"), words_of(("great", "good"))
    (('great',), ('great', 'good'))
    """
    return (given,) if isinstance(given, str) else tuple(given)


def word_tokens(word: str, tokenizer: Tokenizer, *, causal: bool, template: Template) -> list[int]:
    """Return the token ids of a word where it fills the template's mask; see `word_ids`."""
    check_text("word", word)
    before = template.halves("x", "x")[0].rstrip(" ")
    written = f" {word}" if causal or template.spaced else word
    context, whole = token_ids(tokenizer, before), token_ids(tokenizer, before + written)
    if whole[: len(context)] == context:
        return whole[len(context) :]
    return token_ids(tokenizer, written)  # it merges with what stands before


def vocabulary_words(tokenizer: Tokenizer, *, causal: bool, template: Template) -> dict[int, str]:
    """Return the vocabulary's tokens that are words of their own: `{token id: word}`.

    At least two letters and nothing else; no part of a word, nothing special; in a vocabulary that
    marks spaces, with the space that the template has before the mask. A few of them may still be
    written with other tokens, such as words with accents that the tokenizer removes.
    """
    vocabulary = tokenizer.get_vocab()
    special = set(tokenizer.all_special_ids)
    marks = [mark for mark in SPACES if any(token.startswith(mark) for token in vocabulary)]
    space = marks[0] if marks and (causal or template.spaced) else ""
    words = {}
    for token, token_id in vocabulary.items():
        word = token.removeprefix(space)
        # Byte-level tokens spell letters beyond ASCII as other letters.
        readable = word.isascii() or "Ġ" not in marks
        if token.startswith(space) and word.isalpha() and len(word) >= 2 and readable:
            words[token_id] = word
    return {token_id: words[token_id] for token_id in sorted(words) if token_id not in special}


def _check_classes(classes: Sequence[Any] | np.ndarray) -> list[Any]:
    plain = isinstance(classes, list | tuple | np.ndarray)
    labels = np.asarray(classes, dtype=None if plain else object).tolist()
    if not isinstance(labels, list) or not all(isinstance(label, str | int) for label in labels):
        raise ValueError(f"classes={classes!r}; pass a list of labels, strings or integers.")
    return labels


def _check_words(words: Mapping[Any, str | Sequence[str]], labels: Sequence[Any]) -> None:
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
    taken: dict[str, Any] = {}
    for label in labels:
        if not isinstance(words[label], str | tuple | list) or not words[label]:
            raise ValueError(
                f"the word of label {label!r} is {words[label]!r}; use a string, or a tuple of "
                "strings."
            )
        for word in words_of(words[label]):
            _check_word(word, label)
            if word.strip() in taken:
                other = taken[word.strip()]
                raise ValueError(
                    f"the labels {other!r} and {label!r} share the word {word!r}; give each its "
                    "own."
                    if other != label
                    else f"label {label!r} has the word {word!r} twice; give it once."
                )
            taken[word.strip()] = label
    counts = {label: len(words_of(words[label])) for label in labels}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"the labels have different numbers of words, {counts}; give each label as many as "
            "the others."
        )


def _check_word(word: Any, label: Any) -> None:
    if not isinstance(word, str) or not word.strip():
        raise ValueError(f"the word of label {label!r} is {word!r}; use a string.")
    check_unicode(word, f"the word of label {label!r}")


def _only_token(word: str, tokenizer: Tokenizer, causal: bool, template: Template) -> int:
    """Return the id of the word's one token, or raise a `ValueError` that names its tokens."""
    ids = word_tokens(word.strip(), tokenizer, causal=causal, template=template)
    if tokenizer.unk_token_id in ids:
        raise ValueError(f"the word {word!r} is unknown to the tokenizer; use a common word.")
    if len(ids) != 1:
        named = [token.lstrip("".join(SPACES)) for token in tokenizer.convert_ids_to_tokens(ids)]
        known = [
            common
            for common in COMMON_WORDS
            if len(word_tokens(common, tokenizer, causal=causal, template=template)) == 1
        ]
        such = f", such as {known[0]!r}" if known else ""
        raise ValueError(
            f"{word!r} is {len(ids)} tokens ({', '.join(named)}); use a word of one token{such}."
        )
    return ids[0]
