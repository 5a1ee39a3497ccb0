"""What classifiers on sentence embeddings share (chapter 2)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from reptune import runtime
from reptune.checks import check_texts
from reptune.estimator import TextClassifier, check_vocabulary, check_weights
from reptune.fewshot.encoder import embed, token_ids
from reptune.fewshot.head import LabelwiseHead, check_head
from reptune.models.sentence import load_body, set_length, set_prefix


def _gives_probabilities(classifier: EmbeddingClassifier) -> bool:
    """Return whether the head gives probabilities, or raise with the reason why it does not."""
    if classifier._has_probabilities():
        return True
    head = getattr(classifier, "head_", classifier.head)
    raise AttributeError(
        f"the head {type(head).__name__} gives no probabilities; use LogisticRegression, or wrap "
        "it in sklearn's CalibratedClassifierCV."
    )


class EmbeddingClassifier(TextClassifier):
    """A sentence transformer under a head; a subclass defines `fit`, which sets `body_`, `head_`.

    It is saved as the sentence transformer's own folder, the head's arrays beside it.
    """

    _FILES = ("modules.json", "head.safetensors")

    @available_if(_gives_probabilities)
    def predict_proba(self, texts: Iterable[str]) -> np.ndarray:
        """Return probabilities in the order of `classes_`, shape `(n, num_classes)`.

        Those of one label per text sum to 1; those of several labels are independent.

        Raises:
            AttributeError: If the head has no probabilities.
        """
        return super().predict_proba(texts)

    @available_if(_gives_probabilities)
    def logits(self, texts: Iterable[str]) -> np.ndarray:
        """Return the logarithms of the probabilities, shape `(n, num_classes)`.

        With several labels per text they are log-odds, whose sigmoid is `predict_proba`.

        Raises:
            AttributeError: If the head has no probabilities.
        """
        return super().logits(texts)

    def embed(self, texts: Iterable[str]) -> np.ndarray:
        """Return sentence embeddings, shape `(n, dimensions)`.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If a text is not a string or there are none.
        """
        check_is_fitted(self, "body_")
        texts = check_texts(texts)
        encoded = token_ids(self.body_, texts, self.max_length)
        return embed(self.body_, encoded, self.prediction_batch_size)

    def _labels(self, texts: list[str]) -> np.ndarray:
        if self._has_probabilities():
            return super()._labels(texts)
        return self.head_.predict(self.embed(texts))

    def _probabilities(self, texts: list[str]) -> np.ndarray:
        return self.head_.predict_proba(self.embed(texts))

    def _logits(self, texts: list[str]) -> np.ndarray:
        if self.thresholds_ is not None:
            return self.head_.decision_function(self.embed(texts))
        # A probability too small for a float is not impossible.
        return np.log(np.maximum(self._probabilities(texts), np.finfo(float).tiny))

    def _has_probabilities(self) -> bool:
        """Whether the head, fitted or to be fitted, gives probabilities."""
        return True

    def _write(self, folder: Path) -> None:
        self.body_.save(str(folder), create_model_card=False)
        arrays = {
            name: torch.from_numpy(np.ascontiguousarray(getattr(self.head_, f"{name}_")))
            for name in ("coef", "intercept")
        }
        save_file(arrays, folder / "head.safetensors")

    def _read(self, folder: Path, manifest: dict[str, Any]) -> None:
        arrays = {
            name: value.numpy() for name, value in load_file(folder / "head.safetensors").items()
        }
        self.body_ = load_body(folder, runtime.check_device(self.device))
        set_length(self.body_, self.max_length)
        set_prefix(self.body_, self.prefix)
        encoder = self.body_[0].auto_model
        check_weights(folder, encoder)
        check_vocabulary(self.body_.tokenizer, encoder.get_input_embeddings().num_embeddings)
        width = self.body_.get_embedding_dimension()
        if arrays["coef"].shape[1:] != (width,):
            raise ValueError(f"a head of shape {arrays['coef'].shape} on {width} dimensions")
        self.head_ = self._head_of(manifest["head"], arrays)
        self.embed(["a text"])  # a configuration that does not fit fails here, not at prediction

    def _head_of(self, name: str, arrays: dict[str, np.ndarray]) -> Any:
        if (name == "LabelwiseHead") != (self.thresholds_ is not None):
            raise ValueError(f"the head {name!r} with the thresholds {self.thresholds_}")
        if name != "LabelwiseHead":
            return self._restored_head(name, arrays)
        check_head(arrays, self.classes_, len(self.classes_))
        return LabelwiseHead(arrays["coef"], arrays["intercept"])

    def _restored_head(self, name: str, arrays: dict[str, np.ndarray]) -> Any:
        """Return the fitted head for one label per text, by its class's name and its arrays."""
        raise NotImplementedError
