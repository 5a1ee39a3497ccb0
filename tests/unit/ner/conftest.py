import pytest

from tests import tiny


@pytest.fixture(scope="session")
def tokenizer():
    return tiny.tokenizer()
