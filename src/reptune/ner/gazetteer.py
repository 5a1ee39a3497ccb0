"""Two taggers that train nothing, to compare a trained one with (chapter 4)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Self

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from reptune.tags import OUTSIDE, Span, check_sentences, check_tags, from_spans, spans


class MostFrequentTag(BaseEstimator):
    """A tagger that gives each word the tag it had most often; a word never seen is outside.

    What it predicts need not be valid BIO2.

    Attributes:
        tag_of_: `{word: tag}`.

    Source: chapter 4.

    >>> tagger = MostFrequentTag().fit([["Ada", "wrote"]], [["B-PER", "O"]])
    >>> tagger.predict([["Grace", "met", "Ada"]])
    [['O', 'O', 'B-PER']]
    """

    def fit(self, tokens: Iterable[Sequence[str]], tags: Iterable[Sequence[str]]) -> Self:
        """Count each word's tags; among equally frequent ones the first in the alphabet wins."""
        sentences = check_sentences(tokens)
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for words, row in zip(sentences, check_tags(sentences, tags), strict=True):
            for word, tag in zip(words, row, strict=True):
                counts[word][tag] += 1
        self.tag_of_ = {word: _commonest(found) for word, found in counts.items()}
        return self

    def predict(self, tokens: Iterable[Sequence[str]]) -> list[list[str]]:
        """Return one tag per word."""
        check_is_fitted(self, "tag_of_")
        return [
            [self.tag_of_.get(word, OUTSIDE) for word in row] for row in check_sentences(tokens)
        ]


class Gazetteer(BaseEstimator):
    """A list of the entities seen in training; the longest one in a sentence wins.

    An entry is kept where its words were an entity of one type most of the times they occurred:
    *May* is a month more often than a person, so it is not in the list.

    Attributes:
        type_of_: `{words: type}`, the words as a tuple.

    Source: chapter 4.

    >>> tokens, tags = [["I", "met", "Ada", "Lovelace"]], [["O", "O", "B-PER", "I-PER"]]
    >>> Gazetteer().fit(tokens, tags).predict([["Ada", "Lovelace", "wrote", "to", "Ada"]])
    [['B-PER', 'I-PER', 'O', 'O', 'O']]
    """

    def fit(self, tokens: Iterable[Sequence[str]], tags: Iterable[Sequence[str]]) -> Self:
        """List the entities of tagged sentences."""
        sentences = check_sentences(tokens)
        rows = check_tags(sentences, tags)
        counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for words, row in zip(sentences, rows, strict=True):
            for kind, start, end in spans(row):
                counts[tuple(words[start:end])][kind] += 1
        self.type_of_ = {entry: _commonest(found) for entry, found in counts.items()}
        self._longest = max(map(len, self.type_of_), default=0)
        occurred = Counter(entry for words in sentences for _, entry in self._matches(words))
        self.type_of_ = {
            entry: kind
            for entry, kind in self.type_of_.items()
            if 2 * counts[entry][kind] > occurred[entry]
        }
        return self

    def predict(self, tokens: Iterable[Sequence[str]]) -> list[list[str]]:
        """Return one BIO2 tag per word."""
        check_is_fitted(self, "type_of_")
        return [self._tag(words) for words in check_sentences(tokens)]

    def _matches(self, words: Sequence[str]) -> Iterable[tuple[int, tuple[str, ...]]]:
        """Yield every entry in a sentence, by its first word, the longest first."""
        for start in range(len(words)):
            for end in range(min(start + self._longest, len(words)), start, -1):
                if (entry := tuple(words[start:end])) in self.type_of_:
                    yield start, entry

    def _tag(self, words: Sequence[str]) -> list[str]:
        found: list[Span] = []
        free = 0  # index of the first word that no entity has taken
        for start, entry in self._matches(words):
            if start >= free:
                found.append(Span(self.type_of_[entry], start, start + len(entry)))
                free = start + len(entry)
        return from_spans(found, len(words))


def _commonest(counts: Counter[str]) -> str:
    return min(counts, key=lambda name: (-counts[name], name))
