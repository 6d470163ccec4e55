"""Rates, lag, age and the four counts, from two looks."""

from dataclasses import replace
from typing import Any

import pytest

from deploy.console.pipeline_state import (
    Applied,
    Look,
    ProcessSeen,
    add,
    compare,
    needs_recount,
)

NOW_MS = 1_700_000_000_000


def applied(partition: int, next_offset: int, **counts: int) -> Applied:
    """How far the ledger is in a partition."""
    given = {"charged": next_offset, "duplicates": 0, "dead_letters": 0, "batches": 1} | counts
    return Applied(partition, 0, next_offset, 0, **given)


def gateway(accepted: float, cpu: float = 0.0) -> ProcessSeen:
    """A gateway that accepted so many events."""
    return ProcessSeen("host:1", "gateway", cpu_seconds=cpu, counts={"accepted": accepted})


LOOK = Look(
    seconds=100.0,
    now_ms=NOW_MS,
    raw_ends={0: 50, 1: 10},
    rated_ends={0: 5, 1: 1},
    rated_to={0: 40, 1: 10},
    applied={0: applied(0, 30), 1: applied(1, 10, duplicates=2, dead_letters=1)},
    unrated_ms={0: NOW_MS - 4_000},
    unpaid_ms={0: NOW_MS - 9_000},
    processes=(gateway(100.0),),
    members={},
)


def test_the_four_counts() -> None:
    """What is not rated waits; rated and not applied is active; duplicates are completed."""
    state = compare(None, LOOK)

    assert (state.waiting, state.active, state.completed) == (10, 10, 42)
    assert (state.charged, state.duplicates, state.dead_letters) == (40, 2, 1)


def test_ages_are_those_of_the_oldest() -> None:
    """By the broker's clock; where nothing waits there is no age."""
    state = compare(None, LOOK)

    assert (state.unrated_age, state.unpaid_age) == (4.0, 9.0)
    assert (state.partitions[1].unrated_age, state.partitions[1].unpaid_age) == (None, None)


def test_one_look_has_no_rates() -> None:
    """A rate needs two looks."""
    state = compare(None, LOOK)

    assert state.in_rate is state.applied_rate is state.accepted_rate is state.batch_rate is None
    assert state.partitions[0].rated_rate is None


def test_rates_are_what_changed_by_second() -> None:
    """Of records, rated batches, events and CPU."""
    later = replace(
        LOOK,
        seconds=102.0,
        raw_ends={0: 70, 1: 10},
        rated_ends={0: 7, 1: 1},
        rated_to={0: 70, 1: 10},
        applied={0: applied(0, 50), 1: LOOK.applied[1]},
        unrated_ms={},
        processes=(gateway(150.0, cpu=0.5),),
    )
    state = compare(LOOK, later)

    assert (state.in_rate, state.rated_rate, state.batch_rate) == (10.0, 15.0, 1.0)
    assert (state.applied_rate, state.accepted_rate) == (10.0, 25.0)
    assert state.cpu_shares == {"host:1": 0.25}
    assert (state.waiting, state.active) == (0, 20)


def test_what_went_back_has_no_rate() -> None:
    """A log made again, a restored ledger or a new process gives no negative rate."""
    back = replace(
        LOOK,
        seconds=102.0,
        raw_ends={0: 5, 1: 10},
        rated_to={},
        applied={},
        unrated_ms={},
        unpaid_ms={},
        processes=(gateway(3.0),),
    )
    state = compare(LOOK, back)

    assert state.partitions[0].in_rate is None
    assert state.applied_rate is None
    assert state.accepted_rate is None


def test_a_partition_that_is_new_counts_without_a_rate() -> None:
    """After partitions were added nothing stands still or is counted twice."""
    later = replace(LOOK, seconds=102.0, raw_ends={0: 50, 1: 10, 2: 8}, unrated_ms={2: NOW_MS})
    state = compare(LOOK, later)

    assert state.partitions[2].waiting == 8
    assert state.partitions[2].in_rate is None
    assert state.in_rate == 0.0


def test_positions_keep_their_order_whatever_was_asked_first() -> None:
    """The ledger may be seen ahead of the group's own word, and that ahead of the end."""
    look = replace(LOOK, raw_ends={0: 20}, rated_to={0: 10}, applied={0: applied(0, 30)})
    (partition,) = compare(None, look).partitions

    assert (partition.end, partition.rated_to, partition.applied_to) == (30, 30, 30)
    assert (partition.waiting, partition.active) == (0, 0)


def test_a_log_that_ends_in_no_record_waits_for_nothing() -> None:
    """Markers of a producer's transaction stand beyond the last record: they are no work."""
    look = replace(LOOK, raw_ends={0: 41}, rated_to={0: 40}, unrated_ms={})

    assert compare(None, look).waiting == 0


ROW = {
    "partition": 0,
    "epoch": 0,
    "next_offset": 40,
    "rated_offset": 9,
    "first_offset": 30,
    "charged": 7,
    "duplicates": 2,
    "dead_letters": 1,
    "batches": 2,
}


def test_counting_goes_on_from_the_last_look() -> None:
    """Batches beyond the known position are added to what it had come to."""
    known = {0: applied(0, 30)}

    assert not needs_recount(known, ROW)
    assert add(known[0], ROW) == Applied(0, 0, 40, 9, 37, 2, 1, 3)


@pytest.mark.parametrize(
    ("change", "needs"),
    [
        ({}, False),
        ({"next_offset": 30, "first_offset": None}, False),
        ({"partition": 7}, True),  # a partition that is new
        ({"epoch": 1}, True),
        ({"next_offset": 20, "first_offset": None}, True),  # a ledger restored
        ({"first_offset": 35}, True),  # batches that were merged
        ({"first_offset": None}, True),  # all of them merged with older ones
    ],
)
def test_it_is_counted_again_where_adding_would_be_wrong(
    change: dict[str, Any], needs: bool
) -> None:
    """Rows that do not join on to what is known are counted from the beginning."""
    assert needs_recount({0: applied(0, 30)}, {**ROW, **change}) is needs
