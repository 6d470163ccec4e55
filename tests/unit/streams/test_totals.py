import pytest

from schemas.rated import Entry
from streams.totals import (
    DAY_MS,
    HOUR_MS,
    Burn,
    BurnKey,
    BurnTotals,
    charges_of,
    count,
    period_ms,
    period_text,
)
from tests.rated_batches import charged, dead_letter

HOUR = "2026-11-20T10:00:00Z"
NEXT_HOUR = "2026-11-20T11:00:00Z"
HOUR_KEY: BurnKey = ("c", "hour", period_ms(HOUR))
DAY_KEY: BurnKey = ("c", "day", period_ms("2026-11-20T00:00:00Z"))


def test_totals_are_counted_by_customer_and_broker_hour() -> None:
    """Charged events count in the hour in which Kafka took their record; letters do not count."""
    ms = period_ms(HOUR)
    entries = list[Entry]()
    entries += [
        charged(3, customer_id="c"),
        charged(3, 1, customer_id="c"),
        charged(4, customer_id="d", credits_=7, cost_usd="0.007"),
        dead_letter(5, b"x"),
        charged(6, customer_id="c"),
    ]
    found = count(charges_of(entries), [(3, ms + 5), (6, ms + HOUR_MS)])
    assert found == [
        ("c", HOUR, 30, "0.030000", 2),
        ("d", HOUR, 7, "0.007000", 1),
        ("c", NEXT_HOUR, 15, "0.015000", 1),
    ]


def test_a_batch_is_added_once_however_often_it_is_read() -> None:
    """What a published burn holds already is not added again after a restart."""
    burns = BurnTotals()
    burns.load(HOUR_KEY, Burn(15, 15 * 10**15, 1, position=5, rated_offset=9))
    burns.add([("c", HOUR, 15, "0.015000", 1)], 5, 9)
    burns.add([("c", HOUR, 10, "0.010000", 1)], 8, 10)
    changed = burns.take_changed()
    assert changed[HOUR_KEY] == Burn(25, 25 * 10**15, 2, position=8, rated_offset=10)
    assert changed[DAY_KEY].credits == 25


def test_a_batch_over_an_hours_end_counts_whole_in_its_day() -> None:
    """Two hours of one batch are one sum of the day."""
    burns = BurnTotals()
    burns.add([("c", HOUR, 1, "0.001000", 1), ("c", NEXT_HOUR, 2, "0.002000", 1)], 5, 0)
    assert burns.take_changed()[DAY_KEY].credits == 3
    assert burns.take_changed() == {}


def test_what_could_not_be_published_is_published_later() -> None:
    """A failed write is not forgotten."""
    burns = BurnTotals()
    burns.add([("c", HOUR, 1, "0.001000", 1)], 5, 0)
    burns.put_back(burns.take_changed())
    assert set(burns.take_changed()) == {HOUR_KEY, DAY_KEY}


@pytest.mark.parametrize(
    ("later_ms", "expired"),
    [(HOUR_MS, []), (8 * DAY_MS + HOUR_MS, [HOUR_KEY]), (401 * DAY_MS, [DAY_KEY, HOUR_KEY])],
)
def test_hours_are_kept_eight_days_and_days_four_hundred(
    later_ms: int, expired: list[BurnKey]
) -> None:
    """Old periods are named once, for their tombstones, and periods that are over leave memory."""
    burns = BurnTotals()
    burns.add([("c", HOUR, 1, "0.001000", 1)], 5, 0)
    burns.take_changed()
    burns.add([("d", period_text(period_ms(HOUR) + later_ms), 1, "0.001000", 1)], 6, 1)
    assert sorted(burns.take_expired()) == sorted(expired)
    assert burns.take_expired() == []


OTHER_HOUR_KEY: BurnKey = ("d", "hour", period_ms(HOUR))
TIMES = [(0, period_ms(HOUR))]


def test_burns_outlive_the_log_they_were_counted_from() -> None:
    """In a log made again offsets begin anew; each burn's own position tells what is in it."""
    burns = BurnTotals()
    burns.load(HOUR_KEY, Burn(15, 15 * 10**15, 1, position=5, rated_offset=9), folded_to=10)
    burns.load(OTHER_HOUR_KEY, Burn(15, 15 * 10**15, 1, position=3, rated_offset=7), folded_to=10)
    assert (burns.rated_end, burns.last.position) == (10, 5)
    burns.settle_on_log(is_same=False)
    assert (burns.counted_to, burns.folded_to) == (5, 0)
    charges = [("c", 4, 15, 15 * 10**15, 1), ("d", 4, 20, 20 * 10**15, 1), ("c", 6, 10, 10**16, 1)]
    burns.add_charges(charges, TIMES, 7, 0)
    changed = burns.take_changed()
    assert changed[HOUR_KEY] == Burn(25, 25 * 10**15, 2, 7, rated_offset=0, rated_log=1)
    assert changed[OTHER_HOUR_KEY] == Burn(35, 35 * 10**15, 2, 7, rated_offset=0, rated_log=1)
    # The days were not published before: all of it is counted in them.
    assert changed["c", "day", period_ms(HOUR) // DAY_MS * DAY_MS].credits == 25


def test_a_successor_reads_burns_of_two_logs() -> None:
    """The later log's burns count, however low their offsets; of the others, what lies below."""
    burns = BurnTotals()
    burns.load(HOUR_KEY, Burn(15, 15 * 10**15, 1, position=5, rated_offset=9), folded_to=10)
    burns.load(OTHER_HOUR_KEY, Burn(15, 15 * 10**15, 1, position=3, rated_offset=7), folded_to=10)
    later = Burn(25, 25 * 10**15, 2, 7, rated_offset=0, rated_log=1)
    burns.load(HOUR_KEY, later, folded_to=0)
    burns.load(HOUR_KEY, Burn(15, 15 * 10**15, 1, position=5, rated_offset=9), folded_to=10)
    burns.settle_on_log(is_same=True)
    assert (burns.rated_end, burns.folded_to, burns.counted_to) == (1, 0, 3)
    assert burns.take_changed() == {HOUR_KEY: later}  # A former owner wrote over it.
    burns.add_charges([("d", 2, 15, 15 * 10**15, 1), ("d", 4, 20, 20 * 10**15, 1)], TIMES, 7, 0)
    assert burns.take_changed()[OTHER_HOUR_KEY].credits == 35


def test_in_a_new_epoch_positions_of_a_lost_log_mean_nothing() -> None:
    """Positions of `usage.raw` begin anew: all is counted."""
    burns = BurnTotals()
    burns.load(HOUR_KEY, Burn(15, 15 * 10**15, 1, position=5, rated_offset=9))
    burns.settle_on_log(is_same=False)
    burns.begin_epoch()
    assert burns.counted_to == 0
    burns.add_charges([("c", 0, 10, 10**16, 1)], TIMES, 1, 1)
    assert burns.take_changed()[HOUR_KEY].credits == 25
