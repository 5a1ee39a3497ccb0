"""The frozen blocks' outputs, computed once."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from reptune.runtime import half_precision
from reptune.tokens import batches_by_length
from reptune.training.blocks import (
    block_list,
    blocks_replaced,
    eval_logits,
    nearly_equal,
    num_frozen_blocks,
)
from reptune.training.shortcuts import first_token

# How much of the frozen blocks' output is kept in memory; beyond it, a file is mapped instead.
CACHE_MEMORY_MB = 512
ENCODING_TOKENS = 4096  # tokens per batch when the frozen blocks' outputs are computed


# --- frozen blocks, computed once ----------------------------------------------------------------


class FrozenStates:
    """What the frozen blocks make of each text, computed once instead of in every epoch.

    Frozen blocks run in eval mode, without dropout, so a text's states are the same each time.

    Args:
        model: A sequence-classification model with `num_frozen_blocks(model) > 0`.
        tokenizer: Its tokenizer.
        encoded: Token ids of each text.
        folder: Where to map a file if the states exceed `CACHE_MEMORY_MB`.
        half_precision: Compute the states in the device's half precision (they are kept in
            float32).
        show_progress: Show a bar that names the size.

    Attributes:
        first_only: Whether only the first token's state is kept: no block trains and the head
            reads no other.
        megabytes: Size of the states.
        on_disk: Whether they lie in a mapped file.

    >>> from transformers import AutoModelForSequenceClassification, AutoTokenizer
    >>> from reptune import assets, runtime
    >>> from reptune.training import freeze
    >>> folder = assets.get("all-MiniLM-L6-v2")
    >>> tokenizer = AutoTokenizer.from_pretrained(folder)
    >>> with runtime.quiet():
    ...     model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    >>> model = freeze(model, trainable=2)  # of six blocks
    >>> texts = tokenizer(["A fine film.", "Dull."])["input_ids"]
    >>> states = FrozenStates(model, tokenizer, texts, Path())
    >>> states.take([0, 1], length=6).shape
    torch.Size([2, 6, 384])
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        encoded: Sequence[Sequence[int]],
        folder: Path,
        half_precision: bool = False,
        show_progress: bool = False,
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._count = num_frozen_blocks(model)
        self._half = half_precision
        owner, name = block_list(model)
        self._blocks = list(getattr(owner, name))
        self._output = _GivenStates()
        self.first_only = self._reads_first_token(encoded)
        lengths = [1 if self.first_only else len(ids) for ids in encoded]
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - lengths
        shape = (int(self._ends[-1]), model.config.hidden_size)
        self.megabytes = shape[0] * shape[1] * 4 / 1e6
        self.on_disk = self.megabytes > CACHE_MEMORY_MB
        self._states = self._allocate(shape, folder)
        self._fill(encoded, show_progress)

    def __str__(self) -> str:
        where = "in a mapped file" if self.on_disk else "in memory"
        return f"frozen states: {self.megabytes:,.0f} MB {where}"

    @staticmethod
    def fits(model: PreTrainedModel, encoded: Sequence[Sequence[int]], folder: Path) -> bool:
        """Return whether there is something to compute once, and room for it."""
        if num_frozen_blocks(model) == 0 or block_list(model) is None:
            return False
        size = sum(map(len, encoded)) * model.config.hidden_size * 4
        free = shutil.disk_usage(folder).free
        if size <= CACHE_MEMORY_MB * 1e6 or size < 0.8 * free:
            return True
        warnings.warn(
            f"the frozen blocks' outputs need {size / 1e6:,.0f} MB and {folder} has "
            f"{free / 1e6:,.0f} MB free, so they are computed anew in every epoch; "
            "set TMPDIR to a larger disk.",
            stacklevel=2,
        )
        return False

    def take(self, rows: Sequence[int], length: int) -> torch.Tensor:
        """Return the states of some texts, padded with zeros: `(len(rows), length, hidden)`."""
        spans = [self._states[self._starts[row] : self._ends[row]] for row in rows]
        padded = np.zeros((len(rows), length, self._states.shape[1]), np.float32)
        for row, span in zip(padded, spans, strict=True):
            row[: len(span)] = span
        return torch.from_numpy(padded)

    def close(self) -> None:
        """Let go of the states, so that a mapped file can be removed."""
        self._states = np.empty((0, 0), np.float32)

    def give(self, states: torch.Tensor) -> None:
        """Let the next forward pass inside `in_place` start from these states."""
        self._output.states = states

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Start the model after its frozen blocks, inside the `with` statement."""
        with blocks_replaced(self._model, [self._output, *self._blocks[self._count :]]):
            yield

    def _reads_first_token(self, ids: Sequence[Sequence[int]]) -> bool:
        """Return whether the head's logits follow from the last block's first token alone."""
        if self._count < len(self._blocks):
            return False
        batch = self._pad(ids[:4])
        expected = eval_logits(self._model, batch)
        with torch.inference_mode():
            self.give(self._run_frozen(batch)[:, :1])
        first = {name: tensor[:, :1] for name, tensor in batch.items()}
        with self.in_place():
            return nearly_equal(expected, eval_logits(self._model, first))

    def _allocate(self, shape: tuple[int, int], folder: Path) -> np.ndarray:
        if self.on_disk:
            return np.memmap(folder / "frozen_states.bin", np.float32, "w+", shape=shape)
        return np.empty(shape, np.float32)

    @torch.inference_mode()
    def _fill(self, ids: Sequence[Sequence[int]], show_progress: bool) -> None:
        batches = list(batches_by_length(list(map(len, ids)), tokens=ENCODING_TOKENS))
        shortest = [row for rows in batches for row in rows][-4:]
        mode = self._model.training
        self._model.eval()
        shortcut = contextlib.nullcontext()
        if self.first_only:
            shortcut = first_token(self._model, self._pad([ids[row] for row in shortest]))
        with (
            shortcut,
            half_precision(self._model.device, self._half),
            tqdm(total=len(ids), desc=str(self), leave=False, disable=not show_progress) as bar,
        ):
            for rows in batches:
                states = self._run_frozen(self._pad([ids[row] for row in rows]))
                for row, state in zip(rows, states.float().cpu().numpy(), strict=True):
                    self._states[self._starts[row] : self._ends[row]] = state[
                        : self._ends[row] - self._starts[row]
                    ]
                bar.update(len(rows))
        self._model.train(mode)

    def _pad(self, ids: Sequence[Sequence[int]]) -> Any:
        rows = [list(row) for row in ids]
        batch = self._tokenizer.pad({"input_ids": rows}, return_tensors="pt")
        return batch.to(self._model.device)

    def _run_frozen(self, batch: Any) -> torch.Tensor:
        """Return the last frozen block's output; the encoder runs no block after it."""
        kept = []
        last = self._blocks[self._count - 1]
        hook = last.register_forward_hook(lambda _module, _args, output: kept.append(output))
        try:
            with blocks_replaced(self._model, self._blocks[: self._count]):
                self._model.base_model(**batch)
        finally:
            hook.remove()
        self._output.in_tuple = isinstance(kept[0], tuple)
        return kept[0][0] if self._output.in_tuple else kept[0]


class FrozenStatesCollator:
    """A collator whose batches also carry the frozen blocks' states of their rows.

    Args:
        collator: The collator of everything else.
        states: The states; each feature holds its index in them as `"row"`.

    >>> class Halves:  # stands for `FrozenStates`
    ...     first_only = False
    ...     def take(self, rows, length):
    ...         return torch.full((len(rows), length, 1), 0.5)
    >>> def collate(features):
    ...     return {"input_ids": torch.tensor([feature["input_ids"] for feature in features])}
    >>> batch = FrozenStatesCollator(collate, Halves())([{"input_ids": [101, 102], "row": 0}])
    >>> batch["frozen_states"].tolist()
    [[[0.5], [0.5]]]
    """

    def __init__(self, collator: Callable, states: FrozenStates) -> None:
        self._collator, self._states = collator, states

    def __call__(self, features: list[dict[str, Any]]) -> Any:
        """Collate features; the batch gains `"frozen_states"`, `(batch, tokens, hidden)`."""
        rows = [feature.pop("row") for feature in features]
        if self._states.first_only:
            for feature in features:
                feature["input_ids"] = feature["input_ids"][:1]
        batch = self._collator(features)
        length = 1 if self._states.first_only else batch["input_ids"].shape[1]
        batch["frozen_states"] = self._states.take(rows, length)
        return batch


class _GivenStates(nn.Module):
    """Stand where the frozen blocks stood, and return what was given to it."""

    def __init__(self) -> None:
        super().__init__()
        self.states: torch.Tensor | None = None
        self.in_tuple = False  # some architectures' blocks return a tuple

    def forward(self, *_: Any, **__: Any) -> Any:
        return (self.states,) if self.in_tuple else self.states
