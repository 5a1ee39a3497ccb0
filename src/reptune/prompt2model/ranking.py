"""Two ways to score documents for a query, by words and by vectors, and their sum (chapter 7)."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import reptune.needs_torch  # noqa: F401

import numpy as np

from reptune import assets, runtime
from reptune.models.sentence import load_body
from reptune.prompt2model.catalog import words_of, write_whole

_FORMAT = 1  # of the vectors kept
# Too frequent in instructions to say what a task is about.
_STOP_WORDS = frozenset(
    "a an and are as at be by for from given has have if in into is it its of on or that the "  # noqa: SIM905
    "this to was were whether which will with".split()
)


class WordIndex:
    """Documents scored by the words that they share with a query: BM25.

    Names are split at capitals and signs, words that say nothing are dropped, and so is the "s"
    of a plural.

    Args:
        documents: The texts to search.

    Raises:
        ValueError: If the package `bm25s` is missing.

    >>> index = WordIndex(["Movie reviews", "News by topic", "RottenTomatoes"])
    >>> index.scores("a rotten tomato").argmax(), index.scores("cooking").tolist()
    (np.int64(2), [0.0, 0.0, 0.0])

    Source: Robertson and Zaragoza, *The Probabilistic Relevance Framework: BM25 and Beyond*
    (2009); chapter 7.
    """

    def __init__(self, documents: Sequence[str]) -> None:
        try:
            import bm25s
        except ImportError as error:
            raise ValueError(
                'searching by words needs bm25s; pip install "reptune[prompt2model]"'
            ) from error
        self._size = len(documents)
        words = [_words(text) for text in documents]
        self._known = {word for document in words for word in document}
        self._index = bm25s.BM25()
        if self._known:  # it takes no index without a word
            self._index.index(words, show_progress=False)

    def scores(self, query: str) -> np.ndarray:
        """Return a score per document, float; all 0 where no word of the query is known."""
        words = [word for word in _words(query) if word in self._known]
        return self._index.get_scores(words) if words else np.zeros(self._size)


def _words(text: str) -> list[str]:
    words = [word for word in words_of(text) if word not in _STOP_WORDS]
    return [
        word[:-1] if len(word) > 3 and word.endswith("s") and word[-2] != "s" else word
        for word in words
    ]


class VectorIndex:
    """Documents scored by the cosine of their sentence vector and a query's.

    The documents' vectors are kept in the cache folder, under a hash of the texts and the model.

    Args:
        documents: The texts to search.
        embedder: What gives them vectors; share one to load its model once.

    Raises:
        reptune.assets.AssetUnavailable: If the embedder's model cannot be had.

    >>> index = VectorIndex(["Movie reviews", "News by topic"], Embedder("all-MiniLM-L6-v2"))
    >>> index.scores("opinions on films").argmax()
    np.int64(0)

    Source: Reimers and Gurevych, *Sentence-BERT* (2019); chapter 7.
    """

    def __init__(self, documents: Sequence[str], embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors = embedder.kept(list(documents))

    def scores(self, query: str) -> np.ndarray:
        """Return the cosine of the query and each document, float."""
        if not len(self._vectors):
            return np.zeros(0)
        return self._vectors @ self._embedder.embed([query])[0]


class Embedder:
    """Unit vectors of texts by a frozen sentence encoder, which is loaded when it is first needed.

    Args:
        model: An asset's name, a local folder or a Hub id.

    >>> Embedder("all-MiniLM-L6-v2").embed(["a film", "a movie"]).shape
    (2, 384)
    """

    def __init__(self, model: str | Path) -> None:
        self._source = assets.resolve_model(model)
        self._known: dict[str, np.ndarray] = {}
        self._body = None

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return a vector per text, shape `(num_texts, dimension)`; each text is embedded once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            with runtime.quiet(), runtime.seeded(0):
                self._body = self._body or load_body(self._source)
                vectors = self._body.encode(
                    new, batch_size=64, normalize_embeddings=True, show_progress_bar=False
                )
            self._known |= dict(zip(new, vectors, strict=True))
        return np.stack([self._known[text] for text in texts])

    def kept(self, texts: Sequence[str]) -> np.ndarray:
        """Return the same, from the cache folder where these texts were embedded before.

        Only an asset's vectors are kept: its folder says by a hash which weights it holds, and
        those of another folder may change.
        """
        if not texts:
            return np.empty((0, 0), dtype=np.float32)
        if not Path(self._source).is_relative_to(assets.cache_dir() / "assets"):
            return self.embed(texts)
        content = json.dumps([_FORMAT, str(self._source), *texts])
        digest = hashlib.sha256(content.encode()).hexdigest()
        path = assets.cache_dir() / "catalog" / f"vectors-{digest[:16]}.npy"
        try:
            vectors = np.load(path, allow_pickle=False)
            if vectors.ndim == 2 and len(vectors) == len(texts):
                return vectors
        except (OSError, ValueError, EOFError):
            pass  # not there, or cut off: made anew
        vectors = self.embed(texts)
        buffer = io.BytesIO()
        np.save(buffer, vectors, allow_pickle=False)
        write_whole(path, buffer.getvalue())
        return vectors


def z_scores(scores: np.ndarray) -> np.ndarray:
    """Return how many standard deviations each score lies above the mean; 0 where all are equal.

    So scores of different kinds can be summed.

    >>> z_scores(np.array([1.0, 3.0])), z_scores(np.array([2.0, 2.0]))
    (array([-1.,  1.]), array([0., 0.]))
    """
    spread = scores.std() if scores.size else 0.0
    return (scores - scores.mean()) / spread if spread > 0 else np.zeros(scores.shape)
