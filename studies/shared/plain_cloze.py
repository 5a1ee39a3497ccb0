"""The slow reference of chapter 6: prompts as strings, all logits of all positions, float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def mask_logits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    words: Sequence[str],
) -> torch.Tensor:
    """Return the logits of each word at the mask of each prompt, `(n, words)`."""
    ids = [tokenizer.convert_tokens_to_ids(word) for word in words]
    batch = tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
    rows, mask = (batch["input_ids"] == tokenizer.mask_token_id).nonzero(as_tuple=True)
    return model(**batch).logits[rows, mask][:, ids]


@torch.inference_mode()
def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    words: Sequence[str],
    batch_size: int = 32,
) -> np.ndarray:
    """Return the same for any number of prompts, in batches as they come."""
    model.eval()
    batches = [prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size)]
    return torch.cat([mask_logits(model, tokenizer, batch, words) for batch in batches]).numpy()


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    labels: Sequence[int],
    words: Sequence[str],
    *,
    num_steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Take steps of AdamW on the cross-entropy of the words' logits, the rate falling to 0."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, num_steps)
    model.train()
    order: list[int] = []
    for _ in range(num_steps):
        order = order if len(order) >= batch_size else torch.randperm(len(prompts)).tolist()
        rows, order = order[:batch_size], order[batch_size:]
        logits = mask_logits(model, tokenizer, [prompts[row] for row in rows], words)
        loss = torch.nn.functional.cross_entropy(
            logits, torch.tensor([labels[row] for row in rows])
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
