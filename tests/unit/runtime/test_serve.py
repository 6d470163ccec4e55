"""Stopping: in time, whatever hangs."""

import asyncio
import contextlib
import os
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

from deploy.runtime import exit as process_exit
from deploy.runtime.serve import Close, is_done_before, serve, stop_event

if TYPE_CHECKING:
    from deploy.runtime.runs import RunsApp


class DiedError(Exception):
    """The process would have ended."""


@pytest.fixture(autouse=True)
def _die(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(reason: str, *_: Any, **__: Any) -> NoReturn:
        raise DiedError(reason)

    monkeypatch.setattr(process_exit, "die", die)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def at_once() -> None: ...


def make_app() -> "RunsApp":
    config = SimpleNamespace(session_timeout_seconds=60)
    app = SimpleNamespace(runs_config=config, finalize=lambda: None, start=for_ever, stop=at_once)
    return cast("RunsApp", app)


async def deaf() -> None:
    """Swallow the cancellation, as libraries do."""
    with contextlib.suppress(asyncio.CancelledError):
        await for_ever()


@pytest.mark.parametrize("close", [for_ever, deaf])
async def test_a_close_that_hangs_ends_the_process_within_the_grace(close: Close) -> None:
    """As a producer's flush does while Kafka is away."""
    stopping = asyncio.Event()
    stopping.set()
    with pytest.raises(DiedError, match="not drained in time"):
        async with asyncio.timeout(5):
            await serve(make_app(), grace_seconds=0.05, stopping=stopping, close=close)


async def test_a_close_follows_the_drain() -> None:
    """What is in hand is done before what it needs is closed."""
    calls: list[str] = []

    def note(name: str) -> Any:
        async def noted() -> None:
            calls.append(name)

        return noted

    stopping, app = asyncio.Event(), cast("Any", make_app())
    stopping.set()
    app.stop = note("drain")
    await serve(app, grace_seconds=5, stopping=stopping, close=note("close"))
    assert calls == ["drain", "close"]


async def test_a_signal_is_heard_while_a_process_begins() -> None:
    """SIGTERM cancels what the start waits for."""
    with stop_event() as stop:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            assert not await is_done_before(stop, for_ever())


async def test_what_begins_in_time_is_done() -> None:
    """Without a signal the start goes its way, and what it raises comes out."""

    async def fail() -> None:
        raise LookupError

    stop = asyncio.Event()
    assert await is_done_before(stop, at_once())
    with pytest.raises(LookupError):
        await is_done_before(stop, fail())
