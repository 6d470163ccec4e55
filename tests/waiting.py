"""Waiting for a condition with a deadline: tests never sleep for a time they hope is enough."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_INTERVAL_SECONDS = 0.05

Result = TypeVar("Result")


def wait_until(condition: Callable[[], Result], timeout_seconds: float, what: str) -> Result:
    """Call the condition until its result is true, and return that result.

    Raises:
        TimeoutError: it did not become true in time; the text says what was waited for, and the
            last result.
    """
    deadline = time.monotonic() + timeout_seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_seconds} s, last seen {result!r}")
        time.sleep(POLL_INTERVAL_SECONDS)
    return result


async def wait_until_async(
    condition: Callable[[], Awaitable[Result]], timeout_seconds: float, what: str
) -> Result:
    """Await the condition until its result is true, and return that result.

    Raises:
        TimeoutError: as `wait_until`.
    """
    deadline = time.monotonic() + timeout_seconds
    while not (result := await condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_seconds} s, last seen {result!r}")
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
    return result
