"""What training costs, and how not to pay for it twice: the fast options of every fine-tuning.

Each option can be switched off; with all of them off, a fine-tuning is plain library code. Chapter
1's section "Where the seconds go" measures what each one brings.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import re
import shutil
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.utils.data import Sampler
from tqdm import tqdm
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from reptune import runtime
from reptune.checks import nearest

Trainable = Literal["all", "head"] | int

FAST_OPTIONS = (
    "length_buckets",  # texts of similar length share a batch
    "half_precision",  # bfloat16 or float16 matrix products, where the device has them
    "first_token",  # the last block computes [CLS] alone, all that the head reads
    "cheap_dropout",  # dropout masks from 16 random bits a value (CPU)
    "frozen_cache",  # the frozen blocks' outputs are computed once, in eval mode
)

# How much of the frozen blocks' output is kept in memory; beyond it, a file is mapped instead.
CACHE_MEMORY_MB = 512
BUCKET_BATCHES = 50  # batches' worth of texts that are sorted by length together
HALF_PRECISION_MULTIPLE = 8  # lengths that matrix units like; few shapes also mean few kernels
ENCODING_TOKENS = 4096  # tokens a batch when the frozen blocks' outputs are computed

_BLOCK = re.compile(r"(?:^|\.)(?:block|layer|layers)\.(\d+)\.")


def fast_options(fast: bool | Collection[str]) -> frozenset[str]:
    """The options that `fast` switches on: all for `True`, none for `False`, or the named ones.

    Raises:
        ValueError: If a name is unknown.
    """
    if isinstance(fast, bool):
        return frozenset(FAST_OPTIONS if fast else ())
    if (
        isinstance(fast, str)
        or not isinstance(fast, Collection)
        or not all(isinstance(name, str) for name in fast)
    ):
        raise ValueError(
            f"fast={fast!r}; use True, False, or some of {', '.join(FAST_OPTIONS)} in a tuple."
        )
    for name in fast:
        if name not in FAST_OPTIONS:
            near = nearest(name, FAST_OPTIONS)
            hint = f"did you mean {near!r}?" if near else f"use {', '.join(FAST_OPTIONS)}."
            raise ValueError(f"fast holds the unknown option {name!r}; {hint}")
    return frozenset(fast)


def model_limit(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int:
    """How many word pieces a model takes, special tokens included.

    The smaller of what its positions allow and what its tokenizer says; a tokenizer that names
    no limit says 10^30.
    """
    return int(min(tokenizer.model_max_length, position_limit(model) or np.inf))


def position_limit(model: PreTrainedModel) -> int | None:
    """How many positions a model has for word pieces; `None` where it learns none.

    RoBERTa-like models, MPNet among them, count positions from after their padding index, so
    that two of 514 are never used.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    if positions is None or not isinstance(table, nn.Embedding) or table.padding_idx is None:
        return positions
    return positions - table.padding_idx - 1


def padding_multiple(fast: Collection[str], limit: int) -> int | None:
    """The multiple of tokens to pad batches to; `None` pads to the longest text.

    Half-precision kernels are built anew for each shape and kept, so that on a CPU many different
    lengths cost memory; on a GPU, lengths that 8 divides are the fast ones.

    Args:
        fast: The options in force.
        limit: Tokens the model takes; padding must not exceed it.
    """
    has = runtime.precision()
    wanted = "half_precision" in fast and (has["bf16"] or has["fp16"])
    return HALF_PRECISION_MULTIPLE if wanted and limit % HALF_PRECISION_MULTIPLE == 0 else None


def warmup_steps(share: float, num_steps: int) -> float:
    """What `TrainingArguments(warmup_steps=…)` takes for a share of the steps.

    The share itself, or a number of steps where the share would leave none after the warm-up.

    The library's rate is 0 at the first step. A warm-up of every step would never reach the peak,
    and where there is but one step, nothing would be learned.
    """
    return share if math.ceil(share * num_steps) < num_steps else float(num_steps - 1)


# --- blocks --------------------------------------------------------------------------------------


def block_of(parameter_name: str, base_prefix: str) -> str:
    """The block a parameter belongs to, by its name.

    Args:
        parameter_name: As in `model.named_parameters()`.
        base_prefix: The encoder's attribute, `model.base_model_prefix`, such as `"bert"`.

    Returns:
        `"embeddings"`, `"block 1"` … `"block n"`, `"pooler"`, `"classifier"` (everything outside
        the encoder), or `"shared"` (parts of the encoder that belong to no one block, such as
        MPNet's relative positions).
    """
    if not parameter_name.startswith(f"{base_prefix}."):
        return "classifier"
    inner = parameter_name.removeprefix(f"{base_prefix}.")
    if match := _BLOCK.search(inner):
        return f"block {int(match.group(1)) + 1}"
    if inner.startswith("pooler."):
        return "pooler"
    return "embeddings" if inner.startswith("embeddings.") else "shared"


def parameter_counts(model: PreTrainedModel) -> dict[str, dict[str, int]]:
    """Parameters of each named block, from input to output.

    Returns:
        `{block: {"parameters": int, "trainable": int}}`.
    """
    counts: dict[str, dict[str, int]] = {}
    for name, parameter in model.named_parameters():
        block = counts.setdefault(
            block_of(name, model.base_model_prefix), {"parameters": 0, "trainable": 0}
        )
        block["parameters"] += parameter.numel()
        block["trainable"] += parameter.numel() if parameter.requires_grad else 0
    return counts


def freeze(model: PreTrainedModel, trainable: Trainable) -> PreTrainedModel:
    """Let only part of a model train, choosing blocks by name.

    The head is everything after the last block: the pooler, where there is one, and the
    classifier. RoBERTa-like models keep the pooler's dense layer inside their classifier, so
    counting it as head makes `"head"` mean the same for all of them.

    Args:
        model: A sequence-classification model.
        trainable: `"all"`, `"head"`, or how many of the last blocks train besides the head.

    Returns:
        The same model, with `requires_grad` set.

    Raises:
        ValueError: If `trainable` is none of these or exceeds the number of blocks.

    Source: chapter 1.
    """
    names = {block_of(name, model.base_model_prefix) for name, _ in model.named_parameters()}
    num_blocks = sum(name.startswith("block ") for name in names)
    check_trainable(trainable, num_blocks)
    open_blocks = {"pooler", "classifier"}
    everything = isinstance(trainable, str) and trainable == "all"
    if not isinstance(trainable, str):
        open_blocks |= {f"block {num_blocks - i}" for i in range(trainable)}
    for name, parameter in model.named_parameters():
        block = block_of(name, model.base_model_prefix)
        parameter.requires_grad = everything or block in open_blocks
    return model


def layer_rates(model: PreTrainedModel, decay: float) -> dict[nn.Parameter, float]:
    """Which share of the head's learning rate each parameter gets.

    Early blocks hold what every task needs, so they may move less: the last block gets `decay`,
    the one before it `decay` squared, and so on down to the embeddings, which count as one more.

    Source: Howard and Ruder, *ULMFiT* (2018), section 3.2; chapter 3.
    """
    blocks = {name: block_of(name, model.base_model_prefix) for name, _ in model.named_parameters()}
    count = sum(name.startswith("block ") for name in set(blocks.values()))
    below = {f"block {i + 1}": count - i for i in range(count)}
    # What all blocks share moves with the lowest of them.
    below |= {"embeddings": count + 1, "shared": count + 1}
    return {
        weight: decay ** below.get(blocks[name], 0) for name, weight in model.named_parameters()
    }


def check_trainable(trainable: Any, num_blocks: int | None = None) -> None:
    """Raise a `ValueError` unless `freeze` takes this value, for a model of `num_blocks` blocks."""
    if isinstance(trainable, str) and trainable in ("all", "head"):
        return
    whole = isinstance(trainable, int | np.integer) and not isinstance(trainable, bool)
    if not whole or trainable < 1:
        raise ValueError(
            f"trainable={trainable!r}; use 'all', 'head', or a number of last blocks from 1 on."
        )
    if num_blocks is not None and trainable > num_blocks:
        raise ValueError(
            f"trainable={trainable}, but the model has {num_blocks} blocks; "
            f"use 1 to {num_blocks}, or 'all'."
        )


def num_frozen_blocks(model: PreTrainedModel) -> int:
    """How many blocks from the input on are frozen, with everything below and beside them.

    Their outputs are the same in every epoch. 0 where the embeddings train, or where a part
    that all blocks share does.
    """
    frozen: dict[str, bool] = {}
    for name, parameter in model.named_parameters():
        block = block_of(name, model.base_model_prefix)
        frozen[block] = frozen.get(block, True) and not parameter.requires_grad
    if not frozen.get("embeddings", False) or not frozen.get("shared", True):
        return 0
    count = 0
    while frozen.get(f"block {count + 1}", False):
        count += 1
    return count


def _block_list(model: PreTrainedModel) -> tuple[nn.Module, str] | None:
    """Where the encoder keeps its list of blocks: the owner and the attribute's name."""
    for owner in model.base_model.modules():
        for name in ("block", "layer", "layers"):
            if isinstance(getattr(owner, name, None), nn.ModuleList):
                return owner, name
    return None


@contextlib.contextmanager
def _blocks_replaced(model: PreTrainedModel, blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Inside the block of code, the encoder runs these blocks instead of its own."""
    owner, name = _block_list(model)
    original = getattr(owner, name)
    setattr(owner, name, nn.ModuleList(blocks))
    try:
        yield
    finally:
        setattr(owner, name, original)


# --- batches of similar length -------------------------------------------------------------------


class LengthBucketSampler(Sampler[int]):
    """An order of texts in which batches hold similar lengths and come in random order.

    The texts are shuffled, cut into pools of `BUCKET_BATCHES` batches, sorted by length within a
    pool and cut into batches; then the batches are shuffled. `transformers`' `group_by_length`
    leaves out the last step, so that lengths fall through every pool. The one batch that is not
    full comes last, because a data loader cuts the order into batches by counting.

    Args:
        lengths: Tokens of each text.
        batch_size: Texts per batch.
        seed: Draw each order from this seed and the epoch's number, so that several processes that
            share the batches out draw the same one; `None` draws from PyTorch's global generator.

    Each pass draws a new order.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int | None = None) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = int(batch_size)
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, as `accelerate` does; without a seed that changes nothing."""
        self.epoch = int(epoch)

    def __iter__(self) -> Iterator[int]:
        generator = None
        if self.seed is not None:
            mixed = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(mixed >> 1))
        self.epoch += 1
        order = torch.randperm(len(self.lengths), generator=generator).numpy()
        pool_size = BUCKET_BATCHES * self.batch_size
        batches = []
        for start in range(0, len(order), pool_size):
            pool = order[start : start + pool_size]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size)]
        full = [batch for batch in batches if len(batch) == self.batch_size]
        rest = [batch for batch in batches if len(batch) < self.batch_size]
        for index in torch.randperm(len(full), generator=generator).tolist():
            yield from full[index].tolist()
        for batch in rest:
            yield from batch.tolist()


# --- dropout -------------------------------------------------------------------------------------


class _Drop(torch.autograd.Function):
    """Zero each value where its 16 random bits fall below a threshold, and scale up the rest."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, zeroed: int) -> torch.Tensor:
        # One draw of 64 bits serves four values; a 64-bit draw costs what a bernoulli draw does.
        words = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: values.numel()].view(values.shape)
        kept = bits >= zeroed - 2**15
        ctx.save_for_backward(kept)
        ctx.scale = 2**16 / (2**16 - zeroed)
        return values * kept.to(values.dtype).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (kept,) = ctx.saved_tensors
        return gradient * kept.to(gradient.dtype).mul_(ctx.scale), None


class CheapDropout(nn.Module):
    """Dropout on the CPU with a quarter of the random draws; rates are multiples of 1/65,536."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Zero a share `p` of the values while training, and scale up the rest."""
        zeroed = round(self.p * 2**16)
        if not self.training or zeroed == 0:
            return values
        return _Drop.apply(values, zeroed)


@contextlib.contextmanager
def cheap_dropout(model: nn.Module) -> Iterator[None]:
    """Inside the block of code, the model's `nn.Dropout` modules are `CheapDropout` ones.

    Attention weights keep the library's dropout where the attention function applies it itself.
    A model that is not on a CPU stays as it is: elsewhere masks are drawn fast enough.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    places = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Dropout and 0 < child.p < 1 and on_cpu
    ]
    for parent, name, child in places:
        setattr(parent, name, CheapDropout(child.p).train(child.training))
    try:
        yield
    finally:
        for parent, name, child in places:
            setattr(parent, name, child.train(getattr(parent, name).training))


# --- the last block, at the first token only -----------------------------------------------------


@contextlib.contextmanager
def first_token(model: PreTrainedModel, sample: dict[str, torch.Tensor]) -> Iterator[bool]:
    """Inside the block of code, the last block computes only the first token's output.

    A head that reads [CLS] alone needs, of the last block, the keys and values of all tokens,
    and the query, the projections and the feed-forward network of one. That saves about five
    sixths of that block, forward and backward.

    It is used for blocks laid out as BERT's, and only if the logits for `sample` stay the same;
    otherwise the model is left as it is.

    Args:
        model: A sequence-classification model.
        sample: A tokenized batch on the model's device, for the check.

    Yields:
        Whether the shortcut is in place.
    """
    found = _block_list(model)
    block = getattr(*found)[-1] if found and len(getattr(*found)) else None
    known = model.config._attn_implementation in ("sdpa", "eager")
    if block is None or not known or not _is_bert_block(block):
        yield False
        return
    expected = _eval_logits(model, sample)
    block.forward = _FirstToken(block)
    try:
        fits = _same(expected, _eval_logits(model, sample))
        if not fits:
            del block.forward
        yield fits
    finally:
        vars(block).pop("forward", None)


def _is_bert_block(block: nn.Module) -> bool:
    """Whether a block has the parts and the call that BERT's, RoBERTa's and ELECTRA's have."""
    parts = ("attention.self.query", "attention.self.key", "attention.self.value",
             "attention.output.dense", "intermediate.dense", "output.dense")  # fmt: skip
    names = {name for name, _ in block.named_modules()}
    simple = not getattr(block, "is_decoder", False)
    takes = list(inspect.signature(type(block).forward).parameters)[1:3]
    return simple and names.issuperset(parts) and takes == ["hidden_states", "attention_mask"]


class _FirstToken:
    """The `forward` of a BERT block for the first token; everything is that block's own modules."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block

    def __call__(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *_: Any,
        **__: Any,
    ) -> torch.Tensor:
        """Map states `(batch, tokens, hidden)` to the first token's, `(batch, 1, hidden)`."""
        attention = self.block.attention
        inner = attention.self
        batch = len(hidden_states)

        def heads(values: torch.Tensor) -> torch.Tensor:
            return values.view(
                batch, -1, inner.num_attention_heads, inner.attention_head_size
            ).transpose(1, 2)

        first = hidden_states[:, :1]
        mixed = nn.functional.scaled_dot_product_attention(
            heads(inner.query(first)),
            heads(inner.key(hidden_states)),
            heads(inner.value(hidden_states)),
            attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
            dropout_p=inner.dropout.p if inner.training else 0.0,
        )
        attended = attention.output(mixed.transpose(1, 2).reshape(batch, 1, -1), first)
        return self.block.output(self.block.intermediate(attended), attended)


# --- frozen blocks, computed once ----------------------------------------------------------------


class FrozenStates:
    """What the frozen blocks make of each text, computed once instead of in every epoch.

    Frozen blocks run in eval mode, without dropout, so a text's states are the same each time.

    Args:
        model: A sequence-classification model with `num_frozen_blocks(model) > 0`.
        tokenizer: Its tokenizer.
        encoded: Word-piece ids of each text.
        folder: Where to map a file if the states exceed `CACHE_MEMORY_MB`.
        half_precision: Compute the states in the device's half precision (they are kept in
            float32).
        show_progress: Show a bar that names the size.

    Attributes:
        first_only: Whether only the first token's state is kept: no block trains and the head
            reads no other.
        megabytes: Size of the states.
        on_disk: Whether they lie in a mapped file.
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
        owner, name = _block_list(model)
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
        place = "in a mapped file" if self.on_disk else "in memory"
        return f"frozen states: {self.megabytes:,.0f} MB {place}"

    @staticmethod
    def fits(model: PreTrainedModel, encoded: Sequence[Sequence[int]], folder: Path) -> bool:
        """Whether there is something to compute once, and room for it."""
        if num_frozen_blocks(model) == 0 or _block_list(model) is None:
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
        """The states of some texts, padded with zeros: `(len(rows), length, hidden)`."""
        spans = [self._states[self._starts[row] : self._ends[row]] for row in rows]
        padded = np.zeros((len(rows), length, self._states.shape[1]), np.float32)
        for place, span in zip(padded, spans, strict=True):
            place[: len(span)] = span
        return torch.from_numpy(padded)

    def close(self) -> None:
        """Let go of the states, so that a mapped file can be removed."""
        self._states = np.empty((0, 0), np.float32)

    def give(self, states: torch.Tensor) -> None:
        """Let the next forward pass inside `in_place` start from these states."""
        self._output.states = states

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block of code, the model starts after its frozen blocks."""
        with _blocks_replaced(self._model, [self._output, *self._blocks[self._count :]]):
            yield

    def _reads_first_token(self, encoded: Sequence[Sequence[int]]) -> bool:
        """Whether the head's logits follow from the last block's first token alone."""
        if self._count < len(self._blocks):
            return False
        batch = self._pad([list(ids) for ids in encoded[:4]])
        expected = _eval_logits(self._model, batch)
        with torch.inference_mode():
            self.give(self._run_frozen(batch)[:, :1])
        first = {name: tensor[:, :1] for name, tensor in batch.items()}
        with self.in_place():
            return _same(expected, _eval_logits(self._model, first))

    def _allocate(self, shape: tuple[int, int], folder: Path) -> np.ndarray:
        if self.on_disk:
            return np.memmap(folder / "frozen_states.bin", np.float32, "w+", shape=shape)
        return np.empty(shape, np.float32)

    @torch.inference_mode()
    def _fill(self, encoded: Sequence[Sequence[int]], show_progress: bool) -> None:
        order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]), reverse=True)
        mode = self._model.training
        self._model.eval()
        shortcut = contextlib.nullcontext()
        if self.first_only:
            shortcut = first_token(self._model, self._pad([list(encoded[i]) for i in order[-4:]]))
        with (
            shortcut,
            half_precision(self._model.device, self._half),
            tqdm(total=len(order), desc=str(self), leave=False, disable=not show_progress) as bar,
        ):
            start = 0
            while start < len(order):
                count = max(1, ENCODING_TOKENS // len(encoded[order[start]]))
                rows = order[start : start + count]
                states = self._run_frozen(self._pad([list(encoded[row]) for row in rows]))
                for row, state in zip(rows, states.float().cpu().numpy(), strict=True):
                    self._states[self._starts[row] : self._ends[row]] = state[
                        : self._ends[row] - self._starts[row]
                    ]
                start += len(rows)
                bar.update(len(rows))
        self._model.train(mode)

    def _pad(self, encoded: list[list[int]]) -> Any:
        batch = self._tokenizer.pad({"input_ids": encoded}, return_tensors="pt")
        return batch.to(self._model.device)

    def _run_frozen(self, batch: Any) -> torch.Tensor:
        """The last frozen block's output; the encoder runs no block after it."""
        kept = []
        last = self._blocks[self._count - 1]
        hook = last.register_forward_hook(lambda _module, _args, output: kept.append(output))
        try:
            with _blocks_replaced(self._model, self._blocks[: self._count]):
                self._model.base_model(**batch)
        finally:
            hook.remove()
        self._output.in_tuple = isinstance(kept[0], tuple)
        return kept[0][0] if self._output.in_tuple else kept[0]


class FrozenStatesCollator:
    """A collator whose batches also carry the frozen blocks' states of their rows.

    Args:
        collator: The collator of everything else.
        states: The states; each feature names its place in them as `"row"`.
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
    """Stands where the frozen blocks stood and returns what was given to it."""

    def __init__(self) -> None:
        super().__init__()
        self.states: torch.Tensor | None = None
        self.in_tuple = False  # some architectures' blocks return a tuple

    def forward(self, *_: Any, **__: Any) -> Any:
        return (self.states,) if self.in_tuple else self.states


@torch.inference_mode()
def _eval_logits(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    mode = model.training
    logits = model.eval()(**batch).logits.float()
    model.train(mode)
    return logits


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-4)


def half_precision(device: torch.device, wanted: bool) -> contextlib.AbstractContextManager:
    """Half-precision matrix products inside the block of code, where the device has them."""
    has = runtime.precision()
    if not wanted or not (has["bf16"] or has["fp16"]):
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if has["bf16"] else torch.float16)


# --- the trainer ---------------------------------------------------------------------------------


class FastTrainer(Trainer):
    """`Trainer` with length buckets, frozen states, and evaluation that leaves no trace.

    A process trains on one device: several GPUs take several processes, as `torchrun` starts them.
    `DataParallel`, which the library would use, copies the model without what the fast options
    change in it.

    Every pass over a `DataLoader` draws a seed from the global generator, so that merely looking
    at the validation loss would change the dropout of the next epoch, and with it the model.

    Args:
        lengths: Tokens of each training text, for `LengthBucketSampler`; `None` for the library's
            order.
        frozen_states: States that the collator put into each batch as `"frozen_states"`.
        layer_decay: Share of the next block's learning rate that a block gets; see `layer_rates`.
    """

    def __init__(
        self,
        *args: Any,
        lengths: Sequence[int] | None = None,
        frozen_states: FrozenStates | None = None,
        layer_decay: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self._text_lengths, self._frozen_states = lengths, frozen_states
        self._layer_decay = layer_decay
        if (arguments := kwargs.get("args") or (args[1] if len(args) > 1 else None)) is not None:
            _prepare(arguments)
        super().__init__(*args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The library's optimizer, with a rate for each block."""
        optimizer = super().create_optimizer(model)
        if self._layer_decay != 1:
            shares = layer_rates(self.model, self._layer_decay)
            optimizer.param_groups[:] = [
                {
                    **group,
                    "params": [weight for weight in group["params"] if shares[weight] == share],
                    "lr": group["lr"] * share,
                }
                for group in optimizer.param_groups
                for share in sorted({shares[weight] for weight in group["params"]})
            ]
        return optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        if self._text_lengths is None:
            return super()._get_train_sampler(train_dataset)
        seed = _shared(self.args.seed) if self.args.world_size > 1 else None
        return LengthBucketSampler(self._text_lengths, self.args.train_batch_size, seed)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any):
        """The library's loss, started after the frozen blocks where there are states."""
        if self._frozen_states is not None:
            self._frozen_states.give(inputs.pop("frozen_states"))
        return super().compute_loss(model, inputs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The library's evaluation; the random generators stay as they were."""
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            return super().evaluate(*args, **kwargs)


def _prepare(arguments: TrainingArguments) -> None:
    """Settle what the number of processes and devices would otherwise change."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    # The library multiplies a loss by the number of processes, on the understanding that it was
    # divided by the items of all of them; the losses of this package are means of their own batch.
    if arguments.world_size > 1:
        arguments.average_tokens_across_devices = False


def _shared(seed: int) -> int:
    """The first process's seed: without one of the caller's, each process has made up another."""
    values = [int(seed)]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


class ProgressBar(TrainerCallback):
    """One bar over all steps that disappears when training ends."""

    def on_train_begin(self, args, state, control, **kwargs):
        """Open the bar; of several processes, the first one shows it."""
        self.bar = tqdm(
            total=state.max_steps, desc="fine-tuning", unit="step", leave=False,
            disable=not state.is_world_process_zero,
        )  # fmt: skip

    def on_step_end(self, args, state, control, **kwargs):
        """Move it."""
        self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, args, state, control, **kwargs):
        """Close it."""
        self.bar.close()
