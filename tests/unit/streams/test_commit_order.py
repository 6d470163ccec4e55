"""The commit order of the stream stage, with Kafka left out: what waits for what."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from prometheus_client import CollectorRegistry

from deploy.runtime import exit as process_exit
from schemas.rated import Fold, RatedBatch
from streams.agent import Parts, StreamsAgent
from streams.guard import Admitted
from streams.metrics import Metrics
from streams.price_book import PriceTable, QuarantineTable
from streams.producer import RatedProducer
from streams.seen import SeenPartition
from streams.settings import StreamsSettings
from tests.unit.streams.raw_records import (
    PRICES,
    WINDOW_MS,
    RawRecord,
    event,
    price_record,
    raw,
)

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from deploy.runtime.runs import Run

TURNS = 20  # of the event loop: more than any step takes


class Kafka:
    """An aiokafka producer for two partitions; acknowledges after a while, or never."""

    def __init__(self, *, answers: bool = True) -> None:
        self.answers = answers
        self.sent: list[int | None] = []  # the partition of each record
        self.on_acknowledged: list[Any] = []
        self.in_flight = {0: 0, 1: 0}
        self.in_flight_max = {0: 0, 1: 0}
        self.foreign: dict[int, int] = {}  # records of somebody else, by partition

    async def send(
        self, topic: str, value: bytes, *, partition: int | None = None, headers: Any
    ) -> "asyncio.Future[Any]":
        del topic, value, headers
        offset = self.sent.count(partition) + self.foreign.get(partition or 0, 0)
        self.sent.append(partition)
        return asyncio.ensure_future(self._acknowledge(partition or 0, offset))

    async def _acknowledge(self, partition: int, offset: int) -> Any:
        self.in_flight[partition] += 1
        self.in_flight_max[partition] = max(
            self.in_flight_max[partition], self.in_flight[partition]
        )
        for _ in range(TURNS):
            await asyncio.sleep(0)
        if not self.answers:
            await asyncio.Event().wait()
        for call in self.on_acknowledged:
            call()
        self.in_flight[partition] -= 1
        return SimpleNamespace(offset=offset)


class Recovery:
    """Notes what the agent asks for; folding again finds what somebody else wrote."""

    def __init__(self, seen: dict[int, SeenPartition]) -> None:
        self.seen = seen
        self.caught_up: list[int] = []
        self.totals_added = 0
        self.finds = 0  # the position, once folded again

    async def catch_up(self, partition: int) -> None:
        self.caught_up.append(partition)
        self.seen[partition].fold.start_at(self.finds)

    def add_totals(self, *_: Any) -> None:
        self.totals_added += 1

    def forget(self, partition: int) -> None:
        del partition


class Guarded:
    """A guard that admits all, or none."""

    admits = True

    async def admit(self, partition: int, position: int, records: Sequence[Any]) -> Admitted | None:
        del partition
        return Admitted(position, records) if self.admits else None


class FakeRun:
    """A run and what became of it."""

    def __init__(self, partition: int, *records: RawRecord) -> None:
        self.partition = partition
        self.records = records
        self.is_current = True
        self.ended: str | None = None
        self.has_ended = asyncio.Event()

    @property
    def first_offset(self) -> int:
        return self.records[0].offset

    @property
    def next_offset(self) -> int:
        return self.records[-1].offset + 1

    def ack(self) -> None:
        self.end("acknowledged")

    def release(self) -> None:
        self.end("released")

    def end(self, how: str) -> None:
        self.ended = how
        self.has_ended.set()


class Stage:
    """The agent over fakes."""

    def __init__(self, kafka: Kafka) -> None:
        self.seen = {number: SeenPartition(WINDOW_MS) for number in (0, 1)}
        for state in self.seen.values():
            state.fold.start_at(0)
        prices = PriceTable()
        for key, row in PRICES.items():
            prices.apply(key.encode(), price_record(1, row))
        prices.publish()
        metrics = Metrics(CollectorRegistry())
        self.recovery, self.guard = Recovery(self.seen), Guarded()
        self.sought: list[tuple[int, int]] = []
        uses = SimpleNamespace(
            settings=StreamsSettings(batch_events_max=1, timestamp_past_days_max=0),
            app=SimpleNamespace(seek_back=lambda *at: self.sought.append(at)),
            table=SimpleNamespace(partition=lambda number: self.seen[number]),
            recovery=self.recovery,
            guard=self.guard,
            producer=RatedProducer(cast("AIOKafkaProducer", kafka), "rated", metrics, 5),
            prices=prices,
            quarantine=QuarantineTable(),
            metrics=metrics,
        )
        self.agent = StreamsAgent(cast("Parts", uses))

    async def rate(self, *runs: FakeRun) -> None:
        """Hand runs over and wait until each has ended."""

        async def handed_over() -> AsyncIterator["Run"]:
            for run in runs:
                yield cast("Run", run)
            for run in runs:
                await run.has_ended.wait()

        def die(reason: str, *_: Any, **__: Any) -> None:
            for run in runs:
                run.end(f"died: {reason}")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process_exit, "die", die)
            async with asyncio.timeout(20):
                await self.agent.process(handed_over())


async def test_a_partition_has_one_batch_in_flight() -> None:
    """Runs and parts of a partition go one after the other; partitions side by side."""
    kafka = Kafka()
    runs = [
        FakeRun(partition, raw(number, event(number)), raw(number + 1, event(number + 1)))
        for number in (0, 2)
        for partition in (0, 1)
    ]
    await Stage(kafka).rate(*runs)

    assert sorted(partition or 0 for partition in kafka.sent) == [0] * 4 + [1] * 4
    assert kafka.in_flight_max == {0: 1, 1: 1}


async def test_nothing_is_remembered_or_acknowledged_before_kafka_has_the_batch() -> None:
    """What is not durable is in no state, and no offset moves for it."""
    kafka = Kafka()
    stage, run = Stage(kafka), FakeRun(0, raw(0, event(1)), raw(1, event(2)))
    found: list[tuple[int, int, str | None]] = []
    kafka.on_acknowledged.append(
        lambda: found.append((stage.seen[0].fold.next_offset, len(stage.seen[0]), run.ended))
    )
    await stage.rate(run)

    assert found == [(0, 0, None), (1, 1, None)]
    assert (stage.seen[0].fold.next_offset, len(stage.seen[0]), run.ended) == (2, 2, "acknowledged")
    assert stage.recovery.totals_added == 2


async def test_a_batch_behind_somebody_elses_is_folded_again_and_its_run_is_read_again() -> None:
    """The offset that Kafka returns tells; reading goes on from where the fold stands then."""
    kafka = Kafka()
    kafka.foreign[0] = 1
    stage, run = Stage(kafka), FakeRun(0, raw(0, event(1)), raw(1, event(2)))
    stage.recovery.finds = 7
    await stage.rate(run)

    assert stage.recovery.caught_up == [0]
    assert (run.ended, stage.sought, kafka.sent) == ("released", [(0, 7)], [0])


async def test_a_run_that_is_not_admitted_is_read_again_from_the_position() -> None:
    """Nothing of it is rated."""
    kafka = Kafka()
    stage, run = Stage(kafka), FakeRun(0, raw(9, event(1)))
    stage.guard.admits = False
    await stage.rate(run)

    assert (run.ended, stage.sought, kafka.sent) == ("released", [(0, 0)], [])


async def test_a_batch_goes_to_the_partition_that_it_was_read_from() -> None:
    """Its number there is what folds and sinks find it by."""
    kafka = Kafka()
    await Stage(kafka).rate(FakeRun(1, raw(0, event(1))))

    assert kafka.sent == [1]


async def test_a_batch_that_kafka_does_not_acknowledge_is_waited_for_so_long() -> None:
    """Then nobody knows whether it was written; an idempotent producer would try for ever."""
    producer = RatedProducer(
        cast("AIOKafkaProducer", Kafka(answers=False)), "rated", Metrics(CollectorRegistry()), 0.05
    )
    batch = RatedBatch(0, 0, 1, 0, [], [])
    fold = Fold(batch.kind, 0, 1, [], array("q"), b"")
    sent = await producer.send(b"{}", batch, fold)

    async with asyncio.timeout(20):
        with pytest.raises(TimeoutError):
            await producer.acknowledged(sent)
