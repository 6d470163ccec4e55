"""The environment every process reads; each process adds its own in its `settings.py`.

A wrong value stops the start with one line that names the variable, its value, what it may be.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.runtime.exit import ExitCode
from schemas.topics import Topics


def _url(schemes: tuple[str, ...]) -> AfterValidator:
    def check(text: str) -> str:
        if urlsplit(text).scheme not in schemes or not urlsplit(text).hostname:
            raise ValueError(f"a URL that begins with {schemes[0]}://")
        return text

    return AfterValidator(check)


class RuntimeSettings(BaseSettings):
    """What every process needs. The field's name in upper case is the variable."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", description="host:port, comma-separated")
    database_url: Annotated[str, _url(("postgresql", "postgres"))] = Field(
        "postgresql://admin:admin@127.0.0.1:5432/monetization", description="Postgres"
    )
    redis_url: Annotated[str, _url(("redis", "rediss"))] = Field(
        "redis://127.0.0.1:6379/0", description="Redis; only advice and rate limits live there"
    )
    topic_prefix: str = Field("", description="before every topic and consumer group")
    state_dir: Path = Field(Path(".burnstream"), description="slots of workers, embedded servers")
    metrics_port: int = Field(0, ge=0, le=65_535, description="0: the process's usual one")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: readable on a terminal, else JSON"
    )
    dedupe_window_hours: int = Field(
        24, ge=1, le=24 * 7, description="how far back a duplicate is found without Postgres"
    )
    shutdown_grace_seconds: int = Field(10, ge=1, description="from SIGTERM to the end")

    @property
    def topics(self) -> Topics:
        """Names of this installation's topics."""
        return Topics(self.topic_prefix)


Settings = TypeVar("Settings", bound=RuntimeSettings)


def load_settings(kind: type[Settings]) -> Settings:
    """Read the environment, or end the process with one line per wrong variable."""
    try:
        return kind()
    except ValidationError as error:
        for one in error.errors():
            name = str(one["loc"][0]).upper() if one["loc"] else "environment"
            expected = one["msg"].removeprefix("Value error, ")
            print(f"{name}={one['input']!r}: expected: {expected}", file=sys.stderr)
        sys.exit(ExitCode.USAGE)
