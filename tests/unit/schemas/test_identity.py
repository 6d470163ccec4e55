"""Identities: scoped to the customer, unambiguous, the same for both doors."""

from schemas.identity import IDENTITY_BYTES, identities

ID = "550e8400-e29b-41d4-a716-446655440001"


def test_event_without_key_has_one_identity() -> None:
    """Only the event id tells such events apart."""
    assert [len(one) for one in identities("cust", ID)] == [IDENTITY_BYTES]


def test_empty_key_is_no_key() -> None:
    """'' is none: otherwise all events of a customer would be one."""
    assert identities("cust", ID, "") == identities("cust", ID, None)


def test_case_of_the_event_id_does_not_matter() -> None:
    """Case variants of a UUID are one event, not a double charge."""
    assert identities("cust", ID.upper(), "k") == identities("cust", ID, "k")


def test_same_id_of_two_customers_is_two_events() -> None:
    """No tenant can suppress another's event."""
    assert set(identities("cust-a", ID, "k")).isdisjoint(identities("cust-b", ID, "k"))


def test_boundary_between_customer_and_key_counts() -> None:
    """Customer "a" with key "bc" is not customer "ab" with key "c"."""
    assert identities("a", ID, "bc")[1] != identities("ab", ID, "c")[1]


def test_key_that_equals_an_event_id_is_another_identity() -> None:
    """A key never suppresses the event whose id it happens to spell."""
    assert identities("cust", ID, ID)[0] != identities("cust", ID, ID)[1]


def test_identities_are_for_ever() -> None:
    """Logs hold them: another hash would forget what was charged."""
    assert [one.hex() for one in identities("cust", ID, "k")] == [
        "bee87cddeef51103c87c6eae6a192eac",
        "bb9357fec9e059a31925bbeb930fa4e6",
    ]
