import copy
import json
import math
import pickle
import random
import re
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import processors
from transformers import (
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
from reptune.models import causal
from reptune.models.causal import CausalLM, common_prefix, load_causal_lm
from reptune.models.prompts import cut_at
from tests import tiny

ENDINGS = [" good", " great film", " bad bad plot", " goodness"]  # 1, 2, 3 and 4 tokens
PROMPTS = [
    "Review: the film is good\nSentiment:",
    "Review: " + "a very dull movie " * 12 + "\nSentiment:",
    "Review: bad\nSentiment:",
    "Review:",
]


@pytest.fixture(scope="module")
def lm(tiny_causal_lm):
    return load_causal_lm(tiny_causal_lm)


def _plain_scores(lm, prompts, endings):
    """Every prompt with every ending read whole, by the library's own forward pass."""
    found = np.zeros((len(prompts), len(endings)))
    for row, prompt in enumerate(prompts):
        for column, ending in enumerate(endings):
            before = lm.tokenizer(prompt)["input_ids"]
            after = lm.tokenizer(ending, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = lm.model(torch.tensor([before + after])).logits[0]
            chances = logits.log_softmax(dim=-1)
            found[row, column] = sum(
                chances[len(before) - 1 + offset, token].item()
                for offset, token in enumerate(after)
            )
    return found


def _close(found, expected, atol=1e-5):
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=atol)


# --- scores of continuations ---------------------------------------------------------------------


def test_the_endings_of_these_tests_have_one_to_four_tokens(lm):
    assert [len(lm.encode(ending, special=False)) for ending in ENDINGS] == [1, 2, 3, 4]


@pytest.mark.parametrize("shared_prefix", [True, False])
@pytest.mark.parametrize("endings", [ENDINGS, ENDINGS[:1], ENDINGS[3:], [" good", " bad"]])
@pytest.mark.parametrize(
    "prompts",
    [
        PROMPTS,
        PROMPTS[:1],
        ["good"],  # one token
        [PROMPTS[0]] * 3,
        ["the film", "a plot"],  # nothing in common
        ["the film is", "the film is very good", "the film is very", "the film"],
    ],
)
def test_scores_equal_a_plain_loop(lm, prompts, endings, shared_prefix):
    scores = lm.continuation_scores(prompts, endings, shared_prefix=shared_prefix)
    assert scores.shape == (len(prompts), len(endings)) and scores.dtype == np.float64
    _close(scores, _plain_scores(lm, prompts, endings))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prefix=st.lists(st.sampled_from(tiny.WORDS), max_size=5),
    rest=st.lists(
        st.lists(st.sampled_from([*tiny.WORDS, "é", "\n", "{x}"]), max_size=6),
        min_size=1,
        max_size=5,
    ),
    endings=st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=4),
    most=st.integers(1, 30),
)
def test_random_prompts_score_as_in_a_plain_loop(lm, monkeypatch, prefix, rest, endings, most):
    monkeypatch.setattr(causal, "PACK_TOKENS", most)
    prompts = [" ".join(["the", *prefix, *words]) for words in rest]
    plain = _plain_scores(lm, prompts, endings)
    _close(lm.continuation_scores(prompts, endings), plain)
    _close(lm.continuation_scores(prompts, endings, shared_prefix=False), plain)


@pytest.mark.parametrize(
    "most", [pytest.param(1, id="one a pack"), 12, pytest.param(10_000, id="all in one")]
)
def test_scores_keep_their_order_across_packs(lm, monkeypatch, most):
    monkeypatch.setattr(causal, "PACK_TOKENS", most)
    prompts = [f"a film {'very ' * (row % 5)}{tiny.WORDS[row % 17]}" for row in range(20)]
    passes = []
    score = CausalLM._score

    def counted(self, texts, *rest):
        passes.append(len(texts))
        return score(self, texts, *rest)

    monkeypatch.setattr(CausalLM, "_score", counted)
    _close(lm.continuation_scores(prompts, ENDINGS), _plain_scores(lm, prompts, ENDINGS))
    assert sum(passes) == 20
    assert {1: len(passes) == 20, 12: 1 < len(passes) < 20, 10_000: len(passes) == 1}[most]


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (np.int64(5), [5]), (9, [5])]
)
def test_so_many_prompts_share_a_pass_and_each_pass_is_reported(lm, batch_size, sizes):
    prompts = [f"a film {'very ' * row}good" for row in range(5)]
    passes = []
    scores = lm.continuation_scores(prompts, ENDINGS, batch_size=batch_size, progress=passes.append)
    assert passes == sizes
    _close(scores, _plain_scores(lm, prompts, ENDINGS))
    passes.clear()
    lm.continuation_scores(
        prompts, ENDINGS, batch_size=batch_size, shared_prefix=False, progress=passes.append
    )
    assert passes == [1] * 5, "prompts that do not share a pass are read one by one"


@pytest.mark.parametrize("batch_size", [0, 1.5, "2", True])
def test_bad_batch_sizes(lm, batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size!r}"):
        lm.continuation_scores(["a film"], ENDINGS, batch_size=batch_size)


def test_what_all_prompts_begin_with_is_read_once(lm, monkeypatch):
    prompts = [f"{'the film is very ' * 5}{word}" for word in ("good", "bad", "nice")]
    read = []
    forward = type(lm.model.base_model).forward

    def counted(self, input_ids, *rest, **named):
        read.append(input_ids.numel())
        return forward(self, input_ids, *rest, **named)

    monkeypatch.setattr(type(lm.model.base_model), "forward", counted)
    lm.continuation_scores(prompts, [" good"], shared_prefix=False)
    whole, read[:] = sum(read), []
    lm.continuation_scores(prompts, [" good"])
    assert whole == sum(len(lm.encode(prompt)) for prompt in prompts)
    assert sum(read) < whole / 2


def test_half_precision_moves_scores_a_little(lm, monkeypatch):
    half = {"bf16": True, "fp16": False, "use_cpu": True}
    monkeypatch.setattr(runtime, "precision", lambda: half)
    whole = lm.continuation_scores(PROMPTS, ENDINGS)
    for shared_prefix in (True, False):
        halved = lm.continuation_scores(
            PROMPTS, ENDINGS, shared_prefix=shared_prefix, half_precision=True
        )
        moved = np.abs(halved - whole).max()
        assert 1e-4 < moved < 0.5, "the logits of this random model are larger than a real one's"


def test_a_text_may_fill_the_model_but_no_more(lm):
    prompt = " good" * 127
    assert len(lm.encode(prompt)) == 127 and lm.limit == tiny.CAUSAL_POSITIONS
    lm.continuation_scores([prompt], [" good"])
    with pytest.raises(ValueError, match="has 129 tokens, but the model takes at most 128; drop"):
        lm.continuation_scores(["film", prompt], [" good", " great film"])


@pytest.mark.parametrize(
    ("prompts", "continuations", "message"),
    [
        ([], [" good"], "prompts: there are none"),
        ("a film", [" good"], "prompts is a single string"),
        (["a film", None], [" good"], r"prompts\[1\] is None"),
        (["a film", 3], [" good"], r"prompts\[1\] is 3"),
        (["a film", ""], [" good"], "'' has no token"),
        (["a film"], [" good", ""], "'' has no token"),
    ],
)
def test_bad_prompts_and_continuations(lm, prompts, continuations, message):
    with pytest.raises(ValueError, match=message):
        lm.continuation_scores(prompts, continuations)


@pytest.mark.parametrize(
    ("continuations", "message"),
    [
        ([], "continuations.*none"),
        (" good", "continuations is a single string"),  # is scored letter by letter
        ([" good", 3], r"continuations\[1\] is 3"),
    ],
)
def test_bad_continuations_are_named(lm, continuations, message):
    with pytest.raises(ValueError, match=message):
        lm.continuation_scores(["a film"], continuations)


# --- models of other kinds -----------------------------------------------------------------------


def _other(kind, config):
    tokens = tiny.causal_tokenizer()
    shape = {"vocab_size": len(tokens), "initializer_range": 0.3, "bos_token_id": 0,
             "eos_token_id": 0, "pad_token_id": 0}  # fmt: skip
    with runtime.seeded(0):
        model = kind(config(shape))
    return CausalLM(model.eval(), tokens)


def _gpt2():
    return _other(
        GPT2LMHeadModel,
        lambda shape: GPT2Config(**shape, n_positions=128, n_embd=16, n_layer=2, n_head=2),
    )


def _gpt_neo():
    return _other(
        GPTNeoForCausalLM,
        lambda shape: GPTNeoConfig(
            **shape,
            max_position_embeddings=128,
            hidden_size=16,
            num_layers=2,
            num_heads=2,
            attention_types=[[["global", "local"], 1]],
            window_size=4,
        ),
    )


def _llama_like(model, config, **changes):
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2,
             "max_position_embeddings": 128}  # fmt: skip
    return lambda: _other(model, lambda shape: config(**shape, **small, **changes))


_mistral = _llama_like(MistralForCausalLM, MistralConfig, sliding_window=4)
_qwen = _llama_like(
    Qwen2ForCausalLM, Qwen2Config, use_sliding_window=True, sliding_window=4, max_window_layers=1
)


@pytest.mark.parametrize("shared_prefix", [True, False])
@pytest.mark.parametrize(
    ("make", "endings"),
    [
        pytest.param(_gpt2, ENDINGS, id="gpt2"),
        pytest.param(_gpt_neo, ENDINGS[:1], id="gpt-neo, one token"),
        pytest.param(_gpt_neo, ENDINGS, id="gpt-neo"),
        pytest.param(_qwen, ENDINGS[:1], id="qwen2, one token"),
        pytest.param(_qwen, ENDINGS, id="qwen2"),
        pytest.param(_mistral, ENDINGS[:1], id="mistral, one token"),
        pytest.param(_mistral, ENDINGS, id="mistral"),
    ],
)
def test_models_whose_texts_share_no_pass(make, endings, shared_prefix):
    lm = make()
    scores = lm.continuation_scores(PROMPTS, endings, shared_prefix=shared_prefix)
    _close(scores, _plain_scores(lm, PROMPTS, endings), atol=2e-5)


@pytest.mark.parametrize(
    ("make", "packs"),
    [
        (_gpt2, False),
        (_gpt_neo, False),
        (_qwen, False),
        (_mistral, False),
        (_llama_like(MistralForCausalLM, MistralConfig, sliding_window=None), True),
        (_llama_like(Qwen2ForCausalLM, Qwen2Config, sliding_window=4), True),  # it is not used
    ],
)
def test_only_models_without_a_window_share_passes(make, packs):
    assert make().can_pack() is packs


def test_what_follows_a_prefix_that_was_read_once_reads_as_in_the_whole_text():
    lm = _llama_like(MistralForCausalLM, MistralConfig, sliding_window=None)()
    ids = lm.encode("the film was good")
    cache = lm.prefill(ids[:2])
    with torch.inference_mode():
        whole = lm.model.base_model(torch.tensor([ids])).last_hidden_state
        rest = lm.model.base_model(torch.tensor([ids[2:]]), past_key_values=cache).last_hidden_state
    torch.testing.assert_close(rest, whole[:, 2:])


def test_other_models_generate_and_give_vectors_too():
    for lm in (_gpt2(), _gpt_neo(), _mistral()):
        assert lm.generate("the film", stop=(), max_new_tokens=8) == _library_text(
            lm, "the film", max_new_tokens=8
        )
        assert lm.hidden_states(["the film", "good"]).shape == (2, 16)


# --- the common prefix ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        ([[1, 2, 3], [1, 2, 4]], 2),
        ([[1, 2, 3], [1, 2, 3]], 2),  # one token is left over
        ([[1, 2], [1, 2, 3]], 1),
        ([[1, 2, 9], [1, 2, 3], [1, 5]], 1),
        ([[1], [1]], 0),
        ([[1, 2], [3, 2]], 0),
        ([[5, 6, 7]], 2),
        ([[10, 1], [9, 1], [10, 1]], 0),
    ],
)
def test_common_prefix(encoded, expected):
    assert common_prefix(encoded) == expected


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_common_prefix_is_the_longest_that_leaves_a_token(encoded):
    length = common_prefix(encoded)
    shortest = min(map(len, encoded))
    assert 0 <= length < shortest
    assert len({tuple(ids[:length]) for ids in encoded}) == 1
    assert length == shortest - 1 or len({tuple(ids[: length + 1]) for ids in encoded}) > 1


# --- generating ----------------------------------------------------------------------------------


def _library_text(lm, prompt, max_new_tokens):
    inputs = lm.tokenizer(prompt, return_tensors="pt")
    with torch.no_grad():
        output = lm.model.generate(
            inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=0,
        )
    new = output[0, inputs["input_ids"].shape[1] :]
    return lm.tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize("prompt", ["the film is", "a great movie\n", "good", *PROMPTS[:2]])
def test_the_likeliest_text_is_the_library_s(lm, prompt):
    text = lm.generate(prompt, max_new_tokens=20, stop=())
    assert text and text == _library_text(lm, prompt, 20)


@pytest.fixture
def script(lm, monkeypatch):
    """Let the model write a given text, whatever its logits; returns the ids not yet written."""

    def script(text):
        ids = lm.encode(text, special=False)
        monkeypatch.setattr(causal, "_next_token", lambda *_: ids.pop(0))
        return ids

    return script


@pytest.mark.parametrize(
    ("stop", "expected", "unwritten"),
    [
        ((), " good film\n was bad", 0),
        (("\n",), " good film", 2),
        (("never", "\n"), " good film", 2),
        (("bad", "m\n", "\n"), " good fil", 2),  # the first that occurs, not the first named
        (("d f",), " goo", 3),  # across two tokens
        (("good film\n was",), " ", 1),  # across four
        ((" good",), "", 4),
        (("film", "good film"), " ", 3),  # both end in the same token; the longer begins first
    ],
)
def test_the_text_ends_before_the_first_end_sequence(lm, script, stop, expected, unwritten):
    ids = script(" good film\n was bad")
    assert len(ids) == 5
    assert lm.generate("a", stop=stop, max_new_tokens=5) == expected
    assert len(ids) == unwritten


@pytest.mark.parametrize("most", [1, 3])
def test_at_most_so_many_tokens_are_written(lm, script, most):
    ids = script(" good film was bad")
    assert lm.generate("a", max_new_tokens=most) == [" good", "", " good film was"][most - 1]
    assert len(ids) == 4 - most


@pytest.mark.parametrize("as_list", [True, False])
def test_the_model_s_end_token_ends_it(lm, monkeypatch, as_list):
    prompt = "the film is"
    inputs = torch.tensor([lm.encode(prompt)])
    mask = torch.ones_like(inputs)
    written = lm.model.generate(
        inputs, attention_mask=mask, do_sample=False, max_new_tokens=6, pad_token_id=0
    )
    ids = written[0, inputs.numel() :].tolist()
    end = ids[2]
    assert end not in ids[:2]
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", [7, end] if as_list else end)
    assert lm.generate(prompt, stop=()) == lm.tokenizer.decode(ids[:2])


def test_the_tokenizer_s_end_token_ends_it_too(lm, script, monkeypatch):
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", None)
    script(" good film<|end|> bad")
    assert lm.generate("a", max_new_tokens=4) == " good film"


def test_draws_follow_the_seed_and_the_temperature(lm):
    def drawn(seed, temperature=1.0):
        return lm.generate("a film", temperature=temperature, stop=(), random_state=seed)

    assert drawn(1) == drawn(1) and drawn(1, 0.1) == drawn(1, 0.1)
    assert len({drawn(seed, 0.1) for seed in range(6)}) > 1
    assert len({drawn(seed) for seed in range(6)}) == 6
    greedy = lm.generate("a film", stop=())
    assert {drawn(seed, 1e-3) for seed in range(3)} == {greedy}
    assert len({drawn(seed, 100.0) for seed in range(3)} | {greedy}) == 4
    assert lm.generate("a film", stop=(), random_state=5) == greedy


def test_tokens_are_drawn_from_the_tempered_softmax():
    logits = torch.tensor([0.6, 0.3, 0.1]).log()
    for temperature, expected in ((1.0, [0.6, 0.3, 0.1]), (0.5, [36 / 46, 9 / 46, 1 / 46])):
        with runtime.seeded(0):
            drawn = [causal._next_token(logits, temperature) for _ in range(3000)]
        np.testing.assert_allclose(np.bincount(drawn) / 3000, expected, atol=0.03)
    assert causal._next_token(logits, 0) == 0


def _states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_the_caller_s_generators_stay_as_they_are(lm):
    before = _states()
    lm.generate("a film", temperature=1.0, random_state=3)
    lm.generate("a film")
    lm.continuation_scores(PROMPTS, ENDINGS)
    lm.hidden_states(PROMPTS)
    assert _states() == before


def test_without_a_seed_each_text_is_a_new_one(lm):
    def drawn():
        return lm.generate("a film", temperature=1.0, stop=(), random_state=None)

    with runtime.seeded(0):
        one, other = drawn(), drawn()
    with runtime.seeded(0):
        again = drawn()
    assert one != other
    assert one == again, "the draws come from the caller's generator"


def test_a_prompt_that_leaves_no_room(lm):
    prompt = " good" * 127
    assert lm.generate(prompt, max_new_tokens=1, stop=()) != ""
    with pytest.raises(
        ValueError, match="127 tokens and max_new_tokens=2, but the model takes at most 128"
    ):
        lm.generate(prompt, max_new_tokens=2)


@pytest.mark.parametrize(
    ("prompt", "changes", "message"),
    [
        ("", {}, "prompt=''; pass some text"),
        (None, {}, "prompt=None"),
        (["a film"], {}, "prompt="),
        ("a film", {"max_new_tokens": 0}, "max_new_tokens=0; use a whole number from 1 on"),
        ("a film", {"max_new_tokens": 2.5}, "max_new_tokens=2.5"),
        ("a film", {"temperature": -0.1}, "temperature=-0.1"),
        ("a film", {"temperature": math.nan}, "temperature=nan"),
    ],
)
def test_bad_generation_arguments(lm, prompt, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        lm.generate(prompt, **changes)


@pytest.mark.parametrize(
    ("prompt", "changes", "message"),
    [
        ("a\ud800", {}, "prompt is not valid Unicode"),
        ("a film", {"max_new_tokens": 10**4000}, "max_new_tokens is above"),
        ("a film", {"temperature": "hot"}, "temperature='hot'"),
        ("a film", {"temperature": math.inf}, "temperature=inf"),
        ("a film", {"stop": None}, "stop=None; pass a list"),
        ("a film", {"stop": [3]}, "stop[0]=3, a int"),
        ("a film", {"random_state": -1}, "random_state=-1"),
        ("a film", {"random_state": 2**40}, "random_state=1099511627776"),
        ("a film", {"random_state": 1.5}, "random_state=1.5"),
    ],
)
def test_odd_generation_arguments(lm, prompt, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        lm.generate(prompt, **changes)


def test_numbers_of_numpy_generate_the_same(lm):
    one = lm.generate("a film", max_new_tokens=5, temperature=1.0, stop=(), random_state=3)
    other = lm.generate(
        "a film", max_new_tokens=np.int64(5), temperature=np.float32(1), stop=[],
        random_state=np.int64(3),
    )  # fmt: skip
    assert one == other


@pytest.mark.parametrize("temperature", [1e-320, 1e-45, 1e-30])
def test_the_coldest_draw_takes_the_likeliest_token(lm, temperature):
    greedy = lm.generate("a film", stop=())
    assert lm.generate("a film", temperature=temperature, stop=()) == greedy


def test_an_empty_end_sequence_never_occurs(lm, script):
    script(" good film\n was bad")
    assert lm.generate("a", stop=("", "\n"), max_new_tokens=5) == " good film"


def test_end_sequences_are_no_single_string(lm):
    with pytest.raises(ValueError, match="stop='END' is one text; pass a list"):
        lm.generate("a", stop="END")  # would end at the first "E"


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one\ntwo", ("\n",), "one"),
        ("one two three", ("three", "two"), "one "),
        ("one", ("\n", "two"), "one"),
        ("one", (), "one"),
        ("one", ("",), "one"),
        ("one two one two", ("two",), "one "),
        ("one", ("one",), ""),
        ("", ("\n",), ""),
    ],
)
def test_cut_at(text, stop, expected):
    assert cut_at(text, stop) == expected


# --- chats ---------------------------------------------------------------------------------------

CHAT = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)


@pytest.fixture
def chatty(lm):
    tokenizer = copy.deepcopy(lm.tokenizer)
    tokenizer.chat_template = CHAT
    return CausalLM(lm.model, tokenizer)


def test_a_chat_is_one_message_of_a_user(chatty):
    chat = chatty.chat("the film is good\nSentiment:")
    assert chat == "<user>the film is good\nSentiment:<|end|><answer>"
    # A special token in the template is one token again when the text is encoded.
    assert chatty.encode(chat).count(chatty.tokenizer.eos_token_id) == 1


def test_what_the_tokenizer_puts_in_front_of_every_text_is_there_once(chatty):
    chatty.tokenizer.chat_template = "{{ bos_token }}" + CHAT
    chatty.tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", 0)]
    )
    assert chatty.encode(" good")[0] == 0  # now it puts a token in front
    assert chatty.chat("good") == "<user>good<|end|><answer>"
    assert chatty.encode(chatty.chat("good"))[:2].count(0) == 1


def test_without_a_template_there_is_no_chat(lm):
    with pytest.raises(ValueError, match="no chat template; use a model that was tuned"):
        lm.chat("good")


@pytest.mark.parametrize("prompt", ["", None, ["good"]])
def test_bad_messages_are_refused(chatty, prompt):
    with pytest.raises(ValueError, match="prompt="):
        chatty.chat(prompt)


# --- hidden states -------------------------------------------------------------------------------


def _plain_states(lm, texts, layer, pooling):
    vectors = []
    for text in texts:
        with torch.no_grad():
            output = lm.model(torch.tensor([lm.encode(text)]), output_hidden_states=True)
        states = output.hidden_states[layer][0].double()
        vectors.append((states[-1] if pooling == "last" else states.mean(dim=0)).numpy())
    return np.stack(vectors)


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_vectors_equal_a_plain_loop_in_the_order_of_the_texts(lm, pooling, batch_size):
    texts = ["a very dull movie " * n + "plot" for n in (2, 9, 0, 4, 1, 4)]
    for layer in (-1, 0, 1, 2, -3):
        found = lm.hidden_states(texts, layer=layer, pooling=pooling, batch_size=batch_size)
        _close(found, _plain_states(lm, texts, layer, pooling))
    several = lm.hidden_states(texts, layer=[2, 0], pooling=pooling, batch_size=batch_size)
    assert several.shape == (2, 6, 16)
    _close(several[0], _plain_states(lm, texts, 2, pooling))
    _close(several[1], _plain_states(lm, texts, 0, pooling))
    assert lm.hidden_states(texts, layer=(1,)).shape == (1, 6, 16)


def test_the_last_vector_has_passed_the_final_normalization(lm):
    with torch.no_grad():
        last = lm.model.base_model(torch.tensor([lm.encode("the film")])).last_hidden_state[0, -1]
    _close(lm.hidden_states(["the film"])[0], last.numpy())


def test_texts_longer_than_the_model_reads_lose_their_end(lm):
    cut, whole = lm.hidden_states([" good" * 300, " good" * 128])
    _close(cut, whole)


@pytest.mark.parametrize(
    ("texts", "changes", "message"),
    [
        ([], {}, "there are none"),
        ("a film", {}, "single string"),
        (["a film", None], {}, r"texts\[1\] is None"),
        (["a film", ""], {}, "'' has no token"),
        (["a film"], {"pooling": "first"}, "pooling='first'; use 'last' or 'mean'"),
        (["a\ud800"], {}, r"texts\[0\] is not valid Unicode"),
        (["a film"], {"layer": 3}, "layer=3; use a whole number from 0, the embeddings, to 2"),
        (["a film"], {"layer": [0, -4]}, "layer=-4"),
        (["a film"], {"layer": None}, "layer=None; use a whole number, or a list"),
        (["a film"], {"layer": "last"}, "layer='last'"),
        (["a film"], {"layer": 1.5}, "layer=1.5"),
        (["a film"], {"layer": []}, "names no layer"),
        (["a film"], {"batch_size": 0}, "batch_size=0"),
    ],
)
def test_bad_texts_for_vectors(lm, texts, changes, message):
    with pytest.raises(ValueError, match=message):
        lm.hidden_states(texts, **changes)


def test_numbers_of_numpy_name_layers(lm):
    expected = lm.hidden_states(["a film", "the"], layer=1)
    numbers = {"layer": np.int64(1), "batch_size": np.int64(1)}
    _close(lm.hidden_states(["a film", "the"], **numbers), expected)
    both = lm.hidden_states(["a film", "the"], layer=np.array([1, -1]))
    _close(both[0], expected)


# --- loading -------------------------------------------------------------------------------------


def test_loaded_in_float32_for_evaluation(lm, tiny_causal_lm, tmp_path):
    assert not lm.model.training
    half = load_causal_lm(tiny_causal_lm).model.to(torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    lm.tokenizer.save_pretrained(tmp_path / "half")
    loaded = load_causal_lm(str(tmp_path / "half"))
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.float32}


def test_loaded_to_the_device_that_is_named(tiny_causal_lm):
    assert load_causal_lm(tiny_causal_lm, "cpu").model.device.type == "cpu"
    with pytest.raises(ValueError, match="device='cuda:77' is not here; use None"):
        load_causal_lm(tiny_causal_lm, device="cuda:77")
    with pytest.raises(ValueError, match="device='gpu' is not here"):
        load_causal_lm("./no/such/folder", device="gpu")  # before anything is looked for


def test_models_that_cannot_go_on_are_refused(tiny_encoder, tiny_masked_lm):
    for folder, kind in ((tiny_encoder, "BertModel"), (tiny_masked_lm, "BertForMaskedLM")):
        with pytest.raises(ValueError, match=rf"{kind}, which cannot go on.*use a causal"):
            load_causal_lm(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SmolLM2-135M-Instruc", "SmolLM2-135M-Instruct"),
        ("./no/such/folder", "There is no model folder"),
        ("movie-reviews", "is a data set"),
        (None, "not None"),
    ],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        load_causal_lm(name)


def test_pickled_weights_are_refused(lm, tmp_path):
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(lm.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_causal_lm(tmp_path)


def _change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_folder_that_lacks_weights_is_refused(tiny_causal_lm, tmp_path):
    folder = shutil.copytree(tiny_causal_lm, tmp_path / "model")
    _change_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(
        ValueError, match=r"lacks 1 of its weights \(model\.layers\.1\.mlp\.up_proj"
    ):
        load_causal_lm(folder)


def test_weights_that_are_no_numbers_are_refused(tiny_causal_lm, tmp_path):
    folder = shutil.copytree(tiny_causal_lm, tmp_path / "model")
    _change_weights(folder, lambda weights: weights["model.norm.weight"].fill_(math.nan))
    with pytest.raises(ValueError, match=r"model\.norm\.weight holds weights that are not finite"):
        load_causal_lm(folder)


def test_code_in_a_folder_is_not_run_and_nothing_is_asked(tiny_causal_lm, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    folder = shutil.copytree(tiny_causal_lm, tmp_path / "model")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="code of its own to run"):
        load_causal_lm(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["AutoConfig", "AutoTokenizer", "AutoModelForCausalLM"])
def test_no_loader_trusts_code(tiny_causal_lm, monkeypatch, name):
    """Also of a Hub id, whose files nobody has looked at before the library does."""
    said = []
    kind = getattr(causal, name)

    class Spy:
        @staticmethod
        def from_pretrained(*args, **kwargs):
            said.append(kwargs.get("trust_remote_code"))
            return kind.from_pretrained(*args, **kwargs)

    monkeypatch.setattr(causal, name, Spy)
    load_causal_lm(tiny_causal_lm)
    assert said == [False]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda lm: pickle.loads(pickle.dumps(lm))])
def test_copies_score_the_same(lm, copied):
    states = lm.hidden_states(["the film"])  # which leaves no hook that cannot be pickled
    again = copied(lm)
    np.testing.assert_array_equal(again.hidden_states(["the film"]), states)
    assert again.model is not lm.model
    _close(again.continuation_scores(["the film"], ENDINGS),
           lm.continuation_scores(["the film"], ENDINGS))  # fmt: skip
