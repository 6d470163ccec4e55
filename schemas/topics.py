r"""The pipeline as data: every topic, its key, its value, and what the broker must do with it.

usage.raw  -> streams -> usage.rated -> sinks -> Postgres
                     \-> usage.burns
Postgres -> sinks -> usage.prices -> streams;  an operator -> usage.quarantine -> streams
"""

from dataclasses import dataclass

DAY_MS = 24 * 3600 * 1000
RAW_MESSAGE_BYTES_MAX = 1_048_588
# A rated batch holds what a raw record holds and more (prices, base64 of dead letters).
RATED_MESSAGE_BYTES_MAX = 8 * RAW_MESSAGE_BYTES_MAX
EVENTS_PER_RECORD_MAX = 1_000
PARTITIONS_DEFAULT = 4


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What `burnstream topics` makes and later checks for drift."""

    name: str
    config: dict[str, str]
    is_partitioned: bool = True  # False: one partition, read whole by every worker


RAW = TopicSpec(
    "usage.raw",
    {
        "cleanup.policy": "delete",
        # Event time lives in the payload: with it in the record, retention would delete old
        # events before they are read.
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(7 * DAY_MS),
        "max.message.bytes": str(RAW_MESSAGE_BYTES_MAX),
    },
)
RATED = TopicSpec(
    "usage.rated",
    {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(8 * DAY_MS),
        "max.message.bytes": str(RATED_MESSAGE_BYTES_MAX),
    },
)
COMPACTED = {
    "cleanup.policy": "compact",
    # A broker refuses the time of a writer whose clock is an hour ahead (Kafka 4.0's
    # message.timestamp.after.max.ms): here it takes its own.
    "message.timestamp.type": "LogAppendTime",
}
BURNS = TopicSpec("usage.burns", COMPACTED)
PRICES = TopicSpec("usage.prices", COMPACTED, is_partitioned=False)
QUARANTINE = TopicSpec("usage.quarantine", COMPACTED, is_partitioned=False)

# In the order in which they must come to be: what is written to exists before what is read.
TOPIC_SPECS = (RATED, BURNS, PRICES, QUARANTINE, RAW)


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the topics and consumer groups of one installation (`TOPIC_PREFIX`)."""

    prefix: str = ""

    @property
    def raw(self) -> str:
        """Usage events as they came."""
        return self.prefix + RAW.name

    @property
    def rated(self) -> str:
        """Rated batches: the commit records of the stream stage, and the changelog of `seen`."""
        return self.prefix + RATED.name

    @property
    def burns(self) -> str:
        """Totals per customer, period and partition; an estimate ahead of the ledger."""
        return self.prefix + BURNS.name

    @property
    def prices(self) -> str:
        """Provider costs and burn tables, by revision."""
        return self.prefix + PRICES.name

    @property
    def quarantine(self) -> str:
        """Positions of `usage.raw` that an operator set aside."""
        return self.prefix + QUARANTINE.name

    @property
    def streams_group(self) -> str:
        """Consumer group of the streams workers."""
        return self.prefix + "burnstream-streams"

    @property
    def sinks_group(self) -> str:
        """Consumer group of the sink workers."""
        return self.prefix + "burnstream-sinks"


def partition_for_key(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's Java client gives a key (murmur2, sign bit cleared)."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    mask, m, r = 0xFFFFFFFF, 0x5BD1E995, 24
    length = len(data)
    h = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little")
        k = (k * m) & mask
        k ^= k >> r
        k = (k * m) & mask
        h = ((h * m) & mask) ^ k
    rest = data[whole:]
    if rest:
        h ^= int.from_bytes(rest, "little")
        h = (h * m) & mask
    h ^= h >> 13
    h = (h * m) & mask
    return h ^ (h >> 15)
