"""The environment every process reads; each process adds its own in its `settings.py`.

A wrong value stops the start with one line that names the variable, its value, what it may be.
"""

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.runtime.exit import ExitCode
from deploy.runtime.kafka_security import (
    SaslMechanism,
    SecurityProtocol,
    refuse_contradictions,
)
from deploy.runtime.services import without_password
from schemas.topics import Topics

PORT_MAX = 65_535
# Where Docker and Kubernetes put them.
USUAL_SECRETS_DIR = "/run/secrets"


def _url(schemes: tuple[str, ...]) -> AfterValidator:
    def check(text: str) -> str:
        expected = f"a URL such as {schemes[0]}://user:password@host:port/name"
        try:
            parts = urlsplit(text)
            is_url = parts.scheme in schemes and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number
            raise ValueError(expected) from None
        if not is_url:
            raise ValueError(expected)
        return text

    return AfterValidator(check)


def _servers(text: str) -> str:
    servers = [server.strip() for server in text.split(",")]
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or "/" in host or not port.isdecimal() or not 0 < int(port) <= PORT_MAX:
            raise ValueError("a broker's host:port, or several, such as k1:9092,k2:9092")
    return ",".join(servers)


class RuntimeSettings(BaseSettings):
    """What every process needs. The field's name in upper case is the variable."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    kafka_bootstrap_servers: Annotated[str, AfterValidator(_servers)] = Field(
        "127.0.0.1:9092", description="host:port, comma-separated"
    )
    kafka_security_protocol: SecurityProtocol = Field(
        "PLAINTEXT", description="how Kafka's listener is spoken to"
    )
    kafka_sasl_mechanism: SaslMechanism = Field(
        "SCRAM-SHA-512", description="with SASL_SSL and SASL_PLAINTEXT"
    )
    kafka_sasl_username: str = Field("", description="with SASL_SSL and SASL_PLAINTEXT")
    kafka_sasl_password: SecretStr = Field(
        SecretStr(""), description="with SASL_SSL and SASL_PLAINTEXT"
    )
    kafka_ssl_ca_file: str = Field(
        "", description="PEM of who signed the brokers' certificates; none: the system's"
    )
    kafka_ssl_cert_file: str = Field("", description="PEM of a client certificate")
    kafka_ssl_key_file: str = Field("", description="PEM of its key")
    # Not in a repr: both may hold a password.
    database_url: Annotated[str, _url(("postgresql", "postgres"))] = Field(
        "postgresql://admin:admin@127.0.0.1:5432/monetization", description="Postgres", repr=False
    )
    redis_url: Annotated[str, _url(("redis", "rediss"))] = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis; only advice and rate limits live there",
        repr=False,
    )
    topic_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,200}$", description="before every topic and consumer group"
    )
    state_dir: Path = Field(Path(".burnstream"), description="slots of workers, embedded servers")
    metrics_port: int = Field(0, ge=0, le=PORT_MAX, description="0: the process's usual one")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: readable on a terminal, else JSON"
    )
    dedupe_window_hours: int = Field(
        24, ge=1, le=24 * 7, description="how far back a duplicate is found without Postgres"
    )
    shutdown_grace_seconds: int = Field(10, ge=1, description="from SIGTERM to the end")

    @model_validator(mode="after")
    def _is_secure_as_meant(self) -> Self:
        refuse_contradictions(self)
        return self

    @property
    def topics(self) -> Topics:
        """Names of this installation's topics."""
        return Topics(self.topic_prefix)


Settings = TypeVar("Settings", bound=RuntimeSettings)


def load_settings(kind: type[Settings]) -> Settings:
    """Read the environment, or end the process with one line per wrong variable.

    What neither it nor `.env` says may lie in a file named as the variable in SECRETS_DIR.
    """
    folder = os.environ.get("SECRETS_DIR") or USUAL_SECRETS_DIR
    try:
        return kind(_secrets_dir=folder if Path(folder).is_dir() else None)
    except ValidationError as error:
        for one in error.errors():
            if not one["loc"]:  # Variables that contradict each other; the input is all of them.
                print(f"expected: {one['msg'].removeprefix('Value error, ')}", file=sys.stderr)
                continue
            name = str(one["loc"][0])
            expected = one["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            field = kind.model_fields.get(name)
            is_secret = field is not None and "Secret" in str(field.annotation)
            given = "***" if is_secret else one["input"]
            line = _refusal(name.upper(), given, expected + _help(kind, name))
            print(line, file=sys.stderr)
        sys.exit(ExitCode.USAGE)


def refuse_setting(name: str, given: object, expected: str) -> NoReturn:
    """End the process: the variable is well formed, but this machine does not go with it."""
    print(_refusal(name, given, expected), file=sys.stderr)
    sys.exit(ExitCode.USAGE)


def _refusal(name: str, given: object, expected: str) -> str:
    shown = repr(without_password(given)) if isinstance(given, str) else repr(given)
    source = " (in .env)" if _is_in_file(name) else ""
    return f"{name}={shown}{source}: expected: {expected}"


def _is_in_file(name: str) -> bool:
    """Whether `.env` sets the variable, and the environment, which goes before it, does not."""
    if any(variable.upper() == name for variable in os.environ) or not Path(".env").is_file():
        return False
    line = re.compile(rf"^\s*(export\s+)?{name}\s*=", re.MULTILINE | re.IGNORECASE)
    return line.search(Path(".env").read_text(errors="replace")) is not None


def _help(kind: type[BaseSettings], name: str) -> str:
    """What the variable is for and what it is without being set."""
    field = kind.model_fields.get(name)
    if field is None:
        return ""
    about = f"{field.description}; " if field.description else ""
    default = field.get_default(call_default_factory=True)
    return f" ({about}default {without_password(str(default)) or 'empty'})"
