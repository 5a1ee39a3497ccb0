"""Sentence transformers as this package uses them: loaded safely, cut to a length, prefixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import reptune.needs_torch  # noqa: F401

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers.processors import TemplateProcessing

from reptune import assets, runtime
from reptune.tokens import check_max_length, position_limit, special_ids

QUERY = "query: "  # what E5 models were trained to see before a text


def load_body(model: str | Path, device: torch.device | None = None) -> SentenceTransformer:
    """Load a sentence transformer in float32, from safetensors, in eval mode.

    No prompt is put before a text: texts are embedded as they are, here as in an export.

    Args:
        model: An asset's name, a local folder or a Hub id.
        device: Where it goes; `None` takes the accelerator.

    Raises:
        ValueError: If there is no such model, or its folder would run code of its own.
        reptune.assets.AssetUnavailable: If the model cannot be had.
    """
    source = assets.resolve_model(model)
    body = SentenceTransformer(
        str(source),
        device=str(device or runtime.device()),
        model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        local_files_only=Path(source).is_dir(),
        trust_remote_code=False,
    )
    body.default_prompt_name = None
    return body.eval()


def set_length(body: SentenceTransformer, max_length: int | None) -> None:
    """Cut texts at `max_length` tokens from now on, or at the model's own setting for `None`.

    Raises:
        ValueError: If the model takes fewer.
    """
    limit = position_limit(body[0].auto_model)
    length = check_max_length(max_length, limit, body.max_seq_length)
    if length is not None:
        body.max_seq_length = min(length, limit or length)


def set_prefix(body: SentenceTransformer, prefix: str | None = None) -> None:
    """Put some words before every text from now on, in the tokenizer, so that they are saved too.

    E5 models were trained on texts that begin with "query: ", and expect it. Where the tokenizer
    puts the prefix there already, as that of a saved classifier does, nothing changes.

    Args:
        body: The sentence transformer; its tokenizer is changed.
        prefix: The words; `None` takes "query: " for a model whose folder names that as its prompt
            for queries, as E5 models do, and nothing for all others.

    Raises:
        ValueError: If the tokenizer cuts a text behind the prefix otherwise than by itself.
    """
    if prefix is None:
        prefix = QUERY if (body.prompts or {}).get("query") == QUERY else ""
    if not prefix:
        return
    tokenizer = body.tokenizer
    own = tokenizer(prefix, add_special_tokens=False)["input_ids"]
    before, after = special_ids(tokenizer)
    if before[-len(own) :] == own:
        return
    whole = tokenizer(f"{prefix}a text", add_special_tokens=False)["input_ids"]
    if not own or whole != own + tokenizer("a text", add_special_tokens=False)["input_ids"]:
        raise ValueError(
            f"prefix={prefix!r}: this model's tokenizer joins it with the text that follows; put "
            'it before the texts yourself, and pass prefix="".'
        )
    _put_before(tokenizer, [*before, *own], after)


def _put_before(tokenizer: Any, before: list[int], after: list[int]) -> None:
    """Make a tokenizer put these ids around every text."""
    parts = [
        {"id": name, "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)}
        for name, ids in (("before", before), ("after", after))
        if ids
    ]
    end = " after" if after else ""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"before $A{end}", pair=f"before $A{end} $B:1{end}", special_tokens=parts
    )


@torch.inference_mode()
def token_vectors(body: SentenceTransformer, batch_size: int = 1024) -> np.ndarray:
    """Return what the model makes of each token of its vocabulary, alone between special tokens.

    Args:
        body: The sentence transformer, which is left in eval mode.
        batch_size: Tokens at once.

    Returns:
        Shape `(vocabulary, dimensions)`, float32, by token id.

    Source: Model2Vec (Tulkens and van Dongen 2024) begins like this; chapter 2.
    """
    body.eval()
    before, after = special_ids(body.tokenizer)
    parts = []
    for ids in torch.arange(len(body.tokenizer)).split(batch_size):
        first, last = (torch.tensor(some).repeat(len(ids), 1) for some in (before, after))
        rows = torch.cat([first, ids[:, None], last], dim=1).long().to(body.device)
        features = {"input_ids": rows, "attention_mask": torch.ones_like(rows)}
        parts.append(body(features)["sentence_embedding"].float().cpu().numpy())
    return np.concatenate(parts)
