"""Conversions: safetensors from one pinned file in another format, by recipe."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reptune.assets.errors import AssetUnavailable

if TYPE_CHECKING:
    from reptune.assets.registry import Asset


def require_converter(asset: Asset) -> None:
    """Raise AssetUnavailable, with the cure, where a package for the conversion is missing."""
    if asset.recipe == "gguf" and importlib.util.find_spec("gguf") is None:
        raise AssetUnavailable(
            f"Asset {asset.name!r} needs the package gguf for its conversion: "
            '`pip install "reptune[smollm2]"` (or `pip install gguf`), then try again.'
        )


def _convert_gguf(asset: Asset, gguf: Path, target: Path) -> None:
    """Write a GGUF model as safetensors, with its tokenizer.

    `save_pretrained` refuses a model that was loaded from GGUF, so the weights move to a plain
    model of the same architecture. The global random state is left as it was.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, file = str(gguf.parent), gguf.name
    with torch.random.fork_rng(devices=[]):
        loaded = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=torch.float32, trust_remote_code=False
        )
        config = loaded.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = type(loaded)(config).to(getattr(torch, asset.dtype))
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file, trust_remote_code=False)
    tokenizer.save_pretrained(target)
    for weights in target.glob("*.safetensors"):  # written owner-only; a cache may be shared
        weights.chmod((target / "config.json").stat().st_mode)


def _convert_blocks4(_asset: Asset, origin: Path, target: Path) -> None:
    """Write 4-bit weights of an encoder as float32 safetensors, with its tokenizer."""
    from reptune.blocks4 import convert

    convert(origin, target)


def _convert_halves(_asset: Asset, origin: Path, target: Path) -> None:
    """Write a small BERT in half precision as a folder of float32."""
    from reptune.halves import convert

    convert(origin, target)


# Read late, so that a test may put another in its place.
CONVERTERS: Mapping[str, Callable[[Asset, Path, Path], None]] = {
    "gguf": lambda asset, origin, target: _convert_gguf(asset, origin, target),
    "blocks4": _convert_blocks4,
    "halves": _convert_halves,
}
