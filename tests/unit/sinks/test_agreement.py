"""Up to where `usage.rated` is the log that the ledger was made from."""

from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import TopicPartition

from schemas.rated import Kind, RatedBatch, encode_batch
from sinks.agreement import AppliedRow, read_on_at
from sinks.batch import Reached

LOG = TopicPartition("usage.rated", 0)


@dataclass(frozen=True)
class Record:
    """What aiokafka hands over."""

    offset: int
    value: bytes


def batch(first: int, following: int, kind: Kind = Kind.RATED) -> bytes:
    return encode_batch(RatedBatch(0, first, following, 0, [], [], kind=kind))


class Reader:
    """A consumer of a log that begins at an offset."""

    def __init__(self, *values: bytes, start: int = 0) -> None:
        self._records = [Record(start + at, value) for at, value in enumerate(values)]
        self._start, self._end, self._at = start, start + len(values), 0
        self.reads = 0

    async def beginning_offsets(self, logs: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(logs, self._start)

    async def end_offsets(self, logs: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(logs, self._end)

    def assign(self, logs: list[TopicPartition]) -> None:
        assert logs == [LOG]

    def seek(self, log: TopicPartition, offset: int) -> None:
        assert log == LOG
        self._at = offset

    async def position(self, log: TopicPartition) -> int:
        assert log == LOG
        return self._at

    async def getmany(self, *_: Any, **__: Any) -> dict[TopicPartition, list[Record]]:
        self.reads += 1
        if self._at >= self._end:
            raise AssertionError("read beyond the end")
        record = self._records[self._at - self._start]
        self._at += 1
        return {LOG: [record]}


async def agreed(reader: Reader, *applied: AppliedRow, rated_offset: int) -> int:
    """Return where to read on, given what was applied, in order."""

    async def row_back(back: int) -> AppliedRow | None:
        return applied[-1 - back] if back < len(applied) else None

    next_offset = applied[-1].next_offset if applied else 0
    reached = Reached(0, 0, next_offset, rated_offset, 0)
    return await read_on_at(reader, LOG, reached, row_back)


def applied_of(*spans: tuple[int, int]) -> list[AppliedRow]:
    """Return rows of batches that stood at rated offsets 0, 1 ..."""
    return [AppliedRow(at, *span, "rated") for at, span in enumerate(spans)]


SPANS = [(n * 10, n * 10 + 10) for n in range(40)]
WHOLE = [batch(*span) for span in SPANS]


async def test_a_log_that_holds_the_last_row_is_read_on_where_the_ledger_stands() -> None:
    """One look; replays that were read beyond the last row count as read."""
    reader = Reader(*WHOLE, batch(0, 10))
    assert await agreed(reader, *applied_of(*SPANS), rated_offset=41) == 41
    assert reader.reads == 1


@pytest.mark.parametrize("kept", [0, 1, 7, 38, 39])
async def test_a_log_that_lost_its_end_is_read_on_at_its_end(kept: int) -> None:
    """However much was lost, and whatever was written since."""
    assert await agreed(Reader(*WHOLE[:kept]), *applied_of(*SPANS), rated_offset=40) == kept
    again = [batch(kept * 10, kept * 10 + 3), batch(kept * 10 + 3, kept * 10 + 600)]
    reader = Reader(*WHOLE[:kept], *again, *[batch(900, 901 + n) for n in range(80)])
    assert await agreed(reader, *applied_of(*SPANS), rated_offset=40) == kept
    looked_for_a_decision = kept + len(again) + 80 - 40
    assert reader.reads <= 14 + looked_for_a_decision


async def test_a_log_made_again_is_read_from_its_start() -> None:
    """Nothing in it was applied."""
    reader = Reader(*[batch(n, n + 1) for n in range(90)])
    assert await agreed(reader, *applied_of(*SPANS), rated_offset=40) == 0
    assert await agreed(Reader(), *applied_of(*SPANS), rated_offset=40) == 0


async def test_a_ledger_that_was_sent_to_a_decision_stays_there() -> None:
    """What stands before it in a log made again is what the sinks refuse."""
    reader = Reader(batch(0, 3), batch(3, 7), batch(10, 0, Kind.NEW_EPOCH), batch(0, 3))
    assert await agreed(reader, *applied_of(*SPANS), rated_offset=2) == 2
    assert await agreed(reader, *applied_of(*SPANS), rated_offset=40) == 0


async def test_rows_whose_records_expired_count_as_kept() -> None:
    """Retention took them; what it left is not read twice for that."""
    reader = Reader(*WHOLE[38:], start=38)
    assert await agreed(reader, *applied_of(*SPANS[:20]), rated_offset=20) == 20
    lost_end = Reader(*WHOLE[30:35], start=30)
    assert await agreed(lost_end, *applied_of(*SPANS), rated_offset=40) == 35


async def test_a_batch_that_was_clipped_is_the_same_batch() -> None:
    """Its row begins where the ledger stood."""
    row = AppliedRow(0, 7, 10, "rated")
    assert await agreed(Reader(batch(0, 10)), row, rated_offset=1) == 1


async def test_a_new_epoch_is_no_batch() -> None:
    """A decision at the offset of a batch, or the other way round, is another log."""
    row = AppliedRow(0, 5, 0, "new-epoch")
    assert await agreed(Reader(batch(5, 0, Kind.NEW_EPOCH)), row, rated_offset=1) == 1
    assert await agreed(Reader(batch(0, 5)), row, rated_offset=1) == 0


@pytest.mark.parametrize(("end", "offset"), [(0, 0), (2, 2), (9, 3)])
async def test_a_ledger_without_rows_reads_what_there_is(end: int, offset: int) -> None:
    """Only replays were read: nothing can be compared, and nothing is beyond the log's end."""
    assert await agreed(Reader(*WHOLE[:end]), rated_offset=3) == offset
