"""Charged entries of a rated batch, written by a compiled loop around the events' own bytes.

An entry is what `schemas.rated.ChargedEntry` says. Its event stands there as its producer wrote it:
there is nothing in it that another reader or writer of JSON would change but space.
"""

import numpy as np

from schemas.pricing import ATTODOLLARS_PER_USD, COST_PLACES
from schemas.rated import INDEX_BITS
from streams.compiled import Bytes, Numbers, compiled, copy
from streams.quick.charge import PRICE_IDS, PRICE_IDS_LENGTH, Charged, Tables
from streams.quick.scan import END, POINT, START, ZERO


def _piece(text: str) -> Bytes:
    return np.frombuffer(text.encode(), np.uint8)


_OFFSET = _piece('{"offset":')
_INDEX = _piece(',"index":')
_EVENT = _piece(',"verdict":"charged","event":')
_CREDITS = _piece(',"credits":')
_COST = _piece(',"cost_usd":"')
_IDS = _piece('","price_ids":')
_END = _piece("},")
_NUMBERS_BYTES = 4 * 20  # an offset, an index, credits, a cost
_ENTRY_BYTES = _NUMBERS_BYTES + sum(
    map(len, (_OFFSET, _INDEX, _EVENT, _CREDITS, _COST, _IDS, _END))
)
_INDEX_MASK = (1 << INDEX_BITS) - 1
_COST_DIGITS_SHOWN = 6  # of the places, at least


def write_entries(
    text: Bytes, rows: Numbers, positions: Numbers, charged: Charged, tables: Tables
) -> tuple[bytes, Numbers]:
    """Return the entries of rows that have terms, each with a comma behind it, and their ends.

    `positions` are packed. A row without terms ends where the one before it does.
    """
    ids_length = int(tables.terms[:, PRICE_IDS_LENGTH].max(initial=0))
    events_length = int((rows[:, END] - rows[:, START]).sum())
    written = np.empty(events_length + len(rows) * (_ENTRY_BYTES + ids_length), np.uint8)
    ends = np.empty(len(rows), np.int64)
    length = _write(text, rows, positions, *charged, tables.text, tables.terms, written, ends)
    return written[:length].tobytes(), ends


@compiled
def _whole(written: Bytes, at: int, number: int) -> int:
    """Write a whole number, 0 or more; return where it ends."""
    length, rest = 1, number // 10
    while rest:
        length += 1
        rest //= 10
    for place in range(length):
        written[at + length - 1 - place] = ZERO + number % 10
        number //= 10
    return at + length


@compiled
def _usd(written: Bytes, at: int, attodollars: int) -> int:
    """Write a cost as `schemas.pricing.cost_text` does; return where it ends."""
    at = _whole(written, at, attodollars // ATTODOLLARS_PER_USD)
    written[at] = POINT
    places = attodollars % ATTODOLLARS_PER_USD
    shown = COST_PLACES
    while shown > _COST_DIGITS_SHOWN and places % 10 == 0:
        places //= 10
        shown -= 1
    for place in range(shown):
        written[at + shown - place] = ZERO + places % 10
        places //= 10
    return at + 1 + shown


@compiled
def _write(  # noqa: PLR0917 -- arrays in, arrays out
    text: Bytes,
    rows: Numbers,
    positions: Numbers,
    whole_credits: Numbers,
    attodollars: Numbers,
    found: Numbers,
    tariffs: Bytes,
    terms: Numbers,
    written: Bytes,
    ends: Numbers,
) -> int:
    """Fill in the last two; return how many bytes there are."""
    at = 0
    for number in range(rows.shape[0]):
        own = found[number]
        if own >= 0:
            first, end = rows[number, START], rows[number, END]
            at = copy(written, at, _OFFSET, 0, len(_OFFSET))
            at = _whole(written, at, positions[number] >> INDEX_BITS)
            at = copy(written, at, _INDEX, 0, len(_INDEX))
            at = _whole(written, at, positions[number] & _INDEX_MASK)
            at = copy(written, at, _EVENT, 0, len(_EVENT))
            at = copy(written, at, text, first, end - first)
            at = copy(written, at, _CREDITS, 0, len(_CREDITS))
            at = _whole(written, at, whole_credits[number])
            at = copy(written, at, _COST, 0, len(_COST))
            at = _usd(written, at, attodollars[number])
            at = copy(written, at, _IDS, 0, len(_IDS))
            at = copy(written, at, tariffs, terms[own, PRICE_IDS], terms[own, PRICE_IDS_LENGTH])
            at = copy(written, at, _END, 0, len(_END))
        ends[number] = at
    return at
