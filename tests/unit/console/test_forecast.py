"""When a wallet runs out."""

from datetime import UTC, datetime, timedelta

from deploy.console.forecast import Forecast, Outlook, fill_hours, forecast

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HALF_PAST = NOON + timedelta(minutes=30)


def hours(*credits_: int) -> list[tuple[datetime, int]]:
    """Hours without gaps, the last one that of NOON."""
    first = NOON - timedelta(hours=len(credits_) - 1)
    return [(first + timedelta(hours=n), credits_[n]) for n in range(len(credits_))]


def test_a_steady_pace_is_carried_on() -> None:
    """1,000 credits at 100 an hour last ten hours, the hour under way counting for its half."""
    found = forecast(1_000, hours(100, 100, 100, 50), HALF_PAST, hours=4)

    assert found == Forecast(4, 100, Outlook.RUNS_OUT, HALF_PAST + timedelta(hours=10))


def test_only_the_last_hours_count() -> None:
    """What was burned before them says nothing."""
    found = forecast(1_000, hours(9_999, 100, 50), HALF_PAST, hours=2)

    assert found.per_hour == 100
    assert found.at == HALF_PAST + timedelta(hours=10)


def test_hours_before_the_first_burn_do_not_count() -> None:
    """A customer who began an hour ago is not averaged over a day of nothing."""
    found = forecast(300, hours(0, 0, 0, 0, 100, 50), HALF_PAST, hours=6)

    assert found.per_hour == 100
    assert found.at == HALF_PAST + timedelta(hours=3)


def test_a_pause_counts() -> None:
    """Hours without burns after the first burn slow the pace down."""
    found = forecast(100, hours(90, 0, 0, 0), HALF_PAST, hours=4)

    assert found.per_hour == 26
    assert found.at == HALF_PAST + timedelta(seconds=14_000)


def test_nothing_is_said_where_nothing_can_be() -> None:
    """An empty wallet, one that rests, and one that lasts longer than anybody plans."""
    assert forecast(0, hours(1, 1), HALF_PAST, hours=2).outlook is Outlook.EMPTY
    assert forecast(-5, hours(0, 0), HALF_PAST, hours=2).outlook is Outlook.EMPTY
    assert forecast(5, hours(0, 0), HALF_PAST, hours=2) == Forecast(2, 0, Outlook.IDLE)
    assert forecast(10**15, hours(1, 1), HALF_PAST, hours=2).outlook is Outlook.FAR
    assert forecast(10**15, hours(1, 1), HALF_PAST, hours=2).at is None


def test_large_sums_stay_exact() -> None:
    """Credits beyond what a double holds do not lose their last digit."""
    pace = 2**60 + 1
    found = forecast(pace * 3, hours(pace, 0), HALF_PAST, hours=2)

    assert found.at == HALF_PAST + timedelta(hours=4.5)


def test_a_first_burn_just_now_does_not_run_out_at_once() -> None:
    """At the very start of an hour the pace is that of a minute, not of an instant."""
    found = forecast(600, hours(10), NOON, hours=6)

    assert found.per_hour == 600
    assert found.at == NOON + timedelta(hours=1)


def test_hours_without_burns_are_filled() -> None:
    """The chart has a bar, be it of nothing, for every hour."""
    since = NOON - timedelta(hours=3)

    assert fill_hours({NOON - timedelta(hours=2): 7}, since, HALF_PAST) == hours(0, 7, 0, 0)
