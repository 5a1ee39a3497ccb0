"""The same computation with less work: dropout masks from fewer bits, the last block for [CLS]."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import (
    PreTrainedModel,
)

from reptune.training.blocks import block_list, eval_logits, nearly_equal

# --- dropout -------------------------------------------------------------------------------------


class _Drop(torch.autograd.Function):
    """Zero each value where its 16 random bits fall below a threshold, and scale up the rest."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, zeroed: int) -> torch.Tensor:
        # One draw of 64 bits serves four values; a 64-bit draw costs what a bernoulli draw does.
        draws = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: values.numel()].view(values.shape)
        kept = bits >= zeroed - 2**15
        ctx.save_for_backward(kept)
        ctx.scale = 2**16 / (2**16 - zeroed)
        return values * kept.to(values.dtype).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (kept,) = ctx.saved_tensors
        return gradient * kept.to(gradient.dtype).mul_(ctx.scale), None


class CheapDropout(nn.Module):
    """Dropout on the CPU with a quarter of the random draws; rates are multiples of 1/65,536.

    Args:
        p: Share of the values that become 0.

    >>> sorted(set(CheapDropout(0.5)(torch.ones(1000)).tolist()))
    [0.0, 2.0]
    """

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
    """Put `CheapDropout` in place of `nn.Dropout` in a model, inside the `with` statement.

    Attention weights keep the library's dropout where the attention function applies it itself.
    A model that is not on a CPU stays as it is: elsewhere masks are drawn fast enough.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    dropouts = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Dropout and 0 < child.p < 1 and on_cpu
    ]
    for parent, name, child in dropouts:
        setattr(parent, name, CheapDropout(child.p).train(child.training))
    try:
        yield
    finally:
        for parent, name, child in dropouts:
            setattr(parent, name, child.train(getattr(parent, name).training))


# --- the last block, at the first token only -----------------------------------------------------


@contextlib.contextmanager
def first_token(model: PreTrainedModel, sample: dict[str, torch.Tensor]) -> Iterator[bool]:
    """Let the last block compute only the first token's output, inside the `with` statement.

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
    owner_and_name = block_list(model)
    blocks = getattr(*owner_and_name) if owner_and_name else ()
    block = blocks[-1] if len(blocks) else None
    known = model.config._attn_implementation in ("sdpa", "eager")
    if block is None or not known or not is_bert_block(block):
        yield False
        return
    expected = eval_logits(model, sample)
    block.forward = _FirstToken(block)
    try:
        fits = nearly_equal(expected, eval_logits(model, sample))
        if not fits:
            del block.forward
        yield fits
    finally:
        vars(block).pop("forward", None)


def is_bert_block(block: nn.Module) -> bool:
    """Return whether a block has the parts and the call of BERT's, RoBERTa's and ELECTRA's."""
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
