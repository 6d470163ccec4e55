"""`python -m gateway` as a process: its port, its end."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from aiohttp import ClientSession

from deploy.local.ports import free_port
from deploy.local.servers import REPOSITORY, LocalServers
from gateway.settings import GatewaySettings
from tests.integration.gateway.test_ingest import batch
from tests.unit.gateway.fakes import API_KEY
from tests.waiting import wait_until_async

START_SECONDS = 30.0


@pytest.fixture
def environment(settings: GatewaySettings) -> dict[str, str]:
    return os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "TOPIC_PREFIX": settings.topic_prefix,
        "RATE_LIMIT_MAX": "0",
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "METRICS_PORT": str(free_port()),
        "LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
        "PRODUCE_TIMEOUT_SECONDS": "20",
    }


@pytest.fixture
def processes(environment: dict[str, str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Two gateways with the same environment."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            env=environment,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    yield started
    for process in started:
        process.kill()
        process.communicate()


async def test_processes_share_a_port_and_finish_what_is_under_way(
    processes: list[subprocess.Popen[str]],
    environment: dict[str, str],
    local_servers: LocalServers,
) -> None:
    """SIGTERM while Kafka is slow: the request is answered 202, then the process ends with 0."""
    url = f"http://127.0.0.1:{environment['PORT']}"
    headers = {"x-api-key": API_KEY, "content-type": "application/json"}
    assert local_servers.kafka is not None
    async with ClientSession() as client:

        async def is_ready() -> bool:
            try:
                async with client.get(f"{url}/ready") as answer:
                    return answer.status == 200
            except OSError:
                return False

        async def ingest(number: int) -> int:
            async with client.post(
                f"{url}/v1/events/ingest", data=batch(1, first=number), headers=headers
            ) as answer:
                return answer.status

        await wait_until_async(is_ready, START_SECONDS, "a gateway is ready")
        assert await ingest(0) == 202
        local_servers.kafka.pause()
        try:
            under_way = asyncio.create_task(ingest(1))
            # The request is in the gateway when its answer is all that is missing.
            await asyncio.wait({under_way}, timeout=0.5)
            for process in processes:
                process.send_signal(signal.SIGTERM)
        finally:
            local_servers.kafka.resume()
        assert await under_way == 202

    logs = [(await asyncio.to_thread(process.communicate, timeout=20))[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    for log in logs:
        assert "Queue initialized successfully" in log
        assert f"Ingestion service running on 127.0.0.1:{environment['PORT']}" in log
        assert API_KEY not in log


def test_taken_port_is_said_in_one_line(environment: dict[str, str]) -> None:
    """A stranger's port is not shared: exit code 2."""
    with socket.create_server(("127.0.0.1", int(environment["PORT"]))):
        done = subprocess.run(
            [sys.executable, "-m", "gateway"],
            env=environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert done.returncode == 2
    assert done.stderr == f"PORT={environment['PORT']}: 127.0.0.1:{environment['PORT']} is taken\n"
