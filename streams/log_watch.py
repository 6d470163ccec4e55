"""Looks now and then whether the logs are still where this worker left them.

Most of it shows when records come: a run that does not follow, an acknowledgement from an
unexpected offset. On a quiet partition nothing comes, and an operator's decision in `usage.rated`,
or a log that lost its end, would wait for the next record.
"""

import asyncio

import structlog
from aiokafka.errors import KafkaError
from prometheus_client import Gauge

from deploy.runtime.runs import RunsApp
from schemas.topics import Topics
from streams.log_reader import LogReader
from streams.seen import SeenTable

log = structlog.get_logger("streams")

LOOK_INTERVAL_SECONDS = 5.0

# rated offset folded up to, position, where `usage.rated` and `usage.raw` end
Sight = tuple[int, int, int, int]


class LogWatch:
    """Compares, for each partition at rest, where its logs end with where its fold stands."""

    def __init__(self, app: RunsApp, table: SeenTable, reader: LogReader, topics: Topics) -> None:
        self._app = app
        self._table = table
        self._reader = reader
        self._topics = topics
        self._strange: dict[int, Sight] = {}

    async def watch_for_ever(self, kafka_up: Gauge) -> None:
        """Look once an interval; while Kafka is away there is nothing to see: the gauge is 0."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_SECONDS)
            try:
                await self.look()
            except KafkaError as error:
                kafka_up.set(0)
                log.debug("Logs not looked at", error=repr(error))
            else:
                kafka_up.set(1)

    async def look(self) -> None:
        """Have a partition folded again that looks strange for the second time, and unchanged."""
        partitions = sorted(self._app.assigned())
        if not partitions:
            return
        rated = await self._reader.ends(self._topics.rated, partitions)
        raw = await self._reader.ends(self._topics.raw, partitions)
        strange: dict[int, Sight] = {}
        for partition in partitions:
            state = self._table.partition(partition)
            position, ends = state.fold.next_offset, (rated[partition], raw[partition])
            if not state.fold.is_known or (state.rated_offset == ends[0] and position <= ends[1]):
                continue
            sight = (state.rated_offset, position, *ends)
            if self._strange.get(partition) == sight:
                log.warning(
                    "The logs are not where they were left: folding again",
                    partition=partition,
                    folded_to=state.rated_offset,
                    rated_end=ends[0],
                    position=position,
                    raw_end=ends[1],
                )
                self._app.resume_again(partition)
            else:
                strange[partition] = sight
        self._strange = strange
