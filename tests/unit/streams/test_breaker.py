from streams.breaker import Breaker, Letters


def spread(letters: int, customers: int = 4) -> Letters:
    """Return so many letters of so many customers, about evenly."""
    found: dict[str | None, int] = {}
    for number in range(letters):
        customer = f"cust-{number % customers}"
        found[customer] = found.get(customer, 0) + 1
    return found


def breaker() -> Breaker:
    return Breaker(share_max=0.5, count_min=100)


def test_few_letters_never_hold_the_stage() -> None:
    """Below the minimum count even nothing but dead letters goes on."""
    assert breaker().admits(0.0, 99, spread(99))


def test_a_part_that_is_too_bad_by_itself_is_held_until_it_gets_better() -> None:
    """Held at every look while prices are missing; with their return it goes on."""
    one = breaker()
    assert not any(one.admits(now, 100, spread(100)) for now in (0.0, 5.0, 60.0, 3_600.0, 86_400.0))
    assert one.admits(86_405.0, 100, spread(10))


def test_a_part_held_for_the_past_minute_goes_on_when_the_minute_is_over() -> None:
    """The same part is tried again with a window that has moved on."""
    one = breaker()
    one.count(0.0, 90, spread(90))
    assert not one.admits(1.0, 12, spread(12))
    assert not one.admits(60.0, 12, spread(12))
    assert one.admits(60.1, 12, spread(12))


def test_what_stays_bad_trickles_below_the_minimum() -> None:
    """An hour of nothing but dead letters, in small parts: fewer than the minimum in a minute."""
    one, passed = breaker(), 0
    for look in range(3_600):
        if one.admits(float(look), 12, spread(12)):
            one.count(float(look), 12, spread(12))
            passed += 12
    assert 60 * 50 < passed < 60 * 100


def test_letters_among_many_good_events_go_on() -> None:
    """A share below the limit is nobody's alarm, however many letters that makes."""
    one = breaker()
    one.count(0.0, 1_000, spread(10))
    assert one.admits(1.0, 300, spread(300))


def test_one_customer_holds_nobody_up() -> None:
    """Whatever one customer, or two, send: their letters go on, and the others' few with them."""
    one = breaker()
    assert one.admits(0.0, 9_000, spread(9_000, customers=2))
    one.count(0.0, 9_000, spread(9_000, customers=1))
    assert one.admits(1.0, 9_030, {"cust-0": 9_000, "cust-1": 10, "cust-2": 10})


def test_one_customers_flood_hides_nothing_of_the_others() -> None:
    """What a customer has beyond the cap counts neither as letters nor as events."""
    one = breaker()
    one.count(0.0, 9_000, {"cust-0": 9_000})
    assert not one.admits(1.0, 80, spread(80))


def test_what_nobody_can_read_counts_as_one_customer() -> None:
    """Records of bytes that are no events hold the stage no more than one customer's do."""
    assert breaker().admits(0.0, 1_000, {None: 1_000})


def test_a_minute_is_forgotten() -> None:
    """Only the last minute counts, and nothing is kept of what was before."""
    one = breaker()
    one.count(0.0, 99, spread(99))
    assert not one.admits(59.0, 4, spread(4))
    assert one.admits(61.0, 4, spread(4))
    assert not one._letters
    assert one._events == 0
