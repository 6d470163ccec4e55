"""Totals per customer and period: counted from charged entries, folded from rated batches.

A period is the UTC hour or day in which Kafka took the record (its broker time), not the event's
own: so a period that is over does not change any more, and can be given up in time.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from schemas.pricing import attodollars_from_text, cost_text
from schemas.rated import Entry, Total

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
HOURS_KEPT_MS = 8 * DAY_MS
DAYS_KEPT_MS = 400 * DAY_MS
# A period that ended this long ago gets no more events; a broker's clock may step back a little.
PERIOD_SLACK_MS = 2 * HOUR_MS

PeriodKind = Literal["hour", "day"]
# customer, kind of period, its start in epoch milliseconds
BurnKey = tuple[str, PeriodKind, int]
# customer, offset in `usage.raw`, credits, attodollars, events
Charge = tuple[str, int, int, int, int]

_LENGTH_MS: dict[PeriodKind, int] = {"hour": HOUR_MS, "day": DAY_MS}
_KEPT_MS: dict[PeriodKind, int] = {"hour": HOURS_KEPT_MS, "day": DAYS_KEPT_MS}


@lru_cache(maxsize=64)
def period_text(start_ms: int) -> str:
    """Return the start of a period as ISO 8601 with Z."""
    return datetime.fromtimestamp(start_ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def period_ms(text: str) -> int:
    """Read what `period_text` wrote."""
    return int(datetime.fromisoformat(text).timestamp() * 1_000)


def charges_of(entries: Iterable[Entry]) -> Iterator[Charge]:
    """Yield what the charged ones among the entries of a rated batch cost."""
    for entry in entries:
        if entry["verdict"] == "charged":
            cost_attodollars = attodollars_from_text(entry["cost_usd"])
            customer_id = entry["event"]["customer_id"]
            yield customer_id, entry["offset"], entry["credits"], cost_attodollars, 1


def count(charges: Iterable[Charge], broker_times: Sequence[tuple[int, int]]) -> list[Total]:
    """Return totals per (customer, hour) of charges by offset, given run-length broker times."""
    sums: dict[tuple[str, int], list[int]] = {}
    for hour, some in _by_hour(charges, broker_times):
        for customer, _, whole_credits, cost_attodollars, events in some:
            total = sums.get((customer, hour))
            if total is None:
                total = sums[customer, hour] = [0, 0, 0]
            total[0] += whole_credits
            total[1] += cost_attodollars
            total[2] += events
    return [
        (customer, period_text(hour), whole, cost_text(cost), events)
        for (customer, hour), (whole, cost, events) in sums.items()
    ]


def _keys(customer: str, hour: int) -> tuple[BurnKey, BurnKey]:
    return (customer, "hour", hour), (customer, "day", hour // DAY_MS * DAY_MS)


def _sum(sums: dict[BurnKey, list[int]], key: BurnKey, whole: int, atto: int, events: int) -> None:
    one = sums.setdefault(key, [0, 0, 0])
    one[0] += whole
    one[1] += atto
    one[2] += events


def _by_hour(
    charges: Iterable[Charge], broker_times: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, Iterable[Charge]]]:
    hours = [ms // HOUR_MS * HOUR_MS for _, ms in broker_times]
    if len(set(hours)) == 1:  # nearly always
        yield hours[0], charges
        return
    firsts = [first for first, _ in broker_times]
    for charge in charges:
        yield hours[bisect_right(firsts, charge[1]) - 1], (charge,)


@dataclass(slots=True)
class Burn:
    """What a customer burned in a period.

    `position` is the source position and `rated_offset` the rated batch of its last change; the
    latter tells what is in it already, across epochs, too. `rated_log` counts how often the rated
    log was lost before: offsets of one log mean nothing in the next.
    """

    credits: int = 0
    cost_attodollars: int = 0
    events: int = 0
    position: int = 0
    rated_offset: int = -1
    rated_log: int = 0

    @property
    def batch(self) -> tuple[int, int]:
        """The rated batch of its last change; later ones are greater."""
        return self.rated_log, self.rated_offset


class BurnTotals:
    """The burns of one partition: each rated batch is added once, however often it is read."""

    def __init__(self) -> None:
        self.folded_to = 0  # of `usage.rated`: everything below is in what was published
        self.published_to = 0  # of `usage.burns`: what stands below is no older than what is here
        self.latest_ms = 0
        self.rated_log = 0  # the one that is read now
        # A batch that begins below this position of `usage.raw` is to be added charge by charge:
        self.counted_to = 0
        # burns of an earlier rated log hold what lies below their own positions, of this epoch.
        self._counted_to: dict[BurnKey, int] = {}
        self._burns: dict[BurnKey, Burn] = {}
        self._changed: set[BurnKey] = set()
        self._customers: dict[tuple[PeriodKind, int], set[str]] = {}

    def __len__(self) -> int:
        return len(self._burns)

    def load(self, key: BurnKey, burn: Burn | None, folded_to: int = 0) -> None:
        """Take a burn as it was published next; one that is older than what is here is mended.

        `folded_to`: up to where in `usage.rated` everything had been published then.
        """
        if burn is None:
            self._burns.pop(key, None)
            self._changed.discard(key)
            return
        if burn.rated_log >= self.rated_log:
            is_same = burn.rated_log == self.rated_log
            self.folded_to = max(self.folded_to, folded_to) if is_same else folded_to
            self.rated_log = burn.rated_log
        known = self._burns.get(key)
        if known is None or known.batch <= burn.batch:
            self._burns[key] = burn
            self._changed.discard(key)
            self._note(key)
        else:
            self._changed.add(key)

    @property
    def rated_end(self) -> int:
        """Where `usage.rated` must reach, if these burns were counted from it."""
        return max(self.folded_to, self.last.rated_offset + 1)

    @property
    def last(self) -> Burn:
        """The burn that was counted from the latest rated batch; an empty one while there is none.

        That batch ended at its `position`.
        """
        return max(self._burns.values(), key=lambda burn: burn.batch, default=Burn())

    def settle_on_log(self, *, is_same: bool) -> None:
        """Say, when all is loaded, whether `usage.rated` is the log that was counted from last."""
        if not is_same:
            self.rated_log += 1
            self.folded_to = 0
        self._counted_to = {
            key: burn.position
            for key, burn in self._burns.items()
            if burn.rated_log < self.rated_log
        }
        self.counted_to = max(self._counted_to.values(), default=0)

    def begin_epoch(self) -> None:
        """Positions of `usage.raw` begin anew."""
        self._counted_to = {}
        self.counted_to = 0

    def mend(self, key: BurnKey, burn: Burn | None) -> None:
        """Count a burn as changed when what was published of it is older than what is here."""
        known = self._burns.get(key)
        if known is not None and (burn is None or burn.batch < known.batch):
            self._changed.add(key)

    def add(self, totals: Iterable[Total], next_offset: int, rated_offset: int) -> None:
        """Add the totals of what counts of a batch that ends at `next_offset`."""
        sums: dict[BurnKey, list[int]] = {}
        for customer, hour_text, whole, cost, events in totals:
            atto = attodollars_from_text(cost)
            for key in _keys(customer, period_ms(hour_text)):
                _sum(sums, key, whole, atto, events)
        self._add(sums, next_offset, rated_offset)

    def add_charges(
        self,
        charges: Iterable[Charge],
        broker_times: Sequence[tuple[int, int]],
        next_offset: int,
        rated_offset: int,
    ) -> None:
        """Add what counts of a batch, but what burns of an earlier rated log hold already."""
        sums: dict[BurnKey, list[int]] = {}
        for hour, some in _by_hour(charges, broker_times):
            for customer, offset, whole, atto, events in some:
                for key in _keys(customer, hour):
                    if offset >= self._counted_to.get(key, 0):
                        _sum(sums, key, whole, atto, events)
        self._add(sums, next_offset, rated_offset)

    def _add(
        self, sums: Mapping[BurnKey, Sequence[int]], next_offset: int, rated_offset: int
    ) -> None:
        batch = self.rated_log, rated_offset
        for key, (whole, atto, events) in sums.items():
            burn = self._burns.get(key)
            if burn is None:
                burn = self._burns[key] = Burn()
                self._note(key)
            elif batch <= burn.batch:
                continue  # in what was published before this worker came
            burn.credits += whole
            burn.cost_attodollars += atto
            burn.events += events
            burn.position = next_offset
            burn.rated_log, burn.rated_offset = batch
            self._counted_to.pop(key, None)
            self._changed.add(key)

    def _note(self, key: BurnKey) -> None:
        customer, kind, start = key
        self._customers.setdefault((kind, start), set()).add(customer)
        self.latest_ms = max(self.latest_ms, start)

    def take_changed(self) -> dict[BurnKey, Burn]:
        """Return what changed since the last time."""
        changed = {
            key: replace(burn)
            for key in self._changed
            if (burn := self._burns.get(key)) is not None
        }
        self._changed.clear()
        return changed

    def put_back(self, keys: Iterable[BurnKey]) -> None:
        """Count these as changed still: they could not be published."""
        self._changed.update(keys)

    def take_expired(self) -> list[BurnKey]:
        """Return the keys that are too old to keep, and forget them; settle the others' memory."""
        expired: list[BurnKey] = []
        for kind, start in list(self._customers):
            end = start + _LENGTH_MS[kind]
            if end + _KEPT_MS[kind] <= self.latest_ms:
                customers = self._customers.pop((kind, start))
                expired.extend((customer, kind, start) for customer in customers)
        for key in expired:
            self._burns.pop(key, None)
            self._changed.discard(key)
        self._drop_settled()
        return expired

    def _drop_settled(self) -> None:
        """Forget the sums of periods that are over: what was published stands."""
        for key in list(self._settled()):
            del self._burns[key]

    def _settled(self) -> Iterator[BurnKey]:
        for key in self._burns:
            _, kind, start = key
            is_over = start + _LENGTH_MS[kind] + PERIOD_SLACK_MS <= self.latest_ms
            if is_over and key not in self._changed:
                yield key
