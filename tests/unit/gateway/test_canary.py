"""What the canary knows of its events."""

from gateway.canary import WAITING_MAX, Waiting


def test_an_event_waits_until_its_row_is_seen() -> None:
    """The age counts from the sending, and the row tells how long it took."""
    waiting = Waiting()
    assert waiting.pending_seconds(99.0) == 0.0
    waiting.send("a", 100.0)
    assert waiting.arrive([], 101.0) == []
    assert waiting.pending_seconds(103.0) == 3.0
    assert waiting.arrive(["a"], 104.0) == [4.0]
    assert waiting.pending_seconds(110.0) == 0.0


def test_what_is_older_than_a_row_is_waited_for_no_longer() -> None:
    """One customer's events keep their order: it became a dead letter, which has its own alert."""
    waiting = Waiting()
    for second, event_id in enumerate("abc"):
        waiting.send(event_id, float(second))
    assert waiting.arrive(["b"], 5.0) == [4.0]
    assert waiting.event_ids == ["c"]
    assert waiting.pending_seconds(5.0) == 3.0


def test_the_age_counts_on_whatever_is_forgotten() -> None:
    """In a long outage few events are kept, and the first one's time."""
    waiting = Waiting()
    for second in range(10 * WAITING_MAX):
        waiting.send(str(second), float(second))
    assert len(waiting.event_ids) == WAITING_MAX
    assert waiting.pending_seconds(500.0) == 500.0
    assert waiting.arrive([str(10 * WAITING_MAX - 1)], 500.0) == [301.0]
    assert waiting.pending_seconds(500.0) == 0.0
