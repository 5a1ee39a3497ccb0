"""Supervised fine-tuning of an encoder for classification (chapter 1).

`FineTunedClassifier` is the chapter's code behind scikit-learn's interface: the same model, the
same collator, the same `Trainer` call. With `fast=False` a test holds the two together, with
evaluation off because plain `Trainer`'s evaluation moves the random generator; what the fast
options change is in `reptune.training`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from datasets import Dataset
from scipy.stats import entropy
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainingArguments,
)

from reptune import assets, runtime, training
from reptune.checks import (
    check_finite_weights,
    check_flag,
    check_number,
    check_optimizer,
    check_random_state,
    check_training_set,
    check_validation,
    check_whole_number,
    class_weights,
    seed_of,
)
from reptune.estimator import PREDICTION_BATCH_SIZE, TextClassifier, check_vocabulary, check_weights
from reptune.meter import Meter
from reptune.tokens import batches_by_length, model_limit
from reptune.training import Trainable, freeze

# A new head alone wants far larger steps than a pretrained encoder bears. 5e-5 is the largest rate
# of BERT's own grid; MiniLM bears 1e-4 too (chapter 1), larger encoders may diverge.
DEFAULT_LEARNING_RATES = {"head": 1e-3, "encoder": 5e-5}

# Where nobody says how many epochs: two, or as many as this many steps take. Two epochs of 300
# texts are 38 steps, which leave a new head near its start (study ch01_minimum_steps).
DEFAULT_EPOCHS, MINIMUM_STEPS = 2, 240

# A loss at the end above this share of what guessing by the labels' shares costs is an underfit.
UNDERFIT_SHARE = 0.8


class FineTunedClassifier(TextClassifier):
    """A pretrained encoder and a classification head, trained together on labeled texts.

    It follows scikit-learn: works in `cross_val_score` and `GridSearchCV`, takes labels that
    are strings or integers and gives them back as they were.

    Args:
        model: An asset's name, a local folder or a Hub id.
        trainable: `"all"`, `"head"`, or how many of the last blocks train besides the head.
        num_epochs: Passes over the training texts; `None` takes 2, or as many as 240 steps take
            where there are few texts.
        learning_rate: Peak rate of AdamW; `None` takes 1e-3 for the head alone and 5e-5
            where the encoder trains too.
        batch_size: Texts a step.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises from 0; it then falls to 0.
        layer_decay: Share of the next block's rate that a block gets; 1 for one rate everywhere.
        max_length: Word pieces a text may have; `None` takes the model's limit. Longer texts
            are cut, and a warning says how many where the model's limit cuts them.
        class_weight: `None`, `"balanced"`, or a weight for each label, as in scikit-learn.
        fast: `True` for every option of `reptune.training.FAST_OPTIONS` that applies, a tuple
            of some of them, or `False` for plain library code: random order, float32, and every
            block computed in every epoch. With `"frozen_cache"`, frozen blocks run without
            dropout; plain code leaves it on.
        random_state: Seed of the head's first weights, the order of texts and dropout. The same
            seed on the same CPU and thread count gives the same model, bit for bit.
        show_progress: Show a progress bar while training.

    A saved folder also loads in `transformers.pipeline("text-classification", folder)`.

    Attributes:
        classes_: The labels, sorted, shape `(num_classes,)`.
        model_: The fine-tuned `transformers` model.
        tokenizer_: Its tokenizer.
        history_: A list of `{"step", "epoch", "loss"}` and, with `validation`, of
            `{"step", "epoch", "eval_loss", "eval_accuracy"}`.
        cost_: A `reptune.meter.Meter` with the seconds and memory training took.
        frozen_states_: What was computed once for the frozen blocks, in words, such as
            `"frozen states: 269 MB in memory"`; `None` where nothing was.

    Source: Devlin et al., *BERT* (2019), section 4; chapter 1.
    """

    def __init__(
        self,
        model: str | Path = "all-MiniLM-L6-v2",
        trainable: Trainable = "all",
        *,
        num_epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int = 16,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        layer_decay: float = 1.0,
        max_length: int | None = None,
        class_weight: str | dict[Any, float] | None = None,
        fast: bool | Collection[str] = True,
        random_state: int | None = 42,
        show_progress: bool = False,
    ) -> None:
        self.model = model
        self.trainable = trainable
        self.num_epochs = num_epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.layer_decay = layer_decay
        self.max_length = max_length
        self.class_weight = class_weight
        self.fast = fast
        self.random_state = random_state
        self.show_progress = show_progress

    _FILES = ("config.json", "model.safetensors")

    def fit(
        self,
        texts: Iterable[str],
        labels: Iterable[str | int],
        validation: tuple[Iterable[str], Iterable[str | int]] | None = None,
    ) -> Self:
        """Fine-tune on labeled texts.

        A `fit` that fails or is interrupted leaves an already fitted object as it was.

        Args:
            texts: The training texts.
            labels: One label a text, all strings or all integers.
            validation: Texts and labels scored after each epoch, for `history_`; they do not
                influence training.

        Raises:
            ValueError: If the input or a parameter is bad; raised before any training.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        texts, label_array = check_training_set(texts, labels)
        self._check_parameters()
        classes, encoded = np.unique(label_array, return_inverse=True)
        held_out = check_validation(validation, classes)
        weights = class_weights(self.class_weight, classes, np.bincount(encoded))
        with runtime.seeded(self.random_state), runtime.quiet():
            tokenizer, model = self._pretrained(classes)
            train_set = self._tokenize(tokenizer, model, texts, encoded)
            eval_set = held_out and self._tokenize(tokenizer, model, *held_out)
            with Meter("fit") as cost:
                history, states = self._train(model, tokenizer, train_set, eval_set, weights)
        check_finite_weights(model)
        self._warn_if_underfit(history, _guessing_loss(encoded, weights), len(texts))
        self.tokenizer_, self.model_, self.classes_ = tokenizer, model.eval(), classes
        self.history_, self.cost_, self.frozen_states_ = history, cost, states
        return self

    # What follows is plumbing; the chapter shows the lines that matter.

    def _logits(self, texts: list[str]) -> np.ndarray:
        encoded = self._tokenize(self.tokenizer_, self.model_, texts)["input_ids"]
        rows = np.empty((len(texts), len(self.classes_)))
        for chosen in batches_by_length([len(ids) for ids in encoded], PREDICTION_BATCH_SIZE):
            rows[chosen] = self._forward([encoded[i] for i in chosen])
        return rows

    def _write(self, folder: Path) -> None:
        # The folder also loads in `transformers.pipeline("text-classification", folder)`.
        self.model_.save_pretrained(folder)
        self.tokenizer_.save_pretrained(folder)

    def _read(self, folder: Path, manifest: dict[str, Any]) -> None:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
        check_weights(folder, model)
        if model.config.num_labels != len(self.classes_):
            raise ValueError(
                f"the model has {model.config.num_labels} outputs for {len(self.classes_)} classes"
            )
        self.tokenizer_ = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        check_vocabulary(self.tokenizer_, model.get_input_embeddings().num_embeddings)
        self.model_ = model.to(runtime.device()).eval()
        self.logits(["a text"])  # a configuration that does not fit fails here, not at prediction

    def _check_parameters(self) -> None:
        training.check_trainable(self.trainable)
        training.fast_options(self.fast)
        check_whole_number("batch_size", self.batch_size)
        for name in ("num_epochs", "max_length"):
            if getattr(self, name) is not None:
                check_whole_number(name, getattr(self, name))
        check_optimizer(self.learning_rate, self.warmup, self.weight_decay)
        check_number("layer_decay", self.layer_decay, above=0, most=1)
        check_random_state(self.random_state)
        check_flag("show_progress", self.show_progress)

    def _epochs(self, num_texts: int) -> int:
        """How many passes are asked for, or what the default comes to with so many texts."""
        if self.num_epochs is not None:
            return int(self.num_epochs)
        steps_per_epoch = -(-num_texts // (int(self.batch_size) * runtime.world_size()))
        return int(max(DEFAULT_EPOCHS, -(-MINIMUM_STEPS // steps_per_epoch)))

    def _warn_if_underfit(
        self, history: list[dict[str, float]], guessing: float, num_texts: int
    ) -> None:
        losses = [entry["loss"] for entry in history if "loss" in entry]
        last = float(np.mean(losses[-max(1, len(losses) // 10) :]))
        if last > UNDERFIT_SHARE * guessing:
            epochs = self._epochs(num_texts)
            warnings.warn(
                f"training ended at a loss of {last:.2f}, and guessing by the labels' shares costs "
                f"{guessing:.2f}: the model has learned little. Raise num_epochs (this was "
                f"{epochs}) or learning_rate, or look for labels that the texts do not tell.",
                stacklevel=3,
            )

    def _pretrained(self, classes: np.ndarray) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        source = assets.resolve_model(self.model)
        id2label = {index: str(label) for index, label in enumerate(classes.tolist())}
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model = AutoModelForSequenceClassification.from_pretrained(
            source,
            num_labels=len(classes),
            id2label=id2label,
            label2id={label: index for index, label in id2label.items()},
            use_safetensors=True,
            trust_remote_code=False,
        )
        return tokenizer, freeze(model, self.trainable)

    def _tokenize(
        self,
        tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        texts: Sequence[str],
        labels: np.ndarray | None = None,
    ) -> Dataset:
        limit = model_limit(tokenizer, model)
        if self.max_length is not None and self.max_length > limit:
            raise ValueError(
                f"max_length={self.max_length}, but the model takes at most {limit} word pieces; "
                f"lower it, or use None for {limit}."
            )
        encoded = tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        length = self.max_length or limit
        too_long = sum(len(pieces) > length for pieces in encoded)
        if too_long and self.max_length is None:
            warnings.warn(
                f"{too_long} of {len(texts)} texts are longer than the model's limit of {limit} "
                f"word pieces and were cut; set max_length={limit} to accept that silently.",
                stacklevel=3,
            )
        if too_long:
            encoded = tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
        columns: dict[str, Any] = {"input_ids": encoded}
        if labels is not None:
            columns["labels"] = labels.tolist()
        return Dataset.from_dict(columns)

    def _train(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        train_set: Dataset,
        eval_set: Dataset | None,
        weights: np.ndarray | None,
    ) -> tuple[list[dict[str, float]], str | None]:
        """Train in place; return the history and a word on the frozen states."""
        fast = training.fast_options(self.fast)
        multiple = training.padding_multiple(fast, model_limit(tokenizer, model))
        collator: Any = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple)
        with runtime.scratch_folder() as folder, contextlib.ExitStack() as stack:
            model.to(runtime.device())
            states = self._frozen_states(model, tokenizer, train_set, eval_set, folder)
            if states is not None:
                stack.callback(states.close)
                train_set, eval_set = _with_rows(train_set, eval_set)
                collator = training.FrozenStatesCollator(collator, states)
            reads_all = states is None or not states.first_only
            if "first_token" in fast and reads_all:
                sample = tokenizer.pad(
                    {"input_ids": train_set[:4]["input_ids"]}, return_tensors="pt"
                )
                stack.enter_context(training.first_token(model, sample.to(model.device)))
            if states is not None:
                stack.enter_context(states.in_place())
            if "cheap_dropout" in fast:
                stack.enter_context(training.cheap_dropout(model))
            lengths = None
            if "length_buckets" in fast and reads_all:
                lengths = [len(pieces) for pieces in train_set["input_ids"]]
            trainer = training.FastTrainer(
                model=model,
                args=self._training_arguments(folder, len(train_set), eval_set is not None),
                train_dataset=train_set,
                eval_dataset=eval_set,
                data_collator=collator,
                compute_metrics=_accuracy,
                compute_loss_func=None if weights is None else _weighted_loss(weights),
                callbacks=[training.ProgressBar()] if self.show_progress else None,
                lengths=lengths,
                frozen_states=states,
                layer_decay=self.layer_decay,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
            # Mixed precision leaves an autocast wrapper around `forward`; without it gone, the
            # fitted model would predict in half precision and the saved one in float32.
            trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        kept = ("step", "epoch", "loss", "eval_loss", "eval_accuracy")
        history = [
            {key: entry[key] for key in kept if key in entry}
            for entry in trainer.state.log_history
            if "loss" in entry or "eval_loss" in entry
        ]
        return history, states and str(states)

    def _frozen_states(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        train_set: Dataset,
        eval_set: Dataset | None,
        folder: Path,
    ) -> training.FrozenStates | None:
        fast = training.fast_options(self.fast)
        encoded = list(train_set["input_ids"]) + list(eval_set["input_ids"] if eval_set else [])
        if "frozen_cache" not in fast or not training.FrozenStates.fits(model, encoded, folder):
            return None
        return training.FrozenStates(
            model,
            tokenizer,
            encoded,
            folder,
            half_precision="half_precision" in fast,
            show_progress=self.show_progress,
        )

    def _training_arguments(
        self, folder: Path, num_texts: int, evaluates: bool
    ) -> TrainingArguments:
        rates = DEFAULT_LEARNING_RATES
        default = rates["head"] if self.trainable == "head" else rates["encoder"]
        num_epochs = self._epochs(num_texts)
        together = int(self.batch_size) * runtime.world_size()
        num_steps = num_epochs * -(-num_texts // together)
        half = "half_precision" in training.fast_options(self.fast)
        return TrainingArguments(
            str(folder),
            num_train_epochs=num_epochs,
            learning_rate=self.learning_rate or default,
            per_device_train_batch_size=int(self.batch_size),
            per_device_eval_batch_size=PREDICTION_BATCH_SIZE,
            weight_decay=self.weight_decay,
            warmup_steps=training.warmup_steps(float(self.warmup), num_steps),
            eval_strategy="epoch" if evaluates else "no",
            save_strategy="no",
            logging_steps=max(1, num_steps // 50),
            remove_unused_columns=False,
            report_to="none",
            seed=seed_of(self.random_state),
            disable_tqdm=True,
            dataloader_pin_memory=runtime.device().type == "cuda",
            **(runtime.precision() if half else {}),
        )

    @torch.inference_mode()
    def _forward(self, encoded: list[list[int]]) -> np.ndarray:
        batch = self.tokenizer_.pad({"input_ids": encoded}, return_tensors="pt")
        return self.model_(**batch.to(self.model_.device)).logits.float().cpu().numpy()


def _with_rows(train_set: Dataset, eval_set: Dataset | None) -> tuple[Dataset, Dataset | None]:
    """Number the texts of both sets through, as the frozen states are."""
    count = len(train_set)
    train_set = train_set.add_column("row", list(range(count)))
    if eval_set is not None:
        eval_set = eval_set.add_column("row", list(range(count, count + len(eval_set))))
    return train_set, eval_set


def _accuracy(prediction: Any) -> dict[str, float]:
    correct = prediction.predictions.argmax(axis=-1) == prediction.label_ids
    return {"accuracy": float(correct.mean())}


def _guessing_loss(encoded: np.ndarray, weights: np.ndarray | None) -> float:
    """The cross-entropy of predicting each class by its (weighted) share of the texts."""
    mass = np.bincount(encoded) * (1.0 if weights is None else weights)
    return float(entropy(mass / mass.sum()))


def _weighted_loss(weights: np.ndarray) -> Any:
    by_class = torch.tensor(weights, dtype=torch.float32)

    def loss(outputs: Any, labels: torch.Tensor, **_: Any) -> torch.Tensor:
        logits = outputs["logits"]
        return nn.functional.cross_entropy(logits, labels, weight=by_class.to(logits))

    return loss
