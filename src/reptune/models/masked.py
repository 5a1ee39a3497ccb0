"""Masked language models: loaded, filling masks, scoring texts (chapter 3)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from reptune import assets, runtime
from reptune.checks import (
    check_model_folder,
    check_number,
    check_texts,
    check_whole_number,
)
from reptune.models import lowrank
from reptune.tokens import model_limit

IGNORED = -100  # the label of a position that is not asked for
MASKED, RANDOM = 0.8, 0.1  # of the chosen positions; the rest stay as they are


def borders(tokenizer: Tokenizer) -> tuple[int, int]:
    """The ids that open a block and close a text.

    Raises:
        ValueError: If the tokenizer is slow, or has no token for a border or for a mask.
    """
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} cannot tell which pieces make a word; use a fast one."
        )
    start, end = (
        next((place for place in places if place is not None), None)
        for places in (
            (tokenizer.cls_token_id, tokenizer.bos_token_id),
            (tokenizer.sep_token_id, tokenizer.eos_token_id),
        )
    )
    if start is None or end is None:
        raise ValueError(
            f"{type(tokenizer).__name__} has no tokens for where a text begins or ends."
        )
    if tokenizer.mask_token_id is None:
        raise ValueError(
            f"{type(tokenizer).__name__} has no mask token; use the tokenizer of a masked language "
            "model, such as BERT's."
        )
    return start, end


def _word_starts(word_ids: Sequence[int | None]) -> list[int]:
    previous = [None, *word_ids][:-1]
    return [int(word != before) for word, before in zip(word_ids, previous, strict=True)]


# --- masking -------------------------------------------------------------------------------------


def mask_tokens(
    input_ids: np.ndarray,
    starts_word: np.ndarray,
    tokenizer: Tokenizer,
    rng: np.random.Generator,
    probability: float = 0.15,
    whole_words: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Hide some positions and say what stood there.

    Of the chosen positions 80% become the mask token, 10% any other piece, and 10% stay as they
    are, so that the model cannot rely on seeing a mask.

    Args:
        input_ids: Shape `(blocks, tokens)`.
        starts_word: As `pack` gives it, same shape; special tokens (-1) are never chosen.
        tokenizer: Names the mask token and the size of the vocabulary.
        rng: Source of what is random.
        probability: Chance of each piece, or of each word with `whole_words`, to be chosen.
        whole_words: Choose all pieces of a word or none.

    Returns:
        Inputs, and labels that are -100 where nothing is asked; both of the shape of `input_ids`.

    Raises:
        ValueError: If `probability` is not between 0 and 1.

    Source: Devlin et al., *BERT* (2019), section 3.1; chapter 3.
    """
    check_probability(probability)
    # The unit that is drawn: a piece, or with `whole_words` a word's pieces together.
    unit = np.arange(input_ids.size)
    if whole_words:
        unit = (starts_word != 0).ravel().cumsum() - 1
    drawn = rng.random(unit[-1] + 1) < probability
    eligible = starts_word >= 0
    if eligible.any() and not drawn[unit[eligible.ravel()]].any():
        drawn[rng.choice(unit[eligible.ravel()])] = True  # a tiny batch: ask for one all the same
    chosen = drawn[unit].reshape(input_ids.shape) & eligible
    labels = np.where(chosen, input_ids, IGNORED)
    fate = rng.random(input_ids.shape)
    inputs = np.where(chosen & (fate < MASKED), tokenizer.mask_token_id, input_ids)
    others = rng.integers(0, len(tokenizer), input_ids.shape)
    inputs = np.where(chosen & (fate >= MASKED) & (fate < MASKED + RANDOM), others, inputs)
    return inputs, labels


def check_probability(probability: float) -> None:
    """Raise a `ValueError` unless `0 < probability < 1`."""
    check_number("mask_probability", probability, above=0, below=1)


# --- the loss ------------------------------------------------------------------------------------


def masked_logits(
    model: PreTrainedModel, input_ids: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Logits over the vocabulary at the masked positions only, shape `(masked, vocabulary)`.

    Six positions of seven are not asked for, and a vocabulary's logits cost as much as the blocks
    of a small encoder.

    Args:
        model: A masked language model.
        input_ids: Shape `(batch, tokens)`, without padding.
        labels: Same shape, -100 where nothing is asked.
    """
    asked = labels != IGNORED
    head = getattr(model, "cls", None) or getattr(model, "lm_head", None)
    if head is None:  # an architecture whose head is in several parts: all logits, then some
        return model(input_ids=input_ids).logits[asked]
    return head(model.base_model(input_ids=input_ids).last_hidden_state[asked])


@torch.inference_mode()
def masked_scores(
    model: PreTrainedModel,
    blocks: Dataset,
    tokenizer: Tokenizer,
    *,
    batch_size: int = 32,
    probability: float = 0.15,
    random_state: int = 0,
) -> dict[str, float]:
    """How well a model fills gaps: `loss` (nats a piece) and `accuracy`.

    The same blocks and `random_state` hide the same positions, so that models compare.

    Raises:
        ValueError: If so few blocks come that nothing is hidden.
    """
    was_training = model.training
    model.eval()
    rng = np.random.default_rng(random_state)
    loss, right, count = 0.0, 0, 0
    for start in range(0, len(blocks), batch_size):
        batch = blocks[start : start + batch_size]
        inputs, labels = mask_tokens(
            batch["input_ids"], batch["starts_word"], tokenizer, rng, probability
        )
        inputs, labels = (torch.from_numpy(part).to(model.device) for part in (inputs, labels))
        logits, truth = masked_logits(model, inputs, labels).float(), labels[labels != IGNORED]
        loss += float(nn.functional.cross_entropy(logits, truth, reduction="sum"))
        right += int((logits.argmax(dim=1) == truth).sum())
        count += len(truth)
    model.train(was_training)
    if not count:
        raise ValueError(f"no position of {len(blocks)} blocks was masked; pass more blocks.")
    return {"loss": loss / count, "accuracy": right / count}


@torch.inference_mode()
def pseudo_perplexity(
    model: PreTrainedModel, blocks: Dataset, tokenizer: Tokenizer, *, batch_size: int = 32
) -> float:
    """How many pieces a model wavers between, on average, when one piece at a time is hidden.

    Every piece is hidden once, alone: `block_size` passes a block, where `masked_scores` needs
    one. 1 would be certainty, the vocabulary's size plain guessing.

    Args:
        model: A masked language model.
        blocks: What `pack` returns; special tokens are not asked for.
        tokenizer: Names the mask token.
        batch_size: Passes at once.

    Source: Salazar et al., *Masked Language Model Scoring* (2020), section 2.3; chapter 3.
    """
    was_training = model.training
    model.eval()
    loss, count = 0.0, 0
    for block in blocks:
        ids = torch.from_numpy(block["input_ids"]).to(model.device, torch.long)
        asked = torch.from_numpy(np.flatnonzero(block["starts_word"] >= 0)).to(model.device)
        for places in asked.split(batch_size):
            rows = torch.arange(len(places), device=model.device)
            inputs = ids.repeat(len(places), 1)
            labels = torch.full_like(inputs, IGNORED)
            inputs[rows, places] = tokenizer.mask_token_id
            labels[rows, places] = ids[places]
            logits = masked_logits(model, inputs, labels).float()
            loss += float(nn.functional.cross_entropy(logits, ids[places], reduction="sum"))
        count += len(asked)
    model.train(was_training)
    return math.exp(loss / count)


# What makes a folder a sentence transformer; it goes along, so that chapter 2 starts alike.
SENTENCE_FILES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json")


# --- a gap to fill -------------------------------------------------------------------------------


@torch.inference_mode()
def fill_mask(
    model: PreTrainedModel | str | Path,
    text: str,
    top_k: int = 5,
    tokenizer: Tokenizer | None = None,
) -> list[list[tuple[str, float]]]:
    """What a model expects in each gap of a text.

    Args:
        model: A masked language model with its tokenizer, or an asset's name, folder or Hub id.
        text: With one `[MASK]` or more, written as the model's tokenizer writes it.
        top_k: Fillings a gap.
        tokenizer: Of a model that is given as an object.

    Returns:
        One list a gap, in their order, of `(piece, probability)`, the likeliest first.

    Raises:
        ValueError: If `text` holds no mask token, or `top_k` is no whole number above 0.
    """
    top_k = check_whole_number("top_k", top_k)
    [text] = check_texts([text], "text")
    if not isinstance(model, PreTrainedModel):
        tokenizer = load_tokenizer(model)
        model, _ = load_kind(AutoModelForMaskedLM, model)
    if tokenizer is None:
        raise ValueError("tokenizer=None; pass the tokenizer along with a model object.")
    if tokenizer.mask_token not in text:
        raise ValueError(f"{text!r} holds no {tokenizer.mask_token}; write it where the gap is.")
    limit = model_limit(tokenizer, model)
    encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=limit)
    gaps = encoded["input_ids"][0] == tokenizer.mask_token_id
    if gaps.sum() < text.count(tokenizer.mask_token):
        raise ValueError(f"a gap lies beyond the {limit} word pieces the model reads; shorten it.")
    was_training = model.training
    logits = model.eval()(**encoded.to(model.device)).logits[0, gaps.to(model.device)]
    model.train(was_training)
    best = logits.float().softmax(dim=-1).topk(min(top_k, logits.shape[-1]))
    return [
        list(zip(tokenizer.convert_ids_to_tokens(ids.tolist()), chances.tolist(), strict=True))
        for chances, ids in zip(best.values, best.indices, strict=True)
    ]


# --- loading and saving --------------------------------------------------------------------------


def load_tokenizer(model: str | Path) -> Tokenizer:
    """The tokenizer of a masked language model.

    Raises:
        reptune.assets.AssetUnavailable: If the model cannot be had.
        ValueError: If there is none, or it has no mask token.
    """
    source = source_of(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # a damaged file's errors share no class
        raise ValueError(f"{model} has no usable tokenizer: {error}") from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # made up from a config alone
        raise ValueError(f"{model} has no usable tokenizer: its vocabulary is empty.")
    borders(tokenizer)
    return tokenizer


def source_of(model: str | Path) -> str:
    """What `from_pretrained` takes, once it is sure that nothing in a folder would run."""
    source = assets.resolve_model(model)
    if Path(source).is_dir():
        check_model_folder(source)
    return str(source)


def load_kind(kind: Any, model: str | Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A model of a kind, in float32, and what its file lacked.

    Raises:
        ValueError: If its weights are damaged or not finite.
    """
    try:
        with runtime.quiet():
            loaded, info = kind.from_pretrained(
                source_of(model),
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, assets.AssetError):
        raise
    except Exception as error:  # safetensors' errors share no class
        raise ValueError(f"{model} holds a damaged model ({error}); restore the folder.") from error
    for name, weight in loaded.named_parameters():
        if not bool(weight.isfinite().all()):
            raise ValueError(f"{model}: {name} holds weights that are not finite; use another.")
    return loaded, info


@dataclass
class MaskedLM:
    """A masked language model with what `AutoModelForMaskedLM` leaves behind.

    Attributes:
        model: The model, in float32, on this machine's device.
        tokenizer: Its tokenizer.
        has_new_head: Whether it shipped no masked-LM head, so that this one is random.
        pooler: The encoder's pooler, which masked language models drop; empty without one.
        sentence_files: What makes the source a sentence transformer, as paths; empty if nothing.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    has_new_head: bool
    pooler: dict[str, torch.Tensor]
    sentence_files: list[Path]

    def save(self, folder: Path) -> None:
        """Write all of it; `AutoModel` finds the pooler, `SentenceTransformer` its own files."""
        weights = self.model.state_dict() | self.pooler
        with runtime.quiet():
            self.model.save_pretrained(folder, state_dict=weights)
            self.tokenizer.save_pretrained(folder)
        for path in self.sentence_files:
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, folder / path.name)


def load_masked_lm(model: str | Path, adapter: str | Path | None = None) -> MaskedLM:
    """Load a masked language model for pretraining.

    Args:
        model: An asset's name, a local folder or a Hub id.
        adapter: Changes to make to it at once, such as `GENERAL_START` to all-MiniLM-L6-v2.

    Raises:
        reptune.assets.AssetUnavailable: If the model cannot be had.
        ValueError: If its tokenizer has no mask token, or the adapter is for another model.
    """
    tokenizer = load_tokenizer(model)
    masked, info = load_kind(AutoModelForMaskedLM, model)
    encoder, encoder_info = load_kind(AutoModel, model)
    prefix = masked.base_model_prefix
    pooler = {
        f"{prefix}.{name}": weight.contiguous()
        for name, weight in encoder.state_dict().items()
        if name.startswith("pooler.") and name not in encoder_info["missing_keys"]
    }
    if adapter is not None:
        lowrank.apply_adapter(masked, Path(adapter))
    folder = Path(source_of(model))
    parts = [folder / name for name in SENTENCE_FILES] + sorted(folder.glob("[0-9]_*"))
    lacks_head = any(not name.startswith(f"{prefix}.") for name in info["missing_keys"])
    return MaskedLM(
        model=masked.to(runtime.device()),
        tokenizer=tokenizer,
        has_new_head=lacks_head and adapter is None,
        pooler=pooler,
        sentence_files=[path for path in parts if path.exists()],
    )
