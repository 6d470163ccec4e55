"""From usage to cost and credits: exact, at the price in force when the event happened.

Arithmetic is on whole numbers: multiply first, divide last, round once. Cost is counted in
attodollars (10^-18 USD), rounded half-even; `credits` is the ceiling of the exact cost times 1,000.
Which types cost what, and which are free, follows the service that this one replaces, less its
floats and its fallback prices.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from heapq import heappop, heappush
from typing import Any, NamedTuple

from msgspec import Struct

from schemas.events import UsageEvent

CREDITS_PER_USD = 1_000
COST_PLACES = 18
ATTODOLLARS_PER_USD = 1_000_000_000_000_000_000  # 10 ** COST_PLACES
ATTODOLLARS_PER_CREDIT = ATTODOLLARS_PER_USD // CREDITS_PER_USD
CUSTOM_UNITS_PER_USD = 100  # a custom unit costs a cent, that is, ten credits
# More than anybody's bill; the sum over a rated batch must fit in 64 bits.
CREDITS_MAX = 10**15


@dataclass(frozen=True)
class Price:
    """One row of ProviderCost: USD per `unit_size` units, in force in [valid_from, valid_until)."""

    id: str
    provider: str
    model: str
    cost_type: str  # INPUT_TOKEN, OUTPUT_TOKEN, REQUEST, IMAGE, AUDIO, VIDEO
    cost_per_unit: Decimal
    unit_size: int
    valid_from: datetime
    valid_until: datetime | None
    created_at: datetime

    @cached_property
    def ratio(self) -> tuple[int, int]:
        """USD of one unit as (numerator, denominator): whole attodollars wherever it is that.

        Prices of one denominator are added without multiplying out, and nearly all have this one.
        """
        numerator, denominator = self.cost_per_unit.as_integer_ratio()
        denominator *= self.unit_size
        attodollars, rest = divmod(numerator * ATTODOLLARS_PER_USD, denominator)
        return (numerator, denominator) if rest else (attodollars, ATTODOLLARS_PER_USD)


@dataclass(frozen=True, slots=True)
class Rule:
    """What one model costs a customer in credits, per `per_unit` units."""

    per_unit: int
    input_tokens: Decimal | None = None
    output_tokens: Decimal | None = None
    flat_rate: Decimal | None = None  # per image, second or unit


@dataclass(frozen=True, slots=True)
class BurnTable:
    """A customer's own rates, by model; the highest version in force wins."""

    id: str
    customer_id: str
    version: int
    rules: Mapping[str, Rule]
    valid_from: datetime
    valid_until: datetime | None
    created_at: datetime


class Rated(Struct, frozen=True, gc=False):
    """What an event costs: whole credits, attodollars, and the ids of the prices that said so."""

    credits: int
    cost_attodollars: int
    price_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unpriced:
    """No price is in force for something that the event used."""

    message: str


class _Schedule(NamedTuple):
    """Which price is in force when: from `starts[i]` on it is `prices[i]`, None: none is."""

    starts: list[datetime]
    prices: list[Price | None]

    def at(self, moment: datetime) -> Price | None:
        """Return the price in force at a moment, or None."""
        number = bisect_right(self.starts, moment) - 1
        return self.prices[number] if number >= 0 else None


_NEVER = _Schedule([], [])


class _Billable(NamedTuple):
    """A part of an event that costs something; `absent`: its amount where the field is absent."""

    cost_type: str
    field: str
    absent: int


class Terms(NamedTuple):
    """What each part of an event costs at a moment.

    `tokens`: attodollars of one input and one output token, and the ids of their prices, where both
    are whole: then an event is two multiplications, and nearly all events are that.
    """

    parts: list[tuple[_Billable, Price | None]]
    tokens: tuple[int, int, tuple[str, ...]] | None = None


def _terms(parts: list[tuple[_Billable, Price | None]]) -> Terms:
    used = [price for (_, field, _), price in parts if price and field.endswith("_tokens")]
    if len(used) != len(_BILLABLE["TOKEN_USAGE"]):
        return Terms(parts)
    (price_in, unit), (price_out, other_unit) = (price.ratio for price in used)
    if not unit == other_unit == ATTODOLLARS_PER_USD:
        return Terms(parts)
    return Terms(parts, (price_in, price_out, tuple(price.id for price in used)))


class Tariff(NamedTuple):
    """What the parts of one event type cost when: `terms[i]` before `starts[i]`, then the next."""

    starts: list[datetime]
    terms: list[Terms]


def _schedule(prices: Sequence[Price]) -> _Schedule:
    """Lay prices of one thing on a line: latest valid_from wins, then latest created_at, then id.

    A sort and a heap, so that a long history costs its length and not its square.
    """
    rising = sorted(prices, key=lambda p: (p.valid_from, p.created_at, p.id))
    starts = sorted(
        {p.valid_from for p in rising} | {p.valid_until for p in rising if p.valid_until}
    )
    schedule = _Schedule([], [])
    begun = 0
    in_force: list[tuple[int, Price]] = []  # a heap: who began last stands first
    for start in starts:
        while begun < len(rising) and rising[begun].valid_from <= start:
            heappush(in_force, (-begun, rising[begun]))
            begun += 1
        while in_force and (until := in_force[0][1].valid_until) is not None and until <= start:
            heappop(in_force)
        schedule.starts.append(start)
        schedule.prices.append(in_force[0][1] if in_force else None)
    return schedule


class PriceBook:
    """The prices of one revision; built once, never changed, looked up per event."""

    __slots__ = ("_burn_tables", "_prices", "_tariffs", "revision")

    def __init__(
        self, revision: int, prices: Iterable[Price] = (), burn_tables: Iterable[BurnTable] = ()
    ) -> None:
        self.revision = revision
        self._burn_tables: dict[str, list[BurnTable]] = {}
        by_key: dict[tuple[str, str, str], list[Price]] = {}
        for price in prices:
            by_key.setdefault((price.provider, price.model, price.cost_type), []).append(price)
        self._prices = {key: _schedule(found) for key, found in by_key.items()}
        self._tariffs: dict[tuple[str, str, str], Tariff] = {}  # made when first asked for
        for table in sorted(
            burn_tables, key=lambda t: (t.version, t.valid_from, t.created_at, t.id), reverse=True
        ):
            self._burn_tables.setdefault(table.customer_id, []).append(table)

    def tariff(self, event_type: str, provider: str, model: str, at: datetime) -> "Terms":
        """Return, for each billable part of an event type, what it costs at a moment."""
        tariff = self.tariff_of(event_type, provider, model)
        return tariff.terms[bisect_right(tariff.starts, at)]

    def tariff_of(self, event_type: str, provider: str, model: str) -> "Tariff":
        """Return what the billable parts of an event type cost whenever."""
        key = (event_type, provider, model)
        tariff = self._tariffs.get(key)
        if tariff is None:
            tariff = self._tariffs[key] = self._tariff(*key)
        return tariff

    def _tariff(self, event_type: str, provider: str, model: str) -> "Tariff":
        parts = [
            (part, self._prices.get((provider, model, part.cost_type), _NEVER))
            for part in _BILLABLE[event_type]
        ]
        starts = sorted({start for _, schedule in parts for start in schedule.starts})
        before = Terms([(part, None) for part, _ in parts])
        since = [
            _terms([(part, schedule.at(start)) for part, schedule in parts]) for start in starts
        ]
        return Tariff(starts, [before, *since])

    def has_prices(self, provider: str, model: str) -> bool:
        """Tell whether tokens of the model ever cost something."""
        return any(
            (provider, model, part.cost_type) in self._prices for part in _BILLABLE["TOKEN_USAGE"]
        )

    def has_burn_tables(self, customer_id: str) -> bool:
        """Tell whether the customer has rates of its own."""
        return customer_id in self._burn_tables

    def burn_table(self, customer_id: str, model: str, at: datetime) -> BurnTable | None:
        """Return the customer's table in force at a moment if it names the model, else None."""
        for table in self._burn_tables.get(customer_id, ()):
            if table.valid_from <= at and (table.valid_until is None or at < table.valid_until):
                return table if model in table.rules else None
        return None


_BILLABLE = {
    "TOKEN_USAGE": (
        _Billable("INPUT_TOKEN", "input_tokens", 0),
        _Billable("OUTPUT_TOKEN", "output_tokens", 0),
    ),
    "IMAGE_GENERATION": (_Billable("IMAGE", "image_count", 1),),
    "VIDEO_GENERATION": (_Billable("VIDEO", "duration_seconds", 1),),
}

FREE = Rated(0, 0, ())


def rate(event: UsageEvent, book: PriceBook) -> Rated | Unpriced:
    """Return what a valid event costs by this price book, or why nobody can say.

    Free by rule: API_CALL and FEATURE_ACCESS; CUSTOM without `unit_type` and `quantity`; usage that
    names no provider or no model; counts of 0.
    """
    event_type, model, provider = event["event_type"], event.get("model"), event.get("provider")
    if event_type == "CUSTOM":
        return _rate_custom(event)
    if event_type not in _BILLABLE or not model or provider is None:
        return FREE
    at = datetime.fromisoformat(event["timestamp"])
    terms = book.tariff(event_type, provider, model, at)
    if terms.tokens is not None and not book.has_burn_tables(event["customer_id"]):
        price_in, price_out, price_ids = terms.tokens
        tokens_in: Any = event.get("input_tokens")
        tokens_out: Any = event.get("output_tokens")
        if tokens_in and tokens_out:
            attodollars = tokens_in * price_in + tokens_out * price_out
            whole_credits = -(-attodollars // ATTODOLLARS_PER_CREDIT)
            if whole_credits <= CREDITS_MAX:
                return Rated(whole_credits, attodollars, price_ids)
    return _rate_used(event, at, terms, book)


def exact_ratio(number: float) -> tuple[int, int]:
    """Return a JSON number as the decimal it was written as (its shortest, for a double)."""
    if isinstance(number, int):
        return number, 1
    return Decimal(repr(number)).as_integer_ratio()


def _rate_custom(event: UsageEvent) -> Rated | Unpriced:
    if not event.get("unit_type") or "quantity" not in event:
        return FREE
    numerator, denominator = exact_ratio(event["quantity"])
    return _rated(numerator, denominator * CUSTOM_UNITS_PER_USD, None, ())


def _rate_used(event: UsageEvent, at: datetime, terms: Terms, book: PriceBook) -> Rated | Unpriced:
    provider, model = event["provider"], event["model"]
    numerator, denominator = 0, ATTODOLLARS_PER_USD
    price_ids: tuple[str, ...] = ()
    for (cost_type, field, absent), price in terms.parts:
        amount: Any = event.get(field, absent)
        if amount <= 0:
            continue
        if price is None:
            return Unpriced(
                f"no {cost_type} price for {provider} {model} in force at {event['timestamp']}"
            )
        own_numerator, own_denominator = price.ratio
        if isinstance(amount, int):
            own_numerator *= amount
        else:
            amount_numerator, amount_denominator = exact_ratio(amount)
            own_numerator *= amount_numerator
            own_denominator *= amount_denominator
        if own_denominator == denominator:
            numerator += own_numerator
        else:
            numerator = numerator * own_denominator + own_numerator * denominator
            denominator *= own_denominator
        price_ids += (price.id,)
    if not price_ids:
        return FREE
    table = book.burn_table(event["customer_id"], model, at)
    if table is None:
        return _rated(numerator, denominator, None, price_ids)
    own_credits = _by_burn_table(table.rules[model], event)
    if own_credits is None:
        return Unpriced(f"burn table {table.id} names {model} without a rate for this usage")
    return _rated(numerator, denominator, own_credits, (*price_ids, table.id))


def _by_burn_table(rule: Rule, event: UsageEvent) -> Fraction | None:
    rates = {"INPUT_TOKEN": rule.input_tokens, "OUTPUT_TOKEN": rule.output_tokens}
    total = Fraction(0)
    for cost_type, field, absent in _BILLABLE[event["event_type"]]:
        amount: Any = event.get(field, absent)
        if amount <= 0:
            continue
        own = rates.get(cost_type, rule.flat_rate)
        if own is None:
            return None
        total += Fraction(*exact_ratio(amount)) * Fraction(own) / rule.per_unit
    return total


def _rated(
    numerator: int, denominator: int, own_credits: Fraction | None, price_ids: tuple[str, ...]
) -> Rated | Unpriced:
    """Round USD of numerator/denominator; `own_credits` are a burn table's, not yet rounded."""
    if own_credits is None:
        whole_credits = -(-numerator * CREDITS_PER_USD // denominator)
    else:
        whole_credits = -(-own_credits.numerator // own_credits.denominator)
    if whole_credits > CREDITS_MAX:
        return Unpriced(
            f"costs {whole_credits} credits, more than {CREDITS_MAX}: a mistaken count?"
        )
    return Rated(whole_credits, _attodollars(numerator, denominator), price_ids)


def _attodollars(numerator: int, denominator: int) -> int:
    if denominator == ATTODOLLARS_PER_USD:
        return numerator
    units: int
    units, rest = divmod(numerator * ATTODOLLARS_PER_USD, denominator)
    twice = 2 * rest
    is_up = twice > denominator or (twice == denominator and units % 2 == 1)
    return units + 1 if is_up else units


def cost_text(attodollars: int) -> str:
    """Return a cost as USD: at least 6 decimals, at most 18, no trailing zeros beyond the sixth."""
    digits = f"{attodollars:019d}"
    return f"{digits[:-COST_PLACES]}.{digits[-COST_PLACES:-12]}{digits[-12:].rstrip('0')}"


def attodollars_from_text(text: str) -> int:
    """Read what `cost_text` wrote."""
    whole, _, places = text.partition(".")
    return int(whole) * ATTODOLLARS_PER_USD + int(places.ljust(COST_PLACES, "0"))


def price_from_row(row: Mapping[str, Any]) -> Price:
    """Read a ProviderCost row as `usage.prices` carries it (numbers and times as text)."""
    return Price(
        id=row["id"],
        provider=row["provider"],
        model=row["model"],
        cost_type=row["cost_type"],
        cost_per_unit=Decimal(row["cost_per_unit"]),
        unit_size=int(row["unit_size"]),
        valid_from=datetime.fromisoformat(row["valid_from"]),
        valid_until=_moment(row["valid_until"]),
        created_at=datetime.fromisoformat(row["created_at"]),
    )


def burn_table_from_row(row: Mapping[str, Any]) -> BurnTable:
    """Read a BurnTable row as `usage.prices` carries it. Inactive tables are not published."""
    return BurnTable(
        id=row["id"],
        customer_id=row["customer_id"],
        version=int(row["version"]),
        rules={model: _rule(rule) for model, rule in row["rules"].items()},
        valid_from=datetime.fromisoformat(row["valid_from"]),
        valid_until=_moment(row["valid_until"]),
        created_at=datetime.fromisoformat(row["created_at"]),
    )


def _rule(rule: Mapping[str, Any]) -> Rule:
    def rate_of(name: str) -> Decimal | None:
        value = rule.get(name)
        return None if value is None else Decimal(str(value))

    return Rule(
        per_unit=int(rule.get("per_unit", 1)),
        input_tokens=rate_of("input_tokens"),
        output_tokens=rate_of("output_tokens"),
        flat_rate=rate_of("flat_rate"),
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
