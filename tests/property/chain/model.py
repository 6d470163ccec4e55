"""What is sent: usages in several forms, of which the crash tests' model is the oracle.

A usage's forms share an identity by one route only (the id, or the key). So exactly one form of
each is charged, whatever the order in which they arrive, and the model needs no order: every usage
of which a good form was sent is charged once, and nothing else is. What it costs is counted in
tokens here, for prices change.

Events whose ids and keys chain, (1, K) (1, L) (2, L), have no such oracle: what comes first decides
which of them are charged. What holds in any order: two of them that share an identity are not both
charged, and each shares one with a charged event, which may be itself.
"""

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from tests.crash.model import Usage

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
        rng = self.rng
        form = self.make(
            customer_id,
            tokens=rng.choice((1, 1, 2, 5, 0)),
            route=rng.choice(("exact", "by-id", "by-key")),
            model=STEADY if rng.random() < 0.7 else LATE,
            has_key=rng.random() < 0.4,
            has_team=rng.random() < 0.3,
        )
        return self.spoilt(form) if rng.random() < 0.1 else form

    def make(
        self,
        customer_id: str,
        *,
        tokens: int,
        route: str,
        model: str,
        has_key: bool,
        has_team: bool,
    ) -> Form:
        """Return the first form of a usage like this."""
        event = {
            "event_id": self._event_id(customer_id),
            "customer_id": customer_id,
            "event_type": "TOKEN_USAGE",
            "feature_id": "chain",
            "provider": "OPENAI",
            "model": model,
            "input_tokens": tokens,
            "timestamp": "2025-01-17T14:30:00Z",
            "metadata": {"usage": f"u{len(self.made)}"},
        }
        if route == "by-key" or has_key:
            # Customers number their keys alike, and some keys look like the ids of others.
            key = self.ids[customer_id + " keys"]
            self.ids[customer_id + " keys"] += 1
            event["idempotency_key"] = f"key-{key}" if key % 3 else _event_id_text(key)
        if has_team:
            event["team_id"] = "team"
        usage = Usage(f"u{len(self.made)}", customer_id, frozenset({booked_as(event)}), tokens)
        form = Form(usage, event, route)
        self.made.append(form)
        return form

    def again(self, form: Form) -> Form:
        """Return a usage in a form that shares one identity with the others, or all."""
        event = dict(form.event)
        if form.route == "by-id":
            self.ids["other keys"] += 1
            event["event_id"] = event["event_id"].upper()
            event["idempotency_key"] = f"other-{self.ids['other keys']}"
        elif form.route == "by-key":
            event["event_id"] = self._event_id(form.customer_id)
        ids = frozenset({booked_as(event)})
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
    def spoilt(form: Form) -> Form:
        """Return a form with an event that lacks what it must have."""
        event = {name: value for name, value in form.event.items() if name != "feature_id"}
        return replace(form, event=event, is_good=False)


def booked_as(event: Any) -> str:
    """Return what names an event's row: ids are scoped to the customer."""
    return f"{event['customer_id']} {event['event_id'].lower()}"


def _event_id_text(number: int) -> str:
    return f"{number:08x}-ab00-4000-8000-00000000abcd"


def record_value(forms: list[Form], *, is_single: bool) -> bytes:
    """Return a record of `usage.raw`: one event object, or a list under `events`."""
    if is_single and len(forms) == 1:
        return orjson.dumps(forms[0].event)
    return orjson.dumps({"events": [form.event for form in forms]})
