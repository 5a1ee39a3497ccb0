"""Blocks of text, masks and the loss at masked positions (chapter 3).

What masked-language-model pretraining is made of. `reptune.pretraining` puts it together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from torch import nn
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from reptune.checks import check_number, check_texts, check_whole_number

IGNORED = -100  # the label of a position that is not asked for
MASKED, RANDOM = 0.8, 0.1  # of the chosen positions; the rest stay as they are


# --- blocks of text ------------------------------------------------------------------------------


def pack(
    texts: Iterable[str] | Dataset,
    tokenizer: Tokenizer,
    block_size: int = 128,
    cache_file: Path | None = None,
    what: str = "texts",
) -> Dataset:
    """Cut texts, one after the other, into blocks without padding.

    A block is `[CLS] pieces [SEP]`; where a text ends inside it, a further `[SEP]` marks the
    border. What is left over at the end, less than a block, is dropped.

    Args:
        texts: The texts, or a data set with a column `text`, which may be larger than memory.
        tokenizer: A fast tokenizer with `[CLS]` and `[SEP]`, or what it has in their place.
        block_size: Word pieces of a block, special tokens included.
        cache_file: Where the blocks go, to be mapped into memory; `None` keeps them in memory.
        what: What to call the texts in a message.

    Returns:
        Columns `input_ids` and `starts_word` (1 where a piece begins a word, 0 where it goes on
        with one, -1 for special tokens), arrays of `block_size` numbers.

    Raises:
        ValueError: If the tokenizer lacks what is needed, a data set has no column `text` or no
            text in a row of it, or all texts together fill no block.
    """
    block_size = check_whole_number("block_size", block_size, least=8)
    start, end = borders(tokenizer)
    special = set(tokenizer.all_special_ids)
    content = block_size - 2
    left: dict[str, list[int]] = {"ids": [], "starts": []}

    def cut(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        if None in batch["text"]:
            raise ValueError(f"{what}: a row of the data set has no text; drop such rows.")
        encoded = tokenizer(
            batch["text"], add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        for row, ids in enumerate(encoded["input_ids"]):
            if ids:
                starts = _word_starts(encoded.word_ids(row))
                starts = [
                    -1 if piece in special else s for piece, s in zip(ids, starts, strict=True)
                ]
                left["ids"] += [*ids, end]
                left["starts"] += [*starts, -1]
        full = len(left["ids"]) // content * content
        blocks: dict[str, list[list[int]]] = {"input_ids": [], "starts_word": []}
        for place in range(0, full, content):
            blocks["input_ids"].append([start, *left["ids"][place : place + content], end])
            blocks["starts_word"].append([-1, *left["starts"][place : place + content], -1])
        left["ids"], left["starts"] = left["ids"][full:], left["starts"][full:]
        return blocks

    corpus = _corpus(texts, what)
    blocks = corpus.map(
        cut,
        batched=True,
        remove_columns=corpus.column_names,
        load_from_cache_file=False,
        cache_file_name=None if cache_file is None else str(cache_file),
        features=Features(input_ids=List(Value("int32")), starts_word=List(Value("int8"))),
    )
    if not len(blocks):
        raise ValueError(
            f"{what} hold {len(left['ids'])} word pieces together, too few for one block of "
            f"block_size={block_size}; pass more text or smaller blocks."
        )
    return blocks.with_format("numpy")


def _corpus(texts: Iterable[str] | Dataset, what: str) -> Dataset:
    """The texts as a data set with a column `text`; one on disk stays there."""
    if not isinstance(texts, Dataset):
        return Dataset.from_dict({"text": check_texts(texts, what)})
    kind = getattr(texts.features.get("text"), "dtype", None)
    if kind not in ("string", "large_string"):
        raise ValueError(
            f"{what} is a data set with the columns {texts.column_names}; it needs a column 'text' "
            "of strings. Rename one with rename_column."
        )
    return texts


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
