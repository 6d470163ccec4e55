"""A repricing: a replay at other prices, what each event would cost then, and the corrections.

The difference is against what the ledger holds now, earlier corrections included. So a run that was
killed goes on where it was: what it corrected costs what it should, and is no difference any more.
One repricing at a time applies.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row

from deploy.jobs import other_prices, replay, shadow
from deploy.jobs.correction_rows import Correction, CorrectionRow, correct, idempotency_key
from deploy.jobs.other_prices import OtherPrices
from deploy.jobs.plan import PlanError, Request
from deploy.jobs.shadow import Job
from deploy.jobs.statements import statement
from deploy.runtime.progress_bar import Tell, tell_nobody
from sinks.copy_rows import microseconds, moment
from sinks.statements import statement as of_sinks
from sinks.wallets import Account, Wallet, choose_wallet, wallets_by_scope
from streams.settings import StreamsSettings

EVENTS_PER_TRANSACTION = 1_000
_FIRST_EVENT = "00000000-0000-0000-0000-000000000000"
_APPLYING = "corrections"  # the lock that repricings apply under

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Total:
    """What the job's events come to; costs in USD.

    `not_billed`: the live ledger has not charged them, a backfill would. `no_longer_priced`: they
    were charged, and the job has no price for them; nothing is corrected.
    """

    events: int
    events_changed: int
    credits_billed: int
    credits_before: int
    credits_after: int
    cost_usd_billed: Any
    cost_usd_after: Any
    not_billed: int
    no_longer_priced: int


@dataclass(frozen=True, slots=True)
class Corrections:
    """What a job has corrected so far; credits given back are above 0."""

    events: int
    credits_given_back: int
    credits_taken: int


def begin(
    settings: StreamsSettings,
    connection: Connection,
    name: str,
    span: Request,
    prices: OtherPrices,
) -> Job:
    """Return the job of that name, its prices kept; without options one that was begun goes on.

    Raises PlanError when it was begun otherwise, or cannot be done.
    """
    found = shadow.find(connection, name)
    if found is not None and not found.has_own_prices:
        raise PlanError(f"{name} is a replay: take another name")
    goes_on = found is not None and (span, prices) == (Request(), OtherPrices())
    request = Request() if goes_on else replace(span, prices=prices.name)
    with shadow.only_run(connection, name):
        job = asyncio.run(replay.begin(settings, connection, name, request))
        try:
            with own_tables(settings, job) as own:
                other_prices.keep(own, job, prices)
        except PlanError:
            if found is None:  # Nothing is left of a job that cannot be.
                asyncio.run(shadow.drop(settings, connection, name))
            raise
    return job


def own_tables(settings: StreamsSettings, job: Job) -> Connection:
    """Connect to the job's schema."""
    conninfo = shadow.conninfo_of(settings, job.schema)
    return psycopg.connect(conninfo, autocommit=True, application_name=shadow.APPLICATION_NAME)


async def run(
    settings: StreamsSettings,
    connection: Connection,
    job: Job,
    *,
    events_per_second: float,
    tell: Tell = tell_nobody,
) -> None:
    """Charge the span at the job's prices, in its own ledger."""
    with own_tables(settings, job) as own:
        book = other_prices.book(own, job)
    whole = await replay.run(
        settings, connection, job, lambda _: book, events_per_second=events_per_second, tell=tell
    )
    if not whole:
        raise PlanError(f"{job.name} is not at its end: run it again")


def compare(connection: Connection, job: Job) -> Total:
    """Find what each event costs and should cost, as of now, and return what it comes to."""
    schemas = {
        "shadow": sql.Identifier(job.schema),
        "live": sql.Identifier(job.live_schema),
    }
    with connection.transaction():
        connection.execute(
            sql.SQL('DROP TABLE IF EXISTS {}."Difference"').format(schemas["shadow"])
        )
        connection.execute(
            statement("differences", **schemas), {"key": idempotency_key(job.name, "")}
        )
        connection.execute(
            sql.SQL('CREATE INDEX ON {}."Difference" (customer_id, id)').format(schemas["shadow"])
        )
        with connection.cursor(row_factory=class_row(Total)) as cursor:
            found = cursor.execute(
                sql.SQL("SELECT * FROM ({}) AS total, ({}) AS rest").format(
                    statement("total", **schemas), statement("not_compared", **schemas)
                )
            ).fetchone()
    if found is None:
        raise LookupError("a sum without a row")
    return found


def report(connection: Connection, job: Job) -> list[dict[str, Any]]:
    """Return what was compared, by customer, model and UTC day."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = statement("report", shadow=sql.Identifier(job.schema))
        return cursor.execute(rows).fetchall()


def apply(connection: Connection, job: Job, tell: Tell = tell_nobody) -> int:
    """Write the corrections that are missing, and return how many.

    Raises PlanError while another repricing applies, CorrectionError where a balance cannot hold
    one; what was written before stays, each transaction whole.
    """
    with shadow.only_run(connection, _APPLYING):
        total = compare(connection, job).events_changed
        done = written = 0
        last = ("", _FIRST_EVENT)
        tell(done, total)
        while events := _next(connection, job, last):
            last = (events[-1]["customer_id"], events[-1]["id"])
            with connection.transaction():
                written += _write(connection, job, events)
            done += len(events)
            tell(done, total)
        return written


def corrections(connection: Connection, job: Job) -> Corrections:
    """Return what a job has corrected."""
    with connection.cursor(row_factory=class_row(Corrections)) as cursor:
        found = cursor.execute(
            """
            SELECT count(*) AS events,
                coalesce(sum(-credits) FILTER (WHERE credits < 0), 0)::bigint AS credits_given_back,
                coalesce(sum(credits) FILTER (WHERE credits > 0), 0)::bigint AS credits_taken
            FROM corrections WHERE job = %s
            """,
            [job.name],
        ).fetchone()
    if found is None:
        raise LookupError("a sum without a row")
    return found


def _next(connection: Connection, job: Job, last: tuple[str, str]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            statement("to_correct", shadow=sql.Identifier(job.schema)),
            {"customer": last[0], "event": last[1], "limit": EVENTS_PER_TRANSACTION},
        ).fetchall()


def _write(connection: Connection, job: Job, events: Sequence[dict[str, Any]]) -> int:
    """Correct events in the transaction that is open, and return how many; locks as the sinks'."""
    wallets = _wallets(connection, events)
    wanted = [
        Correction(
            event["customer_id"],
            str(event["id"]),
            wallet,
            event["burn_id"],
            event["credits_before"],
            event["credits_after"],
        )
        for event, wallet in zip(events, wallets, strict=True)
    ]
    accounts, now = _locked(connection, sorted(set(wallets)))
    # Asked under the locks that a void takes, too: what it does not see of ours, we see of it.
    voided = _voided(connection, events)
    wanted = [one for one in wanted if one.event_id not in voided]
    rows = correct(accounts, wanted, now)
    _copy(connection, job, rows)
    connection.execute(
        of_sinks("update_wallets"),
        {
            "wallets": list(accounts),
            "balances": [account.balance for account in accounts.values()],
            "seqs": [account.last_seq for account in accounts.values()],
        },
    )
    return len(rows)


def _wallets(connection: Connection, events: Sequence[dict[str, Any]]) -> list[str]:
    """Return the wallet of each event: the one that paid, or that would pay for what was free."""
    free = [event for event in events if event["wallet_id"] is None]
    suffixes = iter(("", f"_{uuid4().hex}"))
    while True:
        by_scope = {}
        if free:
            rows = connection.execute(
                of_sinks("find_wallets"),
                {
                    "customers": [event["customer_id"] for event in free],
                    "teams": [event["team_id"] for event in free if event["team_id"]],
                    "users": [event["user_id"] for event in free if event["user_id"]],
                },
            ).fetchall()
            by_scope = wallets_by_scope(Wallet(*row) for row in rows)
        found = [
            event["wallet_id"]
            or choose_wallet(by_scope, event["customer_id"], event["user_id"], event["team_id"])
            for event in events
        ]
        without = {
            event["customer_id"]
            for event, wallet in zip(events, found, strict=True)
            if wallet is None
        }
        if not without:
            return [wallet for wallet in found if wallet is not None]
        connection.execute(
            of_sinks("create_wallets"),
            {"prefix": "wallet_", "suffix": next(suffixes), "customers": sorted(without)},
        )


def _voided(connection: Connection, events: Sequence[dict[str, Any]]) -> set[str]:
    rows = connection.execute(
        'SELECT event_id::text FROM "VoidedEvent" WHERE (customer_id, event_id) IN'
        " (SELECT * FROM unnest(%s::text[], %s::uuid[]))",
        [[event["customer_id"] for event in events], [event["id"] for event in events]],
    )
    return {event_id for (event_id,) in rows.fetchall()}


def _locked(connection: Connection, wallets: list[str]) -> tuple[dict[str, Account], int]:
    rows = connection.execute(of_sinks("lock_wallets"), {"wallets": wallets}).fetchall()
    accounts = {row[0]: Account(row[1], row[2], None) for row in rows}
    seqs = [account.last_seq for account in accounts.values()]
    ends = connection.execute(
        of_sinks("chain_ends"), {"wallets": list(accounts), "seqs": seqs}
    ).fetchall()
    for _, wallet, created_at in ends:
        if created_at is not None:
            accounts[wallet].last_created_at = microseconds(created_at)
    return accounts, microseconds(ends[0][0])


def _copy(connection: Connection, job: Job, rows: Sequence[CorrectionRow]) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy(
            'COPY "CreditTransaction" (wallet_id, customer_id, transaction_type, amount,'
            " balance_before, balance_after, description, metadata, idempotency_key,"
            " usage_event_id, wallet_seq, created_at) FROM STDIN"
        ) as copy,
    ):
        for row in rows:
            about = {"job": job.name, "corrects": row.corrects, "credits": row.credits}
            copy.write_row(
                (
                    row.wallet_id,
                    row.customer_id,
                    row.transaction_type,
                    row.amount,
                    row.balance_before,
                    row.balance_after,
                    f"Repriced by {job.name}",
                    orjson.dumps(about).decode(),
                    idempotency_key(job.name, row.event_id),
                    row.event_id,
                    row.wallet_seq,
                    moment(row.created_at),
                )
            )
