"""A local model behind somebody else's interface."""

import os
import socket

import huggingface_hub
import pytest

from reptune.book.stand_in import stand_in
from reptune.models.causal import load_causal_lm
from reptune.models.hosted import HostedModel, HostedModelError

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Instead of the one for all tests: this machine itself may be reached, nothing else."""
    connect = socket.socket.connect

    def only_here(self, address):
        if address[0] != "127.0.0.1":
            raise OSError(f"a unit test tried to open a connection to {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "is_offline_mode", lambda: False)
    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()


@pytest.fixture
def lm(tiny_causal_lm):
    lm = load_causal_lm(tiny_causal_lm, "cpu")
    lm.tokenizer.chat_template = "<user>{{ messages[0].content }}<answer>"
    return lm


def hosted(server, **changes):
    return HostedModel("somebody's", base_url=server.url, max_retries=0, **changes)


def test_it_answers_as_the_local_model_does_and_keeps_what_it_was_asked(lm):
    with stand_in(lm) as server:
        answer = hosted(server).generate("the film is good", max_new_tokens=8, stop=())
        drawn = hosted(server).generate("a film", temperature=1.5, random_state=3, stop=["a"])
    assert answer == lm.generate(lm.chat("the film is good"), max_new_tokens=8, stop=())
    assert answer != lm.generate("the film is good", max_new_tokens=8, stop=())
    assert drawn == lm.generate(lm.chat("a film"), temperature=1.5, random_state=3, stop=["a"])
    assert server.asked[0] == {
        "model": "somebody's",
        "messages": [{"role": "user", "content": "the film is good"}],
        "max_tokens": 8,
        "temperature": 0.0,
        "seed": 0,
        "stream": False,
    }
    assert [asked["seed"] for asked in server.asked] == [0, 3]


def test_its_port_closes_with_the_block_whatever_happens_there(lm):
    with pytest.raises(KeyError), stand_in(lm) as server:
        address = server.server_address
        socket.create_connection(address, timeout=5).close()
        raise KeyError
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


def test_what_the_model_refuses_is_the_servers_refusal(lm):
    with stand_in(lm) as server:
        with pytest.raises(HostedModelError, match=r"400.*tokens.*the model takes at most 128"):
            hosted(server).generate("good " * 200)
        assert hosted(server).generate("good", max_new_tokens=1, stop=())  # and it goes on


def test_no_proxy_comes_between_and_the_environment_is_as_before(lm, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    with stand_in(lm) as server:
        assert os.environ["no_proxy"] == "example.org,127.0.0.1"
        assert isinstance(hosted(server).generate("good", max_new_tokens=1), str)
    assert os.environ["no_proxy"] == "example.org" and "NO_PROXY" not in os.environ
