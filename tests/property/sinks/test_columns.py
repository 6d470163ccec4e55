"""What the sink reads and builds for many events at once is what each of them says."""

import struct
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rated import RatedBatch, decode_batch, encode_batch
from schemas.timestamps import parse_timestamp
from sinks.batch import read_record, read_records
from sinks.binary_columns import numerics, timestamps
from sinks.charges import Charge
from sinks.copy_rows import microseconds
from sinks.rated_values import Charged, Event, read_value
from tests.rated_batches import batch, charged, dead_letter, duplicate, event_id

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
AMOUNTS = st.integers(1, 10**15) | st.floats(1e-6, 1e15, allow_nan=False)
OPTIONAL: Any = {
    **dict.fromkeys(("user_id", "team_id", "model", "image_size", "quality"), TEXTS),
    **dict.fromkeys(("resolution", "unit_type", "idempotency_key"), TEXTS),
    "input_tokens": st.integers(0, 2**62),
    "image_count": st.integers(1, 10**15),
    "duration_seconds": AMOUNTS,
    "quantity": AMOUNTS,
    "metadata": st.dictionaries(TEXTS, TEXTS | st.integers(-(2**62), 2**62) | st.none()),
    "provider_response": st.just({"id": "x"}),
}
COSTS = st.builds(
    lambda whole, places: f"{whole}.{places}" if places else str(whole),
    st.integers(0, 10**24),
    st.text("0123456789", max_size=18),
)
TIMES = st.builds(
    lambda day, clock: f"{day:%Y-%m-%d}T{clock}Z",
    st.dates(datetime(1000, 1, 1, tzinfo=UTC).date()),
    st.from_regex(r"\A([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,12})?)?\Z"),
)
CHARGES = st.builds(
    lambda offset, credits_, cost, time, replay_of, fields: charged(
        offset, credits_=credits_, cost_usd=cost, timestamp=time, replay_of=replay_of, **fields
    ),
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    COSTS,
    TIMES,
    st.none() | st.just("0:0:0:0"),
    st.fixed_dictionaries({}, optional=OPTIONAL),
)
ENTRIES = st.lists(
    CHARGES
    | st.builds(duplicate, st.integers(0, 9), st.integers(0, 9), of_event=st.just(event_id(1)))
    | st.builds(dead_letter, st.integers(0, 9), st.binary(max_size=9)),
    max_size=5,
)
BATCHES = st.builds(
    lambda first, entries, times, reason: replace(
        batch(0, 9, [entry | {"offset": first + n} for n, entry in enumerate(entries)]),
        broker_times=times,
        reason=reason,
        decided_by=reason,
    ),
    st.integers(0, 2**62),
    ENTRIES,
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3),
    st.none() | TEXTS,
)


@settings(deadline=None)
@given(BATCHES)
def test_a_record_is_read_as_decode_batch_reads_it(one: RatedBatch) -> None:
    """Every field of every verdict that a row is made of."""
    value = encode_batch(one)
    expected: Any = decode_batch(value)
    record = read_record(7, value)

    for name in ("kind", "partition", "first_offset", "next_offset", "price_revision"):
        assert getattr(record.batch, name) == getattr(expected, name)
    for name in ("broker_times", "max_broker_time", "reason", "decided_by"):
        assert getattr(record.batch, name) == getattr(expected, name)
    by_verdict: dict[str, list[Any]] = {"charged": [], "duplicate": [], "dead-letter": []}
    for entry in expected.events:
        by_verdict[entry["verdict"]].append(entry)
    assert record.events == len(expected.events)
    assert [charge.entry for charge in record.charges] == by_verdict["charged"]
    assert record.duplicates == by_verdict["duplicate"]
    assert record.letters == by_verdict["dead-letter"]

    read = [entry for entry in read_value(value).events if isinstance(entry, Charged)]
    for entry, found in zip(by_verdict["charged"], read, strict=True):
        event = entry["event"]
        for name in Event.__struct_fields__:
            default = 0 if name.endswith("_tokens") else None
            own = getattr(found.event, name)
            if name == "metadata":
                own = orjson.loads(bytes(own)) if own else None
            assert own == event.get(name, default), name
        for name in ("offset", "index", "credits", "cost_usd"):
            assert getattr(found, name) == entry[name]
        assert list(found.price_ids) == entry["price_ids"]
        assert found.replay_of == entry.get("replay_of")


@settings(deadline=None)
@given(st.lists(BATCHES, max_size=4))
def test_records_read_together_are_as_each_read_alone(batches: list[RatedBatch]) -> None:
    """Rows may be built for many records at once: what belongs to whom stays so."""
    values = list(enumerate(map(encode_batch, batches)))
    together = [record for done in read_records(values) for record in done]
    for record, (offset, value) in zip(together, values, strict=True):
        alone = read_record(offset, value)
        assert record.batch == alone.batch
        assert list(map(_essence, record.charges)) == list(map(_essence, alone.charges))


def _essence(charge: Charge) -> tuple[Any, ...]:
    payer = charge.payer
    whose = (payer.customer_id, payer.user_id, payer.team_id, payer.fields)
    return charge.entry, charge.event_id, charge.refusal, whose, charge.key, charge.credits


@settings(deadline=None)
@given(st.lists(TIMES, min_size=1))
def test_times_are_those_of_the_calendar(texts: list[str]) -> None:
    """With seconds and fractions or without, cut to microseconds."""
    expected = [microseconds(parse_timestamp(text)) for text in texts]
    assert timestamps(texts).tolist() == expected


@settings(deadline=None)
@given(st.lists(COSTS, min_size=1))
def test_costs_keep_their_value_and_their_decimals(texts: list[str]) -> None:
    """To the last of 18 places, beside others that are shorter or longer."""
    fields = [struct.unpack(f"!ihhhh{len(field) // 2 - 6}h", field) for field in numerics(texts)]
    assert [_value(weight, groups) for _, _, weight, _, _, *groups in fields] == [
        Fraction(text) for text in texts
    ]
    for text, (size, count, _, sign, places, *groups) in zip(texts, fields, strict=True):
        assert (size, count, sign) == (8 + 2 * len(groups), len(groups), 0)
        assert places == len(text.partition(".")[2])


def _value(weight: int, groups: list[int]) -> Fraction:
    """Return a numeric: of its groups of digits the first counts 10,000 ** weight."""
    return sum(
        (group * Fraction(10_000) ** (weight - place) for place, group in enumerate(groups)),
        Fraction(0),
    )
