"""What the agent does beside the steps: naming the record that stops it, and holding."""

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from prometheus_client import CollectorRegistry

from streams import agent as agent_module
from streams.agent import Part, Parts, StreamsAgent
from streams.decode import Letter
from streams.guard import Admitted
from streams.metrics import Metrics
from streams.price_book import PriceTable, QuarantineTable
from streams.quick.rating import judge
from streams.quick.records import decode
from streams.seen import SeenPartition
from streams.settings import StreamsSettings
from tests.unit.streams.raw_records import NO_LIMIT, PRICES, event, price_record, raw

if TYPE_CHECKING:
    from deploy.runtime.runs import Run


class Table:
    """`seen` of one partition."""

    def __init__(self) -> None:
        self.state = SeenPartition(3_600_000)

    def partition(self, number: int) -> SeenPartition:
        del number
        return self.state


def published(table: PriceTable) -> PriceTable:
    for key, row in PRICES.items():
        table.apply(key.encode(), price_record(1, row))
    table.publish()
    return table


def make_agent(prices: PriceTable) -> tuple[StreamsAgent, CollectorRegistry]:
    registry = CollectorRegistry()
    uses = SimpleNamespace(
        settings=StreamsSettings(dead_letter_count_min=9, timestamp_past_days_max=0),
        table=Table(),
        prices=prices,
        quarantine=QuarantineTable(),
        metrics=Metrics(registry),
    )
    return StreamsAgent(cast("Parts", uses)), registry


@pytest.mark.parametrize("where", ["judge", "count", "encode_batch", "headers_of"])
def test_the_record_that_stops_a_worker_is_named(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever step it stops, the offset is known, so that an operator can set it aside."""
    whole = getattr(agent_module, where)

    def poisoned(*args: Any) -> Any:
        if "poison" in repr(args):
            raise TypeError("a bug")
        return whole(*args)

    monkeypatch.setattr(agent_module, where, poisoned)
    agent, _ = make_agent(published(PriceTable()))
    records = [raw(5, event(1)), raw(6, event(2, customer_id="poison")), raw(7, event(3))]
    run = SimpleNamespace(partition=0, records=records)

    assert agent._culprit(cast("Run", run)) == 6


def test_no_record_is_named_when_each_can_be_rated() -> None:
    """What stops the worker is then none of them."""
    agent, _ = make_agent(published(PriceTable()))
    run = SimpleNamespace(partition=0, records=[raw(5, event(1)), raw(6, event(2))])
    assert agent._culprit(cast("Run", run)) is None


def part_of(agent: StreamsAgent, customers: int) -> Part:
    """Return a part of nine events of so many customers."""
    own = [event(number, customer_id=f"cust-{number % customers}") for number in range(9)]
    records = decode([raw(0, *own)], NO_LIMIT)
    part = Part(cast("Run", SimpleNamespace(partition=0, is_current=True)), 0, records, 0.0)
    part.judged = judge(records, agent._seen(0))
    return part


async def test_a_part_without_prices_is_held_until_they_are_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Several customers' events wait, alerting, and are charged when the prices return."""
    prices = PriceTable()
    agent, registry = make_agent(prices)
    looks = 0

    async def look(_: float) -> None:
        nonlocal looks
        assert registry.get_sample_value("burnstream_streams_stopped_by_dead_letters") == 1
        looks += 1
        if looks == 1_000:
            published(prices)

    monkeypatch.setattr(agent_module, "asyncio", SimpleNamespace(sleep=look))
    part = part_of(agent, customers=3)
    await agent.price(part)

    assert (part.verdicts.charged, part.is_void) == (9, False)
    assert registry.get_sample_value("burnstream_streams_stopped_by_dead_letters") == 0


async def test_a_part_of_two_customers_letters_goes_on() -> None:
    """Their mistake is not everybody's."""
    agent, _ = make_agent(PriceTable())
    part = part_of(agent, customers=2)
    async with asyncio.timeout(5):
        await agent.price(part)
    assert part.verdicts.others.letter_count == 9


def test_a_quarantined_record_slows_no_run_but_its_own() -> None:
    """The rest of its partition, and others, go on as if it had never been."""
    agent, _ = make_agent(published(PriceTable()))
    agent._uses.quarantine.apply(b"0:6", b'{"reason": "r", "by": "b"}')
    runs = [[raw(5, event(1)), raw(6, event(2))], [raw(7, event(3)), raw(8, event(4))]]
    own, later = (agent._decode(0, Admitted(run[0].offset, run)) for run in runs)
    assert (list(own.unusual), list(later.unusual)) == ([0, 1], [])
    assert isinstance(own.unusual[1].events[0], Letter)
    assert list(agent._decode(1, Admitted(5, runs[0])).unusual) == []
