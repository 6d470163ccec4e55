"""Commands of the ledger: schema, topics, prices, top-ups, proof, and an operator's decisions."""

import asyncio
import base64
import getpass
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

import psycopg
import typer
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from deploy.runtime.exit import ExitCode
from deploy.runtime.kafka import producer_options, stop_in_time
from deploy.runtime.settings import RuntimeSettings, load_settings
from schemas.dead_letter import Reason
from schemas.rated import Kind
from schemas.topics import RAW_MESSAGE_BYTES_MAX
from sinks import audit as ledger_audit
from sinks import audit_log as log_audit
from sinks import dead_letters, migrations, seed, topic_admin, wallet_credit
from sinks import repair as log_repair
from sinks import scale as topic_growth
from sinks.wallet_credit import CreditType

CONNECT_TIMEOUT_SECONDS = 10
PRODUCER_STOP_SECONDS = 5.0

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
wallet_app = typer.Typer(help="Wallets.", no_args_is_help=True)
letters_app = typer.Typer(
    help="Events that could not be charged, with their bytes.", no_args_is_help=True
)
repair_app = typer.Typer(
    help="A person's decision about a log that cannot heal; `audit` prints it for ever.",
    no_args_is_help=True,
)
app.add_typer(wallet_app, name="wallet")
app.add_typer(letters_app, name="dead-letters")
app.add_typer(repair_app, name="repair")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
By = Annotated[str, typer.Option(help="Who decides; the operating system's user by default.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept with the decision.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, such as dl-0-0-17-0.")]
KindFilter = Annotated[Reason | None, typer.Option("--kind", help="Only this reason.")]
CustomerFilter = Annotated[str | None, typer.Option("--customer", help="Only this customer.")]
Partition = Annotated[int, typer.Argument(min=0, help="Partition of usage.raw.")]


class Status(StrEnum):
    """Filter of `dead-letters list`."""

    OPEN = "OPEN"
    REPLAYED = "REPLAYED"
    DISCARDED = "DISCARDED"
    ALL = "ALL"


_REFUSALS = (
    migrations.MigrationError,
    topic_admin.TopicDriftError,
    topic_growth.ScaleError,
    wallet_credit.CreditError,
    dead_letters.DeadLetterError,
    log_repair.RepairError,
)


def _fail(message: str) -> NoReturn:
    print(f"burnstream: {message}", file=sys.stderr)
    raise typer.Exit(ExitCode.FAILED)


@contextmanager
def _one_line_errors(settings: RuntimeSettings) -> Iterator[None]:
    """Turn refusals and unreachable servers into one line that names the remedy."""
    # aiokafka logs what it raises, too.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    address = urlsplit(settings.database_url)
    postgres = f"{address.hostname}:{address.port or 5432}{address.path}"
    kafka = f"{settings.kafka_bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS)"
    try:
        yield
    except _REFUSALS as error:
        _fail(str(error))
    except psycopg.errors.UndefinedTable:
        _fail(f"Postgres at {postgres} is not migrated; run `burnstream migrate`")
    except psycopg.Error as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        hint = "is it running, is DATABASE_URL right? `make up` starts the embedded one"
        unreachable = isinstance(error, psycopg.OperationalError)
        _fail(f"Postgres at {postgres}: {cause}" + (f"; {hint}" if unreachable else ""))
    except KafkaError as error:
        _fail(f"Kafka at {kafka}: {error!r}; is it running? `make up` starts the embedded one")
    except TimeoutError:
        _fail(f"Kafka at {kafka} did not answer in time; what was acknowledged stays so")


@contextmanager
def _ledger() -> Iterator[tuple[RuntimeSettings, psycopg.Connection[Any]]]:
    """Settings and a connection to a migrated database."""
    settings = load_settings(RuntimeSettings)
    with (
        _one_line_errors(settings),
        psycopg.connect(
            settings.database_url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name="burnstream-command",
        ) as connection,
    ):
        missing = migrations.pending(connection)
        if missing:
            raise migrations.MigrationError(
                f"the database lacks {', '.join(missing)}; run `burnstream migrate`"
            )
        yield settings, connection


@asynccontextmanager
async def _raw_producer(settings: RuntimeSettings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        **producer_options(settings, "dead-letters"), max_request_size=2 * RAW_MESSAGE_BYTES_MAX
    )
    try:
        await producer.start()
        yield producer
    finally:
        await stop_in_time(producer, PRODUCER_STOP_SECONDS)


def _plain(value: object) -> object:
    """JSON of what json does not know: times as ISO 8601, exact decimals as text, bytes."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Decimal):
        return str(value)
    return str(value)


def _print(as_json: bool, data: object, text: Callable[[], str]) -> None:
    print(json.dumps(data, default=_plain) if as_json else text())


@app.command()
def migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to this version; the same again changes nothing."""
    settings = load_settings(RuntimeSettings)
    with _one_line_errors(settings):
        applied = migrations.migrate(settings.database_url)
    _print(
        as_json,
        {"applied": applied},
        lambda: "\n".join(f"applied {name}" for name in applied) or "schema is up to date",
    )


@app.command()
def topics(
    partitions: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Of usage.raw; 4, or as many as there are."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the Kafka topics and their ledger positions; refuse when what exists differs."""
    with _ledger() as (settings, connection):
        report = asyncio.run(topic_admin.ensure_topics(settings, connection, partitions))
    for warning in report.warnings:
        print(f"burnstream: {warning}", file=sys.stderr)
    _print(
        as_json,
        asdict(report),
        lambda: (
            "\n".join(f"created {name}" for name in report.created)
            or f"topics are as they should be ({report.partitions} partitions)"
        ),
    )


@app.command()
def scale(
    partitions: Annotated[
        int, typer.Option(min=1, max=1024, help="Of usage.raw; as many as there are, or more.")
    ],
    as_json: Json = False,
) -> None:
    """Add partitions while everything runs; killed in between, run it again."""
    with _ledger() as (settings, connection):
        report = asyncio.run(topic_growth.scale(settings, connection, partitions))
    _print(as_json, asdict(report), lambda: "\n".join(_scale_lines(report)))


def _scale_lines(report: topic_growth.ScaleReport) -> Iterator[str]:
    if report.positions:
        yield f"SinkOffset: {report.positions} positions added"
    for one in report.grown:
        yield f"{one.topic}: {one.before} -> {one.partitions} partitions"
    if not report.grown:
        yield f"nothing to add: there are {report.partitions} partitions"
        return
    yield (
        "Gateways write to them and workers share them out within seconds, by themselves; nothing "
        "is to be restarted. Other producers follow when their clients look again (5 minutes, "
        "usually)."
    )
    yield (
        "New events of many customers go to another partition than their earlier ones. A duplicate "
        "of one that lies there is charged no more than before, but it is Postgres that finds it: "
        "expect more conflicts for the length of the dedupe window."
    )


@app.command(name="seed")
def seed_command(as_json: Json = False) -> None:
    """Add the provider costs that ship with this version; edits and deletions stay as they are."""
    with _ledger() as (_, connection):
        added = seed.seed(connection)
    _print(as_json, {"added": added}, lambda: f"added {added} provider costs")


@wallet_app.command()
def credit(
    *,
    customer: Annotated[str, typer.Argument(help="Id of the customer.")],
    amount: Annotated[int, typer.Argument(min=1, help="Credits, a whole number.")],
    idempotency_key: Annotated[
        str, typer.Option(help="The same key again credits nothing.", show_default=False)
    ],
    wallet: Annotated[str | None, typer.Option(help="Default: the customer's own wallet.")] = None,
    credit_type: Annotated[CreditType, typer.Option("--type")] = CreditType.PURCHASE,
    description: Annotated[str | None, typer.Option(help="Kept with the transaction.")] = None,
    as_json: Json = False,
) -> None:
    """Credit a wallet, once per key."""
    with _ledger() as (_, connection):
        entry, is_new = wallet_credit.credit(
            connection,
            customer_id=customer,
            amount=amount,
            idempotency_key=idempotency_key,
            credit_type=credit_type,
            wallet_id=wallet,
            description=description,
        )
    verb = "credited" if is_new else "had been credited already:"
    _print(
        as_json,
        asdict(entry) | {"is_new": is_new},
        lambda: (
            f"{entry.wallet_id} {verb} {entry.amount} ({entry.id}), "
            f"balance {entry.balance_before} -> {entry.balance_after}"
        ),
    )


@app.command()
def audit(
    log: Annotated[
        bool, typer.Option("--log", help="Recount the events of usage.raw, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Prove from the ledger's rows that every event was charged exactly once; exit 1 if not."""
    with _ledger() as (settings, connection):
        report = ledger_audit.audit(connection)
        discrepancies, recounted = report.discrepancies, None
        if log:
            recounted = asyncio.run(log_audit.audit_log(settings, connection))
            discrepancies = discrepancies + recounted.discrepancies
    data = {
        "clean": not discrepancies,
        "discrepancies": [asdict(one) for one in discrepancies],
        "decisions": report.decisions,
        "totals": report.totals,
    }
    if recounted is not None:
        data["log"] = {"records": recounted.records, "events": recounted.events}
    _print(as_json, data, lambda: "\n".join(_audit_lines(data, discrepancies)))
    if discrepancies:
        raise typer.Exit(ExitCode.FAILED)


def _audit_lines(
    data: dict[str, Any], discrepancies: list[ledger_audit.Discrepancy]
) -> Iterator[str]:
    for one in discrepancies:
        yield f"{one.code}: {one.count}: {one.message}"
        for example in one.examples:
            yield "    " + ", ".join(f"{name}={value}" for name, value in example.items())
    for row in data["decisions"]:
        yield (
            f"note: {row['kind']} in {row['topic']}[{row['partition']}], epoch {row['epoch']}: "
            f"{row['first_offset']} -> {row['next_offset']}, by {row['decided_by']} at "
            f"{row['created_at']:%Y-%m-%d %H:%M}: {row['reason']}"
        )
    counts = data["totals"] | data.get("log", {})
    yield ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    yield f"{len(discrepancies)} kinds of discrepancy" if discrepancies else "clean"


@letters_app.command(name="list")
def list_letters(
    status: Annotated[Status, typer.Option()] = Status.OPEN,
    kind: KindFilter = None,
    customer: CustomerFilter = None,
    limit: Annotated[int, typer.Option(min=1)] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters, the newest first."""
    with _ledger() as (_, connection):
        found = dead_letters.find(
            connection,
            status=None if status is Status.ALL else status,
            reason=kind,
            customer_id=customer,
            limit=limit,
        )
    rows = [asdict(letter) for letter in found]
    for row in rows:
        del row["payload"], row["record_key"]
    _print(as_json, rows, lambda: "\n".join(map(_letter_line, found)) or "no dead letters")


def _letter_line(letter: dead_letters.Letter) -> str:
    return (
        f"{letter.id}  {letter.created_at:%Y-%m-%d %H:%M:%S}  {letter.status}  {letter.reason}  "
        f"{letter.customer_id or '-'}  {letter.event_id or '-'}  {letter.message}"
    )


@letters_app.command()
def show(letter_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Show one dead letter with the bytes that came."""
    with _ledger() as (_, connection):
        letter = dead_letters.get(connection, [letter_id])[0]
    fields = asdict(letter)
    _print(
        as_json,
        fields,
        lambda: "\n".join(
            f"{name}: {_plain(value)}" for name, value in fields.items() if value is not None
        ),
    )


@letters_app.command()
def replay(
    *,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Ids, such as dl-0-0-17-0.")
    ] = None,
    all_open: Annotated[bool, typer.Option("--all", help="All open ones.")] = False,
    kind: KindFilter = None,
    customer: CustomerFilter = None,
    limit: Annotated[int, typer.Option(min=1, help="Of --all.")] = 10_000,
    by: By = "",
    reason: Annotated[str | None, typer.Option(help="Why; kept with the letter.")] = None,
    as_json: Json = False,
) -> None:
    """Write dead letters to usage.raw again, their bytes as they were; twice charges once."""
    if bool(ids) == all_open:
        raise typer.BadParameter("name ids, or --all (with --kind, --customer), not both")
    with _ledger() as (settings, connection):
        letters = (
            dead_letters.get(connection, ids)
            if ids
            else dead_letters.find(connection, reason=kind, customer_id=customer, limit=limit)
        )

        async def send() -> list[str | None]:
            async with _raw_producer(settings) as producer:
                return await dead_letters.replay(
                    connection,
                    producer,
                    settings.topics.raw,
                    letters,
                    by=by or getpass.getuser(),
                    reason=reason,
                )

        places = asyncio.run(send()) if letters else []
    replayed = {letter.id: place for letter, place in zip(letters, places, strict=True)}
    _print(
        as_json,
        {"replayed": replayed},
        lambda: (
            "\n".join(
                f"{one} replayed as {place or 'a record whose place Kafka did not say'}"
                for one, place in replayed.items()
            )
            or "no dead letters"
        ),
    )


@letters_app.command()
def discard(ids: Ids, reason: Why, by: By = "", as_json: Json = False) -> None:
    """Set open dead letters aside for good; their bytes stay."""
    with _ledger() as (_, connection):
        letters = dead_letters.get(connection, ids)
        count = dead_letters.discard(connection, letters, by=by or getpass.getuser(), reason=reason)
    _print(as_json, {"discarded": count}, lambda: f"discarded {count} of {len(letters)}")


@repair_app.command()
def new_epoch(
    partition: Partition,
    reason: Why,
    by: By = "",
    from_offset: Annotated[
        int | None,
        typer.Option(
            "--from",
            min=0,
            help="Where the new log begins, if the broker's times do not tell; too low is safe.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Go on with a log that was made again, or cut off below what had been applied."""
    _repair(Kind.NEW_EPOCH, partition, reason, by, as_json, from_offset)


@repair_app.command()
def accept_hole(partition: Partition, reason: Why, by: By = "", as_json: Json = False) -> None:
    """Go on beyond events that no log holds any more."""
    _repair(Kind.HOLE, partition, reason, by, as_json)


def _repair(  # noqa: PLR0917 -- a command's arguments
    kind: Kind,
    partition: int,
    reason: str,
    by: str,
    as_json: bool,
    from_offset: int | None = None,
) -> None:
    with _ledger() as (settings, connection):
        decision = asyncio.run(
            log_repair.repair(
                settings,
                connection,
                kind,
                partition,
                reason=reason,
                by=by or getpass.getuser(),
                from_offset=from_offset,
            )
        )
    _print(
        as_json,
        asdict(decision),
        lambda: (
            f"partition {partition}: {kind} from {decision.first_offset} to "
            f"{decision.next_offset} stands in {settings.topics.rated} at {decision.rated_offset}; "
            f"restart sinks and streams if they stopped for it"
        ),
    )
