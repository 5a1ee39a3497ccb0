"""Prompt-based fine-tuning: classification as a gap to fill, for few examples (chapter 6).

`PromptTunedClassifier` writes each text into a template with a gap and trains the language model,
masked or causal, to fill it with the word of the right label. No layer is new, so a handful of
examples is enough to start from. With `fast=False` it is plain library code.

The models are in `reptune.cloze.prompt_models`, the search for words in
`reptune.cloze.label_words`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.special import logsumexp, softmax
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel

from reptune import runtime, training
from reptune.checks import (
    check_finite_weights,
    check_flag,
    check_labels,
    check_number,
    check_optimizer,
    check_random_state,
    check_training_set,
    check_validation,
    check_whole_number,
    listed,
    nearest,
    seed_of,
)
from reptune.cloze.demonstrations import EXAMPLES, Prompts, joined, some_of_each
from reptune.cloze.label_words import search_words
from reptune.cloze.prompt_models import (
    Input,
    PromptModel,
    all_logits,
    check_inputs,
    collate,
    label_logits,
    load_prompt_model,
)
from reptune.cloze.templates import Encoded, Template, check_gap, word_ids
from reptune.cloze.training import Losses, adamw, random_batches, set_rate, share_of_rate
from reptune.estimator import SavedEstimator, TextClassifier, check_vocabulary, check_weights
from reptune.meter import Meter
from reptune.models.lowrank import REVIEW_START

DEFAULT_MODEL = "all-MiniLM-L6-v2"
MASKED_RATE, CAUSAL_RATE = 1e-4, 2e-5
MASKED_STEPS, CAUSAL_STEPS = 60, 60
EVALUATIONS = 5
SEARCH_TEXTS = 64  # texts of a class that an automatic search for words reads


# --- the estimators ------------------------------------------------------------------------------


class _PromptTuned(SavedEstimator):
    """What the classifier and the regressor share: everything but targets and words."""

    FAST_OPTIONS = ("label_rows", "half_precision", "cheap_dropout")
    _FILES = ("config.json", "model.safetensors")

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        template: str | Template = "{text} It was {mask} .",
        words: Any = None,
        *,
        adapter: str | Path | None = "auto",
        num_steps: int | None = None,
        learning_rate: float | None = None,
        batch_size: int = 8,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        num_demonstrations: int = 0,
        demonstration_draws: int = 4,
        max_length: int | None = None,
        fast: bool | Collection[str] = True,
        random_state: int | None = 42,
        show_progress: bool = False,
    ) -> None:
        self.model = model
        self.template = template
        self.words = words
        self.adapter = adapter
        self.num_steps = num_steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.num_demonstrations = num_demonstrations
        self.demonstration_draws = demonstration_draws
        self.max_length = max_length
        self.fast = fast
        self.random_state = random_state
        self.show_progress = show_progress

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    def _options(self) -> frozenset[str]:
        if isinstance(self.fast, bool | np.bool_):
            return frozenset(self.FAST_OPTIONS if self.fast else ())
        known = ", ".join(self.FAST_OPTIONS)
        several = isinstance(self.fast, Iterable) and not isinstance(self.fast, str)
        if not several or not all(isinstance(name, str) for name in self.fast):
            raise ValueError(f"fast={self.fast!r}; use True, False, or some of {known} in a tuple.")
        for name in self.fast:
            if name not in self.FAST_OPTIONS:
                near = nearest(name, self.FAST_OPTIONS)
                hint = f"did you mean {near!r}?" if near else f"use {known}."
                raise ValueError(f"fast holds the unknown option {name!r}; {hint}")
        return frozenset(self.fast)

    def _check_parameters(self) -> None:
        self._options()
        for name, least in (
            ("batch_size", 1), ("num_demonstrations", 0), ("demonstration_draws", 1)
        ):  # fmt: skip
            check_whole_number(name, getattr(self, name), least)
        if self.num_steps is not None:
            check_whole_number("num_steps", self.num_steps, least=0)
        if self.max_length is not None:
            check_whole_number("max_length", self.max_length)
        check_optimizer(self.learning_rate, self.warmup, self.weight_decay)
        check_random_state(self.random_state)
        check_flag("show_progress", self.show_progress)

    def _load(self, template: Template) -> PromptModel:
        adapter = self.adapter
        if adapter == "auto":
            adapter = REVIEW_START if str(self.model) == DEFAULT_MODEL else None
        return self._checked(load_prompt_model(self.model, adapter), template)

    def _checked(self, loaded: PromptModel, template: Template) -> PromptModel:
        """The model, if it can fill the template within `max_length`."""
        check_gap(template, loaded.tokenizer, loaded.causal)
        self._limit(loaded)
        return loaded

    def _limit(self, loaded: PromptModel) -> int:
        if self.max_length is not None and self.max_length > loaded.limit:
            raise ValueError(
                f"max_length={self.max_length}, but the model takes at most {loaded.limit} pieces; "
                f"lower it, or use None for {loaded.limit}."
            )
        return self.max_length or loaded.limit

    def _prompts_for(
        self,
        loaded: PromptModel,
        words: Sequence[str],
        examples: Sequence[Input],
        groups: np.ndarray,
        seed: int,
    ) -> Prompts:
        return Prompts(
            loaded,
            Template.of(self.template),
            words,
            limit=self._limit(loaded),
            per_class=self.num_demonstrations,
            examples=examples,
            groups=groups,
            seed=seed,
        )

    def _train(
        self,
        prompts: Prompts,
        ids: np.ndarray,
        targets: torch.Tensor,
        score: Callable[[], dict[str, float]] | None,
    ) -> list[dict[str, float]]:
        """Train in place; return the history. `score()` looks at held-out texts."""
        loaded, losses = prompts.prompt_model, Losses()
        num_steps, rate = self._plan(loaded.causal)
        prompts.prepare()
        if not prompts.per_class:  # each prompt stays the same; count it once
            losses.add(prompts.alone)
        optimizer = adamw(loaded.model, rate, self.weight_decay)
        looks = set(np.linspace(0, num_steps, EVALUATIONS + 1, dtype=int)[1:])
        history: list[dict[str, float]] = []
        bar = tqdm(
            total=num_steps, desc="prompt-based fine-tuning", unit="step", leave=False,
            disable=not self.show_progress,
        )  # fmt: skip
        with bar, self._dropout(loaded.model):
            batches = random_batches(
                len(prompts.examples), self.batch_size, num_steps, prompts.seed
            )
            for step, rows in enumerate(batches, start=1):
                shown = prompts.training(rows, step)
                if prompts.per_class:
                    losses.add(shown)
                set_rate(optimizer, rate * share_of_rate(step, num_steps, self.warmup))
                loss = self._step(loaded, optimizer, shown, ids, targets[rows])
                history.append({"step": step, "loss": loss})
                bar.update()
                if score is not None and step in looks:
                    history.append({"step": step, **score()})
        check_finite_weights(loaded.model)
        losses.warn(prompts.limit, self.max_length is not None)
        loaded.model.eval()
        return history

    def _plan(self, causal: bool) -> tuple[int, float]:
        """How many steps, and the peak rate."""
        num_steps, rate = (CAUSAL_STEPS, CAUSAL_RATE) if causal else (MASKED_STEPS, MASKED_RATE)
        return num_steps if self.num_steps is None else self.num_steps, self.learning_rate or rate

    def _dropout(self, model: PreTrainedModel) -> contextlib.AbstractContextManager:
        if "cheap_dropout" in self._options():
            return training.cheap_dropout(model)
        return contextlib.nullcontext()

    def _step(
        self,
        loaded: PromptModel,
        optimizer: torch.optim.Optimizer,
        shown: Sequence[Encoded],
        ids: np.ndarray,
        targets: torch.Tensor,
    ) -> float:
        """One step; return its loss: cross-entropy over the label words' logits alone."""
        fast, model = self._options(), loaded.model
        # float16 would need its losses scaled; bfloat16 has the range of float32.
        half = "half_precision" in fast and bool(runtime.precision()["bf16"])
        multiple = training.padding_multiple(fast if half else (), loaded.limit)
        model.train()
        batch = collate(loaded, shown, multiple)
        with runtime.half_precision(model.device, half):
            logits = label_logits(loaded, batch, ids, "label_rows" in fast)
        loss = nn.functional.cross_entropy(logits.float(), targets.to(model.device))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    def _scores(
        self, prompts: Prompts, ids: np.ndarray, inputs: Sequence[Input], quiet: bool = False
    ) -> np.ndarray:
        """Logits, or logarithms of the probabilities averaged over draws, `(n, num_labels)`."""
        losses, rows = Losses(), "label_rows" in self._options()
        if prompts.per_class:
            shares = [
                softmax(all_logits(prompts.prompt_model, losses.add(shown), ids, rows), axis=1)
                for shown in prompts.draws(inputs, self.demonstration_draws)
            ]
            found = np.log(np.maximum(np.mean(shares, axis=0), np.finfo(float).tiny))
        else:
            found = all_logits(prompts.prompt_model, losses.add(prompts.plain(inputs)), ids, rows)
        if not quiet:
            losses.warn(prompts.limit, self.max_length is not None)
        return found

    def _keep(self, prompts: Prompts, ids: np.ndarray, classes: np.ndarray) -> None:
        """Make the result of a `fit` or `load` this object's own."""
        loaded = prompts.prompt_model
        self._prompts, self._ids, self.classes_ = prompts, ids, classes
        self.prompt_model_, self.model_, self.tokenizer_ = loaded, loaded.model, loaded.tokenizer
        self.words_ = dict(zip(classes.tolist(), prompts.words, strict=True))

    def _write(self, folder: Path) -> None:
        self.model_.save_pretrained(folder)
        self.tokenizer_.save_pretrained(folder)
        if self._prompts.per_class:
            groups = self._prompts.groups.tolist()
            rows = [
                [*one, group] for one, group in zip(self._prompts.examples, groups, strict=True)
            ]
            (folder / EXAMPLES).write_text(json.dumps(rows), encoding="utf-8")

    def _manifest(self) -> dict[str, Any]:
        manifest = super()._manifest()
        params = manifest["params"]
        params["template"] = str(self.template)
        params["adapter"] = None if self.adapter is None else str(self.adapter)
        return manifest | {"words": self._prompts.words, "seed": self._prompts.seed}

    def _read(self, folder: Path, manifest: dict[str, Any]) -> None:
        self._check_parameters()
        words, classes = manifest.get("words"), self.classes_
        if not isinstance(words, list) or len(words) != len(classes):
            raise ValueError(f"words={words!r} in the manifest for {len(classes)} classes")
        seed = check_whole_number("seed in the manifest", manifest.get("seed"), least=0)
        template = Template.of(self.template)
        inputs, groups = [], []
        if self.num_demonstrations:
            rows = json.loads((folder / EXAMPLES).read_text(encoding="utf-8"))
            inputs, groups = _read_examples(rows, template, len(words))
        loaded = self._checked(load_prompt_model(folder), template)
        check_weights(folder, loaded.model)
        embeddings = loaded.model.get_input_embeddings().num_embeddings
        check_vocabulary(loaded.tokenizer, embeddings)
        prompts = self._prompts_for(loaded, words, inputs, np.array(groups, dtype=int), seed)
        by_label = dict(zip(classes.tolist(), words, strict=True))
        ids = word_ids(
            by_label, classes, loaded.tokenizer, causal=loaded.causal, template=prompts.template
        )
        # A configuration that does not fit fails here, not at prediction.
        all_logits(loaded, prompts.plain([("a", "a" if template.pair else None)]), ids, True)
        self._keep(prompts, ids, classes)


class PromptTunedClassifier(TextClassifier, _PromptTuned):
    """A language model that classifies by filling a gap, fine-tuned on a few labeled texts.

    Args:
        model: A masked or causal language model: an asset's name, a local folder or a Hub id.
        template: A pattern with `{text}`, `{mask}` and, for pairs, `{text2}`; see
            `reptune.cloze.templates`. For a causal model `{mask}` comes last.
        words: A word for each label, one piece each. `None`: labels that are such words stand for
            themselves; for others `search_words` chooses on the training texts.
        adapter: Low-rank changes and a head to start from. `"auto"` gives all-MiniLM-L6-v2, which
            ships without a head, `REVIEW_START`, and other models none.
        num_steps: Optimizer steps; 0 trains nothing (zero-shot); `None` for `MASKED_STEPS` or
            `CAUSAL_STEPS`.
        learning_rate: Peak rate of AdamW; `None` for `MASKED_RATE` or `CAUSAL_RATE`.
        batch_size: Texts a step, or all where there are fewer.
        weight_decay: AdamW's weight decay, of all but biases and layer norms.
        warmup: Share of the steps during which the rate rises; it then falls towards 0.
        num_demonstrations: Solved examples of each class that a prompt shows, drawn from the half
            of the class's training texts that is most similar to the input.
        demonstration_draws: Draws of them over which predicted probabilities are averaged.
        max_length: Pieces of a prompt; `None` for what the model takes. Longer ones lose
            demonstrations first, then the end of the input.
        fast: `True` for all of `FAST_OPTIONS`, a tuple of some of them, or `False` for plain
            library code: all logits, float32, the library's dropout.
        random_state: Seed of the order of texts, dropout and demonstrations. The same seed on the
            same CPU and thread count gives the same model, bit for bit.
        show_progress: Show a progress bar while training.

    A saved folder also loads in `transformers.pipeline("fill-mask", folder)`, a causal model's in
    `"text-generation"`.

    Attributes:
        classes_: The labels, sorted, shape `(num_classes,)`.
        words_: The word of each label.
        model_: The fine-tuned `transformers` model.
        tokenizer_: Its tokenizer.
        prompt_model_: Both, as `label_logits` takes them.
        history_: A list of `{"step", "loss"}` and, with `validation`, of `{"step", "eval_loss",
            "eval_accuracy"}`.
        cost_: A `reptune.meter.Meter` with the seconds and memory that search and training took.

    Source: Gao et al., *Making Pre-trained Language Models Better Few-shot Learners* (2021);
    chapter 6.
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
            labels: One label a text, all strings or all integers.
            validation: Texts and labels scored about five times, for `history_`; they do not
                influence training.

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
        classes, places = np.unique(label_array, return_inverse=True)
        held_out = _check_held_out(validation, template, classes)
        seed = seed_of(self.random_state)
        with runtime.seeded(seed), runtime.quiet():
            loaded = self._load(template)
            with Meter("fit") as cost:
                words, ids = self._choose_words(loaded, inputs, places, classes, seed)
                prompts = self._prompts_for(loaded, words, inputs, places, seed)
                score = held_out and (lambda: self._look(prompts, ids, *held_out))
                history = self._train(prompts, ids, torch.from_numpy(places), score)
        self._keep(prompts, ids, classes)
        self.history_, self.cost_ = history, cost
        return self

    # What follows is plumbing; the chapter shows the lines that matter.

    def _checked_texts(self, texts: Iterable[Any], first: int = 0) -> list[Input]:
        return check_inputs(texts, self._prompts.template, first=first)

    def _logits(self, texts: list[Input]) -> np.ndarray:
        """With demonstrations, the logarithms of probabilities averaged over draws."""
        return self._scores(self._prompts, self._ids, texts)

    def _choose_words(
        self,
        loaded: PromptModel,
        inputs: list[Input],
        places: np.ndarray,
        classes: np.ndarray,
        seed: int,
    ) -> tuple[list[str], np.ndarray]:
        """The word and the piece of each class."""
        template, labels = Template.of(self.template), classes.tolist()
        words = self.words
        own = {label: label for label in labels}
        if words is None and all(isinstance(label, str) for label in labels):
            with contextlib.suppress(ValueError):
                word_ids(own, classes, loaded.tokenizer, causal=loaded.causal, template=template)
                words = own
        if words is None:
            rows = some_of_each(places, SEARCH_TEXTS, np.random.default_rng([seed, 3]))
            texts = [inputs[row] if template.pair else inputs[row][0] for row in rows]
            short = replace(loaded, limit=self._limit(loaded))
            words = search_words(short, template, texts, classes[places[rows]], top_n=1)[0][0]
        ids = word_ids(words, classes, loaded.tokenizer, causal=loaded.causal, template=template)
        return [words[label] for label in labels], ids

    def _look(
        self, prompts: Prompts, ids: np.ndarray, inputs: list[Input], places: np.ndarray
    ) -> dict[str, float]:
        scores = self._scores(prompts, ids, inputs, quiet=True)
        right = scores[np.arange(len(places)), places] - logsumexp(scores, axis=1)
        accuracy = (scores.argmax(axis=1) == places).mean()
        return {"eval_loss": float(-right.mean()), "eval_accuracy": float(accuracy)}


class PromptTunedRegressor(RegressorMixin, _PromptTuned):
    """A language model that puts a text on a scale between two words, fine-tuned on a few texts.

    The prediction is `low * P(low word) + high * P(high word)`; training moves P towards the
    target's share of the way, by cross-entropy with these shares.

    Args:
        model: As in `PromptTunedClassifier`, and so are all that are not named here.
        template: A pattern with `{text}`, `{mask}` and, for pairs, `{text2}`.
        words: The word at the low end and the word at the high end.
        low: The target that the first word stands for.
        high: The target that the second word stands for.
        adapter: Low-rank changes and a head to start from.
        num_steps: Optimizer steps.
        learning_rate: Peak rate.
        batch_size: Texts a step.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises.
        num_demonstrations: Solved examples from each half of the scale that a prompt shows.
        demonstration_draws: Draws of them over which predictions are averaged.
        max_length: Pieces of a prompt.
        fast: Which fast options are on.
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
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        template: str | Template = "{text} Is it good ? {mask} .",
        words: Sequence[str] = ("no", "yes"),
        *,
        low: float = 0.0,
        high: float = 1.0,
        adapter: str | Path | None = "auto",
        num_steps: int | None = None,
        learning_rate: float | None = None,
        batch_size: int = 8,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        num_demonstrations: int = 0,
        demonstration_draws: int = 4,
        max_length: int | None = None,
        fast: bool | Collection[str] = True,
        random_state: int | None = 42,
        show_progress: bool = False,
    ) -> None:
        super().__init__(
            model,
            template,
            words,
            adapter=adapter,
            num_steps=num_steps,
            learning_rate=learning_rate,
            batch_size=batch_size,
            weight_decay=weight_decay,
            warmup=warmup,
            num_demonstrations=num_demonstrations,
            demonstration_draws=demonstration_draws,
            max_length=max_length,
            fast=fast,
            random_state=random_state,
            show_progress=show_progress,
        )
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
            validation: Texts and targets scored about five times, for `history_`.

        Raises:
            ValueError: If the input or a parameter is bad; raised before any training.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        template = Template.of(self.template)
        self._check_parameters()
        inputs, shares = self._check_targets(texts, targets, template)
        held_out = None
        if validation is not None:
            both = _check_pair(validation, "(texts, targets)")
            held_out = self._check_targets(*both, template, "validation ")
        seed = seed_of(self.random_state)
        with runtime.seeded(seed), runtime.quiet():
            loaded = self._load(template)
            words, ids = self._both_words(loaded, template)
            groups = (shares > 0.5).astype(int)
            prompts = self._prompts_for(loaded, words, inputs, groups, seed)
            score = held_out and (lambda: self._look(prompts, ids, *held_out))
            goals = torch.from_numpy(np.column_stack([1 - shares, shares])).float()
            with Meter("fit") as cost:
                history = self._train(prompts, ids, goals, score)
        self._keep(prompts, ids, np.array(words))
        self.history_, self.cost_ = history, cost
        return self

    def predict(self, texts: Iterable[Any]) -> np.ndarray:
        """A number from `low` to `high` for each text, shape `(n,)`.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If a text is not what the template takes, or there are none.
        """
        check_is_fitted(self, "model_")
        inputs = check_inputs(texts, self._prompts.template)
        shares = softmax(self._scores(self._prompts, self._ids, inputs), axis=1)
        return shares @ np.array([self.low, self.high], dtype=float)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if check_number("low", self.low) >= check_number("high", self.high):
            raise ValueError(
                f"low={self.low!r}, high={self.high!r}; use numbers, the lower one as low."
            )
        words = self.words
        if isinstance(words, str | Mapping) or not isinstance(words, Sequence) or len(words) != 2:
            raise ValueError(f"words={words!r}; use two words, the one for `low` first.")

    def _both_words(self, loaded: PromptModel, template: Template) -> tuple[list[str], np.ndarray]:
        words = list(self.words)
        named = {word: word for word in words}
        if len(named) < 2:
            raise ValueError(f"words={self.words!r} are the same; use two different words.")
        ids = word_ids(named, words, loaded.tokenizer, causal=loaded.causal, template=template)
        return words, ids

    def _check_targets(
        self, texts: Iterable[Any], targets: Iterable[float], template: Template, what: str = ""
    ) -> tuple[list[Input], np.ndarray]:
        """The inputs, and each target's share of the way from `low` to `high`."""
        inputs = check_inputs(texts, template, f"{what}texts")
        if isinstance(targets, str | bytes):
            raise ValueError(f"{what}targets={targets!r}; pass a list of numbers, one per text.")
        values = listed(targets, f"{what}targets", "numbers")
        if len(values) != len(inputs):
            raise ValueError(
                f"{len(inputs)} {what}texts but {len(values)} targets; pass one target a text."
            )
        for place, value in enumerate(values):
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not number or not self.low <= value <= self.high:
                raise ValueError(
                    f"{what}targets[{place}] is {value!r}; every target must be a number from "
                    f"low={self.low} to high={self.high}. Set low and high to your scale's ends."
                )
        shares = (np.asarray(values, dtype=float) - self.low) / (self.high - self.low)
        return inputs, shares

    def _look(
        self, prompts: Prompts, ids: np.ndarray, inputs: list[Input], shares: np.ndarray
    ) -> dict[str, float]:
        scores = self._scores(prompts, ids, inputs, quiet=True)
        logs = scores - logsumexp(scores, axis=1, keepdims=True)
        loss = -((1 - shares) * logs[:, 0] + shares * logs[:, 1]).mean()
        error = np.abs(np.exp(logs[:, 1]) - shares).mean() * (self.high - self.low)
        return {"eval_loss": float(loss), "eval_mae": float(error)}


def _check_held_out(
    validation: tuple[Iterable[Any], Iterable[Any]] | None,
    template: Template,
    classes: np.ndarray,
) -> tuple[list[Input], np.ndarray] | None:
    """Held-out inputs and their labels as places in `classes`, or raise."""
    if validation is None:
        return None
    validation = _check_pair(validation, "(texts, labels)")
    inputs = check_inputs(validation[0], template, "validation texts")
    # Only the labels are looked at; the inputs may be pairs, which this check does not know.
    _, places = check_validation((list(map(joined, inputs)), validation[1]), classes)
    return inputs, places


def _check_pair(validation: Any, of: str) -> tuple[Any, Any]:
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise ValueError(f"validation={validation!r}; pass a pair, {of}.")
    return validation[0], validation[1]


def _read_examples(
    rows: Any, template: Template, num_classes: int
) -> tuple[list[Input], list[int]]:
    """The demonstrations of a saved folder and their classes, or a `ValueError`."""
    whole = isinstance(rows, list) and rows
    if not whole or not all(isinstance(row, list) and len(row) == 3 for row in rows):
        raise ValueError(f"{EXAMPLES} holds no list of examples")
    groups = [check_whole_number(f"a class in {EXAMPLES}", row[2], least=0) for row in rows]
    if max(groups) >= num_classes:
        raise ValueError(f"{EXAMPLES} has a class {max(groups)} of {num_classes}")
    if not template.pair and any(row[1] is not None for row in rows):
        raise ValueError(f"{EXAMPLES} has pairs, but template={template.pattern!r} takes none")
    texts = [row[:2] if template.pair else row[0] for row in rows]
    return check_inputs(texts, template, f"examples in {EXAMPLES}"), groups
