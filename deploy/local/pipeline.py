"""`burnstream run`: from an empty folder to a system that charges events."""

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from urllib.request import urlopen

import psycopg

from deploy.local.ports import CannotStart, require_free
from deploy.local.progress import Progress
from deploy.local.servers import Addresses, running_servers
from deploy.local.settings import LocalSettings
from deploy.local.supervisor import Supervisor, console_worker, pipeline_workers
from deploy.runtime.exit import ExitCode
from deploy.runtime.services import without_password

DEMO_ID = "cust-demo"
DEMO_EMAIL = "demo@burnstream.example"
DEMO_CREDITS = 1_000_000
DEMO_KEY_FILE = "demo-api-key"
ADMIN_KEY_FILE = "admin-api-key"
READY_POLL_SECONDS = 0.2
READY_TIMEOUT_SECONDS = 5.0
READY_HINT_SECONDS = 60


def run(settings: LocalSettings) -> ExitCode:
    """Set up what is missing, start everything, stay in the foreground until told to stop.

    With `LOG_FORMAT=json` it prints lines of JSON alone: where everything is, then the logs.
    """
    progress = Progress()
    require_free(settings.port, "gateway", "PORT")
    require_free(settings.console_port, "console", "CONSOLE_PORT")
    with _servers(settings, progress) as addresses:
        environment = os.environ | addresses.environment() | {"STATE_DIR": str(settings.state_dir)}
        environment["LOG_FORMAT"] = settings.log_format
        for step, what in [
            ("migrate", "database schema"),
            ("topics", "Kafka topics"),
            ("seed", "provider costs"),
        ]:
            with progress.step(what):
                _burnstream([step], environment)
        api_key = _demo_customer(addresses, settings.state_dir, environment, progress)
        admin_key = settings.admin_api_key.get_secret_value() or _admin_key(settings.state_dir)
        progress.say("start " + ", ".join([*settings.worker_counts, "console"]))
        workers = [*pipeline_workers(settings.worker_counts), console_worker(admin_key)]
        supervisor = Supervisor(
            workers, environment, grace_seconds=settings.shutdown_grace_seconds + 2
        )
        code = asyncio.run(_supervise(supervisor, settings, addresses, api_key, progress))
        progress.say("processes stopped")
    progress.say("everything stopped; data stay in " + str(settings.state_dir))
    return code


@contextlib.contextmanager
def _servers(settings: LocalSettings, progress: Progress) -> Iterator[Addresses]:
    running = running_servers(settings.state_dir)
    if running is not None:
        progress.say("the embedded servers are up already: used")
        yield running[0]
        return
    with settings.servers(progress) as servers:
        yield servers.addresses


def _burnstream(arguments: list[str], environment: dict[str, str]) -> str:
    """Run one command of the command line; its output, shown only when it fails.

    Raises:
        CannotStart: it failed.
    """
    result = subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        print(result.stdout + result.stderr, file=sys.stderr)
        raise CannotStart(f"burnstream {' '.join(arguments)} failed (see above)")
    return result.stdout


def _demo_customer(
    addresses: Addresses, state_dir: Path, environment: dict[str, str], progress: Progress
) -> str | None:
    """The demo customer's API key: of a new customer, or as kept; None when it is not known."""
    key_file = state_dir / DEMO_KEY_FILE
    with psycopg.connect(addresses.database_url) as connection:
        query = 'SELECT 1 FROM "Customer" WHERE id = %s'
        exists = connection.execute(query, [DEMO_ID]).fetchone() is not None
    if exists:
        return key_file.read_text().strip() if key_file.exists() else None
    with progress.step(f"demo customer {DEMO_ID}"):
        arguments = ["customer", "create", "--id", DEMO_ID, "--name", "Demo"]
        arguments += ["--email", DEMO_EMAIL, "--credits", str(DEMO_CREDITS), "--json"]
        api_key: str = json.loads(_burnstream(arguments, environment))["api_key"]
        _keep_key(key_file, api_key)
    return api_key


def _admin_key(state_dir: Path) -> str:
    """The console's key: as kept, or a new one."""
    key_file = state_dir / ADMIN_KEY_FILE
    if not key_file.exists():
        _keep_key(key_file, "om_admin_" + secrets.token_hex(24))
    return key_file.read_text().strip()


def _keep_key(key_file: Path, key: str) -> None:
    key_file.unlink(missing_ok=True)
    with os.fdopen(os.open(key_file, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write(key + "\n")


async def _supervise(
    supervisor: Supervisor,
    settings: LocalSettings,
    addresses: Addresses,
    api_key: str | None,
    progress: Progress,
) -> ExitCode:
    running = asyncio.create_task(supervisor.run())
    announcing = asyncio.create_task(_announce(settings, addresses, api_key, progress))
    try:
        return await running
    finally:
        announcing.cancel()


async def _announce(
    settings: LocalSettings, addresses: Addresses, api_key: str | None, progress: Progress
) -> None:
    """Wait until the gateway is ready, then say where everything is."""
    gateway = f"http://127.0.0.1:{settings.port}"
    waited_seconds = 0.0
    is_hinted = False
    while not await asyncio.to_thread(_is_ready, gateway):
        await asyncio.sleep(READY_POLL_SECONDS)
        waited_seconds += READY_POLL_SECONDS
        if waited_seconds > READY_HINT_SECONDS and not is_hinted:
            progress.say(f"still not ready: {gateway}/ready says why")
            is_hinted = True
    progress.say("ready")
    addresses = _shown(settings, addresses)
    if settings.log_format == "json":
        found = asdict(addresses) | {"gateway": gateway, "customer_id": DEMO_ID, "api_key": api_key}
        print(json.dumps({"event": "ready"} | found), flush=True)
    else:
        print(_banner(gateway, settings, addresses, api_key), flush=True)


def _is_ready(gateway: str) -> bool:
    try:
        with urlopen(f"{gateway}/ready", timeout=READY_TIMEOUT_SECONDS) as answer:  # noqa: S310 -- ours
            return bool(answer.status == HTTPStatus.OK)
    except OSError:  # not listening yet, or 503
        return False


def _shown(settings: LocalSettings, addresses: Addresses) -> Addresses:
    """The addresses, a password hidden where it is not the embedded server's own."""
    given = settings.model_fields_set
    hidden = {
        name: without_password(value)
        for name, value in asdict(addresses).items()
        if value and name in given
    }
    return replace(addresses, **hidden)


def _banner(
    gateway: str, settings: LocalSettings, addresses: Addresses, api_key: str | None
) -> str:
    lines = [
        "",
        f"  gateway    {gateway}  (/health /ready /v1/info)",
        f"  console    http://127.0.0.1:{settings.console_port}  ({_admin_key_place(settings)})",
        f"  metrics    {_metrics_ports(settings.metrics_port)}",
        f"  Kafka      {addresses.kafka_bootstrap}",
        f"  Postgres   {addresses.database_url}  (make psql)",
        f"  Redis      {addresses.redis_url or 'none on this machine'}",
        f"  data       {settings.state_dir.resolve()}",
        *_exports(settings, addresses),
        "",
    ]
    if api_key is None:
        lines += [
            f"  {DEMO_ID} exists, its API key is not kept here; for a new one:",
            f"  burnstream key rotate {DEMO_ID}",
        ]
    else:
        lines += ["  Charge an event to the demo customer, then ask what became of it:", ""]
        lines += [_curls(gateway, api_key)]
    return "\n".join([*lines, "", "  Ctrl-C stops everything.", ""])


def _metrics_ports(port: int) -> str:
    if port:
        return f"http://127.0.0.1:{port}/metrics and the next free ones, one for each process"
    return "http://127.0.0.1:9101/metrics (gateway), 9102 (streams), 9103 (sinks), 9104"


def _admin_key_place(settings: LocalSettings) -> str:
    if settings.admin_api_key.get_secret_value():
        return "key: ADMIN_API_KEY"
    return f"key: cat {settings.state_dir / ADMIN_KEY_FILE}"


def _exports(settings: LocalSettings, addresses: Addresses) -> list[str]:
    """What another terminal must set for `burnstream` commands to find moved servers."""
    usual = {
        name: type(settings).model_fields[name.lower()].default for name in addresses.environment()
    }
    moved = [
        f"export {name}={value}"
        for name, value in addresses.environment().items()
        if value != usual[name] and name.lower() not in settings.model_fields_set
    ]
    return ["", "  Ports are moved; other terminals need:", *moved] if moved else []


def _curls(gateway: str, api_key: str) -> str:
    event = {
        "event_id": str(uuid.uuid4()),
        "customer_id": DEMO_ID,
        "event_type": "TOKEN_USAGE",
        "feature_id": "demo",
        "provider": "OPENAI",
        "model": "gpt-4-turbo",
        "input_tokens": 1000,
        "output_tokens": 500,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    body = json.dumps({"events": [event]})
    return (
        f"curl -X POST {gateway}/v1/events/ingest \\\n"
        f"  -H 'X-API-Key: {api_key}' -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'\n"
        f"curl {gateway}/v1/events/{event['event_id']} -H 'X-API-Key: {api_key}'"
    )
