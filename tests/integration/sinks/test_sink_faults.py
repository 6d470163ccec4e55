"""The sink among other sinks, and with a Postgres that goes away at the worst moment."""

import asyncio
import functools
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable

import psycopg
import pytest

from deploy.local.servers import LocalServers
from sinks import agent as sink_agent
from sinks.agent import STEPS, SinkAgent, Step
from sinks.batch import RatedRecord
from sinks.postgres import connect, unblocking
from sinks.settings import SinkSettings
from sinks.transaction import Work, begin, commit, lock_offsets
from tests.integration.sinks.fake_runs import FakeRun, Fed
from tests.integration.sinks.ledger import TOPIC, Ledger
from tests.rated_batches import batch, charged, event_id, record
from tests.system import REPOSITORY
from tests.waiting import wait_until_async

BLOCKED_SECONDS = 0.3


def settings(ledger: Ledger) -> SinkSettings:
    return SinkSettings(database_url=ledger.url, sink_batch_milliseconds=1)


async def events(ledger: Ledger) -> int:
    return int(await ledger.value('SELECT count(*) FROM "UsageEvent"'))


async def test_a_partition_that_another_sink_holds_is_left_out(ledger: Ledger) -> None:
    """The other partition of the gathering is applied; the held one comes when it is free."""
    held = record(0, batch(0, 1, [charged(0)]))
    free = record(0, batch(0, 1, [charged(0)], partition=1))
    async with await connect(ledger.url) as other:
        holding = Work(other, TOPIC, {0: [held]})
        await begin(holding)
        await lock_offsets(holding)
        work = await ledger.apply(held, free)
        assert work.left_out == [0]
        assert await ledger.value('SELECT source_partition FROM "UsageEvent"') == 1
    await ledger.apply(held, free)
    assert await events(ledger) == 2


async def test_two_sinks_with_the_same_events_in_opposite_order_charge_each_once(
    ledger: Ledger,
) -> None:
    """Deadlocks on the unique index are tried again until both are through."""
    numbers = list(range(60))
    async with Fed(SinkAgent(settings(ledger))) as one, Fed(SinkAgent(settings(ledger))) as two:
        for turn in range(5):
            ids = [event_id(1_000 * turn + n) for n in numbers]
            first, following = turn * len(ids), (turn + 1) * len(ids)
            runs = [
                FakeRun(
                    turn,
                    batch(
                        first,
                        following,
                        [charged(first + n, event_id=one) for n, one in enumerate(order)],
                        partition=partition,
                    ),
                )
                for partition, order in enumerate((ids, ids[::-1]))
            ]
            await asyncio.gather(one.apply(runs[0]), two.apply(runs[1]))

    assert await events(ledger) == 300
    assert await ledger.value('SELECT count(*) FROM "DuplicateEvent"') == 300
    assert await ledger.value('SELECT balance FROM "CreditWallet"') == 1_000_000 - 300 * 15


@pytest.mark.parametrize("is_committed", [False, True])
async def test_a_connection_lost_at_commit_is_not_guessed_about(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    """Lost before or after Postgres committed: the row says which, each event is charged once."""
    lost: list[Step] = []

    async def lose_once(step: Step, work: Work) -> None:
        if step is commit and not lost:
            lost.append(step)
            if is_committed:
                await step(work)
            await ledger.rows("SELECT pg_terminate_backend(%s)", work.connection.info.backend_pid)
        await step(work)

    monkeypatch.setattr(sink_agent, "run_step", lose_once)
    async with Fed(SinkAgent(settings(ledger))) as fed:
        await fed.apply(FakeRun(0, batch(0, 2, [charged(0), charged(1)])))

    assert lost
    assert await events(ledger) == 2
    assert await ledger.value('SELECT last_seq FROM "CreditWallet"') == 2


async def test_a_frozen_sink_that_holds_a_partition_is_ended(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session is terminated once it has been in the way too long; ours goes on."""
    monkeypatch.setattr(sink_agent, "BLOCKED_SECONDS", BLOCKED_SECONDS)
    one = batch(0, 1, [charged(0)])
    async with await connect(ledger.url) as frozen:
        await frozen.execute(b"BEGIN")
        await lock_offsets(Work(frozen, TOPIC, {0: [record(0, one)]}))
        async with Fed(SinkAgent(settings(ledger))) as fed:
            await fed.apply(FakeRun(0, one))
        with pytest.raises(psycopg.OperationalError):
            await frozen.execute(b"SELECT 1")

    assert await events(ledger) == 1


async def test_a_wait_that_was_broken_off_ends_nobody(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits after a seek or a rebalance waits anew: a sink that is healthy is not ended."""
    attempts: list[Step] = []

    async def count(step: Step, work: Work) -> None:
        attempts.extend([step] if step is begin else [])
        await step(work)

    async def are_made(number: int) -> bool:
        return len(attempts) >= number

    monkeypatch.setattr(sink_agent, "run_step", count)
    one = batch(0, 1, [charged(0)])
    agent = SinkAgent(settings(ledger))
    async with await connect(ledger.url) as other, Fed(agent) as fed:
        await other.execute(b"BEGIN")
        await lock_offsets(Work(other, TOPIC, {0: [record(0, one)]}))
        run = fed.feed(FakeRun(0, one))
        await wait_until_async(lambda: are_made(2), 5, "the partition is left out")
        agent._left_out_since[0] -= 3_600  # an hour passes
        run.is_current = False
        agent.resumed(0, 0, 0)
        again = fed.feed(FakeRun(0, one))
        enough = len(attempts) + 3
        await wait_until_async(lambda: are_made(enough), 5, "it is left out again")
        await other.execute(b"COMMIT")
        async with asyncio.timeout(10):
            await again.acknowledged.wait()
    assert await events(ledger) == 1


async def test_a_frozen_sink_that_holds_a_wallet_is_ended(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other partitions share wallets: whoever waits for one ends the session that holds it."""
    quick = functools.partial(unblocking, blocked_seconds=BLOCKED_SECONDS)
    monkeypatch.setattr(sink_agent, "unblocking", quick)
    frozen = await connect(ledger.url)
    await frozen.execute(b"BEGIN")
    await frozen.execute(b'SELECT 1 FROM "CreditWallet" FOR UPDATE')
    async with Fed(SinkAgent(settings(ledger))) as fed:
        await fed.apply(FakeRun(0, batch(0, 1, [charged(0)])))
    await frozen.close()
    assert await events(ledger) == 1


async def test_a_top_up_that_holds_a_wallet_is_waited_for(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only sinks are ended: another client's lock is waited for."""
    quick = functools.partial(unblocking, blocked_seconds=BLOCKED_SECONDS)
    monkeypatch.setattr(sink_agent, "unblocking", quick)
    async with await psycopg.AsyncConnection.connect(ledger.url) as other:
        await other.execute(b'SELECT 1 FROM "CreditWallet" FOR UPDATE')
        async with Fed(SinkAgent(settings(ledger))) as fed:
            run = fed.feed(FakeRun(0, batch(0, 1, [charged(0)])))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5 * BLOCKED_SECONDS):
                    await run.acknowledged.wait()
            await other.rollback()
            async with asyncio.timeout(20):
                await run.acknowledged.wait()
    assert await events(ledger) == 1


async def test_postgres_away_is_waited_for(ledger: Ledger, local_servers: LocalServers) -> None:
    """Killed with work at hand and started again: the work is done, nothing was skipped."""
    assert local_servers.postgres is not None
    async with Fed(SinkAgent(settings(ledger))) as fed:
        await fed.apply(FakeRun(0, batch(0, 1, [charged(0)])))
        local_servers.postgres.kill()
        run = fed.feed(FakeRun(1, batch(1, 2, [charged(1)])))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await run.acknowledged.wait()
        local_servers.postgres.start()
        async with asyncio.timeout(30):
            await run.acknowledged.wait()

    with psycopg.connect(ledger.url) as connection:
        assert connection.execute('SELECT count(*) FROM "UsageEvent"').fetchone() == (2,)


async def test_a_run_that_begins_late_is_looked_for_once(ledger: Ledger) -> None:
    """The consumer is asked to look at the expected offset; when it insists, so it is."""
    agent = SinkAgent(settings(ledger))
    agent.resumed(0, 0, 0)
    async with Fed(agent) as fed:
        late = fed.feed(FakeRun(3, batch(0, 1, [charged(0)])))
        await wait_until_async(_is_released(late), 5, "it is put away")
        assert fed.consumer.resumed == [0]
        await fed.apply(FakeRun(3, batch(0, 1, [charged(0)])))
    assert await ledger.value('SELECT rated_offset FROM "SinkOffset" WHERE partition = 0') == 4


async def test_a_restored_ledger_makes_the_agent_read_again(ledger: Ledger) -> None:
    """The position stands before what was seen: the consumer is asked where to go on."""
    agent = SinkAgent(settings(ledger))
    async with Fed(agent) as fed:
        await fed.apply(FakeRun(0, batch(0, 1, [charged(0)])))
        await ledger.rows('UPDATE "SinkOffset" SET next_offset = 0, rated_offset = 0')
        run = fed.feed(FakeRun(1, batch(1, 2, [charged(1)])))
        await wait_until_async(_is_resumed(fed), 5, "it asks again")
        run.is_current = False  # what the consumer does with what it handed over
        assert fed.consumer.resumed[0] == 0
    assert await events(ledger) == 1


async def test_a_void_run_is_put_away(ledger: Ledger) -> None:
    """A rebalance does not wait for runs that wait here."""
    async with Fed(SinkAgent(settings(ledger))) as fed:
        void = FakeRun(0, batch(0, 1, [charged(0)]))
        void.is_current = False
        fed.feed(void)
        await wait_until_async(_is_released(void), 5, "it is put away")
    assert await events(ledger) == 0


def _is_released(run: FakeRun) -> Callable[[], Awaitable[bool]]:
    async def is_released() -> bool:
        return run.released

    return is_released


def _is_resumed(fed: Fed) -> Callable[[], Awaitable[bool]]:
    async def is_resumed() -> bool:
        return bool(fed.consumer.resumed)

    return is_resumed


CRASHING_TRANSACTION = """
import asyncio, os, signal, sys
from sinks.agent import STEPS
from sinks.postgres import connect
from sinks.transaction import Work
from tests.rated_batches import batch, charged, event_id, record

async def main():
    step_to_die_after, url = sys.argv[1:]
    one = record(0, batch(0, 2, [charged(n, event_id=event_id(n)) for n in range(2)]))
    work = Work(await connect(url), "usage.raw", {0: [one]})
    for step in STEPS:
        await step(work)
        if step.__name__ == step_to_die_after:
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("step", [step.__name__ for step in STEPS])
async def test_a_process_killed_after_any_step_leaves_all_or_nothing(
    ledger: Ledger, step: str
) -> None:
    """Before COMMIT nothing is there, after it everything; the next attempt completes it once."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", CRASHING_TRANSACTION, step, ledger.url],
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    names = [one.__name__ for one in STEPS]
    is_committed = names.index(step) >= names.index("commit")
    assert await events(ledger) == (2 if is_committed else 0)

    one = record(0, batch(0, 2, [charged(n, event_id=event_id(n)) for n in range(2)]))
    await wait_until_async(lambda: _applies(ledger, one), 10, "the dead session lets go")
    assert await events(ledger) == 2
    assert await ledger.value('SELECT balance FROM "CreditWallet"') == 1_000_000 - 30
    assert await ledger.value('SELECT count(*) FROM "DuplicateEvent"') == 0


async def _applies(ledger: Ledger, one: RatedRecord) -> bool:
    return not (await ledger.apply(one)).left_out
