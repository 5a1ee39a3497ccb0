"""SetFit as its library's documentation shows it: the slow reference of chapter 2's studies."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import setfit
from datasets import Dataset

from reptune import assets, runtime

setfit.logging.set_verbosity_error()


class StockSetFit:
    """`setfit.Trainer` with its defaults, but for what would reach out or write.

    Args:
        model: An asset's name.
        max_length: Tokens per text, set on the body, where it works.
        random_state: Seed of the trainer.
        changes: Further `setfit.TrainingArguments`.
    """

    def __init__(
        self, model: str, random_state: int, max_length: int | None = None, **changes: Any
    ) -> None:
        self.path = str(assets.resolve_model(model))
        self.random_state, self.max_length, self.changes = random_state, max_length, changes

    def fit(self, texts: list[str], labels: np.ndarray) -> StockSetFit:
        """Train on pairs of texts, then fit the head."""
        model = setfit.SetFitModel.from_pretrained(
            self.path, local_files_only=True, device=str(runtime.device())
        )
        if self.max_length is not None:
            model.model_body.max_seq_length = self.max_length
        with tempfile.TemporaryDirectory() as folder:
            arguments = setfit.TrainingArguments(
                folder,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                show_progress_bar=False,
                seed=self.random_state,
                **self.changes,
            )
            trainer = setfit.Trainer(
                model=model,
                args=arguments,
                train_dataset=Dataset.from_dict({"text": texts, "label": labels.tolist()}),
                metric=lambda predictions, truth: {
                    "accuracy": float(np.mean(predictions == truth))
                },
            )
            trainer.train()
        self.model_ = model
        return self

    def predict(self, texts: list[str]) -> np.ndarray:
        """Return the label of each text."""
        return np.asarray(self.model_.predict(texts, batch_size=64, show_progress_bar=False))
