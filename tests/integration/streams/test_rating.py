"""A worker on a real broker: what becomes of events, whoever wrote them."""

from base64 import b64decode
from collections import Counter
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer

from schemas.dead_letter import Position, replay_headers
from tests.integration.streams.raw_topic import Pipeline
from tests.unit.streams.raw_records import event, price_row
from tests.waiting import wait_until_async


async def test_every_event_of_every_kind_of_record_gets_its_verdict(
    pipeline: Pipeline, start_worker: Any
) -> None:
    """Single events, batches, repeats, replays and bad bytes: one verdict each, in their order."""
    await pipeline.write(event(1), {"events": [event(2), event(2), event(3)]})
    await pipeline.write(event(1), b"no json", {"events": [event(4), {"a": 1}]}, {"events": []})
    await pipeline.write(event(3), headers=replay_headers(Position(0, 0, 9, 9)))
    end = (await pipeline.write(event(5, model="unknown")))[0] + 1
    await start_worker()
    accepted = (await pipeline.rated_up_to({0: end}))[0]
    assert accepted.verdicts() == [
        (0, 0, "charged"),
        (1, 0, "charged"),
        (1, 1, (1, 0)),
        (1, 2, "charged"),
        (2, 0, (0, 0)),
        (3, 0, "NOT_JSON"),
        (4, 0, "charged"),
        (4, 1, "BAD_SCHEMA"),
        (6, 0, "charged"),
        (7, 0, "UNPRICED"),
    ]
    letters = [e for e in accepted.entries if e["verdict"] == "dead-letter"]
    assert [b64decode(e["payload"]) for e in letters[:2]] == [b"no json", b'{"a":1}']
    charged = accepted.entries[0]
    assert (charged["credits"], charged["cost_usd"]) == (15, "0.015000")
    assert accepted.entries[8]["replay_of"] == "0:0:9:9"


async def test_other_peoples_transactions(pipeline: Pipeline, start_worker: Any) -> None:
    """Aborted events are not charged, and the offsets of markers are covered without a stop."""
    await start_worker()
    await pipeline.write(event(1))
    producer = AIOKafkaProducer(
        bootstrap_servers=pipeline.bootstrap, transactional_id=pipeline.topics.prefix + "x"
    )
    await producer.start()
    for number in range(10, 30):
        await producer.begin_transaction()
        await producer.send_and_wait(pipeline.topics.raw, orjson.dumps(event(number)), partition=0)
        if number % 2:
            await producer.abort_transaction()
        else:
            await producer.commit_transaction()
    await producer.stop()
    end = (await pipeline.write(event(2)))[0] + 1
    accepted = (await pipeline.rated_up_to({0: end}))[0]
    charged = [int(one[-4:], 16) for one in accepted.charged_ids()]
    assert charged == [1, *range(10, 30, 2), 2]
    assert end == 1 + 20 * 2 + 1


async def test_a_price_is_in_force_soon_after_it_is_published(
    pipeline: Pipeline, start_worker: Any
) -> None:
    """What is published while workers run counts for the events that come later."""
    worker = await start_worker()
    end = (await pipeline.write(event(1, model="new")))[0] + 1
    await pipeline.rated_up_to({0: end})
    rows = {
        f"cost:new-{kind}": price_row(kind, "0.1", f"new-{kind}", model="new")
        for kind in ("INPUT_TOKEN", "OUTPUT_TOKEN")
    }
    await pipeline.publish_prices(2, rows)

    async def is_in_force() -> bool:
        return bool(worker.metric("price_revision") == 2)

    await wait_until_async(is_in_force, 10, "revision 2 is in force")
    end = (await pipeline.write(event(1, model="new")))[0] + 1
    accepted = (await pipeline.rated_up_to({0: end}))[0]
    assert accepted.verdicts() == [(0, 0, "UNPRICED"), (1, 0, "charged")]
    assert accepted.batches[-1].price_revision == 2


async def test_a_quarantined_record_becomes_a_letter(pipeline: Pipeline, start_worker: Any) -> None:
    """A position set aside before the worker starts is a dead letter with its bytes."""
    await pipeline.write(event(1), event(2))
    value = orjson.dumps({"reason": "stops the worker", "by": "ann"})
    producer = AIOKafkaProducer(bootstrap_servers=pipeline.bootstrap)
    await producer.start()
    await producer.send_and_wait(pipeline.topics.quarantine, value, key=b"0:0", partition=0)
    await producer.stop()
    await start_worker()
    accepted = (await pipeline.rated_up_to({0: 2}))[0]
    assert accepted.verdicts() == [(0, 0, "QUARANTINED"), (1, 0, "charged")]
    assert orjson.loads(b64decode(accepted.entries[0]["payload"])) == event(1)


async def test_a_flood_of_dead_letters_holds_the_stage_until_prices_are_back(
    pipeline: Pipeline, start_worker: Any
) -> None:
    """A deleted price list does not drain the topic; the stage goes on by itself afterwards."""
    rows = {"cost:in": price_row("INPUT_TOKEN", "0.005", "in", model="gone")}
    await pipeline.publish_prices(2, rows)
    events = (event(number, customer_id=f"cust-{number % 5}") for number in range(50))
    end = (await pipeline.write(*events))[-1] + 1
    worker = await start_worker(dead_letter_count_min=10)

    async def is_held() -> bool:
        return bool(worker.metric("stopped_by_dead_letters") == 1)

    await wait_until_async(is_held, 10, "the stage stands still")
    assert (await pipeline.accepted())[0].entries == []
    await pipeline.publish_prices(3, {"cost:in": price_row("INPUT_TOKEN", "0.005", "in")})
    accepted = (await pipeline.rated_up_to({0: end}))[0]
    assert len(accepted.charged_ids()) == 50


async def test_burns_are_published_and_survive_a_restart(
    pipeline: Pipeline, start_worker: Any
) -> None:
    """Totals per customer, hour and day are in `usage.burns`, and a restart adds nothing twice."""

    async def burned() -> dict[str, int]:
        latest: dict[bytes, Any] = {}
        for record in await pipeline.records(pipeline.topics.burns):
            latest[record.key] = orjson.loads(record.value)
        sums: Counter[str] = Counter()
        for key, value in latest.items():
            sums[f"{orjson.loads(key)[1]} {orjson.loads(key)[0]}"] += value["credits"]
        return dict(sums)

    for number in range(3):
        async with start_worker.running():
            await pipeline.write(event(2 * number), event(2 * number), event(2 * number + 1))
            expected = {"hour cust-1": 30 * (number + 1), "day cust-1": 30 * (number + 1)}

            async def are_published(expected: dict[str, int] = expected) -> bool:
                return await burned() == expected

            await wait_until_async(are_published, 20, f"burns are {expected}")
