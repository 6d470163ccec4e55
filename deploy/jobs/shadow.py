"""A job's place: the schema `job_NAME` with a ledger of its own, and the topic `usage.rated.NAME`.

The schema is made by the very migrations that made the live one. Of the live ledger it has the
customers and the wallets, empty; running balances are not what a job is about.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from deploy.jobs.plan import PlanError, Request, Span, require_name
from deploy.jobs.statements import statement
from deploy.runtime.settings import RuntimeSettings
from schemas.topics import RATED
from sinks import migrations
from sinks.topic_admin import REPLICAS_MAX, admin_client

APPLICATION_NAME = "burnstream-job"
_LOCK_SECONDS = 10.0  # a killed run's session may take a moment to end
_TOPIC_SECONDS = 30.0
_LOOK_SECONDS = 0.2

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was planned when it began. `topic`: what it reads; `following`: its end there.

    `price_revision`: the newest one then.
    """

    name: str
    request: Request
    topic: str
    spans: tuple[Span, ...]
    price_revision: int
    live_schema: str
    is_finished: bool

    @property
    def schema(self) -> str:
        """Its ledger's schema."""
        return schema_of(self.name)

    @property
    def has_own_prices(self) -> bool:
        """Whether it is a repricing."""
        return self.request.prices not in {"as-billed", "now"}

    @property
    def is_of_raw(self) -> bool:
        """Whether its positions are those of `usage.raw`."""
        return self.request.source is None


def schema_of(name: str) -> str:
    """Return the schema of a job. Raises PlanError on a name that is none."""
    return "job_" + require_name(name)


def rated_topic_of(settings: RuntimeSettings, name: str) -> str:
    """Return the topic of a job's rated batches."""
    return f"{settings.topics.rated}.{require_name(name)}"


def conninfo_of(settings: RuntimeSettings, schema: str) -> str:
    """Return where a job's schema is found under the names that the ledger's own has."""
    options = conninfo_to_dict(settings.database_url).get("options") or ""
    return make_conninfo(settings.database_url, options=f"{options} -c search_path={schema}")


@contextmanager
def only_run(connection: Connection, name: str) -> Iterator[None]:
    """Hold a job, or a partition of one: who else wants it is refused. Raises PlanError."""
    until = time.monotonic() + _LOCK_SECONDS
    key = [f"burnstream job {name}"]
    query = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
    while not _value(connection, query, key):
        if time.monotonic() > until:
            raise PlanError(f"{name} is being run elsewhere")
        time.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", key)


def find(connection: Connection, name: str) -> Job | None:
    """Return a job that was begun, None: there is none of this name."""
    table = sql.Identifier(schema_of(name), "Job")
    if _value(connection, "SELECT to_regclass(%s)", [table.as_string(connection)]) is None:
        return None
    row = connection.execute(
        sql.SQL(
            "SELECT request, topic, spans, price_revision, live_schema, finished_at IS NOT NULL"
            " FROM {table}"
        ).format(table=table)
    ).fetchone()
    if row is None:
        return None
    request, topic, spans, price_revision, live_schema, is_finished = row
    lists = {name: tuple(value) for name, value in request.items() if isinstance(value, list)}
    return Job(
        name,
        Request(**(request | lists)),
        topic,
        tuple(Span(**span) for span in spans),
        price_revision,
        live_schema,
        is_finished,
    )


def create(  # noqa: PLR0917 -- a job's plan
    settings: RuntimeSettings,
    connection: Connection,
    name: str,
    request: Request,
    topic: str,
    spans: Sequence[Span],
    price_revision: int,
) -> Job:
    """Make a job's schema and put its plan down; killed in between, it is made again."""
    schema = sql.Identifier(schema_of(name))
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    migrations.migrate(conninfo_of(settings, schema_of(name)))
    with connection.transaction():
        connection.execute(statement("make_job", schema=schema))
        for span in spans:
            connection.execute(
                sql.SQL(
                    'INSERT INTO {}."SinkOffset" (topic, partition, epoch, next_offset)'
                    " VALUES (%s, %s, %s, %s)"
                ).format(schema),
                [topic, span.partition, span.epoch, span.first],
            )
        connection.execute(
            sql.SQL(
                'INSERT INTO {}."Job" (request, topic, spans, price_revision)'
                " VALUES (%s, %s, %s, %s)"
            ).format(schema),
            [
                json.dumps(asdict(request)),
                topic,
                json.dumps([asdict(span) for span in spans]),
                price_revision,
            ],
        )
    found = find(connection, name)
    if found is None:
        raise LookupError(f"job {name} was not put down")
    return found


def finish(connection: Connection, job: Job) -> bool:
    """Note that all of it is applied, if it is; other processes may have the rest of it."""
    table = sql.Identifier(job.schema, "Job")
    done = connection.execute(
        sql.SQL(
            "SELECT count(*) FROM {} AS held JOIN unnest(%s::integer[], %s::bigint[])"
            " AS span (partition, following) USING (partition)"
            " WHERE held.topic = %s AND held.next_offset >= span.following"
        ).format(sql.Identifier(job.schema, "SinkOffset")),
        [
            [span.partition for span in job.spans],
            [span.end for span in job.spans],
            job.topic,
        ],
    ).fetchone()
    if done is None or done[0] < len(job.spans):
        return False
    connection.execute(sql.SQL("UPDATE {} SET finished_at = now()").format(table))
    return True


async def make_topic(settings: RuntimeSettings, name: str, partitions: int) -> None:
    """Make the topic of a job that begins, unless it is there."""
    topic = rated_topic_of(settings, name)
    async with admin_client(settings) as admin:
        replicas = min(REPLICAS_MAX, len((await admin.describe_cluster())["brokers"]))
        new = NewTopic(topic, partitions, replicas, topic_configs=RATED.config)
        for _, code, *rest in (await admin.create_topics([new])).topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(f"{topic}: {rest[0] if rest else 'not created'}")
        await _until(admin, topic, is_there=True)


async def partitions_of(settings: RuntimeSettings, topic: str) -> int:
    """Return how many partitions somebody's topic has. Raises PlanError when there is none."""
    async with admin_client(settings) as admin:
        # All are asked for: asking by name makes some brokers create the topic.
        for found in await admin.describe_topics():
            if found["topic"] == topic and found["error_code"] == 0:
                return len(found["partitions"])
    raise PlanError(f"there is no topic {topic}")


async def drop(settings: RuntimeSettings, connection: Connection, name: str) -> bool:
    """Remove a job's topic and schema; return whether there was anything.

    Raises PlanError when a partition of it is worked on elsewhere.
    """
    topic = rated_topic_of(settings, name)
    with ExitStack() as held:
        job = find(connection, name)
        for span in job.spans if job else ():
            held.enter_context(only_run(connection, f"{name} partition {span.partition}"))
        return await _drop_held(settings, connection, name, topic)


async def _drop_held(
    settings: RuntimeSettings, connection: Connection, name: str, topic: str
) -> bool:
    async with admin_client(settings) as admin:
        was_topic = topic in await admin.list_topics()
        if was_topic:
            await admin.delete_topics([topic])
            await _until(admin, topic, is_there=False)
    schema = schema_of(name)
    was_schema = _value(connection, "SELECT to_regnamespace(%s)", [schema]) is not None
    connection.execute('DELETE FROM "JobProgress" WHERE job = %s', [name])
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
    return was_topic or was_schema


async def _until(admin: Any, topic: str, *, is_there: bool) -> None:
    async with asyncio.timeout(_TOPIC_SECONDS):
        while (topic in await admin.list_topics()) is not is_there:  # noqa: ASYNC110 -- a broker
            await asyncio.sleep(_LOOK_SECONDS)


def _value(connection: Connection, query: str, values: Sequence[Any]) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    return None if row is None else row[0]
