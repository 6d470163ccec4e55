"""What differs between what somebody says and what was charged, and why: pure."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateway.file_import.fates import Outcome, outcome_of

AMOUNTS_DIFFER = "amounts differ"
NOT_LISTED = "charged, not in the list"
UNREADABLE = "unreadable row"


@dataclass(frozen=True, slots=True)
class Difference:
    """An event about which list and ledger do not agree. `row`: of the list, from 1."""

    outcome: str
    row: int | None = None
    customer_id: str | None = None
    event_id: str | None = None
    reason: str | None = None  # of a dead letter, or why a row cannot be read
    status: str | None = None  # of a dead letter
    duplicate_of: str | None = None  # the event that is charged instead, where one is
    position: str | None = None  # its partition:offset:index in usage.raw
    listed_credits: int | None = None
    charged_credits: int | None = None
    listed_cost_usd: Decimal | None = None
    charged_cost_usd: Decimal | None = None

    @property
    def cause(self) -> str:
        """What it is counted under."""
        if self.outcome in {Outcome.DEAD_LETTER, Outcome.CLOSED_LETTER}:
            return f"dead letter {self.reason}, {(self.status or '').lower()}"
        return self.outcome


def difference_of(found: dict[str, Any]) -> Difference | None:
    """Compare a listed event with what the ledger holds of it; None: they agree.

    `found`: a row of listed.sql.
    """
    outcome: str = outcome_of(
        is_charged=found["is_charged"],
        letter_status=found["status"],
        is_duplicate=found["is_duplicate"],
    )
    if outcome == Outcome.CHARGED:
        if _agree(found, "credits") and _agree(found, "cost_usd"):
            return None
        outcome = AMOUNTS_DIFFER
    is_letter = outcome in {Outcome.DEAD_LETTER, Outcome.CLOSED_LETTER}
    is_duplicate = outcome == Outcome.DUPLICATE
    original = found["original_id"] if is_duplicate else None
    return Difference(
        outcome,
        found["row"],
        found["customer_id"],
        str(found["id"]),
        reason=found["reason"] if is_letter else None,
        status=found["status"] if is_letter else None,
        duplicate_of=None if original is None else str(original),
        position=found["position"] if is_duplicate else None,
        listed_credits=found["listed_credits"],
        charged_credits=found["charged_credits"],
        listed_cost_usd=found["listed_cost_usd"],
        charged_cost_usd=found["charged_cost_usd"],
    )


def _agree(found: dict[str, Any], amount: str) -> bool:
    listed = found[f"listed_{amount}"]
    return listed is None or bool(listed == found[f"charged_{amount}"])


@dataclass(frozen=True, slots=True)
class LineDifference:
    """A line of an invoice beside the ledger's sum of the same."""

    day: str
    provider: str | None
    model: str | None
    customer_id: str | None
    invoiced_usd: Decimal
    charged_usd: Decimal

    @property
    def difference_usd(self) -> Decimal:
        """Positive: the invoice says more than was charged."""
        return self.invoiced_usd - self.charged_usd

    @property
    def per_cent(self) -> Decimal | None:
        """The difference in per cent of what was charged, at two places; None of nothing."""
        if not self.charged_usd:
            return None
        return round(self.difference_usd * 100 / self.charged_usd, 2)


def line_difference(found: dict[str, Any], tolerance_usd: Decimal) -> LineDifference | None:
    """Compare a row of invoiced.sql; None: within the tolerance."""
    line = LineDifference(
        found["day"].isoformat(),
        found["provider"],
        found["model"],
        found["customer_id"],
        found["invoiced_usd"],
        found["charged_usd"],
    )
    return line if abs(line.difference_usd) > tolerance_usd else None
