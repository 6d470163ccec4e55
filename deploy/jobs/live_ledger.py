"""What a job asks the live ledger, for the log does not tell it; it is read only.

What was charged before the span is charged. And a charge that the sinks refused, its customer being
unknown on that day, is refused again: it was charged later, if at all, by a replay of its letter,
which stands in the log, too.
"""

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from deploy.jobs.plan import Span
from deploy.jobs.shadow import Job
from sinks.postgres import Connection
from sinks.transaction import Parameters, Work

# As sinks/sql/sink/find_charged.sql, over the live ledger, less what stands in the span or behind:
# of that the job finds out by itself.
_FIND = sql.SQL("""
SELECT asked.number, charged.source_partition, charged.source_offset, charged.source_index
FROM unnest(%(customers)s::text[], %(ids)s::uuid[], %(keys)s::text[])
    WITH ORDINALITY AS asked (customer_id, id, idempotency_key, number)
CROSS JOIN LATERAL (
    SELECT source_partition, source_epoch, source_offset, source_index
    FROM {live}."UsageEvent"
    WHERE customer_id = asked.customer_id AND id = asked.id
    UNION ALL
    SELECT source_partition, source_epoch, source_offset, source_index
    FROM {live}."UsageEvent"
    WHERE customer_id = asked.customer_id AND idempotency_key = asked.idempotency_key
) AS charged
WHERE NOT EXISTS (
    SELECT FROM unnest(%(partitions)s::integer[], %(epochs)s::integer[], %(firsts)s::bigint[])
        AS span (partition, epoch, first)
    WHERE charged.source_partition = span.partition
        AND (charged.source_epoch, charged.source_offset) >= (span.epoch, span.first)
)
""")


@dataclass(slots=True)
class JobWork(Work):
    """Writes to the job's schema; asks the live ledger, too, what is charged."""

    job: Job | None = None

    async def fetch(self, name: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        """Run a statement of the sinks; of `find_charged`, the live ledger's answer as well."""
        rows = await Work.fetch(self, name, parameters)
        if name != "find_charged" or self.job is None or not self.job.is_of_raw:
            return rows
        spans = self.job.spans
        live = _FIND.format(live=sql.Identifier(self.job.live_schema))
        cursor = await self.connection.execute(
            live,
            {
                **parameters,
                "partitions": [span.partition for span in spans],
                "epochs": [span.epoch for span in spans],
                "firsts": [span.first for span in spans],
            },
        )
        return [*await cursor.fetchall(), *rows]


async def refused_live(connection: Connection, job: Job, span: Span) -> dict[tuple[int, int], str]:
    """Return why the live sinks refused charges of a span, by (offset, index).

    A job with today's prices has today's customers, too: nothing is refused for what was then.
    """
    if not job.is_of_raw or job.request.prices == "now":
        return {}
    query = sql.SQL(
        'SELECT "offset", index, message FROM {}."DeadLetter" WHERE partition = %s AND epoch = %s'
        ' AND "offset" >= %s AND "offset" < %s AND found_by = \'sinks\''
        " AND reason IN ('UNKNOWN_CUSTOMER', 'REFUSED_BY_DATABASE')"
    ).format(sql.Identifier(job.live_schema))
    values = [span.partition, span.epoch, span.first, span.end]
    rows = await (await connection.execute(query, values)).fetchall()
    return {(offset, index): message for offset, index, message in rows}
