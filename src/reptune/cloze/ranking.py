"""How well an untrained model tells labels apart, for ranking templates and words (chapter 6).

Nothing is trained. Accuracy on a few texts ties often and follows the model's general preference
for one of the words; the calibrated likelihood does neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp

from reptune.checks import check_labels
from reptune.cloze.prompt_models import (
    Input,
    PromptModel,
    check_inputs,
    evaluation_batches,
    label_logits,
)
from reptune.cloze.templates import Template, check_mask, encode, word_ids


def rank_templates(
    prompt_model: PromptModel,
    templates: Iterable[str | Template],
    words: Mapping[Any, str | Sequence[str]],
    texts: Iterable[Any],
    labels: Iterable[str | int],
) -> list[tuple[str, float]]:
    """Rank templates by how well the untrained model tells the labels apart in them.

    The score is the calibrated likelihood: of each word's log probabilities at the mask the
    logarithm of their mean over the texts is taken away (`calibrated_scores`), and the score is
    then the mean over the texts of the log probability of the right label among the labels'
    words. Guessing at random gives minus the logarithm of the number of labels.

    Args:
        prompt_model: The model.
        templates: Patterns, such as those that a generator in `reptune.cloze.template_search`
            proposes.
        words: The word that stands for each label, one token each, or a tuple of words for each.
        texts: Labeled texts, or pairs of them, each label about equally often.
        labels: One per text.

    Returns:
        `(pattern, score)` in nats, the best first; where scores tie by accuracy, and then in the
        order given.

    Raises:
        ValueError: If there is no template, one does not suit the model, the texts or the words,
            or the texts or labels are bad. All templates are checked before the model reads a text.

    Source: in place of the accuracy that Gao, Fisch and Chen (2021) rank with before training,
    sections 5.1 and 5.2, the calibration of Zhou et al., *Batch Calibration* (2024); chapter 6.

    >>> from reptune.cloze import load_prompt_model
    >>> from reptune.models.lowrank import REVIEW_START
    >>> prompt_model = load_prompt_model("all-MiniLM-L6-v2", REVIEW_START)
    >>> templates = ["{mask} news : {text}", "{text} {mask} ."]
    >>> words = {0: "terrible", 1: "great"}
    >>> texts, labels = ["a mess", "an utter bore", "a fine film", "witty and warm"], [0, 0, 1, 1]
    >>> for pattern, score in rank_templates(prompt_model, templates, words, texts, labels):
    ...     print(f"{score:.1f}  {pattern}")
    -0.2  {text} {mask} .
    -0.4  {mask} news : {text}
    """
    tried = _check_templates(templates)
    texts = texts if isinstance(texts, str) else list(texts)
    inputs = [check_inputs(texts, template) for template in tried]
    label_array = check_labels(labels, len(inputs[0]), num_classes=2)
    classes, label_ids = np.unique(label_array, return_inverse=True)
    kind = {"tokenizer": prompt_model.tokenizer, "causal": prompt_model.causal}
    for template in tried:
        check_mask(template, **kind)
    token_ids = [word_ids(words, classes, template=template, **kind) for template in tried]
    graded = []
    for template, of_template, ids in zip(tried, inputs, token_ids, strict=True):
        scores = log_probabilities(prompt_model, template, of_template, ids.ravel())
        scores = scores.reshape(len(scores), len(classes), -1).mean(axis=2)  # as `label_logits`
        accuracy, likelihood = grade(
            calibrated_scores(scores), label_ids, np.arange(len(classes))[None]
        )
        graded.append((template.pattern, float(likelihood[0]), float(accuracy[0])))
    best_first = sorted(graded, key=lambda one: (-one[1], -one[2]))
    return [(pattern, likelihood) for pattern, likelihood, _ in best_first]


def calibrated_scores(scores: np.ndarray) -> np.ndarray:
    """Return words' log probabilities, less the logarithm of each word's mean probability.

    A word that the model expects everywhere says little where it expects it. What is left is
    above 0 where a text makes the word more likely than the texts do on average. This takes the
    labels to be about equally frequent; a word of a frequent label would be held down.

    Args:
        scores: Log probabilities of words at the mask of each text, shape `(n, num_words)`.

    Returns:
        The same shape; the mean of `exp` over the texts is 1 for every word.

    Source: Zhou et al., *Batch Calibration* (2024); chapter 6.

    >>> probabilities = np.array([[0.4, 0.02], [0.2, 0.06]])  # means 0.3 and 0.04
    >>> np.exp(calibrated_scores(np.log(probabilities))).round(2)
    array([[1.33, 0.5 ],
           [0.67, 1.5 ]])
    """
    scores = np.asarray(scores, dtype=float)
    return scores - (logsumexp(scores, axis=0) - np.log(len(scores)))


def grade(
    scores: np.ndarray, label_ids: np.ndarray, combinations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how well combinations of words, one for each class, tell the classes apart.

    Args:
        scores: Log probabilities of words, calibrated or not, shape `(n, num_words)`.
        label_ids: Index of the right class of each row, shape `(n,)`.
        combinations: The columns of each class's word, shape `(num_combinations, num_classes)`.

    Returns:
        Accuracy, and the mean log probability of the right class among the words of the
        combination, in nats; each of shape `(num_combinations,)`.
    """
    rows = np.arange(len(label_ids))
    accuracy, likelihood = np.empty((2, len(combinations)))
    size = max(1, 4_000_000 // (combinations.shape[1] * len(label_ids)))
    for start in range(0, len(combinations), size):
        part = slice(start, start + size)
        logits = scores[:, combinations[part]].astype(float)  # (n, combinations, classes)
        accuracy[part] = (logits.argmax(axis=2) == label_ids[:, None]).mean(axis=0)
        right = logits[rows, :, label_ids] - logsumexp(logits, axis=2)
        likelihood[part] = right.mean(axis=0)
    return accuracy, likelihood


def log_probabilities(
    prompt_model: PromptModel,
    template: Template,
    inputs: Sequence[Input],
    token_ids: Sequence[int] | np.ndarray,
) -> np.ndarray:
    """Return log P(token at the mask | input) over the whole vocabulary, shape `(n, num_tokens)`.

    Args:
        prompt_model: The model, which is not trained by it.
        template: What the inputs fill.
        inputs: What `check_inputs` returns.
        token_ids: The tokens.
    """
    kind = {"limit": prompt_model.limit, "causal": prompt_model.causal}
    encoded = [encode(template, prompt_model.tokenizer, *texts, **kind) for texts in inputs]
    columns = torch.as_tensor(token_ids, device=prompt_model.model.device)
    scores = np.empty((len(inputs), len(columns)), np.float32)
    for indices, batch in evaluation_batches(prompt_model, encoded):
        with torch.inference_mode():
            logits = label_logits(prompt_model, batch).float().log_softmax(dim=1)
        scores[indices] = logits[:, columns].cpu().numpy()
    return scores


def _check_templates(templates: Iterable[str | Template]) -> list[Template]:
    """Return the templates in a list, or raise a `ValueError`."""
    if isinstance(templates, str | Template | Mapping) or not isinstance(templates, Iterable):
        raise ValueError(f"templates={templates!r}; pass a list of templates.")
    tried = [Template.of(template) for template in templates]
    if not tried:
        raise ValueError("templates is empty; pass at least 1 template.")
    return tried
