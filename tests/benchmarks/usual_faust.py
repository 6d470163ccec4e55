"""The work of the stream stage as Faust's guide would have it, as a baseline: at least once.

An agent takes a record at a time, tables with changelogs hold the state, a topic takes the output.
`python usual_faust.py BOOTSTRAP APPLICATION INPUT OUTPUT DIR PRICES`
"""

from typing import Any

import faust

from tests.benchmarks.rating import Arguments, rate_record, read_price_book

PARTITIONS = 4


class FaustMemory:
    """Two tables."""

    def __init__(self, app: faust.App) -> None:
        self._seen: Any = app.Table("seen", key_type=str, value_type=int)
        self._totals: Any = app.Table("totals", key_type=str, value_type=str)

    def first(self, identity: bytes) -> int | None:
        """Return where an identity was charged."""
        found: int | None = self._seen.get(identity.hex())
        return found

    def remember(self, identity: bytes, position: int) -> None:
        """Note that an identity was charged."""
        self._seen[identity.hex()] = position

    def add(self, customer: str, hour: int, credits_: int, attodollars: int) -> None:
        """Add to what a customer was charged in an hour."""
        key = f"{customer} {hour}"
        credits_before, cost_before = self._totals.get(key, "0 0").split()
        total = f"{int(credits_before) + credits_} {int(cost_before) + attodollars}"
        self._totals[key] = total


def main() -> None:
    """Run until the process is ended."""
    arguments = Arguments.of_command_line()
    book = read_price_book(arguments.prices_csv)
    app = faust.App(
        arguments.application,
        broker=f"kafka://{arguments.bootstrap}",
        store="memory://",
        datadir=arguments.folder,
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        producer_compression_type="lz4",
        web_enabled=False,
    )
    source = app.topic(arguments.source, key_type=bytes, value_type=bytes, value_serializer="raw")
    output = app.topic(arguments.output, key_type=bytes, value_type=bytes, value_serializer="raw")
    memory = FaustMemory(app)

    @app.agent(source)
    async def rate(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            broker_ms = int(message.timestamp * 1_000)
            rated = rate_record(event.value, message.offset, broker_ms, book, memory)
            await output.send(key=event.key, value=rated)

    faust.Worker(app, loglevel="warning").execute_from_commandline()


if __name__ == "__main__":
    main()
