"""Verdicts of a part: the usual events by arrays, the rest by `streams.dedupe` and `streams.price`.

Those two say what a verdict is. An event is charged here when nothing of it is left to decide: it
is valid, neither of its identities was met before or stands twice in the part, and its price is of
the plain kind. Whatever is not so goes their way, a few in a hundred of the usual usage, and the
entries of both are put together in order.
`tests/property/streams/test_quick_rating.py` holds the two ways against each other.
"""

import secrets
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
import orjson

from schemas.pricing import PriceBook
from schemas.rated import Entry, pack_position
from streams.compiled import Flags, Numbers, Words
from streams.decode import DecodedRecord
from streams.dedupe import Judged, earlier
from streams.dedupe import judge as judge_others
from streams.price import Verdicts
from streams.price import settle as settle_others
from streams.quick.charge import NOT_HERE, Charged, Tariffs
from streams.quick.identify import KINDS, WORDS, identify
from streams.quick.names import number_customers
from streams.quick.records import DecodedRecords, row_positions
from streams.quick.scan import CUSTOMER, CUSTOMER_LENGTH, KEY_LENGTH
from streams.quick.write import write_entries
from streams.seen import SeenPartition, found_at
from streams.totals import HOUR_MS, Charge

# A sum of attodollars is two: of these, and of what is left.
_NANODOLLAR = 10**9
_SEED = secrets.randbits(62)


@dataclass(frozen=True, slots=True)
class JudgedPart:
    """What `seen` says of a part.

    By row: `identities` (packed into words, of its id and of its key), `has` which of them there
    are, and `is_open` whether more must be asked; `of_positions` of those met before. `others`: of
    the unusual records, one after another.
    """

    identities: Words
    has: Flags
    is_open: Flags
    of_positions: dict[int, int]
    others: Judged


@dataclass(frozen=True, slots=True)
class PartVerdicts:
    """The verdicts of a part: one entry per event, and what the charged ones leave behind.

    `others`: of the events that were settled one by one. `encoded`: all entries as JSON, with
    commas between. `identities` are packed, 16 bytes each, in the order of `positions`.
    """

    others: Verdicts = field(default_factory=Verdicts)
    encoded: bytes = b""
    usual: int = 0  # events charged by arrays
    charges: list[Charge] = field(default_factory=list)
    positions: "array[int]" = field(default_factory=lambda: array("q"))
    identities: bytes = b""

    @property
    def events(self) -> int:
        """All of them."""
        return self.usual + len(self.others.entries)

    @property
    def charged(self) -> int:
        """Events that cost what they cost, 0 included."""
        return self.usual + self.others.charged

    def entries(self) -> list[Entry]:
        """Return the entries as values; slow."""
        return list(orjson.loads(b"[%b]" % self.encoded))


def judge(part: DecodedRecords, seen: SeenPartition) -> JudgedPart:
    """Return the identities of a part's events and the charged events that they repeat."""
    rows = part.rows
    identities = np.empty((len(rows), KINDS, WORDS), np.uint64)
    identify(part.text, rows, identities)
    has = np.ones((len(rows), KINDS), np.bool)
    has[:, 1] = rows[:, KEY_LENGTH] > 0
    others = judge_others(list(part.unusual.values()), seen)
    row_of = np.nonzero(has)[0]  # of each identity
    packed = identities[has]
    of_positions: dict[int, int] = {}
    found = seen.find(packed.tobytes())
    for number in found_at(found):
        row = int(row_of[number])
        record = int(np.searchsorted(part.ends, row, "right"))
        if seen.is_in_window(found[number], int(part.broker_ms[record])):
            of_positions[row] = earlier(of_positions.get(row), found[number])
    is_open = np.zeros(len(rows), np.bool)
    is_open[list(of_positions)] = True
    is_open[row_of[_stand_twice(packed, others)]] = True
    return JudgedPart(identities, has, is_open, of_positions, others)


def _stand_twice(packed: Words, others: Judged) -> Flags:
    """Tell which identities share their first word with another one of the part."""
    own = packed[:, 0]
    joined = b"".join(chain.from_iterable(others.identities))
    words = np.sort(np.concatenate([own, np.frombuffer(joined, np.uint64)[::WORDS]]))
    twice = words[1:][words[1:] == words[:-1]]
    return np.isin(own, twice) if twice.size else np.zeros(len(own), np.bool)


@lru_cache(maxsize=1)
def _tariffs(book: PriceBook) -> Tariffs:
    return Tariffs(book)


def settle(
    part: DecodedRecords, judged: JudgedPart, book: PriceBook, window_ms: int
) -> PartVerdicts:
    """Return the verdicts of a part. An event twice in it: the second is a duplicate."""
    tariffs = _tariffs(book)
    customers = _Customers.of(part)
    has_own_rates = np.array([book.has_burn_tables(name) for name in customers.names], np.bool)
    charged = tariffs.charge(part.text, part.rows, has_own_rates[customers.numbers])
    charged.terms[judged.is_open] = NOT_HERE
    positions = row_positions(part)
    others = settle_others(*_left(part, judged, charged.terms, positions), book, window_ms)
    is_usual = charged.terms != NOT_HERE
    written, ends = write_entries(part.text, part.rows, positions, charged, tariffs.tables)
    all_positions, identities = _remembered(judged, is_usual, positions, others)
    return PartVerdicts(
        others,
        b",".join(_pieces(written, ends, positions, others.entries)),
        int(np.count_nonzero(is_usual)),
        [*_charges(part, customers, charged, is_usual), *others.charges],
        all_positions,
        identities,
    )


class _Customers(NamedTuple):
    """The customers of a part's rows: their names, and the number of each row's."""

    names: list[str]
    numbers: Numbers

    @classmethod
    def of(cls, part: DecodedRecords) -> "_Customers":
        rows = part.rows
        numbers, firsts = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        count = number_customers(part.text, rows, _SEED, numbers, firsts)
        text = part.text
        names = [
            text[at : at + length].tobytes().decode()
            for at, length in rows[firsts[:count], CUSTOMER : CUSTOMER_LENGTH + 1].tolist()
        ]
        return cls(names, numbers)


def _left(
    part: DecodedRecords, judged: JudgedPart, terms: Numbers, positions: Numbers
) -> tuple[list[DecodedRecord], Judged]:
    """Return what is to be settled one by one, in order, and what `seen` says of it."""
    left: list[tuple[int, DecodedRecord, list[tuple[bytes, ...]], list[int | None]]] = []
    first = 0
    for record in part.unusual.values():
        end = first + len(record.events)
        of_it = judged.others.identities[first:end], judged.others.of_positions[first:end]
        left.append((pack_position(record.offset, 0), record, *of_it))
        first = end
    if (terms == NOT_HERE).any():
        row_records, row_indexes = part.row_records, part.row_indexes
        for row in np.flatnonzero(terms == NOT_HERE).tolist():
            number = int(row_records[row])
            own = part.row_text(row)
            record = DecodedRecord(
                int(part.offsets[number]),
                int(part.broker_ms[number]),
                part.records[number].key,
                own,
                [orjson.loads(own)],
                first_index=int(row_indexes[row]),
            )
            identities = tuple(one.tobytes() for one in judged.identities[row][judged.has[row]])
            left.append((int(positions[row]), record, [identities], [judged.of_positions.get(row)]))
    left.sort(key=lambda one: one[0])
    return [record for _, record, _, _ in left], Judged(
        list(chain.from_iterable(identities for _, _, identities, _ in left)),
        list(chain.from_iterable(of_positions for _, _, _, of_positions in left)),
    )


def _pieces(
    written: bytes, ends: Numbers, positions: Numbers, others: Sequence[Entry]
) -> Iterator[bytes]:
    """Yield the JSON of entries in order: those that were written, and others between them."""
    at = 0
    where = [pack_position(entry["offset"], entry["index"]) for entry in others]
    before = np.searchsorted(positions, np.array(where, np.int64))
    # Behind each written entry stands a comma, which is not wanted at a piece's end.
    for rows_before, entry in zip(before.tolist(), others, strict=True):
        end = int(ends[rows_before - 1]) if rows_before else 0
        if end > at:
            yield written[at : end - 1]
        yield orjson.dumps(entry)
        at = end
    if len(written) > at:
        yield written[at:-1]


def _remembered(
    judged: JudgedPart, is_usual: Flags, positions: Numbers, others: Verdicts
) -> tuple["array[int]", bytes]:
    """Return the positions and identities that all charged events leave in `seen`, in order."""
    has = judged.has & is_usual[:, None]
    own_positions = np.repeat(positions, has.sum(axis=1))
    identities = judged.identities[has]
    if others.positions:
        packed = np.frombuffer(b"".join(others.identities), np.uint64).reshape(-1, WORDS)
        own_positions = np.concatenate([own_positions, np.array(others.positions, np.int64)])
        order = np.argsort(own_positions, kind="stable")
        own_positions = own_positions[order]
        identities = np.concatenate([identities, packed])[order]
    return array("q", own_positions.tobytes()), identities.tobytes()


def _charges(
    part: DecodedRecords, customers: _Customers, charged: Charged, is_usual: Flags
) -> Iterator[Charge]:
    """Yield what was charged by arrays: in one sum per customer, where one hour holds the part."""
    hours = part.broker_ms // HOUR_MS
    if (hours == hours[0]).all():
        sums = np.zeros((len(customers.names), 4), np.int64)
        numbers, attodollars = customers.numbers[is_usual], charged.attodollars[is_usual]
        ones = np.ones_like(numbers)
        summed = charged.credits[is_usual], *np.divmod(attodollars, _NANODOLLAR), ones
        np.add.at(sums, numbers, np.stack(summed, axis=1))
        first_offset = int(part.offsets[0])
        for name, (whole, nano, rest, events) in zip(customers.names, sums.tolist(), strict=True):
            if events:
                yield name, first_offset, whole, nano * _NANODOLLAR + rest, events
        return
    offsets = part.offsets[part.row_records]
    for row in np.flatnonzero(is_usual).tolist():
        yield (
            customers.names[customers.numbers[row]],
            int(offsets[row]),
            int(charged.credits[row]),
            int(charged.attodollars[row]),
            1,
        )
