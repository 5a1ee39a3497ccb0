"""Distillation: a small student learns from a tuned teacher and texts without labels (chapter 2).

The student first learns which texts the teacher holds alike: every pair of a batch has the
teacher's cosine as its target, and each text is encoded once. Then it gets a head that is fitted on
the teacher's probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted
from torch.nn.functional import normalize

from reptune.estimator import tempered
from reptune.fewshot.encoder import Encoder
from reptune.fewshot.training import Contrast, ContrastSettings


def cosine_matching_loss(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean squared distance of the cosine of each pair from its target.

    Each pair of different texts counts once; a text is not paired with itself.

    Args:
        embeddings: The student's, shape `(n, dimensions)`.
        targets: The teacher's cosines, shape `(n, n)`.

    >>> student = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> teacher = torch.tensor([[1.0, 0.5, 1.0], [0.5, 1.0, 0.5], [1.0, 0.5, 1.0]])
    >>> round(cosine_matching_loss(student, teacher).item(), 4)  # (0.25 + 0 + 0.25) / 3
    0.1667
    """
    unit = normalize(embeddings, dim=1)
    first, second = torch.triu_indices(len(unit), len(unit), offset=1)
    return (((unit @ unit.T) - targets)[first, second] ** 2).mean()


class Imitation(Contrast):
    """The first phase with the teacher's cosines in place of labels.

    Args:
        settings: Of the student; `num_steps=None` takes one pass over the texts.
        transformer: What is tuned, in place.
        encoded: Token ids of each text.
        teacher: The teacher's embeddings of the texts, shape `(n, teacher's dimensions)`.
    """

    def __init__(
        self,
        settings: ContrastSettings,
        transformer: SentenceTransformer,
        encoded: list[list[int]],
        teacher: np.ndarray,
    ) -> None:
        self._settings, self._transformer = settings, transformer
        self._encoded = encoded
        self._teacher = normalize(torch.from_numpy(np.asarray(teacher)).float(), dim=1)
        self._batch_size = min(settings.batch_size or 32, len(encoded))
        self.num_steps = settings.num_steps or -(-len(encoded) // self._batch_size)

    def _batches(self) -> Iterator[np.ndarray]:
        generator = np.random.default_rng(self._settings.seed)
        while True:
            order = generator.permutation(len(self._encoded))
            for start in range(0, len(order) - 1, self._batch_size):
                batch = order[start : start + self._batch_size]
                if len(batch) > 1:  # one text makes no pair
                    yield batch

    def _loss(self, encode: Encoder, batch: np.ndarray) -> torch.Tensor:
        embeddings = encode(batch)
        taught = self._teacher[batch].to(embeddings.device)
        return cosine_matching_loss(embeddings, taught @ taught.T)


def check_teacher(teacher: Any) -> None:
    """Raise unless a teacher is fitted, has probabilities and gives one label per text.

    Raises:
        sklearn.exceptions.NotFittedError: If it is not fitted.
        ValueError: If it cannot teach.
    """
    if not hasattr(teacher, "embed") or not hasattr(teacher, "predict_proba"):
        raise ValueError(
            f"teacher={type(teacher).__name__}; use a SetFitClassifier or a FrozenClassifier whose "
            "head gives probabilities."
        )
    check_is_fitted(teacher, "body_")
    if teacher.thresholds_ is not None:
        raise ValueError("the teacher gives several labels per text; distillation takes one.")


def taught_by(teacher: Any, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return a teacher's embeddings of texts and its probabilities, from one pass over them.

    Args:
        teacher: See `check_teacher`.
        texts: The texts.

    Returns:
        Shapes `(n, dimensions)` and `(n, num_classes)`; the latter as `predict_proba` gives them.
    """
    vectors = teacher.embed(texts)
    shares = teacher.head_.predict_proba(vectors)
    return vectors, shares if teacher.temperature_ == 1 else tempered(shares, teacher.temperature_)


def fit_on_shares(
    head: LogisticRegression, vectors: np.ndarray, classes: np.ndarray, shares: np.ndarray
) -> LogisticRegression:
    """Fit a logistic regression on probabilities in place of labels.

    Each text counts once for each label, with that label's probability as its weight, which gives
    the cross-entropy with the probabilities.

    Args:
        head: What is fitted, and returned.
        vectors: Shape `(n, dimensions)`.
        classes: The labels, shape `(num_classes,)`.
        shares: The teacher's probabilities, shape `(n, num_classes)`.
    """
    count, labels = shares.shape
    rows, columns = np.repeat(np.arange(count), labels), np.tile(np.arange(labels), count)
    return head.fit(vectors[rows], classes[columns], sample_weight=shares.ravel())
