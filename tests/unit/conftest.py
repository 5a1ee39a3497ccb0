import pytest

from tests import tiny


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Unit tests never reach out; a connection attempt fails at once and loudly."""
    import socket

    def refuse(*args, **kwargs):
        raise OSError("a unit test tried to open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    return tiny.save_encoder(tmp_path_factory.mktemp("tiny") / "encoder")


@pytest.fixture(scope="session")
def tiny_masked_lm(tmp_path_factory):
    return tiny.save_masked_lm(tmp_path_factory.mktemp("tiny") / "masked")


@pytest.fixture(scope="session")
def tiny_causal_lm(tmp_path_factory):
    return tiny.save_causal_lm(tmp_path_factory.mktemp("tiny") / "causal")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Models this small lose more to handing work between threads than they gain."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
