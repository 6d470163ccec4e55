"""What the ledger holds of a file's events: asked by their ids, whoever brought them in."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any

import psycopg
from psycopg.rows import dict_row

from gateway.file_import.check import Rejected, check
from gateway.file_import.fates import Outcome, make_fates, outcome_of
from gateway.file_import.rows import Rows
from schemas.events import UsageEvent
from schemas.timestamps import TimestampPolicy

_CHUNK = 5_000

_MAKE = """
CREATE TEMPORARY TABLE asked (customer_id text, id uuid, PRIMARY KEY (customer_id, id))
"""
_ADD = """
INSERT INTO asked SELECT * FROM unnest(%(customers)s::text[], %(ids)s::uuid[])
ON CONFLICT DO NOTHING
"""
_COUNT = """
SELECT is_charged, reason, status, is_duplicate, count(*) AS events,
    coalesce(sum(charged_credits), 0)::bigint AS credits,
    coalesce(sum(charged_cost_usd), 0) AS cost_usd
FROM fate GROUP BY 1, 2, 3, 4
"""
_UNSETTLED = "unsettled"


@dataclass(frozen=True)
class Summary:
    """Counts of events by what became of them; `events` counts each id once."""

    events: int
    charged: int
    credits: int
    cost_usd: Decimal
    rest: dict[str, int]  # reason of a dead letter, "duplicate" or "unsettled" -> events

    @property
    def unsettled(self) -> int:
        """Events that the ledger has not reached."""
        return self.rest.get(_UNSETTLED, 0)


class LedgerOfFile:
    """The ids of a file's events, in a table of this connection, and what became of them."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._connection.execute(_MAKE)
        make_fates(connection)
        self._events = 0

    def add(self, events: Iterator[UsageEvent]) -> None:
        """Take a file's events in."""
        while chunk := list(islice(events, _CHUNK)):
            ids = {
                "customers": [event["customer_id"] for event in chunk],
                "ids": [event["event_id"] for event in chunk],
            }
            self._events += self._connection.execute(_ADD, ids).rowcount
        self._connection.execute("ANALYZE asked")

    def summary(self) -> Summary:
        """Ask what became of them by now."""
        rest: Counter[str] = Counter()
        charged: dict[str, Any] = {"events": 0, "credits": 0, "cost_usd": Decimal(0)}
        # One question: what is charged between two would be in neither answer.
        for found in self._connection.cursor(row_factory=dict_row).execute(_COUNT):
            outcome = outcome_of(
                is_charged=found["is_charged"],
                letter_status=found["status"],
                is_duplicate=found["is_duplicate"],
            )
            if outcome is Outcome.CHARGED:
                charged = found
            elif outcome is Outcome.DEAD_LETTER:
                rest[found["reason"]] += found["events"]
            elif outcome is Outcome.DUPLICATE:
                rest[outcome] += found["events"]
            else:  # A closed letter is an earlier run's: this one's event is under way.
                rest[_UNSETTLED] += found["events"]
        return Summary(
            self._events,
            charged["events"],
            charged["credits"],
            charged["cost_usd"],
            {str(outcome): events for outcome, events in rest.items()},
        )


def accepted(rows: Rows, source: str, policy: TimestampPolicy) -> Iterator[UsageEvent]:
    """The events of a file that are sent, once more."""
    for row in rows:
        one = check(row, source, time.time_ns() // 1_000_000, policy) if row.event else None
        if one is not None and not isinstance(one, Rejected):
            yield one


def settled(
    ledger: LedgerOfFile, pause: Callable[[], bool], tell: Callable[[int, int], None]
) -> Summary:
    """Wait until nothing is unsettled, or `pause` says to wait no longer."""
    while True:
        found = ledger.summary()
        tell(found.events - found.unsettled, found.events)
        if not found.unsettled or not pause():
            return found
