"""Language models that fill a mask, masked or causal, and the logits of label words (chapter 6).

`load_prompt_model` hides what sets the two kinds apart. `label_logits` computes the head at the
mask alone, and of its output layer only the label words' rows; with `fast=False` it is plain
library code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from reptune import assets, runtime
from reptune.checks import check_texts
from reptune.cloze.templates import Encoded, Template
from reptune.models.causal import check_loaded, load_causal_lm, load_float32
from reptune.models.lowrank import apply_adapter
from reptune.tokens import batches_by_length, model_limit, pad

PREDICTION_TOKENS = 4096  # tokens per batch, padding included, where nothing is trained

Input = tuple[str, str | None]  # a text, and the second one of a pair


# --- models that fill masks ----------------------------------------------------------------------


class LabelHead(NamedTuple):
    """The parts of a head, for logits at one index and of a few words.

    Attributes:
        transform: From the last block's states to what the output layer reads, `(n, hidden)`.
        decoder: The output layer, with `weight` `(vocabulary, hidden)` and `bias` or `None`.
    """

    transform: Callable[[torch.Tensor], torch.Tensor]
    decoder: nn.Module


@dataclass(frozen=True)
class PromptModel:
    """A masked or causal language model with what prompts need.

    Attributes:
        model: In float32.
        tokenizer: Its tokenizer.
        causal: Whether it reads only what stands before the mask.
        limit: Tokens that it takes, special ones included.
        head: Its head's parts; `None` where they are laid out otherwise, so that logits are
            computed for all tokens and words.

    >>> from reptune.cloze import load_prompt_model
    >>> from reptune.models.lowrank import REVIEW_START
    >>> prompt_model = load_prompt_model("all-MiniLM-L6-v2", REVIEW_START)
    >>> prompt_model.causal, prompt_model.limit
    (False, 512)
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    causal: bool
    limit: int
    head: LabelHead | None


def load_prompt_model(
    model: str | Path, adapter: str | Path | None = None, device: str | None = None
) -> PromptModel:
    """Load a language model that fills masks.

    It is causal if its configuration names a causal architecture or its tokenizer has no mask
    token.

    Args:
        model: An asset's name, a local folder or a Hub id.
        adapter: Low-rank changes and a head to give it at once, such as `REVIEW_START` to
            all-MiniLM-L6-v2; see `reptune.models.lowrank`.
        device: Where the model runs: `None` for the accelerator, or a name such as `"cpu"`.

    Raises:
        reptune.assets.AssetUnavailable: If the model cannot be had.
        ValueError: If a masked model ships without its head and there is no adapter, or lacks
            other weights, or needs code of its own, or the adapter is missing or for another
            model, or there is no such device.
    """
    target = runtime.check_device(device)
    source = str(assets.resolve_model(model))
    if adapter is not None and not (
        isinstance(adapter, str | os.PathLike) and Path(adapter).is_file()
    ):
        raise ValueError(
            f"adapter={str(adapter)!r} is no file; pass one that "
            "reptune.pretraining.continue_pretraining(rank=...) wrote, or None."
        )
    # A head that is missing is drawn at random before an adapter replaces it; seeded, so that the
    # caller's generators stay as they are.
    with runtime.quiet(), runtime.seeded(0):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        kinds = config.architectures or []
        named = any("CausalLM" in kind or "LMHeadModel" in kind for kind in kinds)
        causal = named or tokenizer.mask_token is None
        if causal:
            loaded = load_causal_lm(model, device).model
        else:
            loaded = _load_masked(model, source, adapter)
        if adapter is not None:
            apply_adapter(loaded, Path(adapter))
        loaded = loaded.to(target).eval()
    limit = model_limit(tokenizer, loaded)
    return _with_head(PromptModel(loaded, tokenizer, causal, limit, None))


def _load_masked(model: str | Path, source: str, adapter: str | Path | None) -> PreTrainedModel:
    loaded, absent = load_float32(AutoModelForMaskedLM, source)
    prefix = f"{loaded.base_model_prefix}."
    lacking = [name for name in absent if name.startswith(prefix)]
    check_loaded(model, loaded, lacking)
    missing = [name for name in absent if not name.startswith(prefix)]
    if missing and adapter is None:
        raise ValueError(
            f"{model} ships without its masked-LM head ({', '.join(missing[:2])} …), and a random "
            "one fills no mask; pass an adapter that has a head, or a folder that "
            "reptune.pretraining.continue_pretraining wrote, or another model."
        )
    return loaded


def _with_head(prompt_model: PromptModel) -> PromptModel:
    """Add the head's parts, if they give the logits that the library gives."""
    model = prompt_model.model
    head = _label_head(model, prompt_model.causal)
    if head is None:
        return prompt_model
    with_head = replace(prompt_model, head=head)
    ids = list(range(min(8, model.config.vocab_size, prompt_model.limit)))
    probe = collate(with_head, [Encoded(ids, len(ids) - 1, 0, 0)] * 2)
    with torch.inference_mode():
        fast, plain = (label_logits(with_head, probe, fast=wanted) for wanted in (True, False))
    same = fast.shape == plain.shape and torch.allclose(fast, plain, rtol=1e-4, atol=1e-4)
    return with_head if same else prompt_model


def _label_head(model: PreTrainedModel, causal: bool) -> LabelHead | None:
    """Return the parts of a head laid out as BERT's, RoBERTa's or a causal model's."""
    if causal:
        return LabelHead(nn.Identity(), model.get_output_embeddings())
    if hasattr(getattr(model, "cls", None), "predictions"):
        return LabelHead(model.cls.predictions.transform, model.cls.predictions.decoder)
    head = getattr(model, "lm_head", None)
    if all(hasattr(head, part) for part in ("dense", "layer_norm", "decoder")):
        return LabelHead(_RobertaTransform(head.dense, head.layer_norm), head.decoder)
    return None


@dataclass(frozen=True)
class _RobertaTransform:
    """What RoBERTa's head does before its output layer; an object, so that it can be pickled."""

    dense: nn.Module
    layer_norm: nn.Module

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        return self.layer_norm(nn.functional.gelu(self.dense(states)))


# --- the logits of label words -------------------------------------------------------------------


class Batch(NamedTuple):
    """Prompts padded on the right.

    Attributes:
        input_ids: Shape `(n, tokens)`.
        attention_mask: Same shape, 0 at padding.
        mask: Index of the mask in each prompt, shape `(n,)`; see `Encoded`.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    mask: torch.Tensor


def collate(
    prompt_model: PromptModel, encoded: Sequence[Encoded], multiple: int | None = None
) -> Batch:
    """Pad prompts to the longest, or to the next `multiple` of tokens."""
    device, pad_id = prompt_model.model.device, prompt_model.tokenizer.pad_token_id or 0
    ids, attended = pad([prompt.input_ids for prompt in encoded], device, pad_id)
    more = 0 if multiple is None else -ids.shape[1] % multiple
    ids = nn.functional.pad(ids, (0, more), value=pad_id)
    mask = torch.tensor([prompt.mask for prompt in encoded], device=device)
    return Batch(ids, nn.functional.pad(attended, (0, more)), mask)


def label_logits(
    prompt_model: PromptModel,
    batch: Batch,
    word_ids: np.ndarray | torch.Tensor | None = None,
    fast: bool = True,
) -> torch.Tensor:
    """Return what a model gives for each label's word at the mask, shape `(n, num_labels)`.

    Of a label with several words it is the mean of their logits.

    A vocabulary of 30,000 words at 50 tokens costs as much as several blocks, and all that is
    wanted is two numbers: `fast` computes the head at the mask alone, and of its output layer
    only the words' rows. The two ways agree to 1e-5 in float32.

    Args:
        prompt_model: The model.
        batch: What `collate` returns.
        word_ids: What `reptune.cloze.templates.word_ids` returns, shape `(num_labels,)` or
            `(num_labels, num_words)`; `None` for the whole vocabulary.
        fast: `False` for plain library code, which computes all logits and takes some.

    Source: Gao et al. (2021), section 4; the mean is that of Schick and Schütze (2021); chapter 6.
    """
    model, head = prompt_model.model, prompt_model.head
    rows = torch.arange(len(batch.mask), device=batch.mask.device)
    words = None if word_ids is None else torch.as_tensor(word_ids, device=rows.device)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if prompt_model.causal:
        inputs["use_cache"] = False  # nothing is generated
    if not fast or head is None:
        logits = model(**inputs).logits[rows, batch.mask]
        return logits if words is None else _by_label(logits[:, words.flatten()], words)
    states = head.transform(model.base_model(**inputs).last_hidden_state[rows, batch.mask])
    weight, bias = head.decoder.weight, getattr(head.decoder, "bias", None)
    if words is None:
        return nn.functional.linear(states, weight, bias)
    weight = weight.index_select(0, words.flatten())
    bias = None if bias is None else bias.index_select(0, words.flatten())
    return _by_label(nn.functional.linear(states, weight, bias), words)


def _by_label(logits: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Return each label's logit of its words' logits, `(n, num_labels)`: their mean."""
    return logits if words.ndim == 1 else logits.unflatten(1, words.shape).mean(dim=2)


def evaluation_batches(
    prompt_model: PromptModel, encoded: Sequence[Encoded], batch_size: int | None = None
) -> Iterator[tuple[list[int], Batch]]:
    """Collate prompts of similar length, while the model is in evaluation mode.

    Args:
        prompt_model: The model that reads them.
        encoded: The prompts.
        batch_size: Prompts per batch; `None` for as many as make `PREDICTION_TOKENS`.

    Yields:
        The indices in `encoded` of a batch's prompts, and the batch.
    """
    lengths = [len(prompt.input_ids) for prompt in encoded]
    mode = prompt_model.model.training
    prompt_model.model.eval()
    try:
        for indices in batches_by_length(lengths, batch_size, PREDICTION_TOKENS):
            yield indices, collate(prompt_model, [encoded[index] for index in indices])
    finally:
        prompt_model.model.train(mode)


def all_logits(
    prompt_model: PromptModel,
    encoded: Sequence[Encoded],
    word_ids: np.ndarray,
    fast: bool,
    batch_size: int | None = None,
) -> np.ndarray:
    """Return `label_logits` of any number of prompts, shape `(n, num_labels)`, without gradients.

    Args:
        prompt_model: The model.
        encoded: The prompts.
        word_ids: What `reptune.cloze.templates.word_ids` returns.
        fast: As in `label_logits`.
        batch_size: As in `evaluation_batches`.
    """
    logits = np.empty((len(encoded), len(word_ids)))
    for indices, batch in evaluation_batches(prompt_model, encoded, batch_size):
        with torch.inference_mode():
            of_batch = label_logits(prompt_model, batch, word_ids, fast)
            logits[indices] = of_batch.float().cpu().numpy()
    return logits


# --- inputs --------------------------------------------------------------------------------------


def check_inputs(
    texts: Iterable[Any], template: Template, what: str = "texts", first: int = 0
) -> list[Input]:
    """Return texts as pairs of a text and a second one or `None`, or raise.

    Args:
        texts: Strings; for a template with `{text2}` tuples or lists of two strings.
        template: What they shall fill.
        what: What to call them in a message.
        first: The number of the first of them, in messages.

    Raises:
        ValueError: If there are none, or one is not what the template takes.
    """
    if not template.pair:
        opening = texts[0] if isinstance(texts, list | tuple) and texts else None
        if isinstance(opening, tuple | list):
            raise ValueError(
                f"{what}[{first}] is {opening!r}, but template={template.pattern!r} takes one "
                "text; add {text2} to it for pairs."
            )
        return [(text, None) for text in check_texts(texts, what, first)]
    # Neither one string nor a table nor a mapping is a list of pairs.
    odd = isinstance(texts, str | bytes | Mapping | Set) or not isinstance(texts, Iterable)
    if odd or hasattr(texts, "columns") or hasattr(texts, "column_names"):
        check_texts(texts, what, first)  # which raises
    rows = list(texts)
    for index, row in enumerate(rows, first):
        if isinstance(row, str) or not isinstance(row, tuple | list | np.ndarray) or len(row) != 2:
            raise ValueError(
                f"{what}[{index}] is {row!r}, but template={template.pattern!r} takes pairs; pass "
                "tuples of two strings."
            )
    both = [check_texts([row[side] for row in rows], what, first) for side in (0, 1)]
    return list(zip(*both, strict=True))
