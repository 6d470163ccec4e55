"""What the stream stage does when `usage.raw` does not reach its position."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client import CollectorRegistry

from streams.errors import LogEndsBelowError, LogStartsAboveError
from streams.metrics import Metrics
from streams.recovery import Recovery
from tests.published_burns import BurnsPublished
from tests.unit.streams.test_recovery import TOPICS, Logs, Table

if TYPE_CHECKING:
    from streams.burns import Burns
    from streams.log_reader import LogReader
    from streams.seen import SeenTable

Make = Callable[[int, int], Recovery]


@pytest.fixture
def recovery_over() -> Make:
    def make(begin: int, end: int) -> Recovery:
        return Recovery(
            cast("SeenTable", Table()),
            cast("Burns", BurnsPublished(1 << 40)),
            cast("LogReader", Logs(raw=(begin, end))),
            TOPICS,
            Metrics(CollectorRegistry()),
        )

    return make


async def test_a_log_that_begins_above_the_position_is_named(recovery_over: Make) -> None:
    """Records that were never rated are gone; one that begins at the position has all."""
    assert await recovery_over(7, 9).check_bounds(0, 7) == 7
    with pytest.raises(LogStartsAboveError):
        await recovery_over(8, 9).check_bounds(0, 7)


async def test_a_log_that_ends_below_the_position_is_named(recovery_over: Make) -> None:
    """It was made again or cut off; one that ends at the position is whole."""
    assert await recovery_over(0, 7).check_bounds(0, 7) == 0
    with pytest.raises(LogEndsBelowError):
        await recovery_over(0, 6).check_bounds(0, 7)
