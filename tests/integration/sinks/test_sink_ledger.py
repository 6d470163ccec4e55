"""What one transaction makes of rated batches, on a real Postgres."""

from decimal import Decimal
from typing import Any

import pytest

from schemas.rated import Kind
from schemas.timestamps import parse_timestamp
from sinks.agent import apply
from sinks.batch import LogMadeAgainError
from sinks.postgres import connect
from sinks.transaction import LedgerWentBackError, OffsetRowMissingError, Work
from tests.integration.sinks.ledger import TOPIC, Ledger
from tests.rated_batches import batch, charged, dead_letter, duplicate, event_id, record


async def test_charged_events_become_usage_ledger_rows_and_a_lower_balance(ledger: Ledger) -> None:
    """Two events of one record: rows with every input, a chain of two burns, the new balance."""
    first = charged(0, event_id=event_id(1), metadata={"a": [1, "b"]}, idempotency_key="k1")
    second = charged(
        0,
        1,
        event_id=event_id(2),
        event_type="VIDEO_GENERATION",
        duration_seconds=0.1,
        credits_=30,
        cost_usd="0.030000",
    )
    await ledger.apply(record(0, batch(0, 1, [first, second])))

    events = await ledger.rows('SELECT * FROM "UsageEvent" ORDER BY source_index')
    assert [(str(e["id"]), e["credits_burned"], str(e["cost_usd"])) for e in events] == [
        (event_id(1), 15, "0.015000"),
        (event_id(2), 30, "0.030000"),
    ]
    assert events[0]["metadata"] == {"a": [1, "b"]}
    assert events[0]["price_ids"] == ["price-in", "price-out"]
    assert events[0]["timestamp"].isoformat() == "2025-01-17T14:30:00+00:00"
    assert events[1]["duration_seconds"] == Decimal("0.1")
    assert (events[1]["source_epoch"], events[1]["source_offset"]) == (0, 0)
    burns = await ledger.rows('SELECT * FROM "CreditTransaction" ORDER BY created_at DESC')
    assert [(b["amount"], b["balance_before"], b["balance_after"]) for b in burns] == [
        (-30, 999_985, 999_955),
        (-15, 1_000_000, 999_985),
    ]
    assert burns[0]["id"].startswith("txn-")
    assert burns[0]["description"] == "AI usage credit burn"
    assert str(burns[0]["usage_event_id"]) == event_id(2)
    assert await ledger.value('SELECT balance FROM "CreditWallet"') == 999_955


async def test_costs_and_times_are_kept_to_their_last_place(ledger: Ledger) -> None:
    """Of events written together, however many decimals those beside them have."""
    costs = ("0.000000", "0.015000", "123456789012345678901.5000000", "0.000000000000000001", "12")
    times = (
        "2024-02-29T23:59Z",
        "1999-12-31T23:59:59Z",
        "2025-01-17T14:30:00.123Z",
        "1970-01-01T00:00:00.000001Z",
        "2000-03-01T12:00:00.1234567Z",
    )
    entries = [
        charged(offset, cost_usd=cost, timestamp=time, idempotency_key="k" * (offset + 1))
        for offset, (cost, time) in enumerate(zip(costs, times, strict=True))
    ]
    await ledger.apply(record(0, batch(0, 5, entries)))

    rows = await ledger.rows('SELECT * FROM "UsageEvent" ORDER BY source_offset')
    assert tuple(f"{row['cost_usd']:f}" for row in rows) == costs
    assert [row["timestamp"] for row in rows] == [parse_timestamp(time) for time in times]
    assert [len(row["idempotency_key"]) for row in rows] == [1, 2, 3, 4, 5]


async def test_each_batch_is_counted_and_the_offset_advances_with_it(ledger: Ledger) -> None:
    """A RatedBatch row with the counts; next_offset, rated_offset and broker time move."""
    await ledger.apply(
        record(
            4,
            batch(
                0,
                9,
                [
                    charged(0, event_id=event_id(1)),
                    duplicate(1, 0, of_event=event_id(1)),
                    dead_letter(2, b"\x00{"),
                ],
            ),
        )
    )

    (row,) = await ledger.rows('SELECT * FROM "RatedBatch"')
    counts = ("charged", "duplicates", "conflicts", "dead_letters", "refused")
    assert [row[name] for name in counts] == [1, 1, 0, 1, 0]
    assert (row["first_offset"], row["next_offset"], row["rated_offset"]) == (0, 9, 4)
    assert row["price_revision"] == 7
    (offset,) = await ledger.rows('SELECT * FROM "SinkOffset" WHERE partition = 0')
    assert (offset["next_offset"], offset["rated_offset"], offset["max_broker_time"]) == (
        9,
        5,
        1_000,
    )
    (letter,) = await ledger.rows('SELECT * FROM "DeadLetter"')
    assert (letter["payload"], letter["reason"], letter["found_by"]) == (
        b"\x00{",
        "NOT_JSON",
        "streams",
    )
    (known,) = await ledger.rows('SELECT * FROM "DuplicateEvent"')
    assert (known["of_partition"], known["of_offset"], known["found_by"]) == (0, 0, "seen")


async def test_a_batch_read_again_changes_nothing(ledger: Ledger) -> None:
    """The same record twice: charged once."""
    one = record(0, batch(0, 2, [charged(0), charged(1)]))
    await ledger.apply(one)
    work = await ledger.apply(one)

    assert work.clipped[0].replays == 1
    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 2
    assert await ledger.value('SELECT balance FROM "CreditWallet"') == 999_970


async def test_a_batch_that_straddles_the_position_is_clipped(ledger: Ledger) -> None:
    """[1, 4) after [0, 2): offset 1 is not charged again, 2 and 3 are, and counted so."""
    entries = [charged(offset) for offset in range(4)]
    await ledger.apply(record(0, batch(0, 2, entries[:2])))
    await ledger.apply(record(1, batch(1, 4, entries[1:])))

    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 4
    rows = await ledger.rows('SELECT * FROM "RatedBatch" ORDER BY first_offset')
    assert [(r["first_offset"], r["next_offset"], r["charged"]) for r in rows] == [
        (0, 2, 2),
        (2, 4, 2),
    ]


async def test_a_batch_that_starts_ahead_waits_for_what_fills_the_hole(ledger: Ledger) -> None:
    """[2, 3) at position 0 is passed over; it is applied when it comes again behind [0, 2)."""
    late = batch(2, 3, [charged(2)])
    work = await ledger.apply(record(0, late))
    assert len(work.clipped[0].passed_over) == 1
    assert await ledger.value('SELECT rated_offset FROM "SinkOffset" WHERE partition = 0') == 0

    await ledger.apply(
        record(1, batch(0, 2, [charged(0), charged(1)])), record(2, late), record(3, late)
    )
    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 3
    assert await ledger.value('SELECT rated_offset FROM "SinkOffset" WHERE partition = 0') == 4


async def test_an_event_charged_before_is_a_conflict_by_id_and_by_key(ledger: Ledger) -> None:
    """Same id, or same key, through another partition: kept as duplicates of the first."""
    await ledger.apply(
        record(0, batch(0, 1, [charged(0, event_id=event_id(1), idempotency_key="k1")]))
    )
    await ledger.apply(
        record(
            0,
            batch(
                0,
                3,
                [
                    charged(0, event_id=event_id(1)),
                    charged(1, event_id=event_id(2), idempotency_key="k1"),
                    charged(2, event_id=event_id(3), idempotency_key="k3"),
                ],
                partition=1,
            ),
        )
    )

    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 2
    found = await ledger.rows('SELECT * FROM "DuplicateEvent" ORDER BY "offset"')
    assert [(d["offset"], d["found_by"], d["of_partition"], d["of_offset"]) for d in found] == [
        (0, "conflict", 0, 0),
        (1, "conflict", 0, 0),
    ]
    (row,) = await ledger.rows('SELECT * FROM "RatedBatch" WHERE partition = 1')
    assert (row["charged"], row["conflicts"]) == (1, 2)
    assert await ledger.value('SELECT balance FROM "CreditWallet"') == 999_970


async def test_one_event_twice_in_a_transaction_is_charged_once(ledger: Ledger) -> None:
    """Two partitions bring the same event in one gathering: the second is a conflict."""
    await ledger.apply(
        record(0, batch(0, 1, [charged(0, event_id=event_id(1))])),
        record(0, batch(0, 1, [charged(0, event_id=event_id(1))], partition=1)),
    )

    (known,) = await ledger.rows('SELECT * FROM "DuplicateEvent"')
    assert (known["partition"], known["of_partition"], known["of_offset"]) == (1, 0, 0)
    assert await ledger.value('SELECT count(*) FROM "CreditTransaction"') == 1


async def test_conflicts_that_are_expected_are_found_before_anything_is_written(
    ledger: Ledger,
) -> None:
    """By id, by key, and twice in the transaction: the same rows and counts, the rest charged."""
    await ledger.apply(
        record(0, batch(0, 1, [charged(0, event_id=event_id(1), idempotency_key="k1")]))
    )
    entries = [
        charged(0, event_id=event_id(1)),
        charged(1, event_id=event_id(2), idempotency_key="k1"),
        charged(2, event_id=event_id(3)),
        charged(3, event_id=event_id(3)),
    ]
    await ledger.apply(record(0, batch(0, 4, entries, partition=1)), expects_conflicts=True)

    found = await ledger.rows('SELECT * FROM "DuplicateEvent" ORDER BY "offset"')
    assert [(d["offset"], d["found_by"], d["of_partition"], d["of_offset"]) for d in found] == [
        (0, "conflict", 0, 0),
        (1, "conflict", 0, 0),
        (3, "conflict", 1, 2),
    ]
    (row,) = await ledger.rows('SELECT * FROM "RatedBatch" WHERE partition = 1')
    assert (row["charged"], row["conflicts"]) == (1, 3)
    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 2
    assert await ledger.value('SELECT balance FROM "CreditWallet"') == 999_970


async def test_a_conflicting_event_does_not_shadow_the_key_it_came_with(ledger: Ledger) -> None:
    """Of two events with one new key, the one that is a conflict by its id claims nothing."""
    await ledger.apply(record(0, batch(0, 1, [charged(0, event_id=event_id(1))])))
    await ledger.apply(
        record(
            1,
            batch(
                1,
                3,
                [
                    charged(1, event_id=event_id(1), idempotency_key="k"),
                    charged(2, event_id=event_id(2), idempotency_key="k"),
                ],
            ),
        )
    )

    keys = await ledger.rows('SELECT id, idempotency_key FROM "UsageEvent" ORDER BY id')
    assert [(str(k["id"]), k["idempotency_key"]) for k in keys] == [
        (event_id(1), None),
        (event_id(2), "k"),
    ]


@pytest.mark.parametrize("status", [None, "CHURNED"])
async def test_events_of_nobody_become_dead_letters(ledger: Ledger, status: str | None) -> None:
    """An unknown customer, or one that has left: a letter with the event, nothing charged."""
    if status is not None:
        await ledger.add_customer("gone", status)
    await ledger.apply(record(0, batch(0, 2, [charged(0, customer_id="gone"), charged(1)])))

    (letter,) = await ledger.rows('SELECT * FROM "DeadLetter"')
    assert (letter["reason"], letter["customer_id"], letter["found_by"]) == (
        "UNKNOWN_CUSTOMER",
        "gone",
        "sinks",
    )
    assert b'"customer_id":"gone"' in letter["payload"]
    (row,) = await ledger.rows('SELECT charged, refused FROM "RatedBatch"')
    assert row == {"charged": 1, "refused": 1}


async def test_a_suspended_customer_is_charged(ledger: Ledger) -> None:
    """Suspension closes the gateway's door, not the ledger for what was used."""
    await ledger.add_customer("late", "SUSPENDED")
    await ledger.apply(record(0, batch(0, 1, [charged(0, customer_id="late")])))

    assert (
        await ledger.value('SELECT balance FROM "CreditWallet" WHERE customer_id = %s', "late")
        == -15
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"metadata": {"a": "\x00"}},
        {"user_id": "a\x00b"},
        {"input_tokens": 2**63},
        {"image_count": -1},
        {"event_type": "NO_SUCH_TYPE"},
    ],
)
async def test_what_postgres_refuses_becomes_a_dead_letter_alone(
    ledger: Ledger, bad: dict[str, Any]
) -> None:
    """One event among seven that no row can hold: a letter; the six others are charged."""
    entries = [charged(offset) for offset in range(7)]
    entries[4] = charged(4, **bad)
    await ledger.apply(record(0, batch(0, 7, entries)))

    (letter,) = await ledger.rows('SELECT "offset", reason FROM "DeadLetter"')
    assert letter == {"offset": 4, "reason": "REFUSED_BY_DATABASE"}
    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 6
    assert await ledger.value('SELECT balance FROM "CreditWallet"') == 1_000_000 - 6 * 15


async def test_a_balance_that_would_overflow_refuses_the_event(ledger: Ledger) -> None:
    """Credits that the wallet cannot go down by: a letter, no usage row, the rest charged."""
    await ledger.rows('UPDATE "CreditWallet" SET balance = %s', -(2**63) + 20)
    await ledger.apply(
        record(0, batch(0, 3, [charged(0), charged(1, credits_=10), charged(2, credits_=5)]))
    )

    assert await ledger.value('SELECT balance FROM "CreditWallet"') == -(2**63)
    (letter,) = await ledger.rows('SELECT "offset" FROM "DeadLetter"')
    assert letter["offset"] == 1
    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 2
    (row,) = await ledger.rows('SELECT charged, refused FROM "RatedBatch"')
    assert row == {"charged": 2, "refused": 1}


async def test_the_team_pays_else_the_user_else_the_customer(ledger: Ledger) -> None:
    """By existence, oldest first, and never a wallet of another customer."""
    await ledger.add_customer("cust-2")
    for wallet, customer, user, team in [
        ("w-team", "cust-1", None, "t1"),
        ("w-team-younger", "cust-1", None, "t1"),
        ("w-user", "cust-1", "u1", None),
        ("w-foreign", "cust-2", None, "t2"),
    ]:
        await ledger.rows(
            'INSERT INTO "CreditWallet" (id, customer_id, user_id, team_id)'
            " VALUES (%s, %s, %s, %s)",
            wallet,
            customer,
            user,
            team,
        )
    await ledger.apply(
        record(
            0,
            batch(
                0,
                5,
                [
                    charged(0, team_id="t1", user_id="u1"),
                    charged(1, team_id="t2", user_id="u1"),
                    charged(2, team_id="t2", user_id="u2"),
                    charged(3, user_id="u9"),
                    charged(4, credits_=0, cost_usd="0.000000"),
                ],
            ),
        )
    )

    rows = await ledger.rows('SELECT id, balance, last_seq FROM "CreditWallet" ORDER BY id')
    assert {r["id"]: (r["balance"], r["last_seq"]) for r in rows} == {
        "w-foreign": (0, 0),
        "w-team": (-15, 1),
        "w-team-younger": (0, 0),
        "w-user": (-15, 1),
        "wallet-1": (999_970, 2),
    }


async def test_a_customer_without_wallet_gets_one(ledger: Ledger) -> None:
    """`wallet_<customer>` with balance 0, even where somebody else's wallet has that name."""
    await ledger.add_customer("cust-2")
    await ledger.add_customer("cust-3")
    await ledger.rows(
        "INSERT INTO \"CreditWallet\" (id, customer_id) VALUES ('wallet_cust-3', 'cust-1')"
    )
    await ledger.apply(
        record(0, batch(0, 2, [charged(0, customer_id="cust-2"), charged(1, customer_id="cust-3")]))
    )

    rows = await ledger.rows('SELECT id, customer_id FROM "CreditWallet" WHERE balance = -15')
    by_customer = {row["customer_id"]: row["id"] for row in rows}
    assert by_customer["cust-2"] == "wallet_cust-2"
    assert by_customer["cust-3"].startswith("wallet_cust-3_")


async def test_a_replayed_letter_is_closed_by_its_charge_or_its_conflict(ledger: Ledger) -> None:
    """Replayed twice: charged once, the letter REPLAYED, the second replay a conflict."""
    entry = dead_letter(0, b"{}", reason="UNPRICED")
    await ledger.apply(record(0, batch(0, 1, [entry])))
    replays = [charged(o, event_id=event_id(1), replay_of="0:0:0:0") for o in (1, 2)]
    await ledger.apply(record(1, batch(1, 3, replays)))

    (letter,) = await ledger.rows('SELECT status, resolved_by FROM "DeadLetter"')
    assert letter == {"status": "REPLAYED", "resolved_by": "sinks"}
    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 1
    assert await ledger.value('SELECT replay_of FROM "DuplicateEvent"') == "0:0:0:0"


async def test_an_accepted_hole_is_skipped_and_kept_for_ever(ledger: Ledger) -> None:
    """A decision of kind hole moves the position like a batch without events."""
    await ledger.apply(record(0, batch(0, 5, kind=Kind.HOLE)), record(1, batch(5, 6, [charged(5)])))

    rows = await ledger.rows('SELECT kind, reason, decided_by FROM "RatedBatch" ORDER BY 1')
    assert rows == [
        {"kind": "hole", "reason": "the disk was lost", "decided_by": "ann"},
        {"kind": "rated", "reason": None, "decided_by": None},
    ]
    assert await ledger.value('SELECT next_offset FROM "SinkOffset" WHERE partition = 0') == 6


async def test_a_new_epoch_uses_the_same_offsets_again_but_is_decided_once(ledger: Ledger) -> None:
    """After it offset 0 is a new event under epoch 1; read again, it sets nothing back."""
    decision = record(1, batch(2, 0, kind=Kind.NEW_EPOCH))
    again = record(2, batch(0, 1, [charged(0)], broker_time=2_000))
    await ledger.apply(record(0, batch(0, 2, [charged(0), charged(1)])))
    await ledger.apply(decision, again)
    await ledger.apply(decision, again)

    (offset,) = await ledger.rows('SELECT * FROM "SinkOffset" WHERE partition = 0')
    assert (offset["epoch"], offset["next_offset"], offset["rated_offset"]) == (1, 1, 3)
    rows = await ledger.rows('SELECT epoch, kind FROM "RatedBatch" ORDER BY created_at, 1, 2')
    assert [(r["epoch"], r["kind"]) for r in rows] == [
        (0, "rated"),
        (0, "new-epoch"),
        (1, "rated"),
    ]
    epochs = await ledger.rows('SELECT source_epoch FROM "UsageEvent" ORDER BY created_at')
    assert [row["source_epoch"] for row in epochs] == [0, 0, 1]


async def test_a_log_made_again_is_refused_not_taken_for_a_replay(ledger: Ledger) -> None:
    """Offsets below the position with a later broker time than any applied: stop, and name it."""
    await ledger.apply(record(0, batch(0, 3, [charged(0)])))

    with pytest.raises(LogMadeAgainError, match="repair new-epoch"):
        await ledger.apply(record(1, batch(0, 2, [charged(0)], broker_time=1_001)))
    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 1


async def test_a_partition_without_row_is_refused(ledger: Ledger) -> None:
    """Nobody guesses where a partition begins: only `topics` makes the row."""
    with pytest.raises(OffsetRowMissingError, match="burnstream topics"):
        await ledger.apply(record(0, batch(0, 1, [charged(0)], partition=9)))


async def test_a_restored_database_is_noticed(ledger: Ledger) -> None:
    """A row behind what this worker has seen is not applied to: the log is read again from it."""
    one = record(7, batch(0, 1, [charged(0)]))
    async with await connect(ledger.url) as connection:
        work = Work(connection, TOPIC, {0: [one]}, known_rated_offsets={0: 7})
        with pytest.raises(LedgerWentBackError):
            await apply(work)
    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 0
