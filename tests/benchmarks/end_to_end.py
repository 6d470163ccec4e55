"""Events per second from an HTTP request to the committed ledger, everything on this machine.

    python -m tests.benchmarks.end_to_end [--events 200000] [--batch 100] [--json]

Starts its own servers and one of each process, posts batches over several connections, and counts
from the first post to the moment when the sinks have covered the last event.
"""

import argparse
import asyncio
import json
import tempfile
import time
import uuid
from pathlib import Path

import aiohttp
import orjson
import psutil
import psycopg

from deploy.local.servers import LocalServers
from sinks.migrations import migrate
from tests.crash.ledger import create_customers
from tests.system import System
from tests.waiting import wait_until

CONNECTIONS = 16
WARM_UP_SHARE = 0.1
TIMEOUT_SECONDS = 600.0


def batch_body(customer: str, size: int) -> bytes:
    """Return a body of `size` new events."""
    event = {
        "customer_id": customer,
        "event_type": "TOKEN_USAGE",
        "feature_id": "ai-text-generation",
        "provider": "OPENAI",
        "model": "gpt-4-turbo",
        "input_tokens": 1000,
        "output_tokens": 500,
        "timestamp": "2025-01-17T14:30:00Z",
    }
    return orjson.dumps({"events": [event | {"event_id": str(uuid.uuid4())} for _ in range(size)]})


async def post_all(url: str, keys: dict[str, str], bodies: list[tuple[str, bytes]]) -> None:
    """Post every body once, a connection each taking the next."""
    waiting = iter(bodies)

    async def connection(session: aiohttp.ClientSession) -> None:
        for customer, body in waiting:
            headers = {"x-api-key": keys[customer], "content-type": "application/json"}
            async with session.post(url, data=body, headers=headers) as answer:
                if answer.status != 202:
                    raise RuntimeError(f"{answer.status}: {await answer.text()}")

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(connection(session) for _ in range(CONNECTIONS)))


def rows(database_url: str) -> int:
    """Return how many events are charged."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute('SELECT sum(charged) FROM "RatedBatch"').fetchone()
    return int(found[0] or 0) if found else 0


def cpu_seconds(processes: dict[str, psutil.Process]) -> dict[str, float]:
    """Return the CPU time of each process with its children, the ones that ended included."""
    found = {}
    for name, process in processes.items():
        own = process.cpu_times()
        spent = own.user + own.system + own.children_user + own.children_system
        for child in process.children(recursive=True):
            times = child.cpu_times()
            spent += times.user + times.system
        found[name] = spent
    return found


def measured_processes(system: System, servers: LocalServers) -> dict[str, psutil.Process]:
    """Return what works on an event, by name; the load generator is this process."""
    pids = {worker.module: worker.pid for worker in system.workers}
    for name, server in (
        ("kafka", servers.kafka),
        ("postgres", servers.postgres),
        ("redis", servers.redis),
    ):
        pids[name] = server.pid if server else None
    return {name: psutil.Process(pid) for name, pid in pids.items() if pid is not None}


def measure(
    system: System, servers: LocalServers, events: int, size: int
) -> dict[str, float | dict[str, float]]:
    """Warm up, then run; return events/s posted and committed, and CPU us an event by process."""
    database_url = servers.database_url
    processes = measured_processes(system, servers)
    keys = create_customers(database_url)
    url = f"{system.gateway_url}/v1/events/ingest"
    customers = sorted(keys)
    bodies = [
        (customer := customers[number % len(customers)], batch_body(customer, size))
        for number in range(events // size)
    ]
    warm = bodies[: int(len(bodies) * WARM_UP_SHARE)]
    counted = bodies[len(warm) :]
    asyncio.run(post_all(url, keys, warm))
    wait_until(lambda: rows(database_url) == len(warm) * size, TIMEOUT_SECONDS, "warm-up charged")
    cpu_before = cpu_seconds(processes)
    load_before = sum(psutil.Process().cpu_times()[:2])
    started = time.perf_counter()
    asyncio.run(post_all(url, keys, counted))
    posted = time.perf_counter()
    wait_until(lambda: rows(database_url) == len(bodies) * size, TIMEOUT_SECONDS, "all charged")
    committed = time.perf_counter()
    count = len(counted) * size
    cpu_after = cpu_seconds(processes)
    cpu = {
        name: round((cpu_after[name] - before) / count * 1e6, 1)
        for name, before in cpu_before.items()
    }
    cpu["load"] = round((sum(psutil.Process().cpu_times()[:2]) - load_before) / count * 1e6, 1)
    return {
        "events": count,
        "batch_size": size,
        "posted_events_per_second": round(count / (posted - started)),
        "committed_events_per_second": round(count / (committed - started)),
        "cpu_microseconds_per_event": cpu,
    }


def main() -> None:
    """Run the benchmark and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="burnstream-bench-") as folder:
        Path(folder).chmod(0o755)
        with LocalServers(Path(folder), kafka_port=0, postgres_port=0, redis_port=0) as servers:
            migrate(servers.database_url)
            environment = {
                "KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap,
                "DATABASE_URL": servers.database_url,
                "REDIS_URL": servers.redis_url or "",
                "RATE_LIMIT_MAX": "0",
            }
            system = System(Path(folder) / "system", environment)
            system.burnstream("topics")
            system.burnstream("seed")
            with system:
                system.start()
                found = measure(system, servers, arguments.events, arguments.batch)
    if arguments.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:32} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
