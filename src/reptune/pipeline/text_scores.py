"""Scores of answers and texts against references, each per row, with intervals over the rows.

Exact match, SQuAD's normalized match and token F1, chrF++ and BERTScore (chapter 7). A row may
have several references: then its score is that against the best of them.
"""

from __future__ import annotations

import re
import string
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reptune.checks import check_texts, check_whole_number, listed
from reptune.metrics import Interval, mean_interval, paired_interval
from reptune.pipeline.intervals import difference_interval, share_interval

if TYPE_CHECKING:
    import torch

__all__ = [
    "BertScorer",
    "BertScores",
    "answer_f1",
    "chrf",
    "corpus_chrf",
    "exact_match",
    "normalized_match",
    "text_differences",
    "text_scores",
]

References = Iterable[str | Sequence[str]]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


# --- a row right or wrong, and token F1 ------------------------------------------------------


def exact_match(references: References, predictions: Iterable[str]) -> np.ndarray:
    """Return whether each prediction is one of its references, to the character.

    Args:
        references: A string per row, or several.
        predictions: A string per row.

    Returns:
        Shape `(rows,)`, bool.

    Raises:
        ValueError: If there are no rows, they differ in number, or one is no string.

    >>> exact_match(["Paris", ["1st", "first"]], ["paris", "first"])
    array([False,  True])
    """
    rows, texts = _checked(references, predictions)
    return np.array([text in row for row, text in zip(rows, texts, strict=True)])


def normalized_match(references: References, predictions: Iterable[str]) -> np.ndarray:
    """Return the same after SQuAD's normalization, shape `(rows,)`, bool.

    Lower case, without ASCII punctuation and the words a, an, the, white space folded. Not for
    code, nor where an article is the answer.

    Source: Rajpurkar et al., *SQuAD: 100,000+ Questions* (2016), the exact match; chapter 7.

    >>> normalized_match(["the Eiffel Tower."], [" Eiffel  tower"])
    array([ True])
    """
    rows, texts = _checked(references, predictions)
    return _best(rows, texts, lambda row, text: _normalized(row) == _normalized(text)).astype(bool)


def answer_f1(references: References, predictions: Iterable[str]) -> np.ndarray:
    """Return the F1 of shared words after SQuAD's normalization, shape `(rows,)`.

    Words are what white space divides: of no use for Chinese and Japanese. Nothing against
    nothing is 1.

    Source: as `normalized_match`.

    >>> answer_f1(["in the year 1889"], ["1889"])
    array([0.5])
    """
    rows, texts = _checked(references, predictions)
    return _best(rows, texts, _word_f1)


def _normalized(text: str) -> str:
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def _word_f1(reference: str, text: str) -> float:
    right, given = _normalized(reference).split(), _normalized(text).split()
    if not right or not given:
        return float(right == given)
    return 2 * (Counter(right) & Counter(given)).total() / (len(right) + len(given))


# --- chrF++ ----------------------------------------------------------------------------------


def chrf(references: References, predictions: Iterable[str]) -> np.ndarray:
    """Return the chrF++ of each row, 0 to 100, shape `(rows,)`: sacrebleu's sentence scores.

    F2 of character 1- to 6-grams and word 1- and 2-grams. An empty prediction scores 0, an empty
    reference too, even where both are empty.

    Raises:
        ValueError: As `exact_match`, or if the package `sacrebleu` is missing.

    Source: Popović, *chrF++: words helping character n-grams* (2017); chapter 7.
    """
    rows, texts = _checked(references, predictions)
    metric = _chrf_metric()
    scores = [metric.sentence_score(text, row).score for row, text in zip(rows, texts, strict=True)]
    return np.array(scores)


def corpus_chrf(references: References, predictions: Iterable[str]) -> float:
    """Return the chrF++ of all rows together, 0 to 100, which is what papers print.

    N-grams are counted over the corpus, so that long rows weigh more: not the mean of `chrf`.
    """
    rows, texts = _checked(references, predictions)
    longest = max(map(len, rows))
    columns = [[row[k] if k < len(row) else None for row in rows] for k in range(longest)]
    return float(_chrf_metric().corpus_score(texts, columns).score)


def _chrf_metric() -> Any:
    try:
        from sacrebleu.metrics import CHRF
    except ImportError:
        raise ValueError('chrF++ needs sacrebleu; pip install "reptune[prompt2model]"') from None
    return CHRF(word_order=2)


# --- BERTScore -------------------------------------------------------------------------------


@dataclass(frozen=True)
class BertScores:
    """Precision, recall and F of each row, each of shape `(rows,)`."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


class BertScorer:
    """BERTScore: each token's best cosine among the other text's token vectors, averaged.

    Precision is the mean over the prediction's tokens, recall over the reference's. Special tokens
    are left out. An empty text scores 0, against another empty one 1. Of several references the
    one with the best F counts, with its precision and recall.

    The numbers compare systems under one model and layer. They are **not comparable with published
    values**, which come from XLM-R or RoBERTa, at other layers, often rescaled. All cosines of
    `multilingual-e5-small` are high: in study `ch07_scores` unrelated sentences score 0.71 and
    paraphrases 0.92. It tells paraphrases from unrelated and from cut sentences, but hardly notices
    what keeps the words: a negated copy scores above a paraphrase in six cases of ten, one with
    shuffled words or exchanged names almost always. The model is cased, so that "Apple" and
    "apple" differ; an uncased one such as all-MiniLM-L6-v2 cannot tell them apart.

    Args:
        model: An encoder: an asset's name, a local folder or a Hub id.
        layer: Whose output is compared: 0 the embeddings, 1 the first block; `None` the last block,
            which that study chose for the default model.
        idf: Whether rare tokens weigh more, by their frequency in the references.
        batch_size: Texts encoded at once.
        device: Where the model runs; `None` takes the accelerator.

    Raises:
        ValueError: If there is no such model or layer.
        reptune.assets.AssetUnavailable: If the model cannot be had.

    Source: Zhang et al., *BERTScore: Evaluating Text Generation with BERT* (2020); chapter 7.

    >>> scorer = BertScorer("all-MiniLM-L6-v2", layer=5)
    >>> f1 = scorer.score(["a dull film", "a dull film"], ["a boring movie", "my new car"]).f1
    >>> bool(f1[0] > f1[1])
    True
    """

    def __init__(
        self,
        model: str | Path = "multilingual-e5-small",
        layer: int | None = None,
        idf: bool = False,
        batch_size: int = 32,
        device: str | None = None,
    ) -> None:
        from reptune import runtime
        from reptune.models.sentence import load_body

        self.batch_size = check_whole_number("batch_size", batch_size)
        with runtime.quiet(), runtime.generators_restored():  # a pooler nobody reads is drawn
            self._body = load_body(model, runtime.check_device(device))
        self.num_layers = int(self._body[0].auto_model.config.num_hidden_layers)
        self.layer = self._check_layer(self.num_layers if layer is None else layer)
        self.idf = idf

    def score(self, references: References, predictions: Iterable[str]) -> BertScores:
        """Score each prediction against its references.

        Raises:
            ValueError: If there are no rows, they differ in number, or one is no string.
        """
        return self.score_by_layer(references, predictions, [self.layer])[self.layer]

    def score_by_layer(
        self, references: References, predictions: Iterable[str], layers: Iterable[int]
    ) -> dict[int, BertScores]:
        """Score at several layers for the price of one."""
        chosen = [self._check_layer(layer) for layer in layers]
        rows, texts = _checked(references, predictions)
        ids, vectors = self._encoded([text for row in rows for text in row] + texts, chosen)
        weights = self._weights(rows, ids)
        found = {}
        for depth, layer in enumerate(chosen):
            pairs = [
                max(
                    (
                        _matched(vectors[right][depth], vectors[text][depth],
                                 weights[right], weights[text])
                        for right in row
                    ),
                    key=lambda scores: scores[2],
                )
                for row, text in zip(rows, texts, strict=True)
            ]  # fmt: skip
            found[layer] = BertScores(*np.array(pairs).T)
        return found

    def _check_layer(self, layer: int) -> int:
        if check_whole_number("layer", layer, least=0) > self.num_layers:
            raise ValueError(f"layer={layer}, but the model has {self.num_layers} blocks.")
        return int(layer)

    def _weights(self, rows: list[list[str]], ids: dict[str, list[int]]) -> dict[str, np.ndarray]:
        """Return the weight of each token of each text: 1, or its idf among the references."""
        if not self.idf:
            return {text: np.ones(len(tokens)) for text, tokens in ids.items()}
        documents = [text for row in rows for text in row]
        counts = Counter(token for text in documents for token in set(ids[text]))
        total = len(documents) + 1
        return {
            text: np.array([np.log(total / (counts[token] + 1)) for token in tokens])
            for text, tokens in ids.items()
        }

    def _encoded(
        self, texts: list[str], layers: list[int]
    ) -> tuple[dict[str, list[int]], dict[str, list[np.ndarray]]]:
        """Return each text's token ids and, for each layer, unit vectors `(tokens, width)`."""
        from reptune.tokens import batches_by_length, special_ids

        distinct = list(dict.fromkeys(texts))
        tokenizer = self._body.tokenizer
        before, after = special_ids(tokenizer)
        plain = tokenizer(distinct, add_special_tokens=False, verbose=False)["input_ids"]
        room = int(self._body.max_seq_length) - len(before) - len(after)
        if cut := sum(len(tokens) > room for tokens in plain):
            warnings.warn(f"{cut} texts are cut at {room} tokens for BERTScore.", stacklevel=4)
        plain = [list(tokens[:room]) for tokens in plain]
        vectors: list[list[np.ndarray]] = [[]] * len(distinct)
        for batch in batches_by_length([len(tokens) for tokens in plain], self.batch_size):
            states = self._states([before + plain[index] + after for index in batch], layers)
            for place, index in enumerate(batch):
                inner = slice(len(before), len(before) + len(plain[index]))
                vectors[index] = [state[place, inner].cpu().numpy() for state in states]
        return dict(zip(distinct, plain, strict=True)), dict(zip(distinct, vectors, strict=True))

    def _states(self, encoded: list[list[int]], layers: list[int]) -> list[torch.Tensor]:
        """Return unit hidden states of each layer, `(texts, tokens, width)`."""
        import torch

        from reptune.tokens import pad

        model = self._body[0].auto_model
        ids, mask = pad(encoded, self._body.device, self._body.tokenizer.pad_token_id or 0)
        with torch.inference_mode():
            states = model(
                input_ids=ids, attention_mask=mask, output_hidden_states=True
            ).hidden_states
        return [torch.nn.functional.normalize(states[layer], dim=-1) for layer in layers]


def _matched(
    right: np.ndarray, given: np.ndarray, right_weights: np.ndarray, given_weights: np.ndarray
) -> tuple[float, float, float]:
    """Return precision, recall and F of one pair from its unit token vectors.

    >>> two, one = np.eye(2), np.eye(2)[:1]
    >>> _matched(two, one, np.ones(2), np.ones(1))  # precision 1, recall (1 + 0) / 2
    (1.0, 0.5, 0.6666666666666666)
    """
    if not len(right) or not len(given):
        same = float(len(right) == len(given))
        return same, same, same
    cosines = np.clip(right @ given.T, -1, 1)
    precision = _weighted(cosines.max(axis=0), given_weights)
    recall = _weighted(cosines.max(axis=1), right_weights)
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total > 0 else 0.0


def _weighted(values: np.ndarray, weights: np.ndarray) -> float:
    # Tokens that every reference has weigh nothing; a text of only such tokens counts evenly.
    return float(np.average(values, weights=weights if weights.sum() > 0 else None))


# --- reports ---------------------------------------------------------------------------------


def text_scores(
    references: References,
    predictions: Iterable[str],
    scorer: BertScorer | None = None,
    level: float = 0.95,
    random_state: int = 0,
) -> dict[str, Interval]:
    """Return every score with its interval over rows.

    Args:
        references: A string per row, or several.
        predictions: A string per row.
        scorer: For BERTScore, which is left out for `None`.
        level: Coverage.
        random_state: Seed of the resampling.

    Returns:
        `exact_match` and `normalized_match` with Wilson's intervals; `answer_f1`, `chrf` (the mean
        of rows, 0 to 100) and, with a scorer, `bert_precision`, `bert_recall` and `bert_f1` with
        the bootstrap's.

    Raises:
        ValueError: As `exact_match` and `chrf`.

    >>> scores = text_scores(["yes", "no", "no"], ["yes", "no", "yes"])
    >>> print(scores["exact_match"])
    0.667 [0.208, 0.939]
    """
    rows = _scores_of_rows(references, predictions, scorer)
    return {
        name: share_interval(values, level)
        if values.dtype == bool
        else mean_interval(values, level, random_state)
        for name, values in rows.items()
    }


def text_differences(
    references: References,
    predictions_a: Iterable[str],
    predictions_b: Iterable[str],
    scorer: BertScorer | None = None,
    level: float = 0.95,
    random_state: int = 0,
) -> dict[str, Interval]:
    """Return the difference, A minus B, of every score on the same rows, with its interval.

    Args:
        references: A string per row, or several.
        predictions_a: A string per row.
        predictions_b: The same of the other system.
        scorer: As in `text_scores`.
        level: Coverage.
        random_state: Seed of the resampling.

    Raises:
        ValueError: As `text_scores`.
    """
    references = listed(references, "references", "strings, or lists of strings")
    a = _scores_of_rows(references, predictions_a, scorer)
    b = _scores_of_rows(references, predictions_b, scorer)
    return {
        name: difference_interval(a[name], b[name], level)
        if a[name].dtype == bool
        else paired_interval(a[name], b[name], level, random_state)
        for name in a
    }


def _scores_of_rows(
    references: References, predictions: Iterable[str], scorer: BertScorer | None
) -> dict[str, np.ndarray]:
    rows, texts = _checked(references, predictions)
    measures = (exact_match, normalized_match, answer_f1, chrf)
    found = {measure.__name__: measure(rows, texts) for measure in measures}
    if scorer is not None:
        bert = scorer.score(rows, texts)
        found |= {f"bert_{name}": getattr(bert, name) for name in ("precision", "recall", "f1")}
    return found


# --- rows ------------------------------------------------------------------------------------


def _checked(
    references: References, predictions: Iterable[str]
) -> tuple[list[list[str]], list[str]]:
    """Return the references of each row, one or more, and the predictions."""
    texts = check_texts(predictions, "predictions")
    if isinstance(references, str):
        raise ValueError(f"references is a single string; pass a list: [{references[:40]!r}].")
    rows = [
        check_texts([row] if isinstance(row, str) or row is None else row, f"references[{index}]")
        for index, row in enumerate(listed(references, "references", "strings"))
    ]
    if len(rows) != len(texts):
        raise ValueError(
            f"{len(rows)} references and {len(texts)} predictions; pass a reference, or a list of "
            "them, for each prediction."
        )
    return rows, texts


def _best(
    rows: list[list[str]], texts: list[str], score: Callable[[str, str], float]
) -> np.ndarray:
    """Return each prediction's score against the best of its references."""
    return np.array(
        [
            max(float(score(right, text)) for right in row)
            for row, text in zip(rows, texts, strict=True)
        ]
    )
