import threading
import time
from collections.abc import Callable

import pytest

from burnstream_client.buffer import Buffer, BufferFullError, ClosedError
from burnstream_client.events import Tracked
from tests.waiting import wait_until

LONG = 60.0


def event(number: int, size: int = 10) -> Tracked:
    return Tracked(str(number), b"x" * size)


def filled(events: int, *, events_max: int = 100, bytes_max: int = 10_000) -> Buffer:
    buffer = Buffer(events_max, bytes_max)
    for number in range(events):
        buffer.put(event(number), 0.0)
    return buffer


def ids(events: list[Tracked]) -> list[str]:
    return [one.event_id for one in events]


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_full_batch_does_not_wait() -> None:
    """So many events, or so many bytes, are taken at once, in order."""
    by_events, by_bytes = filled(5), filled(5)

    assert ids(by_events.take(3, 10_000, LONG)) == ["0", "1", "2"]
    assert ids(by_bytes.take(100, 25, LONG)) == ["0", "1"]


def test_an_event_larger_than_a_batch_goes_alone() -> None:
    """It is sent all the same: the gateway decides."""
    buffer = Buffer(10, 1_000)
    buffer.put(event(0, size=500), 0.0)
    buffer.put(event(1), 0.0)

    assert ids(buffer.take(100, 50, LONG)) == ["0"]


def test_the_first_event_waits_for_others_so_long_only() -> None:
    """What is no full batch is taken after its time."""
    buffer = filled(2)
    began = time.monotonic()

    assert ids(buffer.take(100, 10_000, 0.05)) == ["0", "1"]
    assert time.monotonic() - began >= 0.04


def test_a_flush_hurries_what_is_there() -> None:
    """It does not wait for a full batch, and returns when all of it is settled."""
    buffer = filled(2)
    flushed: list[bool] = []
    flushing = in_background(lambda: flushed.append(buffer.flush(LONG)))

    batch = buffer.take(100, 10_000, LONG)
    assert flushing.is_alive()
    assert buffer.release(len(batch))
    buffer.settle(len(batch))
    flushing.join(LONG)

    assert flushed == [True]
    assert len(buffer) == 0


def test_a_flush_ends_in_time() -> None:
    """It says so when what was there is not settled."""
    assert filled(1).flush(0.0) is False


def test_what_is_on_its_way_takes_room() -> None:
    """Room is made by the gateway's answer, not by sending."""
    buffer = filled(2, events_max=2)
    buffer.take(2, 10_000, LONG)

    with pytest.raises(BufferFullError, match="2 events"):
        buffer.put(event(2), 0.0)
    buffer.release(2)
    buffer.settle(2)
    buffer.put(event(2), 0.0)


@pytest.mark.parametrize("limits", [{"events_max": 1}, {"bytes_max": 10}])
def test_a_full_buffer_blocks_until_there_is_room(limits: dict[str, int]) -> None:
    """Whoever may wait gets in when something was settled."""
    buffer = filled(1, **limits)
    waiting = in_background(lambda: buffer.put(event(1), LONG))
    batch = buffer.take(1, 10_000, LONG)
    assert waiting.is_alive()
    buffer.release(1)
    buffer.settle(1)
    waiting.join(LONG)

    assert ids(batch) == ["0"]
    assert ids(buffer.take(1, 10_000, LONG)) == ["1"]


def test_an_event_larger_than_the_buffer_fits_alone() -> None:
    """A limit on bytes never locks an event out for ever."""
    buffer = Buffer(10, 5)
    buffer.put(event(0), 0.0)

    with pytest.raises(BufferFullError):
        buffer.put(event(1), 0.0)


def test_a_closed_buffer_takes_nothing_and_gives_the_rest() -> None:
    """Whoever waits for room is told; what is there is still taken, then nothing."""
    buffer = filled(1, events_max=1)
    told: list[type[Exception]] = []

    def wait_for_room() -> None:
        try:
            buffer.put(event(1), LONG)
        except ClosedError as error:
            told.append(type(error))

    waiting = in_background(wait_for_room)
    buffer.close()
    waiting.join(LONG)

    assert told == [ClosedError]
    assert ids(buffer.take(10, 10_000, LONG)) == ["0"]
    assert buffer.take(10, 10_000, LONG) == []


def test_an_abandoned_event_is_in_one_hand() -> None:
    """What was not settled is returned, and whoever had taken it is told that it is not his."""
    buffer = filled(3)
    buffer.take(1, 10_000, LONG)
    pausing: list[bool] = []
    pause = in_background(lambda: pausing.append(buffer.pause(LONG)))
    wait_until(pause.is_alive, 5, "somebody waits between two attempts")

    assert ids(list(buffer.abandon())) == ["0", "1", "2"]
    pause.join(LONG)
    assert pausing == [False]
    assert buffer.release(1) is False
    assert len(buffer) == 0
