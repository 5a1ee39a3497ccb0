"""Masked-LM pretraining as the libraries' documentation shows it: the slow reference."""

from __future__ import annotations

import tempfile

from datasets import Dataset
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    PrinterCallback,
    Trainer,
    set_seed,
)

from reptune import assets
from shared.plain import arguments


def pretrain(model: str, texts: list[str], num_steps: int, random_state: int) -> int:
    """Train on a text per row, cut at the model's limit, padded to the longest of its batch of 16.

    Returns:
        How many tokens went through the model, padding and special tokens left out.
    """
    set_seed(random_state)
    path = assets.resolve_model(model)
    tokenizer = AutoTokenizer.from_pretrained(path)
    masked = AutoModelForMaskedLM.from_pretrained(path)
    rows = Dataset.from_dict({"text": texts}).map(
        lambda batch: tokenizer(batch["text"], truncation=True, max_length=512),
        batched=True,
        remove_columns="text",
    )
    seen: list[int] = []
    mask = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)

    def collate(examples: list[dict]) -> dict:
        seen.append(sum(len(example["input_ids"]) - 2 for example in examples))
        return mask(examples)

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            masked,
            arguments(folder, random_state, 2e-4, max_steps=num_steps),
            train_dataset=rows,
            data_collator=collate,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return sum(seen[:num_steps])
