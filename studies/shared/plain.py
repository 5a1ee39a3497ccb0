"""Fine-tuning as the library's documentation shows it: the slow reference of the speed studies."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from reptune import assets
from reptune.training import freeze


def arguments(folder: str, random_state: int, learning_rate: float, **changes: Any) -> Any:
    """Return `TrainingArguments` of the library's defaults, less what it would write and say."""
    return TrainingArguments(
        folder,
        learning_rate=learning_rate,
        per_device_train_batch_size=16,
        weight_decay=0.01,
        warmup_steps=0.1,
        seed=random_state,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **changes,
    )


class PlainClassifier:
    """`Trainer` in its default order, padded to the longest text of a batch, in float32.

    Args:
        strategy: `train_sampling_strategy`: `"random"`, or `"group_by_length"`.
    """

    def __init__(
        self,
        model: str,
        trainable: Any,
        strategy: str,
        num_epochs: int,
        learning_rate: float,
        random_state: int,
    ) -> None:
        self.path = assets.resolve_model(model)
        self.trainable, self.strategy = trainable, strategy
        self.num_epochs, self.learning_rate = num_epochs, learning_rate
        self.random_state = random_state

    def fit(self, texts: list[str], labels: np.ndarray) -> PlainClassifier:
        """Train on texts and label ids."""
        set_seed(self.random_state)
        tokenizer = AutoTokenizer.from_pretrained(self.path)
        model = AutoModelForSequenceClassification.from_pretrained(
            self.path, num_labels=len(set(labels.tolist()))
        )
        dataset = Dataset.from_dict({"text": texts, "label": labels.tolist()})
        dataset = dataset.map(lambda batch: tokenizer(batch["text"], truncation=True), batched=True)
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                freeze(model, self.trainable),
                arguments(
                    folder,
                    self.random_state,
                    self.learning_rate,
                    num_train_epochs=self.num_epochs,
                    train_sampling_strategy=self.strategy,
                ),
                train_dataset=dataset,
                data_collator=DataCollatorWithPadding(tokenizer),
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        self.model_, self.tokenizer_ = model.eval(), tokenizer
        return self

    @torch.inference_mode()
    def predict(self, texts: list[str]) -> np.ndarray:
        """Return the label id of each text."""
        found = []
        for start in range(0, len(texts), 64):
            batch = self.tokenizer_(
                texts[start : start + 64], truncation=True, padding=True, return_tensors="pt"
            )
            found.append(self.model_(**batch.to(self.model_.device)).logits.argmax(-1).cpu())
        return torch.cat(found).numpy()
