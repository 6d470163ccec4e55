"""What is compiled before the first event is all that will be."""

from typing import Any

from streams import identity_map
from streams.quick import charge, identify, names, scan, write
from streams.quick.rating import judge, settle
from streams.quick.records import all_unusual, decode
from streams.quick.warm_up import warm_up
from streams.seen import SeenPartition
from tests.unit.streams.raw_records import (
    NO_LIMIT,
    WINDOW_MS,
    RawRecord,
    decoded,
    event,
    price_book,
    raw,
)

LOOPS: tuple[Any, ...] = (
    identity_map._probe,
    identity_map._fill,
    scan.scan,
    identify.identify,
    names.number_customers,
    charge._index,
    charge._charge,
    write._write,
)


def test_no_loop_is_compiled_while_events_wait() -> None:
    """Whatever a run holds: usual events and others, both or none."""
    warm_up()
    before = [loop.signatures for loop in LOOPS]
    seen, book = SeenPartition(WINDOW_MS), price_book()
    usual = [raw(at, event(at, metadata={"a": [1]})) for at in range(200)]
    runs = [usual, [RawRecord(0, b"{")], [*usual, raw(200, event(1), event(2))], usual[:1]]
    for run in runs:
        for part in (*decode(run, NO_LIMIT).parts(70, 1 << 20), all_unusual(run, decoded(*run))):
            settle(part, judge(part, seen), book, WINDOW_MS)

    assert all(before)
    assert [loop.signatures for loop in LOOPS] == before
