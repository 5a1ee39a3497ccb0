"""SetFit: few-shot classification with a sentence transformer (chapter 2).

Three steps: pairs from labels, contrastive fine-tuning of the sentence transformer on them, and a
classifier on its embeddings. `SetFitClassifier` is the chapter's code behind scikit-learn's
interface. `FrozenClassifier` leaves out the first two steps, and is the first thing to try.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import joblib
import numpy as np
from sentence_transformers import SentenceTransformer
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted

from reptune import runtime, training
from reptune.checks import (
    check_finite_weights,
    check_flag,
    check_labeled_texts,
    check_optimizer,
    check_random_state,
    check_shared_parameters,
    check_texts,
    check_validation,
    check_whole_number,
    seed_of,
)
from reptune.estimator import pack
from reptune.fewshot.base import EmbeddingClassifier
from reptune.fewshot.contrastive import PairSampler, Sampling, check_sampling, existing_pairs
from reptune.fewshot.distillation import Imitation, check_teacher, fit_on_shares, taught_by
from reptune.fewshot.encoder import Body, embed, token_ids
from reptune.fewshot.head import (
    HeadOnVectors,
    LabelwiseHead,
    LinearHead,
    LinearSettings,
    check_head,
    fitted_logistic_regression,
    label_weights,
    train_linear_head,
)
from reptune.fewshot.training import LOSSES, Contrast, ContrastSettings, Loss
from reptune.folders import write_folder
from reptune.meter import Meter
from reptune.models.sentence import load_body, set_length, set_prefix
from reptune.multilabel import choose_thresholds
from reptune.training import check_trainable, freeze


class SetFitClassifier(EmbeddingClassifier):
    """SetFit: a sentence transformer tuned on pairs of few labeled texts, under a classifier.

    It follows scikit-learn: works in `cross_val_score` and `GridSearchCV`, takes labels that
    are strings or integers and gives them back as they were.

    >>> texts = ["the soup was cold", "a boring film", "the bread is fresh", "a great movie"]
    >>> classifier = SetFitClassifier(num_steps=2).fit(texts, ["food", "film", "food", "film"])
    >>> classifier.predict(["the actors are good"]).tolist()
    ['film']

    A text may have several labels, or none; `fit` then takes a list of labels per text. Two texts
    make a positive pair when they share a label, or when neither has one; the head asks one
    question for each label.

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
        num_pairs: Draw only so many pairs per epoch, without the efficient mode.
        loss: `"cosine"`, or `"supcon"` (supervised contrastive), which needs the efficient mode.
        batch_size: Texts per step in the efficient mode, pairs per step otherwise; `None` takes 32
            and 16.
        learning_rate: Peak rate of AdamW; for the many steps of `efficient=False`, 2e-5 is usual.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises from 0; it then falls to 0.
        trainable: `"all"`, how many of the last blocks train, or `"head"`, which leaves the
            sentence transformer as it is.
        dropout: Leave the encoder's dropout on during the contrastive phase, as plain code does.
        head: `None` for a logistic regression, any scikit-learn classifier, or
            `"differentiable"` for a linear layer trained by gradient. Several labels per text need
            one of the first and the last, or a `LogisticRegression`, which is fitted for each.
        end_to_end: With the differentiable head, train the sentence transformer along with it.
        class_weight: `None`, `"balanced"`, or a weight for each label, for the default head and
            the differentiable one.
        thresholds: With several labels per text, the probability from which on a text gets a
            label, the same for all. `None` chooses each label's, on `validation`, or else on
            thirds of the texts, each predicted by a model that is fitted on the others: `fit`
            then trains four models instead of one, unless `trainable="head"`.
        prefix: Words put before every text, in training as in prediction; `None` takes "query: "
            for a model that names it as its prompt for queries, as `multilingual-e5-small` does.
        max_length: Tokens per text, in training as in prediction; `None` takes the model's own
            setting.
        patience: Stop after so many of ten evaluations without a better accuracy on `validation`,
            and return to the best one; `None` never stops.
        fast: `True` for every option of `reptune.training.FAST_OPTIONS` that applies, a tuple
            of some of them, or `False` for plain library code.
        device: Where the model runs: `None` for the accelerator, or a name such as `"cpu"`.
        prediction_batch_size: Texts embedded at once without gradients; `None` takes 64.
        callbacks: Called with each new record of `history_` during training, such as `[print]`.
        random_state: Seed of pairs, batches, dropout and folds. The same seed on the same CPU and
            thread count gives the same model, bit for bit.
        show_progress: Show a progress bar while training; `None` shows one in a terminal or a
            notebook.

    A saved folder also loads as `SentenceTransformer(folder)`; `export_setfit` writes one for
    `setfit`.

    Attributes:
        classes_: The labels, sorted, shape `(num_classes,)`.
        body_: The tuned `SentenceTransformer`.
        head_: The fitted head; with several labels per text, a `LabelwiseHead`.
        thresholds_: With several labels per text, the probability from which on a text gets each
            label, shape `(num_classes,)`; otherwise `None`.
        history_: A list of `{"step", "loss"}` and, with `validation`, of
            `{"step", "eval_accuracy"}`, where a logistic regression stands in for the
            differentiable head. With several labels per text the accuracy counts the texts whose
            labels are all right at a threshold of 0.5.
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
        thresholds: float | None = None,
        prefix: str | None = None,
        max_length: int | None = None,
        patience: int | None = None,
        fast: bool | Collection[str] = True,
        device: str | None = None,
        prediction_batch_size: int | None = None,
        callbacks: Sequence[Callable[[dict[str, float]], Any]] = (),
        random_state: int | None = 42,
        show_progress: bool | None = None,
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
        self.thresholds = thresholds
        self.prefix = prefix
        self.max_length = max_length
        self.patience = patience
        self.fast = fast
        self.device = device
        self.prediction_batch_size = prediction_batch_size
        self.callbacks = callbacks
        self.random_state = random_state
        self.show_progress = show_progress

    def fit(
        self,
        texts: Iterable[str],
        labels: Iterable[Any],
        validation: tuple[Iterable[str], Iterable[Any]] | None = None,
    ) -> Self:
        """Tune the sentence transformer on pairs of labeled texts, then fit the head.

        A `fit` that fails or is interrupted leaves an already fitted object as it was.

        Args:
            texts: The training texts.
            labels: One label per text, or a list of labels per text; all strings or all integers.
            validation: Texts and labels scored ten times during training, for `history_`; with
                `patience` they decide when it stops, and they choose the thresholds of several
                labels per text.

        Raises:
            ValueError: If the input or a parameter is bad; raised before any training.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        texts, classes, targets = check_labeled_texts(texts, labels)
        _check_not_empty(texts)
        self._check_parameters()
        self._check_labelwise(targets)
        held_out = check_validation(validation, classes, targets.ndim == 2)
        if self.patience is not None and held_out is None:
            raise ValueError(f"patience={self.patience} needs validation=(texts, labels) in fit.")
        label_weights(self.class_weight, classes, targets)  # or raise
        rows = _rows_for_pairs(texts, targets)
        self._check_pairs(targets[rows], classes)
        with runtime.seeded(self.random_state), runtime.quiet():
            body = self._pretrained()
            encoded = token_ids(body, texts, self.max_length)
            with Meter("fit") as cost:
                history: list[dict[str, float]] = []
                if self.trainable != "head":
                    pairable = [encoded[row] for row in rows]
                    phase = Contrast(self._contrast_settings(), body, pairable, targets[rows])
                    history = phase.run(self._scorer(body, encoded, targets, held_out, classes))
                check_finite_weights(body)
                head = self._fit_head(body, encoded, targets, classes)
                thresholds = self._choose(body, head, texts, encoded, targets, classes, held_out)
        self.body_, self.head_, self.classes_ = body.eval(), head, classes
        self.history_, self.cost_, self.thresholds_ = history, cost, thresholds
        self._forget()
        return self

    def distill(self, teacher: Any, texts: Iterable[str]) -> Self:
        """Learn from a fitted teacher and texts without labels, in place of `fit`.

        The sentence transformer is tuned until its cosines are the teacher's, on every pair of a
        batch; then the head is fitted on the teacher's probabilities. `num_steps=None` takes one
        pass over the texts. `model` is the student, such as a smaller sentence transformer.

        Args:
            teacher: A fitted `SetFitClassifier` or `FrozenClassifier` with one label per text.
            texts: Texts like those to be classified, the more the better.

        Raises:
            sklearn.exceptions.NotFittedError: If the teacher is not fitted.
            ValueError: If the input or a parameter is bad; raised before any training.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        texts = list(dict.fromkeys(check_texts(texts)))  # a text and its copy make no pair
        _check_not_empty(texts)
        self._check_parameters()
        check_teacher(teacher)
        self._check_student(len(texts))
        (taught, shares), classes = taught_by(teacher, texts), teacher.classes_
        with runtime.seeded(self.random_state), runtime.quiet():
            body = self._pretrained()
            encoded = token_ids(body, texts, self.max_length)
            with Meter("distillation") as cost:
                history: list[dict[str, float]] = []
                if self.trainable != "head":
                    history = Imitation(self._contrast_settings(), body, encoded, taught).run()
                check_finite_weights(body)
                vectors = self._vectors(body, encoded)
                head = fit_on_shares(self._logistic_regression(), vectors, classes, shares)
        self.body_, self.head_, self.classes_ = body.eval(), head, classes
        self.history_, self.cost_, self.thresholds_ = history, cost, None
        self._forget()
        return self

    def export_setfit(self, folder: str | Path) -> Path:
        """Write a folder that `setfit.SetFitModel.from_pretrained` loads, with equal predictions.

        `setfit` wants its head pickled; this is the one place where something is. With several
        labels per text it is the one that `multi_target_strategy="one-vs-rest"` makes, which
        predicts zeros and ones in the order of `classes_`; because its threshold is always 0.5,
        each label's own is built into its probabilities.

        Raises:
            ValueError: If `folder` holds something else, which is left alone.
        """
        check_is_fitted(self, "head_")
        head = self.head_
        if isinstance(head, LinearHead):
            head = head.as_logistic_regression()
        if isinstance(head, LabelwiseHead):
            head = head.as_one_vs_rest(self.thresholds_)
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
        check_shared_parameters(self)
        runtime.check_device(self.device)
        for name in ("num_steps", "num_pairs", "max_length"):
            if getattr(self, name) is not None:
                check_whole_number(name, getattr(self, name))
        if self.batch_size is not None:
            check_whole_number("batch_size", self.batch_size, least=4 if self.efficient else 1)
        if self.learning_rate is None:
            raise ValueError("learning_rate=None; use a positive number.")
        check_optimizer(self.learning_rate, self.warmup, self.weight_decay)
        check_random_state(self.random_state)
        for name in ("efficient", "dropout", "end_to_end"):
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

    def _check_student(self, num_texts: int) -> None:
        if num_texts < 2:
            raise ValueError("there is no pair of different texts; pass at least 2 of them.")
        plain = self.head is None or type(self.head) is LogisticRegression
        if not (self.efficient and self.loss == "cosine" and plain and self.patience is None):
            raise ValueError(
                "distillation takes efficient=True, loss='cosine', patience=None and a head of "
                "None or a LogisticRegression."
            )

    def _check_labelwise(self, targets: np.ndarray) -> None:
        own = self.head is None or self.head == "differentiable"
        if targets.ndim == 2 and not own and type(self.head) is not LogisticRegression:
            raise ValueError(
                f"head={self.head!r} with several labels per text; use None, 'differentiable' or "
                "a LogisticRegression."
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
        several = labels.ndim == 2
        counts = labels.sum(axis=0) if several else np.bincount(labels, minlength=len(classes))
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
        body = load_body(self.model, runtime.check_device(self.device))
        set_length(body, self.max_length)
        set_prefix(body, self.prefix)
        if self.trainable != "head":
            freeze(Body(body), self.trainable)
        return body

    def _contrast_settings(self) -> ContrastSettings:
        computed = {
            "fast": training.fast_options(self.fast),
            "seed": seed_of(self.random_state),
            "show_progress": runtime.shows_progress(self.show_progress),
        }
        names = {field.name for field in fields(ContrastSettings)} - set(computed)
        return ContrastSettings(**{name: getattr(self, name) for name in names}, **computed)

    def _scorer(
        self,
        body: SentenceTransformer,
        encoded: list[list[int]],
        targets: np.ndarray,
        held_out: tuple[list[str], np.ndarray] | None,
        classes: np.ndarray,
    ) -> Callable[[], float] | None:
        """Return a function that fits a head on the embeddings as they are and scores it."""
        if held_out is None:
            return None
        held_ids = token_ids(body, held_out[0], self.max_length)

        def accuracy() -> float:
            with runtime.seeded(self.random_state):  # and the generators as they were, after it
                head = self._fit_sklearn_head(self._vectors(body, encoded), targets, classes)
                vectors = self._vectors(body, held_ids)
            if targets.ndim == 2:
                return float(((head.predict_proba(vectors) >= 0.5) == held_out[1]).all(1).mean())
            return float((head.predict(vectors) == classes[held_out[1]]).mean())

        return accuracy

    def _vectors(self, body: SentenceTransformer, encoded: list[list[int]]) -> np.ndarray:
        return embed(body, encoded, self.prediction_batch_size)

    def _fit_head(
        self,
        body: SentenceTransformer,
        encoded: list[list[int]],
        targets: np.ndarray,
        classes: np.ndarray,
    ) -> Any:
        if self.head != "differentiable":
            return self._fit_sklearn_head(self._vectors(body, encoded), targets, classes)
        settings = LinearSettings(self.end_to_end, self.weight_decay, self.prediction_batch_size)
        weights = label_weights(self.class_weight, classes, targets)
        return train_linear_head(settings, body, encoded, targets, classes, weights)

    def _fit_sklearn_head(
        self, vectors: np.ndarray, targets: np.ndarray, classes: np.ndarray
    ) -> Any:
        weights = label_weights(self.class_weight, classes, targets)
        if targets.ndim == 2:
            return LabelwiseHead.fit(self._logistic_regression(), vectors, targets, weights)
        if self.head is not None and self.head != "differentiable":
            return clone(self.head).fit(vectors, classes[targets])
        by_text = None if weights is None else weights[targets]
        head = self._logistic_regression()
        return head.fit(vectors, classes[targets], sample_weight=by_text)

    def _logistic_regression(self) -> LogisticRegression:
        if isinstance(self.head, LogisticRegression):
            return clone(self.head)
        return LogisticRegression(max_iter=1000)

    def _choose(
        self,
        body: SentenceTransformer,
        head: Any,
        texts: list[str],
        encoded: list[list[int]],
        targets: np.ndarray,
        classes: np.ndarray,
        held_out: tuple[list[str], np.ndarray] | None,
    ) -> np.ndarray | None:
        """Thresholds of several labels per text."""
        if targets.ndim == 1:
            return None

        def predict_proba(texts: list[str]) -> np.ndarray:
            held_ids = token_ids(body, texts, self.max_length)
            return head.predict_proba(self._vectors(body, held_ids))

        estimator, inputs = self, texts
        if self.trainable == "head" and self.head != "differentiable":  # embeddings stay
            estimator = HeadOnVectors(
                self._logistic_regression(), self.class_weight, self.thresholds, self.random_state
            )
            inputs = list(self._vectors(body, encoded))
        return choose_thresholds(estimator, inputs, classes, targets, held_out, predict_proba)

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
        if type(self.head_) not in (LogisticRegression, LinearHead, LabelwiseHead):
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


def _check_not_empty(texts: list[str]) -> None:
    empty = [index for index, text in enumerate(texts) if not text.strip()]
    if empty:
        raise ValueError(
            f"texts[{empty[0]}] is empty ({len(empty)} such texts); an empty text teaches "
            "nothing: drop it with its label."
        )


def _rows_for_pairs(texts: list[str], targets: np.ndarray) -> np.ndarray:
    """Indices of the texts that make pairs: each text once, and none whose labels disagree.

    A text paired with its own copy would be an identity pair, which teaches nothing; a text with
    two labels would have to be far from itself.
    """
    labels = targets.tolist() if targets.ndim == 1 else list(map(tuple, targets.tolist()))
    labels_of: dict[str, set[Any]] = {}
    for text, label in zip(texts, labels, strict=True):
        labels_of.setdefault(text, set()).add(label)
    torn = {text for text, different in labels_of.items() if len(different) > 1}
    if torn:
        warnings.warn(
            f"{len(torn)} texts occur with different labels, such as {min(torn)[:60]!r}; they are "
            "left out of the pairs. Label a text alike wherever it occurs.",
            stacklevel=3,
        )
    seen: set[str] = set(torn)
    rows = []
    for row, text in enumerate(texts):
        if text not in seen:
            seen.add(text)
            rows.append(row)
    return np.array(rows, dtype=int)
