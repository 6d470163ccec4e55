"""Two of each process on one host, in the same environment."""

import asyncio
import re
import uuid

import aiohttp
import pytest

from tests.e2e.ledger import Ledger
from tests.e2e.producers import CREDITS, event, wait_until_all_is_applied
from tests.system import System
from tests.waiting import wait_until

CUSTOMERS = 8
BATCHES_PER_CUSTOMER = 5
EVENTS_PER_BATCH = 20


_WORKED = re.compile(
    r"^burnstream_(streams_rated_batches|sinks_transactions)_total [1-9]", re.MULTILINE
)


def _have_all_worked(system: System, ledger: Ledger) -> bool:
    """Send to every partition, and tell whether each worker has had some of it by now."""
    system.require_all_running()
    wait_until_all_is_applied(system, ledger)
    return all(_WORKED.search(worker.metrics()) for worker in [*system.streams, *system.sinks])


@pytest.mark.timeout(240)
def test_two_of_each_share_the_work(system: System, database_url: str) -> None:
    """Gateways share a port, streams and sinks share partitions; each has its own slot."""
    ledger = Ledger(database_url)
    customers = [f"cust-{uuid.uuid4()}" for _ in range(CUSTOMERS)]
    keys = {customer_id: ledger.create_customer(customer_id) for customer_id in customers}
    system.start(gateways=2, streams=2, sinks=2)
    # The second worker of a group gets its share when the group has heard of it.
    wait_until(lambda: _have_all_worked(system, ledger), 60, "each worker has partitions")

    async def send_all() -> None:
        url = f"{system.gateway_url}/v1/events/ingest"
        async with aiohttp.ClientSession() as session:
            for customer_id, api_key in keys.items():
                for _ in range(BATCHES_PER_CUSTOMER):
                    events = [event(customer_id) for _ in range(EVENTS_PER_BATCH)]
                    # A connection each: the kernel spreads connections over the gateways.
                    headers = {"x-api-key": api_key, "Connection": "close"}
                    async with session.post(url, json={"events": events}, headers=headers) as got:
                        assert got.status == 202, await got.text()

    asyncio.run(send_all())
    wait_until_all_is_applied(system, ledger)

    spent = CREDITS * BATCHES_PER_CUSTOMER * EVENTS_PER_BATCH
    assert {ledger.balance(customer_id) for customer_id in keys} == {1_000_000 - spent}
    assert len({worker.metrics_port for worker in system.workers}) == len(system.workers)
    system.require_all_running()
    system.burnstream("audit")
