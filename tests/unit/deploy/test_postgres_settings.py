"""What the embedded Postgres is given of the machine."""

import pytest

from deploy.local.postgres_server import shared_buffers_bytes

GIB = 1 << 30


@pytest.mark.parametrize(("memory", "buffers"), [(2 * GIB, GIB // 2), (64 * GIB, 4 * GIB)])
def test_shared_buffers_are_a_quarter_of_memory_within_bounds(memory: int, buffers: int) -> None:
    """As its manual advises; beyond the bound a local ledger has no use for it."""
    assert shared_buffers_bytes(memory) == buffers
