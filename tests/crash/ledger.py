"""What Postgres holds after the faults, read by SQL that shares nothing with the sinks."""

import asyncio
import hashlib
from collections import defaultdict

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.crash.checker import Ledger, Letter
from tests.crash.workload import MODEL_WITHOUT_PRICE

OPENING_BALANCE = 1_000_000
CUSTOMERS = 6

# As the columns of Letter.
_LETTERS = """
WITH charged AS (
    SELECT customer_id, id::text AS event_id FROM "UsageEvent"
), keys AS (
    SELECT customer_id, idempotency_key FROM "UsageEvent" WHERE idempotency_key IS NOT NULL
), outcomes AS (
    SELECT source_partition || ':' || source_offset AS place FROM "UsageEvent"
    UNION SELECT partition || ':' || "offset" FROM "DuplicateEvent"
    UNION SELECT partition || ':' || "offset" FROM "DeadLetter"
)
SELECT concat_ws(':', partition, epoch, "offset", index), status,
    customer_id IS NOT NULL AND event_id IS NOT NULL, replay_of,
    (customer_id, lower(event_id)) IN (SELECT customer_id, event_id FROM charged)
        OR coalesce((customer_id, idempotency_key) IN (SELECT * FROM keys), false),
    replayed_as IN (SELECT place FROM outcomes)
FROM "DeadLetter"
"""


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
    """Read rows, burns, letters and wallets."""
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
        events = connection.execute('SELECT lower(event_id) FROM "DeadLetter"').fetchall()
        wallets = connection.execute(
            'SELECT customer_id, sum(balance) FROM "CreditWallet" GROUP BY 1'
        )
        burned = {customer: OPENING_BALANCE - int(balance) for customer, balance in wallets}
        # What an hour of load has charged is looked up in memory, not once more for each letter.
        connection.execute("SET work_mem = '1GB'")
        letters = [Letter(*row) for row in connection.execute(_LETTERS)]
    return Ledger(credits_by_event, burns_by_event, {one for (one,) in events}, burned, letters)


async def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """Return where each partition of a topic ends."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    try:
        await admin.start()
        await consumer.start()
        (described,) = await admin.describe_topics([topic])
        numbers = [partition["partition"] for partition in described["partitions"]]
        ends = await consumer.end_offsets([TopicPartition(topic, one) for one in numbers])
    finally:
        await admin.close()
        await consumer.stop()
    return {partition.partition: end for partition, end in ends.items()}


def is_drained(bootstrap: str, database_url: str, raw: str) -> bool:
    """Tell whether the sinks have covered all that `usage.raw` holds, and no letter waits.

    A letter waits that was written before the first price was published: it replays itself.
    """
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            'SELECT partition, next_offset FROM "SinkOffset" WHERE topic = %s', (raw,)
        ).fetchall()
        waiting = connection.execute(
            "SELECT 1 FROM \"DeadLetter\" WHERE status = 'OPEN' AND model <> %s LIMIT 1",
            (MODEL_WITHOUT_PRICE,),
        ).fetchone()
    # Last: a letter that no longer waits has been written to the log before.
    return waiting is None and dict(rows) == asyncio.run(end_offsets(bootstrap, raw))
