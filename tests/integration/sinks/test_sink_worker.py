"""`python -m sinks` on real Kafka and Postgres: rated batches in, a ledger out."""

import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from deploy.runtime.exit import ExitCode
from schemas.dead_letter import FORMAT_HEADER
from schemas.rated import RatedBatch, encode_batch
from schemas.topics import Topics
from tests.integration.sinks.ledger import Ledger
from tests.rated_batches import CUSTOMER, batch, charged
from tests.system import System, Worker
from tests.waiting import wait_until_async

WAIT_SECONDS = 60.0


@pytest.fixture
async def producer(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    client = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all")
    await client.start()
    yield client
    await client.stop()


@pytest.fixture
def system(
    tmp_path: Path, kafka_bootstrap: str, database_url: str, topic_prefix: str
) -> Iterator[System]:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap,
        "DATABASE_URL": database_url,
        "TOPIC_PREFIX": topic_prefix,
    }
    with System(tmp_path, environment) as found:
        found.prepare(partitions=2)
        yield found


@pytest.fixture
async def customer(empty_ledger: Ledger) -> Ledger:
    await empty_ledger.add_customer(CUSTOMER)
    return empty_ledger


async def write(producer: AIOKafkaProducer, topics: Topics, batches: Sequence[RatedBatch]) -> None:
    """Append batches to the rated topic, each to its own partition number."""
    for one in batches:
        await producer.send_and_wait(
            topics.rated, encode_batch(one), partition=one.partition, headers=[FORMAT_HEADER]
        )


async def charged_events(ledger: Ledger) -> int:
    return int(await ledger.value('SELECT count(*) FROM "UsageEvent"'))


async def test_two_workers_apply_every_batch_once(
    system: System, customer: Ledger, producer: AIOKafkaProducer, topic_prefix: str
) -> None:
    """Batches of two partitions, some read again, across a kill -9 of one worker."""
    topics = Topics(topic_prefix)
    batches = [
        batch(10 * n, 10 * n + 10, [charged(10 * n + i) for i in range(10)], partition=partition)
        for n in range(20)
        for partition in (0, 1)
    ]
    await write(producer, topics, batches[:20])
    system.start(gateways=0, streams=0, sinks=2)
    await wait_until_async(
        lambda: _reached(customer, 200), WAIT_SECONDS, "the first half is charged"
    )
    system.sinks[0].kill()
    await write(producer, topics, [*batches[10:20], *batches[20:]])
    system.sinks[0].start()
    await wait_until_async(
        lambda: _reached(customer, 400), WAIT_SECONDS, "the second half is charged"
    )

    assert await customer.value('SELECT balance FROM "CreditWallet"') == -400 * 15
    assert await customer.value('SELECT count(*) FROM "CreditTransaction"') == 400
    chain = await customer.rows(
        "SELECT balance_before, lag(balance_after) OVER (ORDER BY created_at) AS before"
        ' FROM "CreditTransaction" ORDER BY wallet_seq'
    )
    assert all(one["before"] in (None, one["balance_before"]) for one in chain)
    system.require_all_running()


async def _reached(ledger: Ledger, events: int) -> bool:
    return await charged_events(ledger) >= events


async def test_a_worker_killed_between_commit_and_acknowledgement_charges_nothing_twice(
    system: System, customer: Ledger, producer: AIOKafkaProducer, topic_prefix: str
) -> None:
    """COMMIT, then SIGKILL before Kafka hears of it: the next worker goes on behind the batch."""
    topics = Topics(topic_prefix)
    await write(producer, topics, [batch(0, 3, [charged(0), charged(1), charged(2)])])
    crashing = Worker("sinks", 0, system.folder, system.environment)
    crashing.arm("sinks:commit:after:1:kill")
    crashing.start()
    await wait_until_async(lambda: _ended(crashing), WAIT_SECONDS, "it kills itself")
    assert crashing.exit_code == -signal.SIGKILL, crashing.last_words()
    assert await charged_events(customer) == 3

    await write(producer, topics, [batch(3, 4, [charged(3)])])
    system.start(gateways=0, streams=0, sinks=1)
    await wait_until_async(lambda: _reached(customer, 4), WAIT_SECONDS, "the next one is charged")
    assert await customer.value('SELECT last_seq FROM "CreditWallet"') == 4


async def test_logs_that_both_end_below_what_was_applied_stop_the_worker(
    system: System, customer: Ledger
) -> None:
    """Nothing is guessed: the process ends, naming the log and the remedy."""
    await customer.rows(
        'UPDATE "SinkOffset" SET next_offset = 5, rated_offset = 5 WHERE partition = 0'
    )
    system.start(gateways=0, streams=0, sinks=1)
    worker = system.sinks[0]
    await wait_until_async(lambda: _ended(worker), WAIT_SECONDS, "the worker ends")

    assert worker.exit_code == ExitCode.REFUSED
    assert "usage.raw[0] ends at offset 0" in worker.log
    assert "repair new-epoch" in worker.log


async def _ended(worker: object) -> bool:
    return getattr(worker, "exit_code", None) is not None


async def test_an_event_is_logged_with_the_guide_s_fields(
    system: System, customer: Ledger, producer: AIOKafkaProducer, topic_prefix: str
) -> None:
    """Credits as text and dollars without trailing zeros."""
    entry = charged(0)
    await write(producer, Topics(topic_prefix), [batch(0, 1, [entry])])
    system.start(gateways=0, streams=0, sinks=1)
    await wait_until_async(lambda: _reached(customer, 1), WAIT_SECONDS, "it is charged")
    await wait_until_async(
        lambda: _logged(system, "Event processed successfully"), WAIT_SECONDS, "it is logged"
    )

    (line,) = [
        one
        for one in system.sinks[0].log_records
        if one.get("event") == "Event processed successfully"
    ]
    assert line["eventId"] == entry["event"]["event_id"]
    assert (line["credits"], line["usd"]) == ("15", "0.015")
    assert line["processingTimeMs"] >= 0


async def _logged(system: System, event: str) -> bool:
    return any(one.get("event") == event for one in system.sinks[0].log_records)


async def test_a_letter_without_price_is_charged_once_a_price_is_set_with_sql(
    system: System, customer: Ledger, producer: AIOKafkaProducer, topic_prefix: str
) -> None:
    """Streams and sinks together: UNPRICED, then INSERT of two prices, then one charge."""
    event = charged(0, model="gpt-brand-new")["event"]
    await producer.send_and_wait(
        Topics(topic_prefix).raw, orjson.dumps(event), key=CUSTOMER.encode()
    )
    system.start(gateways=0, streams=1, sinks=2)
    await wait_until_async(lambda: _letter_is(customer, "OPEN"), WAIT_SECONDS, "it is a letter")

    began_at = time.monotonic()
    for cost_type in ("INPUT_TOKEN", "OUTPUT_TOKEN"):
        await customer.rows(
            'INSERT INTO "ProviderCost" (provider, model, cost_type, cost_per_unit, unit_size,'
            " valid_from) VALUES ('OPENAI', 'gpt-brand-new', %s, 10, 1000000, '2025-01-01Z')",
            cost_type,
        )
    await wait_until_async(lambda: _reached(customer, 1), WAIT_SECONDS, "it is charged")
    assert time.monotonic() - began_at < 10
    await wait_until_async(lambda: _letter_is(customer, "REPLAYED"), WAIT_SECONDS, "it is closed")
    assert await customer.value('SELECT credits_burned FROM "UsageEvent"') == 15
    system.require_all_running()


async def _letter_is(ledger: Ledger, status: str) -> bool:
    rows = await ledger.rows('SELECT status FROM "DeadLetter"')
    return [row["status"] for row in rows] == [status]
