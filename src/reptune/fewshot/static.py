"""A static model: a text is the mean of its tokens' vectors, and needs no network (chapter 2)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

from reptune import runtime
from reptune.checks import (
    check_number,
    check_random_state,
    check_shared_parameters,
    check_texts,
    check_training_set,
    check_whole_number,
)
from reptune.estimator import TextClassifier
from reptune.fewshot.distillation import check_teacher, fit_on_shares
from reptune.meter import Meter
from reptune.models.sentence import load_body, token_vectors

MAX_ITERATIONS = 1000
RARE = 1e-3  # share of all tokens at which a token's weight is halved; Arora et al. (2017)
TOKENIZER, SCORES = "tokenizer.json", "scores.safetensors"


def reduced(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """Return vectors in the directions in which they differ most, by principal components.

    Args:
        vectors: Shape `(n, width)`.
        dimensions: How many to keep; all of them if there are fewer.

    >>> np.abs(reduced(np.array([[0.0, 1.0], [0.0, 5.0]]), 1)).tolist()
    [[2.0], [2.0]]
    """
    centered = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centered.T @ centered)  # the largest last
    return centered @ axes[:, ::-1][:, :dimensions]


def rarity(counts: np.ndarray) -> np.ndarray:
    """Return a weight from 0 to 1 for each token: frequent tokens say little.

    Args:
        counts: How often each token occurs in texts of the task, shape `(vocabulary,)`.

    >>> rarity(np.array([0, 998])).round(4).tolist()  # shares of 1 and 999 in 1,000
    [0.5, 0.001]
    """
    shares = (counts + 1) / (counts + 1).sum()
    return RARE / (RARE + shares)


def means(table: np.ndarray, encoded: list[list[int]]) -> np.ndarray:
    """Return the mean of the rows that each text's token ids name; zeros for a text without any.

    Args:
        table: Shape `(vocabulary, columns)`.
        encoded: Token ids of each text.

    >>> means(np.array([[1.0], [3.0]]), [[0, 1, 1], []]).round(2).tolist()
    [[2.33], [0.0]]
    """
    lengths = np.array([len(ids) for ids in encoded])
    found = np.zeros((len(encoded), table.shape[1]), dtype=table.dtype)
    filled = np.flatnonzero(lengths)
    if len(filled):
        flat = table[np.concatenate([encoded[row] for row in filled]).astype(int)]
        starts = np.concatenate([[0], lengths[filled].cumsum()[:-1]])
        found[filled] = np.add.reduceat(flat, starts, axis=0) / lengths[filled, None]
    return found


class StaticClassifier(TextClassifier):
    """A score per label for each token of a vocabulary, averaged over a text's tokens.

    It is a logistic regression on the mean of token vectors, which a sentence transformer made of
    each token alone. Both are linear, so what is kept is one number per token and label; to predict
    takes a tokenizer and NumPy, and no neural network. It knows words and not their order.

    >>> from reptune.fewshot import FrozenClassifier
    >>> texts = ["the soup was cold", "a boring film", "the bread is fresh", "a great movie"]
    >>> teacher = FrozenClassifier().fit(texts, ["food", "film", "food", "film"])
    >>> student = StaticClassifier().distill(teacher, [*texts, "fish and rice", "a dull plot"])
    >>> student.predict(["rice soup"]).tolist()
    ['food']

    Args:
        model: The sentence transformer that `fit` takes the token vectors from; `distill` takes
            the teacher's.
        dimensions: Of the token vectors, by principal components.
        C: Inverse strength of the logistic regression's penalty.
        device: Where token vectors are made: `None` for the accelerator, or a name.
        prediction_batch_size: Texts tokenized at once; `None` takes all of them.
        random_state: Nothing here is random; every estimator has one.

    Attributes:
        classes_: The labels, sorted, shape `(num_classes,)`.
        scores_: Of each token for each label, shape `(vocabulary, num_classes)`, float32.
        bias_: Of each label, shape `(num_classes,)`.
        tokenizer_: A `tokenizers.Tokenizer`.
        cost_: A `reptune.meter.Meter` with the seconds and memory that training took.

    Source: Tulkens and van Dongen, *Model2Vec* (2024); weights after Arora et al., *A Simple but
    Tough-to-Beat Baseline for Sentence Embeddings* (2017); chapter 2.
    """

    _FILES = (TOKENIZER, SCORES)

    def __init__(
        self,
        model: str | Path = "all-MiniLM-L6-v2",
        *,
        dimensions: int = 256,
        C: float = 10.0,
        device: str | None = None,
        prediction_batch_size: int | None = None,
        random_state: int | None = 42,
    ) -> None:
        self.model = model
        self.dimensions = dimensions
        self.C = C
        self.device = device
        self.prediction_batch_size = prediction_batch_size
        self.random_state = random_state

    def fit(self, texts: Iterable[str], labels: Iterable[Any]) -> Self:
        """Make the token vectors and fit the logistic regression on labeled texts.

        Args:
            texts: The training texts.
            labels: One label per text, all strings or all integers.

        Raises:
            ValueError: If the input or a parameter is bad.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        texts, labels = check_training_set(texts, labels)
        self._check_parameters()
        classes, targets = np.unique(labels, return_inverse=True)
        with runtime.quiet():
            body = load_body(self.model, runtime.check_device(self.device))
        return self._learn(body, texts, classes, np.eye(len(classes))[targets])

    def distill(self, teacher: Any, texts: Iterable[str]) -> Self:
        """Learn from a teacher's probabilities of texts without labels, with its token vectors.

        Args:
            teacher: A fitted `SetFitClassifier` or `FrozenClassifier` with one label per text.
            texts: Texts like those to be classified, the more the better.

        Raises:
            sklearn.exceptions.NotFittedError: If the teacher is not fitted.
            ValueError: If the input or a parameter is bad.
        """
        texts = check_texts(texts)
        self._check_parameters()
        check_teacher(teacher)
        shares = teacher.predict_proba(texts)
        return self._learn(teacher.body_, texts, teacher.classes_, shares)

    # What follows is plumbing.

    def _check_parameters(self) -> None:
        check_whole_number("dimensions", self.dimensions)
        check_number("C", self.C, above=0)
        check_random_state(self.random_state)
        check_shared_parameters(self)
        runtime.check_device(self.device)

    def _learn(
        self, body: SentenceTransformer, texts: list[str], classes: np.ndarray, shares: np.ndarray
    ) -> Self:
        """Fit the scores of tokens; `shares` are each text's labels or probabilities."""
        tokenizer = Tokenizer.from_str(body.tokenizer.backend_tokenizer.to_str())
        tokenizer.no_padding()
        tokenizer.no_truncation()
        with Meter("fit") as cost, runtime.quiet():
            encoded = _token_ids(tokenizer, texts)
            vectors = token_vectors(body)
            flat = [token for ids in encoded for token in ids]
            counts = np.bincount(np.array(flat, dtype=int), minlength=len(vectors))
            table = reduced(vectors, self.dimensions) * rarity(counts)[:, None]
            inputs = means(table, encoded)
            size = np.sqrt((inputs**2).sum(axis=1).mean()) or 1.0  # so that C means the same
            head = LogisticRegression(C=float(self.C), max_iter=MAX_ITERATIONS)
            fit_on_shares(head, inputs / size, classes, shares)
        weight, bias = head.coef_, head.intercept_
        if len(classes) == 2:  # scikit-learn keeps the second label's lead over the first
            weight, bias = np.concatenate([0 * weight, weight]), np.array([0.0, bias[0]])
        self.scores_ = (table @ (weight / size).T).astype(np.float32)
        self.bias_, self.classes_, self.cost_ = bias.astype(np.float32), classes, cost
        self.tokenizer_ = tokenizer
        self._forget()
        return self

    def _logits(self, texts: list[str]) -> np.ndarray:
        size = self.prediction_batch_size or len(texts)
        parts = [texts[start : start + size] for start in range(0, len(texts), size)]
        encoded = [ids for part in parts for ids in _token_ids(self.tokenizer_, part)]
        return means(self.scores_, encoded) + self.bias_

    def _write(self, folder: Path) -> None:
        (folder / TOKENIZER).write_text(self.tokenizer_.to_str(), encoding="utf-8")
        arrays = {"scores": self.scores_, "bias": self.bias_}
        save_file(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / SCORES
        )

    def _read(self, folder: Path, manifest: dict[str, Any]) -> None:
        self._check_parameters()
        arrays = load_file(folder / SCORES)
        self.tokenizer_ = Tokenizer.from_file(str(folder / TOKENIZER))
        shapes = {
            "scores": (self.tokenizer_.get_vocab_size(), len(self.classes_)),
            "bias": (len(self.classes_),),
        }
        for name, shape in shapes.items():
            if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} of shape {arrays[name].shape}, not {shape}, or infinite")
        self.scores_, self.bias_ = arrays["scores"], arrays["bias"]
        self.logits(["a text"])


def _token_ids(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Return each text's token ids without special tokens; texts are not cut."""
    return [found.ids for found in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
