"""Where a fold of `usage.rated` stands: the sink's rule, for a reader that may begin in the middle.

The first batch that a fold meets is where it begins. When that is not the log's first, it may be
one that the sinks pass over: then, and until the fold comes to the part that matters (`settle`), a
batch that does not follow tells that the fold must begin at the log's first record.
"""

from schemas.rated import Cover, Kind, cover


class BegunTooLateError(Exception):
    """A fold that began in the middle cannot tell what counts: fold from the log's beginning."""


class RatedFold:
    """The position below which everything is covered, and how often an epoch was opened."""

    def __init__(self, next_offset: int | None = None) -> None:
        self._next = next_offset
        self._is_settled = next_offset is not None
        self._is_whole = next_offset is not None
        self._at_most: int | None = None  # what the first batch met may not begin beyond
        self._began_at = 0  # where the first batch met starts, of a fold that is not whole
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
        self._next, self._is_settled, self._is_whole = next_offset, True, True

    def start_with_log(self, at_most: int | None = None) -> None:
        """Take the batch that comes first for the beginning of everything: it is the log's.

        `at_most`: what lies between this and a first batch beyond it has to come still.
        """
        self._is_whole, self._at_most = True, at_most

    def apply(self, kind: Kind, first: int, following: int) -> Cover:
        """Fold one batch [first, following) and tell what it was. Raises BegunTooLateError."""
        self.is_epoch_opened_by_last = kind is Kind.NEW_EPOCH
        if kind is Kind.NEW_EPOCH:
            self.start_at(following)
            self.ahead_count = 0
            return Cover.NEXT
        if self._next is None:
            self._began_at = first
            self._next = first if self._at_most is None else min(first, self._at_most)
        covering = cover(self._next, first, following)
        if not self._is_whole:
            is_ahead = covering is Cover.AHEAD and not self._is_settled
            if is_ahead or first < self._began_at:
                raise BegunTooLateError(f"[{first}, {following}) does not follow {self._next}")
        if covering is Cover.NEXT:
            self._next = following
        elif covering is Cover.AHEAD:
            self.ahead_count += 1
        return covering
