"""The records that every measurement and every baseline works on, and what must come of them.

Made from a seed, so that contenders read the same ones. Varied, since caches would flatter: times
to the millisecond over a week, ten models of several providers, token counts, customers of very
different size, an idempotency key on each event. The outcome is computed here by plain arithmetic
on the price list, which shares no code with what is measured.
"""

import csv
import io
import itertools
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from typing import NamedTuple

from schemas.topics import PARTITIONS_DEFAULT, partition_for_key

PARTITIONS = PARTITIONS_DEFAULT
CUSTOMERS_DEFAULT = 200
MODELS = (
    ("OPENAI", "gpt-4o"),
    ("OPENAI", "gpt-4o-mini"),
    ("OPENAI", "gpt-4-turbo"),
    ("OPENAI", "o4-mini"),
    ("ANTHROPIC", "claude-4.5-sonnet"),
    ("ANTHROPIC", "claude-4.5-haiku"),
    ("ANTHROPIC", "claude-4.1-opus"),
    ("GOOGLE", "gemini-2.5-pro"),
    ("GOOGLE", "gemini-2.5-flash"),
    ("MISTRAL", "mistral-large"),
)
FEATURES = ("chat", "search", "summary", "code-review", "translation")
INPUT_TOKENS_MAX = 20_000
OUTPUT_TOKENS_MAX = 4_000
# Few customers make most of the usage: the one of rank n has a share of n ** -SKEW.
SKEW = 0.8
CREDITS_PER_USD = 1_000
# Prices are whole in this unit: a millionth of a millionth of a dollar.
UNITS_PER_USD = 10**12
# Late copies repeat records of the first tenth, and begin when a fifth, the warm-up, is through.
COPIED_SHARE = 0.1
COPIES_BEGIN_SHARE = 0.2


class RawRecord(NamedTuple):
    """A record of `usage.raw` and the partition that it belongs in."""

    partition: int
    key: bytes
    value: bytes


@dataclass(slots=True)
class Outcome:
    """What must become of records: events by verdict, and the credits of those charged.

    `late_copies`: duplicates that lie in another partition than the first one, so that only the
    ledger can find them. The stream stage rates them as charged: `late_copy_credits`.
    """

    charged: int = 0
    duplicates: int = 0
    credits: int = 0
    late_copies: int = 0
    late_copy_credits: int = 0

    @property
    def events(self) -> int:
        """All of them."""
        return self.charged + self.duplicates + self.late_copies


@dataclass(frozen=True, slots=True)
class Workload:
    """So many events of so many customers, in records of a size."""

    events: int
    events_per_record: int = 1
    customers: int = CUSTOMERS_DEFAULT
    duplicates_share: float = 0.01
    late_copies_share: float = 0.0
    seed: int = 1

    @property
    def customer_ids(self) -> list[str]:
        """The customers, the largest first."""
        return [f"bench-{number:05d}" for number in range(self.customers)]


class Event(NamedTuple):
    """An event as JSON, what it costs, and what identifies it."""

    text: str
    credits: int
    event_id: str
    idempotency_key: str


class Making:
    """Makes a workload's records one by one; `outcome` tells of those made so far."""

    def __init__(self, workload: Workload) -> None:
        self.outcome = Outcome()
        self._workload = workload
        self._random = random.Random(workload.seed)  # noqa: S311 -- no secret
        self._prices = read_prices()
        self._last: dict[str, Event] = {}  # by customer
        self._copied: list[tuple[RawRecord, int]] = []  # records to copy late, and their credits

    def records(self) -> Iterator[RawRecord]:
        """Yield the records, in the order in which they are to be written."""
        workload, size = self._workload, self._workload.events_per_record
        count = workload.events // size
        for number, customer in zip(range(count), self._customers(), strict=False):
            if self._copied and self._is_late_copy(number / count):
                yield self._late_copy()
                continue
            events = [self._event(customer) for _ in range(size)]
            texts = [event.text for event, _ in events]
            text = texts[0] if size == 1 else f'{{"events":[{",".join(texts)}]}}'
            key = customer.encode()
            record = RawRecord(partition_for_key(key, PARTITIONS), key, text.encode())
            if number < count * COPIED_SHARE and workload.late_copies_share:
                charged = sum(event.credits for event, is_first in events if is_first)
                self._copied.append((record, charged))
            yield record

    def _customers(self) -> Iterator[str]:
        ids = self._workload.customer_ids
        weights = list(itertools.accumulate((rank + 1) ** -SKEW for rank in range(len(ids))))
        while True:
            yield from self._random.choices(ids, cum_weights=weights, k=1_000)

    def _is_late_copy(self, progress: float) -> bool:
        share = self._workload.late_copies_share
        return progress >= COPIES_BEGIN_SHARE and self._random.random() < share

    def _late_copy(self) -> RawRecord:
        record, credits_ = self._copied.pop()
        self.outcome.late_copies += self._workload.events_per_record
        self.outcome.late_copy_credits += credits_
        return record._replace(partition=(record.partition + 1) % PARTITIONS)

    def _event(self, customer: str) -> tuple[Event, bool]:
        """Return an event of a customer, and whether it is the first one with its identities."""
        chance = self._random.random()
        if chance < self._workload.duplicates_share and customer in self._last:
            self.outcome.duplicates += 1
            event = self._last[customer]
            if chance < self._workload.duplicates_share / 2:
                # Under the same key with another id: a retry by a client that makes ids anew. The
                # usage is the same, so it costs the same whichever of the two comes first.
                event_id = str(uuid.UUID(int=self._random.getrandbits(128)))
                text = event.text.replace(event.event_id, event_id)
                event = event._replace(text=text, event_id=event_id)
            return event, False
        event = self._new_event(customer, f"{self._random.getrandbits(96):024x}")
        self._last[customer] = event
        self.outcome.charged += 1
        self.outcome.credits += event.credits
        return event, True

    def _new_event(self, customer: str, key: str) -> Event:
        bits = self._random.getrandbits
        digits = f"{bits(128):032x}"
        event_id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        provider, model = MODELS[bits(16) % len(MODELS)]
        tokens_in, tokens_out = 1 + bits(24) % INPUT_TOKENS_MAX, 1 + bits(24) % OUTPUT_TOKENS_MAX
        price_in, price_out = self._prices[model]
        seconds, thousandths = bits(24) % 86_400, bits(16) % 1_000
        minutes = seconds // 60
        text = (
            f'{{"event_id":"{event_id}","customer_id":"{customer}","event_type":"TOKEN_USAGE",'
            f'"feature_id":"{FEATURES[bits(16) % len(FEATURES)]}","provider":"{provider}",'
            f'"model":"{model}","input_tokens":{tokens_in},"output_tokens":{tokens_out},'
            f'"timestamp":"2025-03-{10 + bits(16) % 7}T{minutes // 60:02d}:{minutes % 60:02d}:'
            f'{seconds % 60:02d}.{thousandths:03d}Z","idempotency_key":"{key}"}}'
        )
        cost = tokens_in * price_in + tokens_out * price_out
        return Event(text, -(-cost * CREDITS_PER_USD // UNITS_PER_USD), event_id, key)


def read_prices() -> dict[str, tuple[int, int]]:
    """Return, by model, what an input and an output token cost by the price list that ships."""
    text = (resources.files("sinks") / "sql" / "seed" / "provider_costs.csv").read_text()
    found: dict[tuple[str, str], int] = {}
    for row in csv.DictReader(io.StringIO(text)):
        units = Decimal(row["cost_per_unit"]) / Decimal(row["unit_size"]) * UNITS_PER_USD
        found[row["model"], row["cost_type"]] = int(units)
    return {
        model: (found[model, "INPUT_TOKEN"], found[model, "OUTPUT_TOKEN"]) for _, model in MODELS
    }
