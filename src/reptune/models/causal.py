"""Causal language models: text that goes on, how likely a continuation is, hidden states.

`CausalLM` is what chapters 5 and 6 share. A prompt that many inputs begin with is encoded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import reptune.needs_torch  # noqa: F401

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from reptune import assets, runtime
from reptune.checks import check_texts, check_whole_number
from reptune.models.loading import check_loaded, load_float32
from reptune.models.prompts import check_generation, check_text, cut_at
from reptune.runtime import half_precision as autocast
from reptune.tokens import batches_by_length, model_limit, pad

Pooling = Literal["last", "mean"]
BATCH_SIZE = 16
COLDEST = 1e-6  # below, logits overflow when divided, and the likeliest token is always drawn
INSTALLED = "_output_capturing_hooks_installed"  # the library's mark of a model with hooks
PACK_TOKENS = 512  # of one pass; with more of them, attention's share grows


@dataclass
class CausalLM:
    """A causal language model with its tokenizer.

    Any model and tokenizer of yours will do, here a tiny model with random weights; for one by
    its name, see `load_causal_lm`.

    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
    >>> words = Tokenizer(models.WordLevel({"a": 0, "good": 1, "film": 2}, unk_token="a"))
    >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> config = GPT2Config(vocab_size=3, n_embd=8, n_layer=1, n_head=2)
    >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    >>> lm = CausalLM(GPT2LMHeadModel(config).eval(), tokenizer)
    >>> lm.encode("a good film")
    [0, 1, 2]
    >>> lm.continuation_scores(["a film", "good"], [" good", " good film", " a"]).shape
    (2, 3)
    >>> lm.hidden_states(["a film", "good"]).shape
    (2, 8)

    Attributes:
        model: The model, in float32 and evaluation mode.
        tokenizer: Its tokenizer.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer

    @property
    def limit(self) -> int:
        """How many tokens the model takes at once."""
        return model_limit(self.tokenizer, self.model)

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Return a text's token ids.

        Args:
            text: Any text.
            special: Whether to put the special tokens in front that the tokenizer adds, if any.
        """
        return self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]

    def chat(self, prompt: str) -> str:
        """Return a prompt as a chat model reads it: one message of a user, ready for the answer.

        That is what a server behind a chat interface makes of a prompt. The tokenizer's template
        decides the form, and may put a system message of its own in front. It marks where a
        message ends by a special token, such as `<|im_end|>`; a prompt that holds this token as
        text ends its message early.

        Args:
            prompt: What the user says.

        Returns:
            Text for `generate`, without what the tokenizer puts in front of every text anyway.

        Raises:
            ValueError: If the prompt is no text, or the tokenizer has no chat template.

        Source: chapter 5.
        """
        check_text("prompt", prompt, empty=False)
        if not getattr(self.tokenizer, "chat_template", None):
            raise ValueError(
                "the tokenizer has no chat template; use a model that was tuned to follow "
                "instructions, or pass the prompt as it is."
            )
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        return text.removeprefix(self.tokenizer.decode(self.encode("")))

    @torch.inference_mode()
    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 16,
        temperature: float = 0.0,
        stop: Sequence[str] = ("\n",),
        random_state: int | None = 0,
    ) -> str:
        """Let the model go on with a prompt, token by token.

        Args:
            prompt: What the model reads.
            max_new_tokens: Tokens to write at most.
            temperature: 0 takes the likeliest token each time; above 0 tokens are drawn from
                softmax(logits / temperature), so that low values stay near the likeliest.
            stop: End sequences: the text ends before the first one that occurs.
            random_state: Seed of the draws; `None` for new ones each time.

        Returns:
            The new text, without the prompt and without the end sequence.

        Raises:
            ValueError: If an argument is bad, or the prompt leaves no room for a token.

        Source: chapter 5.
        """
        check_generation(prompt, max_new_tokens, temperature, stop, random_state)
        ids = self.encode(prompt)
        if len(ids) + max_new_tokens > self.limit:
            raise ValueError(
                f"the prompt has {len(ids)} tokens and max_new_tokens={max_new_tokens}, but the "
                f"model takes at most {self.limit}; shorten the prompt or write less."
            )
        with runtime.seeded(None if random_state is None else int(random_state)):
            new = self._new_ids(ids, max_new_tokens, temperature, stop)
        return cut_at(self.tokenizer.decode(new), stop)

    def _new_ids(
        self, ids: list[int], max_new_tokens: int, temperature: float, stop: Sequence[str]
    ) -> list[int]:
        """Return what the model writes after a prompt; its last token may hold an end sequence."""
        ends = end_ids(self.model, self.tokenizer)
        inputs = torch.tensor([ids], device=self.model.device)
        cache, new = None, []
        for _ in range(max_new_tokens):
            output = self.model.base_model(inputs, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            token = _next_token(self._logits(output.last_hidden_state[0, -1]), temperature)
            if token in ends:
                break
            new.append(token)
            text = self.tokenizer.decode(new)
            if any(mark and mark in text for mark in stop):
                break
            inputs = torch.tensor([[token]], device=self.model.device)
        return new

    def continuation_scores(
        self,
        prompts: Sequence[str],
        continuations: Sequence[str],
        *,
        shared_prefix: bool = True,
        half_precision: bool = False,
        batch_size: int | None = None,
        progress: Callable[[int], Any] | None = None,
    ) -> np.ndarray:
        """Score how likely each continuation is after each prompt: whole, not its first token.

        Args:
            prompts: Shape `(n,)`.
            continuations: Shape `(k,)`, such as `" positive"`, with the space before the word.
            shared_prefix: Encode what all prompts begin with once, and read several prompts in
                one pass; the numbers stay the same to 1e-4. `False` reads every prompt whole,
                one after the other.
            half_precision: bfloat16 products, where the device has them; scores move by
                about 0.1.
            batch_size: Prompts per pass at most, where prompts share one; `None` puts 512 tokens
                into a pass.
            progress: Called with the number of prompts of each pass once they are scored, such
                as the `update` of a progress bar.

        Returns:
            Natural logarithms of the probabilities, summed over a continuation's tokens,
            `(n, k)`.

        Raises:
            ValueError: If a prompt or continuation is empty, or too long together, or
                `batch_size` is no whole number above 0.

        Source: Brown et al., *Language Models are Few-Shot Learners* (2020), section 2.4;
        chapter 5.
        """
        if batch_size is not None:
            check_whole_number("batch_size", batch_size)
        encoded = [self.encode(text) for text in check_texts(prompts, "prompts")]
        continuations = check_texts(continuations, "continuations")
        endings = [self.encode(text, special=False) for text in continuations]
        self._check_lengths(prompts, encoded, continuations, endings)
        packs = shared_prefix and self.can_pack()
        shared = common_prefix(encoded) if packs and len(encoded) > 1 else 0
        scores = np.empty((len(encoded), len(endings)))
        with torch.inference_mode(), autocast(self.model.device, half_precision):
            cache = self.prefill(encoded[0][:shared]) if shared else None
            rest = [ids[shared:] for ids in encoded]
            for rows in _packs([len(ids) for ids in rest], batch_size if packs else 1):
                texts = [rest[row] for row in rows]
                # Unpacked, one ending at a time, so that nothing needs a mask of its own.
                together = packs or max(map(len, endings)) == 1
                groups = [endings] if together else [[ending] for ending in endings]
                parts = [self._score(texts, group, cache, shared) for group in groups]
                scores[rows] = torch.cat(parts, dim=1).double().cpu().numpy()
                if progress is not None:
                    progress(len(rows))
        return scores

    def hidden_states(
        self,
        texts: Sequence[str],
        *,
        layer: int | Sequence[int] = -1,
        pooling: Pooling = "last",
        half_precision: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> np.ndarray:
        """Return a vector for each text, from a block's hidden states.

        Args:
            texts: Shape `(n,)`.
            layer: Which hidden states: 0 for the embeddings, -1 for the last block, after the
                final normalization; several are read in one pass.
            pooling: `"last"` takes the last token, the only one that has seen the whole text;
                `"mean"` averages over all tokens.
            half_precision: bfloat16 products, where the device has them.
            batch_size: Texts that are read together, of similar length.

        Returns:
            Shape `(n, hidden size)`, for several layers `(layers, n, hidden size)`.

        Raises:
            ValueError: If a text is empty, `pooling` is unknown, or there is no such layer.

        Source: chapter 5, "The middle way".
        """
        layers = _checked_layers(layer, self.model.config.num_hidden_layers)
        check_whole_number("batch_size", batch_size)
        if pooling not in ("last", "mean"):
            raise ValueError(f"pooling={pooling!r}; use 'last' or 'mean'.")
        encoded = [self.encode(text)[: self.limit] for text in check_texts(texts)]
        self._check_lengths(texts, encoded, (), ())
        vectors = np.empty((len(layers), len(encoded), self.model.config.hidden_size))
        with torch.inference_mode(), autocast(self.model.device, half_precision):
            for rows in batches_by_length([len(ids) for ids in encoded], int(batch_size)):
                inputs, mask = pad([encoded[row] for row in rows], self.model.device)
                states = self.model.base_model(
                    inputs, attention_mask=mask, output_hidden_states=True
                ).hidden_states
                for index, number in enumerate(layers):
                    pooled = _pooled(states[number].float(), mask, pooling)
                    vectors[index, rows] = pooled.cpu().numpy()
        _forget_hooks(self.model)
        return vectors[0] if isinstance(layer, int | np.integer) else vectors

    def can_pack(self) -> bool:
        """Return whether several texts may be packed into one pass, side by side in one row.

        An attention mask keeps them apart, and positions count from each text's own beginning.
        Not where a layer's attention looks back over a sliding window only, which would count
        indices in the row, nor where positions are not rotary.
        """
        config = self.model.config
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        window = getattr(config, "sliding_window", None)
        if getattr(config, "use_sliding_window", None) is False:
            window = None
        windowed = window or getattr(config, "attention_types", None) or kinds != {"full_attention"}
        return not windowed and hasattr(config, "rope_parameters")

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int]) -> Any:
        """Read a text once, for what comes after it to go on from: its key-value cache.

        Args:
            ids: The text's token ids, at least one.

        Returns:
            The keys and values of every layer, for one text, as the model's `past_key_values`.
        """
        inputs = torch.tensor([list(ids)], device=self.model.device)
        return self.model.base_model(inputs, use_cache=True).past_key_values

    # What follows is plumbing.

    def _score(
        self, texts: list[list[int]], endings: list[list[int]], cache: Any, shared: int
    ) -> torch.Tensor:
        """Score every ending after prefix and text in one pass, `(len(texts), len(endings))`."""
        pack = _Pack(texts, endings)
        device = self.model.device
        # One text with one ending needs no mask: a token may see whatever stands before it.
        plain = len(texts) == 1 and (len(endings) == 1 or max(map(len, endings)) == 1)
        output = self.model.base_model(
            torch.tensor([pack.ids], device=device),
            attention_mask=None if plain else pack.mask(shared, device),
            position_ids=torch.tensor([pack.positions], device=device) + shared,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        if cache is not None:
            cache.crop(-len(pack.ids))  # the next texts follow the prefix again
        states = output.last_hidden_state[0, pack.read]
        return pack.totals(self._logits(states).log_softmax(dim=-1))

    def _logits(self, states: torch.Tensor) -> torch.Tensor:
        return self.model.get_output_embeddings()(states).float()

    def _check_lengths(
        self,
        prompts: Sequence[str],
        encoded: list[list[int]],
        continuations: Sequence[str],
        endings: list[list[int]],
    ) -> None:
        texts = [*prompts, *continuations]
        for text, ids in zip(texts, [*encoded, *endings], strict=True):
            if not ids:
                raise ValueError(f"{text!r} has no token to score; pass some text.")
        longest = max(map(len, encoded)) + max(map(len, endings), default=0)
        if longest > self.limit:
            raise ValueError(
                f"a prompt with its continuation has {longest} tokens, but the model takes at "
                f"most {self.limit}; drop examples or shorten the text."
            )


# --- loading -------------------------------------------------------------------------------------


def load_causal_lm(model: str | Path, device: str | None = None) -> CausalLM:
    """Load a causal language model.

    Args:
        model: An asset's name, such as `"SmolLM2-135M-Instruct"`, a local folder or a Hub id. No
            code that lies beside its weights is run.
        device: Where it runs: `None` for the accelerator, or a name such as `"cpu"`.

    Raises:
        ValueError: If it is no causal model, lacks weights, or needs code of its own, or this
            machine has no such device.
        reptune.assets.AssetUnavailable: If it cannot be had.
    """
    target = runtime.check_device(device)
    source = str(assets.resolve_model(model))
    with runtime.quiet():
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        kinds = config.architectures or []
        if not any("CausalLM" in kind or "LMHead" in kind for kind in kinds):
            raise ValueError(
                f"{model} is a {', '.join(kinds) or config.model_type}, which cannot go on with a "
                "text; use a causal language model, such as 'SmolLM2-135M-Instruct'."
            )
        loaded, missing = load_float32(AutoModelForCausalLM, source)
        check_loaded(model, loaded, missing)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    return CausalLM(loaded.to(target).eval(), tokenizer)


# --- several texts in one pass -------------------------------------------------------------------


def common_prefix(encoded: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all texts begin with; at least one token of each is left over.

    >>> common_prefix([[7, 8, 1], [7, 8, 2, 3]])
    2
    """
    first, last = min(encoded), max(encoded)  # all others lie between them, in this order
    longest = min(map(len, encoded)) - 1
    same = (a == b for a, b in zip(first[:longest], last[:longest], strict=True))
    return next((index for index, equal in enumerate(same) if not equal), longest)


class _Pack:
    """Texts side by side in one row, each followed by the endings, which see only their own text.

    The model never reads an ending's last token, it only predicts it; an ending of one token adds
    none to the row.

    Args:
        texts: Token ids of each text.
        endings: Token ids of each ending.

    Attributes:
        ids: The token ids of the row.
        positions: Each token's position after the prefix, as if its text stood alone.
        read: Indices in the row whose next token some ending needs.
    """

    def __init__(self, texts: list[list[int]], endings: list[list[int]]) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.read: list[int] = []
        self._text: list[int] = []  # which text a token belongs to
        self._ending: list[int] = []  # and which of its endings; -1 for the text itself
        self._wanted: list[tuple[int, int, int, int]] = []  # text, ending, index in `read`, token
        for number, text in enumerate(texts):
            self._add(text, number, -1, 0)
            last = len(self.ids) - 1
            for column, ending in enumerate(endings):
                self._want(number, column, last, ending[0])
                for offset, token in enumerate(ending[:-1]):
                    self._add([token], number, column, len(text) + offset)
                    self._want(number, column, len(self.ids) - 1, ending[offset + 1])
        self._shape = (len(texts), len(endings))

    def _add(self, ids: list[int], text: int, ending: int, start: int) -> None:
        self.ids += ids
        self.positions += range(start, start + len(ids))
        self._text += [text] * len(ids)
        self._ending += [ending] * len(ids)

    def _want(self, text: int, ending: int, index: int, token: int) -> None:
        if not self.read or self.read[-1] != index:
            self.read.append(index)
        self._wanted.append((text, ending, len(self.read) - 1, token))

    def mask(self, shared: int, device: torch.device) -> torch.Tensor:
        """Return what each token may see, as attention adds it: 0, or minus infinity.

        Shape `(1, 1, tokens, shared + tokens)`.
        """
        text, ending = torch.tensor(self._text), torch.tensor(self._ending)
        index = torch.arange(len(text))
        own = (text[:, None] == text) & ((ending == -1) | (ending[:, None] == ending))
        seen = own & (index <= index[:, None])
        seen = torch.cat([torch.ones(len(text), shared, dtype=torch.bool), seen], dim=1)
        added = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
        return added[None, None].to(device)

    def totals(self, log_probabilities: torch.Tensor) -> torch.Tensor:
        """Sum the log-probabilities of each ending's tokens, `(texts, endings)`.

        Args:
            log_probabilities: Of the next token at the indices in `read`,
                `(len(read), vocabulary)`.
        """
        text, ending, row, token = torch.tensor(self._wanted, device=log_probabilities.device).T
        flat = log_probabilities.new_zeros(self._shape[0] * self._shape[1])
        flat.index_add_(0, text * self._shape[1] + ending, log_probabilities[row, token])
        return flat.view(self._shape)


def _packs(lengths: Sequence[int], size: int | None) -> Iterator[list[int]]:
    """Yield groups of `size` rows; for `None`, of at most `PACK_TOKENS` tokens, or of one row."""
    rows: list[int] = []
    for row, length in enumerate(lengths):
        total = sum(lengths[other] for other in rows) + length
        if rows and (total > PACK_TOKENS if size is None else len(rows) == size):
            yield rows
            rows = []
        rows.append(row)
    yield rows


# --- hidden states and draws ---------------------------------------------------------------------


def _checked_layers(layer: int | Sequence[int], num_blocks: int) -> list[int]:
    """Return the layers in a list, or raise a `ValueError` for one that the model has not."""
    single = isinstance(layer, int | np.integer)
    if not single and (isinstance(layer, str) or not isinstance(layer, Iterable)):
        raise ValueError(f"layer={layer!r}; use a whole number, or a list of them.")
    layers = [layer] if single else list(layer)
    if not layers:
        raise ValueError(f"layer={layer!r} names no layer; use a whole number, or a list of them.")
    for number in layers:
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        if not whole or not -num_blocks - 1 <= number <= num_blocks:
            raise ValueError(
                f"layer={number!r}; use a whole number from 0, the embeddings, to {num_blocks}, "
                "the last block, or count from the end with -1 and below."
            )
    return [int(number) for number in layers]


def _forget_hooks(model: nn.Module) -> None:
    """Take away the hooks that reading hidden states leaves, which no pickle takes.

    The library installs them again when they are needed.
    """
    for module in model.modules():
        for number, hook in list(module._forward_hooks.items()):
            if getattr(hook, "__module__", "") == "transformers.utils.output_capturing":
                del module._forward_hooks[number]
        if hasattr(module, INSTALLED):
            setattr(module, INSTALLED, False)


def _pooled(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    if pooling == "last":
        return states[torch.arange(len(states)), mask.sum(dim=1) - 1]
    weights = mask[..., None].float()
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def _next_token(logits: torch.Tensor, temperature: float) -> int:
    if temperature < COLDEST:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(dim=-1), 1))


def end_ids(model: PreTrainedModel, tokenizer: Tokenizer) -> set[int]:
    """Return the ids of the tokens that end a text."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return {token for token in (*ids, tokenizer.eos_token_id) if token is not None}
