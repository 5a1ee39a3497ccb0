"""A file of 4-bit blocks becomes a folder that every library loads; a damaged one, nothing."""

import struct

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from reptune import checks
from reptune.blocks4 import convert

HIDDEN, LAYERS, HEADS, WIDE, ROWS, POSITIONS, TYPES = 32, 2, 2, 64, 16, 24, 2
PIECES = [
    ("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0), ("▁ab", -2.0),
    ("a", -3.0), ("b", -3.0), ("▁a", -2.5), ("é", -3.0), ("～", -3.0), ("<mask>", 0.0),
]  # fmt: skip
CHARACTERS = {"\x01": "", "\n": " ", "\xa0": " ", "\u2581": " ", "ａ": "a", "½": "1⁄2"}
SIZES = {
    "q": (HIDDEN, HIDDEN), "k": (HIDDEN, HIDDEN), "v": (HIDDEN, HIDDEN), "ao": (HIDDEN, HIDDEN),
    "fi": (WIDE, HIDDEN), "fo": (HIDDEN, WIDE),
}  # fmt: skip


def tensors():
    """Name to weights; those of two dimensions become 4-bit ones, but for positions and types."""
    draw = np.random.default_rng(0)
    found = {
        "emb.word": draw.normal(size=(ROWS, HIDDEN)),
        "emb.pos": draw.normal(size=(POSITIONS, HIDDEN)),
        "emb.type": draw.normal(size=(TYPES, HIDDEN)),
    }
    for norm in ["emb.ln", *(f"l{n}.{kind}" for n in range(LAYERS) for kind in ("aln", "oln"))]:
        found |= {f"{norm}.w": draw.normal(size=HIDDEN), f"{norm}.b": draw.normal(size=HIDDEN)}
    for layer in range(LAYERS):
        for name, size in SIZES.items():
            found[f"l{layer}.{name}.w"] = draw.normal(size=size)
            found[f"l{layer}.{name}.b"] = draw.normal(size=size[:1])
    return {name: values.astype(np.float32) for name, values in found.items()}


def is_four_bits(name, values):
    return name == "emb.word" or (values.ndim == 2 and not name.startswith("emb"))


def blocks(values):
    """The bytes of 4-bit blocks, and, value by value, the weights they stand for."""
    content, meant = b"", []
    for block in values.reshape(-1, 32):
        scale = np.float16(np.abs(block).max() / 7)
        numbers = [min(15, max(0, round(float(weight / scale)) + 8)) for weight in block]
        content += scale.tobytes()
        content += bytes(numbers[i] + 16 * numbers[i + 16] for i in range(16))
        meant += [(number - 8) * float(scale) for number in numbers]
    return content, np.array(meant, dtype=np.float32).reshape(values.shape)


def write(path, shape=(HIDDEN, LAYERS, HEADS, WIDE, ROWS, POSITIONS, TYPES), **changes):
    """Write a file by the format's description; return the weights it means."""
    pieces = changes.get("pieces", PIECES)
    blob = [piece if isinstance(piece, bytes) else piece.encode() for piece, _ in pieces]
    content = struct.pack("<4sI7ifi", changes.get("magic", b"E5S1"), 1, *shape, 1e-12, 32)
    content += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, sum(map(len, blob)))
    content += np.cumsum([0, *map(len, blob)]).astype("<u4").tobytes()
    content += np.array([score for _, score in pieces], dtype="<f4").tobytes() + b"".join(blob)
    map_bytes = b"".join(
        struct.pack(f"<IB{len(to)}I", ord(character), len(to), *map(ord, to))
        for character, to in changes.get("characters", CHARACTERS).items()
    )
    content += struct.pack("<iI", len(CHARACTERS), len(map_bytes)) + map_bytes
    stored, meant = changes.get("tensors", tensors()), {}
    directory = sum(2 + len(name) + 21 for name in stored)
    offset, body, entries = len(content) + 4 + directory, b"", b""
    for name, values in stored.items():
        if is_four_bits(name, values):
            data, meant[name] = blocks(values)
        else:
            data, meant[name] = values.tobytes(), values
        kind = int(is_four_bits(name, values))
        entries += struct.pack("<H", len(name)) + name.encode()
        entries += struct.pack("<BIQQ", kind, values.size, offset + len(body), len(data))
        body += data
    path.write_bytes(content + struct.pack("<i", len(stored)) + entries + body)
    return meant


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocks4")
    meant = write(folder / "model.bin")
    (folder / "model").mkdir()
    convert(folder / "model.bin", folder / "model")
    return folder, meant


def test_every_weight_is_where_bert_reads_it(converted):
    folder, meant = converted
    state = AutoModel.from_pretrained(folder / "model").state_dict()
    names = {
        "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
        "ao": "attention.output.dense", "fi": "intermediate.dense", "fo": "output.dense",
        "aln": "attention.output.LayerNorm", "oln": "output.LayerNorm",
    }  # fmt: skip
    endings = {"w": "weight", "b": "bias"}
    compared = 0
    for name, values in meant.items():
        first, *rest = name.split(".")
        if first == "emb":
            table = {"word": "word_embeddings", "pos": "position_embeddings"}
            table |= {"type": "token_type_embeddings", "ln": "LayerNorm"}
            key = f"embeddings.{table[rest[0]]}.{endings[rest[1]] if rest[1:] else 'weight'}"
        else:
            key = f"encoder.layer.{first[1:]}.{names[rest[0]]}.{endings[rest[1]]}"
        np.testing.assert_array_equal(state[key].numpy(), values, err_msg=name)
        compared += 1
    assert compared == len([key for key in state if not key.startswith("pooler")])


def test_the_tokenizer_normalizes_and_splits_as_the_file_says(converted):
    tokenizer = AutoTokenizer.from_pretrained(converted[0] / "model")
    assert tokenizer("ab a")["input_ids"] == [0, 5, 8, 2]
    assert tokenizer("  ａb\n\x01\xa0 a ")["input_ids"] == [0, 5, 8, 2]
    assert tokenizer("a～")["input_ids"] == [0, 8, 10, 2]  # NFKC alone makes it "~", unknown
    assert tokenizer("ae\u0301")["input_ids"] == [0, 8, 9, 2]
    assert tokenizer("z")["input_ids"] == [0, 4, 3, 2]
    assert tokenizer("a", "b")["input_ids"] == [0, 8, 2, 2, 4, 7, 2]
    assert tokenizer.decode(tokenizer("ab a")["input_ids"], skip_special_tokens=True) == "ab a"
    assert tokenizer.model_max_length == POSITIONS
    special = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.mask_token_id)
    assert special == (1, 3, 11)


def test_the_sentence_transformer_takes_the_mean_of_token_vectors(converted):
    from reptune.models.sentence import load_body

    folder = converted[0] / "model"
    checks.check_model_folder(folder)
    texts = ["ab a", "b"]
    vectors = load_body(folder, torch.device("cpu")).encode(texts)
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(texts, vectors, strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = states.mean(dim=0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-6)


def test_two_conversions_give_the_same_bytes(converted, tmp_path):
    folder = converted[0]
    convert(folder / "model.bin", tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 8
    for path in files:
        assert (tmp_path / path).read_bytes() == (folder / "model" / path).read_bytes(), path


def without(name):
    return {key: values for key, values in tensors().items() if key != name}


DAMAGE = {
    "another magic": ({"magic": b"GGUF"}, "starts with b'GGUF'"),
    "no dimension": ({"shape": (HIDDEN, 0, HEADS, WIDE, ROWS, POSITIONS, TYPES)}, "dimension"),
    "a huge one": ({"shape": (HIDDEN, 2, HEADS, 1 << 30, ROWS, POSITIONS, TYPES)}, "dimension"),
    "heads that do not fit": ({"shape": (HIDDEN, 2, 3, WIDE, ROWS, POSITIONS, TYPES)}, "fit"),
    "fewer vectors": ({"shape": (HIDDEN, 2, 2, WIDE, 8, POSITIONS, TYPES)}, "12 pieces, 8"),
    "more layers": ({"shape": (HIDDEN, 3, HEADS, WIDE, ROWS, POSITIONS, TYPES)}, "l2"),
    "a missing tensor": ({"tensors": without("l1.fo.w")}, "l1.fo.w"),
    "a small tensor": ({"tensors": tensors() | {"emb.pos": np.ones((2, 32), "f4")}}, "emb.pos"),
    "no number": ({"tensors": tensors() | {"l0.q.b": np.full(32, np.nan, "f4")}}, "not finite"),
    "a piece twice": ({"pieces": [*PIECES[:-2], PIECES[5], PIECES[-1]]}, "twice"),
    "no UTF-8": ({"pieces": [*PIECES[:-2], (b"\xff", 0.0), PIECES[-1]]}, "UTF-8"),
    "no mask": ({"pieces": PIECES[:-1]}, "<mask>"),
    "another map": ({"characters": CHARACTERS | {"½": "x"}}, r"U\+00BD"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_nothing_written(kind, tmp_path):
    changes, message = DAMAGE[kind]
    write(tmp_path / "model.bin", **changes)
    (tmp_path / "model").mkdir()
    with pytest.raises(ValueError, match=message) as raised:
        convert(tmp_path / "model.bin", tmp_path / "model")
    assert "model.bin is damaged" in str(raised.value)
    assert list((tmp_path / "model").iterdir()) == []


def test_a_file_cut_anywhere_is_damaged(converted, tmp_path):
    whole = (converted[0] / "model.bin").read_bytes()
    (tmp_path / "model").mkdir()
    for size in [*range(0, 1000, 37), len(whole) // 2, len(whole) - 1]:
        (tmp_path / "cut.bin").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="damaged"):
            convert(tmp_path / "cut.bin", tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []
