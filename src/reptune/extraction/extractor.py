"""The estimator that finds the answer to a question in a passage (chapter 7)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from transformers import (
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from reptune import assets, runtime
from reptune.checks import (
    check_finite_weights,
    check_flag,
    check_optimizer,
    check_random_state,
    check_shared_parameters,
    check_whole_number,
)
from reptune.estimator import SavedEstimator, check_vocabulary, check_weights, in_chunks
from reptune.extraction.inputs import Pair, Span, check_answers, check_pairs
from reptune.extraction.spans import best_span, exact_match, log_probabilities, with_probability
from reptune.extraction.windows import (
    LEAST_ROOM,
    Window,
    padded_batch,
    passage_windows,
    window_targets,
)
from reptune.meter import Meter
from reptune.tokens import check_max_length, model_limit
from reptune.training.epochs import train_in_epochs
from reptune.training.options import fast_options, options_on, padding_multiple

MAX_LENGTH = 384  # as in Devlin et al., where the model takes so many
DEFAULT_LEARNING_RATE = 2e-4  # the tagger's for MiniLM (chapter 4); a larger encoder wants less
NO_CLASSES = np.array([], dtype=str)


class SpanExtractor(SavedEstimator):
    """A pretrained encoder that finds the answer to a question in a passage.

    Two numbers for each token say how likely the answer begins and ends there. The likeliest span
    of at most `max_answer_tokens` tokens is the prediction; it lies in the passage, never in the
    question.

    Args:
        model: An asset's name, a local folder or a Hub id.
        num_epochs: Passes over the training pairs.
        learning_rate: Peak rate of AdamW; `None` takes 2e-4, which suits MiniLM. Try 5e-5 for an
            encoder of BERT's size.
        batch_size: Windows per step.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises from 0; it then falls to 0.
        max_length: Tokens that go through the model together: the question, whole, and as much of
            the passage as fits. `None` for 384, or the model's limit where that is lower.
        stride: Tokens of a passage that two neighboring windows share, or half a window where a
            long question leaves little room.
        max_answer_tokens: Tokens of a predicted answer.
        no_answer: Whether a passage may lack the answer. `fit` then takes `""` for such pairs, and
            `predict` gives it where no span is likelier than none at all. With `False` there is
            always an answer, right or wrong.
        patience: Stop after so many epochs without a better share of right answers on
            `validation`, and go back to the weights of the best; `None` trains to the end.
        fast: `True` for all of `FAST_OPTIONS`, a tuple of some of them, or `False` for random
            order, float32 and the library's dropout.
        device: Where the model runs: `None` for the accelerator, or a name such as `"cpu"`.
        prediction_batch_size: Windows per batch in prediction; `None` for as many as 4,096 tokens
            allow.
        callbacks: Called with each new record of `history_` as training goes on, such as `[print]`.
        random_state: Seed of the new layer's first weights, the order of windows and dropout. The
            same seed on the same CPU and thread count gives the same model, bit for bit.
        show_progress: Show a progress bar while training; `None` shows it in a terminal and in a
            notebook.

    A saved folder also loads in `transformers.AutoModelForQuestionAnswering`.

    Attributes:
        classes_: Empty, since there are none.
        model_: The fine-tuned `transformers` model.
        tokenizer_: Its tokenizer.
        history_: A list of `{"step", "loss"}` and, with `validation`, of `{"step",
            "eval_exact_match"}`.
        cost_: A `reptune.meter.Meter` with the seconds and memory training took.

    Source: Devlin et al., *BERT* (2019), sections 4.2 and 4.3; chapter 7.

    >>> pairs = [("Who lives in London?", "Ada lives in London."),
    ...          ("Where does Alan live?", "Alan lives in Leeds.")]
    >>> extractor = SpanExtractor(num_epochs=20).fit(pairs, ["Ada", "Leeds"])
    >>> extractor.predict(pairs)
    ['Ada', 'Leeds']
    >>> [(start, end) for start, end, score in extractor.predict_spans(pairs)]
    [(0, 3), (14, 19)]
    """

    FAST_OPTIONS = ("length_buckets", "half_precision", "cheap_dropout", "kept_memory")
    _FILES = ("config.json", "model.safetensors")

    def __init__(
        self,
        model: str | Path = "all-MiniLM-L6-v2",
        *,
        num_epochs: int = 3,
        learning_rate: float | None = None,
        batch_size: int = 16,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        max_length: int | None = None,
        stride: int = 128,
        max_answer_tokens: int = 30,
        no_answer: bool = False,
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
        self.max_length = max_length
        self.stride = stride
        self.max_answer_tokens = max_answer_tokens
        self.no_answer = no_answer
        self.patience = patience
        self.fast = fast
        self.device = device
        self.prediction_batch_size = prediction_batch_size
        self.callbacks = callbacks
        self.random_state = random_state
        self.show_progress = show_progress

    def fit(
        self,
        pairs: Iterable[Pair],
        answers: Iterable[str | Span],
        validation: tuple[Iterable[Pair], Iterable[str | Span]] | None = None,
    ) -> Self:
        """Fine-tune on questions, passages and answers.

        A `fit` that fails or is interrupted leaves an already fitted object as it was.

        Args:
            pairs: `(question, passage)`, shape `(n,)`.
            answers: Of each pair a text that stands in the passage, or `(start, end)`, the
                characters of the passage that it has. Of a text that stands there several times,
                the first is trained on, whole words before parts of words. With `no_answer=True`,
                `""` where there is none.
            validation: Pairs and answers that are scored after each epoch, for `history_`; with
                `patience` they decide when training stops, else they do not influence it.

        Raises:
            ValueError: If the input or a parameter is bad, an answer does not stand in its passage
                or a question leaves no room for one; raised before any training. If training
                diverges.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        self._check_parameters()
        checked, spans = check_answers(pairs, answers, self.no_answer)
        held_out = None
        if validation is not None:
            if not isinstance(validation, tuple | list) or len(validation) != 2:
                raise ValueError(f"validation={validation!r}; pass a pair, (pairs, answers).")
            held_out = check_answers(*validation, self.no_answer, "validation ")
        if self.patience is not None and held_out is None:
            raise ValueError(f"patience={self.patience} needs validation=(pairs, answers) in fit.")
        with runtime.seeded(self.random_state), runtime.quiet():
            tokenizer, model = self._pretrained()
            windows = self._windows(tokenizer, model, checked)
            targets = window_targets(windows, spans)
            self._warn_of_long(targets)
            evaluate = self._evaluation(model, tokenizer, *held_out) if held_out else None
            with Meter("fit") as cost:
                history = self._train(model, tokenizer, windows, targets, evaluate)
            check_finite_weights(model)
        self.tokenizer_, self.model_, self.classes_ = tokenizer, model, NO_CLASSES
        self.history_, self.cost_ = history, cost
        self._forget()
        return self

    def predict(self, pairs: Iterable[Pair]) -> list[str]:
        """Return the answer to each question, as it stands in its passage.

        Args:
            pairs: `(question, passage)` in any iterable; a generator is read in chunks. A passage
                of which the tokenizer leaves no token has the answer `""`.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If a pair is not two strings, there are none, or a question leaves no room
                for its passage.
        """
        found: list[str] = []
        for chunk in self._chunks(pairs):
            rows = zip(chunk, self._fitted_spans(chunk), strict=True)
            found += [passage[start:end] for (_, passage), (start, end, _) in rows]
        return found

    def predict_spans(self, pairs: Iterable[Pair]) -> list[tuple[int, int, float]]:
        """Return where the answer to each question stands, and how sure the model is.

        Args:
            pairs: As in `predict`.

        Returns:
            For each pair `(start, end, score)`: the characters `passage[start:end]`, and the
            probability, 0 to 1, that the answer begins and ends there, in the window that shows
            most of what is around. `(0, 0, score)` where there is none, with the probability of
            that.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: As `predict`.
        """
        return [span for chunk in self._chunks(pairs) for span in self._fitted_spans(chunk)]

    def score(self, pairs: Iterable[Pair], answers: Iterable[str | Span]) -> float:
        """Return the share of predictions that are the answer, white space around it aside.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If pairs or answers are bad, as in `fit`.
        """
        check_is_fitted(self, "model_")
        checked, spans = check_answers(pairs, answers, self.no_answer)
        return exact_match(checked, spans, self.predict_spans(checked))

    # What follows is plumbing.

    def _check_parameters(self) -> None:
        fast_options(self.fast, self.FAST_OPTIONS)
        for name in ("num_epochs", "batch_size", "max_answer_tokens"):
            check_whole_number(name, getattr(self, name))
        check_whole_number("stride", self.stride, least=0)
        if self.max_length is not None:
            check_whole_number("max_length", self.max_length, least=LEAST_ROOM)
        check_flag("no_answer", self.no_answer)
        check_optimizer(self.learning_rate, self.warmup, self.weight_decay)
        check_random_state(self.random_state)
        check_shared_parameters(self)
        runtime.check_device(self.device)

    def _pretrained(self) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        source = assets.resolve_model(str(self.model))
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model = AutoModelForQuestionAnswering.from_pretrained(
            source, trust_remote_code=False, num_labels=2, use_safetensors=True
        )
        self._check_model(tokenizer, model)
        return tokenizer, model.to(runtime.check_device(self.device))

    def _check_model(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
        if not tokenizer.is_fast:
            raise ValueError(
                f"model={str(self.model)!r} has no fast tokenizer, and only these say which "
                "characters a token has; use another model."
            )
        self._length(tokenizer, model)

    def _length(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int:
        limit = model_limit(tokenizer, model)
        return check_max_length(self.max_length, limit, min(MAX_LENGTH, limit))

    def _windows(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, pairs: Sequence[Pair]
    ) -> list[Window]:
        return passage_windows(tokenizer, pairs, self._length(tokenizer, model), int(self.stride))

    def _train(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        windows: list[Window],
        targets: list[Span],
        evaluate: Callable[[], dict[str, float]] | None,
    ) -> list[dict[str, float]]:
        """Train in place; return the history."""
        fast = options_on(model.device, self.fast)
        multiple = padding_multiple(fast, model_limit(tokenizer, model))

        def loss_of(rows: list[int]) -> torch.Tensor:
            batch = padded_batch(tokenizer, [windows[row] for row in rows], model, multiple)
            starts, ends = torch.tensor([targets[row] for row in rows], device=model.device).T
            return model(**batch, start_positions=starts, end_positions=ends).loss

        return train_in_epochs(
            model,
            [len(window.inputs["input_ids"]) for window in windows],
            loss_of,
            self,
            learning_rate=float(self.learning_rate or DEFAULT_LEARNING_RATE),
            fast=fast,
            description="fine-tuning",
            criterion="eval_exact_match",
            greater_is_better=True,
            evaluate=evaluate,
        )

    def _evaluation(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[Pair],
        spans: Sequence[Span | None],
    ) -> Callable[[], dict[str, float]]:
        """Return what scores the model as it is on held-out pairs."""
        windows = self._windows(tokenizer, model, pairs)

        def evaluate() -> dict[str, float]:
            found = self._spans(model, tokenizer, windows, len(pairs))
            return {"eval_exact_match": exact_match(pairs, spans, found)}

        return evaluate

    def _warn_of_long(self, targets: Sequence[Span]) -> None:
        num_long = sum(last - first >= self.max_answer_tokens for first, last in targets)
        if num_long:
            warnings.warn(
                f"{num_long} answers have more than max_answer_tokens={self.max_answer_tokens} "
                "tokens, and no prediction will; raise it.",
                stacklevel=3,
            )

    def _chunks(self, pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
        check_is_fitted(self, "model_")
        yield from in_chunks(pairs, lambda rows, first: check_pairs(rows, first=first))

    def _fitted_spans(self, pairs: Sequence[Pair]) -> list[tuple[int, int, float]]:
        windows = self._windows(self.tokenizer_, self.model_, pairs)
        return self._spans(self.model_, self.tokenizer_, windows, len(pairs))

    def _spans(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        windows: Sequence[Window],
        num_pairs: int,
    ) -> list[tuple[int, int, float]]:
        """Return the likeliest span of each pair, of all windows over its passage."""
        size = None if self.prediction_batch_size is None else int(self.prediction_batch_size)
        logs = log_probabilities(model, tokenizer, windows, size)
        best = [(-np.inf, 0, 0)] * num_pairs
        none = np.full(num_pairs, np.inf)  # how likely there is no answer, by its least window
        for window, (starts, ends) in zip(windows, logs, strict=True):
            none[window.pair] = min(none[window.pair], starts[0] + ends[0])
            score, first, last = best_span(
                starts[1:], ends[1:], window.own, int(self.max_answer_tokens)
            )
            if score > best[window.pair][0]:
                best[window.pair] = (score, window.offsets[first][0], window.offsets[last][1])
        return [
            with_probability(*found, absent, bool(self.no_answer))
            for found, absent in zip(best, none.tolist(), strict=True)
        ]

    def _write(self, folder: Path) -> None:
        self.model_.save_pretrained(folder)
        self.tokenizer_.save_pretrained(folder)

    def _manifest(self) -> dict[str, Any]:
        return super()._manifest() | {"classes": ["answer"]}  # it must name at least one

    def _read(self, folder: Path, manifest: dict[str, Any]) -> None:
        options = {"local_files_only": True, "trust_remote_code": False}
        model = AutoModelForQuestionAnswering.from_pretrained(
            folder, use_safetensors=True, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        self._check_parameters()
        self._check_model(tokenizer, model)
        check_weights(folder, model)
        check_vocabulary(tokenizer, model.get_input_embeddings().num_embeddings)
        if model.config.num_labels != 2:
            raise ValueError(f"the model gives {model.config.num_labels} numbers per token, not 2")
        self.tokenizer_, self.classes_ = tokenizer, NO_CLASSES
        self.model_ = model.to(runtime.check_device(self.device)).eval()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.target_tags.required = True
        return tags
