"""Limits, special tokens, padding, batches of similar length."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
)

from reptune import tokens
from tests import tiny

cheap = settings(max_examples=100, deadline=None, database=None)
SIZE = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20,
        "num_hidden_layers": 1, "max_position_embeddings": 24}  # fmt: skip


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "kind", "limit"),
    [(BertConfig, BertModel, 24), (RobertaConfig, RobertaModel, 22), (MPNetConfig, MPNetModel, 22)],
)
def test_the_limit_is_the_longest_text_that_the_positions_take(config, kind, limit):
    model = kind(config(**SIZE)).eval()
    assert tokens.position_limit(model) == limit
    with torch.inference_mode():
        ids = torch.full((1, limit), 5)
        assert model(ids).last_hidden_state.shape[1] == limit
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, limit + 1), 5))


def test_the_smaller_limit_of_model_and_tokenizer_holds(tiny_encoder):
    tokenizer, model = (kind.from_pretrained(tiny_encoder) for kind in (AutoTokenizer, AutoModel))
    assert tokens.model_limit(tokenizer, model) == tiny.MAX_POSITIONS
    tokenizer.model_max_length = 12
    assert tokens.model_limit(tokenizer, model) == 12
    tokenizer.model_max_length = 10**30
    assert tokens.model_limit(tokenizer, model) == tiny.MAX_POSITIONS


def test_a_length_above_the_limit_is_refused():
    assert tokens.check_max_length(None, 32) == 32
    assert tokens.check_max_length(np.int64(8), 32) == 8
    assert tokens.check_max_length(8, None) == 8 and tokens.check_max_length(None, None) is None
    message = "max_length=33, but the model takes at most 32 tokens; lower it, or use None for 32."
    with pytest.raises(ValueError, match=message):
        tokens.check_max_length(33, 32)


# --- special tokens and padding ------------------------------------------------------------------


def test_special_tokens_around_a_text(tiny_encoder, tiny_causal_lm):
    assert tokens.special_ids(AutoTokenizer.from_pretrained(tiny_encoder)) == ([2], [3])
    assert tokens.special_ids(AutoTokenizer.from_pretrained(tiny_causal_lm)) == ([], [])


def test_padding_on_the_right():
    ids, mask = tokens.pad([[7, 8, 9], [5]], pad_id=1)
    assert ids.tolist() == [[7, 8, 9], [5, 1, 1]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


# --- batches -------------------------------------------------------------------------------------


lengths = st.lists(st.integers(0, 40), max_size=50)


@given(lengths, st.integers(1, 9))
@cheap
def test_every_text_is_in_one_batch_the_longest_first(lengths, size):
    batches = list(tokens.batches_by_length(lengths, size))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == size for batch in batches[:-1])
    in_order = [lengths[index] for batch in batches for index in batch]
    assert in_order == sorted(lengths, reverse=True)


@given(lengths, st.integers(1, 100))
@cheap
def test_a_batch_has_no_more_tokens_than_allowed_unless_of_one_text(lengths, budget):
    batches = list(tokens.batches_by_length(lengths, tokens=budget))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[index] for index in batch)
        assert padded <= budget or len(batch) == 1
