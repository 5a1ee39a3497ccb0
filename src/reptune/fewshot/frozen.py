"""Frozen sentence embeddings under a logistic regression: the first thing to try (chapter 2).

The sentence transformer stays as it is, so fitting takes seconds, needs no GPU, and often reaches
most of what tuning would.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

from reptune import runtime
from reptune.checks import (
    check_labeled_texts,
    check_number,
    check_random_state,
    check_shared_parameters,
    check_texts,
    check_validation,
    check_whole_number,
)
from reptune.fewshot.base import EmbeddingClassifier
from reptune.fewshot.encoder import embed, token_ids
from reptune.fewshot.head import (
    HeadOnVectors,
    LabelwiseHead,
    LinearHead,
    check_head,
    fitted_logistic_regression,
    label_weights,
)
from reptune.meter import Meter
from reptune.models.sentence import load_body, set_length, set_prefix
from reptune.multilabel import choose_thresholds

MAX_ITERATIONS = 1000
NAMES_SCALE = 20.0  # what cosines are multiplied by before the softmax, as sentence models train


def centered(head: LogisticRegression, vectors: np.ndarray) -> LogisticRegression:
    """Return a head without labels whose mean score over some texts is the same for each label.

    The phrase of one label may be nearer to all texts than that of another. Subtracting each
    label's mean score, which is the score of the mean embedding, takes that away. It supposes that
    the labels are about equally frequent.

    Args:
        head: As `FrozenClassifier.fit_label_names` makes it, which is left as it is.
        vectors: Embeddings of texts whose labels nobody needs to know, shape `(n, dimensions)`.

    Source: Zhou et al., *Batch Calibration* (2024), for language models; chapter 2.
    """
    weight = head.coef_
    bias = -weight @ vectors.mean(axis=0)
    return fitted_logistic_regression({}, head.classes_, weight, bias)


class FrozenClassifier(EmbeddingClassifier):
    """A logistic regression on the embeddings of a sentence transformer that is left as it is.

    The first thing to try: it fits in seconds, and what tuning brings can be measured against
    it. It follows scikit-learn: works in `cross_val_score` and `GridSearchCV`, takes labels that
    are strings or integers and gives them back as they were.

    >>> texts = ["the soup was cold", "a boring film", "the bread is fresh", "a great movie"]
    >>> classifier = FrozenClassifier().fit(texts, ["food", "film", "food", "film"])
    >>> classifier.predict(["the actors are good"]).tolist()
    ['film']

    A text may have several labels, or none; `fit` then takes a list of labels per text:

    >>> labels = [["food", "bad"], ["film", "bad"], ["food"], ["film"]]
    >>> FrozenClassifier(thresholds=0.5).fit(texts, labels).predict(["a dull movie"])
    [['bad', 'film']]

    Args:
        model: An asset's name, a local folder or a Hub id of a sentence transformer. The default
            is small and fast; `"all-mpnet-base-v2"` is five times as large.
        C: Inverse strength of the logistic regression's penalty. Embeddings are unit vectors,
            whose coordinates are small, so that scikit-learn's 1 is too strong for few texts:
            chosen on validation over three tasks and four sizes (study `ch02_frozen`).
        class_weight: `None`, `"balanced"`, or a weight for each label; see `checks.class_weights`.
        thresholds: With several labels per text, the probability from which on a text gets a
            label, the same for all; `None` chooses each label's, on `validation`, or else on
            thirds of the embeddings, each predicted by heads that were fitted on the others.
        prefix: Words put before every text, in training as in prediction; `None` takes "query: "
            for a model that names it as its prompt for queries, as `multilingual-e5-small` does.
        max_length: Tokens per text; `None` takes the model's own setting. Longer texts are cut,
            and a warning says how many where the model's setting cuts them.
        device: Where the model runs: `None` for the accelerator, or a name such as `"cpu"`.
        prediction_batch_size: Texts embedded at once; `None` takes 64.
        random_state: Seed of the folds that choose thresholds; nothing else is random.
        show_progress: Show a progress bar while texts are embedded in `fit`; `None` shows one in
            a terminal or a notebook.

    A saved folder also loads as `SentenceTransformer(folder)`.

    Attributes:
        classes_: The labels, sorted, shape `(num_classes,)`.
        body_: The `SentenceTransformer`.
        head_: The fitted `LogisticRegression`, or with several labels per text a
            `LabelwiseHead`, which holds one for each label.
        thresholds_: With several labels per text, the probability from which on a text gets each
            label, shape `(num_classes,)`; otherwise `None`.
        cost_: A `reptune.meter.Meter` with the seconds and memory the fit took.

    Source: Reimers and Gurevych, *Sentence-BERT* (2019); the baseline of chapters 1 and 2.
    """

    def __init__(
        self,
        model: str | Path = "all-MiniLM-L6-v2",
        *,
        C: float = 10.0,
        class_weight: str | dict[Any, float] | None = None,
        thresholds: float | None = None,
        prefix: str | None = None,
        max_length: int | None = None,
        device: str | None = None,
        prediction_batch_size: int | None = None,
        random_state: int | None = 42,
        show_progress: bool | None = None,
    ) -> None:
        self.model = model
        self.C = C
        self.class_weight = class_weight
        self.thresholds = thresholds
        self.prefix = prefix
        self.max_length = max_length
        self.device = device
        self.prediction_batch_size = prediction_batch_size
        self.random_state = random_state
        self.show_progress = show_progress

    def fit(
        self,
        texts: Iterable[str],
        labels: Iterable[Any],
        validation: tuple[Iterable[str], Iterable[Any]] | None = None,
    ) -> Self:
        """Embed the texts and fit the logistic regression on the embeddings.

        A `fit` that fails or is interrupted leaves an already fitted object as it was.

        Args:
            texts: The training texts.
            labels: One label per text, or a list of labels per text; all strings or all integers.
            validation: Texts and labels that choose the thresholds of several labels per text;
                nothing else uses them.

        Raises:
            ValueError: If the input or a parameter is bad; raised before any work.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        texts, classes, targets = check_labeled_texts(texts, labels)
        self._check_parameters()
        held_out = check_validation(validation, classes, targets.ndim == 2)
        label_weights(self.class_weight, classes, targets)  # or raise
        with runtime.seeded(self.random_state), runtime.quiet():
            body = load_body(self.model, runtime.check_device(self.device))
            set_length(body, self.max_length)
            set_prefix(body, self.prefix)
            encoded = token_ids(body, texts, self.max_length)
            with Meter("fit") as cost:
                progress = runtime.shows_progress(self.show_progress)
                vectors = embed(body, encoded, self.prediction_batch_size, progress)
                head = self._fit_head(vectors, classes, targets)
                thresholds = self._choose(body, head, vectors, classes, targets, held_out)
        self.body_, self.head_, self.classes_, self.cost_ = body, head, classes, cost
        self.thresholds_ = thresholds
        self._forget()
        return self

    def fit_label_names(
        self,
        labels: Iterable[str],
        phrases: Iterable[str] | None = None,
        *,
        template: str = "{}",
        unlabeled: Iterable[str] | None = None,
    ) -> Self:
        """Build the classifier from the labels' names alone: no text needs a label.

        A text gets the label whose phrase has the most similar embedding. Some phrases are near
        all texts; `unlabeled` texts of the task correct for that, see `centered`. The
        probabilities are not calibrated; `calibrate` them if you have some labels.

        Args:
            labels: The labels, such as `["billing", "technical"]`.
            phrases: What stands for each label; `None` takes the labels, underscores as spaces.
            template: A text like those to be classified, with `{}` where a phrase goes.
            unlabeled: Texts of the task; nobody needs to know their labels.

        Raises:
            ValueError: If there are fewer than two labels, not one phrase for each, or the
                template has no `{}`.
            reptune.assets.AssetUnavailable: If the model cannot be had.

        >>> classifier = FrozenClassifier().fit_label_names(["food", "film"], template="about {}")
        >>> classifier.predict(["the soup was cold"]).tolist()
        ['food']
        """
        names = check_texts(labels, "labels")
        classes, order = np.unique(names, return_index=True)
        if len(classes) < max(2, len(names)):
            raise ValueError(f"labels={names}; pass two or more, each once.")
        words = [name.replace("_", " ") for name in names] if phrases is None else phrases
        words = check_texts(words, "phrases")
        if len(words) != len(names):
            raise ValueError(f"{len(words)} phrases for {len(names)} labels; pass one for each.")
        if not isinstance(template, str) or template.count("{}") != 1:
            raise ValueError(f"template={template!r}; use a string with one {{}} for the label.")
        texts = None if unlabeled is None else check_texts(unlabeled, "unlabeled texts")
        self._check_parameters()
        with runtime.quiet(), Meter("fit") as cost:
            body = load_body(self.model, runtime.check_device(self.device))
            set_length(body, self.max_length)
            set_prefix(body, self.prefix)
            spoken = [template.replace("{}", words[row]) for row in order]
            vectors = embed(body, token_ids(body, spoken, self.max_length))
            head = LinearHead(classes, NAMES_SCALE * vectors, np.zeros(len(classes)))
            named = head.as_logistic_regression()
            if texts is not None:
                encoded = token_ids(body, texts, self.max_length)
                named = centered(named, embed(body, encoded, self.prediction_batch_size))
        self.body_, self.head_ = body, named
        self.classes_, self.cost_, self.thresholds_ = classes, cost, None
        self._forget()
        return self

    # What follows is plumbing.

    def _check_parameters(self) -> None:
        check_number("C", self.C, above=0)
        check_random_state(self.random_state)
        check_shared_parameters(self)
        runtime.check_device(self.device)
        if self.max_length is not None:
            check_whole_number("max_length", self.max_length)

    def _logistic_regression(self) -> LogisticRegression:
        return LogisticRegression(C=float(self.C), max_iter=MAX_ITERATIONS)

    def _fit_head(
        self, vectors: np.ndarray, classes: np.ndarray, targets: np.ndarray
    ) -> LogisticRegression | LabelwiseHead:
        weights = label_weights(self.class_weight, classes, targets)
        head = self._logistic_regression()
        if targets.ndim == 2:
            return LabelwiseHead.fit(head, vectors, targets, weights)
        by_text = None if weights is None else weights[targets]
        return head.fit(vectors, classes[targets], sample_weight=by_text)

    def _choose(
        self,
        body: SentenceTransformer,
        head: Any,
        vectors: np.ndarray,
        classes: np.ndarray,
        targets: np.ndarray,
        held_out: tuple[list[str], np.ndarray] | None,
    ) -> np.ndarray | None:
        """Thresholds of several labels per text."""
        if targets.ndim == 1:
            return None
        on_vectors = HeadOnVectors(
            self._logistic_regression(), self.class_weight, self.thresholds, self.random_state
        )

        def predict_proba(texts: list[str]) -> np.ndarray:
            encoded = token_ids(body, texts, self.max_length)
            return head.predict_proba(embed(body, encoded, self.prediction_batch_size))

        return choose_thresholds(
            on_vectors, list(vectors), classes, targets, held_out, predict_proba
        )

    def _manifest(self) -> dict[str, Any]:
        return {**super()._manifest(), "head": type(self.head_).__name__}

    def _restored_head(self, name: str, arrays: dict[str, np.ndarray]) -> LogisticRegression:
        if name != "LogisticRegression":
            raise ValueError(f"the head {name!r} is none that save writes")
        check_head(arrays, self.classes_)
        params = self._logistic_regression().get_params()
        return fitted_logistic_regression(
            params, self.classes_, arrays["coef"], arrays["intercept"]
        )
