"""The slow reference of chapter 5: one full prompt per input, one forward pass each."""

from __future__ import annotations

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@torch.inference_mode()
def word_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    words: list[str],
) -> np.ndarray:
    """Return the log-likelihood of each one-token label word after each prompt, `(n, words)`."""
    ids = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in words]
    rows = []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt")
        logits = model(input_ids=inputs["input_ids"], logits_to_keep=1).logits[0, -1]
        rows.append(logits.log_softmax(dim=-1)[[one for [one] in ids]].tolist())
    return np.array(rows)
