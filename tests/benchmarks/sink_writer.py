"""How many events a second the sink's transaction writes: `python -m tests.benchmarks.sink_writer`.

Against DATABASE_URL, whose ledger is filled. One JSON object per transaction size, with the seconds
that each step took.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from uuid import uuid4

from deploy.runtime.settings import load_settings
from schemas.rated import encode_batch
from sinks.agent import STEPS
from sinks.batch import read_record
from sinks.postgres import connect
from sinks.settings import SinkSettings
from sinks.transaction import Work
from tests.rated_batches import batch, charged

CUSTOMERS = 200
EVENTS_PER_BATCH = 500


async def measure(url: str, events: int, transactions: int) -> None:
    """Print the rate of transactions of so many events."""
    topic = f"bench-{uuid4().hex[:8]}"
    customers = [f"{topic}-{number}" for number in range(CUSTOMERS)]
    async with await connect(url) as connection:
        for customer in customers:
            await connection.execute(
                b'INSERT INTO "Customer" (id, name, email, api_key_hash) VALUES (%s, %s, %s, %s)',
                [customer] * 4,
            )
        await connection.execute(
            b'INSERT INTO "SinkOffset" (topic, partition) VALUES (%s, 0)', [topic]
        )
        seconds: dict[str, float] = defaultdict(float)
        for turn in range(transactions):
            values = _values(turn, events, customers)
            started_at = time.perf_counter()
            records = [read_record(offset, value) for offset, value in values]
            seconds["read_record"] += time.perf_counter() - started_at
            await _apply(Work(connection, topic, {0: records}), seconds)
    total = sum(seconds.values())
    found = {
        "events_per_transaction": events,
        "events_per_second": round(events * transactions / total),
        "milliseconds_per_transaction": {
            name: round(1_000 * one / transactions, 1) for name, one in seconds.items()
        },
    }
    sys.stdout.write(json.dumps(found) + "\n")


def _values(turn: int, events: int, customers: list[str]) -> list[tuple[int, bytes]]:
    found = []
    for number in range(0, events, EVENTS_PER_BATCH):
        first = turn * events + number
        following = min(first + EVENTS_PER_BATCH, (turn + 1) * events)
        entries = [
            charged(one, customer_id=customers[one % CUSTOMERS], idempotency_key=str(uuid4()))
            for one in range(first, following)
        ]
        found.append((first, encode_batch(batch(first, following, entries))))
    return found


async def _apply(work: Work, seconds: dict[str, float]) -> None:
    for step in STEPS:
        started_at = time.perf_counter()
        await step(work)
        seconds[step.__name__] += time.perf_counter() - started_at


if __name__ == "__main__":
    for size, number in ((100, 50), (1_000, 20), (5_000, 20), (10_000, 10)):
        asyncio.run(measure(load_settings(SinkSettings).database_url, size, number))
