import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from deploy.local.kafka_server import KafkaServer
from deploy.local.local_server import LocalServer
from deploy.local.ports import CannotStart, free_port, require_free
from deploy.local.postgres_server import PostgresServer, psql_path
from deploy.local.progress import Progress
from deploy.local.redis_server import RedisServer, redis_binary

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_DATA_FOLDER = REPOSITORY / ".burnstream"
KAFKA_PORT = 9092
POSTGRES_PORT = 5432
REDIS_PORT = 6379
LOCK_FILE = "servers.lock"
ADDRESSES_FILE = "servers.json"


@dataclass(frozen=True)
class Addresses:
    """Where the three servers are. Without Redis its URL is None."""

    kafka_bootstrap: str
    database_url: str
    redis_url: str | None

    def environment(self) -> dict[str, str]:
        """The variables by which our processes find the servers."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url or f"redis://127.0.0.1:{REDIS_PORT}/0",
        }


class LocalServers:
    """Embedded Kafka, Postgres and Redis with their data under one folder.

    Port 0 takes a free one. A server whose address is given (`kafka_bootstrap`, `database_url`,
    `redis_url`) runs already and is used, not started. As a context manager: started, stopped.
    `servers.kafka`, `.postgres`, `.redis` are the single servers (stop, kill, pause, restart);
    None where one runs elsewhere or, for Redis, cannot be had.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        kafka_port: int = KAFKA_PORT,
        postgres_port: int = POSTGRES_PORT,
        redis_port: int = REDIS_PORT,
        kafka_bootstrap: str | None = None,
        database_url: str | None = None,
        redis_url: str | None = None,
        software_dir: Path = DEFAULT_DATA_FOLDER,
        progress: Progress | None = None,
    ) -> None:
        folder = data_dir.resolve()
        self._folder = folder
        self._progress = progress or Progress(quiet=True)
        self._given = (kafka_bootstrap, database_url, redis_url)
        self._lock: IO[str] | None = None
        self.kafka: KafkaServer | None = None
        self.postgres: PostgresServer | None = None
        self.redis: RedisServer | None = None
        if kafka_bootstrap is None:
            port = kafka_port or free_port()
            self.kafka = KafkaServer(folder / "kafka", port, software_dir.resolve())
        if database_url is None:
            self.postgres = PostgresServer(folder / "postgres", postgres_port or free_port())
        binary = redis_binary()
        if redis_url is None and binary is not None:
            self.redis = RedisServer(folder / "redis", redis_port or free_port(), binary)

    @property
    def kafka_bootstrap(self) -> str:
        """`host:port` of Kafka."""
        return self.addresses.kafka_bootstrap

    @property
    def database_url(self) -> str:
        """URL of the application's database."""
        return self.addresses.database_url

    @property
    def redis_url(self) -> str | None:
        """URL of Redis, None without."""
        return self.addresses.redis_url

    @property
    def addresses(self) -> Addresses:
        """Where the servers are."""
        kafka, postgres, redis = self._given
        if self.kafka is not None:
            kafka = self.kafka.url
        if self.postgres is not None:
            postgres = self.postgres.url
        if self.redis is not None:
            redis = self.redis.url
        if kafka is None or postgres is None:
            raise AssertionError("a server is either given or ours")
        return Addresses(kafka, postgres, redis)

    @property
    def psql(self) -> Path:
        """The bundled psql."""
        return psql_path()

    def start(self) -> None:
        """Start what is not running elsewhere; on failure nothing stays behind.

        Raises:
            CannotStart: one line: a taken port, a file that cannot be had, a server that died.
        """
        self._take_lock()
        try:
            self._start_servers()
        except BaseException:
            self.stop()
            raise

    def _start_servers(self) -> None:
        servers = self._servers()
        for server in servers:
            require_free(server.port, server.name, server.variable)
        for server in servers:
            server.prepare(self._progress)
        names = ", ".join(f"{server.name} :{server.port}" for server in servers)
        with self._progress.step(f"start {names or 'nothing: all servers are given'}"):
            for server in servers:
                server.launch()
            for server in servers:
                server.wait_until_ready()
        if self.redis_url is None:
            self._progress.say("no redis-server for this machine: the gateway goes without")
        fresh = self._folder / f"{ADDRESSES_FILE}.fresh"
        fresh.write_text(json.dumps(vars(self.addresses) | {"pid": os.getpid()}))
        fresh.rename(self._folder / ADDRESSES_FILE)

    def stop(self) -> None:
        """Stop what was started, clients of Kafka and Postgres having ended before."""
        for server in self._servers():
            server.stop()
        if self._lock is not None:
            (self._folder / ADDRESSES_FILE).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _servers(self) -> list[LocalServer]:
        candidates = (self.kafka, self.postgres, self.redis)
        return [server for server in candidates if server is not None]

    def _take_lock(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = (self._folder / LOCK_FILE).open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise CannotStart(
                f"the servers of {self._folder} are already running: stop them with make down"
            ) from None
        self._lock = lock


def running_servers(data_dir: Path) -> tuple[Addresses, int] | None:
    """Addresses of the servers that run on the folder and their keeper's pid; None without.

    Raises:
        CannotStart: they are just starting or stopping.
    """
    if not _is_locked(data_dir):
        return None
    path = data_dir / ADDRESSES_FILE
    if not path.exists():
        raise CannotStart(f"the servers of {data_dir} are just starting or stopping: try again")
    record = json.loads(path.read_text())
    pid = record.pop("pid")
    return Addresses(**record), pid


def wait_for_end(data_dir: Path, timeout_seconds: float) -> bool:
    """Wait until no servers run on the folder; whether that came to be in time."""
    deadline = time.monotonic() + timeout_seconds
    while _is_locked(data_dir):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _is_locked(data_dir: Path) -> bool:
    if not (data_dir / LOCK_FILE).exists():
        return False
    with (data_dir / LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
