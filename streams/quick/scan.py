"""From the bytes of raw records to columns: the usual events, read by a compiled loop.

`schemas.events` says what is valid. `scan` takes a part of that: JSON as machines write it, with
known fields once each, no escapes, counts as plain digits, ids in lower case. It copies nothing:
an event is a row of numbers, most of them positions in the text. A record with anything else in it
has no rows, and goes the way of `streams.decode`.
`tests/property/streams/test_quick_rating.py` holds the two against each other.

The text is the records' values, each followed by a byte below 32: nothing that is read runs over it
but the space between tokens, which is held against the record's end.
"""

from typing import get_args

import numpy as np

from schemas.events import METADATA_BYTES_MAX, EventType, Provider
from schemas.provider_response import TEXT_LENGTH_MAX
from schemas.topics import EVENTS_PER_RECORD_MAX
from streams.compiled import Bytes, Numbers, compiled, compiled_unchecked

# The columns of a row. Positions are those of the first byte in the text; lengths are in bytes.
START = 0
END = 1  # one beyond the event's last byte
ID = 2
CUSTOMER = 3
CUSTOMER_LENGTH = 4
KEY = 5
KEY_LENGTH = 6  # 0: it has none
MODEL = 7
MODEL_LENGTH = 8  # 0: it names none
EVENT_TYPE = 9  # its number in `EVENT_TYPES`
PROVIDER = 10  # its number in `PROVIDERS`, -1: it names none
TOKENS_IN = 11
TOKENS_OUT = 12
MICROSECONDS = 13  # of the epoch: the event's own time
COLUMNS = 14

EVENT_TYPES: tuple[str, ...] = get_args(EventType)
PROVIDERS: tuple[str, ...] = get_args(Provider)

_FIELDS = (
    "event_id",
    "customer_id",
    "event_type",
    "feature_id",
    "timestamp",
    "user_id",
    "team_id",
    "provider",
    "model",
    "input_tokens",
    "output_tokens",
    "metadata",
    "idempotency_key",
)
_EVENT_ID, _CUSTOMER_ID, _EVENT_TYPE, _FEATURE_ID, _TIMESTAMP = range(5)
_PROVIDER, _MODEL, _INPUT_TOKENS, _OUTPUT_TOKENS, _METADATA, _IDEMPOTENCY_KEY = range(7, 13)
_REQUIRED = 0b11111  # the first five
UUID_LENGTH = 36
_UUID_MARKS = (8, 13, 18, 23)
# Names, quotes and punctuation of those, an id and a time: what an event takes at least.
EVENT_BYTES_MIN = sum(len(name) + len('"":"",') for name in _FIELDS[:5]) + UUID_LENGTH

QUOTE, BACKSLASH, COMMA, COLON, MINUS, POINT, ZERO, NINE = b'"\\,:-.09'
OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET = b"{}[]"
_SPACE = tuple(b" \t\n\r")

FAILED = -1
_YEAR_MIN = 1970
_NESTING_MAX = 60  # one bit each
_DIGITS_MAX = 15  # whole numbers of so many digits, and fractions, every reader takes alike
_MICROSECOND_DIGITS = 6
_TIMESTAMP_MARKS = ((4, MINUS), (7, MINUS), (10, ord("T")), (13, COLON), (16, COLON))
_TIMESTAMP_LENGTH_MIN = len("2025-03-10T00:00:00Z")


def _table(names: tuple[str, ...]) -> Bytes:
    """Return names as rows: the length, then the bytes."""
    table = np.zeros((len(names), 1 + max(map(len, names))), np.uint8)
    for row, name in zip(table, names, strict=True):
        row[0] = len(name)
        row[1 : 1 + len(name)] = np.frombuffer(name.encode(), np.uint8)
    return table


_FIELD_TABLE = _table(_FIELDS)
_TYPE_TABLE = _table(EVENT_TYPES)
_PROVIDER_TABLE = _table(PROVIDERS)
_WORD_TABLE = _table(("true", "false", "null"))


@compiled
def _which(table: Bytes, text: Bytes, at: int, length: int) -> int:
    """Return which of a table's names stands there."""
    for number in range(table.shape[0]):
        if table[number, 0] == length:
            same = True
            for offset in range(length):
                if table[number, 1 + offset] != text[at + offset]:
                    same = False
                    break
            if same:
                return number
    return FAILED


@compiled
def _space(text: Bytes, at: int, end: int) -> int:
    """Return where the space ends that begins there."""
    while at < end and (text[at] in _SPACE):
        at += 1
    return at


@compiled_unchecked
def _string(text: Bytes, at: int, end: int) -> int:
    """Return the position of the quote that ends the string whose first byte stands there."""
    for here in range(at, min(end, len(text))):
        one = text[here]
        if one == QUOTE:
            return here
        if one < ord(" ") or one == BACKSLASH:
            return FAILED
    return FAILED


@compiled
def _digits(text: Bytes, at: int, count: int) -> int:
    """Return the number that so many digits make."""
    number = 0
    for offset in range(count):
        digit = text[at + offset] - ZERO
        if digit < 0 or digit > NINE - ZERO:
            return FAILED
        number = number * 10 + digit
    return number


@compiled
def _count(text: Bytes, at: int) -> tuple[int, int]:
    """Return the whole number that stands there and where it ends."""
    number, first = 0, at
    while ZERO <= text[at] <= NINE and at - first < _DIGITS_MAX:
        number = number * 10 + text[at] - ZERO
        at += 1
    if at == first or (text[first] == ZERO and at - first > 1):
        return FAILED, at
    return number, at


@compiled
def _uuid(text: Bytes, at: int) -> bool:
    """Tell whether a UUID in lower case stands there, to its quote."""
    for offset in range(UUID_LENGTH):
        one = text[at + offset]
        if offset in _UUID_MARKS:
            if one != MINUS:
                return False
        elif not (ZERO <= one <= NINE or ord("a") <= one <= ord("f")):
            return False
    return bool(text[at + UUID_LENGTH] == QUOTE)


@compiled
def _days(year: int, month: int, day: int) -> int:
    """Return the days from the epoch to a date of the Gregorian calendar."""
    # Years begin in March, so that the leap day is their last; 400 of them are an era.
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@compiled
def _timestamp(text: Bytes, at: int, length: int) -> int:
    """Return the microseconds of an ISO 8601 time in UTC, or -1."""
    if length < _TIMESTAMP_LENGTH_MIN:
        return FAILED
    for offset, mark in _TIMESTAMP_MARKS:
        if text[at + offset] != mark:
            return FAILED
    year, month, day = _digits(text, at, 4), _digits(text, at + 5, 2), _digits(text, at + 8, 2)
    hour, minute = _digits(text, at + 11, 2), _digits(text, at + 14, 2)
    second = _digits(text, at + 17, 2)
    if year < _YEAR_MIN or not 1 <= month <= 12 or day < 1:
        return FAILED
    if not (0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59):
        return FAILED
    following = _days(year + month // 12, month % 12 + 1, 1)
    days = _days(year, month, day)
    if days >= following:
        return FAILED
    end = at + length - 1
    at += _TIMESTAMP_LENGTH_MIN - 1
    micros = 0
    if text[at] == POINT:
        digits = end - at - 1
        if not 1 <= digits <= _MICROSECOND_DIGITS:
            return FAILED
        micros = _digits(text, at + 1, digits) * 10 ** (_MICROSECOND_DIGITS - digits)
        at = end
    if micros < 0 or at != end or text[at] != ord("Z"):
        return FAILED
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros


@compiled
def _number(text: Bytes, at: int) -> int:
    """Return where a number ends that is written as every writer of JSON would write it."""
    is_negative = text[at] == MINUS
    at += is_negative
    first, point = at, 0
    while ZERO <= text[at] <= NINE or (text[at] == POINT and not point):
        if text[at] == POINT:
            point = at
        at += 1
    length = at - first
    if length == 0 or length > _DIGITS_MAX or point == first:
        return FAILED
    if text[first] == ZERO and length > 1 and point != first + 1:
        return FAILED
    if point and (text[at - 1] == ZERO or point == at - 1):
        return FAILED
    if is_negative and text[first] == ZERO:
        return FAILED
    if text[at] == ord("e") or text[at] == ord("E"):
        return FAILED
    return at


@compiled
def _word(text: Bytes, at: int) -> int:
    """Return where `true`, `false` or `null` ends."""
    for number in range(_WORD_TABLE.shape[0]):
        offset, length = 0, _WORD_TABLE[number, 0]
        while offset < length and text[at + offset] == _WORD_TABLE[number, 1 + offset]:
            offset += 1
        if offset == length:
            return at + length
    return FAILED


@compiled
def _object(text: Bytes, at: int, end: int) -> int:
    """Return where the object ends that begins there, with whatever it nests."""
    depth = 0
    objects = 0  # a bit for each level: it is an object, no array
    is_value = True  # what comes next; else a comma or an end
    while True:
        at = _space(text, at, end)
        if is_value:
            if depth and objects >> depth & 1:
                if text[at] != QUOTE:
                    return FAILED
                at = _string(text, at + 1, end)
                if at < 0:
                    return FAILED
                at = _space(text, at + 1, end)
                if text[at] != COLON:
                    return FAILED
                at = _space(text, at + 1, end)
            one = text[at]
            if one == OPEN_BRACE or one == OPEN_BRACKET:
                depth += 1
                if depth > _NESTING_MAX:
                    return FAILED
                is_object = one == OPEN_BRACE
                objects = objects & ~(1 << depth) | is_object << depth
                at = _space(text, at + 1, end)
                if text[at] != (CLOSE_BRACE if is_object else CLOSE_BRACKET):
                    continue
                is_value = False
                continue
            if one == QUOTE:
                at = _string(text, at + 1, end) + 1
            elif one == MINUS or ZERO <= one <= NINE:
                at = _number(text, at)
            else:
                at = _word(text, at)
            if at <= 0:
                return FAILED
            is_value = False
        elif text[at] == COMMA:
            at += 1
            is_value = True
        elif text[at] == (CLOSE_BRACE if objects >> depth & 1 else CLOSE_BRACKET):
            at += 1
            depth -= 1
            if depth == 0:
                return at
        else:
            return FAILED


@compiled
def _take(text: Bytes, field: int, first: int, length: int, row: Numbers) -> bool:
    """Take the text of a field into a row; tell whether it may be that."""
    if field == _EVENT_ID:
        row[ID] = first
        return _uuid(text, first)
    if field == _CUSTOMER_ID:
        row[CUSTOMER], row[CUSTOMER_LENGTH] = first, length
        return length > 0
    if field == _IDEMPOTENCY_KEY:
        row[KEY], row[KEY_LENGTH] = first, length
        return length > 0
    if field == _MODEL:
        row[MODEL], row[MODEL_LENGTH] = first, length
    elif field == _EVENT_TYPE:
        row[EVENT_TYPE] = _which(_TYPE_TABLE, text, first, length)
        return row[EVENT_TYPE] >= 0
    elif field == _PROVIDER:
        row[PROVIDER] = _which(_PROVIDER_TABLE, text, first, length)
        return row[PROVIDER] >= 0
    elif field == _TIMESTAMP:
        row[MICROSECONDS] = _timestamp(text, first, length)
        return row[MICROSECONDS] >= 0
    return True


@compiled
def _event(text: Bytes, at: int, end: int, row: Numbers) -> int:
    """Read the event whose brace stands there into a row; return where it ends, or -1."""
    if text[at] != OPEN_BRACE:
        return FAILED
    row[START] = at
    row[KEY_LENGTH] = row[MODEL_LENGTH] = row[TOKENS_IN] = row[TOKENS_OUT] = 0
    row[PROVIDER] = -1
    found = 0
    at += 1
    while True:
        at = _space(text, at, end)
        if text[at] != QUOTE:
            return FAILED
        first = at + 1
        at = _string(text, first, end)
        if at < 0:
            return FAILED
        field = _which(_FIELD_TABLE, text, first, at - first)
        if field < 0 or found >> field & 1:
            return FAILED
        found |= 1 << field
        at = _space(text, at + 1, end)
        if text[at] != COLON:
            return FAILED
        at = _space(text, at + 1, end)
        if field == _INPUT_TOKENS or field == _OUTPUT_TOKENS:
            number, at = _count(text, at)
            if number < 0:
                return FAILED
            row[TOKENS_IN if field == _INPUT_TOKENS else TOKENS_OUT] = number
        elif field == _METADATA:
            first = at
            at = _object(text, at, end) if text[at] == OPEN_BRACE else FAILED
            if at < 0 or at - first > METADATA_BYTES_MAX:
                return FAILED
        else:
            if text[at] != QUOTE:
                return FAILED
            first = at + 1
            at = _string(text, first, end)
            length = at - first
            if at < 0 or length > TEXT_LENGTH_MAX:
                return FAILED
            if not _take(text, field, first, length, row):
                return FAILED
            at += 1
        at = _space(text, at, end)
        if text[at] == CLOSE_BRACE:
            break
        if text[at] != COMMA:
            return FAILED
        at += 1
    row[END] = at + 1
    return at + 1 if found & _REQUIRED == _REQUIRED else FAILED


@compiled
def _batch(text: Bytes, at: int, end: int, rows: Numbers) -> tuple[int, int]:
    """Read `{"events": [...]}`; return how many there are, or -1, and where it ends."""
    at = _space(text, at + 1, end)
    for one in b'"events"':
        if text[at] != one:
            return FAILED, at
        at += 1
    at = _space(text, at, end)
    if text[at] != COLON:
        return FAILED, at
    at = _space(text, at + 1, end)
    if text[at] != OPEN_BRACKET:
        return FAILED, at
    count = 0
    while count < min(EVENTS_PER_RECORD_MAX, rows.shape[0]):
        at = _event(text, _space(text, at + 1, end), end, rows[count])
        if at < 0:
            return FAILED, at
        count += 1
        at = _space(text, at, end)
        if text[at] == CLOSE_BRACKET:
            at = _space(text, at + 1, end)
            return (count if text[at] == CLOSE_BRACE else FAILED), at + 1
        if text[at] != COMMA:
            return FAILED, at
    return FAILED, at


@compiled
def scan(text: Bytes, starts: Numbers, rows: Numbers, counts: Numbers) -> int:
    """Read the records that begin at `starts` (the last one ends the text) into rows.

    `counts` is told how many rows each record has, 0: it goes the other way. Returns all of them.
    """
    used = 0
    for record in range(starts.shape[0] - 1):
        end = starts[record + 1] - 1
        counts[record] = 0
        first = _space(text, starts[record], end)
        if used == rows.shape[0]:
            continue
        at = _event(text, first, end, rows[used])
        count = 1
        if at < 0 and text[first] == OPEN_BRACE:
            count, at = _batch(text, first, end, rows[used:])
        if at > 0 and count > 0 and _space(text, at, end) == end:
            counts[record] = count
            used += count
    return used
