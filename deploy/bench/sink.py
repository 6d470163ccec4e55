"""`bench sink`: one sinks worker, from rated batches to the committed ledger.

The batches are what our streams made of the records. Counted is by Postgres' clock, transaction by
transaction, after a fifth of the events. CPU is the worker's and Postgres' over that stretch.
"""

import asyncio
import itertools
from pathlib import Path

import psycopg

from deploy.bench import kafka_log, stream
from deploy.bench.arena import OPENING_BALANCE, Arena, Course, MeasurementError
from deploy.bench.cpu import CpuSampler
from deploy.bench.figures import Figure, rate_after_warm_up
from deploy.bench.workload import CUSTOMERS_DEFAULT, Outcome, Workload

WARM_UP_SHARE = 0.2
LOOK_INTERVAL_SECONDS = 0.5
EVENTS_PER_RECORD = 50
PREFILL = Path(__file__).with_name("prefill.sql")


def workload_of(
    events: int, *, customers: int = CUSTOMERS_DEFAULT, late_copies: float = 0.0, seed: int = 1
) -> Workload:
    """Return events without duplicates but the late copies: each is a row, or a conflict."""
    return Workload(
        events,
        EVENTS_PER_RECORD,
        customers=customers,
        duplicates_share=0.0,
        late_copies_share=late_copies,
        seed=seed,
    )


def measure(arena: Arena, workload: Workload, ledger_rows: int = 0, database: str = "") -> Figure:
    """Let one worker charge the records. `database`: one that holds the rows already."""
    if ledger_rows and not database:
        database = arena.make_database(workload.customer_ids)
        try:
            prefill(arena, database, ledger_rows)
            return measure(arena, workload, ledger_rows, database)
        finally:
            arena.drop_database(database)
    with arena.course(workload.customer_ids, database=database) as course:
        return run(course, workload, ledger_rows)


def run(course: Course, workload: Workload, ledger_rows: int = 0) -> Figure:
    """Measure on a course that is ready. Raises MeasurementError."""
    arena = course.arena
    arena.progress.say(f"sink: {workload.events:,} events")
    outcome = stream.rate_all(course, workload)
    credits_before = credits_spent(course.database_url)
    worker = course.start("sinks")
    pids = {"worker": worker.pid} | {
        name: pid for name, pid in arena.server_pids().items() if name == "postgres"
    }
    with CpuSampler(pids) as sampler:
        wait_until_charged(course)
    course.stop_worker(worker)
    spent = credits_spent(course.database_url) - credits_before
    transactions = _transactions(course, outcome, spent)
    begun, ended, events = rate_after_warm_up(transactions, WARM_UP_SHARE)
    conditions = {}
    if workload.customers != CUSTOMERS_DEFAULT:
        conditions["customers"] = workload.customers
    if ledger_rows:
        conditions["ledger_rows"] = ledger_rows
    if outcome.late_copies:
        conditions["late_copies_percent"] = round(100 * workload.late_copies_share)
    figure = Figure(
        "sink",
        events / (ended - begun),
        "events/s",
        conditions=conditions,
        events=workload.events,
        cpu=sampler.microseconds_per_event(begun, ended, events),
    )
    arena.progress.say(f"  {figure.value:,.0f} events/s, {figure.cpu['worker']:.1f} us of CPU each")
    return figure


def wait_until_charged(course: Course, interval: float = LOOK_INTERVAL_SECONDS) -> None:
    """Wait until the ledger has reached the end of the raw topic."""
    partitions = kafka_log.partitions_of(course.topics.raw)
    wanted = sum(asyncio.run(kafka_log.ends(course.bootstrap, partitions)).values())
    with psycopg.connect(course.database_url, autocommit=True) as connection:

        def is_charged() -> bool:
            row = connection.execute(
                'SELECT sum(next_offset) FROM "SinkOffset" WHERE topic = %s', [course.topics.raw]
            ).fetchone()
            return row is not None and row[0] == wanted

        course.wait_until(is_charged, "everything is charged", interval)


def credits_spent(database_url: str) -> int:
    """Return what is missing in the customers' wallets."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute('SELECT sum(%s - balance) FROM "CreditWallet"', [OPENING_BALANCE])
        (spent,) = row.fetchone() or (0,)
    return int(spent)


def _transactions(course: Course, outcome: Outcome, spent: int) -> list[tuple[float, int]]:
    """Return (end, events) of each transaction, having checked what they did."""
    with psycopg.connect(course.database_url) as connection:
        rows = connection.execute(
            "SELECT extract(epoch FROM created_at)::float8, sum(charged), sum(duplicates),"
            ' sum(conflicts) FROM "RatedBatch" WHERE topic = %s GROUP BY created_at'
            " ORDER BY created_at",
            [course.topics.raw],
        ).fetchall()
        (last,) = connection.execute(
            'SELECT extract(epoch FROM max(updated_at))::float8 FROM "SinkOffset" WHERE topic = %s',
            [course.topics.raw],
        ).fetchone() or (0.0,)
    found = (*(int(sum(row[column] for row in rows)) for column in (1, 2, 3)), spent)
    expected = (outcome.charged, outcome.duplicates, outcome.late_copies, outcome.credits)
    if found != expected:
        raise MeasurementError(
            f"the ledger is wrong: charged, duplicates, conflicts, credits are {found},"
            f" and must be {expected}"
        )
    # A transaction ends where the next one begins: its rows carry the time of its beginning.
    ends = [*(following[0] for _, following in itertools.pairwise(rows)), last]
    return [(end, int(sum(row[1:]))) for end, row in zip(ends, rows, strict=True)]


def prefill(arena: Arena, database: str, rows: int) -> None:
    """Fill both big tables with so many rows of the customers, as if charged before."""
    with (
        arena.progress.step(f"  fill the ledger with {rows:,} rows"),
        psycopg.connect(arena.database_url(database), autocommit=True) as connection,
    ):
        connection.execute("SELECT set_config('bench.rows', %s, false)", [str(rows)])
        connection.execute(PREFILL.read_bytes())
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
