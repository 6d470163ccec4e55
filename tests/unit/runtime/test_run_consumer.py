"""Sizes of records and of runs, and what a lane has in hand."""

from typing import Any, cast

from faust.types import TP

from deploy.runtime.run_consumer import RECORD_OVERHEAD_BYTES, Lane, Run, cut, record_bytes
from tests.unit.streams.raw_records import RawRecord


def test_a_record_counts_with_its_key_and_headers() -> None:
    """All that comes from outside is counted, and what each record takes beside it."""
    record = RawRecord(0, b"v" * 3, key=b"k" * 50, headers=[("name", b"h" * 600)])
    assert record_bytes(record) == RECORD_OVERHEAD_BYTES + 3 + 50 + 604


def test_records_without_a_value_fill_a_run() -> None:
    """Keys alone make the memory that runs are bounded by."""
    records = [RawRecord(offset, None, key=b"k" * 5_000) for offset in range(100)]
    assert [len(run) for run, _ in cut(records, 1_000, 55_000)] == [10] * 10


def test_a_large_record_is_a_run_by_itself() -> None:
    """What is beyond the bound alone comes all the same, in its order."""
    sizes = (100, 9_000, 100, 100)
    records = [RawRecord(offset, b"v" * size) for offset, size in enumerate(sizes)]
    runs = [[record.offset for record in run] for run, _ in cut(records, 1_000, 5_000)]
    assert runs == [[0], [1], [2, 3]]


def test_a_lane_knows_the_oldest_record_in_hand() -> None:
    """What was acknowledged is no longer in hand; after a seek nothing is."""
    lane = Lane(TP("raw", 0))
    runs = [Run(lane, 0, [RawRecord(offset, b"v")], 1, cast("Any", None)) for offset in (3, 4, 7)]
    lane.in_hand.extend((run.first_offset, 1_000 + run.first_offset) for run in runs)
    runs[0].ack()
    assert lane.in_hand[0] == (4, 1_004)
    runs[1].ack()
    assert list(lane.in_hand) == [(7, 1_007)]
    lane.seek(3)
    assert not lane.in_hand
    runs[2].is_put_away = True
