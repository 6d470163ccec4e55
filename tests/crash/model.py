"""The single-threaded truth: what the ledger must hold once everything that was sent has arrived.

A *usage* is one thing that happened and must be charged once, however often and in whatever form
it is sent. Its forms share an identity by one route only (the id, or the key), so that exactly one
of them is charged whatever the order of arrival: the model needs no order.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Usage:
    """One usage: the ids under which it may be booked, and what it costs (None: a dead letter)."""

    name: str
    customer_id: str
    event_ids: frozenset[str]
    credits: int | None


@dataclass(slots=True)
class Model:
    """What was sent and acknowledged. `sent` counts deliveries, duplicates included.

    `aborted` are ids of events that were written in aborted transactions of Kafka only.
    """

    usages: dict[str, Usage] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    aborted: set[str] = field(default_factory=set)

    def acknowledged(self, usages: Iterable[Usage]) -> None:
        """Note one acknowledged delivery of each usage, merging the ids it went by."""
        for usage in usages:
            known = self.usages.get(usage.name)
            ids = usage.event_ids | (known.event_ids if known else frozenset())
            self.usages[usage.name] = Usage(usage.name, usage.customer_id, ids, usage.credits)
            self.sent[usage.name] += 1

    def burned(self, customer_id: str) -> int:
        """Credits that the customer's wallet must have lost."""
        return sum(
            usage.credits or 0 for usage in self.usages.values() if usage.customer_id == customer_id
        )
