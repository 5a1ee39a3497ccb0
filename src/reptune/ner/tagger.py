"""Named entity recognition: an encoder with a layer that gives every word a tag (chapter 4).

`EntityTagger` is the chapter's code behind a small interface: the same alignment of labels to
tokens, the same model, the same `Trainer` call, and a decoder that leaves valid BIO2 only. With
`fast=False` a test holds the two together.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
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
    check_shared_parameters,
    check_texts,
    check_whole_number,
    seed_of,
)
from reptune.data.sentences import split_sentences, words_to_tag
from reptune.estimator import SavedEstimator, check_vocabulary, check_weights, in_chunks
from reptune.meter import Meter
from reptune.ner.features import (
    WindowInputs,
    add_labels,
    drop_marks,
    every_token_alike,
    window_inputs,
)
from reptune.ner.labels import (
    check_held_out,
    check_shares,
    check_tagged,
    classes_of,
    decode_tags,
    encode_tags,
    further_labels,
    tag_shares,
    warn_of_letters,
)
from reptune.ner.prediction import Entity, entities_of, word_logits, word_probabilities
from reptune.tags import check_sentences
from reptune.tokens import check_max_length, model_limit

# Above the 5e-5 of BERT's own grid: validation chose it for MiniLM (chapter 4). A larger encoder
# wants less.
DEFAULT_LEARNING_RATE = 2e-4


class EntityTagger(SavedEstimator):
    """A pretrained encoder that gives every word a tag, trained on tagged sentences.

    Args:
        model: An asset's name, a local folder or a Hub id.
        num_epochs: Passes over the training sentences.
        learning_rate: Peak rate of AdamW; `None` takes 2e-4, which suits MiniLM. Try 5e-5 for an
            encoder of BERT's size.
        batch_size: Sentences per step.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises from 0; it then falls to 0.
        layer_decay: Share of the next block's rate that a block gets; 1 for one rate everywhere.
        max_length: Tokens that go through the model together, special ones included; `None` for the
            model's limit. A longer sentence or text is read in overlapping windows, never cut.
        label_pieces: `"first"` trains on the first token of a word only, `"all"` on all of them: a
            word's `B-X` becomes `B-X` on its first token and `I-X` on the others.
        mark_case: Tell an encoder that lowercases its input which words begin with a capital, by
            its second segment embedding. Such a tagger misses names in texts without capitals
            (study `ch04_capitals`), and stock pipelines do not know of the marks.
        case_dropout: With `mark_case`, the share of the training sentences whose capitals are not
            marked, drawn by `random_state`, so that texts without capitals occur in training too.
        by_sentence: Whether `entities` reads a text sentence by sentence, as training showed them
            (`reptune.data.sentences`); `False` reads as much of it at once as `max_length` allows,
            for a tagger that was trained on whole documents.
        patience: Stop after so many epochs without a better F1 on `validation`, and go back to the
            weights of the best; `None` trains to the end.
        fast: `True` for all of `FAST_OPTIONS`, a tuple of some of them, or `False` for plain
            library code: random order, float32. `"length_buckets"` saves most and costs some F1
            (chapter 4); `("half_precision", "cheap_dropout", "kept_memory")` keeps the random
            order.
        device: Where the model runs: `None` for the accelerator, or a name such as `"cpu"`.
        prediction_batch_size: Sentences, or windows of long ones, per batch in prediction; `None`
            for as many as 4,096 tokens allow.
        callbacks: Called with each new record of `history_` as training goes on, such as `[print]`.
        random_state: Seed of the new layer's first weights, the order of sentences and dropout.
            The same seed on the same CPU and thread count gives the same model, bit for bit.
        show_progress: Show a progress bar while training; `None` shows it in a terminal and in a
            notebook.

    A saved folder also loads in `transformers.pipeline("token-classification", folder)`.

    It follows scikit-learn as far as sentences of words allow: `get_params`, `clone`, `score`,
    `cross_validate` and `GridSearchCV` work, with `tokens` and `tags` as lists.

    Attributes:
        classes_: The tags, `O` first, then `B-X` and `I-X` for each type, shape `(num_tags,)`.
        model_: The fine-tuned `transformers` model.
        tokenizer_: Its tokenizer.
        shares_: How often each tag occurs in training, shape `(num_tags,)`: all that is known of a
            word of which the tokenizer leaves no token.
        history_: A list of `{"step", "epoch", "loss"}` and, with `validation`, of `{"step",
            "epoch", "eval_loss", "eval_f1"}`.
        cost_: A `reptune.meter.Meter` with the seconds and memory training took.

    Source: Devlin et al., *BERT* (2019), section 5.3; chapter 4.

    >>> tokens = [["Ada", "lives", "in", "London"], ["I", "saw", "London", "with", "Ada"]]
    >>> tags = [["B-PER", "O", "O", "B-LOC"], ["O", "O", "B-LOC", "O", "B-PER"]]
    >>> tagger = EntityTagger(num_epochs=10).fit(tokens, tags)
    >>> tagger.predict([["Ada", "saw", "London"]])
    [['B-PER', 'O', 'B-LOC']]
    >>> [(entity.text, entity.type, entity.start) for entity in tagger.entities("I saw Ada.")]
    [('Ada', 'PER', 6)]
    """

    FAST_OPTIONS = ("length_buckets", "half_precision", "cheap_dropout", "kept_memory")

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
        max_length: int | None = 128,
        label_pieces: Literal["first", "all"] = "first",
        mark_case: bool = False,
        case_dropout: float = 0.0,
        by_sentence: bool = True,
        patience: int | None = None,
        fast: bool | Collection[str] = True,
        device: str | None = None,
        prediction_batch_size: int | None = None,
        callbacks: Sequence[Callable[[dict[str, float]], Any]] = (),
        random_state: int | None = 42,
        show_progress: bool | None = None,
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
        self.case_dropout = case_dropout
        self.by_sentence = by_sentence
        self.patience = patience
        self.fast = fast
        self.device = device
        self.prediction_batch_size = prediction_batch_size
        self.callbacks = callbacks
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
                `reptune.tags.to_bio2` makes them of IOB1 and BIOES.
            validation: Sentences and tags that are scored after each epoch, for `history_`; with
                `patience` they decide when training stops, else they do not influence it.

        Raises:
            ValueError: If the input or a parameter is bad; raised before any training. If training
                diverges.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        sentences, gold = check_tagged(tokens, tags)
        classes = classes_of(gold)
        held_out = check_held_out(validation, classes)
        self._check_parameters()
        if self.patience is not None and held_out is None:
            raise ValueError(f"patience={self.patience} needs validation=(tokens, tags) in fit.")
        with runtime.seeded(self.random_state), runtime.quiet():
            tokenizer, model = self._pretrained(classes)
            self._check_model(tokenizer, model)
            shares = tag_shares(gold, classes)
            inputs = self._training_inputs(tokenizer, model, sentences, encode_tags(gold, classes))
            evaluate = None
            if held_out is not None:
                evaluate = functools.partial(
                    self._evaluate, model, tokenizer, classes, shares, *held_out
                )
            with Meter("fit") as cost:
                history = self._train(model, tokenizer, inputs, evaluate)
            check_finite_weights(model)
        self.tokenizer_, self.model_, self.classes_ = tokenizer, model.eval(), classes
        self.shares_, self.history_, self.cost_ = shares, history, cost
        self._forget()
        return self

    def predict(self, tokens: Iterable[Sequence[str]]) -> list[list[str]]:
        """Return the likeliest tags of each sentence that make valid BIO2, one per word.

        Args:
            tokens: Sentences, each a list of words, in any iterable; a generator is read in chunks.
        """
        tags: list[list[str]] = []
        for sentences in self._chunks(tokens):
            tags += decode_tags(self._probabilities(sentences), self.classes_)
        return tags

    def predict_proba(self, tokens: Iterable[Sequence[str]]) -> list[np.ndarray]:
        """Return probabilities of each word's tags, in the order of `classes_`.

        Returns:
            For each sentence an array of shape `(words, num_tags)`.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If a sentence is empty or no list of words.
        """
        rows: list[np.ndarray] = []
        for sentences in self._chunks(tokens):
            rows += self._probabilities(sentences)
        return rows

    def logits(self, tokens: Iterable[Sequence[str]]) -> list[np.ndarray]:
        """Return scores before the softmax, which is `predict_proba`.

        A word of which the tokenizer leaves no token has the logarithms of `shares_`.

        Returns:
            For each sentence an array of shape `(words, num_tags)`.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If a sentence is empty or no list of words.
        """
        rows: list[np.ndarray] = []
        for sentences in self._chunks(tokens):
            rows += self._logits(self.model_, self.tokenizer_, self.shares_, sentences)[0]
        return rows

    def score(self, tokens: Iterable[Sequence[str]], tags: Iterable[Sequence[str]]) -> float:
        """Return the F1 of the entities found, 0 to 1, as CoNLL's shared task counts it.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If sentences or tags are bad.
        """
        check_is_fitted(self, "model_")
        sentences, gold = check_tagged(tokens, tags)
        return float(metrics.entity_scores(gold, self.predict(sentences))["f1"])

    def entities(self, text: str | Iterable[str]) -> list[Entity] | list[list[Entity]]:
        """Return the entities of a raw text, or of each of several.

        The text is cut into words by `words_to_tag` and, with `by_sentence`, into sentences by
        `split_sentences`, both in `reptune.data.sentences`; what is longer than `max_length` tokens
        is read in overlapping windows. Several texts at once are tagged in batches, which is
        faster.

        Args:
            text: A string, or several in any iterable; a generator is read in chunks.

        Returns:
            For one string its entities from left to right; for several a list of them for each. A
            text without words has none.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If a text is not a string.
        """
        check_is_fitted(self, "model_")
        if isinstance(text, str):
            return self._entities(check_texts([text]))[0]
        chunks = in_chunks(text, lambda texts, first: check_texts(texts, first=first))
        return [entities for texts in chunks for entities in self._entities(texts)]

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
        self.model_ = model.to(runtime.check_device(self.device)).eval()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.target_tags.required = True
        tags.target_tags.one_d_labels = False
        return tags

    def _check_parameters(self) -> None:
        training.fast_options(self.fast, self.FAST_OPTIONS)
        for name in ("num_epochs", "batch_size"):
            check_whole_number(name, getattr(self, name))
        if self.max_length is not None:
            check_whole_number("max_length", self.max_length, least=8)
        check_optimizer(self.learning_rate, self.warmup, self.weight_decay)
        check_number("layer_decay", self.layer_decay, above=0, most=1)
        check_random_state(self.random_state)
        check_flag("mark_case", self.mark_case)
        check_number("case_dropout", self.case_dropout, least=0, below=1)
        if self.case_dropout and not self.mark_case:
            raise ValueError(
                f"case_dropout={self.case_dropout} needs marks to leave out; set mark_case=True."
            )
        check_flag("by_sentence", self.by_sentence)
        check_shared_parameters(self)
        runtime.check_device(self.device)
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
                f"model={str(self.model)!r} has no fast tokenizer, and only these say which token "
                "belongs to which word; use another model."
            )
        check_max_length(self.max_length, model_limit(tokenizer, model))
        if self.mark_case and getattr(model.config, "type_vocab_size", 0) < 2:
            raise ValueError(
                f"mark_case=True needs a model with two segment embeddings, as BERT has; "
                f"{str(self.model)!r} has none. Use mark_case=False."
            )

    def _windows(
        self,
        tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        sentences: Sequence[Sequence[str]],
    ) -> list[WindowInputs]:
        length = check_max_length(self.max_length, model_limit(tokenizer, model))
        return window_inputs(tokenizer, sentences, length, bool(self.mark_case))

    def _training_inputs(
        self,
        tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        sentences: Sequence[Sequence[str]],
        label_ids: Sequence[Sequence[int]],
    ) -> list[dict[str, list[int]]]:
        features = self._windows(tokenizer, model, sentences)
        if self.case_dropout:
            drop_marks(features, float(self.case_dropout), seed_of(self.random_state))
        tags = [model.config.id2label[index] for index in range(model.config.num_labels)]
        add_labels(
            features, label_ids, further_labels(tags) if self.label_pieces == "all" else None
        )
        return [part.inputs for part in features]

    def _train(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        inputs: list[dict[str, list[int]]],
        evaluate: Callable[[], dict[str, float]] | None,
    ) -> list[dict[str, float]]:
        """Train in place; return the history."""
        device = runtime.check_device(self.device)
        fast = training.options_on(device, self.fast)
        multiple = training.padding_multiple(fast, model_limit(tokenizer, model))
        watch = training.Watch(
            model,
            callbacks=self.callbacks,
            patience=self.patience,
            criterion="eval_f1",
            evaluate=evaluate,
        )
        lengths = loss = None
        if "length_buckets" in fast:
            lengths = [len(window["input_ids"]) for window in inputs]
            loss = every_token_alike(inputs, int(self.batch_size))
        with runtime.scratch_folder() as folder, contextlib.ExitStack() as stack:
            model.to(device)
            if "cheap_dropout" in fast:
                stack.enter_context(training.cheap_dropout(model))
            if "kept_memory" in fast:
                stack.enter_context(training.kept_memory(model))
            return training.fine_tune(
                model,
                self._training_arguments(folder, len(inputs), device, "half_precision" in fast),
                watch,
                show_progress=runtime.shows_progress(self.show_progress),
                train_dataset=inputs,
                data_collator=DataCollatorForTokenClassification(
                    tokenizer, pad_to_multiple_of=multiple
                ),
                compute_loss_func=loss,
                lengths=lengths,
                layer_decay=self.layer_decay,
            )

    def _training_arguments(
        self, folder: Path, num_windows: int, device: torch.device, half_precision: bool
    ) -> TrainingArguments:
        return training.training_arguments(
            folder,
            num_windows,
            num_epochs=int(self.num_epochs),
            learning_rate=float(self.learning_rate or DEFAULT_LEARNING_RATE),
            batch_size=int(self.batch_size),
            weight_decay=float(self.weight_decay),
            warmup=float(self.warmup),
            random_state=self.random_state,
            device=device,
            half_precision=half_precision,
        )

    def _evaluate(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        classes: np.ndarray,
        shares: np.ndarray,
        sentences: list[list[str]],
        gold: list[list[str]],
    ) -> dict[str, float]:
        rows = word_probabilities(*self._logits(model, tokenizer, shares, sentences), shares)
        right = np.concatenate(
            [
                row[np.arange(len(row)), label_ids]
                for row, label_ids in zip(rows, encode_tags(gold, classes), strict=True)
            ]
        )
        scores = metrics.entity_scores(gold, decode_tags(rows, classes))
        return {"eval_loss": float(-np.log(right).mean()), "eval_f1": scores["f1"]}

    def _chunks(self, tokens: Iterable[Sequence[str]]) -> Iterator[list[list[str]]]:
        """Yield checked sentences in lists, so that memory grows with what is returned alone."""
        check_is_fitted(self, "model_")
        for chunk in in_chunks(tokens, lambda rows, first: check_sentences(rows, first=first)):
            warn_of_letters(chunk)
            yield chunk

    def _logits(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        shares: np.ndarray,
        sentences: Sequence[Sequence[str]],
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return each word's scores, and whether it has a token that they are of."""
        features = self._windows(tokenizer, model, sentences)
        lengths = [len(sentence) for sentence in sentences]
        return word_logits(
            model, tokenizer, features, np.log(shares), lengths, self.prediction_batch_size
        )

    def _probabilities(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        logits = self._logits(self.model_, self.tokenizer_, self.shares_, sentences)
        return word_probabilities(*logits, self.shares_)

    def _entities(self, texts: Sequence[str]) -> list[list[Entity]]:
        parts = [
            (row, words)
            for row, text in enumerate(texts)
            for words in (split_sentences(text) if self.by_sentence else [words_to_tag(text)])
        ]
        rows = self._probabilities([[word.text for word in words] for _, words in parts])
        found: list[list[Entity]] = [[] for _ in texts]
        for (text, words), row, tags in zip(
            parts, rows, decode_tags(rows, self.classes_), strict=True
        ):
            (label_ids,) = encode_tags([tags], self.classes_)
            confidence = row[np.arange(len(row)), label_ids].tolist()
            found[text] += entities_of(texts[text], words, tags, confidence)
        return found


def _check_loaded(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, classes: np.ndarray
) -> None:
    """Raise a `ValueError` unless outputs, tokenizer and tags belong together."""
    known = [model.config.id2label.get(index) for index in range(model.config.num_labels)]
    if known != classes.tolist():
        raise ValueError(f"the model's tags are {known}, the manifest's {classes.tolist()}")
    check_vocabulary(tokenizer, model.get_input_embeddings().num_embeddings)
