"""Faults of Kafka, Postgres and Redis, and of the connections to them."""

import contextlib
from abc import abstractmethod
from typing import Any

import psycopg
import redis

from deploy.local.kafka_server import KafkaServer
from deploy.local.local_server import LocalServer
from deploy.local.postgres_server import PostgresServer
from deploy.local.redis_server import RedisServer
from tests.crash.fault import Fault, Scene
from tests.crash.postgres_proxy import Cut, PostgresProxy

START_TIMEOUT_SECONDS = 180.0
CONNECTIONS_MAX = 400


class _OfServer(Fault):
    """Something done to a server that ends with its being started again."""

    @property
    @abstractmethod
    def server(self) -> LocalServer:
        """The server it befalls."""

    def heal(self) -> str:
        """Start it again; on a busy machine a broker takes its time."""
        self.server.launch()
        self.server.wait_until_ready(START_TIMEOUT_SECONDS)
        return f"{self.server.name} is back"


class _Stop(_OfServer):
    def inflict(self) -> str:
        """Stop it."""
        self.server.stop()
        return "stopped"


class _Kill(_OfServer):
    def inflict(self) -> str:
        """Kill it."""
        self.server.kill()
        return "killed"


class _Freeze(_OfServer):
    hold_seconds = (2.0, 6.0)

    def inflict(self) -> str:
        """Freeze it."""
        self.server.pause()
        return "frozen"

    def heal(self) -> str:
        """Wake it."""
        self.server.resume()
        return "woken"


class _OfKafka(_OfServer):
    @property
    def server(self) -> KafkaServer:
        """The broker."""
        if self.servers.kafka is None:
            raise AssertionError("Kafka is not ours")
        return self.servers.kafka


class _OfPostgres(_OfServer):
    @property
    def server(self) -> PostgresServer:
        """The database's server."""
        if self.servers.postgres is None:
            raise AssertionError("Postgres is not ours")
        return self.servers.postgres

    @property
    def proxy(self) -> PostgresProxy:
        """The way to it."""
        if self.scene.proxy is None:
            raise AssertionError("there is no proxy before Postgres")
        return self.scene.proxy


class _OfRedis(_OfServer):
    @property
    def server(self) -> RedisServer:
        """Redis."""
        if self.servers.redis is None:
            raise AssertionError("Redis is not ours")
        return self.servers.redis

    @property
    def client(self) -> "redis.Redis":
        """A client of the system's own database of it."""
        return redis.Redis.from_url(self.system.environment["REDIS_URL"])


class StopKafka(_OfKafka, _Stop):
    """The broker is stopped in order."""


class KillKafka(_OfKafka, _Kill):
    """The broker is killed."""


class FreezeKafka(_OfKafka, _Freeze):
    """The broker answers nobody for a while."""


class RestartPostgres(_OfPostgres, _Stop):
    """Postgres is stopped in order."""


class KillPostgres(_OfPostgres, _Kill):
    """Postgres is killed, all its processes at once."""


class FreezePostgres(_OfPostgres, _Freeze):
    """Postgres answers nobody for a while."""


class CutConnections(_OfPostgres):
    """Every connection to Postgres breaks, wherever it is."""

    def inflict(self) -> str:
        """Break them."""
        self.proxy.cut_all()
        return "cut"

    def heal(self) -> str:
        """Nothing to mend: whoever wants connects again."""
        return ""


class _CutAtCommit(_OfPostgres):
    cut: Cut

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._before = 0

    def inflict(self) -> str:
        """Cut every COMMIT of a sink from now on."""
        self._before = self.proxy.cuts[self.cut]
        self.proxy.arm(self.cut)
        return "armed"

    @property
    def has_struck(self) -> bool:
        """Whether a COMMIT was cut."""
        return self._cuts() > 0

    def heal(self) -> str:
        """Let COMMITs through."""
        self.proxy.arm(None)
        return f"{self._cuts()} cut"

    def _cuts(self) -> int:
        return self.proxy.cuts[self.cut] - self._before


class CutBeforeCommit(_CutAtCommit):
    """A sink's connection breaks before Postgres sees its COMMIT."""

    cut = Cut.BEFORE


class CutAfterCommit(_CutAtCommit):
    """A sink's connection breaks after Postgres committed, before its answer."""

    cut = Cut.AFTER


class TakeAllConnections(_OfPostgres):
    """Postgres has no connection left for anybody."""

    hold_seconds = (2.0, 5.0)

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._taken: list[psycopg.Connection[Any]] = []

    def inflict(self) -> str:
        """Take what is free, break the others' connections and take theirs, too."""
        self._take()
        self.proxy.cut_all()
        self._take()
        return f"{len(self._taken)} taken"

    def heal(self) -> str:
        """Give them back."""
        for connection in self._taken:
            connection.close()
        self._taken.clear()
        return "given back"

    def _take(self) -> None:
        url = self.server.url_of("postgres")
        with contextlib.suppress(psycopg.OperationalError):  # No more are to be had.
            while len(self._taken) < CONNECTIONS_MAX:
                self._taken.append(psycopg.connect(url, connect_timeout=5))


class FlushRedis(_OfRedis):
    """Redis forgets everything."""

    def inflict(self) -> str:
        """Flush it."""
        with self.client as client:
            count = client.dbsize()
            client.flushdb()
        return f"{count} keys flushed"

    def heal(self) -> str:
        """Nothing to mend."""
        return ""


class LoseRedis(_OfRedis, _Kill):
    """Redis is gone, and comes back empty."""


class RestoreOldRedis(_OfRedis):
    """Redis comes back as it was a while ago: what it forgot, and what it should have."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._kept: list[tuple[bytes, bytes, int]] = []

    def inflict(self) -> str:
        """Copy what it holds."""
        with self.client as client:
            for key in client.scan_iter(count=1_000):
                dump, rest_ms = client.dump(key), client.pttl(key)
                if dump is not None:
                    self._kept.append((key, dump, max(0, rest_ms)))
        return f"{len(self._kept)} keys copied"

    def heal(self) -> str:
        """Put the old ones in the place of the new."""
        with self.client as client:
            count = client.dbsize()
            client.flushdb()
            with client.pipeline(transaction=False) as pipeline:
                for key, dump, rest_ms in self._kept:
                    pipeline.restore(key, rest_ms, dump, replace=True)
                pipeline.execute()
        return f"{len(self._kept)} old keys for {count}"
