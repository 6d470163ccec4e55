from base64 import b64decode
from typing import Any, cast

import orjson
import pytest

from schemas.dead_letter import Reason
from schemas.pricing import PriceBook
from schemas.rated import Fold, Kind
from streams.dedupe import judge
from streams.price import Verdicts, settle
from streams.quick import rating
from streams.quick.records import decode
from streams.seen import SeenPartition
from tests.unit.streams.raw_records import (
    HOUR_MS,
    NO_LIMIT,
    NOW_MS,
    WINDOW_MS,
    RawRecord,
    decoded,
    event,
    price_book,
    raw,
)

REPLAY = (("replay-of", b"0:0:0:0"),)


@pytest.fixture
def seen() -> SeenPartition:
    partition = SeenPartition(WINDOW_MS)
    partition.fold.start_at(0)
    return partition


def rate(
    seen: SeenPartition, *records: RawRecord, book: PriceBook | None = None
) -> tuple[Verdicts, list[Any]]:
    """Give the records their verdicts, both ways, and remember them; return a short form, too."""
    found = decoded(*records)
    verdicts = settle(found, judge(found, seen), book or price_book(), WINDOW_MS)
    part = decode(records, NO_LIMIT)
    quick = rating.settle(part, rating.judge(part, seen), book or price_book(), WINDOW_MS)
    assert orjson.dumps(quick.entries()) == orjson.dumps(verdicts.entries)
    assert quick.identities == b"".join(verdicts.identities)
    fold = Fold(
        Kind.RATED,
        seen.fold.next_offset,
        found[-1].offset + 1,
        [(record.offset, record.broker_ms) for record in found],
        verdicts.positions,
        b"".join(verdicts.identities),
    )
    seen.apply(fold, seen.rated_offset)
    short: list[Any] = []
    for entry in verdicts.entries:
        if entry["verdict"] == "duplicate":
            short.append((entry["of_offset"], entry["of_index"]))
        elif entry["verdict"] == "charged":
            short.append(entry["credits"])
        else:
            short.append(entry["reason"])
    return verdicts, short


def test_an_event_is_charged_once(seen: SeenPartition) -> None:
    """The same event again, within a record, a run and across runs, is a duplicate of the first."""
    _, first = rate(seen, raw(0, event(1), event(1)), raw(1, event(1)))
    _, later = rate(seen, raw(2, event(2)), raw(3, event(1)))
    assert (first, later) == ([15, (0, 0), (0, 0)], [15, (0, 0)])


def test_either_identity_makes_a_duplicate(seen: SeenPartition) -> None:
    """Another id with a key that was charged is a duplicate, and so is another key with the id."""
    _, verdicts = rate(
        seen,
        raw(0, event(1, idempotency_key="K")),
        raw(1, event(2, idempotency_key="K")),
        raw(2, event(1, idempotency_key="L")),
        raw(3, event(2, idempotency_key="M")),
    )
    assert verdicts == [15, (0, 0), (0, 0), 15]


def test_customers_do_not_share_identities(seen: SeenPartition) -> None:
    """One customer's event id and key mean nothing to another's."""
    own = event(1, idempotency_key="K")
    _, verdicts = rate(seen, raw(0, own), raw(1, own | {"customer_id": "cust-2"}))
    assert verdicts == [15, 15]


def test_what_was_not_charged_is_not_remembered(seen: SeenPartition) -> None:
    """After a dead letter for want of a price, the same event is charged once there is one."""
    _, without = rate(seen, raw(0, event(1)), raw(1, event(1)), book=PriceBook(0))
    _, with_price = rate(seen, raw(2, event(1)), raw(3, event(1)))
    assert without == [Reason.UNPRICED, Reason.UNPRICED]
    assert with_price == [15, (2, 0)]


def test_a_duplicate_needs_no_price(seen: SeenPartition) -> None:
    """An event that was charged is a duplicate even when its price is gone meanwhile."""
    rate(seen, raw(0, event(1)))
    _, verdicts = rate(seen, raw(1, event(1)), book=PriceBook(2))
    assert verdicts == [(0, 0)]


def test_a_replayed_letter_is_not_judged_by_seen(seen: SeenPartition) -> None:
    """Postgres decides on replays: they pass `seen`, and leave nothing in it."""
    rate(seen, raw(0, event(1)))
    found, verdicts = rate(seen, raw(1, event(1), headers=REPLAY), raw(2, event(2), headers=REPLAY))
    _, later = rate(seen, raw(3, event(2)))
    assert (verdicts, later) == ([15, 15], [15])
    assert cast("Any", found.entries[0])["replay_of"] == "0:0:0:0"


@pytest.mark.parametrize(("hours", "verdict"), [(24, (0, 0)), (24.001, 15)])
def test_the_window_is_the_difference_of_broker_times(
    seen: SeenPartition, hours: float, verdict: Any
) -> None:
    """An identity counts up to the window's length of broker time, across and within runs alike."""
    later_ms = NOW_MS + int(hours * HOUR_MS)
    rate(seen, raw(0, event(1)))
    _, across = rate(seen, raw(1, event(1), ms=later_ms))
    _, within = rate(SeenPartition(WINDOW_MS), raw(0, event(1)), raw(1, event(1), ms=later_ms))
    assert (across, within[1:]) == ([verdict], [verdict])


def test_a_letter_keeps_the_bytes_and_the_key() -> None:
    """An unpriced event's letter holds what can be read of it, its bytes and its record's key."""
    found, _ = rate(SeenPartition(WINDOW_MS), raw(5, event(1), event(2)), book=PriceBook(0))
    letter = cast("Any", found.entries[1])
    assert (letter["offset"], letter["index"], letter["model"]) == (5, 1, "gpt-4-turbo")
    assert b64decode(letter["key"]) == b"cust-1"
    assert b'"event_id":"00000000-0000-0000-0000-000000000002"' in b64decode(letter["payload"])
    assert found.letters == {Reason.UNPRICED: 2}
