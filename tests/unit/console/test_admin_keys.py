"""Who may enter, and how long."""

import pytest

from deploy.console.admin_keys import AdminKeys
from deploy.console.sessions import (
    FAILURES_MAX,
    FAILURES_SECONDS,
    SESSION_SECONDS,
    Sessions,
    WrongKeys,
)

ADA, BOB = "a" * 16, "b" * 20


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_each_key_has_its_name() -> None:
    """Keys are told apart by name; what is no key is nobody's."""
    keys = AdminKeys.parse(f"ada:{ADA}, bob:{BOB}")

    assert keys.name_of(ADA) == "ada"
    assert keys.name_of(BOB) == "bob"
    assert keys.name_of(ADA + "x") is None
    assert keys.name_of("") is None


def test_the_only_key_needs_no_name() -> None:
    """One key alone is that of `admin`."""
    assert AdminKeys.parse(ADA).name_of(ADA) == "admin"


@pytest.mark.parametrize(
    "text",
    ["", " , ", "ada:short", "short", f"ada:{ADA},ada:{BOB}", f"a b:{ADA}", f"{ADA},{BOB}"],
)
def test_a_wrong_setting_is_refused_without_showing_a_key(text: str) -> None:
    """No keys, short ones, names twice or of odd characters; the refusal quotes no key."""
    with pytest.raises(ValueError, match=r".+") as refusal:
        AdminKeys.parse(text)

    assert ADA not in str(refusal.value)
    assert "short" not in str(refusal.value)


def test_a_session_ends_by_itself_and_when_it_is_told_to() -> None:
    """A session is found until its time is over, or until it is ended."""
    clock = Clock()
    sessions = Sessions(clock)
    first, second = sessions.begin("ada"), sessions.begin("bob")
    found = sessions.find(first)

    assert found is not None
    assert found.operator == "ada"
    assert sessions.find("another") is None
    sessions.end(second)
    assert sessions.find(second) is None
    clock.now += SESSION_SECONDS
    assert sessions.find(first) is None


def test_wrong_keys_are_counted_by_caller_for_a_minute() -> None:
    """The tenth wrong key within a minute closes the door to its caller alone."""
    clock = Clock()
    wrong = WrongKeys(clock)
    for _ in range(FAILURES_MAX - 1):
        wrong.add("192.0.2.1")
    assert not wrong.are_too_many("192.0.2.1")
    wrong.add("192.0.2.1")

    assert wrong.are_too_many("192.0.2.1")
    assert not wrong.are_too_many("192.0.2.2")
    clock.now += FAILURES_SECONDS
    assert not wrong.are_too_many("192.0.2.1")
