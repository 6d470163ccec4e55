"""How servers are named to an operator: where, what to do, never the password."""

from typing import Any

import pytest

from deploy.runtime.services import NameService, services, without_password
from deploy.runtime.settings import RuntimeSettings, load_settings

SETTINGS = RuntimeSettings.model_validate(
    {
        "kafka_bootstrap_servers": "k1:9092, k2:9092",
        "database_url": "postgresql://app:secret@db/ledger?password=secret",
        "redis_url": "rediss://:secret@cache:6380/2",
    }
)


def test_addresses_hold_no_password() -> None:
    """Host, port, database and user are told."""
    addresses = {name: one.address for name, one in services(SETTINGS).items()}

    assert addresses == {
        "queue": "k1:9092,k2:9092",
        "database": "db:5432/ledger as app",
        "redis": "cache:6380/2",
    }


def test_a_line_about_a_service_away_says_where_and_what_to_do() -> None:
    """Warnings and errors alone are completed; other lines stay as they are."""
    complete = NameService(services(SETTINGS))

    def line(level: str, **fields: Any) -> dict[str, Any]:
        return complete(None, level, dict(fields))

    away = line("warning", service="database")
    assert away["address"] == "db:5432/ledger as app"
    assert "DATABASE_URL" in away["remedy"]
    assert "make up" in away["remedy"]
    assert line("info", service="database") == {"service": "database"}
    assert line("error", service="nobody") == {"service": "nobody"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql://a:p%40ss@h/d", "mysql://a:***@h/d"),
        ("redis://:p@h", "redis://:***@h"),
        ("no url", "no url"),
        ("postgresql://[broken", "postgresql://[broken"),
    ],
)
def test_passwords_are_hidden(text: str, shown: str) -> None:
    """In what was given, too."""
    assert without_password(text) == shown


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka", "host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", "k1:9092,", "host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:99999", "host:port"),
        ("DATABASE_URL", "postgresql://h:port/d", "postgresql://user:password@host:port/name"),
        ("DATABASE_URL", "", "postgresql://user:password@host:port/name"),
        ("TOPIC_PREFIX", "a b-", "pattern"),
        ("DEDUPE_WINDOW_HOURS", "", "integer"),
    ],
)
def test_addresses_are_checked_before_they_are_used(
    variable: str,
    value: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What no client could use is refused at the start, with what is expected."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit) as ended:
        load_settings(RuntimeSettings)

    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert line.startswith(f"{variable}='{value}': expected: ")
    assert says in line


def test_a_wrong_line_of_the_file_is_found_there(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line says that `.env` holds it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("METRICS_PORT=many\n")

    with pytest.raises(SystemExit):
        load_settings(RuntimeSettings)

    assert capsys.readouterr().err.startswith("METRICS_PORT='many' (in .env): expected: ")
