import inspect
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from reptune import runtime
from reptune.models import decoding
from reptune.models.causal import CausalLM, load_causal_lm
from reptune.models.decoding import generate_many
from tests import tiny

HEAD = "the film is good\nthe plot was poor\n"
RESTS = ["a", "a very dull movie with not a great actor", "great film", "bad", "a great", "nice é"]
PROMPTS = [HEAD + rest for rest in RESTS]
UNLIKE = ["good", "a very dull movie", "the", "film the film is the film", "é"]
WARM = {"temperature": 1.0, "stop": (), "max_new_tokens": 12}


@pytest.fixture(scope="module")
def lm(tiny_causal_lm):
    return load_causal_lm(tiny_causal_lm)


def _one_by_one(lm, prompts, **arguments):
    return [lm.generate(prompt, **arguments) for prompt in prompts]


def _other(kind, config, **changes):
    def make():
        tokens = tiny.causal_tokenizer()
        with runtime.seeded(0):
            model = kind(
                config(
                    vocab_size=len(tokens), initializer_range=0.3, bos_token_id=0, eos_token_id=0,
                    pad_token_id=0, **changes,
                )
            )  # fmt: skip
        return CausalLM(model.eval(), tokens)

    return make


LLAMA = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
OTHERS = {
    "gpt2": _other(GPT2LMHeadModel, GPT2Config, n_positions=128, n_embd=16, n_layer=2, n_head=2),
    "gpt-neo": _other(
        GPTNeoForCausalLM, GPTNeoConfig, max_position_embeddings=128, hidden_size=16, num_layers=2,
        num_heads=2, attention_types=[[["global", "local"], 1]], window_size=4,
    ),
    "mistral": _other(MistralForCausalLM, MistralConfig, sliding_window=None, **LLAMA),
    "mistral, window": _other(MistralForCausalLM, MistralConfig, sliding_window=4, **LLAMA),
    "qwen2": _other(Qwen2ForCausalLM, Qwen2Config, **LLAMA),
    "qwen2, window": _other(
        Qwen2ForCausalLM, Qwen2Config, use_sliding_window=True, sliding_window=4,
        max_window_layers=1, **LLAMA,
    ),
    "no positions": _other(BloomForCausalLM, BloomConfig, hidden_size=16, n_layer=2, n_head=2),
}  # fmt: skip


# --- without temperature -------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 4, 48])
@pytest.mark.parametrize(
    "prompts",
    [
        PROMPTS,
        UNLIKE,  # nothing in common
        PROMPTS[:1],
        [PROMPTS[1]] * 3,
        [HEAD + "a", HEAD, HEAD + "a good"],  # one is the beginning of the others
        ["the", "the film", "good"],
    ],
)
def test_texts_equal_those_one_by_one(lm, prompts, batch_size):
    expected = _one_by_one(lm, prompts, max_new_tokens=20, stop=())
    found = generate_many(lm, prompts, max_new_tokens=20, stop=(), batch_size=batch_size)
    assert found == expected and all(expected)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("prompts", [PROMPTS, UNLIKE, [PROMPTS[0]] * 2], ids=["head", "un", "same"])
def test_other_models_write_the_same_too(name, prompts):
    lm = OTHERS[name]()
    expected = _one_by_one(lm, prompts, max_new_tokens=15, stop=())
    for size in (2, 48):
        assert generate_many(lm, prompts, max_new_tokens=15, stop=(), batch_size=size) == expected


@settings(max_examples=20, deadline=None)
@given(
    prompts=st.lists(
        st.lists(st.sampled_from([*tiny.WORDS, "é", "\n"]), min_size=1, max_size=8).map(" ".join),
        min_size=1,
        max_size=9,
    ),
    stop=st.lists(st.sampled_from([" a", "e", "film", "\n", ""]), max_size=2),
    size=st.integers(1, 5),
    most=st.integers(1, 12),
)
def test_random_prompts_and_ends(lm, prompts, stop, size, most):
    expected = _one_by_one(lm, prompts, max_new_tokens=most, stop=stop)
    assert expected == generate_many(lm, prompts, max_new_tokens=most, stop=stop, batch_size=size)


def test_texts_end_at_a_token_that_ends_them(lm):
    stop = 5  # of the tokens, so that texts end early and others take their places
    likely = [lm.encode(text)[:1] for text in _one_by_one(lm, PROMPTS, max_new_tokens=1, stop=())]
    before = lm.model.generation_config.eos_token_id
    try:
        lm.model.generation_config.eos_token_id = [likely[0][0], likely[-1][0], stop]
        expected = _one_by_one(lm, PROMPTS * 3, max_new_tokens=20, stop=())
        found = generate_many(lm, PROMPTS * 3, max_new_tokens=20, stop=(), batch_size=4)
    finally:
        lm.model.generation_config.eos_token_id = before
    assert found == expected and "" in expected
    assert {text.is_cut for text in found} == {True, False}


def test_bfloat16_weights_will_do():
    lm = OTHERS["qwen2"]()
    lm.model.to(torch.bfloat16)
    texts = generate_many(lm, PROMPTS, max_new_tokens=5, stop=(), temperature=0.5, top_p=0.9)
    assert len(texts) == len(PROMPTS) and all(texts)


# --- what it costs -------------------------------------------------------------------------------


@pytest.fixture
def passes(lm, monkeypatch):
    """The shape of the ids that each pass reads."""
    shapes = []
    forward = lm.model.base_model.forward

    def seen(ids, **arguments):
        shapes.append(tuple(ids.shape))
        return forward(ids, **arguments)

    seen.__signature__ = inspect.signature(forward)
    monkeypatch.setattr(lm.model.base_model, "forward", seen)
    return shapes


def test_what_all_begin_with_is_read_once(lm, passes):
    head = len(lm.encode(HEAD))
    rests = [len(lm.encode(prompt)) - head for prompt in PROMPTS]
    generate_many(lm, PROMPTS, max_new_tokens=3, stop=())
    assert passes[0][0] == 1 and abs(passes[0][1] - head) <= 1
    shared = passes[0][1]
    assert passes[1:] == [(6, max(rests) + head - shared), (6, 1), (6, 1)]


def test_rows_that_have_ended_leave_and_others_take_their_places(lm, passes):
    texts = _one_by_one(lm, PROMPTS, max_new_tokens=20, stop=())
    passes.clear()
    mark = texts[0][:2]  # ends some of them at once, not all
    ended = [mark in text for text in texts]
    assert any(ended) and not all(ended)
    done = []
    generate_many(
        lm, PROMPTS * 2, max_new_tokens=20, stop=(mark,), batch_size=6, progress=done.append
    )
    assert sum(done) == 12 and len(done) > 1
    decoding_passes = [rows for rows, tokens in passes[1:] if tokens == 1]
    assert min(decoding_passes) < 6
    assert max(rows for rows, _ in passes) <= 6


def test_others_join_those_that_go_on(lm, monkeypatch):
    beside = []
    add = decoding._Batch.add

    def watched(batch, rows):
        beside.append(len(batch.rows))
        add(batch, rows)

    monkeypatch.setattr(decoding._Batch, "add", watched)
    mark = _one_by_one(lm, PROMPTS, max_new_tokens=20, stop=())[0][:2]
    generate_many(lm, PROMPTS * 2, max_new_tokens=20, stop=(mark,), batch_size=6)
    assert beside[0] == 0 and max(beside[1:]) > 0


def test_a_model_without_positions_reads_one_prompt_at_a_time():
    encoded = [[1, 2], [1, 3]]
    assert decoding._Batch(OTHERS["no positions"](), encoded, 48).room == 1
    assert decoding._Batch(OTHERS["gpt2"](), encoded, 48).room == 48


def test_columns_that_nobody_sees_any_more_are_dropped(lm, monkeypatch):
    widths = []
    follow = decoding._Batch.follow

    def watched(batch, tokens):
        follow(batch, tokens)
        if batch.rows:
            widths.append(batch._seen.shape[1])
            assert batch._cache.get_seq_length() == batch._seen.shape[1]

    monkeypatch.setattr(decoding._Batch, "follow", watched)
    prompts = [f"{word} film" for word in tiny.WORDS] * 6
    generate_many(lm, prompts, max_new_tokens=10, stop=(" ",), batch_size=8)
    longest = max(len(lm.encode(prompt)) for prompt in prompts)
    assert len(widths) > 3 * (longest + 10) and max(widths) <= 2 * (longest + 10)


# --- with temperature ----------------------------------------------------------------------------


def test_a_rows_draws_depend_on_its_index_alone(lm):
    alone = generate_many(lm, PROMPTS, **WARM, batch_size=1)
    for size in (2, 5, 48):
        assert generate_many(lm, PROMPTS, **WARM, batch_size=size) == alone
    assert generate_many(lm, PROMPTS[:2], **WARM) == alone[:2]
    assert generate_many(lm, [*PROMPTS, "good"], **WARM)[:-1] == alone
    longer = generate_many(lm, PROMPTS, **WARM | {"max_new_tokens": 20})
    assert all(long.startswith(text) for long, text in zip(longer, alone, strict=True))


def test_seeds(lm):
    first = generate_many(lm, PROMPTS, **WARM)
    assert generate_many(lm, PROMPTS, **WARM) == first
    assert generate_many(lm, PROMPTS, **WARM, random_state=1) != first
    fresh = [generate_many(lm, PROMPTS, **WARM, random_state=None) for _ in range(2)]
    assert fresh[0] != fresh[1]


def test_some_prompts_again_draw_what_they_drew(lm):
    whole = generate_many(lm, PROMPTS, random_state=3, **WARM)
    again = generate_many(lm, PROMPTS[3:5], random_state=3, draws=[3, 4], **WARM)
    assert again == whole[3:5]
    assert again != generate_many(lm, PROMPTS[3:5], random_state=3, **WARM)


def test_a_text_says_whether_it_was_cut(lm):
    (text,) = generate_many(lm, ["the"], stop=(), max_new_tokens=12)
    assert text.is_cut
    for mark in (text[3:6], text[-3:]):  # also one that the last token completes
        (ended,) = generate_many(lm, ["the"], stop=[mark], max_new_tokens=12)
        assert not ended.is_cut
    assert not pickle.loads(pickle.dumps(ended)).is_cut


def test_equal_prompts_get_draws_of_their_own(lm):
    assert len(set(generate_many(lm, ["the film"] * 8, **WARM))) > 4


def test_the_callers_generators_stay_as_they_are(lm):
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    generate_many(lm, PROMPTS, **WARM)
    assert (torch.rand(1), np.random.rand()) == expected


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6)])
@torch.inference_mode()
def test_tokens_are_drawn_as_often_as_they_are_likely(lm, temperature, top_p):
    count = 4000
    logits = lm.model(torch.tensor([lm.encode("the film")])).logits[0, -1]
    expected = (logits / temperature).softmax(dim=-1).double()
    order = expected.argsort(descending=True)
    kept = order[: int((expected[order].cumsum(0) < top_p).sum()) + 1]
    cut = torch.zeros_like(expected)
    cut[kept] = expected[kept] / expected[kept].sum()
    batch = decoding._Batch(lm, [lm.encode("the film")], 1)
    batch.add([decoding._Row(0, lm.encode("the film"), temperature, 0)])
    rows = [decoding._Row(index, [], temperature, 0) for index in range(count)]
    tokens = decoding._draw(batch.logits().expand(count, -1), rows, top_p)
    found = torch.bincount(tokens, minlength=len(cut)) / count
    assert found[cut == 0].sum() == 0
    error = 4.5 * (cut * (1 - cut) / count).sqrt() + 1e-4
    assert ((found - cut).abs() <= error).all()


def test_each_prompt_may_have_a_temperature(lm):
    heats = [0.0, 1.0, 0.0, 2.0, 0.0, 1e-9]
    found = generate_many(lm, PROMPTS, temperature=heats, stop=(), max_new_tokens=12)
    greedy = generate_many(lm, PROMPTS, stop=(), max_new_tokens=12)
    warm = generate_many(lm, PROMPTS, **WARM)
    assert [found[row] for row in (0, 2, 4, 5)] == [greedy[row] for row in (0, 2, 4, 5)]
    assert found[1] == warm[1] != greedy[1]
    array = generate_many(lm, PROMPTS, temperature=np.array(heats), stop=(), max_new_tokens=12)
    assert array == found


def test_top_p_near_zero_takes_the_likeliest(lm):
    greedy = generate_many(lm, PROMPTS, stop=(), max_new_tokens=12)
    assert generate_many(lm, PROMPTS, **WARM, top_p=1e-6) == greedy


@pytest.mark.parametrize(
    ("top_p", "least"), [(0.4, 0.5), (0.5, 0.5), (0.6, 0.3), (0.81, 0.15), (0.99, 0.05)]
)
def test_nucleus_by_hand(top_p, least):
    chances = torch.tensor([0.15, 0.5, 0.05, 0.3], dtype=torch.float64)
    assert decoding._nucleus(chances, top_p).item() == least


@given(
    st.lists(st.floats(-20, 20), min_size=1, max_size=40), st.floats(0.01, 0.99, exclude_max=True)
)
def test_nucleus_is_the_smallest_set(values, top_p):
    chances = torch.tensor(values, dtype=torch.float64).softmax(dim=0)
    kept = chances[chances >= decoding._nucleus(chances, top_p)]
    assert kept.sum() >= top_p - 1e-9
    assert kept.sum() - (kept.min() * (kept == kept.min()).sum()) < top_p + 1e-9


@pytest.mark.parametrize(("number", "token"), [(0.0, 1), (0.49, 1), (0.51, 2), (1 - 2**-53, 2)])
def test_a_token_without_a_chance_is_never_drawn(number, token):
    row = decoding._Row(0, [], 1.0, 0)
    row.random = type("Fixed", (), {"random": lambda self: number})()
    logits = torch.tensor([[-math.inf, 0.0, 0.0, -math.inf]])
    assert decoding._draw(logits, [row], 1.0).tolist() == [token]


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompts", "changes", "words"),
    [
        (["a", "good " * 120], {}, r"prompts\[1\] has 1\d\d tokens and max_new_tokens=64.*128"),
        (["a", ""], {}, r"prompts\[1\] has no token"),
        (["a", 3], {}, "prompts"),
        ("a film", {}, "prompts"),
        ([], {}, "prompts"),
        (["a"], {"temperature": -1}, "temperature=-1"),
        (["a"], {"temperature": math.nan}, "temperature"),
        (["a", "b"], {"temperature": [1.0]}, "1 temperatures for 2 prompts"),
        (["a", "b"], {"temperature": [1.0, -2.0]}, r"temperature\[1\]=-2"),
        (["a"], {"temperature": "hot"}, "temperature='hot'"),
        (["a"], {"top_p": 0}, "top_p=0"),
        (["a"], {"top_p": 1.5}, "top_p=1.5"),
        (["a"], {"batch_size": 0}, "batch_size=0"),
        (["a"], {"max_new_tokens": 0}, "max_new_tokens=0"),
        (["a"], {"stop": "\n"}, "is one text"),
        (["a"], {"random_state": -1}, "random_state=-1"),
        (["a"], {"draws": [0, 1]}, "2 draws for 1 prompts"),
        (["a"], {"draws": [-1]}, r"draws\[0\]=-1"),
    ],
)
def test_bad_arguments(lm, prompts, changes, words):
    with pytest.raises(ValueError, match=words):
        generate_many(lm, prompts, **changes)
