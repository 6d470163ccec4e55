"""The sinks' own environment variables."""

from pydantic import Field

from deploy.runtime.settings import RuntimeSettings

USUAL_METRICS_PORT = 9103


class SinkSettings(RuntimeSettings):
    """What a sink worker reads beside what every process reads."""

    sink_batch_events: int = Field(
        10_000, ge=1, le=100_000, description="events that close a transaction's gathering"
    )
    sink_batch_milliseconds: int = Field(
        20, ge=0, le=10_000, description="how long the first event of a gathering waits for more"
    )
    price_poll_seconds: float = Field(
        2.0, gt=0, le=60, description="how often prices are looked at when no notification came"
    )
    self_replays_per_round: int = Field(
        200, ge=0, description="letters that one look replays by itself; 0: none"
    )
    audit_seconds: int = Field(
        60, ge=0, le=86_400, description="between two looks of the audit behind the sinks; 0: none"
    )
