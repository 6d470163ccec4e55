"""The real processes emit what alerts and dashboard ask for, and a real Prometheus judges it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana.dashboard import ROWS
from deploy.local.ports import LOOPBACK
from deploy.local.progress import Progress
from deploy.local.servers import LocalServers
from schemas.topics import Topics
from tests.e2e.http_door import post
from tests.e2e.ledger import Ledger
from tests.e2e.producers import event, produce, wait_until_all_is_applied
from tests.metric_names import asked_for, series_of
from tests.prometheus_server import PrometheusServer
from tests.system import System
from tests.waiting import wait_until

CUSTOMER, CANARY = "cust-alerts", "canary"
# Nothing of this kind happens to a healthy system.
SELDOM = {
    "burnstream_sinks_partition_gapped",
    "burnstream_sinks_retries_total",
    "burnstream_streams_deaths_at_offset",
}


@pytest.fixture
def environment() -> dict[str, str]:
    own = {"CANARY_CUSTOMER_ID": CANARY, "CANARY_SECONDS": "1", "AUDIT_SECONDS": "1"}
    return {**own, "ADMIN_API_KEY": "0123456789abcdef0123456789abcdef"}


@pytest.fixture
def loaded(system: System, database_url: str, topic_prefix: str) -> System:
    """A system that has charged, refused, found a duplicate, and answered over HTTP."""
    ledger = Ledger(database_url)
    ledger.create_customer(CANARY)
    api_key = ledger.create_customer(CUSTOMER)
    system.start(consoles=1)
    sent = event(CUSTOMER)
    for _ in range(2):
        post(system, api_key, sent)

    async def send(producer: AIOKafkaProducer) -> None:
        raw = Topics(topic_prefix).raw
        await producer.send_and_wait(raw, b"not json", key=CUSTOMER.encode())

    produce(system, send)
    wait_until_all_is_applied(system, ledger)
    return system


def test_what_is_asked_for_is_emitted(loaded: System) -> None:
    """Each series of alerts and dashboard stands on a page of a process, and none names anybody."""

    def missing() -> set[str]:
        families = [
            family
            for worker in loaded.workers
            for family in text_string_to_metric_families(worker.metrics())
        ]
        assert asked_for() - series_of(families) == set()
        emitted = {sample.name for family in families for sample in family.samples}
        return asked_for() - emitted - SELDOM

    wait_until(lambda: not missing(), 30, "all is emitted")
    assert asked_for() >= SELDOM
    pages = [worker.metrics() for worker in loaded.workers]
    assert [name for page in pages for name in (CUSTOMER, CANARY) if f'"{name}"' in page] == []


@pytest.fixture
def prometheus(loaded: System, tmp_path: Path) -> Iterator[PrometheusServer]:
    targets = {
        job: [f"{LOOPBACK}:{worker.metrics_port}" for worker in workers]
        for job, workers in (
            ("gateway", loaded.gateways),
            ("streams", loaded.streams),
            ("sinks", loaded.sinks),
            ("console", loaded.consoles),
        )
    }
    server = PrometheusServer(tmp_path / "prometheus", targets)
    server.prepare(Progress(quiet=True))
    server.start()
    yield server
    server.stop()


@pytest.mark.timeout(240)
def test_an_alert_fires_and_clears(
    prometheus: PrometheusServer, local_servers: LocalServers
) -> None:
    """A healthy system is silent, but for its dead letter; Redis goes away and comes back."""
    assert local_servers.redis is not None
    wait_until(
        lambda: [one["value"][1] for one in prometheus.query("up")] == ["1"] * 4,
        30,
        "all four are scraped",
    )
    wait_until(lambda: prometheus.firing() <= {"DeadLetters"}, 60, "nothing else fires")
    assert prometheus.query("min(burnstream_gateway_service_up)")[0]["value"][1] == "1"

    local_servers.redis.kill()
    try:
        wait_until(lambda: "RedisAway" in prometheus.firing(), 60, "the alert fires")
    finally:
        local_servers.redis.start()
    wait_until(lambda: "RedisAway" not in prometheus.firing(), 60, "the alert clears")


def test_the_dashboards_queries_have_answers(prometheus: PrometheusServer) -> None:
    """Each is valid, and has a series at a healthy system unless it is about what is seldom."""

    def silent() -> set[str]:
        return {
            f"{panel.title}: {legend}"
            for row in ROWS
            for panel in row.panels
            for legend, query in panel.queries.items()
            if not prometheus.query(query.replace("$__rate_interval", "1m"))
        }

    expected = {
        "Alerts: {{alertname}}",
        "Contradictions in the ledger: {{code}}",
        "Held, and deaths at one record: deaths at {{partition}}:{{offset}}",
        "Passed over, replayed, ended: gapped {{partition}}",
        "Tried again, by SQLSTATE: {{sqlstate}}",
    }
    wait_until(lambda: silent() <= expected, 60, "every other chart has lines")
