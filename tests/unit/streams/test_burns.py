import pytest
from pydantic import ValidationError

from schemas.pricing import CREDITS_MAX
from schemas.topics import EVENTS_PER_RECORD_MAX
from streams.burns import _read_value, _write_value
from streams.settings import StreamsSettings
from streams.totals import Burn, BurnTotals


@pytest.mark.parametrize("number", [0, 2**63 - 1, 2**64, 10**30])
def test_a_sum_of_any_size_is_published_and_read_again(number: int) -> None:
    """A customer's month has no bound of 64 bits, and nothing of it is rounded."""
    for rated_log in (0, 1):
        burn = Burn(number, number * 10**18, number, 7, 8, rated_log)
        assert _read_value(_write_value(burn)) == burn


def test_sums_of_batches_grow_beyond_64_bits() -> None:
    """Each batch fits in 64 bits; their sum need not."""
    burns = BurnTotals()
    for rated_offset in range(4):
        total = ("cust-1", "2026-11-22T10:00:00Z", 5_000 * CREDITS_MAX, "1.000000", 5_000)
        burns.add([total], rated_offset + 1, rated_offset)
    sums = [_read_value(_write_value(burn)) for burn in burns.take_changed().values()]
    assert [burn and burn.credits for burn in sums] == [2 * 10**19] * 2


def test_the_totals_of_a_batch_fit_in_64_bits() -> None:
    """No setting allows a batch whose credits could be more, nor does a single record."""
    most = StreamsSettings().batch_events_max
    assert max(most, EVENTS_PER_RECORD_MAX) * CREDITS_MAX < 2**63
    with pytest.raises(ValidationError):
        StreamsSettings(batch_events_max=2**63 // CREDITS_MAX + 1)
