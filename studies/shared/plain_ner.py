"""A tagger as the library's documentation shows it: the slow reference of `ch04_speed`."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    PrinterCallback,
    Trainer,
    pipeline,
    set_seed,
)

from reptune import assets
from shared.plain import arguments


def _outside_first(tag: str) -> tuple[str, str]:
    """The order of `EntityTagger`'s tags, so that both start from the same new layer."""
    return tag[2:], tag


class PlainTagger:
    """`Trainer` in its default order, padded to the longest sentence of a batch, in float32.

    Args:
        strategy: `train_sampling_strategy`: `"random"`, or `"group_by_length"`.
    """

    def __init__(
        self, model: str, strategy: str, num_epochs: int, learning_rate: float, random_state: int
    ) -> None:
        self.path = assets.resolve_model(model)
        self.strategy, self.num_epochs = strategy, num_epochs
        self.learning_rate, self.random_state = learning_rate, random_state

    def fit(self, tokens: list[list[str]], tags: list[list[str]]) -> PlainTagger:
        """Train on the words of sentences and their tags."""
        set_seed(self.random_state)
        labels = sorted({tag for row in tags for tag in row}, key=_outside_first)
        self.tokenizer_ = AutoTokenizer.from_pretrained(self.path)
        self.model_ = AutoModelForTokenClassification.from_pretrained(
            self.path,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={tag: index for index, tag in enumerate(labels)},
        )
        dataset = Dataset.from_dict(
            {"tokens": tokens, "tags": [[labels.index(tag) for tag in row] for row in tags]}
        )
        dataset = dataset.map(self._align, batched=True, remove_columns=dataset.column_names)
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                self.model_,
                arguments(
                    folder,
                    self.random_state,
                    self.learning_rate,
                    num_train_epochs=self.num_epochs,
                    train_sampling_strategy=self.strategy,
                ),
                train_dataset=dataset,
                data_collator=DataCollatorForTokenClassification(self.tokenizer_),
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        self.model_.eval()
        return self

    def _align(self, batch: dict[str, Any]) -> dict[str, Any]:
        encoded = self.tokenizer_(batch["tokens"], is_split_into_words=True, truncation=True)
        encoded["labels"] = []
        for row, tags in enumerate(batch["tags"]):
            words = encoded.word_ids(row)
            first = [a is not None and a != b for a, b in zip(words, [None, *words], strict=False)]
            encoded["labels"].append(
                [tags[word] if new else -100 for word, new in zip(words, first, strict=True)]
            )
        return encoded

    @torch.inference_mode()
    def predict(self, tokens: list[list[str]]) -> list[list[str]]:
        """Return the tags of each sentence's words."""
        found = []
        for start in range(0, len(tokens), 64):
            batch = self.tokenizer_(
                tokens[start : start + 64], is_split_into_words=True, truncation=True,
                padding=True, return_tensors="pt",
            )  # fmt: skip
            best = self.model_(**batch).logits.argmax(-1)
            for row, sentence in enumerate(tokens[start : start + 64]):
                tags = ["O"] * len(sentence)
                words = batch.word_ids(row)
                for token in reversed(range(len(words))):
                    if words[token] is not None:
                        tags[words[token]] = self.model_.config.id2label[int(best[row, token])]
                found.append(tags)
        return found

    def entities(self, texts: list[str]) -> list[list[dict]]:
        """Return what the stock pipeline finds, one text at a time, as it does by default."""
        tagger = pipeline(
            "token-classification", self.model_, tokenizer=self.tokenizer_,
            aggregation_strategy="first", device="cpu",
        )  # fmt: skip
        return tagger(texts)
