import numpy as np
import pytest
import torch
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

from reptune import lowrank, prompt_models
from reptune.prompt_models import PromptModel, collate, label_logits, load_prompt_model
from reptune.templates import Encoded, Template, encode
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
