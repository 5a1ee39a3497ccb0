"""TF-IDF under a logistic regression: what every encoder has to beat (chapter 1)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from reptune.checks import (
    check_labels,
    check_number,
    check_random_state,
    check_texts,
    check_whole_number,
    class_weights,
)
from reptune.estimator import TextClassifier
from reptune.meter import Meter

VOCABULARY = "vocabulary.json"
MAX_ITERATIONS = 1000


class TfidfClassifier(TextClassifier):
    """A logistic regression on words and pairs of words, weighted by how rare they are.

    It needs no model and no GPU, fits in seconds and predicts thousands of texts per second, so
    that it is the first thing to compare an encoder with. It takes one label per text.

    >>> texts = ["the soup was cold", "a boring film", "the bread is fresh", "a great movie"]
    >>> classifier = TfidfClassifier().fit(texts, ["food", "film", "food", "film"])
    >>> classifier.predict(["bread and soup", "a film"]).tolist()
    ['food', 'film']

    Args:
        C: Inverse strength of the logistic regression's penalty.
        ngrams: The longest run of words that counts as one feature.
        max_features: Keep so many of the most frequent features; `None` keeps all.
        class_weight: `None`, `"balanced"`, or a weight for each label; see `checks.class_weights`.
        random_state: Nothing here is random; every estimator has one.

    Attributes:
        classes_: The labels, sorted, shape `(num_classes,)`.
        vectorizer_: The fitted `TfidfVectorizer`.
        head_: The fitted `LogisticRegression`.
        cost_: A `reptune.meter.Meter` with the seconds and memory the fit took.

    Source: the baseline of chapters 1, 2, 5 and 6.
    """

    _FILES = (VOCABULARY, "head.safetensors")

    def __init__(
        self,
        *,
        C: float = 10.0,
        ngrams: int = 2,
        max_features: int | None = 200_000,
        class_weight: str | dict[Any, float] | None = None,
        random_state: int | None = 42,
    ) -> None:
        self.C = C
        self.ngrams = ngrams
        self.max_features = max_features
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(self, texts: Iterable[str], labels: Iterable[Any]) -> Self:
        """Count the words of the texts and fit the logistic regression.

        A `fit` that fails leaves an already fitted object as it was.

        Args:
            texts: The training texts.
            labels: One label per text, all strings or all integers.

        Raises:
            ValueError: If the input or a parameter is bad, or no text holds a word.
        """
        texts = check_texts(texts)
        labels = check_labels(labels, len(texts), num_classes=2)
        self._check_parameters()
        classes, targets = np.unique(labels, return_inverse=True)
        weights = class_weights(self.class_weight, classes, np.bincount(targets))
        with Meter("fit") as cost:
            vectorizer = self._vectorizer()
            try:
                features = vectorizer.fit_transform(texts)
            except ValueError:  # scikit-learn's "empty vocabulary"
                raise ValueError(
                    f"texts hold no word of two letters or more (texts[0] is {texts[0][:40]!r}); "
                    "use a method that reads tokens, such as FrozenClassifier."
                ) from None
            head = LogisticRegression(C=float(self.C), max_iter=MAX_ITERATIONS)
            by_text = None if weights is None else weights[targets]
            head.fit(features, labels, sample_weight=by_text)
        self.vectorizer_, self.head_, self.classes_, self.cost_ = vectorizer, head, classes, cost
        self._forget()
        return self

    # What follows is plumbing.

    def _check_parameters(self) -> None:
        check_number("C", self.C, above=0)
        check_whole_number("ngrams", self.ngrams)
        if self.max_features is not None:
            check_whole_number("max_features", self.max_features)
        check_random_state(self.random_state)

    def _vectorizer(self) -> TfidfVectorizer:
        return TfidfVectorizer(
            ngram_range=(1, int(self.ngrams)), sublinear_tf=True, max_features=self.max_features
        )

    def _logits(self, texts: list[str]) -> np.ndarray:
        scores = self.head_.decision_function(self.vectorizer_.transform(texts))
        # Of two classes scikit-learn gives one score, the second's lead over the first.
        return np.stack([np.zeros(len(scores)), scores], axis=1) if scores.ndim == 1 else scores

    def _write(self, folder: Path) -> None:
        words = self.vectorizer_.get_feature_names_out().tolist()
        (folder / VOCABULARY).write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
        arrays = {"idf": self.vectorizer_.idf_, "coef": self.head_.coef_}
        arrays["intercept"] = self.head_.intercept_
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(arrays, folder / "head.safetensors")

    def _read(self, folder: Path, manifest: dict[str, Any]) -> None:
        self._check_parameters()
        words = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        arrays = load_file(folder / "head.safetensors")
        rows = 1 if len(self.classes_) == 2 else len(self.classes_)
        shapes = {"idf": (len(words),), "coef": (rows, len(words)), "intercept": (rows,)}
        for name, shape in shapes.items():
            if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} of shape {arrays[name].shape}, not {shape}, or infinite")
        vectorizer = self._vectorizer().set_params(vocabulary=words)
        vectorizer.idf_ = arrays["idf"]
        head = LogisticRegression(C=float(self.C), max_iter=MAX_ITERATIONS)
        head.classes_, head.n_features_in_ = self.classes_, len(words)
        head.coef_, head.intercept_ = arrays["coef"], arrays["intercept"]
        self.vectorizer_, self.head_ = vectorizer, head
        self.logits(["a text"])
