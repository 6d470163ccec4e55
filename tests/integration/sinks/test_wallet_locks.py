"""The order and the moment in which a sink's transaction locks wallets."""

import asyncio

from sinks.postgres import connect
from tests.integration.sinks.ledger import Ledger
from tests.rated_batches import CUSTOMER, batch, charged, record
from tests.waiting import wait_until_async

TOP_UP = 100


async def is_sink_waiting(ledger: Ledger) -> bool:
    return bool(
        await ledger.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
    )


async def test_a_top_up_that_is_waited_for_is_counted(ledger: Ledger) -> None:
    """The balance is read under the lock: the chain goes on from what the other one left."""
    async with await connect(ledger.url, "top-up") as other:
        await other.execute(b"BEGIN")
        await other.execute(b'SELECT 1 FROM "CreditWallet" FOR UPDATE')
        applying = asyncio.create_task(ledger.apply(record(0, batch(0, 1, [charged(0)]))))
        await wait_until_async(lambda: is_sink_waiting(ledger), 20, "the sink waits for the wallet")
        await other.execute(
            b'INSERT INTO "CreditTransaction" (wallet_id, customer_id, transaction_type, amount,'
            b" balance_before, balance_after, wallet_seq)"
            b" VALUES ('wallet-1', 'cust-1', 'GRANT', 100, 1000000, 1000100, 1)"
        )
        await other.execute(b'UPDATE "CreditWallet" SET balance = 1000100, last_seq = 1')
        await other.execute(b"COMMIT")
        await applying

    wallet = await ledger.rows('SELECT balance, last_seq FROM "CreditWallet"')
    assert wallet == [{"balance": 1_000_000 + TOP_UP - 15, "last_seq": 2}]
    assert await ledger.value('SELECT max(balance_before) FROM "CreditTransaction"') == 1_000_100


async def test_wallets_are_locked_in_the_order_of_their_ids(ledger: Ledger) -> None:
    """Whoever waits for a wallet holds none that comes after it: no two can wait in a circle."""
    for team in ("b", "a"):
        await ledger.rows(
            'INSERT INTO "CreditWallet" (id, customer_id, team_id) VALUES (%s, %s, %s)',
            f"wallet-{team}",
            CUSTOMER,
            team,
        )
    both = record(0, batch(0, 2, [charged(0, team_id="b"), charged(1, team_id="a")]))
    async with await connect(ledger.url, "other") as other:
        await other.execute(b"BEGIN")
        await other.execute(b"SELECT 1 FROM \"CreditWallet\" WHERE id = 'wallet-a' FOR UPDATE")
        applying = asyncio.create_task(ledger.apply(both))
        await wait_until_async(lambda: is_sink_waiting(ledger), 20, "the sink waits for a wallet")
        free = await ledger.rows('SELECT id FROM "CreditWallet" FOR UPDATE SKIP LOCKED')
        await other.execute(b"ROLLBACK")
        await applying

    assert sorted(row["id"] for row in free) == ["wallet-1", "wallet-b"]
    assert await ledger.value('SELECT sum(balance) FROM "CreditWallet"') == 1_000_000 - 2 * 15
