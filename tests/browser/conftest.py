"""A whole running system with its console, and a real Chromium to look at it with.

Both are shared by the ring: each test works with customers of its own.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psycopg
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from deploy.local.ports import LOOPBACK
from deploy.local.servers import LocalServers
from tests.conftest import ARTEFACTS
from tests.integration.operations.kafka_records import produce
from tests.system import System

SCREENSHOTS = ARTEFACTS / "console"
ADMIN_KEY = "an-admin-key-of-the-tests"
OPERATOR = "ada"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WORKERS_PORTS = 20


def _in_a_thread(run: Callable[[], object]) -> None:
    """Run what needs an event loop: Playwright has one in this thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


@dataclass
class Running:
    """The system, its ledger, and what was made in it."""

    system: System
    ledger: psycopg.Connection[Any]

    def customer(self, name: str) -> "Customer":
        """Make a customer with a million credits."""
        done = self.system.burnstream(
            *("customer", "create", "--id", name, "--name", name.title()),
            *("--email", f"{name}@example.com", "--credits", "1000000", "--json"),
        )
        return Customer(self.system, name, json.loads(done.stdout)["api_key"])

    def write_raw(self, key: bytes, *values: bytes) -> None:
        """Write records to usage.raw as a producer of Kafka would."""
        environment = self.system.environment
        topic = environment["TOPIC_PREFIX"] + "usage.raw"

        def write() -> None:
            produce(environment["KAFKA_BOOTSTRAP_SERVERS"], topic, 0, *values)

        assert key  # Its partition is chosen here; a key would choose it likewise.
        _in_a_thread(write)

    def count(self, query: str, *values: object) -> int:
        """Return the one number that a query of the ledger gives."""
        row = self.ledger.execute(query.encode(), values).fetchone()
        assert row is not None
        return int(row[0])


@dataclass
class Customer:
    """Somebody who sends events over HTTP."""

    system: System
    id: str
    api_key: str = field(repr=False)

    def send(self, count: int = 1, **fields: Any) -> tuple[list[str], str]:
        """Send events in one request; return their ids and the batch id."""
        events = [
            {
                "event_id": str(uuid.uuid4()),
                "customer_id": self.id,
                "event_type": "TOKEN_USAGE",
                "feature_id": "chat",
                "provider": "OPENAI",
                "model": "gpt-4-turbo",
                "input_tokens": 1000,
                "output_tokens": 500,
                "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            | fields
            for _ in range(count)
        ]
        request = Request(  # noqa: S310 -- our own address
            f"{self.system.gateway_url}/v1/events/ingest",
            data=json.dumps({"events": events}).encode(),
            headers={"X-API-Key": self.api_key, "Content-Type": "application/json"},
        )
        with urlopen(request, timeout=30) as answer:  # noqa: S310 -- our own address
            batch_id = str(json.load(answer)["batch_id"])
        return [str(event["event_id"]) for event in events], batch_id


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium on this machine: install the package chromium")
    with sync_playwright() as playwright:
        # Root, as whom continuous integration runs, has no sandbox; the pages are our own.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def running(
    chromium: Browser,
    local_servers: LocalServers,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    assert chromium.is_connected()  # Without it nothing need be started.
    assert local_servers.postgres is not None
    assert local_servers.kafka is not None
    local_servers.postgres.start()  # An earlier test may have killed them.
    local_servers.kafka.start()
    if local_servers.redis is not None:
        local_servers.redis.start()
    name = f"browser_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(local_servers.postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_template}".encode())
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": local_servers.kafka_bootstrap,
        "DATABASE_URL": local_servers.postgres.url_of(name),
        "REDIS_URL": local_servers.redis_url or "redis://127.0.0.1:1/0",
        "TOPIC_PREFIX": f"b{uuid.uuid4().hex[:10]}-",
        "ADMIN_API_KEY": f"{OPERATOR}:{ADMIN_KEY}",
        "RATE_LIMIT_MAX": "0",
        "SELF_REPLAYS_PER_ROUND": "0",  # Letters wait for the operator of these tests.
    }
    with System(tmp_path_factory.mktemp("console"), environment) as system:
        first = int(system.environment["METRICS_PORT"])
        system.environment["METRICS_TARGETS"] = f"{LOOPBACK}:{first}-{first + WORKERS_PORTS}"
        _in_a_thread(system.prepare)
        system.start(consoles=1)
        with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as ledger:
            yield Running(system, ledger)
        system.keep_logs("browser")


@dataclass
class Screen:
    """A page of a browser, and what it complained about."""

    page: Page
    url: str
    scheme: str
    complaints: list[str]

    def log_in(self) -> None:
        """Enter by the form."""
        self.page.goto(f"{self.url}/login")
        self.page.get_by_label("Admin key").fill(ADMIN_KEY)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("heading", name="Pipeline").wait_for()

    def open(self, path: str) -> None:
        """Go to a path of the console."""
        self.page.goto(self.url + path)

    def keep(self, name: str) -> Path:
        """Keep a picture of the whole page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}-{self.scheme}.png"
        self.page.screenshot(path=path, full_page=True, animations="disabled")
        return path


@pytest.fixture
def scheme() -> str:
    """What the system asks for: light or dark; a test may choose."""
    return "light"


@pytest.fixture
def screen(running: Running, chromium: Browser, scheme: Any) -> Iterator[Screen]:
    complaints: list[str] = []
    context = chromium.new_context(
        color_scheme=scheme, viewport={"width": 1280, "height": 860}, timezone_id="Asia/Tokyo"
    )
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None,
    )
    yield Screen(page, running.system.console_url, scheme, complaints)
    context.close()
    assert complaints == []
