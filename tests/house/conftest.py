from tests.unit.conftest import no_network, one_thread, tiny_encoder  # noqa: F401
