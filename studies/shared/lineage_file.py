"""A model of the lineage as one file, in half precision, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM

from reptune.folders import write_folder
from reptune.models.masked import load_masked_lm
from reptune.pretraining import pack
from shared import lineage

FORMAT = 1
LOGIT_TOLERANCE = 0.05  # that halving the weights may change a logit by


def write_asset(folder: Path, file: Path) -> str:
    """Write a model of the lineage as one file: weights in half precision, sizes, vocabulary.

    Everything beside the weights is one string, because the library writes several in any order.

    Args:
        folder: A model that `encoder` made.
        file: A safetensors file.

    Returns:
        The file's SHA-256, the same for the same model on every machine.

    Raises:
        ValueError: If a weight is beyond what half precision holds.
    """
    loaded = load_masked_lm(folder, device="cpu")
    halves = {
        name: weight.detach().half().contiguous()
        for name, weight in loaded.model.named_parameters()
    }
    for name, weight in halves.items():
        if not bool(weight.isfinite().all()):
            raise ValueError(f"{name} holds weights beyond half precision; keep float32.")
    ids = loaded.tokenizer.get_vocab()
    sizes = {name: getattr(loaded.model.config, name) for name in lineage.SIZES}
    about = {"format": FORMAT, "sizes": sizes, "vocabulary": sorted(ids, key=ids.get)}
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    save_file(halves, part, metadata={"about": json.dumps(about, sort_keys=True)})
    part.replace(file)
    return hashlib.sha256(file.read_bytes()).hexdigest()


@torch.no_grad()
def read_asset(file: Path, folder: Path) -> Path:
    """Make of a file that `write_asset` wrote a folder that every model argument accepts.

    Raises:
        ValueError: If the file is none, of a newer format, or lacks a weight.
    """
    try:
        with safe_open(file, "pt") as opened:
            about = json.loads(opened.metadata()["about"])
        known = about["format"] <= FORMAT
        halves = load_file(file)
    except Exception as error:  # safetensors' errors share no class
        raise ValueError(f"{file} is no model that write_asset wrote: {error!r}") from error
    if not known:
        raise ValueError(f"{file} has format {about['format']}; this code reads up to {FORMAT}.")
    tokenizer = lineage.tokenizer_of(about["vocabulary"])
    model = BertForMaskedLM(
        lineage.config_of(len(tokenizer), lineage.DROPOUT["afterwards"], **about["sizes"])
    )
    weights = dict(model.named_parameters())
    if halves.keys() != weights.keys():
        raise ValueError(f"{file} is damaged: its weights are not those of such a model.")
    for name, weight in weights.items():
        weight.copy_(halves[name])

    def write(written: Path) -> None:
        model.save_pretrained(written)
        tokenizer.save_pretrained(written)

    return write_folder(folder, write, marker="config.json")


@torch.inference_mode()
def largest_change(before: Path, after: Path, texts: Sequence[str]) -> float:
    """The largest change of any logit over the vocabulary between two models, on blocks of texts.

    Both run in float32, so that the weights alone differ.
    """
    old, new = (load_masked_lm(folder, device="cpu") for folder in (before, after))
    blocks = pack(texts, old.tokenizer, lineage.BLOCK)
    ids = torch.from_numpy(blocks[: min(8, len(blocks))]["input_ids"]).long()
    change = old.model.eval()(input_ids=ids).logits - new.model.eval()(input_ids=ids).logits
    return float(change.abs().max())
