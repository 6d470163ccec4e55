"""Every event is charged exactly once while gateways, streams and sinks are killed with -9.

Main phase: load with a fifth of duplicates over both doors, two workers of each process, kills in
random order. Final read: everything sent is covered by the sinks. Then the ledger must equal the
model, and `burnstream audit` must find nothing.
"""

import asyncio
import hashlib
import os
import random
from collections import defaultdict
from pathlib import Path

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.topics import Topics
from tests.crash.checker import Ledger, faults, summary
from tests.crash.nemesis import Nemesis
from tests.crash.workload import MODEL_WITHOUT_PRICE, Workload
from tests.system import System
from tests.waiting import wait_until

OPENING_BALANCE = 1_000_000
CUSTOMERS = 6
PARTITIONS = 4
KILLS_PER_PROCESS = 3
PAUSE_SECONDS_MAX = 4.0
DRAIN_TIMEOUT_SECONDS = 180.0


@pytest.fixture
def system(
    tmp_path: Path, kafka_bootstrap: str, database_url: str, redis_url: str, topic_prefix: str
) -> System:
    return System(
        tmp_path,
        {
            "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "TOPIC_PREFIX": topic_prefix,
            "RATE_LIMIT_MAX": "0",
        },
    )


def create_customers(database_url: str) -> dict[str, str]:
    """Insert customers with a wallet each; return their API keys."""
    keys = {f"cust-{number}": f"om_test_{number:048x}" for number in range(CUSTOMERS)}
    with psycopg.connect(database_url, autocommit=True) as connection:
        for customer, key in keys.items():
            connection.execute(
                'INSERT INTO "Customer" (id, name, email, api_key_hash) VALUES (%s, %s, %s, %s)',
                (
                    customer,
                    customer,
                    f"{customer}@example.com",
                    hashlib.sha256(key.encode()).hexdigest(),
                ),
            )
            connection.execute(
                'INSERT INTO "CreditWallet" (id, customer_id, balance) VALUES (%s, %s, %s)',
                (f"wallet-{customer}", customer, OPENING_BALANCE),
            )
    return keys


def read_ledger(database_url: str) -> Ledger:
    """Read what Postgres holds, by SQL that shares nothing with the sinks."""
    credits_by_event: dict[str, list[int]] = defaultdict(list)
    burns_by_event: dict[str, list[int]] = defaultdict(list)
    with psycopg.connect(database_url) as connection:
        for event_id, burned in connection.execute(
            'SELECT id::text, credits_burned FROM "UsageEvent"'
        ):
            credits_by_event[event_id].append(burned)
        for event_id, amount in connection.execute(
            'SELECT usage_event_id::text, amount FROM "CreditTransaction"'
            " WHERE transaction_type = 'BURN'"
        ):
            burns_by_event[event_id].append(amount)
        letters = connection.execute('SELECT lower(event_id) FROM "DeadLetter"').fetchall()
        wallets = connection.execute(
            'SELECT customer_id, sum(balance) FROM "CreditWallet" GROUP BY 1'
        )
        burned = {customer: OPENING_BALANCE - int(balance) for customer, balance in wallets}
    return Ledger(credits_by_event, burns_by_event, {one for (one,) in letters}, burned)


async def _end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return {partition.partition: end for partition, end in ends.items()}


def is_drained(bootstrap: str, database_url: str, raw: str) -> bool:
    """Tell whether the sinks have covered all that `usage.raw` holds, and no letter waits.

    A letter waits that was written before the first price was published: it replays itself.
    """
    ends = asyncio.run(_end_offsets(bootstrap, raw))
    with psycopg.connect(database_url) as connection:
        waiting = connection.execute(
            "SELECT 1 FROM \"DeadLetter\" WHERE status = 'OPEN' AND model <> %s LIMIT 1",
            (MODEL_WITHOUT_PRICE,),
        ).fetchone()
        rows = connection.execute(
            'SELECT partition, next_offset FROM "SinkOffset" WHERE topic = %s', (raw,)
        ).fetchall()
    return waiting is None and dict(rows) == ends


@pytest.mark.timeout(480)
def test_ledger_equals_the_model_through_kills(
    system: System, kafka_bootstrap: str, database_url: str, topic_prefix: str
) -> None:
    """Nothing lost, nothing doubled, no cent astray, and the audit agrees."""
    seed = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed: CRASH_SEED={seed}")
    raw = Topics(topic_prefix).raw
    system.burnstream("topics", "--partitions", str(PARTITIONS))
    system.burnstream("seed")
    keys = create_customers(database_url)
    with system:
        system.start(gateways=2, streams=2, sinks=2)
        workload = Workload(seed, system.gateway_url, kafka_bootstrap, raw, keys)
        nemesis = Nemesis(seed, system)
        workload.start()
        try:
            nemesis.kill_and_restart(KILLS_PER_PROCESS, PAUSE_SECONDS_MAX)
        finally:
            system.restart_ended()
            model = workload.stop(DRAIN_TIMEOUT_SECONDS)
        wait_until(
            lambda: (system.restart_ended(), is_drained(kafka_bootstrap, database_url, raw))[1],
            what="the sinks have covered everything sent",
            timeout_seconds=DRAIN_TIMEOUT_SECONDS,
        )
        found = faults(model, read_ledger(database_url))
        audit = system.burnstream("audit", "--log", check=False)
    print(
        f"usages {len(model.usages)}, deliveries {model.sent.total()}, "
        f"kills {dict(nemesis.kills)}, answers lost or refused {workload.refused_answers}"
    )

    assert found == [], f"CRASH_SEED={seed}\n{summary(found)}"
    assert audit.returncode == 0, f"CRASH_SEED={seed}\n{audit.stdout}\n{audit.stderr}"
    # The faults and the duplicates were really there.
    assert min(nemesis.kills[kind] for kind in ("gateway", "streams", "sinks")) >= KILLS_PER_PROCESS
    assert model.sent.total() > len(model.usages) > 0
