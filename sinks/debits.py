"""The steps of the sink's transaction that concern wallets: locked, debited, given back, set."""

import os
import time
from dataclasses import replace
from uuid import uuid4

import numpy as np
from psycopg.errors import SerializationFailure

from sinks import copy_rows
from sinks.binary_columns import int64s
from sinks.burn_rows import BURN_RANDOMNESS_BYTES, burn_rows, burn_tail
from sinks.charges import EVENT_ID, Payer
from sinks.copy_rows import bigint_array, microseconds, text_array
from sinks.postgres import copy_bytes
from sinks.statements import statement
from sinks.transaction import Work
from sinks.voids import take_back, wallets_to_refund
from sinks.wallets import Account, Burns, Wallet, burn, choose_wallet, wallets_by_scope


async def lock_wallets(work: Work) -> None:
    """Find, or make, the wallet of each event that costs something, and lock them in id order.

    With them those that paid for what is voided.
    """
    work.debited = [pair for pair in work.charges if pair[0].credits > 0]
    if work.debited:
        work.payers = await _choose_wallets(work)
    work.owners = {wallet: payer.customer_id for payer, wallet in work.payers.items()}
    if work.voided:
        work.owners |= await wallets_to_refund(work)
    if not work.owners:
        return
    ids = sorted(work.owners)
    rows = await work.fetch("lock_wallets", {"wallets": text_array(ids)})
    if len(rows) < len(ids):
        raise SerializationFailure("a wallet was deleted while it was waited for")
    work.accounts = {row[0]: Account(row[1], row[2], None) for row in rows}


async def _choose_wallets(work: Work) -> dict[Payer, str]:
    """Return the wallet that pays for each payer of debits; customers without any get one."""
    distinct = {charge.payer for charge, _ in work.debited}
    wanted = {
        "customers": text_array({payer.customer_id for payer in distinct}),
        "teams": text_array({payer.team_id for payer in distinct if payer.team_id is not None}),
        "users": text_array({payer.user_id for payer in distinct if payer.user_id is not None}),
    }
    # A wallet of that name may be somebody else's; then ours gets one of its own.
    suffixes = iter(("", f"_{uuid4().hex}"))
    while True:
        rows = await work.fetch("find_wallets", wanted)
        by_scope = wallets_by_scope(Wallet(*row) for row in rows)
        chosen: dict[Payer, str] = {}
        without = set()
        for payer in distinct:
            wallet = choose_wallet(by_scope, payer.customer_id, payer.user_id, payer.team_id)
            if wallet is None:
                without.add(payer.customer_id)
            else:
                chosen[payer] = wallet
        if not without:
            return chosen
        await work.connection.execute(
            statement("create_wallets"),
            {"prefix": "wallet_", "suffix": next(suffixes), "customers": text_array(without)},
        )


async def copy_transactions(work: Work) -> None:
    """Write a ledger row per debit, each wallet's chain going on from its newest row."""
    if not work.accounts:
        return
    seqs = bigint_array(account.last_seq for account in work.accounts.values())
    rows = await work.fetch("chain_ends", {"wallets": text_array(work.accounts), "seqs": seqs})
    work.now = microseconds(rows[0][0])
    for _, wallet, created_at in rows:
        if created_at is not None:
            work.accounts[wallet].last_created_at = microseconds(created_at)
    if work.debited:
        await _copy_burns(work)


def _burn(work: Work) -> Burns:
    numbers = {wallet: number for number, wallet in enumerate(work.accounts)}
    paying = {payer: numbers[wallet] for payer, wallet in work.payers.items()}
    return burn(
        list(work.accounts.values()),
        int64s([paying[charge.payer] for charge, _ in work.debited]),
        int64s([charge.credits for charge, _ in work.debited]),
        work.now,
    )


async def _copy_burns(work: Work) -> None:
    before = {wallet: replace(account) for wallet, account in work.accounts.items()}
    while (burns := _burn(work)).refused:
        refused = [work.debited[number] for number in burns.refused]
        await take_back(work, refused, "the wallet's balance cannot go lower")
        # What hung on these is taken back, too: whoever is left pays anew.
        charged = {id(charge) for charge, _ in work.charges}
        work.debited = [pair for pair in work.debited if id(pair[0]) in charged]
        work.accounts = {wallet: replace(account) for wallet, account in before.items()}
    await copy_bytes(
        work.connection,
        copy_rows.COPY_CREDIT_TRANSACTIONS,
        burn_rows(
            burns,
            np.frombuffer(b"".join([charge.row[EVENT_ID] for charge, _ in work.debited]), "V16"),
            [burn_tail(wallet, work.owners[wallet]) for wallet in work.accounts],
            time.time_ns() // 1_000_000,
            os.urandom(BURN_RANDOMNESS_BYTES),
        ),
    )


async def update_wallets(work: Work) -> None:
    """Set each wallet's balance and the place of its newest ledger row."""
    if work.accounts:
        await work.connection.execute(
            statement("update_wallets"),
            {
                "wallets": text_array(work.accounts),
                "balances": bigint_array(account.balance for account in work.accounts.values()),
                "seqs": bigint_array(account.last_seq for account in work.accounts.values()),
            },
        )
