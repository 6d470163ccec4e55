"""Records of a run and what they hold: the usual events as rows, the rest decoded one by one."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.rated import INDEX_BITS, BrokerTimes
from schemas.timestamps import TimestampPolicy, epoch_microseconds, time_bounds
from streams.compiled import Bytes, Numbers
from streams.decode import ENTRY_OVERHEAD_BYTES, DecodedRecord, decode_records, told_by
from streams.quick.scan import COLUMNS, END, EVENT_BYTES_MIN, MICROSECONDS, START, scan


@dataclass(frozen=True, slots=True)
class DecodedRecords:
    """Consecutive records (aiokafka's) and their events, of a run or of a part of it.

    By record: `offsets`, `broker_ms`, and `ends`, the number of the row behind its last one. `rows`
    are of usual events (`streams.quick.scan`), in order; `unusual` are the other records by number.
    """

    records: Sequence[Any]
    offsets: Numbers
    broker_ms: Numbers
    text: Bytes
    rows: Numbers
    ends: Numbers
    unusual: dict[int, DecodedRecord]

    @property
    def next_offset(self) -> int:
        """One beyond the last record."""
        return int(self.offsets[-1]) + 1

    @property
    def row_records(self) -> Numbers:
        """The number of each row's record."""
        return np.repeat(np.arange(len(self.records)), np.diff(self.ends, prepend=0))

    @property
    def row_indexes(self) -> Numbers:
        """The number of each row's event within its record."""
        counts = np.diff(self.ends, prepend=0)
        return np.arange(len(self.rows)) - np.repeat(self.ends - counts, counts)

    def row_text(self, row: int) -> bytes:
        """Return the bytes of a usual event."""
        return self.text[self.rows[row, START] : self.rows[row, END]].tobytes()

    def run_length(self) -> BrokerTimes:
        """Return the broker times as (offset, ms): from that offset on it was that."""
        changes = np.flatnonzero(np.diff(self.broker_ms, prepend=self.broker_ms[0] - 1))
        return list(
            zip(self.offsets[changes].tolist(), self.broker_ms[changes].tolist(), strict=True)
        )

    def parts(self, events_max: int, bytes_max: int) -> Iterator["DecodedRecords"]:
        """Cut a run into what one rated batch each covers: whole records, by events and by bytes.

        The same as `streams.decode.parts`.
        """
        counts = np.diff(self.ends, prepend=0)
        for number, record in self.unusual.items():
            counts[number] = len(record.events)
        lengths = np.array([len(record.value or b"") for record in self.records], np.int64)
        events = np.cumsum(counts)
        sizes = np.cumsum(lengths * 3 // 2 + counts * ENTRY_OVERHEAD_BYTES)
        first = 0
        while first < len(self.records):
            events_before, size_before = (events[first - 1], sizes[first - 1]) if first else (0, 0)
            end = min(
                np.searchsorted(events, events_before + events_max, "right"),
                np.searchsorted(sizes, size_before + bytes_max, "right"),
            )
            end = max(int(end), first + 1)
            yield self._between(first, end)
            first = end

    def _between(self, first: int, end: int) -> "DecodedRecords":
        first_row = int(self.ends[first - 1]) if first else 0
        return DecodedRecords(
            self.records[first:end],
            self.offsets[first:end],
            self.broker_ms[first:end],
            self.text,
            self.rows[first_row : int(self.ends[end - 1])],
            self.ends[first:end] - first_row,
            {at - first: record for at, record in self.unusual.items() if first <= at < end},
        )


def row_positions(records: DecodedRecords) -> Numbers:
    """Return the packed position of each row's event."""
    return records.offsets[records.row_records] << INDEX_BITS | records.row_indexes


def decode(records: Sequence[Any], policy: TimestampPolicy) -> DecodedRecords:
    """Read records (aiokafka's) of which none is quarantined."""
    values = [
        b"" if (headers := record.headers) and told_by(headers) else record.value or b""
        for record in records
    ]
    joined = b"\n".join([*values, b""])
    if not joined.isascii() and not _is_utf8(joined):
        values = [value if _is_utf8(value) else b"" for value in values]
        joined = b"\n".join([*values, b""])
    starts = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.array(list(map(len, values)), np.int64) + 1, out=starts[1:])
    text = np.frombuffer(joined, np.uint8)
    rows = np.empty((len(joined) // EVENT_BYTES_MIN, COLUMNS), np.int64)
    counts = np.empty(len(values), np.int64)
    rows = rows[: scan(text, starts, rows, counts)]
    broker_ms = np.array([record.timestamp for record in records], np.int64)
    rows, counts = _timely(rows, counts, broker_ms, policy)
    others = np.flatnonzero(counts == 0).tolist()
    return DecodedRecords(
        records,
        np.array([record.offset for record in records], np.int64),
        broker_ms,
        text,
        rows,
        np.cumsum(counts),
        dict(zip(others, decode_records([records[at] for at in others], policy), strict=True)),
    )


def all_unusual(records: Sequence[Any], decoded: Sequence[DecodedRecord]) -> DecodedRecords:
    """Return records that were decoded one by one, for whatever reason."""
    return DecodedRecords(
        records,
        np.array([record.offset for record in decoded], np.int64),
        np.array([record.broker_ms for record in decoded], np.int64),
        np.frombuffer(b"", np.uint8),  # as of other texts: a loop is compiled for a kind of array
        np.empty((0, COLUMNS), np.int64),
        np.zeros(len(decoded), np.int64),
        dict(enumerate(decoded)),
    )


def _timely(
    rows: Numbers, counts: Numbers, broker_ms: Numbers, policy: TimestampPolicy
) -> tuple[Numbers, Numbers]:
    """Leave out the records with an event that may be too old or too new: others tell."""
    if not len(rows):
        return rows, counts
    earliest, _ = time_bounds(int(broker_ms.max()), policy)
    _, too_late = time_bounds(int(broker_ms.min()), policy)
    moments = rows[:, MICROSECONDS]
    is_off = (moments < epoch_microseconds(earliest)) | (moments >= epoch_microseconds(too_late))
    if not is_off.any():
        return rows, counts
    row_records = np.repeat(np.arange(len(counts)), counts)
    is_out = np.isin(row_records, row_records[is_off])
    counts = counts.copy()
    counts[row_records[is_off]] = 0
    return rows[~is_out], counts


def _is_utf8(text: bytes) -> bool:
    with suppress(UnicodeDecodeError):
        text.decode()
        return True
    return False
