"""Prompt templates that a generator proposes from a few examples (chapter 6).

A template is a text between the input and its label word, such as `{text} It was {mask}`. Good
ones are those a language model finds likely around the examples: `CausalGenerator` searches with
a causal model, which the book's own run uses, since that model comes from a package index;
`SpanGenerator` fills spans with a T5 from the Hub, as the paper does. Which of the proposals is
best is a matter of development accuracy, and the chapter's.

Source: Gao, Fisch and Chen, *Making Pre-trained Language Models Better Few-shot Learners* (2021),
section 5.2; chapter 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, DynamicCache
from transformers import PreTrainedTokenizerBase as Tokenizer

from reptune import assets, runtime
from reptune.checks import check_labels, check_texts, check_unicode, check_whole_number
from reptune.cloze.prompt_models import PromptModel
from reptune.cloze.templates import Template, token_ids, word_ids
from reptune.models.causal import CausalLM, check_loaded, load_causal_lm, load_float32
from reptune.runtime import half_precision as autocast
from reptune.tokens import pad

Label = str | int
State = tuple[torch.Tensor, torch.Tensor]  # a layer's keys and values

MAX_TEXT_TOKENS = 48
WORD_LAST = Template("{text} {mask}")
SENTINELS = ("<extra_id_0>", "<extra_id_1>", "<extra_id_2>")  # T5's: a span each, and the end


# --- a causal model ------------------------------------------------------------------------------


class CausalGenerator:
    """Search for templates from left to right with a causal language model.

    One template is sought for all examples. A beam's score is the sum over the examples of
    log p(tokens | text); a template of any length from 1 to `max_tokens` is finished by adding
    the sum of log p(label word | text, tokens), and its score is then divided by examples x
    (tokens + 1), so that lengths compare: the mean log-probability of a token, in nats. All
    probabilities are over the whole vocabulary, and are what plain scoring of each whole sequence
    gives; the texts are read once and their keys and values kept.

    Tokens must print: no special tokens, line breaks, braces or parts of a character. The first
    one begins with a space or is punctuation, since a letter would run into the text's last word.
    Templates whose string the tokenizer would cut into other tokens are left out.

    Memory grows with the examples: with SmolLM2-135M-Instruct, about 2 MB per text of 48 tokens
    and 50 kB per text, beam and token, in float32.

    Args:
        model: A causal language model: an asset's name, a local folder or a Hub id, or one that
            `reptune.cloze.load_prompt_model` has loaded, which is then not loaded again.
        beam_width: Templates kept at each length.
        max_tokens: Tokens of the longest template.
        max_text_tokens: Tokens of a text that are read; the rest of a longer one is cut off.
        batch_size: Texts read at once.
        half_precision: bfloat16 products, where the device has them; scores move by about 0.01.

    Raises:
        ValueError: If a number is no whole number above 0, the model is not causal, or it takes
            fewer tokens than these.
        reptune.assets.AssetUnavailable: If the model cannot be had.

    Source: Gao et al. (2021), section 5.2, with a causal model in place of T5; chapter 6.
    """

    def __init__(
        self,
        model: str | Path | PromptModel = "SmolLM2-135M-Instruct",
        *,
        beam_width: int = 20,
        max_tokens: int = 6,
        max_text_tokens: int = MAX_TEXT_TOKENS,
        batch_size: int = 32,
        half_precision: bool = True,
    ) -> None:
        beam_width = check_whole_number("beam_width", beam_width)
        max_tokens = check_whole_number("max_tokens", max_tokens)
        max_text_tokens = check_whole_number("max_text_tokens", max_text_tokens)
        batch_size = check_whole_number("batch_size", batch_size)
        self._lm = _causal(model)
        self._beam_width, self._max_tokens = beam_width, max_tokens
        self._max_text_tokens, self._batch_size = max_text_tokens, batch_size
        self._half = half_precision
        self._start = self._lm.encode("")  # the special tokens in front of a text, if any
        needed = len(self._start) + max_text_tokens + max_tokens
        if needed > self._lm.limit:
            raise ValueError(
                f"max_text_tokens={max_text_tokens} and max_tokens={max_tokens} need {needed} "
                f"tokens, but the model takes at most {self._lm.limit}; lower max_text_tokens."
            )
        self._vocabulary = _Vocabulary(self._lm.tokenizer, self._vocabulary_size())

    def generate(
        self,
        texts: Iterable[str],
        labels: Iterable[Label],
        words: Mapping[Label, str],
        *,
        num_templates: int,
    ) -> list[tuple[str, float]]:
        """Propose templates that end in the label word, `{text} … {mask}`.

        Args:
            texts: The few-shot examples, shape `(n,)`.
            labels: One per text.
            words: The word that stands for each label, one token each after a space.
            num_templates: How many to return at most.

        Returns:
            Patterns with their scores (nats per token), the best first; for a masked language model
            that expects an end of the sentence, append `" ."`.

        Raises:
            ValueError: If texts and labels do not fit, a text is empty, or the words are not one
                for each label, of one token each.
        """
        examples, labels = _check_examples(texts, labels, words, num_templates)
        classes = sorted(set(labels))
        answers = word_ids(words, classes, self._lm.tokenizer, causal=True, template=WORD_LAST)
        answers = answers[[classes.index(label) for label in labels]].tolist()
        with torch.inference_mode(), autocast(self._lm.model.device, self._half):
            batches = list(self._read(examples, answers))
            finished = self._search(batches)
        count = len(examples)
        scores = {
            f"{{text}}{self._vocabulary.text(ids)} {{mask}}": total / (count * (len(ids) + 1))
            for ids, total in finished.items()
            if self._vocabulary.is_canonical(ids)
        }
        return _best(scores, num_templates)

    def _search(self, batches: list[_Batch]) -> dict[tuple[int, ...], float]:
        """Return all templates that were in the beam, with totals over examples, word included."""
        finished: dict[tuple[int, ...], float] = {}
        beams = [_Beam((), 0.0, [None] * len(batches))]
        for length in range(self._max_tokens + 1):
            after = []  # each beam's total with every token of the vocabulary added
            for index, beam in enumerate(beams):
                sums, word, beams[index] = self._extend(batches, beam)
                after.append(beam.total + sums)
                if length:
                    finished[beam.ids] = beam.total + word
            if length == self._max_tokens:
                break
            allowed = self._vocabulary.content if length else self._vocabulary.opening
            beams = [
                _Beam((*beams[row].ids, token), total, beams[row].kept)
                for row, token, total in _top(torch.stack(after), allowed, self._beam_width)
            ]
        return finished

    def _extend(self, batches: list[_Batch], beam: _Beam) -> tuple[torch.Tensor, float, _Beam]:
        """Feed a beam's last token: sums of log p(next token), of log p(label word), new states."""
        sums, word, kept = 0.0, 0.0, []
        for batch, states in zip(batches, beam.kept, strict=True):
            chances = batch.after_text
            if beam.ids:
                chances, states = self._feed(batch, states, beam.ids)
            sums = sums + chances.sum(dim=0).cpu().double()
            word += float(chances.gather(1, batch.answers[:, None]).sum())
            kept.append(states)
        return sums, word, beam._replace(kept=kept)

    def _feed(
        self, batch: _Batch, states: list[State] | None, ids: tuple[int, ...]
    ) -> tuple[torch.Tensor, list[State]]:
        """Return log-probabilities after text and template, `(n, vocabulary)`, and its states.

        Args:
            batch: Texts that were read.
            states: Of all tokens of the template but the last, by layer; `None` if it has one.
            ids: The template so far.
        """
        count, width = batch.mask.shape
        both = [
            tuple(torch.cat(parts, dim=2) for parts in zip(before, own, strict=True))
            for before, own in zip(batch.states, states, strict=True)
        ] if states else batch.states  # fmt: skip
        output = self._lm.model(
            input_ids=batch.mask.new_full((count, 1), ids[-1]),
            attention_mask=torch.cat([batch.mask, batch.mask.new_ones(count, len(ids))], dim=1),
            # Padding stands between text and template, but takes no position.
            position_ids=batch.mask.sum(dim=1, keepdim=True) + len(ids) - 1,
            past_key_values=DynamicCache(both),
            use_cache=True,
        )
        new = [
            (layer.keys[:, :, width:].clone(), layer.values[:, :, width:].clone())
            for layer in output.past_key_values.layers
        ]
        return output.logits[:, -1].float().log_softmax(dim=-1), new

    def _read(self, texts: list[str], answers: list[int]) -> Iterator[_Batch]:
        """Read the texts, padded on the right, batch by batch."""
        device, size = self._lm.model.device, self._batch_size
        encoded = [
            [*self._start, *_first_tokens(self._lm.tokenizer, text, self._max_text_tokens)]
            for text in texts
        ]
        for start in range(0, len(encoded), size):
            inputs, mask = pad(encoded[start : start + size], device)
            output = self._lm.model.base_model(inputs, attention_mask=mask, use_cache=True)
            last = output.last_hidden_state[torch.arange(len(mask)), mask.sum(dim=1) - 1]
            logits = self._lm.model.get_output_embeddings()(last)
            yield _Batch(
                mask=mask,
                states=[(layer.keys, layer.values) for layer in output.past_key_values.layers],
                after_text=logits.float().log_softmax(dim=-1),
                answers=torch.tensor(answers[start : start + size], device=device),
            )

    def _vocabulary_size(self) -> int:
        return self._lm.model.get_output_embeddings().weight.shape[0]


def _causal(model: str | Path | PromptModel) -> CausalLM:
    """Return a causal model with its tokenizer, loaded if it is not, or raise a `ValueError`."""
    if not isinstance(model, PromptModel):
        return load_causal_lm(model)
    if not model.causal:
        raise ValueError(
            f"model is a {type(model.model).__name__}, which cannot go on with a text; load a "
            "causal language model, such as 'SmolLM2-135M-Instruct'."
        )
    return CausalLM(model.model.eval(), model.tokenizer)


class _Beam(NamedTuple):
    """A template so far.

    Attributes:
        ids: Its token ids.
        total: Sum over the examples of log p(template | text).
        kept: By batch, the keys and values of all tokens but the last; `None` where there are
            none.
    """

    ids: tuple[int, ...]
    total: float
    kept: list[list[State] | None]


@dataclass
class _Batch:
    """Texts that a causal model has read.

    Attributes:
        mask: 1 for a token, 0 for padding, shape `(n, width)`.
        states: Keys and values by layer, shape `(n, heads, width, size)`.
        after_text: Log-probabilities of what comes right after, `(n, vocabulary)`.
        answers: Token id of each text's label word, `(n,)`.
    """

    mask: torch.Tensor
    states: list[State]
    after_text: torch.Tensor
    answers: torch.Tensor


# --- T5 ------------------------------------------------------------------------------------------


class SpanGenerator:
    """Let a T5 fill the spans around the label word, as the paper does.

    The encoder reads `text <extra_id_0> word <extra_id_1>`; a template is what the decoder puts
    into the two spans, the second perhaps empty: `{text} It was {mask} .` A beam search seeks
    one template for all examples, by the sum over them of log p(template | input). Scores are
    divided by examples x tokens, the two that end the spans included, so that lengths compare:
    nats per token.

    Needs a model from the Hub, so the book's own run uses `CausalGenerator`. Works in float32,
    since T5 overflows in float16.

    Args:
        model: A T5: a local folder or a Hub id. The paper uses `google-t5/t5-3b`.
        beam_width: Templates kept at each length; the paper keeps 100.
        max_tokens: Tokens of both spans together, at most.
        max_text_tokens: Tokens of a text that are read; the rest of a longer one is cut off.
        batch_size: Texts read at once.

    Raises:
        ValueError: If a number is no whole number above 0, or the tokenizer has no span tokens.
        reptune.assets.AssetUnavailable: If the model cannot be had.

    Source: Gao et al. (2021), section 5.2; Raffel et al., *Exploring the Limits of Transfer
    Learning with a Unified Text-to-Text Transformer* (2020), section 3.1.4; chapter 6.
    """

    def __init__(
        self,
        model: str | Path = "google-t5/t5-small",
        *,
        beam_width: int = 20,
        max_tokens: int = 6,
        max_text_tokens: int = MAX_TEXT_TOKENS,
        batch_size: int = 32,
    ) -> None:
        beam_width = check_whole_number("beam_width", beam_width)
        max_tokens = check_whole_number("max_tokens", max_tokens)
        max_text_tokens = check_whole_number("max_text_tokens", max_text_tokens)
        batch_size = check_whole_number("batch_size", batch_size)
        source = str(assets.resolve_model(model))
        with runtime.quiet():
            self._tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            self._spans = _sentinel_ids(self._tokenizer, model)
            loaded, missing = load_float32(AutoModelForSeq2SeqLM, source)
            check_loaded(model, loaded, missing)
        self._model = loaded.to(runtime.device()).eval()
        self._beam_width, self._max_tokens = beam_width, max_tokens
        self._max_text_tokens, self._batch_size = max_text_tokens, batch_size
        size = self._model.get_output_embeddings().weight.shape[0]
        self._vocabulary = _Vocabulary(self._tokenizer, size)

    def generate(
        self,
        texts: Iterable[str],
        labels: Iterable[Label],
        words: Mapping[Label, str],
        *,
        num_templates: int,
    ) -> list[tuple[str, float]]:
        """Propose templates, `{text} … {mask}` or `{text} … {mask} …`.

        Args:
            texts: The few-shot examples, shape `(n,)`.
            labels: One per text.
            words: The word that stands for each label, of any number of tokens.
            num_templates: How many to return at most.

        Returns:
            Patterns with their scores (nats per token), the best first.

        Raises:
            ValueError: If texts and labels do not fit, a text is empty, or a label has no word.
        """
        examples, labels = _check_examples(texts, labels, words, num_templates)
        inputs = [
            self._input(text, words[label]) for text, label in zip(examples, labels, strict=True)
        ]
        with torch.inference_mode():
            finished = self._search(list(self._read(inputs)))
        scores = {}
        for ids, total in finished.items():
            middle = ids.index(self._spans[1])
            before, behind = ids[:middle], ids[middle + 1 :]
            spans = [self._vocabulary.text(span) for span in (before, behind)]
            if all(self._vocabulary.is_canonical(span) for span in (before, behind)):
                pattern = f"{{text}}{spans[0]} {{mask}}{spans[1]}"
                scores[pattern] = total / (len(examples) * (len(ids) + 1))
        return _best(scores, num_templates)

    def _search(self, read: list[State]) -> dict[tuple[int, ...], float]:
        """Return templates, the second span token among their ids, and their totals."""
        finished: dict[tuple[int, ...], float] = {}
        beams: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
        for _ in range(self._max_tokens + 2):
            after = torch.stack([total + self._next(read, ids) for ids, total in beams])
            for (ids, _), row in zip(beams, after, strict=True):
                if self._spans[1] in ids and len(ids) > 1:
                    finished[ids] = float(row[self._spans[2]])
            allowed = torch.stack([self._allowed(ids) for ids, _ in beams])
            beams = [
                ((*beams[row][0], token), total)
                for row, token, total in _top(after, allowed, self._beam_width)
            ]
            if not beams:
                break
        return finished

    def _allowed(self, ids: tuple[int, ...]) -> torch.Tensor:
        """Return what may follow, of the vocabulary; the end is scored apart and takes no beam."""
        divided = self._spans[1] in ids
        opens = not ids or ids[-1] == self._spans[1]
        allowed = (self._vocabulary.opening if opens else self._vocabulary.content).clone()
        if len(ids) - divided >= self._max_tokens:
            allowed[:] = False
        allowed[self._spans[1]] = not divided
        return allowed

    def _next(self, read: list[State], ids: tuple[int, ...]) -> torch.Tensor:
        """Sum log p(next token | input, template) over the examples, shape `(vocabulary,)`."""
        start = self._model.config.decoder_start_token_id
        sums = torch.zeros(())
        for states, mask in read:
            before = torch.tensor([start, self._spans[0], *ids], device=mask.device)
            logits = self._model(
                encoder_outputs=(states,),
                attention_mask=mask,
                decoder_input_ids=before.expand(len(mask), -1),
                use_cache=False,
            ).logits[:, -1]
            sums = sums + logits.float().log_softmax(dim=-1).sum(dim=0).cpu().double()
        return sums

    def _input(self, text: str, word: str) -> list[int]:
        shown = _first_tokens(self._tokenizer, text, self._max_text_tokens)
        first, second, _ = self._spans
        answer = token_ids(self._tokenizer, word)
        return [*shown, first, *answer, second, self._tokenizer.eos_token_id]

    def _read(self, inputs: list[list[int]]) -> Iterator[State]:
        """Yield the encoder's states, `(n, width, size)`, and the mask, batch by batch."""
        for start in range(0, len(inputs), self._batch_size):
            ids, mask = pad(inputs[start : start + self._batch_size], self._model.device)
            yield self._model.get_encoder()(ids, attention_mask=mask).last_hidden_state, mask


def _sentinel_ids(tokenizer: Tokenizer, model: str | Path) -> list[int]:
    known = tokenizer.get_vocab()
    missing = [token for token in SENTINELS if token not in known]
    if missing:
        raise ValueError(
            f"the tokenizer of {model} has no {missing[0]}, so it fills no spans; use a T5, such "
            "as 'google-t5/t5-small'."
        )
    return [known[token] for token in SENTINELS]


# --- what both share -----------------------------------------------------------------------------


class _Vocabulary:
    """Which tokens of a vocabulary a template may hold, and the string that they make.

    Attributes:
        content: Whether a token may stand in a template, shape `(vocabulary,)`.
        opening: Whether it may begin one: it has a space before it, or is punctuation.
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self._tokenizer = tokenizer
        # A decoder drops the space before the first token, so that all are decoded after another.
        self._anchor = token_ids(tokenizer, "a")
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        strings = {
            token: self.text([token])
            for token in range(min(size, len(tokenizer)))
            if token not in special
        }
        self.content = torch.zeros(size, dtype=torch.bool)
        self.opening = torch.zeros(size, dtype=torch.bool)
        for token, string in strings.items():
            self.content[token] = _prints(string)
            self.opening[token] = _prints(string) and not string[0].isalnum()

    def text(self, ids: Sequence[int]) -> str:
        """Return the string of tokens that follow something, with the space before them if any."""
        whole, anchor = (
            self._tokenizer.decode(part, clean_up_tokenization_spaces=False)
            for part in ([*self._anchor, *ids], self._anchor)
        )
        return whole[len(anchor) :]

    def ids(self, string: str) -> list[int]:
        """Return the token ids of a string that follows something."""
        return token_ids(self._tokenizer, "a" + string)[len(self._anchor) :]

    def is_canonical(self, ids: Sequence[int]) -> bool:
        """Return whether the tokenizer cuts the tokens' string into just these tokens."""
        return self.ids(self.text(ids)) == list(ids)


def _prints(string: str) -> bool:
    """Return whether it is text of one word or mark, perhaps after a space, safe in a pattern."""
    bare = string.removeprefix(" ")
    return (
        bool(bare)
        and bare.isprintable()
        and not any(character.isspace() or character in "{}\ufffd" for character in bare)
    )


def _check_examples(
    texts: Iterable[str], labels: Iterable[Label], words: Mapping[Label, str], num_templates: int
) -> tuple[list[str], list[Label]]:
    """Return texts and labels as lists, or raise a `ValueError`."""
    check_whole_number("num_templates", num_templates)
    texts = check_texts(texts)
    labels = check_labels(labels, len(texts)).tolist()
    if not isinstance(words, Mapping):
        raise ValueError(f"words={words!r}; pass a dictionary from label to word.")
    for label in dict.fromkeys(labels):
        word = words.get(label)
        if not isinstance(word, str) or not word.strip():
            raise ValueError(
                f"words has {word!r} for the label {label!r}; give every label a word, such as "
                f"words={{{label!r}: 'great', …}}."
            )
        check_unicode(word, f"the word of label {label!r}")
    return texts, labels


def _first_tokens(tokenizer: Tokenizer, text: str, limit: int) -> list[int]:
    ids = token_ids(tokenizer, text)
    if not ids:
        raise ValueError(f"the text {text!r} has no tokens; drop it with its label.")
    return ids[:limit]


def _top(totals: torch.Tensor, allowed: torch.Tensor, width: int) -> list[tuple[int, int, float]]:
    """Return the best continuations of all beams: beam, token and total, the best first.

    Args:
        totals: Shape `(beams, vocabulary)`.
        allowed: Which of them may be, same shape or `(vocabulary,)`.
        width: How many to return at most.
    """
    open_ones = totals.masked_fill(~allowed, -torch.inf)
    best = open_ones.flatten().topk(min(width, open_ones.numel()))
    return [
        (*divmod(index, totals.shape[1]), total)
        for index, total in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        if total > -torch.inf
    ]


def _best(scores: dict[str, float], count: int) -> list[tuple[str, float]]:
    """Return the highest first; of equal ones the first by the alphabet."""
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:count]
