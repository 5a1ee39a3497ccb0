"""Sentence transformers as this package uses them: loaded safely, cut to a length."""

from __future__ import annotations

from pathlib import Path

import reptune.needs_torch  # noqa: F401

import torch
from sentence_transformers import SentenceTransformer

from reptune import assets, runtime
from reptune.tokens import check_max_length, position_limit


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
