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
    TrainingArguments,
    set_seed,
)

from reptune import assets


def pretrain(model: str, texts: list[str], num_steps: int, random_state: int) -> int:
    """A text a row, cut at the model's limit and padded to the longest of its batch of 16.

    Returns:
        How many word pieces went through the model, padding and special tokens left out.
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
        arguments = TrainingArguments(
            folder, max_steps=num_steps, learning_rate=2e-4, per_device_train_batch_size=16,
            weight_decay=0.01, warmup_steps=0.1, seed=random_state, save_strategy="no",
            report_to="none", disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = Trainer(masked, arguments, train_dataset=rows, data_collator=collate)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return sum(seen[:num_steps])
