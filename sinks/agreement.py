"""Up to where `usage.rated` is the log that the ledger was made from.

`RatedBatch` says which record of the log each applied batch was. A log that was made again or cut
off, and written to since, holds other records there, from some offset on: what stands behind was
never read, however far the ledger had read before.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.rated import Kind, decode_batch
from sinks.batch import Reached

FETCH_TIMEOUT_MS = 1_000


class AppliedRow(NamedTuple):
    """A row of RatedBatch: what a record of `usage.rated` added to the ledger."""

    rated_offset: int
    first_offset: int
    next_offset: int
    kind: str


# Returns the row so many rows before the last one applied; None: there are not so many.
RowBack = Callable[[int], Awaitable[AppliedRow | None]]


async def read_on_at(
    reader: AIOKafkaConsumer, log: TopicPartition, reached: Reached, row_back: RowBack
) -> int:
    """Return the offset of the log to read on at: `rated_offset`, or lower where the log differs.

    Reading again what was applied is harmless: it is clipped. Raises KafkaError.
    """
    start: int = (await reader.beginning_offsets([log]))[log]
    end: int = (await reader.end_offsets([log]))[log]
    reader.assign([log])

    async def is_kept(row: AppliedRow) -> bool:
        """Whether the log holds what the row was made from; what expired counts as kept."""
        if row.rated_offset < start:
            return True
        return row.rated_offset < end and await _holds(reader, log, row)

    last = await row_back(0)
    if last is None or await is_kept(last):
        return min(reached.rated_offset, max(end, start))
    if await _is_decided(reader, log, range(reached.rated_offset, end)):
        return reached.rated_offset
    # Farther and farther back to a row that the log still holds, then between that and the others.
    lost, kept = 0, 1
    while (row := await row_back(kept)) is not None and not await is_kept(row):
        lost, kept = kept, 2 * kept
    while kept - lost > 1:
        middle = (lost + kept) // 2
        row = await row_back(middle)
        if row is None or await is_kept(row):
            kept = middle
        else:
            lost = middle
    row = await row_back(kept)
    return start if row is None else min(max(start, row.rated_offset + 1), end)


async def _is_decided(reader: AIOKafkaConsumer, log: TopicPartition, offsets: range) -> bool:
    """Whether a new epoch begins there: then a person has sent the ledger to where it stands."""
    reader.seek(log, offsets.start)
    while offsets and await reader.position(log) < offsets.stop:
        found = await reader.getmany(log, timeout_ms=FETCH_TIMEOUT_MS)
        if any(decode_batch(one.value).kind is Kind.NEW_EPOCH for one in found.get(log, ())):
            return True
    return False


async def _holds(reader: AIOKafkaConsumer, log: TopicPartition, row: AppliedRow) -> bool:
    reader.seek(log, row.rated_offset)
    while await reader.position(log) <= row.rated_offset:
        found = await reader.getmany(log, timeout_ms=FETCH_TIMEOUT_MS, max_records=1)
        for record in found.get(log, ()):
            batch = decode_batch(record.value)
            return (
                record.offset == row.rated_offset
                and batch.kind == row.kind
                and batch.next_offset == row.next_offset
                and (batch.kind is Kind.NEW_EPOCH or batch.first_offset <= row.first_offset)
            )
    return False
