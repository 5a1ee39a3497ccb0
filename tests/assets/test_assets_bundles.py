"""Bundles: the road for machines with no index at all."""

import errno
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from asset_fakes import DATA_FILES

from reptune import assets, bundles

MANIFEST = "reptune-bundle.json"


@pytest.fixture
def bundle(copied, tmp_path) -> Path:
    """A bundle of tiny-data and tiny-tree; the cache that it came from is emptied."""
    assets.fetch("tiny-data")
    assets.fetch("tiny-tree")
    path = assets.export_bundle(tmp_path / "bundle.zip")
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
    assert assets.import_bundle(bundle) == ["tiny-data", "tiny-tree"]
    for name in ("tiny-data", "tiny-tree"):
        assets.verify(name)
    assert assets.import_bundle(bundle) == ["tiny-data", "tiny-tree"]  # and once more


def test_only_the_named_assets(copied, tmp_path):
    assets.fetch("tiny-data")
    assets.fetch("tiny-tree")
    path = assets.export_bundle(tmp_path / "b.zip", ["tiny-tree"])
    with zipfile.ZipFile(path) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert tops == {MANIFEST, "tiny-tree"}


def test_import_replaces_a_corrupt_asset(bundle):
    assets.import_bundle(bundle)
    (assets.get("tiny-data") / "train.txt").write_bytes(b"other")
    assets.import_bundle(bundle)
    assets.verify("tiny-data")


@pytest.mark.parametrize("escape", ["../x", "tiny-data/../../x", "/x", "tiny-data\\..\\x", "C:/x"])
def test_member_that_leaves_the_folder(bundle, cache, escape):
    rewrite(bundle, {escape: b"evil"})
    with pytest.raises(assets.AssetCorrupt, match="would leave the folder"):
        assets.import_bundle(bundle)
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
        ({MANIFEST: b'{"format": 9, "assets": {}}'}, "format is 9, not 1"),
        ({MANIFEST: b'{"format": 1, "assets": {"tiny-data": "0"}}'}, "another version of 'tiny-d"),
    ],
)
def test_a_bundle_that_is_not_right(bundle, cache, change, message):
    rewrite(bundle, change)
    with pytest.raises(assets.AssetCorrupt, match=f"The bundle cannot be used: .*{message}"):
        assets.import_bundle(bundle)
    assert_nothing_imported(cache)


def test_a_list_of_files_of_its_own(bundle, cache):
    """A bundle cannot bring other files by bringing another SHA256SUMS."""
    rewrite(
        bundle, {"tiny-tree/SHA256SUMS": b"0" * 64 + b"  evil.txt\n", "tiny-tree/evil.txt": b""}
    )
    with pytest.raises(assets.AssetCorrupt, match="SHA256SUMS has not the pinned sha256"):
        assets.import_bundle(bundle)
    assert assets.state("tiny-tree") == "missing"


def test_unknown_asset(bundle, cache):
    manifest = {"format": 1, "assets": {"tiny-dato": "0"}}
    rewrite(bundle, {MANIFEST: json.dumps(manifest).encode()})
    with pytest.raises(ValueError, match=r"Unknown asset 'tiny-dato'\. Did you mean 'tiny-data'"):
        assets.import_bundle(bundle)
    assert_nothing_imported(cache)


def test_a_compressed_bundle_is_refused(bundle, cache):
    rewrite(bundle, {}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(assets.AssetCorrupt, match="is compressed"):
        assets.import_bundle(bundle)
    assert_nothing_imported(cache)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_truncated_bundle(bundle, cache, part):
    data = bundle.read_bytes()
    bundle.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(assets.AssetCorrupt, match=r"bundle\.zip is a broken zip.*Copy it again"):
        assets.import_bundle(bundle)
    assert_nothing_imported(cache)


def test_a_flipped_byte(bundle, cache):
    data = bytearray(bundle.read_bytes())
    data[data.index(DATA_FILES["train.txt"])] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(assets.AssetCorrupt, match=r"broken zip .Bad CRC-32"):
        assets.import_bundle(bundle)
    assert assets.state("tiny-data") == "missing"


def test_disk_full_while_importing(bundle, cache, monkeypatch):
    def fills_up(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(assets, "_copy", fills_up)
        with pytest.raises(assets.AssetUnavailable, match="REPTUNE_CACHE"):
            assets.import_bundle(bundle)
    assert_nothing_imported(cache)
    assert assets.import_bundle(bundle) == ["tiny-data", "tiny-tree"]


def test_no_such_bundle(registry, tmp_path):
    with pytest.raises(ValueError, match="There is no bundle"):
        assets.import_bundle(tmp_path / "none.zip")


def test_export_of_what_is_not_there(copied, tmp_path):
    with pytest.raises(assets.AssetUnavailable, match="No asset is cached"):
        assets.export_bundle(tmp_path / "b.zip")
    with pytest.raises(assets.AssetUnavailable, match="'tiny-data' is not cached"):
        assets.export_bundle(tmp_path / "b.zip", ["tiny-data"])
    with pytest.raises(ValueError, match="There is no folder"):
        assets.export_bundle(tmp_path / "none" / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_export_of_a_corrupt_asset(copied, tmp_path):
    (assets.fetch("tiny-data") / "train.txt").write_bytes(b"other")
    with pytest.raises(assets.AssetCorrupt, match=r"train\.txt"):
        assets.export_bundle(tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_an_export_that_fails_leaves_the_old_bundle(copied, tmp_path, monkeypatch):
    assets.fetch("tiny-data")
    path = assets.export_bundle(tmp_path / "b.zip")
    before = path.read_bytes()

    def fail(path, assets):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(bundles, "_write_bundle", fail)
    with pytest.raises(OSError, match="No space left"):
        assets.export_bundle(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.glob("*b.zip*")] == ["b.zip"]
    assert not list(tmp_path.glob(".b.zip*"))


def test_a_converted_asset_may_bring_no_pickle(gguf, cache, tmp_path, monkeypatch):
    """Its hashes are its own, so what it may hold is limited by kind of file."""

    def convert(gguf, target):
        (target / "config.json").write_bytes(b"{}")
        (target / "pytorch_model.bin").write_bytes(b"a pickle")

    monkeypatch.setattr(assets, "_convert_gguf", convert)
    with pytest.raises(assets.AssetCorrupt, match=r"SHA256SUMS lists 'pytorch_model\.bin'"):
        assets.fetch("tiny-gguf")
    with monkeypatch.context() as patch:
        patch.setattr(assets, "_is_allowed", lambda asset, name: True)
        assets.fetch("tiny-gguf")
        bundle = assets.export_bundle(tmp_path / "b.zip")
    shutil.rmtree(cache)
    with pytest.raises(assets.AssetCorrupt, match=r"SHA256SUMS lists 'pytorch_model\.bin'"):
        assets.import_bundle(bundle)
    assert_nothing_imported(cache)
