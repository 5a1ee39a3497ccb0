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
from typing import NamedTuple, Protocol

import torch
from torch import nn
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, DynamicCache
from transformers import PreTrainedTokenizerBase as Tokenizer

from reptune import assets, runtime
from reptune.checks import check_labels, check_texts, check_unicode, check_whole_number
from reptune.cloze.templates import Template, word_ids
from reptune.cloze.templates import pieces as pieces_of
from reptune.models.causal import check_loaded, load_causal_lm, load_float32
from reptune.runtime import half_precision as autocast

Label = str | int
State = tuple[torch.Tensor, torch.Tensor]  # a layer's keys and values

MAX_TEXT_PIECES = 48
WORD_LAST = Template("{text} {mask}")
SENTINELS = ("<extra_id_0>", "<extra_id_1>", "<extra_id_2>")  # T5's: a gap each, and the end


class TemplateGenerator(Protocol):
    """What proposes templates; pass any object with this method where one is asked for."""

    def generate(
        self,
        texts: Iterable[str],
        labels: Iterable[Label],
        words: Mapping[Label, str],
        *,
        num_templates: int,
    ) -> list[tuple[str, float]]:
        """Propose templates for a task that a few examples show.

        Args:
            texts: The few-shot examples, shape `(n,)`.
            labels: One a text.
            words: The word that stands for each label.
            num_templates: How many to return at most.

        Returns:
            Patterns in the language of `reptune.cloze.templates`, each with its score in nats per
            token (below 0; higher is likelier), the best first.

        Raises:
            ValueError: If texts and labels do not fit, or a label has no word.
        """
        ...


# --- a causal model ------------------------------------------------------------------------------


class CausalGenerator:
    """Search for templates from left to right with a causal language model.

    One template is sought for all examples. A beam's score is the sum over the examples of
    log p(pieces | text); a template of any length from 1 to `max_pieces` is finished by adding
    the sum of log p(label word | text, pieces), and its score is then divided by examples x
    (pieces + 1), so that lengths compare: the mean log-probability of a piece, in nats. All
    probabilities are over the whole vocabulary, and are what plain scoring of each whole sequence
    gives; the texts are read once and their keys and values kept.

    Pieces must print: no special tokens, line breaks, braces or parts of a character. The first
    one begins with a space or is punctuation, since a letter would run into the text's last word.
    Templates whose string the tokenizer would cut into other pieces are left out.

    Memory grows with the examples: of SmolLM2-135M-Instruct, about 2 MB a text of 48 pieces and
    50 kB a text, beam and piece, in float32.

    Args:
        model: A causal language model: an asset's name, a local folder or a Hub id.
        beam_width: Templates kept at each length.
        max_pieces: Pieces of the longest template.
        max_text_pieces: Pieces of a text that are read; the rest of a longer one is cut off.
        batch_size: Texts read at once.
        half_precision: bfloat16 products, where the device has them; scores move by about 0.01.

    Raises:
        ValueError: If a number is no whole number above 0, the model is not causal, or it reads
            fewer pieces than are asked for.
        reptune.assets.AssetUnavailable: If the model cannot be had.

    Source: Gao et al. (2021), section 5.2, with a causal model in place of T5; chapter 6.
    """

    def __init__(
        self,
        model: str | Path = "SmolLM2-135M-Instruct",
        *,
        beam_width: int = 20,
        max_pieces: int = 6,
        max_text_pieces: int = MAX_TEXT_PIECES,
        batch_size: int = 32,
        half_precision: bool = True,
    ) -> None:
        beam_width = check_whole_number("beam_width", beam_width)
        max_pieces = check_whole_number("max_pieces", max_pieces)
        max_text_pieces = check_whole_number("max_text_pieces", max_text_pieces)
        batch_size = check_whole_number("batch_size", batch_size)
        self._lm = load_causal_lm(model)
        self._beam_width, self._max_pieces = beam_width, max_pieces
        self._max_text_pieces, self._batch_size = max_text_pieces, batch_size
        self._half = half_precision
        self._start = self._lm.encode("")  # the special tokens in front of a text, if any
        needed = len(self._start) + max_text_pieces + max_pieces
        if needed > self._lm.limit:
            raise ValueError(
                f"max_text_pieces={max_text_pieces} and max_pieces={max_pieces} need {needed} "
                f"pieces, but the model reads {self._lm.limit}; lower max_text_pieces."
            )
        self._pieces = _Pieces(self._lm.tokenizer, self._vocabulary_size())

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
            labels: One a text.
            words: The word that stands for each label, one piece each after a space.
            num_templates: How many to return at most.

        Returns:
            Patterns with their scores (nats a piece), the best first; for a masked language model
            that expects an end of the sentence, append `" ."`.

        Raises:
            ValueError: If texts and labels do not fit, a text is empty, or the words are not one
                for each label, of one piece each.
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
            "{text}" + self._pieces.text(pieces) + " {mask}": total / (count * (len(pieces) + 1))
            for pieces, total in finished.items()
            if self._pieces.is_canonical(pieces)
        }
        return _best(scores, num_templates)

    def _search(self, batches: list[_Batch]) -> dict[tuple[int, ...], float]:
        """Every template that was in the beam, with its total over examples, word included."""
        finished: dict[tuple[int, ...], float] = {}
        beams = [_Beam((), 0.0, [None] * len(batches))]
        for length in range(self._max_pieces + 1):
            after = []  # each beam's total with every piece of the vocabulary added
            for place, beam in enumerate(beams):
                sums, word, beams[place] = self._extend(batches, beam)
                after.append(beam.total + sums)
                if length:
                    finished[beam.pieces] = beam.total + word
            if length == self._max_pieces:
                break
            allowed = self._pieces.content if length else self._pieces.opening
            beams = [
                _Beam((*beams[row].pieces, piece), total, beams[row].kept)
                for row, piece, total in _top(torch.stack(after), allowed, self._beam_width)
            ]
        return finished

    def _extend(self, batches: list[_Batch], beam: _Beam) -> tuple[torch.Tensor, float, _Beam]:
        """Feed a beam's last piece: sums of log p(next piece), of log p(label word), new states."""
        sums, word, kept = 0.0, 0.0, []
        for batch, states in zip(batches, beam.kept, strict=True):
            chances = batch.after_text
            if beam.pieces:
                chances, states = self._feed(batch, states, beam.pieces)
            sums = sums + chances.sum(dim=0).cpu().double()
            word += float(chances.gather(1, batch.answers[:, None]).sum())
            kept.append(states)
        return sums, word, beam._replace(kept=kept)

    def _feed(
        self, batch: _Batch, states: list[State] | None, pieces: tuple[int, ...]
    ) -> tuple[torch.Tensor, list[State]]:
        """Log-probabilities after text and pieces, `(n, vocabulary)`, and the pieces' states.

        Args:
            batch: Texts that were read.
            states: Of all pieces but the last, by layer; `None` if there is but one.
            pieces: The template so far.
        """
        count, width = batch.mask.shape
        both = [
            tuple(torch.cat(parts, dim=2) for parts in zip(before, own, strict=True))
            for before, own in zip(batch.states, states, strict=True)
        ] if states else batch.states  # fmt: skip
        output = self._lm.model(
            input_ids=batch.mask.new_full((count, 1), pieces[-1]),
            attention_mask=torch.cat([batch.mask, batch.mask.new_ones(count, len(pieces))], dim=1),
            # Padding stands between text and pieces, but takes no position.
            position_ids=batch.mask.sum(dim=1, keepdim=True) + len(pieces) - 1,
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
            [*self._start, *_first_pieces(self._lm.tokenizer, text, self._max_text_pieces)]
            for text in texts
        ]
        for start in range(0, len(encoded), size):
            inputs, mask = _pad(encoded[start : start + size], device)
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


class _Beam(NamedTuple):
    """A template so far.

    Attributes:
        pieces: Its pieces.
        total: Sum over the examples of log p(pieces | text).
        kept: By batch, the keys and values of all pieces but the last; `None` where there are
            none.
    """

    pieces: tuple[int, ...]
    total: float
    kept: list[list[State] | None]


@dataclass
class _Batch:
    """Texts that a causal model has read.

    Attributes:
        mask: 1 for a piece, 0 for padding, shape `(n, width)`.
        states: Keys and values by layer, shape `(n, heads, width, size)`.
        after_text: Log-probabilities of what comes right after, `(n, vocabulary)`.
        answers: The label word's piece of each text, `(n,)`.
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
    divided by examples x pieces, the two tokens that end the spans included, so that lengths
    compare: nats a piece.

    Needs a model from the Hub, so the book's own run uses `CausalGenerator`. Works in float32,
    since T5 overflows in float16.

    Args:
        model: A T5: a local folder or a Hub id. The paper uses `google-t5/t5-3b`.
        beam_width: Templates kept at each length; the paper keeps 100.
        max_pieces: Pieces of both spans together, at most.
        max_text_pieces: Pieces of a text that are read; the rest of a longer one is cut off.
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
        max_pieces: int = 6,
        max_text_pieces: int = MAX_TEXT_PIECES,
        batch_size: int = 32,
    ) -> None:
        beam_width = check_whole_number("beam_width", beam_width)
        max_pieces = check_whole_number("max_pieces", max_pieces)
        max_text_pieces = check_whole_number("max_text_pieces", max_text_pieces)
        batch_size = check_whole_number("batch_size", batch_size)
        source = str(assets.resolve_model(model))
        with runtime.quiet():
            self._tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            self._spans = _sentinel_ids(self._tokenizer, model)
            loaded, missing = load_float32(AutoModelForSeq2SeqLM, source)
            check_loaded(model, loaded, missing)
        self._model = loaded.to(runtime.device()).eval()
        self._beam_width, self._max_pieces = beam_width, max_pieces
        self._max_text_pieces, self._batch_size = max_text_pieces, batch_size
        size = self._model.get_output_embeddings().weight.shape[0]
        self._pieces = _Pieces(self._tokenizer, size)

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
            labels: One a text.
            words: The word that stands for each label, of any number of pieces.
            num_templates: How many to return at most.

        Returns:
            Patterns with their scores (nats a piece), the best first.

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
        for pieces, total in finished.items():
            middle = pieces.index(self._spans[1])
            before, behind = pieces[:middle], pieces[middle + 1 :]
            if self._pieces.is_canonical(before) and self._pieces.is_canonical(behind):
                pattern = f"{{text}}{self._pieces.text(before)} {{mask}}{self._pieces.text(behind)}"
                scores[pattern] = total / (len(examples) * (len(pieces) + 1))
        return _best(scores, num_templates)

    def _search(self, read: list[State]) -> dict[tuple[int, ...], float]:
        """Templates as pieces with the second span token among them, and their totals."""
        finished: dict[tuple[int, ...], float] = {}
        beams: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
        for _ in range(self._max_pieces + 2):
            after = torch.stack([total + self._next(read, pieces) for pieces, total in beams])
            for (pieces, _), row in zip(beams, after, strict=True):
                if self._spans[1] in pieces and len(pieces) > 1:
                    finished[pieces] = float(row[self._spans[2]])
            allowed = torch.stack([self._allowed(pieces) for pieces, _ in beams])
            beams = [
                ((*beams[row][0], piece), total)
                for row, piece, total in _top(after, allowed, self._beam_width)
            ]
            if not beams:
                break
        return finished

    def _allowed(self, pieces: tuple[int, ...]) -> torch.Tensor:
        """What may follow, of the vocabulary; the end is scored apart and takes no beam."""
        divided = self._spans[1] in pieces
        opens = not pieces or pieces[-1] == self._spans[1]
        allowed = (self._pieces.opening if opens else self._pieces.content).clone()
        if len(pieces) - divided >= self._max_pieces:
            allowed[:] = False
        allowed[self._spans[1]] = not divided
        return allowed

    def _next(self, read: list[State], pieces: tuple[int, ...]) -> torch.Tensor:
        """Sum over the examples of log p(next piece | input, pieces), shape `(vocabulary,)`."""
        start = self._model.config.decoder_start_token_id
        sums = torch.zeros(())
        for states, mask in read:
            before = torch.tensor([start, self._spans[0], *pieces], device=mask.device)
            logits = self._model(
                encoder_outputs=(states,),
                attention_mask=mask,
                decoder_input_ids=before.expand(len(mask), -1),
                use_cache=False,
            ).logits[:, -1]
            sums = sums + logits.float().log_softmax(dim=-1).sum(dim=0).cpu().double()
        return sums

    def _input(self, text: str, word: str) -> list[int]:
        shown = _first_pieces(self._tokenizer, text, self._max_text_pieces)
        first, second, _ = self._spans
        answer = pieces_of(self._tokenizer, word)
        return [*shown, first, *answer, second, self._tokenizer.eos_token_id]

    def _read(self, inputs: list[list[int]]) -> Iterator[State]:
        """The encoder's states, `(n, width, size)`, and the mask, batch by batch."""
        for start in range(0, len(inputs), self._batch_size):
            ids, mask = _pad(inputs[start : start + self._batch_size], self._model.device)
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


class _Pieces:
    """Which pieces of a vocabulary a template may hold, and the string that they make.

    Attributes:
        content: Whether a piece may stand in a template, shape `(vocabulary,)`.
        opening: Whether it may begin one: it has a space before it, or is punctuation.
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self._tokenizer = tokenizer
        # A decoder drops the space before the first piece, so that all are decoded after another.
        self._anchor = pieces_of(tokenizer, "a")
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        strings = {
            piece: self.text([piece])
            for piece in range(min(size, len(tokenizer)))
            if piece not in special
        }
        self.content = torch.zeros(size, dtype=torch.bool)
        self.opening = torch.zeros(size, dtype=torch.bool)
        for piece, string in strings.items():
            self.content[piece] = _prints(string)
            self.opening[piece] = _prints(string) and not string[0].isalnum()

    def text(self, pieces: Sequence[int]) -> str:
        """The string of pieces that follow something, with the space before them if any."""
        whole, anchor = (
            self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)
            for ids in ([*self._anchor, *pieces], self._anchor)
        )
        return whole[len(anchor) :]

    def cut(self, string: str) -> list[int]:
        """The pieces of a string that follows something."""
        return pieces_of(self._tokenizer, "a" + string)[len(self._anchor) :]

    def is_canonical(self, pieces: Sequence[int]) -> bool:
        """Whether the tokenizer cuts the pieces' string into just these pieces."""
        return self.cut(self.text(pieces)) == list(pieces)


def _prints(string: str) -> bool:
    """Whether it is text of one word or mark, perhaps after a space, safe in a pattern."""
    bare = string.removeprefix(" ")
    return (
        bool(bare)
        and bare.isprintable()
        and not any(character.isspace() or character in "{}\ufffd" for character in bare)
    )


def _check_examples(
    texts: Iterable[str], labels: Iterable[Label], words: Mapping[Label, str], num_templates: int
) -> tuple[list[str], list[Label]]:
    """Texts and labels as lists, or a `ValueError`."""
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


def _first_pieces(tokenizer: Tokenizer, text: str, limit: int) -> list[int]:
    found = pieces_of(tokenizer, text)
    if not found:
        raise ValueError(f"the text {text!r} has no word pieces; drop it with its label.")
    return found[:limit]


def _pad(encoded: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, `(n, width)`, padded on the right."""
    rows = [torch.tensor(pieces) for pieces in encoded]
    inputs = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return inputs.to(device), mask.to(device)


def _top(totals: torch.Tensor, allowed: torch.Tensor, width: int) -> list[tuple[int, int, float]]:
    """The best continuations of all beams: beam, piece and total, the best first.

    Args:
        totals: Shape `(beams, vocabulary)`.
        allowed: Which of them may be, same shape or `(vocabulary,)`.
        width: How many to return at most.
    """
    open_ones = totals.masked_fill(~allowed, -torch.inf)
    best = open_ones.flatten().topk(min(width, open_ones.numel()))
    return [
        (*divmod(place, totals.shape[1]), total)
        for place, total in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        if total > -torch.inf
    ]


def _best(scores: dict[str, float], count: int) -> list[tuple[str, float]]:
    """The highest first; of equal ones the first by the alphabet."""
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:count]
