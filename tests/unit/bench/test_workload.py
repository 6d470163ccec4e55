from collections.abc import Iterator

import pytest

from deploy.bench.workload import PARTITIONS, Making, RawRecord, Workload
from schemas.events import validate_each
from schemas.identity import identities
from schemas.pricing import Rated, rate
from tests.benchmarks.contenders import PRICES_CSV
from tests.benchmarks.rating import read_price_book

PRICES = read_price_book(str(PRICES_CSV))


def judged(records: list[RawRecord]) -> Iterator[tuple[int, Rated, bool]]:
    """Yield (partition, cost, whether an identity of it came before) of each event."""
    seen: set[bytes] = set()
    for record in records:
        for event in validate_each(record.value):
            assert isinstance(event, dict)
            own = identities(event["customer_id"], event["event_id"], event["idempotency_key"])
            cost = rate(event, PRICES)
            assert isinstance(cost, Rated)
            yield record.partition, cost, not seen.isdisjoint(own)
            seen.update(own)


@pytest.mark.parametrize("size", [1, 50])
def test_the_outcome_is_what_the_records_say(size: int) -> None:
    """Charged, duplicates and credits, counted apart, are those of our own rules."""
    making = Making(Workload(4_000, size, duplicates_share=0.05))

    found = list(judged(list(making.records())))

    outcome = making.outcome
    assert len(found) == outcome.events == 4_000
    assert sum(is_known for _, _, is_known in found) == outcome.duplicates > 100
    assert sum(cost.credits for _, cost, is_known in found if not is_known) == outcome.credits


def test_late_copies_lie_in_another_partition() -> None:
    """Only the ledger can find them: the first one is always in a partition of its own."""
    workload = Workload(20_000, 20, duplicates_share=0.0, late_copies_share=0.05)
    making = Making(workload)
    records = list(making.records())

    first: dict[bytes, int] = {}
    copies = [one for one in records if first.setdefault(one.value, one.partition) != one.partition]

    assert len(copies) * 20 == making.outcome.late_copies > 400
    assert len({one.value for one in copies}) == len(copies)
    assert making.outcome.charged + making.outcome.late_copies == 20_000


def test_a_seed_makes_the_same_records() -> None:
    """Contenders read the same; another seed makes others."""
    same = [list(Making(Workload(200, seed=seed)).records()) for seed in (1, 1, 2)]

    assert same[0] == same[1]
    assert {one.value for one in same[0]}.isdisjoint(one.value for one in same[2])


def test_customers_are_of_very_different_size() -> None:
    """The largest customer has many times the median's events, and every partition has work."""
    records = list(Making(Workload(20_000)).records())
    sizes = sorted(
        (sum(one.key == key for one in records) for key in {one.key for one in records}),
        reverse=True,
    )

    assert sizes[0] > 10 * sizes[len(sizes) // 2]
    assert {one.partition for one in records} == set(range(PARTITIONS))
