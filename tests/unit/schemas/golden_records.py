"""The records of a release as bytes: `golden/VERSION/TOPIC.json`, kept for ever.

`python -m tests.unit.schemas.golden_records` writes those of the version in pyproject.toml, once.
A file holds records (bytes as text of the same code points) and what they meant when they were
written.
"""

import json
import tomllib
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec

from gateway.ingest import to_records
from schemas.batch_id import BatchPositions, decode_batch_id, encode_batch_id
from schemas.corrections import (
    CORRECTION_HEADER,
    Correction,
    Void,
    encode_correction,
    letter_headers,
)
from schemas.dead_letter import FORMAT_HEADER, Position, replay_headers
from schemas.events import UsageEvent
from schemas.formats import version_of
from schemas.rated import (
    FOLD_HEADER,
    Entry,
    Fold,
    Kind,
    RatedBatch,
    decode_batch,
    encode_batch,
    pack_fold,
)
from schemas.timestamps import TimestampPolicy
from sinks.prices import NO_ROW, Published, published_row, record_value
from sinks.rated_values import read_value
from streams.burns import (
    FOLDED_TO_HEADER,
    _folded_to,
    _read_key,
    _read_value,
    _write_key,
    _write_value,
)
from streams.commands import decision_record
from streams.decode import decode_record
from streams.price_book import PriceTable, QuarantineTable
from streams.producer import headers_of
from streams.seen import fold_of
from streams.totals import Burn
from tests.rated_batches import batch, charged, dead_letter, duplicate, event_id

REPOSITORY = Path(__file__).resolve().parents[3]
FOLDER = Path(__file__).parent / "golden"
BROKER_MS = 1_770_000_000_000
START_MS = 1_769_997_600_000  # the hour's
SECRET, CUSTOMER = b"a secret", "cust-ü"


@dataclass(frozen=True)
class Record:
    """What Kafka keeps of it."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    offset: int = 0
    timestamp: int = BROKER_MS

    def as_json(self) -> dict[str, Any]:
        """Return it as a file keeps it."""
        return {
            "key": self.key and self.key.decode("latin-1"),
            "value": self.value and self.value.decode("latin-1"),
            "headers": [[name, value.decode("latin-1")] for name, value in self.headers],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any], offset: int) -> "Record":
        """Read what `as_json` wrote."""
        return cls(
            found["key"] and found["key"].encode("latin-1"),
            found["value"] and found["value"].encode("latin-1"),
            [(name, value.encode("latin-1")) for name, value in found["headers"]],
            offset,
        )


def version() -> str:
    """Return the version that this code will be released as."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return str(project["version"])


# What today's code writes ------------------------------------------------------------------


def _full_event() -> UsageEvent:
    event = {
        "event_id": event_id(1),
        "customer_id": CUSTOMER,
        "event_type": "TOKEN_USAGE",
        "feature_id": "chat",
        "timestamp": "2026-02-02T02:40:00.123456Z",
        "user_id": "user-1",
        "team_id": "team-1",
        "provider": "OPENAI",
        "model": "gpt-4-turbo",
        "input_tokens": 2**63 - 1,
        "output_tokens": 0,
        "image_count": 2,
        "image_size": "1024x1024",
        "quality": "hd",
        "duration_seconds": 1.5,
        "resolution": "720p",
        "unit_type": "page",
        "quantity": 0.1,
        "metadata": {"a": [1, None, {"b": "ü"}]},
        "idempotency_key": "key-1",
    }
    return cast("UsageEvent", event)


def _raw() -> list[Record]:
    short = charged(0, event_id=event_id(2))["event"]
    (several,) = to_records([_full_event(), short])
    direct = json.dumps(dict(short) | {"event_id": event_id(3)}).encode()
    return [
        Record(CUSTOMER.encode(), several, [FORMAT_HEADER]),
        Record(b"cust-1", direct),  # a producer's own: no header
        Record(b"cust-1", direct, replay_headers(Position(1, 2, 3, 4))),
        Record(None, b"no json", [FORMAT_HEADER]),
        Record(b"cust-1", encode_correction(Correction(_void())), [CORRECTION_HEADER]),
        Record(
            b"cust-1",
            encode_correction(Correction(_void(), short)),
            letter_headers(Position(1, 2, 3, 4), encode_correction(Correction(_void()))),
        ),
    ]


def _void() -> Void:
    void = {"customer_id": "cust-1", "event_id": event_id(9), "reason": "twice"}
    return cast("Void", void | {"requested_by": "ann"})


def _rated() -> list[Record]:
    first = charged(10, event_id=event_id(1), replay_of="0:0:3:1")
    first["event"] = _full_event()
    entries: list[Entry] = [
        first,
        charged(10, 1, event_id=event_id(2), credits_=0, cost_usd="0.000000000000000001"),
        duplicate(11, 10, of_event=event_id(1)),
        dead_letter(12, b"\x00\xff no json"),
    ]
    rated = RatedBatch(
        partition=3,
        first_offset=9,
        next_offset=13,
        price_revision=7,
        broker_times=[(10, BROKER_MS), (12, BROKER_MS + 5)],
        events=entries,
        totals=[(CUSTOMER, "2026-02-02T02:00:00Z", 15, "0.015000", 2)],
    )
    positions = array("q", [10 << 10, 10 << 10 | 1])
    fold = Fold(Kind.RATED, 9, 13, rated.broker_times, positions, bytes(range(32)))
    voiding = charged(20, event_id=event_id(3))
    voiding["voids"] = _void()
    correcting = batch(20, 21, [voiding])
    empty = Fold(Kind.RATED, 20, 21, correcting.broker_times, array("q"), b"")
    return [
        Record(None, encode_batch(rated), headers_of(rated, fold)),
        Record(None, encode_batch(correcting), headers_of(correcting, empty)),
    ] + [
        Record(
            None,
            encode_batch(batch(13, 20, kind=kind)),
            [FORMAT_HEADER, (FOLD_HEADER, pack_fold(Fold(kind, 13, 20, [], array("q"), b"")))],
        )
        for kind in (Kind.HOLE, Kind.NEW_EPOCH)
    ]


def _burns() -> list[Record]:
    headers = [FORMAT_HEADER, (FOLDED_TO_HEADER, b"42")]
    return [
        Record(
            _write_key((CUSTOMER, "hour", START_MS), 3),
            _write_value(Burn(15, 15 * 10**15, 2, 13, 41)),
            headers,
        ),
        Record(
            _write_key((CUSTOMER, "day", START_MS), 3),
            _write_value(Burn(2**70, 10**40, 2**65, 13, 41)),
            headers,
        ),
        Record(_write_key(("cust-2", "hour", START_MS), 3), None, headers),
    ]


def _prices() -> list[Record]:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    times = {"valid_from": at, "valid_until": None, "created_at": at}
    cost = {
        "id": "in",
        "provider": "OPENAI",
        "model": "gpt-4-turbo",
        "cost_type": "INPUT_TOKEN",
        "cost_per_unit": "0.000000000000000005",
        "unit_size": "1000",
        "currency": "USD",
        **times,
    }
    table = {
        "id": "own",
        "customer_id": CUSTOMER,
        "name": "their rates",
        "version": "2",
        "rules": {"gpt-4-turbo": {"per_unit": 1000, "input_tokens": 1.5, "flat_rate": 2}},
        **times,
    }
    rows: dict[str, Any] = {
        "cost:in": cost,
        "burn-table:own": table,
        "cost:gone": None,
        "revision": NO_ROW,
    }
    return [
        Record(
            key.encode(),
            record_value(7, None if row is None else published_row(row)),
            [FORMAT_HEADER],
        )
        for key, row in rows.items()
    ]


def _quarantine() -> list[Record]:
    decisions = [(0, 5, ("issue 12", "ann")), (1, 6, ("issue 13", "bob")), (1, 6, None)]
    return [Record(*decision_record(*one), [FORMAT_HEADER]) for one in decisions]


def _batch_ids() -> list[Record]:
    positions = BatchPositions(3, (10, 11), 1_000)
    return [Record(None, encode_batch_id(SECRET, CUSTOMER, positions).encode())]


# What today's code reads -------------------------------------------------------------------


def _read_raw(records: Sequence[Record]) -> Any:
    policy = TimestampPolicy(None, None)
    return [
        {"version": version_of(one.headers), "record": decode_record(one, BROKER_MS, policy)}
        for one in records
    ]


def _read_rated(records: Sequence[Record]) -> Any:
    return [
        {
            "version": version_of(one.headers),
            "batch": decode_batch(one.value or b""),
            "sink": read_value(one.value or b""),
            "fold": fold_of(one.headers),
        }
        for one in records
    ]


def _read_burns(records: Sequence[Record]) -> Any:
    return [
        {
            "version": version_of(one.headers),
            "key": _read_key(one.key or b""),
            "burn": _read_value(one.value),
            "folded_to": _folded_to(one.headers),
        }
        for one in records
    ]


def _read_prices(records: Sequence[Record]) -> Any:
    table, published = PriceTable(), Published()
    for one in records:
        table.apply(one.key, one.value)
        published.apply((one.key or b"").decode(), one.value or b"")
    kept = {key: row for key, (_, row) in table._rows.items()}
    return {"revision": table.publish().revision, "rows": kept, "published": published.revision}


def _read_quarantine(records: Sequence[Record]) -> Any:
    table = QuarantineTable()
    for one in records:
        table.apply(one.key, one.value)
    return {"0:5": table.reason(0, 5), "1:6": table.reason(1, 6)}


def _read_batch_ids(records: Sequence[Record]) -> Any:
    return [decode_batch_id(SECRET, CUSTOMER, (one.value or b"").decode()) for one in records]


# By the name of the file: what is written, and how it is read.
TOPICS: Mapping[str, tuple[Callable[[], list[Record]], Callable[[Sequence[Record]], Any]]] = {
    "usage.raw": (_raw, _read_raw),
    "usage.rated": (_rated, _read_rated),
    "usage.burns": (_burns, _read_burns),
    "usage.prices": (_prices, _read_prices),
    "usage.quarantine": (_quarantine, _read_quarantine),
    "batch-id": (_batch_ids, _read_batch_ids),
}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, bytes | msgspec.Raw):
        return bytes(value).decode("latin-1")
    return list(value) if isinstance(value, array) else str(value)


def meaning(name: str, records: Sequence[Record]) -> Any:
    """Return what today's code reads in records, as JSON has it."""
    _, read = TOPICS[name]
    return json.loads(json.dumps(read(records), default=_plain))


def write() -> None:
    """Write the files of this version. Raises FileExistsError: they are never written over."""
    folder = FOLDER / version()
    folder.mkdir(parents=True)
    for name, (records_now, _) in TOPICS.items():
        records = [replace(one, offset=at) for at, one in enumerate(records_now())]
        content = {
            "records": [one.as_json() for one in records],
            "means": meaning(name, records),
        }
        text = json.dumps(content, indent=1, ensure_ascii=True)
        (folder / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    write()
