"""Writes to usage.raw as a producer of somebody else's would."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas.topics import PARTITIONS_DEFAULT, Topics
from tests.e2e.ledger import Ledger
from tests.system import System

CREDITS = 15  # of 1,000 tokens in and 500 out at gpt-4-turbo's price
FENCE_CUSTOMER = "cust-fence"

Send = Callable[[AIOKafkaProducer], Awaitable[object]]


def event(customer_id: str, **changes: Any) -> dict[str, Any]:
    """A valid event of a new id."""
    usual = {
        "event_id": str(uuid.uuid4()),
        "customer_id": customer_id,
        "event_type": "TOKEN_USAGE",
        "feature_id": "direct",
        "provider": "OPENAI",
        "model": "gpt-4-turbo",
        "input_tokens": 1000,
        "output_tokens": 500,
        "timestamp": "2025-06-01T12:00:00Z",
    }
    return usual | changes


def value_of(*events: dict[str, Any]) -> bytes:
    """A record's value: one event alone, or several in a batch."""
    return json.dumps(events[0] if len(events) == 1 else {"events": events}).encode()


def produce(system: System, send: Send, **options: Any) -> None:
    """Run `send` with a producer of its own."""

    async def run() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=system.environment["KAFKA_BOOTSTRAP_SERVERS"], **options
        )
        await producer.start()
        try:
            await send(producer)
        finally:
            await producer.stop()

    asyncio.run(run())


def wait_until_all_is_applied(system: System, ledger: Ledger) -> None:
    """Send an event to every partition and wait for it: what stood before it is applied then."""
    if not ledger.rows('SELECT 1 FROM "Customer" WHERE id = %s', FENCE_CUSTOMER):
        ledger.create_customer(FENCE_CUSTOMER)
    fences = [event(FENCE_CUSTOMER, event_type="API_CALL") for _ in range(PARTITIONS_DEFAULT)]
    raw = Topics(system.environment["TOPIC_PREFIX"]).raw

    async def send(producer: AIOKafkaProducer) -> None:
        for partition, fence in enumerate(fences):
            await producer.send_and_wait(raw, value_of(fence), partition=partition)

    produce(system, send)
    ledger.wait_until_charged(*(fence["event_id"] for fence in fences))
