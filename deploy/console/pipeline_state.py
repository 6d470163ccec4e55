"""What the pipeline is doing, made of two looks at it: rates, lag, age, the four counts. Pure.

waiting    records of usage.raw that no streams worker has rated yet
active     records that are rated and not yet in the ledger
completed  events that the ledger has: charged, or found to be duplicates
failed     dead letters that are open
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Applied:
    """How far the ledger is in a partition, and what came of its events so far."""

    partition: int
    epoch: int
    next_offset: int
    rated_offset: int
    charged: int
    duplicates: int
    dead_letters: int
    batches: int


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """What a process's metrics say. `counts`: monotonic, by stage-wide name."""

    address: str
    process: str
    started_at: datetime | None = None
    memory_bytes: int | None = None
    cpu_seconds: float | None = None
    partitions: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    counts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """A worker as Kafka's group knows it: it may be dead for some seconds, or out of our reach."""

    client_id: str
    host: str
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Everything at about one moment. `seconds` is monotonic; offsets are by partition.

    `unrated_ms`, `unpaid_ms`: broker times of the first record beyond the position; absent where
    there is none.
    """

    seconds: float
    now_ms: int
    raw_ends: Mapping[int, int]
    rated_ends: Mapping[int, int]
    rated_to: Mapping[int, int]
    applied: Mapping[int, Applied]
    unrated_ms: Mapping[int, int]
    unpaid_ms: Mapping[int, int]
    processes: tuple[ProcessSeen, ...]
    members: Mapping[str, tuple[Member, ...]]


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition of `usage.raw`. Counts are records, ages seconds; None: not known, or none."""

    partition: int
    epoch: int
    end: int
    rated_to: int
    applied_to: int
    waiting: int
    active: int
    unrated_age: float | None
    unpaid_age: float | None
    in_rate: float | None
    rated_rate: float | None
    applied_rate: float | None


@dataclass(frozen=True, slots=True)
class PipelineState:
    """What the page shows. Rates are per second, None until there were two looks."""

    partitions: tuple[PartitionState, ...]
    waiting: int
    active: int
    charged: int
    duplicates: int
    dead_letters: int
    accepted_rate: float | None  # events, of the gateways
    in_rate: float | None  # records of usage.raw
    rated_rate: float | None  # records
    batch_rate: float | None  # rated batches
    applied_rate: float | None  # events
    unrated_age: float | None
    unpaid_age: float | None
    processes: tuple[ProcessSeen, ...]
    cpu_shares: Mapping[str, float]
    members: Mapping[str, tuple[Member, ...]]

    @property
    def completed(self) -> int:
        """Events that the ledger has."""
        return self.charged + self.duplicates


def compare(before: Look | None, now: Look) -> PipelineState:
    """Return the state at `now`; rates from what changed since `before`."""
    elapsed = now.seconds - before.seconds if before is not None else 0.0
    earlier = before if elapsed > 0 else None
    partitions = tuple(_partition(number, earlier, now, elapsed) for number in sorted(now.raw_ends))
    totals = list(now.applied.values())
    return PipelineState(
        partitions=partitions,
        waiting=sum(one.waiting for one in partitions),
        active=sum(one.active for one in partitions),
        charged=sum(one.charged for one in totals),
        duplicates=sum(one.duplicates for one in totals),
        dead_letters=sum(one.dead_letters for one in totals),
        accepted_rate=_accepted_rate(earlier, now, elapsed),
        in_rate=_total(one.in_rate for one in partitions),
        rated_rate=_total(one.rated_rate for one in partitions),
        batch_rate=_rate(
            sum(earlier.rated_ends.values()) if earlier else None,
            sum(now.rated_ends.values()),
            elapsed,
        ),
        applied_rate=_rate(_events(earlier) if earlier else None, _events(now), elapsed),
        unrated_age=max((a for p in partitions if (a := p.unrated_age) is not None), default=None),
        unpaid_age=max((a for p in partitions if (a := p.unpaid_age) is not None), default=None),
        processes=now.processes,
        cpu_shares=_cpu_shares(earlier, now, elapsed),
        members=now.members,
    )


def _partition(number: int, before: Look | None, now: Look, elapsed: float) -> PartitionState:
    end, rated_to, applied_to = _positions(now, number)
    was_end, was_rated, was_applied = (
        _positions(before, number)
        if before is not None and number in before.raw_ends
        else (None, None, None)
    )
    applied = now.applied.get(number)
    return PartitionState(
        partition=number,
        epoch=applied.epoch if applied else 0,
        end=end,
        rated_to=rated_to,
        applied_to=applied_to,
        waiting=end - rated_to if number in now.unrated_ms else 0,
        active=rated_to - applied_to,
        unrated_age=_age(now, now.unrated_ms.get(number)),
        unpaid_age=_age(now, now.unpaid_ms.get(number)),
        in_rate=_rate(was_end, end, elapsed),
        rated_rate=_rate(was_rated, rated_to, elapsed),
        applied_rate=_rate(was_applied, applied_to, elapsed),
    )


def _positions(look: Look, number: int) -> tuple[int, int, int]:
    """Return the end, what is rated and what is applied, in their order whatever was seen first.

    The three are asked for one after the other, while everything moves.
    """
    applied = look.applied.get(number)
    applied_to = applied.next_offset if applied else 0
    rated_to = max(look.rated_to.get(number, 0), applied_to)
    return max(look.raw_ends[number], rated_to), rated_to, applied_to


def _age(look: Look, broker_ms: int | None) -> float | None:
    return None if broker_ms is None else max(0, look.now_ms - broker_ms) / 1_000


def _rate(before: float | None, now: float, elapsed: float) -> float | None:
    # Less than before: a log made again, a ledger restored, a process started anew.
    return None if before is None or now < before else (now - before) / elapsed


def _total(rates: Iterable[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def _events(look: Look) -> int:
    return sum(one.charged + one.duplicates + one.dead_letters for one in look.applied.values())


def _accepted_rate(before: Look | None, now: Look, elapsed: float) -> float | None:
    if before is None:
        return None
    was = {one.address: one.counts.get("accepted", 0.0) for one in before.processes}
    return _total(
        _rate(was.get(one.address), one.counts.get("accepted", 0.0), elapsed)
        for one in now.processes
        if one.process == "gateway"
    )


def _cpu_shares(before: Look | None, now: Look, elapsed: float) -> dict[str, float]:
    """Return, by address, how much of one core a process takes."""
    was = {one.address: one.cpu_seconds for one in before.processes} if before else {}
    shares = {
        one.address: _rate(was.get(one.address), one.cpu_seconds, elapsed)
        for one in now.processes
        if one.cpu_seconds is not None
    }
    return {address: share for address, share in shares.items() if share is not None}


def needs_recount(known: Mapping[int, Applied], row: Mapping[str, int]) -> bool:
    """Whether what a partition has come to cannot be told by adding the batches of `row`."""
    before = known.get(row["partition"])
    if before is None or before.epoch != row["epoch"] or before.next_offset > row["next_offset"]:
        return True
    # Batches that were merged meanwhile do not begin where the last look ended.
    begins = row["first_offset"]
    return (
        begins != before.next_offset
        if begins is not None
        else (before.next_offset != row["next_offset"])
    )


def add(before: Applied, row: Mapping[str, int]) -> Applied:
    """Return what a partition has come to, with the batches of `row` added."""
    return replace(
        before,
        next_offset=row["next_offset"],
        rated_offset=row["rated_offset"],
        charged=before.charged + row["charged"],
        duplicates=before.duplicates + row["duplicates"],
        dead_letters=before.dead_letters + row["dead_letters"],
        batches=before.batches + row["batches"],
    )
