"""Kafka, Postgres and Redis as an operator is told of them: where, and what to do when away."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Service:
    """One server that we talk to; `address` is fit to be printed: it holds no password."""

    name: str
    address: str
    variable: str
    container: str

    @property
    def remedy(self) -> str:
        """How to have it answer."""
        return (
            f"is it running, is {self.variable} right? `make up` starts the embedded one, "
            f"`docker compose up -d {self.container}` the container"
        )

    def __str__(self) -> str:
        return f"{self.name} at {self.address}"


class Places(Protocol):
    """The settings that say where the servers are."""

    @property
    def kafka_bootstrap_servers(self) -> str: ...  # noqa: D102 -- the variables' names
    @property
    def database_url(self) -> str: ...  # noqa: D102
    @property
    def redis_url(self) -> str: ...  # noqa: D102


def services(settings: Places) -> dict[str, Service]:
    """The three, by the names that logs and `/ready` give them."""
    kafka, postgres, redis = "KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "REDIS_URL"
    return {
        "queue": Service("Kafka", settings.kafka_bootstrap_servers, kafka, "kafka"),
        "database": Service("Postgres", _place(settings.database_url, 5432), postgres, "postgres"),
        "redis": Service("Redis", _place(settings.redis_url, 6379), redis, "redis"),
    }


def _place(url: str, usual_port: int) -> str:
    parts = urlsplit(url)
    place = f"{parts.hostname}:{parts.port or usual_port}{parts.path}"
    return f"{place} as {parts.username}" if parts.username else place


def without_password(text: str) -> str:
    """A URL as it was given, its password hidden; any other text as it is."""
    try:
        password = urlsplit(text).password
    except ValueError:
        return text
    return text.replace(f":{password}@", ":***@") if password else text


class NameService:
    """A structlog processor: who logs `service=...` of one that is away need not know where it is.

    Adds `address` and `remedy` to warnings and errors.
    """

    def __init__(self, known: Mapping[str, Service]) -> None:
        self._known = known

    def __call__(self, _logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        """Complete one line."""
        service = self._known.get(str(event.get("service")))
        if service is not None and method in {"warning", "error"}:
            event |= {"address": service.address, "remedy": service.remedy}
        return event
