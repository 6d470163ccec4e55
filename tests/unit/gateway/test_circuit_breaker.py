"""A dead service is left alone, and tried again."""

from gateway.circuit_breaker import CircuitBreaker


def test_service_is_left_alone_for_a_pause_and_then_tried_once() -> None:
    """One caller per pause pays for the trial, the others go on without."""
    now = 0.0
    breaker = CircuitBreaker("redis", pause_seconds=5, clock=lambda: now)

    breaker.failed(TimeoutError())
    assert not breaker.may_try()
    now = 5.0
    assert [breaker.may_try() for _ in range(3)] == [True, False, False]
    breaker.failed(TimeoutError())
    now = 9.0
    assert not breaker.may_try()


def test_service_that_answers_is_asked_by_everybody_again() -> None:
    """One answer ends the pause."""
    breaker = CircuitBreaker("redis", pause_seconds=5, clock=lambda: 0.0)

    breaker.failed(TimeoutError())
    breaker.succeeded()

    assert breaker.may_try()
    assert breaker.may_try()
