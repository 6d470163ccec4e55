from streams.breaker import Breaker


def test_few_letters_never_stop_the_stage() -> None:
    """Below the minimum count even nothing but dead letters goes on."""
    breaker = Breaker(share_max=0.5, count_min=100)
    assert breaker.admits(0.0, 99, 99)


def test_too_large_a_share_stops_until_a_good_part_comes() -> None:
    """Once open it stays open for bad parts, also after the minute, and closes with a good one."""
    breaker = Breaker(share_max=0.5, count_min=100)
    breaker.count(0.0, 90, 90)
    assert not breaker.admits(1.0, 10, 10)
    assert not breaker.admits(120.0, 10, 10)
    assert breaker.admits(121.0, 10, 1)
    assert breaker.admits(122.0, 10, 10)


def test_letters_among_many_good_events_go_on() -> None:
    """A share below the limit is nobody's alarm, however many letters that makes."""
    breaker = Breaker(share_max=0.5, count_min=100)
    breaker.count(0.0, 1_000, 10)
    assert breaker.admits(1.0, 300, 300)


def test_a_minute_is_forgotten() -> None:
    """Only the last minute counts."""
    breaker = Breaker(share_max=0.5, count_min=100)
    breaker.count(0.0, 99, 99)
    assert not breaker.admits(59.0, 1, 1)
    breaker = Breaker(share_max=0.5, count_min=100)
    breaker.count(0.0, 99, 99)
    assert breaker.admits(61.0, 1, 1)
