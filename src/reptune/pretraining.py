"""Continued masked-language-model pretraining on texts of a domain (chapter 3).

`continue_pretraining` goes on where an encoder's pretraining stopped, on your own texts; what it
writes is a folder that every other chapter's classifier can start from. `fill_mask` shows what a
model expects in a gap.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrize
from tqdm import tqdm
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from reptune import assets, runtime, training
from reptune.data import check_texts
from reptune.estimator import check_optimizer, check_whole_number, seed_of, write_folder

IGNORED = -100  # the label of a position that is not asked for
MASKED, RANDOM = 0.8, 0.1  # of the chosen positions; the rest stay as they are
CHECKPOINT, STATE, HISTORY = "checkpoint", "state.json", "history.json"


# --- blocks of text ------------------------------------------------------------------------------


def pack(
    texts: Iterable[str], tokenizer: Tokenizer, block_size: int = 128, num_proc: int | None = None
) -> Dataset:
    """Cut texts, one after the other, into blocks without padding.

    A block is `[CLS] pieces [SEP]`; where a text ends inside it, a further `[SEP]` marks the
    border. What is left over at the end, less than a block, is dropped. Rows are kept in Arrow
    and mapped into memory, so a corpus may be larger than that.

    Args:
        texts: The texts.
        tokenizer: A fast tokenizer with `[CLS]` and `[SEP]`, or what it has in their place.
        block_size: Word pieces of a block, special tokens included.
        num_proc: Processes that tokenize; `None` uses this one.

    Returns:
        Columns `input_ids` and `starts_word` (1 where a piece begins a word, 0 where it goes on
        with one, -1 for special tokens), lists of `block_size` numbers.

    Raises:
        ValueError: If the tokenizer lacks what is needed, or all texts together fill no block.
    """
    check_whole_number("block_size", block_size, least=8)
    start, end = _borders(tokenizer)
    content = block_size - 2
    left: dict[str, list[int]] = {"ids": [], "starts": []}

    def cut(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        encoded = tokenizer(batch["text"], add_special_tokens=False, verbose=False)
        for row, ids in enumerate(encoded["input_ids"]):
            left["ids"] += [*ids, end]
            left["starts"] += [*_word_starts(encoded.word_ids(row)), -1]
        full = len(left["ids"]) // content * content
        blocks: dict[str, list[list[int]]] = {"input_ids": [], "starts_word": []}
        for place in range(0, full, content):
            ids = left["ids"][place : place + content]
            blocks["input_ids"].append([start, *ids, end])
            blocks["starts_word"].append([-1, *left["starts"][place : place + content], -1])
        left["ids"], left["starts"] = left["ids"][full:], left["starts"][full:]
        return blocks

    corpus = Dataset.from_dict({"text": check_texts(texts)})
    blocks = corpus.map(cut, batched=True, remove_columns="text", load_from_cache_file=False)
    if not len(blocks):
        raise ValueError(
            f"the texts hold {len(left['ids'])} word pieces together, too few for one block of "
            f"block_size={block_size}; pass more text or smaller blocks."
        )
    return blocks.with_format("numpy")


def _borders(tokenizer: Tokenizer) -> tuple[int, int]:
    """The ids that open a block and close a text."""
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} cannot tell which pieces make a word; use a fast tokenizer."
        )
    start = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
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
    previous = [None, *word_ids[:-1]]
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
    chosen = rng.random(input_ids.shape) < probability
    if whole_words:
        # A word's pieces share the draw of its first one.
        flat = (starts_word != 0).ravel().cumsum() - 1
        chosen = (rng.random(flat[-1] + 1) < probability)[flat].reshape(input_ids.shape)
    chosen &= starts_word >= 0
    labels = np.where(chosen, input_ids, IGNORED)
    fate = rng.random(input_ids.shape)
    inputs = np.where(chosen & (fate < MASKED), tokenizer.mask_token_id, input_ids)
    others = rng.integers(0, len(tokenizer), input_ids.shape)
    inputs = np.where(chosen & (fate >= MASKED) & (fate < MASKED + RANDOM), others, inputs)
    return inputs, labels


def check_probability(probability: float) -> None:
    """Raise a `ValueError` unless `0 < probability < 1`."""
    if not 0 < probability < 1:
        raise ValueError(
            f"mask_probability={probability!r}; use a share between 0 and 1, such as 0.15."
        )


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
    hidden = model.base_model(input_ids=input_ids).last_hidden_state
    return _head(model)(hidden[labels != IGNORED])


def _head(model: PreTrainedModel) -> nn.Module:
    for name in ("cls", "lm_head", "head"):
        if isinstance(getattr(model, name, None), nn.Module):
            return getattr(model, name)
    raise ValueError(
        f"{type(model).__name__} keeps its masked-LM head where this package does not look for it; "
        "BERT, RoBERTa, MPNet and their like work."
    )


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
    """How well a model fills gaps: `loss` (nats), `accuracy` and `perplexity` (of masked pieces).

    The same blocks and `random_state` hide the same positions, so that models compare.
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
    return {
        "loss": loss / count,
        "accuracy": right / count,
        "perplexity": math.exp(min(loss / count, 50)),
    }


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
    check_whole_number("top_k", top_k)
    if not isinstance(model, PreTrainedModel):
        model, tokenizer, _ = load_masked_lm(model)
    if tokenizer is None:
        raise ValueError("tokenizer=None; pass the tokenizer along with a model object.")
    if tokenizer.mask_token not in text:
        raise ValueError(f"{text!r} holds no {tokenizer.mask_token}; write it where the gap is.")
    encoded = tokenizer(text, return_tensors="pt", truncation=True).to(model.device)
    gaps = encoded["input_ids"][0] == tokenizer.mask_token_id
    model.eval()
    shares = model(**encoded).logits[0, gaps].float().softmax(dim=-1)
    best = shares.topk(min(top_k, shares.shape[-1]))
    return [
        list(zip(tokenizer.convert_ids_to_tokens(ids.tolist()), chances.tolist(), strict=True))
        for chances, ids in zip(best.values, best.indices, strict=True)
    ]


# --- loading and saving --------------------------------------------------------------------------


def load_masked_lm(
    model: str | Path,
) -> tuple[PreTrainedModel, Tokenizer, dict[str, torch.Tensor]]:
    """A masked language model, its tokenizer, and the pooler that such models drop.

    A sentence transformer ships no masked-LM head; it then starts at random, but for the output
    bias, which `fit_output_bias` can set.

    Args:
        model: An asset's name, a local folder or a Hub id.

    Returns:
        The model in float32 on this machine's device, its tokenizer, and the pooler's weights by
        name (empty where the encoder has none).

    Raises:
        reptune.assets.AssetUnavailable: If the model cannot be had.
        ValueError: If its tokenizer has no mask token.
    """
    source = str(assets.resolve_model(model))
    options = {"use_safetensors": True, "dtype": torch.float32}
    with runtime.quiet():
        tokenizer = AutoTokenizer.from_pretrained(source)
        masked = AutoModelForMaskedLM.from_pretrained(source, **options)
        encoder = AutoModel.from_pretrained(source, **options)
    _borders(tokenizer)
    pooler = {
        f"{masked.base_model_prefix}.{name}": weight
        for name, weight in encoder.state_dict().items()
        if name.startswith("pooler.")
    }
    return masked.to(runtime.device()), tokenizer, pooler


def has_new_head(model: str | Path) -> bool:
    """Whether a model ships no masked-LM head, so that loading makes a random one."""
    source = str(assets.resolve_model(model))
    with runtime.quiet():
        _, info = AutoModelForMaskedLM.from_pretrained(
            source, use_safetensors=True, output_loading_info=True
        )
    return any("decoder" not in name for name in info["missing_keys"])


@torch.no_grad()
def fit_output_bias(model: PreTrainedModel, blocks: Dataset) -> None:
    """Set the output bias to the log frequency of each word piece in `blocks`.

    A new head would otherwise spend its first hundreds of steps learning how common words are.
    Pieces that never occur count once.
    """
    bias = model.get_output_embeddings().bias
    counts = np.ones(len(bias))
    for start in range(0, len(blocks), 1000):
        ids = blocks[start : start + 1000]["input_ids"].ravel()
        counts += np.bincount(ids, minlength=len(bias))
    bias.copy_(torch.from_numpy(np.log(counts / counts.sum())))


def _save_model(
    model: PreTrainedModel, tokenizer: Tokenizer, pooler: dict[str, torch.Tensor], folder: Path
) -> None:
    """Write model and tokenizer; the pooler goes in where an encoder looks for it."""
    with runtime.quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    weights |= {name: weight.contiguous() for name, weight in pooler.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


# --- a small adapter -----------------------------------------------------------------------------


class LowRank(nn.Module):
    """Adds a product of two thin matrices to a weight, so that few numbers train (LoRA).

    Args:
        weight: The weight that stays as it is, shape `(outputs, inputs)`.
        rank: Width of the thin matrices.

    Source: Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models* (2022); chapter 3.
    """

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.down = nn.Parameter(torch.randn(rank, inputs) / math.sqrt(inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))  # so that it starts as no change

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The changed weight, same shape."""
        return weight + self.up @ self.down


def add_low_rank(model: PreTrainedModel, rank: int = 16) -> list[str]:
    """Put a `LowRank` on every linear layer of the blocks and freeze everything else below the head.

    Returns:
        The names of the layers.
    """
    for weight in model.base_model.parameters():
        weight.requires_grad = False
    prefix = f"{model.base_model_prefix}."
    names = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and name.startswith(prefix) and ".layer." in name
    ]
    for name in names:
        layer = model.get_submodule(name)
        addition = LowRank(layer.weight, rank).to(layer.weight.device)
        parametrize.register_parametrization(layer, "weight", addition)
    return names


def save_adapter(model: PreTrainedModel, names: Sequence[str], file: Path) -> None:
    """Write the low-rank changes, and the head's own weights, in half precision."""
    arrays = {}
    for name in names:
        addition = model.get_submodule(name).parametrizations.weight[0]
        arrays |= {f"{name}.down": addition.down, f"{name}.up": addition.up}
    prefix = f"{model.base_model_prefix}."
    arrays |= {
        name: weight for name, weight in model.named_parameters() if not name.startswith(prefix)
    }
    save_file({name: value.detach().half().contiguous() for name, value in arrays.items()}, file)


@torch.no_grad()
def apply_adapter(model: PreTrainedModel, file: Path) -> None:
    """Add the changes of `save_adapter` to a model's weights and set its head.

    Raises:
        ValueError: If the file was made for another architecture.
    """
    arrays = {name: value.float() for name, value in load_file(file).items()}
    weights = dict(model.named_parameters())
    for name, value in arrays.items():
        if name.endswith(".up"):
            layer = name.removesuffix(".up")
            target, change = weights.get(f"{layer}.weight"), value @ arrays[f"{layer}.down"]
        elif name.endswith(".down"):
            continue
        else:
            target, change = weights.get(name), value
        if target is None or target.shape != change.shape:
            raise ValueError(
                f"{file} changes {name}, which this model does not have in that shape."
            )
        change = change.to(target.device)
        target.add_(change) if name.endswith(".up") else target.copy_(change)


# --- the run -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Settings:
    """What a run depends on; a checkpoint goes on only under the same."""

    model: str
    num_steps: int
    block_size: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float
    mask_probability: float
    whole_words: bool
    fast: tuple[str, ...]
    random_state: int
    corpus: str

    def check_same(self, other: dict[str, Any], folder: Path) -> None:
        for name, value in vars(self).items():
            before = tuple(other[name]) if name == "fast" else other.get(name)
            if before != value:
                raise ValueError(
                    f"{folder} holds a checkpoint with {name}={before!r}, and this run has "
                    f"{value!r}; remove the folder, or go on with the old setting."
                )


def continue_pretraining(
    model: str | Path,
    texts: Iterable[str],
    folder: str | Path,
    *,
    validation: Iterable[str] | None = None,
    num_steps: int | None = None,
    num_epochs: int = 1,
    block_size: int = 128,
    batch_size: int = 16,
    learning_rate: float = 2e-4,
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    mask_probability: float = 0.15,
    whole_words: bool = False,
    evaluations: int = 5,
    checkpoint_steps: int = 100,
    fast: bool | Collection[str] = True,
    random_state: int | None = 42,
    show_progress: bool = False,
) -> Path:
    """Go on with an encoder's masked-language-model pretraining on texts of your domain.

    A run that is killed goes on at its last checkpoint when it is called again with the same
    arguments, and ends with the same model as one that was not.

    Args:
        model: An asset's name, a local folder or a Hub id.
        texts: Texts of the domain; they need no labels.
        folder: Where the model goes, and meanwhile the checkpoint.
        validation: Texts that are not trained on, scored `evaluations` times.
        num_steps: Optimizer steps; `None` for as many as `num_epochs` over the texts need.
        num_epochs: Passes over the texts.
        block_size: Word pieces of a block; see `pack`.
        batch_size: Blocks a step.
        learning_rate: Peak rate of AdamW.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises from 0; it then falls to 0.
        mask_probability: Chance of a piece, or a word, to be asked for.
        whole_words: Choose whole words; see `mask_tokens`.
        evaluations: How often validation is scored, spread over the steps, the end among them.
        checkpoint_steps: Steps between two checkpoints.
        fast: Options of `reptune.training.FAST_OPTIONS`; of use here are `half_precision` and
            `cheap_dropout`.
        random_state: Seed of order, masks and dropout.
        show_progress: Show a progress bar.

    Returns:
        `folder`: a model that `AutoModelForMaskedLM`, `AutoModel` (with its pooler) and this
        package's classifiers load, with `history.json`: `{"step", "loss"}` and
        `{"step", "eval_loss", "eval_accuracy"}`.

    Raises:
        ValueError: If a parameter is bad, the texts fill no block, or the folder holds the
            checkpoint of another run; before any training.
        PermissionError: If the folder cannot be written to; before any training.
        reptune.assets.AssetUnavailable: If the model cannot be had.

    Source: Gururangan et al., *Don't Stop Pretraining* (2020); chapter 3.
    """
    for name, value in (
        ("num_epochs", num_epochs), ("batch_size", batch_size), ("evaluations", evaluations),
        ("checkpoint_steps", checkpoint_steps),
    ):  # fmt: skip
        check_whole_number(name, value)
    if num_steps is not None:
        check_whole_number("num_steps", num_steps)
    check_optimizer(learning_rate, warmup)
    check_probability(mask_probability)
    options = training.fast_options(fast)
    folder = _writable(Path(folder))
    with runtime.seeded(random_state):
        masked, tokenizer, pooler = load_masked_lm(model)
        blocks = pack(texts, tokenizer, _check_block_size(block_size, masked))
        if has_new_head(model):
            fit_output_bias(masked, blocks)
        held_out = None if validation is None else pack(validation, tokenizer, block_size)
        settings = _Settings(
            model=str(model),
            num_steps=num_steps or num_epochs * math.ceil(len(blocks) / batch_size),
            block_size=block_size,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup=warmup,
            mask_probability=mask_probability,
            whole_words=whole_words,
            fast=tuple(sorted(options)),
            random_state=seed_of(random_state),
            corpus=_hash(blocks),
        )
        run = _Run(settings, masked, tokenizer, blocks, held_out, folder)
        run.resume()
        run.train(evaluations, checkpoint_steps, show_progress)
    return run.finish(pooler)


def _check_block_size(block_size: int, model: PreTrainedModel) -> int:
    limit = training.position_limit(model)
    if limit is not None and block_size > limit:
        raise ValueError(
            f"block_size={block_size}, but the model takes at most {limit} word pieces; lower it."
        )
    return block_size


def _writable(folder: Path) -> Path:
    """Return `folder`, where it and its checkpoint can be written."""
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    if not os.access(parent, os.W_OK):
        raise PermissionError(f"{parent} cannot be written to; choose another folder.")
    return folder


def _hash(blocks: Dataset) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(blocks), 1000):
        digest.update(np.ascontiguousarray(blocks[start : start + 1000]["input_ids"]).tobytes())
    return digest.hexdigest()


class _Run:
    """One run: its weights, optimizer and place, which a checkpoint keeps.

    Order and masks of a step follow from the seed and the step's number alone; the generator that
    dropout draws from is part of a checkpoint.
    """

    def __init__(
        self,
        settings: _Settings,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        blocks: Dataset,
        held_out: Dataset | None,
        folder: Path,
    ) -> None:
        self.settings, self.model, self.tokenizer = settings, model, tokenizer
        self.blocks, self.held_out, self.folder = blocks, held_out, folder
        self.checkpoint = folder.with_name(f"{folder.name}.checkpoint")
        self.step, self.history = 0, []
        named = [(name, weight) for name, weight in model.named_parameters()]
        self._names = [name for name, _ in named]
        plain = [name.endswith("bias") or "norm" in name.lower() for name in self._names]
        groups = [
            {"params": [weight for (_, weight), is_plain in zip(named, plain) if is_plain == kind],
             "weight_decay": 0.0 if kind else settings.weight_decay}
            for kind in (False, True)
        ]  # fmt: skip
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self._half = "half_precision" in settings.fast

    def train(self, evaluations: int, checkpoint_steps: int, show_progress: bool) -> None:
        looks = set(np.linspace(0, self.settings.num_steps, evaluations + 1, dtype=int)[1:])
        cheap = "cheap_dropout" in self.settings.fast and self.model.device.type == "cpu"
        bar = tqdm(
            total=self.settings.num_steps, initial=self.step, unit="step", leave=False,
            desc="pretraining", disable=not show_progress,
        )  # fmt: skip
        with bar, training.cheap_dropout(self.model) if cheap else contextlib.nullcontext():
            while self.step < self.settings.num_steps:
                loss = self._take_step()
                self.history.append({"step": self.step, "loss": loss})
                bar.update()
                if self.held_out is not None and self.step in looks:
                    scores = masked_scores(self.model, self.held_out, self.tokenizer)
                    self.history.append(
                        {"step": self.step}
                        | {f"eval_{name}": value for name, value in scores.items()}
                    )
                if self.step % checkpoint_steps == 0 and self.step < self.settings.num_steps:
                    self._keep()

    def _take_step(self) -> float:
        self.model.train()
        inputs, labels = self._batch(self.step)
        with training.half_precision(self.model.device, self._half):
            logits = masked_logits(self.model, inputs, labels)
        loss = nn.functional.cross_entropy(logits.float(), labels[labels != IGNORED])
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1
        return loss.item()

    def _batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        size = self.settings.batch_size
        steps_an_epoch = math.ceil(len(self.blocks) / size)
        epoch, place = divmod(step, steps_an_epoch)
        seed = self.settings.random_state
        order = np.random.default_rng([seed, epoch]).permutation(len(self.blocks))
        rows = self.blocks[np.sort(order[place * size : (place + 1) * size])]
        masked = mask_tokens(
            rows["input_ids"],
            rows["starts_word"],
            self.tokenizer,
            np.random.default_rng([seed, epoch, place]),
            self.settings.mask_probability,
            self.settings.whole_words,
        )
        inputs, labels = (torch.from_numpy(part).to(self.model.device) for part in masked)
        return inputs, labels

    def _rate(self, step: int) -> float:
        warm = math.ceil(self.settings.warmup * self.settings.num_steps)
        if step < warm:
            return (step + 1) / warm
        return max(0.0, (self.settings.num_steps - step) / max(1, self.settings.num_steps - warm))

    def _keep(self) -> None:
        """Write a checkpoint beside the folder; the one before stays until this one is whole."""

        def write(written: Path) -> None:
            arrays = {f"model.{name}": value for name, value in self._weights().items()}
            for name, moments in zip(self._optimized(), self._moments(), strict=True):
                arrays |= {f"{key}.{name}": value.contiguous() for key, value in moments.items()}
            arrays["generator"] = torch.get_rng_state()
            if torch.cuda.is_available():
                arrays["cuda_generator"] = torch.cuda.get_rng_state()
            save_file(arrays, written / "state.safetensors")
            state = {"step": self.step, "history": self.history, "settings": vars(self.settings)}
            (written / STATE).write_text(json.dumps(state, default=runtime.as_json), "utf-8")

        write_folder(self.checkpoint, write, marker=STATE)

    def resume(self) -> None:
        """Go on at the checkpoint, if there is one.

        Raises:
            ValueError: If it belongs to another run.
        """
        if not (self.checkpoint / STATE).is_file():
            return
        state = json.loads((self.checkpoint / STATE).read_text("utf-8"))
        self.settings.check_same(state["settings"], self.checkpoint)
        arrays = load_file(self.checkpoint / "state.safetensors")
        with torch.no_grad():
            for name, weight in self._weights().items():
                weight.copy_(arrays[f"model.{name}"])
        for name, weight in self._optimized().items():
            self.optimizer.state[weight] = {
                key: arrays[f"{key}.{name}"].to("cpu" if key == "step" else weight.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        torch.set_rng_state(arrays["generator"])
        if "cuda_generator" in arrays and torch.cuda.is_available():
            torch.cuda.set_rng_state(arrays["cuda_generator"])
        self.step, self.history = state["step"], state["history"]
        self.schedule.last_epoch = self.step
        for group, rate in zip(self.optimizer.param_groups, self.schedule.get_lr(), strict=True):
            group["lr"] = rate

    def finish(self, pooler: dict[str, torch.Tensor]) -> Path:
        """Write the model to its folder and remove the checkpoint."""

        def write(written: Path) -> None:
            _save_model(self.model, self.tokenizer, pooler, written)
            (written / HISTORY).write_text(json.dumps(self.history), "utf-8")

        path = write_folder(self.folder, write, marker=HISTORY)
        shutil.rmtree(self.checkpoint, ignore_errors=True)
        return path

    def _weights(self) -> dict[str, torch.Tensor]:
        """The parameters by name; tied ones occur once."""
        return dict(self.model.named_parameters())

    def _optimized(self) -> dict[str, torch.Tensor]:
        return self._weights()

    def _moments(self) -> list[dict[str, torch.Tensor]]:
        return [self.optimizer.state[weight] for weight in self._optimized().values()]
