"""Compiles the loops, or reads what was compiled, before the first event comes.

`python -m streams.quick.warm_up`: so that no worker has to, in an image or a fresh checkout.
"""

import time
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import orjson
import structlog

from schemas.pricing import Price, PriceBook
from schemas.rated import Fold, Kind
from schemas.timestamps import TimestampPolicy
from streams.quick.rating import judge, settle
from streams.quick.records import decode
from streams.seen import SeenPartition

log = structlog.get_logger("streams")

_MOMENT = datetime(2025, 1, 17, tzinfo=UTC)
_EVENT = {
    "event_id": "00000000-0000-4000-8000-000000000000",
    "customer_id": "nobody",
    "event_type": "TOKEN_USAGE",
    "feature_id": "none",
    "timestamp": "2025-01-17T00:00:00Z",
    "provider": "OPENAI",
    "model": "none",
    "input_tokens": 1,
    "output_tokens": 1,
    "idempotency_key": "none",
    "metadata": {},
}
_WINDOW_MS = 1


def warm_up() -> None:
    """Rate an event of nobody's by every loop there is."""
    began = time.monotonic()
    prices = [
        Price(kind, "OPENAI", "none", kind, Decimal(1), 1_000, _MOMENT, None, _MOMENT)
        for kind in ("INPUT_TOKEN", "OUTPUT_TOKEN")
    ]
    record = SimpleNamespace(offset=0, timestamp=0, key=b"", value=orjson.dumps(_EVENT), headers=())
    part = decode([record], TimestampPolicy(None, None))
    seen = SeenPartition(_WINDOW_MS)
    verdicts = settle(part, judge(part, seen), PriceBook(0, prices), _WINDOW_MS)
    if verdicts.usual != 1:
        raise AssertionError("an event with nothing unusual about it did not go the quick way")
    seen.fold.start_at(0)
    fold = Fold(Kind.RATED, 0, 1, part.run_length(), verdicts.positions, verdicts.identities)
    seen.apply(fold, 0)
    seen.index(len(seen))
    log.info("Loops compiled", seconds=round(time.monotonic() - began, 1))


if __name__ == "__main__":
    warm_up()
