"""`burnstream replay`: the log charged again beside the live ledger, which it never touches."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.topics import PARTITIONS_DEFAULT, Topics
from tests.e2e.ledger import Ledger
from tests.e2e.producers import CREDITS, event, produce, value_of, wait_until_all_is_applied
from tests.integration.operations.kafka_records import create_topic
from tests.system import System
from tests.waiting import wait_until

CUSTOMER, OTHER, LATE = "cust-replay", "cust-replay-2", "cust-replay-late"
LIVE_TABLES = (
    "UsageEvent",
    "CreditTransaction",
    "CreditWallet",
    "DuplicateEvent",
    "DeadLetter",
    "RatedBatch",
    "SinkOffset",
    "ProviderCost",
    "PriceHistory",
)


@pytest.fixture
def ledger(system: System, database_url: str) -> Ledger:
    """The ledger of a system of streams and sinks, with two customers."""
    found = Ledger(database_url)
    found.create_customer(CUSTOMER)
    found.create_customer(OTHER)
    system.start(gateways=0)
    return found


def send(system: System, *records: list[dict[str, Any]] | bytes, topic: str | None = None) -> None:
    """Write records, each of events of one customer, or of bytes, in their order."""
    raw = topic or Topics(system.environment["TOPIC_PREFIX"]).raw

    async def run(producer: AIOKafkaProducer) -> None:
        for one in records:
            if isinstance(one, bytes):
                await producer.send_and_wait(raw, one, key=CUSTOMER.encode())
            else:
                key = one[0]["customer_id"].encode()
                await producer.send_and_wait(raw, value_of(*one), key=key)

    produce(system, run)


def replay(system: System, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = system.burnstream("replay", *arguments, "--json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def of_live(system: System, ledger: Ledger) -> dict[str, Any]:
    """What a job must not touch: rows, ends of topics, positions of groups."""
    found: dict[str, Any] = {}
    for table in LIVE_TABLES:
        rows = ledger.rows(f'SELECT t::text FROM "{table}" AS t ORDER BY t::text')  # noqa: S608 -- ours
        found[table] = rows
    topics = Topics(system.environment["TOPIC_PREFIX"])

    async def look(_: AIOKafkaProducer) -> None:
        for group in (topics.streams_group, topics.sinks_group):
            consumer = AIOKafkaConsumer(
                bootstrap_servers=system.environment["KAFKA_BOOTSTRAP_SERVERS"],
                group_id=group,
                enable_auto_commit=False,
            )
            await consumer.start()
            try:
                for topic in (topics.raw, topics.rated, topics.prices):
                    all_of = range(1 if topic == topics.prices else PARTITIONS_DEFAULT)
                    tps = [TopicPartition(topic, number) for number in all_of]
                    found[topic] = list((await consumer.end_offsets(tps)).values())
                    for tp in tps:
                        found[f"{group} {tp}"] = await consumer.committed(tp)
            finally:
                await consumer.stop()

    produce(system, look)
    return found


def history(system: System, ledger: Ledger) -> list[dict[str, Any]]:
    """Duplicates, letters of all kinds, a price change in the midst; return the good events."""
    first = [event(CUSTOMER) for _ in range(20)] + [event(CUSTOMER, idempotency_key="k-1")]
    others = [event(OTHER, feature_id="search") for _ in range(10)]
    unpriced = event(CUSTOMER, model="nova")
    late = event(LATE)
    send(
        system,
        first,
        others,
        [first[3], first[4]],
        [event(CUSTOMER, idempotency_key="k-1")],
        b"no json",
        [event(CUSTOMER, input_tokens=-1), unpriced],
        [late],
        [late],
    )
    wait_until_all_is_applied(system, ledger)
    ledger.create_customer(LATE)
    ledger.rows(
        'UPDATE "ProviderCost" SET cost_per_unit = cost_per_unit * 2'
        " WHERE provider = 'OPENAI' AND model = 'gpt-4-turbo'"
    )
    ledger.rows(
        'INSERT INTO "ProviderCost" (provider, model, cost_type, cost_per_unit, valid_from)'
        " VALUES ('OPENAI', 'nova', 'INPUT_TOKEN', 0.01, '2025-01-01'),"
        " ('OPENAI', 'nova', 'OUTPUT_TOKEN', 0.01, '2025-01-01')"
    )
    # It replays itself, by the new prices: from here on they are in force.
    ledger.wait_until_charged(unpriced["event_id"])
    system.burnstream("dead-letters", "replay", "--all", "--kind", "UNKNOWN_CUSTOMER")
    ledger.wait_until_charged(late["event_id"])
    after = [event(CUSTOMER) for _ in range(10)]
    send(system, after, [after[0], first[0]])
    wait_until_all_is_applied(system, ledger)
    return [*first, *others, unpriced, late, *after]


@pytest.mark.timeout(240)
def test_the_log_and_its_prices_give_the_same_ledger(system: System, ledger: Ledger) -> None:
    """Duplicates, letters and a price change in the midst: equal; tampered with: told, by event."""
    good = history(system, ledger)
    system.stop()  # groups commit now and then, by themselves
    before = of_live(system, ledger)

    found = replay(system, "all")
    assert found["differences"] == []
    assert found["equal"]
    assert {one["live_hash"] for one in found["customers"]} == {
        one["shadow_hash"] for one in found["customers"]
    }
    charged = ledger.rows('SELECT id::text, credits_burned FROM job_all."UsageEvent"')
    assert {one["id"]: one["credits_burned"] for one in charged} == ledger.charged()
    assert {one["event_id"] for one in good} <= {one["id"] for one in charged}
    again = replay(system, "all")
    assert again == found | {"finishedBefore": True}
    assert of_live(system, ledger) == before

    # Of one customer and one feature, from the middle on.
    assert replay(system, "other", "--customer", OTHER)["equal"]
    assert replay(system, "search", "--feature", "search")["equal"]
    assert replay(system, "tail", "--from", "0:5,1:1,2:1")["equal"]
    rows = ledger.rows('SELECT DISTINCT customer_id FROM job_other."UsageEvent"')
    assert [one["customer_id"] for one in rows] == [OTHER]

    # Shared out over processes: who ends last compares.
    assert replay(system, "shared", "--partition", "1") == {"job": "shared", "whole": False}
    rest = [f"--partition={number}" for number in (0, 2, 3)]
    assert replay(system, "shared", *rest)["equal"]

    wrong, gone, made_up = (one["event_id"] for one in good[:3])
    ledger.rows('UPDATE "UsageEvent" SET credits_burned = 14 WHERE id = %s', wrong)
    ledger.rows('DELETE FROM "UsageEvent" WHERE id = %s', gone)
    ledger.rows('UPDATE "UsageEvent" SET id = gen_random_uuid() WHERE id = %s', made_up)
    told = {
        (one["kind"], one["key"]): one["fields"]
        for one in replay(system, "all", code=1)["differences"]
    }
    assert told[("differs", wrong)] == {"credits_burned": [14, 15]}
    assert ("missing in live", gone) in told
    assert ("missing in live", made_up) in told
    assert [kind for kind, _ in told].count("missing in shadow") == 1
    assert len(told) == 4

    assert "removed" in system.burnstream("replay", "all", "--drop").stdout
    assert "no job" in system.burnstream("replay", "all", "--drop").stdout
    left = ledger.rows('SELECT DISTINCT job FROM "JobProgress"')
    assert {one["job"] for one in left} == {"other", "search", "tail", "shared"}


def start_and_kill(system: System, *arguments: str, when: Any) -> None:
    """Run a command and end it with SIGKILL once `when` is so."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=system.folder,
        env=system.environment,
    )
    try:
        wait_until(when, 30, "the command is in the midst of it")
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def number_of(ledger: Ledger, query: str) -> int:
    """A number, 0 while the table is not there."""
    table = query.split("FROM ")[1].split(" ", maxsplit=1)[0]
    if ledger.rows("SELECT to_regclass(%s) AS there", table)[0]["there"] is None:
        return 0
    return int(ledger.rows(query)[0]["number"])


@pytest.mark.timeout(240)
def test_a_replay_killed_at_any_moment_goes_on(system: System, ledger: Ledger) -> None:
    """Killed while it rates and while it applies: the same command ends as if nothing had been."""
    for _ in range(20):
        send(system, *[[event(CUSTOMER) for _ in range(50)] for _ in range(4)])
    wait_until_all_is_applied(system, ledger)
    system.stop()
    before = of_live(system, ledger)
    job = Topics(system.environment["TOPIC_PREFIX"]).rated + ".long"

    def rated() -> bool:
        found: list[int] = []

        async def look(_: AIOKafkaProducer) -> None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=system.environment["KAFKA_BOOTSTRAP_SERVERS"]
            )
            await consumer.start()
            try:
                if job in await consumer.topics():
                    found.extend((await consumer.end_offsets([TopicPartition(job, 0)])).values())
            finally:
                await consumer.stop()

        produce(system, look)
        return sum(found) > 0

    told = """SELECT count(*) AS number FROM "JobProgress" WHERE job = 'long' """
    is_whole = " AND applied_to = next_offset"
    slowly = ("replay", "long", "--events-per-second", "1500")
    start_and_kill(system, *slowly, when=rated)
    applied = 'SELECT count(*) AS number FROM job_long."UsageEvent" '
    assert number_of(ledger, applied) == 0
    start_and_kill(system, *slowly, when=lambda: number_of(ledger, applied) > 0)
    found = replay(system, "long")
    assert found["equal"]
    assert not found["finishedBefore"]
    assert ledger.rows(told) == ledger.rows(told + is_whole) != [{"number": 0}]
    assert number_of(ledger, applied) == len(ledger.charged())
    assert of_live(system, ledger) == before


@pytest.mark.timeout(240)
def test_a_late_topic_is_charged_once_however_often_it_is_killed(
    system: System, ledger: Ledger
) -> None:
    """Dry first; killed in the midst; repeated; with the job's id on the rows."""
    late_topic = system.environment["TOPIC_PREFIX"] + "late"
    create_topic(system.environment["KAFKA_BOOTSTRAP_SERVERS"], late_topic, 3, {})
    there = [event(CUSTOMER) for _ in range(3)]
    send(system, there)
    late = [event(CUSTOMER if number % 3 else OTHER) for number in range(1_500)]
    one_by_one = [[one] for one in late] + [[there[0]], [late[0]]]
    send(system, *one_by_one, topic=late_topic)
    wait_until_all_is_applied(system, ledger)

    replay(system, "late", "--source", late_topic, code=1)
    dry = json.loads(system.burnstream("backfill", "late", "--json").stdout)
    assert (dry["missing"], dry["written"], dry["charged"]) == (len(late), 0, 0)
    charged = 'SELECT count(*) AS number FROM public."JobCharge" WHERE raw_offset IS NOT NULL'
    slowly = ("backfill", "late", "--apply", "--events-per-second", "50")
    start_and_kill(system, *slowly, when=lambda: number_of(ledger, charged) > 0)

    done = json.loads(system.burnstream("backfill", "late", "--apply", "--json").stdout)
    assert 0 < done["written"] < len(late)
    assert (done["missing"], done["unsettled"]) == (0, 0)
    assert (done["charged"], done["charged_credits"]) == (len(late), len(late) * CREDITS)
    found = ledger.charged()
    assert {one["event_id"] for one in [*late, *there]} <= found.keys()
    balance = ledger.balance(CUSTOMER)
    assert balance == 1_000_000 - 1_003 * CREDITS
    rows = ledger.rows("SELECT DISTINCT job, transaction_id IS NULL AS bare FROM job_charges")
    assert rows == [{"job": "late", "bare": False}]

    again = json.loads(system.burnstream("backfill", "late", "--apply", "--json").stdout)
    assert again == done | {"written": 0}
    assert ledger.charged() == found
    assert ledger.balance(CUSTOMER) == balance
    system.burnstream("audit", "--log")


@pytest.mark.timeout(240)
def test_letters_are_charged_by_a_backfill(system: System, ledger: Ledger) -> None:
    """An unknown customer's events, once there is one: their letters are closed by it."""
    late = [event(LATE) for _ in range(5)]
    send(system, late)
    wait_until_all_is_applied(system, ledger)
    assert len(ledger.letters()) == 5
    ledger.create_customer(LATE)
    assert replay(system, "billed")["equal"]
    found = replay(system, "today", "--prices", "now", code=1)["differences"]
    assert {one["key"] for one in found} == {one["event_id"] for one in late}

    done = json.loads(system.burnstream("backfill", "today", "--apply", "--json").stdout)
    assert (done["charged"], done["missing"]) == (5, 0)
    assert {one["status"] for one in ledger.letters()} == {"REPLAYED"}
    assert replay(system, "today")["equal"]
    system.burnstream("audit", "--log")
