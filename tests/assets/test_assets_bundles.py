"""Bundles: the road for machines with no index at all."""

import errno
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from asset_fakes import DATA_FILES, sha256

from reptune import assets, bundles
from reptune.assets import archives, converters

MANIFEST = "reptune-bundle.json"


@pytest.fixture
def bundle(copied, tmp_path) -> Path:
    """A bundle of tiny-data and tiny-tree; the cache that it came from is emptied."""
    assets.fetch("tiny-data")
    assets.fetch("tiny-tree")
    path = bundles.export_bundle(tmp_path / "bundle.zip")
    shutil.rmtree(assets.cache_dir())
    return path


def rewrite(bundle: Path, change: dict[str, bytes | None], **options) -> None:
    """Replaces, adds or (None) removes members."""
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members = {**members, **change}
    with zipfile.ZipFile(bundle, "w", **options) as archive:
        for name, data in members.items():
            if data is not None:
                member = zipfile.ZipInfo("x")
                member.filename = name
                member.compress_type = archive.compression
                archive.writestr(member, data)


def assert_nothing_imported(cache: Path) -> None:
    assert not any(path.is_file() for path in (cache / "assets").rglob("*"))
    assert not any(path.is_file() for path in (cache / "staging").rglob("*"))


def test_there_and_back(bundle, index):
    index.stop()
    assert bundles.import_bundle(bundle) == ["tiny-data", "tiny-tree"]
    for name in ("tiny-data", "tiny-tree"):
        assets.verify(name)
    assert bundles.import_bundle(bundle) == ["tiny-data", "tiny-tree"]  # and once more


def test_only_the_named_assets(copied, tmp_path):
    assets.fetch("tiny-data")
    assets.fetch("tiny-tree")
    path = bundles.export_bundle(tmp_path / "b.zip", ["tiny-tree"])
    with zipfile.ZipFile(path) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert tops == {MANIFEST, "tiny-tree"}


def test_import_replaces_a_corrupt_asset(bundle):
    bundles.import_bundle(bundle)
    (assets.get("tiny-data") / "train.txt").write_bytes(b"other")
    bundles.import_bundle(bundle)
    assets.verify("tiny-data")


@pytest.mark.parametrize("escape", ["../x", "tiny-data/../../x", "/x", "tiny-data\\..\\x", "C:/x"])
def test_member_that_leaves_the_folder(bundle, cache, escape):
    rewrite(bundle, {escape: b"evil"})
    with pytest.raises(assets.AssetCorrupt, match="would leave the folder"):
        bundles.import_bundle(bundle)
    assert_nothing_imported(cache)
    assert not list(cache.parent.rglob("x"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tiny-data/train.txt": b"other"}, r"train\.txt has sha256"),
        ({"tiny-data/train.txt": None}, r"has no member tiny-data/train\.txt"),
        ({"stranger/x": b""}, "'stranger/x' is not in its manifest"),
        ({MANIFEST: None}, "no readable manifest"),
        ({MANIFEST: b"[]"}, "no readable manifest"),
        ({MANIFEST: b'{"format": 9, "assets": {}}'}, "format is 9, not 2"),
        ({MANIFEST: b'{"format": 1, "assets": {"tiny-data": "0"}}'}, "another version of 'tiny-d"),
    ],
)
def test_a_bundle_that_is_not_right(bundle, cache, change, message):
    rewrite(bundle, change)
    with pytest.raises(assets.AssetCorrupt, match=f"The bundle cannot be used: .*{message}"):
        bundles.import_bundle(bundle)
    assert_nothing_imported(cache)


def test_a_list_of_files_of_its_own(bundle, cache):
    """A bundle cannot bring other files by bringing another SHA256SUMS."""
    rewrite(
        bundle, {"tiny-tree/SHA256SUMS": b"0" * 64 + b"  evil.txt\n", "tiny-tree/evil.txt": b""}
    )
    with pytest.raises(assets.AssetCorrupt, match="SHA256SUMS does not have the pinned sha256"):
        bundles.import_bundle(bundle)
    assert assets.state("tiny-tree") == "missing"


def test_unknown_asset(bundle, cache):
    manifest = {"format": 1, "assets": {"tiny-dato": "0"}}
    rewrite(bundle, {MANIFEST: json.dumps(manifest).encode()})
    with pytest.raises(ValueError, match=r"Unknown asset 'tiny-dato'\. Did you mean 'tiny-data'"):
        bundles.import_bundle(bundle)
    assert_nothing_imported(cache)


def test_a_compressed_bundle_is_refused(bundle, cache):
    rewrite(bundle, {}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(assets.AssetCorrupt, match="is compressed"):
        bundles.import_bundle(bundle)
    assert_nothing_imported(cache)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_truncated_bundle(bundle, cache, part):
    data = bundle.read_bytes()
    bundle.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(assets.AssetCorrupt, match=r"bundle\.zip is a broken zip.*Copy it again"):
        bundles.import_bundle(bundle)
    assert_nothing_imported(cache)


def test_a_flipped_byte(bundle, cache):
    data = bytearray(bundle.read_bytes())
    data[data.index(DATA_FILES["train.txt"])] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(assets.AssetCorrupt, match=r"broken zip .Bad CRC-32"):
        bundles.import_bundle(bundle)
    assert assets.state("tiny-data") == "missing"


def test_disk_full_while_importing(bundle, cache, monkeypatch):
    def fills_up(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(archives, "copy_blocks", fills_up)
        with pytest.raises(assets.AssetUnavailable, match="REPTUNE_CACHE"):
            bundles.import_bundle(bundle)
    assert_nothing_imported(cache)
    assert bundles.import_bundle(bundle) == ["tiny-data", "tiny-tree"]


def test_no_such_bundle(registry, tmp_path):
    with pytest.raises(ValueError, match="There is no bundle"):
        bundles.import_bundle(tmp_path / "none.zip")


def test_export_of_what_is_not_there(copied, tmp_path):
    with pytest.raises(assets.AssetUnavailable, match="No asset is cached"):
        bundles.export_bundle(tmp_path / "b.zip")
    with pytest.raises(assets.AssetUnavailable, match="'tiny-data' is not cached"):
        bundles.export_bundle(tmp_path / "b.zip", ["tiny-data"])
    with pytest.raises(ValueError, match="There is no folder"):
        bundles.export_bundle(tmp_path / "none" / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_export_of_a_corrupt_asset(copied, tmp_path):
    (assets.fetch("tiny-data") / "train.txt").write_bytes(b"other")
    with pytest.raises(assets.AssetCorrupt, match=r"train\.txt"):
        bundles.export_bundle(tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_an_export_that_fails_leaves_the_old_bundle(copied, tmp_path, monkeypatch):
    assets.fetch("tiny-data")
    path = bundles.export_bundle(tmp_path / "b.zip")
    before = path.read_bytes()

    def fail(path, *_):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(bundles, "_write_bundle", fail)
    with pytest.raises(assets.AssetUnavailable, match=r"b\.zip' needs 0\.0 MB of disk.*Free some"):
        bundles.export_bundle(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.glob("*b.zip*")] == ["b.zip"]
    assert not list(tmp_path.glob(".b.zip*"))


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_bundle_that_cannot_be_written(copied, tmp_path, monkeypatch, code):
    assets.fetch("tiny-data")

    def refuse(path, *_):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(bundles, "_write_bundle", refuse)
    with pytest.raises(assets.AssetUnavailable, match=r"cannot be written.*you may write to"):
        bundles.export_bundle(tmp_path / "b.zip")


def test_too_little_space_for_a_bundle(copied, tmp_path, monkeypatch):
    assets.fetch("tiny-model")
    usage = shutil.disk_usage(".")._replace(free=1_000)
    monkeypatch.setattr(bundles.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(assets.AssetUnavailable, match=r"needs 0\.3 MB of disk.*name fewer assets"):
        bundles.export_bundle(tmp_path / "b.zip")
    assert not list(tmp_path.glob("*b.zip*"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("tiny-data", r"pass a list of assets: \['tiny-data'\]"),
        ([], "names is empty"),
        ([None], "Unknown asset None"),
        ([["tiny-data"]], "Unknown asset"),
    ],
)
def test_export_of_odd_names(copied, tmp_path, names, message):
    assets.fetch("tiny-data")
    with pytest.raises(ValueError, match=message):
        bundles.export_bundle(tmp_path / "b.zip", names)


def test_export_to_a_folder(copied, tmp_path):
    assets.fetch("tiny-data")
    with pytest.raises(ValueError, match="is a folder; name the file"):
        bundles.export_bundle(tmp_path)


# --- converted assets -----------------------------------------------------------------------


def convert_by(recipe: str, registry: Path) -> None:
    """Lets another recipe make tiny-gguf."""
    text = registry.read_text()
    assert text.count('recipe = "gguf"') == 1
    registry.write_text(text.replace('recipe = "gguf"', f'recipe = "{recipe}"'))
    assert assets.info("tiny-gguf").recipe == recipe


@pytest.mark.parametrize("recipe", converters.CONVERTERS)
def test_a_converted_asset_may_hold_no_pickle(converting, monkeypatch, recipe):
    def convert(_asset, origin, target):
        (target / "config.json").write_bytes(b"{}")
        (target / "pytorch_model.bin").write_bytes(b"a pickle")

    monkeypatch.setitem(converters.CONVERTERS, recipe, convert)
    convert_by(recipe, converting)
    with pytest.raises(assets.AssetCorrupt, match=r"SHA256SUMS lists 'pytorch_model\.bin'"):
        assets.fetch("tiny-gguf")


@pytest.fixture
def converted(converting, cache, tmp_path) -> Path:
    """A bundle of tiny-data and tiny-gguf; the cache that it came from is emptied."""
    assets.fetch("tiny-gguf")
    assets.fetch("tiny-data")
    path = bundles.export_bundle(tmp_path / "converted.zip", ["tiny-gguf", "tiny-data"])
    shutil.rmtree(cache)
    return path


def test_a_converted_asset_travels_as_what_it_was_made_from(converted, index):
    with zipfile.ZipFile(converted) as archive:
        found = [name for name in archive.namelist() if name.startswith("tiny-gguf")]
    assert found == ["tiny-gguf/m.gguf"]
    index.stop()
    assert bundles.import_bundle(converted) == ["tiny-gguf", "tiny-data"]
    folder = assets.get("tiny-gguf")
    assert (folder / "model.safetensors").read_bytes() == b"GGUF weights"[::-1]
    assert "unchanged since its conversion" in assets.verify("tiny-gguf")


def forge(bundle: Path, **files: bytes) -> None:
    """Puts converted files with hashes of their own in the place of what they are made from."""
    sums = "".join(f"{sha256(data)}  {name}\n" for name, data in files.items())
    members = {f"tiny-gguf/{name}": data for name, data in files.items()}
    rewrite(bundle, {**members, "tiny-gguf/SHA256SUMS": sums.encode(), "tiny-gguf/m.gguf": None})


@pytest.mark.parametrize("version", [1, 2])
def test_a_forged_converted_asset_is_refused(converted, cache, version):
    forge(converted, **{"config.json": b"{}", "model.safetensors": b"of someone else"})
    pins = {"tiny-gguf": assets.info("tiny-gguf").pin, "tiny-data": assets.info("tiny-data").pin}
    manifest = json.dumps({"format": version, "assets": pins}).encode()
    rewrite(converted, {MANIFEST: manifest})
    with pytest.raises(assets.AssetCorrupt, match=r"lacks 'tiny-gguf/m\.gguf'.*no pinned hash"):
        bundles.import_bundle(converted)
    assert assets.state("tiny-gguf") == "missing"
    assert assets.state("tiny-data") == "ready", "what is pinned is imported first"


def test_a_forged_origin_is_refused(converted, cache):
    rewrite(converted, {"tiny-gguf/m.gguf": b"GGUF forgery"})
    with pytest.raises(assets.AssetCorrupt, match=r"m\.gguf has sha256 \w+, not \w+"):
        bundles.import_bundle(converted)
    assert assets.state("tiny-gguf") == "missing"


def test_a_bundle_of_the_first_format_is_still_read(bundle):
    pins = {name: assets.info(name).pin for name in ("tiny-data", "tiny-tree")}
    rewrite(bundle, {MANIFEST: json.dumps({"format": 1, "assets": pins}).encode()})
    assert bundles.import_bundle(bundle) == ["tiny-data", "tiny-tree"]


def test_a_conversion_that_fails_is_not_the_bundles_fault(converted, monkeypatch):
    def fail(_asset, gguf, target):
        raise KeyError("blk.0")

    monkeypatch.setattr(converters, "_convert_gguf", fail)
    with pytest.raises(assets.AssetUnavailable, match="transformers and gguf are installed"):
        bundles.import_bundle(converted)


def test_export_of_a_converted_asset_without_an_index(converting, index, tmp_path):
    assets.fetch("tiny-gguf")
    index.up = False
    with pytest.raises(assets.AssetUnavailable, match=r"'tiny-gguf' cannot be exported.*leave"):
        bundles.export_bundle(tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


@pytest.mark.parametrize("recipe", converters.CONVERTERS)
def test_verify_says_what_it_compared(converting, monkeypatch, recipe):
    monkeypatch.setitem(converters.CONVERTERS, recipe, converters.CONVERTERS["gguf"])
    convert_by(recipe, converting)
    assets.fetch("tiny-gguf")
    assets.fetch("tiny-data")
    assert assets.verify("tiny-data") == "every sha256 is right (2 files, as pinned by reptune)"
    recorded = "unchanged since its conversion (2 files, as recorded then)"
    assert assets.verify("tiny-gguf") == recorded
    text = converting.read_text()
    pin = sha256(b"GGUF weights"[::-1])
    for known, expected in [
        (pin, f"{recorded}; model.safetensors has the pinned sha256"),
        ("0" * 64, f"{recorded}, but model.safetensors is not what reptune's own conversions gave"),
    ]:
        table = f'[tiny-gguf.converted]\n"model.safetensors" = "{known}"\n'
        converting.write_text(f"{text}\n{table}")
        assert assets.verify("tiny-gguf").startswith(expected)
