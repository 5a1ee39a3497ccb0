"""A sentence transformer's token ids and embeddings, with gradients and without (chapter 2)."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from tqdm import tqdm

from reptune import runtime, training
from reptune.estimator import PREDICTION_BATCH_SIZE
from reptune.tokens import batches_by_length, position_limit

CHUNK_SIZE = 8  # texts of similar length that are encoded together within a step


def token_ids(
    body: SentenceTransformer, texts: list[str], max_length: int | None
) -> list[list[int]]:
    """Return the token ids of each text, cut at the body's length.

    Args:
        body: A sentence transformer, whose length `set_length` set.
        texts: The texts.
        max_length: As the user gave it; where it is `None`, a warning says how many were cut.
    """
    encoded = body.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
    length = body.max_seq_length
    too_long = sum(len(ids) > length for ids in encoded)
    if not too_long:
        return encoded
    if max_length is None:
        warnings.warn(
            f"{too_long} of {len(texts)} texts are longer than the model's setting of {length} "
            f"tokens and were cut; set max_length={length} to accept that silently.",
            stacklevel=4,
        )
    return body.tokenizer(texts, truncation=True, max_length=length)["input_ids"]


@torch.inference_mode()
def embed(
    body: SentenceTransformer,
    encoded: list[list[int]],
    batch_size: int | None = None,
    show_progress: bool = False,
) -> np.ndarray:
    """Return embeddings without gradients, shape `(n, dimensions)`.

    Args:
        body: The sentence transformer, which is left in eval mode.
        encoded: Token ids of each text.
        batch_size: Texts of similar length per batch; `None` takes `PREDICTION_BATCH_SIZE`.
        show_progress: Show a progress bar.
    """
    body.eval()
    encode = Encoder(body, encoded)
    # Among texts of one length the last comes first: another order would round otherwise.
    last = len(encoded) - 1
    lengths = [len(ids) for ids in reversed(encoded)]
    embeddings = None
    bar = tqdm(
        total=len(encoded), desc="embedding", unit="text", leave=False, disable=not show_progress
    )
    with bar:
        for batch in batches_by_length(lengths, batch_size or PREDICTION_BATCH_SIZE):
            rows = [last - index for index in batch]
            vectors = encode(rows).cpu().numpy()
            if embeddings is None:
                embeddings = np.empty((len(encoded), vectors.shape[1]), np.float32)
            embeddings[rows] = vectors
            bar.update(len(rows))
    return embeddings


class Body(nn.Module):
    """A sentence transformer laid out as `reptune.training` expects a model to be.

    So freezing, frozen states and cheap dropout, which are written for classifiers, work on it.
    """

    base_model_prefix = "encoder"

    def __init__(self, transformer: SentenceTransformer) -> None:
        super().__init__()
        self.encoder = transformer[0].auto_model
        self.rest = nn.ModuleList(list(transformer)[1:])  # pooling, in some models dense layers
        self._transformer = [transformer]  # in a list, so that it is no submodule of its own

    @property
    def base_model(self) -> nn.Module:
        """The encoder, under the name that `transformers` gives it."""
        return self.encoder

    @property
    def config(self) -> Any:
        """The encoder's configuration."""
        return self.encoder.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.encoder.device

    def forward(self, **features: torch.Tensor) -> torch.Tensor:
        """Map a tokenized batch to sentence embeddings, `(texts, dimensions)`."""
        return self._transformer[0](dict(features))["sentence_embedding"]


class Encoder:
    """Embeds texts by their indices, with gradients, in chunks of similar length.

    Args:
        transformer: The sentence transformer.
        encoded: Token ids of each text.
        states: What the frozen blocks make of each text, or `None`.
        fast: The options in force.
    """

    def __init__(
        self,
        transformer: SentenceTransformer,
        encoded: list[list[int]],
        states: training.FrozenStates | None = None,
        fast: Collection[str] = (),
    ) -> None:
        self.body = Body(transformer)
        self._tokenizer = transformer.tokenizer
        self._encoded, self._states = encoded, states
        self._chunk_size = CHUNK_SIZE if "length_buckets" in fast else None
        self._half = "half_precision" in fast
        limit = position_limit(self.body.encoder)
        self._multiple = training.padding_multiple(fast, limit) if limit else None

    def __call__(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the embeddings of some texts, shape `(len(rows), dimensions)`."""
        chunks = [list(range(len(rows)))]
        if self._chunk_size:
            # By negative lengths, so that the shortest come first.
            shortness = [-len(self._encoded[row]) for row in rows]
            chunks = list(batches_by_length(shortness, self._chunk_size))
        # Half precision ends here: cosines near 1 need all the digits float32 has.
        with runtime.half_precision(self.body.device, self._half):
            parts = [self._embed([int(rows[index]) for index in chunk]) for chunk in chunks]
        back = torch.from_numpy(np.argsort(np.concatenate(chunks)))
        return torch.cat(parts)[back.to(parts[0].device)]

    def _embed(self, rows: list[int]) -> torch.Tensor:
        features = self._tokenizer.pad(
            {"input_ids": [self._encoded[row] for row in rows]},
            pad_to_multiple_of=self._multiple,
            return_tensors="pt",
        ).to(self.body.device)
        if self._states is not None:
            states = self._states.take(rows, features["input_ids"].shape[1])
            self._states.give(states.to(self.body.device))
        return self.body(**features).float()
