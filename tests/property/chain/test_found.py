"""What the explorer and the laws found, each as small as it can be."""

from array import array
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from schemas.dead_letter import Position
from schemas.rated import Fold, Kind, RatedBatch, encode_batch
from sinks.batch import RatedRecord, Reached, clip, read_record
from streams.agent import Part, Parts, StreamsAgent
from streams.dedupe import judge
from streams.price import settle
from streams.quick.records import all_unusual
from streams.seen import SeenPartition
from tests.property.chain.folding import METRICS, Table, complete, recovery_of
from tests.property.chain.model import STEADY
from tests.property.chain.test_chain import decoded_log, make_event
from tests.property.chain.workers import WINDOW_MS, run_length
from tests.property.chain.world import World
from tests.published_burns import BurnsPublished

if TYPE_CHECKING:
    from deploy.runtime.runs import Run

HOUR_MS = 3_600_000


def empty_batch(
    first: int, following: int, ms: int, kind: Kind = Kind.RATED
) -> tuple[RatedBatch, Fold]:
    times = [(first, ms)] if kind is Kind.RATED else []
    batch = RatedBatch(0, first, following, 0, times, [], [], kind)
    return batch, Fold(kind, first, following, times, array("q"), b"")


def test_what_stands_before_an_epochs_beginning_is_not_applied_in_it() -> None:
    """A sink that was frozen holds batches that another applied before a new epoch was opened."""
    old, marker = empty_batch(0, 1, 1_000), empty_batch(1, 0, 0, Kind.NEW_EPOCH)
    records: list[RatedRecord] = [
        read_record(offset, encode_batch(batch)) for offset, (batch, _) in enumerate((old, marker))
    ]
    reached = clip(Reached(0, 0, 0, 0, 0), records).reached
    assert (reached.epoch, reached.next_offset, reached.rated_offset) == (1, 0, 2)

    late = clip(reached, records[:1])

    assert late.applied == []
    assert late.reached == reached


def world_with_hole() -> World:
    """Rated: [0,1), and after a long pause [2,3), whose writer did not know that [1,2) is lost."""
    world = World()
    for _ in range(2):
        world.produce(0, b'{"events":[]}', 0)
    world.append_rated(*empty_batch(0, 1, world.ms))
    world.ms += WINDOW_MS + 2 * HOUR_MS
    world.produce(0, b'{"events":[]}', 0)
    world.append_rated(*empty_batch(2, 3, world.ms))
    return world


def test_a_fold_begun_in_the_middle_does_not_take_a_batch_ahead_for_its_beginning() -> None:
    """The worker goes back to the hole and fills it; else the sinks would wait for ever."""
    world, table, burns = world_with_hole(), Table(WINDOW_MS, SeenPartition), BurnsPublished()
    burns.published_to = 2  # burns need nothing of what is folded

    assert complete(recovery_of(world, table, burns).resume_at(0)) == 1


def test_a_worker_folds_anew_when_the_log_lost_its_end() -> None:
    """Its batch came to stand where one that it remembers stood: what it remembers is not so."""
    world, table, burns = World(), Table(WINDOW_MS, SeenPartition), BurnsPublished()
    for _ in range(3):
        world.produce(0, b'{"events":[]}', 0)
    world.append_rated(*empty_batch(0, 1, world.ms))
    world.append_rated(*empty_batch(1, 2, world.ms))
    recovery = recovery_of(world, table, burns)
    assert complete(recovery.resume_at(0)) == 2
    del world.rated[0][1:]
    batch, fold = empty_batch(2, 3, world.ms)
    settings = SimpleNamespace(dead_letter_share_max=1, dead_letter_count_min=1)
    uses = SimpleNamespace(settings=settings, table=table, recovery=recovery, metrics=METRICS)
    agent = StreamsAgent(cast("Parts", uses))
    records = decoded_log([(0, [], False)] * 3)[2:]
    part = Part(cast("Run", SimpleNamespace(partition=0)), 2, all_unusual(records, records), 0.0)
    part.fold, part.rated_offset = fold, world.append_rated(batch, fold)

    complete(agent.remember(part))

    assert table.partition(0).fold.next_offset == 1
    assert part.is_void


@pytest.mark.parametrize("cuts", [(3,), (1, 2), (2, 1), (1, 1, 1)], ids=str)
def test_what_a_duplicate_is_of_does_not_depend_on_batches(cuts: Sequence[int]) -> None:
    """Of two events that share an identity each with a third, it repeats the first."""
    events = [
        make_event(number, key, "acme", STEADY, is_bad=False)
        for number, key in ((1, "k"), (2, None), (2, "k"))
    ]
    records, found = decoded_log([(0, [one], False) for one in events]), list[Any]()
    seen = SeenPartition(WINDOW_MS)
    seen.fold.start_at(0)
    for rated_offset, size in enumerate(cuts):
        part, records = records[:size], records[size:]
        verdicts = settle(part, judge(part, seen), World().book, WINDOW_MS)
        found += verdicts.entries
        first, following = part[0].offset, part[-1].offset + 1
        packed = b"".join(verdicts.identities)
        times = run_length(part)
        seen.apply(
            Fold(Kind.RATED, first, following, times, verdicts.positions, packed), rated_offset
        )

    assert Position(0, 0, found[2]["of_offset"], found[2]["of_index"]) == Position(0, 0, 0, 0)
