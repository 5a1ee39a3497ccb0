"""Supervised fine-tuning of an encoder for classification (chapter 1).

`FineTunedClassifier` is the chapter's code behind scikit-learn's interface: the same model, the
same collator, the same `Trainer` call. With `fast=False` a test holds the two together, with
evaluation off because plain `Trainer`'s evaluation moves the random generator; what the fast
options change is in `reptune.training`.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import reptune.needs_torch  # noqa: F401

import numpy as np
import torch
from datasets import Dataset
from scipy.special import expit
from scipy.stats import entropy
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
)

from reptune import assets, runtime, training
from reptune.checks import (
    check_finite_weights,
    check_labeled_texts,
    check_number,
    check_optimizer,
    check_patience,
    check_random_state,
    check_shared_parameters,
    check_validation,
    check_whole_number,
    class_weights,
)
from reptune.estimator import PREDICTION_BATCH_SIZE, TextClassifier, check_vocabulary, check_weights
from reptune.meter import Meter
from reptune.multilabel import POOLED_TEXTS, best_thresholds, choose_thresholds, micro_f1
from reptune.tokens import batches_by_length, check_max_length, model_limit
from reptune.training import Trainable, freeze

# A new head alone wants far larger steps than a pretrained encoder bears. 5e-5 is the largest rate
# of BERT's own grid; MiniLM bears 1e-4 too (chapter 1), larger encoders may diverge.
DEFAULT_LEARNING_RATES = {"head": 1e-3, "encoder": 5e-5}

# The default number of epochs: two, or as many as this many steps take. Two epochs of 300 texts are
# 38 steps, which leave a new head near its start (study ch01_minimum_steps).
DEFAULT_EPOCHS, MINIMUM_STEPS = 2, 240

# A loss at the end above this share of what guessing by the labels' shares costs is an underfit. A
# head on frozen MiniLM ends at 0.81 after two epochs of Rotten Tomatoes and has learned (accuracy
# 0.71 in chapter 1); 14 or 38 steps end at 0.86 to 1.03 (study ch01_minimum_steps).
UNDERFIT_SHARE = 0.85


class FineTunedClassifier(TextClassifier):
    """A pretrained encoder and a classification head, trained together on labeled texts.

    It follows scikit-learn: it works in `cross_val_score` and `GridSearchCV`, takes labels that
    are strings or integers, and gives them back as they were. Where each text has a list of labels
    instead, which may be empty, `predict` returns lists too, and every label has a probability of
    its own. (scikit-learn's splitters then need `cv=KFold(3)`: they cannot stratify lists.)

    >>> texts = ["a great film", "dull and slow", "I loved it", "a waste of time"]
    >>> labels = ["good", "bad", "good", "bad"]
    >>> classifier = FineTunedClassifier(trainable="head", num_epochs=30).fit(texts, labels)
    >>> classifier.predict(["a great movie"]).tolist()
    ['good']

    Args:
        model: An asset's name, a local folder or a Hub id.
        trainable: `"all"`, `"head"`, or how many of the last blocks train besides the head.
        num_epochs: Passes over the training texts; `None` takes 2, or as many as 240 steps take
            where there are few texts.
        learning_rate: Peak rate of AdamW; `None` takes 1e-3 for the head alone and 5e-5
            where the encoder trains too.
        batch_size: Texts per step.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises from 0; it then falls to 0.
        layer_decay: Share of the next block's rate that a block gets; 1 for one rate everywhere.
        max_length: Tokens a text may have; `None` takes the model's limit. Longer texts are cut,
            and a warning says how many where the model's limit cuts them.
        class_weight: `None`, `"balanced"`, or a weight for each label, as in scikit-learn. With
            several labels per text, it weighs the texts that have a label against those that do
            not; see `reptune.checks.class_weights`.
        thresholds: With several labels per text, the probability from which on a text gets a
            label. `None` chooses it for each label, for the highest F1: on `validation` where
            `fit` gets it; otherwise out of fold, which costs three more fits of two thirds of the
            texts each. A number holds for all labels and costs nothing.
        patience: Stop after so many epochs without a better score on `validation`, and return to
            the best weights; `None` trains to the end.
        fast: `True` for every option of `reptune.training.FAST_OPTIONS` that applies, a tuple
            of some of them, or `False` for plain library code: random order, float32, and every
            block computed in every epoch. With `"frozen_cache"`, frozen blocks run without
            dropout; plain code leaves it on.
        device: Where the model runs: `None` for the accelerator, or a name such as `"cpu"`.
        prediction_batch_size: Texts per batch in prediction; `None` takes 64.
        callbacks: Functions that are called with each new record of `history_` while the model
            trains, such as `[print]`.
        random_state: Seed of the head's first weights, the order of texts and dropout. The same
            seed on the same CPU and thread count gives the same model, bit for bit.
        show_progress: Show a progress bar while training; `None` shows it in a terminal or a
            notebook.

    A saved folder also loads in `transformers.pipeline("text-classification", folder)`; with
    several labels per text, pass `top_k=None` to see all of them.

    Attributes:
        classes_: The labels, sorted, shape `(num_classes,)`.
        thresholds_: With several labels per text, the probability from which on a text gets each
            of them, shape `(num_classes,)`; otherwise `None`.
        model_: The fine-tuned `transformers` model.
        tokenizer_: Its tokenizer.
        history_: A list of `{"step", "epoch", "loss"}` and, with `validation`, of
            `{"step", "epoch", "eval_loss", "eval_accuracy"}`. With several labels per text,
            `eval_f1` takes the place of the accuracy: the micro-averaged F1 at `thresholds`, or
            at each label's best threshold where that is `None`.
        cost_: A `reptune.meter.Meter` with the seconds and memory that `fit` took.
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
        thresholds: float | None = None,
        patience: int | None = None,
        fast: bool | Collection[str] = True,
        device: str | None = None,
        prediction_batch_size: int | None = None,
        callbacks: Sequence[Callable[[dict[str, float]], Any]] = (),
        random_state: int | None = 42,
        show_progress: bool | None = None,
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
        self.thresholds = thresholds
        self.patience = patience
        self.fast = fast
        self.device = device
        self.prediction_batch_size = prediction_batch_size
        self.callbacks = callbacks
        self.random_state = random_state
        self.show_progress = show_progress

    _FILES = ("config.json", "model.safetensors")

    def fit(
        self,
        texts: Iterable[str],
        labels: Iterable[Any],
        validation: tuple[Iterable[str], Iterable[Any]] | None = None,
    ) -> Self:
        """Fine-tune on labeled texts.

        A `fit` that fails or is interrupted leaves an already fitted object as it was.

        Args:
            texts: The training texts.
            labels: One label per text, or a list, tuple or set of labels per text; all of them
                strings or all integers.
            validation: Texts and labels scored after each epoch, for `history_`. They do not
                influence the weights without `patience`; with several labels per text, they
                choose the thresholds.

        Raises:
            ValueError: If the input or a parameter is bad; raised before any training.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        texts, classes, targets = check_labeled_texts(texts, labels)
        self._check_parameters()
        several = targets.ndim == 2
        held_out = check_validation(validation, classes, several)
        check_patience(self.patience, held_out)
        counts = targets.sum(axis=0) if several else np.bincount(targets)
        weights = class_weights(
            self.class_weight, classes, counts, num_texts=len(texts) if several else None
        )
        with runtime.seeded(self.random_state), runtime.quiet():
            tokenizer, model = self._pretrained(classes, several)
            train_set = self._dataset(tokenizer, model, texts, targets)
            eval_set = held_out and self._dataset(tokenizer, model, *held_out)
            with Meter("fit") as cost:
                history, states = self._train(model, tokenizer, train_set, eval_set, weights)
                check_finite_weights(model)
                thresholds = None
                if several:
                    shares = functools.partial(self._sigmoids, tokenizer, model.eval())
                    thresholds = choose_thresholds(self, texts, classes, targets, held_out, shares)
        self._warn_if_underfit(history, _guessing_loss(targets, weights), len(texts))
        self.tokenizer_, self.model_, self.classes_ = tokenizer, model.eval(), classes
        self.thresholds_, self.history_, self.cost_ = thresholds, history, cost
        self.frozen_states_ = states
        self._forget()
        return self

    # What follows is plumbing; the chapter shows the lines that matter.

    def _logits(self, texts: list[str]) -> np.ndarray:
        return self._scores(self.tokenizer_, self.model_, texts)

    def _sigmoids(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, texts: list[str]
    ) -> np.ndarray:
        return expit(self._scores(tokenizer, model, texts))

    @torch.inference_mode()
    def _scores(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, texts: list[str]
    ) -> np.ndarray:
        ids = self._token_ids(tokenizer, model, texts)
        rows = np.empty((len(texts), model.config.num_labels))
        size = int(self.prediction_batch_size or PREDICTION_BATCH_SIZE)
        for chosen in batches_by_length(list(map(len, ids)), size):
            batch = tokenizer.pad({"input_ids": [ids[i] for i in chosen]}, return_tensors="pt")
            rows[chosen] = model(**batch.to(model.device)).logits.float().cpu().numpy()
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
        self.model_ = model.to(runtime.check_device(self.device)).eval()
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
        check_shared_parameters(self)
        runtime.check_device(self.device)

    def _epochs(self, num_texts: int) -> int:
        """Return how many passes are asked for, or what the default comes to for so many texts."""
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

    def _pretrained(
        self, classes: np.ndarray, several: bool = False
    ) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        source = assets.resolve_model(self.model)
        id2label = {index: str(label) for index, label in enumerate(classes.tolist())}
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model = AutoModelForSequenceClassification.from_pretrained(
            source,
            num_labels=len(classes),
            id2label=id2label,
            label2id={label: index for index, label in id2label.items()},
            problem_type=f"{'multi' if several else 'single'}_label_classification",
            use_safetensors=True,
            trust_remote_code=False,
        )
        return tokenizer, freeze(model, self.trainable).to(runtime.check_device(self.device))

    def _token_ids(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, texts: Sequence[str]
    ) -> list[list[int]]:
        limit = model_limit(tokenizer, model)
        length = check_max_length(self.max_length, limit)
        ids = tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        too_long = sum(len(row) > length for row in ids)
        if too_long and self.max_length is None:
            warnings.warn(
                f"{too_long} of {len(texts)} texts are longer than the model's limit of {limit} "
                f"tokens and were cut; set max_length={limit} to accept that silently.",
                stacklevel=4,
            )
        if too_long:
            ids = tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
        return ids

    def _dataset(
        self,
        tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        texts: Sequence[str],
        targets: np.ndarray,
    ) -> Dataset:
        """What the trainer reads; several labels are 0.0 or 1.0 each, as their loss wants."""
        labels = targets.astype(float) if targets.ndim == 2 else targets
        ids = self._token_ids(tokenizer, model, texts)
        return Dataset.from_dict({"input_ids": ids, "labels": labels.tolist()})

    def _train(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        train_set: Dataset,
        eval_set: Dataset | None,
        weights: np.ndarray | None,
    ) -> tuple[list[dict[str, float]], str | None]:
        """Train in place; return the history and a word on the frozen states."""
        fast = training.options_on(model.device, self.fast)
        multiple = training.padding_multiple(fast, model_limit(tokenizer, model))
        collator: Any = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple)
        several = model.config.problem_type.startswith("multi")
        with runtime.scratch_folder() as folder, contextlib.ExitStack() as stack:
            states = self._frozen_states(model, tokenizer, train_set, eval_set, folder)
            if states is not None:
                stack.callback(states.close)
                train_set, eval_set = _with_rows(train_set, eval_set)
                collator = training.FrozenStatesCollator(collator, states)
            _enter_shortcuts(stack, fast, model, tokenizer, train_set, states)
            history = training.fine_tune(
                model,
                self._arguments(folder, len(train_set), model.device, eval_set is not None),
                self._watch(model, several),
                show_progress=runtime.shows_progress(self.show_progress),
                train_dataset=train_set,
                eval_dataset=eval_set,
                data_collator=collator,
                compute_metrics=self._f1 if several else _accuracy,
                compute_loss_func=None if weights is None else _weighted_loss(weights, several),
                lengths=_bucket_lengths(fast, train_set, states),
                frozen_states=states,
                layer_decay=self.layer_decay,
            )
        return history, states and str(states)

    def _frozen_states(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        train_set: Dataset,
        eval_set: Dataset | None,
        folder: Path,
    ) -> training.FrozenStates | None:
        fast = training.options_on(model.device, self.fast)
        ids = list(train_set["input_ids"]) + list(eval_set["input_ids"] if eval_set else [])
        if "frozen_cache" not in fast or not training.FrozenStates.fits(model, ids, folder):
            return None
        return training.FrozenStates(
            model,
            tokenizer,
            ids,
            folder,
            half_precision="half_precision" in fast,
            show_progress=runtime.shows_progress(self.show_progress),
        )

    def _arguments(
        self, folder: Path, num_texts: int, device: torch.device, evaluates: bool
    ) -> TrainingArguments:
        default = DEFAULT_LEARNING_RATES["head" if self.trainable == "head" else "encoder"]
        size = int(self.prediction_batch_size or PREDICTION_BATCH_SIZE)
        return training.training_arguments(
            folder,
            num_texts,
            num_epochs=self._epochs(num_texts),
            learning_rate=self.learning_rate or default,
            batch_size=int(self.batch_size),
            weight_decay=self.weight_decay,
            warmup=float(self.warmup),
            random_state=self.random_state,
            device=device,
            half_precision="half_precision" in training.options_on(device, self.fast),
            evaluation_batch_size=size if evaluates else None,
        )

    def _watch(self, model: PreTrainedModel, several: bool) -> training.Watch:
        return training.Watch(
            model,
            callbacks=self.callbacks,
            patience=self.patience,
            criterion="eval_f1" if several else "eval_accuracy",
        )

    def _f1(self, prediction: Any) -> dict[str, float]:
        """The micro-averaged F1 of several labels, at the thresholds that would be chosen."""
        gold, probabilities = prediction.label_ids > 0.5, expit(prediction.predictions)
        thresholds = self.thresholds or best_thresholds(gold, probabilities, POOLED_TEXTS)
        return {"f1": micro_f1(gold, probabilities >= thresholds)}


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


def _enter_shortcuts(
    stack: contextlib.ExitStack,
    fast: Collection[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train_set: Dataset,
    states: training.FrozenStates | None,
) -> None:
    """Put what computes the same with less work in place until the stack is left."""
    if "first_token" in fast and _reads_all_tokens(states):
        sample = tokenizer.pad({"input_ids": train_set[:4]["input_ids"]}, return_tensors="pt")
        stack.enter_context(training.first_token(model, sample.to(model.device)))
    if states is not None:
        stack.enter_context(states.in_place())
    if "cheap_dropout" in fast:
        stack.enter_context(training.cheap_dropout(model))
    if "kept_memory" in fast:
        stack.enter_context(training.kept_memory(model))


def _bucket_lengths(
    fast: Collection[str], train_set: Dataset, states: training.FrozenStates | None
) -> list[int] | None:
    if "length_buckets" in fast and _reads_all_tokens(states):
        return [len(ids) for ids in train_set["input_ids"]]
    return None


def _reads_all_tokens(states: training.FrozenStates | None) -> bool:
    return states is None or not states.first_only


def _guessing_loss(targets: np.ndarray, weights: np.ndarray | None) -> float:
    """The loss of predicting each class by its (weighted) share of the texts.

    With several labels per text, the targets are booleans, `(n, num_classes)`, and the loss is the
    mean over the labels.
    """
    if targets.ndim == 1:
        mass = np.bincount(targets) * (1.0 if weights is None else weights)
        return float(entropy(mass / mass.sum()))
    share = targets.mean(axis=0)
    mass = np.stack([share * (1.0 if weights is None else weights), 1 - share])
    return float((mass.sum(axis=0) * entropy(mass, axis=0)).mean())


def _weighted_loss(weights: np.ndarray, several: bool) -> Any:
    by_class = torch.tensor(weights, dtype=torch.float32)

    def loss(outputs: Any, labels: torch.Tensor, **_: Any) -> torch.Tensor:
        logits = outputs["logits"]
        if several:
            return nn.functional.binary_cross_entropy_with_logits(
                logits, labels.to(logits), pos_weight=by_class.to(logits)
            )
        return nn.functional.cross_entropy(logits, labels, weight=by_class.to(logits))

    return loss
