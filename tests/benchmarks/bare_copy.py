"""The sink's baseline: binary COPY of the rows that it wrote, into the same tables, and no more.

Rows are taken out of the ledger that a sink has just filled and sorted into its transactions before
the clock starts. Each transaction then copies its UsageEvent and its CreditTransaction rows, sets
the balances of its wallets and moves the offset.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from deploy.bench.arena import Arena, MeasurementError
from deploy.bench.cpu import CpuSampler
from deploy.bench.figures import Figure, rate_after_warm_up
from deploy.bench.sink import WARM_UP_SHARE
from sinks import copy_rows
from tests.benchmarks.goals import BARE_COPY

SINK_OFFSET_TOPIC = "bare-copy"

_TRANSACTIONS = """
SELECT count(*) FROM "CreditTransaction" WHERE transaction_type = 'BURN'
GROUP BY xmin ORDER BY min(ctid)
"""
_WALLETS = """
SELECT array_agg(wallet_id), array_agg(balance_after), array_agg(wallet_seq)
FROM (
    SELECT DISTINCT ON (xmin::text, wallet_id)
        xmin::text AS transaction, min(ctid) OVER (PARTITION BY xmin::text) AS place,
        wallet_id, balance_after, wallet_seq
    FROM "CreditTransaction" WHERE transaction_type = 'BURN'
    ORDER BY xmin::text, wallet_id, wallet_seq DESC
) AS ends
GROUP BY transaction, place ORDER BY place
"""
_UPDATE_WALLETS = """
UPDATE "CreditWallet" AS wallet
SET balance = ends.balance, last_seq = ends.last_seq, updated_at = clock_timestamp()
FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS ends (id, balance, last_seq)
WHERE wallet.id = ends.id
"""
_UPDATE_OFFSET = """
UPDATE "SinkOffset" SET next_offset = %s, updated_at = clock_timestamp() WHERE topic = %s
"""


@dataclass(frozen=True, slots=True)
class Transaction:
    """What one transaction writes, as bytes."""

    events: int
    usage_events: bytes
    credit_transactions: bytes
    wallets: Sequence[Any]


def read_transactions(database_url: str) -> list[Transaction]:
    """Return a ledger's rows by the transactions that wrote them."""
    with psycopg.connect(database_url) as connection:
        sizes = [size for (size,) in connection.execute(_TRANSACTIONS).fetchall()]
        wallets = connection.execute(_WALLETS).fetchall()
        usage_events = _rows(connection, "UsageEvent", copy_rows.USAGE_EVENT_COLUMNS)
        credit_transactions = _rows(
            connection, "CreditTransaction", copy_rows.CREDIT_TRANSACTION_COLUMNS
        )
    if not sum(sizes) == len(usage_events) == len(credit_transactions):
        raise MeasurementError("every event of this measure costs something")
    found, at = [], 0
    for size, of_wallets in zip(sizes, wallets, strict=True):
        found.append(
            Transaction(
                size,
                _file_of(usage_events[at : at + size]),
                _file_of(credit_transactions[at : at + size]),
                of_wallets,
            )
        )
        at += size
    return found


def _rows(connection: psycopg.Connection[Any], table: str, columns: Sequence[str]) -> list[bytes]:
    names = ", ".join(f'"{column}"' for column in columns)
    query = f'COPY (SELECT {names} FROM "{table}" ORDER BY ctid) TO STDOUT (FORMAT BINARY)'  # noqa: S608 -- ours
    with connection.cursor() as cursor, cursor.copy(query.encode()) as copy:
        rows = [bytes(row) for row in copy]
    # The first message begins with the signature, the last one is the trailer.
    return [rows[0].removeprefix(copy_rows.SIGNATURE), *rows[1:-1]]


def _file_of(rows: Sequence[bytes]) -> bytes:
    return b"".join((copy_rows.SIGNATURE, *rows, copy_rows.TRAILER))


def measure(arena: Arena, customers: Sequence[str], transactions: list[Transaction]) -> Figure:
    """Write the transactions to a ledger that is as empty as the sink's was."""
    arena.progress.say(f"sink: {BARE_COPY}, {len(transactions)} transactions")
    name = arena.make_database(customers)
    try:
        return _measure(arena, arena.database_url(name), transactions)
    finally:
        arena.drop_database(name)


def _measure(arena: Arena, database_url: str, transactions: list[Transaction]) -> Figure:
    pids = {name: pid for name, pid in arena.server_pids().items() if name == "postgres"}
    ends: list[tuple[float, int]] = []
    own: list[float] = []
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        CpuSampler(pids) as sampler,
    ):
        connection.execute(
            'INSERT INTO "SinkOffset" (topic, partition) VALUES (%s, 0)', [SINK_OFFSET_TOPIC]
        )
        for number, transaction in enumerate(transactions, start=1):
            _write(connection, transaction, number)
            ends.append((time.time(), transaction.events))
            own.append(time.process_time())
    begun, ended, events = rate_after_warm_up(ends, WARM_UP_SHARE)
    began_at = next(number for number, (end, _) in enumerate(ends) if end == begun)
    cpu = {"worker": (own[-1] - own[began_at]) / events * 1e6}
    rate = events / (ended - begun)
    arena.progress.say(f"  {rate:,.0f} events/s, {cpu['worker']:.1f} us of CPU each")
    return Figure(
        "sink",
        rate,
        "events/s",
        BARE_COPY,
        events=sum(one.events for one in transactions),
        cpu=cpu | sampler.microseconds_per_event(begun, ended, events),
    )


def _write(connection: psycopg.Connection[Any], transaction: Transaction, next_offset: int) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy(copy_rows.COPY_USAGE_EVENTS) as copy:
            copy.write(transaction.usage_events)
        with cursor.copy(copy_rows.COPY_CREDIT_TRANSACTIONS) as copy:
            copy.write(transaction.credit_transactions)
        cursor.execute(_UPDATE_WALLETS, transaction.wallets)
        cursor.execute(_UPDATE_OFFSET, [next_offset, SINK_OFFSET_TOPIC])
