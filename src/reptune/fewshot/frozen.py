"""Frozen sentence embeddings under a logistic regression: the first thing to try (chapter 2).

The sentence transformer stays as it is, so fitting takes seconds, needs no GPU, and often reaches
most of what tuning would.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.linear_model import LogisticRegression

from reptune import assets, runtime
from reptune.checks import (
    check_number,
    check_random_state,
    check_training_set,
    check_whole_number,
    class_weights,
)
from reptune.fewshot.base import EmbeddingClassifier, check_head, fitted_logistic_regression
from reptune.fewshot.encoder import embed, token_ids
from reptune.meter import Meter
from reptune.models.sentence import load_body, set_length

MAX_ITERATIONS = 1000


class FrozenClassifier(EmbeddingClassifier):
    """A logistic regression on the embeddings of a sentence transformer that is left as it is.

    The first thing to try: it fits in seconds, and what tuning brings can be measured against
    it. It follows scikit-learn: works in `cross_val_score` and `GridSearchCV`, takes labels that
    are strings or integers and gives them back as they were.

    >>> classifier = FrozenClassifier().fit(texts, labels)
    >>> classifier.predict(["The screen stays dark."])

    Args:
        model: An asset's name, a local folder or a Hub id of a sentence transformer. The default
            is small and fast; `"all-mpnet-base-v2"` is five times as large.
        C: Inverse strength of the logistic regression's penalty. Embeddings are unit vectors,
            whose coordinates are small, so that scikit-learn's 1 is too strong for few texts:
            chosen on validation over three tasks and four sizes (study `ch02_frozen`).
        class_weight: `None`, `"balanced"`, or a weight for each label, as in scikit-learn.
        max_length: Tokens a text may have; `None` takes the model's own setting. Longer texts
            are cut, and a warning says how many where the model's setting cuts them.
        random_state: Kept for the common interface; the fit draws nothing at random.

    A saved folder also loads as `SentenceTransformer(folder)`.

    Attributes:
        classes_: The labels, sorted, shape `(num_classes,)`.
        body_: The `SentenceTransformer`.
        head_: The fitted `LogisticRegression`.
        cost_: A `reptune.meter.Meter` with the seconds and memory the fit took.

    Source: Reimers and Gurevych, *Sentence-BERT* (2019); the baseline of chapters 1 and 2.
    """

    def __init__(
        self,
        model: str | Path = "all-MiniLM-L6-v2",
        *,
        C: float = 10.0,
        class_weight: str | dict[Any, float] | None = None,
        max_length: int | None = None,
        random_state: int | None = 42,
    ) -> None:
        self.model = model
        self.C = C
        self.class_weight = class_weight
        self.max_length = max_length
        self.random_state = random_state

    def fit(self, texts: Iterable[str], labels: Iterable[str | int]) -> Self:
        """Embed the texts and fit the logistic regression on the embeddings.

        A `fit` that fails or is interrupted leaves an already fitted object as it was.

        Args:
            texts: The training texts.
            labels: One label per text, all strings or all integers.

        Raises:
            ValueError: If the input or a parameter is bad; raised before any work.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        texts, array = check_training_set(texts, labels)
        self._check_parameters()
        classes, indices = np.unique(array, return_inverse=True)
        weights = class_weights(self.class_weight, classes, np.bincount(indices))
        with runtime.seeded(self.random_state), runtime.quiet():
            body = self._pretrained()
            ids = token_ids(body, texts, self.max_length)
            with Meter("fit") as cost:
                head = LogisticRegression(C=float(self.C), max_iter=MAX_ITERATIONS)
                by_text = None if weights is None else weights[indices]
                head.fit(embed(body, ids), array, sample_weight=by_text)
        self.body_, self.head_, self.classes_, self.cost_ = body, head, classes, cost
        return self

    # What follows is plumbing.

    def _check_parameters(self) -> None:
        check_number("C", self.C, above=0)
        check_random_state(self.random_state)
        if self.max_length is not None:
            check_whole_number("max_length", self.max_length)

    def _pretrained(self) -> Any:
        source = assets.resolve_model(self.model)
        body = load_body(str(source), Path(source).is_dir()).eval()
        set_length(body, self.max_length)
        return body

    def _manifest(self) -> dict[str, Any]:
        return {**super()._manifest(), "head": type(self.head_).__name__}

    def _restored_head(self, name: str, arrays: dict[str, np.ndarray]) -> LogisticRegression:
        if name != "LogisticRegression":
            raise ValueError(f"the head {name!r} is none that save writes")
        check_head(arrays, self.classes_)
        params = {"C": float(self.C), "max_iter": MAX_ITERATIONS}
        return fitted_logistic_regression(
            params, self.classes_, arrays["coef"], arrays["intercept"]
        )
