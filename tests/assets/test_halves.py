"""A small BERT travels as one file of half precision, and comes with the package as an asset."""

import hashlib

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM

from reptune import assets, halves
from reptune.assets import recipes

LETTERS = [
    letter for pair in zip("abcdefg", (f"##{x}" for x in "abcdefg"), strict=True) for letter in pair
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "bad", *LETTERS]
SIZES = dict(zip(halves.SIZES, (32, 2, 2, 64), strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A saved model, and the file of it."""
    root = tmp_path_factory.mktemp("halves")
    torch.manual_seed(0)
    model = BertForMaskedLM(halves.bert_config(len(VOCABULARY), 24, 0.0, **SIZES))
    model.save_pretrained(root / "model")
    halves.wordpiece_tokenizer(VOCABULARY, 24).save_pretrained(root / "model")
    return (
        root / "model",
        root / "small.safetensors",
        halves.write_halves(root / "model", root / "small.safetensors"),
    )


def test_the_model_is_the_same_but_for_half_precision(made, tmp_path):
    folder, file, digest = made
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert halves.write_halves(folder, tmp_path / "again.safetensors") == digest
    random_state = torch.random.get_rng_state()
    halves.convert(file, tmp_path / "read")
    assert torch.equal(torch.random.get_rng_state(), random_state)
    before, after = (AutoModelForMaskedLM.from_pretrained(f) for f in (folder, tmp_path / "read"))
    for name, weight in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], weight.half().float(), rtol=0, atol=0)
    assert after.config.hidden_dropout_prob == halves.DROPOUT
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "read")
    assert tokenizer.convert_ids_to_tokens(tokenizer("BAD cafe")["input_ids"]) == [
        "[CLS]", "bad", "c", "##a", "##f", "##e", "[SEP]",
    ]  # fmt: skip
    assert tokenizer.model_max_length == 24
    assert halves.write_halves(tmp_path / "read", tmp_path / "third.safetensors") == digest
    numbers = sum(weight.numel() for weight in before.parameters())
    assert 2 * numbers < file.stat().st_size < 2 * numbers + 10_000


def test_what_is_no_such_file_is_refused(made, tmp_path):
    folder, file, _ = made
    with pytest.raises(ValueError, match="no model that write_halves wrote"):
        halves.convert(folder / "model.safetensors", tmp_path / "read")
    content = file.read_bytes()
    assert content.count(rb"{\"format\": 1") == 1
    newer = tmp_path / "newer.safetensors"
    newer.write_bytes(content.replace(rb"{\"format\": 1", rb"{\"format\": 9"))
    with pytest.raises(ValueError, match="format 9; this code reads up to 1"):
        halves.convert(newer, tmp_path / "read")
    assert not (tmp_path / "read").exists()


def test_weights_beyond_half_precision_are_not_written(made, tmp_path):
    folder, _, _ = made
    model = BertForMaskedLM.from_pretrained(folder)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[0, 0] = 1e6
    model.save_pretrained(tmp_path / "large")
    halves.wordpiece_tokenizer(VOCABULARY, 24).save_pretrained(tmp_path / "large")
    with pytest.raises(ValueError, match=r"word_embeddings.weight holds weights beyond half"):
        halves.write_halves(tmp_path / "large", tmp_path / "large.safetensors")
    assert not (tmp_path / "large.safetensors").exists()


@pytest.fixture
def packaged(made, tmp_path, monkeypatch):
    """An asset that comes with the package."""
    _, file, digest = made
    table = [
        "[small]", 'kind = "model"', 'group = "default"', 'recipe = "halves"',
        'license = "MIT"', 'source = "here"', "unpacked = 200000",
        f'origin = "{file.name}"', f'origin_sha256 = "{digest}"',
        f"origin_size = {file.stat().st_size}",
    ]  # fmt: skip
    (tmp_path / "assets.toml").write_text("\n".join(table))
    monkeypatch.setenv("REPTUNE_ASSETS_TOML", str(tmp_path / "assets.toml"))
    monkeypatch.setenv("REPTUNE_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / file.name
    copy.write_bytes(file.read_bytes())
    monkeypatch.setattr(recipes, "packaged", lambda asset: copy)
    return copy


def test_an_asset_of_the_package_needs_no_network(packaged, monkeypatch):
    monkeypatch.setattr("socket.create_connection", None)
    folder = assets.get("small")
    assert AutoModelForMaskedLM.from_pretrained(folder).config.vocab_size == len(VOCABULARY)
    assert assets.verify("small").startswith("unchanged since its conversion")
    assert assets.info("small").size == 0
    assert assets.get("small") == folder


def test_a_changed_file_of_the_package_is_refused(packaged):
    packaged.write_bytes(packaged.read_bytes()[:-1] + b"\0")
    with pytest.raises(assets.AssetCorrupt, match=r"install reptune again.*has sha256"):
        assets.get("small")


def test_a_file_that_is_not_installed_is_named(packaged, monkeypatch):
    monkeypatch.undo()
    asset = assets.info("all-MiniLM-L6-v2")
    with pytest.raises(assets.errors.SourceFailed, match="model is missing from this installation"):
        recipes.packaged(asset)
