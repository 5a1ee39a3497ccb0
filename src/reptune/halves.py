"""A small BERT as one file: weights in half precision, sizes and vocabulary (chapter 3).

What this book pretrains itself travels so, beside the code. The folder that is made of it is one
that `AutoModelForMaskedLM` and `AutoTokenizer` load.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import reptune.needs_torch  # noqa: F401

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

FORMAT = 1
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
DROPOUT = 0.1  # while a model that was read back is trained


def write_halves(folder: Path, file: Path) -> str:
    """Write a BERT with its masked-LM head and its lowercase WordPiece vocabulary as one file.

    Everything beside the weights is one string, because the library writes several in any order.

    Args:
        folder: A saved `BertForMaskedLM` with its tokenizer.
        file: A safetensors file.

    Returns:
        The file's SHA-256, the same for the same model on every machine.

    Raises:
        ValueError: If a weight is beyond what half precision holds.
    """
    from transformers import AutoTokenizer, BertForMaskedLM

    model = BertForMaskedLM.from_pretrained(folder, dtype=torch.float32)
    halves = {
        name: weight.detach().half().contiguous() for name, weight in model.named_parameters()
    }
    for name, weight in halves.items():
        if not bool(weight.isfinite().all()):
            raise ValueError(f"{name} holds weights beyond half precision; keep float32.")
    ids = AutoTokenizer.from_pretrained(folder).get_vocab()
    sizes = {name: getattr(model.config, name) for name in SIZES}
    about = {"format": FORMAT, "sizes": sizes, "vocabulary": sorted(ids, key=ids.get)}
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    save_file(halves, part, metadata={"about": json.dumps(about, sort_keys=True)})
    part.replace(file)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def convert(file: Path, folder: Path) -> None:
    """Write the folder of a model from a file that `write_halves` wrote, in float32.

    Raises:
        ValueError: If the file is none, of a newer format, or lacks a weight; nothing is written.
    """
    about, halves = _read(file)
    positions = len(halves["bert.embeddings.position_embeddings.weight"])
    tokenizer = wordpiece_tokenizer(about["vocabulary"], positions)
    model = _model(bert_config(len(tokenizer), positions, DROPOUT, **about["sizes"]), halves, file)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def wordpiece_tokenizer(vocabulary: Sequence[str], positions: int) -> BertTokenizerFast:
    """Return a lowercasing BERT tokenizer with these tokens, in the order of their ids.

    Args:
        vocabulary: The tokens, `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]` among them.
        positions: Tokens that a model takes at most.
    """
    from transformers import BertTokenizerFast

    ids = {token: index for index, token in enumerate(vocabulary)}
    return BertTokenizerFast(vocab=ids, do_lower_case=True, model_max_length=positions)


def bert_config(num_tokens: int, positions: int, dropout: float, **sizes: int) -> BertConfig:
    """Return the shape of a BERT.

    Args:
        num_tokens: Of its vocabulary.
        positions: Tokens that it takes at most.
        dropout: Share of activations, and of attention, that are zeroed in training.
        sizes: A number for each of `SIZES`.
    """
    from transformers import BertConfig

    return BertConfig(
        vocab_size=num_tokens, max_position_embeddings=positions, hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout, **sizes,
    )  # fmt: skip


def _read(file: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return what a file says of its model, and the weights."""
    try:
        with safe_open(file, "pt") as opened:
            about = json.loads(opened.metadata()["about"])
        number, halves = about["format"], load_file(file)
    except Exception as error:  # safetensors' errors share no class
        raise ValueError(f"{file} is no model that write_halves wrote: {error!r}") from error
    if number > FORMAT:
        raise ValueError(f"{file} has format {number}; this code reads up to {FORMAT}.")
    return about, halves


@torch.no_grad()
def _model(config: BertConfig, halves: dict[str, torch.Tensor], file: Path) -> BertForMaskedLM:
    from transformers import BertForMaskedLM

    with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it was
        model = BertForMaskedLM(config)
    weights = dict(model.named_parameters())
    if halves.keys() != weights.keys():
        raise ValueError(f"{file} is damaged: its weights are not those of such a model.")
    for name, weight in weights.items():
        weight.copy_(halves[name])
    return model
