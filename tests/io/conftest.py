import pytest

from tests.support.volumes import ct_like


@pytest.fixture
def volume():
    return ct_like()
