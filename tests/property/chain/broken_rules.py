"""The protocol with one rule taken away at a time: each variant loses, doubles or stands still.

The explorer that finds nothing wrong with the protocol must find each of these, or it proves
nothing. `found_as` names the kinds of fault that the lack of the rule leads to.

A sink that verifies duplicates makes good what the streams call one wrongly: rules against that are
taken away together with it, on events that need no verification (`sends_chains`).
"""

from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from msgspec import structs

from schemas.identity import identities
from schemas.rated import Cover, Fold, pack_position
from sinks.batch import Applied, Clipped, RatedRecord, Reached, clip
from streams.decode import DecodedRecord, Letter
from streams.dedupe import Judged, judge
from streams.identity_map import NOT_FOUND
from streams.price import Verdicts
from streams.seen import SeenPartition
from tests.property.chain.workers import Rules
from tests.property.chain.world import RawRecord
from tests.seen_lookup import find_each


class BrokenRules(Rules):
    """The protocol less one rule; `found_as`: the kinds of fault, one of which must be found."""

    found_as: tuple[str, ...]


class RemembersAnyVerdict(BrokenRules):
    """An identity enters `seen` with any verdict, not only with charged."""

    found_as = ("lost",)
    verifies_duplicates = sends_chains = False

    def remembered(
        self,
        records: Sequence[DecodedRecord],
        judged: Judged,
        verdicts: Verdicts,
    ) -> tuple["array[int]", list[bytes]]:
        del records, judged
        positions: array[int] = array("q")
        remembered: list[bytes] = []
        for entry in verdicts.entries:
            event: Any = entry.get("event", entry)
            if event["event_id"] is None or "replay_of" in entry:
                continue
            own = identities(event["customer_id"], event["event_id"], event.get("idempotency_key"))
            remembered += own
            positions.extend([pack_position(entry["offset"], entry["index"])] * len(own))
        return positions, remembered


class JudgesReplays(BrokenRules):
    """A replayed dead letter is judged by `seen` like any other event."""

    found_as = ("lost",)

    def judge(self, records: Sequence[DecodedRecord], seen: SeenPartition) -> Judged:
        return judge([structs.replace(record, replay_of=None) for record in records], seen)


class WritesLettersApart(BrokenRules):
    """Dead letters are written beside the rated batch, and may be lost between the two."""

    found_as = ("lost", "vanished")
    letters_ride_in_batch = False


class TakesAhead(SeenPartition):
    """A `seen` whose fold goes on from the highest end that it met."""

    def apply(self, batch: Fold, rated_offset: int) -> Cover:
        if batch.first_offset > self.fold.next_offset:
            self.fold.start_at(batch.first_offset)
        return super().apply(batch, rated_offset)


class FoldTakesAhead(BrokenRules):
    """The streams' fold takes batches that begin ahead; the sinks do not."""

    found_as = ("stuck",)

    def new_state(self, window_ms: int) -> SeenPartition:
        return TakesAhead(window_ms)


class RemembersBeforeWriting(BrokenRules):
    """An identity enters `seen` before its batch is durable."""

    found_as = ("lost", "vanished", "false duplicate")
    verifies_duplicates = sends_chains = False
    remembers_before_writing = True


class BelievesCommits(BrokenRules):
    """The streams go on from Kafka's committed offset, not from where the fold stands."""

    found_as = ("stuck",)
    believes_commits = True


class IgnoresSentOffset(BrokenRules):
    """A worker does not look at the offset that its batch got."""

    found_as = ("stuck",)
    looks_at_sent_offset = False


class Unguarded(BrokenRules):
    """A run is processed wherever it begins, as if nothing lay between."""

    found_as = ("lost", "vanished", "stuck")

    def admits(self, position: int, records: Sequence[RawRecord], first_in_log: int) -> bool:
        del first_in_log
        return records[0].offset >= position


class DoesNotLookAtTheLog(BrokenRules):
    """A run that begins beyond the position is never processed: a marker stops the partition."""

    found_as = ("stuck",)

    def admits(self, position: int, records: Sequence[RawRecord], first_in_log: int) -> bool:
        del first_in_log
        return records[0].offset == position


class DoesNotClip(BrokenRules):
    """The sink applies batches whole, however much of them it has applied before."""

    found_as = ("twice",)

    def clip(self, reached: Reached, records: Sequence[RatedRecord]) -> Clipped:
        clipped = clip(reached, records)
        return replace(clipped, applied=[_whole(one) for one in clipped.applied])


def _whole(applied: Applied) -> Applied:
    record = applied.record
    return replace(
        applied, charges=record.charges, duplicates=record.duplicates, letters=record.letters
    )


class AppliesOldBatchesInNewEpoch(BrokenRules):
    """A sink that stands behind applies batches of the epoch that ended to the new one."""

    found_as = ("vanished", "twice", "lost")

    def clip(self, reached: Reached, records: Sequence[RatedRecord]) -> Clipped:
        behind = [one for one in records if one.rated_offset < reached.rated_offset]
        clipped = clip(replace(reached, rated_offset=0), behind)
        rest = clip(clipped.reached, records[len(behind) :])
        return replace(rest, applied=clipped.applied + rest.applied)


class SinkTakesAhead(BrokenRules):
    """The sink applies a batch that begins ahead, and goes on from its end."""

    found_as = ("lost", "vanished")

    def clip(self, reached: Reached, records: Sequence[RatedRecord]) -> Clipped:
        applied: list[Applied] = []
        for record in records:
            first = max(reached.next_offset, record.batch.first_offset)
            clipped = clip(replace(reached, next_offset=first), [record])
            if clipped.applied:
                applied += clipped.applied
                reached = clipped.reached
        return Clipped(reached, applied, [], 0)


class StopsAtAhead(BrokenRules):
    """The sink stops at a batch that begins ahead, and never comes to what fills the hole."""

    found_as = ("stuck",)
    passes_over_ahead = False


class PositionApart(BrokenRules):
    """The sink goes on from Kafka's offset although the ledger was restored."""

    found_as = ("stuck", "lost")
    resumes_from_ledger = False


class NoUniqueIdentities(BrokenRules):
    """Postgres takes any row."""

    found_as = ("doubled",)
    is_unique = False


class SinkBelievesDuplicates(BrokenRules):
    """The sink does not look whether anything that a duplicate repeats is charged."""

    found_as = ("lost", "false duplicate")
    verifies_duplicates = False


class MarksBeforeReplay(BrokenRules):
    """A letter is marked as replayed before Kafka has its replay."""

    found_as = ("lost",)
    marks_letters_before_replay = True


class IdentitiesOfAllCustomers(BrokenRules):
    """An identity is global, not the customer's own."""

    found_as = ("lost", "false duplicate")
    verifies_duplicates = sends_chains = False

    def judge(self, records: Sequence[DecodedRecord], seen: SeenPartition) -> Judged:
        return _judge_by(records, seen, kinds_differ=True, customers_differ=False)


class IdentitiesOfOneKind(BrokenRules):
    """An id and a key of the same text are the same identity."""

    found_as = ("lost", "false duplicate")
    verifies_duplicates = sends_chains = False

    def judge(self, records: Sequence[DecodedRecord], seen: SeenPartition) -> Judged:
        return _judge_by(records, seen, kinds_differ=False, customers_differ=True)


def _judge_by(
    records: Sequence[DecodedRecord],
    seen: SeenPartition,
    *,
    kinds_differ: bool,
    customers_differ: bool,
) -> Judged:
    judged = Judged()
    for record in records:
        for event in record.events:
            own: tuple[bytes, ...] = ()
            of_position = None
            if not isinstance(event, Letter) and record.replay_of is None:
                customer_id = event["customer_id"] if customers_differ else ""
                own = identities(customer_id, event["event_id"])
                if key := event.get("idempotency_key"):
                    by_key = identities(customer_id, "", key)[1]
                    own += (by_key,) if kinds_differ else identities(customer_id, key)
                positions = find_each(seen, b"".join(own), [record.broker_ms] * len(own))
                of_position = min((at for at in positions if at != NOT_FOUND), default=None)
            judged.identities.append(own)
            judged.of_positions.append(of_position)
    return judged


BROKEN: list[type[BrokenRules]] = BrokenRules.__subclasses__()
