"""Heads on embeddings that are saved as two arrays: what scikit-learn lacks (chapter 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from scipy.special import expit
from sentence_transformers import SentenceTransformer
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import LabelBinarizer
from torch import nn

from reptune.checks import check_multilabels, class_weights
from reptune.fewshot.encoder import Encoder, embed

# The differentiable head: epochs and rates are setfit's defaults; its batches of 2 are slow.
HEAD_EPOCHS, HEAD_BATCH_SIZE = 16, 16
HEAD_LEARNING_RATE, END_TO_END_RATE = 1e-2, 1e-5


def fitted_logistic_regression(
    params: Mapping[str, Any], classes: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> LogisticRegression:
    """Return a fitted head from its arrays.

    Args:
        params: Of the logistic regression.
        classes: The labels, sorted.
        weight: Shape `(rows, dimensions)`; two classes have one row, as in scikit-learn.
        bias: Shape `(rows,)`.
    """
    head = LogisticRegression(**params)
    head.classes_, head.coef_, head.intercept_ = classes, weight, bias
    head.n_features_in_, head.n_iter_ = weight.shape[1], np.array([0])
    return head


def check_head(
    arrays: dict[str, np.ndarray], classes: np.ndarray, num_rows: int | None = None
) -> None:
    """Raise a `ValueError` unless a head's arrays are finite and fit the classes.

    Args:
        arrays: `coef` of shape `(rows, dimensions)` and `intercept` of shape `(rows,)`.
        classes: The labels.
        num_rows: How many rows there should be; `None` for a logistic regression's, which has
            one for two classes.
    """
    num_rows = num_rows or (1 if len(classes) == 2 else len(classes))
    coef, intercept = arrays["coef"], arrays["intercept"]
    if len(classes) < 2 or len(coef) != num_rows or intercept.shape != (num_rows,):
        raise ValueError(
            f"a head of shape {coef.shape} and {intercept.shape} for {len(classes)} classes"
        )
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        raise ValueError("the head's weights are not finite")


def label_weights(
    class_weight: str | dict[Any, float] | None, classes: np.ndarray, targets: np.ndarray
) -> np.ndarray | None:
    """Return a weight for each label, as `checks.class_weights` does, or raise.

    Args:
        class_weight: As an estimator's user gave it.
        classes: The labels, sorted.
        targets: Label ids, shape `(n,)`, or booleans of shape `(n, num_classes)`.
    """
    if targets.ndim == 2:
        return class_weights(class_weight, classes, targets.sum(axis=0), len(targets))
    return class_weights(class_weight, classes, np.bincount(targets))


class LinearHead:
    """A linear layer with softmax, trained by gradient: SetFit's "differentiable" head.

    >>> head = LinearHead(np.array(["no", "yes"]), np.array([[-1.0], [1.0]]), np.zeros(2))
    >>> head.predict_proba(np.array([[0.0]])).tolist()
    [[0.5, 0.5]]

    Args:
        classes: The labels, sorted.
        weight: Shape `(num_classes, dimensions)`.
        bias: Shape `(num_classes,)`.
    """

    def __init__(self, classes: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> None:
        self.classes_, self.coef_, self.intercept_ = classes, weight, bias

    def predict_proba(self, embeddings: np.ndarray) -> np.ndarray:
        """Return probabilities, shape `(n, num_classes)`."""
        logits = embeddings @ self.coef_.T + self.intercept_
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def as_logistic_regression(self) -> LogisticRegression:
        """Return the same head as a fitted scikit-learn model, with the same probabilities."""
        binary = len(self.classes_) == 2
        weight = self.coef_[1:] - self.coef_[:1] if binary else self.coef_
        bias = self.intercept_[1:] - self.intercept_[:1] if binary else self.intercept_
        return fitted_logistic_regression({}, self.classes_, weight, bias)


class LabelwiseHead:
    """A yes-or-no question for each label, on texts that may have several of them.

    >>> head = LabelwiseHead(np.array([[1.0], [-1.0]]), np.zeros(2))
    >>> head.predict_proba(np.array([[0.0]])).tolist()
    [[0.5, 0.5]]

    Args:
        weight: Shape `(num_classes, dimensions)`.
        bias: Shape `(num_classes,)`.
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.coef_, self.intercept_ = weight, bias

    @classmethod
    def fit(
        cls,
        model: LogisticRegression,
        embeddings: np.ndarray,
        indicator: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> Self:
        """Fit a logistic regression for each label ("binary relevance").

        A label that every text has leaves nothing to fit: its probability is then
        (n + 1) / (n + 2) for every text, by Laplace's rule of succession.

        Args:
            model: What is fitted, as a clone.
            embeddings: Shape `(n, dimensions)`.
            indicator: Which text has which label, booleans of shape `(n, num_classes)`.
            weights: Of the texts that have a label, shape `(num_classes,)`; those that lack it
                weigh 1.
        """
        num_texts, num_classes = indicator.shape
        weight = np.zeros((num_classes, embeddings.shape[1]))
        bias = np.full(num_classes, np.log(num_texts + 1.0))
        for label, has in enumerate(indicator.T):
            if has.all():
                continue
            by_text = None if weights is None else np.where(has, weights[label], 1.0)
            fitted = clone(model).fit(embeddings, has, sample_weight=by_text)
            weight[label], bias[label] = fitted.coef_[0], fitted.intercept_[0]
        return cls(weight, bias)

    def decision_function(self, embeddings: np.ndarray) -> np.ndarray:
        """Return logits, shape `(n, num_classes)`; a text's are independent of one another."""
        return embeddings @ self.coef_.T + self.intercept_

    def predict_proba(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the probability of each label, shape `(n, num_classes)`."""
        return expit(self.decision_function(embeddings))

    def as_one_vs_rest(self, thresholds: np.ndarray) -> OneVsRestClassifier:
        """Return a fitted scikit-learn model that gives the same labels, as zeros and ones.

        It gives a label from a probability of 0.5 on, so that each label's threshold becomes part
        of its intercept.

        Args:
            thresholds: The probability from which on a text gets each label, `(num_classes,)`.
        """
        thresholds = np.clip(thresholds, 1e-12, 1 - 1e-12)
        bias = self.intercept_ - np.log(thresholds / (1 - thresholds))
        head = OneVsRestClassifier(LogisticRegression())
        head.estimators_ = [
            fitted_logistic_regression({}, np.array([0, 1]), self.coef_[[label]], bias[[label]])
            for label in range(len(bias))
        ]
        every_label = np.eye(len(bias), dtype=int)
        head.label_binarizer_ = LabelBinarizer(sparse_output=True).fit(every_label)
        head.n_features_in_ = self.coef_.shape[1]
        return head


class HeadOnVectors(BaseEstimator):
    """A labelwise head fitted on vectors, for `multilabel.choose_thresholds` in place of texts.

    So the texts are embedded once, not again for each fold.

    Args:
        model: The logistic regression that is fitted for each label.
        class_weight: As in `checks.class_weights`.
        thresholds: A probability for every label, or `None`.
        random_state: Seed of the folds.
    """

    def __init__(
        self,
        model: LogisticRegression,
        class_weight: str | dict[Any, float] | None = None,
        thresholds: float | None = None,
        random_state: int | None = None,
    ) -> None:
        self.model, self.class_weight = model, class_weight
        self.thresholds, self.random_state = thresholds, random_state

    def fit(self, vectors: Sequence[np.ndarray], labels: Sequence[Sequence[Any]]) -> Self:
        """Fit the head on a vector and a list of labels per text."""
        self.classes_, indicator = check_multilabels(labels, len(vectors))
        weights = label_weights(self.class_weight, self.classes_, indicator)
        self.head_ = LabelwiseHead.fit(self.model, np.stack(vectors), indicator, weights)
        return self

    def predict_proba(self, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probability of each label, shape `(n, num_classes)`."""
        return self.head_.predict_proba(np.stack(vectors))


@dataclass(frozen=True)
class LinearSettings:
    """How a linear layer is trained.

    Attributes:
        end_to_end: Whether the sentence transformer trains along with it.
        weight_decay: AdamW's.
        batch_size: Texts per batch where embeddings are computed without gradients.
    """

    end_to_end: bool
    weight_decay: float
    batch_size: int | None


def train_linear_head(
    settings: LinearSettings,
    body: SentenceTransformer,
    encoded: list[list[int]],
    targets: np.ndarray,
    classes: np.ndarray,
    weights: np.ndarray | None = None,
) -> LinearHead | LabelwiseHead:
    """Train a linear layer by cross-entropy, and the body along with it if asked to.

    Args:
        settings: How.
        body: The sentence transformer.
        encoded: Token ids of each text.
        targets: Label ids, shape `(n,)`, or for several labels per text booleans
            `(n, num_classes)`, whose loss is the binary cross-entropy of each.
        classes: The labels, sorted.
        weights: Of each label, or `None`.
    """
    loss_of = _cross_entropy(targets, weights, body.device)
    fixed = torch.from_numpy(embed(body, encoded, settings.batch_size)).to(body.device)
    linear = nn.Linear(fixed.shape[1], len(classes)).to(body.device)
    groups = [{"params": linear.parameters(), "lr": HEAD_LEARNING_RATE}]
    if settings.end_to_end:
        moving = [parameter for parameter in body.parameters() if parameter.requires_grad]
        groups.append({"params": moving, "lr": END_TO_END_RATE})
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    encode = Encoder(body, encoded)
    for _ in range(HEAD_EPOCHS):
        for rows in torch.randperm(len(targets)).split(HEAD_BATCH_SIZE):
            body.train(settings.end_to_end)
            inputs = encode(rows.numpy()) if settings.end_to_end else fixed[rows.to(fixed.device)]
            loss = loss_of(linear(inputs), rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    weight, bias = (value.detach().cpu().numpy() for value in (linear.weight, linear.bias))
    return LabelwiseHead(weight, bias) if targets.ndim == 2 else LinearHead(classes, weight, bias)


def _cross_entropy(targets: np.ndarray, weights: np.ndarray | None, device: torch.device) -> Any:
    """A function from logits and the rows they belong to, to the loss."""
    gold = torch.from_numpy(targets).to(device)
    if weights is not None:
        weights = torch.tensor(weights, dtype=torch.float32, device=device)

    def several(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        labels = gold[rows.to(device)].to(logits)
        return nn.functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights)

    def single(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, gold[rows.to(device)], weight=weights)

    return several if targets.ndim == 2 else single
