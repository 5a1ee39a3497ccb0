"""Many texts at once: batched decoding, with what all prompts begin with encoded once (chapter 7).

`generate_many` gives what `CausalLM.generate` gives, prompt by prompt. One token of one text reads
every weight of the model; the same reading does for a token of each of 48 texts.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import reptune.needs_torch  # noqa: F401

import numpy as np
import torch
from torch.nn import functional
from transformers import DynamicCache

from reptune.checks import check_number, check_texts, check_whole_number, seed_of
from reptune.models.causal import COLDEST, CausalLM, common_prefix, end_ids
from reptune.models.prompts import check_generation, cut_at

BATCH_SIZE = 48
# Rows that have ended leave when they are this share of the batch: moving the others copies the
# whole cache.
LEAVING = 1 / 8


class Continuation(str):
    """What a model wrote after a prompt, a text like any other.

    Attributes:
        is_cut: Whether it ends only because it may not be longer; `None` where nobody says.

    >>> Continuation("The plot is th", is_cut=True).is_cut
    True
    """

    is_cut: bool | None

    def __new__(cls, text: str, is_cut: bool | None = None) -> Self:
        """Return the text."""
        new = super().__new__(cls, text)
        new.is_cut = is_cut
        return new


@torch.inference_mode()
def generate_many(
    lm: CausalLM,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 64,
    temperature: float | Sequence[float] = 0.0,
    top_p: float = 1.0,
    stop: Sequence[str] = ("\n",),
    random_state: int | None = 0,
    draws: Sequence[int] | None = None,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], Any] | None = None,
) -> list[Continuation]:
    r"""Let a model go on with many prompts side by side.

    What all prompts begin with is encoded once. A text that has ended makes room for the next
    prompt. Without temperature the texts are those of `CausalLM.generate`, up to ties that
    rounding decides. With it, each text has random numbers of its own, which follow from
    `random_state` and the number of its draw alone. The same call gives the same texts. Another
    `batch_size`, or other prompts beside it, change the model's numbers in their last bits: in
    float32 a few draws become others, among the many unlikely tokens that lie closer together than
    that; in bfloat16 most texts do, and some without temperature.

    Args:
        lm: The model.
        prompts: What it reads, shape `(n,)`. To draw several texts for one prompt, repeat it.
        max_new_tokens: Tokens to write at most, for each prompt.
        temperature: As in `CausalLM.generate`; one for all, or one for each prompt.
        top_p: Draw from the likeliest tokens only, as few as have this probability together;
            1 draws from all.
        stop: End sequences: a text ends before the first one that occurs.
        random_state: Seed of the draws; `None` for new ones each time.
        draws: The number of each prompt's draw; `None` counts them from 0. With the numbers that
            some prompts had in an earlier call, they draw the same again.
        batch_size: Texts side by side, at most.
        progress: Called with the number of texts that have just ended, such as the `update` of a
            progress bar.

    Returns:
        The new texts in the order of the prompts, without prompt and end sequence; each says
        whether `max_new_tokens` cut it.

    Raises:
        ValueError: If an argument is bad, or a prompt leaves no room for `max_new_tokens`.

    Examples:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from reptune.models.causal import CausalLM
        >>> class Letters:  # stands for a tokenizer
        ...     eos_token_id, model_max_length = 0, 64
        ...     def __call__(self, text, **_):
        ...         return {"input_ids": [ord(letter) - 96 for letter in text]}
        ...     def decode(self, ids):
        ...         return "".join(chr(96 + token) for token in ids)
        >>> sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
        >>> config = LlamaConfig(vocab_size=27, num_hidden_layers=1, **sizes)
        >>> lm = CausalLM(LlamaForCausalLM(config).eval(), Letters())
        >>> texts = generate_many(lm, ["reptune", "rep"], max_new_tokens=5, stop=["x"])
        >>> texts == [lm.generate(p, max_new_tokens=5, stop=["x"]) for p in ["reptune", "rep"]]
        True

    Source: Holtzman et al., *The Curious Case of Neural Text Degeneration* (2020), for `top_p`;
    chapter 7.
    """
    prompts = check_texts(prompts, "prompts")
    heats = check_temperatures(temperature, len(prompts))
    check_generation("prompt", max_new_tokens, max(heats), stop, random_state)
    check_number("top_p", top_p, above=0, most=1)
    size = check_whole_number("batch_size", batch_size)
    encoded = [lm.encode(prompt) for prompt in prompts]
    _check_room(encoded, max_new_tokens, lm.limit)
    seed, numbers = seed_of(random_state), check_draws(draws, len(prompts))
    rows = [
        _Row(draw, ids, heat, seed) for draw, ids, heat in zip(numbers, encoded, heats, strict=True)
    ]
    batch = _Batch(lm, encoded, min(size, len(rows)))
    _decode(batch, rows, _Ends(lm, int(max_new_tokens), stop), float(top_p), progress)
    return [_text(lm.tokenizer.decode(row.new), row.is_cut, stop) for row in rows]


def check_temperatures(temperature: float | Sequence[float], count: int) -> list[float]:
    """Return a temperature for each of `count` prompts, or raise a `ValueError`."""
    if not isinstance(temperature, Sequence | np.ndarray) or isinstance(temperature, str):
        return [check_number("temperature", temperature, least=0)] * count
    if len(temperature) != count:
        raise ValueError(
            f"{len(temperature)} temperatures for {count} prompts; pass one for each, or a number."
        )
    return [
        check_number(f"temperature[{index}]", each, least=0)
        for index, each in enumerate(temperature)
    ]


def check_draws(draws: Sequence[int] | None, count: int) -> list[int]:
    """Return the number of the draw for each of `count` prompts, or raise a `ValueError`."""
    if draws is None:
        return list(range(count))
    if len(draws) != count:
        raise ValueError(f"{len(draws)} draws for {count} prompts; pass a number for each.")
    return [check_whole_number(f"draws[{index}]", draw, least=0)
            for index, draw in enumerate(draws)]  # fmt: skip


def _text(text: str, is_cut: bool, stop: Sequence[str]) -> Continuation:
    """Return a text up to an end sequence, with which it is whole."""
    kept = cut_at(text, stop)
    return Continuation(kept, is_cut and len(kept) == len(text))


def _check_room(encoded: list[list[int]], max_new_tokens: int, limit: int) -> None:
    for index, ids in enumerate(encoded):
        if not ids:
            raise ValueError(f"prompts[{index}] has no token to go on from; pass some text.")
        if len(ids) + max_new_tokens > limit:
            raise ValueError(
                f"prompts[{index}] has {len(ids)} tokens and max_new_tokens={max_new_tokens}, but "
                f"the model takes at most {limit}; shorten the prompt or write less."
            )


@dataclass
class _Row:
    """A prompt and what has been written after it."""

    draw: int
    ids: list[int]
    temperature: float
    seed: int
    new: list[int] = field(default_factory=list)
    has_ended: bool = False
    is_cut: bool = False

    @functools.cached_property
    def random(self) -> np.random.Generator:
        """The row's own generator."""
        return np.random.default_rng([self.seed, self.draw])


class _Ends:
    """When a text ends: at a token, at an end sequence, or when it is long enough."""

    def __init__(self, lm: CausalLM, max_new_tokens: int, stop: Sequence[str]) -> None:
        self.most = max_new_tokens
        self._tokens: Collection[int] = end_ids(lm.model, lm.tokenizer)
        self._marks = [mark for mark in stop if mark]
        self._tokenizer = lm.tokenizer

    def take(self, row: _Row, token: int) -> bool:
        """Let a row go on with a token, unless it has ended; return whether it ends here."""
        if row.has_ended:
            return False
        if token in self._tokens:
            row.has_ended = True
            return True
        row.new.append(token)
        row.has_ended = row.is_cut = len(row.new) == self.most
        if self._marks and not row.has_ended:
            text = self._tokenizer.decode(row.new)
            row.has_ended = any(mark in text for mark in self._marks)
        return row.has_ended


def _decode(
    batch: _Batch,
    rows: list[_Row],
    ends: _Ends,
    top_p: float,
    progress: Callable[[int], Any] | None,
) -> None:
    """Write all rows' texts, the longest prompts first, so that memory runs out at once if ever."""
    waiting = sorted(rows, key=lambda row: len(row.ids))
    while waiting or batch.rows:
        if waiting and batch.can_take:
            batch.add([waiting.pop() for _ in range(min(len(waiting), batch.room))])
        tokens = _draw(batch.logits(), batch.rows, top_p)
        ended = 0
        for row, token in zip(batch.rows, tokens.tolist(), strict=True):
            ended += ends.take(row, token)
        if ended and progress is not None:
            progress(ended)
        batch.follow(tokens)


class _Batch:
    """The rows that are decoded side by side, and their cache.

    A row lies to the right of its padding, which the mask hides; positions count from each row's
    own beginning.

    Args:
        lm: The model.
        encoded: The token ids of all prompts that will come.
        size: Rows at most.
    """

    def __init__(self, lm: CausalLM, encoded: list[list[int]], size: int) -> None:
        self.rows: list[_Row] = []
        self._lm = lm
        takes = inspect.signature(lm.model.base_model.forward).parameters
        self._has_positions = "position_ids" in takes
        # A model without positions to set cannot be padded, so it reads one prompt at a time.
        self._size = size if self._has_positions else 1
        # One whose layers see a window of the cache, or whose positions are another kind, gets
        # whole prompts, and no row joins others that have gone on.
        self._is_plain = lm.can_pack()
        self._shared = common_prefix(encoded) if self._is_plain and len(encoded) > 1 else 0
        prefix = encoded[0][: self._shared]
        self._prefix = lm.prefill(prefix) if prefix else None
        self._cache: Any = None
        self._seen: torch.Tensor
        self._states: torch.Tensor  # of each row's last token

    @property
    def room(self) -> int:
        """How many rows may be added."""
        return self._size - len(self.rows)

    @property
    def can_take(self) -> bool:
        """Whether to add rows now."""
        return bool(self.room) and (self._is_plain or not self.rows)

    def add(self, rows: list[_Row]) -> None:
        """Read rows' prompts, and let them go on beside those that are here."""
        device, count = self._lm.model.device, len(rows)
        rests = [row.ids[self._shared :] for row in rows]
        longest = max(map(len, rests))
        ids = torch.tensor([[0] * (longest - len(rest)) + rest for rest in rests], device=device)
        lengths = torch.tensor([len(rest) for rest in rests], device=device)
        mask = torch.arange(longest, device=device) >= longest - lengths[:, None]
        before = mask.new_ones(count, self._shared)
        seen = torch.cat([before, mask], dim=1).long()
        positions = (seen.cumsum(dim=1) - 1).clamp(min=0)[:, self._shared :]
        states, cache = self._read(ids, seen, positions, self._repeated_prefix(count))
        if self.rows:
            cache = _joined(self._cache, cache)
            states = torch.cat([self._states, states])
            width = max(self._seen.shape[1], seen.shape[1])
            seen = torch.cat([_widened(part, width, 1) for part in (self._seen, seen)])
        self.rows, self._cache, self._seen, self._states = self.rows + rows, cache, seen, states

    def logits(self) -> torch.Tensor:
        """Return each row's logits for its next token, in the model's own precision."""
        return self._lm.model.get_output_embeddings()(self._states)

    def follow(self, tokens: torch.Tensor) -> None:
        """Read each row's next token; rows that have ended leave once they are many."""
        live = [index for index, row in enumerate(self.rows) if not row.has_ended]
        if len(live) <= (1 - LEAVING) * len(self.rows):
            self._keep(live)
            tokens = tokens[live]
        if not live:
            return
        self._seen = torch.cat([self._seen, self._seen.new_ones(len(self.rows), 1)], dim=1)
        positions = self._seen.sum(dim=1, keepdim=True) - 1
        self._states, self._cache = self._read(tokens[:, None], self._seen, positions, self._cache)

    def _read(
        self, ids: torch.Tensor, seen: torch.Tensor, positions: torch.Tensor, cache: Any
    ) -> tuple[torch.Tensor, Any]:
        """Return the last token's hidden states, `(rows, hidden size)`, and the cache."""
        output = self._lm.model.base_model(
            ids,
            attention_mask=seen,
            past_key_values=cache,
            use_cache=True,
            **({"position_ids": positions} if self._has_positions else {}),
        )
        return output.last_hidden_state[:, -1], output.past_key_values

    def _repeated_prefix(self, count: int) -> Any:
        if self._prefix is None:
            return None
        cache = DynamicCache(config=self._lm.model.config)
        for number, layer in enumerate(self._prefix.layers):
            cache.update(
                layer.keys.expand(count, -1, -1, -1), layer.values.expand(count, -1, -1, -1), number
            )
        return cache

    def _keep(self, live: list[int]) -> None:
        """Drop the other rows, and the columns that no row sees any more."""
        self.rows = [self.rows[index] for index in live]
        if not live:
            self._cache = None
            return
        self._seen = self._seen[live]
        self._cache.batch_select_indices(torch.tensor(live, device=self._seen.device))
        unseen = int(self._seen.any(dim=0).int().argmax()) if self._is_plain else 0
        if unseen:
            self._seen = self._seen[:, unseen:]
            for layer in self._cache.layers:
                layer.keys = layer.keys[:, :, unseen:]
                layer.values = layer.values[:, :, unseen:]


def _joined(one: Any, other: Any) -> Any:
    """Return one cache with the rows of two."""
    for layer, more in zip(one.layers, other.layers, strict=True):
        width = max(layer.keys.shape[2], more.keys.shape[2])
        for name in ("keys", "values"):
            parts = [_widened(getattr(each, name), width, 2) for each in (layer, more)]
            setattr(layer, name, torch.cat(parts))
    return one


def _widened(tensor: torch.Tensor, width: int, dim: int) -> torch.Tensor:
    """Put zeros in front of a dimension until it is so wide."""
    behind = (0, 0) * (tensor.dim() - dim - 1)
    return functional.pad(tensor, (*behind, width - tensor.shape[dim], 0))


def _draw(logits: torch.Tensor, rows: list[_Row], top_p: float) -> torch.Tensor:
    """Return a token for each row: the likeliest, or where a row's uniform number falls.

    Not from `torch.multinomial`, whose draw for a row depends on the rows before it.
    """
    drawn = [index for index, row in enumerate(rows) if row.temperature >= COLDEST]
    others = [index for index, row in enumerate(rows) if row.temperature < COLDEST]
    tokens = torch.empty(len(rows), dtype=torch.long, device=logits.device)
    if others:
        tokens[others] = logits[others].float().argmax(dim=-1)  # bfloat16's is slower
    if not drawn:
        return tokens
    heat = torch.tensor([rows[index].temperature for index in drawn], device=logits.device)
    chances = (logits[drawn].float() / heat[:, None]).softmax(dim=-1)
    if top_p < 1:
        for row in chances:
            row[row < _nucleus(row, top_p)] = 0
    sums = chances.cumsum(dim=-1)
    total = sums[:, -1:]
    uniform = torch.tensor([rows[index].random.random() for index in drawn], device=logits.device)
    # Rounding must not put it behind the last token that has a chance.
    at = torch.minimum(uniform[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    tokens[drawn] = torch.searchsorted(sums, at, right=True)[:, 0]
    return tokens


def _nucleus(chances: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return the probability of the least likely token to draw from.

    Tokens below (1 - top_p) / vocabulary have less than 1 - top_p together, so the nucleus lies
    above, and only the few tokens there need sorting.
    """
    likely = chances[chances >= (1 - top_p) / len(chances)].sort(descending=True).values
    enough = int((likely.cumsum(dim=0) < top_p).sum())
    return likely[min(enough, len(likely) - 1)]
