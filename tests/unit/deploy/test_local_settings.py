import socket
from pathlib import Path

import pytest

from deploy.local.ports import CannotStart, require_free
from deploy.local.progress import Progress
from deploy.local.settings import LocalSettings

QUIET = Progress(quiet=True)


def settings(monkeypatch: pytest.MonkeyPatch, folder: Path, **variables: str) -> LocalSettings:
    """The settings of an environment with these variables and no .env file."""
    monkeypatch.chdir(folder)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return LocalSettings()


def test_every_server_is_ours_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without addresses in the environment all servers are started on the guide's ports."""
    servers = settings(monkeypatch, tmp_path).servers(QUIET)
    assert servers.kafka_bootstrap == "127.0.0.1:9092"
    assert servers.database_url == "postgresql://admin:admin@127.0.0.1:5432/monetization"
    assert servers.kafka is not None
    assert servers.postgres is not None


def test_a_given_address_is_used_not_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server whose address is in the environment runs elsewhere: ours is not started."""
    given = "postgresql://me@db.example:5432/mine"
    servers = settings(monkeypatch, tmp_path, DATABASE_URL=given).servers(QUIET)
    assert servers.postgres is None
    assert servers.database_url == given
    assert servers.kafka is not None


def test_ports_move_with_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """KAFKA_PORT and POSTGRES_PORT move the embedded servers and what clients are told."""
    servers = settings(monkeypatch, tmp_path, KAFKA_PORT="19092", POSTGRES_PORT="15432").servers(
        QUIET
    )
    assert servers.kafka_bootstrap == "127.0.0.1:19092"
    assert servers.database_url.startswith("postgresql://admin:admin@127.0.0.1:15432/")


def test_the_env_file_gives_addresses_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An address in .env counts as given."""
    (tmp_path / ".env").write_text("KAFKA_BOOTSTRAP_SERVERS=kafka.example:9092\n")
    servers = settings(monkeypatch, tmp_path).servers(QUIET)
    assert servers.kafka is None
    assert servers.kafka_bootstrap == "kafka.example:9092"


def test_a_taken_port_names_the_variable() -> None:
    """The refusal is one line with port, server and the variable that moves it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart) as refusal:
            require_free(port, "Kafka", "KAFKA_PORT")
    assert str(refusal.value) == (
        f"port {port} (Kafka) is already in use: stop what runs there or set KAFKA_PORT"
    )
