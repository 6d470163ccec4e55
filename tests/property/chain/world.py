"""What is durable: the logs of Kafka and the ledger of Postgres, each modelled by its few rules.

A log is a list that only grows (or loses its end, when a broker loses its disk). The ledger is
changed by whole transactions, whose rules are the database's: one row per identity, one per
position, the position advances with the rows.
"""

from base64 import b64decode
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from schemas.dead_letter import Position, Reason
from schemas.pricing import Price, PriceBook
from schemas.rated import DuplicateEntry, Fold, RatedBatch, encode_batch
from schemas.timestamps import TimestampPolicy
from sinks.batch import Applied, Clipped, RatedRecord, Reached, read_record
from sinks.charges import Charge
from sinks.wallets import Account, Wallet, choose_wallet, wallets_by_scope
from streams.decode import DecodedRecord, decode_record
from streams.producer import headers_of
from tests.burning import BurnRow, Debit, burn
from tests.crash.model import Model
from tests.property.chain.model import START_MS, STEADY, booked_as

PARTITIONS = (0, 1)
POLICY = TimestampPolicy(None, None)
_SINCE = datetime(2025, 1, 1, tzinfo=UTC)


class RawRecord(NamedTuple):
    """A record of `usage.raw`, as aiokafka shows one."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    timestamp_type: int = 1  # the broker's


class RatedInLog(NamedTuple):
    """A record of `usage.rated`, as aiokafka shows one."""

    offset: int
    timestamp: int
    value: bytes
    headers: Sequence[tuple[str, bytes]]


@dataclass(slots=True)
class RawLog:
    """One partition of `usage.raw`; offsets may be without a record."""

    epoch: int = 0
    records: list[RawRecord] = field(default_factory=list)
    end: int = 0

    def append(
        self, ms: int, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]] = ()
    ) -> int:
        """Return the offset that the record got."""
        self.records.append(RawRecord(self.end, ms, key, value, headers))
        self.end += 1
        return self.end - 1

    def read(self, offset: int, count: int) -> list[RawRecord]:
        """Return the first records at or after an offset."""
        at = bisect_left(self.records, offset, key=lambda record: record.offset)
        return self.records[at : at + count]


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A row of DeadLetter."""

    reason: str
    payload: bytes
    key: bytes | None
    is_open: bool = True


class ChargedRow(NamedTuple):
    """A row of UsageEvent. `tokens`: what it costs where a token costs one credit."""

    usage: str
    event: str
    customer_id: str
    credits: int
    tokens: int


@dataclass(slots=True)
class Ledger:
    """Postgres. `rows`: by source position; `charged`: UNIQUE identities."""

    customers: set[str] = field(default_factory=lambda: {"acme", "bert", "dora"})
    reached: dict[int, Reached] = field(
        default_factory=lambda: {p: Reached(p, 0, 0, 0, 0) for p in PARTITIONS}
    )
    rows: dict[Position, ChargedRow] = field(default_factory=dict)
    charged: dict[tuple[str, str, str], Position] = field(default_factory=dict)
    duplicates: dict[Position, list[tuple[str, str, str]]] = field(default_factory=dict)
    letters: dict[Position, LetterRow] = field(default_factory=dict)
    batches: list[tuple[int, int, int, int]] = field(default_factory=list)
    wallets: dict[str, Wallet] = field(
        default_factory=lambda: {
            "w-acme": Wallet("w-acme", "acme", None, None),
            "w-acme-team": Wallet("w-acme-team", "acme", None, "team"),
            "w-bert-team": Wallet("w-bert-team", "bert", None, "team"),
        }
    )
    accounts: dict[str, Account] = field(default_factory=dict)
    transactions: list[BurnRow] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)  # a position with two verdicts
    conflicts: int = 0

    def snapshot(self) -> "Ledger":
        """Return a copy that later transactions do not change."""
        kept: dict[str, Any] = {name: copy(getattr(self, name)) for name in self.__slots__}
        kept["accounts"] = {key: copy(account) for key, account in self.accounts.items()}
        return Ledger(**kept)

    def apply(
        self,
        clipped: Sequence[Clipped],
        ms: int,
        *,
        is_unique: bool = True,
        verifies_duplicates: bool = True,
    ) -> None:
        """Commit one transaction of a sink."""
        debits: list[Debit] = []
        duplicates: list[tuple[Applied, DuplicateEntry]] = []
        for one in clipped:
            for applied in one.applied:
                for charge in applied.charges:
                    debits += self._charge(applied, charge, is_unique=is_unique)
                self._set_aside(applied)
                duplicates += [(applied, entry) for entry in applied.duplicates]
                batch = applied.record.batch
                self.batches.append(
                    (batch.partition, applied.epoch, applied.first_offset, applied.next_offset)
                )
            self.reached[one.reached.partition] = one.reached
        for applied, entry in duplicates:
            self._duplicate(applied, entry, is_verified=verifies_duplicates)
        self.transactions += burn(self.accounts, debits, ms).rows

    def _charge(self, applied: Applied, charge: Charge, *, is_unique: bool) -> list[Debit]:
        event: Any = charge.entry["event"]
        position = applied.position(charge)
        if event["customer_id"] not in self.customers:
            key = event["customer_id"].encode()
            row = LetterRow(Reason.UNKNOWN_CUSTOMER, orjson.dumps(event), key)
            self._letter(position, row)
            return []
        if "replay_of" in charge.entry:
            self.close(Position.parse(charge.entry["replay_of"]))
        own = identities_of(event)
        if is_unique and any(identity in self.charged for identity in own):
            self._once(position)
            self.duplicates[position] = own
            self.conflicts += 1
            return []
        self._once(position)
        self.charged |= dict.fromkeys(own, position)
        credits_ = charge.entry["credits"]
        self.rows[position] = ChargedRow(
            event["metadata"]["usage"],
            booked_as(event),
            event["customer_id"],
            credits_,
            _tokens(credits_, charge.entry["price_ids"]),
        )
        if credits_ == 0:
            return []
        wallet = self._wallet(event["customer_id"], event.get("team_id"))
        return [Debit(wallet, event["customer_id"], event["event_id"], credits_)]

    def _wallet(self, customer_id: str, team_id: str | None) -> str:
        by_scope = wallets_by_scope(self.wallets.values())
        wallet = choose_wallet(by_scope, customer_id, None, team_id)
        if wallet is None:
            wallet = f"wallet_{customer_id}"
            self.wallets[wallet] = Wallet(wallet, customer_id, None, None)
        self.accounts.setdefault(wallet, Account(0, 0, None))
        return wallet

    def _duplicate(self, applied: Applied, entry: DuplicateEntry, *, is_verified: bool) -> None:
        """Believe the streams, or look whether anything that it repeats is charged."""
        event: Any = entry["event"]
        position = Position(applied.partition, applied.epoch, entry["offset"], entry["index"])
        own = identities_of(event)
        if is_verified and not any(identity in self.charged for identity in own):
            key = event["customer_id"].encode()
            self._letter(position, LetterRow(Reason.ORIGINAL_NOT_CHARGED, orjson.dumps(event), key))
            return
        self._once(position)
        self.duplicates[position] = own

    def _set_aside(self, applied: Applied) -> None:
        for letter in applied.letters:
            key = None if letter["key"] is None else b64decode(letter["key"])
            self._letter(
                Position(applied.partition, applied.epoch, letter["offset"], letter["index"]),
                LetterRow(letter["reason"], b64decode(letter["payload"]), key),
            )

    def _letter(self, position: Position, row: LetterRow) -> None:
        self._once(position)
        self.letters[position] = row

    def close(self, at: Position) -> None:
        """Mark a letter as replayed."""
        if at in self.letters:
            self.letters[at] = replace(self.letters[at], is_open=False)

    def _once(self, position: Position) -> None:
        if position in self.rows or position in self.duplicates or position in self.letters:
            self.breaches.append(str(position))


def _tokens(credits_: int, price_ids: Sequence[str]) -> int:
    """Return how many tokens were charged at the price that was used; -1: at none there is."""
    rate = int(price_ids[0].rsplit("-", 1)[1]) if price_ids else 1
    return -1 if credits_ % rate else credits_ // rate


def identities_of(event: Any) -> list[tuple[str, str, str]]:
    """Return what the UNIQUE constraints see of an event."""
    customer_id, key = event["customer_id"], event.get("idempotency_key")
    by_id = (customer_id, "id", event["event_id"].lower())
    return [by_id] if not key else [by_id, (customer_id, "key", key)]


class World:
    """Everything that outlives a process, and what was sent."""

    def __init__(self) -> None:
        self.ms = START_MS
        self.raw = {p: RawLog() for p in PARTITIONS}
        self.rated: dict[int, list[RatedInLog]] = {p: [] for p in PARTITIONS}
        self.ledger = Ledger()
        self.rates: dict[str, int] = {STEADY: 1}
        self.revision = 0
        self.book = self._make_book()
        self.quarantined: set[tuple[int, int, int]] = set()
        self.committed = dict.fromkeys(PARTITIONS, 0)  # Kafka's word, believed by nobody
        self.model = Model()  # what must be charged in the end
        self.chained: list[dict[str, Any]] = []  # events whose identities chain
        self.met: Counter[str] = Counter()  # what happened in this history
        # (partition, epoch, offset) -> events in the record
        self.places: dict[tuple[int, int, int], int] = {}
        self.events_in: dict[bytes, int] = {}
        self._decoded: dict[tuple[int, int, int, bool], DecodedRecord] = {}
        self._read: dict[bytes, RatedRecord] = {}

    def produce(
        self,
        partition: int,
        value: bytes,
        events: int,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Append a record that holds so many events (or is one letter as a whole)."""
        log = self.raw[partition]
        offset = log.append(self.ms, key, value, headers)
        self.places[partition, log.epoch, offset] = events
        self.events_in[value] = events

    def set_rate(self, model: str, rate: int | None) -> None:
        """Publish a price, or take it away."""
        if rate is None:
            self.rates.pop(model, None)
        else:
            self.rates[model] = rate
        self.revision += 1
        self.book = self._make_book()

    def _make_book(self) -> PriceBook:
        return PriceBook(
            self.revision,
            [
                Price(
                    f"{m}-{r}", "OPENAI", m, "INPUT_TOKEN", Decimal(r), 1000, _SINCE, None, _SINCE
                )
                for m, r in self.rates.items()
            ],
        )

    def decode(self, partition: int, record: RawRecord) -> DecodedRecord:
        """Decode a raw record as a worker does now."""
        place = (partition, self.raw[partition].epoch, record.offset)
        is_quarantined = place in self.quarantined
        found = self._decoded.get((*place, is_quarantined))
        if found is None:
            reason = "set aside" if is_quarantined else None
            found = decode_record(record, record.timestamp, POLICY, reason)
            self._decoded[*place, is_quarantined] = found
        return found

    def append_rated(self, batch: RatedBatch, fold: Fold) -> int:
        """Append a rated batch and return its offset."""
        log = self.rated[batch.partition]
        record = RatedInLog(len(log), self.ms, encode_batch(batch), headers_of(batch, fold))
        log.append(record)
        return record.offset

    def read_rated(self, partition: int, offsets: Iterable[int]) -> list[RatedRecord]:
        """Read rated records as a sink does."""
        found = []
        for offset in offsets:
            value = self.rated[partition][offset].value
            record = self._read.get(value)
            if record is None:
                record = self._read[value] = read_record(offset, value)
            # The same bytes at another place are another record.
            found.append(replace(record, rated_offset=offset))
        return found
