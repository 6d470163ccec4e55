"""docker-compose.yml and .env.example, checked by parsing: there may be no engine to try them."""

import re
from typing import Any

import pytest
import yaml

from deploy.console.settings import USUAL_METRICS_PORT, ConsoleSettings
from deploy.local import kafka_jars
from deploy.local.servers import REPOSITORY
from deploy.local.settings import LocalSettings
from deploy.runtime.settings import RuntimeSettings
from gateway.settings import GatewaySettings
from sinks.settings import SinkSettings
from streams.settings import StreamsSettings

COMPOSE = REPOSITORY / "docker-compose.yml"
ENV_EXAMPLE = REPOSITORY / ".env.example"
OURS = {"setup", "gateway", "streams", "sinks", "console"}
PROCESSES = OURS - {"setup"}
MODULES = {"console": "deploy.console"}
WATCHING = {"prometheus", "grafana"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


@pytest.fixture(scope="module")
def documented() -> dict[str, str]:
    """Variable -> default of every line `#NAME=value` of .env.example."""
    found = re.findall(r"^#([A-Z_]+)=(.*)$", ENV_EXAMPLE.read_text(), re.MULTILINE)
    assert len(dict(found)) == len(found)
    return dict(found)


def test_containers_have_the_names_of_the_guide(services: dict[str, Any]) -> None:
    """Postgres and Redis are called as in the guide, the others alike."""
    names = {name: service["container_name"] for name, service in services.items()}
    assert names["postgres"] == "openmonetize-postgres"
    assert names["redis"] == "openmonetize-redis"
    assert set(names.values()) == {f"openmonetize-{name}" for name in services}
    assert set(services) == {"kafka", "kafka-ui", "postgres", "redis"} | OURS | WATCHING


def test_everything_that_stays_has_a_health_check(services: dict[str, Any]) -> None:
    """Every service but the one that ends has a health check; servers are waited for by it."""
    for name in set(services) - {"setup"}:
        assert services[name]["healthcheck"]["test"][0] == "CMD", name
    waits = services["setup"]["depends_on"]
    assert {name: wait["condition"] for name, wait in waits.items()} == dict.fromkeys(
        ("kafka", "postgres", "redis"), "service_healthy"
    )


def test_processes_start_after_setup(services: dict[str, Any]) -> None:
    """The processes find schema, topics and prices: setup has ended well before."""
    for name in PROCESSES:
        wait = services[name]["depends_on"]
        assert wait == {"setup": {"condition": "service_completed_successfully"}}, name
        assert services[name]["command"] == ["python", "-m", MODULES.get(name, name)]
    steps = services["setup"]["command"][-1]
    assert steps == "burnstream migrate && burnstream topics && burnstream seed"


def test_ports_are_the_guides_and_servers_stay_on_loopback(services: dict[str, Any]) -> None:
    """The gateway is open on 8081; all else is reached from this host only."""
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {
        "kafka": ["127.0.0.1:${KAFKA_PORT:-9092}:9092"],
        "postgres": ["127.0.0.1:${POSTGRES_PORT:-5432}:5432"],
        "redis": ["127.0.0.1:${REDIS_PORT:-6379}:6379"],
        "gateway": ["${PORT:-8081}:8081"],
        "console": ["127.0.0.1:${CONSOLE_PORT:-8001}:8001"],
        "kafka-ui": ["127.0.0.1:8080:8080"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_prometheus_asks_where_the_processes_serve(services: dict[str, Any]) -> None:
    """Each is a job of its name, at the address that its own health check asks."""
    config = yaml.safe_load((REPOSITORY / "deploy/prometheus/prometheus.yml").read_text())
    asked = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]
    }
    served = {
        name: re.findall(
            r"http://127\.0\.0\.1(:\d+)/metrics", services[name]["healthcheck"]["test"][-1]
        )
        for name in PROCESSES - {"console"}
    }
    served["console"] = [f":{USUAL_METRICS_PORT}"]  # Its health is asked at its pages.
    assert asked == {name: [name + port for port in ports] for name, ports in served.items()}


def test_what_is_mounted_exists(services: dict[str, Any]) -> None:
    """Every folder of the repository that a container sees is there."""
    mounted = [
        mount.split(":")[0]
        for name in WATCHING
        for mount in services[name]["volumes"]
        if mount.startswith("./")
    ]
    assert mounted
    assert [one for one in mounted if not (REPOSITORY / one).is_dir()] == []


def test_our_processes_read_what_is_documented(
    services: dict[str, Any], documented: dict[str, str]
) -> None:
    """Each variable set for our processes, and each one interpolated, stands in .env.example."""
    given = {name for service in OURS for name in services[service]["environment"]}
    interpolated = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE.read_text()))
    assert given | set(interpolated) <= set(documented)
    assert interpolated == {name: documented[name] for name in interpolated}


def test_credentials_are_the_guides(services: dict[str, Any], documented: dict[str, str]) -> None:
    """Database, user and password agree between server, processes and .env.example."""
    server = services["postgres"]["environment"]
    login = f"{server['POSTGRES_USER']}:{server['POSTGRES_PASSWORD']}"
    assert login == "admin:admin"
    for name in OURS:
        url = services[name]["environment"]["DATABASE_URL"]
        assert url == f"postgresql://{login}@postgres:5432/{server['POSTGRES_DB']}"
    assert documented["DATABASE_URL"] == f"postgresql://{login}@127.0.0.1:5432/monetization"


def test_kafka_is_the_embedded_version_and_makes_no_topics(services: dict[str, Any]) -> None:
    """The container runs the Kafka that the tests run, and topics are made by `topics` alone."""
    kafka = services["kafka"]
    assert kafka["image"] == f"apache/kafka:{kafka_jars.kafka_version(kafka_jars.pinned_jars())}"
    assert kafka["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_one_image_of_ours_run_by_an_ordinary_user(services: dict[str, Any]) -> None:
    """All our services share one image, which ends as a user other than root."""
    assert len({services[name]["image"] for name in OURS}) == 1
    dockerfile = REPOSITORY / services["gateway"]["build"]["dockerfile"]
    users = re.findall(r"^USER (\S+)$", dockerfile.read_text(), re.MULTILINE)
    assert users[-1:] == ["burnstream"]


@pytest.mark.parametrize(
    "settings", [LocalSettings, GatewaySettings, StreamsSettings, SinkSettings, ConsoleSettings]
)
def test_the_example_says_the_true_defaults(
    documented: dict[str, str], settings: type[RuntimeSettings]
) -> None:
    """Each default in .env.example is the one the settings have, and none is left out."""
    defaults = {
        name.upper(): "" if field.default == () else str(field.default)
        for name, field in settings.model_fields.items()
    }
    assert defaults.items() <= documented.items()
