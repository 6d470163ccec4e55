"""Workers of a trial that join and leave, and what the moves of their partitions must leave behind.

An event of each partition, sent again after each move, shows by `DuplicateEvent.found_by` whether
its new owner knew what was charged before: `seen` said so, not only Postgres. The workers' logs
show that each folded a partition before it wrote anything of it. The rows of `RatedBatch` show how
long each partition stood still.
"""

import asyncio
import itertools
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import orjson
import psycopg
from aiokafka import AIOKafkaProducer

from tests.crash.group_owners import wait_until_settled
from tests.crash.model import Usage
from tests.crash.trial import Trial
from tests.system import Worker
from tests.waiting import wait_until

CREDITS = 15
JUDGED_TIMEOUT_SECONDS = 120.0


@dataclass(slots=True)
class Move:
    """One change of the workers, as of `time.time()`, and which partitions of which group moved."""

    name: str
    began: float
    ended: float = 0.0
    moved: dict[str, set[int]] = field(default_factory=dict)  # group -> partitions


class Moves:
    """Changes the workers of a trial, each change followed by its probes."""

    def __init__(self, trial: Trial, partitions: int) -> None:
        self.trial = trial
        self.done: list[Move] = []
        self._partitions = partitions
        self._owners: dict[str, Mapping[str, list[int]]] = {}
        self._probes = [self._probe(partition) for partition in range(partitions)]

    def begin(self) -> None:
        """Wait until the first workers share the partitions, and each partition has its event."""
        self._settle()
        self._probe_each()

    def make(self, name: str, change: Callable[[], object]) -> None:
        """Change the workers, wait until those who run share the partitions and judged a probe."""
        move = Move(name, time.time())
        change()
        move.moved = self._settle()
        self.done.append(move)
        self._probe_each()
        move.ended = time.time()

    def require_known_after_each_move(self) -> None:
        """Each repetition was found by `seen`, in the partition that it came to."""
        wanted = {(event_id, "charged"): 1 for event_id in self._ids}
        wanted |= {(event_id, "seen"): len(self.done) for event_id in self._ids}
        assert self._judged() == wanted

    def _probe_each(self) -> None:
        """Send each partition its one event, and wait until the ledger knows all of them."""
        asyncio.run(self._send_probes())
        self.trial.model.acknowledged(usage for _, usage in self._probes)
        sent = self._partitions * (1 + len(self.done))
        wait_until(
            lambda: self._judged().total() >= sent, JUDGED_TIMEOUT_SECONDS, "the probes are judged"
        )

    @property
    def _ids(self) -> list[str]:
        return [event_id for _, usage in self._probes for event_id in usage.event_ids]

    def _judged(self) -> Counter[tuple[str, str]]:
        """Count what became of the probes, by event id: "charged", or by whom it was found."""
        with psycopg.connect(self.trial.database_url) as connection:
            rows = connection.execute(
                """
                SELECT event_id::text, found_by FROM "DuplicateEvent" WHERE event_id = ANY(%(ids)s)
                UNION ALL SELECT id::text, 'charged' FROM "UsageEvent" WHERE id = ANY(%(ids)s)
                """,
                {"ids": self._ids},
            )
            return Counter(rows.fetchall())

    def _settle(self) -> dict[str, set[int]]:
        moved = {}
        system, topics = self.trial.system, self.trial.topics
        for group, workers in (
            (topics.streams_group, system.streams),
            (topics.sinks_group, system.sinks),
        ):
            before = _owner_of(self._owners.get(group, {}))
            members = sum(worker.pid is not None for worker in workers)
            self._owners[group] = wait_until_settled(
                self.trial.bootstrap, group, members, self._partitions
            )
            after = _owner_of(self._owners[group])
            moved[group] = {one for one, owner in after.items() if before.get(one) != owner}
        return moved

    def _probe(self, partition: int) -> tuple[bytes, Usage]:
        event_id = str(uuid.uuid4())
        customer = sorted(self.trial.keys)[partition % len(self.trial.keys)]
        event = {
            "event_id": event_id,
            "customer_id": customer,
            "event_type": "TOKEN_USAGE",
            "feature_id": "probe",
            "provider": "OPENAI",
            "model": "gpt-4-turbo",
            "input_tokens": 1000,
            "output_tokens": 500,
            "timestamp": "2025-01-17T14:30:00Z",
        }
        return orjson.dumps(event), Usage(
            f"probe-{partition}", customer, frozenset({event_id}), CREDITS
        )

    async def _send_probes(self) -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=self.trial.bootstrap, acks="all", enable_idempotence=True
        ) as producer:
            for partition, (value, _) in enumerate(self._probes):
                await producer.send_and_wait(self.trial.topics.raw, value, partition=partition)


def _owner_of(shares: Mapping[str, list[int]]) -> dict[int, str]:
    return {partition: member for member, share in shares.items() for partition in share}


def records_of(worker: Worker) -> list[dict[str, Any]]:
    """Return what all incarnations of a worker logged, in order."""
    lines = worker.log_path.read_text(errors="replace").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def folds_before_writes(worker: Worker) -> tuple[int, list[str]]:
    """Return how many folds a worker logged, and each batch that it wrote of an unfolded partition.

    A fold counts until the partition is given away, or the process ends.
    """
    folds, faults = 0, []
    folded: set[int] = set()
    for record in records_of(worker):
        match record.get("event"):
            case "Metrics served":
                folded.clear()
            case "Partition folded" | "Partition folded on":
                folds += 1
                folded.add(record["partition"])
            case "Partition given away":
                folded.discard(record["partition"])
            case "Rated batch written" if record["partition"] not in folded:
                faults.append(f"{worker.name}: {record}")
    return folds, faults


def table(moves: Moves) -> str:
    """Return how long the partitions stood still at each move: the figures, a line per kind.

    Standing still: the longest pause between two commits of a partition's rows, until its probe
    was one of them.
    """
    committed: dict[int, list[float]] = {}
    with psycopg.connect(moves.trial.database_url) as connection:
        for partition, seconds in connection.execute(
            "SELECT partition, extract(epoch FROM created_at)::float8"
            ' FROM "RatedBatch" ORDER BY created_at'
        ):
            committed.setdefault(partition, []).append(seconds)
    lines = [f"{'change':34} {'partitions':24} {'median s':>9} {'longest s':>10}"]
    for move in moves.done:
        moved = set.union(*move.moved.values())
        for what, partitions in (
            ("moved", moved),
            ("did not move", set(committed) - moved),
        ):
            pauses = [_pause(committed[one], move) for one in sorted(partitions)]
            if pauses:
                lines.append(
                    f"{move.name:34} {len(pauses):3} that {what:15}"
                    f" {median(pauses):9.1f} {max(pauses):10.1f}"
                )
    folds = [
        record["seconds"]
        for worker in moves.trial.system.streams
        for record in records_of(worker)
        if record.get("event") in {"Partition folded", "Partition folded on"}
    ]
    lines.append(f"{len(folds)} folds: median {median(folds):.2f} s, longest {max(folds):.2f} s")
    return "\n".join(lines)


def _pause(committed: list[float], move: Move) -> float:
    pauses = [
        following - one
        for one, following in itertools.pairwise(committed)
        if move.began < following <= move.ended
    ]
    return max(pauses, default=0.0)
