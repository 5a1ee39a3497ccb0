"""What a prompt is compared with: standard fine-tuning in the prompt's own loop, and less.

`Standard` differs from `Prompted` in what chapter 6 asks about and in nothing else: the model reads
the text without a template, and a new linear layer reads the state of [CLS], or of a causal model's
last token. Batches, optimizer, dropout, evaluations and checkpoint are the same code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from ch06_pairs import best_threshold
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import paired_cosine_distances
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from reptune import meter
from reptune.book import results
from reptune.classification import FineTunedClassifier
from reptune.cloze import PromptTunedClassifier, PromptTunedRegressor
from reptune.cloze.base import check_validation_pair
from reptune.cloze.demonstrations import Prompts
from reptune.cloze.prompt_models import Input, LabelHead, PromptModel, check_inputs
from reptune.cloze.templates import Encoded, Template, word_tokens
from reptune.fewshot import SetFitClassifier
from reptune.models.causal import load_causal_lm
from reptune.models.lowrank import GENERAL_START
from reptune.tokens import check_max_length
from reptune.training import fast_options
from shared import suite
from shared.common import FrozenEmbeddings, fit_fields, score_fields, tfidf
from shared.conditions import ending_loss
from shared.encoders import GENERAL, encoder

INITIAL_DEVIATION = 0.02  # BERT's, and Llama's
MINILM, SMALL, CAUSAL = "all-MiniLM-L6-v2", "bert-mini-reviews", "SmolLM2-135M-Instruct"
# Where a vocabulary has no token for a word, the first of these that it has one for.
FALLBACKS = {
    "technology": ("computer", "science"), "politics": ("political", "government"),
    "sports": ("sport", "football"), "entertainment": ("music",),
}  # fmt: skip

PROMPT, STANDARD, PACKAGE = "prompt", "standard", "standard, package class"
SHOWN, SEVERAL = "prompt, demonstrations", "prompt, three words"
ALL_PROMPT, ALL_STANDARD = "prompt, all labels", "standard, all labels"
LONG_PROMPT, LONG_STANDARD = "prompt, 1,000 steps", "standard, 1,000 steps"
FROZEN, COSINE, SETFIT, MORE_SETFIT, COUNTS = (
    "frozen", "cosine, threshold", "SetFit", "SetFit, 32 per class", "TF-IDF",
)  # fmt: skip
MIDDLE = 15  # the middle one of SmolLM2's 30 blocks


# --- prompts -------------------------------------------------------------------------------------


class Prompted(PromptTunedClassifier):
    """Prompt-based fine-tuning whose checkpoint is chosen by accuracy, ties by likelihood.

    On 32 texts ties are the rule, and the package takes the earliest. A word that the vocabulary
    does not have as one token is replaced by the first of its `FALLBACKS`.
    """

    _CRITERION = "eval_score"

    def _evaluate(self, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        found = super()._evaluate(logits, targets)
        # The geometric mean of the right labels' probabilities, scaled to less than one text.
        tie = np.exp(-found["eval_loss"]) / (2 * len(targets))
        return found | {"eval_score": found["eval_accuracy"] + float(tie)}

    def _choose_words(self, prompt_model: PromptModel, *others: Any) -> Mapping[Any, Any]:
        words = super()._choose_words(prompt_model, *others)
        template = Template.of(self.template)
        return {label: in_one_token(word, prompt_model, template) for label, word in words.items()}

    def fit_shares(
        self, texts: Iterable[Any], shares: np.ndarray, validation: tuple[Iterable[Any], Any]
    ) -> Self:
        """Train towards a teacher's probabilities in place of labels.

        Args:
            texts: The inputs, shape `(n,)`.
            shares: Probabilities of the classes 0, 1, …, shape `(n, num_classes)`.
            validation: Inputs and class ids that choose the checkpoint.
        """
        self._check_parameters()
        template = Template.of(self.template)
        held, labels = check_validation_pair(validation, "(texts, labels)")
        return self._fit(
            check_inputs(texts, template),
            np.arange(shares.shape[1]),
            shares.argmax(axis=1),
            torch.from_numpy(shares).float(),
            (check_inputs(held, template, "validation texts"), np.asarray(labels)),
        )


def in_one_token(word: Any, prompt_model: PromptModel, template: Template) -> Any:
    """Return a word, or the first of its fallbacks that is one token; several words as they are."""
    tokenizer, causal = prompt_model.tokenizer, prompt_model.causal
    for candidate in (word, *(FALLBACKS.get(word, ()) if isinstance(word, str) else ())):
        if not isinstance(candidate, str):
            return word
        ids = word_tokens(candidate, tokenizer, causal=causal, template=template)
        if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
            return candidate
    return word  # for the package to say what is wrong with it


# --- a new head ----------------------------------------------------------------------------------


class NewHead(nn.Module):
    """Dropout and a linear layer, part of the model, so that the optimizer sees it.

    `transform` looks the dropout up when it is called: a fast option replaces it for a while.
    """

    def __init__(self, hidden: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.decoder = nn.Dropout(dropout), nn.Linear(hidden, num_classes)
        nn.init.normal_(self.decoder.weight, std=INITIAL_DEVIATION)
        nn.init.zeros_(self.decoder.bias)

    def transform(self, states: torch.Tensor) -> torch.Tensor:
        """Apply the dropout to states `(n, hidden)`."""
        return self.dropout(states)


def with_new_head(prompt_model: PromptModel, num_classes: int) -> PromptModel:
    """Return the model with a new layer in place of the language model's head."""
    model = prompt_model.model
    dropout = getattr(model.config, "hidden_dropout_prob", 0.0)
    head = NewHead(model.config.hidden_size, num_classes, dropout)
    model.new_head = head.to(model.device).train(model.training)
    return replace(prompt_model, head=LabelHead(model.new_head.transform, model.new_head.decoder))


class PlainInputs(Prompts):
    """Makes inputs without a template: `[CLS] a [SEP] b [SEP]`; causal: two lines, a and b."""

    def _encode(self, texts: Input, demonstrations: Sequence[Any] = ()) -> Encoded:
        tokenizer = self.prompt_model.tokenizer
        first, second = texts
        if self.prompt_model.causal and second is not None:
            first, second = f"{first}\n{second}", None
        # As in prompts, special tokens that a text spells out are read as plain characters.
        read = {"split_special_tokens": True, "verbose": False}
        ids = tokenizer(first, second, **read)["input_ids"]
        cut = max(0, len(ids) - self.limit)
        if cut:
            shorter = {"truncation": "longest_first", "max_length": self.limit}
            ids = tokenizer(first, second, **shorter, **read)["input_ids"]
        return Encoded(ids, len(ids) - 1 if self.prompt_model.causal else 0, 0, cut)


class _Standard:
    """What turns a prompt-tuned estimator into standard fine-tuning of its model."""

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.per_class or "label_rows" not in fast_options(self.fast, self.FAST_OPTIONS):
            raise ValueError("a new head shows no demonstrations and needs the option label_rows.")

    def _choose_words(
        self, prompt_model: PromptModel, inputs: Any, classes: np.ndarray, *others: Any
    ) -> Mapping[Any, str]:
        return {label: str(label) for label in classes.tolist()}  # names, in no prompt

    def _word_ids(
        self, prompt_model: PromptModel, words: Mapping[Any, str], classes: np.ndarray
    ) -> np.ndarray:
        return np.arange(len(classes))  # the new layer's rows

    def _prompts_for(
        self,
        prompt_model: PromptModel,
        words: Sequence[str],
        examples: Sequence[Input],
        groups: np.ndarray,
        seed: int,
    ) -> Prompts:
        return PlainInputs(
            with_new_head(prompt_model, len(words)),
            Template.of(self.template),
            words,
            limit=check_max_length(self.max_length, prompt_model.limit),
            per_class=0,
            examples=examples,
            groups=groups,
            seed=seed,
        )


class Standard(_Standard, Prompted):
    """A classifier with a new head; `template` says whether it reads texts or pairs."""


class StandardRegressor(_Standard, PromptTunedRegressor):
    """The same with two outputs, whose shares lie between `low` and `high`."""


# --- one setting for both ------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """How a model is trained, in all arms alike.

    Attributes:
        adapter: What it starts from.
        causal: Whether it is a causal model.
        num_steps: Steps of a fit.
        evaluations: On development, in a fit.
        demonstration_draws: At test, where prompts show demonstrations.
        rates: The grid of the pilot.
        pilot_draws: Its draws.
    """

    adapter: Any
    causal: bool
    num_steps: int
    evaluations: int
    demonstration_draws: int
    rates: tuple[float, ...]
    pilot_draws: tuple[int, ...]


_MASKED = (False, 120, 10, 2, (3e-5, 1e-4, 3e-4), (0, 1))
MODELS = {
    MINILM: Setting(GENERAL_START, *_MASKED),
    SMALL: Setting(None, *_MASKED),
    CAUSAL: Setting(None, True, 60, 5, 1, (1e-5, 3e-5, 1e-4), (0,)),
}
NEW_HEADS = (STANDARD, ALL_STANDARD, LONG_STANDARD)
CHANGES: dict[str, dict[str, Any]] = {
    SHOWN: {"per_class": 1}, LONG_PROMPT: {"num_steps": 1000}, LONG_STANDARD: {"num_steps": 1000},
}  # fmt: skip


def settings(method: str, model: str, task: str, draw: int) -> dict[str, Any]:
    """Return the parameters of an estimator of `cloze`, rate and steps aside."""
    own = MODELS[model]
    wording = (suite.CAUSAL if own.causal else suite.MASKED)[task]
    words = suite.SEVERAL[task] if method == SEVERAL else wording.words
    return {
        "template": wording.template, "words": dict(enumerate(words)), "adapter": own.adapter,
        "patience": own.evaluations,  # never runs out: the best of all evaluations is restored
        "demonstration_draws": own.demonstration_draws, "random_state": draw,
        "show_progress": False, **CHANGES.get(method, {}),
    }  # fmt: skip


def build(method: str, model: str, task: str, draw: int, **over: Any) -> Any:
    """Return the classifier of a method, with the pilot's rate and steps unless `over` has some."""
    if method == PACKAGE:
        over = {"learning_rate": over.get("learning_rate") or chosen(PACKAGE, model)}
        epochs = {"num_epochs": 30, "patience": 30}  # restores the best of them
        return FineTunedClassifier(encoder(GENERAL), random_state=draw, **epochs, **over)
    family = STANDARD if method in NEW_HEADS else PROMPT
    own = settings(method, model, task, draw) | over
    if "learning_rate" not in own:
        own["learning_rate"] = chosen(family, model)
    if "num_steps" not in own:
        own["num_steps"] = num_steps(family, model)
    classifier = (Standard if family == STANDARD else Prompted)(model, **own)
    classifier.PATIENT_EVALUATIONS = MODELS[model].evaluations
    return classifier


def fitted(
    method: str, model: str, task: str, draw: int, **over: Any
) -> tuple[Callable[[list], np.ndarray], dict[str, Any]]:
    """Fit on a draw; return what gives logits of inputs, and the fields of a record."""
    classifier = build(method, model, task, draw, **over)
    read = suite.joined if method == PACKAGE else list
    train, development = ((read(inputs), labels) for inputs, labels in suite.draw(task, draw))
    with meter.Meter() as cost:
        classifier.fit(*train, validation=development)
    said: dict[str, Any] = {}
    if method != PACKAGE:
        said = {"template": str(classifier.template), "words": list(classifier.words_.values())}
    return lambda inputs: classifier.logits(read(inputs)), {
        "labels": len(train[1]), "random_state": draw, **fit_fields(cost), **said,
        "learning_rate": classifier.learning_rate, "last_loss": ending_loss(classifier.history_),
        "development": graded(classifier.logits(development[0]), development[1])["metrics"],
    }  # fmt: skip


def graded(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return accuracy and likelihood, which items are right, and the class id of each."""
    found = score_fields(logits.argmax(axis=1) == labels)
    right = logits[np.arange(len(labels)), labels] - logsumexp(logits, axis=1)
    found["metrics"]["log_likelihood"] = float(right.mean())
    return {**found, "predicted": "".join(map(str, logits.argmax(axis=1)))}


def on_test(
    logits: Callable[[list], np.ndarray], task: str, fields: dict[str, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Score test; return the logits and the record."""
    inputs, labels = suite.examples(task, "test")
    with meter.Meter() as cost:
        found = logits(inputs)
    seconds = {**fields["seconds"], "predict": round(cost.seconds, 2)}
    return found, {"split": "test", **fields, **graded(found, labels), "seconds": seconds}


def regressor(method: str, model: str, task: str, draw: int) -> PromptTunedRegressor:
    """Return what puts pairs on a scale from 0 to 1, trained like a classifier or not at all."""
    own = settings(method, model, task, draw)
    own |= {"words": tuple(own["words"].values()), "num_steps": 0}
    if method in (PROMPT, STANDARD):
        rate, steps = chosen(method, model), num_steps(method, model)
        own |= {"learning_rate": rate, "num_steps": steps}
    kind = StandardRegressor if method == STANDARD else PromptTunedRegressor
    return kind(model, **own)


# --- what the pilots have chosen -----------------------------------------------------------------


def pilot(method: str, model: str) -> pd.DataFrame:
    """Return the records of the rates that were tried.

    Raises:
        SystemExit: If there are none.
    """
    table = results.read(suite.STUDY)
    if not table.empty:
        rows = (table["kind"] == "rate") & (table["method"] == method) & (table["model"] == model)
        table = table[rows]
    if table.empty:
        raise SystemExit(f"no rate was tried for {method} of {model}; run {suite.STUDY} anew.")
    return table


def pilot_means(method: str, model: str) -> pd.DataFrame:
    """Return mean accuracy and log likelihood on development of each rate, the lowest first."""
    columns = ["metrics.accuracy", "metrics.log_likelihood"]
    return pilot(method, model).groupby("learning_rate")[columns].mean().round(6)


def chosen(method: str, model: str) -> float:
    """Return the rate with the best mean accuracy, ties by likelihood."""
    means = pilot_means(method, model)
    return float(max(means.index, key=lambda rate: tuple(means.loc[rate])))


def beyond_edge(method: str, model: str) -> float | None:
    """Return the value to try where the best of the grid is its lowest or its highest."""
    rates = MODELS[model].rates
    outer = {min(rates): min(rates) / 3, max(rates): max(rates) * 3}
    found = outer.get(chosen(method, model))
    return None if found is None else float(f"{found:.1g}")


def control(model: str) -> str:
    """Return the kind of standard fine-tuning that prompts are compared with."""
    if model != MINILM:
        return STANDARD
    new, package = (
        pilot_means(method, model).loc[chosen(method, model), "metrics.accuracy"]
        for method in (STANDARD, PACKAGE)
    )
    return PACKAGE if package > new + 0.01 else STANDARD


def num_steps(family: str, model: str) -> int:
    """Return the model's steps, or twice as many for a causal model's head that learns too little.

    That is one whose loss on its own draw ends above half of guessing's at every rate.
    """
    own = MODELS[model]
    if family != STANDARD or not own.causal:
        return own.num_steps
    table = pilot(family, model)
    share = table["last_loss"] / np.log(table["task"].map(suite.CLASSES))
    return own.num_steps * (2 if share.groupby(table["learning_rate"]).mean().min() > 0.5 else 1)


# --- without a prompt ----------------------------------------------------------------------------


@functools.cache
def encoder_of(model: str) -> Callable[[list[str]], np.ndarray]:
    """Return what gives vectors of texts; a text is read once in a process."""
    if model != CAUSAL:
        return FrozenEmbeddings(model).encode
    lm, known = load_causal_lm(CAUSAL), {}

    def encode(texts: list[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            read = lm.hidden_states(new, layer=MIDDLE, pooling="mean", half_precision=True)
            known.update(zip(new, read, strict=True))
        return np.stack([known[text] for text in texts])

    return encode


def cosines(model: str, pairs: list[suite.Input]) -> np.ndarray:
    """Return the cosine of the embeddings of both texts of each pair."""
    sides = (encoder_of(model)([pair[side] for pair in pairs]) for side in (0, 1))
    return 1 - paired_cosine_distances(*sides)


def baseline(
    method: str, model: str, draw: int, inputs: list[suite.Input], labels: np.ndarray
) -> Callable[[list[suite.Input]], np.ndarray]:
    """Fit what reads no prompt; return what predicts."""
    if method == COSINE:
        threshold = best_threshold(cosines(model, inputs), labels)
        return lambda new: (cosines(model, new) > threshold).astype(int)
    if method == FROZEN:
        read = functools.partial(suite.features, encoder_of(model))
        head: Any = LogisticRegression(C=10, max_iter=1000)
        if model == CAUSAL:  # as in `ch05_features`
            head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    else:
        read = suite.joined
        setfit = {"random_state": draw, "show_progress": False}
        head = tfidf() if method == COUNTS else SetFitClassifier(model, **setfit)
    head.fit(read(inputs), labels)
    return lambda new: head.predict(read(new))
