"""Prompts with solved examples in front of them (chapter 6)."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from reptune.cloze.prompt_models import Input, PromptModel
from reptune.cloze.templates import Demonstration, Encoded, Template, Words, encode, words_of
from reptune.models.neighbors import Neighbors


class Prompts:
    """Makes prompts of inputs, and draws the demonstrations that they show.

    Args:
        prompt_model: The model that reads them.
        template: What the inputs fill.
        words: The labels' words; of several, a demonstration shows the first.
        limit: Tokens per prompt.
        per_class: Demonstrations of each class in a prompt.
        examples: The training inputs.
        groups: Their classes, shape `(num_examples,)`.
        seed: Of the draws.
    """

    def __init__(
        self,
        prompt_model: PromptModel,
        template: Template,
        words: Sequence[Words],
        *,
        limit: int,
        per_class: int,
        examples: Sequence[Input],
        groups: np.ndarray,
        seed: int,
    ) -> None:
        self.prompt_model, self.template, self.words = prompt_model, template, list(words)
        self.limit, self.per_class, self.seed = limit, per_class, seed
        self.examples, self.groups = list(examples), np.asarray(groups)

    @cached_property
    def neighbors(self) -> Neighbors:
        """The training inputs, which it puts in order of similarity to others."""
        return Neighbors([joined(texts) for texts in self.examples])

    @cached_property
    def _order_of_examples(self) -> np.ndarray:
        return self.neighbors.order_of_fitted()[:, :-1]  # an example never shows itself

    @cached_property
    def alone(self) -> list[Encoded]:
        """The training inputs without demonstrations."""
        return self.plain(self.examples)

    def prepare(self) -> None:
        """Compute what training needs: an impossible template or limit raises here."""
        self.alone  # noqa: B018
        if self.per_class:
            self._order_of_examples  # noqa: B018

    def plain(self, inputs: Sequence[Input]) -> list[Encoded]:
        """Make prompts without demonstrations."""
        return [self._encode(texts, ()) for texts in inputs]

    def training(self, rows: np.ndarray, step: int) -> list[Encoded]:
        """Make prompts of training inputs, with new demonstrations at each step."""
        if not self.per_class:
            return [self.alone[row] for row in rows]
        rng = np.random.default_rng([self.seed, 1, step])
        return [
            self._encode(self.examples[row], self._draw(self._order_of_examples[row], rng))
            for row in rows
        ]

    def draws(self, inputs: Sequence[Input], count: int) -> Iterator[list[Encoded]]:
        """Make prompts `count` times, each time with other demonstrations.

        What is drawn for an input depends on its text alone, not on what stands beside it.
        """
        whole = [joined(texts) for texts in inputs]
        orders = self.neighbors.order(whole)
        hashes = [zlib.crc32(text.encode("utf-8", "replace")) for text in whole]
        for draw in range(count):
            generators = (np.random.default_rng([self.seed, 2, draw, own]) for own in hashes)
            yield [
                self._encode(texts, self._draw(order, rng))
                for texts, order, rng in zip(inputs, orders, generators, strict=True)
            ]

    def _draw(self, order: np.ndarray, rng: np.random.Generator) -> list[Demonstration]:
        """Draw demonstrations from the half of each class that is nearest, in random order.

        The order is random because a model weighs by position, and because what does not fit is
        dropped from one end.
        """
        chosen: list[int] = []
        for group in range(len(self.words)):
            members = order[self.groups[order] == group]
            near = members[: math.ceil(len(members) / 2)]
            chosen += rng.choice(near, min(self.per_class, len(near)), replace=False).tolist()
        return [
            (*self.examples[row], words_of(self.words[self.groups[row]])[0])
            for row in rng.permutation(np.array(chosen, dtype=int))
        ]

    def _encode(self, texts: Input, demonstrations: Sequence[Demonstration]) -> Encoded:
        return encode(
            self.template,
            self.prompt_model.tokenizer,
            *texts,
            limit=self.limit,
            causal=self.prompt_model.causal,
            demonstrations=demonstrations,
        )


def joined(texts: Input) -> str:
    """Join the texts of a pair, for what compares whole inputs."""
    return " ".join(text for text in texts if text is not None)


def some_of_each(label_ids: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of at most `count` drawn texts of each class, sorted."""
    drawn = [
        rng.permutation(np.flatnonzero(label_ids == label_id))[:count]
        for label_id in np.unique(label_ids)
    ]
    return np.sort(np.concatenate(drawn))
