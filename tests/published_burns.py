"""Burns for folds in which they do not matter."""

from collections.abc import Iterable

from schemas.rated import Total
from streams.totals import Burn


class BurnsPublished:
    """Burns that were published up to some rated offset, from which on they must be folded."""

    def __init__(self, published_to: int = 0) -> None:
        self.published_to = published_to

    async def load(self, partition: int) -> None:
        del partition

    def last(self, partition: int) -> Burn:
        del partition
        return Burn()

    def rated_end(self, partition: int) -> int:
        del partition
        return 0

    def settle_on_log(self, partition: int, *, is_same: bool) -> None:
        del partition
        assert is_same

    def counted_to(self, partition: int) -> int:
        del partition
        return 0

    def begin_epoch(self, partition: int) -> None:
        del partition

    def folded_to(self, partition: int) -> int:
        del partition
        return self.published_to

    def add(
        self, partition: int, totals: Iterable[Total], next_offset: int, rated_offset: int
    ) -> None:
        del partition, totals, next_offset
        assert rated_offset >= self.published_to

    def add_charges(
        self,
        partition: int,
        charges: object,
        broker_times: object,
        next_offset: int,
        rated_offset: int,
    ) -> None:
        del partition, charges, broker_times, next_offset
        assert rated_offset >= self.published_to

    def forget(self, partition: int) -> None:
        del partition
