"""What clients are told of TLS and passwords, and that no secret is shown."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deploy.runtime.kafka import client_options, producer_options, reader_options
from deploy.runtime.settings import RuntimeSettings, load_settings

SASL: dict[str, Any] = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_username": "gateway",
    "kafka_sasl_password": "hush-hush",
}


@pytest.fixture(autouse=True)
def _away_from_env_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("options_of", [client_options, producer_options, reader_options])
def test_every_kind_of_client_is_told_the_same(options_of: Any) -> None:
    """TLS that checks who answers, and the login."""
    options = options_of(RuntimeSettings(**SASL), "test")
    context = options["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert options["sasl_plain_username"] == "gateway"
    assert options["sasl_plain_password"] == "hush-hush"


@pytest.mark.parametrize(
    "given",
    [
        SASL | {"kafka_sasl_password": ""},
        SASL | {"kafka_security_protocol": "PLAINTEXT"},
        SASL | {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ssl_ca_file": "/ca.pem"},
        SASL | {"kafka_ssl_cert_file": __file__},
        SASL | {"kafka_ssl_ca_file": "/no/such/file"},
    ],
)
def test_contradictions_are_refused_without_secrets(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names a variable, and shows no password."""
    with pytest.raises(ValidationError):
        RuntimeSettings(**given)
    for name, value in given.items():
        monkeypatch.setenv(name.upper(), value)
    with pytest.raises(SystemExit):
        load_settings(RuntimeSettings)
    said = capsys.readouterr().err
    assert said.startswith("expected: ")
    assert "KAFKA_S" in said
    assert said.count("\n") == 1
    assert "hush" not in said


def test_secrets_may_lie_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file named as the variable, without its last newline; the environment goes before it."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "database_url").write_text("postgresql://a:of-a-file@db/m?sslmode=verify-full\n")
    (secrets / "redis_url").write_text("rediss://:of-a-file@redis:6379/0\n")
    monkeypatch.setenv("SECRETS_DIR", str(secrets))
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere:6379/0")
    settings = load_settings(RuntimeSettings)
    assert settings.database_url == "postgresql://a:of-a-file@db/m?sslmode=verify-full"
    assert settings.redis_url == "redis://elsewhere:6379/0"


def test_settings_show_no_secret() -> None:
    """Neither passwords nor the addresses that hold them."""
    settings = RuntimeSettings(
        **SASL, database_url="postgresql://a:hush-db@db/m", redis_url="redis://:hush-r@redis/0"
    )
    assert "hush" not in repr(settings)
    assert "hush" not in str(settings)
