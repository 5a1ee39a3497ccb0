"""Continued masked-language-model pretraining on texts of a domain (chapter 3).

`continue_pretraining` goes on where an encoder's pretraining stopped, on your own texts; what it
writes is a folder that every other chapter's classifier can start from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel

from reptune import runtime, training
from reptune.checks import (
    check_finite_weights,
    check_flag,
    check_optimizer,
    check_random_state,
    check_shared_parameters,
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
from reptune.pretraining.checkpoint import HISTORY, Checkpoint
from reptune.pretraining.packing import pack
from reptune.tokens import position_limit

ADAPTER = "adapter.safetensors"


@torch.no_grad()
def fit_output_bias(model: PreTrainedModel, blocks: Dataset) -> None:
    """Set the output bias to the log frequency of each token in `blocks`.

    A new head would otherwise spend its first hundreds of steps learning how common words are.
    Tokens that never occur count once.

    Args:
        model: A masked language model whose head has a bias; it is changed in place.
        blocks: What `pack` returns.

    >>> from reptune.models.masked import load_masked_lm
    >>> loaded = load_masked_lm("all-MiniLM-L6-v2", device="cpu")
    >>> blocks = pack(["The plot is thin, the cast is good."] * 2, loaded.tokenizer, block_size=16)
    >>> fit_output_bias(loaded.model, blocks)
    >>> bias = loaded.model.get_output_embeddings().bias
    >>> the, cat = loaded.tokenizer.convert_tokens_to_ids(["the", "cat"])
    >>> bool(bias[the] > bias[cat])
    True
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
    device: str | None = None,
    callbacks: Sequence[Callable[[dict[str, float]], Any]] = (),
    random_state: int | None = 42,
    show_progress: bool | None = None,
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
        block_size: Tokens per block, special ones included; see `pack`.
        batch_size: Blocks per step.
        learning_rate: Peak rate of AdamW.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises from 0; it then falls to 0.
        mask_probability: Chance of each token, or word, to be masked. BERT's was 0.15; short runs
            gain from more (chapter 3). Scores on `validation` always mask 0.15.
        whole_words: Choose whole words; see `mask_tokens`.
        evaluations: How often validation is scored, spread over the steps, the end among them.
        checkpoint_steps: Steps between two checkpoints.
        fast: Options of `reptune.training.FAST_OPTIONS`; of use here are `half_precision`
            (bfloat16 only), `cheap_dropout` and `kept_memory`. Logits at masked positions alone are
            no option: they are the same numbers.
        device: Where the model runs: `None` for the accelerator, or a name such as `"cpu"`.
        callbacks: Called with each new record of the history as training goes on, such as `print`.
        random_state: Seed of order, masks and dropout.
        show_progress: Show progress bars; `None` shows them in a terminal or a notebook.

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

    >>> import tempfile
    >>> texts = ["The plot is thin, but the cast makes up for it."] * 4
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = continue_pretraining(
    ...         "all-MiniLM-L6-v2", texts, Path(parent) / "films", num_steps=1, block_size=16
    ...     )
    ...     [list(record) for record in json.loads((folder / "history.json").read_text())]
    [['step', 'loss']]
    """
    given = locals()
    _check_parameters(given)
    folder = _writable(Path(folder))
    with runtime.seeded(random_state), runtime.scratch_folder() as scratch:
        loaded = load_masked_lm(model, adapter, device=device)
        _check_fits(block_size, loaded.model)
        show_progress = runtime.shows_progress(show_progress)
        with contextlib.nullcontext() if show_progress else runtime.quiet():
            blocks = pack(texts, loaded.tokenizer, block_size, scratch / "blocks.arrow")
            held_out = (
                None if validation is None
                else pack(validation, loaded.tokenizer, block_size, what="validation")
            )  # fmt: skip
        settings = _settings(given, loaded.model, blocks)
        if loaded.has_new_head:
            fit_output_bias(loaded.model, blocks)
        layers = [] if rank is None else lowrank.add_low_rank(loaded.model, rank)
        run = _Run(
            settings, loaded, blocks, held_out, folder,
            callbacks=callbacks, show_progress=show_progress,
        )  # fmt: skip
        kept = "kept_memory" in training.fast_options(fast)
        with training.kept_memory(loaded.model) if kept else contextlib.nullcontext():
            run.train(evaluations, checkpoint_steps)
        return run.finish(layers, keep_adapter=adapter is None)


def _settings(given: dict[str, Any], model: PreTrainedModel, blocks: Dataset) -> _Settings:
    """Return a run's settings from its arguments, its model as loaded, and its blocks."""
    num_steps, rank, batch_size = given["num_steps"], given["rank"], int(given["batch_size"])
    parts = (blocks[row : row + 1000]["input_ids"] for row in range(0, len(blocks), 1000))
    return _Settings(
        model=_hash(weight.detach().cpu().numpy() for weight in model.parameters()),
        corpus=_hash(parts),
        num_steps=int(num_steps or given["num_epochs"] * math.ceil(len(blocks) / batch_size)),
        rank=None if rank is None else int(rank),
        block_size=int(given["block_size"]),
        batch_size=batch_size,
        learning_rate=float(given["learning_rate"]),
        weight_decay=float(given["weight_decay"]),
        warmup=float(given["warmup"]),
        mask_probability=float(given["mask_probability"]),
        whole_words=bool(given["whole_words"]),
        # Where memory is kept changes nothing that a checkpoint holds.
        fast=sorted(training.fast_options(given["fast"]) - {"kept_memory"}),
        random_state=seed_of(given["random_state"]),
    )


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
    check_flag("whole_words", given["whole_words"])
    training.fast_options(given["fast"])
    runtime.check_device(given["device"])
    check_shared_parameters(SimpleNamespace(**given))


def _check_fits(block_size: int, model: PreTrainedModel) -> None:
    limit = position_limit(model)
    if limit is not None and block_size > limit:
        raise ValueError(
            f"block_size={block_size}, but the model takes at most {limit} tokens; lower it."
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
    """One run: the batches and losses of a `Loop`, and what is kept of it."""

    def __init__(
        self,
        settings: _Settings,
        loaded: MaskedLM,
        blocks: Dataset,
        held_out: Dataset | None,
        folder: Path,
        **shown: Any,  # `callbacks` and `show_progress` of the loop
    ) -> None:
        self.settings, self.loaded, self.folder = settings, loaded, folder
        self.model, self.blocks, self.held_out = loaded.model, blocks, held_out
        self.loop = training.Loop(
            self.model,
            num_steps=settings.num_steps,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup=settings.warmup,
            schedule="held",
            description="pretraining",
            **shown,
        )
        self.checkpoint = Checkpoint(folder, asdict(settings))
        # float16 would need its losses scaled; bfloat16 has the range of float32.
        self._half = "half_precision" in settings.fast and bool(runtime.precision()["bf16"])
        self._epoch, self._order = -1, np.empty(0, dtype=int)

    def train(self, evaluations: int, checkpoint_steps: int) -> None:
        """Go on at the checkpoint, if there is one, and take the steps that are left.

        Raises:
            ValueError: If the checkpoint is of another run or damaged, or training diverges.
        """
        self.checkpoint.restore(self.loop)

        def after_step(loss: float) -> None:
            self._check_converges(loss)
            if self.loop.step % checkpoint_steps == 0 and self.loop.step < self.loop.num_steps:
                self.checkpoint.write(self.loop)

        cheap = "cheap_dropout" in self.settings.fast
        with training.cheap_dropout(self.model) if cheap else contextlib.nullcontext():
            self.loop.run(
                self._loss,
                evaluate=None if self.held_out is None else self._scores,
                looks=training.evaluation_steps(self.loop.num_steps, evaluations),
                after_step=after_step,
            )

    def _loss(self, step: int) -> torch.Tensor:
        self.model.train()
        inputs, labels = self._batch(step)
        with runtime.half_precision(self.model.device, self._half):
            logits = masked_logits(self.model, inputs, labels)
        return nn.functional.cross_entropy(logits.float(), labels[labels != IGNORED])

    def _batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the inputs and labels of a step, numbered from 1, both `(blocks, tokens)`."""
        size, seed = self.settings.batch_size, self.settings.random_state
        epoch, index = divmod(step - 1, math.ceil(len(self.blocks) / size))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([seed, 0, epoch]).permutation(len(self.blocks))
        rows = self.blocks[np.sort(self._order[index * size : (index + 1) * size])]
        masked = mask_tokens(
            rows["input_ids"],
            rows["starts_word"],
            self.loaded.tokenizer,
            np.random.default_rng([seed, 1, step - 1]),
            self.settings.mask_probability,
            self.settings.whole_words,
        )
        inputs, labels = (torch.from_numpy(part).to(self.model.device) for part in masked)
        return inputs, labels

    def _scores(self) -> dict[str, float]:
        scores = masked_scores(self.model, self.held_out, self.loaded.tokenizer)
        return {f"eval_{name}": value for name, value in scores.items()}

    def _check_converges(self, loss: float) -> None:
        """Raise a `ValueError` once the loss is no number; going on could not help."""
        if math.isfinite(loss):
            return
        self.checkpoint.remove()  # it leads here again, and nowhere else
        raise ValueError(
            f"training diverged: the loss of step {self.loop.step} is {loss}. Lower "
            f"learning_rate={self.settings.learning_rate}; {self.folder} is as it was."
        )

    def finish(self, layers: list[str], keep_adapter: bool) -> Path:
        """Write the model to its folder, `layers` with their low-rank changes merged into them."""
        check_finite_weights(self.model)

        def write(written: Path) -> None:
            if layers and keep_adapter:
                lowrank.save_adapter(self.model, layers, written / ADAPTER)
            lowrank.merge(self.model, layers)
            self.loaded.save(written)
            (written / HISTORY).write_text(json.dumps(self.loop.history), "utf-8")

        path = write_folder(self.folder, write, marker=HISTORY)
        self.checkpoint.remove()
        return path
