"""The texts most similar to a text, by the cosine of sentence vectors (chapters 5 and 6).

An example that resembles the input teaches a model more than one drawn at random; both chapters
pick their demonstrations by the order that `Neighbors` gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import reptune.needs_torch  # noqa: F401

import numpy as np
from sentence_transformers import SentenceTransformer

from reptune import runtime
from reptune.checks import check_texts, check_whole_number
from reptune.models.sentence import load_body


class Neighbors:
    """Texts kept as unit vectors, to be put in order of similarity to other texts.

    A text is embedded once in the life of the object: its vector is kept, queries' too. A text
    longer than the encoder reads (256 tokens with all-MiniLM-L6-v2) is cut.

    Args:
        texts: The texts to choose from.
        model: A sentence encoder: an asset's name, a local folder or a Hub id.
        batch_size: Texts embedded at once.

    Raises:
        ValueError: If there are no texts, one is no string, or `batch_size` is no whole number
            above 0.
        reptune.assets.AssetUnavailable: If the model cannot be had.

    >>> near = Neighbors(["the film was dull", "the soup was cold"])
    >>> near.order(["a boring movie"]).tolist()
    [[0, 1]]

    Source: Liu et al., *What Makes Good In-Context Examples for GPT-3?* (2022); Gao et al.,
    *Making Pre-trained Language Models Better Few-shot Learners* (2021), section 6.2; chapters 5
    and 6.
    """

    def __init__(
        self, texts: Iterable[str], model: str | Path = "all-MiniLM-L6-v2", batch_size: int = 64
    ) -> None:
        self._batch_size = check_whole_number("batch_size", batch_size)
        self._texts = check_texts(texts)
        self._encoder = _load_encoder(model)
        self._vectors: dict[str, np.ndarray] = {}
        self._embed(self._texts)

    def similarity(self, queries: Iterable[str]) -> np.ndarray:
        """Return the cosine of each query and each text, shape `(num_queries, num_texts)`, float.

        Raises:
            ValueError: If there are no queries, or one is no string.
        """
        queries = check_texts(queries, what="queries")
        # Each different text once: a matrix product may round equal rows differently, by where
        # they stand, and equal texts would no longer tie.
        (rows, row_of), (columns, column_of) = self._embed(queries), self._embed(self._texts)
        return np.clip(rows @ columns.T, -1.0, 1.0)[np.ix_(row_of, column_of)]

    def order(self, queries: Iterable[str]) -> np.ndarray:
        """Return the indices of the texts, the most similar first.

        Texts that are equally similar come in the order of their indices.

        Returns:
            Shape `(num_queries, num_texts)`, int.

        Raises:
            ValueError: If there are no queries, or one is no string.
        """
        return _descending(self.similarity(queries))

    def order_of_fitted(self) -> np.ndarray:
        """Return the same for the kept texts, each text's own index last.

        A copy of the text at another index is another text, and comes early.

        Returns:
            Shape `(num_texts, num_texts)`, int; without the last column, no text is its own
            neighbor.
        """
        similarity = self.similarity(self._texts)
        np.fill_diagonal(similarity, -np.inf)
        return _descending(similarity)

    def _embed(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors of the different texts, and for each text the row of its vector."""
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        new = [text for text in rows if text not in self._vectors]
        if new:
            with runtime.quiet():
                vectors = self._encoder.encode(
                    new,
                    batch_size=self._batch_size,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                )
            self._vectors.update(zip(new, vectors, strict=True))
        return np.stack([self._vectors[text] for text in rows]), np.array([rows[t] for t in texts])


def _load_encoder(model: str | Path) -> SentenceTransformer:
    # Weights that a plain encoder lacks, and a mean does not read, are drawn at random: seeded,
    # so that the caller's generators stay as they are.
    with runtime.quiet(), runtime.seeded(0):
        return load_body(model)


def _descending(similarity: np.ndarray) -> np.ndarray:
    return np.argsort(-similarity, axis=1, kind="stable")
