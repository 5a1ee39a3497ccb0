"""SetFit: few-shot classification with a sentence transformer (chapter 2).

Three steps: pairs from labels, contrastive fine-tuning of the sentence transformer on them, and a
classifier on its embeddings. `SetFitClassifier` is the chapter's code behind scikit-learn's
interface. `FrozenClassifier` leaves out the first two steps, and is the first thing to try.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

import joblib
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from reptune import assets, runtime, training
from reptune.checks import (
    check_finite_weights,
    check_flag,
    check_optimizer,
    check_random_state,
    check_training_set,
    check_validation,
    check_whole_number,
    class_weights,
    seed_of,
)
from reptune.contrastive import (
    PairSampler,
    Sampling,
    SentenceBatches,
    all_pairs_cosine_loss,
    check_sampling,
    cosine_pair_loss,
    existing_pairs,
    supervised_contrastive_loss,
)
from reptune.embeddings import (
    Body,
    EmbeddingClassifier,
    Encoder,
    check_head,
    embed,
    fitted_logistic_regression,
    load_body,
    set_length,
    token_ids,
)
from reptune.estimator import pack, write_folder
from reptune.frozen import FrozenClassifier
from reptune.meter import Meter
from reptune.training import check_trainable, freeze

__all__ = ["FrozenClassifier", "LinearHead", "SetFitClassifier"]

Loss = Literal["cosine", "supcon"]

LOSSES = ("cosine", "supcon")

# Steps of the efficient mode where none are asked for; more where the texts need more batches.
# As good as ten on both tasks of the study ch02_choices.
DEFAULT_STEPS = 5
EVALUATIONS = 10  # how often, over a whole training, early stopping looks

# The differentiable head: epochs and rates are setfit's defaults; its batches of 2 are slow.
HEAD_EPOCHS, HEAD_BATCH_SIZE = 16, 16
HEAD_LEARNING_RATE, END_TO_END_RATE = 1e-2, 1e-5


# --- the contrastive phase -----------------------------------------------------------------------


# --- step 3: a classifier on the embeddings ------------------------------------------------------


class LinearHead:
    """A linear layer with softmax, trained by gradient: SetFit's "differentiable" head.

    Args:
        classes: The labels, sorted.
        weight: Shape `(num_classes, dimensions)`.
        bias: Shape `(num_classes,)`.
    """

    def __init__(self, classes: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> None:
        self.classes_, self.coef_, self.intercept_ = classes, weight, bias

    def predict_proba(self, embeddings: np.ndarray) -> np.ndarray:
        """Probabilities, shape `(n, num_classes)`."""
        logits = embeddings @ self.coef_.T + self.intercept_
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def as_logistic_regression(self) -> LogisticRegression:
        """The same head as a fitted scikit-learn model, which gives the same probabilities."""
        binary = len(self.classes_) == 2
        weight = self.coef_[1:] - self.coef_[:1] if binary else self.coef_
        bias = self.intercept_[1:] - self.intercept_[:1] if binary else self.intercept_
        return fitted_logistic_regression({}, self.classes_, weight, bias)


# --- the classifier ------------------------------------------------------------------------------


class SetFitClassifier(EmbeddingClassifier):
    """SetFit: a sentence transformer tuned on pairs of few labeled texts, under a classifier.

    It follows scikit-learn: works in `cross_val_score` and `GridSearchCV`, takes labels that
    are strings or integers and gives them back as they were.

    Args:
        model: An asset's name, a local folder or a Hub id of a sentence transformer.
        efficient: Encode each text of a batch once and use every pair in it. Otherwise pairs are
            drawn one by one and each encodes two texts, as `setfit` does.
        num_steps: Optimizer steps; `None` takes 5 in the efficient mode, or what one pass over
            the texts needs if that is more, and `num_epochs` over the pairs otherwise.
        num_epochs: Passes over the pairs that `sampling` draws, without the efficient mode.
        sampling: How pairs are drawn; see `pair_budget`. In the efficient mode `"oversampling"`
            and `"undersampling"` let both kinds of pair count equally, `"unique"` every pair; a
            number needs `efficient=False`.
        num_pairs: Draw only so many pairs an epoch, without the efficient mode.
        loss: `"cosine"`, or `"supcon"` (supervised contrastive), which needs the efficient mode.
        batch_size: Texts a step in the efficient mode, pairs a step otherwise; `None` takes 32
            and 16.
        learning_rate: Peak rate of AdamW; for the many steps of `efficient=False`, 2e-5 is usual.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises from 0; it then falls to 0.
        trainable: `"all"`, how many of the last blocks train, or `"head"`, which leaves the
            sentence transformer as it is.
        dropout: Leave the encoder's dropout on during the contrastive phase, as plain code does.
        head: `None` for a logistic regression, any scikit-learn classifier, or
            `"differentiable"` for a linear layer trained by gradient.
        end_to_end: With the differentiable head, train the sentence transformer along with it.
        class_weight: `None`, `"balanced"`, or a weight for each label, for the default head and
            the differentiable one.
        max_length: Word pieces a text may have, while training as while predicting; `None` takes
            the model's own setting.
        patience: Stop after so many of ten evaluations without a better accuracy on `validation`,
            and return to the best one; `None` never stops.
        fast: `True` for every option of `reptune.training.FAST_OPTIONS` that applies, a tuple
            of some of them, or `False` for plain library code.
        random_state: Seed of pairs, batches and dropout. The same seed on the same CPU and
            thread count gives the same model, bit for bit.
        show_progress: Show a progress bar while training.

    A saved folder also loads as `SentenceTransformer(folder)`; `export_setfit` writes one for
    `setfit`.

    Attributes:
        classes_: The labels, sorted, shape `(num_classes,)`.
        body_: The tuned `SentenceTransformer`.
        head_: The fitted head.
        history_: A list of `{"step", "loss"}` and, with `validation`, of
            `{"step", "eval_accuracy"}`, where a logistic regression stands in for the
            differentiable head.
        cost_: A `reptune.meter.Meter` with the seconds and memory training took.

    Source: Tunstall et al., *Efficient Few-Shot Learning Without Prompts* (2022); chapter 2.
    """

    def __init__(
        self,
        model: str | Path = "all-MiniLM-L6-v2",
        *,
        efficient: bool = True,
        num_steps: int | None = None,
        num_epochs: int = 1,
        sampling: Sampling = "oversampling",
        num_pairs: int | None = None,
        loss: Loss = "cosine",
        batch_size: int | None = None,
        learning_rate: float = 5e-5,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        trainable: training.Trainable = "all",
        dropout: bool = True,
        head: Any = None,
        end_to_end: bool = False,
        class_weight: str | dict[Any, float] | None = None,
        max_length: int | None = None,
        patience: int | None = None,
        fast: bool | Collection[str] = True,
        random_state: int | None = 42,
        show_progress: bool = False,
    ) -> None:
        self.model = model
        self.efficient = efficient
        self.num_steps = num_steps
        self.num_epochs = num_epochs
        self.sampling = sampling
        self.num_pairs = num_pairs
        self.loss = loss
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.trainable = trainable
        self.dropout = dropout
        self.head = head
        self.end_to_end = end_to_end
        self.class_weight = class_weight
        self.max_length = max_length
        self.patience = patience
        self.fast = fast
        self.random_state = random_state
        self.show_progress = show_progress

    def fit(
        self,
        texts: Iterable[str],
        labels: Iterable[str | int],
        validation: tuple[Iterable[str], Iterable[str | int]] | None = None,
    ) -> Self:
        """Tune the sentence transformer on pairs of labeled texts, then fit the head.

        A `fit` that fails or is interrupted leaves an already fitted object as it was.

        Args:
            texts: The training texts.
            labels: One label a text, all strings or all integers.
            validation: Texts and labels scored ten times during training, for `history_`; with
                `patience` they decide when it stops.

        Raises:
            ValueError: If the input or a parameter is bad; raised before any training.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        texts, array = check_training_set(texts, labels)
        _check_not_empty(texts)
        self._check_parameters()
        classes, encoded = np.unique(array, return_inverse=True)
        held_out = check_validation(validation, classes)
        if self.patience is not None and held_out is None:
            raise ValueError(f"patience={self.patience} needs validation=(texts, labels) in fit.")
        class_weights(self.class_weight, classes, np.bincount(encoded))  # or raise
        rows = _rows_for_pairs(texts, encoded)
        self._check_pairs(encoded[rows], classes)
        with runtime.seeded(self.random_state), runtime.quiet():
            body = self._pretrained()
            pieces = token_ids(body, texts, self.max_length)
            with Meter("fit") as cost:
                history: list[dict[str, float]] = []
                if self.trainable != "head":
                    trainer = _Contrast(self, body, [pieces[row] for row in rows], encoded[rows])
                    history = trainer.run(self._scorer(body, pieces, encoded, held_out, classes))
                check_finite_weights(body)
                head = self._fit_head(body, pieces, encoded, classes)
        self.body_, self.head_, self.classes_ = body.eval(), head, classes
        self.history_, self.cost_ = history, cost
        return self

    def export_setfit(self, folder: str | Path) -> Path:
        """Write a folder that `setfit.SetFitModel.from_pretrained` loads, with equal predictions.

        `setfit` wants its head pickled; this is the one place where something is.

        Raises:
            ValueError: If `folder` holds something else, which is left alone.
        """
        check_is_fitted(self, "head_")
        head = self.head_
        if isinstance(head, LinearHead):
            head = head.as_logistic_regression()
        names = self.classes_.tolist() if self.classes_.dtype.kind == "U" else None

        def write(written: Path) -> None:
            with runtime.quiet():
                self.body_.save(str(written), create_model_card=False)
            config = {"normalize_embeddings": False, "labels": names}
            (written / "config_setfit.json").write_text(json.dumps(config, indent=2), "utf-8")
            joblib.dump(head, written / "model_head.pkl")

        return write_folder(Path(folder), write, marker="config_setfit.json")

    # What follows is plumbing; the chapter shows the lines that matter.

    def _check_parameters(self) -> None:
        check_trainable(self.trainable)
        training.fast_options(self.fast)
        check_whole_number("num_epochs", self.num_epochs)
        for name in ("num_steps", "num_pairs", "max_length", "patience"):
            if getattr(self, name) is not None:
                check_whole_number(name, getattr(self, name))
        if self.batch_size is not None:
            check_whole_number("batch_size", self.batch_size, least=4 if self.efficient else 1)
        if self.learning_rate is None:
            raise ValueError("learning_rate=None; use a positive number.")
        check_optimizer(self.learning_rate, self.warmup, self.weight_decay)
        check_random_state(self.random_state)
        for name in ("efficient", "dropout", "end_to_end", "show_progress"):
            check_flag(name, getattr(self, name))
        check_sampling(self.sampling)
        if self.loss not in LOSSES:
            raise ValueError(f"loss={self.loss!r}; use {' or '.join(map(repr, LOSSES))}.")
        self._check_mode()
        self._check_head()

    def _check_mode(self) -> None:
        if self.efficient and not isinstance(self.sampling, str):
            raise ValueError(
                f"sampling={self.sampling} draws pairs one by one; pass efficient=False with it."
            )
        if self.efficient and self.num_pairs is not None:
            raise ValueError(
                f"num_pairs={self.num_pairs} draws pairs one by one; pass efficient=False with "
                "it, or num_steps."
            )
        if self.efficient and self.num_epochs != 1:
            raise ValueError(
                f"num_epochs={self.num_epochs} counts passes over drawn pairs; the efficient mode "
                "takes num_steps."
            )
        if self.trainable == "head" and self.patience is not None:
            raise ValueError(
                f"patience={self.patience} with trainable='head': there are no steps to stop."
            )
        if not self.efficient and self.loss == "supcon":
            raise ValueError("loss='supcon' needs whole batches of texts; pass efficient=True.")

    def _check_head(self) -> None:
        own = self.head is None or self.head == "differentiable"
        if isinstance(self.head, str) and not own:
            raise ValueError(
                f"head={self.head!r}; use None, 'differentiable' or a scikit-learn classifier."
            )
        if not own and not (hasattr(self.head, "fit") and hasattr(self.head, "predict")):
            raise ValueError(f"head={self.head!r} is no scikit-learn classifier: it lacks fit.")
        if not own and self.class_weight is not None:
            raise ValueError(
                f"class_weight={self.class_weight!r} does not reach the head "
                f"{type(self.head).__name__}; set it there."
            )
        if self.end_to_end and (self.head != "differentiable" or self.trainable == "head"):
            raise ValueError(
                f"end_to_end=True with head={self.head!r}, trainable={self.trainable!r}; it needs "
                "head='differentiable' and something that trains below it."
            )

    def _check_pairs(self, labels: np.ndarray, classes: np.ndarray) -> None:
        """Say early what the pairs will lack."""
        if self.trainable == "head":
            return
        if not self.efficient:
            PairSampler(labels, self.sampling, self.num_pairs)
        exist = existing_pairs(labels)
        if exist.total == 0:
            raise ValueError("there is no pair of different texts; pass at least 2 of them.")
        if exist.positive == 0 and self.loss == "supcon":
            raise ValueError(
                "loss='supcon' needs two texts of a label, and there is one of each; "
                "use loss='cosine', or add examples."
            )
        counts = np.bincount(labels, minlength=len(classes))
        lonely = classes[counts < 2].tolist()
        if lonely:
            rest = ": training uses negative pairs only" if exist.positive == 0 else ""
            shown = ", ".join(map(repr, lonely[:5])) + (", …" if len(lonely) > 5 else "")
            warnings.warn(
                f"{len(lonely)} of {len(classes)} labels ({shown}) have fewer than two texts to "
                f"pair, so no positive pair{rest}. Add a second example of each.",
                stacklevel=3,
            )

    def _pretrained(self) -> SentenceTransformer:
        source = assets.resolve_model(self.model)
        body = load_body(str(source), Path(source).is_dir())
        set_length(body, self.max_length)
        if self.trainable != "head":
            freeze(Body(body), self.trainable)
        return body

    def _scorer(
        self,
        body: SentenceTransformer,
        pieces: list[list[int]],
        encoded: np.ndarray,
        held_out: tuple[list[str], np.ndarray] | None,
        classes: np.ndarray,
    ) -> Callable[[], float] | None:
        """A function that fits a head on the embeddings as they are and scores it."""
        if held_out is None:
            return None
        held_pieces = token_ids(body, held_out[0], self.max_length)

        def accuracy() -> float:
            with runtime.seeded(self.random_state):  # and the generators as they were, after it
                head = self._fit_sklearn_head(embed(body, pieces), encoded, classes)
                predicted = head.predict(embed(body, held_pieces))
            return float((predicted == classes[held_out[1]]).mean())

        return accuracy

    def _fit_head(
        self,
        body: SentenceTransformer,
        pieces: list[list[int]],
        encoded: np.ndarray,
        classes: np.ndarray,
    ) -> Any:
        if self.head == "differentiable":
            return _train_linear_head(self, body, pieces, encoded, classes)
        return self._fit_sklearn_head(embed(body, pieces), encoded, classes)

    def _fit_sklearn_head(
        self, embeddings: np.ndarray, encoded: np.ndarray, classes: np.ndarray
    ) -> Any:
        if self.head is not None and self.head != "differentiable":
            return clone(self.head).fit(embeddings, classes[encoded])
        weights = class_weights(self.class_weight, classes, np.bincount(encoded))
        head = LogisticRegression(max_iter=1000)
        by_text = None if weights is None else weights[encoded]
        return head.fit(embeddings, classes[encoded], sample_weight=by_text)

    def _has_probabilities(self) -> bool:
        head = getattr(self, "head_", self.head)
        return head is None or head == "differentiable" or hasattr(head, "predict_proba")

    def _restored_head(self, name: str, arrays: dict[str, np.ndarray]) -> Any:
        if name == "LinearHead":
            check_head(arrays, self.classes_, len(self.classes_))
            return LinearHead(self.classes_, arrays["coef"], arrays["intercept"])
        if name != "LogisticRegression":
            raise ValueError(f"the head {name!r} is none that save writes")
        check_head(arrays, self.classes_)
        params = self.head.get_params() if self.head is not None else {"max_iter": 1000}
        return fitted_logistic_regression(
            params, self.classes_, arrays["coef"], arrays["intercept"]
        )

    def _manifest(self) -> dict[str, Any]:
        manifest = super()._manifest()
        if type(self.head_) not in (LogisticRegression, LinearHead):
            raise ValueError(
                f"the head {type(self.head_).__name__} cannot be saved without pickling; use "
                "head=None, 'differentiable' or a LogisticRegression, or export_setfit."
            )
        manifest["head"] = type(self.head_).__name__
        if isinstance(self.head, LogisticRegression):
            manifest["params"]["head"] = pack({"LogisticRegression": self.head.get_params()})
        return manifest

    def _read(self, folder: Path, manifest: dict[str, Any]) -> None:
        if isinstance(self.head, dict):
            self.head = LogisticRegression(**self.head["LogisticRegression"])
        super()._read(folder, manifest)


class _Contrast:
    """The contrastive phase of one `fit`."""

    def __init__(
        self,
        settings: SetFitClassifier,
        transformer: SentenceTransformer,
        encoded: list[list[int]],
        labels: np.ndarray,
    ) -> None:
        self._settings, self._transformer = settings, transformer
        self._encoded, self._labels = encoded, torch.from_numpy(labels)
        self._fast = training.fast_options(settings.fast)
        self._batch_size = settings.batch_size or (32 if settings.efficient else 16)
        self._seed = seed_of(settings.random_state)
        if settings.efficient:
            passes = -(-len(encoded) // self._batch_size)
            self.num_steps = settings.num_steps or max(DEFAULT_STEPS, passes)
        else:
            self._pairs = PairSampler(labels, settings.sampling, settings.num_pairs, self._seed)
            epoch = -(-len(self._pairs) // self._batch_size)
            self.num_steps = settings.num_steps or settings.num_epochs * epoch

    def run(self, score: Callable[[], float] | None = None) -> list[dict[str, float]]:
        """Train in place; return the history. `score()` gives the accuracy on held-out texts."""
        transformer = self._transformer
        with runtime.scratch_folder() as folder, contextlib.ExitStack() as stack:
            body = Body(transformer)
            states = self._frozen_states(body, folder)
            if states is not None:
                stack.callback(states.close)
            if "cheap_dropout" in self._fast:
                stack.enter_context(training.cheap_dropout(body))
            encode = Encoder(transformer, self._encoded, states, self._fast)
            return self._train(encode, states, score)

    def _train(
        self, encode: Encoder, states: training.FrozenStates | None, score: Any
    ) -> list[dict[str, float]]:
        settings, body = self._settings, encode.body
        optimizer = _optimizer(body, settings.learning_rate, settings.weight_decay)
        schedule = LambdaLR(optimizer, self._rate)
        half = "half_precision" in self._fast
        scaler = torch.amp.GradScaler(
            body.device.type, enabled=half and runtime.precision()["fp16"]
        )
        history, stopper = [], _EarlyStopping(body, settings.patience)
        looks = {-(-k * self.num_steps // EVALUATIONS) for k in range(1, EVALUATIONS + 1)}
        bar = tqdm(
            total=self.num_steps, desc="contrastive fine-tuning", unit="step", leave=False,
            disable=not settings.show_progress,
        )  # fmt: skip
        batches = self._batches()
        with bar:
            for step in range(1, self.num_steps + 1):
                body.train(settings.dropout)
                with states.in_place() if states is not None else contextlib.nullcontext():
                    loss = self._loss(encode, next(batches))
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(body.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
                optimizer.zero_grad()
                history.append({"step": step, "loss": loss.item()})
                bar.update()
                if score is not None and step in looks:
                    history.append({"step": step, "eval_accuracy": score()})
                    if stopper.should_stop(history[-1]["eval_accuracy"]):
                        break
        stopper.restore()
        return history

    def _rate(self, step: int) -> float:
        """Share of the peak rate: linearly up over the warm-up, then down to 0 after the end.

        `transformers`' schedule starts at 0, so that the first of ten steps would train nothing;
        this one is a step ahead of it. Pair by pair, where steps are many, the library's is kept.
        """
        ahead = 1 if self._settings.efficient else 0
        # A step ahead, the first step has the full rate where there is no warm-up.
        warmup = max(ahead, int(np.ceil(self._settings.warmup * self.num_steps)))
        step, end = step + ahead, self.num_steps + ahead
        if step < warmup:
            return step / warmup
        return max(0.0, (end - step) / max(1, end - warmup))

    def _batches(self) -> Iterator[np.ndarray]:
        if self._settings.efficient:
            yield from SentenceBatches(self._labels.numpy(), self._batch_size, self._seed)
        while True:
            yield from self._pairs.batches(self._batch_size)

    def _loss(self, encode: Encoder, batch: np.ndarray) -> torch.Tensor:
        if not self._settings.efficient:
            one, other = encode(batch[:, 0]), encode(batch[:, 1])
            same = torch.from_numpy(batch[:, 2]).to(one.device)
            return cosine_pair_loss(torch.cosine_similarity(one, other), same)
        embeddings = encode(batch)
        labels = self._labels[batch].to(embeddings.device)
        if self._settings.loss == "supcon":
            return supervised_contrastive_loss(embeddings, labels)
        return all_pairs_cosine_loss(embeddings, labels, self._settings.sampling != "unique")

    def _frozen_states(self, body: Body, folder: Path) -> training.FrozenStates | None:
        wanted = "frozen_cache" in self._fast
        if not wanted or not training.FrozenStates.fits(body, self._encoded, folder):
            return None
        return training.FrozenStates(
            body,
            self._transformer.tokenizer,
            self._encoded,
            folder,
            half_precision="half_precision" in self._fast,
        )


class _EarlyStopping:
    """Keeps the weights of the best accuracy so far, where there is patience to run out."""

    def __init__(self, model: nn.Module, patience: int | None) -> None:
        self._model, self._patience = model, patience
        self._best, self._weights, self._waited = -1.0, None, 0

    def should_stop(self, accuracy: float) -> bool:
        if self._patience is None:
            return False
        if accuracy > self._best:
            self._best, self._waited = accuracy, 0
            self._weights = {
                name: parameter.detach().clone()
                for name, parameter in self._model.named_parameters()
                if parameter.requires_grad
            }
        else:
            self._waited += 1
        return self._waited >= self._patience

    def restore(self) -> None:
        if self._weights is not None:
            self._model.load_state_dict(self._weights, strict=False)


def _optimizer(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW as `Trainer` sets it up: no decay for biases and layer norms."""
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = name.endswith("bias") or "norm" in name.lower()
            (others if plain else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def _train_linear_head(
    settings: SetFitClassifier,
    body: SentenceTransformer,
    pieces: list[list[int]],
    encoded: np.ndarray,
    classes: np.ndarray,
) -> LinearHead:
    """Train a linear layer by cross-entropy, and the body along with it if asked to."""
    targets = torch.from_numpy(encoded).to(body.device)
    weights = class_weights(settings.class_weight, classes, np.bincount(encoded))
    if weights is not None:
        weights = torch.tensor(weights, dtype=torch.float32, device=body.device)
    fixed = torch.from_numpy(embed(body, pieces)).to(body.device)
    linear = nn.Linear(fixed.shape[1], len(classes)).to(body.device)
    groups = [{"params": linear.parameters(), "lr": HEAD_LEARNING_RATE}]
    if settings.end_to_end:
        moving = [parameter for parameter in body.parameters() if parameter.requires_grad]
        groups.append({"params": moving, "lr": END_TO_END_RATE})
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    encode = Encoder(body, pieces)
    for _ in range(HEAD_EPOCHS):
        for rows in torch.randperm(len(targets)).split(HEAD_BATCH_SIZE):
            body.train(settings.end_to_end)
            inputs = encode(rows.numpy()) if settings.end_to_end else fixed[rows.to(fixed.device)]
            loss = nn.functional.cross_entropy(
                linear(inputs), targets[rows.to(targets.device)], weight=weights
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    weight, bias = (value.detach().cpu().numpy() for value in (linear.weight, linear.bias))
    return LinearHead(classes, weight, bias)


def _check_not_empty(texts: list[str]) -> None:
    empty = [position for position, text in enumerate(texts) if not text.strip()]
    if empty:
        raise ValueError(
            f"texts[{empty[0]}] is empty ({len(empty)} such texts); an empty text teaches "
            "nothing: drop it with its label."
        )


def _rows_for_pairs(texts: list[str], labels: np.ndarray) -> np.ndarray:
    """Places of the texts that make pairs: each text once, and none whose labels disagree.

    A text paired with its own copy would be an identity pair, which teaches nothing; a text with
    two labels would have to be far from itself.
    """
    found: dict[str, set[int]] = {}
    for text, label in zip(texts, labels.tolist(), strict=True):
        found.setdefault(text, set()).add(label)
    torn = {text for text, kinds in found.items() if len(kinds) > 1}
    if torn:
        warnings.warn(
            f"{len(torn)} texts occur with different labels, such as {min(torn)[:60]!r}; they are "
            "left out of the pairs. Give each text one label.",
            stacklevel=3,
        )
    seen: set[str] = set(torn)
    rows = []
    for row, text in enumerate(texts):
        if text not in seen:
            seen.add(text)
            rows.append(row)
    return np.array(rows, dtype=int)
