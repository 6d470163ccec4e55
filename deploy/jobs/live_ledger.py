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
from deploy.jobs.statements import statement
from sinks.postgres import Connection
from sinks.transaction import Parameters, Work

_OF_LIVE = {"find_charged": "charged_before", "find_originals": "originals_before"}


@dataclass(slots=True)
class JobWork(Work):
    """Writes to the job's schema; asks the live ledger, too, what was charged before the span."""

    job: Job | None = None

    async def fetch(self, name: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        """Run a statement of the sinks; of some, the live ledger's answer as well."""
        rows = await Work.fetch(self, name, parameters)
        of_live = _OF_LIVE.get(name)
        if of_live is None or self.job is None or not self.job.is_of_raw:
            return rows
        spans = self.job.spans
        live = statement(of_live, live=sql.Identifier(self.job.live_schema))
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
