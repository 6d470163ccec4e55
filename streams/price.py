"""The verdict on each event of a part: charged at its price, a duplicate, or a dead letter."""

from array import array
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from schemas.dead_letter import Reason
from schemas.events import UsageEvent
from schemas.pricing import PriceBook, Unpriced, cost_text, rate
from schemas.rated import (
    ChargedEntry,
    DeadLetterEntry,
    DuplicateEntry,
    Entry,
    pack_position,
    unpack_position,
)
from streams.decode import DecodedRecord, Letter, readable_of
from streams.dedupe import Judged
from streams.totals import Charge


@dataclass(slots=True)
class Verdicts:
    """One entry per event, and the identities that the charged ones leave in `seen`."""

    entries: list[Entry] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    positions: "array[int]" = field(default_factory=lambda: array("q"))
    identities: list[bytes] = field(default_factory=list)
    duplicates: int = 0
    letters: dict[Reason, int] = field(default_factory=dict)
    # Of `letters`, less replays that failed again; None: nobody can read whose it is.
    letters_by_customer: Counter[str | None] = field(default_factory=Counter)

    @property
    def charged(self) -> int:
        """Events that cost what they cost, 0 included."""
        return len(self.charges)

    @property
    def letter_count(self) -> int:
        """Dead letters of all reasons."""
        return sum(self.letters.values())


def settle(
    records: Sequence[DecodedRecord], judged: Judged, book: PriceBook, window_ms: int
) -> Verdicts:
    """Return the verdicts of a part. An event twice in it: the second is a duplicate."""
    verdicts = Verdicts()
    entries, charges = verdicts.entries, verdicts.charges
    repeated = _repeated(judged.identities)
    charged: dict[bytes, tuple[int, int]] = {}  # of `repeated`: packed position, broker's time
    judgements = zip(judged.identities, judged.of_positions, strict=True)
    for record in records:
        offset = record.offset
        for index, event in enumerate(record.events, record.first_index):
            identities, of_position = next(judgements)
            if isinstance(event, Letter):
                _add_letter(verdicts, record, index, event)
                continue
            is_repeated = not repeated.isdisjoint(identities)
            if is_repeated and of_position is None:
                of_position = _charged_before(identities, charged, record.broker_ms, window_ms)
            if of_position is not None:
                _add_duplicate(verdicts, offset, index, event, of_position)
                continue
            cost = rate(event, book)
            if isinstance(cost, Unpriced):
                letter = Letter(Reason.UNPRICED, cost.message, readable_of(event))
                _add_letter(verdicts, record, index, letter)
                continue
            entry: ChargedEntry = {
                "offset": offset,
                "index": index,
                "verdict": "charged",
                "event": event,
                "credits": cost.credits,
                "cost_usd": cost_text(cost.cost_attodollars),
                "price_ids": cost.price_ids,
            }
            if record.replay_of is not None:
                entry["replay_of"] = record.replay_of
            if record.void is not None:
                entry["voids"] = record.void
            entries.append(entry)
            charges.append((event["customer_id"], offset, cost.credits, cost.cost_attodollars, 1))
            position = pack_position(offset, index)
            if is_repeated:
                charged |= dict.fromkeys(identities, (position, record.broker_ms))
            verdicts.positions.extend([position] * len(identities))
            verdicts.identities += identities
    return verdicts


def _repeated(identities: Sequence[tuple[bytes, ...]]) -> set[bytes]:
    """Return the identities that stand there more than once: few, and only these can meet."""
    counts = Counter(chain.from_iterable(identities))
    return {one for one, count in counts.items() if count > 1}


def _charged_before(
    identities: Sequence[bytes],
    charged: Mapping[bytes, tuple[int, int]],
    broker_ms: int,
    window_ms: int,
) -> int | None:
    # The same test as against `seen`: a verdict must not depend on where runs are cut.
    found = [charged[identity] for identity in identities if identity in charged]
    return min((at for at, ms in found if abs(broker_ms - ms) <= window_ms), default=None)


def _add_duplicate(
    verdicts: Verdicts, offset: int, index: int, event: UsageEvent, of_position: int
) -> None:
    of_offset, of_index = unpack_position(of_position)
    entry: DuplicateEntry = {
        "offset": offset,
        "index": index,
        "verdict": "duplicate",
        "event": event,
        "of_offset": of_offset,
        "of_index": of_index,
    }
    verdicts.entries.append(entry)
    verdicts.duplicates += 1


def _add_letter(verdicts: Verdicts, record: DecodedRecord, index: int, letter: Letter) -> None:
    readable = letter.readable
    entry: DeadLetterEntry = {
        "offset": record.offset,
        "index": index,
        "verdict": "dead-letter",
        "reason": letter.reason,
        "message": letter.message,
        "customer_id": readable.get("customer_id"),
        "event_id": readable.get("event_id"),
        "idempotency_key": readable.get("idempotency_key"),
        "provider": readable.get("provider"),
        "model": readable.get("model"),
        "payload": b64encode(record.payload(index)).decode(),
        "key": None if record.key is None else b64encode(record.key).decode(),
    }
    if record.replay_of is not None:
        entry["replay_of"] = record.replay_of
    else:
        verdicts.letters_by_customer[entry["customer_id"]] += 1
    verdicts.entries.append(entry)
    verdicts.letters[letter.reason] = verdicts.letters.get(letter.reason, 0) + 1
