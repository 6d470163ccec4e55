"""Small decisions of the sink worker: errors, gathering, logging."""

import asyncio
from typing import Any, cast

import psycopg
import pytest
from psycopg import errors

from sinks import agent
from sinks.inbox import Gathering, Inbox
from sinks.postgres import Remedy, is_about_data, remedy_for
from sinks.report import short_usd
from sinks.settings import SinkSettings
from sinks.transaction import Work
from tests.rated_batches import batch, charged, record


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (errors.SerializationFailure(), Remedy.AGAIN),
        (errors.DeadlockDetected(), Remedy.AGAIN),
        (psycopg.OperationalError("server closed the connection"), Remedy.WAIT),
        (errors.DiskFull(), Remedy.WAIT),
        (errors.TooManyConnections(), Remedy.WAIT),
        (errors.AdminShutdown(), Remedy.WAIT),
        (errors.QueryCanceled(), Remedy.WAIT),
        (errors.LockNotAvailable(), Remedy.WAIT),
        (errors.ReadOnlySqlTransaction(), Remedy.WAIT),
        (errors.UndefinedColumn(), Remedy.STOP),
        (errors.CheckViolation(), Remedy.STOP),
        (psycopg.ProgrammingError("ours"), Remedy.STOP),
    ],
)
def test_what_to_do_about_an_error_of_postgres(error: psycopg.Error, remedy: Remedy) -> None:
    """Again, wait or stop: never skip."""
    assert remedy_for(error) is remedy


def test_only_classes_22_and_23_are_about_data() -> None:
    """Only those may become dead letters."""
    assert is_about_data(errors.NumericValueOutOfRange())
    assert is_about_data(errors.CheckViolation())
    assert not is_about_data(errors.DiskFull())


@pytest.mark.parametrize(
    ("cost", "shown"),
    [("0.015000", "0.015"), ("1.000000", "1"), ("0.000000", "0"), ("10.5", "10.5"), ("10", "10")],
)
def test_dollars_are_logged_without_trailing_zeros(cost: str, shown: str) -> None:
    """As the guide prints them."""
    assert short_usd(cost) == shown


async def test_there_is_leisure_while_postgres_is_busy_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is read meanwhile keeps no answer waiting that comes at once."""
    leisure = asyncio.Event()
    at_leisure = []

    async def note(step: agent.Step, _: Work) -> None:
        at_leisure.extend([step.__name__] if leisure.is_set() else [])

    monkeypatch.setattr(agent, "run_step", note)
    await agent.apply(cast("Work", None), leisure)
    assert at_leisure == ["copy_events", "copy_transactions", "commit"]


async def test_reading_goes_on_where_an_answer_does_not_come() -> None:
    """A transaction that waits for a lock has no claim on what is read ahead."""
    reader = agent.SinkAgent(SinkSettings())
    reader._leisure.clear()
    async with asyncio.timeout(5):
        await reader._rest()
    assert not reader._leisure.is_set()


class Run:
    """Stands in for a run of the consumer."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.is_current = True
        self.outcome = ""

    def ack(self) -> None:
        self.outcome = "acknowledged"

    def release(self) -> None:
        self.outcome = "released"


def put(inbox: Inbox, partition: int, events: int) -> Run:
    run = Run(partition)
    inbox.put(cast("Any", run), [record(0, batch(0, events, [charged(n) for n in range(events)]))])
    return run


def runs_of(gathering: Gathering) -> list[Any]:
    return [arrival.run for arrival in gathering.arrivals]


async def test_a_backlog_is_gathered_up_to_the_bound_by_events() -> None:
    """What waits already is not waited for; the run that passes the bound closes the gathering."""
    inbox = Inbox(events_max=5, wait_seconds=60)
    runs = [put(inbox, 0, 3) for _ in range(4)]
    async with asyncio.timeout(1):
        gathering = await inbox.gather()
    assert runs_of(gathering) == runs[:2]


async def test_few_events_wait_for_more_only_so_long() -> None:
    """The time since the first of them closes the gathering."""
    inbox = Inbox(events_max=5, wait_seconds=0.01)
    run = put(inbox, 0, 1)
    async with asyncio.timeout(1):
        assert runs_of(await inbox.gather()) == [run]


async def test_only_what_was_applied_is_acknowledged() -> None:
    """A partition that was left out stays, held back for a while; the others go."""
    inbox = Inbox(events_max=2, wait_seconds=0)
    held, done = put(inbox, 0, 1), put(inbox, 1, 1)
    gathering = await inbox.gather()
    inbox.hold(0, 0.01)
    inbox.done(gathering, frozenset({1}))
    assert (held.outcome, done.outcome) == ("", "acknowledged")

    later = put(inbox, 1, 2)
    assert runs_of(await inbox.gather()) == [later]
    inbox.done(await inbox.gather(), frozenset({1}))
    async with asyncio.timeout(1):
        assert runs_of(await inbox.gather()) == [held]


async def test_records_are_grouped_by_partition_in_their_order() -> None:
    """Partitions ascending; within one, as they came."""
    inbox = Inbox(events_max=3, wait_seconds=0)
    for partition in (1, 0, 1):
        put(inbox, partition, 1)
    records = (await inbox.gather()).records()
    assert {partition: len(found) for partition, found in records.items()} == {0: 1, 1: 2}
    assert list(records) == [0, 1]


def put_unread(inbox: Inbox, partition: int) -> Run:
    run = Run(partition)
    inbox.put_unread(cast("Any", run))
    return run


async def test_no_more_is_read_than_is_soon_written() -> None:
    """Two gatherings' worth lies ready: what came waits as it is until one is done."""
    inbox = Inbox(events_max=2, wait_seconds=0)
    first, second, unread = put(inbox, 0, 2), put(inbox, 0, 2), put_unread(inbox, 0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await inbox.next_unread()

    gathering = await inbox.gather()
    assert runs_of(gathering) == [first]
    inbox.done(gathering, frozenset({0}))
    async with asyncio.timeout(1):
        run, _ = await inbox.next_unread()
    assert cast("Any", run) is unread
    assert second.outcome == ""


async def test_a_partition_that_is_held_back_does_not_keep_others_from_being_read() -> None:
    """However much of it lies ready."""
    inbox = Inbox(events_max=1, wait_seconds=0)
    put(inbox, 0, 9)
    inbox.hold(0, 60)
    unread = put_unread(inbox, 1)
    async with asyncio.timeout(1):
        run, _ = await inbox.next_unread()
    assert cast("Any", run) is unread


async def test_void_runs_are_put_away_unread() -> None:
    """A rebalance does not wait for what nobody will read."""
    inbox = Inbox(events_max=1, wait_seconds=0)
    void, kept = put_unread(inbox, 0), put_unread(inbox, 1)
    void.is_current = False
    inbox.drop_void()
    assert (void.outcome, kept.outcome) == ("released", "")
    inbox.release_all()
    assert kept.outcome == "released"


async def test_void_runs_are_put_away() -> None:
    """A rebalance made them void: they are neither applied nor waited for."""
    inbox = Inbox(events_max=1, wait_seconds=0)
    void = put(inbox, 0, 1)
    void.is_current = False
    kept = put(inbox, 1, 1)
    assert runs_of(await inbox.gather()) == [kept]
    assert void.outcome == "released"
