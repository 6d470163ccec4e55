"""What a searched text names."""

import pytest

from deploy.console.search_text import Search, Sought, is_event_id, positions_of, understand
from schemas.batch_id import BatchPositions, encode_batch_id

EVENT = "550e8400-e29b-41d4-a716-446655440001"
BATCH = encode_batch_id(b"secret", "cust", BatchPositions(3, (17, 18), 40))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (EVENT, Sought.EVENT),
        (EVENT.upper(), Sought.EVENT),
        (BATCH, Sought.BATCH),
        ("3:17", Sought.BATCH),
        ("dl-0-0-17-0", Sought.LETTER),
        ("cust-demo", Sought.CUSTOMER),
        ("demo@example.com", Sought.CUSTOMER),
        ("batch_nonsense", Sought.CUSTOMER),
        (EVENT[:-1], Sought.CUSTOMER),
        ("dl-0-0-x-0", Sought.CUSTOMER),
        ("99999999999999999999:1", Sought.CUSTOMER),
        ("4294967295:1", Sought.CUSTOMER),
        ("", Sought.CUSTOMER),
    ],
)
def test_the_form_tells_what_it_is(text: str, kind: Sought) -> None:
    """Ids have forms of their own; whatever has none is looked for among the customers."""
    assert understand(f"  {text} ") == Search(kind, text)


def test_positions_are_read_of_either_form() -> None:
    """A batch id and "partition:offset" lead to records."""
    assert positions_of(BATCH) == BatchPositions(3, (17, 18), 40)
    assert positions_of("3:17") == BatchPositions(3, (17,), 0)
    assert positions_of("cust") is None


def test_only_a_uuid_is_an_event_id() -> None:
    """What reaches a uuid column is one."""
    assert is_event_id(EVENT)
    assert not is_event_id(EVENT + "\n")
    assert not is_event_id("x" * 36)
