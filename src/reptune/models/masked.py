"""Masked language models: loaded, filling masks, scoring texts (chapter 3)."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import reptune.needs_torch  # noqa: F401

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

IGNORED = -100  # the label of a position that is not masked
MASKED, RANDOM = 0.8, 0.1  # of the chosen positions; the rest stay as they are


def check_tokenizer(tokenizer: Tokenizer) -> None:
    """Raise a `ValueError` unless a tokenizer is fast and has a mask token."""
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} cannot tell which tokens make a word; use a fast one."
        )
    if tokenizer.mask_token_id is None:
        raise ValueError(
            f"{type(tokenizer).__name__} has no mask token; use the tokenizer of a masked language "
            "model, such as BERT's."
        )


# --- masking -------------------------------------------------------------------------------------


def mask_tokens(
    input_ids: np.ndarray,
    starts_word: np.ndarray,
    tokenizer: Tokenizer,
    rng: np.random.Generator,
    probability: float = 0.15,
    whole_words: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Mask some positions and say what stood there.

    Of the chosen positions 80% become the mask token, 10% any other token, and 10% stay as they
    are, so that the model cannot rely on seeing a mask.

    Args:
        input_ids: Shape `(blocks, tokens)`.
        starts_word: As `pack` gives it, same shape; special tokens (-1) are never chosen.
        tokenizer: Names the mask token and the size of the vocabulary.
        rng: Source of what is random.
        probability: Chance of each token, or of each word with `whole_words`, to be chosen.
        whole_words: Choose all tokens of a word or none.

    Returns:
        Inputs, and labels that are -100 where nothing is masked; both of the shape of `input_ids`.

    Raises:
        ValueError: If `probability` is not between 0 and 1.

    Source: Devlin et al., *BERT* (2019), section 3.1; chapter 3.

    >>> from reptune.pretraining import pack
    >>> tokenizer = load_tokenizer("all-MiniLM-L6-v2")
    >>> block = pack(["The plot is thin, but the cast makes up for it."], tokenizer, 12)[:]
    >>> rng = np.random.default_rng(0)
    >>> inputs, labels = mask_tokens(block["input_ids"], block["starts_word"], tokenizer, rng, 0.3)
    >>> inputs.shape == labels.shape == (1, 12)
    True
    >>> tokenizer.decode(inputs[0])
    '[CLS] [MASK] [MASK] [MASK] thin, but the cast makes up [SEP]'
    >>> tokenizer.decode(labels[labels != IGNORED])
    'the plot is'
    """
    check_probability(probability)
    # The unit that is drawn: a token, or with `whole_words` a word's tokens together.
    unit = np.arange(input_ids.size)
    if whole_words:
        unit = (starts_word != 0).ravel().cumsum() - 1
    drawn = rng.random(unit[-1] + 1) < probability
    eligible = starts_word >= 0
    if eligible.any() and not drawn[unit[eligible.ravel()]].any():
        drawn[rng.choice(unit[eligible.ravel()])] = True  # a tiny batch: mask one all the same
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
    """Return the logits over the vocabulary at masked positions only, `(masked, vocabulary)`.

    Six positions of seven are not masked, and a vocabulary's logits cost as much as the blocks
    of a small encoder.

    Args:
        model: A masked language model.
        input_ids: Shape `(batch, tokens)`, without padding.
        labels: Same shape, -100 where nothing is masked.
    """
    masked = labels != IGNORED
    head = getattr(model, "cls", None) or getattr(model, "lm_head", None)
    if head is None:  # an architecture whose head is in several parts: all logits, then some
        return model(input_ids=input_ids).logits[masked]
    return head(model.base_model(input_ids=input_ids).last_hidden_state[masked])


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
    """Score how well a model fills masks.

    The same blocks and `random_state` mask the same positions, so that models compare.

    Args:
        model: A masked language model; it runs where it lies.
        blocks: What `pack` returns.
        tokenizer: Names the mask token.
        batch_size: Blocks per batch.
        probability: Chance of each token to be masked.
        random_state: Seed of which are.

    Returns:
        `loss` (nats per masked token) and `accuracy` (share of them that come first).

    Raises:
        ValueError: If so few blocks come that nothing is masked.
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
    """Return how many tokens a model wavers between, on average, with one masked at a time.

    Every token is masked once, alone: `block_size` passes per block, where `masked_scores` needs
    one. 1 would be certainty, the vocabulary's size plain guessing.

    Args:
        model: A masked language model.
        blocks: What `pack` returns; special tokens are not masked.
        tokenizer: Names the mask token.
        batch_size: Passes per batch.

    Source: Salazar et al., *Masked Language Model Scoring* (2020), section 2.3; chapter 3.
    """
    was_training = model.training
    model.eval()
    loss, count = 0.0, 0
    for block in blocks:
        ids = torch.from_numpy(block["input_ids"]).to(model.device, torch.long)
        positions = torch.from_numpy(np.flatnonzero(block["starts_word"] >= 0)).to(model.device)
        for masked in positions.split(batch_size):
            rows = torch.arange(len(masked), device=model.device)
            inputs = ids.repeat(len(masked), 1)
            labels = torch.full_like(inputs, IGNORED)
            inputs[rows, masked] = tokenizer.mask_token_id
            labels[rows, masked] = ids[masked]
            logits = masked_logits(model, inputs, labels).float()
            loss += float(nn.functional.cross_entropy(logits, ids[masked], reduction="sum"))
        count += len(positions)
    model.train(was_training)
    return math.exp(loss / count)


# What makes a folder a sentence transformer; it goes along, so that chapter 2 starts alike.
SENTENCE_FILES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json")


# --- masks to fill -------------------------------------------------------------------------------


@torch.inference_mode()
def fill_mask(
    model: PreTrainedModel | str | Path,
    text: str,
    top_k: int = 5,
    tokenizer: Tokenizer | None = None,
    *,
    device: str | None = None,
) -> list[list[tuple[str, float]]]:
    """Return what a model expects at each mask of a text.

    Args:
        model: A masked language model with its tokenizer, or an asset's name, folder or Hub id.
        text: With one `[MASK]` or more, written as the model's tokenizer writes it.
        top_k: Fillings per mask.
        tokenizer: Of a model that is given as an object.
        device: Where a model that is given by name runs: `None` for the accelerator, or a name
            such as `"cpu"`. A model object runs where it lies.

    Returns:
        One list per mask, in their order, of `(token, probability)`, the likeliest first.

    Raises:
        ValueError: If `text` holds no mask token, one lies beyond what the model reads, `top_k`
            is no whole number above 0, or there is no such device.

    >>> from reptune.models.lowrank import GENERAL_START
    >>> reader = load_masked_lm("all-MiniLM-L6-v2", GENERAL_START, device="cpu")
    >>> text = "She is the prime [MASK] of France."
    >>> [best, *others] = fill_mask(reader.model, text, tokenizer=reader.tokenizer)[0]
    >>> best[0]
    'minister'
    """
    top_k = check_whole_number("top_k", top_k)
    [text] = check_texts([text], "text")
    if not isinstance(model, PreTrainedModel):
        where = runtime.check_device(device)
        tokenizer = load_tokenizer(model)
        model = load_kind(AutoModelForMaskedLM, model)[0].to(where)
    if tokenizer is None:
        raise ValueError("tokenizer=None; pass the tokenizer along with a model object.")
    if tokenizer.mask_token not in text:
        raise ValueError(
            f"{text!r} holds no {tokenizer.mask_token}; write it where a word is left open."
        )
    limit = model_limit(tokenizer, model)
    encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=limit)
    masked = encoded["input_ids"][0] == tokenizer.mask_token_id
    if masked.sum() < text.count(tokenizer.mask_token):
        raise ValueError(
            f"{tokenizer.mask_token} lies beyond the {limit} tokens that the model reads; shorten "
            "the text."
        )
    was_training = model.training
    logits = model.eval()(**encoded.to(model.device)).logits[0, masked.to(model.device)]
    model.train(was_training)
    best = logits.float().softmax(dim=-1).topk(min(top_k, logits.shape[-1]))
    return [
        list(zip(tokenizer.convert_ids_to_tokens(ids.tolist()), shares.tolist(), strict=True))
        for shares, ids in zip(best.values, best.indices, strict=True)
    ]


# --- loading and saving --------------------------------------------------------------------------


def load_tokenizer(model: str | Path) -> Tokenizer:
    """Load the tokenizer of a masked language model.

    Raises:
        reptune.assets.AssetUnavailable: If the model cannot be had.
        ValueError: If there is none, or it is slow or has no mask token.

    >>> load_tokenizer("all-MiniLM-L6-v2").mask_token
    '[MASK]'
    """
    source = source_of(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # a damaged file's errors share no class
        raise ValueError(f"{model} has no usable tokenizer: {error}") from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # made up from a config alone
        raise ValueError(f"{model} has no usable tokenizer: its vocabulary is empty.")
    check_tokenizer(tokenizer)
    return tokenizer


def source_of(model: str | Path) -> str:
    """Return what `from_pretrained` takes, once it is sure that nothing in a folder would run."""
    source = assets.resolve_model(model)
    if Path(source).is_dir():
        check_model_folder(source)
    return str(source)


def load_kind(kind: Any, model: str | Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load a model of a kind, in float32 on the CPU, and say what its file lacked.

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
        model: The model, in float32, on the device it was loaded to.
        tokenizer: Its tokenizer.
        has_new_head: Whether it shipped no masked-LM head, so that this one is random.
        pooler: The encoder's pooler, which masked language models drop; empty without one.
        sentence_files: What makes the source a sentence transformer, as paths; empty if nothing.

    >>> loaded = load_masked_lm("all-MiniLM-L6-v2", device="cpu")
    >>> loaded.has_new_head, sorted(loaded.pooler)
    (True, ['bert.pooler.dense.bias', 'bert.pooler.dense.weight'])
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


def load_masked_lm(
    model: str | Path, adapter: str | Path | None = None, *, device: str | None = None
) -> MaskedLM:
    """Load a masked language model for pretraining.

    Args:
        model: An asset's name, a local folder or a Hub id.
        adapter: Changes to make to it at once, such as `GENERAL_START` to all-MiniLM-L6-v2.
        device: Where the model runs: `None` for the accelerator, or a name such as `"cpu"`.

    Raises:
        reptune.assets.AssetUnavailable: If the model cannot be had.
        ValueError: If its tokenizer has no mask token, the adapter is for another model, or there
            is no such device.
    """
    where = runtime.check_device(device)
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
        model=masked.to(where),
        tokenizer=tokenizer,
        has_new_head=lacks_head and adapter is None,
        pooler=pooler,
        sentence_files=[path for path in parts if path.exists()],
    )
