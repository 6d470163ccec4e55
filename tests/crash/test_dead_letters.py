"""Every dead letter is charged once, or still a letter, whoever replays it and whoever dies."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg
import pytest

from tests.crash.fault import Scene
from tests.crash.kafka_door import KafkaDoor, RawRecord
from tests.crash.ledger import OPENING_BALANCE
from tests.crash.model import Usage
from tests.crash.nemesis import Kind, Nemesis
from tests.crash.operators import Operators, at_once, command
from tests.crash.trial import Trial
from tests.crash.worker_faults import Freeze, KillGateway, KillSinks, KillStreams, Terminate
from tests.crash.workload import MODEL_WITHOUT_PRICE, Load
from tests.system import System
from tests.waiting import wait_until

LIGHT_LOAD = Load(posts=1, producers=1, rest_seconds=0.2, post_sizes=(1, 10))
NO_LOAD = Load(posts=0, producers=0)
LATE_MODEL, LATE_CUSTOMER = "late-model", "late-customer"
CREDITS = 15
WAIT_SECONDS = 90.0
LATE = ("unpriced", "unknown")
KILLS = (KillGateway, KillStreams, KillSinks)
RUBBISH = (b"{", b"\xff\x00", b'{"events": 7}', b"[]", b'{"event_id": 1}')


def write(trial: Trial, records: Iterable[RawRecord]) -> None:
    """Write records straight into `usage.raw`, and wait until Kafka has them."""

    async def deliver() -> None:
        door = KafkaDoor(trial.bootstrap, trial.topics.raw)
        await door.deliver(list(records))
        await door.close()

    asyncio.run(deliver())


def rows(trial: Trial, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run a statement on the ledger and return its rows."""
    with psycopg.connect(trial.database_url, autocommit=True) as connection:
        cursor = connection.execute(query.encode(), values)
        return cursor.fetchall() if cursor.description else []


@dataclass(slots=True)
class Sent:
    """Events that were written by a test, and what each is worth."""

    trial: Trial
    ids: dict[str, list[str]] = field(default_factory=dict)  # by kind

    def event(self, customer: str, model: str = "gpt-4-turbo", **changes: Any) -> dict[str, Any]:
        """Return a new event of 1,000 tokens in and 500 out."""
        return {
            "event_id": str(uuid.uuid4()),
            "customer_id": customer,
            "event_type": "TOKEN_USAGE",
            "feature_id": "letters",
            "provider": "OPENAI",
            "model": model,
            "input_tokens": 1000,
            "output_tokens": 500,
            "timestamp": "2025-01-17T14:30:00Z",
        } | changes

    def write(self, kind: str, events: Sequence[dict[str, Any]], credits_: int | None) -> None:
        """Write an event per record under its customer's key, and tell the model."""
        write(
            self.trial,
            [RawRecord(orjson.dumps(one), key=one["customer_id"].encode()) for one in events],
        )
        self.expect(kind, events, credits_)

    def expect(self, kind: str, events: Sequence[dict[str, Any]], credits_: int | None) -> None:
        """Tell the model what was written."""
        self.ids.setdefault(kind, []).extend(one["event_id"] for one in events)
        self.trial.model.acknowledged(
            Usage(one["event_id"], one["customer_id"], frozenset({one["event_id"]}), credits_)
            for one in events
        )

    def charged(self, kind: str) -> int:
        """Count the usage rows of a kind."""
        return len(
            rows(
                self.trial,
                'SELECT 1 FROM "UsageEvent" WHERE id::text = ANY(%s)',
                self.ids[kind],
            )
        )

    def letters(self, kind: str) -> list[tuple[Any, ...]]:
        """Return id, status and replays of the letters of a kind."""
        return rows(
            self.trial,
            'SELECT id, status, replays FROM "DeadLetter" WHERE event_id = ANY(%s)',
            self.ids[kind],
        )


def publish_price(trial: Trial) -> None:
    """Give the model that nobody knew a price."""
    rows(
        trial,
        'INSERT INTO "ProviderCost" (id, provider, model, cost_type, cost_per_unit, unit_size, '
        "valid_from) VALUES ('late-in', 'OPENAI', %s, 'INPUT_TOKEN', 5, 1000000, '2025-01-01'), "
        "('late-out', 'OPENAI', %s, 'OUTPUT_TOKEN', 20, 1000000, '2025-01-01')",
        LATE_MODEL,
        LATE_MODEL,
    )


def create_customer(trial: Trial) -> None:
    """Create the customer that nobody knew."""
    rows(
        trial,
        'WITH made AS (INSERT INTO "Customer" (id, name, email, api_key_hash) '
        "VALUES (%s, 'Late', 'late@example.com', 'late') RETURNING id) "
        'INSERT INTO "CreditWallet" (id, customer_id, balance) '
        "SELECT 'wallet-late', id, %s FROM made",
        LATE_CUSTOMER,
        OPENING_BALANCE,
    )


@pytest.mark.timeout(480)
@pytest.mark.parametrize(
    "kinds", [KILLS, pytest.param((*KILLS * 3, Freeze, Terminate), marks=pytest.mark.whole)]
)
def test_letters_are_charged_once_or_stay_letters(
    system: System, seed: int, kinds: tuple[Kind, ...]
) -> None:
    """Replayed by two operators and customers, before, during and after kills of all, by all."""
    scene = Scene(system, None, None, random.Random(seed))
    with Trial(system, seed=seed, load=LIGHT_LOAD) as trial, Nemesis(scene, trial) as nemesis:
        trial.start(gateways=1, streams=2, sinks=2)
        sent = Sent(trial)
        late = [sent.event(scene.rng.choice(list(trial.keys)), LATE_MODEL) for _ in range(24)]
        sent.write("unpriced", late, CREDITS)
        sent.write("unknown", [sent.event(LATE_CUSTOMER) for _ in range(24)], CREDITS)
        bad = [sent.event("cust-0", MODEL_WITHOUT_PRICE, input_tokens=-1) for _ in range(3)]
        sent.write("bad", bad, None)
        write(trial, map(RawRecord, RUBBISH))
        wait_until(
            lambda: all(len(sent.letters(kind)) >= len(sent.ids[kind]) for kind in sent.ids),
            WAIT_SECONDS,
            "all of them are letters",
        )
        with Operators(seed, system, trial.keys) as operators:
            for number, kind in enumerate(scene.rng.sample(kinds, k=len(kinds))):
                nemesis.play([kind], measured=False)
                if number == len(kinds) // 2:
                    publish_price(trial)
                    create_customer(trial)
        system.restart_ended()
        system.wait_until_ready()
        ids = [one[0] for kind in LATE for one in sent.letters(kind)]
        both = ("dead-letters", "replay", *ids)
        at_once(system, (*both, "--by", "ann"), (*both, "--by", "bob"))
        wait_until(
            lambda: all(sent.charged(kind) == len(sent.ids[kind]) for kind in LATE),
            WAIT_SECONDS,
            "the events are charged",
        )
        # Replays that were sent before the customer was there may have become letters since.
        system.burnstream("dead-letters", "replay", "--all", "--kind", "UNKNOWN_CUSTOMER")
        trial.check()
        print(f"done {dict(operators.done)}")
        require_ends(sent)


def require_ends(sent: Sent) -> None:
    """What was charged has no open letter; what cannot be charged has one."""
    for kind in LATE:
        letters = sent.letters(kind)
        assert {status for _, status, _ in letters} == {"REPLAYED"}, letters
        assert sum(replays for _, _, replays in letters) >= 2 * len(sent.ids[kind])
    for payload in RUBBISH:
        found = rows(sent.trial, 'SELECT status FROM "DeadLetter" WHERE payload = %s', payload)
        assert ("OPEN",) in found, payload
    open_ids = rows(sent.trial, "SELECT event_id FROM \"DeadLetter\" WHERE status = 'OPEN'")
    assert {(one,) for one in sent.ids["bad"]} <= set(open_ids)
    conflicts = rows(
        sent.trial,
        "SELECT 1 FROM \"DuplicateEvent\" WHERE replay_of IS NOT NULL AND found_by = 'conflict'",
    )
    # One of the last two replays of each letter, at least.
    assert len(conflicts) >= sum(len(sent.ids[kind]) for kind in LATE)


@pytest.mark.whole
@pytest.mark.timeout(480)
def test_discarded_and_replayed_at_once(system: System, seed: int) -> None:
    """A letter that was written again is charged, whatever it is called; another never is."""
    system.environment |= {"SELF_REPLAYS_PER_ROUND": "0"}
    with Trial(system, seed=seed, load=NO_LOAD) as trial:
        trial.start(gateways=0, streams=1, sinks=1)
        sent = Sent(trial)
        events = [sent.event("cust-0", LATE_MODEL) for _ in range(400)]
        sent.write("unpriced", events, None)
        wait_until(lambda: len(sent.letters("unpriced")) == 400, WAIT_SECONDS, "all are letters")
        publish_price(trial)
        ids = [one[0] for one in sent.letters("unpriced")]
        replaying = command(system, "dead-letters", "replay", *ids)
        wait_until(
            lambda: any(replays for _, _, replays in sent.letters("unpriced")),
            WAIT_SECONDS,
            "the first letter is replayed",
        )
        discarding = command(system, "dead-letters", "discard", *ids, "--reason", "a test")
        for one in (replaying, discarding):
            print(one.communicate(timeout=WAIT_SECONDS)[0][-300:])

        letters = rows(trial, 'SELECT event_id, status, replays FROM "DeadLetter"')
        written = {event_id for event_id, _, replays in letters if replays}
        assert {status for _, status, _ in letters} <= {"REPLAYED", "DISCARDED"}
        assert {one for one, status, _ in letters if status == "REPLAYED"} <= written
        sent.expect("unpriced", [one for one in events if one["event_id"] in written], CREDITS)
        trial.check()
        assert sent.charged("unpriced") == len(written)
        print(f"{len(written)} written, {Counter(status for _, status, _ in letters)}")
