"""The usual events' quick way says what the other one says, whatever stands in the records."""

from array import array
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.corrections import CORRECTION_HEADER
from schemas.pricing import BurnTable, Price, PriceBook, Rule
from schemas.rated import Fold, Kind
from schemas.timestamps import TimestampPolicy
from streams.decode import decode_records, parts, run_length
from streams.dedupe import judge
from streams.price import settle
from streams.quick import rating
from streams.quick.names import number_customers
from streams.quick.records import decode
from streams.quick.scan import TOKENS_OUT
from streams.seen import SeenPartition
from streams.totals import HOUR_MS, count
from tests.property.schemas.test_plain_events import EVENT, FULL, records

WINDOW_MS = 2 * HOUR_MS
NOW_MS = int(datetime(2025, 1, 17, 12, tzinfo=UTC).timestamp() * 1_000)
POLICY = TimestampPolicy(past_days_max=30, future_seconds_max=86_400)
SINCE = datetime(2024, 1, 1, tzinfo=UTC)
CHANGED = datetime(2025, 1, 10, tzinfo=UTC)


class Record(NamedTuple):
    """A record of `usage.raw`, as aiokafka shows one."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def price(model: str, cost_type: str, cost: str, since: datetime, number: int = 0) -> Price:
    row_id = f"{model}-{cost_type}-{number}"
    return Price(row_id, "OPENAI", model, cost_type, Decimal(cost), 1_000_000, since, None, since)


def token_prices(model: str, cost_in: str, cost_out: str) -> list[Price]:
    return [
        price(model, "INPUT_TOKEN", cost_in, SINCE),
        price(model, "OUTPUT_TOKEN", cost_out, SINCE),
    ]


BOOK = PriceBook(
    3,
    [
        *token_prices("gpt-4", "30", "60"),
        price("gpt-4", "INPUT_TOKEN", "31.25", CHANGED, 1),
        *token_prices("free", "0", "0"),
        *token_prices("uneven", "0.0000000000001", "3"),  # no whole attodollars
        *token_prices("dear", "9000000000000", "1"),
        *token_prices("dearer", "9300000000000000000000", "1"),
        price("half", "INPUT_TOKEN", "1", SINCE),
        price("gpt-4", "IMAGE", "40000", SINCE),
    ],
    [
        BurnTable(
            "own",
            "with-rates",
            1,
            {"gpt-4": Rule(1_000, Decimal(7), Decimal("0.5"))},
            SINCE,
            None,
            SINCE,
        )
    ],
)

MODELS = ["gpt-4", "free", "uneven", "dear", "dearer", "half", "unheard-of", "", "gpt-\u00e9"]
usual_events = st.builds(
    lambda fields, missing: {name: at for name, at in fields.items() if name not in missing},
    st.fixed_dictionaries(
        {
            "event_id": st.integers(0, 6).map(lambda n: f"00000000-0000-4000-8000-{n:012x}"),
            "customer_id": st.sampled_from(["c", "d", "with-rates", "\u00e9", "x" * 512]),
            "event_type": st.sampled_from(["TOKEN_USAGE"] * 6 + ["API_CALL", "CUSTOM"]),
            "feature_id": st.just("f"),
            "timestamp": st.integers(0, 20 * 86_400_000_000 - 1).map(
                lambda n: (CHANGED - timedelta(days=10, microseconds=-n)).isoformat()[:-6] + "Z"
            ),
            "provider": st.sampled_from(["OPENAI"] * 6 + ["GOOGLE"]),
            "model": st.sampled_from(MODELS[:1] * 6 + MODELS),
            "input_tokens": st.sampled_from([1, 1, 2, 999_999, 2**31 - 1, 0]),
            "output_tokens": st.sampled_from([1, 1, 3, 10_000, 0]),
            "idempotency_key": st.sampled_from(["k", "l", "m", "n" * 512, "\U0001f600"]),
            "metadata": st.recursive(
                st.sampled_from([1, -7, 1.5, 0.1, True, None, "x", "é", 2**53, 1e22]),
                lambda inner: (
                    st.lists(inner, max_size=2)
                    | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
                ),
                max_leaves=4,
            ).map(lambda found: {"m": found}),
        }
    ),
    st.sets(st.sampled_from(["idempotency_key", "metadata", "model", "output_tokens"]), max_size=3),
)


def _text(found: Any, *, has_space: bool) -> bytes:
    text = orjson.dumps(found, option=orjson.OPT_INDENT_2 if has_space else 0)
    return b" \r\n\t%b " % text if has_space else text


values = (
    st.builds(
        lambda found, has_space: _text(found, has_space=has_space),
        usual_events | st.lists(usual_events, min_size=1, max_size=4).map(lambda e: {"events": e}),
        st.booleans(),
    )
    | records()
)
HEADERS: list[list[tuple[str, bytes]]] = [
    [],
    [("format", b"1")],
    [("replay-of", b"0:0:0:0")],
    [CORRECTION_HEADER],
    [("ce_specversion", b"1.0")],
]
logs = st.lists(
    st.tuples(
        values,
        st.sampled_from([1, 1, 1, 60_000, HOUR_MS, -HOUR_MS]),  # since the last one
        st.sampled_from(HEADERS[:1] * 6 + HEADERS),
    ),
    min_size=1,
    max_size=12,
)


def as_records(drawn: Sequence[tuple[bytes, int, Any]]) -> list[Record]:
    """Return records of rising offsets, with holes."""
    found, ms = [], NOW_MS
    for number, (value, milliseconds, headers) in enumerate(drawn):
        ms += milliseconds
        found.append(Record(2 * number + 5, ms, b"c", value or None, headers))
    return found


def one_by_one(run: Sequence[Record], seen: SeenPartition, events_max: int) -> list[Any]:
    """Return what the steps make of a run: what goes into rated batches, and what is counted."""
    rated = []
    for part in parts(decode_records(run, POLICY), events_max, 4_000):
        verdicts = settle(part, judge(part, seen), BOOK, WINDOW_MS)
        fold = Fold(
            Kind.RATED,
            seen.fold.next_offset,
            part[-1].offset + 1,
            run_length(part),
            verdicts.positions,
            b"".join(verdicts.identities),
        )
        seen.apply(fold, seen.rated_offset)
        totals = count(verdicts.charges, fold.broker_times)
        numbers = verdicts.charged, verdicts.duplicates, verdicts.letters
        entries = orjson.loads(orjson.dumps(verdicts.entries))
        rated.append((fold, entries, sorted(totals), numbers, verdicts.letters_by_customer))
    return rated


def by_arrays(run: Sequence[Record], seen: SeenPartition, events_max: int) -> list[Any]:
    """Return the same, made the quick way."""
    rated = []
    for part in decode(run, POLICY).parts(events_max, 4_000):
        verdicts = rating.settle(part, rating.judge(part, seen), BOOK, WINDOW_MS)
        fold = Fold(
            Kind.RATED,
            seen.fold.next_offset,
            part.next_offset,
            part.run_length(),
            verdicts.positions,
            verdicts.identities,
        )
        seen.apply(fold, seen.rated_offset)
        totals = count(verdicts.charges, fold.broker_times)
        others = verdicts.others
        numbers = verdicts.charged, others.duplicates, others.letters
        assert verdicts.events == len(verdicts.entries())
        rated.append(
            (fold, verdicts.entries(), sorted(totals), numbers, others.letters_by_customer)
        )
    return rated


def event(**fields: Any) -> bytes:
    return orjson.dumps(EVENT | {"provider": "OPENAI", "model": "gpt-4"} | fields)


@settings(max_examples=300, deadline=None)
@given(logs, st.integers(1, 9), st.integers(1, 12))
@example([(event(input_tokens=1, output_tokens=1), 1, [])] * 3, 9, 1)
@example([(event(input_tokens=1, output_tokens=1), HOUR_MS, [])] * 4, 9, 9)
@example([(event(timestamp="2025-01-10T00:00:00Z", input_tokens=3, output_tokens=1), 1, [])], 9, 9)
@example(
    [(event(timestamp="2025-01-09T23:59:59.999999Z", input_tokens=3, output_tokens=1), 1, [])], 9, 9
)
@example([(b'{"events":[%b],"events":[]}' % event(), 1, [])], 9, 9)
@example([(b"{}\n" + event(), 1, []), (event(), 1, [])], 9, 9)
@example([(event(metadata={"a": 1}).replace(b"1}", b"1.0}"), 1, [])], 9, 9)
@example([(event(metadata={"a": 1}).replace(b"1}", b"1e5}"), 1, [])], 9, 9)
@example([(event(metadata={"a": 1}).replace(b'"a":', b'"a":1,"a":'), 1, [])], 9, 9)
@example([(event(feature_id="x").replace(b'"x"', b'"\xff"'), 1, []), (event(), 1, [])], 9, 9)
@example([(event(feature_id="x")[:-1] + b',"feature_id":"y"}', 1, [])], 9, 9)
@example([(b"\n", 1, []), (b"", 1, []), (event() + b"}", 1, [])], 9, 9)
def test_both_ways_say_the_same(
    drawn: list[tuple[bytes, int, Any]], events_max: int, run_length_: int
) -> None:
    """Entries, what is remembered, totals, counts: over runs that follow one another."""
    log = as_records(drawn)
    slow, quick = SeenPartition(WINDOW_MS), SeenPartition(WINDOW_MS)
    for one in (slow, quick):
        one.fold.start_at(0)
    for first in range(0, len(log), run_length_):
        run = log[first : first + run_length_]
        assert by_arrays(run, quick, events_max) == one_by_one(run, slow, events_max)


@pytest.mark.parametrize(
    "value",
    [
        event(input_tokens=1, output_tokens=2),
        orjson.dumps({"events": [EVENT | {"event_id": f"{n:08x}" + EVENT["event_id"][8:]}
                                 for n in range(1_000)]}),
        orjson.dumps(EVENT | {"metadata": FULL["metadata"], "idempotency_key": "k"}),
        orjson.dumps(EVENT | {"feature_id": "é", "timestamp": "2024-12-31T23:59:59Z"}),
        orjson.dumps(EVENT, option=orjson.OPT_INDENT_2),
    ],
)  # fmt: skip
def test_usual_records_go_the_quick_way(value: bytes) -> None:
    """Whatever else stands beside them in the run."""
    run = [Record(number, NOW_MS, b"c", one) for number, one in enumerate((b"{", value, b"\xff"))]
    assert list(decode(run, POLICY).unusual) == [0, 2]


@pytest.mark.parametrize(
    "value",
    [
        event()[:-1] + b',"feature_id":"f"}',
        event()[:-1] + b',"unknown":1}',
        event(feature_id="x").replace(b'"x"', b'"\\u0078"'),
        event(feature_id="x" * 513),
        event(customer_id=""),
        event(idempotency_key=""),
        event(event_id=EVENT["event_id"].upper()),
        event(timestamp="2025-01-17T14:30Z"),
        event(timestamp="2025-02-29T00:00:00Z"),
        event(timestamp="2025-01-17T14:30:00.1234567Z"),
        event(input_tokens=10**15),
        event(input_tokens=1.0),
        event(input_tokens=None),
        event(provider_response={}),
        event(metadata=[]),
        event(metadata={"a": "x" * 65_536}),
        event(metadata={"a": 1e22}),
        event(metadata={"a": 10**16}),
        event(metadata={"a": 5}).replace(b"5}", b"1.50}"),
        event(metadata={"a": 5}).replace(b"5}", b"-0}"),
        event(metadata={"a": 5}).replace(b"5}", b"05}"),
        event(metadata={"a": 5}).replace(b"5}", b"[5,]}"),
        event(metadata={"a": 5}).replace(b"5}", b"[" * 61 + b"]" * 61 + b"}"),
        b'{"events":[]}',
        b'{"events":[%b],"more":1}' % event(),
        b'{"events":[%b]}' % b",".join([event()] * 1_001),
        event() + event(),
        b"[%b]" % event(),
    ],
)
def test_unusual_records_go_the_other_way(value: bytes) -> None:
    """What another reader or writer of JSON might take differently, and what is not valid."""
    any_time = TimestampPolicy(None, None)
    assert list(decode([Record(0, NOW_MS, b"c", value)], any_time).unusual) == [0]


def test_events_of_another_time_go_the_other_way() -> None:
    """It says by how much they are too old, or too early."""
    values_ = [event(timestamp=f"{day}T12:00:00Z") for day in ("2024-12-01", "2025-01-19")]
    run = [Record(at, NOW_MS, b"c", value) for at, value in enumerate(values_)]
    assert list(decode(run, POLICY).unusual) == [0, 1]


def test_customers_are_told_apart() -> None:
    """Also where two of them want the same slot."""
    own = [event(customer_id=f"c{number % 500}") for number in range(1_000)]
    part = decode([Record(at, NOW_MS, b"", one) for at, one in enumerate(own)], POLICY)
    numbers, firsts = np.empty(1_000, np.int64), np.empty(1_000, np.int64)
    assert number_customers(part.text, part.rows, 1, numbers, firsts) == 500
    assert numbers.tolist() == [*range(500)] * 2


def test_a_usual_event_is_charged_by_arrays() -> None:
    """It is not handed to the other way in the end."""
    values_ = [
        event(
            input_tokens=number,
            output_tokens=1,
            event_id=f"{number:08x}" + EVENT["event_id"][8:],
            customer_id=f"c{number % 7}",
        )
        for number in range(1, 100)
    ]
    part = decode([Record(at, NOW_MS, b"", one) for at, one in enumerate(values_)], POLICY)
    seen = SeenPartition(WINDOW_MS)
    verdicts = rating.settle(part, rating.judge(part, seen), BOOK, WINDOW_MS)
    assert (verdicts.usual, verdicts.others.entries) == (99, [])
    assert part.rows[:, TOKENS_OUT].tolist() == [1] * 99
    assert isinstance(verdicts.positions, array)
