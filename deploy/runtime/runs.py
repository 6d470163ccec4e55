"""Faust by runs: one Faust message is up to 1,000 records of one partition, in their order.

Faust pays some 60 us per message, whatever is in it, and its fetch loop, acknowledgements and
recovery lose data (ADR 0003). Here Faust keeps what it does well (membership, rebalance, agents,
tables) and the rest is short and our own:

    async def resume_at(partition: int) -> int:
        "Where this partition goes on: asked after every assignment, and by `app.resume_again`."
        # May take its time and wait for what is unavailable: the other partitions go on, and the
        # task is cancelled when the partition is taken away. Raising ends the process.

    async def process(runs: AsyncIterator[Run]) -> None:
        "The agent. An exception that leaves it ends the process, uncommitted."
        async for run in runs:
            ...              # run.partition, .first_offset, .next_offset, .records (aiokafka's)
            run.ack()        # done: the offset to commit moves (Kafka's offset is only a hint)
            run.release()    # or: put away undone

    app = build_app(RunsConfig(group=..., topic=..., client=client_options(settings, "sinks"),
                               folder=slot.folder),
                    resume_at=resume_at, process=process, forget=forget)
    app.seek_back(partition, offset)   # what was handed over is void; go on from there
    app.resume_again(partition)        # the same, but ask `resume_at` for the offset
    app.lag()                          # {partition: records not yet acknowledged}
    app.oldest_ms()                    # {partition: broker time of the oldest record in hand}
    await serve(app, grace_seconds=settings.shutdown_grace_seconds)   # until SIGTERM or SIGINT

Runs that `seek_back`, `resume_again` or a rebalance has made void are never handed out; a run in
hand may become void (`run.is_current` turns False): finish or drop it, `ack` of it counts nothing.
After a seek the first run begins at the offset wanted, beyond it where the log holds no record
there (expired, compacted, transaction markers), or *below* it when the log ends before it: the
broker then starts over at the log's beginning. Whoever resumes must check what he gets.

Several runs of several partitions may be in hand at once; acknowledge those of one partition in
their order. A run in hand when the group rebalances is waited for, so do not hold one for ever.
`forget(partition)` is called when a partition was really taken away.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import faust
import structlog
from faust.app.base import BootStrategy
from faust.types import TP

from deploy.runtime import exit as process_exit
from deploy.runtime.run_consumer import (
    Forget,
    Lane,
    Process,
    ResumeAt,
    Run,
    RunConsumer,
    RunSchema,
    RunsConfig,
    RunTransport,
    nothing_to_forget,
)

__all__ = ["Run", "RunsApp", "RunsConfig", "build_app"]

log = structlog.get_logger("runs")


class BootWithoutProducer(BootStrategy):
    """Faust's producer is never used: its flush hides failed sends."""

    enable_kafka_producer = False
    enable_web = False


class RunsApp(faust.App):
    """A Faust app with one topic, read by runs, and one agent."""

    logger = logging.getLogger("faust.runs")
    BootStrategy = BootWithoutProducer
    runs_config: RunsConfig
    resume_at: ResumeAt
    forget: Forget

    def _new_transport(self) -> Any:
        return RunTransport(self.conf.broker_consumer, self)

    def _crash(self, reason: BaseException) -> None:
        """Any service that fails ends the process: Faust's own shutdown would commit."""
        if not self.should_stop:
            log.error("A service of Faust failed", exc_info=reason)
            process_exit.die_of(reason, "a service of Faust failed")
        super()._crash(reason)

    async def on_stop(self) -> None:
        """Void what is not begun, so that only what is in hand is waited for."""
        if self._consumer is not None:
            for lane in self._run_consumer.lanes.values():
                lane.close()
        await super().on_stop()

    def seek_back(self, partition: int, offset: int) -> None:
        """Void what was handed over of a partition and read it again from `offset`."""
        lane = self._lane(partition)
        if lane is not None:
            lane.seek(offset)
            self._run_consumer.wake()

    def resume_again(self, partition: int) -> None:
        """Void what was handed over of a partition and ask `resume_at` where it goes on."""
        lane = self._lane(partition)
        if lane is not None:
            self._run_consumer.resume(lane)

    def lag(self) -> dict[int, int]:
        """Records not yet acknowledged, by partition."""
        return self._run_consumer.lag()

    def oldest_ms(self) -> dict[int, int]:
        """Broker time of the oldest record in hand, by partition; those that have none are not."""
        return self._run_consumer.oldest_ms()

    def assigned(self) -> set[int]:
        """Partitions that are this worker's now."""
        return {tp.partition for tp, lane in self._run_consumer.lanes.items() if lane.is_live}

    @property
    def _run_consumer(self) -> RunConsumer:
        return cast("RunConsumer", self.consumer)

    def _lane(self, partition: int) -> Lane | None:
        lane = self._run_consumer.lanes.get(TP(self.runs_config.topic, partition))
        return lane if lane is not None and lane.is_live else None


async def current_runs(stream: Any) -> AsyncIterator[Run]:
    """Yield the runs of an agent's stream that are not void."""
    async for event in stream.noack().events():
        run: Run = event.value
        run.event = event
        if run.is_current:
            yield run
        else:
            run.release()


def build_app(
    config: RunsConfig,
    *,
    resume_at: ResumeAt,
    process: Process,
    forget: Forget = nothing_to_forget,
    **faust_options: Any,
) -> RunsApp:
    """Return an app whose one agent, named as the group, gets the topic's runs."""
    config.folder.mkdir(parents=True, exist_ok=True)
    servers = str(config.client["bootstrap_servers"]).split(",")
    app = RunsApp(
        config.group,
        broker=[f"kafka://{server}" for server in servers],
        store="memory://",
        datadir=str(config.folder / "faust"),
        broker_commit_interval=config.commit_interval_seconds,
        broker_commit_every=1_000_000_000,
        broker_session_timeout=config.session_timeout_seconds,
        broker_heartbeat_interval=config.heartbeat_interval_seconds,
        broker_request_timeout=30,
        broker_max_poll_interval=1_000_000,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=32_768,
        stream_wait_empty=True,
        stream_recovery_delay=0,
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        **faust_options,
    )
    app.runs_config, app.resume_at, app.forget = config, resume_at, forget
    topic = app.topic(config.topic, schema=RunSchema())

    async def agent(stream: Any) -> None:
        try:
            await process(current_runs(stream))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            log.exception("The agent failed")
            process_exit.die_of(error, "the agent failed")

    app.agent(topic, name=f"{config.group}.runs", concurrency=1)(agent)
    return app
