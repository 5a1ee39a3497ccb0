"""Language models from a folder or the Hub: in float32, whole, and without running their code."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import reptune.needs_torch  # noqa: F401

import torch
from torch import nn
from transformers import PreTrainedModel

from reptune.checks import check_finite_weights


def load_float32(kind: Any, source: str) -> tuple[PreTrainedModel, list[str]]:
    """Load a model in float32 from safetensors, running no code that lies beside it.

    Args:
        kind: A class of transformers with `from_pretrained`, such as `AutoModelForCausalLM`.
        source: A local folder or a Hub id.

    Returns:
        The model and the names of weights that its folder lacks, which the library has drawn at
        random; see `check_loaded`.
    """
    loaded, info = kind.from_pretrained(
        source,
        use_safetensors=True,
        dtype=torch.float32,
        trust_remote_code=False,
        output_loading_info=True,
    )
    return loaded, sorted(info["missing_keys"])


def check_loaded(model: str | Path, loaded: nn.Module, missing: Collection[str]) -> None:
    """Raise a `ValueError` if a loaded model's weights cannot be meant.

    Args:
        model: What the caller named.
        loaded: The model.
        missing: Weights that its folder lacks; the library draws them at random.
    """
    cure = "restore the folder, or use another model."
    if missing:
        named = ", ".join(sorted(missing)[:2])
        more = ", …" if len(missing) > 2 else ""
        raise ValueError(f"{model} lacks {len(missing)} of its weights ({named}{more}); {cure}")
    try:
        check_finite_weights(loaded, trained=False)
    except ValueError as error:
        raise ValueError(f"{model}: {error}; {cure}") from None
