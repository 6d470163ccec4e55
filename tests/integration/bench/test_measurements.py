"""Each measurement with few events: it runs, and what it measured did the work rightly."""

import json
from collections.abc import Iterator

import psycopg
import pytest
from typer.testing import CliRunner

from deploy.bench import e2e, gateway, recovery, sink, stream
from deploy.bench.arena import Arena, Given, MeasurementError
from deploy.bench.commands import app
from deploy.bench.figures import Figure
from deploy.bench.workload import Outcome, Workload
from deploy.local.progress import Progress
from deploy.local.servers import LocalServers
from tests.benchmarks import bare_copy


@pytest.fixture(scope="module")
def given(local_servers: LocalServers) -> Given:
    return Given(local_servers.kafka_bootstrap, local_servers.database_url, local_servers.redis_url)


@pytest.fixture(scope="module")
def arena(given: Given) -> Iterator[Arena]:
    with Arena.open(given, Progress(quiet=True)) as opened:
        yield opened


def test_the_stream_stage_is_measured(arena: Arena) -> None:
    """A worker rates the records, with a longer price list, and what it wrote is right."""
    figure = stream.measure(arena, Workload(2_000, 5, duplicates_share=0.05), price_rows=100)

    assert (figure.measure, figure.unit, figure.events) == ("stream", "events/s", 2_000)
    assert figure.value > 0
    assert figure.cpu["worker"] > 0


def test_wrong_work_is_no_result() -> None:
    """Credits that differ from what must come out end the measurement."""
    tally = stream.Tally(1.0, charged=10, duplicates=0, credits=99)

    with pytest.raises(MeasurementError, match="wrongly"):
        stream.check("a contender", [tally], Outcome(charged=10, credits=100))


def test_the_sink_is_measured_beside_bare_copy(arena: Arena) -> None:
    """A worker charges the records, late copies are conflicts, and COPY writes the same rows."""
    workload = sink.workload_of(5_000, late_copies=0.05)
    with arena.course(workload.customer_ids) as course:
        ours = sink.run(course, workload)
        transactions = bare_copy.read_transactions(course.database_url)
    theirs = bare_copy.measure(arena, workload.customer_ids, transactions)

    assert ours.value > 0
    assert ours.conditions == {"late_copies_percent": 5}
    assert 4_000 < theirs.events < 5_000
    assert theirs.cpu["worker"] > 0


def test_a_filled_ledger_is_one(arena: Arena) -> None:
    """Filled tables have every index that they had, and wallets stand where their chains end."""
    indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexdef"
    name = arena.make_database(["a", "b", "c"])
    with psycopg.connect(arena.database_url(name)) as connection:
        before = connection.execute(indexes).fetchall()
    sink.prefill(arena, name, 1_000)
    with psycopg.connect(arena.database_url(name)) as connection:
        after = connection.execute(indexes).fetchall()
        counts = connection.execute(
            'SELECT (SELECT count(*) FROM "UsageEvent"), (SELECT count(*) FROM "CreditTransaction"'
            ' JOIN "UsageEvent" ON "UsageEvent".id = usage_event_id), sum(last_seq), count(*)'
            ' FROM "CreditWallet" AS wallet JOIN "CreditTransaction" ON wallet_id = wallet.id'
            " AND wallet_seq = last_seq AND balance_after = balance"
        ).fetchone()
    arena.drop_database(name)

    assert after == before
    assert counts == (1_000, 1_000, 1_000, 3)


def test_the_gateway_is_measured(arena: Arena) -> None:
    """Batches and single events are taken, all of them."""
    batches, p50, p99 = gateway.measure(arena, gateway.workload_of(2_000, 100, 1), singles=60)

    assert batches.value > 0
    assert batches.cpu["load"] > 0
    assert 0 < p50.value <= p99.value


def test_the_whole_way_is_measured(arena: Arena) -> None:
    """Everything posted is charged, and each request's way to the ledger took some time."""
    rate, p50, p99 = e2e.measure(arena, Workload(4_000, 50), steady_seconds=1.0)

    assert rate.value > 0
    assert {"gateway", "streams", "sinks", "load"} <= rate.cpu.keys()
    assert 0 < p50.value <= p99.value


def test_recovery_is_measured(arena: Arena) -> None:
    """A new worker comes back with what was remembered."""
    ((seconds, memory),) = recovery.measure(arena, 20_000, runs=1, customers=50)

    assert seconds.value > 0
    assert seconds.conditions == memory.conditions == {"identities": 20_000}


def test_the_command_prints_json(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """`burnstream bench stream --json` prints one object per figure, the median of its runs."""
    values = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(
        stream, "measure", lambda *_, **__: Figure("stream", next(values), "events/s")
    )
    servers = ["--kafka-bootstrap", str(given.kafka_bootstrap)]
    servers += ["--database-url", str(given.database_url), "--redis-url", str(given.redis_url)]

    done = CliRunner().invoke(app, [*servers, "stream", "--runs", "3", "--json"])

    (line,) = done.stdout.splitlines()
    assert json.loads(line) | {"value": 2.0, "runs": [3.0, 1.0, 2.0]} == json.loads(line)
