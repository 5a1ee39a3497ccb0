"""Prompt-based fine-tuning: classification as a mask to fill, for few examples (chapter 6).

`PromptTunedClassifier` writes each text into a template with a mask and trains the language model,
masked or causal, to fill it with the word of the right label. No layer is new, so a handful of
examples is enough to start from. With `fast=False` it is plain library code.

The models are in `reptune.cloze.prompt_models`, the search for words in
`reptune.cloze.label_words`, and what both estimators share in `reptune.cloze.base`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.special import logsumexp, softmax
from sklearn.base import RegressorMixin

from reptune.checks import (
    check_labels,
    check_number,
    check_training_set,
    check_validation,
    listed,
)
from reptune.cloze.base import (
    DEFAULT_MODEL,
    HeldOut,
    PromptTuned,
    check_validation_pair,
    with_parameters_of,
)
from reptune.cloze.demonstrations import joined, some_of_each
from reptune.cloze.label_words import search_words
from reptune.cloze.prompt_models import Input, PromptModel, check_inputs
from reptune.cloze.templates import Template
from reptune.estimator import TextClassifier
from reptune.tokens import check_max_length

SEARCH_TEXTS = 64  # texts per class that an automatic search for words reads


class PromptTunedClassifier(TextClassifier, PromptTuned):
    """A language model that classifies by filling a mask, fine-tuned on a few labeled texts.

    Args:
        model: A masked or causal language model: an asset's name, a local folder or a Hub id.
        template: A pattern with `{text}`, `{mask}` and, for pairs, `{text2}`; see
            `reptune.cloze.templates`. For a causal model `{mask}` comes last.
        words: A word for each label, one token each, or a tuple of words for each label, as many
            for every label. A label's logit is the mean of its words' logits, and a solved example
            shows the first of them. `None`: labels that are such words stand for themselves; for
            others `search_words` chooses on the training texts.
        adapter: Low-rank changes and a head to start from. `"auto"` gives all-MiniLM-L6-v2, which
            ships without a head, `REVIEW_START`, and other models none.
        num_steps: Optimizer steps; 0 trains nothing (zero-shot); `None` for `MASKED_STEPS` or
            `CAUSAL_STEPS`.
        learning_rate: Peak rate of AdamW; `None` for `MASKED_RATE` or `CAUSAL_RATE`.
        batch_size: Texts per step, or all where there are fewer.
        weight_decay: AdamW's weight decay, of all but biases and layer norms.
        warmup: Share of the steps during which the rate rises; it then falls towards 0.
        per_class: Solved examples of each class that a prompt shows, drawn from the half of the
            class's training texts that is most similar to the input.
        demonstration_draws: Draws of them over which predicted probabilities are averaged.
        max_length: Tokens per prompt; `None` for what the model takes. Longer ones lose
            demonstrations first, then the end of the input.
        patience: Stop after so many evaluations on `validation` without a better accuracy, and
            return to the best weights; `None` never stops.
        fast: `True` for all of `FAST_OPTIONS`, a tuple of some of them, or `False` for plain
            library code: all logits, float32, the library's dropout.
        device: Where the model runs: `None` for the accelerator, or a name such as `"cpu"`.
        prediction_batch_size: Prompts per batch in prediction; `None` for as many as have 4096
            tokens.
        callbacks: Called with each new record of `history_` as training goes on, such as
            `[print]`.
        random_state: Seed of the order of texts, dropout and demonstrations. The same seed on the
            same CPU and thread count gives the same model, bit for bit.
        show_progress: Show a progress bar while training; `None` where someone watches.

    A saved folder also loads in `transformers.pipeline("fill-mask", folder)`, a causal model's in
    `"text-generation"`.

    Attributes:
        classes_: The labels, sorted, shape `(num_classes,)`.
        words_: The word of each label, or the tuple of its words.
        model_: The fine-tuned `transformers` model.
        tokenizer_: Its tokenizer.
        prompt_model_: Both, as `label_logits` takes them.
        history_: A list of `{"step", "loss"}` and, with `validation`, of `{"step", "eval_loss",
            "eval_accuracy"}`.
        cost_: A `reptune.meter.Meter` with the seconds and memory that search and training took.

    Source: Gao et al., *Making Pre-trained Language Models Better Few-shot Learners* (2021);
    several words per label as in Schick and Schütze, *Exploiting Cloze Questions for Few Shot Text
    Classification* (2021); chapter 6.

    >>> texts = ["a gorgeous , witty film", "i laughed a lot", "an utter bore", "a mess"]
    >>> words = {"negative": "boring", "positive": "fun"}
    >>> classifier = PromptTunedClassifier(words=words, num_steps=2)
    >>> classifier = classifier.fit(texts, ["positive", "positive", "negative", "negative"])
    >>> classifier.predict(["a fine , funny film", "dull and far too long"]).tolist()
    ['positive', 'negative']
    """

    def fit(
        self,
        texts: Iterable[Any],
        labels: Iterable[str | int],
        validation: tuple[Iterable[Any], Iterable[str | int]] | None = None,
    ) -> Self:
        """Fine-tune on labeled texts.

        A `fit` that fails or is interrupted leaves an already fitted object as it was.

        Args:
            texts: The training texts; for a template with `{text2}`, tuples of two.
            labels: One label per text, all strings or all integers.
            validation: Texts and labels scored about five times, for `history_`; they do not
                influence training. With `patience` they are scored `PATIENT_EVALUATIONS` times,
                ten unless a subclass says otherwise, and decide when training stops.

        Raises:
            ValueError: If the input or a parameter is bad; raised before any training.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        template = Template.of(self.template)
        inputs = check_inputs(texts, template)
        if template.pair:
            label_array = check_labels(labels, len(inputs), num_classes=2)
        else:
            _, label_array = check_training_set([text for text, _ in inputs], labels)
        self._check_parameters()
        self._check_patience(validation, "(texts, labels)")
        classes, label_ids = np.unique(label_array, return_inverse=True)
        held_out = _check_held_out(validation, template, classes)
        return self._fit(inputs, classes, label_ids, torch.from_numpy(label_ids), held_out)

    # What follows is plumbing; the chapter shows the lines that matter.

    def _choose_words(
        self,
        prompt_model: PromptModel,
        inputs: list[Input],
        classes: np.ndarray,
        groups: np.ndarray,
        seed: int,
    ) -> Mapping[Any, str | Sequence[str]]:
        if self.words is not None:
            return self.words
        labels = classes.tolist()
        if all(isinstance(label, str) for label in labels):
            own = {label: label for label in labels}
            with contextlib.suppress(ValueError):
                self._word_ids(prompt_model, own, classes)
                return own
        pair = Template.of(self.template).pair
        rows = some_of_each(groups, SEARCH_TEXTS, np.random.default_rng([seed, 3]))
        texts = [inputs[row] if pair else inputs[row][0] for row in rows]
        short = replace(prompt_model, limit=check_max_length(self.max_length, prompt_model.limit))
        return search_words(short, self.template, texts, classes[groups[rows]], top_n=1)[0][0]

    def _evaluate(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        right = logits[np.arange(len(targets)), targets] - logsumexp(logits, axis=1)
        accuracy = (logits.argmax(axis=1) == targets).mean()
        return {"eval_loss": float(-right.mean()), "eval_accuracy": float(accuracy)}


class PromptTunedRegressor(RegressorMixin, PromptTuned):
    """A language model that puts a text on a scale between two words, fine-tuned on a few texts.

    The prediction is `low * P(low word) + high * P(high word)`; training moves P towards the
    target's share of the way, by cross-entropy with these shares.

    Args:
        model: As in `PromptTunedClassifier`, and so are all that are not explained here.
        template: A pattern with `{text}`, `{mask}` and, for pairs, `{text2}`.
        words: The word at the low end and the word at the high end.
        low: The target that the first word stands for.
        high: The target that the second word stands for.
        adapter: Low-rank changes and a head to start from.
        num_steps: Optimizer steps.
        learning_rate: Peak rate.
        batch_size: Texts per step.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises.
        per_class: Solved examples from each half of the scale that a prompt shows.
        demonstration_draws: Draws of them over which predictions are averaged.
        max_length: Tokens per prompt.
        patience: Stop after so many evaluations without a lower mean absolute error.
        fast: Which fast options are on.
        device: Where the model runs.
        prediction_batch_size: Prompts per batch in prediction.
        callbacks: Called with each new record of `history_`.
        random_state: The seed.
        show_progress: Show a progress bar while training.

    Attributes:
        classes_: The two words, shape `(2,)`.
        words_: The same, as a dictionary.
        model_: The fine-tuned `transformers` model.
        tokenizer_: Its tokenizer.
        prompt_model_: Both, as `label_logits` takes them.
        history_: A list of `{"step", "loss"}` and, with `validation`, of `{"step", "eval_loss",
            "eval_mae"}`; the latter is the mean absolute error, in the targets' unit.
        cost_: A `reptune.meter.Meter` with the seconds and memory that training took.

    Source: Gao et al. (2021), section 4.2; chapter 6.

    >>> texts = ["a gorgeous , witty film", "i laughed a lot", "it has its moments", "a mess"]
    >>> regressor = PromptTunedRegressor(low=1, high=5, num_steps=2).fit(texts, [5, 4, 3, 1])
    >>> good, bad = regressor.predict(["a fine , funny film", "dull and far too long"])
    >>> bool(1 <= bad < good <= 5)
    True
    """

    _CRITERION = "eval_mae"
    _GREATER_IS_BETTER = False

    @with_parameters_of(PromptTuned)
    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        template: str | Template = "{text} Is it good ? {mask} .",
        words: Sequence[str] = ("no", "yes"),
        *,
        low: float = 0.0,
        high: float = 1.0,
        **others: Any,
    ) -> None:
        super().__init__(model, template, words, **others)
        self.low = low
        self.high = high

    def fit(
        self,
        texts: Iterable[Any],
        targets: Iterable[float],
        validation: tuple[Iterable[Any], Iterable[float]] | None = None,
    ) -> Self:
        """Fine-tune on texts with numbers.

        A `fit` that fails or is interrupted leaves an already fitted object as it was.

        Args:
            texts: The training texts; for a template with `{text2}`, tuples of two.
            targets: A number from `low` to `high` for each text.
            validation: Texts and targets scored about five times, for `history_`; with
                `patience` ten times, and they decide when training stops.

        Raises:
            ValueError: If the input or a parameter is bad; raised before any training.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        self._check_parameters()
        self._check_patience(validation, "(texts, targets)")
        inputs, shares = self._check_targets(texts, targets)
        held_out = None
        if validation is not None:
            both = check_validation_pair(validation, "(texts, targets)")
            held_out = self._check_targets(*both, "validation ")
        goals = torch.from_numpy(np.column_stack([1 - shares, shares])).float()
        halves = (shares > 0.5).astype(int)
        return self._fit(inputs, np.array(list(self.words)), halves, goals, held_out)

    def predict(self, texts: Iterable[Any]) -> np.ndarray:
        """Return a number from `low` to `high` for each text, shape `(n,)`.

        Args:
            texts: What the template takes, in any iterable; a generator is read in chunks.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If a text is not what the template takes, or there are none.
        """
        ends = np.array([self.low, self.high], dtype=float)
        return np.concatenate(
            [softmax(self._logits(chunk), axis=1) @ ends for chunk in self._chunks(texts)]
        )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if check_number("low", self.low) >= check_number("high", self.high):
            raise ValueError(
                f"low={self.low!r}, high={self.high!r}; use numbers, the lower one as low."
            )
        words = self.words
        if isinstance(words, str | Mapping) or not isinstance(words, Sequence) or len(words) != 2:
            raise ValueError(f"words={words!r}; use two words, the one for `low` first.")
        if not all(isinstance(word, str) for word in words):
            raise ValueError(
                f"words={words!r}; use two strings: a regressor has one word for each end, and "
                "PromptTunedClassifier alone takes several for a label."
            )
        if words[0] == words[1]:
            raise ValueError(f"words={words!r} are the same; use two different words.")

    def _choose_words(
        self,
        prompt_model: PromptModel,
        inputs: list[Input],
        classes: np.ndarray,
        groups: np.ndarray,
        seed: int,
    ) -> Mapping[Any, str]:
        return {word: word for word in classes.tolist()}

    def _check_targets(
        self, texts: Iterable[Any], targets: Iterable[float], what: str = ""
    ) -> HeldOut:
        """Return the inputs, and each target's share of the way from `low` to `high`."""
        inputs = check_inputs(texts, Template.of(self.template), f"{what}texts")
        if isinstance(targets, str | bytes):
            raise ValueError(f"{what}targets={targets!r}; pass a list of numbers, one per text.")
        values = listed(targets, f"{what}targets", "numbers")
        if len(values) != len(inputs):
            raise ValueError(
                f"{len(inputs)} {what}texts but {len(values)} targets; pass one target per text."
            )
        for index, value in enumerate(values):
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not number or not self.low <= value <= self.high:
                raise ValueError(
                    f"{what}targets[{index}] is {value!r}; every target must be a number from "
                    f"low={self.low} to high={self.high}. Set low and high to your scale's ends."
                )
        shares = (np.asarray(values, dtype=float) - self.low) / (self.high - self.low)
        return inputs, shares

    def _evaluate(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        logs = logits - logsumexp(logits, axis=1, keepdims=True)
        loss = -((1 - targets) * logs[:, 0] + targets * logs[:, 1]).mean()
        error = np.abs(np.exp(logs[:, 1]) - targets).mean() * (self.high - self.low)
        return {"eval_loss": float(loss), "eval_mae": float(error)}


def _check_held_out(
    validation: tuple[Iterable[Any], Iterable[Any]] | None,
    template: Template,
    classes: np.ndarray,
) -> HeldOut | None:
    """Return held-out inputs and the indices of their labels in `classes`, or raise."""
    if validation is None:
        return None
    texts, labels = check_validation_pair(validation, "(texts, labels)")
    inputs = check_inputs(texts, template, "validation texts")
    # Only the labels are looked at; the inputs may be pairs, which this check does not know.
    _, label_ids = check_validation((list(map(joined, inputs)), labels), classes)
    return inputs, label_ids
