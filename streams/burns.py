"""Publishes the burns of this worker's partitions to the compacted topic `usage.burns`.

A record's header `folded-to` says up to which offset of `usage.rated` everything was published when
it was written; the highest one left by compaction is where the next owner folds on from.

A former owner who does not know it yet may write over a burn with what it was. Of a key's records
the one with the highest `rated_offset` is right: whoever loads takes that one, and the owner, who
sees by the offsets that somebody else wrote, writes his own again.

Burns outlive the rated log that they were counted from. When it was made again, or lost its end,
what was counted is rated once more, at other offsets: from then on `rated_log` is higher by one,
and of a key's burn of an earlier log its `position` tells what is in it.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.dead_letter import FORMAT_HEADER
from schemas.formats import FORMAT, require_known, version_of
from schemas.pricing import attodollars_from_text, cost_text
from schemas.rated import Total
from streams.log_reader import LogReader
from streams.metrics import Metrics
from streams.totals import Burn, BurnKey, BurnTotals, Charge, period_ms, period_text

log = structlog.get_logger("burns")

FOLDED_TO_HEADER = "folded-to"
EXPIRE_EVERY_FLUSHES = 600
LOOK_EVERY_FLUSHES = 60


class Burns:
    """Totals per partition, and the task that publishes what changed."""

    def __init__(
        self,
        topic: str,
        producer: AIOKafkaProducer,
        reader: LogReader,
        metrics: Metrics,
        *,
        interval_seconds: float,
        send_timeout_seconds: float,
    ) -> None:
        self._topic = topic
        self._producer = producer
        self._reader = reader
        self._metrics = metrics
        self._interval_seconds = interval_seconds
        self._send_timeout_seconds = send_timeout_seconds
        self._partitions: dict[int, BurnTotals] = {}
        self._rated_offsets: dict[int, int] = {}
        self._flushes = 0

    def folded_to(self, partition: int) -> int:
        """Return the offset of `usage.rated` from which on burns must be folded."""
        return self._partitions[partition].folded_to

    def add(
        self, partition: int, totals: Iterable[Total], next_offset: int, rated_offset: int
    ) -> None:
        """Add what counts of the rated batch at `rated_offset`, the next one of its partition."""
        self._rated_offsets[partition] = rated_offset + 1
        self._partitions[partition].add(totals, next_offset, rated_offset)

    def add_charges(
        self,
        partition: int,
        charges: Iterable[Charge],
        broker_times: Sequence[tuple[int, int]],
        next_offset: int,
        rated_offset: int,
    ) -> None:
        """Add the same charge by charge: some may be counted from a rated log that was lost."""
        self._rated_offsets[partition] = rated_offset + 1
        self._partitions[partition].add_charges(charges, broker_times, next_offset, rated_offset)

    def forget(self, partition: int) -> None:
        """Drop a partition that is another worker's now."""
        self._partitions.pop(partition, None)
        self._rated_offsets.pop(partition, None)

    def counted_to(self, partition: int) -> int:
        """Return the position of `usage.raw` from which on batches are added by their totals."""
        return self._partitions[partition].counted_to

    def begin_epoch(self, partition: int) -> None:
        """Positions of `usage.raw` begin anew."""
        self._partitions[partition].begin_epoch()

    async def load(self, partition: int) -> None:
        """Read what was published of a partition."""
        found = BurnTotals()
        begin, end = await self._reader.bounds(self._topic, partition)
        async for records in self._reader.stretch(self._topic, partition, begin, end):
            for record in records:
                what = f"{self._topic}[{partition}] offset {record.offset}"
                require_known(what, version_of(record.headers), FORMAT)
                folded_to = _folded_to(record.headers)
                found.load(_read_key(record.key), _read_value(record.value), folded_to)
        found.published_to = end
        self._partitions[partition] = found

    def last(self, partition: int) -> Burn:
        """Return the burn that was counted from the latest rated batch."""
        return self._partitions[partition].last

    def rated_end(self, partition: int) -> int:
        """Return where `usage.rated` must reach, if these burns were counted from it."""
        return self._partitions[partition].rated_end

    def settle_on_log(self, partition: int, *, is_same: bool) -> None:
        """Say, after `load`, whether `usage.rated` is the log that was counted from last."""
        self._partitions[partition].settle_on_log(is_same=is_same)

    async def publish_for_ever(self) -> None:
        """Write changed burns about once an interval. What fails is written the next time."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            await self.publish()

    async def publish(self) -> None:
        """Write what changed, of every partition."""
        self._flushes += 1
        for partition in list(self._partitions):
            burns = self._partitions.get(partition)
            if burns is not None:
                await self._publish(partition, burns)

    async def _publish(self, partition: int, burns: BurnTotals) -> None:
        folded_to = self._rated_offsets.get(partition, burns.folded_to)
        changed = burns.take_changed()
        expired = burns.take_expired() if self._flushes % EXPIRE_EVERY_FLUSHES == 0 else []
        headers = [FORMAT_HEADER, (FOLDED_TO_HEADER, str(burns.folded_to).encode())]
        records: list[tuple[bytes, bytes | None]] = [
            (_write_key(key, partition), _write_value(burn)) for key, burn in changed.items()
        ]
        records += [(_write_key(key, partition), None) for key in expired]
        try:
            async with asyncio.timeout(self._send_timeout_seconds):
                offsets = await self._send(partition, records, headers)
                await self._mend(partition, burns, offsets)
        except (KafkaError, TimeoutError) as error:
            self._metrics.burns_failures.inc()
            log.warning("Burns not published, will try again", error=repr(error))
            burns.put_back(changed)
        else:
            burns.folded_to = max(burns.folded_to, folded_to)

    async def _send(
        self,
        partition: int,
        records: Iterable[tuple[bytes, bytes | None]],
        headers: list[tuple[str, bytes]],
    ) -> list[int]:
        sent = [
            await self._producer.send(
                self._topic, value, key=key, partition=partition, headers=headers
            )
            for key, value in records
        ]
        return [int(metadata.offset) for metadata in await asyncio.gather(*sent)]

    async def _mend(self, partition: int, burns: BurnTotals, offsets: list[int]) -> None:
        """Count as changed what somebody else wrote over; look for it at times, too."""
        following = burns.published_to + len(offsets)
        is_alone = offsets == list(range(burns.published_to, following))
        if is_alone:
            burns.published_to = following
            if self._flushes % LOOK_EVERY_FLUSHES:
                return
        _, end = await self._reader.bounds(self._topic, partition)
        async for records in self._reader.stretch(self._topic, partition, burns.published_to, end):
            for record in records:
                burns.mend(_read_key(record.key), _read_value(record.value))
        burns.published_to = end


def _write_key(key: BurnKey, partition: int) -> bytes:
    customer, kind, start = key
    return orjson.dumps([customer, kind, period_text(start), partition])


def _read_key(key: bytes) -> BurnKey:
    customer, kind, start, _ = orjson.loads(key)
    return customer, kind, period_ms(start)


def _write_value(burn: Burn) -> bytes:
    # Sums have no bound: orjson refuses an integer above 64 bits, and reads one as a float.
    value: dict[str, int | str] = {
        "credits": burn.credits,
        "cost_usd": cost_text(burn.cost_attodollars),
        "events": burn.events,
        "position": burn.position,
        "rated_offset": burn.rated_offset,
    }
    if burn.rated_log:
        value["rated_log"] = burn.rated_log
    return json.dumps(value, separators=(",", ":")).encode()


def _read_value(value: bytes | None) -> Burn | None:
    if value is None:
        return None
    found = json.loads(value)
    return Burn(
        found["credits"],
        attodollars_from_text(found["cost_usd"]),
        found["events"],
        found["position"],
        found["rated_offset"],
        found.get("rated_log", 0),
    )


def _folded_to(headers: Any) -> int:
    return max((int(value) for name, value in headers if name == FOLDED_TO_HEADER), default=0)
