"""Positions that direct producers ask by."""

import pytest

from gateway.batches import parse_position


def test_position_is_partition_and_offset() -> None:
    """What a producer learns from its own acknowledgement."""
    found = parse_position("3:42")

    assert found
    assert (found.partition, found.offsets) == (3, (42,))


@pytest.mark.parametrize(
    "text",
    ["", ":", "1", "1:2:3", "-1:2", "1: 2", "1:2\n", "٣:1", "4294967296:1", "1:" + "9" * 5000],
)
def test_anything_else_is_no_position(text: str) -> None:
    """Nonsense is not found, and costs nothing."""
    assert parse_position(text) is None
