"""Prompts with solved examples in front of them (chapter 6)."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from reptune.cloze.prompt_models import Input, PromptModel
from reptune.cloze.templates import Encoded, Template, encode
from reptune.models.neighbors import Neighbors

EXAMPLES = "examples.json"


# --- prompts with demonstrations -----------------------------------------------------------------


class Prompts:
    """Makes prompts of inputs, and draws the demonstrations that they show.

    Args:
        prompt_model: The model that reads them.
        template: What the inputs fill.
        words: The labels' words.
        limit: Pieces a prompt.
        per_class: Demonstrations of each class in a prompt.
        examples: The training inputs.
        groups: Their classes, shape `(num_examples,)`.
        seed: Of the draws.
    """

    def __init__(
        self,
        prompt_model: PromptModel,
        template: Template,
        words: Sequence[str],
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
        """The training inputs, to be put in order of similarity to others."""
        return Neighbors([joined(one) for one in self.examples])

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
        """Prompts without demonstrations."""
        return [self._encode(one, ()) for one in inputs]

    def training(self, rows: np.ndarray, step: int) -> list[Encoded]:
        """Prompts of training inputs, with new demonstrations at each step."""
        if not self.per_class:
            return [self.alone[row] for row in rows]
        rng = np.random.default_rng([self.seed, 1, step])
        return [
            self._encode(self.examples[row], self._draw(self._order_of_examples[row], rng))
            for row in rows
        ]

    def draws(self, inputs: Sequence[Input], count: int) -> Iterator[list[Encoded]]:
        """`count` times prompts with drawn demonstrations.

        What is drawn for an input depends on its text alone, not on what stands beside it.
        """
        orders = self.neighbors.order([joined(one) for one in inputs])
        signs = [zlib.crc32(joined(one).encode("utf-8", "replace")) for one in inputs]
        for draw in range(count):
            yield [
                self._encode(
                    one, self._draw(order, np.random.default_rng([self.seed, 2, draw, sign]))
                )
                for one, order, sign in zip(inputs, orders, signs, strict=True)
            ]

    def _draw(
        self, order: np.ndarray, rng: np.random.Generator
    ) -> list[tuple[str, str | None, str]]:
        """Demonstrations from the half of each class that is nearest, in random order.

        The order is random because a model weighs by place, and because what does not fit is
        dropped from one end.
        """
        chosen: list[int] = []
        for group in range(len(self.words)):
            members = order[self.groups[order] == group]
            near = members[: math.ceil(len(members) / 2)]
            chosen += rng.choice(near, min(self.per_class, len(near)), replace=False).tolist()
        return [
            (*self.examples[place], self.words[self.groups[place]])
            for place in rng.permutation(np.array(chosen, dtype=int))
        ]

    def _encode(self, one: Input, demonstrations: Sequence[tuple[str, str | None, str]]) -> Encoded:
        return encode(
            self.template,
            self.prompt_model.tokenizer,
            *one,
            limit=self.limit,
            causal=self.prompt_model.causal,
            demonstrations=demonstrations,
        )


def joined(pair: Input) -> str:
    """Join the texts of a pair, for what compares whole inputs."""
    return " ".join(part for part in pair if part is not None)


def some_of_each(places: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of at most `count` drawn texts of each class."""
    drawn = [
        rng.permutation(np.flatnonzero(places == place))[:count] for place in np.unique(places)
    ]
    return np.sort(np.concatenate(drawn))
