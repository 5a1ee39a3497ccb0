"""What prompt-tuned classifiers and regressors share: everything but targets and words (chapter 6).

A subclass says which words stand for what, in `_choose_words`, and how predictions are graded, in
`_evaluate`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.special import softmax

from reptune import runtime
from reptune.checks import (
    check_optimizer,
    check_random_state,
    check_shared_parameters,
    check_whole_number,
    seed_of,
)
from reptune.cloze.demonstrations import Prompts
from reptune.cloze.prompt_models import (
    Input,
    PromptModel,
    all_logits,
    check_inputs,
    load_prompt_model,
)
from reptune.cloze.templates import Template, Words, check_mask, word_ids, words_of
from reptune.cloze.training import FAST_OPTIONS, PATIENT_EVALUATIONS, Truncation, train
from reptune.estimator import TextEstimator, check_vocabulary, check_weights
from reptune.meter import Meter
from reptune.models.lowrank import REVIEW_START
from reptune.tokens import check_max_length
from reptune.training import fast_options

DEFAULT_MODEL = "all-MiniLM-L6-v2"
EXAMPLES = "examples.json"

# Of a fit: inputs and what they are graded against.
HeldOut = tuple[list[Input], np.ndarray]


class PromptTuned(TextEstimator):
    """A language model that answers a prompt with a word, fine-tuned on a few texts.

    See `reptune.cloze.PromptTunedClassifier` for the parameters.
    """

    FAST_OPTIONS = FAST_OPTIONS
    # Evaluations per training with `patience`; a subclass whose evaluations are slow takes fewer.
    PATIENT_EVALUATIONS: int = PATIENT_EVALUATIONS
    _FILES = ("config.json", "model.safetensors")
    _RENAMED: Mapping[str, str] = {"num_demonstrations": "per_class"}
    _CRITERION = "eval_accuracy"  # which score on validation decides, with `patience`
    _GREATER_IS_BETTER = True

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
        per_class: int = 0,
        demonstration_draws: int = 4,
        max_length: int | None = None,
        patience: int | None = None,
        fast: bool | Collection[str] = True,
        device: str | None = None,
        prediction_batch_size: int | None = None,
        callbacks: Sequence[Callable[[dict[str, float]], Any]] = (),
        random_state: int | None = 42,
        show_progress: bool | None = None,
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
        self.per_class = per_class
        self.demonstration_draws = demonstration_draws
        self.max_length = max_length
        self.patience = patience
        self.fast = fast
        self.device = device
        self.prediction_batch_size = prediction_batch_size
        self.callbacks = callbacks
        self.random_state = random_state
        self.show_progress = show_progress

    # --- what a subclass defines -----------------------------------------------------------------

    def _choose_words(
        self,
        prompt_model: PromptModel,
        inputs: list[Input],
        classes: np.ndarray,
        groups: np.ndarray,
        seed: int,
    ) -> Mapping[Any, str | Sequence[str]]:
        """Return the word, or the words, of each class.

        Args:
            prompt_model: The model, not trained yet.
            inputs: The training inputs.
            classes: The classes, shape `(num_classes,)`.
            groups: Index of each input's class, shape `(n,)`.
            seed: Of draws.
        """
        raise NotImplementedError

    def _evaluate(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Return the scores of logits, shape `(n, num_classes)`, on held-out targets."""
        raise NotImplementedError

    # --- fit -------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        fast_options(self.fast, self.FAST_OPTIONS)
        for name, least in (("batch_size", 1), ("per_class", 0), ("demonstration_draws", 1)):
            check_whole_number(name, getattr(self, name), least)
        if self.num_steps is not None:
            check_whole_number("num_steps", self.num_steps, least=0)
        if self.max_length is not None:
            check_whole_number("max_length", self.max_length)
        check_whole_number("PATIENT_EVALUATIONS", self.PATIENT_EVALUATIONS)
        check_optimizer(self.learning_rate, self.warmup, self.weight_decay)
        check_random_state(self.random_state)
        check_shared_parameters(self)
        runtime.check_device(self.device)

    def _fit(
        self,
        inputs: list[Input],
        classes: np.ndarray,
        groups: np.ndarray,
        targets: torch.Tensor,
        held_out: HeldOut | None,
    ) -> Self:
        """Choose words and train, on inputs that were checked.

        Args:
            inputs: The training inputs.
            classes: The classes, shape `(num_classes,)`.
            groups: Index of each input's class, shape `(n,)`; prompts show examples of each.
            targets: What the loss takes; see `train`.
            held_out: Inputs and targets for `_evaluate`.
        """
        seed = seed_of(self.random_state)
        with runtime.seeded(seed), runtime.quiet():
            prompt_model = self._load()
            with Meter("fit") as cost:
                words = self._choose_words(prompt_model, inputs, classes, groups, seed)
                ids = self._word_ids(prompt_model, words, classes)
                by_class = [_kept(words[label]) for label in classes.tolist()]
                prompts = self._prompts_for(prompt_model, by_class, inputs, groups, seed)
                history = train(
                    self,
                    prompts,
                    ids,
                    targets,
                    held_out and (lambda: self._look(prompts, ids, *held_out)),
                    self._CRITERION,
                    self._GREATER_IS_BETTER,
                )
        self._keep(prompts, ids, classes)
        self.history_, self.cost_ = history, cost
        self._forget()
        return self

    def _check_patience(self, validation: Any, of: str) -> None:
        if self.patience is not None and validation is None:
            raise ValueError(f"patience={self.patience} needs validation={of} in fit.")

    def _load(self) -> PromptModel:
        adapter = self.adapter
        if isinstance(adapter, str) and adapter == "auto":
            adapter = REVIEW_START if str(self.model) == DEFAULT_MODEL else None
        return self._checked(load_prompt_model(self.model, adapter, self.device))

    def _checked(self, prompt_model: PromptModel) -> PromptModel:
        """Return the model, if it can fill the template within `max_length`, or raise."""
        check_mask(Template.of(self.template), prompt_model.tokenizer, prompt_model.causal)
        check_max_length(self.max_length, prompt_model.limit)
        return prompt_model

    def _word_ids(
        self,
        prompt_model: PromptModel,
        words: Mapping[Any, str | Sequence[str]],
        classes: np.ndarray,
    ) -> np.ndarray:
        """Return what `reptune.cloze.templates.word_ids` does, or raise."""
        return word_ids(
            words,
            classes,
            prompt_model.tokenizer,
            causal=prompt_model.causal,
            template=Template.of(self.template),
        )

    def _prompts_for(
        self,
        prompt_model: PromptModel,
        words: Sequence[Words],
        examples: Sequence[Input],
        groups: np.ndarray,
        seed: int,
    ) -> Prompts:
        return Prompts(
            prompt_model,
            Template.of(self.template),
            words,
            limit=check_max_length(self.max_length, prompt_model.limit),
            per_class=self.per_class,
            examples=examples,
            groups=groups,
            seed=seed,
        )

    def _look(
        self, prompts: Prompts, ids: np.ndarray, inputs: list[Input], targets: np.ndarray
    ) -> dict[str, float]:
        return self._evaluate(self._score_words(prompts, ids, inputs, Truncation()), targets)

    def _keep(self, prompts: Prompts, ids: np.ndarray, classes: np.ndarray) -> None:
        """Make the result of a `fit` or `load` this object's own."""
        self._prompts, self._ids, self.classes_ = prompts, ids, classes
        self.prompt_model_ = prompts.prompt_model
        self.model_, self.tokenizer_ = self.prompt_model_.model, self.prompt_model_.tokenizer
        self.words_ = dict(zip(classes.tolist(), prompts.words, strict=True))

    # --- predict ---------------------------------------------------------------------------------

    def _checked_texts(self, texts: Iterable[Any], first: int = 0) -> list[Input]:
        return check_inputs(texts, self._prompts.template, first=first)

    def _logits(self, texts: list[Input]) -> np.ndarray:
        """With demonstrations, the logarithms of probabilities averaged over draws."""
        truncation = Truncation()
        logits = self._score_words(self._prompts, self._ids, texts, truncation)
        truncation.warn(self._prompts.limit, self.max_length is not None)
        return logits

    def _score_words(
        self, prompts: Prompts, ids: np.ndarray, inputs: Sequence[Input], truncation: Truncation
    ) -> np.ndarray:
        """Return logits of the words, or logarithms of averaged probabilities, `(n, num_classes)`.

        Args:
            prompts: Makes the prompts.
            ids: Token ids of the words.
            inputs: What is scored.
            truncation: Counts what did not fit.
        """
        fast = "label_rows" in fast_options(self.fast, self.FAST_OPTIONS)

        def logits(encoded: Sequence[Any]) -> np.ndarray:
            truncation.add(encoded)
            size = self.prediction_batch_size
            return all_logits(prompts.prompt_model, encoded, ids, fast, size)

        if not prompts.per_class:
            return logits(prompts.plain(inputs))
        draws = prompts.draws(inputs, self.demonstration_draws)
        shares = [softmax(logits(encoded), axis=1) for encoded in draws]
        return np.log(np.maximum(np.mean(shares, axis=0), np.finfo(float).tiny))

    # --- save and load ---------------------------------------------------------------------------

    def _write(self, folder: Path) -> None:
        self.model_.save_pretrained(folder)
        self.tokenizer_.save_pretrained(folder)
        if self._prompts.per_class:
            groups = self._prompts.groups.tolist()
            examples = zip(self._prompts.examples, groups, strict=True)
            rows = [[*texts, group] for texts, group in examples]
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
        words = [_kept(given) for given in words]  # JSON has lists for tuples
        seed = check_whole_number("seed in the manifest", manifest.get("seed"), least=0)
        template = Template.of(self.template)
        inputs, groups = [], []
        if self.per_class:
            rows = json.loads((folder / EXAMPLES).read_text(encoding="utf-8"))
            inputs, groups = _read_examples(rows, template, len(words))
        prompt_model = self._checked(load_prompt_model(folder))
        check_weights(folder, prompt_model.model)
        embeddings = prompt_model.model.get_input_embeddings().num_embeddings
        check_vocabulary(prompt_model.tokenizer, embeddings)
        prompts = self._prompts_for(prompt_model, words, inputs, np.array(groups, dtype=int), seed)
        by_label = dict(zip(classes.tolist(), words, strict=True))
        ids = self._word_ids(prompt_model, by_label, classes)
        # A configuration that does not fit fails here, not at prediction.
        probe = prompts.plain([("a", "a" if template.pair else None)])
        all_logits(prompt_model, probe, ids, True)
        self._keep(prompts, ids, classes)


def _kept(words: Any) -> Any:
    """Return a label's words as `words_` has them: a string, or a tuple."""
    return words_of(words) if isinstance(words, list) else words


def _read_examples(
    rows: Any, template: Template, num_classes: int
) -> tuple[list[Input], list[int]]:
    """Return the demonstrations of a saved folder and their classes, or raise a `ValueError`."""
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


def check_validation_pair(validation: Any, of: str) -> tuple[Any, Any]:
    """Return the two parts of `validation`, or raise a `ValueError` that says what they are."""
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise ValueError(f"validation={validation!r}; pass a pair, {of}.")
    return validation[0], validation[1]


def with_parameters_of(base: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a constructor that ends in `**others` the signature of what `others` stands for.

    scikit-learn reads an estimator's parameters from its constructor's signature, and so do
    `help` and editors; the parameters need not be written a second time for it.

    Args:
        base: The class whose constructor takes `others`.
    """

    def decorate(init: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(init)
        named = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
        inherited = [
            parameter
            for name, parameter in inspect.signature(base.__init__).parameters.items()
            if name not in own.parameters
        ]
        init.__signature__ = own.replace(parameters=[*named, *inherited])
        return init

    return decorate
