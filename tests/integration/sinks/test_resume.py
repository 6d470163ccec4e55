"""Where a partition of `usage.rated` goes on when its log no longer holds what comes next."""

import asyncio
from dataclasses import replace

import psycopg
import pytest

import sinks.resume as sink_resume
from schemas.rated import Kind, RatedBatch, decode_batch
from sinks.agent import SinkAgent
from sinks.resume import ResumePoint
from sinks.settings import SinkSettings
from tests.integration.operations.kafka_records import (
    consume,
    create_topic,
    delete_records,
    produce_rated,
    rated,
)
from tests.integration.sinks.fake_runs import FakeRun, Fed
from tests.integration.sinks.ledger import Ledger

Noted = list[tuple[int, int, int]]


class DiedError(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def settings(empty_ledger: Ledger, kafka_bootstrap: str, topic_prefix: str) -> SinkSettings:
    found = SinkSettings(
        database_url=empty_ledger.url,
        kafka_bootstrap_servers=kafka_bootstrap,
        topic_prefix=topic_prefix,
        sink_batch_milliseconds=1,
    )
    with psycopg.connect(empty_ledger.url) as connection:
        connection.execute(
            'INSERT INTO "SinkOffset" (topic, partition, next_offset, rated_offset,'
            " max_broker_time) VALUES (%s, 0, 2, 1, 1)",
            [found.topics.raw],
        )
    return found


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the process would have ended with."""
    reasons: list[str] = []

    def die(reason: str, *_: object, **__: object) -> None:
        reasons.append(reason)
        raise DiedError(reason)

    monkeypatch.setattr(sink_resume, "die", die)
    return reasons


def expire(settings: SinkSettings, *following: tuple[int, int, Kind]) -> None:
    """Let retention take the log's first three records; the ledger has read one of them."""
    topic, bootstrap = settings.topics.rated, settings.kafka_bootstrap_servers
    create_topic(bootstrap, topic, 1, {})
    gone = [rated(0, 2, 1), rated(2, 4, 2), rated(4, 6, 3)]
    produce_rated(bootstrap, topic, *gone, *(rated(a, b, 4, kind=kind) for a, b, kind in following))
    delete_records(bootstrap, topic, 0, len(gone))


def with_decider(one: RatedBatch) -> RatedBatch:
    """Return a decision with who and why, which a row of RatedBatch must have."""
    return one if one.kind is Kind.RATED else replace(one, reason="expired", decided_by="ann")


async def test_an_accepted_hole_goes_on_after_the_records_before_it_expired(
    settings: SinkSettings, empty_ledger: Ledger
) -> None:
    """Read from the log's start, yet the ledger stands before it: it is not taken for a restore."""
    decision = (2, 6, Kind.HOLE)
    await asyncio.to_thread(expire, settings, (6, 9, Kind.RATED), decision, (6, 9, Kind.RATED))
    log = await asyncio.to_thread(
        consume, settings.kafka_bootstrap_servers, settings.topics.rated, 0
    )
    agent = SinkAgent(settings)
    start = await ResumePoint(settings, agent.resumed)(0)
    assert start == 3

    async with Fed(agent) as fed:
        batches = [decode_batch(one.value) for one in log]
        await fed.apply(FakeRun(start, *map(with_decider, batches)))
        assert fed.consumer.resumed == []
    (reached,) = await empty_ledger.rows('SELECT next_offset, rated_offset FROM "SinkOffset"')
    assert reached == {"next_offset": 9, "rated_offset": 6}


@pytest.mark.parametrize(
    ("first", "following", "kind"),
    [(2, 4, Kind.RATED), (0, 9, Kind.RATED), (2, 6, Kind.HOLE), (2, 0, Kind.NEW_EPOCH)],
)
async def test_a_log_goes_on_where_a_record_fits_what_was_reached(
    settings: SinkSettings, first: int, following: int, kind: Kind
) -> None:
    """A batch that begins there or before, or a person's decision, behind others that do not."""
    noted: Noted = []
    await asyncio.to_thread(expire, settings, (6, 9, Kind.RATED), (first, following, kind))
    offset = await ResumePoint(settings, lambda *seen: noted.append(seen))(0)

    assert offset == 3
    assert noted == [(0, 3, 1)]


@pytest.mark.parametrize("rest", [(), ((3, 4, Kind.RATED),), ((6, 9, Kind.HOLE),)])
async def test_a_log_that_nothing_in_goes_on_stops_the_sink(
    settings: SinkSettings, deaths: list[str], rest: tuple[tuple[int, int, Kind], ...]
) -> None:
    """Empty, or only batches that begin ahead: a person must decide."""
    await asyncio.to_thread(expire, settings, *rest)
    with pytest.raises(DiedError):
        await ResumePoint(settings, lambda *_: None)(0)

    (reason,) = deaths
    assert "repair accept-hole" in reason
