"""`burnstream doctor`: looks at everything that must be there, and says what is not and the remedy.

It changes nothing. What rests on something that is away is left out.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

from deploy.runtime.command_line import Json, examples, explain, hush_clients, show
from deploy.runtime.exit import ExitCode
from deploy.runtime.services import services
from deploy.runtime.settings import RuntimeSettings, load_settings

if TYPE_CHECKING:  # Imported where they are used: a cold start of the command line must be quick.
    import psycopg

CONNECT_TIMEOUT_SECONDS = 5
KAFKA_TIMEOUT_SECONDS = 20.0

app = typer.Typer()


class Health(StrEnum):
    """What was found."""

    OK = "ok"
    WRONG = "wrong"
    AWAY = "away"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `says` holds the remedy, where one is called for."""

    subject: str
    health: Health
    says: str


@app.command(
    epilog=examples(
        "burnstream doctor         # before anything else when something does not work",
        "burnstream doctor --json  # for a machine; the exit code says the worst that was found",
    )
)
def doctor(as_json: Json = False) -> None:
    """Look at servers, schema, prices, topics, letters; say what is wrong and what to do."""
    settings = load_settings(RuntimeSettings)
    hush_clients()
    findings = [*_look_at_postgres(settings), _look_at_redis(settings)]
    healths = {one.health for one in findings}
    show(
        as_json,
        {"healthy": healths == {Health.OK}, "findings": [asdict(one) for one in findings]},
        lambda: "\n".join(f"{one.health:<5}  {one.subject:<12}  {one.says}" for one in findings),
    )
    if Health.AWAY in healths:
        raise typer.Exit(ExitCode.UNAVAILABLE)
    if Health.WRONG in healths:
        raise typer.Exit(ExitCode.FAILED)


def _look_at_postgres(settings: RuntimeSettings) -> Iterator[Finding]:
    """Postgres and what is in it; then Kafka, whose topics are compared with the ledger."""
    import psycopg

    from sinks import migrations

    postgres = services(settings)["database"]
    try:
        with psycopg.connect(
            settings.database_url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name="burnstream-doctor",
        ) as connection:
            yield Finding(postgres.name, Health.OK, f"answers at {postgres.address}")
            missing = migrations.pending(connection)
            if missing:
                says = f"the database lacks {', '.join(missing)}: run `burnstream migrate`"
                yield Finding("schema", Health.WRONG, says)
            else:
                yield Finding("schema", Health.OK, "migrated")
                yield from _look_at_ledger(connection)
            yield from asyncio.run(_look_at_kafka(settings, None if missing else connection))
    except (psycopg.Error, migrations.MigrationError) as error:
        yield _failed("Postgres", error, settings)
        yield from asyncio.run(_look_at_kafka(settings, None))


def _failed(subject: str, error: Exception, settings: RuntimeSettings) -> Finding:
    says, code = explain(error, settings) or (str(error), ExitCode.FAILED)
    health = Health.AWAY if code is ExitCode.UNAVAILABLE else Health.WRONG
    return Finding(subject, health, says)


def _look_at_ledger(connection: "psycopg.Connection[Any]") -> Iterator[Finding]:
    from schemas.dead_letter import Reason
    from sinks.dead_letters import REMEDIES

    prices = _count(connection, "ProviderCost", "valid_until IS NULL OR valid_until > now()")
    yield Finding(
        "prices",
        Health.OK if prices else Health.WRONG,
        f"{prices} provider costs in force"
        if prices
        else "no provider cost is in force, every event with a price would become a dead letter "
        "UNPRICED: run `burnstream seed`, or insert your own; letters then replay themselves",
    )
    customers = _count(connection, "Customer", "TRUE")
    yield Finding(
        "customers",
        Health.OK if customers else Health.WRONG,
        f"{customers}"
        if customers
        else "none: `burnstream customer create` makes one, and its key",
    )
    open_letters = connection.execute(
        'SELECT reason, count(*) FROM "DeadLetter" '
        "WHERE status = 'OPEN' GROUP BY reason ORDER BY count(*) DESC"
    ).fetchall()
    if not open_letters:
        yield Finding("dead letters", Health.OK, "none open")
    for reason, count in open_letters:
        says = f"{count} open {reason}: {REMEDIES[Reason(reason)]}"
        yield Finding("dead letters", Health.WRONG, says)


def _count(connection: "psycopg.Connection[Any]", table: str, condition: str) -> int:
    query = f'SELECT count(*) FROM "{table}" WHERE {condition}'  # noqa: S608 -- names of ours
    (count,) = connection.execute(query.encode()).fetchone() or (0,)
    return int(count)


async def _look_at_kafka(
    settings: RuntimeSettings, connection: "psycopg.Connection[Any] | None"
) -> list[Finding]:
    from aiokafka.errors import KafkaError

    from sinks import topic_admin

    kafka = services(settings)["queue"]
    try:
        async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
            async with topic_admin.admin_client(settings) as admin:
                states = await topic_admin.describe(admin, settings.topics)
    except (KafkaError, TimeoutError) as error:
        return [_failed(kafka.name, error, settings)]
    found = [Finding(kafka.name, Health.OK, f"answers at {kafka.address}")]
    positions = topic_admin.read_positions(connection, settings.topics.raw) if connection else {}
    differences = topic_admin.find_differences(settings, states, positions)
    says = "; ".join(differences) or "as they should be"
    return [*found, Finding("topics", Health.WRONG if differences else Health.OK, says)]


def _look_at_redis(settings: RuntimeSettings) -> Finding:
    from redis import Redis
    from redis.exceptions import RedisError

    place = services(settings)["redis"]
    try:
        with Redis.from_url(
            settings.redis_url,
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
            socket_timeout=CONNECT_TIMEOUT_SECONDS,
        ) as redis:
            redis.ping()
    except (RedisError, OSError) as error:
        cause = " ".join(str(error).split())
        says = (
            f"{place}: {cause}; {place.remedy}. Meanwhile nothing is lost: gateways limit each by "
            "themselves and give no advice on duplicates"
        )
        return Finding(place.name, Health.AWAY, says)
    return Finding(place.name, Health.OK, f"answers at {place.address}")
