"""The words that stand for labels, found by what an untrained model expects (chapter 6).

`candidate_words` are the words that a model expects at the mask of each class's texts, and
`search_words` tries their combinations. Nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from reptune.checks import check_labels, check_whole_number, did_you_mean
from reptune.cloze.prompt_models import PromptModel, check_inputs
from reptune.cloze.ranking import calibrated_scores, grade, log_probabilities
from reptune.cloze.templates import Template, check_mask, vocabulary_words, word_tokens

RANKINGS = ("accuracy", "likelihood")
MAX_COMBINATIONS = 100_000  # of words that are all tried; beyond, the best `BEAM` go on
BEAM = 200


def candidate_words(
    prompt_model: PromptModel,
    template: str | Template,
    texts: Iterable[Any],
    labels: Iterable[str | int],
    top_k: int = 100,
) -> dict[Any, list[tuple[str, float]]]:
    """Return the words that the untrained model expects at the mask of each class's texts.

    Args:
        prompt_model: The model.
        template: What the texts fill.
        texts: Labeled texts, or pairs of them.
        labels: One per text.
        top_k: Words per class.

    Returns:
        For each label `(word, score)`, the best first. The score is the sum over the class's texts
        of log P(word at the mask | text), in nats.

    Raises:
        ValueError: If the input is bad, or the template does not suit the model.

    Source: Gao et al. (2021), section 5.1; chapter 6.
    """
    candidates = _Candidates(prompt_model, template, texts, labels, top_k)
    return {
        label: [(candidates.words[column], float(sums[column])) for column in columns]
        for label, sums, columns in zip(
            candidates.classes.tolist(), candidates.sums, candidates.columns, strict=True
        )
    }


def search_words(
    prompt_model: PromptModel,
    template: str | Template,
    texts: Iterable[Any],
    labels: Iterable[str | int],
    top_k: int = 20,
    top_n: int = 10,
    by: str = "accuracy",
) -> list[tuple[dict[Any, str], float]]:
    """Return the words for the labels with which the untrained model classifies best.

    All combinations of the classes' `candidate_words` are tried; where these are more than
    `MAX_COMBINATIONS`, classes are added one by one and the best `BEAM` combinations go on.

    Args:
        prompt_model: The model.
        template: What the texts fill.
        texts: Labeled texts, or pairs of them.
        labels: One per text.
        top_k: Candidates per class.
        top_n: Combinations to return.
        by: What ranks the combinations. `"accuracy"` on the given texts, as published; of a few
            texts many combinations have the same, and a word that the model expects everywhere
            decides much of it. `"likelihood"`: the mean log probability of the right label among
            the labels' words, after each word's log probabilities were calibrated, as in
            `reptune.cloze.rank_templates`; it takes the labels to be about equally frequent.

    Returns:
        `(words, score)`, the best first. The score is the accuracy, whose ties the mean log
        probability of the right label decides, without calibration; or the likelihood, in nats,
        whose ties the accuracy decides, both calibrated.

    Raises:
        ValueError: If the input or `by` is bad, the template does not suit the model, or `top_k` is
            too small to give each label a word of its own.

    Source: Gao et al. (2021), section 5.1; the calibration is that of Zhou et al., *Batch
    Calibration* (2024); chapter 6.
    """
    top_n = check_whole_number("top_n", top_n)
    _check_ranking(by)
    candidates = _Candidates(prompt_model, template, texts, labels, top_k)
    scores = candidates.scores if by == "accuracy" else calibrated_scores(candidates.scores)
    combinations, grades = best_combinations(
        scores, candidates.label_ids, candidates.columns, top_n, by
    )
    labels = candidates.classes.tolist()
    return [
        (dict(zip(labels, (candidates.words[column] for column in row), strict=True)), graded)
        for row, graded in zip(combinations.tolist(), grades.tolist(), strict=True)
    ]


def best_combinations(
    scores: np.ndarray,
    label_ids: np.ndarray,
    candidates: Sequence[Sequence[int]],
    top_n: int,
    by: str = "accuracy",
) -> tuple[np.ndarray, np.ndarray]:
    """Choose a column for each class so that the largest of them names the class most often.

    Args:
        scores: Log probabilities of words, calibrated or not, shape `(n, num_words)`.
        label_ids: Index of the right class of each row, shape `(n,)`.
        candidates: For each class the columns to choose from; a column serves one class only.
        top_n: Combinations to return.
        by: `"accuracy"`, or `"likelihood"` for the mean log probability of the right class among
            the chosen columns; the other one decides ties.

    Returns:
        The combinations, best first, shape `(at most top_n, num_classes)`, and their accuracies or
        likelihoods.

    Raises:
        ValueError: If there are too few columns for every class to have its own, or `by` is
            unknown.
    """
    _check_ranking(by)
    whole = math.prod(map(len, candidates)) <= MAX_COMBINATIONS
    kept = np.empty((1, 0), dtype=int)
    for count, columns in enumerate(candidates, start=1):
        added = np.tile(np.asarray(columns, dtype=int), len(kept))
        kept = np.column_stack([np.repeat(kept, len(columns), axis=0), added])
        kept = kept[[len(set(row)) == count for row in kept.tolist()]]
        if not len(kept):
            raise ValueError("too few words for every label to have its own; raise top_k.")
        if count == len(candidates) or not whole:
            rows = label_ids < count
            first, second = grade(scores[rows], label_ids[rows], kept)
            if by == "likelihood":
                first, second = second, first
            best = np.lexsort((-second, -first))
            best = best[: top_n if count == len(candidates) else BEAM]
            kept, first = kept[best], first[best]
    return kept, first


def _check_ranking(by: str) -> None:
    if by not in RANKINGS:
        hint = did_you_mean(str(by), RANKINGS)
        raise ValueError(f"by={by!r} is unknown{hint}; use 'accuracy' or 'likelihood'.")


class _Candidates:
    """Every word's log probability at every text's mask, and each class's best words.

    Attributes:
        classes: The labels, sorted.
        label_ids: Index of each text's label in them, shape `(n,)`.
        words: The words, one per column.
        scores: Log probabilities, shape `(n, num_words)`.
        sums: The same summed by class, shape `(num_classes, num_words)`.
        columns: For each class the columns of its best words.
    """

    def __init__(
        self,
        prompt_model: PromptModel,
        template: str | Template,
        texts: Iterable[Any],
        labels: Iterable[str | int],
        top_k: int,
    ) -> None:
        top_k = check_whole_number("top_k", top_k)
        template = Template.of(template)
        inputs = check_inputs(texts, template)
        label_array = check_labels(labels, len(inputs), num_classes=2)
        check_mask(template, prompt_model.tokenizer, prompt_model.causal)
        self.classes, self.label_ids = np.unique(label_array, return_inverse=True)
        known = vocabulary_words(
            prompt_model.tokenizer, causal=prompt_model.causal, template=template
        )
        size = prompt_model.model.get_output_embeddings().weight.shape[0]
        known = {token_id: word for token_id, word in known.items() if token_id < size}
        self._token_ids, self.words = list(known), list(known.values())
        self.scores = log_probabilities(prompt_model, template, inputs, self._token_ids)
        self.sums = np.stack(
            [
                self.scores[self.label_ids == label_id].sum(axis=0, dtype=float)
                for label_id in range(len(self.classes))
            ]
        )
        self.columns = self._best(prompt_model, template, top_k)

    def _best(self, prompt_model: PromptModel, template: Template, top_k: int) -> list[list[int]]:
        usable: dict[int, bool] = {}
        columns: list[list[int]] = []
        for sums in self.sums:
            best: list[int] = []
            for column in np.argsort(-sums, kind="stable").tolist():
                if column not in usable:
                    written = word_tokens(
                        self.words[column],
                        prompt_model.tokenizer,
                        causal=prompt_model.causal,
                        template=template,
                    )
                    usable[column] = written == [self._token_ids[column]]
                if usable[column]:
                    best.append(column)
                if len(best) == top_k:
                    break
            columns.append(best)
        return columns
