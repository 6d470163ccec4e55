"""The console's own environment variables."""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from deploy.runtime.settings import RuntimeSettings

USUAL_METRICS_PORT = 9104
_TARGET = re.compile(r"(?P<host>[^\s:,/]+):(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?")
_PORTS_MAX = 256


def addresses_of(targets: str) -> Iterator[str]:
    """Yield each "host:port" of "host:port,host:first-last". Raises ValueError."""
    for one in filter(None, map(str.strip, targets.split(","))):
        found = _TARGET.fullmatch(one)
        first = int(found["first"]) if found else 0
        last = int(found["last"] or first) if found else 0
        if found is None or not 0 < first <= last <= 65_535 or last - first >= _PORTS_MAX:  # noqa: PLR2004 -- ports
            raise ValueError("host:port or host:first-last, comma-separated")
        yield from (f"{found['host']}:{port}" for port in range(first, last + 1))


def _check_targets(text: str) -> str:
    list(addresses_of(text))
    return text


class ConsoleSettings(RuntimeSettings):
    """What the console reads beside what every process reads."""

    admin_api_key: SecretStr = Field(
        SecretStr(""), description="who may enter: key, or name:key,name:key"
    )
    console_host: str = Field("127.0.0.1", description="address to listen on")
    console_port: int = Field(8001, ge=0, le=65_535, description="port to listen on")
    metrics_targets: Annotated[str, AfterValidator(_check_targets)] = Field(
        "127.0.0.1:9101-9120",
        description="where the processes' metrics are: host:port or host:first-last",
    )
