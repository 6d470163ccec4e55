"""`seen`: which identities of a partition were charged, at which position, and when.

A Faust table with one store per partition, whose changelog is `usage.rated` itself: rated batches
are folded by the sink's rule into the identities *and* the position to go on from (ADR 0004).
Faust's own recovery reads some 9,000 records a second and swallows errors, so `streams.recovery`
does the reading, and the table tells Faust that there is nothing left to recover.
"""

import logging
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import faust
import numpy as np
from faust.stores.base import Store
from faust.tables.manager import TableManager

from schemas.identity import IDENTITY_BYTES
from schemas.rated import FOLD_HEADER, INDEX_BITS, Cover, Fold, Kind, unpack_fold
from streams.identity_map import NOT_FOUND, IdentityMap
from streams.rated_fold import RatedFold

# A broker's clock may step back this far without a verdict depending on what was pruned when.
CLOCK_SLACK_MS = 3_600_000
# Each record that a log is compared by stands so many times as far back as the one before.
SAMPLE_FACTOR = 4
# So many broker times are kept for that, whether or not an identity needs them.
TIMES_KEPT = 1_000
# A window is forgotten in so many pieces.
GENERATIONS = 96

_UNKNOWN_MS = -1


class BrokerClock:
    """Broker times by offset, run-length: from `offsets[i]` on it was `times[i]`."""

    def __init__(self) -> None:
        self._offsets = array("q")
        self._times = array("q")
        self.latest_ms = 0

    def add(self, offset: int, ms: int) -> None:
        """Note that records from `offset` on have the time `ms`. Offsets rise."""
        if self._times and self._times[-1] == ms:
            return
        self._offsets.append(offset)
        self._times.append(ms)
        self.latest_ms = max(self.latest_ms, ms)

    def skip(self, offset: int) -> None:
        """Note that records from `offset` on were never rated: their times are not known."""
        self.add(offset, _UNKNOWN_MS)

    def at(self, offset: int) -> int | None:
        """Return the broker's time of a record, None for one older than what is kept."""
        index = bisect_right(self._offsets, offset) - 1
        return self._times[index] if index >= 0 and self._times[index] != _UNKNOWN_MS else None

    def samples(self, below: int) -> list[int]:
        """Return offsets below one whose times are known: the last, then ever farther back."""
        if not self._offsets:
            return []
        found, back = [], 1
        while (offset := below - back) > self._offsets[0]:
            found.append(offset)
            back *= SAMPLE_FACTOR
        if self._offsets[0] < below:
            found.append(self._offsets[0])
        return [offset for offset in found if self.at(offset) is not None]

    def drop_below(self, offset: int) -> None:
        """Forget what no offset from `offset` on needs, less what a log is compared by."""
        index = min(bisect_right(self._offsets, offset) - 1, len(self._offsets) - TIMES_KEPT)
        if index > len(self._offsets) // 2:  # seldom, so that the cost per record stays constant
            del self._offsets[:index]
            del self._times[:index]

    @property
    def last_ms(self) -> int:
        """The time of the last record rated; the latest one where that is not known."""
        last = self._times[-1] if self._times else _UNKNOWN_MS
        return self.latest_ms if last == _UNKNOWN_MS else last

    def clear(self) -> None:
        """Forget everything."""
        self._offsets, self._times, self.latest_ms = array("q"), array("q"), 0


@dataclass(slots=True)
class _Generation:
    """Identities that are forgotten together, for they were charged at about the same time."""

    began_ms: int
    latest_ms: int
    first_position: int


def found_at(positions: Sequence[int]) -> list[int]:
    """Return the numbers of those that were found."""
    if positions.count(NOT_FOUND) == len(positions):  # the usual answer
        return []
    return [number for number, position in enumerate(positions) if position != NOT_FOUND]


class SeenPartition:
    """What was charged in one partition within the window, and where the fold stands."""

    def __init__(self, window_ms: int) -> None:
        self.fold = RatedFold()
        self.rated_offset = 0  # of `usage.rated`: the first record not folded yet
        self.clock = BrokerClock()
        self._window_ms = window_ms
        self._clear()

    def _clear(self) -> None:
        self._positions = IdentityMap()
        self._generations: deque[_Generation] = deque()  # oldest first
        self.clock.clear()

    def __len__(self) -> int:
        """Identities charged; one that was charged again after the window may count twice."""
        return len(self._positions)

    def get(self, identity: bytes) -> int | None:
        """Return the packed position at which an identity was charged, however long ago."""
        (position,) = self._positions.find(identity)
        return None if position == NOT_FOUND else position

    def identities(self) -> Iterator[bytes]:
        """Yield every identity remembered."""
        return iter(self._positions)

    def find(self, identities: bytes) -> list[int]:
        """Return the packed position of each identity, 16 bytes each, however long ago, else -1."""
        return self._positions.find(identities)

    def is_in_window(self, position: int, broker_ms: int) -> bool:
        """Tell whether what was charged at a packed position counts for a record of `broker_ms`."""
        charged_ms = self.clock.at(position >> INDEX_BITS)
        return charged_ms is not None and abs(broker_ms - charged_ms) <= self._window_ms

    def index(self, entries_max: int) -> bool:
        """Do a part of what the next look-up would have to; tell whether any of it is left."""
        return self._positions.index(entries_max)

    def apply(self, batch: Fold, rated_offset: int) -> Cover:
        """Fold one record of `usage.rated`; offsets of records folded rise."""
        self.rated_offset = rated_offset + 1
        below = self.fold.next_offset
        covering = self.fold.apply(batch.kind, batch.first_offset, batch.next_offset)
        if covering is Cover.NEXT:
            if self.fold.is_epoch_opened_by_last:
                self._clear()
            elif batch.kind is Kind.HOLE:
                self.clock.skip(max(batch.first_offset, below))
            elif batch.broker_times:
                self._remember(batch, max(batch.first_offset, below))
        return covering

    def _remember(self, batch: Fold, from_offset: int) -> None:
        times = clip_times(batch.broker_times, from_offset)
        for offset, ms in times:
            self.clock.add(offset, ms)
        # Positions are ascending: what lies below was covered by another batch.
        start = bisect_right(batch.positions, (from_offset << INDEX_BITS) - 1)
        if start < len(batch.positions):
            positions = np.frombuffer(batch.positions, np.int64)[start:]
            self._positions.add(batch.identities[start * IDENTITY_BYTES :], positions)
            # Its last record may be older than those before, where the clock stepped back.
            self._note_age(max(ms for _, ms in times), batch.positions[start])
        self._prune()

    def _note_age(self, ms: int, first_position: int) -> None:
        last = self._generations[-1] if self._generations else None
        if last and last.began_ms <= ms < last.began_ms + self._window_ms // GENERATIONS:
            last.latest_ms = max(last.latest_ms, ms)
        else:
            self._generations.append(_Generation(ms, ms, first_position))

    def _prune(self) -> None:
        """Drop whole generations that are too old for any record still to come."""
        oldest_ms = self.clock.latest_ms - self._window_ms - CLOCK_SLACK_MS
        generations = self._generations
        while generations and generations[0].latest_ms < oldest_ms:
            generations.popleft()
            if generations:
                self._positions.drop_below(generations[0].first_position)
            else:
                self._positions = IdentityMap()
        next_needed = (
            generations[0].first_position >> INDEX_BITS
            if generations
            else self.fold.next_offset - 1
        )
        self.clock.drop_below(next_needed)


def clip_times(times: Sequence[tuple[int, int]], from_offset: int) -> list[tuple[int, int]]:
    """Return run-length broker times as they are from an offset on."""
    kept = [(offset, ms) for offset, ms in times if offset > from_offset]
    at_start = [ms for offset, ms in times if offset <= from_offset]
    return [(from_offset, at_start[-1]), *kept] if at_start else kept


class SeenStore(Store[bytes, int]):
    """The table's store: a `SeenPartition` per partition that this worker owns."""

    logger = logging.getLogger("faust.seen")
    partitions: dict[int, SeenPartition]

    def __post_init__(self) -> None:
        self.partitions = {}

    def __getitem__(self, key: bytes) -> int:
        for partition in self.partitions.values():
            position = partition.get(key)
            if position is not None:
                return position
        raise KeyError(key)

    def __setitem__(self, key: bytes, value: int) -> None:
        raise TypeError("seen is written by folding rated batches only")

    def __delitem__(self, key: bytes) -> None:
        raise TypeError("seen forgets by its window only")

    def __iter__(self) -> Iterator[bytes]:
        for partition in self.partitions.values():
            yield from partition.identities()

    def __len__(self) -> int:
        return sum(len(partition) for partition in self.partitions.values())

    def __hash__(self) -> int:
        return object.__hash__(self)

    def _clear(self) -> None:
        self.partitions.clear()

    def reset_state(self) -> None:
        """Forget everything; the changelog tells it again."""
        self._clear()

    async def backup_partition(
        self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1
    ) -> None:
        """Do nothing: `usage.rated` is the backup."""

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None:
        """Do nothing: `usage.rated` is the backup."""

    def persisted_offset(self, tp: Any) -> int | None:
        """Tell Faust's recovery that everything folded needs no reading."""
        partition = self.partitions.get(tp.partition)
        return None if partition is None else partition.rated_offset - 1

    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Fold records of the changelog: the same rule whoever reads them."""
        del to_key, to_value
        for event in batch:
            fold = fold_of(event.message.headers)
            self.partitions[event.message.partition].apply(fold, event.message.offset)


def fold_of(headers: Any) -> Fold:
    """Return what the headers of a record of `usage.rated` hold for a fold. Raises ValueError."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    for name, value in pairs:
        if name == FOLD_HEADER:
            return unpack_fold(value)
    raise ValueError("a record of usage.rated without a fold header")


class SeenTable(faust.Table):  # type: ignore[type-arg] # generic for type checkers only
    """The Faust table `seen`: identity -> position, one store per partition."""

    logger = logging.getLogger("faust.seen")
    window_ms: int

    def _new_store(self) -> SeenStore:
        return SeenStore("memory://", self.app, self, loop=self.loop)

    @property
    def store(self) -> SeenStore:
        """The store, by its own type."""
        store = self.data
        if not isinstance(store, SeenStore):
            raise TypeError(f"seen is kept in {type(store).__name__}")
        return store

    def partition(self, number: int) -> SeenPartition:
        """Return what is known of a partition, nothing at first."""
        partitions = self.store.partitions
        if number not in partitions:
            partitions[number] = SeenPartition(self.window_ms)
        return partitions[number]

    def forget(self, number: int) -> None:
        """Drop the state of a partition that is another worker's now."""
        self.store.partitions.pop(number, None)


class FoldingTableManager(TableManager):
    """Faust's table manager, less its own reading of changelogs: `streams.recovery` reads them."""

    logger = logging.getLogger("faust.tables")

    async def on_start(self) -> None:
        """Start without Faust's pause of a second: recovery time is availability."""
        await self._update_channels()
        await self.recovery.start()

    async def _update_channels(self) -> None:
        self._tables_finalized.set()
        for table in self.values():
            await table.maybe_start()
        self._tables_registered.set()


def make_table(app: Any, rated_topic: str, window_ms: int) -> SeenTable:
    """Declare the table `seen` of an app, its changelog being `rated_topic`."""
    table = SeenTable(
        app,
        name="seen",
        changelog_topic=app.topic(rated_topic, key_type=bytes, value_type=bytes),
        key_type=bytes,
    )
    table.window_ms = window_ms
    app.tables.add(table)
    return table
