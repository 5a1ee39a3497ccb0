"""Prompts of a template as token ids, and the words that answer them.

`encode` turns a text in a `Template` into token ids that a model takes, with the mask's index;
`word_ids` says which token stands for which label. A tokenizer is all that this module needs.
Chapter 6 uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase as Tokenizer

from reptune.checks import check_unicode, check_whole_number
from reptune.models.prompts import check_text
from reptune.models.templates import Template
from reptune.tokens import special_ids

# What byte-level and SentencePiece vocabularies write for a space before a word.
SPACES = ("Ġ", "▁")
COMMON_WORDS = ("great", "good", "bad", "yes", "no")  # one token in nearly every vocabulary

Words = str | tuple[str, ...]  # what stands for a label: a word, or several
Demonstration = tuple[str, str | None, str]  # text, second text or None, word


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
