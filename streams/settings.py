"""The environment of the streams workers; what every process reads is in deploy/runtime."""

from pydantic import Field

from deploy.runtime.settings import RuntimeSettings
from schemas.pricing import CREDITS_MAX
from schemas.timestamps import TimestampPolicy
from schemas.topics import EVENTS_PER_RECORD_MAX

BATCH_EVENTS_MAX = 5_000
# The totals of a rated batch are written as 64-bit integers, and its events are at most as many as
# this, or those of one record.
BATCH_EVENTS_LIMIT = (2**63 - 1) // CREDITS_MAX
if max(BATCH_EVENTS_MAX, EVENTS_PER_RECORD_MAX) > BATCH_EVENTS_LIMIT:
    raise AssertionError("the totals of a rated batch may not fit in 64 bits")


class StreamsSettings(RuntimeSettings):
    """What a streams worker adds. The field's name in upper case is the variable."""

    timestamp_past_days_max: int = Field(
        3650, ge=0, description="how old an event's own time may be; 0: no limit"
    )
    timestamp_future_seconds_max: int = Field(
        86_400, ge=0, description="how far ahead an event's own time may be; 0: no limit"
    )
    batch_events_max: int = Field(
        BATCH_EVENTS_MAX, ge=1, le=BATCH_EVENTS_LIMIT, description="events of a rated batch"
    )
    batch_bytes_max: int = Field(
        4 << 20, ge=1 << 10, description="size of a rated batch, at most about"
    )
    send_timeout_seconds: float = Field(
        30.0, gt=0, description="for Kafka to acknowledge a rated batch; then the worker restarts"
    )
    jump_timeout_seconds: float = Field(
        60.0, gt=0, description="for reading to come back to the expected offset; then restart"
    )
    dead_letter_share_max: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of dead letters in a minute, of three customers or more, that holds"
        " the stage",
    )
    dead_letter_count_min: int = Field(
        1_000,
        ge=1,
        description="fewer dead letters than this in a minute never hold the stage; one"
        " customer's count for half of it at most",
    )
    prices_wait_seconds: float = Field(
        30.0, ge=0, description="for a first price list at the start; then events go unpriced"
    )
    burns_interval_seconds: float = Field(1.0, gt=0, description="between writes of changed burns")
    session_timeout_seconds: float = Field(
        12.0, ge=1, description="silence after which the group gives a worker's partitions away"
    )

    group_instance_id: str = Field(
        "",
        description="a worker's own lasting name in the group: started again within its session it"
        " has its partitions back, without a rebalance; empty: none",
    )

    @property
    def window_ms(self) -> int:
        """How far back an identity counts, in milliseconds of broker time."""
        return self.dedupe_window_hours * 3_600_000

    @property
    def timestamp_policy(self) -> TimestampPolicy:
        """What an event's own time may be."""
        return TimestampPolicy(
            past_days_max=self.timestamp_past_days_max or None,
            future_seconds_max=self.timestamp_future_seconds_max or None,
        )
