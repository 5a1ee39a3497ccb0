"""Text to text: a small causal language model that is trained to answer an input (chapter 7).

Its weights stay as they are; low-rank additions train. The loss counts the answer's tokens only,
the one that ends it among them, so that the model learns where to stop.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import reptune.needs_torch  # noqa: F401

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn
from transformers import PreTrainedModel

from reptune import runtime
from reptune.checks import (
    check_finite_weights,
    check_optimizer,
    check_random_state,
    check_shared_parameters,
    check_texts,
    check_whole_number,
    listed,
)
from reptune.estimator import SavedEstimator, in_chunks
from reptune.meter import Meter
from reptune.models.causal import CausalLM, end_ids, load_causal_lm
from reptune.models.decoding import BATCH_SIZE, generate_many
from reptune.models.lowrank import add_low_rank, apply_adapter, save_adapter
from reptune.models.prompts import check_text
from reptune.tokens import batches_by_length
from reptune.training.epochs import train_in_epochs
from reptune.training.options import fast_options, options_on, padding_multiple

# The answer begins a line, as the input does, so that a word looks alike in both.
TEMPLATE = "{input}\n=>\n"
DEFAULT_LEARNING_RATE = 5e-4
ADAPTER = "adapter.safetensors"
IGNORED = -100  # PyTorch's cross-entropy leaves these labels out
SCORED_TOKENS = 2048  # per batch, where losses are computed and no number of texts is asked for
NO_CLASSES = np.array([], dtype=str)


class Example(NamedTuple):
    """A prompt with its answer, as the model reads them in training.

    Attributes:
        input_ids: Of the prompt, the answer and the token that ends it.
        labels: The same for the answer and its end; `IGNORED` for the prompt.
    """

    input_ids: list[int]
    labels: list[int]


class TextGenerator(SavedEstimator):
    r"""A small causal language model that is fine-tuned to write a text for each input.

    The model reads `instruction`, the template with the input in it, and then the answer. Low-rank
    additions to its blocks are trained on the answer's tokens and the one that ends it; the
    prompt's are not learned. Predictions are greedy, with the model's scores as they are: a penalty
    for repeating tokens would get in the way of copying names and dates from the input.

    Args:
        model: An asset's name, a local folder or a Hub id of a causal language model.
        template: How an input looks, with `{input}` in it; the answer follows at once.
        instruction: What the task is, at the head of each prompt; empty for none.
        rank: Width of the low-rank additions.
        num_epochs: Passes over the training texts.
        learning_rate: Peak rate of AdamW; `None` takes 5e-4.
        batch_size: Texts per step.
        weight_decay: AdamW's weight decay.
        warmup: Share of the steps during which the rate rises from 0; it then falls to 0.
        max_length: Tokens of a prompt; a longer input is cut at its end, in training and in
            prediction alike, and a warning says how many were. Answers are never cut. `None` for
            what the model takes beside an answer.
        max_new_tokens: Tokens of a predicted answer.
        patience: Stop after so many epochs without a lower loss on `validation`, and go back to the
            weights of the best; `None` trains to the end.
        fast: `True` for all of `FAST_OPTIONS`, a tuple of some of them, or `False` for random order
            and float32.
        device: Where the model runs: `None` for the accelerator, or a name such as `"cpu"`.
        prediction_batch_size: Prompts that are answered together; `None` for 48.
        callbacks: Called with each new record of `history_` as training goes on, such as `[print]`.
        random_state: Seed of the additions' first weights and of the order of texts. The same seed
            on the same CPU and thread count gives the same model, bit for bit.
        show_progress: Show a progress bar while training; `None` shows it in a terminal and in a
            notebook.

    A saved folder holds the additions alone, in half precision: for SmolLM2-135M some 10 MB in
    place of 540. The manifest has the SHA-256 of the model that they were made for, all of its
    weights and its vocabulary; with another one, loading is refused. For a folder that stands
    alone, which `AutoModelForCausalLM` loads, save `lm_.model` and `lm_.tokenizer` with their own
    `save_pretrained`.

    Attributes:
        lm_: The fine-tuned model, a plain one, with its tokenizer: a
            `reptune.models.causal.CausalLM`.
        classes_: Empty, since there are none.
        history_: A list of `{"step", "loss"}` and, with `validation`, of `{"step", "eval_loss"}`:
            mean losses per answer token, in nats.
        cost_: A `reptune.meter.Meter` with the seconds and memory training took.

    Source: Hu et al., *LoRA* (2022); Viswanathan et al., *Prompt2Model* (2023); chapter 7.

    Here a tiny model with random weights, made on the spot; the default is SmolLM2-135M-Instruct.

    >>> import tempfile
    >>> import torch
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    >>> words = {word: index for index, word in enumerate(["[END]", "[UNK]", "=>", "two", "2"])}
    >>> core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    >>> core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="[END]")
    >>> config = LlamaConfig(vocab_size=5, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
    ...                      num_attention_heads=1, max_position_embeddings=32, eos_token_id=0)
    >>> with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
    ...     _ = torch.manual_seed(0)
    ...     LlamaForCausalLM(config).save_pretrained(folder)
    ...     _ = tokenizer.save_pretrained(folder)
    ...     generator = TextGenerator(folder, rank=4, num_epochs=60, learning_rate=0.05,
    ...                               max_length=16, max_new_tokens=4)
    ...     generator.fit(["two", "2"], ["2", "two"]).predict(["2", "two"])
    ['two', '2']
    """

    FAST_OPTIONS = ("length_buckets", "half_precision")
    _FILES = (ADAPTER,)

    def __init__(
        self,
        model: str | Path = "SmolLM2-135M-Instruct",
        template: str = TEMPLATE,
        instruction: str = "",
        *,
        rank: int = 16,
        num_epochs: int = 3,
        learning_rate: float | None = None,
        batch_size: int = 8,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        max_length: int | None = 512,
        max_new_tokens: int = 64,
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
        self.instruction = instruction
        self.rank = rank
        self.num_epochs = num_epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.max_length = max_length
        self.max_new_tokens = max_new_tokens
        self.patience = patience
        self.fast = fast
        self.device = device
        self.prediction_batch_size = prediction_batch_size
        self.callbacks = callbacks
        self.random_state = random_state
        self.show_progress = show_progress

    def fit(
        self,
        inputs: Iterable[str],
        outputs: Iterable[str],
        validation: tuple[Iterable[str], Iterable[str]] | None = None,
    ) -> Self:
        """Fine-tune on texts and what the model shall write for them.

        A `fit` that fails or is interrupted leaves an already fitted object as it was.

        Args:
            inputs: The training texts, shape `(n,)`.
            outputs: What to write for each, shape `(n,)`; a text may be empty.
            validation: Inputs and outputs whose loss is computed after each epoch, for `history_`;
                with `patience` it decides when training stops, else it does not influence it.

        Raises:
            ValueError: If the input or a parameter is bad; raised before any training. If training
                diverges.
            reptune.assets.AssetUnavailable: If the model cannot be had.
        """
        rows = _check_rows(inputs, outputs)
        held_out = None if validation is None else _check_held_out(validation)
        self._check_parameters()
        if self.patience is not None and held_out is None:
            raise ValueError(f"patience={self.patience} needs validation=(inputs, outputs) in fit.")
        with runtime.seeded(self.random_state), runtime.quiet():
            lm = load_causal_lm(self.model, self.device)
            self._check_lm(lm)
            examples = self._examples(lm, *rows)
            self._warn_of_long(examples)
            held_out = held_out and self._examples(lm, *held_out, of="validation ")
            made_for = _fingerprint(lm)
            with Meter("fit") as cost:
                history, adapter = self._train(lm, examples, held_out)
            check_finite_weights(lm.model)
        self.lm_, self.classes_ = lm, NO_CLASSES
        self._adapter, self._made_for = adapter, made_for
        self.history_, self.cost_ = history, cost
        self._forget()
        return self

    def predict(self, inputs: Iterable[str]) -> list[str]:
        """Return what the model writes for each input, greedily, up to the token that ends it.

        Args:
            inputs: Strings in any iterable; a generator is read in chunks.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If an input is not a string or there are none.
        """
        check_is_fitted(self, "lm_")
        found: list[str] = []
        num_cut = 0
        for texts in self._chunks(inputs):
            prompts, cut = self._prompts(self.lm_, texts)
            num_cut += cut
            found += generate_many(
                self.lm_,
                prompts,
                max_new_tokens=int(self.max_new_tokens),
                stop=(),
                batch_size=int(self.prediction_batch_size or BATCH_SIZE),
            )
        self._warn_of_cuts(num_cut, len(found))
        return found

    def losses(self, inputs: Iterable[str], outputs: Iterable[str]) -> np.ndarray:
        """Return how unlikely the model finds each output after its input.

        Args:
            inputs: The texts, shape `(n,)`.
            outputs: An answer to each, shape `(n,)`.

        Returns:
            The mean loss per token of the answer, its end included, in nats, shape `(n,)`.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If inputs or outputs are bad, or an output is too long for the model.
        """
        check_is_fitted(self, "lm_")
        examples = self._examples(self.lm_, *_check_rows(inputs, outputs))
        totals, counts = _answer_losses(self.lm_.model, examples, self.prediction_batch_size)
        return totals / counts

    def score(self, inputs: Iterable[str], outputs: Iterable[str]) -> float:
        """Return the share of inputs whose prediction is the output, white space around it aside.

        Raises:
            sklearn.exceptions.NotFittedError: Before `fit` or `load`.
            ValueError: If inputs or outputs are bad.
        """
        check_is_fitted(self, "lm_")
        texts, answers = _check_rows(inputs, outputs)
        pairs = zip(self.predict(texts), answers, strict=True)
        return float(np.mean([found.strip() == answer.strip() for found, answer in pairs]))

    # What follows is plumbing.

    def _check_parameters(self) -> None:
        check_text("template", self.template)
        if self.template.count("{input}") != 1:
            raise ValueError(f"template={self.template!r}; write {{input}} once, where it goes.")
        check_text("instruction", self.instruction)
        fast_options(self.fast, self.FAST_OPTIONS)
        for name in ("rank", "num_epochs", "batch_size", "max_new_tokens"):
            check_whole_number(name, getattr(self, name))
        if self.max_length is not None:
            check_whole_number("max_length", self.max_length)
        check_optimizer(self.learning_rate, self.warmup, self.weight_decay)
        check_random_state(self.random_state)
        check_shared_parameters(self)
        runtime.check_device(self.device)

    def _check_lm(self, lm: CausalLM) -> None:
        """Raise a `ValueError` unless the model can end a text, and prompts have room in it."""
        if _end_id(lm) is None:
            raise ValueError(
                f"model={str(self.model)!r} has no token that ends a text, so it cannot learn to "
                "stop; use another model."
            )
        if not lm.tokenizer.is_fast:
            raise ValueError(f"model={str(self.model)!r} has no fast tokenizer; use another model.")
        limit = self._prompt_limit(lm)
        if limit + self.max_new_tokens > lm.limit or limit < 1:
            raise ValueError(
                f"max_length={self.max_length} and max_new_tokens={self.max_new_tokens}, but the "
                f"model takes at most {lm.limit} tokens together; lower one of them."
            )
        frame = len(lm.encode(self._prompt("")))
        if not frame:
            raise ValueError(
                f"template={self.template!r} adds no token, and an empty input would leave nothing "
                "to read; write something after {input}."
            )
        if frame >= limit:
            raise ValueError(
                f"instruction and template have {frame} tokens, and a prompt has at most {limit}; "
                "shorten them, or raise max_length."
            )

    def _prompt_limit(self, lm: CausalLM) -> int:
        """Return how many tokens a prompt may have."""
        if self.max_length is not None:
            return int(self.max_length)
        return lm.limit - int(self.max_new_tokens)

    def _prompt(self, text: str) -> str:
        asked = self.template.replace("{input}", text)
        return f"{self.instruction}\n\n{asked}" if self.instruction else asked

    def _prompts(self, lm: CausalLM, texts: Sequence[str]) -> tuple[list[str], int]:
        """Return the prompts, and of how many the input was cut."""
        limit, num_cut = self._prompt_limit(lm), 0
        prompts = [self._prompt(text) for text in texts]
        for index, prompt in enumerate(prompts):
            if len(lm.encode(prompt)) > limit:
                prompts[index] = self._shortened(lm, texts[index], limit)
                num_cut += 1
        return prompts, num_cut

    def _shortened(self, lm: CausalLM, text: str, limit: int) -> str:
        """Return the prompt with as much of the input's beginning as fits."""
        offsets = lm.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"]
        # Where the parts meet, tokens may merge or split, so the whole is counted each time.
        kept = limit - len(lm.encode(self._prompt("")))
        while kept > 0:
            shorter = self._prompt(text[: offsets[kept - 1][1]])
            if len(lm.encode(shorter)) <= limit:
                return shorter
            kept -= 1
        return self._prompt("")

    def _examples(
        self, lm: CausalLM, texts: Sequence[str], answers: Sequence[str], of: str = ""
    ) -> list[Example]:
        """Return what the model reads in training; warn of inputs that were cut."""
        prompts, num_cut = self._prompts(lm, texts)
        self._warn_of_cuts(num_cut, len(texts), stacklevel=4)
        end, examples = _end_id(lm), []
        for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            asked, written = lm.encode(prompt), lm.encode(answer, special=False)
            name = f"{of}outputs[{index}]"
            if end in written:
                raise ValueError(
                    f"{name} holds {lm.tokenizer.decode([end])!r}, with which the model ends a "
                    "text; remove it."
                )
            if len(asked) + len(written) + 1 > lm.limit:
                raise ValueError(
                    f"{name} has {len(written)} tokens after a prompt of {len(asked)}, but the "
                    f"model takes at most {lm.limit} together; shorten it, or lower max_length."
                )
            examples.append(answered(asked, [*written, end]))
        return examples

    def _warn_of_cuts(self, num_cut: int, total: int, stacklevel: int = 3) -> None:
        if num_cut:
            warnings.warn(
                f"{num_cut} of {total} inputs were cut at their end, so that a prompt has at most "
                f"max_length={self.max_length} tokens; raise it, or shorten them.",
                stacklevel=stacklevel,
            )

    def _warn_of_long(self, examples: Sequence[Example]) -> None:
        lengths = [sum(label != IGNORED for label in example.labels) - 1 for example in examples]
        num_long = sum(length > self.max_new_tokens for length in lengths)
        if num_long:
            warnings.warn(
                f"{num_long} of {len(lengths)} outputs have more than max_new_tokens="
                f"{self.max_new_tokens} tokens, where predictions end; raise it.",
                stacklevel=3,
            )

    def _train(
        self, lm: CausalLM, examples: list[Example], held_out: list[Example] | None
    ) -> tuple[list[dict[str, float]], bytes]:
        """Train the model in place; return the history, and the additions as they are saved."""
        model, fast = lm.model, options_on(lm.model.device, self.fast)
        multiple = padding_multiple(fast, lm.limit) or 1
        names = _add_low_rank(model, int(self.rank))

        def evaluate() -> dict[str, float]:
            totals, counts = _answer_losses(model, held_out, self.prediction_batch_size)
            return {"eval_loss": float(totals.sum() / counts.sum())}

        history = train_in_epochs(
            model,
            [len(example.input_ids) for example in examples],
            lambda rows: answer_loss(model, [examples[row] for row in rows], multiple),
            self,
            learning_rate=float(self.learning_rate or DEFAULT_LEARNING_RATE),
            fast=fast,
            description="fine-tuning",
            criterion="eval_loss",
            greater_is_better=False,
            evaluate=evaluate if held_out else None,
        )
        check_finite_weights(model)
        return history, _merge_saved(model, names)

    def _chunks(self, inputs: Iterable[str]) -> Iterator[list[str]]:
        return in_chunks(inputs, lambda rows, first: check_texts(rows, "inputs", first))

    def _write(self, folder: Path) -> None:
        (folder / ADAPTER).write_bytes(self._adapter)

    def _manifest(self) -> dict[str, Any]:
        # A manifest must name at least one class.
        return super()._manifest() | {"classes": ["text"], "made_for": self._made_for}

    def _read(self, folder: Path, manifest: dict[str, Any]) -> None:
        self._check_parameters()
        lm = load_causal_lm(self.model, self.device)
        self._check_lm(lm)
        made_for = _fingerprint(lm)
        if manifest.get("made_for") != made_for:
            raise ValueError(
                f"made_for={manifest.get('made_for')!r}, but model={str(self.model)!r} has the "
                f"SHA-256 {made_for!r}; put the model there that it was trained from"
            )
        apply_adapter(lm.model, folder / ADAPTER)
        self.lm_, self.classes_, self._made_for = lm, NO_CLASSES, made_for
        self._adapter = (folder / ADAPTER).read_bytes()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        return tags


# --- the loss ------------------------------------------------------------------------------------


def answered(prompt: list[int], answer: list[int]) -> Example:
    """Return a prompt with its answer, where the loss counts the answer alone.

    Args:
        prompt: Token ids.
        answer: Token ids, the one that ends a text last.

    >>> answered([5, 6], [7, 0])
    Example(input_ids=[5, 6, 7, 0], labels=[-100, -100, 7, 0])
    """
    return Example([*prompt, *answer], [*[IGNORED] * len(prompt), *answer])


def answer_loss(
    model: PreTrainedModel, examples: Sequence[Example], multiple: int = 1
) -> torch.Tensor:
    """Return the mean loss per answer token of a batch, in nats, with its graph.

    The library's own loss is the same number. Here the output layer, for a small model with a large
    vocabulary most of the work, reads only the tokens that are learned.

    Args:
        model: A causal language model.
        examples: The batch.
        multiple: Pad to a multiple of so many tokens.
    """
    logits, targets, _ = _answer_logits(model, examples, multiple)
    return nn.functional.cross_entropy(logits, targets)


def _answer_logits(
    model: PreTrainedModel, examples: Sequence[Example], multiple: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits of the learned tokens, their ids, and the row of each.

    Shapes `(tokens, vocabulary)`, `(tokens,)` and `(tokens,)`.
    """
    longest = max(len(example.input_ids) for example in examples)
    shape = (len(examples), -(-longest // multiple) * multiple)
    # A token sees none after it, so padding on the right needs no attention mask.
    ids = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED)
    for row, example in enumerate(examples):
        ids[row, : len(example.input_ids)] = torch.tensor(example.input_ids)
        labels[row, : len(example.labels)] = torch.tensor(example.labels)
    targets = labels[:, 1:].to(model.device)  # a token's logits are those of the next one
    learned = targets != IGNORED
    states = model.base_model(ids.to(model.device), use_cache=False).last_hidden_state
    logits = model.get_output_embeddings()(states[:, :-1][learned]).float()
    return logits, targets[learned], learned.nonzero()[:, 0]


@torch.inference_mode()
def _answer_losses(
    model: PreTrainedModel, examples: Sequence[Example], batch_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return each example's summed loss and its number of learned tokens, both `(n,)`."""
    totals, counts = np.zeros(len(examples)), np.zeros(len(examples))
    lengths = [len(example.input_ids) for example in examples]
    size = None if batch_size is None else int(batch_size)
    for chosen in batches_by_length(lengths, size, SCORED_TOKENS):
        logits, targets, rows = _answer_logits(model, [examples[index] for index in chosen])
        losses = nn.functional.cross_entropy(logits, targets, reduction="none").double().cpu()
        rows = rows.cpu().numpy()
        totals[chosen] = np.bincount(rows, losses.numpy(), minlength=len(chosen))
        counts[chosen] = np.bincount(rows, minlength=len(chosen))
    return totals, counts


# --- the additions -------------------------------------------------------------------------------


def _add_low_rank(model: PreTrainedModel, rank: int) -> list[str]:
    """Add what trains; return the names of the layers that have it."""
    names = add_low_rank(model, rank)
    if not names:
        raise ValueError(
            f"a {type(model).__name__} has no linear layers in its blocks to add to; use a model "
            "such as 'SmolLM2-135M-Instruct'."
        )
    for weight in model.get_output_embeddings().parameters():
        weight.requires_grad = False  # where it is not the embeddings' own, it would train
    return names


def _merge_saved(model: PreTrainedModel, names: Sequence[str]) -> bytes:
    """Make the additions part of the weights as `load` will do it; return what it will read.

    They are rounded to half precision on the way, so that a loaded model has the same weights as
    the fitted one, bit for bit.
    """
    with runtime.scratch_folder() as folder:
        save_adapter(model, names, folder / ADAPTER)
        for name in names:
            model.set_submodule(name, model.get_submodule(name).layer)
        apply_adapter(model, folder / ADAPTER)
        return (folder / ADAPTER).read_bytes()


def _fingerprint(lm: CausalLM) -> str:
    """Hash a model's weights and vocabulary: additions mean nothing on top of others."""
    digest = hashlib.sha256()
    for name, weight in sorted(lm.model.named_parameters()):
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(np.ascontiguousarray(weight.detach().cpu().numpy()))
    digest.update(str(sorted(lm.tokenizer.get_vocab().items())).encode())
    return digest.hexdigest()


def _end_id(lm: CausalLM) -> int | None:
    """Return the id of the token with which an answer ends, as generation knows it."""
    ends = end_ids(lm.model, lm.tokenizer)
    own = lm.tokenizer.eos_token_id
    return own if own is not None else min(ends, default=None)


# --- checks --------------------------------------------------------------------------------------


def _check_rows(
    inputs: Iterable[Any], outputs: Iterable[Any], of: str = ""
) -> tuple[list[str], list[str]]:
    """Return inputs and outputs, as many of one as of the other, or raise a `ValueError`."""
    texts = check_texts(inputs, f"{of}inputs")
    if isinstance(outputs, str | bytes):
        raise ValueError(f"{of}outputs is a single string, {outputs[:40]!r}; pass one per input.")
    answers = listed(outputs, f"{of}outputs", "strings")
    if len(answers) != len(texts):
        raise ValueError(
            f"{len(texts)} {of}inputs but {len(answers)} {of}outputs; pass one output per input."
        )
    return texts, check_texts(answers, f"{of}outputs")


def _check_held_out(validation: Any) -> tuple[list[str], list[str]]:
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise ValueError(f"validation={validation!r}; pass a pair, (inputs, outputs).")
    return _check_rows(*validation, of="validation ")
