"""Sizes of records and of runs."""

from deploy.runtime.run_consumer import RECORD_OVERHEAD_BYTES, cut, record_bytes
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
