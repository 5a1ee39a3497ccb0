"""Text to text: what is learned, what is cut, what is written, saved and refused."""

import copy
import json
import pickle
import shutil
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from reptune.generation import (
    ADAPTER,
    IGNORED,
    TextGenerator,
    _answer_losses,
    answer_loss,
    answered,
)
from reptune.models.causal import load_causal_lm
from tests import tiny

INPUTS = ["good", "bad", "film", "the plot"]
OUTPUTS = ["good good good good", "bad bad bad bad", "film film film film", "a dull plot"]
SMALL = {
    "rank": 8, "num_epochs": 2, "learning_rate": 5e-3, "batch_size": 2, "max_length": 48,
    "max_new_tokens": 12, "random_state": 0, "fast": False,
}  # fmt: skip
END = 0  # the tiny tokenizer's <|end|>, which also pads


def _new(folder, **changes):
    return TextGenerator(folder, **(SMALL | changes))


@pytest.fixture(scope="session")
def tiny_causal_lm(tmp_path_factory):
    """The tiny Llama, with a vector for its end: the library has zeros where padding is the end."""
    folder = tiny.save_causal_lm(tmp_path_factory.mktemp("tiny") / "causal")
    weights = load_file(folder / "model.safetensors")
    row = weights["model.embed_tokens.weight"][END]
    assert not row.any()
    row.copy_(0.3 * torch.randn(row.shape, generator=torch.Generator().manual_seed(0)))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def lm(tiny_causal_lm):
    """As it is before any training; to be read only."""
    return load_causal_lm(tiny_causal_lm, device="cpu")


@pytest.fixture(scope="session")
def fitted(tiny_causal_lm):
    """Trained until it writes what it was shown; to be read only."""
    model = _new(tiny_causal_lm, num_epochs=150, learning_rate=3e-2, batch_size=4)
    return model.fit(INPUTS, OUTPUTS)


# --- what is learned -----------------------------------------------------------------------------


def test_the_loss_counts_the_answer_and_its_end_and_nothing_of_the_prompt(tiny_causal_lm, lm):
    """The original learns prompts, too, and hides every end, since padding is the end's token."""
    model = _new(tiny_causal_lm)
    (example,) = model._examples(lm, ["good"], ["a film"])
    prompt, answer = lm.encode("good\n=>\n"), lm.encode("a film", special=False)
    assert example.input_ids == [*prompt, *answer, END]
    assert example.labels == [*[IGNORED] * len(prompt), *answer, END]
    assert lm.tokenizer.pad_token_id == END, "and yet the end is learned"


def test_no_gradient_comes_from_predicting_the_prompt(lm):
    """The logits of the prompt's tokens do not matter; that of the end does."""
    example = answered(lm.encode("the film was"), [*lm.encode(" good", special=False), END])
    logits = lm.model(torch.tensor([example.input_ids])).logits.detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(
        logits[0, :-1], torch.tensor(example.labels[1:]), ignore_index=IGNORED
    )
    loss.backward()
    moved = logits.grad[0].abs().sum(dim=1) > 0
    first = example.labels.index(next(label for label in example.labels if label != IGNORED)) - 1
    assert moved.tolist() == [first <= at < len(moved) - 1 for at in range(len(moved))]
    assert answer_loss(lm.model, [example]).item() == pytest.approx(loss.item(), abs=1e-5)


@pytest.mark.parametrize("multiple", [1, 8])
def test_the_loss_is_the_librarys_on_a_padded_batch(lm, multiple):
    pairs = [("the film", " good"), ("a", " very dull actor"), ("not bad the plot", "")]
    rows = [answered(lm.encode(a), [*lm.encode(b, special=False), END]) for a, b in pairs]
    longest = max(len(row.input_ids) for row in rows)
    ids = torch.tensor([row.input_ids + [END] * (longest - len(row.input_ids)) for row in rows])
    labels = torch.tensor([row.labels + [IGNORED] * (longest - len(row.labels)) for row in rows])
    mask = torch.tensor([[1] * len(r.input_ids) + [0] * (longest - len(r.input_ids)) for r in rows])
    with torch.no_grad():
        expected = lm.model(ids, attention_mask=mask, labels=labels).loss
        assert answer_loss(lm.model, rows, multiple).item() == pytest.approx(
            expected.item(), abs=1e-5
        )
    totals, counts = _answer_losses(lm.model, rows, batch_size=2)
    assert counts.tolist() == [sum(label != IGNORED for label in row.labels) for row in rows]
    assert totals.sum() / counts.sum() == pytest.approx(expected.item(), abs=1e-5)


def test_the_original_learns_something_else(lm):
    """Labels that are the input's, padding ignored: prompt learned, the end never."""
    example = answered(lm.encode("the film was"), [*lm.encode(" good", special=False), END])
    ids = torch.tensor([example.input_ids])
    labels = torch.where(ids == lm.tokenizer.pad_token_id, IGNORED, ids)
    with torch.no_grad():
        theirs = lm.model(ids, labels=labels).loss.item()
    assert labels[0, -1] == IGNORED
    assert abs(theirs - answer_loss(lm.model, [example]).item()) > 0.01


def test_only_the_additions_train_even_where_the_output_layer_is_no_embedding(lm, tmp_path):
    config = copy.deepcopy(lm.model.config)
    config.tie_word_embeddings = False
    model = type(lm.model)(config)
    model.save_pretrained(tmp_path / "untied")
    lm.tokenizer.save_pretrained(tmp_path / "untied")
    generator = _new(tmp_path / "untied").fit(INPUTS, OUTPUTS)
    before = load_causal_lm(tmp_path / "untied", device="cpu").model.state_dict()
    after = generator.lm_.model.state_dict()
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert changed and all(".layers." in name for name in changed - {"lm_head.weight"})
    # The output layer is saved in half precision with the additions, and rounded, not trained.
    torch.testing.assert_close(
        after["lm_head.weight"], before["lm_head.weight"], rtol=1e-3, atol=1e-6
    )
    loaded = TextGenerator.load(generator.save(tmp_path / "saved"))
    assert (loaded.losses(INPUTS, OUTPUTS) == generator.losses(INPUTS, OUTPUTS)).all()


# --- what is written -----------------------------------------------------------------------------


def test_it_learns_to_copy_and_to_stop(fitted):
    assert fitted.predict(INPUTS) == OUTPUTS
    assert fitted.score(INPUTS, OUTPUTS) == 1.0
    wrong = ["good", *OUTPUTS[1:]]
    assert fitted.score(INPUTS, wrong) == 0.75


def test_a_penalty_on_repeated_tokens_would_break_the_copy(fitted):
    """As in the original's executor, which decodes with a repetition penalty of 2.0."""
    lm = fitted.lm_
    ids = torch.tensor([lm.encode("good\n=>\n")])
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": END}
    plain = lm.model.generate(ids, **options)[0, ids.shape[1] :]
    theirs = lm.model.generate(ids, repetition_penalty=2.0, **options)[0, ids.shape[1] :]
    decode = lm.tokenizer.decode
    assert decode(plain, skip_special_tokens=True) == "good good good good"
    assert decode(theirs, skip_special_tokens=True) != "good good good good"
    assert fitted.predict(["good"]) == ["good good good good"]


def test_an_empty_output_is_learned_as_one(tiny_causal_lm):
    model = _new(tiny_causal_lm, num_epochs=60, learning_rate=3e-2).fit(["good", "bad"], ["", ""])
    assert model.predict(["good", "bad"]) == ["", ""]


def test_predictions_end_after_max_new_tokens(fitted):
    short = copy.copy(fitted).set_params(max_new_tokens=2)
    for text, whole in zip(short.predict(INPUTS), OUTPUTS, strict=True):
        assert whole.startswith(text) and len(text) < len(whole)


def test_the_company_of_other_inputs_changes_nothing(fitted):
    unseen = ["a nice actor", "dull", "the film is not good but nice", "good"]
    alone = [fitted.predict([text])[0] for text in unseen]
    assert fitted.predict(unseen) == fitted.predict(iter(unseen)) == alone
    for size in (1, 3):
        assert copy.copy(fitted).set_params(prediction_batch_size=size).predict(unseen) == alone


def test_losses_are_those_of_each_answer_alone(fitted):
    together = fitted.losses(INPUTS, OUTPUTS[::-1])
    alone = [fitted.losses([a], [b])[0] for a, b in zip(INPUTS, OUTPUTS[::-1], strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert fitted.losses(INPUTS, OUTPUTS).max() < together.min()


# --- prompts -------------------------------------------------------------------------------------


def test_the_instruction_stands_first_and_the_template_is_filled_as_it_is(tiny_causal_lm):
    model = _new(tiny_causal_lm, template="<{input}> -> ", instruction="Say {input} again.")
    assert model._prompt("a {input} b") == "Say {input} again.\n\n<a {input} b> -> "


def test_a_long_input_is_cut_with_one_warning_and_no_answer_ever(tiny_causal_lm, lm):
    model = _new(tiny_causal_lm, max_length=12, num_epochs=1)
    texts = [" ".join(["film"] * 40), "good", " ".join(["plot"] * 30)]
    answers = ["good bad good bad good bad", "bad", "good"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(texts, answers)
    said = [str(one.message) for one in caught if "cut" in str(one.message)]
    assert len(said) == 1 and said[0].startswith("2 of 3 inputs were cut at their end")
    assert all(one.filename == __file__ for one in caught if "cut" in str(one.message))
    with pytest.warns(UserWarning, match="2 of 3 inputs were cut") as caught:
        model.predict(texts)
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(UserWarning):
        examples = model._examples(lm, texts, answers)
    for example, answer in zip(examples, answers, strict=True):
        learned = [label for label in example.labels if label != IGNORED]
        assert lm.tokenizer.decode(learned[:-1]) == answer and learned[-1] == END
        prompt = lm.tokenizer.decode(example.input_ids[: -len(learned)])
        assert prompt.endswith("\n=>\n"), "what stands after the input is never cut"
        assert len(example.input_ids) - len(learned) <= 12
    (prompt,), num_cut = model._prompts(lm, texts[:1])
    assert num_cut == 1 and texts[0].startswith(prompt.removesuffix("\n=>\n"))
    assert len(lm.encode(prompt)) == 12, "as much as fits"


def test_what_fits_is_not_cut_and_nothing_is_said(tiny_causal_lm):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _new(tiny_causal_lm, num_epochs=1).fit(INPUTS, OUTPUTS).predict(INPUTS)


def test_cuts_never_split_a_character(tiny_causal_lm, lm):
    model = _new(tiny_causal_lm, max_length=13)
    for text in ("😀" * 20, "日本語" * 20, "e\u0301" * 40):
        (prompt,), _ = model._prompts(lm, [text])
        assert text.startswith(prompt.removesuffix("\n=>\n"))
        assert len(lm.encode(prompt)) <= 13


def test_outputs_longer_than_predictions_may_be_are_told(tiny_causal_lm):
    with pytest.warns(UserWarning, match="1 of 2 outputs have more than max_new_tokens=2"):
        _new(tiny_causal_lm, num_epochs=1, max_new_tokens=2).fit(
            ["good", "bad"], ["good good good good", "a"]
        )


# --- copies, seeds, interruptions ----------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits(tiny_causal_lm):
    losses = [
        _new(tiny_causal_lm, random_state=seed).fit(INPUTS, OUTPUTS).losses(INPUTS, OUTPUTS)
        for seed in (0, 0, 1)
    ]
    assert (losses[0] == losses[1]).all() and (losses[0] != losses[2]).any()


def test_copies_write_the_same(fitted):
    for twin in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        assert twin.predict(INPUTS) == OUTPUTS
        assert (twin.losses(INPUTS, OUTPUTS) == fitted.losses(INPUTS, OUTPUTS)).all()
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "lm_")


def test_an_interrupted_fit_leaves_the_object_as_it_was(fitted, monkeypatch):
    own = copy.copy(fitted)
    before = dict(vars(own))

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.Tensor, "backward", stop)
    with pytest.raises(KeyboardInterrupt):
        own.fit(INPUTS, OUTPUTS[::-1])
    assert vars(own).keys() == before.keys()
    assert all(vars(own)[name] is value for name, value in before.items())
    assert own.predict(INPUTS) == OUTPUTS


def test_patience_goes_back_to_the_best(tiny_causal_lm):
    held_out = (["dull", "nice"], ["good good", "very bad"])
    model = _new(tiny_causal_lm, num_epochs=100, learning_rate=3e-2, patience=2)
    model.fit(INPUTS, OUTPUTS, validation=held_out)
    looks = [row["eval_loss"] for row in model.history_ if "eval_loss" in row]
    assert len(looks) == int(np.argmin(looks)) + 3 < 100
    examples = model._examples(model.lm_, *held_out)
    totals, counts = _answer_losses(model.lm_.model, examples, None)
    assert totals.sum() / counts.sum() == pytest.approx(min(looks), rel=1e-2)  # half precision


# --- saved ---------------------------------------------------------------------------------------


def test_a_saved_folder_is_small_and_comes_back_bit_for_bit(fitted, tiny_causal_lm, tmp_path):
    folder = fitted.save(tmp_path / "model")
    assert sorted(path.name for path in folder.iterdir()) == [ADAPTER, "reptune.json"]
    arrays = load_file(folder / ADAPTER)
    assert {array.dtype for array in arrays.values()} == {torch.float16}
    assert all(name.endswith((".up", ".down")) for name in arrays)
    state = torch.get_rng_state()
    loaded = TextGenerator.load(folder)
    assert torch.equal(torch.get_rng_state(), state)
    assert loaded.predict(INPUTS) == OUTPUTS
    for name, weight in fitted.lm_.model.state_dict().items():
        assert torch.equal(loaded.lm_.model.state_dict()[name], weight), name
    assert loaded.classes_.tolist() == fitted.classes_.tolist() == []


def test_the_fitted_model_is_a_plain_one(fitted, tmp_path):
    fitted.lm_.model.save_pretrained(tmp_path / "plain")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    assert plain.state_dict().keys() == fitted.lm_.model.state_dict().keys()


def test_another_model_under_the_same_name_is_refused(tiny_causal_lm, tmp_path):
    """One with the same embeddings and other blocks, as a fine-tuned one is, would write nonsense.

    The adapter's own mark, a hash of the embeddings, does not tell them apart.
    """
    base = shutil.copytree(tiny_causal_lm, tmp_path / "base")
    folder = _new(base, num_epochs=1).fit(INPUTS, OUTPUTS).save(tmp_path / "model")
    TextGenerator.load(folder)
    weights = load_file(base / "model.safetensors")
    name = next(name for name in weights if "q_proj" in name)
    weights[name] = weights[name] + 0.01
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="put the model there that it was trained from"):
        TextGenerator.load(folder)


def test_another_vocabulary_is_refused(tiny_causal_lm, tmp_path):
    base = shutil.copytree(tiny_causal_lm, tmp_path / "base")
    folder = _new(base, num_epochs=1).fit(INPUTS, OUTPUTS).save(tmp_path / "model")
    content = json.loads((base / "tokenizer.json").read_text("utf-8"))
    vocabulary = content["model"]["vocab"]
    one, two = list(vocabulary)[40:42]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    (base / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match="made_for="):
        TextGenerator.load(folder)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([], [], "inputs: there are none"),
        ("good", ["a"], "inputs is a single string"),
        (["good"], "a", "outputs is a single string"),
        (["good"], ["a", "b"], "1 inputs but 2 outputs"),
        (["good", None], ["a", "b"], r"inputs\[1\] is None"),
        (["good", "bad"], ["a", 3], r"outputs\[1\] is 3"),
        (["good"], [float("nan")], r"outputs\[0\] is nan"),
        (["good"], {"a": "b"}, "outputs is a dict"),
        (["good"], None, "outputs is None"),
        (["\ud800"], ["a"], "surrogate"),
    ],
)
def test_what_are_no_texts_is_refused_before_a_model_is_loaded(inputs, outputs, message):
    with pytest.raises(ValueError, match=message):
        TextGenerator("no/model").fit(inputs, outputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"template": "no place"}, "template='no place'; write {input} once"),
        ({"template": "{input} {input}"}, "write {input} once"),
        ({"template": 3}, "template=3"),
        ({"instruction": None}, "instruction=None"),
        ({"rank": 0}, "rank=0"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"max_length": -1}, "max_length=-1"),
        ({"num_epochs": 2.5}, "num_epochs=2.5"),
        ({"fast": ("cheap_dropout",)}, "cheap_dropout"),
        ({"patience": 2}, "patience=2 needs validation"),
        ({"device": "cuda:99"}, "device='cuda:99'"),
    ],
)
def test_bad_parameters_are_refused_before_a_model_is_loaded(changes, message):
    with pytest.raises(ValueError, match=message):
        TextGenerator("no/model", **changes).fit(INPUTS, OUTPUTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length": 120}, "max_length=120 and max_new_tokens=12.*at most 128"),
        ({"max_length": None, "max_new_tokens": 128}, "lower one of them"),
        ({"max_length": 4}, "instruction and template have .* tokens"),
        ({"instruction": "film " * 60}, "instruction and template have .* tokens"),
        ({"template": "{input}"}, "adds no token"),
    ],
)
def test_settings_that_leave_no_room_are_refused(tiny_causal_lm, changes, message):
    with pytest.raises(ValueError, match=message):
        _new(tiny_causal_lm, **changes).fit(INPUTS, OUTPUTS)


def test_an_output_too_long_for_the_model_is_named(tiny_causal_lm):
    with pytest.raises(ValueError, match=r"outputs\[1\] has \d+ tokens after a prompt of \d+"):
        _new(tiny_causal_lm).fit(["a", "good"], ["a", "film " * 130])
    with pytest.raises(ValueError, match=r"validation outputs\[0\] has"):
        _new(tiny_causal_lm).fit(INPUTS, OUTPUTS, validation=(["a"], ["film " * 130]))


def test_an_output_that_holds_the_end_is_named(tiny_causal_lm):
    """It would teach to stop in mid-answer."""
    with pytest.raises(ValueError, match=r"outputs\[0\] holds '<\|end\|>'.*remove it"):
        _new(tiny_causal_lm).fit(["a"], ["good<|end|> film"])


@pytest.mark.parametrize("validation", [3, ("a",), (["a"], ["b"], ["c"])])
def test_what_is_no_validation(tiny_causal_lm, validation):
    with pytest.raises(ValueError, match=r"validation=.*\(inputs, outputs\)"):
        _new(tiny_causal_lm).fit(INPUTS, OUTPUTS, validation=validation)


def test_a_model_that_is_none_of_those(tiny_encoder, lm, tmp_path):
    with pytest.raises(ValueError, match="cannot go on with a text"):
        _new(tiny_encoder).fit(INPUTS, OUTPUTS)
    config = GPT2Config(vocab_size=len(lm.tokenizer), n_embd=8, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    lm.tokenizer.save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ValueError, match="no linear layers in its blocks"):
        _new(tmp_path / "gpt2").fit(INPUTS, OUTPUTS)


def test_a_tokenizer_without_an_end_cannot_teach_to_stop(tiny_causal_lm, tmp_path):
    base = shutil.copytree(tiny_causal_lm, tmp_path / "base")
    tiny_tokenizer = tiny.causal_tokenizer()
    tiny_tokenizer.eos_token = None
    tiny_tokenizer.save_pretrained(base)
    for name in ("config.json", "generation_config.json"):
        content = json.loads((base / name).read_text("utf-8"))
        content["eos_token_id"] = None
        (base / name).write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match="no token that ends a text"):
        _new(base).fit(INPUTS, OUTPUTS)
