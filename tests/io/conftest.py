import pytest

from tests.io.samples import ct_like


@pytest.fixture
def volume():
    return ct_like()
