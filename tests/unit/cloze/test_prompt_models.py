import copy
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    CohereConfig,
    CohereForCausalLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaForMaskedLM,
)

from reptune.cloze import prompt_models
from reptune.cloze.prompt_models import PromptModel, collate, label_logits, load_prompt_model
from reptune.cloze.templates import Encoded, Template, encode
from reptune.models import lowrank
from tests import tiny

MASKED, CAUSAL = "{text} was {mask} .", "{text} is {mask}"
KINDS = ["masked", "causal"]


@pytest.fixture(scope="module")
def loaded(tiny_masked_lm, tiny_causal_lm):
    folders = {"masked": tiny_masked_lm, "causal": tiny_causal_lm}
    return {kind: load_prompt_model(folder) for kind, folder in folders.items()}


def _prompts(prompt_model, texts):
    template = Template(CAUSAL if prompt_model.causal else MASKED)
    kind = {"limit": prompt_model.limit, "causal": prompt_model.causal}
    return [encode(template, prompt_model.tokenizer, text, **kind) for text in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_fast_logits_are_the_librarys(loaded, kind, tiny_masked_lm, tiny_causal_lm):
    model = loaded[kind]
    assert model.causal == (kind == "causal") and model.head is not None
    encoded = _prompts(model, ["a good film", "the", "very very dull plot was poor"])
    ids = np.array([9, 5, 7])
    with torch.inference_mode():
        batch = collate(model, encoded)
        fast, plain = (label_logits(model, batch, ids, fast=wanted) for wanted in (True, False))
        whole = label_logits(model, batch)
    np.testing.assert_allclose(fast, plain, atol=1e-5)
    np.testing.assert_allclose(whole[:, ids], plain, atol=1e-5)
    if kind == "causal":
        library = AutoModelForCausalLM.from_pretrained(tiny_causal_lm).eval()
    else:
        library = AutoModelForMaskedLM.from_pretrained(tiny_masked_lm).eval()
    with torch.inference_mode():
        for row, one in enumerate(encoded):  # alone, without padding
            logits = library(torch.tensor([one.input_ids])).logits[0, one.mask]
            np.testing.assert_allclose(fast[row], logits[ids], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_logits(loaded, kind):
    model = loaded[kind]
    encoded = _prompts(model, ["a film", "very very dull plot was poor", "the"])
    with torch.inference_mode():
        together = label_logits(model, collate(model, encoded, multiple=8), [5, 6])
        alone = torch.cat([label_logits(model, collate(model, [one]), [5, 6]) for one in encoded])
    assert collate(model, encoded, multiple=8).input_ids.shape[1] % 8 == 0
    np.testing.assert_allclose(together, alone, atol=1e-5)


SMALL = {"vocab_size": 30, "pad_token_id": 1}


def _other_model(name):
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    if name == "roberta":
        return RobertaForMaskedLM(RobertaConfig(**SMALL, **shape, hidden_size=8))
    if name == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=2))
    if name == "distilbert":
        config = DistilBertConfig(**SMALL, dim=8, n_layers=1, n_heads=2, hidden_dim=16)
        return DistilBertForMaskedLM(config)
    config = CohereConfig(**SMALL, **shape, hidden_size=8, logit_scale=0.5, eos_token_id=2)
    return CohereForCausalLM(config)


@pytest.mark.parametrize(
    ("name", "parted"),
    [("roberta", True), ("gpt2", True), ("distilbert", False), ("cohere", False)],
)
def test_other_heads_are_used_by_rows_only_where_that_gives_the_same(name, parted):
    torch.manual_seed(1)
    model = _other_model(name)
    for weight in model.parameters():  # so that biases and norms matter
        torch.nn.init.normal_(weight, std=0.3)
    causal = name in ("gpt2", "cohere")
    found = prompt_models._with_head(
        PromptModel(model.eval(), tiny.tokenizer(), causal, limit=20, head=None)
    )
    assert (found.head is not None) == parted
    batch = collate(found, [Encoded([3, 9, 4, 6], 3, 0, 0), Encoded([5, 8], 1, 0, 0)])
    with torch.inference_mode():
        fast, plain = (label_logits(found, batch, [4, 7], fast=wanted) for wanted in (True, False))
    np.testing.assert_allclose(fast, plain, atol=1e-5)


def test_a_masked_model_without_its_head_is_refused_unless_an_adapter_brings_one(
    tiny_encoder, tmp_path
):
    with pytest.raises(ValueError, match="ships without its masked-LM head"):
        load_prompt_model(tiny_encoder)
    model = AutoModelForMaskedLM.from_pretrained(tiny_encoder)
    torch.nn.init.normal_(model.cls.predictions.bias)
    names = lowrank.add_low_rank(model, rank=2)
    lowrank.save_adapter(model, names, tmp_path / "adapter.safetensors")
    found = load_prompt_model(tiny_encoder, tmp_path / "adapter.safetensors")
    bias = model.cls.predictions.bias.detach()
    np.testing.assert_allclose(found.model.cls.predictions.bias.detach(), bias, atol=1e-3)
    with pytest.raises(ValueError, match=r"adapter='.*gone' is no file"):
        load_prompt_model(tiny_encoder, tmp_path / "gone")


@pytest.mark.parametrize("name", ["roberta", "bert", "causal"])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_is_whole_and_its_own(name, again, loaded):
    """RoBERTa's head was a function, which cannot be pickled, and which a deep copy shared."""
    if name == "roberta":
        model = PromptModel(_other_model(name).eval(), tiny.tokenizer(), False, limit=20, head=None)
        model = prompt_models._with_head(model)
        assert model.head is not None
    else:
        model = again(loaded["causal" if name == "causal" else "masked"])
    batch = collate(model, [Encoded([3, 9, 4, 6], 3, 0, 0)])
    with torch.inference_mode():
        before = label_logits(model, batch, [4, 7])
        other = again(model)
        np.testing.assert_array_equal(label_logits(other, batch, [4, 7]), before)
        for weight in model.model.parameters():
            weight.zero_()
        np.testing.assert_array_equal(label_logits(other, batch, [4, 7]), before)
        for fast in (True, False):  # and the copy's head is that of the copy's model
            for weight in other.model.parameters():
                weight.zero_()
            assert not label_logits(other, batch, [4, 7], fast=fast).any()


@pytest.mark.parametrize("key", ["bert.encoder.layer.1.output.dense.weight", "bert.embeddings"])
def test_a_folder_that_lacks_weights_is_refused(tiny_masked_lm, tmp_path, key):
    folder = shutil.copytree(tiny_masked_lm, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith(key)}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"lacks .* of its weights .*{key}"):
        load_prompt_model(folder)


def test_weights_that_are_no_numbers_are_refused(tiny_masked_lm, tmp_path):
    folder = shutil.copytree(tiny_masked_lm, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][3, 3] = np.inf
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="weights that are not finite; restore the folder"):
        load_prompt_model(folder)


@pytest.mark.parametrize("name", ["AutoConfig", "AutoTokenizer", "AutoModelForMaskedLM"])
def test_no_loader_trusts_code(tiny_masked_lm, monkeypatch, name):
    said = []
    kind = getattr(prompt_models, name)

    class Spy:
        @staticmethod
        def from_pretrained(*args, **kwargs):
            said.append(kwargs.get("trust_remote_code"))
            return kind.from_pretrained(*args, **kwargs)

    monkeypatch.setattr(prompt_models, name, Spy)
    load_prompt_model(tiny_masked_lm)
    assert said == [False]


@pytest.mark.parametrize("adapter", [5, b"x", ["x"], True])
def test_adapters_that_are_no_path(tiny_masked_lm, adapter):
    with pytest.raises(ValueError, match=r"adapter=.* is no file"):
        load_prompt_model(tiny_masked_lm, adapter)


ONE, TWO = Template(MASKED), Template("{text} {mask} {text2}")


@pytest.mark.parametrize(
    ("texts", "template", "message"),
    [
        (pd.DataFrame({"text": ["good", "bad"]}), ONE, r"columns \['text'\]"),
        (pd.DataFrame({"ab": ["good"], "cd": ["bad"]}), TWO, r"columns \['ab', 'cd'\]"),
        ({"good": 1}, ONE, "is a dict"),
        ({("good", "bad"): 1}, TWO, "is a dict"),
        ({("good", "bad")}, TWO, "is a set"),
        ("good", TWO, "single string"),
        (None, TWO, "texts is None"),
        (["a\ud800"], ONE, r"texts\[0\] is not valid Unicode"),
        ([("a", "b"), ("c", "\udfff")], TWO, r"texts\[1\] is not valid Unicode"),
    ],
)
def test_tables_and_mappings_are_no_texts(texts, template, message):
    with pytest.raises(ValueError, match=message):
        prompt_models.check_inputs(texts, template)


def test_pairs_come_in_any_rows():
    expected = [("a", "b"), ("c", "d")]
    for rows in (expected, [["a", "b"], ["c", "d"]], np.array(expected), pd.Series(expected)):
        assert prompt_models.check_inputs(rows, TWO) == expected
    assert prompt_models.check_inputs(iter("ab"), ONE) == [("a", None), ("b", None)]
