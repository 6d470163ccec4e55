"""Why an event became a dead letter, and how a letter is written to `usage.raw` again."""

from dataclasses import dataclass
from enum import StrEnum

# What the ledger's columns hold.
_INT4_MAX, _INT8_MAX = 2**31 - 1, 2**63 - 1


class Reason(StrEnum):
    """Reasons of dead letters; the text says what an operator can do about one."""

    NOT_JSON = "NOT_JSON"  #: The record is no JSON: the producer must send it again, mended.
    BAD_SCHEMA = "BAD_SCHEMA"  #: A field is wrong: the producer mends it and sends it again.
    TOO_MANY_EVENTS = "TOO_MANY_EVENTS"  #: More than 1,000 events in a record: split it.
    TIMESTAMP_OUT_OF_RANGE = "TIMESTAMP_OUT_OF_RANGE"  #: Widen the policy, or mend the event.
    UNPRICED = "UNPRICED"  #: No price in force: publish one, the letter replays itself.
    ORIGINAL_NOT_CHARGED = (
        "ORIGINAL_NOT_CHARGED"  #: What it repeats is not charged: replays itself.
    )
    QUARANTINED = "QUARANTINED"  #: An operator set the record aside: it stopped a worker.
    UNKNOWN_CUSTOMER = "UNKNOWN_CUSTOMER"  #: Create the customer, then replay.
    REFUSED_BY_DATABASE = "REFUSED_BY_DATABASE"  #: Postgres cannot hold a value of it.


@dataclass(frozen=True, slots=True)
class Position:
    """Where an event stands in `usage.raw`: partition, epoch, offset, index within the record."""

    partition: int
    epoch: int
    offset: int
    index: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.epoch}:{self.offset}:{self.index}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read "partition:epoch:offset:index". Raises ValueError with the text when it is not."""
        parts = text.split(":")
        if len(parts) != len(cls.__slots__) or not all(
            part.isascii() and part.isdigit() for part in parts
        ):
            raise ValueError(f"not a position (partition:epoch:offset:index): {text[:80]!r}")
        partition, epoch, offset, index = (int(part[:20]) for part in parts)
        if max(partition, epoch, index) > _INT4_MAX or offset > _INT8_MAX:
            raise ValueError(f"not a position, a number is too large: {text[:80]!r}")
        return cls(partition, epoch, offset, index)


REPLAY_OF_HEADER = "replay-of"
FORMAT_HEADER = ("format", b"1")


def replay_headers(
    origin: Position, format_header: tuple[str, bytes] = FORMAT_HEADER
) -> list[tuple[str, bytes]]:
    """Return the headers under which a letter's bytes go to `usage.raw` again.

    A replay is not judged by `seen`: Postgres decides, so replaying a letter twice charges it once.
    """
    return [format_header, (REPLAY_OF_HEADER, str(origin).encode())]


def replay_key(customer_id: str | None, record_key: bytes | None) -> bytes | None:
    """Return the key of a replay: the customer's, where one could be read, else the record's."""
    return record_key if customer_id is None else customer_id.encode()
