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
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel

from reptune import runtime, training
from reptune.checks import (
    check_finite_weights,
    check_flag,
    check_number,
    check_optimizer,
    check_random_state,
    check_whole_number,
    seed_of,
)
from reptune.folders import check_replaceable, write_folder
from reptune.models import lowrank
from reptune.models.masked import (
    IGNORED,
    MaskedLM,
    check_probability,
    load_masked_lm,
    mask_tokens,
    masked_logits,
    masked_scores,
)
from reptune.pretraining.packing import pack
from reptune.tokens import position_limit

HISTORY = "history.json"
ADAPTER = "adapter.safetensors"


@torch.no_grad()
def average_encoders(
    before: str | Path, after: str | Path, folder: str | Path, share: float = 0.5
) -> Path:
    """Write an encoder that lies part of the way from one to another: the mean of their weights.

    Pretraining on a domain also overwrites; half of the way may keep more of both.

    Args:
        before: The encoder as it was: an asset's name, a local folder or a Hub id.
        after: The same after `continue_pretraining`; its tokenizer and masked-LM head go along.
        folder: Where to write; an earlier result there is replaced.
        share: How far to go from `before`, which is 0, to `after`, which is 1.

    Returns:
        `folder`, for use wherever a model's name can stand.

    Raises:
        ValueError: If `share` is not in [0, 1], the encoders differ in their weights' names or
            shapes, or `folder` holds something else.
        reptune.assets.AssetUnavailable: If an encoder cannot be had.

    Source: Wortsman et al., *Robust fine-tuning of zero-shot models* (2022); chapter 3.
    """
    check_number("share", share, least=0, most=1)
    folder = Path(folder)
    check_replaceable(folder, HISTORY)
    old, new = (load_masked_lm(source) for source in (before, after))
    shapes = [
        {name: tuple(weight.shape) for name, weight in loaded.model.base_model.named_parameters()}
        for loaded in (old, new)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{before} and {after} differ in their weights; only an encoder and what "
            "continue_pretraining made of it can be averaged."
        )
    weights = dict(old.model.base_model.named_parameters())
    for name, weight in new.model.base_model.named_parameters():
        weight.lerp_(weights[name], 1 - share)

    def write(written: Path) -> None:
        new.save(written)
        averaged = {"before": str(before), "after": str(after), "share": share}
        (written / HISTORY).write_text(json.dumps([averaged]), "utf-8")

    return write_folder(folder, write, marker=HISTORY)


@torch.no_grad()
def fit_output_bias(model: PreTrainedModel, blocks: Dataset) -> None:
    """Set the output bias to the log frequency of each word piece in `blocks`.

    A new head would otherwise spend its first hundreds of steps learning how common words are.
    Pieces that never occur count once.
    """
    bias = model.get_output_embeddings().bias
    counts = np.ones(len(bias))
    for start in range(0, len(blocks), 1000):
        part = blocks[start : start + 1000]
        counts += np.bincount(part["input_ids"][part["starts_word"] >= 0], minlength=len(bias))
    bias.copy_(torch.from_numpy(np.log(counts / counts.sum())))


# --- the run -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Settings:
    """What a run depends on; a checkpoint goes on only under the same."""

    model: str  # a hash of the weights it starts from
    corpus: str  # and of the blocks
    num_steps: int
    rank: int | None
    block_size: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float
    mask_probability: float
    whole_words: bool
    fast: list[str]
    random_state: int

    def check_same(self, before: dict[str, Any], file: Path) -> None:
        for name, value in asdict(self).items():
            if before.get(name) != value:
                raise ValueError(
                    f"{file} is the checkpoint of a run with {name}={before.get(name)!r}, and this "
                    f"one has {value!r}; remove the file, or go on with the old setting."
                )


def continue_pretraining(
    model: str | Path,
    texts: Iterable[str] | Dataset,
    folder: str | Path,
    *,
    validation: Iterable[str] | Dataset | None = None,
    adapter: str | Path | None = None,
    rank: int | None = None,
    num_steps: int | None = None,
    num_epochs: int = 1,
    block_size: int = 128,
    batch_size: int = 16,
    learning_rate: float = 3e-4,
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    mask_probability: float = 0.3,
    whole_words: bool = False,
    evaluations: int = 5,
    checkpoint_steps: int = 100,
    fast: bool | Collection[str] = True,
    random_state: int | None = 42,
    show_progress: bool = False,
) -> Path:
    """Go on with an encoder's masked-language-model pretraining on texts of your domain.

    A run that is killed goes on at its last checkpoint, `<folder>.checkpoint`, when it is called
    again with the same arguments, and ends with the same model as one that was not. What it left
    among the temporary files is removed by the next run. It trains in one process; `torchrun` is
    refused.

    Args:
        model: An asset's name, a local folder or a Hub id.
        texts: Texts of the domain, without labels, or a data set with a column `text`.
        folder: Where the model goes; a model that an earlier run wrote there is replaced.
        validation: Texts that are not trained on, scored `evaluations` times.
        adapter: A file that a run with `rank` wrote, to start from.
        rank: Train only thin additions of this rank to the blocks' weights, and the head (LoRA);
            `None` trains everything. What is written is a full model all the same, and, unless it
            started from an `adapter`, the additions alone as `adapter.safetensors`, a small file.
        num_steps: Optimizer steps; `None` for as many as `num_epochs` over the texts need.
        num_epochs: Passes over the texts.
        block_size: Word pieces of a block; see `pack`.
        batch_size: Blocks a step.
        learning_rate: Peak rate of AdamW.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises from 0; it then falls to 0.
        mask_probability: Chance of a piece, or a word, to be asked for. BERT's was 0.15; short
            runs gain from more (chapter 3). Scores on `validation` always hide 0.15.
        whole_words: Choose whole words; see `mask_tokens`.
        evaluations: How often validation is scored, spread over the steps, the end among them.
        checkpoint_steps: Steps between two checkpoints.
        fast: Options of `reptune.training.FAST_OPTIONS`; of use here are `half_precision`
            (bfloat16 only) and `cheap_dropout`. Logits at masked positions alone are no option:
            they are the same numbers.
        random_state: Seed of order, masks and dropout.
        show_progress: Show a progress bar.

    Returns:
        `folder`: a model that `AutoModelForMaskedLM`, `AutoModel` (with its pooler) and this
        package's classifiers load, with `history.json`: `{"step", "loss"}` and
        `{"step", "eval_loss", "eval_accuracy"}`.

    Raises:
        ValueError: If a parameter is bad, the texts fill no block, or the folder or its
            checkpoint are something else; before any training. If training diverges: nothing is
            written.
        PermissionError: If the folder cannot be written to; before any training.
        reptune.assets.AssetUnavailable: If the model cannot be had.

    Source: Gururangan et al., *Don't Stop Pretraining* (2020); chapter 3.
    """
    _check_parameters(locals())
    folder = _writable(Path(folder))
    with runtime.seeded(random_state), runtime.scratch_folder() as scratch:
        loaded = load_masked_lm(model, adapter)
        _check_fits(block_size, loaded.model)
        cache = scratch / "blocks.arrow"
        with contextlib.nullcontext() if show_progress else runtime.quiet():
            blocks = pack(texts, loaded.tokenizer, block_size, cache)
            held_out = (
                None if validation is None
                else pack(validation, loaded.tokenizer, block_size, what="validation")
            )  # fmt: skip
        start = _hash(weight.detach().cpu().numpy() for weight in loaded.model.parameters())
        if loaded.has_new_head:
            fit_output_bias(loaded.model, blocks)
        layers = [] if rank is None else lowrank.add_low_rank(loaded.model, rank)
        settings = _Settings(
            model=start,
            corpus=_hash(
                blocks[row : row + 1000]["input_ids"] for row in range(0, len(blocks), 1000)
            ),
            num_steps=int(num_steps or num_epochs * math.ceil(len(blocks) / batch_size)),
            rank=None if rank is None else int(rank),
            block_size=int(block_size),
            batch_size=int(batch_size),
            learning_rate=float(learning_rate),
            weight_decay=float(weight_decay),
            warmup=float(warmup),
            mask_probability=float(mask_probability),
            whole_words=bool(whole_words),
            fast=sorted(training.fast_options(fast)),
            random_state=seed_of(random_state),
        )
        run = _Run(settings, loaded, blocks, held_out, folder)
        run.resume()
        run.train(evaluations, checkpoint_steps, show_progress)
        return run.finish(layers, keep_adapter=adapter is None)


def _check_parameters(given: dict[str, Any]) -> None:
    if runtime.world_size() > 1:
        raise ValueError(
            f"continue_pretraining trains in one process, and this is one of "
            f"{runtime.world_size()}; start it with python, not with torchrun."
        )
    for name in ("num_epochs", "block_size", "batch_size", "evaluations", "checkpoint_steps"):
        check_whole_number(name, given[name])
    for name in ("num_steps", "rank"):
        if given[name] is not None:
            check_whole_number(name, given[name])
    if given["learning_rate"] is None:
        raise ValueError("learning_rate=None; use a positive number.")
    check_optimizer(given["learning_rate"], given["warmup"], given["weight_decay"])
    check_probability(given["mask_probability"])
    check_random_state(given["random_state"])
    for name in ("whole_words", "show_progress"):
        check_flag(name, given[name])
    training.fast_options(given["fast"])


def _check_fits(block_size: int, model: PreTrainedModel) -> None:
    limit = position_limit(model)
    if limit is not None and block_size > limit:
        raise ValueError(
            f"block_size={block_size}, but the model takes at most {limit} word pieces; lower it."
        )


def _writable(folder: Path) -> Path:
    """Return `folder`, where it and its checkpoint can be written; say now if not."""
    parent = folder.absolute().parent
    if not parent.exists():
        parent.mkdir(parents=True)
    if not parent.is_dir():
        raise ValueError(f"{parent} is no folder, so {folder} cannot lie in it; choose another.")
    if not os.access(parent, os.W_OK):
        raise PermissionError(f"{parent} cannot be written to; choose another folder.")
    check_replaceable(folder, HISTORY)
    return folder


def _hash(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


class _Run:
    """One run: its weights, optimizer and place, which a checkpoint keeps.

    Order and masks of a step follow from the seed and the step's number alone; the generator that
    dropout draws from is part of a checkpoint.
    """

    def __init__(
        self,
        settings: _Settings,
        loaded: MaskedLM,
        blocks: Dataset,
        held_out: Dataset | None,
        folder: Path,
    ) -> None:
        self.settings, self.loaded, self.folder = settings, loaded, folder
        self.model, self.blocks, self.held_out = loaded.model, blocks, held_out
        self.checkpoint = folder.with_name(f"{folder.name}.checkpoint")
        self._part = folder.with_name(f"{folder.name}.checkpoint.part")
        self.step, self.history = 0, []
        self._trained = {
            name: weight for name, weight in self.model.named_parameters() if weight.requires_grad
        }
        plain = {name for name in self._trained if name.endswith("bias") or "norm" in name.lower()}
        groups = [
            {"params": [w for name, w in self._trained.items() if name not in plain],
             "weight_decay": settings.weight_decay},
            {"params": [w for name, w in self._trained.items() if name in plain],
             "weight_decay": 0.0},
        ]  # fmt: skip
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        # float16 would need its losses scaled; bfloat16 has the range of float32.
        self._half = "half_precision" in settings.fast and bool(runtime.precision()["bf16"])
        self._epoch, self._order = -1, np.empty(0, dtype=int)

    def train(self, evaluations: int, checkpoint_steps: int, show_progress: bool) -> None:
        looks = set(np.linspace(0, self.settings.num_steps, evaluations + 1, dtype=int)[1:])
        cheap = "cheap_dropout" in self.settings.fast
        bar = tqdm(
            total=self.settings.num_steps, initial=self.step, unit="step", leave=False,
            desc="pretraining", disable=not show_progress,
        )  # fmt: skip
        with bar, training.cheap_dropout(self.model) if cheap else contextlib.nullcontext():
            while self.step < self.settings.num_steps:
                loss = self._take_step()
                self._check_converges(loss)
                self.history.append({"step": self.step, "loss": loss})
                bar.update()
                if self.held_out is not None and self.step in looks:
                    self._look()
                if self.step % checkpoint_steps == 0 and self.step < self.settings.num_steps:
                    self._keep()

    def _take_step(self) -> float:
        self.model.train()
        inputs, labels = self._batch()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self._rate()
        with runtime.half_precision(self.model.device, self._half):
            logits = masked_logits(self.model, inputs, labels)
        loss = nn.functional.cross_entropy(logits.float(), labels[labels != IGNORED])
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return loss.item()

    def _check_converges(self, loss: float) -> None:
        """Raise a `ValueError` once the loss is no number; going on could not help."""
        if math.isfinite(loss):
            return
        self.checkpoint.unlink(missing_ok=True)  # it leads here again, and nowhere else
        raise ValueError(
            f"training diverged: the loss of step {self.step} is {loss}. Lower "
            f"learning_rate={self.settings.learning_rate}; {self.folder} is as it was."
        )

    def _batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        size, seed = self.settings.batch_size, self.settings.random_state
        epoch, place = divmod(self.step, math.ceil(len(self.blocks) / size))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([seed, 0, epoch]).permutation(len(self.blocks))
        rows = self.blocks[np.sort(self._order[place * size : (place + 1) * size])]
        masked = mask_tokens(
            rows["input_ids"],
            rows["starts_word"],
            self.loaded.tokenizer,
            np.random.default_rng([seed, 1, self.step]),
            self.settings.mask_probability,
            self.settings.whole_words,
        )
        inputs, labels = (torch.from_numpy(part).to(self.model.device) for part in masked)
        return inputs, labels

    def _rate(self) -> float:
        """Share of the peak rate: linearly up over the warm-up, then down to 0 after the end.

        Where the warm-up takes every step, the last one has the peak rate and nothing falls.
        """
        warm = math.ceil(self.settings.warmup * self.settings.num_steps)
        if self.step < warm:
            return (self.step + 1) / warm
        return (self.settings.num_steps - self.step) / (self.settings.num_steps - warm)

    def _look(self) -> None:
        scores = masked_scores(self.model, self.held_out, self.loaded.tokenizer)
        named = {f"eval_{name}": value for name, value in scores.items()}
        self.history.append({"step": self.step, **named})

    def _keep(self) -> None:
        """Write a checkpoint, one file; the one before stays until this one is whole."""
        check_finite_weights(self.model)
        arrays = {f"model.{name}": weight for name, weight in self._trained.items()}
        for name, weight in self._trained.items():
            arrays |= {f"{key}.{name}": v for key, v in self.optimizer.state[weight].items()}
        arrays["generator"] = torch.get_rng_state()
        if torch.cuda.is_available():
            arrays["cuda_generator"] = torch.cuda.get_rng_state()
        state = {"step": self.step, "history": self.history, "settings": asdict(self.settings)}
        arrays = {name: value.detach().contiguous() for name, value in arrays.items()}
        text = json.dumps(state, default=runtime.as_json)
        save_file(arrays, self._part, metadata={"state": text})
        self._part.replace(self.checkpoint)

    def resume(self) -> None:
        """Go on at the checkpoint, if there is one.

        Raises:
            ValueError: If it belongs to another run, or is no checkpoint.
        """
        self._part.unlink(missing_ok=True)  # of a run that was killed while it wrote
        if not self.checkpoint.exists():
            return
        state = _read_state(self.checkpoint)
        self.settings.check_same(state["settings"], self.checkpoint)
        try:
            self._restore(load_file(self.checkpoint))
        except Exception as error:  # safetensors' errors share no class
            raise ValueError(_NO_CHECKPOINT.format(self.checkpoint)) from error
        self.step, self.history = state["step"], state["history"]

    @torch.no_grad()
    def _restore(self, arrays: dict[str, torch.Tensor]) -> None:
        for name, weight in self._trained.items():
            weight.copy_(arrays[f"model.{name}"])
            self.optimizer.state[weight] = {
                key: arrays[f"{key}.{name}"].to(weight.device, copy=True)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        torch.set_rng_state(arrays["generator"])
        if "cuda_generator" in arrays and torch.cuda.is_available():
            torch.cuda.set_rng_state(arrays["cuda_generator"])

    def finish(self, layers: list[str], keep_adapter: bool) -> Path:
        """Write the model to its folder, `layers` with their low-rank changes merged into them."""
        check_finite_weights(self.model)

        def write(written: Path) -> None:
            if layers and keep_adapter:
                lowrank.save_adapter(self.model, layers, written / ADAPTER)
            lowrank.merge(self.model, layers)
            self.loaded.save(written)
            (written / HISTORY).write_text(json.dumps(self.history), "utf-8")

        path = write_folder(self.folder, write, marker=HISTORY)
        self.checkpoint.unlink(missing_ok=True)
        return path


_NO_CHECKPOINT = "{} is no checkpoint of this package, or a damaged one; move it away."


def _read_state(file: Path) -> dict[str, Any]:
    try:
        with safe_open(file, "pt") as opened:
            state = json.loads(opened.metadata()["state"])
        whole = isinstance(state["settings"], dict) and isinstance(state["history"], list)
        check_whole_number("step", state["step"])
    except Exception as error:  # safetensors' errors share no class
        raise ValueError(_NO_CHECKPOINT.format(file)) from error
    if not whole:
        raise ValueError(_NO_CHECKPOINT.format(file))
    return state
