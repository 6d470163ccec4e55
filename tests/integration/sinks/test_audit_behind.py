"""`python -m sinks` audits itself: a contradiction shows in its metrics, and stops nothing."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from schemas.topics import Topics
from tests.integration.sinks.ledger import Ledger
from tests.integration.sinks.test_sink_worker import WAIT_SECONDS, write
from tests.rated_batches import CUSTOMER, batch, charged
from tests.system import System
from tests.waiting import wait_until_async


@pytest.fixture
async def producer(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all") as client:
        yield client


@pytest.fixture
def system(
    tmp_path: Path, kafka_bootstrap: str, database_url: str, topic_prefix: str
) -> Iterator[System]:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap,
        "DATABASE_URL": database_url,
        "TOPIC_PREFIX": topic_prefix,
        "AUDIT_SECONDS": "1",
    }
    with System(tmp_path, environment) as found:
        found.prepare(partitions=2)
        yield found


def total(system: System, name: str) -> float:
    """A metric's sum over workers and labels."""
    pattern = re.compile(rf"^burnstream_sinks_{name}(?:\{{.*\}})? (\S+)$", re.MULTILINE)
    return sum(float(one) for sink in system.sinks for one in pattern.findall(sink.metrics()))


@pytest.mark.timeout(180)
async def test_a_contradiction_alerts_and_stops_nothing(
    system: System, empty_ledger: Ledger, producer: AIOKafkaProducer, topic_prefix: str
) -> None:
    """One of two workers audits; a balance set by hand shows until it is put right again."""
    topics = Topics(topic_prefix)
    await empty_ledger.add_customer(CUSTOMER)
    system.start(gateways=0, streams=0, sinks=2)

    async def audited(events: int) -> None:
        async def is_audited() -> bool:
            return total(system, "audited_events_total") >= events

        await wait_until_async(is_audited, WAIT_SECONDS, f"{events} events are proven")

    async def contradictions(number: int) -> None:
        async def is_said() -> bool:
            return total(system, "audit_discrepancies") == number

        await wait_until_async(is_said, WAIT_SECONDS, f"{number} contradictions are shown")

    await write(producer, topics, [batch(0, 10, [charged(n) for n in range(10)], partition=0)])
    await audited(10)
    assert total(system, "is_auditor") == 1
    assert total(system, "audit_discrepancies") == 0

    await empty_ledger.rows('UPDATE "CreditWallet" SET balance = balance + 1')
    await write(producer, topics, [batch(0, 10, [charged(n) for n in range(10)], partition=1)])
    await contradictions(1)
    assert await empty_ledger.value('SELECT count(*) FROM "UsageEvent"') == 20
    system.require_all_running()

    # The sink went on from the balance that it found.
    await empty_ledger.rows(
        'UPDATE "CreditTransaction" SET balance_before = balance_before - 1,'
        " balance_after = balance_after - 1 WHERE wallet_seq > 10"
    )
    await empty_ledger.rows('UPDATE "CreditWallet" SET balance = balance - 1')
    await contradictions(0)
    await audited(20)

    leader = next(one for one in system.sinks if "is_auditor 1" in one.metrics())
    leader.kill()

    async def has_successor() -> bool:
        others = [one for one in system.sinks if one is not leader]
        return any("is_auditor 1" in one.metrics() for one in others)

    await wait_until_async(has_successor, WAIT_SECONDS, "the other worker audits")
