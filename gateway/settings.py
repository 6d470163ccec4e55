"""The environment of the gateway; what every process reads is in deploy/runtime/settings.py."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from deploy.runtime.settings import RuntimeSettings
from schemas.timestamps import TimestampPolicy

Network = IPv4Network | IPv6Network


def _networks(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError("networks such as 10.0.0.0/8,fd00::/8, comma-separated") from None


class GatewaySettings(RuntimeSettings):
    """What the gateway adds. The field's name in upper case is the variable."""

    host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104 -- the guide's
    port: int = Field(8081, ge=0, le=65_535, description="port to listen on; processes share it")
    rate_limit_max: int = Field(1000, ge=0, description="requests per window; 0: no limit")
    rate_limit_window: int = Field(60, ge=1, description="seconds of the rate limit's window")
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = Field(
        (), description="networks whose X-Forwarded-For is believed, comma-separated"
    )
    timestamp_past_days_max: int = Field(
        3650, ge=0, description="how old an event's own time may be; 0: no limit"
    )
    timestamp_future_seconds_max: int = Field(
        86_400, ge=0, description="how far ahead an event's own time may be; 0: no limit"
    )
    body_bytes_max: int = Field(
        10 << 20, ge=1024, description="size of a request's body, as sent and as inflated"
    )
    body_timeout_seconds: float = Field(30.0, gt=0, description="for a request's body to arrive")
    bodies_bytes_max: int = Field(
        256 << 20, ge=1 << 20, description="bodies held at once, a customer a quarter; beyond, 503"
    )
    idle_timeout_seconds: float = Field(
        75.0, gt=0, description="for a connection's next request head, and to read an answer"
    )
    produce_timeout_seconds: float = Field(
        10.0, gt=0, description="for Kafka's acknowledgement; then the answer is 503"
    )
    produce_buffer_bytes_max: int = Field(
        64 << 20, ge=1 << 20, description="what may wait for Kafka at once; beyond, 503 at once"
    )
    redis_timeout_milliseconds: int = Field(
        250, ge=1, description="for an answer of Redis; then the gateway goes without"
    )
    redis_pause_seconds: float = Field(5.0, gt=0, description="without Redis after a failure")
    advice_seconds: int = Field(3600, ge=1, description="how long an accepted event is remembered")
    database_timeout_seconds: float = Field(2.0, gt=0, description="for an answer of Postgres")
    database_pause_seconds: float = Field(2.0, gt=0, description="without Postgres after a failure")
    database_connections_max: int = Field(8, ge=1, description="connections to Postgres")
    api_key_fresh_seconds: float = Field(
        30.0, gt=0, le=60, description="how long a verified key is not looked up again"
    )
    api_key_outage_seconds: float = Field(
        900.0, ge=0, description="how long a verified key goes on working without Postgres"
    )
    canary_customer_id: str = Field(
        "", max_length=512, description="whose free event proves the whole way; empty: none"
    )
    canary_seconds: int = Field(60, ge=1, description="between two events of the canary")

    @property
    def timestamp_policy(self) -> TimestampPolicy:
        """How far an event's own time may lie from now."""
        return TimestampPolicy(
            past_days_max=self.timestamp_past_days_max or None,
            future_seconds_max=self.timestamp_future_seconds_max or None,
        )
