"""The oracle: which usages must be charged, independent of order.

A usage goes by several forms, which share an identity by one route only (the id, or the key). So
exactly one form of each is charged, whatever the order in which they arrive, and the oracle needs
no order: every usage of which a good form was sent is charged once, and nothing else is.

Events whose ids and keys chain, (1, K) (1, L) (2, L), have no such oracle: what comes first decides
which of them are charged. What holds in any order: two of them that share an identity are not both
charged, and each shares one with a charged event, which may be itself.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from tests.crash.model import Model, Usage

START_MS = 1_750_000_000_000
# Model of an AI product -> whether it always has a price.
STEADY, LATE = "steady-1", "late-1"
CHAINED = "chained "  # how the usages of events begin whose identities chain
RATES = (1, 2, 3)  # credits per token: what a price may be at one time or another


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which a usage is sent. `is_good`: nothing but a price or a customer may lack."""

    usage: Usage
    event: dict[str, Any]
    route: str  # "exact", "by-id", "by-key"
    is_good: bool = True

    @property
    def customer_id(self) -> str:
        """Whose usage it is."""
        return self.usage.customer_id


def must_be_charged(sent: Iterable[Form]) -> dict[str, int]:
    """Return the tokens of each usage that must have been charged, once, in the end."""
    model = Model()
    model.acknowledged(form.usage for form in sent if form.is_good)
    return {name: usage.credits or 0 for name, usage in model.usages.items()}


def faults_of(
    must: dict[str, int], charged: Iterable[tuple[str, int]]
) -> Iterator[tuple[str, str]]:
    """Compare what was charged, (usage, credits) per row, with what must be; yield (kind, name)."""
    rows: dict[str, list[int]] = {}
    for name, amount in charged:
        rows.setdefault(name, []).append(amount)
    yield from (("lost", name) for name in must if name not in rows)
    yield from (("doubled", name) for name, found in rows.items() if len(found) > 1)
    yield from (("unknown", name) for name in rows if name not in must)
    for name, found in rows.items():
        if name in must and found[0] not in {rate * must[name] for rate in RATES}:
            yield "amount", name


@dataclass(slots=True)
class Forms:
    """Makes usages and other forms of those made before."""

    rng: random.Random
    customers: tuple[str, ...] = ("acme", "bert", "cleo")
    made: list[Form] = field(default_factory=list)
    ids: Counter[str] = field(default_factory=Counter)

    def any(self) -> Form:
        """Return a new usage, or an old one in the same form or in another."""
        if self.made and self.rng.random() < 0.35:
            return self.again(self.rng.choice(self.made[-12:]))
        return self.new(self.rng.choice(self.customers))

    def new(self, customer_id: str) -> Form:
        """Return a usage's first form; one in ten is bad, and may be corrected later."""
        number = len(self.made)
        tokens = self.rng.choice((1, 1, 2, 5, 0))
        route = self.rng.choice(("exact", "by-id", "by-key"))
        event = {
            "event_id": self._event_id(customer_id),
            "customer_id": customer_id,
            "event_type": "TOKEN_USAGE",
            "feature_id": "chain",
            "provider": "OPENAI",
            "model": STEADY if self.rng.random() < 0.7 else LATE,
            "input_tokens": tokens,
            "timestamp": "2025-01-17T14:30:00Z",
            "metadata": {"usage": f"u{number}"},
        }
        if route == "by-key" or self.rng.random() < 0.4:
            # Customers number their keys alike, and some keys look like the ids of others.
            key = self.ids[customer_id + " keys"]
            self.ids[customer_id + " keys"] += 1
            event["idempotency_key"] = f"key-{key}" if key % 3 else _event_id_text(key)
        if self.rng.random() < 0.3:
            event["team_id"] = "team"
        usage = Usage(f"u{number}", customer_id, frozenset({str(event["event_id"])}), tokens)
        form = Form(usage, event, route)
        self.made.append(form)
        if self.rng.random() < 0.1:
            return replace(form, event=self._spoilt(event), is_good=False)
        return form

    def again(self, form: Form) -> Form:
        """Return a usage in a form that shares one identity with the others, or all."""
        event = dict(form.event)
        if form.route == "by-id":
            event["event_id"] = event["event_id"].upper()
            event["idempotency_key"] = f"other-{self.rng.getrandbits(40)}"
        elif form.route == "by-key":
            event["event_id"] = self._event_id(form.customer_id)
        ids = frozenset({str(event["event_id"]).lower()})
        return replace(form, event=event, usage=replace(form.usage, event_ids=ids))

    def chained(self) -> dict[str, Any]:
        """Return an event of dora's, whose few ids and keys meet in any way."""
        group = self.rng.randrange(2)  # a group that came early may be behind the window
        number, key = self.rng.randrange(3), self.rng.randrange(3)
        return {
            "event_id": _event_id_text(10 * group + number),
            "customer_id": "dora",
            "event_type": "TOKEN_USAGE",
            "feature_id": "chain",
            "provider": "OPENAI",
            "model": STEADY,
            "input_tokens": 1,
            "timestamp": "2025-01-17T14:30:00Z",
            "idempotency_key": f"key-{group}-{key}",
            "metadata": {"usage": f"{CHAINED}{group} {number} {key}"},
        }

    def _event_id(self, customer_id: str) -> str:
        # Scoped to the customer: the same ids are used by all of them.
        self.ids[customer_id] += 1
        return _event_id_text(self.ids[customer_id])

    @staticmethod
    def _spoilt(event: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in event.items() if name != "feature_id"}


def _event_id_text(number: int) -> str:
    return f"{number:08x}-ab00-4000-8000-00000000abcd"


def record_value(forms: list[Form], *, is_single: bool) -> bytes:
    """Return a record of `usage.raw`: one event object, or a list under `events`."""
    if is_single and len(forms) == 1:
        return orjson.dumps(forms[0].event)
    return orjson.dumps({"events": [form.event for form in forms]})
