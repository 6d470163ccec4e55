"""`usage.burns` against the rated log and the ledger, read by code that shares nothing with either.

The law. An *entry* is an event that the streams called charged, in a batch of `usage.rated` that
counts by the fold's rule (first to cover a position wins, what lies below is clipped, what starts
ahead is passed over, a new epoch sets the position).

1. The latest record of each key [customer, "hour" | "day", start, partition] holds the credits, the
   cost and the number of the entries of that customer and partition whose raw record Kafka took in
   that period; its `rated_offset` and `position` are those of the last batch that has one.
2. Every entry has one outcome in the ledger, at its own position: a UsageEvent of the same credits;
   or a DuplicateEvent that the sink found ('conflict': charged before the window, through another
   partition, in an earlier epoch, or as another replay of one letter); or a DeadLetter that the
   sink found (UNKNOWN_CUSTOMER, REFUSED_BY_DATABASE, ORIGINAL_NOT_CHARGED of a conflict). And every
   UsageEvent and conflict is an entry.

So a customer's days, summed over partitions (or his hours: the same) are what his UsageEvent rows
burned, plus the credits of his conflicts and of his refusals: the estimate is never below the
ledger and above it by just these, which the streams cannot know. A new epoch adds to the same keys:
what is rated again in it is an entry again, and a conflict. Expired periods (8 days, 400 days) are
not looked at: no test lives so long.

Where `usage.rated` is not, whole, the log that the ledger was written from (records expired, the
log was cut or made again), what the streams counted cannot be read any more. Then:

3. A customer's days, summed over partitions, hold as many events as he has UsageEvent rows,
   conflicts and refusals: burns outlive the log, and what is rated again is not counted again.

Nothing is said when an epoch was opened besides: what had been counted is counted again in it.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

PUBLISH_TIMEOUT_SECONDS = 60.0
FETCH_TIMEOUT_MS = 200

Key = tuple[str, str, str, int]  # customer, kind of period, its start (ISO 8601, Z), partition
Position = tuple[int, int, int, int]  # partition, epoch, offset, index


@dataclass(slots=True)
class Burn:
    """What a customer burned in a period through one partition."""

    credits: int = 0
    cost_usd: Decimal = Decimal(0)
    events: int = 0
    position: int = 0
    rated_offset: int = -1


@dataclass(slots=True)
class RatedLog:
    """What `usage.rated` says: burns by key, and customer and credits of each entry."""

    burns: dict[Key, Burn] = field(default_factory=dict)
    entries: dict[Position, tuple[str, int]] = field(default_factory=dict)
    ends: dict[tuple[int, int], int] = field(default_factory=dict)  # of batches, by rated offset
    _reached: Counter[int] = field(default_factory=Counter)
    _epochs: Counter[int] = field(default_factory=Counter)

    def add(self, rated_offset: int, batch: Mapping[str, Any]) -> None:
        """Fold the next batch of its partition."""
        partition, following = batch["partition"], batch["next_offset"]
        self.ends[partition, rated_offset] = following
        below = self._reached[partition]
        if batch["kind"] == "new-epoch":
            self._reached[partition] = following
            self._epochs[partition] += 1
            return
        if not batch["first_offset"] <= below < following:
            return
        self._reached[partition] = following
        times = batch["broker_times"]
        for entry in batch["events"]:
            if entry["verdict"] != "charged" or entry["offset"] < below:
                continue
            customer = entry["event"]["customer_id"]
            at = (partition, self._epochs[partition], entry["offset"], entry["index"])
            self.entries[at] = (customer, entry["credits"])
            took = [ms for offset, ms in times if offset <= entry["offset"]][-1]
            hour = datetime.fromtimestamp(took // 1000, UTC).replace(minute=0, second=0)
            for kind, start in (("hour", hour), ("day", hour.replace(hour=0))):
                key = (customer, kind, start.strftime("%Y-%m-%dT%H:%M:%SZ"), partition)
                burn = self.burns.setdefault(key, Burn())
                burn.credits += entry["credits"]
                burn.cost_usd += Decimal(entry["cost_usd"])
                burn.events += 1
                burn.position, burn.rated_offset = following, rated_offset


async def _records(consumer: Any, topic: str) -> AsyncIterator[Any]:
    """Yield the records of a topic from where the consumer stands to its present end."""
    tps = [tp for tp in consumer.assignment() if tp.topic == topic]
    ends = await consumer.end_offsets(tps)
    while any([await consumer.position(tp) < ends[tp] for tp in tps]):
        for records in (await consumer.getmany(*tps, timeout_ms=FETCH_TIMEOUT_MS)).values():
            for record in records:
                yield record


async def read_rated(consumer: Any, topic: str) -> RatedLog:
    """Fold a topic of rated batches."""
    found = RatedLog()
    async for record in _records(consumer, topic):
        found.add(record.offset, orjson.loads(record.value))
    return found


async def _read_published(consumer: Any, topic: str, published: dict[Key, Burn]) -> None:
    """Take what was written to `usage.burns` since the last time; the latest of a key counts."""
    async for record in _records(consumer, topic):
        customer, kind, start, partition = json.loads(record.key)
        key = (customer, kind, start, partition)
        if record.value is None:
            published.pop(key, None)
            continue
        value = json.loads(record.value)
        published[key] = Burn(
            value["credits"],
            Decimal(value["cost_usd"]),
            value["events"],
            value["position"],
            value["rated_offset"],
        )


async def _read(
    bootstrap: str, rated: str, burns: str, applied: Sequence[tuple[int, int, int]], partitions: int
) -> tuple[RatedLog, dict[Key, Burn]] | None:
    """Read both topics, once every burn was published that the rated log says (or never is).

    None when the rated log is not the one that was `applied`: (partition, rated offset, end) of
    batches, two of one offset where the log was made again.
    """
    tps = [TopicPartition(topic, one) for topic in (rated, burns) for one in range(partitions)]
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign(tps)
        await consumer.seek_to_beginning()
        published: dict[Key, Burn] = {}
        log = await read_rated(consumer, rated)
        if any(log.ends.get((partition, at)) != end for partition, at, end in applied):
            return None
        deadline = time.monotonic() + PUBLISH_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            await _read_published(consumer, burns, published)
            if all(
                key in published and published[key].rated_offset >= burn.rated_offset
                for key, burn in log.burns.items()
            ):
                break
    return log, published


def published_faults(log: RatedLog, published: Mapping[Key, Burn]) -> list[str]:
    """Compare what was published with what the rated log says (law 1).

    Where it was published from a batch that the log has lost since, its sums are those of what was
    rated again, but not the place: no later batch holds anything that was not counted before.
    """
    found = []
    for key, burn in log.burns.items():
        shown = published.get(key, Burn())
        is_of_log = log.ends.get((key[3], shown.rated_offset)) == shown.position
        place = burn if is_of_log else shown
        wanted = replace(burn, position=place.position, rated_offset=place.rated_offset)
        if shown != wanted:
            found.append(f"burn-differs: {key} is published as {shown}, rated was {burn}")
    found += [f"burn-of-nothing: {key}" for key in published.keys() - log.burns.keys()]
    return found


def outcome_faults(
    entries: Mapping[Position, tuple[str, int]],
    charged: Mapping[Position, tuple[str, int]],
    conflicts: set[Position],
    refused: set[Position],
) -> list[str]:
    """Compare the entries with the ledger's rows at their positions (law 2)."""
    found = []
    for at, entry in entries.items():
        outcomes = (at in charged) + (at in conflicts) + (at in refused)
        if outcomes != 1:
            found.append(f"entry-outcomes: {entry} at {at} has {outcomes} outcomes")
        elif charged.get(at, entry) != entry:
            found.append(f"entry-charged: {entry} at {at} is charged as {charged[at]}")
    unrated = (charged.keys() | conflicts) - entries.keys()
    found += [f"row-unrated: {at} was charged by no rated batch that counts" for at in unrated]
    return found


_CHARGED = """
SELECT source_partition, source_epoch, source_offset, source_index, customer_id, credits_burned
FROM "UsageEvent"
"""
_CONFLICTS = """
SELECT partition, epoch, "offset", index FROM "DuplicateEvent" WHERE found_by = 'conflict'
"""
_OUTCOMES = """
SELECT customer_id, count(*) FROM (
    SELECT customer_id FROM "UsageEvent"
    UNION ALL SELECT customer_id FROM "DuplicateEvent" WHERE found_by = 'conflict'
    UNION ALL SELECT customer_id FROM "DeadLetter" WHERE found_by = 'sinks'
) AS outcomes GROUP BY customer_id
"""
_APPLIED = 'SELECT partition, rated_offset, next_offset FROM "RatedBatch"'
_REFUSED = """SELECT partition, epoch, "offset", index FROM "DeadLetter" WHERE found_by = 'sinks'"""


async def _read_sums(
    bootstrap: str, burns: str, partitions: int, wanted: Counter[str]
) -> Counter[str]:
    """Return how many events each customer's days hold, once they are as wanted (or never are)."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        consumer.assign([TopicPartition(burns, one) for one in range(partitions)])
        await consumer.seek_to_beginning()
        published: dict[Key, Burn] = {}
        sums: Counter[str] = Counter()
        deadline = time.monotonic() + PUBLISH_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            await _read_published(consumer, burns, published)
            sums = Counter()
            for (customer, kind, _, _), burn in published.items():
                if kind == "day":
                    sums[customer] += burn.events
            if sums == wanted:
                break
    return sums


def sum_faults(bootstrap: str, burns: str, database_url: str) -> list[str]:
    """Compare each customer's days with the ledger (law 3)."""
    with psycopg.connect(database_url) as connection:
        epochs = [epoch for (epoch,) in connection.execute('SELECT epoch FROM "SinkOffset"')]
        if any(epochs):
            print("burns are not compared: the rated log is lost, and an epoch was opened")
            return []
        wanted: Counter[str] = Counter(dict(connection.execute(_OUTCOMES).fetchall()))
    sums = asyncio.run(_read_sums(bootstrap, burns, len(epochs), wanted))
    return [
        f"burn-sum: days of {customer} hold {sums[customer]} events, the ledger {wanted[customer]}"
        for customer in sums.keys() | wanted.keys()
        if sums[customer] != wanted[customer]
    ]


def burn_faults(bootstrap: str, rated: str, burns: str, database_url: str) -> list[str]:
    """Return one line per breach of the law, over a drained ledger and running streams."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(_CHARGED).fetchall()
        conflicts = set(connection.execute(_CONFLICTS).fetchall())
        refused = set(connection.execute(_REFUSED).fetchall())
        batches = connection.execute(_APPLIED).fetchall()
        partitions = len(connection.execute('SELECT FROM "SinkOffset"').fetchall())
    found = asyncio.run(_read(bootstrap, rated, burns, batches, partitions))
    if found is None:
        return sum_faults(bootstrap, burns, database_url)
    log, published = found
    charged = {(p, e, o, i): (customer, burned) for p, e, o, i, customer, burned in rows}
    return [
        *published_faults(log, published),
        *outcome_faults(log.entries, charged, conflicts, refused),
    ]
