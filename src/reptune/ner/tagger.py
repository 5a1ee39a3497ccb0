"""Named entity recognition: an encoder with a layer that gives every word a tag (chapter 4).

`EntityTagger` is the chapter's code behind a small interface: the same alignment of labels to word
pieces, the same model, the same `Trainer` call, and a decoder that leaves valid BIO2 only. With
`fast=False` a test holds the two together.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from scipy.special import log_softmax
from sklearn.utils.validation import check_is_fitted
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
)

from reptune import assets, metrics, runtime, training
from reptune.checks import (
    check_finite_weights,
    check_flag,
    check_model_folder,
    check_number,
    check_optimizer,
    check_random_state,
    check_texts,
    check_whole_number,
    seed_of,
)
from reptune.data.tagged import Word, split_words
from reptune.data.tags import OUTSIDE, check_sentences, spans
from reptune.estimator import SavedEstimator, check_vocabulary, check_weights
from reptune.meter import Meter
from reptune.ner.alignment import (
    IGNORED,
    Window,
    align,
    case_marks,
    every_token_alike,
    special_ids,
    windows,
)
from reptune.ner.labels import (
    _warn_of_letters,
    check_held_out,
    check_shares,
    check_tagged,
    classes_of,
    decode_tags,
    encode_tags,
    tag_shares,
)
from reptune.tokens import model_limit

PREDICTION_TOKENS = 4096  # word pieces a batch, padding included, when words are tagged
# Above the 5e-5 of BERT's own grid: validation chose it for MiniLM (chapter 4). A larger encoder
# wants less.
DEFAULT_LEARNING_RATE = 2e-4
LONGEST_WORD = 0.25  # of a window that the pieces of one word may fill; a URL can have hundreds


@dataclass(frozen=True)
class Entity:
    """An entity found in a text.

    Attributes:
        text: Its characters, `original[start:end]`.
        type: Such as `PER`.
        start: Its first character's place in the original text.
        end: One past its last character's place.
        confidence: The probability of the least certain of its words' tags, 0 to 1.
    """

    text: str
    type: str
    start: int
    end: int
    confidence: float


class EntityTagger(SavedEstimator):
    """A pretrained encoder that gives every word a tag, trained on tagged sentences.

    Args:
        model: An asset's name, a local folder or a Hub id.
        num_epochs: Passes over the training sentences.
        learning_rate: Peak rate of AdamW; `None` takes 2e-4, which suits MiniLM. Try 5e-5 for an
            encoder of BERT's size.
        batch_size: Sentences a step.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises from 0; it then falls to 0.
        layer_decay: Share of the next block's rate that a block gets; 1 for one rate everywhere.
        max_length: Word pieces that go through the model together, special ones included. A longer
            sentence or text is read in overlapping windows, never cut.
        label_pieces: `"first"` trains on the first piece of a word only, `"all"` on all of them: a
            word's `B-X` becomes `B-X` on its first piece and `I-X` on the others.
        mark_case: Tell an encoder that lowercases its input which words begin with a capital, by
            its second segment embedding. Stock pipelines do not know of it.
        fast: `True` for all of `FAST_OPTIONS`, a tuple of some of them, or `False` for plain
            library code: random order, float32. `"length_buckets"` saves most and costs some F1
            (chapter 4); `("half_precision", "cheap_dropout")` keeps the random order.
        random_state: Seed of the new layer's first weights, the order of sentences and dropout.
            The same seed on the same CPU and thread count gives the same model, bit for bit.
        show_progress: Show a progress bar while training.

    A saved folder also loads in `transformers.pipeline("token-classification", folder)`.

    It follows scikit-learn as far as sentences of words allow: `get_params`, `clone`, `score`,
    `cross_validate` and `GridSearchCV` work, with `tokens` and `tags` as lists.

    Attributes:
        classes_: The tags, `O` first, then `B-X` and `I-X` for each type, shape `(num_tags,)`.
        model_: The fine-tuned `transformers` model.
        tokenizer_: Its tokenizer.
        shares_: How often each tag occurs in training, shape `(num_tags,)`: all that is known of a
            word of which the tokenizer leaves no piece.
        history_: A list of `{"step", "epoch", "loss"}` and, with `validation`, of `{"step",
            "epoch", "eval_loss", "eval_f1"}`.
        cost_: A `reptune.meter.Meter` with the seconds and memory training took.

    Source: Devlin et al., *BERT* (2019), section 5.3; chapter 4.
    """

    FAST_OPTIONS = ("length_buckets", "half_precision", "cheap_dropout")

    def __init__(
        self,
        model: str | Path = "all-MiniLM-L6-v2",
        *,
        num_epochs: int = 3,
        learning_rate: float | None = None,
        batch_size: int = 16,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        layer_decay: float = 1.0,
        max_length: int = 128,
        label_pieces: Literal["first", "all"] = "first",
        mark_case: bool = False,
        fast: bool | Collection[str] = True,
        random_state: int | None = 42,
        show_progress: bool = False,
    ) -> None:
        self.model = model
        self.num_epochs = num_epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.layer_decay = layer_decay
        self.max_length = max_length
        self.label_pieces = label_pieces
        self.mark_case = mark_case
        self.fast = fast
        self.random_state = random_state
        self.show_progress = show_progress

    _FILES = ("config.json", "model.safetensors")

    def fit(
        self,
        tokens: Iterable[Sequence[str]],
        tags: Iterable[Sequence[str]],
        validation: tuple[Iterable[Sequence[str]], Iterable[Sequence[str]]] | None = None,
    ) -> Self:
        """Fine-tune on tagged sentences.

        A `fit` that fails or is interrupted leaves an already fitted object as it was.

        Args:
            tokens: Sentences, each a list of words.
            tags: For each sentence a list of BIO2 tags, one per word.
                `reptune.data.tags.to_bio2` makes them of IOB1 and BIOES.
            validation: Sentences and tags scored after each epoch, for `history_`; they do not
                influence training.

        Raises:
            ValueError: If the input or a parameter is bad; raised before any training. If training
                diverges.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        sentences, gold = check_tagged(tokens, tags)
        classes = classes_of(gold)
        held_out = check_held_out(validation, classes)
        self._check_parameters()
        with runtime.seeded(self.random_state), runtime.quiet():
            tokenizer, model = self._pretrained(classes)
            self._check_model(tokenizer, model)
            windows = self._features(tokenizer, sentences, gold, classes)
            features = [feature for _, feature in windows]
            shares = tag_shares(gold, classes)
            with Meter("fit") as cost:
                history = self._train(model, tokenizer, features, classes, shares, held_out)
            check_finite_weights(model)
        self.tokenizer_, self.model_, self.classes_ = tokenizer, model.eval(), classes
        self.shares_, self.history_, self.cost_ = shares, history, cost
        return self

    def predict(self, tokens: Iterable[Sequence[str]]) -> list[list[str]]:
        """The likeliest tags of each sentence that make valid BIO2, one a word."""
        return decode_tags(self.predict_proba(tokens), self.classes_)

    def predict_proba(self, tokens: Iterable[Sequence[str]]) -> list[np.ndarray]:
        """Probabilities of each word's tags, in the order of `classes_`.

        Returns:
            For each sentence an array of shape `(words, num_tags)`.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If a sentence is empty or no list of words.
        """
        check_is_fitted(self, "model_")
        sentences = check_sentences(tokens)
        _warn_of_letters(sentences)
        return self._probabilities(self.model_, self.tokenizer_, sentences, self.shares_)

    def score(self, tokens: Iterable[Sequence[str]], tags: Iterable[Sequence[str]]) -> float:
        """The F1 of the entities found in some sentences, 0 to 1, as CoNLL's shared task counts.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If sentences or tags are bad.
        """
        check_is_fitted(self, "model_")
        sentences, gold = check_tagged(tokens, tags)
        return float(metrics.entity_scores(gold, self.predict(sentences))["f1"])

    def entities(self, text: str | Iterable[str]) -> list[Entity] | list[list[Entity]]:
        """The entities of a raw text, or of each of several.

        The text is cut into words by `split_words`; a long one is read in overlapping windows of
        `max_length` word pieces. Several texts at once are tagged in batches, which is faster.

        Args:
            text: A string, or several.

        Returns:
            For one string its entities from left to right; for several a list of them for each. A
            text without words has none.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If a text is not a string.
        """
        check_is_fitted(self, "model_")
        if isinstance(text, str):
            return self.entities([text])[0]
        texts = check_texts(text)
        words = [split_words(one) for one in texts]
        sentences = [[word.text for word in row] for row in words if row]
        rows = self._probabilities(self.model_, self.tokenizer_, sentences, self.shares_)
        found = iter(zip(rows, decode_tags(rows, self.classes_), strict=True))
        return [
            _entities(one, row, *next(found), self.classes_) if row else []
            for one, row in zip(texts, words, strict=True)
        ]

    # What follows is plumbing; the chapter shows the lines that matter.

    def _write(self, folder: Path) -> None:
        self.model_.save_pretrained(folder)
        self.tokenizer_.save_pretrained(folder)

    def _manifest(self) -> dict[str, Any]:
        return {**super()._manifest(), "shares": self.shares_.tolist()}

    def _read(self, folder: Path, manifest: dict[str, Any]) -> None:
        options = {"local_files_only": True, "trust_remote_code": False}
        model = AutoModelForTokenClassification.from_pretrained(
            folder, use_safetensors=True, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        shares = check_shares(manifest.get("shares"), len(self.classes_))
        self._check_parameters()
        self._check_model(tokenizer, model)
        check_weights(folder, model)
        _check_loaded(model, tokenizer, self.classes_)
        self.tokenizer_, self.shares_ = tokenizer, shares
        self.model_ = model.to(runtime.device()).eval()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.target_tags.required = True
        tags.target_tags.one_d_labels = False
        return tags

    def _options(self) -> frozenset[str]:
        if isinstance(self.fast, bool):
            return frozenset(self.FAST_OPTIONS if self.fast else ())
        named = training.fast_options(self.fast)
        for name in sorted(named.difference(self.FAST_OPTIONS)):
            raise ValueError(
                f"fast holds {name!r}, which tagging cannot use: every word's output is read and "
                f"nothing is frozen; use some of {', '.join(self.FAST_OPTIONS)}."
            )
        return named

    def _check_parameters(self) -> None:
        self._options()
        for name in ("num_epochs", "batch_size"):
            check_whole_number(name, getattr(self, name))
        check_whole_number("max_length", self.max_length, least=8)
        check_optimizer(self.learning_rate, self.warmup, self.weight_decay)
        check_number("layer_decay", self.layer_decay, above=0, most=1)
        check_random_state(self.random_state)
        for name in ("mark_case", "show_progress"):
            check_flag(name, getattr(self, name))
        if not isinstance(self.label_pieces, str) or self.label_pieces not in ("first", "all"):
            raise ValueError(f"label_pieces={self.label_pieces!r}; use 'first' or 'all'.")

    def _pretrained(self, classes: np.ndarray) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        source = assets.resolve_model(str(self.model))
        if Path(source).is_dir():
            check_model_folder(source)
        id2label = {index: str(tag) for index, tag in enumerate(classes)}
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model = AutoModelForTokenClassification.from_pretrained(
            source,
            trust_remote_code=False,
            num_labels=len(classes),
            id2label=id2label,
            label2id={tag: index for index, tag in id2label.items()},
            use_safetensors=True,
        )
        return tokenizer, model

    def _check_model(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
        if not tokenizer.is_fast:
            raise ValueError(
                f"model={str(self.model)!r} has no fast tokenizer, and only these say which piece "
                "belongs to which word; use another model."
            )
        limit = model_limit(tokenizer, model)
        if self.max_length > limit:
            raise ValueError(
                f"max_length={self.max_length}, but the model takes at most {limit} word pieces; "
                f"use {limit} or less."
            )
        if self.mark_case and getattr(model.config, "type_vocab_size", 0) < 2:
            raise ValueError(
                f"mark_case=True needs a model with two segment embeddings, as BERT has; "
                f"{str(self.model)!r} has none. Use mark_case=False."
            )

    def _features(
        self,
        tokenizer: PreTrainedTokenizerBase,
        sentences: Sequence[Sequence[str]],
        gold: Sequence[Sequence[str]] | None = None,
        classes: np.ndarray | None = None,
    ) -> list[tuple[tuple[int, Window, list[int]], dict[str, list[int]]]]:
        """What the model reads, window by window.

        Returns:
            For each window the sentence's number, the window and the places of its words' first
            pieces (-1 for a word without one), and the model's inputs with `labels` if there are
            tags.
        """
        before, after = special_ids(tokenizer)
        room = self.max_length - len(before) - len(after)
        found = []
        for number, words in enumerate(align(tokenizer, sentences)):
            longest = max(1, int(LONGEST_WORD * room))
            if sum(map(len, words)) > room:
                words = [pieces[:longest] for pieces in words]
            for window in windows([len(pieces) for pieces in words], room):
                shown = words[window.start : window.end]
                ids = [*before, *(piece for pieces in shown for piece in pieces), *after]
                ends = np.cumsum([len(before), *map(len, shown)]).tolist()
                first = [
                    start if pieces else -1 for start, pieces in zip(ends, shown, strict=False)
                ]
                feature: dict[str, list[int]] = {"input_ids": ids}
                if self.mark_case:
                    feature["token_type_ids"] = case_marks(
                        sentences[number][window.start : window.end], shown, before, after
                    )
                if gold is not None:
                    labels = self._labels(gold[number], shown, window, classes)
                    feature["labels"] = [
                        *[IGNORED] * len(before), *labels, *[IGNORED] * len(after)
                    ]  # fmt: skip
                found.append(((number, window, first), feature))
        return found

    def _labels(
        self, row: Sequence[str], shown: list[list[int]], window: Window, classes: np.ndarray
    ) -> list[int]:
        """A label a piece; words that another window decides are left out."""
        place = {tag: index for index, tag in enumerate(classes)}
        labels: list[int] = []
        for word, pieces in enumerate(shown, start=window.start):
            if not pieces:
                continue
            rest = IGNORED
            if self.label_pieces == "all":
                rest = place[_inside(row[word])]
            own = window.own_start <= word < window.own_end
            found = [place[row[word]], *[rest] * (len(pieces) - 1)]
            labels += found if own else [IGNORED] * len(pieces)
        return labels

    def _train(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        features: list[dict[str, list[int]]],
        classes: np.ndarray,
        shares: np.ndarray,
        held_out: tuple[list[list[str]], list[list[str]]] | None,
    ) -> list[dict[str, float]]:
        """Train in place; return the history."""
        fast = self._options()
        multiple = training.padding_multiple(fast, model_limit(tokenizer, model))
        scored: list[dict[str, float]] = []
        callbacks: list[TrainerCallback] = []
        if self.show_progress:
            callbacks.append(training.ProgressBar())
        if held_out is not None:
            score = functools.partial(self._score, model, tokenizer, classes, shares, *held_out)
            callbacks.append(_EachEpoch(score, scored))
        with runtime.scratch_folder() as folder, contextlib.ExitStack() as stack:
            model.to(runtime.device())
            if "cheap_dropout" in fast:
                stack.enter_context(training.cheap_dropout(model))
            lengths = loss = None
            if "length_buckets" in fast:
                lengths = [len(feature["input_ids"]) for feature in features]
                loss = every_token_alike(features, int(self.batch_size))
            trainer = training.FastTrainer(
                model=model,
                args=self._training_arguments(str(folder), len(features)),
                train_dataset=features,
                data_collator=DataCollatorForTokenClassification(
                    tokenizer, pad_to_multiple_of=multiple
                ),
                callbacks=callbacks,
                compute_loss_func=loss,
                lengths=lengths,
                layer_decay=self.layer_decay,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
            # As in FineTunedClassifier: predict in float32, not through autocast's wrapper.
            trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        losses = [
            {key: entry[key] for key in ("step", "epoch", "loss")}
            for entry in trainer.state.log_history
            if "loss" in entry
        ]
        return sorted(losses + scored, key=lambda entry: entry["step"])

    def _training_arguments(self, folder: str, num_windows: int) -> TrainingArguments:
        together = int(self.batch_size) * runtime.world_size()
        num_steps = int(self.num_epochs) * math.ceil(num_windows / together)
        return TrainingArguments(
            folder,
            num_train_epochs=int(self.num_epochs),
            learning_rate=float(self.learning_rate or DEFAULT_LEARNING_RATE),
            per_device_train_batch_size=int(self.batch_size),
            weight_decay=float(self.weight_decay),
            warmup_steps=training.warmup_steps(float(self.warmup), num_steps),
            save_strategy="no",
            logging_steps=max(1, num_steps // 50),
            remove_unused_columns=False,
            report_to="none",
            seed=seed_of(self.random_state),
            disable_tqdm=True,
            dataloader_pin_memory=runtime.device().type == "cuda",
            **(runtime.precision() if "half_precision" in self._options() else {}),
        )

    def _score(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        classes: np.ndarray,
        shares: np.ndarray,
        sentences: list[list[str]],
        gold: list[list[str]],
    ) -> dict[str, float]:
        rows = self._probabilities(model, tokenizer, sentences, shares)
        right = np.concatenate(
            [
                row[np.arange(len(row)), indices]
                for row, indices in zip(rows, encode_tags(gold, classes), strict=True)
            ]
        )
        scores = metrics.entity_scores(gold, decode_tags(rows, classes))
        return {"eval_loss": float(-np.log(right).mean()), "eval_f1": scores["f1"]}

    @torch.inference_mode()
    def _probabilities(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sentences: list[list[str]],
        shares: np.ndarray,
    ) -> list[np.ndarray]:
        """Each word's probabilities, from the first of its pieces, in the window that decides it.

        A word without a piece keeps the tags' shares in training.
        """
        found = self._features(tokenizer, sentences)
        rows = [np.tile(shares, (len(sentence), 1)) for sentence in sentences]
        # Windows of similar length share a batch, so that little padding is computed.
        order = sorted(range(len(found)), key=lambda i: len(found[i][1]["input_ids"]), reverse=True)
        mode = model.training
        model.eval()
        start = 0
        while start < len(order):
            count = max(1, PREDICTION_TOKENS // len(found[order[start]][1]["input_ids"]))
            chosen = [found[i] for i in order[start : start + count]]
            batch = tokenizer.pad([dict(feature) for _, feature in chosen], return_tensors="pt")
            logits = model(**batch.to(model.device)).logits.float().cpu().numpy()
            for ((number, window, first), _), scores in zip(chosen, logits, strict=True):
                for word in range(window.own_start, window.own_end):
                    if (piece := first[word - window.start]) >= 0:
                        rows[number][word] = np.exp(log_softmax(scores[piece].astype(float)))
            start += count
        model.train(mode)
        return rows


class _EachEpoch(TrainerCallback):
    """Scores the model after each epoch. It draws no random numbers, so training goes on alike."""

    def __init__(self, score: Any, scored: list[dict[str, float]]) -> None:
        self._score, self._scored = score, scored

    def on_epoch_end(self, args, state, control, **kwargs):
        """Score, and keep it."""
        place = {"step": state.global_step, "epoch": round(state.epoch, 4)}
        self._scored.append({**place, **self._score()})


def _check_loaded(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, classes: np.ndarray
) -> None:
    """Raise a `ValueError` unless outputs, tokenizer and tags belong together."""
    known = [model.config.id2label.get(index) for index in range(model.config.num_labels)]
    if known != classes.tolist():
        raise ValueError(f"the model's tags are {known}, the manifest's {classes.tolist()}")
    check_vocabulary(tokenizer, model.get_input_embeddings().num_embeddings)


def _inside(tag: str) -> str:
    return tag if tag == OUTSIDE else f"I-{tag[2:]}"


def _entities(
    text: str, words: list[Word], row: np.ndarray, tags: list[str], classes: np.ndarray
) -> list[Entity]:
    """The entities that tags spell, in characters of the text."""
    place = {tag: index for index, tag in enumerate(classes)}
    sure = [float(row[word, place[tag]]) for word, tag in enumerate(tags)]
    return [
        Entity(
            text=text[words[first].start : words[end - 1].end],
            type=kind,
            start=words[first].start,
            end=words[end - 1].end,
            confidence=min(sure[first:end]),
        )
        for kind, first, end in spans(tags)
    ]
