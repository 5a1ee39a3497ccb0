"""Sentence transformers as this package uses them: loaded safely, cut to a length."""

from __future__ import annotations

import torch
from sentence_transformers import SentenceTransformer

from reptune import runtime
from reptune.tokens import position_limit


def load_body(source: str, is_local: bool) -> SentenceTransformer:
    """A sentence transformer in float32, from safetensors, without a prompt before each text."""
    body = SentenceTransformer(
        source,
        device=str(runtime.device()),
        model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        local_files_only=is_local,
        trust_remote_code=False,
    )
    body.default_prompt_name = None  # texts are embedded as they are, here as in an export
    return body


def set_length(body: SentenceTransformer, max_length: int | None) -> None:
    """Cut texts at `max_length` tokens from now on, or at the model's own setting for `None`.

    Raises:
        ValueError: If the model takes fewer.
    """
    limit = position_limit(body[0].auto_model)
    if max_length is not None and limit is not None and max_length > limit:
        raise ValueError(
            f"max_length={max_length}, but the model takes at most {limit} word pieces; lower it."
        )
    wanted = max_length or body.max_seq_length or limit
    if wanted is not None:
        body.max_seq_length = min(wanted, limit or wanted)
