"""A linear layer over embeddings, trained by gradient (chapter 2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression
from torch import nn

from reptune.checks import (
    class_weights,
)
from reptune.fewshot.base import fitted_logistic_regression
from reptune.fewshot.encoder import Encoder, embed

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


def train_linear_head(
    settings: Any,
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
