"""A text classifier that reads the mean of an encoder's states in place of [CLS]."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer, BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from reptune import assets, runtime
from reptune.classification import FineTunedClassifier
from reptune.training import freeze


def mean_states(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of each text's states over its own tokens, `(texts, hidden)`.

    Args:
        states: `(texts, tokens, hidden)`.
        mask: 1 at a text's tokens, 0 at padding, `(texts, tokens)`.
    """
    weights = mask.unsqueeze(-1).to(torch.float32)
    return (states.float() * weights).sum(1) / weights.sum(1)


class MeanPooled(BertPreTrainedModel):
    """BERT without its pooler; a linear layer, behind dropout, reads the mean of the states."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Map token ids `(texts, tokens)` to logits `(texts, classes)`, with a loss for labels."""
        states = self.bert(input_ids, attention_mask, token_type_ids).last_hidden_state
        logits = self.classifier(self.dropout(mean_states(states, attention_mask))).float()
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class MeanPooledClassifier(FineTunedClassifier):
    """`FineTunedClassifier` with another head: trainer, batches and fast options are the same."""

    def _pretrained(self, classes: np.ndarray, several: bool = False) -> tuple:
        source = assets.resolve_model(self.model)
        model = MeanPooled.from_pretrained(
            source,
            num_labels=len(classes),
            problem_type="single_label_classification",
            use_safetensors=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(source)
        return tokenizer, freeze(model, self.trainable).to(runtime.check_device(self.device))
