"""Where a fold of `usage.rated` stands: the sink's rule, for a reader that may begin in the middle.

A fold from the beginning of the log knows where it stands: at 0. One that begins in the middle does
not. Every producer's batches start at or below what was durable before, so until a fold has come to
the part that matters it may take the highest end it has met: `settle` ends that.
"""

from schemas.rated import Cover, Kind, cover


class RatedFold:
    """The position below which everything is covered, and how often an epoch was opened."""

    def __init__(self, next_offset: int | None = None) -> None:
        self._next = next_offset
        self._is_settled = next_offset is not None
        self.is_epoch_opened_by_last = False
        self.ahead_count = 0  # batches passed over: a hole, until one covers it

    @property
    def next_offset(self) -> int:
        """The position to go on from; 0 while nothing is known."""
        return self._next or 0

    @property
    def is_known(self) -> bool:
        """Whether any batch, or a beginning, was met."""
        return self._next is not None

    def settle(self) -> None:
        """From here on the rule holds to the letter."""
        self._is_settled = self._next is not None

    def start_at(self, next_offset: int) -> None:
        """Take a position that is known from elsewhere."""
        self._next, self._is_settled = next_offset, True

    def apply(self, kind: Kind, first: int, following: int) -> Cover:
        """Fold one batch [first, following) and tell what it was."""
        self.is_epoch_opened_by_last = kind is Kind.NEW_EPOCH
        if kind is Kind.NEW_EPOCH:
            self._next, self._is_settled, self.ahead_count = following, True, 0
            return Cover.NEXT
        if self._next is None or not self._is_settled:
            return self._apply_unsettled(first, following)
        covering = cover(self._next, first, following)
        if covering is Cover.NEXT:
            self._next = following
        elif covering is Cover.AHEAD:
            self.ahead_count += 1
        return covering

    def _apply_unsettled(self, first: int, following: int) -> Cover:
        del first
        if self._next is not None and following <= self._next:
            return Cover.REPLAY
        self._next = following
        return Cover.NEXT
