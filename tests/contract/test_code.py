"""Nothing in a folder runs: not while it is loaded, not when it is given as a model to fit."""

import builtins
import json
import shutil
import time

import pytest

from tests.soak_cases.estimators import reseal

EVIL = """
from pathlib import Path
Path({marker!r}).write_text("executed")
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
class C(BertConfig):
    model_type = "evil"
class M(BertModel):
    config_class = C
class T(PreTrainedTokenizerFast):
    pass
"""
ARCHITECTURES = (
    "AutoModel", "AutoModelForSequenceClassification", "AutoModelForTokenClassification",
    "AutoModelForMaskedLM", "AutoModelForCausalLM",
)  # fmt: skip


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """Plant code in a folder, and say afterwards whether it ran or a question was asked."""
    marker, asked = tmp_path / "marker", []

    def answer(prompt=""):
        asked.append(prompt)
        return "y"

    monkeypatch.setattr(builtins, "input", answer)

    class Evil:
        def plant(self, folder, **changes):
            (folder / "evilmod.py").write_text(EVIL.format(marker=str(marker)))
            config = json.loads((folder / "config.json").read_text("utf-8"))
            (folder / "config.json").write_text(json.dumps(config | changes), "utf-8")
            return folder

        def check(self):
            assert not marker.exists(), "code from the folder ran"
            assert not asked, f"it asked: {asked}"

    return Evil()


MODEL = {"auto_map": {"AutoConfig": "evilmod.C", **dict.fromkeys(ARCHITECTURES, "evilmod.M")}}


def _tokenizer(folder):
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    own = ["evilmod.T", "evilmod.T"]
    changes = {"tokenizer_class": "EvilTokenizer", "auto_map": {"AutoTokenizer": own}}
    path.write_text(json.dumps(config | changes), "utf-8")


def _modules(folder):
    path = folder / "modules.json"
    modules = json.loads(path.read_text("utf-8"))
    modules[0]["type"] = "evilmod.M"
    path.write_text(json.dumps(modules), "utf-8")


WAYS = {
    "unknown type": lambda evil, folder: evil.plant(folder, model_type="evil", **MODEL),
    "known type": lambda evil, folder: evil.plant(folder, **MODEL),
    "tokenizer": lambda evil, folder: _tokenizer(evil.plant(folder)),
    "tokenizer in config": lambda evil, folder: evil.plant(
        folder, auto_map={"AutoTokenizer": "evilmod.T"}, tokenizer_class="EvilTokenizer"
    ),
}


def _quickly(call, error=Exception):
    begun = time.monotonic()
    with pytest.raises(error) as caught:
        call()
    assert time.monotonic() - begun < 5
    return str(caught.value)


@pytest.mark.only(lambda case: case.keeps_weights)
@pytest.mark.parametrize("way", WAYS)
def test_loading_a_saved_folder_runs_nothing(case, saved, evil, way):
    WAYS[way](evil, saved)
    reseal(saved)  # whoever plants code can write the hashes, too
    message = _quickly(lambda: case.kind.load(saved), ValueError)
    evil.check()
    assert "code" in message or "auto_map" in message


@pytest.mark.parametrize("way", WAYS)
def test_fitting_a_folder_as_a_model_runs_nothing(case, models, tmp_path, evil, way):
    folder = shutil.copytree(models[case.model], tmp_path / "model")
    WAYS[way](evil, folder)
    message = _quickly(
        lambda: case.new(models, model=folder).fit(case.inputs, case.targets), ValueError
    )
    evil.check()
    assert "code" in message or "auto_map" in message


@pytest.mark.only(lambda case: case.name in ("setfit", "frozen"))
def test_a_module_of_a_sentence_transformer_from_the_folder_is_refused(case, saved, evil):
    _modules(evil.plant(saved))
    reseal(saved)
    message = _quickly(lambda: case.kind.load(saved), ValueError)
    evil.check()
    assert "modules.json" in message


@pytest.mark.only(lambda case: case.name in ("setfit", "frozen"))
def test_a_module_of_a_body_to_fit_is_refused(case, models, saved, tmp_path, evil):
    _modules(evil.plant(saved))
    message = _quickly(
        lambda: case.new(models, model=saved).fit(case.inputs, case.targets), ValueError
    )
    evil.check()
    assert "modules.json" in message


def test_continued_pretraining_and_causal_models_run_nothing(models, tmp_path, evil):
    from reptune.models.causal import load_causal_lm
    from reptune.pretraining import continue_pretraining

    for kind, call in (
        ("causal", load_causal_lm),
        ("masked", lambda model: continue_pretraining(model, ["a film"] * 8, tmp_path / "o")),
    ):
        folder = shutil.copytree(models[kind], tmp_path / kind)
        evil.plant(folder, model_type="evil", **MODEL)
        _quickly(lambda call=call, folder=folder: call(folder), ValueError)
        evil.check()


def test_a_pickled_weight_file_is_not_read(case, models, tmp_path):
    """Weights as a pickle can run code; without safetensors there is no model."""
    import torch

    folder = shutil.copytree(models[case.model], tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises((OSError, ValueError), match="safetensors"):
        case.new(models, model=folder).fit(case.inputs, case.targets)
