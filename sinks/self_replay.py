"""Letters that replay themselves: without a price until now, or called a duplicate of nothing.

Both kinds go when a price covers them. Replaying a letter too often is harmless (Postgres charges
it once) and too early is: it comes back as a new letter. So each round is bounded, prices rest a
moment before letters follow them, and a letter that is itself a replay waits longer.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer

from schemas.corrections import is_correction, letter_headers, read_correction
from schemas.dead_letter import Position, replay_key
from schemas.events import InvalidBatchError, InvalidEvent, NotJsonError, validate_each
from schemas.pricing import PriceBook, Rated, rate
from sinks import metrics
from sinks.dead_letters import place_of
from sinks.postgres import Connection
from sinks.statements import statement

log = structlog.get_logger("prices")

# Streams workers follow the prices within this time, usually.
REST_SECONDS = 1.5
# How often all open letters are judged again although no price changed: new ones may have come
# from a worker that did not know the newest prices yet.
RESCAN_SECONDS = 5.0
PAGE_LETTERS = 1_000
ACK_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class WaitingLetter:
    """An open letter, and what its replay needs."""

    position: Position
    key: bytes | None
    payload: bytes
    created_at: datetime


START = WaitingLetter(Position(-1, 0, 0, 0), None, b"", datetime(1, 1, 2, tzinfo=UTC))


def is_priced(payload: bytes, book: PriceBook) -> bool:
    """Whether the event of a letter would be charged by these prices."""
    try:
        if is_correction(payload):
            event = read_correction(payload).event
            return event is None or isinstance(rate(event, book), Rated)
        events = validate_each(payload)
    except (NotJsonError, InvalidBatchError):
        return False
    return len(events) == 1 and all(
        not isinstance(event, InvalidEvent) and isinstance(rate(event, book), Rated)
        for event in events
    )


class SelfReplay:
    """Goes through the open letters, page by page, a page per round."""

    def __init__(
        self, connection: Connection, producer: AIOKafkaProducer, topic: str, replays_max: int
    ) -> None:
        self._connection = connection
        self._producer = producer
        self._topic = topic
        self._replays_max = replays_max
        self._book: PriceBook | None = None
        self._after = START
        self._next_at = 0.0

    def prices_changed(self, book: PriceBook, now: float) -> None:
        """These prices were published at `now` (monotonic seconds)."""
        self._book = book
        self._after = START
        self._next_at = now + REST_SECONDS

    async def round(self, now: float) -> int:
        """Judge a page of letters and replay those with a price; return how many."""
        if self._book is None or self._replays_max == 0 or now < self._next_at:
            return 0
        page = await self._page()
        covered: list[WaitingLetter] = []
        for letter in page:
            if len(covered) == self._replays_max:
                break
            self._after = letter
            if is_priced(letter.payload, self._book):
                covered.append(letter)
        else:
            if len(page) < PAGE_LETTERS:
                self._after = START
                self._next_at = now + RESCAN_SECONDS
        if covered:
            await self._replay(covered)
        return len(covered)

    async def _page(self) -> list[WaitingLetter]:
        position = self._after.position
        cursor = await self._connection.execute(
            statement("open_self_replaying"),
            {
                "created_at": self._after.created_at,
                "partition": position.partition,
                "epoch": position.epoch,
                "offset": position.offset,
                "index": position.index,
                "limit": PAGE_LETTERS,
            },
        )
        return [_letter(row) for row in await cursor.fetchall()]

    async def _replay(self, letters: Sequence[WaitingLetter]) -> None:
        sent = [
            await self._producer.send(
                self._topic,
                key=letter.key,
                value=letter.payload,
                headers=letter_headers(letter.position, letter.payload),
            )
            for letter in letters
        ]
        async with asyncio.timeout(ACK_TIMEOUT_SECONDS):
            places = await asyncio.gather(*sent)
        positions = [letter.position for letter in letters]
        await self._connection.execute(
            statement("mark_replayed"),
            {
                "partitions": [position.partition for position in positions],
                "epochs": [position.epoch for position in positions],
                "offsets": [position.offset for position in positions],
                "indexes": [position.index for position in positions],
                "places": [place_of(place) for place in places],
            },
        )
        metrics.SELF_REPLAYED.inc(len(letters))
        log.info("Letters replayed by themselves", letters=len(letters))


def _letter(row: tuple[Any, ...]) -> WaitingLetter:
    partition, epoch, offset, index, customer_id, record_key, payload, created_at = row
    key = replay_key(customer_id, record_key)
    return WaitingLetter(Position(partition, epoch, offset, index), key, payload, created_at)
