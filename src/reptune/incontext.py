"""In-context learning: a causal language model that is shown examples, not trained (chapter 5).

`build_prompt` puts the three parts of a few-shot prompt together, `calibrated` takes out what the
model prefers before it has read anything, and `InContextClassifier` is the chapter's code behind
scikit-learn's interface.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import sys
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from reptune import assets, runtime
from reptune.checks import (
    check_random_state,
    check_shared_parameters,
    check_texts,
    check_training_set,
    check_unicode,
    check_whole_number,
    seed_of,
)
from reptune.estimator import TextClassifier
from reptune.meter import Meter
from reptune.models.causal import CausalLM, load_causal_lm
from reptune.models.neighbors import Neighbors
from reptune.models.prompts import check_text
from reptune.models.templates import Template
from reptune.tokens import check_max_length
from reptune.training import fast_options

Selection = Literal["random", "nearest", "given"]
Calibration = Literal["contextual", "batch"] | None

TEMPLATE = "Review: {text}\nSentiment:"
MASK = "{mask}"  # where the answer goes, for who writes it down
SEPARATOR = "\n\n"
# Inputs without content: what the model answers to these, it answers before reading anything.
CONTENT_FREE = ("N/A", "", "[MASK]")
SELECTIONS = ("random", "nearest", "given")
CALIBRATIONS = ("contextual", "batch")
MOST_UNLABELED = 200  # texts without labels that batch calibration reads at most
FAST_OPTIONS = (
    "shared_prefix",  # what all prompts begin with is encoded once, and inputs share a pass
    "half_precision",  # bfloat16 products, where the device has them
)
EXAMPLES_FILE = "examples.json"
INSIDE = ("reptune.", "sklearn.")  # modules whose lines a warning does not point to


# --- prompts -------------------------------------------------------------------------------------


def build_prompt(
    text: str,
    examples: Sequence[tuple[str, str]] = (),
    *,
    description: str = "",
    template: str = TEMPLATE,
    separator: str = SEPARATOR,
) -> str:
    r"""Put a few-shot prompt together: a task description, examples, and the new item.

    Args:
        text: The new item.
        examples: Texts with their answers.
        description: What the task is; empty for none.
        template: How an item looks, with `{text}` in it; the answer follows after a space. It may
            also be written as chapter 6 does, with `{mask}` at its end, where the answer goes.
        separator: What stands between the parts.

    >>> print(build_prompt("dull .", [("great fun .", "positive")]))
    Review: great fun .
    Sentiment: positive
    <BLANKLINE>
    Review: dull .
    Sentiment:

    Raises:
        ValueError: If a part is no string of valid Unicode, or the template cannot be filled.

    Source: Brown et al., *Language Models are Few-Shot Learners* (2020), section 2; chapter 5.
    """
    check_template(template)
    for name, part in (("text", text), ("description", description), ("separator", separator)):
        check_text(name, part)
    examples = _check_examples(examples)
    shown = [f"{_before_answer(template, known)} {answer}" for known, answer in examples]
    parts = [description, *shown, _before_answer(template, text)]
    return separator.join(part for part in parts if part)


def _before_answer(template: str, text: str) -> str:
    """Return an item up to the space before its answer."""
    if MASK in template:
        return Template(template).halves(text)[0].rstrip(" ")
    return template.replace("{text}", text)


def _check_examples(examples: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the examples in a list, or raise a `ValueError` that names the bad one."""
    if isinstance(examples, str) or not isinstance(examples, Iterable):
        raise ValueError(f"examples={examples!r}; pass pairs of a text and its answer.")
    pairs = list(examples)
    for index, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"examples[{index}] is {pair!r}; pass a pair: a text, its answer.")
        for part, name in zip(pair, ("text", "answer"), strict=True):
            check_text(f"examples[{index}]'s {name}", part)
    return pairs


def check_template(template: str) -> None:
    """Raise a `ValueError` unless a template has one `{text}` and does not end in white space.

    With `{mask}` it is a `reptune.models.templates.Template` that ends with it.
    """
    if not isinstance(template, str) or template.count("{text}") != 1:
        raise ValueError(f"template={template!r}; write {{text}} once, where the input goes.")
    check_unicode(template, "template")
    before = template
    if MASK in template:
        before = template.split(MASK)[0].rstrip(" ")
        parsed = Template(template)
        if parsed.pair or not parsed.mask_last:
            raise ValueError(
                f"template={template!r}; end it with {{mask}}, where the answer goes, and leave "
                f"{{text2}} out: {before + ' ' + MASK!r}."
            )
    if before != before.rstrip():
        raise ValueError(
            f"template={template!r} ends in white space; leave it out: the space belongs to the "
            "answer's first token."
        )


def parse_answer(answer: str, words: Iterable[str]) -> str | None:
    """Return the label word that a generated answer means; `None` if it means none, or several.

    Case, white space and punctuation around it do not count. An answer that begins with a word
    means it; else it must mention exactly one.

    >>> parse_answer(" Positive.", ["negative", "positive"])
    'positive'
    >>> parse_answer("neither positive nor negative", ["negative", "positive"]) is None
    True

    Args:
        answer: What a model wrote.
        words: The label words.

    Raises:
        ValueError: If the answer is no string, a word is none or blank, or two words differ in
            nothing but case and white space.

    Source: chapter 5.
    """
    folded, cleaned = _folded(answer, words)
    # The longest first: "not hate speech" begins like "not".
    for word in sorted(folded, key=len, reverse=True):
        if re.match(rf"{re.escape(word)}(?!\w)", cleaned):
            return folded[word]
    mentioned = set()
    for _, group in itertools.groupby(sorted(folded, key=len, reverse=True), key=len):
        patterns = {word: rf"(?<!\w){re.escape(word)}(?!\w)" for word in group}
        mentioned |= {word for word, pattern in patterns.items() if re.search(pattern, cleaned)}
        # What a longer word has been found in does not count as a shorter word's mention.
        for pattern in patterns.values():
            cleaned = re.sub(pattern, " ", cleaned)
    return folded[mentioned.pop()] if len(mentioned) == 1 else None


def _folded(answer: str, words: Iterable[str]) -> tuple[dict[str, str], str]:
    """Return the label words by their folded forms, and the folded answer, or raise."""
    if not isinstance(answer, str):
        raise ValueError(f"answer={answer!r}; pass the text that a model wrote.")
    if isinstance(words, str | bytes) or not isinstance(words, Iterable):
        raise ValueError(f"words={words!r}; pass a list of label words.")
    words = list(words)
    for word in words:
        if not isinstance(word, str) or not word.strip():
            raise ValueError(f"words={words!r} holds {word!r}; use words with some text.")
    words = list(dict.fromkeys(words))
    folded = {_bare(word): word for word in words}
    if len(folded) == len(words):
        return folded, _bare(answer)
    # Punctuation tells some apart, as with "1" and "-1".
    folded = {word.casefold().strip(): word for word in words}
    if len(folded) < len(words):
        raise ValueError(
            f"words={words!r} differ in nothing but case and white space, which do not count in an "
            "answer; use words that differ."
        )
    return folded, answer.casefold().strip()


def _bare(text: str) -> str:
    """Fold case, and drop what is no letter or digit at both ends, unless nothing else is left."""
    text = text.casefold()
    first = re.search(r"\w", text)
    if first is None:
        return text.strip()
    # Backwards by hand: a pattern for what stands at the end would be tried at every index.
    last = next(index for index in reversed(range(len(text))) if re.match(r"\w", text[index]))
    return text[first.start() : last + 1]


# --- scores --------------------------------------------------------------------------------------


def calibrated(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return probabilities, less what the model answers in this context anyway.

    Each label's probability is divided by its mean over reference inputs, and the result made to
    sum to 1. Inputs without content make this contextual calibration; texts of the task, without
    labels, make it batch calibration, which takes the classes to be equally frequent among them.

    >>> scores = np.log([[0.6, 0.4]])
    >>> without_content = np.log([[0.75, 0.25]])  # the model says the first label anyway
    >>> calibrated(scores, without_content).round(2)
    array([[0.33, 0.67]])

    Args:
        scores: Log-likelihoods of the labels, `(n, classes)`.
        reference: The same for the reference inputs in the same context, `(m, classes)`.

    Returns:
        Shape `(n, classes)`; rows sum to 1.

    Raises:
        ValueError: If the numbers of classes differ, or there is no reference input.

    Source: Zhao et al., *Calibrate Before Use* (2021), section 5; Zhou et al., *Batch
    Calibration* (2024); chapter 5.
    """
    scores, reference = np.atleast_2d(scores), np.atleast_2d(reference)
    if reference.size == 0 or scores.shape[1] != reference.shape[1]:
        raise ValueError(
            f"scores have shape {scores.shape} and reference {reference.shape}; "
            "pass (n, classes) and (m, classes), m at least 1."
        )
    # In logarithms: a label that no reference input is given a chance of stays finite.
    anyway = logsumexp(log_softmax(reference, axis=1), axis=0)
    return softmax(scores - anyway, axis=1)


# --- the classifier ------------------------------------------------------------------------------


class InContextClassifier(TextClassifier):
    """Classification by a causal language model that is shown examples in its prompt.

    No weight changes: `fit` chooses the examples and finds out what the model prefers anyway.
    `logits` gives what is there before calibration, the mean log-likelihood per token of each
    label word. Making a classifier loads no model yet; `fit(texts, labels)` does, and then
    `predict(texts)` reads prompts such as this one:

    >>> from reptune.incontext import InContextClassifier, build_prompt
    >>> classifier = InContextClassifier(words={0: "negative", 1: "positive"}, per_class=1)
    >>> print(build_prompt("dull .", [("great fun .", "positive")], template=classifier.template))
    Review: great fun .
    Sentiment: positive
    <BLANKLINE>
    Review: dull .
    Sentiment:

    Args:
        model: An asset's name, a local folder or a Hub id of a causal language model.
        template: How an item looks, with `{text}` in it; the label word follows after a space. A
            `{mask}` at its end is the same: it says where the word goes.
        words: A word (or several) for each label; `None` takes the labels themselves.
        description: What the task is, at the head of the prompt; empty for none.
        per_class: Examples of each label in the prompt; 0 for none. As many as there are where
            `fit` gets fewer.
        selection: `"random"` draws the examples once, in random order; `"nearest"` takes for each
            input those of each label whose sentence embeddings are nearest to it, the nearest
            last; `"given"` takes the first of each label, in the order given.
        calibrate: `"contextual"` divides by what the model answers to inputs without content,
            `"batch"` by what it answers on average to texts without labels (`fit`'s `unlabeled`),
            `None` by nothing.
        max_length: Tokens a prompt may have; `None` takes the model's limit. Longer prompts lose
            examples, the first ones first, and then the end of their input; a warning says how
            many.
        fast: `True` for every option of `FAST_OPTIONS`, a tuple of some of them, or `False` for
            plain code: each prompt read whole, one at a time. With `"shared_prefix"` alone scores
            are equal to 1e-4; `"half_precision"` moves them by about 0.1.
        device: Where the model runs: `None` for the accelerator, or a name such as `"cpu"`.
        prediction_batch_size: Prompts scored in one pass at most; `None` puts 512 tokens into a
            pass. Without `"shared_prefix"`, and for models with attention over a window, each
            prompt has its own.
        random_state: Seed of the choice and order of examples.
        show_progress: Show how many prompts are scored; `None` does so in a terminal or notebook.

    Attributes:
        classes_: The labels, sorted, shape `(num_classes,)`.
        words_: The word of each label, a dictionary in the order of `classes_`.
        examples_: The examples in the prompt, `(text, label)`; with `"nearest"`, all there are.
        reference_: The inputs whose answers calibration divides by.
        lm_: The model, a `reptune.models.causal.CausalLM`. Classifiers with the same model share
            it.
        cost_: A `reptune.meter.Meter` of what `fit` took.

    Source: Brown et al. (2020); Zhao et al. (2021); chapter 5.
    """

    def __init__(
        self,
        model: str | Path = "SmolLM2-135M-Instruct",
        template: str = TEMPLATE,
        words: Mapping[Any, str] | None = None,
        *,
        description: str = "",
        per_class: int = 4,
        selection: Selection = "random",
        calibrate: Calibration = "contextual",
        max_length: int | None = None,
        fast: bool | Collection[str] = True,
        device: str | None = None,
        prediction_batch_size: int | None = None,
        random_state: int | None = 42,
        show_progress: bool | None = None,
    ) -> None:
        self.model = model
        self.template = template
        self.words = words
        self.description = description
        self.per_class = per_class
        self.selection = selection
        self.calibrate = calibrate
        self.max_length = max_length
        self.fast = fast
        self.device = device
        self.prediction_batch_size = prediction_batch_size
        self.random_state = random_state
        self.show_progress = show_progress

    _FILES = (EXAMPLES_FILE,)

    def fit(
        self,
        texts: Iterable[str],
        labels: Iterable[str | int],
        unlabeled: Iterable[str] | None = None,
    ) -> Self:
        """Choose the examples, and keep what calibration needs.

        A `fit` that fails or is interrupted leaves an already fitted object as it was.

        Args:
            texts: The examples to choose from.
            labels: One label per text, all strings or all integers.
            unlabeled: Texts of the task for `calibrate="batch"`, classes in about equal numbers;
                the first 200 are read. `None` takes those of `texts` that no prompt
                shows; all of them with `selection="nearest"`.

        Raises:
            ValueError: If the input or a parameter is bad; raised before the model is loaded.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        texts, label_array = check_training_set(texts, labels)
        self._check_parameters()
        classes, encoded = np.unique(label_array, return_inverse=True)
        words = self._check_words(classes)
        chosen = self._choose(encoded)
        reference = self._reference(texts, chosen, unlabeled)
        with Meter("fit") as cost:
            lm = self._load_lm()
            self._check_window(lm, words)
            examples = [(texts[row], classes[encoded[row]].item()) for row in chosen]
            neighbors = Neighbors(texts) if self.selection == "nearest" else None
        self.lm_, self.classes_, self.words_ = lm, classes, words
        self.examples_, self.reference_, self._neighbors = examples, reference, neighbors
        self.cost_ = cost
        self._forget()
        return self

    def prompt(self, text: str) -> str:
        """Return the prompt that the model reads for a text.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If the text is not a string.
        """
        check_is_fitted(self, "lm_")
        prompt, _ = self._prompts(check_texts([text]))[0]
        return prompt

    # What follows is plumbing; the chapter shows the lines that matter.

    def _probabilities(self, texts: list[str]) -> np.ndarray:
        scores, reference = self._scores(texts, self.reference_)
        if not self.reference_:
            return softmax(scores, axis=1)
        rows = zip(scores, reference, strict=True)
        return np.concatenate([calibrated(row, anyway) for row, anyway in rows])

    def _logits(self, texts: list[str]) -> np.ndarray:
        """Return the mean log-likelihood per token of each label word, before calibration.

        Without the mean, a word of three tokens would lose to one of one token.
        """
        return self._scores(texts)[0]

    def _write(self, folder: Path) -> None:
        words = list(self.words_.values())  # by number, since a key of JSON is always a string
        content = {"examples": self.examples_, "words": words, "reference": self.reference_}
        text = json.dumps(content, indent=2, ensure_ascii=False, default=runtime.as_json)
        (folder / EXAMPLES_FILE).write_text(text, encoding="utf-8")

    def _read(self, folder: Path, manifest: dict[str, Any]) -> None:
        self._check_parameters()
        content = json.loads((folder / EXAMPLES_FILE).read_text(encoding="utf-8"))
        words, self.examples_, self.reference_ = _read_examples(content, self.classes_)
        self.words_ = dict(zip(self.classes_.tolist(), words, strict=True))
        if bool(self.reference_) != (self.calibrate is not None):
            raise ValueError(f"calibrate={self.calibrate!r}, {len(self.reference_)} references")
        self.lm_ = self._load_lm()
        texts = [text for text, _ in self.examples_]
        self._neighbors = Neighbors(texts) if self.selection == "nearest" else None

    def _load_lm(self) -> CausalLM:
        device = str(runtime.check_device(self.device))
        return _shared_lm(str(assets.resolve_model(self.model)), device)

    def _check_parameters(self) -> None:
        check_template(self.template)
        check_text("description", self.description)
        fast_options(self.fast, FAST_OPTIONS)
        runtime.check_device(self.device)
        check_shared_parameters(self)
        check_random_state(self.random_state)
        check_whole_number("per_class", self.per_class, least=0)
        if self.max_length is not None:
            check_whole_number("max_length", self.max_length)
        if self.selection not in SELECTIONS:
            raise ValueError(f"selection={self.selection!r}; use one of {', '.join(SELECTIONS)}.")
        if self.calibrate is not None and self.calibrate not in CALIBRATIONS:
            raise ValueError(
                f"calibrate={self.calibrate!r}; use {', '.join(map(repr, CALIBRATIONS))} or None."
            )
        if self.selection == "nearest" and self.per_class == 0:
            raise ValueError("per_class=0 leaves no example to select; use 'random', or 1 or more.")

    def _check_words(self, classes: np.ndarray) -> dict[Any, str]:
        """Return a word for each class, in their order, or raise a `ValueError`."""
        labels = classes.tolist()
        if self.words is not None and not isinstance(self.words, Mapping):
            raise ValueError(
                f"words={self.words!r}; pass a dictionary from label to word, or None for the "
                "labels themselves."
            )
        given = {label: str(label) for label in labels} if self.words is None else self.words
        lacking = [label for label in labels if label not in given]
        if lacking:
            raise ValueError(f"words lacks {lacking}; give every label a word.")
        words = {label: given[label] for label in labels}
        for label, word in words.items():
            if not isinstance(word, str) or not word.strip():
                raise ValueError(f"the word of label {label!r} is {word!r}; use some text.")
            check_unicode(word, f"the word of label {label!r}")
        words = {label: word.strip() for label, word in words.items()}
        for word in words.values():
            twins = [label for label, other in words.items() if other == word]
            if len(twins) > 1:
                raise ValueError(f"labels {twins} share the word {word!r}; give each its own.")
        return words

    def _check_window(self, lm: CausalLM, words: Mapping[Any, str]) -> None:
        limit = check_max_length(self.max_length, lm.limit)
        bare = build_prompt("", description=self.description, template=self.template)
        if len(lm.encode(bare)) + _longest(lm, words) >= limit:
            raise ValueError(
                f"the description and the template alone fill {limit} tokens; shorten them, or "
                "raise max_length."
            )

    def _choose(self, encoded: np.ndarray) -> list[int]:
        """Return the rows of the examples, in the order in which the prompt shows them."""
        if self.selection == "nearest":
            return list(range(len(encoded)))
        generator = np.random.default_rng(seed_of(self.random_state))
        rows = np.arange(len(encoded))
        if self.selection == "random":
            rows = generator.permutation(rows)
        seen, chosen = np.zeros(encoded.max() + 1, int), []
        for row in rows:
            if seen[encoded[row]] < self.per_class:
                seen[encoded[row]] += 1
                chosen.append(int(row))
        return chosen

    def _reference(
        self, texts: list[str], chosen: list[int], unlabeled: Iterable[str] | None
    ) -> list[str]:
        """Return the inputs whose answers calibration divides by."""
        if self.calibrate is None:
            return []
        if self.calibrate == "contextual":
            return list(CONTENT_FREE)
        if unlabeled is None:
            shown = set(chosen) if self.selection != "nearest" else set()
            unlabeled = [text for row, text in enumerate(texts) if row not in shown]
            if not unlabeled:
                raise ValueError(
                    "calibrate='batch' has no text left to look at, because all are in the prompt; "
                    "pass unlabeled=[...] to fit, or lower per_class."
                )
        return check_texts(unlabeled, "unlabeled")[:MOST_UNLABELED]

    def _scores(
        self, texts: Sequence[str], reference: Sequence[str] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores, `(n, classes)`, and the reference inputs' in the same context.

        The latter have shape `(n, inputs, classes)`.
        """
        prompts = self._prompts(texts)
        scores = np.empty((len(texts), len(self.words_)))
        anyway = np.empty((len(texts), len(reference), len(self.words_)))
        # Prompts with the same examples share them; without a reference, all go together.
        by_examples: dict[tuple, list[int]] = {}
        for row, (_, examples) in enumerate(prompts):
            by_examples.setdefault(tuple(examples) if reference else (), []).append(row)
        with tqdm(
            total=len(texts) + len(by_examples) * len(reference), desc="scoring", unit="prompt",
            leave=False, disable=not runtime.shows_progress(self.show_progress),
        ) as bar:  # fmt: skip
            for rows in by_examples.values():
                shown = prompts[rows[0]][1]
                others = [self._build(self._shortened(text, shown), shown) for text in reference]
                both = self._word_scores([*others, *(prompts[row][0] for row in rows)], bar)
                anyway[rows], scores[rows] = both[: len(others)], both[len(others) :]
        return scores, anyway

    def _word_scores(self, prompts: list[str], bar: tqdm) -> np.ndarray:
        fast = fast_options(self.fast, FAST_OPTIONS)
        endings = [f" {word}" for word in self.words_.values()]
        lengths = [len(self.lm_.encode(ending, special=False)) for ending in endings]
        totals = self.lm_.continuation_scores(
            prompts,
            endings,
            shared_prefix="shared_prefix" in fast,
            half_precision="half_precision" in fast,
            batch_size=self.prediction_batch_size,
            progress=bar.update,
        )
        return totals / np.array(lengths)

    def _prompts(self, texts: Sequence[str]) -> list[tuple[str, list[tuple[str, Any]]]]:
        """Return each text's prompt and the examples in it, and warn of what had to go."""
        prompts, dropped, cut = [], [], 0
        for text, examples in zip(texts, self._examples_of(texts), strict=True):
            kept = list(examples)
            while kept and not self._fits(text, kept):
                kept.pop(0)
            if not kept and not self._fits(text, kept):
                text, cut = self._shortened(text), cut + 1
            dropped.append(len(examples) - len(kept))
            prompts.append((self._build(text, kept), kept))
        if any(dropped) or cut:
            warnings.warn(
                f"{max(np.count_nonzero(dropped), cut)} of {len(texts)} prompts were longer than "
                f"{check_max_length(self.max_length, self.lm_.limit)} tokens: they lost up to "
                f"{max(dropped)} examples, and {cut} inputs were cut. Use fewer or shorter "
                "examples.",
                stacklevel=_level_of_caller(),
            )
        return prompts

    def _examples_of(self, texts: Sequence[str]) -> Iterable[list[tuple[str, Any]]]:
        if self.selection != "nearest":
            return [self.examples_] * len(texts)
        return [self._nearest(order) for order in self._neighbors.order(texts)]

    def _nearest(self, order: np.ndarray) -> list[tuple[str, Any]]:
        """Return the nearest examples of each label, the nearest of all last."""
        seen = dict.fromkeys(self.classes_.tolist(), 0)
        kept = []
        for row in order:
            text, label = self.examples_[row]
            if seen[label] < self.per_class:
                seen[label] += 1
                kept.append((text, label))
        return kept[::-1]

    def _build(self, text: str, examples: Iterable[tuple[str, Any]]) -> str:
        shown = [(known, self.words_[label]) for known, label in examples]
        return build_prompt(text, shown, description=self.description, template=self.template)

    def _fits(self, text: str, examples: Sequence[tuple[str, Any]]) -> bool:
        room = check_max_length(self.max_length, self.lm_.limit) - _longest(self.lm_, self.words_)
        return len(self.lm_.encode(self._build(text, examples))) <= room

    def _shortened(self, text: str, examples: Sequence[tuple[str, Any]] = ()) -> str:
        """Return as much of a text's beginning as fits after the examples, in a whole template."""
        if self._fits(text, examples):
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(text[:middle], examples):
                low = middle
            else:
                high = middle - 1
        return text[:low]


def _read_examples(
    content: Any, classes: np.ndarray
) -> tuple[list[str], list[tuple[str, Any]], list[str]]:
    """Return words, examples and reference inputs of a saved folder, or raise a `ValueError`."""
    parts = ("words", "examples", "reference")
    if not isinstance(content, dict) or not all(isinstance(content.get(n), list) for n in parts):
        raise ValueError(f"{EXAMPLES_FILE} lacks one of {', '.join(parts)}")
    words, rows, reference = (content[name] for name in parts)
    if len(words) != len(classes):
        raise ValueError(f"{EXAMPLES_FILE} has {len(words)} words for {len(classes)} labels")
    for name, texts in (("words", words), ("reference", reference)):
        if texts:
            check_texts(texts, f"{name} in {EXAMPLES_FILE}")
    known, examples = set(classes.tolist()), []
    for row in rows:
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[1], str | int):
            raise ValueError(f"{EXAMPLES_FILE} holds {row!r} instead of a text and its label")
        if row[1] not in known:
            raise ValueError(f"{EXAMPLES_FILE} has an example of {row[1]!r}, which is no label")
        examples.append((row[0], row[1]))
    if examples:
        check_texts([text for text, _ in examples], f"examples in {EXAMPLES_FILE}")
    return words, examples, reference


def _longest(lm: CausalLM, words: Mapping[Any, str]) -> int:
    """Return the number of tokens of the longest label word."""
    return max(len(lm.encode(f" {word}", special=False)) for word in words.values())


def _level_of_caller() -> int:
    """Return the `stacklevel` with which a warning names the first line outside the libraries."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(INSIDE):
        frame, level = frame.f_back, level + 1
    return level


@functools.lru_cache(maxsize=1)
def _shared_lm(source: str, device: str) -> CausalLM:
    """Load one copy of a model for all classifiers that read with it: none of them changes it."""
    return load_causal_lm(source, device)
