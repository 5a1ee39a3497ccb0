import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from reptune.models import lowrank
from reptune.models.masked import load_masked_lm
from tests import tiny

IDS = torch.tensor([[2, 5, 9, 4, 12, 3]])  # [CLS], three tokens and a mask, [SEP]


@pytest.fixture
def changed(tiny_encoder, tmp_path):
    """A model with changes that are not zero, its layers, and the file that holds them."""
    torch.manual_seed(0)
    model = load_masked_lm(tiny_encoder).model.eval()
    names = lowrank.add_low_rank(model, rank=2)
    for name in names:
        torch.nn.init.normal_(model.get_submodule(name).up, std=0.1)
    lowrank.save_adapter(model, names, tmp_path / "adapter.safetensors")
    return model, names, tmp_path / "adapter.safetensors"


def test_additions_start_as_no_change(tiny_encoder):
    model = load_masked_lm(tiny_encoder).model.eval()
    before = model(input_ids=IDS).logits
    names = lowrank.add_low_rank(model, rank=2)
    assert len(names) == 3 * 6, "three blocks of query, key, value, output and two dense layers"
    torch.testing.assert_close(model(input_ids=IDS).logits, before)


def test_only_additions_and_head_train(tiny_encoder):
    model = load_masked_lm(tiny_encoder).model
    lowrank.add_low_rank(model, rank=2)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained
    assert all(name.startswith("cls.") or name.endswith((".down", ".up")) for name in trained)


def test_the_file_brings_the_changes_to_the_model_as_it_was(changed, tiny_encoder):
    model, _, file = changed
    plain = load_masked_lm(tiny_encoder).model.eval()
    lowrank.apply_adapter(plain, file)
    torch.testing.assert_close(
        plain(input_ids=IDS).logits, model(input_ids=IDS).logits, atol=5e-3, rtol=5e-3
    )


def test_merging_changes_no_output_and_leaves_a_plain_model(changed, tiny_encoder):
    model, names, _ = changed
    before = model(input_ids=IDS).logits
    lowrank.merge(model, names)
    torch.testing.assert_close(model(input_ids=IDS).logits, before)
    assert model.state_dict().keys() == load_masked_lm(tiny_encoder).model.state_dict().keys()


@pytest.mark.parametrize("knobs", [{"num_blocks": 1}, {"random_state": 7}])
def test_an_adapter_of_another_model_is_refused_whole(changed, tmp_path, knobs):
    _, _, file = changed
    other = load_masked_lm(tiny.save_encoder(tmp_path / "other", **knobs)).model
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError, match="made for another model"):
        lowrank.apply_adapter(other, file)
    torch.testing.assert_close(other.state_dict(), before)


def test_what_is_no_adapter_is_named(tiny_encoder, tmp_path):
    model = load_masked_lm(tiny_encoder).model
    (tmp_path / "notes.txt").write_text("hello")
    for file in (tmp_path / "notes.txt", tmp_path / "missing", tiny_encoder / "model.safetensors"):
        with pytest.raises(ValueError, match=f"{file.name} is no adapter"):
            lowrank.apply_adapter(model, file)


def test_joined_adapters_are_both_at_once(changed, tiny_encoder, tmp_path):
    _, _, first = changed
    model = load_masked_lm(tiny_encoder).model.eval()
    lowrank.apply_adapter(model, first)
    names = lowrank.add_low_rank(model, rank=3)
    torch.manual_seed(1)
    for name in names:
        torch.nn.init.normal_(model.get_submodule(name).up, std=0.1)
    lowrank.save_adapter(model, names, tmp_path / "second.safetensors")
    lowrank.join_adapters([first, tmp_path / "second.safetensors"], tmp_path / "both.safetensors")
    plain = load_masked_lm(tiny_encoder).model.eval()
    lowrank.apply_adapter(plain, tmp_path / "both.safetensors")
    torch.testing.assert_close(
        plain(input_ids=IDS).logits, model(input_ids=IDS).logits, atol=1e-2, rtol=1e-2
    )


def test_adapters_of_different_models_are_not_joined(changed, tmp_path):
    _, _, first = changed
    other = load_masked_lm(tiny.save_encoder(tmp_path / "other", random_state=7)).model
    lowrank.save_adapter(other, lowrank.add_low_rank(other, rank=2), tmp_path / "o.safetensors")
    with pytest.raises(ValueError, match="different models or layers"):
        lowrank.join_adapters([first, tmp_path / "o.safetensors"], tmp_path / "both.safetensors")
    assert not (tmp_path / "both.safetensors").exists()


@pytest.mark.parametrize("damage", ["a missing half", "a shape", "a NaN", "a stranger"])
def test_a_damaged_adapter_changes_nothing(damage, changed, tiny_encoder):
    _, names, file = changed
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    arrays = load_file(file)
    last = f"{names[-1]}.down"
    if damage == "a missing half":
        del arrays[last]
    elif damage == "a shape":
        arrays[last] = arrays[last][:, :-1].contiguous()
    elif damage == "a NaN":
        arrays[last][0, 0] = float("nan")
    else:
        arrays["cls.stranger"] = torch.zeros(3)
    save_file(arrays, file, metadata=metadata)
    plain = load_masked_lm(tiny_encoder).model
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    with pytest.raises(ValueError, match=r"adapter\.safetensors is damaged"):
        lowrank.apply_adapter(plain, file)
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())


def test_ranks_may_be_numpy_s_and_bad_ones_are_named(tiny_encoder):
    model = load_masked_lm(tiny_encoder).model
    names = lowrank.add_low_rank(model, rank=np.int64(2))
    assert model.get_submodule(names[0]).down.shape[0] == 2
    for bad in (0, 1.5, None):
        with pytest.raises(ValueError, match=f"rank={bad}"):
            lowrank.add_low_rank(load_masked_lm(tiny_encoder).model, rank=bad)


def test_what_cannot_be_joined_is_named(changed, tmp_path):
    _, _, file = changed
    with pytest.raises(ValueError, match="files: there are none"):
        lowrank.join_adapters([], tmp_path / "joined")
    (tmp_path / "text").write_text("mine")
    with pytest.raises(ValueError, match="text is no adapter"):
        lowrank.join_adapters([file, tmp_path / "text"], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()
