"""The work of the stream stage, written for Quix Streams with exactly-once, as a baseline.

Runs in an environment of its own, `python quix_rating.py BOOTSTRAP GROUP INPUT OUTPUT DIR PRICES`.
State is by customer, the record's key; its values are packed bytes, which spares it JSON.
"""

from struct import Struct
from typing import Any

from quixstreams import Application, State, message_context

from tests.benchmarks.rating import Arguments, rate_record, read_price_book

_position = Struct(">q")
COST_BYTES = 16
CREDITS_BYTES = 8


class QuixMemory:
    """What Quix keeps for the key of the record in hand."""

    def __init__(self, state: State) -> None:
        self._state = state

    def first(self, identity: bytes) -> int | None:
        """Return where an identity was charged."""
        found = self._state.get_bytes(identity)
        return None if found is None else int(_position.unpack(found)[0])

    def remember(self, identity: bytes, position: int) -> None:
        """Note that an identity was charged."""
        self._state.set_bytes(identity, _position.pack(position))

    def add(self, customer: str, hour: int, credits_: int, attodollars: int) -> None:
        """Add to what a customer was charged in an hour."""
        del customer  # the state is the customer's
        key = b"total" + hour.to_bytes(8, "big")
        before = self._state.get_bytes(key, bytes(CREDITS_BYTES + COST_BYTES))
        credits_ += int.from_bytes(before[:CREDITS_BYTES], "big")
        attodollars += int.from_bytes(before[CREDITS_BYTES:], "big")
        total = credits_.to_bytes(CREDITS_BYTES, "big") + attodollars.to_bytes(COST_BYTES, "big")
        self._state.set_bytes(key, total)


def main() -> None:
    """Run until the process is ended."""
    arguments = Arguments.of_command_line()
    book = read_price_book(arguments.prices_csv)
    app = Application(
        broker_address=arguments.bootstrap,
        consumer_group=arguments.application,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        state_dir=arguments.folder,
        producer_extra_config={"compression.type": "lz4", "linger.ms": 20},
        loglevel="WARNING",
    )
    options: Any = {"key_deserializer": "bytes", "value_deserializer": "bytes"}
    source = app.topic(arguments.source, **options)
    output = app.topic(arguments.output, key_serializer="bytes", value_serializer="bytes")

    def rated(value: bytes, key: Any, timestamp: int, headers: Any, state: State) -> bytes:
        del key, headers
        return rate_record(value, message_context().offset, timestamp, book, QuixMemory(state))

    stream = app.dataframe(source).apply(rated, stateful=True, metadata=True)
    stream.to_topic(output)
    app.run()


if __name__ == "__main__":
    main()
