import pytest

from tests.property.chain.folding import be_quiet


@pytest.fixture(autouse=True, scope="session")
def quiet_recovery() -> None:
    be_quiet()
