import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from deploy.local.ports import free_port
from deploy.runtime import exit as process_exit
from streams.app import StreamsWorker
from streams.metrics import Metrics
from streams.settings import StreamsSettings
from tests.integration.streams.raw_topic import Pipeline
from tests.system import REPOSITORY, Worker
from tests.waiting import wait_until


class DiedError(Exception):
    """A worker in this process would have ended."""


class RunningWorker:
    """A worker in this process, and its metrics."""

    def __init__(self, worker: StreamsWorker, registry: CollectorRegistry) -> None:
        self.worker = worker
        self._registry = registry
        self.stopping = asyncio.Event()

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value, 0 where it has none yet."""
        return self._registry.get_sample_value(f"burnstream_streams_{name}", labels) or 0.0


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Why workers in this process would have ended; such a test looks at it."""
    found: list[tuple[str, int]] = []

    def die(reason: str, code: int = 70, **_: Any) -> None:
        found.append((reason, int(code)))
        raise DiedError(reason)

    monkeypatch.setattr(process_exit, "die", die)
    return found


@pytest.fixture
async def pipeline(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Pipeline]:
    async with Pipeline.open(kafka_bootstrap, topic_prefix) as opened:
        yield opened


StartWorker = Callable[..., Any]


@pytest.fixture
async def start_worker(
    pipeline: Pipeline, tmp_path: Path, deaths: list[tuple[str, int]]
) -> AsyncIterator[StartWorker]:
    """Start workers in this process; those still running are stopped in the end."""
    async with AsyncExitStack() as stack:
        count = 0

        @asynccontextmanager
        async def running(**changes: Any) -> AsyncIterator[RunningWorker]:
            nonlocal count
            count += 1
            settings = StreamsSettings(
                kafka_bootstrap_servers=pipeline.bootstrap,
                topic_prefix=pipeline.topics.prefix,
                session_timeout_seconds=6,
                burns_interval_seconds=0.1,
                shutdown_grace_seconds=20,
                **changes,
            )
            registry = CollectorRegistry()
            worker = StreamsWorker(settings, tmp_path / f"worker-{count}", Metrics(registry))
            one = RunningWorker(worker, registry)
            task = asyncio.create_task(worker.run(one.stopping))
            try:
                yield one
            finally:
                one.stopping.set()
                await task
            assert deaths == []

        async def start(**changes: Any) -> RunningWorker:
            return await stack.enter_async_context(running(**changes))

        start.running = running  # type: ignore[attr-defined]
        yield start


StartProcess = Callable[..., Worker]


@pytest.fixture
async def start_process(pipeline: Pipeline, tmp_path: Path) -> AsyncIterator[StartProcess]:
    with ExitStack() as stack:

        def start(
            number: int = 0, module: str = "streams", failpoint: str = "", **variables: str
        ) -> Worker:
            environment = {
                **os.environ,
                "STATE_DIR": str(tmp_path / "state"),
                "METRICS_PORT": str(free_port()),
                "PYTHONPATH": str(REPOSITORY),
                "PYTHONUNBUFFERED": "1",
                **pipeline.environment(),
                **variables,
            }
            worker = Worker(module, number, tmp_path, environment)
            worker.arm(failpoint)
            worker.start()
            stack.callback(worker.kill)
            return worker

        yield start


def has_folded(worker: Worker, partitions: int = 1) -> None:
    """Wait until a worker has folded so many partitions since it started."""

    def folded() -> bool:
        found = [r for r in worker.log_records if "Partition folded" in str(r.get("event"))]
        return len({r["partition"] for r in found}) >= partitions

    wait_until(folded, 40, f"{worker.name} has folded {partitions} partitions")
