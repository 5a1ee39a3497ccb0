"""Causal language models: text that goes on, how likely a continuation is, hidden states.

`CausalLM` is what chapters 5 and 6 share. A prompt that many inputs begin with is encoded once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from reptune import assets, runtime
from reptune.checks import check_finite_weights, check_texts, check_whole_number
from reptune.models.prompts import check_generation, cut_at
from reptune.runtime import half_precision as autocast
from reptune.tokens import model_limit

Pooling = Literal["last", "mean"]
BATCH_SIZE = 16
COLDEST = 1e-6  # below, logits overflow when divided, and the likeliest piece is always drawn
INSTALLED = "_output_capturing_hooks_installed"  # the library's mark of a model with hooks
PACK_PIECES = 512  # pieces of one pass; more of them make attention's share grow


@dataclass
class CausalLM:
    """A causal language model with its tokenizer.

    Attributes:
        model: The model, in float32 and evaluation mode, on this machine's device.
        tokenizer: Its tokenizer.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer

    @property
    def limit(self) -> int:
        """How many pieces the model reads at once."""
        return model_limit(self.tokenizer, self.model)

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Piece ids of a text, with the special tokens that the tokenizer adds in front, if any."""
        return self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]

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
        """Let the model go on with a prompt, piece by piece.

        Args:
            prompt: What the model reads.
            max_new_tokens: Pieces to write at most.
            temperature: 0 takes the likeliest piece each time; above 0 pieces are drawn from
                softmax(logits / temperature), so that low values stay near the likeliest.
            stop: End sequences: the text ends before the first one that occurs.
            random_state: Seed of the draws; `None` for new ones each time.

        Returns:
            The new text, without the prompt and without the end sequence.

        Raises:
            ValueError: If an argument is bad, or the prompt leaves no room for a piece.

        Source: chapter 5.
        """
        check_generation(prompt, max_new_tokens, temperature, stop, random_state)
        pieces = self.encode(prompt)
        if len(pieces) + max_new_tokens > self.limit:
            raise ValueError(
                f"the prompt has {len(pieces)} pieces and max_new_tokens={max_new_tokens}, but "
                f"the model reads {self.limit}; shorten the prompt or write less."
            )
        inputs = torch.tensor([pieces], device=self.model.device)
        cache, new = None, []
        with runtime.seeded(None if random_state is None else int(random_state)):
            for _ in range(max_new_tokens):
                output = self.model.base_model(inputs, past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                piece = _next_piece(self._logits(output.last_hidden_state[0, -1]), temperature)
                if piece in _end_pieces(self.model, self.tokenizer):
                    break
                new.append(piece)
                text = self.tokenizer.decode(new)
                if any(mark and mark in text for mark in stop):
                    break
                inputs = torch.tensor([[piece]], device=self.model.device)
        return cut_at(self.tokenizer.decode(new), stop)

    def continuation_scores(
        self,
        prompts: Sequence[str],
        continuations: Sequence[str],
        *,
        shared_prefix: bool = True,
        half_precision: bool = False,
    ) -> np.ndarray:
        """How likely each continuation is after each prompt: whole, not its first piece alone.

        Args:
            prompts: Shape `(n,)`.
            continuations: Shape `(k,)`, such as `" positive"`, with the space before the word.
            shared_prefix: Encode what all prompts begin with once, and read several prompts in
                one pass; the numbers stay the same to 1e-4. `False` reads every prompt whole,
                one after the other.
            half_precision: bfloat16 products, where the device has them; scores move by
                about 0.1.

        Returns:
            Natural logarithms of the probabilities, summed over a continuation's pieces,
            `(n, k)`.

        Raises:
            ValueError: If a prompt or continuation is empty, or too long together.

        Source: Brown et al., *Language Models are Few-Shot Learners* (2020), section 2.4;
        chapter 5.
        """
        encoded = [self.encode(text) for text in check_texts(prompts, "prompts")]
        continuations = check_texts(continuations, "continuations")
        endings = [self.encode(text, special=False) for text in continuations]
        self._check_lengths(prompts, encoded, continuations, endings)
        packs = shared_prefix and self._can_pack()
        shared = common_prefix(encoded) if packs and len(encoded) > 1 else 0
        scores = np.empty((len(encoded), len(endings)))
        with torch.inference_mode(), autocast(self.model.device, half_precision):
            cache = self._cache_of(encoded[0][:shared]) if shared else None
            rest = [pieces[shared:] for pieces in encoded]
            for rows in _packs(list(map(len, rest)), PACK_PIECES if packs else 0):
                texts = [rest[row] for row in rows]
                # Unpacked, one ending at a time, so that nothing needs a mask of its own.
                single = packs or max(map(len, endings)) == 1
                each = [endings] if single else [[ending] for ending in endings]
                found = torch.cat([self._score(texts, one, cache, shared) for one in each], dim=1)
                scores[rows] = found.double().cpu().numpy()
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
        """A vector for each text from a block's hidden states.

        Args:
            texts: Shape `(n,)`.
            layer: Which hidden states: 0 for the embeddings, -1 for the last block, after the
                final normalization; several are read in one pass.
            pooling: `"last"` takes the last piece, the only one that has seen the whole text;
                `"mean"` averages over all pieces.
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
            for rows in _batches([len(pieces) for pieces in encoded], batch_size):
                inputs, mask = self._pad([encoded[row] for row in rows])
                states = self.model.base_model(
                    inputs, attention_mask=mask, output_hidden_states=True
                ).hidden_states
                for place, one in enumerate(layers):
                    vectors[place, rows] = _pooled(states[one].float(), mask, pooling).cpu().numpy()
        _forget_hooks(self.model)
        return vectors[0] if isinstance(layer, int | np.integer) else vectors

    # What follows is plumbing.

    def _score(
        self, texts: list[list[int]], endings: list[list[int]], cache: Any, shared: int
    ) -> torch.Tensor:
        """Scores of every ending after prefix + text, `(len(texts), len(endings))`, in one pass."""
        pack = _Pack(texts, endings)
        device = self.model.device
        # One text with one ending needs no mask: whatever stands before a piece, it may see.
        plain = len(texts) == 1 and (len(endings) == 1 or max(map(len, endings)) == 1)
        output = self.model.base_model(
            torch.tensor([pack.pieces], device=device),
            attention_mask=None if plain else pack.mask(shared, device),
            position_ids=torch.tensor([pack.positions], device=device) + shared,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        if cache is not None:
            cache.crop(-len(pack.pieces))  # the next texts follow the prefix again
        asked = output.last_hidden_state[0, pack.asked]
        chances = self._logits(asked).log_softmax(dim=-1)
        return pack.totals(chances)

    def _can_pack(self) -> bool:
        """Whether pieces may stand in one pass that do not see each other.

        Not where a layer looks back over a window only: it would count places, not positions.
        """
        config = self.model.config
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        window = getattr(config, "sliding_window", None)
        if getattr(config, "use_sliding_window", None) is False:
            window = None
        windowed = window or getattr(config, "attention_types", None) or kinds != {"full_attention"}
        return not windowed and hasattr(config, "rope_parameters")

    def _cache_of(self, pieces: list[int]) -> Any:
        inputs = torch.tensor([pieces], device=self.model.device)
        return self.model.base_model(inputs, use_cache=True).past_key_values

    def _logits(self, states: torch.Tensor) -> torch.Tensor:
        return self.model.get_output_embeddings()(states).float()

    def _pad(self, encoded: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask, padded on the right, where a causal model never looks."""
        tensors = [torch.tensor(pieces) for pieces in encoded]
        inputs = nn.utils.rnn.pad_sequence(tensors, batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(one) for one in tensors], True)
        return inputs.to(self.model.device), mask.to(self.model.device)

    def _check_lengths(
        self,
        prompts: Sequence[str],
        encoded: list[list[int]],
        continuations: Sequence[str],
        endings: Sequence[list[int]],
    ) -> None:
        for text, pieces in (*zip(prompts, encoded, strict=True), *zip(
            continuations, endings, strict=True
        )):  # fmt: skip
            if not pieces:
                raise ValueError(f"{text!r} has no piece to score; pass some text.")
        longest = max(map(len, encoded)) + max(map(len, endings), default=0)
        if longest > self.limit:
            raise ValueError(
                f"a prompt with its continuation has {longest} pieces, but the model reads "
                f"{self.limit}; drop examples or shorten the text."
            )


def load_causal_lm(model: str | Path) -> CausalLM:
    """Load a causal language model.

    Args:
        model: An asset's name, such as `"SmolLM2-135M-Instruct"`, a local folder or a Hub id. No
            code that lies beside its weights is run.

    Raises:
        ValueError: If it is no causal model, lacks weights, or needs code of its own.
        reptune.assets.AssetUnavailable: If it cannot be had.
    """
    source = str(assets.resolve_model(model))
    with runtime.quiet():
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        kinds = config.architectures or []
        if not any("CausalLM" in kind or "LMHead" in kind for kind in kinds):
            raise ValueError(
                f"{model} is a {', '.join(kinds) or config.model_type}, which cannot go on with a "
                "text; use a causal language model, such as 'SmolLM2-135M-Instruct'."
            )
        loaded, info = AutoModelForCausalLM.from_pretrained(
            source,
            use_safetensors=True,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
        )
        check_loaded(model, loaded, info["missing_keys"])
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    return CausalLM(loaded.to(runtime.device()).eval(), tokenizer)


def check_loaded(model: str | Path, loaded: nn.Module, missing: Collection[str]) -> None:
    """Raise a `ValueError` if a loaded model's weights cannot be meant.

    Args:
        model: What the caller named.
        loaded: The model.
        missing: Weights that its folder lacks; the library draws them at random.
    """
    cure = "restore the folder, or use another model."
    if missing:
        named = ", ".join(sorted(missing)[:2])
        more = ", …" if len(missing) > 2 else ""
        raise ValueError(f"{model} lacks {len(missing)} of its weights ({named}{more}); {cure}")
    try:
        check_finite_weights(loaded, trained=False)
    except ValueError as error:
        raise ValueError(f"{model}: {error}; {cure}") from None


def common_prefix(encoded: Sequence[Sequence[int]]) -> int:
    """How many pieces all texts begin with; at least one piece of each is left over."""
    first, last = min(encoded), max(encoded)  # all others lie between them, in this order
    longest = min(map(len, encoded)) - 1
    same = (a == b for a, b in zip(first[:longest], last[:longest], strict=True))
    return next((place for place, equal in enumerate(same) if not equal), longest)


class _Pack:
    """Texts side by side in one row, each followed by the endings, which see only their own text.

    An ending's last piece is never read, only asked for; an ending of one piece adds none.

    Args:
        texts: Piece ids of each text.
        endings: Piece ids of each ending.

    Attributes:
        pieces: All pieces of the row.
        positions: Where each stands after the prefix, as if its text stood alone.
        asked: Places in the row whose next piece some ending needs.
    """

    def __init__(self, texts: list[list[int]], endings: list[list[int]]) -> None:
        self.pieces: list[int] = []
        self.positions: list[int] = []
        self.asked: list[int] = []
        self._text: list[int] = []  # which text a piece belongs to
        self._ending: list[int] = []  # and which of its endings; -1 for the text itself
        self._wanted: list[tuple[int, int, int, int]] = []  # text, ending, row of asked, piece
        for number, text in enumerate(texts):
            self._add(text, number, -1, 0)
            last = len(self.pieces) - 1
            for column, ending in enumerate(endings):
                self._want(number, column, last, ending[0])
                for offset, piece in enumerate(ending[:-1]):
                    self._add([piece], number, column, len(text) + offset)
                    self._want(number, column, len(self.pieces) - 1, ending[offset + 1])
        self._shape = (len(texts), len(endings))

    def _add(self, pieces: list[int], text: int, ending: int, start: int) -> None:
        self.pieces += pieces
        self.positions += range(start, start + len(pieces))
        self._text += [text] * len(pieces)
        self._ending += [ending] * len(pieces)

    def _want(self, text: int, ending: int, place: int, piece: int) -> None:
        if not self.asked or self.asked[-1] != place:
            self.asked.append(place)
        self._wanted.append((text, ending, len(self.asked) - 1, piece))

    def mask(self, shared: int, device: torch.device) -> torch.Tensor:
        """What each piece may see, as attention adds it: 0, or minus infinity.

        Shape `(1, 1, pieces, shared + pieces)`.
        """
        text, ending = torch.tensor(self._text), torch.tensor(self._ending)
        place = torch.arange(len(text))
        own = (text[:, None] == text) & ((ending == -1) | (ending[:, None] == ending))
        seen = own & (place <= place[:, None])
        seen = torch.cat([torch.ones(len(text), shared, dtype=torch.bool), seen], dim=1)
        added = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
        return added[None, None].to(device)

    def totals(self, chances: torch.Tensor) -> torch.Tensor:
        """Sum the log-probabilities of each ending's pieces, `(texts, endings)`.

        Args:
            chances: Log-probabilities of the next piece at the places asked.
        """
        text, ending, row, piece = torch.tensor(self._wanted, device=chances.device).T
        flat = chances.new_zeros(self._shape[0] * self._shape[1])
        flat.index_add_(0, text * self._shape[1] + ending, chances[row, piece])
        return flat.view(self._shape)


def _packs(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Rows in groups of at most `most` pieces together, or one."""
    rows: list[int] = []
    for row, length in enumerate(lengths):
        if rows and sum(lengths[one] for one in rows) + length > most:
            yield rows
            rows = []
        rows.append(row)
    yield rows


def _batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Rows of similar length, the longest first."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size].tolist()


def _checked_layers(layer: int | Sequence[int], num_blocks: int) -> list[int]:
    """The layers in a list, or a `ValueError` for one that the model has not."""
    single = isinstance(layer, int | np.integer)
    if not single and (isinstance(layer, str) or not isinstance(layer, Iterable)):
        raise ValueError(f"layer={layer!r}; use a whole number, or a list of them.")
    layers = [layer] if single else list(layer)
    if not layers:
        raise ValueError(f"layer={layer!r} names no layer; use a whole number, or a list of them.")
    for one in layers:
        whole = isinstance(one, int | np.integer) and not isinstance(one, bool)
        if not whole or not -num_blocks - 1 <= one <= num_blocks:
            raise ValueError(
                f"layer={one!r}; use a whole number from 0, the embeddings, to {num_blocks}, the "
                "last block, or count from the end with -1 and below."
            )
    return [int(one) for one in layers]


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


def _next_piece(logits: torch.Tensor, temperature: float) -> int:
    if temperature < COLDEST:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(dim=-1), 1))


def _end_pieces(model: PreTrainedModel, tokenizer: Tokenizer) -> set[int]:
    found = getattr(model.generation_config, "eos_token_id", None)
    named = found if isinstance(found, list) else [found]
    return {piece for piece in (*named, tokenizer.eos_token_id) if piece is not None}
